//! Pure: the flows that a commit's manifests define, and what is wrong with them, by path, line and column.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::Status;
use serde_json::Value;

use crate::{
    git::{CommitInfo, Problem, Tree},
    manifest::{self, FieldProblem, SyntaxError},
};
use signoff_api::{
    API_VERSION, Definition, Digest, GROUP, StepKind, canonical, flow::FlowSpec, names,
    repository::RepositoryJobs,
};

/// Longest message of a problem, in characters, as the status takes it.
const MAX_MESSAGE: usize = 1_024;
/// Most problems told of one file: finding the place of each is reading the file once more.
const MAX_PROBLEMS: usize = 20;
/// How a file begins whose content lies in Git LFS.
const LFS_POINTER: &str = "version https://git-lfs.github.com/spec/";
/// Most flows that one commit may define.
const MAX_FLOWS: usize = 2_000;

/// What a commit defines.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Defined {
    pub(super) commit: CommitInfo,
    /// The folder that was read; empty for the whole repository.
    folder: String,
    /// The flows, by name.
    pub(crate) flows: BTreeMap<String, FileFlow>,
    pub(crate) problems: Vec<Problem>,
    /// Files whose flows are not known.
    unread: BTreeSet<String>,
    /// Files that are there and hold nothing of ours, with what keeps them from being read, if anything does.
    others: BTreeMap<String, Option<SyntaxError>>,
    complete: bool,
}

/// One flow as a file defines it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FileFlow {
    pub(crate) spec: FlowSpec,
    pub(crate) digest: Digest,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    /// Whether its definition can run.
    pub(crate) valid: bool,
    pub(super) place: Place,
}

/// Where a flow is defined.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) path: String,
    document: usize,
    text: std::sync::Arc<str>,
}

impl Place {
    /// A problem with a field of this flow.
    pub(super) fn problem(&self, field: &str, message: &str) -> Problem {
        let at = manifest::locate(&self.text, self.document, field);
        let message = if field.is_empty() {
            message.to_owned()
        } else {
            format!("{field}: {message}")
        };
        Problem {
            path: self.path.clone(),
            line: at.map(|at| at.line),
            column: at.map(|at| at.column),
            message: message.chars().take(MAX_MESSAGE).collect(),
        }
    }

    /// What the API server finds wrong with this flow, a problem for each field.
    pub(super) fn refused(&self, status: &Status) -> Vec<Problem> {
        let causes = status
            .details
            .as_ref()
            .map(|details| details.causes.as_slice())
            .unwrap_or_default();
        if causes.is_empty() {
            return vec![self.problem("", &status.message)];
        }
        causes
            .iter()
            .take(MAX_PROBLEMS)
            .map(|cause| self.problem(&cause.field, &cause.message))
            .collect()
    }
}

impl Defined {
    /// Whether a flow is defined in this file.
    pub(super) fn has_file(&self, path: &str) -> bool {
        self.flows.values().any(|flow| flow.place.path == path)
    }

    /// Whether a file that held a flow is there still and holds none that can be read, with what is to be told of that beside its other problems.
    pub(super) fn lost(&self, path: &str) -> Option<Vec<Problem>> {
        if self.has_file(path) {
            return None;
        }
        if self.unread.contains(path) {
            return Some(vec![]);
        }
        // a folder may have become a link or a submodule
        let mut above = path.match_indices('/').map(|(at, _)| &path[..at]);
        let why = self
            .others
            .get(path)
            .or_else(|| above.find_map(|folder| self.others.get(folder)))?;
        let message = "this file held a flow and holds none that can be read now; the flow stays as it is until the file is deleted or mended";
        Some(vec![Problem {
            path: path.to_owned(),
            line: Some(
                why.as_ref()
                    .and_then(|error| error.position)
                    .map_or(1, |at| at.line),
            ),
            column: Some(
                why.as_ref()
                    .and_then(|error| error.position)
                    .map_or(1, |at| at.column),
            ),
            message: match why {
                Some(error) => format!("{message}: {}", error.message)
                    .chars()
                    .take(MAX_MESSAGE)
                    .collect(),
                None => message.to_owned(),
            },
        }])
    }

