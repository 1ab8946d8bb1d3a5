//! A plan: a definition with every expression parsed and every reference resolved. What has a plan can run.

pub(crate) mod check;
mod compile;
mod computed;
mod concurrency;
mod finally;
mod for_each;
mod graph;
mod guard;
mod notifications;
mod place;
mod repeat;
mod schemas;
mod triggers;
mod unread;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use signoff_expression::ObjectType;

pub use self::unread::Unread;
pub(crate) use self::{
    compile::{Child, LONGEST_TIMEOUT},
    computed::{ApproversPlan, AtLeast, DurationPlan, QuorumPlan, Unusable, people},
    finally::LONGEST_WAIT,
    for_each::{ForEachPlan, Items},
    graph::Needed,
    guard::Condition,
    place::Place,
    repeat::RepeatPlan,
};
use super::{
    expression::{Expression, JsonTemplate},
    kinds::{KindPlan, approval::ApprovalPlan},
    notification::NotificationPlan,
    trigger::TriggerPlan,
};
use signoff_api::{
    Definition, Json, Step,
    json::JsonObject,
    reason::StepReason,
    run::StepOutcome,
    step::{Approvers, Rules},
};

/// Most steps of a flow, as its schema says.
const MAX_STEPS: usize = 200;
/// Most steps of `finally`, as the schema says.
const MAX_FINALLY: usize = 20;

/// For each step the steps that come before it, by index. A reference that leads nowhere is left out; in a circle all come before all.
pub(super) fn ancestors(steps: &[Step]) -> Vec<BTreeSet<usize>> {
    graph::Graph::of(steps, &Unread::default(), &mut vec![]).ancestors
}

/// The schemas of the inputs of flows that steps run, by the name of the flow. One without a schema takes no inputs.
pub type Children = BTreeMap<String, Option<Json>>;

/// Something that is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, as a path below the Flow's spec, such as `steps[2].http.body.order`.
    pub field: String,
    /// Where in the string at that path, in bytes, if it is an expression's problem.
    pub offset: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// A definition that can run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Those of `steps`, then those of `finally`.
    pub(super) steps: Vec<PlannedStep>,
    /// How many of them are of `steps`.
    pub(super) main: usize,
    /// The inputs as they are declared.
    pub(super) inputs: ObjectType,
    pub(super) output: Option<JsonTemplate>,
    /// What starts runs by itself.
    pub(super) triggers: Vec<TriggerPlan>,
    /// How many runs with the same key go on at the same time.
    pub(super) concurrency: Option<concurrency::ConcurrencyPlan>,
    /// Who is told of questions and ends.
    pub(super) notifications: Vec<NotificationPlan>,
    /// Whether an expression reads the content of a resource.
    pub(super) reads_contents: bool,
    /// Who may promote a release in place of this one, where its gate names them.
    pub(super) owners: Option<Approvers>,
}

#[derive(Clone, Debug)]
pub(super) struct PlannedStep {
    pub(super) name: String,
    /// The steps that must be over first.
    pub(super) needs: Vec<Needed>,
    pub(super) when: Option<Expression>,
    /// Whether it is of `finally`.
    pub(super) is_finally: bool,
    /// Whether the run goes on when it fails.
    pub(super) continues_after_failure: bool,
    /// The outcomes that are a failure to it.
    pub(super) failures: &'static [StepOutcome],
    pub(super) repeat: Option<RepeatPlan>,
    pub(super) for_each: Option<ForEachPlan>,
    /// The step that ends the innermost loop that it is in.
    pub(super) loop_end: Option<usize>,
    pub(super) retry: RetryPolicy,
    pub(super) timeout: Duration,
    pub(super) at_most_once: bool,
    /// What holds for every step of its kind.
    pub(super) rules: &'static Rules,
    /// What its kind does.
    pub(super) kind: Arc<dyn KindPlan>,
    /// What is known of its results.
    pub(super) types: check::StepTypes,
    /// Of a step that asks people: the Connections that later steps use, each with the names of those.
    pub(super) binds: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug)]
pub(crate) struct RetryPolicy {
    pub(super) attempts: i64,
    pub(super) initial: Duration,
    pub(super) factor: u32,
    pub(super) max: Duration,
    /// What else is retried, a condition over `error`.
    pub(super) when: Option<Expression>,
}

impl PlannedStep {
    /// Whether it ends the run.
    pub(super) fn ends_run(&self) -> bool {
        self.rules.key == "end"
    }

    /// Whether the run goes on when it fails for a reason.
    pub(super) fn continues_after(&self, reason: Option<StepReason>) -> bool {
        self.continues_after_failure
            || reason == Some(StepReason::ItemsFailed)
                && self.for_each.as_ref().is_some_and(|for_each| for_each.continues)
    }

