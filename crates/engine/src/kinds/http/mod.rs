//! `http` steps: a call to an API, and what its answer comes to.

mod compile;
mod difference;
mod request;
mod response;
mod target;

use std::sync::Arc;

use serde_json::json;

pub(super) use self::{request::shown, response::failed_status, target::Target};
use super::{Done, Failure, Kind, KindPlan, Next};
use crate::{
    difference::Field,
    effect::Request,
    expression::{JsonTemplate, Template},
    facts::{HttpResponse, Response},
    plan::Place,
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
    query: Vec<(String, Template)>,
    body: Option<JsonTemplate>,
    /// Status codes that count as success; empty for any from 200 to 299.
    expect: Vec<i64>,
    output: Option<JsonTemplate>,
}

impl Kind for HttpStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        Arc::new(compile::compile(self, place))
    }

    fn fields(&self) -> Vec<Field> {
        difference::fields(self)
    }
}

impl KindPlan for HttpPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        match self.request(step) {
            Ok(request) => Next::Call(Request::Http(request)),
            Err(error) => Next::Fail(error.into()),
        }
    }

    fn answered(&self, step: &StepView<'_>, response: &Response) -> Next {
        match response.as_http() {
            None => Next::Stay,
            Some(response) => match failed_status(response, &self.expect) {
                Some(error) => Next::AttemptFailed(error),
                None => self.succeeded(step, response),
            },
        }
    }

    fn connection(&self) -> Option<&ObjectName> {
        self.target.connection()
    }
}

impl HttpPlan {
    fn succeeded(&self, step: &StepView<'_>, response: &HttpResponse) -> Next {
        let output = match &self.output {
            None => Ok(response.body.clone()),
            Some(output) => {
                let mut scope = step.scope();
                scope.set(
                    "response",
                    json!({ "status": response.status, "headers": response.headers, "body": response.body }),
                );
                output.value(&scope)
            }
        };
        match output {
            Ok(output) => Next::Done(Done::new(StepOutcome::Succeeded).with_output(output)),
            Err(error) => {
                let message = format!(
                    "it was answered with status {}, but output: {error}",
                    response.status
                );
                Next::Fail(Failure::new(error.reason(), message))
            }
        }
    }
}
