//! The files of a commit: checked as far as they are literal, and rendered.

use serde::Deserialize;
use serde_json::Value;

use super::request::invalid;
use crate::{
    effect::{GitContent, GitFile, GitFileChange},
    expression::JsonTemplate,
    kinds::Failure,
    plan::Place,
};
use signoff_api::{Resource, git::RepositoryPath, reason::StepReason};

/// Most files of a commit.
const MAX_FILES: usize = 200;
/// Most bytes of all of them.
const MAX_BYTES: u64 = 1 << 20;

/// A file as a manifest, or data, says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    path: String,
    content: Option<Value>,
    from: Option<Value>,
    delete: Option<bool>,
    mode: Option<Mode>,
}

#[derive(Clone, Copy, Deserialize)]
enum Mode {
    File,
    Executable,
}

pub(super) fn compile(place: &mut Place<'_, '_>, files: &Value) -> Option<JsonTemplate> {
    let template = place.json("files", files, &[])?;
    match &template {
        JsonTemplate::Array(elements) => {
            if elements.len() > MAX_FILES {
                place.problem("files", format!("there are more than {MAX_FILES} files"));
            }
            for (index, element) in elements.iter().enumerate() {
                if let Err(why) = check(element) {
                    place.problem(&format!("files[{index}]"), why);
                }
            }
            if let Err(why) = check_all(elements) {
                place.problem("files", why);
            }
        }
        JsonTemplate::Text(text) if text.as_expression().is_some() => {}
        JsonTemplate::Literal(_) | JsonTemplate::Text(_) | JsonTemplate::Object(_) => {
            place.problem(
                "files",
                "it is a list of files, or one ${…} expression that gives one",
            );
        }
    }
    Some(template)
}

/// What is wrong with a file, as far as it is known before it is rendered.
fn check(element: &JsonTemplate) -> Result<(), String> {
    let entries = match element {
        JsonTemplate::Text(text) if text.as_expression().is_some() => return Ok(()),
        JsonTemplate::Object(entries) => entries,
        JsonTemplate::Literal(_) | JsonTemplate::Text(_) | JsonTemplate::Array(_) => {
            return Err("a file is {path, content}, {path, from} or {path, delete: true}".to_owned());
        }
    };
    let known = |key: &str| ["path", "content", "from", "delete", "mode"].contains(&key);
    if let Some((key, _)) = entries.iter().find(|(key, _)| !known(key)) {
        return Err(format!(
            "a file has no {key}; it has path, content, from, delete and mode"
        ));
    }
    let field = |wanted: &str| {
        entries
            .iter()
            .find(|(key, _)| key == wanted)
            .map(|(_, value)| value)
    };
    let path = field("path").ok_or("a file has a path")?;
    if let Some(path) = path.as_literal() {
        let path = path.as_str().ok_or("a path is a text")?.to_owned();
        RepositoryPath::parse(&path).map_err(|why| format!("path: {why}"))?;
    }
    let literal = |wanted: &str| field(wanted).and_then(JsonTemplate::as_literal);
    if literal("content").is_some_and(|content| !content.is_string()) {
        return Err("the content is no text; json.encode(…) makes one".to_owned());
    }
    if literal("delete").is_some_and(|delete| delete != true) {
        return Err("delete is true, or left out".to_owned());
    }
    let changes = ["content", "from", "delete"]
        .into_iter()
        .filter(|key| field(key).is_some());
    if changes.count() != 1 {
        return Err("a file has one of content, from and delete".to_owned());
    }
    if let Some(mode) = field("mode").and_then(JsonTemplate::as_literal)
        && Mode::deserialize(&mode).is_err()
    {
        return Err("mode is File or Executable".to_owned());
    }
    Ok(())
}

/// What is wrong with the files together, as far as it is known before they are rendered.
fn check_all(elements: &[JsonTemplate]) -> Result<(), String> {
    if elements.is_empty() {
        return Err("there are none".to_owned());
    }
    let (mut paths, mut bytes) = (vec![], 0_u64);
    for element in elements {
        let JsonTemplate::Object(entries) = element else {
            continue;
        };
        for (key, value) in entries {
            match (key.as_str(), value.as_literal()) {
                // one that is none was told of by itself
                ("path", Some(Value::String(path))) => paths.extend(RepositoryPath::parse(&path).ok()),
                ("content", Some(Value::String(text))) => bytes = bytes.saturating_add(text.len() as u64),
                _ => {}
            }
        }
    }
    if bytes > MAX_BYTES {
        return Err(format!("they have more than {MAX_BYTES} bytes together"));
    }
    paths.sort();
    distinct(paths.iter())
}

/// Whether each of these sorted paths can be a file of its own.
fn distinct<'a>(paths: impl Iterator<Item = &'a RepositoryPath> + Clone) -> Result<(), String> {
    let mut rest = paths;
    while let Some(path) = rest.next() {
        // a character such as `-` sorts before `/`, so what lies below is not always the next
        if rest.clone().any(|other| other == path || path.is_above(other)) {
            return Err(format!("{path} is there twice, or another file lies below it"));
        }
    }
    Ok(())
}

