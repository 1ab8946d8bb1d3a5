//! What a decision asks of the world. Everything in an effect is rendered; an executor chooses nothing.
//!
//! There are two sorts. A call takes seconds, is performed in this process and may die with it. An object that the run
//! owns may take days; it is created or adopted, watched, and closed.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    chat::LlmRequest,
    kinds,
    object::{CloseObject, OwnedObject},
};
use signoff_api::{
    Digest, Resource,
    git::{BranchName, RepositoryPath},
    name::{DnsLabel, FlowName, ObjectName},
    step::{HttpMethod, IfExists},
};

/// Names one attempt of one iteration of one step, or of one of its items, within a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectKey {
    /// Name of the step.
    pub step: String,
    /// Which time round, from 1.
    pub iteration: i64,
    /// Which item, from 0, of a step with `forEach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<i64>,
    /// Which attempt, from 1.
    pub attempt: i64,
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            step,
            iteration,
            item,
            attempt,
        } = self;
        match item {
            None => write!(f, "{step}.{iteration}.{attempt}"),
            Some(item) => write!(f, "{step}[{item}].{iteration}.{attempt}"),
        }
    }
}

/// One thing to do in the world.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// Perform a call; its outcome comes back as a fact under the same key.
    Call(Box<Call>),
    /// Create an object that the run owns, or adopt it; doing it again changes nothing.
    Open(OwnedObject),
    /// Close an owned object that is still open; doing it again changes nothing.
    Close(CloseObject),
    /// Stop a call that is being performed; no outcome is expected any more.
    Abort(EffectKey),
}

/// One attempt of a step to call somebody.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// Where the outcome belongs.
    pub key: EffectKey,
    /// The same for every attempt of an iteration and item, so that the other side can tell a repetition.
    pub idempotency_key: String,
    /// Whether the intent must be written and acknowledged before the call starts (`AtMostOnce`).
    pub fenced: bool,
    /// Which part of the step it is.
    #[serde(skip_serializing_if = "CallPart::is_whole")]
    pub part: CallPart,
    /// How long the attempt may take.
    #[serde(serialize_with = "as_millis")]
    pub timeout: Duration,
    /// What is asked.
    pub request: Request,
}

/// Which part of a step a call is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CallPart {
    /// The step itself.
    Whole,
    /// An answer of the model of an `agent` step, by its number.
    Turn(i64),
    /// A call of a tool of an `agent` step.
    Tool {
        /// Name of the tool.
        tool: String,
        /// Number of the call.
        number: i64,
    },
}

impl CallPart {
    /// Whether it is the step itself.
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
}

/// What a call asks, by the executor that performs it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// An HTTP request.
    Http(HttpRequest),
    /// A command on another machine.
    Ssh(SshRequest),
    /// A question to a language model.
    Llm(LlmRequest),
    /// A mail.
    Email(EmailRequest),
    /// A commit on a branch, and a pull request.
    Git(GitRequest),
    /// A value of the flow, to read or to write.
    Store(StoreRequest),
}

impl Request {
    /// The Connection that it goes through.
    pub fn connection(&self) -> Option<&ObjectName> {
        match self {
            Self::Http(request) => match &request.target {
                HttpTarget::Connection { name, .. } | HttpTarget::Channel { name, .. } => Some(name),
                HttpTarget::Url(_) | HttpTarget::PublicUrl(_) => None,
            },
            Self::Ssh(request) => Some(&request.connection),
            Self::Llm(request) => Some(&request.connection),
            Self::Email(request) => Some(&request.connection),
            Self::Git(request) => match &request.target {
                GitTarget::Connection(name) => Some(name),
                GitTarget::Repository(_) => None,
            },
            Self::Store(_) => None,
        }
    }
}

/// A command of a step on another machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SshRequest {
    /// Name of the Connection.
    pub connection: ObjectName,
    /// Digest of its spec as it was approved; nothing is started if it has another now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<Digest>,
    /// Host that the step names in place of that of the Connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Name of the folder that marks the process on the host.
    pub process: String,
    /// Complete shell command.
    pub command: String,
    /// Environment variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Standard input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Whether the end of the command is waited for.
    pub wait: bool,
}

/// A value of a flow that outlives its runs, to read or to write.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreRequest {
    /// The flow.
    pub flow: FlowName,
    /// Name of the value.
    pub name: DnsLabel,
    /// What is to be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub put: Option<StorePut>,
}

/// A value that is to be written.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorePut {
    /// The value.
    pub value: Value,
    /// The version that it has before; 0 if there is to be none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_version: Option<u64>,
}

/// A mail of a step. Its text is plain.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EmailRequest {
    /// Name of the Connection.
    pub connection: ObjectName,
    /// Digest of its spec as it was approved; nothing is sent if it has another now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<Digest>,
    /// Addresses of the recipients.
    pub to: Vec<String>,
    /// Addresses of those who get a copy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cc: Vec<String>,
    /// Address that answers go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Subject, on one line.
    pub subject: String,
    /// The message.
    pub text: String,
    /// Files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// A file of a mail.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// What is in it.
    pub content: AttachmentContent,
}

