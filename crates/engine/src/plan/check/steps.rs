//! What is known of a step when it is over.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use signoff_expression::{Facts, Field, Implication, ObjectType, Path, StaticType};

use super::schema::{self, Defaults};
use crate::{kinds::approval::without_computed, plan::Needed};
use signoff_api::{
    Json, Step, StepKind,
    run::StepOutcome,
    step::{ApprovalStep, Delivery},
};

/// An outcome with which the run goes on, and what the step gives then.
#[derive(Clone, Debug)]
pub(crate) struct StepResult {
    pub(crate) outcome: StepOutcome,
    /// The type of its output, if it has one.
    pub(crate) output: Option<StaticType>,
}

impl StepResult {
    /// Without an output.
    pub(crate) fn new(outcome: StepOutcome) -> Self {
        Self {
            outcome,
            output: None,
        }
    }

    pub(crate) fn with_output(self, type_: StaticType) -> Self {
        Self {
            output: Some(type_),
            ..self
        }
    }
}

/// What is known of a step when it is over.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepTypes {
    results: Vec<StepResult>,
    /// Every outcome that it may have, also where the run does not go on after it, or a pass is stopped.
    ever: BTreeSet<String>,
    /// Outcomes of which nothing else follows.
    others: BTreeSet<String>,
    /// Whether it may be skipped, and what is known if it was not.
    when: Option<Facts>,
    /// What is known if it was not omitted.
    wanted: Facts,
    /// Whether it is in a loop.
    is_looped: bool,
    /// Whether it asks language models.
    asks_model: bool,
    /// What deciders may fill in and change, of a step that asks people.
    decided: Option<Decided>,
    /// What came of an item, of a step that has items.
    item: Option<ObjectType>,
    /// Whether the run goes on, or ends, when it failed before it had items.
    may_lack_items: bool,
}

impl StepTypes {
    pub(in crate::plan) fn new(step: &Step, mut results: Vec<StepResult>, when: Option<Facts>) -> Self {
        let question = step.kind.as_kind().question();
        if step.continues_after_failure() {
            let failures = step.kind.as_kind().failures();
            results.extend(failures.iter().copied().map(StepResult::new));
        }
        if step.delivery == Some(Delivery::AtMostOnce) {
            // people who say that it happened write the output as they know it
            for result in &mut results {
                result.output = result.output.take().map(|_| StaticType::Dyn);
            }
        }
        Self {
            results,
            ever: ever(step),
            others: BTreeSet::new(),
            when,
            wanted: Facts::default(),
            is_looped: false,
            asks_model: step.kind.as_kind().asks_model(),
            decided: question.map(Decided::of),
            item: None,
            may_lack_items: step.continues_after_failure(),
        }
    }

    /// Of a step with `forEach`: its output lists those of its items, and it is known what came of each.
    pub(in crate::plan) fn for_each(mut self, step: &Step) -> Self {
        let Some(for_each) = &step.for_each else {
            return self;
        };
        let output = self.output();
        self.item = Some(item(&self.ever, output.clone(), self.decided.as_ref()));
        let goes_on = |result: &&StepResult| result.outcome != StepOutcome::Failed;
        let all_have_one = self
            .results
            .iter()
            .filter(goes_on)
            .all(|result| result.output.is_some());
        // what has no output is null in the list
        let is_known = all_have_one && !for_each.continues();
        let list = output.map(|output| StaticType::list(if is_known { output } else { StaticType::Dyn }));
        for outcome in step.outcomes_of_items() {
            if outcome == StepOutcome::Skipped {
                self.others.insert(name_of(outcome));
            } else if !self.results.iter().any(|result| result.outcome == outcome) {
                self.results.push(StepResult::new(outcome));
            }
        }
        for result in &mut self.results {
            let has_list = result.outcome != StepOutcome::Failed;
            result.output = list.clone().filter(|_| has_list);
        }
        self
    }

    /// Whether it has an output with some outcome.
    pub(in crate::plan) fn has_output(&self) -> bool {
        self.results.iter().any(|result| result.output.is_some())
    }

    /// Of a step that needs others to end in a certain way: what is known if they did, and whether they may not have.
    pub(in crate::plan) fn wanted(mut self, wanted: Facts, may_be_omitted: bool) -> Self {
        self.wanted = wanted;
        self.others
            .extend(may_be_omitted.then(|| name_of(StepOutcome::Omitted)));
        self
    }

    pub(in crate::plan) fn looped(self, is_looped: bool) -> Self {
        Self { is_looped, ..self }
    }

    /// The same where the run ends: it may have failed, or have been stopped, or not have begun.
    pub(super) fn at_the_end(&self) -> Self {
        let mut types = self.clone();
        types.others.extend(types.ever.iter().cloned());
        types.may_lack_items = true;
        types
    }

