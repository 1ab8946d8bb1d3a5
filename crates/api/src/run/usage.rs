//! What language models have been asked for.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Tokens and calls of language models, as their APIs count them.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens that were sent.
    #[serde(default)]
    pub input_tokens: i64,
    /// Tokens that were answered.
    #[serde(default)]
    pub output_tokens: i64,
    /// Number of calls that were answered.
    #[serde(default)]
    pub calls: i64,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            calls: self.calls.saturating_add(other.calls),
        }
    }

    /// Tokens in both directions.
    pub fn tokens(self) -> i64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}