/// What is in a file of a mail.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AttachmentContent {
    /// Text.
    Text(String),
    /// The content of a resource.
    Resource(Resource),
}

/// A commit on a branch, and a pull request from it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GitRequest {
    /// The remote.
    pub target: GitTarget,
    /// Digest of where that leads, as it was approved; nothing is pushed if it has another now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<Digest>,
    /// The branch.
    pub branch: BranchName,
    /// The branch that a new branch begins at; the default branch of the remote if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<BranchName>,
    /// What is committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<GitCommit>,
    /// The pull request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<GitPull>,
}

impl StoreRequest {
    /// It as a document.
    pub fn described(&self) -> Value {
        kinds::described_value(self)
    }
}

impl GitRequest {
    /// All of it as a document, with the fields of the step.
    pub fn described(&self) -> Value {
        kinds::described_commit(self)
    }
}

/// The remote of a `git` step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum GitTarget {
    /// A Repository, with its Connection and its forge.
    Repository(ObjectName),
    /// A Connection.
    Connection(ObjectName),
}

/// What is committed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GitCommit {
    /// Message, without the trailers.
    pub message: String,
    /// Files. No two have the same path, and none lies below another.
    pub files: Vec<GitFile>,
    /// What happens if the branch exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_exists: Option<IfExists>,
}

/// A file of a commit.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GitFile {
    /// Its path.
    pub path: RepositoryPath,
    /// What becomes of it.
    pub change: GitFileChange,
}

/// What becomes of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum GitFileChange {
    /// It has this content.
    Write {
        /// The content.
        content: GitContent,
        /// Whether it can be executed; as before if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        executable: Option<bool>,
    },
    /// It goes.
    Delete,
}

/// The content of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum GitContent {
    /// Text.
    Text(String),
    /// The content of a resource.
    Resource(Resource),
}

/// A pull request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GitPull {
    /// The branch that it goes into.
    pub into: BranchName,
    /// Title.
    pub title: String,
    /// Description.
    pub body: String,
    /// Whether it is opened as a draft.
    pub draft: bool,
    /// Logins of those who are asked to review it.
    pub reviewers: Vec<String>,
}

/// An HTTP request of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRequest {
    /// Where to.
    pub target: HttpTarget,
    /// Request method.
    pub method: HttpMethod,
    /// Request headers.
    pub headers: BTreeMap<String, String>,
    /// Query parameters, not yet encoded; a list repeats the parameter.
    pub query: BTreeMap<String, Vec<String>>,
    /// What is sent.
    pub body: Option<HttpBody>,
    /// How many redirects are followed.
    pub redirects: u8,
    /// Whether the body of the answer is kept as a resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save: Option<SaveBody>,
    /// Whether the body of an answer says anything. Without, what was posted is posted, whatever a receiver writes about it.
    #[serde(skip)]
    pub reads_body: bool,
}

/// Which answers are kept as resources.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SaveBody {
    /// Those with one of these status codes; any from 200 to 299 if there are none.
    pub status: Vec<i64>,
}

impl SaveBody {
    /// Whether the body of an answer with this status is kept.
    pub fn keeps(&self, status: u16) -> bool {
        is_expected(&self.status, status)
    }
}

/// Whether a status is among those expected; none expected means any from 200 to 299.
pub(crate) fn is_expected(expected: &[i64], status: u16) -> bool {
    if expected.is_empty() {
        (200..300).contains(&status)
    } else {
        expected.contains(&i64::from(status))
    }
}

/// What an HTTP request sends.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpBody {
    /// JSON.
    Json(Value),
    /// The fields of a form, not yet encoded.
    Form(BTreeMap<String, String>),
    /// Text.
    Text(String),
    /// The content of a resource.
    Resource(Resource),
    /// A `CloudEvent` in JSON, to which the executor adds the idempotency key as `id`.
    CloudEvent(Value),
}

/// Where an HTTP request goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpTarget {
    /// A whole address, whose host the flow's author wrote.
    Url(String),
    /// A whole address whose host came from data. It must be a public one, whatever else may be called.
    PublicUrl(String),
    /// A path below a Connection's base address.
    Connection {
        /// Name of the Connection.
        name: ObjectName,
        /// Appended to its base address; already percent-encoded.
        path: String,
        /// Digest of its spec as it was approved; the call is not made if it has another now.
        #[serde(skip_serializing_if = "Option::is_none")]
        bound: Option<Digest>,
    },
    /// Through a Connection to a channel.
    Channel {
        /// Which channel.
        channel: HttpChannel,
        /// Name of the Connection.
        name: ObjectName,
        /// Appended to its address; already percent-encoded.
        path: String,
        /// Digest of its spec as it was approved; the call is not made if it has another now.
        #[serde(skip_serializing_if = "Option::is_none")]
        bound: Option<Digest>,
    },
}

/// A channel that messages are posted to. It needs a Connection of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpChannel {
    /// Slack's API.
    Slack,
    /// A webhook of Microsoft Teams.
    Teams,
    /// A webhook of Discord.
    Discord,
    /// A receiver of signed messages, or any HTTP API.
    Webhook,
}

fn as_millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