    /// The loops that end with it: the field that says it, and the steps.
    pub(super) fn loops(&self) -> impl Iterator<Item = (&'static str, &BTreeSet<usize>)> {
        let changes = self
            .kind
            .question()
            .and_then(|question| question.changes.as_ref());
        let changes = changes.map(|changes| ("approval.changes", &changes.again));
        let repeat = self.repeat.as_ref().map(|repeat| ("repeat", &repeat.again));
        changes.into_iter().chain(repeat)
    }
}

impl Plan {
    /// Compiles a definition of which a release may be cut: every expression is checked against the types of what it reads.
    ///
    /// # Errors
    /// Everything that is wrong with it, not only the first.
    pub fn compile(definition: &Definition) -> Result<Self, Vec<Problem>> {
        Self::compile_with(definition, &Children::new())
    }

    /// The same, where the inputs of some of the flows that its steps run are known.
    ///
    /// # Errors
    /// Everything that is wrong with it, not only the first.
    pub fn compile_with(definition: &Definition, children: &Children) -> Result<Self, Vec<Problem>> {
        Self::compiled(definition, true, children, &Unread::default())
    }

    /// Everything that is wrong with a definition of which parts could not be read. What depends on those is not judged.
    pub fn problems(definition: &Definition, children: &Children, unread: &Unread) -> Vec<Problem> {
        let compiled = Self::compiled(definition, true, children, unread);
        compiled.err().unwrap_or_default()
    }

    /// Compiles the definition of a release. One that was cut runs on, whatever is found today in its expressions.
    ///
    /// # Errors
    /// Everything that keeps it from running.
    pub fn of_release(definition: &Definition) -> Result<Self, Vec<Problem>> {
        Self::compiled(definition, false, &Children::new(), &Unread::default())
    }

    fn compiled(
        definition: &Definition,
        is_strict: bool,
        children: &Children,
        unread: &Unread,
    ) -> Result<Self, Vec<Problem>> {
        // a file from git has met no API server yet, and circles are looked for by recursion
        let finally = definition.finally.as_ref().map_or(0, Vec::len);
        for (field, count, most) in [
            ("steps", definition.steps.len(), MAX_STEPS),
            ("finally", finally, MAX_FINALLY),
        ] {
            if count > most {
                return Err(vec![Problem {
                    field: field.to_owned(),
                    offset: None,
                    message: format!("there are {count} steps, at most {most} may be"),
                }]);
            }
        }
        compile::compile(definition, is_strict, children, unread)
    }

    /// The approval that comes before a step with the fewest others between; of several the last one in the definition.
    pub(super) fn approval_before(&self, step: usize) -> Option<&ApprovalPlan> {
        let before = |step: usize| self.steps[step].needs.iter().map(|needed| needed.step);
        let mut near: BTreeSet<usize> = before(step).collect();
        // each round is one step further away, and in a circle nothing would run
        for _ in 0..self.steps.len() {
            let approval = near
                .iter()
                .rev()
                .find_map(|near| self.steps[*near].kind.question());
            if approval.is_some() {
                return approval;
            }
            near = near.into_iter().flat_map(before).collect();
        }
        None
    }

    /// What starts runs by itself while the release is live.
    pub fn triggers(&self) -> &[TriggerPlan] {
        &self.triggers
    }

    /// The Connections that approvals bind.
    pub fn bound_connections(&self) -> BTreeSet<&str> {
        let bound = self.steps.iter().flat_map(|step| step.binds.keys());
        bound.map(String::as_str).collect()
    }

    /// Whether a step waits for a callback, so that the address to call may be in any request.
    pub fn hands_out_callbacks(&self) -> bool {
        self.steps.iter().any(|step| step.kind.takes_callback())
    }

    /// Whether a step waits for an event, so that any request may cause one.
    pub fn awaits_events(&self) -> bool {
        self.steps.iter().any(|step| step.kind.awaits_event().is_some())
    }

    /// Whether steps run before the run ends, in every case.
    pub fn has_finally(&self) -> bool {
        self.main < self.steps.len()
    }

    /// The inputs of a run, with each number of the type that it is declared as.
    pub(super) fn inputs_as_declared(&self, inputs: &JsonObject) -> Value {
        match inputs.to_value() {
            Value::Object(inputs) => Value::Object(check::fields_as_declared(inputs, &self.inputs)),
            other => other,
        }
    }

    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_chain_of_very_many_steps_is_refused_before_it_is_followed() {
        let chain = |length: usize| {
            let step =
                |n: usize| json!({ "name": format!("s{n}"), "needs": [format!("s{}", n + 1)], "set": {} });
            let mut steps: Vec<_> = (1..length).map(step).collect();
            steps.push(json!({ "name": format!("s{length}"), "needs": [], "set": {} }));
            serde_json::from_value::<Definition>(json!({ "steps": steps })).unwrap()
        };
        assert!(Plan::compile(&chain(MAX_STEPS)).is_ok());
        let problems = Plan::compile(&chain(100_000)).unwrap_err();
        assert_eq!(problems[0].field, "steps");
        assert_eq!(problems[0].message, "there are 100000 steps, at most 200 may be");
    }
}
