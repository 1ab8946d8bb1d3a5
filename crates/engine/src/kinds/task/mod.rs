//! `task` steps: work for a worker that asks for it.

mod difference;

use std::{any::Any, sync::Arc};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};
use serde_json::Value;
use signoff_expression::{Declarations, StaticType};

use super::{Done, Failure, Kind, KindPlan, Next, Own};
use crate::{
    difference::{Field, Loosened},
    expression::{JsonTemplate, Template},
    facts::WorkFact,
    object::{ObjectKey, OpenWorkItem, OwnedObject},
    plan::{AtLeast, DurationPlan, Place, check},
    turn::{Owned, StepView},
};
use signoff_api::{
    HumanDuration, Json, WorkItemPhase, WorkItemSpec, bounds,
    name::DnsLabel,
    names,
    reason::StepReason,
    run::{EndingOutcome, StepOutcome},
    step::TaskStep,
    text::into_visible,
};

/// Longest claim without a sign of life, if the step does not say.
const HEARTBEAT: &str = "5m";
/// Largest input and schema of a task, in bytes of JSON.
const MAX_INPUT: usize = 256 * 1024;
/// Longest instructions, in characters, once they are rendered.
const MAX_INSTRUCTIONS: usize = 65_536;

/// A `task` step with its expressions parsed.
#[derive(Debug)]
struct TaskPlan {
    queue: DnsLabel,
    input: Option<JsonTemplate>,
    instructions: Option<Template>,
    schema: Option<Json>,
    heartbeat: Option<HumanDuration>,
    respond_within: Option<DurationPlan>,
    continue_on_timeout: bool,
}

impl Kind for TaskStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        place.schema("schema", self.schema.as_ref());
        let bounds = Self::SHORTEST_HEARTBEAT..=Self::LONGEST_HEARTBEAT;
        if let Some(heartbeat) = &self.heartbeat
            && !bounds.contains(&heartbeat.duration())
        {
            place.problem("heartbeat", "a heartbeat takes from 1m to 1h");
        }
        if self.on_timeout.is_some() && self.respond_within.is_none() {
            place.problem("onTimeout", "onTimeout needs respondWithin");
        }
        // whoever may read tasks can read both
        let input = self.input.as_ref();
        let input = input.and_then(|input| place.kept().json("input", input.as_value(), &[]));
        let instructions = self.instructions.as_ref();
        let instructions = instructions.and_then(|text| place.kept().template("instructions", text));
        Arc::new(TaskPlan {
            queue: self.queue.clone(),
            input,
            instructions,
            schema: self.schema.clone(),
            heartbeat: self.heartbeat.clone().or_else(|| HEARTBEAT.parse().ok()),
            respond_within: self.respond_within.as_ref().and_then(|within| {
                DurationPlan::compile(place, "respondWithin", "respondWithin", within, AtLeast::ANY)
            }),
            continue_on_timeout: self.continues_after_timeout(),
        })
    }

    fn results(&self, _: &Declarations) -> Vec<check::StepResult> {
        let output = match &self.schema {
            Some(schema) => check::type_of(schema.as_value(), check::Defaults::Ignored),
            None => StaticType::Dyn,
        };
        let done = check::StepResult::new(StepOutcome::Succeeded).with_output(output);
        let late = self
            .continues_after_timeout()
            .then(|| check::StepResult::new(StepOutcome::TimedOut));
        [done].into_iter().chain(late).collect()
    }

    fn fields(&self) -> Vec<Field> {
        difference::fields(self)
    }

    fn loosened(&self, before: &dyn Any) -> Vec<Loosened> {
        let before = before.downcast_ref();
        before.map_or_else(Vec::new, |before| difference::loosened(before, self))
    }
}

impl KindPlan for TaskPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        let deadline = match &self.respond_within {
            Some(within) => match within.value(&step.scope()) {
                Ok(within) => Some(step.after(within.duration())),
                Err(unusable) => return Next::Fail(unusable.into()),
            },
            None => None,
        };
        self.own(step, deadline).unwrap_or_else(Next::Fail)
    }

    fn go_on(&self, step: &StepView<'_>) -> Next {
        match step.object() {
            Owned::Nothing => Next::Stay,
            Owned::Refused(why) => {
                let message = format!("the API server refuses the task: {why}");
                Next::Fail(Failure::new(StepReason::TaskRefused, message))
            }
            // rendered from the same state it is the same again
            Owned::Absent => {
                let deadline = step.status.deadline.as_ref().map(|deadline| deadline.0);
                self.own(step, deadline).unwrap_or(Next::Stay)
            }
            Owned::There(fact) => fact.as_work().map_or(Next::Stay, |work| self.looked_at(work)),
        }
    }
}

