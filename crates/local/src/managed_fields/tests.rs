use serde_json::{Value, json};

use super::{ApplyContext, apply, track_update};
use crate::registry::Registry;
use crate::schema::Schema;

fn schema() -> Schema {
    Schema::structural(
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "color": {"type": "string"},
            "deep": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
            "atoms": {"type": "array", "items": {"type": "string"}},
            "items": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "string"}}},
            },
        }}}}),
    )
}

#[expect(clippy::needless_pass_by_value, reason = "it reads better where it is called")]
fn object(spec: Value) -> Value {
    json!({"apiVersion": "test.dev/v1", "kind": "K", "metadata": {"name": "n"}, "spec": spec})
}

fn by<'a>(manager: &'a str, schema: &'a Schema) -> ApplyContext<'a> {
    ApplyContext {
        manager,
        force: false,
        subresource: None,
        now: "2026-01-01T00:00:00Z",
        schema,
    }
}

fn owners(object: &Value) -> Vec<(String, Value)> {
    let all = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    all.iter()
        .map(|e| (e["manager"].as_str().unwrap().to_owned(), e["fieldsV1"].clone()))
        .collect()
}

#[test]
fn what_is_no_longer_applied_goes() {
    let schema = schema();
    let me = by("git", &schema);
    let first = apply(
        None,
        &object(json!({"color": "red", "deep": {"a": "1"}, "atoms": ["x"]})),
        &me,
    )
    .unwrap();
    let second = apply(
        Some(&first),
        &object(json!({"color": "red", "atoms": ["y"]})),
        &me,
    )
    .unwrap();
    assert_eq!(second["spec"], json!({"color": "red", "atoms": ["y"]}));
    assert_eq!(
        owners(&second),
        [(
            "git".to_owned(),
            json!({"f:spec": {"f:atoms": {}, "f:color": {}}})
        )]
    );
}

#[test]
fn what_others_own_stays_and_cannot_be_changed_without_force() {
    let schema = schema();
    let first = apply(
        None,
        &object(json!({"color": "red", "deep": {"a": "1"}})),
        &by("git", &schema),
    )
    .unwrap();
    let mut edited = first.clone();
    edited["spec"]["deep"]["b"] = json!("2");
    edited["spec"]["color"] = json!("blue");
    track_update(Some(&first), &mut edited, &by("kubectl-edit", &schema));
    let again = apply(
        Some(&edited),
        &object(json!({"color": "red"})),
        &by("git", &schema),
    );
    let conflicts = again.unwrap_err();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].field, ".spec.color");
    assert_eq!(
        conflicts[0].message,
        "conflict with \"kubectl-edit\" using test.dev/v1"
    );
    let forced = ApplyContext {
        force: true,
        ..by("git", &schema)
    };
    let taken = apply(Some(&edited), &object(json!({"color": "red"})), &forced).unwrap();
    assert_eq!(taken["spec"], json!({"color": "red", "deep": {"b": "2"}}));
    assert_eq!(
        owners(&taken),
        [
            ("git".to_owned(), json!({"f:spec": {"f:color": {}}})),
            (
                "kubectl-edit".to_owned(),
                json!({"f:spec": {"f:deep": {"f:b": {}}}})
            ),
        ]
    );
}

#[test]
fn the_same_value_is_owned_together_and_goes_with_the_last_owner() {
    let schema = schema();
    let first = apply(None, &object(json!({"color": "red"})), &by("a", &schema)).unwrap();
    let both = apply(Some(&first), &object(json!({"color": "red"})), &by("b", &schema)).unwrap();
    assert_eq!(owners(&both).len(), 2);
    let one = apply(Some(&both), &object(json!({})), &by("a", &schema)).unwrap();
    assert_eq!(one["spec"]["color"], "red");
    let none = apply(Some(&one), &object(json!({})), &by("b", &schema)).unwrap();
    assert!(none["spec"].get("color").is_none(), "{none}");
}

#[test]
fn lists_with_keys_are_merged_item_by_item() {
    let schema = schema();
    let item = |name: &str, value: &str| json!({"name": name, "value": value});
    let first = apply(
        None,
        &object(json!({"items": [item("a", "1")]})),
        &by("x", &schema),
    )
    .unwrap();
    let both = apply(
        Some(&first),
        &object(json!({"items": [item("b", "2")]})),
        &by("y", &schema),
    )
    .unwrap();
    assert_eq!(both["spec"]["items"], json!([item("b", "2"), item("a", "1")]));
    let (_, fields) = owners(&both)[1].clone();
    assert_eq!(
        fields,
        json!({"f:spec": {"f:items": {"k:{\"name\":\"b\"}": {".": {}, "f:name": {}, "f:value": {}}}}})
    );
    let without = apply(Some(&both), &object(json!({"items": []})), &by("y", &schema)).unwrap();
    assert_eq!(without["spec"]["items"], json!([item("a", "1")]));
}

#[test]
fn an_update_owns_what_it_changed_and_an_apply_that_changes_nothing_leaves_all_as_it_is() {
    let schema = schema();
    let mut made = object(json!({"color": "red", "atoms": ["x"]}));
    track_update(None, &mut made, &by("kubectl-create", &schema));
    let mut next = made.clone();
    next["spec"]["color"] = json!("blue");
    track_update(Some(&made), &mut next, &by("other", &schema));
    assert_eq!(
        owners(&next),
        [
            ("kubectl-create".to_owned(), json!({"f:spec": {"f:atoms": {}}})),
            ("other".to_owned(), json!({"f:spec": {"f:color": {}}})),
        ]
    );
    let applied = apply(
        Some(&next),
        &object(json!({"color": "blue"})),
        &by("git", &schema),
    )
    .unwrap();
    let later = ApplyContext {
        now: "2027-01-01T00:00:00Z",
        ..by("git", &schema)
    };
    assert_eq!(
        apply(Some(&applied), &object(json!({"color": "blue"})), &later).unwrap(),
        applied
    );
}

#[test]
fn labels_and_finalizers_of_several_managers_live_together() {
    let registry = Registry::new([]);
    let schema = Schema::of(registry.resource("", "configmaps").unwrap());
    let with = |labels: Value, finalizers: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n", "labels": labels, "finalizers": finalizers}});
    let first = apply(None, &with(json!({"a": "1"}), json!(["x/a"])), &by("a", &schema)).unwrap();
    let both = apply(
        Some(&first),
        &with(json!({"b": "2"}), json!(["x/b"])),
        &by("b", &schema),
    )
    .unwrap();
    assert_eq!(both["metadata"]["labels"], json!({"a": "1", "b": "2"}));
    assert_eq!(both["metadata"]["finalizers"], json!(["x/a", "x/b"]));
    let one = apply(Some(&both), &with(json!({}), json!([])), &by("a", &schema)).unwrap();
    assert_eq!(one["metadata"]["labels"], json!({"b": "2"}));
    assert_eq!(one["metadata"]["finalizers"], json!(["x/b"]));
}
