//! Steps of a flow: what every step may say and what each kind says.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    HumanDuration, Json,
    approval::AskVia,
    connection::SecretKeyRef,
    name::{LABEL, ObjectName},
};

/// One step: a name, options that every kind of step has, and exactly one kind, such as `http` or `approval`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Name of the step, unique in the flow. It is a DNS label.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub name: String,
    /// Condition: one `${…}` expression that returns true or false. If it is false, the step is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub when: Option<String>,
    /// Names of the steps that must finish before this step starts. If any step of the flow has `needs`, the steps
    /// form a graph, and a step without `needs` starts at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63), regex(pattern = LABEL)))]
    pub needs: Option<Vec<String>>,
    /// When and how often a failed attempt is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Longest time that one attempt may take. Time spent waiting for people does not count. Defaults to 30s for
    /// `http` and `notify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
    /// Whether the step may be repeated if its outcome is unknown after a crash. `AtLeastOnce`, the default, repeats
    /// it with the same `Idempotency-Key`. `AtMostOnce` never repeats it: people are asked whether it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// What the step does. Exactly one kind is set.
    #[serde(flatten)]
    pub kind: StepKind,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StepKind {
    /// Calls an HTTP API.
    Http(Box<HttpStep>),
    /// Computes values, which become the step's output. Strings may contain `${…}` expressions.
    Set(#[schemars(extend("maxProperties" = 64))] BTreeMap<String, Json>),
    /// Waits for a callback, a duration, or a time.
    Wait(Box<WaitStep>),
    /// Asks people for a decision.
    Approval(Box<ApprovalStep>),
    /// Sends people a message.
    Notify(Box<NotifyStep>),
}

/// Whether the step may be repeated if its outcome is unknown after a crash. `AtLeastOnce`, the default, repeats it
/// with the same `Idempotency-Key`. `AtMostOnce` never repeats it: people are asked whether it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Delivery {
    /// Repeat the effect with the same `Idempotency-Key` until its outcome is known.
    AtLeastOnce,
    /// Never repeat the effect. If its outcome is unknown, ask people.
    AtMostOnce,
}

/// Number of attempts and the pause between them.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Total number of attempts, including the first one.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: i64,
    /// Pause between attempts. Defaults to 1s, doubling up to 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
}

/// The first pause is `initial`. Each further pause is `factor` times longer, up to `max`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// First pause. Defaults to 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<HumanDuration>,
    /// Growth from one pause to the next. Defaults to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub factor: Option<i64>,
    /// Longest pause. Defaults to 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<HumanDuration>,
}

/// An HTTP request to `url`, or to `path` of a `connection`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.url) != has(self.connection)").message("an http step has either url, or connection and path")
)]
#[x_kube(validation = Rule::new("!has(self.path) || has(self.connection)").message("path needs a connection"))]
#[x_kube(validation = Rule::new(super::address::URL_RULE).message(super::address::CREDENTIALS))]
pub struct HttpStep {
    /// Complete address. It may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub url: Option<String>,
    /// Name of an `http` Connection in the run's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ObjectName>,
    /// Path that is appended to the base address of the Connection. It may contain `${…}` expressions, whose values
    /// are percent-encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub path: Option<String>,
    /// Request method. Defaults to GET, or to POST if there is a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
    /// Request headers. Values may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::optional_texts::<64, 4096>")]
    pub headers: Option<BTreeMap<String, String>>,
    /// Query parameters. Values may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::optional_texts::<64, 4096>")]
    pub query: Option<BTreeMap<String, String>>,
    /// Request body, sent as JSON. Strings may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Json>,
    /// Responses that count as success. Defaults to status 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<HttpExpect>,
    /// Output of the step. Expressions can read `response.status`, `response.headers` and `response.body`. Defaults
    /// to the response body: parsed if it is JSON, otherwise as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
}

/// Request method. Defaults to GET, or to POST if there is a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(
    missing_docs,
    reason = "the names are the HTTP methods; per-variant docs would break the enum's schema"
)]
pub enum HttpMethod {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl std::fmt::Display for HttpMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        })
    }
}

/// Conditions on the response of an HTTP call.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpExpect {
    /// Status codes that count as success.
    #[schemars(length(min = 1, max = 32), inner(range(min = 100, max = 599)))]
    pub status: Vec<i64>,
}

/// At least one of `callback`, `duration` and `until`. The first one that happens ends the wait.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.callback) || has(self.duration) || has(self.until)")
        .message("a wait step needs at least one of callback, duration and until")
)]
pub struct WaitStep {
    /// Wait for a POST to the callback URL. The request body becomes the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackWait>,
    /// Wait for this duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<HumanDuration>,
    /// Wait until this time (RFC 3339). It may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub until: Option<String>,
    /// Time limit for the callback. Without it, the step waits without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond_within: Option<HumanDuration>,
    /// What happens when `respondWithin` is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<WaitTimeout>,
}

/// Checks on the callback request. All of them are optional.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallbackWait {
    /// JSON Schema of the request body. A body that does not match is refused with status 422.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
    /// One `${…}` expression over `body` and `headers` that returns true or false. If it is false, the request is
    /// refused with status 422.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub accept: Option<String>,
    /// Requires the request to carry a Standard Webhooks signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac: Option<CallbackHmac>,
}

