//! `CloudEvents` over HTTP: the attributes are headers beside the data (binary), or both are in the body (structured). Either
//! way expressions see the attributes as `headers['ce-…']` and the data as `body`.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::Value;

use crate::gateway::problem::Problem;

/// The data of a `CloudEvent` in structured mode, whose attributes go to the headers; any other body as it is.
pub(super) fn unwrapped(headers: &mut BTreeMap<String, String>, body: Value) -> Result<Value, Problem> {
    let content_type = headers.get("content-type").map_or("", String::as_str);
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let refused = |why: &str| Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why));
    match essence.as_str() {
        "application/cloudevents+json" => {}
        "application/cloudevents-batch+json" => {
            return refused("batches of CloudEvents are not taken; send one event in a request");
        }
        _ => return Ok(body),
    }
    let Value::Object(mut event) = body else {
        return refused("the body is not a CloudEvent, which is an object");
    };
    for name in ["specversion", "id", "source", "type"] {
        if event.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
            return refused(&format!("the CloudEvent has no {name}"));
        }
    }
    let data = event.remove("data").or_else(|| event.remove("data_base64"));
    for (name, value) in event {
        let text = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        headers.insert(format!("ce-{}", name.to_ascii_lowercase()), text);
    }
    Ok(data.unwrap_or(Value::Null))
}
