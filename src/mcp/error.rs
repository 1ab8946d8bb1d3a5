//! Why a tool could do nothing, as an agent reads it: a reason, what happened, and what to do.

use serde_json::{Value, json};

use crate::{client::ReleaseError, cluster::error_chain};

/// Why a tool could do nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct ToolError {
    reason: String,
    message: String,
    hint: Option<String>,
}

impl ToolError {
    /// An error with a reason for programs and a message for people.
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
            hint: None,
        }
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn arguments(message: impl Into<String>) -> Self {
        Self::new("InvalidArguments", message).hint("correct the arguments and call the tool again")
    }

    /// What the API server said about `what`, or that it said nothing.
    pub fn api(what: &str, error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::new("Unavailable", format!("{what}: {}", error_chain(error)))
                .hint("the API server does not answer; try again in a while");
        };
        let reason = if status.reason.is_empty() {
            "Failed"
        } else {
            &status.reason
        };
        let said = Self::new(reason, format!("{what}: {}", status.message));
        match status.code {
            401 => said.hint("the token is not accepted; use another one"),
            403 => {
                said.hint("your user may not do this; ask an administrator of the namespace for the right")
            }
            404 => said.hint("check the name and the namespace; the list tools show what is there"),
            410 => said.hint("the cursor is too old; begin the list again without it"),
            429 | 500..=599 => said.hint("try again in a while"),
            _ => said,
        }
    }

    pub(super) fn to_value(&self) -> Value {
        json!({"error": {"reason": self.reason, "message": self.message, "hint": self.hint}})
    }
}

impl From<ReleaseError> for ToolError {
    fn from(error: ReleaseError) -> Self {
        match &error {
            ReleaseError::Flow(_, why) | ReleaseError::Release(_, why) => Self::api(&error.to_string(), why),
            ReleaseError::NotYet { .. } => Self::new("NoRelease", format!("no run was started: {error}"))
                .hint("people promote a release; get_flow shows which is live and which is the draft"),
            ReleaseError::InvalidDraft { .. } => Self::new("InvalidDefinition", error.to_string())
                .hint("get_flow shows the problems; run the live release instead, or wait until the draft is mended"),
            ReleaseError::OtherFlow { .. } => {
                Self::new("NotFound", error.to_string()).hint("list_releases shows those of the flow")
            }
        }
    }
}
