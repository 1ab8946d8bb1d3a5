//! Step kinds, a file or a folder for each: how a step is compiled, how it starts, how it goes on with news, and how
//! two versions of it differ.
//!
//! A kind returns data ([`Next`]); only the turn applies it to the run's state. What holds for every step of a kind
//! without knowing more of it is in its `Rules` in `signoff_api::step`.

mod agent;
pub(crate) mod approval;
mod end;
mod flow;
mod git;
pub(crate) mod http;
pub(crate) mod job;
mod llm;
mod next;
pub(crate) mod notify;
mod set;
mod ssh;
mod store;
mod task;
mod wait;

use std::{any::Any, fmt, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use signoff_expression::Declarations;

use self::approval::ApprovalPlan;
pub(crate) use self::next::{Done, End, Failure, Next, Own, Progress, Then, Wait};
use crate::{
    difference::{Field, Loosened, Terms},
    effect::{CallPart, GitRequest, Request, StoreRequest},
    facts::{EffectError, Facts, RecordedAnswer, Response},
    plan::{Place, RetryPolicy, check},
    turn::StepView,
};
use signoff_api::{StepKind, approval::ShownItem, name::ObjectName, run::StepStatus, step::Approvers};

/// A step of a kind as a manifest says it.
pub(crate) trait Kind: Any {
    /// Parses and resolves it. What is wrong becomes a problem of the place, and what is made then never runs.
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan>;

    /// With which outcomes it lets the run go on, and the type of the output that it has then. `Skipped` is not among them.
    fn results(&self, declarations: &Declarations) -> Vec<check::StepResult>;

    /// Its fields as two versions are compared, always all of them and in one order.
    fn fields(&self) -> Vec<Field>;

    /// What it leaves to less control than an earlier version, a step of the same kind.
    fn loosened(&self, _before: &dyn Any) -> Vec<Loosened> {
        vec![]
    }

    /// The terms on which it asks people, under its condition.
    fn terms(&self, _when: Option<&String>) -> Option<Terms> {
        None
    }
}

/// The kind of a step.
pub(crate) fn of(kind: &StepKind) -> &dyn Kind {
    match kind {
        StepKind::Http(step) => &**step,
        StepKind::Set(step) => step,
        StepKind::Wait(step) => &**step,
        StepKind::Approval(step) => &**step,
        StepKind::Notify(step) => &**step,
        StepKind::Ssh(step) => &**step,
        StepKind::Llm(step) => &**step,
        StepKind::Git(step) => &**step,
        StepKind::Store(step) => &**step,
        StepKind::Task(step) => &**step,
        StepKind::Job(step) => &**step,
        StepKind::Agent(step) => &**step,
        StepKind::Flow(step) => &**step,
        StepKind::End(step) => &**step,
    }
}

/// The rules of one of several calls that a step makes.
#[derive(Debug)]
pub(crate) struct CallPolicy<'a> {
    /// Attempts of the step that belong to calls before it.
    pub(crate) attempts_before: i64,
    /// How it is retried, if not as the step says.
    pub(crate) retry: Option<&'a RetryPolicy>,
    /// How long an attempt may take, if not as long as the step says.
    pub(crate) timeout: Option<Duration>,
    /// Whether it must not be repeated.
    pub(crate) at_most_once: bool,
    /// Which one it is.
    pub(crate) part: CallPart,
}

