//! `webhook`: a message posted to an address. How it is called and judged is as for `http` steps.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::Channel;
use crate::{
    difference::Field,
    effect::{HttpBody, HttpRequest, Request},
    expression::JsonTemplate,
    facts::Response,
    kinds::{
        Done, Failure, KindPlan, Next,
        http::{Target, failed_status},
    },
    plan::Place,
    turn::StepView,
};
use signoff_api::{
    name::ObjectName,
    run::StepOutcome,
    step::{HttpMethod, NotifyWebhook},
};

/// A `webhook` message with its expressions parsed.
#[derive(Debug)]
struct WebhookPlan {
    target: Target,
    message: Option<JsonTemplate>,
}

impl Channel for NotifyWebhook {
    fn key(&self) -> &'static str {
        "webhook"
    }

    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        let target = Target::compile(
            place,
            self.url.as_ref(),
            self.connection.as_ref(),
            self.path.as_ref(),
        );
        let message = place.json("message", &self.message.0, &[]);
        Arc::new(WebhookPlan { target, message })
    }

    fn fields(&self) -> Vec<Field> {
        let Self {
            url,
            connection,
            path,
            message,
        } = self;
        vec![
            Field::new("notify.webhook.connection", connection.as_ref()),
            Field::new("notify.webhook.url", url.as_ref()),
            Field::new("notify.webhook.path", path.as_ref()),
            Field::required("notify.webhook.message", message),
        ]
    }
}

impl WebhookPlan {
    fn request(&self, step: &StepView<'_>) -> Result<HttpRequest, Failure> {
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
            body: body.map(HttpBody::Json),
            redirects: 0,
            save: None,
        })
    }
}

impl KindPlan for WebhookPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        match self.request(step) {
            Ok(request) => Next::Call(Request::Http(request)),
            Err(failure) => Next::Fail(failure),
        }
    }

    fn answered(&self, step: &StepView<'_>, response: &Response) -> Next {
        match response.as_http() {
            None => Next::Stay,
            Some(response) => match failed_status(response, &[], step.run.now) {
                Some(error) => Next::AttemptFailed(error),
                None => Next::Done(Done::new(StepOutcome::Succeeded)),
            },
        }
    }

    fn connection(&self) -> Option<&ObjectName> {
        self.target.connection()
    }
}
