//! The schema of each kind accepts exactly what is read: what is drawn from one is taken by the other, in both directions.

use kube::Resource;
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use signoff_api::{
    Approval, Connection, Decision, Digest, Flow, HumanDuration, MediaType, OrExpression, Release,
    Repository, Run, WorkItem,
    connection::HeaderAuth,
    name::{DnsLabel, FlowName, ObjectName, ReleaseName, SecretKey},
};

use crate::support::draw::{Draw, json_schema, kinds, least, leaves, poisons, with};

/// How many objects of each kind are drawn.
const DRAWN: usize = 400;

fn validator(schema: &Value) -> jsonschema::Validator {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft4)
        .should_validate_formats(true)
        .build(&json_schema(schema))
        .unwrap()
}

/// Whether an object is read, by whichever type it is of; what was read, as it is written again.
fn reread(kind: &str, object: &Value) -> Result<Value, String> {
    fn through<K: Resource + DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
        // as it comes from the API server: as a text
        let read: K = serde_json::from_str(&object.to_string()).map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(read).unwrap())
    }
    match kind {
        "Repository" => through::<Repository>(object),
        "Flow" => through::<Flow>(object),
        "Release" => through::<Release>(object),
        "Run" => through::<Run>(object),
        "Approval" => through::<Approval>(object),
        "Decision" => through::<Decision>(object),
        "Connection" => through::<Connection>(object),
        "WorkItem" => through::<WorkItem>(object),
        other => panic!("{other} is not read here yet"),
    }
}

fn named(kind: &str, mut object: Value) -> Value {
    object["apiVersion"] = json!("signoff.dev/v1alpha1");
    object["kind"] = json!(kind);
    object["metadata"] = json!({ "name": "drawn" });
    object
}

#[test]
fn whatever_a_schema_takes_is_read_and_what_is_written_again_is_taken() {
    for kind in kinds() {
        let (validator, mut draw) = (validator(&kind.schema), Draw::default());
        for _ in 0..DRAWN {
            let object = named(&kind.name, draw.value(&kind.schema, 0));
            if let Some(error) = validator.iter_errors(&object).next() {
                panic!(
                    "{} is not drawn as its schema says: {error} at {}",
                    kind.name,
                    error.instance_path()
                );
            }
            let again = reread(&kind.name, &object)
                .unwrap_or_else(|error| panic!("{}: {error}: {object:#}", kind.name));
            if let Some(error) = validator.iter_errors(&again).next() {
                panic!(
                    "{} as it is written: {error} at {}",
                    kind.name,
                    error.instance_path()
                );
            }
        }
    }
}

