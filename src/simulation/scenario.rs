//! Scenario files: what a run is given, what others do, and what is expected of it.

use std::{collections::BTreeMap, path::PathBuf};

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use signoff_api::{
    HumanDuration, RunPhase, Verdict, bounds,
    json::JsonObject,
    name::{FlowName, ObjectName},
    notification::NotificationEvent,
    reason::StepReason,
    run::StepOutcome,
};

/// The group of scenarios. No API server serves it, and Repositories pass it over.
pub const API_GROUP: &str = "test.signoff.dev";
/// The group and version of scenarios.
pub const API_VERSION: &str = "test.signoff.dev/v1alpha1";
/// The kind of a scenario.
pub const KIND: &str = "Scenario";
/// Most events of a scenario.
const MAX_EVENTS: usize = 1_000;

/// Whether a document is of the group of scenarios, in whatever version.
pub fn is_scenario(document: &Value) -> bool {
    let version = document["apiVersion"].as_str().unwrap_or_default();
    version.split_once('/').map_or(version, |(group, _)| group) == API_GROUP
}

/// One run of a flow, offline.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// Group and version.
    pub api_version: String,
    /// Always `Scenario`.
    pub kind: String,
    /// Its name.
    pub metadata: Metadata,
    /// What it says.
    pub spec: ScenarioSpec,
}

/// The name of a scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Unique in its file.
    pub name: ObjectName,
}

/// What a run is given, what others do, and what is expected.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScenarioSpec {
    /// Manifests with the flow and the Connections that it uses, relative to the scenario's file.
    pub files: Vec<PathBuf>,
    /// Name of the flow.
    pub flow: FlowName,
    /// Time at which the run is created.
    pub now: Timestamp,
    /// User who requests the run.
    #[serde(default = "requester")]
    pub requested_by: String,
    /// Inputs of the run.
    #[serde(default)]
    pub inputs: JsonObject,
    /// Event of a trigger that starts the run, instead of `inputs`.
    pub trigger: Option<ScenarioTrigger>,
    /// Results of steps that call others.
    #[serde(default)]
    pub stubs: Vec<Stub>,
    /// What people and other systems do, and when.
    #[serde(default)]
    pub events: Vec<Event>,
    /// What must have happened at the end.
    #[serde(default)]
    pub expect: Expect,
}

/// An event of a trigger of the flow. A signature that the trigger asks for is taken as given.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScenarioTrigger {
    /// Name of the trigger.
    pub name: String,
    /// Time of the event. Defaults to `now`.
    pub at: Option<Timestamp>,
    /// Of a webhook: headers of the request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Of a webhook: JSON body of the request.
    #[serde(default)]
    pub body: Value,
    /// Of a flow: the run that ended.
    pub run: Option<EndedRun>,
}

/// A run of another flow that ended.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndedRun {
    /// Its inputs.
    #[serde(default)]
    pub inputs: JsonObject,
    /// Its output.
    pub output: Option<Value>,
    /// Phase in which it ended. Defaults to `Succeeded`.
    #[serde(default = "succeeded")]
    pub outcome: RunPhase,
}

impl Default for EndedRun {
    fn default() -> Self {
        Self {
            inputs: JsonObject::default(),
            output: None,
            outcome: succeeded(),
        }
    }
}

fn succeeded() -> RunPhase {
    RunPhase::Succeeded
}

fn requester() -> String {
    "dev".to_owned()
}

/// The result of a step's call. Of several that fit, a crash comes first, then the one that names most.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stub {
    /// Name of the step.
    pub step: String,
    /// Only for this pass of the step.
    pub pass: Option<i64>,
    /// Only for this item, from 0, of a step with `forEach`.
    pub item: Option<i64>,
    /// Only for this attempt.
    pub attempt: Option<i64>,
    /// Only for this answer of the model of an `agent` step, from 1.
    pub turn: Option<i64>,
    /// For calls of this tool of an `agent` step.
    pub tool: Option<String>,
    /// Only for this call of the tool, by its number among all calls of the step.
    pub call: Option<i64>,
    /// Of the model of an `agent` step: the tools that it asks for.
    #[serde(default)]
    pub calls: Vec<StubCall>,
    /// Body of a successful answer.
    pub output: Option<Value>,
    /// Texts that a step with `save` keeps: `body` is the body of a successful answer.
    #[serde(default)]
    pub files: BTreeMap<FileName, String>,
    /// A whole answer.
    pub response: Option<StubResponse>,
    /// Why there is no answer.
    pub error: Option<StubError>,
    /// The operator is killed at this moment, and starts again. This happens once; the call is then answered by another
    /// stub.
    pub crash: Option<Crash>,
}

