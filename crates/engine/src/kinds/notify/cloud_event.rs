//! `cloudEvent`: a `CloudEvent` posted to an address. How it is called and judged is as for `webhook`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Channel, post, webhook};
use crate::{
    difference::Field,
    effect::{HttpBody, HttpRequest, Request},
    expression::{JsonTemplate, Template},
    facts::Response,
    kinds::{Failure, KindPlan, Next, http, http::Target},
    plan::Place,
    turn::StepView,
};
use signoff_api::{name::ObjectName, step::NotifyCloudEvent};

/// A `CloudEvent` with its expressions parsed.
#[derive(Debug)]
struct CloudEventPlan {
    target: Target,
    type_: String,
    source: Option<Template>,
    subject: Option<Template>,
    data: Option<JsonTemplate>,
}

impl Channel for NotifyCloudEvent {
    fn key(&self) -> &'static str {
        "cloudEvent"
    }

    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        if self.type_.contains("${") {
            place.problem("type", "the type of an event is literal text");
        }
        let target = Target::compile(place, None, Some(&self.connection), self.path.as_ref());
        let (source, subject, data) = (self.source.as_ref(), self.subject.as_ref(), self.data.as_ref());
        let source = source.and_then(|source| place.template("source", source));
        if let Some(literal) = source.as_ref().and_then(Template::as_literal)
            && !is_source(literal)
        {
            place.mistyped("source", 0, NO_SOURCE);
        }
        Arc::new(CloudEventPlan {
            target,
            type_: self.type_.clone(),
            source,
            subject: subject.and_then(|subject| place.template("subject", subject)),
            data: data.and_then(|data| place.json("data", &data.0, &[])),
        })
    }

    fn fields(&self) -> Vec<Field> {
        let Self {
            connection,
            path,
            type_,
            source,
            subject,
            data,
        } = self;
        vec![
            Field::required("notify.cloudEvent.connection", connection),
            Field::new("notify.cloudEvent.path", path.as_ref()),
            Field::required("notify.cloudEvent.type", type_),
            Field::new("notify.cloudEvent.source", source.as_ref()),
            Field::new("notify.cloudEvent.subject", subject.as_ref()),
            Field::new("notify.cloudEvent.data", data.as_ref()),
        ]
    }

    fn is_for_people(&self) -> bool {
        false
    }
}

const NO_SOURCE: &str = "it is no URI reference: it has white space";

fn is_source(text: &str) -> bool {
    !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

impl CloudEventPlan {
    fn request(&self, step: &StepView<'_>) -> Result<HttpRequest, Failure> {
        let scope = step.scope();
        let facts = step.run.facts;
        let of = (facts.run.namespace.as_str(), facts.release.flow.as_str());
        let text = |template: Option<&Template>| post::optional(template, &scope);
        let (source, subject) = (text(self.source.as_ref())?, text(self.subject.as_ref())?);
        let data = self.data.as_ref().map(|data| data.present(&scope));
        let event = event(of, &self.type_, source, subject, data.transpose()?.flatten())?;
        let target = webhook::through_channel(self.target.render(step, &scope)?);
        Ok(post::to(target, HttpBody::CloudEvent(event)))
    }
}

/// A `CloudEvent` about a flow, by its namespace and name, without its id.
pub(crate) fn event(
    (namespace, flow): (&str, &str),
    type_: &str,
    source: Option<String>,
    subject: Option<String>,
    data: Option<Value>,
) -> Result<Value, Failure> {
    let source = source.filter(|source| !source.is_empty());
    let source = source.unwrap_or_else(|| format!("/signoff.dev/namespaces/{namespace}/flows/{flow}"));
    if !is_source(&source) {
        return Err(http::invalid(format!("source: {NO_SOURCE}")));
    }
    let mut event = json!({ "specversion": "1.0", "source": source, "type": type_ });
    if let Some(subject) = subject.filter(|subject| !subject.is_empty()) {
        event["subject"] = json!(subject);
    }
    if let Some(data) = data {
        event["datacontenttype"] = json!("application/json");
        event["data"] = data;
    }
    Ok(event)
}

impl KindPlan for CloudEventPlan {
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
