//! `end` steps: the run ends here.

use std::sync::Arc;

use signoff_expression::Declarations;

use super::{End, Kind, KindPlan, Next};
use crate::{
    difference::Field,
    expression::{JsonTemplate, Template},
    plan::{Place, check},
    turn::StepView,
};
use signoff_api::{
    run::EndingOutcome,
    step::{EndOutcome, EndStep},
};

/// An `end` step with its expressions parsed.
#[derive(Debug)]
struct EndPlan {
    ending: EndingOutcome,
    message: Option<Template>,
    output: Option<JsonTemplate>,
}

impl Kind for EndStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        let message = self.message.as_ref();
        let output = self.output.as_ref();
        Arc::new(EndPlan {
            ending: match self.outcome {
                EndOutcome::Succeeded => EndingOutcome::Succeeded,
                EndOutcome::Failed => EndingOutcome::Failed,
            },
            message: message.and_then(|message| place.template("message", message)),
            output: output.and_then(|output| place.json("output", &output.0, &[])),
        })
    }

    fn results(&self, _: &Declarations) -> Vec<check::StepResult> {
        // the run does not go on
        vec![]
    }

    fn fields(&self) -> Vec<Field> {
        let Self {
            outcome,
            message,
            output,
        } = self;
        vec![
            Field::required("end.outcome", outcome),
            Field::new("end.message", message.as_ref()),
            Field::new("end.output", output.as_ref()).default("none"),
        ]
    }
}

impl KindPlan for EndPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        let scope = step.scope();
        let message = self.message.as_ref().map(|message| message.present_text(&scope));
        let output = self.output.as_ref().map(|output| output.present(&scope));
        match (message.transpose(), output.transpose()) {
            (Ok(message), Ok(output)) => Next::End(End {
                ending: self.ending,
                message: message
                    .flatten()
                    .unwrap_or_else(|| format!("step {} ended the run", step.status.name)),
                output: output.flatten(),
            }),
            (Err(error), _) | (_, Err(error)) => Next::Fail(error.into()),
        }
    }
}