    /// The type of its output, whatever its outcome.
    fn output(&self) -> Option<StaticType> {
        let mut types = self.results.iter().filter_map(|result| result.output.as_ref());
        let first = types.next()?.clone();
        Some(if types.all(|type_| *type_ == first) {
            first
        } else {
            StaticType::Dyn
        })
    }

    fn outcomes(&self) -> BTreeSet<String> {
        let own = self.results.iter().map(|result| result.outcome);
        let skipped = self.when.as_ref().map(|_| StepOutcome::Skipped);
        let own = own.chain(skipped).map(name_of);
        own.chain(self.others.iter().cloned()).collect()
    }

    /// What is known of its outcome where it is one that a step after it asks for, and whether it may be another.
    pub(in crate::plan) fn among(&self, name: &str, needed: &Needed) -> (Facts, bool) {
        let mut taken = self.outcomes();
        let possible = taken.len();
        match &needed.outcomes {
            Some(outcomes) => {
                let outcomes: BTreeSet<String> = outcomes.iter().copied().map(name_of).collect();
                taken.retain(|outcome| outcomes.contains(outcome));
            }
            None => taken.retain(|outcome| *outcome != name_of(StepOutcome::Omitted)),
        }
        let is_narrower = taken.len() < possible;
        let facts = Facts {
            present: BTreeSet::new(),
            among: BTreeMap::from([(path(name, &["outcome"]), taken)]),
        };
        (facts, is_narrower)
    }

    /// What is known of its outcome where a loop that it ends looks whether it is over: it took part in the pass.
    pub(in crate::plan) fn of_pass(&self, name: &str) -> Facts {
        let mut outcomes = self.outcomes();
        for other in [StepOutcome::Skipped, StepOutcome::Omitted] {
            outcomes.remove(&name_of(other));
        }
        Facts {
            present: BTreeSet::new(),
            among: BTreeMap::from([(path(name, &["outcome"]), outcomes)]),
        }
    }

    /// `steps.<name>`
    pub(super) fn as_object(&self, name: &str) -> StaticType {
        let mut fields = BTreeMap::from([(
            "outcome".to_owned(),
            Field::required(StaticType::one_of(self.outcomes())),
        )]);
        let mut explained = BTreeMap::new();
        match self.output() {
            Some(type_) => {
                fields.insert("output".to_owned(), Field::optional(type_));
            }
            None => {
                explained.insert("output".to_owned(), format!("step {name} has no output"));
            }
        }
        match (&self.decided, &self.item) {
            (Some(decided), None) => {
                fields.insert("decision".to_owned(), Field::optional(decision(decided)));
            }
            (Some(_), Some(_)) => {
                let message = format!("step {name} asks about each item: see steps.{name}.items");
                explained.insert("decision".to_owned(), message);
            }
            (None, _) => {
                explained.insert(
                    "decision".to_owned(),
                    format!("step {name} asks nobody, so it has no decision"),
                );
            }
        }
        if let Some(item) = &self.item {
            let items = StaticType::list(item.clone().into());
            fields.insert("items".to_owned(), Field::optional(items));
        } else {
            let message = format!("step {name} has no forEach, so it has no items");
            explained.insert("items".to_owned(), message);
        }
        if self.asks_model {
            fields.insert("usage".to_owned(), Field::optional(super::usage()));
        } else {
            let message = format!("step {name} asks no model, so it has no usage");
            explained.insert("usage".to_owned(), message);
        }
        if self.outcomes().contains(&name_of(StepOutcome::Failed)) {
            fields.insert("error".to_owned(), Field::optional(super::error()));
        } else {
            let message = format!("the run ends when step {name} fails, so it has no error; see onFailure");
            explained.insert("error".to_owned(), message);
        }
        if self.is_looped {
            fields.insert("pass".to_owned(), Field::required(StaticType::INT));
            let previous = previous(self.ever.clone(), self.output(), self.decided.as_ref());
            fields.insert("previous".to_owned(), Field::optional(previous));
        } else {
            for field in ["pass", "previous"] {
                explained.insert(
                    field.to_owned(),
                    format!("step {name} is in no loop, so it has no {field}"),
                );
            }
        }
        let object = ObjectType::new(fields, None).called("field of a step called");
        object.explaining(explained).into()
    }

    /// What is known of it once it is over.
    pub(super) fn facts(&self, name: &str) -> Facts {
        let outcome = path(name, &["outcome"]);
        Facts {
            present: BTreeSet::from([outcome.clone()]),
            among: BTreeMap::from([(outcome, self.outcomes())]),
        }
    }