    /// Whether it can be told that a flow which was read from a file earlier is gone now.
    pub(crate) fn knows(&self, path: Option<&str>) -> bool {
        let Some(path) = path else { return self.complete };
        let rest = path.strip_prefix(self.folder.as_str());
        let is_inside = self.folder.is_empty() || rest.is_some_and(|rest| rest.starts_with('/'));
        // from another folder it may have come here by any name
        let is_read = if is_inside {
            !self.unread.contains(path)
        } else {
            self.unread.is_empty()
        };
        self.complete && is_read
    }

    /// Whether every flow is known, so that one which is not there is gone, by whatever name its file went.
    pub(crate) fn knows_all(&self) -> bool {
        self.complete && self.unread.is_empty()
    }
}

/// Reads the flows of a commit. Manifests of other kinds are not ours to judge.
pub(crate) fn read(tree: Tree, namespace: &str) -> Defined {
    let mut defined = Defined {
        commit: tree.commit,
        folder: tree.folder,
        flows: BTreeMap::new(),
        unread: tree.problems.iter().map(|problem| problem.path.clone()).collect(),
        others: tree
            .passed_over
            .into_iter()
            .map(|(path, why)| (path, why.map(SyntaxError::of_file)))
            .collect(),
        problems: tree.problems,
        complete: tree.complete,
    };
    for file in tree.files {
        if !manifest::may_be_ours(file.text.as_bytes()) {
            let pointer = file.text.starts_with(LFS_POINTER).then(|| SyntaxError {
                position: None,
                message: "it is a pointer of Git LFS, which is not followed".to_owned(),
            });
            defined.others.insert(file.path, pointer);
            continue;
        }
        let documents = match manifest::documents(&file.text) {
            Ok(documents) => documents,
            Err(error) if !manifest::is_meant_to_be_ours(file.text.as_bytes()) => {
                defined.others.insert(file.path, Some(error));
                continue;
            }
            Err(error) => {
                defined.unread.insert(file.path.clone());
                defined.problems.push(Problem {
                    path: file.path,
                    line: error.position.map(|at| at.line),
                    column: error.position.map(|at| at.column),
                    message: error.message.chars().take(MAX_MESSAGE).collect(),
                });
                continue;
            }
        };
        let text: std::sync::Arc<str> = file.text.into();
        let before = defined.problems.len();
        for document in documents {
            if defined.problems.len() - before >= MAX_PROBLEMS {
                let message = "the rest of this file is not read: so much is wrong with it already";
                defined.problems.push(Problem::of_file(&file.path, message));
                defined.unread.insert(file.path.clone());
                break;
            }
            if !is_ours(&document.value) {
                continue;
            }
            let place = Place {
                path: file.path.clone(),
                document: document.index,
                text: text.clone(),
            };
            match document.value["kind"].as_str() {
                Some("Flow") => add(&mut defined, &place, &document.value, namespace),
                // these are not applied from git
                Some(kind) if manifest::is_kind(kind) => {}
                kind => {
                    let message = manifest::no_such_kind(kind.unwrap_or_default());
                    defined.problems.push(place.problem("kind", &message));
                    defined.unread.insert(place.path.clone());
                }
            }
        }
        let is_known = defined.unread.contains(&file.path) || defined.has_file(&file.path);
        if !is_known {
            defined.others.insert(file.path, None);
        }
    }
    defined
}

/// Takes out the flows with jobs that the Repository does not allow. In the cluster they stay as they are.
pub(crate) fn refuse_jobs(defined: &mut Defined, allowed: Option<&RepositoryJobs>) {
    let flows = defined.flows.iter();
    let refused = flows.filter_map(|(name, flow)| {
        let (field, message) = not_allowed(&flow.spec.definition, allowed)?;
        Some((name.clone(), flow.place.problem(&field, &message)))
    });
    for (name, problem) in refused.collect::<Vec<_>>() {
        if let Some(flow) = defined.flows.remove(&name) {
            defined.unread.insert(flow.place.path);
        }
        defined.problems.push(problem);
    }
}

/// The first job that a Repository does not allow.
fn not_allowed(definition: &Definition, allowed: Option<&RepositoryJobs>) -> Option<(String, String)> {
    let last = definition.finally.iter().flatten().enumerate();
    let last = last.map(|(i, step)| (format!("spec.finally[{i}].job"), step));
    let steps = definition.steps.iter().enumerate();
    let steps = steps.map(|(i, step)| (format!("spec.steps[{i}].job"), step));
    steps.chain(last).find_map(|(field, step)| {
        let StepKind::Job(job) = &step.kind else {
            return None;
        };
        let Some(allowed) = allowed else {
            let message = "this Repository allows no job steps: set spec.jobs of the Repository";
            return Some((field, message.to_owned()));
        };
        let account = job.service_account.as_ref()?;
        let is_listed = allowed
            .service_accounts
            .iter()
            .flatten()
            .any(|listed| listed == account);
        (!is_listed).then(|| {
            let message = format!("spec.jobs.serviceAccounts of this Repository does not list {account}");
            (format!("{field}.serviceAccount"), message)
        })
    })
}

