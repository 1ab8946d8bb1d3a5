//! `agent`: a language model that uses tools until it is done.

use std::time::Duration;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{
    ApproversTemplate, Delivery, EscalationTemplate, HttpStep, Kind, LlmStep, MODEL_TIMEOUT, OfferedVerdict,
    Retry, Rules, ShowItem,
};
use crate::{
    HumanDuration, Json, OrExpression, Quorum, approval::AskVia, name::ObjectName, run::StepOutcome,
};

/// A language model that may ask for tools until it is done. The output is its last answer: text, or a value that fits
/// `schema`. Tools run one after another, each after the answer that asks for it was recorded.
// that it has a prompt or messages is checked when a release is cut: API servers know no field without a type in rules
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStep {
    /// Name of an `llm` Connection in the run's namespace.
    pub connection: ObjectName,
    /// Name of the model. It may contain `${…}` expressions. The Connection may list the models that are allowed.
    #[schemars(length(min = 1, max = 1024))]
    pub model: String,
    /// Instructions for the model. They may contain `${…}` expressions. At most 256 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub system: Option<String>,
    /// First message to the model, after `messages`. It may contain `${…}` expressions. At most 256 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub prompt: Option<String>,
    /// Messages before `prompt`, at most 200: a list of objects with `role`, which is `user` or `assistant`, and the
    /// text `content`. Strings may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Json>,
    /// Images of `prompt`, at most 16: https addresses, or resources of at most 8 MiB each. Strings may contain `${…}`
    /// expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Json>,
    /// JSON Schema of the last answer. One that does not fit is asked for again with the errors, twice; then the step
    /// fails with `InvalidAnswer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
    /// Most tokens of one answer. Defaults to 4096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200_000))]
    pub max_tokens: Option<i64>,
    /// Further fields of each request in the words of the provider, such as `temperature`. Strings may contain `${…}`
    /// expressions. At most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Json>,
    /// Most answers of the model. Defaults to 20. The step fails with `BudgetExceeded` when it would take more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 250))]
    pub max_turns: Option<i64>,
    /// Most tokens of all answers and questions together. Defaults to 500000. Once so many are used, the model is asked
    /// no more, and the step fails with `BudgetExceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub token_budget: Option<i64>,
    /// Longest time that the model and its tools may take together. Time spent waiting for people does not count.
    /// Defaults to 1h. Once it is over, the model is asked no more, and the step fails with `BudgetExceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_budget: Option<HumanDuration>,
    /// Tools that the model may ask for.
    #[schemars(schema_with = "tools")]
    pub tools: Vec<AgentTool>,
}

/// A tool that a model may ask for.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentTool {
    /// Name of the tool, unique in the step: letters, digits, `_` and `-`.
    #[schemars(length(min = 1, max = 63), regex(pattern = TOOL_NAME))]
    pub name: String,
    /// What the tool does, as the model is told. It is literal text.
    #[schemars(length(min = 1, max = 1024))]
    pub description: String,
    /// JSON Schema of the arguments, of the type `object`. Arguments that do not fit are not used, and the model is
    /// told why. Unless it says `additionalProperties`, there are no other arguments than its `properties`.
    pub schema: Json,
    /// Whether a call may be repeated if its outcome is unknown after a crash. `AtLeastOnce`, the default, repeats it
    /// with the same `Idempotency-Key`. `AtMostOnce` never repeats it: people are asked whether it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// When and how often a failed attempt of a call is repeated. After the last one, the model is told why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Longest time that one attempt of a call may take. Defaults to 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
    /// Most calls of the tool. Defaults to 50. Further ones are not made, and the model is told so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_calls: Option<i64>,
    /// People must approve each call, with its exact arguments and effect, before it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ToolApproval>,
    /// What the tool does. Exactly one kind is set. Expressions can read `args` and `tool.name`.
    #[serde(flatten)]
    pub kind: ToolKind,
}

/// What a tool does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ToolKind {
    /// Calls an HTTP API.
    Http(Box<HttpStep>),
}

