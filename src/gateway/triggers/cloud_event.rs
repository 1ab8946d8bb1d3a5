//! `CloudEvents` over HTTP: the attributes are headers beside the data (binary), or both are in the body (structured). Either
//! way expressions see the attributes as `headers['ce-…']` and the data as `body`.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::gateway::problem::Problem;
use signoff_api::bounds;

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
    let data = match (event.remove("data"), event.remove("data_base64")) {
        (Some(_), Some(_)) => return refused("the CloudEvent has both data and data_base64"),
        (data, None) => data.unwrap_or(Value::Null),
        (None, Some(encoded)) => match decoded(&encoded) {
            Some(data) => data,
            None => {
                return refused(
                    "the data_base64 of the CloudEvent is not JSON or text in base64, or goes beyond the bounds of a body",
                );
            }
        },
    };
    for (name, value) in event {
        // https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#attribute-naming-convention
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        {
            return refused(
                "the name of an attribute of the CloudEvent is not of lower-case letters and digits",
            );
        }
        let text = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        headers.insert(format!("ce-{name}"), text);
    }
    Ok(data)
}

/// The data of an event that a sender took for binary: JSON, or else text.
fn decoded(encoded: &Value) -> Option<Value> {
    let bytes = STANDARD.decode(encoded.as_str()?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let Ok(data) = serde_json::from_str::<Value>(&text) else {
        return Some(Value::String(text));
    };
    bounds::nesting(&data, bounds::MAX_NESTING).ok()?;
    bounds::exact_integers_of_json(text.as_bytes()).ok()?;
    Some(data)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(event: Value) -> Option<(BTreeMap<String, String>, Value)> {
        let kind = "application/cloudevents+json; charset=utf-8";
        let mut headers = BTreeMap::from([("content-type".to_owned(), kind.to_owned())]);
        unwrapped(&mut headers, event).ok().map(|data| (headers, data))
    }

    fn event(more: &Value) -> Value {
        let mut event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"});
        for (name, value) in more.as_object().unwrap() {
            event[name] = value.clone();
        }
        event
    }

    #[test]
    fn data_is_the_body_also_in_base64_and_attributes_are_headers() {
        for (more, data) in [
            (json!({"data": {"n": 1}}), json!({"n": 1})),
            (json!({"data_base64": "eyJuIjogMX0="}), json!({"n": 1})),
            (json!({"data_base64": "aGk="}), json!("hi")),
            (json!({"tenant": "a"}), json!(null)),
        ] {
            let (headers, body) = of(event(&more)).unwrap();
            assert_eq!(body, data);
            assert_eq!(headers["ce-source"], "/s");
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for more in [
            json!({"data_base64": "gA=="}),
            json!({"data_base64": "%"}),
            json!({"data": 1, "data_base64": "aGk="}),
            json!({"Tenant": "a"}),
            json!({"a\nb": "a"}),
            json!({"id": ""}),
        ] {
            assert!(of(event(&more)).is_none(), "{more}");
        }
    }
}
