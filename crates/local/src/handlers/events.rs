//! Events exist once, as core/v1 objects, and are shown in two groups: kubectl reads the old one, newer
//! clients write `events.k8s.io`. The two differ in the names of some fields.

use serde_json::Value;

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
        object["apiVersion"] = Value::from("events.k8s.io/v1");
    }
    object
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
}