/// A question to people before a call of a tool. They see the tool, its arguments and its effect. `RequestChanges` is
/// always on offer: the model is told the comment.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolApproval {
    /// Condition over `args`: one `${…}` expression that returns true or false. If it is false, people are not asked.
    /// If it cannot be evaluated, they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub when: Option<String>,
    /// The question. It may contain `${…}` expressions, also over `args` and `tool.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub title: Option<String>,
    /// Further items that people see before they decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 29))]
    pub show: Option<Vec<ShowItem>>,
    /// Whether deciders may change the arguments, within the `schema` of the tool. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub editable: Option<bool>,
    /// Limits who may decide. A decider also needs the verb `approve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<ApproversTemplate>,
    /// Number of people who must approve, from 1 to 50, or one `${…}` expression that gives it. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<OrExpression<Quorum>>,
    /// Whether the person who requested the run, and the author of the release, may approve. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_approval: Option<bool>,
    /// Verdicts that people can choose from beside `RequestChanges`: `[Approve]`, or `[Approve, Reject]`, which is the
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2))]
    pub verdicts: Option<Vec<OfferedVerdict>>,
    /// Time limit for the answer: a duration, or one `${…}` expression that gives one of at least 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond_within: Option<OrExpression<HumanDuration>>,
    /// What happens when `respondWithin` is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<ToolTimeout>,
    /// What happens when people reject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_reject: Option<ToolRejection>,
    /// How often an Event reminds people while the question is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_every: Option<OrExpression<HumanDuration>>,
    /// Rules that let more people decide if the question stays open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub escalate: Option<Vec<EscalationTemplate>>,
    /// Whether approvers may hand their vote on. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegate: Option<bool>,
    /// How the question is also asked in the git repository that the flow comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_via: Option<AskVia>,
}

/// Result of a call of a tool that people rejected.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolRejection {
    /// `Continue`: the model is told, with the comment. `Reject`: the step ends `Rejected`. Without `onReject` it is
    /// `Continue`.
    pub outcome: ToolRejectionOutcome,
}

/// Result of a call of a tool that people rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ToolRejectionOutcome {
    /// The model is told.
    Continue,
    /// The step ends.
    Reject,
}

/// Result of a question about a call of a tool that nobody answered in time.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolTimeout {
    /// `Continue`: the call is not made, and the model is told. `Fail`: the step ends `TimedOut`. Without `onTimeout`
    /// it is `Continue`.
    pub outcome: ToolTimeoutOutcome,
}

/// Result of a question about a call of a tool that nobody answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ToolTimeoutOutcome {
    /// The model is told.
    Continue,
    /// The step ends.
    Fail,
}

/// Pattern of the name of a tool, as providers take it.
const TOOL_NAME: &str = "^[A-Za-z0-9_-]+$";

impl AgentStep {
    /// Most answers of the model, unless the step says it.
    pub const DEFAULT_TURNS: i64 = 20;
    /// Most tokens, unless the step says it.
    pub const DEFAULT_TOKENS: i64 = 500_000;
    /// Longest time, unless the step says it.
    pub const DEFAULT_TIME: Duration = Duration::from_secs(3600);

    /// What the model is asked, without its tools.
    pub fn as_llm(&self) -> LlmStep {
        LlmStep {
            connection: self.connection.clone(),
            model: self.model.clone(),
            system: self.system.clone(),
            prompt: self.prompt.clone(),
            messages: self.messages.clone(),
            images: self.images.clone(),
            schema: self.schema.clone(),
            max_tokens: self.max_tokens,
            options: self.options.clone(),
        }
    }
}

impl AgentTool {
    /// Most calls, unless the tool says it.
    pub const DEFAULT_CALLS: i64 = 50;
}

/// The tools, whose rules are checked when a release is cut: as often as they may be there, they would cost the API
/// server too much.
fn tools(generator: &mut SchemaGenerator) -> Schema {
    fn without_rules(schema: &mut serde_json::Value) {
        match schema {
            serde_json::Value::Object(fields) => {
                fields.remove("x-kubernetes-validations");
                fields.values_mut().for_each(without_rules);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(without_rules),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_) => {}
        }
    }
    let mut items = generator.subschema_for::<AgentTool>().to_value();
    without_rules(&mut items);
    let schema = serde_json::json!({ "type": "array", "minItems": 1, "maxItems": 32, "items": items });
    Schema::try_from(schema).unwrap_or_default()
}

impl Kind for AgentStep {
    fn rules(&self) -> &'static Rules {
        &Rules {
            key: "agent",
            attempts: true,
            retries: false,
            delivery: false,
            has_effect: true,
            is_billable: true,
        }
    }

    fn default_timeout(&self) -> Duration {
        MODEL_TIMEOUT
    }

    fn asks_model(&self) -> bool {
        true
    }

    fn failures(&self) -> &'static [StepOutcome] {
        &[StepOutcome::Failed, StepOutcome::Rejected, StepOutcome::TimedOut]
    }
}
