//! Takes messages out of the status of their run.

use std::{sync::Arc, time::Duration};

use json_patch::{Patch as Operations, PatchOperation, RemoveOperation, TestOperation, jsonptr::PointerBuf};
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::Value;

use super::Deps;
use crate::cluster::{
    backoff::Backoff,
    error_chain,
    status::{is_missing, is_stale},
};
use signoff_api::{Run, names};

const PAUSES: Backoff = Backoff {
    first: Duration::from_millis(50),
    longest: Duration::from_mins(1),
};

/// Takes messages out of the status of their run, until that is done or the run is gone.
pub(super) async fn settle(deps: &Deps, run: &Arc<Run>, keys: &[String]) {
    let api = deps
        .context
        .namespaced::<Run>(&run.namespace().unwrap_or_default());
    let name = run.name_any();
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let mut newest = Arc::clone(run);
    let mut failures = 0;
    while let Some(operations) = operations(&newest, keys) {
        let patch = Patch::<()>::Json(operations);
        match api.patch_status(&name, &params, &patch).await {
            Ok(_) => return,
            Err(error) if is_missing(&error) => return,
            // the run has changed
            Err(error) if is_stale(&error) => deps.context.metrics().api_conflict("runs"),
            Err(error) => {
                tracing::warn!(run = %name, error = %error_chain(&error), "a message that was sent could not be taken out; trying again");
            }
        }
        failures += 1;
        tokio::time::sleep(PAUSES.after(failures)).await;
        match api.get_opt(&name).await {
            Ok(Some(read)) if read.uid() == run.uid() => newest = Arc::new(read),
            Ok(_) => return,
            // what is known is tried again
            Err(_) => {}
        }
    }
}

/// What takes messages out of a run, if it has them. With the last one, it does not say any more that it has some: the
/// revision tells whether others were added.
fn operations(run: &Run, keys: &[String]) -> Option<Operations> {
    let status = run.status.as_ref()?;
    let there: Vec<&String> = keys
        .iter()
        .filter(|key| status.notifications.contains_key(*key))
        .collect();
    let is_last = there.len() == status.notifications.len();
    let says_so = status.has_notifications.is_some();
    if there.is_empty() && !(is_last && says_so) {
        return None;
    }
    let mut all = vec![test(&["metadata", "uid"], run.uid().unwrap_or_default().into())];
    if is_last {
        all.push(test(&["status", "revision"], status.revision.into()));
    }
    all.extend(there.iter().map(|key| remove(&["status", "notifications", key])));
    if is_last && says_so {
        all.push(remove(&["status", "hasNotifications"]));
    }
    Some(Operations(all))
}

fn test(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation {
        path: PointerBuf::from_tokens(path.iter().copied()),
        value,
    })
}

fn remove(path: &[&str]) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation {
        path: PointerBuf::from_tokens(path.iter().copied()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(keys: &[&str]) -> Run {
        let entry = json!({"notification": 0, "event": "RunStarted", "at": "2026-01-01T00:00:00.000000Z"});
        let messages: serde_json::Map<_, _> = keys
            .iter()
            .map(|key| ((*key).to_owned(), entry.clone()))
            .collect();
        let run = json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "spec": {"flow": "f"},
            "metadata": {"name": "r", "namespace": "default", "uid": "u"},
            "status": {"revision": 4, "hasNotifications": true, "notifications": messages},
        });
        serde_json::from_value(run).unwrap()
    }

    fn of(run: &Run, keys: &[&str]) -> Value {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let operations = operations(run, &keys).map(|operations| operations.0);
        let operations = operations.unwrap_or_default();
        let short = operations.iter().map(|operation| {
            let operation = serde_json::to_value(operation).unwrap();
            format!(
                "{} {}",
                operation["op"].as_str().unwrap(),
                operation["path"].as_str().unwrap()
            )
        });
        short.collect::<Vec<_>>().into()
    }

    #[test]
    fn one_of_several_messages_is_taken_out_alone_and_the_last_with_the_mark() {
        let two = run(&["a", "b"]);
        let uid = "test /metadata/uid";
        assert_eq!(of(&two, &["a"]), json!([uid, "remove /status/notifications/a"]));
        let last = json!([
            uid,
            "test /status/revision",
            "remove /status/notifications/a",
            "remove /status/notifications/b",
            "remove /status/hasNotifications"
        ]);
        assert_eq!(of(&two, &["a", "b"]), last);
        assert_eq!(of(&two, &["c"]), json!([]));
        let mark = json!([uid, "test /status/revision", "remove /status/hasNotifications"]);
        assert_eq!(of(&run(&[]), &[]), mark);
    }
}
