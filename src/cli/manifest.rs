//! Manifest files: their documents, checked against the kinds' schemas, with the place of everything that is wrong.

use std::{io::Read as _, path::Path, sync::LazyLock};

use serde_json::Value;

use super::error::CliError;
use crate::git::manifest::{Document, Position, documents, locate};
use signoff_api::{API_VERSION, Definition, GROUP, crds};
use signoff_engine::plan::Plan;

/// Largest manifest read, in bytes: what an API server accepts as well.
const MAX_MANIFEST: u64 = 3 * 1024 * 1024;

/// A file with its documents.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) path: String,
    text: String,
    pub(super) documents: Vec<Document>,
}

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Finding {
    pub(super) path: String,
    pub(super) line: Option<usize>,
    pub(super) column: Option<usize>,
    pub(super) message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "{}:{line}:{column}: {}", self.path, self.message),
            _ => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

/// The schemas of our kinds as JSON, by kind.
static SCHEMAS: LazyLock<Vec<(String, Value)>> = LazyLock::new(|| {
    let of = |crd: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
        let schema = crd.spec.versions.first()?.schema.as_ref()?.open_api_v3_schema.as_ref()?;
        Some((crd.spec.names.kind.clone(), serde_json::to_value(schema).ok()?))
    };
    crds().into_iter().filter_map(of).collect()
});

impl Manifest {
    /// Reads a file, or standard input for `-`; its documents if it is YAML, otherwise where it is not.
    pub(super) fn read(path: &Path) -> Result<Result<Self, Finding>, CliError> {
        let name = path.display().to_string();
        let text = text(path).map_err(|error| CliError::usage(format!("{name}: {error}")))?;
        Ok(match documents(&text) {
            Ok(documents) => Ok(Self {
                path: name,
                text,
                documents,
            }),
            Err(error) => Err(finding(&name, error.position, error.message)),
        })
    }

    /// Everything that is wrong with one of our kinds; other kinds are not looked at.
    pub(super) fn check(&self, document: &Document) -> Vec<Finding> {
        let value = &document.value;
        let kind = value["kind"].as_str().unwrap_or_default();
        if value["apiVersion"].as_str() != Some(API_VERSION) {
            let ours = value["apiVersion"]
                .as_str()
                .is_some_and(|version| version.starts_with(GROUP));
            let message = match (ours, kind) {
                (true, _) => format!("{} is not served; use {API_VERSION}", value["apiVersion"]),
                (false, "") => "a manifest has apiVersion and kind".to_owned(),
                (false, _) => return vec![],
            };
            return vec![self.at(document, "apiVersion", message)];
        }
        let Some((_, schema)) = SCHEMAS.iter().find(|(name, _)| name == kind) else {
            return vec![self.at(
                document,
                "kind",
                format!("there is no kind {kind:?} in {API_VERSION}"),
            )];
        };
        let mut wrong = Vec::new();
        unknown_fields(value, schema, "", &mut wrong);
        wrong.extend(schema_errors(value, schema));
        if wrong.is_empty() && kind == "Flow" {
            wrong.extend(definition_errors(value));
        }
        wrong
            .into_iter()
            .map(|(field, message)| self.at(document, &field, format!("{field}: {message}")))
            .collect()
    }

    fn at(&self, document: &Document, field: &str, message: String) -> Finding {
        finding(&self.path, locate(&self.text, document.index, field), message)
    }
}

fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let length = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MAX_MANIFEST + 1)
            .read_to_string(&mut text)?
    } else {
        std::fs::File::open(path)?
            .take(MAX_MANIFEST + 1)
            .read_to_string(&mut text)?
    };
    if length as u64 > MAX_MANIFEST {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            "it is larger than 3 MiB",
        ));
    }
    Ok(text)
}

fn finding(path: &str, position: Option<Position>, message: String) -> Finding {
    let (line, column) = position.map(|position| (position.line, position.column)).unzip();
    Finding {
        path: path.to_owned(),
        line,
        column,
        message,
    }
}

/// Fields that the schema does not know, as a strict API server would refuse them.
fn unknown_fields(value: &Value, schema: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            let free = schema["x-kubernetes-preserve-unknown-fields"] == Value::Bool(true);
            for (key, item) in map {
                let field = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let known = &schema["properties"][key.as_str()];
                if path.is_empty() && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                    continue;
                }
                if known.is_object() {
                    unknown_fields(item, known, &field, found);
                } else if schema["additionalProperties"].is_object() {
                    unknown_fields(item, &schema["additionalProperties"], &field, found);
                } else if !free {
                    found.push((field, "there is no such field".to_owned()));
                }
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                unknown_fields(item, &schema["items"], &format!("{path}[{i}]"), found);
            }
        }
        _ => {}
    }
}

fn schema_errors(value: &Value, schema: &Value) -> Vec<(String, String)> {
    let Ok(validator) = jsonschema::validator_for(schema) else {
        return vec![];
    };
    validator
        .iter_errors(value)
        .map(|error| (dotted(&error.instance_path().to_string()), error.to_string()))
        .collect()
}

/// `/spec/steps/2/name` as `spec.steps[2].name`.
fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').filter(|part| !part.is_empty()) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            path.extend(["[", part, "]"]);
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&part.replace("~1", "/").replace("~0", "~"));
        }
    }
    path
}

fn definition_errors(value: &Value) -> Vec<(String, String)> {
    let mut spec = value["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("live");
    }
    match serde_json::from_value::<Definition>(spec) {
        Err(error) => vec![("spec".to_owned(), error.to_string())],
        Ok(definition) => match Plan::compile(&definition) {
            Ok(_) => vec![],
            Err(problems) => {
                let told = |problem: signoff_engine::plan::Problem| {
                    let message = match problem.offset {
                        Some(offset) => {
                            format!("{} (at character {} of the text)", problem.message, offset + 1)
                        }
                        None => problem.message,
                    };
                    (format!("spec.{}", problem.field), message)
                };
                problems.into_iter().map(told).collect()
            }
        },
    }
}
