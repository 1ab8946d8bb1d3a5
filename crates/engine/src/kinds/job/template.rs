//! The pod template of a `job` step: what a manifest may say there, and how the step is put into it.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Map, Value};

use super::{CONTAINER, RESERVED};

/// Largest template, in bytes of JSON.
const MAX_TEMPLATE: usize = 32 * 1024;
/// What labels and annotations of Signoff begin with.
const OURS: &str = "signoff.dev/";
/// Fields of the pod that the step decides.
const OF_POD: [(&str, &str); 5] = [
    ("serviceAccountName", "job.serviceAccount"),
    ("serviceAccount", "job.serviceAccount"),
    ("automountServiceAccountToken", "job.serviceAccount"),
    ("activeDeadlineSeconds", "timeout"),
    ("restartPolicy", "retry"),
];
/// Fields of the container of the step that the step decides.
const OF_CONTAINER: [&str; 7] = [
    "image",
    "command",
    "args",
    "resources",
    "restartPolicy",
    "terminationMessagePath",
    "terminationMessagePolicy",
];
/// Lists whose elements are told apart by a field, as in Kubernetes.
const MERGED: [(&str, &str); 7] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("volumes", "name"),
    ("env", "name"),
    ("imagePullSecrets", "name"),
    ("volumeMounts", "mountPath"),
    ("ports", "containerPort"),
];

/// What is wrong with a template, if anything is.
pub(super) fn problem(template: &Value, has_account: bool) -> Option<String> {
    let size = template.to_string().len();
    if size > MAX_TEMPLATE {
        return Some(format!("it has {size} bytes; at most {MAX_TEMPLATE} may be"));
    }
    mistyped(template)
        .or_else(|| decided_by_step(template))
        .or_else(|| {
            let takes_token = !has_account && has_key(template, "serviceAccountToken");
            takes_token.then(|| "without job.serviceAccount, a pod gets no token".to_owned())
        })
}

/// A field that Kubernetes does not know there, or that has another type.
fn mistyped(template: &Value) -> Option<String> {
    let read: Result<PodTemplateSpec, _> = serde_json::from_value(without_nulls(template));
    let known = match read.map(serde_json::to_value) {
        Ok(Ok(known)) => known,
        Ok(Err(error)) | Err(error) => return Some(format!("no pod template: {error}")),
    };
    unknown(template, &known, "").map(|field| format!("a pod template has no field {field}"))
}

/// The first field that is not there any more after reading a value.
fn unknown(said: &Value, known: &Value, at: &str) -> Option<String> {
    match (said, known) {
        (Value::Object(said), Value::Object(known)) => said.iter().find_map(|(key, value)| {
            let at = if at.is_empty() {
                key.clone()
            } else {
                format!("{at}.{key}")
            };
            match known.get(key) {
                Some(known) => unknown(value, known, &at),
                // what is empty may be left out
                None if is_empty(value) => None,
                None => Some(at),
            }
        }),
        (Value::Array(said), Value::Array(known)) => {
            let mut each = said.iter().zip(known).enumerate();
            each.find_map(|(i, (said, known))| unknown(said, known, &format!("{at}[{i}]")))
        }
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// A field that the step decides.
fn decided_by_step(template: &Value) -> Option<String> {
    let spec = &template["spec"];
    for (field, by) in OF_POD {
        if spec.get(field).is_some() {
            return Some(format!("spec.{field} is decided by {by} of the step"));
        }
    }
    for of in ["labels", "annotations"] {
        let keys = template["metadata"][of].as_object();
        if let Some(key) = keys
            .into_iter()
            .flat_map(Map::keys)
            .find(|key| key.starts_with(OURS))
        {
            return Some(format!("metadata.{of}: {key} is written by the operator"));
        }
    }
    let containers = spec["containers"].as_array().into_iter().flatten();
    let mut steps = containers.filter(|container| container["name"] == CONTAINER);
    let step = steps.next()?;
    if let Some(field) = OF_CONTAINER.iter().find(|field| step.get(**field).is_some()) {
        return Some(format!(
            "{field} of the container {CONTAINER} is decided by the step"
        ));
    }
    let mut env = step["env"].as_array().into_iter().flatten();
    let ours = env.find(|variable| variable["name"].as_str().is_some_and(is_reserved))?;
    let name = ours["name"].as_str().unwrap_or_default();
    Some(format!("{name}: names that start with SIGNOFF_ are reserved"))
}

/// Whether a variable is ours.
pub(super) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED)
}