    /// What its outcome says of the rest.
    pub(super) fn implications(&self, name: &str) -> Vec<Implication> {
        let with_output = self.results.iter().filter(|result| result.output.is_some());
        let mut found = vec![implication(
            name,
            with_output.map(|result| result.outcome),
            present([path(name, &["output"])]),
        )];
        if self.asks_model && self.item.is_none() {
            let usage = present([path(name, &["usage"])]);
            found.push(implication(name, [StepOutcome::Succeeded], usage));
        }
        if self.item.is_some() {
            let begun = self.results.iter().map(|result| result.outcome);
            let begun = begun.filter(|outcome| !self.may_lack_items || *outcome != StepOutcome::Failed);
            // without a condition, it is skipped only because there are no items
            let skipped = self.when.is_none().then_some(StepOutcome::Skipped);
            let begun = begun.chain(skipped);
            found.push(implication(name, begun, present([path(name, &["items"])])));
        }
        if let Some(Decided { values, shown }) = self.decided.as_ref().filter(|_| self.item.is_none()) {
            let decided = [
                StepOutcome::Approved,
                StepOutcome::Rejected,
                StepOutcome::ChangesRequested,
            ];
            found.push(implication(name, decided, present([path(name, &["decision"])])));
            let required = values.fields().iter().filter(|(_, field)| field.is_required);
            let required = required.map(|(field, _)| path(name, &["decision", "values", field]));
            let items = shown.fields().keys();
            let items = items.map(|item| path(name, &["decision", "shown", item]));
            let known = present(required.chain(items));
            found.push(implication(name, [StepOutcome::Approved], known));
        }
        if let Some(when) = &self.when {
            let begun = self.results.iter().map(|result| result.outcome);
            // of one that failed it may be the condition that did
            let begun = begun.filter(|outcome| *outcome != StepOutcome::Failed);
            found.push(implication(name, begun, when.clone()));
        }
        if self.wanted != Facts::default() {
            let own = self.results.iter().map(|result| result.outcome);
            let wanted = own.chain([StepOutcome::Skipped]);
            found.push(implication(name, wanted, self.wanted.clone()));
        }
        let failed = [StepOutcome::Failed];
        found.push(implication(name, failed, present([path(name, &["error"])])));
        found
    }

    /// An output as it is declared: its numbers may have been written otherwise.
    pub(crate) fn output_as_declared(&self, output: Value) -> Value {
        match self.output() {
            Some(type_) => super::as_declared(output, &type_),
            None => output,
        }
    }

    /// The output of an item as it is declared.
    pub(crate) fn item_output_as_declared(&self, output: Value) -> Value {
        let fields = self.item.as_ref().map(ObjectType::fields);
        match fields.and_then(|fields| fields.get("output")) {
            Some(field) => super::as_declared(output, &field.type_),
            None => output,
        }
    }

    /// Values that people filled in, as the form declares them.
    pub(crate) fn values_as_declared(&self, values: Map<String, Value>) -> Map<String, Value> {
        match &self.decided {
            Some(decided) => super::fields_as_declared(values, &decided.values),
            None => values,
        }
    }

    /// Items that people changed, as their schemas declare them.
    pub(crate) fn shown_as_declared(&self, shown: Map<String, Value>) -> Map<String, Value> {
        match &self.decided {
            Some(decided) => super::fields_as_declared(shown, &decided.shown),
            None => shown,
        }
    }
}

fn path(step: &str, fields: &[&str]) -> Path {
    let names = ["steps", step].into_iter().chain(fields.iter().copied());
    names.map(str::to_owned).collect()
}

fn present(paths: impl IntoIterator<Item = Path>) -> Facts {
    Facts {
        present: paths.into_iter().collect(),
        among: BTreeMap::new(),
    }
}

fn implication(step: &str, outcomes: impl IntoIterator<Item = StepOutcome>, then: Facts) -> Implication {
    Implication {
        of: path(step, &["outcome"]),
        values: outcomes.into_iter().map(name_of).collect(),
        then,
    }
}

/// An outcome as expressions see it.
fn name_of(outcome: StepOutcome) -> String {
    outcome.to_string()
}

/// Every outcome that a step may have, also where the run does not go on after it, or a pass is stopped.
fn ever(step: &Step) -> BTreeSet<String> {
    let of_kind: &[StepOutcome] = match &step.kind {
        StepKind::Approval(_) => &[
            StepOutcome::Approved,
            StepOutcome::Rejected,
            StepOutcome::ChangesRequested,
            StepOutcome::TimedOut,
        ],
        StepKind::Wait(_) | StepKind::Task(_) => &[StepOutcome::TimedOut],
        StepKind::Flow(_) | StepKind::Agent(_) => &[StepOutcome::Rejected, StepOutcome::TimedOut],
        StepKind::Http(_)
        | StepKind::Set(_)
        | StepKind::Notify(_)
        | StepKind::Ssh(_)
        | StepKind::Llm(_)
        | StepKind::Git(_)
        | StepKind::Job(_)
        | StepKind::Store(_) => &[],
        StepKind::End(_) => &[StepOutcome::Succeeded],
    };
    let in_every_case = [StepOutcome::Failed, StepOutcome::Cancelled, StepOutcome::Omitted];
    let outcomes = step.outcomes().into_iter().chain(in_every_case);
    outcomes.chain(of_kind.iter().copied()).map(name_of).collect()
}

