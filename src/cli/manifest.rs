//! Manifest files: their documents, checked against the kinds' schemas, with the place of everything that is wrong.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::error::{CliError, exit};
use crate::manifest::{
    Document, Position, booleans, check, closest, documents, is_kind, locate, no_such_kind,
};
use signoff_api::{API_VERSION, FlowSpec, GROUP};

/// Largest manifest read, in bytes: what an API server accepts as well.
const MAX_MANIFEST: u64 = 3 * 1024 * 1024;
/// Endings of files that are taken from a folder, as kubectl takes them.
pub(super) const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// A file with its documents.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) path: String,
    text: String,
    pub(super) documents: Vec<Document>,
}

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
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

/// What a document is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belongs {
    /// Of our group, in whatever version.
    Ours,
    /// Meant to be ours, but its group is not: what keeps it from being so.
    Nearly(&'static str),
    /// One of our kinds by name, in a group of others.
    Namesake,
    /// Of others.
    Other,
}

/// What checking a document came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// It is ours: what is wrong with it, and what to be warned of.
    Ours {
        problems: Vec<Finding>,
        warnings: Vec<Finding>,
    },
    /// It is not ours and was not looked at.
    Skipped { warning: Option<Finding> },
}

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

    /// Everything that is wrong with a document, by its place, if it is one of ours or meant to be.
    pub(super) fn check(&self, document: &Document) -> Checked {
        let value = &document.value;
        let kind = value["kind"].as_str().unwrap_or_default();
        let version = value["apiVersion"].as_str();
        let problem = |field: &str, message: String| Checked::Ours {
            problems: vec![self.at(document, field, message)],
            warnings: vec![],
        };
        match belongs(version, kind) {
            Belongs::Other if kind.is_empty() => {
                problem("apiVersion", "a manifest has apiVersion and kind".to_owned())
            }
            Belongs::Other => Checked::Skipped { warning: None },
            Belongs::Namesake => {
                let version = version.unwrap_or_default();
                let message = format!("this {kind} is of {version}, not of {GROUP}: it was not checked");
                Checked::Skipped {
                    warning: Some(self.at(document, "apiVersion", message)),
                }
            }
            Belongs::Nearly(why) => problem("apiVersion", format!("{why}; use {API_VERSION}")),
            Belongs::Ours if version != Some(API_VERSION) => problem(
                "apiVersion",
                format!("{} is not served; use {API_VERSION}", version.unwrap_or_default()),
            ),
            Belongs::Ours if !is_kind(kind) => problem("kind", no_such_kind(kind)),
            Belongs::Ours => {
                let mut problems: Vec<Finding> = check(value)
                    .into_iter()
                    .map(|problem| {
                        self.at(
                            document,
                            &problem.field,
                            format!("{}: {}", problem.field, problem.message),
                        )
                    })
                    .collect();
                problems.sort();
                let warnings = booleans(&self.text, document)
                    .into_iter()
                    .map(|(field, word)| {
                        let message =
                            format!("{field}: kubectl reads {word} as true or false; write it in quotes");
                        self.at(document, &field, message)
                    })
                    .collect();
                Checked::Ours { problems, warnings }
            }
        }
    }

    pub(super) fn at(&self, document: &Document, field: &str, message: String) -> Finding {
        finding(&self.path, locate(&self.text, document.index, field), message)
    }
}

fn belongs(version: Option<&str>, kind: &str) -> Belongs {
    let Some(version) = version else {
        return if is_kind(kind) {
            Belongs::Nearly("apiVersion is missing")
        } else {
            Belongs::Other
        };
    };
    let group = version.split_once('/').map_or("", |(group, _)| group);
    if group == GROUP {
        Belongs::Ours
    } else if version == GROUP {
        Belongs::Nearly("the version is missing")
    } else if is_kind(kind) && closest(group, [GROUP]).is_some() {
        Belongs::Nearly("there is no such group")
    } else if is_kind(kind) {
        Belongs::Namesake
    } else {
        Belongs::Other
    }
}

/// The files that were named; of a folder the manifests in it, in the order of their names, of a tree those in all folders below as well.
pub(super) fn files(paths: &[PathBuf], recursive: bool) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        if path == Path::new("-") || !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        let unreadable = |error: std::io::Error| CliError::usage(format!("{}: {error}", path.display()));
        of_folder(path, recursive, &mut files).map_err(unreadable)?;
        if files.len() == before {
            let deeper = if recursive {
                ""
            } else {
                "; -R looks into the folders below as well"
            };
            let message = format!(
                "{}: there is no *.yaml, *.yml or *.json in this folder{deeper}",
                path.display()
            );
            return Err(CliError::usage(message));
        }
    }
    Ok(files)
}