/// The files of a rendered list. An element that is one expression may give a list.
pub(super) fn render(value: &Value, namespace: &str) -> Result<Vec<GitFile>, Failure> {
    let Value::Array(elements) = value else {
        return Err(invalid("files: they are not a list"));
    };
    let mut files: Vec<GitFile> = Vec::new();
    let mut bytes = 0_u64;
    for element in elements {
        let several = match element {
            Value::Array(several) => several.as_slice(),
            one => std::slice::from_ref(one),
        };
        for said in several {
            let file = file(said, namespace).map_err(|why| match why {
                Refused::Invalid(why) => invalid(format!("files[{}]: {why}", files.len())),
                Refused::Resource(failure) => *failure,
            })?;
            bytes = bytes.saturating_add(size(&file));
            if bytes > MAX_BYTES {
                return Err(invalid(format!(
                    "files: they have more than {MAX_BYTES} bytes together"
                )));
            }
            files.push(file);
            if files.len() > MAX_FILES {
                return Err(invalid(format!("files: there are more than {MAX_FILES}")));
            }
        }
    }
    if files.is_empty() {
        return Err(invalid("files: there are none"));
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    distinct(files.iter().map(|file| &file.path)).map_err(|why| invalid(format!("files: {why}")))?;
    Ok(files)
}

enum Refused {
    Invalid(String),
    Resource(Box<Failure>),
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self::Invalid(why)
    }
}

fn file(said: &Value, namespace: &str) -> Result<GitFile, Refused> {
    let said = Said::deserialize(said).map_err(|why| format!("it is no file: {why}"))?;
    let path = RepositoryPath::parse(&said.path).map_err(|why| why.to_string())?;
    let executable = said.mode.map(|mode| match mode {
        Mode::File => false,
        Mode::Executable => true,
    });
    let change = match (said.content, said.from, said.delete) {
        (Some(Value::String(text)), None, None | Some(false)) => GitFileChange::Write {
            content: GitContent::Text(text),
            executable,
        },
        (Some(_), None, None | Some(false)) => {
            return Err(format!("the content of {path} is no text; json.encode(…) makes one").into());
        }
        (None, Some(from), None | Some(false)) => GitFileChange::Write {
            content: GitContent::Resource(resource(&path, from, namespace)?),
            executable,
        },
        (None, None, Some(true)) => GitFileChange::Delete,
        (_, _, _) => return Err(format!("{path} has one of content, from and delete: true").into()),
    };
    Ok(GitFile { path, change })
}

/// A resource of the namespace. Whether the run may read it is for the executor to find out.
fn resource(path: &RepositoryPath, from: Value, namespace: &str) -> Result<Resource, Refused> {
    let refused = |reason, message| Refused::Resource(Box::new(Failure::new(reason, message)));
    let resource = serde_json::from_value::<Resource>(from).map_err(|why| {
        refused(
            StepReason::NotAResource,
            format!("files: {path}: it is no resource: {why}"),
        )
    })?;
    if resource.reference.namespace != namespace {
        let message = format!("files: {path}: it is a resource of another namespace");
        return Err(refused(StepReason::NotAResource, message));
    }
    if resource.bytes().is_none_or(|bytes| bytes > MAX_BYTES) {
        let message = format!(
            "files: {path}: it has {} bytes; at most {MAX_BYTES} are committed",
            resource.size
        );
        return Err(refused(StepReason::ResourceTooLarge, message));
    }
    Ok(resource)
}

fn size(file: &GitFile) -> u64 {
    match &file.change {
        GitFileChange::Write { content, .. } => match content {
            GitContent::Text(text) => text.len() as u64,
            GitContent::Resource(resource) => resource.bytes().unwrap_or(u64::MAX),
        },
        GitFileChange::Delete => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(files: &Value) -> String {
        render(files, "default").unwrap_err().message
    }

    #[test]
    fn files_are_written_deleted_and_spliced_in_the_order_of_their_paths() {
        let files = render(
            &json!([
                {"path": "b", "content": "x", "mode": "Executable"},
                [{"path": "a/c", "delete": true}, {"path": "a/b", "content": ""}],
            ]),
            "default",
        )
        .unwrap();
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["a/b", "a/c", "b"]);
        assert_eq!(files[1].change, GitFileChange::Delete);
    }

    #[test]
    fn what_is_no_file_is_refused_with_its_reason() {
        for (files, why) in [
            (json!([]), "none"),
            (json!({}), "not a list"),
            (json!([{"path": "../x", "content": ""}]), ".."),
            (json!([{"path": ".GIT/config", "content": ""}]), ".git"),
            (json!([{"path": "a", "content": 1}]), "no text"),
            (json!([{"path": "a"}]), "one of"),
            (json!([{"path": "a", "content": "", "delete": true}]), "one of"),
            (json!([{"path": "a", "content": "", "mode": "120000"}]), "no file"),
            (json!([{"path": "a", "content": "", "link": "b"}]), "no file"),
            (
                json!([{"path": "a", "content": ""}, {"path": "a", "delete": true}]),
                "twice",
            ),
            (
                json!([{"path": "a", "content": ""}, {"path": "a-b", "content": ""}, {"path": "a/b", "content": ""}]),
                "below",
            ),
            (
                json!([{"path": "a", "content": "x".repeat(1 << 20)}, {"path": "b", "content": "x"}]),
                "bytes together",
            ),
            (json!([{"path": "a", "from": {"ref": "x"}}]), "no resource"),
        ] {
            let said = refusal(&files);
            assert!(said.contains(why), "{said} for {why}");
        }
        let many: Vec<Value> = (0..201)
            .map(|n| json!({"path": format!("f{n}"), "content": ""}))
            .collect();
        assert!(refusal(&Value::Array(many)).contains("more than 200"));
    }
}
