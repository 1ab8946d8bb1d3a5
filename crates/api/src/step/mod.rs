//! Steps of a flow: what every step may say, and a file for each kind.

mod agent;
mod approval;
mod end;
mod flow;
mod for_each;
mod git;
mod http;
mod job;
mod llm;
mod need;
mod notify;
mod repeat;
mod set;
mod ssh;
mod store;
mod task;
mod wait;

use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    agent::{
        AgentStep, AgentTool, ToolApproval, ToolKind, ToolRejection, ToolRejectionOutcome, ToolTimeout,
        ToolTimeoutOutcome,
    },
    approval::{
        ApprovalRejection, ApprovalRejectionOutcome, ApprovalStep, ApprovalTimeout, ApprovalTimeoutOutcome,
        Approvers, ApproversTemplate, Changes, Editable, Escalation, EscalationTemplate, OfferedVerdict,
        ShowItem,
    },
    end::{EndOutcome, EndStep},
    flow::FlowStep,
    for_each::ForEach,
    git::{GitPullRequest, GitStep, IfExists},
    http::{HttpExpect, HttpMethod, HttpStep},
    job::{JobResources, JobStep},
    llm::{LlmStep, MODEL_TIMEOUT},
    need::{NEED, Need, UnknownOutcome},
    notify::{
        NotifyCloudEvent, NotifyDiscord, NotifyEmail, NotifySlack, NotifyStep, NotifyTeams, NotifyWebhook,
    },
    repeat::Repeat,
    set::SetStep,
    ssh::SshStep,
    store::StoreStep,
    task::TaskStep,
    wait::{CallbackHmac, CallbackWait, EventWait, WaitStep, WaitTimeout, WaitTimeoutOutcome},
};
use super::{HumanDuration, name::LABEL, run::StepOutcome};

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
    /// Steps that must be over before this step starts, such as `review`, or `review.Approved|TimedOut` with the
    /// outcomes that will do. With another outcome, this step is `Omitted`, and so is what needs it. If any step of the
    /// flow has `needs`, the steps form a graph and each step has `needs`; with `[]`, a step starts at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256), regex(pattern = NEED)))]
    pub needs: Option<Vec<String>>,
    /// What happens when the step fails. Not for `approval` and `end`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// When and how often a failed attempt is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Longest time that one attempt may take. Time spent waiting for people does not count. Defaults to 30s for
    /// `http`, `notify`, `ssh`, `git` and `store`, to 5m for `llm` and each answer of the model in `agent`, and to 1h for
    /// `job`. It is at most 10m, and 720h for `job`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
    /// Whether the step may be repeated if its outcome is unknown after a crash. `AtLeastOnce`, the default, repeats
    /// it with the same `Idempotency-Key`. `AtMostOnce` never repeats it: people are asked whether it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// Repeats the steps from `from` to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
    /// Does the step once for each item of a list. Not for `end`, and not together with `changes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
    /// What the step does. Exactly one kind is set.
    #[serde(flatten)]
    pub kind: StepKind,
}

impl Step {
    /// Whether the run goes on when the step fails.
    pub fn continues_after_failure(&self) -> bool {
        let then = self.on_failure.as_ref().map(|then| then.outcome);
        match then {
            Some(FailureOutcome::Continue) => true,
            Some(FailureOutcome::Fail) | None => false,
        }
    }

    /// The outcomes with which the run goes on after the step.
    pub fn outcomes(&self) -> Vec<StepOutcome> {
        let mut outcomes = self.kind.as_kind().outcomes();
        outcomes.extend(self.outcomes_of_items());
        if self.continues_after_failure() {
            let failures = self.kind.as_kind().failures().iter().copied();
            let new: Vec<StepOutcome> = failures.filter(|failure| !outcomes.contains(failure)).collect();
            outcomes.extend(new);
        }
        outcomes.extend(self.when.as_ref().map(|_| StepOutcome::Skipped));
        let waits = self.needs.as_ref().is_some_and(|needs| !needs.is_empty());
        outcomes.extend(waits.then_some(StepOutcome::Omitted));
        outcomes
    }

    /// The outcomes with which the run goes on only because the step has items.
    pub fn outcomes_of_items(&self) -> Vec<StepOutcome> {
        let Some(for_each) = &self.for_each else {
            return vec![];
        };
        let mut outcomes = Vec::new();
        if for_each.continues() && !self.succeeds_whatever_its_items() {
            outcomes.extend([StepOutcome::TimedOut, StepOutcome::Failed]);
            outcomes.extend(self.kind.as_kind().question().map(|_| StepOutcome::Rejected));
        }
        // nobody is asked about an empty list
        let asks = self.kind.as_kind().question();
        outcomes.extend(asks.map(|_| StepOutcome::Skipped));
        let own = self.kind.as_kind().outcomes();
        outcomes.retain(|outcome| !own.contains(outcome));
        outcomes
    }

    /// Whether the step's outcome is `Succeeded` whatever came of its items, when those may fail.
    pub fn succeeds_whatever_its_items(&self) -> bool {
        self.kind.as_kind().outcomes() == [StepOutcome::Succeeded]
    }