/// Each field at and beyond its bounds: whatever of it the schema takes is read.
#[test]
fn no_field_takes_a_value_that_is_not_read() {
    let mut wrong = Vec::new();
    let (mut taken, mut refused) = (0, 0);
    for kind in kinds() {
        let validator = validator(&kind.schema);
        for field in leaves(&kind.schema) {
            let has = |part: &str| field.path.iter().any(|at| *at == *part);
            // the schema of `steps` once more, and that of a Flow
            if has("finally") || kind.name == "Release" && has("definition") {
                continue;
            }
            for poison in poisons(&field.schema) {
                // what nests more deeply than a JSON parser bears is refused as a text; see the poison scenario
                let Ok(value) = serde_json::from_str::<Value>(&poison) else {
                    continue;
                };
                if poison.starts_with("{\"a\":[") || poison.starts_with("[[") {
                    continue;
                }
                let mut object = named(&kind.name, with(&kind.schema, &field.path, &value));
                if object["spec"].is_null() {
                    object["spec"] = least(&kind.schema["properties"]["spec"]);
                }
                if !validator.is_valid(&object) {
                    refused += 1;
                    continue;
                }
                taken += 1;
                if let Err(error) = reread(&kind.name, &object) {
                    wrong.push(format!(
                        "{} {}: {poison}: {error}",
                        kind.name,
                        field.path.join(".")
                    ));
                }
            }
        }
    }
    assert!(
        taken > 500 && refused > 2_000,
        "{taken} taken, {refused} refused: the walk misses fields"
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A type with a grammar: its schema and its parser agree on every text.
fn agrees<T: JsonSchema + DeserializeOwned>(text: &str) {
    let schema = serde_json::to_value(schemars::schema_for!(T)).unwrap();
    let validator = validator(&schema);
    let value = json!(text);
    let parsed = serde_json::from_value::<T>(value.clone());
    assert_eq!(
        validator.is_valid(&value),
        parsed.is_ok(),
        "{}: {text:?}: {:?}",
        T::schema_name(),
        parsed.err().map(|error| error.to_string())
    );
}

fn all_agree(text: &str) {
    agrees::<HumanDuration>(text);
    agrees::<OrExpression<HumanDuration>>(text);
    agrees::<MediaType>(text);
    agrees::<Digest>(text);
    agrees::<ObjectName>(text);
    agrees::<FlowName>(text);
    agrees::<ReleaseName>(text);
    agrees::<DnsLabel>(text);
    agrees::<SecretKey>(text);
}

#[test]
fn every_grammar_and_its_schema_agree_at_their_bounds() {
    for poison in poisons(&json!({ "type": "string", "maxLength": 253 })) {
        if let Ok(Value::String(text)) = serde_json::from_str(&poison) {
            all_agree(&text);
        }
    }
    for length in [1, 52, 53, 63, 64, 253, 254] {
        for text in [
            "a".repeat(length),
            "a.".repeat(length / 2) + "a",
            "1".repeat(length),
        ] {
            all_agree(&text);
        }
    }
    for digits in 0..14 {
        for unit in ["d", "h", "m", "s", "ms", ""] {
            for first in ["1", "0", "9"] {
                agrees::<HumanDuration>(&format!("{first}{}{unit}", "0".repeat(digits)));
                agrees::<HumanDuration>(&format!("1d{first}{}{unit}", "0".repeat(digits)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_grammar_and_its_schema_agree_on_texts_that_are_nearly_right(
        duration in "([0-9]{0,5}(d|h|m|s|ms|us|D)?){0,6}",
        name in "[a-z0-9.-]{0,70}",
        odd in "[a-zA-Z0-9._/%-]{0,12}",
        media in "(image|audio|text|application)/[a-zA-Z0-9.+-]{0,5}",
        expression in "\\$?\\{?[a-z{}]{0,4}\\}?",
        digest in "sha256:[0-9a-fA-F]{63,65}",
    ) {
        for text in [duration, name, odd, media, expression, digest] {
            all_agree(&text);
        }
    }
}

#[test]
fn the_name_of_a_header_that_a_schema_takes_is_one() {
    let schema = serde_json::to_value(schemars::schema_for!(HeaderAuth)).unwrap();
    let validator = validator(&schema["properties"]["name"]);
    for byte in 0..=127_u8 {
        let name = char::from(byte).to_string();
        let is_header = reqwest::header::HeaderName::try_from(&name).is_ok();
        assert_eq!(validator.is_valid(&json!(name)), is_header, "{name:?}");
    }
}

#[test]
fn a_time_that_a_schema_takes_is_read_and_those_beyond_a_clock_are_refused() {
    let schema =
        json!({ "type": "string", "format": "date-time", "pattern": signoff_api::schema::TIMESTAMP });
    let validator = validator(&schema);
    for (text, good) in [
        ("2026-01-01T00:00:00Z", true),
        ("0000-01-01T00:00:00+23:59", true),
        ("9998-12-31T23:59:59.999999999-23:59", true),
        ("2024-02-29T00:00:00Z", true),
        ("9999-12-31T23:59:59Z", false),
        ("2026-02-30T00:00:00Z", false),
        ("2026-01-01T00:00:00x5Z", false),
        ("2026-01-01T00:00:00+99:99", false),
        ("2026-01-01t00:00:00z", false),
        ("2026-01-01T24:00:00Z", false),
    ] {
        assert_eq!(validator.is_valid(&json!(text)), good, "{text}");
        if good {
            let read = text.parse::<k8s_openapi::jiff::Timestamp>();
            assert!(read.is_ok(), "{text}: {read:?}");
        }
    }
}
