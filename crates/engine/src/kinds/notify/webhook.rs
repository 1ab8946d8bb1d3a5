//! `webhook`: a message posted to an address. How it is called and judged is as for `http` steps.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Channel, post};
use crate::{
    difference::Field,
    effect::{HttpBody, HttpChannel, HttpRequest, HttpTarget, Request},
    expression::JsonTemplate,
    facts::Response,
    kinds::{Failure, KindPlan, Next, http::Target},
    plan::Place,
    turn::StepView,
};
use signoff_api::{name::ObjectName, step::NotifyWebhook};

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

    fn is_for_people(&self) -> bool {
        false
    }
}

impl WebhookPlan {
    fn request(&self, step: &StepView<'_>) -> Result<HttpRequest, Failure> {
        let scope = step.scope();
        let target = self.target.render(step, &scope)?;
        let message = self.message.as_ref().map(|message| message.value(&scope));
        let body = message.transpose()?.map(document);
        Ok(HttpRequest {
            body: body.map(HttpBody::Json),
            ..post::to(through_channel(target), HttpBody::Json(Value::Null))
        })
    }
}

/// A message as it is sent. Plain text is sent as chat services take it.
pub(crate) fn document(message: Value) -> Value {
    match message {
        Value::String(text) => json!({ "text": text }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => message,
    }
}

/// A Connection of a webhook may sign what is sent, or be one to any API.
pub(super) fn through_channel(target: HttpTarget) -> HttpTarget {
    match target {
        HttpTarget::Connection { name, path, bound } => HttpTarget::Channel {
            channel: HttpChannel::Webhook,
            name,
            path,
            bound,
        },
        other @ (HttpTarget::Url(_) | HttpTarget::PublicUrl(_) | HttpTarget::Channel { .. }) => other,
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
        post::answered(step, response)
    }

    fn connection(&self) -> Option<&ObjectName> {
        self.target.connection()
    }
}