impl TaskPlan {
    fn own(&self, step: &StepView<'_>, deadline: Option<Timestamp>) -> Result<Next, Failure> {
        let name = step.work_item_name();
        let spec = self.spec(step, deadline)?;
        let unopened = step.run.facts.unopened.get(&ObjectKey::work_item(&name));
        let until = deadline.map(|at| format!(" until {at:.0}")).unwrap_or_default();
        let waiting_on = match unopened {
            Some(why) => format!("task {name}, which cannot be queued: {why}"),
            None => format!("a worker of queue {} ({}){until}", self.queue, step.status.name),
        };
        Ok(Next::Own(Box::new(Own {
            object: OwnedObject::WorkItem(Box::new(OpenWorkItem { name, spec })),
            deadline,
            connections: vec![],
            requests: vec![],
            waiting_on,
        })))
    }

    fn spec(&self, view: &StepView<'_>, deadline: Option<Timestamp>) -> Result<WorkItemSpec, Failure> {
        let (facts, status) = (view.run.facts, view.status);
        let scope = view.scope();
        let input = self.input.as_ref().map(|input| input.value(&scope)).transpose()?;
        let input = input.filter(|input| !input.is_null()).map(Json);
        let refused = |message: String| Failure::new(StepReason::TaskRefused, message);
        if let Some(input) = &input {
            fitting(&input.0).map_err(refused)?;
        }
        let instructions = self
            .instructions
            .as_ref()
            .map(|text| text.text(&scope))
            .transpose()?;
        if instructions
            .as_ref()
            .is_some_and(|text| text.chars().count() > MAX_INSTRUCTIONS)
        {
            let message = format!("the instructions are longer than {MAX_INSTRUCTIONS} characters");
            return Err(refused(message));
        }
        let heartbeat = self
            .heartbeat
            .clone()
            .ok_or_else(|| refused("the task has no heartbeat".to_owned()))?;
        Ok(WorkItemSpec {
            run: facts.run.name.clone(),
            flow: facts.release.flow.clone(),
            step: status.name.clone(),
            iteration: status.iteration,
            item: status.item,
            queue: self.queue.clone(),
            input,
            instructions,
            schema: self.schema.clone(),
            heartbeat,
            attempts: view.planned.retry.attempts,
            expires_at: deadline.map(MicroTime),
        })
    }

    fn looked_at(&self, work: &WorkFact) -> Next {
        let message = |default: &str| work.message.clone().unwrap_or_else(|| default.to_owned());
        match work.phase {
            WorkItemPhase::Queued | WorkItemPhase::Claimed => Next::Stay,
            WorkItemPhase::Succeeded => {
                let done = Done::new(StepOutcome::Succeeded);
                Next::Done(match &work.result {
                    Some(result) => done.with_output(result.0.clone()),
                    None => done,
                })
            }
            WorkItemPhase::Failed => {
                let reason = if work.is_lost {
                    StepReason::LeaseLost
                } else {
                    StepReason::TaskFailed
                };
                Next::Fail(Failure::new(reason, into_visible(message("the task failed"))))
            }
            WorkItemPhase::Expired => {
                let failure = Failure::timed_out("no worker gave a result in time", EndingOutcome::TimedOut);
                if self.continue_on_timeout {
                    let done = Done::new(StepOutcome::TimedOut);
                    return Next::Done(done.with_error(failure.reason, failure.message));
                }
                Next::Fail(failure)
            }
            WorkItemPhase::Cancelled => Next::Fail(Failure::new(
                StepReason::Cancelled,
                message("the task was cancelled"),
            )),
        }
    }
}

/// Whether a task can have this input.
fn fitting(input: &Value) -> Result<(), String> {
    let size = input.to_string().len();
    if size > MAX_INPUT {
        return Err(format!("the input has {size} bytes; at most {MAX_INPUT} may be"));
    }
    bounds::nesting(input, bounds::MAX_NESTING).map_err(|error| format!("the input: {error}"))
}

impl StepView<'_> {
    /// The name of the task that it opens.
    fn work_item_name(&self) -> String {
        let (run, status) = (&self.run.facts.run, self.status);
        names::work_item_name(&run.name, &run.uid, &status.name, status.iteration, status.item)
    }
}
