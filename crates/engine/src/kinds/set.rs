//! `set` steps: values, without any effect.

use std::sync::Arc;

use serde_json::Value;
use signoff_expression::Declarations;

use super::{Done, Kind, KindPlan, Next};
use crate::{
    difference::Field,
    expression::JsonTemplate,
    plan::{Place, check},
    turn::StepView,
};
use signoff_api::{run::StepOutcome, step::SetStep};

/// A `set` step with its expressions parsed.
#[derive(Debug)]
struct SetPlan(JsonTemplate);

impl Kind for SetStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        let template = place.json("", &value_of(self), &[]);
        Arc::new(SetPlan(template.unwrap_or(JsonTemplate::Literal(Value::Null))))
    }

    fn results(&self, declarations: &Declarations) -> Vec<check::StepResult> {
        let template = JsonTemplate::parse(&value_of(self)).unwrap_or(JsonTemplate::Literal(Value::Null));
        let output = check::type_of_template(&template, declarations);
        vec![check::StepResult::new(StepOutcome::Succeeded).with_output(output)]
    }

    fn fields(&self) -> Vec<Field> {
        let Self(values) = self;
        vec![Field::required("set", values)]
    }
}

fn value_of(step: &SetStep) -> Value {
    let values = step.0.iter();
    values
        .map(|(key, value)| (key.clone(), value.0.clone()))
        .collect()
}

impl KindPlan for SetPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        match self.0.value(&step.scope()) {
            Ok(value) => Next::Done(Done::new(StepOutcome::Succeeded).with_output(value)),
            Err(error) => Next::Fail(error.into()),
        }
    }
}
