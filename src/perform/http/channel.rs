//! Connections to channels: where a message is posted, and what authenticates it.

use url::Url;

use super::{
    HttpExecutor,
    auth::{Auth, SigningKey, WEBHOOK_ID},
    target::{Target, bare, parse},
};
use crate::{
    net::redact::Secrets,
    perform::{connection, error},
};
use signoff_api::{
    ConnectionKind,
    connection::{HttpAuth, HttpConnection, SecretKeyRef, SlackConnection, WebhookConnection},
    name::ObjectName,
    reason::StepReason,
};
use signoff_engine::{effect::HttpChannel, facts::EffectError};

impl HttpExecutor {
    /// Where a message goes through a Connection, which must be of the kind of its channel.
    pub(super) async fn to_channel(
        &self,
        namespace: &str,
        (channel, name, path): (HttpChannel, &ObjectName, &str),
        kind: ConnectionKind,
    ) -> Result<Target, EffectError> {
        match (channel, kind) {
            (HttpChannel::Slack, ConnectionKind::Slack(slack)) => {
                self.through(namespace, name, &api_of_slack(&slack), path).await
            }
            (HttpChannel::Teams, ConnectionKind::Teams(teams)) => {
                self.to_secret_url(namespace, name, &teams.url).await
            }
            (HttpChannel::Discord, ConnectionKind::Discord(discord)) => {
                self.to_secret_url(namespace, name, &discord.url).await
            }
            (HttpChannel::Webhook, ConnectionKind::Webhook(webhook)) => {
                self.signed(namespace, name, *webhook, path).await
            }
            (HttpChannel::Webhook, ConnectionKind::Http(http)) => {
                self.through(namespace, name, &http, path).await
            }
            (HttpChannel::Slack, other) => Err(connection::not_one_for("slack", name, &other)),
            (HttpChannel::Teams, other) => Err(connection::not_one_for("teams", name, &other)),
            (HttpChannel::Discord, other) => Err(connection::not_one_for("discord", name, &other)),
            (HttpChannel::Webhook, other) => Err(connection::not_one_for("webhook", name, &other)),
        }
    }

    /// A receiver that gets its messages signed.
    async fn signed(
        &self,
        namespace: &str,
        name: &ObjectName,
        webhook: WebhookConnection,
        path: &str,
    ) -> Result<Target, EffectError> {
        let http = HttpConnection {
            base_url: webhook.url,
            auth: None,
            headers: webhook.headers,
            idempotency_header: Some(WEBHOOK_ID.to_string()),
            tls: webhook.tls,
        };
        let mut target = self.through(namespace, name, &http, path).await?;
        let secret =
            connection::secret(&self.kube.0, namespace, &webhook.secret, &mut target.secrets).await?;
        let key = SigningKey::parse(&secret).ok_or_else(|| {
            error::invalid(
                StepReason::CredentialsRefused,
                format!("the secret of the Connection {name:?} is neither whsec_ and base64, nor a text of 16 bytes"),
            )
        })?;
        target.auth = Auth::Webhook(key);
        Ok(target)
    }

    /// A receiver whose whole address is a secret.
    async fn to_secret_url(
        &self,
        namespace: &str,
        name: &ObjectName,
        reference: &SecretKeyRef,
    ) -> Result<Target, EffectError> {
        let mut secrets = Secrets::default();
        let text = connection::secret(&self.kube.0, namespace, reference, &mut secrets).await?;
        let url = parse(text.trim()).map_err(|refused| {
            let message = format!(
                "the address of the Connection {name:?} cannot be used: {}",
                refused.message
            );
            error::invalid(StepReason::CredentialsRefused, secrets.redact(&message))
        })?;
        hide_parts(&url, &mut secrets);
        Ok(Target {
            secrets,
            hides_path: true,
            ..bare(url, &self.network, &self.http)
        })
    }
}

/// Slack's API, as an HTTP API with a token.
fn api_of_slack(slack: &SlackConnection) -> HttpConnection {
    HttpConnection {
        base_url: slack.base_url().to_owned(),
        auth: Some(HttpAuth::Bearer(slack.token.clone())),
        headers: None,
        idempotency_header: None,
        tls: None,
    }
}

/// The parts of an address that give the right to post. An answer may repeat one of them alone.
fn hide_parts(url: &Url, secrets: &mut Secrets) {
    secrets.add(url.as_str());
    let parts = url.path().split('/').chain(url.query());
    parts
        .filter(|part| part.len() >= 16)
        .for_each(|part| secrets.add(part));
    let values = url.query_pairs().map(|(_, value)| value.into_owned());
    values
        .filter(|value| value.len() >= 16)
        .for_each(|value| secrets.add(&value));
}
