//! Connection: where a step or a Repository connects, and which Secrets it uses. Each type is a file.

mod discord;
mod git;
mod http;
mod limits;
mod slack;
mod smtp;
mod ssh;
mod teams;
mod tls;
mod webhook;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    discord::DiscordConnection,
    git::GitConnection,
    http::{BasicAuth, HeaderAuth, HttpAuth, HttpConnection, OAuth2, OAuth2Grant, QueryAuth, SigV4},
    limits::ConnectionLimits,
    slack::SlackConnection,
    smtp::{SmtpConnection, SmtpSecurity},
    ssh::SshConnection,
    teams::TeamsConnection,
    tls::Tls,
    webhook::WebhookConnection,
};
use super::{
    Digest, canonical,
    name::{ObjectName, SecretKey},
};

/// Where a step or a Repository connects, and which Secret it uses. The Secret is in the namespace of the Connection.
/// It is read each time a call is made.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "signoff.dev",
    version = "v1alpha1",
    kind = "Connection",
    plural = "connections",
    shortname = "conn",
    category = "signoff",
    namespaced,
    derive = "PartialEq",
    doc = "Where a step or a Repository connects, and which Secret it uses.",
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.http.baseURL"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.limits) || !has(self.git)").message("limits are of calls of steps, and no step calls a git Connection"))]
pub struct ConnectionSpec {
    /// What the Connection connects to. Exactly one kind is set.
    #[serde(flatten)]
    pub kind: ConnectionKind,
    /// Limits of the calls of steps through the Connection, over all runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ConnectionLimits>,
}

impl ConnectionSpec {
    /// Digest of all it says but `limits`: a change of it is a change of where a step calls, or as whom.
    ///
    /// # Errors
    /// When it has no JSON form, which no spec that was read lacks.
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        let unlimited = Self {
            limits: None,
            ..self.clone()
        };
        Ok(canonical::digest_of_value(&serde_json::to_value(unlimited)?))
    }

    /// The address that it leads to, if the Connection says it.
    pub fn address(&self) -> Option<&str> {
        self.kind.as_type().address()
    }

    /// The Secrets that it names.
    pub fn secrets(&self) -> Vec<&SecretKeyRef> {
        self.kind.as_type().secrets()
    }
}

/// What a Connection connects to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ConnectionKind {
    /// An HTTP API.
    Http(Box<HttpConnection>),
    /// A git remote.
    Git(GitConnection),
    /// A machine on which commands run.
    Ssh(Box<SshConnection>),
    /// A mail server.
    Smtp(Box<SmtpConnection>),
    /// A Slack workspace.
    Slack(SlackConnection),
    /// A Microsoft Teams channel.
    Teams(TeamsConnection),
    /// A Discord channel.
    Discord(DiscordConnection),
    /// A receiver of signed messages.
    Webhook(Box<WebhookConnection>),
}

impl ConnectionKind {
    /// What every type says of itself.
    pub fn as_type(&self) -> &dyn ConnectionType {
        match self {
            Self::Http(http) => &**http,
            Self::Git(git) => git,
            Self::Ssh(ssh) => &**ssh,
            Self::Smtp(smtp) => &**smtp,
            Self::Slack(slack) => slack,
            Self::Teams(teams) => teams,
            Self::Discord(discord) => discord,
            Self::Webhook(webhook) => &**webhook,
        }
    }

    /// The key of its type in a manifest.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Git(_) => "git",
            Self::Ssh(_) => "ssh",
            Self::Smtp(_) => "smtp",
            Self::Slack(_) => "slack",
            Self::Teams(_) => "teams",
            Self::Discord(_) => "discord",
            Self::Webhook(_) => "webhook",
        }
    }
}

/// What every type of Connection says of itself. Its digest is that of the whole spec.
pub trait ConnectionType {
    /// The address that it leads to, if the Connection says it. People are shown it when they decide on a call.
    fn address(&self) -> Option<&str>;

    /// The Secrets that it names. Whoever writes the Connection must be allowed to read each of them, which the
    /// admission policy of Connections checks.
    fn secrets(&self) -> Vec<&SecretKeyRef>;
}

/// One key of a Secret in the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    pub name: ObjectName,
    /// Key in the `data` of the Secret.
    pub key: SecretKey,
}