fn is_ours(value: &Value) -> bool {
    let version = value["apiVersion"].as_str();
    let group = version.and_then(|version| version.split_once('/'));
    group.is_some_and(|(group, _)| group == GROUP)
}

fn add(defined: &mut Defined, place: &Place, value: &Value, namespace: &str) {
    match flow(place, value, namespace) {
        Ok((name, flow, mut problems)) => {
            defined.problems.append(&mut problems);
            match defined.flows.get(&name) {
                Some(first) => {
                    let message = format!("a flow named {name:?} is defined in {} already", first.place.path);
                    defined.problems.push(place.problem("metadata.name", &message));
                }
                None if defined.flows.len() >= MAX_FLOWS => {
                    // one such message is enough to act on
                    if defined.complete {
                        let message = format!(
                            "there are more than {MAX_FLOWS} flows; this one and later ones are not applied"
                        );
                        defined.problems.push(place.problem("metadata.name", &message));
                    }
                    defined.complete = false;
                }
                None => {
                    defined.flows.insert(name, flow);
                }
            }
        }
        Err(mut problems) => {
            defined.unread.insert(place.path.clone());
            defined.problems.append(&mut problems);
        }
    }
}

type Read = (String, FileFlow, Vec<Problem>);

fn flow(place: &Place, value: &Value, namespace: &str) -> Result<Read, Vec<Problem>> {
    let one = |field: &str, message: &str| vec![place.problem(field, message)];
    if value["apiVersion"] != API_VERSION {
        return Err(one("apiVersion", &format!("only {API_VERSION} is known")));
    }
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if !is_name(&name) {
        let message = format!(
            "a flow needs a name of at most {} lower-case letters, digits and dashes",
            names::MAX_NAME
        );
        return Err(one("metadata.name", &message));
    }
    if value["metadata"]
        .get("namespace")
        .is_some_and(|other| other != namespace)
    {
        let message = format!("a Repository applies flows in its own namespace, {namespace}, only");
        return Err(one("metadata.namespace", &message));
    }
    let labels =
        texts(&value["metadata"]["labels"]).ok_or_else(|| one("metadata.labels", "must be texts"))?;
    let annotations = texts(&value["metadata"]["annotations"])
        .ok_or_else(|| one("metadata.annotations", "must be texts"))?;
    let told = |problems: Vec<FieldProblem>| -> Vec<Problem> {
        let first = problems.iter().take(MAX_PROBLEMS);
        first
            .map(|problem| place.problem(&problem.field, &problem.message))
            .collect()
    };
    // what is wrong is told as `signoff validate` tells it
    let Ok(spec) = serde_json::from_value::<FlowSpec>(value["spec"].clone()) else {
        return Err(told(manifest::check(value)));
    };
    if !manifest::unknown_fields(value).is_empty() {
        return Err(told(manifest::check(value)));
    }
    let digest = canonical::digest(&spec.definition).map_err(|error| one("spec", &error.to_string()))?;
    let found = manifest::check(value);
    // what keeps a flow from running is for its status as well; anything else the API server refuses
    if !found.is_empty() && found.len() > manifest::plan_problems(&spec.definition).len() {
        return Err(told(found));
    }
    let valid = found.is_empty();
    let problems = told(found);
    Ok((
        name,
        FileFlow {
            spec,
            digest,
            labels,
            annotations,
            valid,
            place: place.clone(),
        },
        problems,
    ))
}

/// DNS-1123 label, as long as a flow's name may be.
fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= names::MAX_NAME
        && bytes.first().is_some_and(|b| inner(*b))
        && bytes.last().is_some_and(|b| inner(*b))
        && bytes.iter().all(|b| inner(*b) || *b == b'-')
}

fn texts(value: &Value) -> Option<BTreeMap<String, String>> {
    if value.is_null() {
        return Some(BTreeMap::new());
    }
    let entries = value.as_object()?.iter();
    entries
        .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
pub(crate) mod tests;
