//! What the core kinds demand beyond their schemas.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::core::response::StatusCause;
use serde_json::{Map, Value};

use super::registry::ResourceKind;
use super::status::cause;

const KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const FIXED: &str = "Forbidden: field is immutable when `immutable` is set";

/// What breaks the rules of a core kind; `old` is the state before an update.
pub fn check(kind: &ResourceKind, object: &Value, old: Option<&Value>) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "ConfigMap") => {
            keys(object, "data", &mut causes);
            keys(object, "binaryData", &mut causes);
            for key in map(object, "data").filter(|key| object["binaryData"].get(key.as_str()).is_some()) {
                let twice = format!("Invalid value: {key:?}: duplicate of key present in binaryData");
                causes.push(cause("FieldValueInvalid", format!("data[{key}]"), twice));
            }
            unchanged(object, old, &["data", "binaryData"], &mut causes);
        }
        ("", "Secret") => {
            keys(object, "data", &mut causes);
            typed(object, &mut causes);
            if old.is_some_and(|old| old["type"] != object["type"]) {
                let fixed = format!("Invalid value: {}: field is immutable", object["type"]);
                causes.push(cause("FieldValueInvalid", "type", fixed));
            }
            unchanged(object, old, &["data"], &mut causes);
        }
        ("coordination.k8s.io", "Lease") => lease(&object["spec"], &mut causes),
        _ => {}
    }
    causes
}

/// The first value that is not base64, where values have to be: such an object cannot be decoded at all.
pub fn undecodable(kind: &ResourceKind, object: &Value) -> Option<String> {
    let field = match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "ConfigMap") => "binaryData",
        ("", "Secret") => "data",
        _ => return None,
    };
    let (key, _) = object[field].as_object()?.iter().find(|(_, value)| {
        let text = value.as_str().unwrap_or_default();
        STANDARD.decode(text).is_err()
    })?;
    Some(format!("{field}.{key}: illegal base64 data"))
}

fn map<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a String> {
    object[field].as_object().into_iter().flat_map(Map::keys)
}

fn keys(object: &Value, field: &str, causes: &mut Vec<StatusCause>) {
    for key in map(object, field) {
        let known = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if key.is_empty() || key.len() > 253 || key == "." || key.starts_with("..") || !key.chars().all(known)
        {
            let why = format!("Invalid value: {key:?}: {KEY}");
            causes.push(cause("FieldValueInvalid", format!("{field}[{key}]"), why));
        }
    }
}

/// What is marked as immutable stays so, with all that is in it.
fn unchanged(object: &Value, old: Option<&Value>, fields: &[&str], causes: &mut Vec<StatusCause>) {
    let Some(old) = old.filter(|old| old["immutable"] == true) else {
        return;
    };
    if object["immutable"] != true {
        causes.push(cause("FieldValueForbidden", "immutable", FIXED));
    }
    let content = |of: &Value, field: &str| of[field].as_object().filter(|map| !map.is_empty()).cloned();
    for field in fields
        .iter()
        .filter(|field| content(old, field) != content(object, field))
    {
        causes.push(cause("FieldValueForbidden", *field, FIXED));
    }
}

/// What secrets of the known types have in them.
fn typed(secret: &Value, causes: &mut Vec<StatusCause>) {
    let data = &secret["data"];
    let wanted: &[&str] = match secret["type"].as_str().unwrap_or_default() {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        // one of the two is enough
        "kubernetes.io/basic-auth" if data["username"].is_null() && data["password"].is_null() => {
            &["username", "password"]
        }
        _ => &[],
    };
    for key in wanted.iter().filter(|key| data[**key].is_null()) {
        causes.push(cause(
            "FieldValueRequired",
            format!("data[{key}]"),
            "Required value",
        ));
    }
    if secret["type"] == "kubernetes.io/dockerconfigjson"
        && let Some(text) = data[".dockerconfigjson"].as_str()
        && STANDARD
            .decode(text)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            .is_none()
    {
        let why = "Invalid value: \"<secret contents redacted>\": not a JSON document";
        causes.push(cause("FieldValueInvalid", "data[.dockerconfigjson]", why));
    }
}

fn lease(spec: &Value, causes: &mut Vec<StatusCause>) {
    if let Some(seconds) = spec["leaseDurationSeconds"]
        .as_i64()
        .filter(|seconds| *seconds <= 0)
    {
        let why = format!("Invalid value: {seconds}: must be greater than 0");
        causes.push(cause("FieldValueInvalid", "spec.leaseDurationSeconds", why));
    }
    if let Some(times) = spec["leaseTransitions"].as_i64().filter(|times| *times < 0) {
        let why = format!("Invalid value: {times}: must be greater than or equal to 0");
        causes.push(cause("FieldValueInvalid", "spec.leaseTransitions", why));
    }
}
