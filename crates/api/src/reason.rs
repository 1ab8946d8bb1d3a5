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

/// Why a step, and with it usually its run, failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StepReason {
    /// An expression could not be evaluated.
    ExpressionFailed,
    /// A question could not be put: it says nothing, or the API server refused it for good.
    ApprovalRefused,
    /// An expression takes more time or memory than it may.
    ExpressionTooCostly,
    /// An HTTP response had a status the step does not expect.
    UnexpectedStatus,
    /// The remote could not be reached or broke off.
    Unreachable,
    /// One attempt took longer than the step's `timeout`.
    AttemptTimedOut,
    /// The address is one that steps may not call.
    AddressRefused,
    /// A response was larger than the limit.
    ResponseTooLarge,
    /// A response was not what its content type says.
    InvalidResponse,
    /// An output is above 64 KiB.
    OutputTooLarge,
    /// The run's status would outgrow 512 KiB.
    StatusTooLarge,
    /// A Connection that the step names does not exist or does not fit.
    ConnectionNotFound,
    /// A Connection is not what it was when people decided on what the step does.
    ConnectionChanged,
    /// A Secret or a key of it that the step needs does not exist.
    SecretNotFound,
    /// It is unknown whether an effect that must not be repeated happened, and a person said it did not or could not tell.
    OutcomeUnknown,
    /// A person or an outside system did not respond in time.
    RespondTimedOut,
    /// An approval was rejected.
    Rejected,
    /// Changes were requested more often than the flow allows.
    TooManyChanges,
    /// A request could not be formed from what the step says.
    InvalidRequest,
    /// A `wait` names a time that cannot be read.
    InvalidTime,
    /// The run was cancelled.
    Cancelled,
}

impl fmt::Display for StepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the serialised form is the variant's name, which Debug prints
        fmt::Debug::fmt(self, f)
    }
}
