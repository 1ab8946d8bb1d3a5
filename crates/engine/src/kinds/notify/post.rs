//! A message that is posted to a channel as JSON.

use std::collections::BTreeMap;

use serde_json::Value;

use super::words;
use crate::{
    effect::{HttpBody, HttpChannel, HttpRequest, HttpTarget},
    expression::{EvaluationError, Scope, Template},
    facts::Response,
    kinds::{Done, Failure, Next, http},
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
    most: usize,
) -> Result<String, Failure> {
    let text = template.map(|text| text.text_with(scope, |value| escape(&value)));
    let text = text.transpose()?.unwrap_or_default();
    if text.trim().is_empty() {
        return Err(http::invalid("text: it is empty"));
    }
    Ok(words::cut(text, most))
}

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
