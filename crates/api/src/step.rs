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

/// One step of a flow: a name, what every step may say, and exactly one kind.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Name, unique in the flow; a DNS label.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub name: String,
    /// Condition, one `${…}` expression that gives true or false. When false the step is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub when: Option<String>,
    /// Steps that must be done first. As soon as one step of a flow has `needs`, the steps form a graph, and a step without it
    /// needs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63), regex(pattern = LABEL)))]
    pub needs: Option<Vec<String>>,
    /// How often and when to try again after a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How long one attempt may take; never counts time spent waiting for people. Defaults to 30s for `http` and `notify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
    /// Whether an effect may be repeated when its outcome is unknown after a crash. Defaults to `AtLeastOnce`, with the same
    /// `Idempotency-Key` each time. With `AtMostOnce` a person is asked instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// What the step does; exactly one.
    #[serde(flatten)]
    pub kind: StepKind,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StepKind {
    /// Call an HTTP API.
    Http(Box<HttpStep>),
    /// Compute values; each string may hold `${…}` expressions. They become the step's output.
    Set(#[schemars(extend("maxProperties" = 64))] BTreeMap<String, Json>),
    /// Wait for a callback, a duration, a time, or the first of several.
    Wait(Box<WaitStep>),
    /// Ask people.
    Approval(Box<ApprovalStep>),
    /// Tell people.
    Notify(Box<NotifyStep>),
}

/// Whether an effect may be repeated when its outcome is unknown after a crash. Defaults to `AtLeastOnce`, with the same
/// `Idempotency-Key` each time. With `AtMostOnce` a person is asked instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Delivery {
    /// Repeat under the same `Idempotency-Key` until the outcome is known.
    AtLeastOnce,
    /// Never repeat; when the outcome is unknown, ask a person.
    AtMostOnce,
}

/// How often and when to try again.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Attempts in all, the first one included.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: i64,
    /// Pause between attempts. Defaults to 1s, doubling up to 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
}

/// Pause between attempts: `initial`, then each time `factor` times longer, at most `max`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// The first pause. Defaults to 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<HumanDuration>,
    /// Growth from pause to pause. Defaults to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub factor: Option<i64>,
    /// The longest pause. Defaults to 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<HumanDuration>,
}

/// Call an HTTP API. Either `url`, or `connection` and `path`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.url) != has(self.connection)").message("an http step has either url, or connection and path")
)]
#[x_kube(validation = Rule::new("!has(self.path) || has(self.connection)").message("path needs a connection"))]
#[x_kube(validation = Rule::new(super::address::URL_RULE).message(super::address::CREDENTIALS))]
pub struct HttpStep {
    /// Whole address; may hold `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub url: Option<String>,
    /// Name of an `http` Connection in the run's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ObjectName>,
    /// Appended to the Connection's base address; may hold `${…}` expressions, whose values are percent-encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub path: Option<String>,
    /// Request method. Defaults to GET, or POST with a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
    /// Request headers; values may hold `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::optional_texts::<64, 4096>")]
    pub headers: Option<BTreeMap<String, String>>,
    /// Query parameters; values may hold `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::optional_texts::<64, 4096>")]
    pub query: Option<BTreeMap<String, String>>,
    /// Request body, sent as JSON; strings may hold `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Json>,
    /// What counts as success. Defaults to any status from 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<HttpExpect>,
    /// The step's output, with `response.status`, `response.headers` and `response.body` at hand. Defaults to the body: parsed when
    /// it is JSON, otherwise text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
}

/// Method of an HTTP request.
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

/// What counts as success of an HTTP call.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpExpect {
    /// Status codes that count as success.
    #[schemars(length(min = 1, max = 32), inner(range(min = 100, max = 599)))]
    pub status: Vec<i64>,
}

/// Wait for a callback, a duration, a time, or the first of several.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.callback) || has(self.duration) || has(self.until)")
        .message("a wait step needs at least one of callback, duration and until")
)]
pub struct WaitStep {
    /// Wait for a POST to the callback URL; its body becomes the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackWait>,
    /// Wait this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<HumanDuration>,
    /// Wait until this time (RFC 3339); may hold `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub until: Option<String>,
    /// How long the outside system has to call back. Without it the step waits for as long as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond_within: Option<HumanDuration>,
    /// What happens after `respondWithin`. Defaults to `Fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<WaitTimeout>,
}

