//! Status writes of a run: only what changed, and only if nobody else has written since.

use json_patch::{
    AddOperation, Patch as Operations, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation,
    jsonptr::PointerBuf,
};
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Map, Value};

use super::RunKey;
use crate::cluster::context::Context;
use signoff_api::{Run, RunStatus, names};

/// The parts of a status that the gateway writes.
const OF_GATEWAY: [&str; 3] = ["callbacks", "events", "heartbeats"];
const STEPS: &str = "steps";
/// What is to be sent. The sender takes out what it has sent.
const NOTIFICATIONS: &str = "notifications";
/// That there is something to be sent.
const HAS_NOTIFICATIONS: &str = "hasNotifications";

/// Writes the next status of a run whose acknowledged state is `run`. Gives the run as the API server acknowledged it.
pub(super) async fn status(context: &Context, run: &Run, next: &RunStatus) -> Result<Run, kube::Error> {
    let key = RunKey::of(run);
    let operations = operations(run, next).map_err(kube::Error::SerdeError)?;
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    context
        .namespaced::<Run>(key.namespace())
        .patch_status(key.name(), &params, &Patch::<()>::Json(operations))
        .await
}

fn operations(run: &Run, next: &RunStatus) -> Result<Operations, serde_json::Error> {
    let mut operations = vec![test(&["metadata", "uid"], run.uid().unwrap_or_default().into())];
    let next = object(next)?;
    match &run.status {
        // a patch cannot test that something is absent, but an object that nobody has touched since it was read has no status
        None => {
            operations.push(test(
                &["metadata", "resourceVersion"],
                run.resource_version().unwrap_or_default().into(),
            ));
            operations.push(add(&["status"], Value::Object(next)));
        }
        Some(current) => {
            operations.push(test(&["status", "revision"], current.revision.into()));
            changes(&object(current)?, next, &mut operations);
        }
    }
    Ok(Operations(operations))
}

fn object(status: &RunStatus) -> Result<Map<String, Value>, serde_json::Error> {
    match serde_json::to_value(status)? {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

fn changes(current: &Map<String, Value>, mut next: Map<String, Value>, operations: &mut Vec<PatchOperation>) {
    for name in current
        .keys()
        .filter(|name| !OF_GATEWAY.contains(&name.as_str()) && !next.contains_key(*name))
    {
        operations.push(PatchOperation::Remove(RemoveOperation {
            path: pointer(&["status", name]),
        }));
    }
    // the gateway adds entries; what is over is taken out one by one, so that none is lost that came meanwhile
    for field in OF_GATEWAY {
        let kept = next.get(field).and_then(Value::as_object);
        let known = current.get(field).and_then(Value::as_object);
        for (key, entry) in known.into_iter().flatten() {
            let path = pointer(&["status", field, key]);
            match kept.and_then(|kept| kept.get(key)) {
                Some(kept) if kept == entry => {}
                Some(kept) => operations.push(PatchOperation::Replace(ReplaceOperation {
                    path,
                    value: kept.clone(),
                })),
                None => operations.push(PatchOperation::Remove(RemoveOperation { path })),
            }
        }
    }
    // the sender may have taken the mark out since, whatever is known of it here
    if adds_notifications(current, &next) {
        operations.push(add(&["status", HAS_NOTIFICATIONS], true.into()));
        next.remove(HAS_NOTIFICATIONS);
    }
    for (name, value) in next {
        if OF_GATEWAY.contains(&name.as_str()) || current.get(&name) == Some(&value) {
            continue;
        }
        match (name.as_str(), current.get(&name), value) {
            (STEPS, Some(Value::Array(before)), Value::Array(after)) if after.len() >= before.len() => {
                steps(before, after, operations);
            }
            (NOTIFICATIONS, Some(Value::Object(before)), Value::Object(after)) => {
                notifications(before, after, operations);
            }
            (_, _, value) => operations.push(add(&["status", &name], value)),
        }
    }
}

/// Steps are only ever appended or changed where they stand, so a write need not repeat the whole list.
fn steps(before: &[Value], after: Vec<Value>, operations: &mut Vec<PatchOperation>) {
    for (index, step) in after.into_iter().enumerate() {
        match before.get(index) {
            Some(same) if *same == step => {}
            Some(_) => {
                let path = pointer(&["status", STEPS, &index.to_string()]);
                operations.push(PatchOperation::Replace(ReplaceOperation { path, value: step }));
            }
            None => operations.push(add(&["status", STEPS, "-"], step)),
        }
    }
}

/// Adds what is new: what was sent meanwhile stays out.
fn notifications(
    before: &Map<String, Value>,
    after: Map<String, Value>,
    operations: &mut Vec<PatchOperation>,
) {
    let new = after.into_iter().filter(|(key, _)| !before.contains_key(key));
    operations.extend(new.map(|(key, entry)| add(&["status", NOTIFICATIONS, &key], entry)));
}

/// Whether the next status lists messages that the current one does not.
fn adds_notifications(current: &Map<String, Value>, next: &Map<String, Value>) -> bool {
    let keys = |status: &Map<String, Value>| -> Vec<String> {
        let listed = status.get(NOTIFICATIONS).and_then(Value::as_object);
        listed.into_iter().flat_map(Map::keys).cloned().collect()
    };
    let known = keys(current);
    keys(next).iter().any(|key| !known.contains(key))
}

fn test(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation {
        path: pointer(path),
        value,
    })
}

fn add(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation {
        path: pointer(path),
        value,
    })
}