/// A tool that the model of an `agent` step asks for.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StubCall {
    /// Name of the tool.
    pub tool: String,
    /// Arguments of the call.
    #[serde(default = "no_arguments")]
    pub args: Value,
}

fn no_arguments() -> Value {
    Value::Object(serde_json::Map::new())
}

/// What a step keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FileName {
    /// The body of the answer.
    Body,
}

/// An HTTP answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StubResponse {
    /// Status code.
    #[serde(default = "ok")]
    pub status: u16,
    /// Headers; their names are in lower case.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body.
    #[serde(default)]
    pub body: Value,
}

fn ok() -> u16 {
    200
}

/// Why a call brought no answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StubError {
    /// Reason, such as `Unreachable` or `AttemptTimedOut`.
    pub reason: StepReason,
    /// Message.
    #[serde(default)]
    pub message: String,
    /// Status of the response, if there was one.
    pub status: Option<u16>,
    /// Whether another attempt may help. Defaults to what the operator does for the reason.
    pub retryable: Option<bool>,
    /// Whether the effect may have happened. Defaults to true for `AttemptTimedOut`.
    pub may_have_happened: Option<bool>,
}

/// The moment at which the operator is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Crash {
    /// After the intent was written, and before the call was sent.
    BeforeSend,
    /// After the call was sent, and before its answer was written.
    AfterSend,
}

/// Something that happens at a time.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    /// When: a duration after the start, or a time.
    pub at: At,
    /// Step that it is for. `run` events have none.
    pub step: Option<String>,
    /// Item that it is for, from 0, if the step has `forEach`.
    pub item: Option<i64>,
    /// A person decides.
    pub decide: Option<Decide>,
    /// Another system answers.
    pub callback: Option<Callback>,
    /// Another system says that it is still at work.
    pub heartbeat: Option<Heartbeat>,
    /// An event comes by a webhook trigger of the flow, for waits.
    #[serde(rename = "event")]
    pub webhook: Option<TriggerEvent>,
    /// Somebody answers a callback that never came.
    pub resolve: Option<Resolve>,
    /// A worker takes the task of a step and answers it.
    pub task: Option<TaskAnswer>,
    /// Somebody changes the run.
    pub run: Option<RunEvent>,
    /// What comes of it: the phase of the task (`Succeeded`, `Failed`, `Queued` if it is tried again, `Claimed` if the
    /// result does not match), the reason of the decision (`Counted`, `SelfApproval`, …), the status of the answer to
    /// the callback (`202`, `422`, …), or `Resolved` or `Refused`.
    pub expect: Option<Value>,
}

/// A time in a scenario.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum At {
    /// After the start.
    After(HumanDuration),
    /// At this time.
    Time(Timestamp),
}

/// A decision of a person.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decide {
    /// User name.
    pub by: String,
    /// Groups of the user.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// Comment.
    pub comment: Option<String>,
    /// What the user fills in.
    pub values: Option<JsonObject>,
    /// Items that the user changes.
    pub shown: Option<JsonObject>,
    /// To whom the user hands on their vote.
    pub to: Option<String>,
}

/// A callback that another system sends. A signature that the wait asks for is taken as given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Callback {
    /// JSON body.
    #[serde(default)]
    pub body: Value,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// A callback that somebody answers by hand. Whether they may is not asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    /// User name.
    pub by: String,
    /// Why.
    pub message: String,
    /// JSON body.
    #[serde(default)]
    pub body: Value,
}

/// What a worker answers. The lease is not part of it: a worker that is lost answers with an error that is retryable.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskAnswer {
    /// Name of the worker.
    #[serde(default = "worker")]
    pub by: String,
    /// The result.
    pub result: Option<Value>,
    /// Why there is none.
    pub error: Option<TaskError>,
}

/// Why a worker has no result.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskError {
    /// The reason.
    #[serde(default)]
    pub message: String,
    /// Whether another attempt may help.
    #[serde(default)]
    pub retryable: bool,
}

fn worker() -> String {
    "worker".to_owned()
}

/// An event that comes by a webhook trigger of the flow. A signature that the trigger asks for is taken as given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerEvent {
    /// Name of the trigger.
    pub trigger: String,
    /// Headers of the request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// JSON body of the request.
    #[serde(default)]
    pub body: Value,
}

/// A heartbeat of a callback. It says nothing more.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {}

