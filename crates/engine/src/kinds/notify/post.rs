//! A message that is posted to a channel as JSON.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    effect::{HttpBody, HttpChannel, HttpRequest, HttpTarget},
    expression::{EvaluationError, Scope, Template},
    facts::Response,
    kinds::{Done, Failure, Next, http},
    plan::Place,
    turn::StepView,
};
use signoff_api::{name::ObjectName, run::StepOutcome, step::HttpMethod};

/// A request that posts to a channel.
pub(super) fn request(
    step: &StepView<'_>,
    (channel, name): (HttpChannel, &ObjectName),
    path: &str,
    body: Value,
) -> HttpRequest {
    let target = HttpTarget::Channel {
        channel,
        name: name.clone(),
        path: path.to_owned(),
        bound: step.bound(name),
    };
    to(target, HttpBody::Json(body))
}

/// A request that posts a body. Of the answer, the status counts.
pub(super) fn to(target: HttpTarget, body: HttpBody) -> HttpRequest {
    HttpRequest {
        target,
        method: HttpMethod::Post,
        headers: BTreeMap::new(),
        query: BTreeMap::new(),
        body: Some(body),
        redirects: 0,
        save: None,
        reads_body: false,
    }
}

/// The text of a message, with what is inserted escaped.
pub(super) fn text(
    template: Option<&Template>,
    scope: &Scope,
    escape: impl Fn(&str) -> String,
    cut: impl Fn(String) -> String,
) -> Result<String, Failure> {
    let text = template.map(|text| text.text_with(scope, |value| escape(&value)));
    let text = present(text.transpose()?.unwrap_or_default())?;
    Ok(cut(text))
}

/// A text that says something.
pub(super) fn present(text: String) -> Result<String, Failure> {
    if text.trim().is_empty() {
        return Err(http::invalid(format!("text: {EMPTY}")));
    }
    Ok(text)
}

/// The template of a text, which says something.
pub(super) fn template(place: &mut Place<'_, '_>, text: &str) -> Option<Template> {
    let template = place.template("text", text)?;
    if template.as_literal().is_some_and(|text| text.trim().is_empty()) {
        place.mistyped("text", 0, EMPTY);
    }
    Some(template)
}

const EMPTY: &str = "it is empty";

/// A field that may be left out.
pub(super) fn optional(
    template: Option<&Template>,
    scope: &Scope,
) -> Result<Option<String>, EvaluationError> {
    let text = template.map(|template| template.present_text(scope));
    Ok(text.transpose()?.flatten())
}

/// What an answer comes to that says nothing but its status.
pub(super) fn answered(step: &StepView<'_>, response: &Response) -> Next {
    let Some(response) = response.as_http() else {
        return Next::Stay;
    };
    match http::failed_status(response, &[], step.run.now) {
        Some(error) => Next::AttemptFailed(error),
        None => Next::Done(Done::new(StepOutcome::Succeeded)),
    }
}
