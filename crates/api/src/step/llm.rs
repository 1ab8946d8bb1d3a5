//! `llm`: ask a language model.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Rules};
use crate::{Json, name::ObjectName};

/// One answer of a language model. The output is its text, or a value that fits `schema`.
// that it has a prompt or messages is checked when a release is cut: API servers know no field without a type in rules
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LlmStep {
    /// Name of an `llm` Connection in the run's namespace.
    pub connection: ObjectName,
    /// Name of the model. It may contain `${…}` expressions. The Connection may list the models that are allowed.
    #[schemars(length(min = 1, max = 1024))]
    pub model: String,
    /// Instructions for the model. They may contain `${…}` expressions. At most 256 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub system: Option<String>,
    /// Newest message to the model, after `messages`. It may contain `${…}` expressions. At most 256 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub prompt: Option<String>,
    /// Messages before `prompt`, at most 200: a list of objects with `role`, which is `user` or `assistant`, and the text
    /// `content`. Strings may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Json>,
    /// Images of the newest message, at most 16: https addresses, or resources of at most 8 MiB each. Strings may contain
    /// `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Json>,
    /// JSON Schema of the answer. The model is told it. An answer that does not fit is asked for again with the errors,
    /// twice; then the step fails with `InvalidAnswer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
    /// Most tokens of an answer. Defaults to 4096. An answer that is cut off fails the step with `AnswerCutOff`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200_000))]
    pub max_tokens: Option<i64>,
    /// Further fields of the request in the words of the provider, such as `temperature`. Strings may contain `${…}`
    /// expressions, keys may not. Fields are refused that say again what the step or its Connection says, such as `models`
    /// and `max_completion_tokens`. `max_tokens: null` sends `maxTokens` as `max_completion_tokens`. At most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Json>,
}

impl LlmStep {
    /// Most tokens of an answer, unless the step says it.
    pub const DEFAULT_MAX_TOKENS: i64 = 4096;
}

/// How long one answer of a model may take, unless the step says it.
pub const MODEL_TIMEOUT: Duration = Duration::from_secs(300);

impl Kind for LlmStep {
    fn rules(&self) -> &'static Rules {
        &Rules {
            key: "llm",
            attempts: true,
            retries: false,
            delivery: false,
            has_effect: false,
            is_billable: true,
        }
    }

    fn default_timeout(&self) -> Duration {
        MODEL_TIMEOUT
    }

    fn asks_model(&self) -> bool {
        true
    }
}
