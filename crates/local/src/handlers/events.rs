//! Events exist once, as core/v1 objects, and are shown in two groups: kubectl reads the old one, newer
//! clients write `events.k8s.io`. The two differ in the names of some fields.

use serde_json::{Value, json};

use crate::registry::ResourceKind;

const GROUP: &str = "events.k8s.io";

/// Field names in core/v1 and in events.k8s.io/v1.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Whether objects of this kind are stored as another kind.
pub fn is_alias(kind: &ResourceKind) -> bool {
    kind.group == GROUP && kind.kind == "Event"
}

/// The resource under which objects of this kind are stored.
pub fn stored_as(kind: &ResourceKind) -> String {
    if is_alias(kind) {
        "events".to_owned()
    } else {
        kind.qualified()
    }
}

/// A stored object as this kind shows it.
pub fn shown(kind: &ResourceKind, mut object: Value) -> Value {
    if is_alias(kind) {
        for (core, new) in RENAMED {
            rename(&mut object, core, new);
        }
        if let Some(map) = object.as_object_mut() {
            map.retain(|name, value| !name.starts_with("reporting") || *value != "");
        }
        object["apiVersion"] = Value::from("events.k8s.io/v1");
    }
    object
}

/// Fills in the fields that every Event of a real server has, null or empty where nothing is set, so that kubectl can sort by them. Other
/// kinds are left alone.
pub fn complete(kind: &ResourceKind, object: &mut Value) {
    if stored_as(kind) != "events" {
        return;
    }
    if let Some(map) = object.as_object_mut() {
        for field in ["eventTime", "firstTimestamp", "lastTimestamp"] {
            map.entry(field).or_insert(Value::Null);
        }
        map.entry("source").or_insert_with(|| json!({}));
        for field in ["reportingComponent", "reportingInstance"] {
            map.entry(field).or_insert_with(|| json!(""));
        }
    }
}

/// An object of this kind as it is stored.
pub fn stored(kind: &ResourceKind, mut object: Value) -> Value {
    if is_alias(kind) {
        for (core, new) in RENAMED {
            rename(&mut object, new, core);
        }
        object["apiVersion"] = Value::from("v1");
    }
    object
}

fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(map) = object.as_object_mut()
        && let Some(value) = map.remove(from)
    {
        map.insert(to.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use serde_json::json;

    #[test]
    fn an_event_written_in_the_new_group_is_read_in_the_old_one() {
        let registry = Registry::new([]);
        let kind = registry.resource(GROUP, "events").unwrap();
        let event = json!({"apiVersion": "events.k8s.io/v1", "regarding": {"name": "a"}, "note": "hello"});
        let core = stored(kind, event.clone());
        assert_eq!(core["involvedObject"]["name"], "a");
        assert_eq!(core["message"], "hello");
        assert_eq!(shown(kind, core), event);
    }

    #[test]
    fn an_event_has_the_fields_that_kubectl_sorts_by_even_if_they_say_nothing() {
        let registry = Registry::new([]);
        let (core, new) = (
            registry.resource("", "events").unwrap(),
            registry.resource(GROUP, "events").unwrap(),
        );
        let mut event =
            json!({"apiVersion": "v1", "kind": "Event", "eventTime": "2026-01-01T00:00:00.000000Z"});
        complete(new, &mut event);
        let expected = json!({
            "apiVersion": "v1", "kind": "Event", "eventTime": "2026-01-01T00:00:00.000000Z", "firstTimestamp": null,
            "lastTimestamp": null, "reportingComponent": "", "reportingInstance": "", "source": {},
        });
        assert_eq!(shown(core, event.clone()), expected);
        let expected = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "eventTime": "2026-01-01T00:00:00.000000Z",
            "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null, "deprecatedSource": {},
        });
        assert_eq!(shown(new, event), expected);
        let mut map = json!({"kind": "ConfigMap"});
        complete(registry.resource("", "configmaps").unwrap(), &mut map);
        assert_eq!(map, json!({"kind": "ConfigMap"}));
    }
}
