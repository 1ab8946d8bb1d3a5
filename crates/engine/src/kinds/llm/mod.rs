//! `llm` steps: one answer of a language model.

mod options;
mod prompt;
mod shown;

use std::{any::Any, sync::Arc};

use signoff_expression::{Declarations, StaticType};

pub(super) use self::{
    prompt::Prompt,
    shown::{described, shown},
};
use super::{Done, Kind, KindPlan, Next};
use crate::{
    difference::{Field, Loosened, LooseningKind},
    effect::Request,
    facts::Response,
    plan::{Place, check},
    turn::StepView,
};
use signoff_api::{Json, name::ObjectName, run::StepOutcome, step::LlmStep};

/// An `llm` step with its expressions parsed.
#[derive(Debug)]
struct LlmPlan {
    prompt: Prompt,
}

/// The type of an answer.
pub(super) fn type_of_answer(schema: Option<&Json>) -> StaticType {
    schema.map_or(StaticType::STRING, |schema| {
        check::type_of(schema.as_value(), check::Defaults::Ignored)
    })
}

impl Kind for LlmStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        // what a model is told is kept by others
        let prompt = Prompt::compile(self, "llm", &mut place.kept());
        Arc::new(LlmPlan { prompt })
    }

    fn results(&self, _: &Declarations) -> Vec<check::StepResult> {
        let output = type_of_answer(self.schema.as_ref());
        vec![check::StepResult::new(StepOutcome::Succeeded).with_output(output)]
    }

    fn fields(&self) -> Vec<Field> {
        prompt::fields(self)
    }

    fn loosened(&self, before: &dyn Any) -> Vec<Loosened> {
        let before = before.downcast_ref::<Self>();
        let changed =
            before.filter(|before| before.connection != self.connection || before.model != self.model);
        let named = |step: &Self| format!("{} through {}", step.model, step.connection);
        let found = changed.map(|before| Loosened {
            kind: LooseningKind::ModelChanged,
            before: Some(named(before)),
            after: Some(named(self)),
        });
        found.into_iter().collect()
    }
}

impl KindPlan for LlmPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        match self.prompt.request(step) {
            Ok(request) => Next::Call(Request::Llm(request)),
            Err(failure) => Next::Fail(failure),
        }
    }

    fn answered(&self, _: &StepView<'_>, response: &Response) -> Next {
        match response.as_llm().map(|response| &response.answer) {
            None => Next::Stay,
            Some(Err(error)) => Next::AttemptFailed(error.clone()),
            Some(Ok(answer)) => Next::Done(Done::new(StepOutcome::Succeeded).with_output(answer.output())),
        }
    }

    fn connection(&self) -> Option<&ObjectName> {
        Some(&self.prompt.connection)
    }
}
