use serde_json::{Value, json};

use super::{FieldError, Schema};
use crate::registry::Registry;

fn schema(value: Value) -> Schema {
    Schema::structural(value)
}

#[expect(clippy::needless_pass_by_value, reason = "it reads better where it is called")]
fn spec(properties: Value) -> Schema {
    schema(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}))
}

fn first(errors: Vec<FieldError>) -> (String, String, String) {
    let error = errors.into_iter().next().unwrap();
    (error.reason, error.field, error.message)
}

#[test]
fn unknown_fields_are_removed_and_named() {
    let schema = spec(json!({
        "known": {"type": "string"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {}}},
    }));
    let mut object = json!({
        "apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "labels": {"a": "b"}, "colour": "red"},
        "spec": {"known": "x", "free": {"any": {"thing": 1}}, "list": [{"a": "1", "b": "2"}], "map": {"k": {"z": 1}}, "other": 1},
    });
    let unknown = schema.prune(&mut object);
    assert_eq!(
        unknown,
        ["spec.list[0].b", "spec.map.k.z", "spec.other", "metadata.colour"]
    );
    assert_eq!(object["spec"]["free"]["any"]["thing"], 1);
    assert_eq!(object["metadata"], json!({"name": "n", "labels": {"a": "b"}}));
    assert!(object["spec"].get("other").is_none());
}

#[test]
fn defaults_are_filled_in_at_every_depth() {
    let schema = spec(json!({
        "size": {"type": "integer", "default": 3},
        "deep": {"type": "object", "default": {}, "properties": {"on": {"type": "boolean", "default": true}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}},
    }));
    let mut object = json!({"spec": {"list": [{}, {"n": 2}], "size": null}});
    schema.default(&mut object);
    assert_eq!(
        object["spec"],
        json!({"size": 3, "deep": {"on": true}, "list": [{"n": 1}, {"n": 2}]})
    );
}

#[test]
fn errors_are_told_in_the_words_of_kubernetes() {
    let schema = schema(json!({"type": "object", "properties": {"spec": {
        "type": "object", "required": ["flow"],
        "properties": {
            "flow": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-z]*$"},
            "size": {"type": "integer", "minimum": 1},
            "mode": {"type": "string", "enum": ["a", "b"], "nullable": true},
            "list": {"type": "array", "maxItems": 1, "items": {"type": "string"}},
        },
    }}}));
    let of = |spec: Value| first(schema.validate(&json!({"spec": spec}), None));
    let told =
        |reason: &str, field: &str, message: &str| (reason.to_owned(), field.to_owned(), message.to_owned());
    assert_eq!(
        of(json!({})),
        told("FieldValueRequired", "spec.flow", "Required value")
    );
    assert_eq!(
        of(json!({"flow": "a", "size": "x"})),
        told(
            "FieldValueTypeInvalid",
            "spec.size",
            "Invalid value: \"string\": spec.size in body must be of type integer: \"string\""
        )
    );
    assert_eq!(
        of(json!({"flow": "a", "mode": "c"})),
        told(
            "FieldValueNotSupported",
            "spec.mode",
            "Unsupported value: \"c\": supported values: \"a\", \"b\""
        )
    );
    assert_eq!(
        of(json!({"flow": "abcdef"})),
        told(
            "FieldValueTooLong",
            "spec.flow",
            "Too long: may not be more than 5 bytes"
        )
    );
    assert_eq!(
        of(json!({"flow": "A"})),
        told(
            "FieldValueInvalid",
            "spec.flow",
            "Invalid value: \"A\": spec.flow in body should match '^[a-z]*$'"
        )
    );
    assert_eq!(
        of(json!({"flow": "a", "size": 0})),
        told(
            "FieldValueInvalid",
            "spec.size",
            "Invalid value: 0: spec.size in body should be greater than or equal to 1"
        )
    );
    assert_eq!(
        of(json!({"flow": "a", "list": ["x", "y"]})),
        told(
            "FieldValueTooMany",
            "spec.list",
            "Too many: 2: must have at most 1 item"
        )
    );
    assert!(
        schema
            .validate(&json!({"spec": {"flow": "a", "mode": null}}), None)
            .is_empty()
    );
}

