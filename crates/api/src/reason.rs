//! Error classes and the machine-readable reasons used in conditions, events and step errors.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Retry with back-off; nobody has to act.
    Transient,
    /// Something known is not there yet; look again after a while.
    Waiting,
    /// A user must act; retrying cannot help.
    Invalid,
}

impl ErrorClass {
    /// Its name, as metrics and messages have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "Transient",
            Self::Waiting => "Waiting",
            Self::Invalid => "Invalid",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that knows what is to be done about it.
pub trait Classified: std::error::Error {
    /// What to do about it.
    fn class(&self) -> ErrorClass;
    /// `CamelCase`, machine-readable; becomes the condition's reason and the Event's.
    fn reason(&self) -> &'static str;
}

/// Why a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StepReason {
    /// An expression could not be evaluated.
    ExpressionFailed,
    /// A question could not be asked: its title is empty, or the API server refused it permanently.
    ApprovalRefused,
    /// The approvers of a question come from data, and nobody is left.
    NoApprovers,
    /// The approvers of a question come from data, and are no names that can be used.
    InvalidApprovers,
    /// An item that a question shows does not fit its media type.
    InvalidShownItem,
    /// The form of a question has a default or an enum from data that cannot be used.
    InvalidForm,
    /// The quorum of a question comes from data, and is out of bounds or cannot be reached.
    InvalidQuorum,
    /// An expression exceeded its limit of time or memory.
    ExpressionTooCostly,
    /// An HTTP response had a status that the step does not expect.
    UnexpectedStatus,
    /// An HTTP response does not meet the condition `expect.when` of the step.
    UnexpectedResponse,
    /// The command of an `ssh` step ended with an exit code that the step does not expect.
    UnexpectedExitCode,
    /// The host of an `ssh` step shows a host key that is not known, or one that was revoked.
    HostKeyUnknown,
    /// The host of an `ssh` step could not start the process.
    ProcessNotStarted,
    /// A step asks for a model that its Connection does not list.
    ModelNotAllowed,
    /// The answer of a model does not fit `schema`, also after the model was told so.
    InvalidAnswer,
    /// The answer of a model was cut off at `maxTokens`, or where the model can take no more.
    AnswerCutOff,
    /// The model, or a filter before it, refused to answer.
    AnswerRefused,
    /// The Repository that a `git` step names, or its remote, does not exist or cannot be used.
    RepositoryNotFound,
    /// The remote of a `git` step does not have the branch that the step names.
    BranchNotFound,
    /// A `git` step may not commit to this branch: it belongs to a Repository.
    BranchNotAllowed,
    /// The branch of a `git` step exists, and the step may not add to it.
    BranchExists,
    /// Somebody moved the branch of a `git` step while the step committed to it.
    BranchMoved,
    /// A file of a `git` step cannot be written: in the branch, its path leads over a link, a folder or another file.
    FileRefused,
    /// The remote did not accept what a `git` step pushed.
    PushRefused,
    /// The forge did not accept the pull request of a `git` step, or its token cannot be used.
    ForgeRefused,
    /// An `agent` step has used up its turns, tokens or time.
    BudgetExceeded,
    /// The remote could not be reached, or the connection broke.
    Unreachable,
    /// One attempt took longer than `timeout`.
    AttemptTimedOut,
    /// Steps may not call this address.
    AddressRefused,
    /// A response was larger than the limit.
    ResponseTooLarge,
    /// A response does not match its content type, or the `schema` of the step.
    InvalidResponse,
    /// The step needs an object store, and the operator has none.
    NoStore,
    /// The object store could not be reached, or refused the operator.
    StoreUnavailable,
    /// A value that a `store` step writes has another version than `ifVersion`.
    VersionConflict,
    /// A value is too large, or the flow has too many.
    StoreFull,
    /// A value is no resource, or is one that the run may not read.
    NotAResource,
    /// The content of a resource is not in the object store any more.
    ResourceNotFound,
    /// The content of a resource is larger than the limit.
    ResourceTooLarge,
    /// The content of a resource in the object store is not what its `sha256` says.
    HashMismatch,
    /// An output is larger than 64 KiB, or the outputs of all items of a step together.
    OutputTooLarge,
    /// The status of the run would exceed 512 KiB.
    StatusTooLarge,
    /// The API server refuses the status of the run: a field has a value that its schema does not take.
    StatusRefused,
    /// A Connection that the step names does not exist or has another kind.
    ConnectionNotFound,
    /// A Connection has changed since people decided on the step.
    ConnectionChanged,
    /// The request is not what people were shown before they decided.
    RequestChanged,
    /// A Secret that the step needs, or its key, does not exist.
    SecretNotFound,
    /// The token endpoint of a Connection gave no access token, or its credentials cannot be used.
    CredentialsRefused,
    /// Slack or a mail server refused a message.
    MessageRefused,
    /// It is unknown whether an effect that must not be repeated happened. A person said that it did not, or could
    /// not tell.
    OutcomeUnknown,
    /// A person or an outside system did not respond in time.
    RespondTimedOut,
    /// The keys of the events to wait for come from data, and cannot be used.
    InvalidEventKeys,
    /// The heartbeats of a callback stopped before it arrived.
    HeartbeatLost,
    /// An approval was rejected.
    Rejected,
    /// Changes were requested more often than the flow allows.
    TooManyChanges,
    /// A loop took more passes than its `max` allows.
    RepeatLimit,
    /// The step's fields do not make a valid request.
    InvalidRequest,
    /// The run that a `flow` step started did not succeed.
    RunNotSucceeded,
    /// Somebody deleted the run that a `flow` step started.
    RunDeleted,
    /// The run of a `flow` step cannot be started: the API server refused it permanently, or no release is pinned.
    RunRefused,
    /// The task of a `task` step failed, or gave answers that do not match its `schema`.
    TaskFailed,
    /// The worker of a task stopped reporting, or gave it up, more often than `retry` allows.
    LeaseLost,
    /// The task of a `task` step cannot be queued: it is too large, or the API server refused it permanently.
    TaskRefused,
    /// The container of a `job` step ended with an exit code other than 0, or its pod failed.
    JobFailed,
    /// The pod of a `job` step was evicted from its node.
    JobEvicted,
    /// A container of a `job` step used more memory than its limit or its node has.
    OutOfMemory,
    /// The image of a `job` step cannot be pulled.
    ImageNotPulled,
    /// A container of a `job` step cannot be started.
    PodNotStarted,
    /// The pod of a `job` step is gone, and its output with it.
    PodLost,
    /// Somebody deleted the Job of a `job` step.
    JobDeleted,
    /// The Job of a `job` step cannot be created: the operator runs no Jobs, or the API server refused it permanently.
    JobRefused,
    /// The inputs of a run do not match the schema of its release.
    InvalidInputs,
    /// The items of a step with `forEach` are not a list, are too many or too large, or are not the same after a
    /// restart.
    InvalidItems,
    /// Some items of a step with `forEach` failed, and the run goes on.
    ItemsFailed,
    /// A time or duration that comes from data cannot be used.
    InvalidTime,
    /// The run was to succeed, but a step of `finally` failed.
    FinallyFailed,
    /// The run cannot retry the run that it names.
    RetryRefused,
    /// The concurrency key of the run is empty or too long.
    InvalidKey,
    /// Other runs hold all places of the concurrency key, and the flow says `whenFull: Reject`.
    ConcurrencyRejected,
    /// The run was cancelled.
    Cancelled,
    /// An `end` step ended the run.
    Ended,
}

impl fmt::Display for StepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the serialised form is the variant's name, which Debug prints
        fmt::Debug::fmt(self, f)
    }
}
