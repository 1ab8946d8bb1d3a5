//! What is known about the world when a decision is made.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    callback_token::CallbackMinter,
    chat::LlmResponse,
    concurrency::Place,
    effect::EffectKey,
    object::{ObjectFact, ObjectKey},
};
use signoff_api::{
    Digest, Json, RunPhase, WorkItemPhase,
    approval::ApprovalStatus,
    json::JsonObject,
    reason::StepReason,
    release::Dependency,
    resolution::Resolution,
    run::{Channel, JobLog, ParentRun, StepError, Usage},
    trigger::RunTrigger,
};

/// What is known about the world. Gathered by the controller; the engine reads nothing else.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The run itself.
    pub run: RunFacts,
    /// The release it is pinned to.
    pub release: ReleaseFacts,
    /// Whether it may begin.
    pub place: Place,
    /// The objects that this run owns and that exist.
    pub objects: BTreeMap<ObjectKey, ObjectFact>,
    /// Objects that the API server refuses to create, whatever is done, with its reason.
    pub refused: BTreeMap<ObjectKey, String>,
    /// Objects that could not be created so far, with the reason; it is tried again.
    pub unopened: BTreeMap<ObjectKey, String>,
    /// What came of effects since the last decision.
    pub outcomes: Vec<EffectOutcome>,
    /// Effects this process is performing now. A step that is `Running` in the state, without an outcome and not in here, was
    /// interrupted by a crash or a change of leader.
    pub in_flight: BTreeSet<EffectKey>,
    /// Those of them that are not sent yet, because they wait for a turn to call through a Connection, which is named.
    pub waiting_calls: BTreeMap<EffectKey, String>,
    /// The Connections that approvals bind, by name. One that is not in here does not exist.
    pub connections: BTreeMap<String, ConnectionFact>,
    /// Makes callback addresses.
    pub callbacks: CallbackMinter,
    /// Contents of resources that expressions may read: their text, or why there is none.
    pub contents: Contents,
}

/// Contents of resources, by their digest: their text, or why there is none.
pub type Contents = BTreeMap<Digest, Result<String, String>>;

/// What is known about the run beside its state.
#[derive(Clone, Debug, Serialize)]
pub struct RunFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Generation of its spec.
    pub generation: Option<i64>,
    /// Who asked for it.
    pub requested_by: Option<String>,
    /// Users who requested the runs that led to it, as its spec says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier_requesters: Vec<String>,
    /// The runs that led to it, the one that started it first.
    pub parents: Vec<ParentRun>,
    /// The trigger that started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<RunTrigger>,
    /// How many runs each started the next one by its end, until this one or a run that led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<i64>,
    /// Its inputs.
    pub inputs: JsonObject,
    /// Whether it is to stop.
    pub cancel: bool,
    /// Whether it is to stop without the steps of `finally`.
    pub terminate: bool,
    /// The user who stops it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
    /// Why it is to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_message: Option<String>,
    /// Whether no further step is to start.
    pub suspend: bool,
    /// Which release it asks for. Nobody is told of a run of a draft.
    #[serde(skip_serializing_if = "is_live")]
    pub channel: Channel,
    /// Callbacks that people answer by hand.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resolutions: BTreeMap<String, Resolution>,
}

// serde asks for a reference
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_live(channel: &Channel) -> bool {
    *channel == Channel::Live
}

impl RunFacts {
    /// What expressions see of it. What is not there is absent.
    pub(crate) fn as_variable(&self, release: &ReleaseFacts) -> Value {
        let mut run =
            json!({ "name": self.name, "namespace": self.namespace, "uid": self.uid, "flow": release.flow });
        if let Some(user) = &self.requested_by {
            run["requestedBy"] = json!(user);
        }
        run
    }

    /// The rest of a sentence that says who stopped the run and why.
    pub(super) fn stopped(&self) -> String {
        stopped(self.stopped_by.as_deref(), self.stop_message.as_deref())
    }
}

/// The rest of a sentence that says who stopped a run and why.
pub fn stopped(by: Option<&str>, why: Option<&str>) -> String {
    let by = by.map(|by| format!(" by {by}"));
    let why = why.map(|why| format!(": {why}"));
    by.unwrap_or_default() + &why.unwrap_or_default()
}

/// What is known about the release.
#[derive(Clone, Debug, Serialize)]
pub struct ReleaseFacts {
    /// Its name.
    pub name: String,
    /// Name of its flow.
    pub flow: String,
    /// Its digest.
    pub digest: Digest,
    /// The commit it was cut from.
    pub commit: Option<String>,
    /// Who wrote it.
    pub author: Option<String>,
    /// The Repository it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The releases that its steps run.
    pub dependencies: Vec<Dependency>,
}