#[test]
fn what_was_wrong_already_and_did_not_change_is_let_through() {
    let schema =
        spec(json!({"a": {"type": "string", "maxLength": 1}, "b": {"type": "string", "maxLength": 1}}));
    let old = json!({"spec": {"a": "long", "b": "x"}});
    assert!(
        schema
            .validate(&json!({"spec": {"a": "long", "b": "y"}}), Some(&old))
            .is_empty()
    );
    assert!(
        !schema
            .validate(&json!({"spec": {"a": "longer", "b": "y"}}), Some(&old))
            .is_empty()
    );
}

#[test]
fn rules_compare_with_the_state_before() {
    let schema = schema(json!({
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        "x-kubernetes-validations": [{"rule": "self.spec == oldSelf.spec", "message": "it never changes"}],
    }));
    let (old, new) = (json!({"spec": {"n": 1}}), json!({"spec": {"n": 2}}));
    assert!(schema.validate(&old, None).is_empty());
    assert!(schema.validate(&old, Some(&old)).is_empty());
    let (reason, _, message) = first(schema.validate(&new, Some(&old)));
    assert_eq!(reason, "FieldValueInvalid");
    assert_eq!(message, "Invalid value: \"object\": it never changes");
}

#[test]
fn a_rule_that_costs_too_much_is_refused_as_kubernetes_refuses_it() {
    let schema = schema(json!({
        "type": "object",
        "properties": {"l": {"type": "array", "items": {"type": "integer"}}},
        "x-kubernetes-validations": [
            {"rule": "self.l.all(x, self.l.all(y, self.l.exists(z, x + y + z >= 0)))"},
            {"rule": "false", "message": "never comes to this"},
        ],
    }));
    let errors = schema.validate(&json!({"l": vec![1; 3_000]}), None);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0]
            .message
            .contains("no further validation rules will be run due to call cost exceeds limit")
    );
}

#[test]
fn rules_of_items_compare_with_the_item_of_the_same_key() {
    let schema = spec(json!({"steps": {
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
            "x-kubernetes-validations": [
                {"rule": "self.n >= oldSelf.n", "messageExpression": "'not below ' + string(oldSelf.n)", "fieldPath": ".n"},
                {"rule": "oldSelf.hasValue() || self.n > 0", "optionalOldSelf": true, "message": "begins above 0"},
            ],
        },
    }}));
    let steps = |steps: Value| json!({"spec": {"steps": steps}});
    let old = steps(json!([{"name": "a", "n": 2}, {"name": "b", "n": 1}]));
    let swapped = steps(json!([{"name": "b", "n": 1}, {"name": "a", "n": 2}]));
    assert!(schema.validate(&swapped, Some(&old)).is_empty());
    let lower = steps(json!([{"name": "a", "n": 1}, {"name": "c", "n": 0}]));
    let errors = schema.validate(&lower, Some(&old));
    let told: Vec<_> = errors
        .iter()
        .map(|error| (error.field.as_str(), error.message.as_str()))
        .collect();
    assert_eq!(told[0], ("spec.steps[0].n", "Invalid value: 1: not below 2"));
    assert_eq!(
        told[1],
        ("spec.steps[1]", "Invalid value: \"object\": begins above 0")
    );
    assert!(
        schema
            .validate(&steps(json!([{"name": "a", "n": 0}])), None)
            .len()
            == 1
    );
}

#[test]
fn every_schema_that_is_served_can_be_used_and_accepts_an_object_of_its_kind() {
    let registry = Registry::new(signoff_api::crds());
    for kind in registry.iter() {
        let schema = Schema::of(kind);
        if let Some(value) = &schema.root {
            assert!(schema.validator(value).is_some(), "{}", kind.kind);
            if schema.custom {
                let broken = super::rules::Rules::of(value).broken();
                assert!(broken.is_empty(), "{}: {broken:?}", kind.kind);
            }
        }
    }
    let secret = registry.resource("", "secrets").unwrap();
    let mut object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "s", "creationTimestamp": null, "managedFields": [{"manager": "m", "fieldsV1": {"f:data": {}}}]},
        "data": {"a": "Yg=="}, "bogus": 1,
    });
    let schema = Schema::of(secret);
    assert_eq!(schema.prune(&mut object), ["bogus"]);
    assert_eq!(
        object["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:data": {}})
    );
    assert!(schema.validate(&object, None).is_empty());
    object["data"] = json!({"a": 1});
    assert_eq!(schema.validate(&object, None)[0].field, "data.a");
}
