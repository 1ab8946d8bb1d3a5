//! The semantic difference between two definitions: who may approve what, which steps, inputs and expressions changed, and which of
//! the changes loosen control.
//!
//! A definition, its steps, every kind of step and what says who may approve are taken apart field by field, without a `..`, so that a new
//! field does not compile until somebody has said how it is compared. What lies deeper is compared as JSON, which leaves nothing out.

mod fields;
mod gates;
mod guards;
mod inputs;
mod loosening;
mod markdown;
mod report;
mod shown;
mod steps;
mod text;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

pub(crate) use self::{
    fields::Field,
    loosening::{Answerless, Loosened, loosened_terms},
    shown::name,
};
pub use self::{
    fields::FieldChange,
    gates::{GateChange, Terms},
    inputs::InputChange,
    loosening::{Loosening, LooseningKind},
    steps::{Move, Order, OrderChange, StepChange, StepChangeKind},
};
use self::{fields::changes, guards::Guards};
use signoff_api::{
    Definition, Step, Trigger, concurrency::Concurrency, flow::Promotion, notification::Notification,
    release::Dependency, retention::Retention,
};

/// What changes from one definition to another. In JSON absent lists are empty lists, and the field names are stable.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// There is nothing to compare with: everything is new, and nothing is loosened.
    pub first: bool,
    /// What loosens control, in the order of the steps, the promotion gate last.
    pub loosenings: Vec<Loosening>,
    /// Who may approve what, before and after, for every gate where it changes.
    pub gates: Vec<GateChange>,
    /// Whether the steps became a graph, or a sequence again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderChange>,
    /// Steps that were added, removed, moved or changed; the removed ones last.
    pub steps: Vec<StepChange>,
    /// The same of the steps of `finally`.
    pub finally: Vec<StepChange>,
    /// Releases that the steps run, by flow, where they changed.
    pub dependencies: Vec<FieldChange>,
    /// Inputs that were added, removed or changed.
    pub inputs: Vec<InputChange>,
    /// What else changed in the schema of the inputs.
    pub input_rules: Vec<FieldChange>,
    /// What changed in the output.
    pub output: Vec<FieldChange>,
    /// What changed in the promotion gate, beside what `gates` says of it.
    pub promotion: Vec<FieldChange>,
    /// The description, if it changed.
    pub description: Vec<FieldChange>,
    /// What changed in the triggers.
    pub triggers: Vec<FieldChange>,
    /// What changed in how many runs go on at the same time. More of them are a change, and loosen no control of people.
    pub concurrency: Vec<FieldChange>,
    /// What changed in how long ended runs stay.
    pub retention: Vec<FieldChange>,
    /// What changed in who is told of questions and ends.
    pub notifications: Vec<FieldChange>,
}

/// Whether something was added, removed or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// It is there still, otherwise.
    Changed,
}

/// What a gate or a loosening is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// The step of this name.
    Step(String),
    /// The flow of this name, which a step runs.
    Flow(String),
    /// The promotion gate.
    Promotion,
}

impl Difference {
    /// Whether both definitions have the same canonical form.
    pub fn is_empty(&self) -> bool {
        let Self {
            first,
            loosenings,
            gates,
            order,
            steps,
            finally,
            dependencies,
            inputs,
            input_rules,
            output,
            promotion,
            description,
            triggers,
            concurrency,
            retention,
            notifications,
        } = self;
        !first
            && loosenings.is_empty()
            && gates.is_empty()
            && order.is_none()
            && steps.is_empty()
            && finally.is_empty()
            && inputs.is_empty()
            && [
                dependencies,
                input_rules,
                output,
                promotion,
                description,
                triggers,
                concurrency,
                retention,
                notifications,
            ]
            .iter()
            .all(|fields| fields.is_empty())
    }

    /// Whether the new definition lets more happen without people, or lets more people decide.
    pub fn loosens_control(&self) -> bool {
        !self.loosenings.is_empty()
    }

    /// The same with the releases that both run.
    #[must_use]
    pub fn with_dependencies(self, old: &[Dependency], new: &[Dependency]) -> Self {
        let named = |all: &[Dependency]| {
            let all = all.iter();
            let all = all.map(|one| (one.flow.clone(), Value::from(one.release.as_str())));
            all.collect::<Map<_, _>>()
        };
        let (old, new) = (named(old), named(new));
        let flows: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let (mut dependencies, mut loosenings) = (Vec::new(), Vec::new());
        let release = |value: &Value| value.as_str().map(str::to_owned);
        for flow in flows {
            let (before, after) = (old.get(flow), new.get(flow));
            fields::tree(flow.clone(), before, after, &mut dependencies);
            if before != after
                && let (Some(before), Some(after)) = (before, after)
            {
                loosenings.push(Loosening {
                    subject: Subject::Flow(flow.clone()),
                    kind: LooseningKind::OtherReleaseRun,
                    before: release(before),
                    after: release(after),
                });
            }
        }
        loosenings.splice(0..0, self.loosenings);
        Self {
            loosenings,
            dependencies,
            ..self
        }
    }

    /// For a terminal: plain and aligned, each change on a line. Control characters and invisible ones are escaped.
    pub fn to_text(&self) -> String {
        text::render(&report::Report::of(self))
    }

    /// For a comment on a pull request: at most `limit` bytes, what matters first, and a count of what did not fit. Everything that
    /// comes from a definition stands in code spans, on one line, with what is invisible escaped.
    pub fn to_markdown(&self, limit: usize) -> String {
        markdown::render(&report::Report::of(self), limit)
    }
}

/// Words of others for a comment of ours: in a code span, on one line, with what is invisible escaped.
pub fn quoted(words: &str) -> String {
    crate::markdown::code(&shown::line(words))
}