/// A change of the run's spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunEvent {
    /// Somebody cancels it.
    Cancel,
    /// Somebody terminates it.
    Terminate,
    /// Somebody suspends it.
    Suspend,
    /// Somebody lets it go on.
    Resume,
}

/// What must have happened at the end. What is not named may be anything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expect {
    /// Phase of the run.
    pub outcome: Option<RunPhase>,
    /// Part of the reason and message of the run's error.
    pub error: Option<String>,
    /// Output of the run, whole.
    pub output: Option<Value>,
    /// Longest time from start to end.
    pub finished_within: Option<HumanDuration>,
    /// Steps.
    #[serde(default)]
    pub steps: Vec<ExpectStep>,
    /// Calls that were sent.
    #[serde(default)]
    pub calls: Vec<ExpectCall>,
    /// Questions that were asked.
    #[serde(default)]
    pub approvals: Vec<ExpectApproval>,
    /// Messages that `notifications` of the flow asked for.
    #[serde(default)]
    pub notifications: Vec<ExpectNotification>,
    /// Expressions over the end that must be true, with `inputs`, `steps`, `run`, `calls`, `approvals` and
    /// `notifications`.
    #[serde(default)]
    pub asserts: Vec<String>,
}

impl Expect {
    /// Whether nothing is expected.
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            outcome,
            error,
            output,
            finished_within,
            steps,
            calls,
            approvals,
            notifications,
            asserts,
        } = self;
        outcome.is_none()
            && error.is_none()
            && output.is_none()
            && finished_within.is_none()
            && steps.is_empty()
            && calls.is_empty()
            && approvals.is_empty()
            && notifications.is_empty()
            && asserts.is_empty()
    }
}

/// What must be true of a step.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpectStep {
    /// Name of the step.
    pub step: String,
    /// Which pass; the last one by default.
    pub pass: Option<i64>,
    /// Which item, from 0, of a step with `forEach`; the step itself by default.
    pub item: Option<i64>,
    /// Outcome of the step or item.
    pub outcome: Option<StepOutcome>,
    /// Output of the step or item, whole.
    pub output: Option<Value>,
    /// Number of passes. 0: it never ran.
    pub passes: Option<usize>,
}

/// What must be true of the calls of a step.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpectCall {
    /// Name of the step.
    pub step: String,
    /// Only calls of this item, from 0, of a step with `forEach`.
    pub item: Option<i64>,
    /// Only calls of this tool of an `agent` step.
    pub tool: Option<String>,
    /// Number of calls that were sent. 0: never.
    pub times: Option<usize>,
    /// Part of the last request: `method`, `url`, `connection`, `path`, `query`, `headers`, `body`.
    pub request: Option<Value>,
}

/// A message that must have been sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpectNotification {
    /// Event that it is about.
    pub event: NotificationEvent,
    /// Only messages through this channel.
    pub channel: Option<ChannelName>,
    /// Only messages with this part in the text, in the subject of the mail, or in the JSON document.
    pub contains: Option<String>,
    /// Number of such messages. 0: never. By default there is at least one.
    pub times: Option<usize>,
}

/// A channel of notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ChannelName {
    /// A Slack channel.
    Slack,
    /// A mail.
    Email,
    /// A Microsoft Teams channel.
    Teams,
    /// A Discord channel.
    Discord,
    /// A JSON message.
    Webhook,
    /// A `CloudEvent`.
    CloudEvent,
}

impl ChannelName {
    /// Its name in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Email => "email",
            Self::Teams => "teams",
            Self::Discord => "discord",
            Self::Webhook => "webhook",
            Self::CloudEvent => "cloudEvent",
        }
    }
}

/// What must be true of a question.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpectApproval {
    /// Name of the step.
    pub step: String,
    /// Which pass; the last one by default.
    pub pass: Option<i64>,
    /// Which item, from 0, of a step with `forEach`; the last one asked about by default.
    pub item: Option<i64>,
    /// The question.
    pub title: Option<String>,
    /// Part of who may decide.
    pub approvers: Option<Value>,
    /// Part of what is shown, by name.
    pub shown: Option<Value>,
    /// Phase at the end.
    pub phase: Option<signoff_api::ApprovalPhase>,
}

/// Why a document is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// A field cannot be read.
    #[error("{field}: {message}")]
    Field {
        /// Its path, such as `spec.events[1].decide`.
        field: String,
        /// What is wrong.
        message: String,
    },
}

impl ScenarioError {
    /// The field that is wrong.
    pub fn field(&self) -> &str {
        match self {
            Self::Field { field, .. } => field,
        }
    }