/// A step of a kind with its expressions parsed.
pub(crate) trait KindPlan: fmt::Debug + Send + Sync {
    /// Begins it. Of a kind that makes attempts: begins one, also again when the outcome of a repeatable one was lost.
    fn start(&self, step: &StepView<'_>) -> Next;

    /// Looks whether what it waits for is there. Called in every turn while it waits or owns an object, and once when
    /// it begins to.
    fn go_on(&self, _step: &StepView<'_>) -> Next {
        Next::Stay
    }

    /// Takes in the answer to its call.
    fn answered(&self, _step: &StepView<'_>, _response: &Response) -> Next {
        Next::Stay
    }

    /// When it goes on by itself while it waits, beside the times in its status.
    fn due_at(&self, _step: &StepView<'_>) -> Option<Timestamp> {
        None
    }

    /// The Connections that it calls.
    fn connections(&self) -> Vec<&ObjectName> {
        self.connection().into_iter().collect()
    }

    /// The Connections about whose use it asks people itself.
    fn asked_connections(&self) -> Vec<&ObjectName> {
        vec![]
    }

    /// The rules of what is under way, where they are not those of the step.
    fn policy(&self, _step: &StepView<'_>) -> Option<CallPolicy<'_>> {
        None
    }

    /// What comes of a call that failed for the last time, if the step goes on.
    fn gave_up(&self, _step: &StepView<'_>, _error: &EffectError) -> Option<Next> {
        None
    }

    /// What comes of a call that happened, as people say, if the step goes on. They may know what it answered.
    fn told(&self, _step: &StepView<'_>, _output: Option<Value>) -> Option<Next> {
        None
    }

    /// What people see of the call that is under way beside its request, when they are to say whether it happened.
    fn about_call(&self, _step: &StepView<'_>) -> Vec<ShownItem> {
        vec![]
    }

    /// The people who approve calls like the one that is under way, if it names some. They say whether it happened.
    fn deciders(&self, _step: &StepView<'_>) -> Option<Approvers> {
        None
    }

    /// What comes of an answer that a record has, if it does not end the step.
    fn recorded(&self, _step: &StepView<'_>, _answer: &RecordedAnswer) -> Option<Next> {
        None
    }

    /// Whether it makes many calls, each under a key of its own.
    fn makes_many_calls(&self) -> bool {
        false
    }

    /// Whether it may make calls that must not be repeated, whatever the step says.
    fn calls_at_most_once(&self) -> bool {
        false
    }

    /// Whether it has made one of those.
    fn has_called_at_most_once(&self, _entry: &StepStatus) -> bool {
        false
    }

    /// The Connection that it calls.
    fn connection(&self) -> Option<&ObjectName> {
        None
    }

    /// The Repository that it pushes to.
    fn repository(&self) -> Option<&ObjectName> {
        None
    }

    /// The step that waits for the callback of the process that it starts.
    fn tied_wait(&self) -> Option<&str> {
        None
    }

    /// Whether it does nothing if it is done again.
    fn is_idempotent(&self) -> bool {
        false
    }

    /// Whether it waits for a callback.
    fn takes_callback(&self) -> bool {
        false
    }

    /// Whether it takes this body of a callback, or why not.
    fn takes_body(&self, _body: &Value) -> Result<(), String> {
        Err("it waits for no callback".to_owned())
    }

    /// The trigger of the events that it waits for: the flow, unless it is that of the step, and its name.
    fn awaits_event(&self) -> Option<(Option<&str>, &str)> {
        None
    }

    /// What it asks people.
    fn question(&self) -> Option<&ApprovalPlan> {
        None
    }

    /// The name of the Job of the attempt that is under way, if its attempts are Jobs.
    fn job_name(&self, _step: &StepView<'_>) -> Option<String> {
        None
    }

    /// Whether it starts a run of another flow and waits for it.
    fn starts_child(&self) -> bool {
        false
    }
}

/// A request as a document for people, complete. `hide` takes out what they may not see.
pub(crate) fn described(request: &Request, hide: &dyn Fn(String) -> String) -> Value {
    match request {
        Request::Http(request) => http::described(request, hide),
        Request::Ssh(request) => ssh::described(request, hide),
        Request::Llm(request) => llm::described(request, hide),
        Request::Email(request) => notify::described(request, hide),
        Request::Git(request) => git::described(request, hide),
        Request::Store(request) => store::described(request, hide),
    }
}

/// A commit as a document, complete.
pub(crate) fn described_commit(request: &GitRequest) -> Value {
    git::described(request, &|text| text)
}

/// A value that is read or written as a document, complete.
pub(crate) fn described_value(request: &StoreRequest) -> Value {
    store::described(request, &|text| text)
}

/// A request as people are shown it.
pub(crate) fn shown(request: &Request, facts: &Facts, hide: &dyn Fn(String) -> String) -> Vec<ShownItem> {
    match request {
        Request::Http(request) => http::shown(request, facts, hide),
        Request::Ssh(request) => ssh::shown(request, facts, hide),
        Request::Llm(request) => llm::shown(request, facts, hide),
        Request::Email(request) => notify::shown(request, hide),
        Request::Git(request) => git::shown(request, facts, hide),
        Request::Store(request) => store::shown(request, hide),
    }
}