impl ReleaseFacts {
    /// What expressions see of it. What is not there is absent.
    pub(crate) fn as_variable(&self) -> Value {
        let mut release = json!({ "name": self.name, "digest": self.digest, "flow": self.flow });
        if let Some(commit) = &self.commit {
            release["commit"] = json!(commit);
        }
        release
    }
}

/// What is known about one Approval.
#[derive(Clone, Debug)]
pub struct ApprovalFact {
    /// Digest in its spec.
    pub digest: Digest,
    /// How it stands.
    pub status: ApprovalStatus,
}

/// What is known about one Run that a step has started.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFact {
    /// The step that has started it.
    pub step: String,
    /// The iteration of that step.
    pub iteration: i64,
    /// The item of that step, if it has several.
    pub item: Option<i64>,
    /// Its phase.
    pub phase: RunPhase,
    /// Its output.
    pub output: Option<Json>,
    /// Why it ended badly.
    pub error: Option<StepError>,
    /// Whether it is to stop.
    pub cancel: bool,
    /// Whether it is to stop without the steps of `finally`.
    pub terminate: bool,
}

/// Begins the name under which a Repository stands among the Connections that approvals bind. No Connection has a `/` in its name.
const REPOSITORY: &str = "repository/";

/// The name under which a Repository stands among the Connections that approvals bind.
pub fn bound_repository(name: &str) -> String {
    format!("{REPOSITORY}{name}")
}

/// The Repository that is meant by a name among the Connections that approvals bind.
pub fn as_bound_repository(name: &str) -> Option<&str> {
    name.strip_prefix(REPOSITORY)
}

/// What is known about the task of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkFact {
    /// The step that has queued it.
    pub step: String,
    /// The iteration of that step.
    pub iteration: i64,
    /// The item of that step, if it has several.
    pub item: Option<i64>,
    /// Its phase.
    pub phase: WorkItemPhase,
    /// Who has it, or had it at the end.
    pub worker: Option<String>,
    /// Its result.
    pub result: Option<Json>,
    /// Why it failed last, or how it ended.
    pub message: Option<String>,
    /// Whether it failed because its worker was not heard of any more.
    pub is_lost: bool,
}

/// What is known about the Job of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct JobFact {
    /// The step that has created it.
    pub step: String,
    /// The iteration of that step.
    pub iteration: i64,
    /// The item of that step, if it has several.
    pub item: Option<i64>,
    /// The attempt of that step.
    pub attempt: i64,
    /// When it was started, as the cluster says.
    pub started_at: Option<Timestamp>,
    /// How it stands.
    pub state: JobState,
    /// The end of its log, once it has ended.
    pub log: Option<JobLog>,
}

/// How a Job stands.
#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    /// It has not ended.
    Open(Option<JobTrouble>),
    /// Its container ended well.
    Succeeded {
        /// What the container wrote as its output.
        output: Option<String>,
    },
    /// It failed.
    Failed(EffectError),
}

/// What keeps the pod of a Job from running.
#[derive(Clone, Debug, PartialEq)]
pub struct JobTrouble {
    /// The reason if it stays so; none if it is only waited for, such as a node with room.
    pub reason: Option<StepReason>,
    /// For people.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
    /// Whether waiting cannot help.
    pub is_final: bool,
}

/// What is known about one Connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionFact {
    /// Its address, if it says one.
    pub address: Option<String>,
    /// Digest of its spec.
    pub digest: Digest,
}

/// What came of an effect.
#[derive(Clone, Debug)]
pub struct EffectOutcome {
    /// Which effect.
    pub key: EffectKey,
    /// When it was known.
    pub at: Timestamp,
    /// What came of it.
    pub result: Result<Response, EffectError>,
}

/// What a call was answered, by the executor that performed it.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// An HTTP response, whatever its status.
    Http(HttpResponse),
    /// What came of a command on another machine.
    Ssh(SshResponse),
    /// What came of asking a language model.
    Llm(LlmResponse),
    /// A mail server has taken a mail.
    Email(EmailResponse),
    /// What came of a commit and a pull request.
    Git(GitResponse),
    /// What is known of a value that was read or written.
    Store(StoreResponse),
    /// What the record of the run has of the answer: a replay knows nothing else.
    Recorded(RecordedAnswer),
}

/// What the record of a run has of the answer to a call.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedAnswer {
    /// The output of the step.
    pub output: Option<Value>,
    /// What the step used of language models.
    pub usage: Option<Usage>,
    /// Whether it says, in the transcript of an agent, why a call failed.
    pub is_error: bool,
}