fn has_key(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(fields) => fields.contains_key(key) || fields.values().any(|value| has_key(value, key)),
        Value::Array(items) => items.iter().any(|value| has_key(value, key)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A template with other fields put into it, which win.
pub(super) fn merged(template: &Value, ours: &Value) -> Value {
    let mut merged = template.clone();
    merge(&mut merged, ours, "");
    merged
}

fn merge(into: &mut Value, ours: &Value, at: &str) {
    match (into, ours) {
        (Value::Object(into), Value::Object(ours)) => {
            for (key, value) in ours {
                match into.get_mut(key) {
                    Some(known) => merge(known, value, key),
                    None => {
                        into.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(into), Value::Array(ours)) if told_apart_by(at).is_some() => {
            let by = told_apart_by(at).unwrap_or_default();
            for value in ours {
                match into.iter_mut().find(|known| known[by] == value[by]) {
                    Some(known) => merge(known, value, ""),
                    None => into.push(value.clone()),
                }
            }
        }
        (into, ours) => *into = ours.clone(),
    }
}

fn told_apart_by(list: &str) -> Option<&'static str> {
    let mut known = MERGED.iter();
    known.find(|(name, _)| *name == list).map(|(_, by)| *by)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_template_may_not_say_is_told() {
        let of_container = |fields: Value| {
            let mut container = json!({ "name": "step" });
            merge(&mut container, &fields, "");
            json!({ "spec": { "containers": [container] } })
        };
        let token = json!({ "spec": { "volumes": [{ "name": "t", "projected": { "sources": [
            { "serviceAccountToken": { "path": "t" } }] } }] } });
        for (template, message) in [
            (
                json!({ "spec": { "serviceAccountName": "admin" } }),
                "spec.serviceAccountName is decided by",
            ),
            (
                json!({ "spec": { "serviceAccount": "admin" } }),
                "spec.serviceAccount is decided by",
            ),
            (
                json!({ "spec": { "automountServiceAccountToken": true } }),
                "is decided by",
            ),
            (
                json!({ "spec": { "restartPolicy": "Always" } }),
                "spec.restartPolicy is decided by retry",
            ),
            (
                json!({ "spec": { "nodeSelectr": { "a": "b" } } }),
                "has no field spec.nodeSelectr",
            ),
            (json!({ "spec": { "nodeSelector": 3 } }), "no pod template"),
            (
                json!({ "metadata": { "labels": { "signoff.dev/run": "x" } } }),
                "is written by the operator",
            ),
            (
                of_container(json!({ "image": "x" })),
                "image of the container step is decided by the step",
            ),
            (
                of_container(json!({ "env": [{ "name": "SIGNOFF_RUN", "value": "x" }] })),
                "SIGNOFF_RUN",
            ),
            (
                of_container(json!({ "env": [{ "name": "A", "valu": "x" }] })),
                "containers[0].env[0].valu",
            ),
            (token, "gets no token"),
        ] {
            let found = problem(&template, false).unwrap();
            assert!(found.contains(message), "{template}: {found}");
        }
    }

    #[test]
    fn a_template_may_say_what_a_step_does_not() {
        let template = json!({
            "metadata": { "labels": { "team": "a" } },
            "spec": {
                "nodeSelector": { "disk": "ssd" }, "tolerations": [], "hostNetwork": false,
                "containers": [{ "name": "step", "env": [{ "name": "TOKEN", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }],
                    "volumeMounts": [{ "name": "work", "mountPath": "/work" }], "securityContext": { "runAsNonRoot": true } }],
                "volumes": [{ "name": "work", "emptyDir": {} }],
            },
        });
        assert_eq!(problem(&template, false), None);
    }

    #[test]
    fn lists_of_things_with_names_are_merged_and_the_step_wins() {
        let template = json!({ "spec": { "containers": [
            { "name": "step", "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }] }, { "name": "proxy" }] } });
        let ours = json!({ "spec": { "restartPolicy": "Never", "containers": [
            { "name": "step", "image": "x", "env": [{ "name": "B", "value": "3" }, { "name": "C", "value": "4" }] }] } });
        assert_eq!(
            merged(&template, &ours),
            json!({ "spec": { "restartPolicy": "Never", "containers": [
                { "name": "step", "image": "x", "env": [
                    { "name": "A", "value": "1" }, { "name": "B", "value": "3" }, { "name": "C", "value": "4" }] },
                { "name": "proxy" }] } })
        );
    }
}
