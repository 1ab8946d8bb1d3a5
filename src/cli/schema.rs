//! `signoff schema`: JSON Schemas of the kinds, for editors.

use std::path::PathBuf;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};

use super::{answer::Answer, error::CliError};
use crate::manifest::{Unknown, json_schema, kinds, no_such_kind};
use signoff_api::{API_VERSION, GROUP};

/// The dialect that YAML language servers read.
const DIALECT: &str = "http://json-schema.org/draft-07/schema#";

/// Print a JSON Schema of the kinds, for editors.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  signoff schema > signoff.schema.json\n  signoff schema Flow\n  signoff schema --dir schemas"
)]
pub(super) struct SchemaArgs {
    /// Only this kind, such as Flow. Without it, one schema is for all kinds, by the `kind` of a document.
    kind: Option<String>,
    /// Write one file for each kind and one for all into this folder instead.
    #[arg(long, value_name = "FOLDER", conflicts_with = "kind")]
    dir: Option<PathBuf>,
}

pub(super) fn verb(args: &SchemaArgs) -> Result<Answer, CliError> {
    let schemas = schemas()?;
    if let Some(dir) = &args.dir {
        let failed = |error: &std::io::Error| CliError::internal(&format!("{}", dir.display()), error);
        std::fs::create_dir_all(dir).map_err(|error| failed(&error))?;
        let all = [("signoff".to_owned(), of_all(&schemas))];
        let names: Vec<String> = all.iter().chain(&schemas).map(|(kind, _)| file(kind)).collect();
        for ((_, schema), name) in all.iter().chain(&schemas).zip(&names) {
            std::fs::write(dir.join(name), format!("{schema:#}\n")).map_err(|error| failed(&error))?;
        }
        let text = format!("wrote {} files to {}", names.len(), dir.display());
        return Ok(Answer::text(text).with_data(json!(names)).with_names(names));
    }
    let schema = match &args.kind {
        None => of_all(&schemas),
        Some(kind) => {
            let found = schemas.iter().find(|(name, _)| name.eq_ignore_ascii_case(kind));
            let (_, schema) = found.ok_or_else(|| CliError::usage(no_such_kind(kind)))?;
            schema.clone()
        }
    };
    Ok(Answer::document(format!("{schema:#}"))
        .with_data(schema)
        .with_names(kinds().map(str::to_owned)))
}

fn file(kind: &str) -> String {
    format!("{}.schema.json", kind.to_lowercase())
}

/// A schema for each kind, by its name.
fn schemas() -> Result<Vec<(String, Value)>, CliError> {
    signoff_api::crds().iter().map(schema_of).collect()
}

fn schema_of(crd: &CustomResourceDefinition) -> Result<(String, Value), CliError> {
    let kind = crd.spec.names.kind.clone();
    let version = crd.spec.versions.first();
    let schema = version.and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    let schema = serde_json::to_value(schema).map_err(|error| CliError::internal(&kind, &error))?;
    let mut schema = json_schema(schema, Unknown::Refused);
    schema["$schema"] = DIALECT.into();
    schema["title"] = format!("{kind} of {GROUP}").into();
    let properties = json!({
        "apiVersion": { "const": API_VERSION },
        "kind": { "const": kind },
        "metadata": { "type": "object" },
    });
    if let (Some(known), Value::Object(properties)) = (schema["properties"].as_object_mut(), properties) {
        known.extend(properties);
    }
    schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    Ok((kind, schema))
}

/// One schema that takes each document as its kind says, and passes over those of others.
fn of_all(schemas: &[(String, Value)]) -> Value {
    let rules = schemas.iter().map(|(kind, _)| {
        json!({
            "if": {
                "required": ["apiVersion", "kind"],
                "properties": { "apiVersion": { "pattern": format!("^{}/", GROUP.replace('.', "\\.")) }, "kind": { "const": kind } },
            },
            "then": { "$ref": format!("#/definitions/{kind}") },
        })
    });
    let definitions = schemas.iter().map(|(kind, schema)| {
        let mut schema = schema.clone();
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("$schema");
        }
        (kind.clone(), schema)
    });
    json!({
        "$schema": DIALECT,
        "title": format!("Kinds of {GROUP}"),
        "type": "object",
        "allOf": rules.collect::<Value>(),
        "definitions": definitions.collect::<Map<String, Value>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::documents;

    fn manifests(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                manifests(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "yaml") {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_example_fits_the_schema_of_its_kind_and_that_of_all() {
        let schemas = schemas().unwrap();
        let all = jsonschema::validator_for(&of_all(&schemas)).unwrap();
        let each: Vec<_> = schemas
            .iter()
            .map(|(kind, schema)| (kind, jsonschema::validator_for(schema).unwrap()))
            .collect();
        let (mut files, mut checked) = (vec![], 0);
        manifests(Path::new("examples"), &mut files);
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            for document in documents(&text).unwrap_or_else(|_| panic!("{}", path.display())) {
                let told = |validator: &jsonschema::Validator| {
                    let errors = validator.iter_errors(&document.value);
                    errors
                        .map(|error| format!("{}: {error}", error.instance_path()))
                        .collect::<Vec<_>>()
                };
                assert_eq!(told(&all), Vec::<String>::new(), "{}", path.display());
                if document.value["apiVersion"] == API_VERSION {
                    let kind = document.value["kind"].as_str().unwrap();
                    let (_, validator) = each.iter().find(|(name, _)| *name == kind).unwrap();
                    assert_eq!(told(validator), Vec::<String>::new(), "{}", path.display());
                    checked += 1;
                }
            }
        }
        assert!(checked > 10, "{checked}");
    }

    #[test]
    fn an_editor_is_told_of_misspelt_fields_wrong_types_and_two_kinds_in_a_step() {
        let schemas = schemas().unwrap();
        let all = jsonschema::validator_for(&of_all(&schemas)).unwrap();
        let flow = |step: Value| json!({"apiVersion": API_VERSION, "kind": "Flow", "metadata": {"name": "f"}, "spec": {"steps": [step]}});
        for step in [
            json!({"name": "a", "set": {"x": {"any": [1]}}}),
            json!({"name": "a", "approval": {"title": "Go?", "quorum": 2, "respondWithin": "2d"}}),
            json!({"name": "a", "approval": {"title": "Go?", "quorum": "${inputs.n}", "form": {"type": "object", "properties": {}}}}),
            json!({"name": "a", "when": null, "set": {}}),
        ] {
            assert!(all.is_valid(&flow(step.clone())), "{step}");
        }
        for step in [
            json!({"name": "a", "aproval": {"title": "Go?"}}),
            json!({"name": "a", "approval": {"title": "Go?", "quorom": 2}}),
            json!({"name": "a", "approval": {"title": "Go?", "quorum": true}}),
            json!({"name": "a", "approval": {"title": "Go?", "respondWithin": "2 days"}}),
            json!({"name": "a", "set": {}, "approval": {"title": "Go?"}}),
            json!({"name": "a"}),
        ] {
            assert!(!all.is_valid(&flow(step.clone())), "{step}");
        }
        let mut old = flow(json!({"name": "a", "set": {}}));
        old["apiVersion"] = "signoff.dev/v1".into();
        assert!(!all.is_valid(&old));
        assert!(all.is_valid(&json!({"apiVersion": "v1", "kind": "Secret"})));
        assert!(all.is_valid(&json!({"apiVersion": "example.com/v1", "kind": "Flow", "anything": 1})));
    }
}