fn of_folder(folder: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let entries: std::io::Result<Vec<_>> = std::fs::read_dir(folder)?.collect();
    let mut entries = entries?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // links to folders are not followed, so that there is no circle
        if entry.file_type()?.is_dir() {
            if recursive {
                of_folder(&path, recursive, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known))
        {
            files.push(path);
        }
    }
    Ok(())
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

/// The flow in a manifest, which has to be fine: its name and its spec.
pub(super) fn flow(path: &Path, wanted: Option<&str>) -> Result<(String, FlowSpec), CliError> {
    let manifest = Manifest::read(path)?.map_err(|finding| invalid(&[finding]))?;
    let flows: Vec<_> = manifest
        .documents
        .iter()
        .filter(|document| document.value["kind"] == "Flow")
        .filter(|document| wanted.is_none_or(|name| document.value["metadata"]["name"] == name))
        .collect();
    let [document] = flows[..] else {
        let message = match (flows.len(), wanted) {
            (0, None) => format!("{}: there is no flow in it", manifest.path),
            (0, Some(name)) => format!("{}: there is no flow {name} in it", manifest.path),
            (n, _) => format!(
                "{}: there are {n} flows in it; name one, with -f FILE",
                manifest.path
            ),
        };
        return Err(CliError::usage(message));
    };
    if let Checked::Ours { problems, .. } = manifest.check(document)
        && !problems.is_empty()
    {
        return Err(invalid(&problems));
    }
    let name = document.value["metadata"]["name"].as_str().unwrap_or_default();
    let spec = serde_json::from_value(document.value["spec"].clone())
        .map_err(|error| CliError::new("Invalid", exit::INVALID, format!("{}: {error}", manifest.path)))?;
    Ok((name.to_owned(), spec))
}

fn invalid(findings: &[Finding]) -> CliError {
    let mut lines = findings.iter().map(ToString::to_string);
    CliError::new("Invalid", exit::INVALID, lines.next().unwrap_or_default())
        .listing(lines)
        .details(json!({ "problems": findings }))
}

/// `kind/name` of a document.
pub(super) fn name(value: &Value) -> String {
    let kind = value["kind"].as_str().unwrap_or("unknown").to_lowercase();
    let metadata = &value["metadata"];
    let name = metadata["name"]
        .as_str()
        .or_else(|| metadata["generateName"].as_str());
    format!("{kind}/{}", name.unwrap_or("unnamed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_ours_by_its_group_and_nearly_so_by_a_slip() {
        assert_eq!(belongs(Some("signoff.dev/v1alpha1"), "Flow"), Belongs::Ours);
        assert_eq!(belongs(Some("signoff.dev/v2"), "Anything"), Belongs::Ours);
        assert!(matches!(
            belongs(Some("signof.dev/v1alpha1"), "Flow"),
            Belongs::Nearly(_)
        ));
        assert!(matches!(belongs(Some("signoff.dev"), "Flow"), Belongs::Nearly(_)));
        assert!(matches!(belongs(None, "Flow"), Belongs::Nearly(_)));
        assert_eq!(belongs(Some("tekton.dev/v1"), "Run"), Belongs::Namesake);
        assert_eq!(belongs(Some("signof.dev/v1"), "Thing"), Belongs::Other);
        assert_eq!(belongs(Some("v1"), "ConfigMap"), Belongs::Other);
        assert_eq!(belongs(None, "ConfigMap"), Belongs::Other);
    }

    #[test]
    fn a_folder_is_its_manifests_in_order_and_a_tree_only_if_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir(root.join("below")).unwrap();
        for name in ["b.yaml", "a.yml", "c.json", "README.md", "below/d.yaml"] {
            std::fs::write(root.join(name), "").unwrap();
        }
        let names = |recursive| -> Vec<String> {
            let files = files(&[root.to_owned(), PathBuf::from("-")], recursive).unwrap();
            let relative = |path: &PathBuf| path.strip_prefix(root).unwrap_or(path).display().to_string();
            files.iter().map(relative).collect()
        };
        assert_eq!(names(false), ["a.yml", "b.yaml", "c.json", "-"]);
        assert_eq!(names(true), ["a.yml", "b.yaml", "below/d.yaml", "c.json", "-"]);
        std::fs::create_dir(root.join("empty")).unwrap();
        assert!(files(&[root.join("empty")], false).is_err());
    }
}