    /// The outcomes other than `Approved` with which the run goes on after a step that asks people. Later steps with an
    /// effect must look at them.
    pub fn continues_without_approval(&self) -> Vec<StepOutcome> {
        let Some(question) = self.kind.as_kind().question() else {
            return vec![];
        };
        let mut outcomes = question.continuing();
        let of_items = self.outcomes_of_items().into_iter();
        // an empty list has nothing to approve
        outcomes.extend(of_items.filter(|outcome| *outcome != StepOutcome::Skipped));
        outcomes
    }
}

/// Result of a step that failed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnFailure {
    /// `Fail`: the run fails. `Continue`: the run goes on, the outcome of the step is `Failed`, and its `error` says
    /// why. Without `onFailure` it is `Fail`.
    pub outcome: FailureOutcome,
}

/// Result of a step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailureOutcome {
    /// The run fails.
    Fail,
    /// The run goes on. The outcome of the step is `Failed`.
    Continue,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StepKind {
    /// Calls an HTTP API.
    Http(Box<HttpStep>),
    /// Computes values, which become the step's output. Strings may contain `${…}` expressions.
    Set(SetStep),
    /// Waits for a callback, an event, a duration, or a time.
    Wait(Box<WaitStep>),
    /// Asks people for a decision.
    Approval(Box<ApprovalStep>),
    /// Sends people a message.
    Notify(Box<NotifyStep>),
    /// Runs a command on another machine.
    Ssh(Box<SshStep>),
    /// Asks a language model.
    Llm(Box<LlmStep>),
    /// Commits files to a git branch, and opens a pull request.
    Git(Box<GitStep>),
    /// Reads or writes a value of the flow that outlives its runs.
    Store(Box<StoreStep>),
    /// Puts work in a queue for a worker.
    Task(Box<TaskStep>),
    /// Runs a container as a Kubernetes Job.
    Job(Box<JobStep>),
    /// Lets a language model use tools until it is done.
    Agent(Box<AgentStep>),
    /// Runs another flow.
    Flow(Box<FlowStep>),
    /// Ends the run.
    End(Box<EndStep>),
}

impl StepKind {
    /// What every kind says of itself.
    pub fn as_kind(&self) -> &dyn Kind {
        match self {
            Self::Http(step) => &**step,
            Self::Set(step) => step,
            Self::Wait(step) => &**step,
            Self::Approval(step) => &**step,
            Self::Notify(step) => &**step,
            Self::Ssh(step) => &**step,
            Self::Llm(step) => &**step,
            Self::Git(step) => &**step,
            Self::Store(step) => &**step,
            Self::Task(step) => &**step,
            Self::Job(step) => &**step,
            Self::Agent(step) => &**step,
            Self::Flow(step) => &**step,
            Self::End(step) => &**step,
        }
    }

    /// What holds for every step of its kind.
    pub fn rules(&self) -> &'static Rules {
        self.as_kind().rules()
    }
}

/// What every kind of step says of itself.
pub trait Kind {
    /// What holds for every step of the kind.
    fn rules(&self) -> &'static Rules;

    /// The callback that it waits for.
    fn callback(&self) -> Option<&CallbackWait> {
        None
    }

    /// The event that it waits for.
    fn event(&self) -> Option<&EventWait> {
        None
    }

    /// What it asks people.
    fn question(&self) -> Option<&ApprovalStep> {
        None
    }

    /// The run that it starts.
    fn child(&self) -> Option<&FlowStep> {
        None
    }

    /// How long one attempt may take, unless the step says it.
    fn default_timeout(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// How long one attempt may take at most.
    fn longest_timeout(&self) -> Duration {
        Duration::from_mins(10)
    }

    /// Whether it asks language models, so that it is known how much of them it used.
    fn asks_model(&self) -> bool {
        false
    }

    /// The outcomes that `onFailure` is about.
    fn failures(&self) -> &'static [StepOutcome] {
        &[StepOutcome::Failed]
    }

    /// Whether it may have `onFailure`.
    fn may_continue_after_failure(&self) -> bool {
        true
    }

    /// The outcomes of its own with which the run goes on.
    fn outcomes(&self) -> Vec<StepOutcome> {
        vec![StepOutcome::Succeeded]
    }
}

/// What holds for every step of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each rule holds or does not, whatever the others say"
)]
pub struct Rules {
    /// The key under which a manifest says it.
    pub key: &'static str,
    /// Whether it makes attempts, so that it may have `retry` and `timeout`.
    pub attempts: bool,
    /// Whether it may have `retry` though it makes no attempts of its own: others make them.
    pub retries: bool,
    /// Whether it may have `delivery`: its effect may be unknown after a crash, and can be repeated.
    pub delivery: bool,
    /// Whether the world notices it, so that an approval before it guards something.
    pub has_effect: bool,
    /// Whether its first attempt counts as a billable step.
    pub is_billable: bool,
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
    /// What else is retried, beside lost connections, time-outs and the statuses 408, 429 and 5xx: one `${…}` expression
    /// over `error.reason`, `error.message` and `error.status` that returns true or false. It does not repeat a call with
    /// `delivery: AtMostOnce` that may have happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub when: Option<String>,
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
