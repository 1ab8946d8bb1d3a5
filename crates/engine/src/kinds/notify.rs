//! `notify` steps: a message posted to an address. How it is called and judged is as for `http` steps.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    Done, Kind, KindPlan, Next,
    http::{Target, failed_status},
};
use crate::{
    difference::Field,
    effect::{HttpRequest, Request},
    expression::{EvaluationError, JsonTemplate},
    facts::Response,
    plan::Place,
    turn::StepView,
};
use signoff_api::{
    name::ObjectName,
    run::StepOutcome,
    step::{HttpMethod, NotifyStep, NotifyWebhook},
};

/// A `notify` step with its expressions parsed.
#[derive(Debug)]
struct NotifyPlan {
    target: Target,
    message: Option<JsonTemplate>,
}

impl Kind for NotifyStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        let webhook = &self.webhook;
        let mut place = place.below("webhook");
        let target = Target::compile(
            &mut place,
            webhook.url.as_ref(),
            webhook.connection.as_ref(),
            webhook.path.as_ref(),
        );
        let message = place.json("message", &webhook.message.0, &[]);
        Arc::new(NotifyPlan { target, message })
    }

    fn fields(&self) -> Vec<Field> {
        let Self { webhook } = self;
        let NotifyWebhook {
            url,
            connection,
            path,
            message,
        } = webhook;
        vec![
            Field::new("notify.webhook.connection", connection.as_ref()),
            Field::new("notify.webhook.url", url.as_ref()),
            Field::new("notify.webhook.path", path.as_ref()),
            Field::required("notify.webhook.message", message),
        ]
    }
}

impl NotifyPlan {
    fn request(&self, step: &StepView<'_>) -> Result<HttpRequest, EvaluationError> {
        let scope = step.scope();
        let target = self.target.render(step, &scope)?;
        let message = self.message.as_ref().map(|message| message.value(&scope));
        // plain text is sent as chat services take it
        let body = message.transpose()?.map(|message| match message {
            Value::String(text) => json!({ "text": text }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => message,
        });
        Ok(HttpRequest {
            target,
            method: HttpMethod::Post,
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            body,
        })
    }
}

impl KindPlan for NotifyPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        match self.request(step) {
            Ok(request) => Next::Call(Request::Http(request)),
            Err(error) => Next::Fail(error.into()),
        }
    }

    fn answered(&self, _step: &StepView<'_>, response: &Response) -> Next {
        match response.as_http() {
            None => Next::Stay,
            Some(response) => match failed_status(response, &[]) {
                Some(error) => Next::AttemptFailed(error),
                None => Next::Done(Done::new(StepOutcome::Succeeded)),
            },
        }
    }

    fn connection(&self) -> Option<&ObjectName> {
        self.target.connection()
    }
}