/// What came of a commit and a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitResponse {
    /// Whether the step has committed something, now or in an earlier attempt.
    pub changed: bool,
    /// The commit that it has made; without one, the newest of the branch, or of its base.
    pub commit: String,
    /// The branch.
    pub branch: String,
    /// The pull request: its number and its page.
    pub pull_request: Option<(i64, String)>,
}

/// What is known of a value that was read or written.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreResponse {
    /// There is no such value.
    Nothing,
    /// It was read, or written now or in an earlier attempt.
    Found {
        /// The value, if it was read.
        value: Option<Value>,
        /// The version.
        version: u64,
        /// When it was written.
        updated_at: Timestamp,
        /// Name of the run that wrote it; none if a person did.
        run: Option<String>,
    },
}

/// What came of a command on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SshResponse {
    /// It was started, now or by an earlier attempt, and goes on.
    Started {
        /// The host.
        host: String,
        /// Its process id, which is also that of its group.
        pid: i64,
    },
    /// It has ended.
    Ended {
        /// Its exit code.
        exit_code: i64,
        /// The end of what it wrote to standard output.
        stdout: String,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
}

/// What is known of a mail that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailResponse {
    /// Its `Message-ID`.
    pub message_id: String,
}

/// What is known about one process on another machine that was to be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFact {
    /// Whether nothing of its group is left.
    pub is_ended: bool,
    /// What came of the newest attempt to end it, for people.
    pub message: String,
}

/// An HTTP response, whatever its status.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Response headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body: parsed if the content type says JSON, otherwise a string; null if empty.
    pub body: Value,
}

impl Response {
    /// The HTTP response, if it is one.
    pub(crate) fn as_http(&self) -> Option<&HttpResponse> {
        match self {
            Self::Http(response) => Some(response),
            Self::Ssh(_)
            | Self::Git(_)
            | Self::Llm(_)
            | Self::Email(_)
            | Self::Store(_)
            | Self::Recorded(_) => None,
        }
    }

    /// What came of a command on another machine, if it is that.
    pub(crate) fn as_ssh(&self) -> Option<&SshResponse> {
        match self {
            Self::Ssh(response) => Some(response),
            Self::Http(_)
            | Self::Git(_)
            | Self::Llm(_)
            | Self::Email(_)
            | Self::Store(_)
            | Self::Recorded(_) => None,
        }
    }

    /// What came of a commit and a pull request, if it is that.
    pub(crate) fn as_git(&self) -> Option<&GitResponse> {
        match self {
            Self::Git(response) => Some(response),
            Self::Http(_)
            | Self::Ssh(_)
            | Self::Llm(_)
            | Self::Email(_)
            | Self::Store(_)
            | Self::Recorded(_) => None,
        }
    }

    /// What is known of a value that was read or written, if it is that.
    pub(crate) fn as_store(&self) -> Option<&StoreResponse> {
        match self {
            Self::Store(response) => Some(response),
            Self::Http(_)
            | Self::Ssh(_)
            | Self::Git(_)
            | Self::Llm(_)
            | Self::Email(_)
            | Self::Recorded(_) => None,
        }
    }

    /// What came of asking a language model, if it is that.
    pub(crate) fn as_llm(&self) -> Option<&LlmResponse> {
        match self {
            Self::Llm(response) => Some(response),
            Self::Http(_)
            | Self::Ssh(_)
            | Self::Git(_)
            | Self::Email(_)
            | Self::Store(_)
            | Self::Recorded(_) => None,
        }
    }

    /// What is known of a mail that was sent, if it is that.
    pub(crate) fn as_email(&self) -> Option<&EmailResponse> {
        match self {
            Self::Email(response) => Some(response),
            Self::Llm(_)
            | Self::Git(_)
            | Self::Http(_)
            | Self::Ssh(_)
            | Self::Store(_)
            | Self::Recorded(_) => None,
        }
    }
}

/// Why an effect brought no response.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectError {
    /// Machine-readable reason.
    pub reason: StepReason,
    /// For people; holds no secret.
    pub message: String,
    /// Whether another attempt may help.
    pub retryable: bool,
    /// Whether the effect may have happened all the same (a time-out or a broken connection after the request was sent). An
    /// `AtMostOnce` step then asks a person instead of trying again.
    pub may_have_happened: bool,
    /// How long the other side asks to wait before another attempt.
    pub retry_after: Option<Duration>,
    /// Status of the response, if there was one.
    pub status: Option<u16>,
}
