//! Built-in columns of the core kinds.

use serde_json::{Value, json};

use super::age;
use crate::registry::ResourceKind;

type Cell = fn(&Value, i64) -> Value;

/// Name, type and content of each column after the name.
pub(super) fn of(kind: &ResourceKind) -> &'static [(&'static str, &'static str, Cell)] {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => &[("Status", "string", |o, _| text(&o["status"]["phase"])), AGE],
        ("", "ConfigMap") => &[
            ("Data", "string", |o, _| {
                json!(count(&o["data"]) + count(&o["binaryData"]))
            }),
            AGE,
        ],
        ("", "Secret") => &[
            ("Type", "string", |o, _| text(&o["type"])),
            ("Data", "string", |o, _| json!(count(&o["data"]))),
            AGE,
        ],
        ("", "ServiceAccount") => &[("Secrets", "integer", |o, _| json!(items(&o["secrets"]))), AGE],
        ("" | "events.k8s.io", "Event") => EVENT,
        ("", "Pod") => &[("Status", "string", |o, _| text(&o["status"]["phase"])), AGE],
        ("coordination.k8s.io", "Lease") => &[
            ("Holder", "string", |o, _| text(&o["spec"]["holderIdentity"])),
            AGE,
        ],
        ("batch", "Job") => &[
            ("Status", "string", job_status),
            ("Completions", "string", completions),
            AGE,
        ],
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            &[("Role", "string", role), AGE]
        }
        ("rbac.authorization.k8s.io" | "apiextensions.k8s.io", _) => CREATED,
        _ => &[AGE],
    }
}

const AGE: (&str, &str, Cell) = ("Age", "string", |object, now| {
    since(&object["metadata"]["creationTimestamp"], now)
});
const CREATED: &[(&str, &str, Cell)] = &[("Created At", "date", |object, _| {
    text(&object["metadata"]["creationTimestamp"])
})];
const EVENT: &[(&str, &str, Cell)] = &[
    ("Last Seen", "string", last_seen),
    ("Type", "string", |o, _| text(&o["type"])),
    ("Reason", "string", |o, _| text(&o["reason"])),
    ("Object", "string", event_object),
    ("Message", "string", |o, _| {
        text(if o["note"].is_null() {
            &o["message"]
        } else {
            &o["note"]
        })
    }),
];

fn text(value: &Value) -> Value {
    json!(value.as_str().unwrap_or_default())
}

fn count(value: &Value) -> usize {
    value.as_object().map_or(0, serde_json::Map::len)
}

fn items(value: &Value) -> usize {
    value.as_array().map_or(0, Vec::len)
}

fn since(time: &Value, now: i64) -> Value {
    json!(
        time.as_str()
            .map_or_else(|| "<unknown>".to_owned(), |time| age::since(time, now))
    )
}

fn last_seen(event: &Value, now: i64) -> Value {
    let times = [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["deprecatedLastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    since(
        times
            .into_iter()
            .find(|time| time.is_string())
            .unwrap_or(&Value::Null),
        now,
    )
}

fn event_object(event: &Value, _: i64) -> Value {
    let about = if event["regarding"].is_object() {
        &event["regarding"]
    } else {
        &event["involvedObject"]
    };
    let part = |name: &str| about[name].as_str().unwrap_or_default().to_owned();
    json!(format!("{}/{}", part("kind").to_lowercase(), part("name")))
}

fn job_status(job: &Value, _: i64) -> Value {
    let holds = |kind: &str| {
        let conditions = job["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == kind && c["status"] == "True")
    };
    json!(
        ["Complete", "Failed", "Suspended"]
            .into_iter()
            .find(|kind| holds(kind))
            .unwrap_or("Running")
    )
}

fn completions(job: &Value, _: i64) -> Value {
    let done = job["status"]["succeeded"].as_i64().unwrap_or(0);
    json!(format!(
        "{done}/{}",
        job["spec"]["completions"].as_i64().unwrap_or(1)
    ))
}

fn role(binding: &Value, _: i64) -> Value {
    let part = |name: &str| binding["roleRef"][name].as_str().unwrap_or_default().to_owned();
    json!(format!("{}/{}", part("kind"), part("name")))
}