/// The values of a form. Who rejects need not fill it in.
fn values_of(question: &ApprovalStep) -> ObjectType {
    match question.form.as_ref().map(Json::as_value) {
        Some(form) => schema::object_of(&without_computed(form), Defaults::Ignored),
        None => ObjectType::new(BTreeMap::new(), None),
    }
    .called("field of the form called")
}

/// What deciders may fill in, and the items that they may change.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    values: ObjectType,
    shown: ObjectType,
}

impl Decided {
    fn of(question: &ApprovalStep) -> Self {
        Self {
            values: values_of(question),
            shown: shown_of(question),
        }
    }
}

/// The editable items. Only who approves decides on them.
fn shown_of(question: &ApprovalStep) -> ObjectType {
    let items = question.show.iter().flatten().filter_map(|item| {
        let schema = &item.editable.as_ref()?.schema;
        let type_ = schema::type_of(schema.as_value(), Defaults::Ignored);
        Some((item.name.clone(), Field::optional(type_)))
    });
    ObjectType::new(items.collect(), None).called("editable item called")
}

/// `steps.<name>.decision`
fn decision(decided: &Decided) -> StaticType {
    let Decided { values, shown } = decided;
    let optional = values.fields().iter().map(|(name, field)| {
        let field = Field::optional(field.type_.clone());
        (name.clone(), field)
    });
    let values =
        ObjectType::new(optional.collect(), values.rest().cloned()).called("field of the form called");
    let fields = [
        (
            "verdict",
            StaticType::one_of(["Approve", "Reject", "RequestChanges"]),
        ),
        ("by", StaticType::list(StaticType::STRING)),
        ("comment", StaticType::STRING),
        ("values", values.into()),
        ("shown", shown.clone().into()),
    ];
    let fields = fields.map(|(name, type_)| (name.to_owned(), Field::required(type_)));
    let mut fields = BTreeMap::from(fields);
    fields.insert("at".to_owned(), Field::optional(StaticType::STRING));
    ObjectType::new(fields, None).into()
}

/// `steps.<name>.items[i]`
fn item(outcomes: &BTreeSet<String>, output: Option<StaticType>, decided: Option<&Decided>) -> ObjectType {
    let outcome = Field::required(StaticType::one_of(outcomes.clone()));
    let mut fields = BTreeMap::from([
        ("outcome".to_owned(), outcome),
        ("error".to_owned(), Field::optional(super::error())),
    ]);
    let output = output.map(|type_| ("output".to_owned(), Field::optional(type_)));
    let decision = decided.map(|decided| ("decision".to_owned(), Field::optional(decision(decided))));
    fields.extend(output.into_iter().chain(decision));
    ObjectType::new(fields, None).called("field of an item called")
}

/// `steps.<name>.previous`
fn previous(outcomes: BTreeSet<String>, output: Option<StaticType>, decided: Option<&Decided>) -> StaticType {
    let mut fields = BTreeMap::from([
        (
            "outcome".to_owned(),
            Field::required(StaticType::one_of(outcomes)),
        ),
        ("error".to_owned(), Field::optional(super::error())),
    ]);
    let output = output.map(|type_| ("output".to_owned(), Field::optional(type_)));
    let decision = decided.map(|decided| ("decision".to_owned(), Field::optional(decision(decided))));
    fields.extend(output.into_iter().chain(decision));
    ObjectType::new(fields, None)
        .called("field of a previous pass called")
        .into()
}

/// `steps.<name>` of a step that comes later in the same loop, or of the step itself.
pub(super) fn of_previous_pass(step: &Step) -> StaticType {
    let name = &step.name;
    let decided = step.kind.as_kind().question().map(Decided::of);
    let previous = previous(ever(step), Some(StaticType::Dyn), decided.as_ref());
    let fields = BTreeMap::from([
        ("pass".to_owned(), Field::required(StaticType::INT)),
        ("previous".to_owned(), Field::optional(previous)),
    ]);
    let explained = ["output", "outcome", "decision", "error"].map(|field| {
        let message = format!(
            "step {name} is not done before this one in a pass; of the pass before, `steps.{name}.?previous` is known"
        );
        (field.to_owned(), message)
    });
    ObjectType::new(fields, None)
        .called("field of a step called")
        .explaining(BTreeMap::from(explained))
        .into()
}