/// Checks on a callback, all optional.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallbackWait {
    /// JSON Schema the payload must match; another payload is refused with 422.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
    /// One `${…}` expression over `body` and `headers` that gives true or false; false is refused with 422.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub accept: Option<String>,
    /// Secret of a Standard Webhooks signature that the request must carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac: Option<CallbackHmac>,
}

/// Secret of a Standard Webhooks signature.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallbackHmac {
    /// Where the secret lies, in the run's namespace.
    pub secret_ref: SecretKeyRef,
}

/// What happens when nobody responds in time to a wait.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitTimeout {
    /// What the step comes to.
    pub outcome: WaitTimeoutOutcome,
}

/// What a wait comes to when nobody responds in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WaitTimeoutOutcome {
    /// The step fails and the run ends `TimedOut`.
    Fail,
    /// The run goes on; the step's outcome is `TimedOut`.
    Continue,
}

/// Ask people.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStep {
    /// The question; may hold `${…}` expressions.
    #[schemars(length(min = 1, max = 1024))]
    pub title: String,
    /// What the deciders see and what their decision is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub show: Option<Vec<ShowItem>>,
    /// Flat JSON Schema of what a decider may fill in; it becomes `steps.<name>.decision.values`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Json>,
    /// Who may decide, beside having the verb `approve`. Without it everybody who has the verb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<Approvers>,
    /// How many people must approve. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50))]
    pub quorum: Option<i64>,
    /// Whether the person who asked for the run may approve. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_approval: Option<bool>,
    /// How long people have. Without it the question stays open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond_within: Option<HumanDuration>,
    /// What happens after `respondWithin`. Defaults to `Fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<ApprovalTimeout>,
    /// Who may decide as well, after a while without an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub escalate: Option<Vec<Escalation>>,
    /// What "request changes" does. Without it the answer is not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// How the question is put on the forge of the Repository that the flow comes from. Defaults to the Repository's `decisions.propose`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_via: Option<AskVia>,
}

/// One thing shown to the deciders.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShowItem {
    /// Name, unique in the list.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// What is shown; strings may hold `${…}` expressions.
    pub value: Json,
}

/// Who may decide. A person needs to be in one of the lists; empty lists allow nobody.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approvers {
    /// User names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub users: Vec<String>,
    /// Groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub groups: Vec<String>,
    /// Service accounts, as `<namespace>:<name>`. A service account that is not named here never counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 3, max = 317)))]
    pub service_accounts: Vec<String>,
}

/// Who may decide as well, after a while.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Escalation {
    /// How long after the question was put.
    pub after: HumanDuration,
    /// Who may decide from then on, beside those who already could.
    pub to: Approvers,
}

/// What happens when nobody decides in time.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalTimeout {
    /// What the step comes to.
    pub outcome: ApprovalTimeoutOutcome,
}

/// What an approval comes to when nobody decides in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalTimeoutOutcome {
    /// As if rejected: the run ends `Rejected`. The step's outcome still says `TimedOut`.
    Reject,
    /// The run ends `TimedOut`.
    Fail,
    /// The run goes on; the step's outcome is `TimedOut`.
    Continue,
}

/// What "request changes" does: go back to an earlier step and do it all again, with the comment at hand.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// The step to go back to. The comment is `steps.<this step>.decision.comment` there.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub back_to: String,
    /// How often changes may be requested; once more fails the step. Defaults to 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub max: Option<i64>,
}

/// Tell people, through a webhook.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotifyStep {
    /// POST a JSON message to an address.
    pub webhook: NotifyWebhook,
}

/// A message posted to an address. Either `url`, or `connection` and `path`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.url) != has(self.connection)").message("a webhook has either url, or connection and path")
)]
#[x_kube(validation = Rule::new("!has(self.path) || has(self.connection)").message("path needs a connection"))]
#[x_kube(validation = Rule::new(super::address::URL_RULE).message(super::address::CREDENTIALS))]
pub struct NotifyWebhook {
    /// Whole address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub url: Option<String>,
    /// Name of an `http` Connection in the run's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ObjectName>,
    /// Appended to the Connection's base address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub path: Option<String>,
    /// The message; strings may hold `${…}` expressions. A plain string is sent as `{"text": …}`.
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