/// Secret of a Standard Webhooks signature.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallbackHmac {
    /// Key of a Secret in the run's namespace that holds the signing secret.
    pub secret_ref: SecretKeyRef,
}

/// Result of a wait whose time limit is over.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitTimeout {
    /// `Fail`: the step fails and the run ends as `TimedOut`. `Continue`: the run goes on, and the outcome of the
    /// step is `TimedOut`. Without `onTimeout` it is `Fail`.
    pub outcome: WaitTimeoutOutcome,
}

/// Result of a wait whose time limit is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WaitTimeoutOutcome {
    /// The step fails and the run ends as `TimedOut`.
    Fail,
    /// The run goes on. The outcome of the step is `TimedOut`.
    Continue,
}

/// A question, what people see with it, and who may decide.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStep {
    /// The question. It may contain `${…}` expressions.
    #[schemars(length(min = 1, max = 1024))]
    pub title: String,
    /// Items that people see before they decide. The decision is bound to their exact content by a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub show: Option<Vec<ShowItem>>,
    /// Flat JSON Schema of the fields that a decider may fill in. The values become `steps.<name>.decision.values`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Json>,
    /// Limits who may decide. A decider also needs the verb `approve`. Without this field, everybody with the verb
    /// may decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<Approvers>,
    /// Number of people who must approve. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50))]
    pub quorum: Option<i64>,
    /// Whether the person who requested the run, and the author of the release, may approve. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_approval: Option<bool>,
    /// Time limit for the answer. Without it, the question stays open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond_within: Option<HumanDuration>,
    /// What happens when `respondWithin` is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<ApprovalTimeout>,
    /// Rules that let more people decide if the question stays open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub escalate: Option<Vec<Escalation>>,
    /// What "request changes" does. Without this field, that answer is not available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// How the question is also asked in the git repository that the flow comes from. Defaults to `decisions.propose`
    /// of the Repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_via: Option<AskVia>,
}

/// A name and a value that is shown.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShowItem {
    /// Name of the item, unique in the list.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Value of the item. Strings may contain `${…}` expressions.
    pub value: Json,
}

/// A decider must be in one of the lists. If all lists are empty, nobody may decide.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approvers {
    /// User names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub users: Vec<String>,
    /// Group names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub groups: Vec<String>,
    /// Service accounts, as `<namespace>:<name>`. The decision of a service account that is not listed never counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 3, max = 317)))]
    pub service_accounts: Vec<String>,
}

/// More people and the time from which they may decide.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Escalation {
    /// Time after the question was asked.
    pub after: HumanDuration,
    /// People who may decide from then on, in addition to those who already could.
    pub to: Approvers,
}

/// Result of an approval that nobody decided in time.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalTimeout {
    /// `Fail`: the run ends as `TimedOut`. `Reject`: the run ends as `Rejected`, and the outcome of the step is
    /// `TimedOut`. `Continue`: the run goes on, and the outcome of the step is `TimedOut`. Without `onTimeout` it is
    /// `Fail`.
    pub outcome: ApprovalTimeoutOutcome,
}

/// Result of an approval that nobody decided in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalTimeoutOutcome {
    /// The run ends as `Rejected`. The outcome of the step is `TimedOut`.
    Reject,
    /// The run ends as `TimedOut`.
    Fail,
    /// The run goes on. The outcome of the step is `TimedOut`.
    Continue,
}

/// The run goes back to an earlier step and repeats everything from there.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// Step to go back to. There, `${steps.<this step>.decision.?comment.orValue('')}` is the comment. In the first
    /// pass there is no decision yet.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub back_to: String,
    /// How often changes may be requested. One more request fails the step. Defaults to 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub max: Option<i64>,
}

/// A message and where it is sent.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotifyStep {
    /// Sends a JSON message to an address with POST.
    pub webhook: NotifyWebhook,
}

/// A JSON message to `url`, or to `path` of a `connection`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.url) != has(self.connection)").message("a webhook has either url, or connection and path")
)]
#[x_kube(validation = Rule::new("!has(self.path) || has(self.connection)").message("path needs a connection"))]
#[x_kube(validation = Rule::new(super::address::URL_RULE).message(super::address::CREDENTIALS))]
pub struct NotifyWebhook {
    /// Complete address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub url: Option<String>,
    /// Name of an `http` Connection in the run's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ObjectName>,
    /// Path that is appended to the base address of the Connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub path: Option<String>,
    /// The message. Strings may contain `${…}` expressions. A plain string is sent as `{"text": …}`.
    pub message: Json,
}

impl StepKind {
    /// The key under which a manifest says it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Set(_) => "set",
            Self::Wait(_) => "wait",
            Self::Approval(_) => "approval",
            Self::Notify(_) => "notify",
        }
    }

    /// Whether performing it counts as a billable step.
    pub fn is_billable(&self) -> bool {
        matches!(self, Self::Http(_))
    }
}