    fn at(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Field {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl Scenario {
    /// Reads a document.
    ///
    /// # Errors
    /// The first field that cannot be read, or that contradicts another.
    pub fn parse(document: Value) -> Result<Self, ScenarioError> {
        let scenario: Self = serde_path_to_error::deserialize(document).map_err(|error| {
            let field = match error.path().to_string() {
                path if path == "." => String::new(),
                path => path,
            };
            ScenarioError::at(field, error.into_inner().to_string())
        })?;
        if scenario.api_version != API_VERSION {
            let message = format!("{} is not known; use {API_VERSION}", scenario.api_version);
            return Err(ScenarioError::at("apiVersion", message));
        }
        if scenario.kind != KIND {
            let message = format!("there is no kind {:?}; use {KIND}", scenario.kind);
            return Err(ScenarioError::at("kind", message));
        }
        if scenario.spec.trigger.is_some() && !scenario.spec.inputs.0.is_empty() {
            let message = "the inputs come from the trigger: leave one of trigger and inputs out";
            return Err(ScenarioError::at("spec.inputs", message));
        }
        for (index, stub) in scenario.spec.stubs.iter().enumerate() {
            let results = [
                !stub.calls.is_empty(),
                stub.output.is_some(),
                !stub.files.is_empty(),
                stub.response.is_some(),
                stub.error.is_some(),
                stub.crash.is_some(),
            ];
            exactly_one(&results).map_err(|()| {
                let message = "a stub has one of calls, output, files, response, error, crash";
                ScenarioError::at(format!("spec.stubs[{index}]"), message)
            })?;
            let bodies = stub.response.as_ref().map(|response| &response.body);
            if stub.output.iter().chain(bodies).any(has_long_integer) {
                let message = "an integer beyond 64 bits arrives as a text: write it in quotes";
                return Err(ScenarioError::at(format!("spec.stubs[{index}]"), message));
            }
        }
        scenario.spec.check_times()?;
        for (index, event) in scenario.spec.events.iter().enumerate() {
            let field = format!("spec.events[{index}]");
            let sorts = [
                event.decide.is_some(),
                event.callback.is_some(),
                event.heartbeat.is_some(),
                event.webhook.is_some(),
                event.resolve.is_some(),
                event.task.is_some(),
                event.run.is_some(),
            ];
            exactly_one(&sorts).map_err(|()| {
                let message = "an event has one of decide, callback, heartbeat, event, resolve, task, run";
                ScenarioError::at(field.clone(), message)
            })?;
            let is_of_step = event.run.is_none() && event.webhook.is_none();
            if is_of_step != event.step.is_some() {
                let message = "a decision, a callback, a heartbeat, a resolution or a task names its step; an event of a trigger and a change of the run name none";
                return Err(ScenarioError::at(field, message));
            }
        }
        Ok(scenario)
    }
}

impl ScenarioSpec {
    fn check_times(&self) -> Result<(), ScenarioError> {
        let known = bounds::EARLIEST_TIME..=bounds::LATEST_TIME;
        if !known.contains(&self.now) {
            let message = format!(
                "{} does not lie between {} and {}",
                self.now,
                known.start(),
                known.end()
            );
            return Err(ScenarioError::at("spec.now", message));
        }
        if self.events.len() > MAX_EVENTS {
            let message = format!(
                "there are {} events; at most {MAX_EVENTS} may be",
                self.events.len()
            );
            return Err(ScenarioError::at("spec.events", message));
        }
        for (index, event) in self.events.iter().enumerate() {
            if let At::Time(at) = &event.at
                && !(self.now..=*known.end()).contains(at)
            {
                let message = format!("{at} does not lie between {} and {}", self.now, known.end());
                return Err(ScenarioError::at(format!("spec.events[{index}].at"), message));
            }
        }
        Ok(())
    }
}

/// Whether a value has an integer that no 64 bits with a sign hold. YAML reads it as a number that has lost its last
/// digits.
pub(super) fn has_long_integer(value: &Value) -> bool {
    /// From here on no floating-point number has a fraction.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Value::Number(number) => {
            !number.is_i64() && number.as_f64().is_some_and(|number| number.abs() >= BEYOND)
        }
        Value::Array(items) => items.iter().any(has_long_integer),
        Value::Object(map) => map.values().any(has_long_integer),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn exactly_one(set: &[bool]) -> Result<(), ()> {
    if set.iter().filter(|set| **set).count() == 1 {
        Ok(())
    } else {
        Err(())
    }
}
