//! Language models: what is asked of one and what it answers, in no provider's words.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::facts::EffectError;
use signoff_api::{Digest, Resource, name::ObjectName, run::Usage};

/// How often a model is told that its answer does not fit, and asked again.
pub const CORRECTIONS: u8 = 2;

/// What a language model is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LlmRequest {
    /// Name of the Connection.
    pub connection: ObjectName,
    /// Digest of its spec as it was approved; nothing is sent if it has another now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<Digest>,
    /// Name of the model.
    pub model: String,
    /// Instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The conversation so far, the newest message last.
    pub messages: Vec<Message>,
    /// Tools that the model may ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// JSON Schema of an answer that asks for no tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// How often it is asked again if its answer does not fit.
    pub corrections: u8,
    /// Most tokens of an answer.
    pub max_tokens: i64,
    /// Further fields in the words of the provider.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "camelCase")]
pub enum Message {
    /// From the flow.
    User {
        /// What it says.
        content: String,
        /// What it shows.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<Image>,
    },
    /// From the model.
    Assistant {
        /// What it says.
        content: String,
        /// The tools that it asks for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<ToolCall>,
    },
    /// What came of a tool.
    Tool {
        /// The call that it belongs to.
        id: String,
        /// What came of it.
        content: String,
        /// Whether the tool did not do what it was asked.
        #[serde(default, skip_serializing_if = "std::ops::Not::not", rename = "isError")]
        is_error: bool,
    },
}

/// A picture for a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Image {
    /// An https address, from which the provider fetches it.
    Url(String),
    /// Content of the object store.
    Resource(Resource),
}

/// A tool that a model may ask for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its arguments.
    pub schema: Value,
}

/// A model asks for a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolCall {
    /// What the model calls it, to tell its calls apart.
    pub id: String,
    /// Name of the tool, as the model gives it.
    pub name: String,
    /// The arguments; a text if they are no JSON.
    pub arguments: Value,
}

/// What came of asking a model.
#[derive(Clone, Debug, PartialEq)]
pub struct LlmResponse {
    /// What it took, also if it failed.
    pub usage: Usage,
    /// Its answer, or why there is none that can be used.
    pub answer: Result<LlmAnswer, EffectError>,
}

/// What a model answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LlmAnswer {
    /// What it says.
    pub text: String,
    /// The value that fits the schema, if there is one.
    pub value: Option<Value>,
    /// The tools that it asks for.
    pub calls: Vec<ToolCall>,
}

impl LlmAnswer {
    /// The output of a step: the value, or else the text.
    pub(crate) fn output(&self) -> Value {
        let text = || Value::String(self.text.clone());
        self.value.clone().unwrap_or_else(text)
    }
}