/// Compares two definitions; `None` is what is there before the first promotion. The time is quadratic in the number of steps and
/// references are followed by recursion, so give it only definitions that have a [`Plan`](crate::plan::Plan).
pub fn difference(old: Option<&Definition>, new: &Definition) -> Difference {
    let before = old.map(Parts::of);
    let before = before.as_ref();
    let after = Parts::of(new);
    let pairs = steps::pair(before.map_or(&[], |parts| parts.steps), after.steps);
    let last = steps::pair(before.map_or(&[], |parts| parts.finally), after.finally);
    let mut loosenings = Vec::new();
    let mut gates = Vec::new();
    for pair in pairs.iter().chain(&last) {
        let change = gates::of_step(pair);
        loosenings.extend(loosening::of_step(pair, change.as_ref()));
        gates.extend(change);
    }
    if let Some(before) = before {
        loosenings.extend(Guards::of(before.steps, after.steps).lost(&pairs));
        loosenings.extend(guards::widened(before.steps, &pairs));
        loosenings.extend(guards::moved_to_finally(before.steps, after.finally));
        let all: Vec<_> = pairs.iter().chain(&last).copied().collect();
        loosenings.sort_by_key(|loosening| place(loosening, &all));
    }
    let promotion = gates::of_promotion(before.and_then(|parts| parts.promotion), after.promotion);
    loosenings.extend(promotion.as_ref().map(loosening::of_gate).unwrap_or_default());
    gates.extend(promotion);
    let (inputs, input_rules) = inputs::compare(before.and_then(|parts| parts.inputs), after.inputs);
    Difference {
        first: old.is_none(),
        loosenings,
        gates,
        order: before.and_then(|before| steps::order(before.steps, after.steps)),
        steps: steps::compare(&pairs),
        finally: steps::compare(&last),
        dependencies: vec![],
        inputs,
        input_rules,
        output: changes(
            before.map(|parts| vec![parts.output()]),
            Some(vec![after.output()]),
        ),
        promotion: changes(
            before
                .and_then(|parts| parts.promotion)
                .map(gates::promotion_fields),
            after.promotion.map(gates::promotion_fields),
        ),
        description: changes(
            before.map(|parts| vec![parts.description()]),
            Some(vec![after.description()]),
        ),
        triggers: changes(
            before.map(|parts| vec![parts.triggers()]),
            Some(vec![after.triggers()]),
        ),
        concurrency: changes(
            before.and_then(|parts| parts.concurrency).map(concurrency_fields),
            after.concurrency.map(concurrency_fields),
        ),
        retention: changes(
            before.and_then(|parts| parts.retention).map(retention_fields),
            after.retention.map(retention_fields),
        ),
        notifications: changes(
            before.map(|parts| vec![parts.notifications()]),
            Some(vec![after.notifications()]),
        ),
    }
}

fn retention_fields(retention: &Retention) -> Vec<Field> {
    let Retention { keep, after } = retention;
    vec![
        Field::new("retention.keep", keep.as_ref()).default("100"),
        Field::new("retention.after", after.as_ref()).default("720h"),
    ]
}

fn concurrency_fields(concurrency: &Concurrency) -> Vec<Field> {
    let Concurrency {
        key,
        max,
        when_full,
        scope,
    } = concurrency;
    vec![
        Field::required("concurrency.key", key),
        Field::new("concurrency.max", max.as_ref()).default("1"),
        Field::new("concurrency.whenFull", when_full.as_ref()).default("Queue"),
        Field::new("concurrency.scope", scope.as_ref()).default("Flow"),
    ]
}

/// A definition taken apart.
struct Parts<'a> {
    description: Option<&'a str>,
    inputs: Option<&'a signoff_api::Json>,
    steps: &'a [Step],
    finally: &'a [Step],
    output: Option<serde_json::Value>,
    promotion: Option<&'a Promotion>,
    triggers: Option<&'a Vec<Trigger>>,
    concurrency: Option<&'a Concurrency>,
    retention: Option<&'a Retention>,
    notifications: Option<&'a Vec<Notification>>,
}

impl<'a> Parts<'a> {
    fn of(definition: &'a Definition) -> Self {
        let Definition {
            description,
            inputs,
            triggers,
            concurrency,
            steps,
            finally,
            output,
            promotion,
            retention,
            notifications,
        } = definition;
        Self {
            description: description.as_deref(),
            inputs: inputs.as_ref(),
            steps,
            finally: finally.as_deref().unwrap_or_default(),
            output: output.as_ref().map(fields::value),
            promotion: promotion.as_ref(),
            triggers: triggers.as_ref(),
            concurrency: concurrency.as_ref(),
            retention: retention.as_ref(),
            notifications: notifications.as_ref(),
        }
    }

    fn output(&self) -> Field {
        Field::new("output", self.output.as_ref())
    }

    fn notifications(&self) -> Field {
        Field::new("notifications", self.notifications)
    }

    fn triggers(&self) -> Field {
        Field::new("triggers", self.triggers).named()
    }

    fn description(&self) -> Field {
        Field::new("description", self.description.as_ref())
    }
}

/// Where the step of a loosening stands, so that a reviewer reads them in the order of the flow.
fn place(loosening: &Loosening, pairs: &[steps::Pair<'_>]) -> usize {
    match &loosening.subject {
        Subject::Step(name) => pairs
            .iter()
            .position(|pair| pair.name() == name)
            .unwrap_or(pairs.len()),
        Subject::Flow(_) | Subject::Promotion => pairs.len(),
    }
}

/// Whether a step asks people.
fn is_approval(step: &Step) -> bool {
    step.kind.as_kind().question().is_some()
}

#[cfg(test)]
mod tests;
