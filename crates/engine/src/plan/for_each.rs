//! `forEach`: the items of a step, and what comes of them together.

use serde_json::Value;
use signoff_expression::{Declarations, StaticType};

use super::{
    check::{Extra, type_of_template},
    place::Place,
};
use crate::{
    expression::{JsonTemplate, Scope, type_name},
    kinds::Failure,
};
use signoff_api::{
    Digest, Step, bounds, canonical,
    reason::StepReason,
    run::{StepOutcome, StepPhase},
    step::ForEach,
};

/// Largest items together, in bytes of JSON.
const MAX_BYTES: usize = 256 * 1024;

/// A `forEach` with its expressions parsed.
#[derive(Clone, Debug)]
pub(crate) struct ForEachPlan {
    items: JsonTemplate,
    /// How many items are under way at the same time.
    pub(crate) parallel: usize,
    /// Whether the other items go on when one fails.
    pub(crate) continues: bool,
    /// Whether the step's outcome is `Succeeded` whatever came of its items.
    always_succeeds: bool,
    /// How the step ends without items.
    pub(crate) empty: (StepPhase, StepOutcome),
    /// Whether its items have outputs.
    pub(crate) has_output: bool,
}

/// The items of a step that has begun, and the digest that tells whether they are still the same.
#[derive(Clone, Debug)]
pub(crate) struct Items {
    pub(crate) values: Vec<Value>,
    pub(crate) digest: Digest,
}

impl ForEachPlan {
    /// Parses it; the place is that of the step.
    pub(super) fn compile(for_each: &ForEach, step: &Step, place: &mut Place<'_, '_>) -> Option<Self> {
        let kind = step.kind.as_kind();
        if step.kind.rules().key == "end" {
            place.problem("forEach", "end steps have no forEach");
        }
        if kind.question().is_some_and(|question| question.changes.is_some()) {
            place.problem("forEach", "a step has either forEach or changes");
        }
        if let Value::Array(items) = &for_each.items.0
            && items.len() > ForEach::MOST
        {
            place.problem("forEach.items", too_many(items.len()));
        }
        let items = place.json("forEach.items", &for_each.items.0, &[])?;
        let is_list = match &items {
            JsonTemplate::Literal(value) => value.is_array(),
            JsonTemplate::Array(_) => true,
            JsonTemplate::Text(text) => text.as_expression().is_some(),
            JsonTemplate::Object(_) => false,
        };
        if !is_list {
            place.problem(
                "forEach.items",
                "the items are a list, or one ${…} expression that gives one",
            );
        }
        if items
            .expressions()
            .iter()
            .any(|(.., expression)| expression.reads_callbacks())
        {
            place.problem("forEach.items", "callback() is not known in the items");
        }
        let empty = if kind.question().is_some() {
            // nobody was asked, so nothing is approved
            (StepPhase::Skipped, StepOutcome::Skipped)
        } else {
            let own = kind.outcomes();
            let best = own.first().copied().unwrap_or(StepOutcome::Succeeded);
            (StepPhase::Succeeded, best)
        };
        Some(Self {
            items,
            parallel: for_each.parallel(),
            continues: for_each.continues(),
            always_succeeds: step.succeeds_whatever_its_items(),
            empty,
            has_output: false,
        })
    }

    /// The type of an item.
    fn type_of_item(&self, declarations: &Declarations) -> Result<StaticType, String> {
        match type_of_template(&self.items, declarations) {
            StaticType::List(item) => Ok((*item).clone()),
            StaticType::Dyn => Ok(StaticType::Dyn),
            other => Err(format!("the items are a list, not {other}")),
        }
    }

    /// The variables that are known in the step.
    pub(super) fn variables(&self, declarations: &Declarations, place: &mut Place<'_, '_>) -> [Extra; 2] {
        let item = self.type_of_item(declarations).unwrap_or_else(|message| {
            place.mistyped("forEach.items", 0, message);
            StaticType::Dyn
        });
        [("item", item), ("index", StaticType::INT)]
    }

    /// The items, as they follow from what the run's state says of the steps before.
    pub(crate) fn items(&self, scope: &Scope) -> Result<Items, Failure> {
        let wrong =
            |message: String| Failure::new(StepReason::InvalidItems, format!("forEach.items: {message}"));
        let value = self
            .items
            .value(scope)
            .map_err(|error| Failure::new(error.reason(), format!("forEach.items: {error}")))?;
        let Value::Array(values) = value else {
            return Err(wrong(format!("not a list, but {}", type_name(&value))));
        };
        if values.len() > ForEach::MOST {
            return Err(wrong(too_many(values.len())));
        }
        if let Some((index, error)) = values.iter().enumerate().find_map(|(index, value)| {
            let nesting = bounds::nesting(value, bounds::MAX_NESTING);
            Some((index, nesting.err()?))
        }) {
            return Err(wrong(format!("item {index}: {error}")));
        }
        let list = Value::Array(values);
        let size = list.to_string().len();
        if size > MAX_BYTES {
            return Err(wrong(format!(
                "the items have {size} bytes; at most {MAX_BYTES} may be"
            )));
        }
        let digest = canonical::digest_of_value(&list);
        let Value::Array(values) = list else {
            return Err(wrong("not a list".to_owned()));
        };
        Ok(Items { values, digest })
    }

    /// The outcome of the step once its items ended with these: the worst of them.
    pub(crate) fn outcome(&self, ended: &[StepOutcome]) -> StepOutcome {
        if self.always_succeeds {
            return StepOutcome::Succeeded;
        }
        let worst = ended.iter().copied().max_by_key(|outcome| badness(*outcome));
        worst.unwrap_or(self.empty.1)
    }
}

fn too_many(count: usize) -> String {
    format!("there are {count} items; at most {} may be", ForEach::MOST)
}

/// Which of two outcomes tells more of a step that has items with both.
fn badness(outcome: StepOutcome) -> u8 {
    match outcome {
        StepOutcome::Failed => 11,
        StepOutcome::Cancelled => 10,
        StepOutcome::Omitted => 9,
        StepOutcome::Rejected => 8,
        StepOutcome::ChangesRequested => 7,
        StepOutcome::TimedOut => 6,
        StepOutcome::Skipped => 5,
        StepOutcome::Elapsed => 4,
        StepOutcome::Event => 3,
        StepOutcome::Callback => 2,
        StepOutcome::Approved => 1,
        StepOutcome::Succeeded => 0,
    }
}
