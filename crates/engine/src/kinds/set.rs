//! `set` steps: values, without any effect.

use std::sync::Arc;

use serde_json::Value;

use super::{Done, Kind, KindPlan, Next};
use crate::{difference::Field, expression::JsonTemplate, plan::Place, turn::StepView};
use signoff_api::{run::StepOutcome, step::SetStep};

/// A `set` step with its expressions parsed.
#[derive(Debug)]
struct SetPlan(JsonTemplate);

impl Kind for SetStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        let values = self.0.iter();
        let value = Value::Object(
            values
                .map(|(key, value)| (key.clone(), value.0.clone()))
                .collect(),
        );
        let template = place.json("", &value, &[]);
        Arc::new(SetPlan(template.unwrap_or(JsonTemplate::Literal(Value::Null))))
    }

    fn fields(&self) -> Vec<Field> {
        let Self(values) = self;
        vec![Field::required("set", values)]
    }
}

impl KindPlan for SetPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        match self.0.value(&step.scope()) {
            Ok(value) => Next::Done(Done::new(StepOutcome::Succeeded).with_output(value)),
            Err(error) => Next::Fail(error.into()),
        }
    }
}