fn pointer(tokens: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(tokens.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(status: &Value) -> Run {
        let metadata = json!({"name": "r", "namespace": "default", "uid": "u", "resourceVersion": "7"});
        serde_json::from_value(json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": metadata, "spec": {"flow": "f"}, "status": status
        }))
        .unwrap()
    }

    fn patch(before: &Value, after: Value) -> Value {
        let after: RunStatus = serde_json::from_value(after).unwrap();
        serde_json::to_value(operations(&run(before), &after).unwrap()).unwrap()
    }

    #[test]
    fn the_first_write_is_whole_and_starts_the_callbacks() {
        let operations = patch(&Value::Null, json!({"revision": 1, "phase": "Running"}));
        assert_eq!(
            operations[0],
            json!({"op": "test", "path": "/metadata/uid", "value": "u"})
        );
        assert_eq!(
            operations[1],
            json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"})
        );
        assert_eq!(operations[2]["path"], "/status");
        assert_eq!(operations[2]["value"]["callbacks"], json!({}));
    }

    #[test]
    fn a_later_write_tests_the_revision_and_says_only_what_changed() {
        let step =
            |name: &str, phase: &str| json!({"name": name, "iteration": 1, "phase": phase, "attempt": 1});
        let callback = json!({"x.1": {"receivedAt": "2026-01-01T00:00:00.000000Z", "body": 1,
            "sha256": format!("sha256:{}", "0".repeat(64))}});
        let before = json!({"revision": 3, "phase": "Running", "waitingOn": "b",
            "steps": [step("a", "Succeeded"), step("b", "Running")], "callbacks": callback});
        let after = json!({"revision": 4, "phase": "Running", "callbacks": callback,
            "steps": [step("a", "Succeeded"), step("b", "Succeeded"), step("c", "Running")]});
        let operations = patch(&before, after);
        let paths: Vec<_> = operations
            .as_array()
            .unwrap()
            .iter()
            .map(|op| format!("{} {}", op["op"], op["path"]).replace('"', ""))
            .collect();
        assert_eq!(
            paths,
            [
                "test /metadata/uid",
                "test /status/revision",
                "remove /status/waitingOn",
                "add /status/revision",
                "replace /status/steps/1",
                "add /status/steps/-"
            ]
        );
    }

    #[test]
    fn messages_that_were_sent_meanwhile_are_not_added_again() {
        let entry = json!({"notification": 0, "event": "RunStarted", "at": "2026-01-01T00:00:00.000000Z"});
        let before =
            json!({"revision": 1, "hasNotifications": true, "notifications": {"0.RunStarted": entry}});
        let mut after = before.clone();
        after["revision"] = json!(2);
        after["notifications"]["0.RunEnded"] = entry.clone();
        let operations = patch(&before, after);
        let mut changes: Vec<String> = operations.as_array().unwrap()[2..]
            .iter()
            .map(|operation| {
                format!("{} {} {}", operation["op"], operation["path"], operation["value"]).replace('"', "")
            })
            .collect();
        changes.sort();
        let added = entry.to_string().replace('"', "");
        assert_eq!(
            changes,
            [
                "add /status/hasNotifications true".to_owned(),
                format!("add /status/notifications/0.RunEnded {added}"),
                "add /status/revision 2".to_owned(),
            ]
        );
    }
}
