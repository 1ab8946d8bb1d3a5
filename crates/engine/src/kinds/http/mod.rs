//! `http` steps: a call to an API, and what its answer comes to.

mod authority;
mod compile;
mod difference;
mod request;
mod response;
mod target;

use std::sync::Arc;

use serde_json::json;
use signoff_expression::{Declarations, StaticType};

use self::response::Expected;
pub(super) use self::{
    request::{described, hidden, invalid, resource, shown},
    target::Target,
};
pub(crate) use self::{
    response::failed_status,
    target::{fragment_of, rendered_path},
};
use super::{Done, Failure, Kind, KindPlan, Next};
use crate::{
    difference::Field,
    effect::Request,
    expression::{EvaluationError, JsonTemplate, Template},
    facts::{HttpResponse, Response},
    plan::{Place, check},
    schema::Schema,
    turn::StepView,
};
use signoff_api::{
    name::ObjectName,
    run::StepOutcome,
    step::{HttpMethod, HttpStep},
};

/// An `http` step with its expressions parsed.
#[derive(Debug)]
struct HttpPlan {
    target: Target,
    method: HttpMethod,
    headers: Vec<(String, Template)>,
    query: Option<JsonTemplate>,
    body: Option<Body>,
    redirects: u8,
    expected: Expected,
    schema: Option<Arc<Schema>>,
    /// Whether the body is kept as a resource.
    saves: bool,
    /// The type of a body that fits the schema.
    body_type: StaticType,
    output: Option<JsonTemplate>,
}

/// What a request sends, with its expressions parsed.
#[derive(Debug)]
enum Body {
    Json(JsonTemplate),
    Form(Vec<(String, Template)>),
    Text(Template),
    Resource(JsonTemplate),
}

impl Kind for HttpStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        Arc::new(compile::compile(self, place))
    }

    fn results(&self, declarations: &Declarations) -> Vec<check::StepResult> {
        let output = compile::type_of_output(self, declarations);
        vec![check::StepResult::new(StepOutcome::Succeeded).with_output(output)]
    }

    fn fields(&self) -> Vec<Field> {
        difference::fields(self)
    }
}

impl KindPlan for HttpPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        match self.request(step) {
            Ok(request) => Next::Call(Request::Http(request)),
            Err(failure) => Next::Fail(failure),
        }
    }

    fn answered(&self, step: &StepView<'_>, response: &Response) -> Next {
        match response.as_http() {
            None => Next::Stay,
            Some(response) => self.judge(step, response),
        }
    }

    fn connection(&self) -> Option<&ObjectName> {
        self.target.connection()
    }
}

impl HttpPlan {
    fn judge(&self, step: &StepView<'_>, response: &HttpResponse) -> Next {
        let mut scope = step.scope();
        let body = check::as_declared(response.body.clone(), &self.body_type);
        scope.set(
            "response",
            json!({ "status": response.status, "headers": response.headers, "body": body }),
        );
        let unclear = |field: &str, error: &EvaluationError| {
            let message = format!(
                "it was answered with status {}, but {field}: {error}",
                response.status
            );
            Next::Fail(Failure::new(error.reason(), message))
        };
        let now = step.run.now;
        match self
            .expected
            .failed(response, self.schema.as_deref(), &scope, now)
        {
            Ok(None) => {}
            Ok(Some(error)) => return Next::AttemptFailed(error),
            Err(error) => return unclear("expect.when", &error),
        }
        let output = match &self.output {
            None => Ok(response.body.clone()),
            Some(output) => output.value(&scope),
        };
        match output {
            Ok(output) => Next::Done(Done::new(StepOutcome::Succeeded).with_output(output)),
            Err(error) => unclear("output", &error),
        }
    }
}
