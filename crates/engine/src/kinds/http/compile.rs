//! How an `http` step is compiled.

use std::collections::BTreeMap;

use super::{HttpPlan, Target};
use crate::{expression::Template, plan::Place};
use signoff_api::step::{HttpMethod, HttpStep};

/// Headers that are not for a flow to set.
const OURS: [&str; 3] = ["idempotency-key", "host", "content-length"];

pub(super) fn compile(step: &HttpStep, place: &mut Place<'_, '_>) -> HttpPlan {
    let target = Target::compile(
        place,
        step.url.as_ref(),
        step.connection.as_ref(),
        step.path.as_ref(),
    );
    let body = step
        .body
        .as_ref()
        .and_then(|body| place.json("body", &body.0, &[]));
    let default_method = if body.is_some() {
        HttpMethod::Post
    } else {
        HttpMethod::Get
    };
    let headers = texts(place, "headers", step.headers.as_ref());
    let query = texts(place, "query", step.query.as_ref());
    for (name, _) in &headers {
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            place.problem(&format!("headers.{name}"), "not a name for a header");
        } else if OURS.contains(&name.to_ascii_lowercase().as_str()) {
            place.problem(&format!("headers.{name}"), "this header is set by Signoff");
        }
    }
    let output = step
        .output
        .as_ref()
        .and_then(|output| place.json("output", &output.0, &["response"]));
    let expect = step.expect.as_ref().map(|expect| expect.status.clone());
    HttpPlan {
        target,
        method: step.method.unwrap_or(default_method),
        headers,
        query,
        body,
        expect: expect.unwrap_or_default(),
        output,
    }
}

fn texts(
    place: &mut Place<'_, '_>,
    field: &str,
    entries: Option<&BTreeMap<String, String>>,
) -> Vec<(String, Template)> {
    let entries = entries.into_iter().flatten();
    entries
        .filter_map(|(key, text)| Some((key.clone(), place.template(&format!("{field}.{key}"), text)?)))
        .collect()
}
