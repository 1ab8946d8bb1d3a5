//! Writes what happened into a scenario's file, as what is expected.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    expectation::shown,
    world::{Call, Record},
};

/// Why a file cannot be updated.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// `spec.expect` is not where it can be replaced.
    #[error(
        "spec.expect is not written as a block of lines of its own; write `expect: {{}}` on a line below spec"
    )]
    NoBlock,
    /// What happened has no form as YAML.
    #[error("what happened cannot be written as YAML")]
    Yaml(#[source] serde_yaml::Error),
}

/// A file's text with the expectations of its document replaced by what happened. Everything else stays byte for byte.
///
/// # Errors
/// When `expect` is not a key of its own line below `spec`.
pub fn update(text: &str, document: usize, record: &Record) -> Result<String, UpdateError> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (from, until) = bounds(&lines, document);
    let at = (from..until)
        .find(|index| lines[*index].trim_start().starts_with("expect:") && indent(lines[*index]) == 2)
        .ok_or(UpdateError::NoBlock)?;
    let end = (at + 1..until)
        .find(|index| !lines[*index].trim().is_empty() && indent(lines[*index]) <= 2)
        .unwrap_or(until);
    let yaml = serde_yaml::to_string(&happened(record)).map_err(UpdateError::Yaml)?;
    let mut block = String::from("  expect:\n");
    for line in yaml.lines() {
        block.push_str("    ");
        block.push_str(line);
        block.push('\n');
    }
    Ok(lines[..at].concat() + &block + &lines[end..].concat())
}

/// The lines of a document.
fn bounds(lines: &[&str], document: usize) -> (usize, usize) {
    let marks: Vec<usize> = (0..lines.len())
        .filter(|index| lines[*index].trim_end() == "---")
        .collect();
    // a file may begin with a mark
    let leading = marks
        .first()
        .is_some_and(|first| lines[..*first].iter().all(|line| line.trim().is_empty()));
    let starts: Vec<usize> = if leading {
        marks
    } else {
        std::iter::once(0).chain(marks).collect()
    };
    let from = starts.get(document).copied().unwrap_or_default();
    let until = starts.get(document + 1).copied().unwrap_or(lines.len());
    (from, until)
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// What happened, as `expect` says it.
fn happened(record: &Record) -> Value {
    let status = &record.status;
    let mut all = Map::new();
    all.insert("outcome".to_owned(), json!(status.phase));
    if let Some(error) = &status.error {
        all.insert(
            "error".to_owned(),
            json!(format!("{}: {}", error.reason, error.message)),
        );
    }
    if let Some(output) = &status.output {
        all.insert("output".to_owned(), output.0.clone());
    }
    let mut steps: Vec<(String, Value)> = vec![];
    let own = status.steps.iter().map(|entry| (entry.name.clone(), entry));
    let children = record.children.iter().flat_map(|(prefix, status)| {
        let steps = status.steps.iter();
        steps.map(move |entry| (format!("{prefix}{}", entry.name), entry))
    });
    for (step, entry) in own.chain(children).filter(|(_, entry)| entry.item.is_none()) {
        let mut said =
            json!({ "step": step, "passes": record.passes.get(&step).copied().unwrap_or_default() });
        if let Some(outcome) = entry.outcome {
            said["outcome"] = json!(outcome);
        }
        match steps.iter_mut().find(|(name, _)| *name == step) {
            Some((_, known)) => *known = said,
            None => steps.push((step, said)),
        }
    }
    let steps: Vec<Value> = steps.into_iter().map(|(_, said)| said).collect();
    insert(&mut all, "steps", steps);
    let mut calls: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in &record.calls {
        calls.entry(&call.step).or_default().push(call);
    }
    let calls = calls.into_iter().map(|(step, sent)| {
        let mut said = json!({ "step": step, "times": sent.len() });
        if let Some(last) = sent.last() {
            let mut request = last.request.clone();
            if let Some(request) = request.as_object_mut() {
                // keys that follow from the run's name say nothing of the flow
                request.remove("headers");
                request.retain(|_, value| {
                    !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty())
                });
            }
            said["request"] = request;
        }
        said
    });
    insert(&mut all, "calls", calls.collect());
    let approvals = record.questions.iter().map(|question| {
        let subject = &question.spec.subject;
        let mut said = json!({
            "step": question.step,
            "pass": subject.iteration,
            "title": question.spec.title,
            "phase": question.status.phase,
        });
        if let Some(item) = subject.item {
            said["item"] = json!(item);
        }
        let items = shown(question);
        if items.as_object().is_some_and(|items| !items.is_empty()) {
            said["shown"] = items;
        }
        said
    });
    insert(&mut all, "approvals", approvals.collect());
    let notifications = record.notifications.iter().map(|sent| {
        let mut said = json!({ "event": sent.event, "channel": sent.channel });
        // the document of a program holds names and times that follow from the scenario's
        let is_text = serde_json::from_str::<Map<String, Value>>(&sent.text).is_err();
        if let Some(first) = sent.text.lines().next().filter(|_| is_text) {
            said["contains"] = json!(first);
        }
        said
    });
    insert(&mut all, "notifications", notifications.collect());
    Value::Object(all)
}

fn insert(all: &mut Map<String, Value>, key: &str, list: Vec<Value>) {
    if !list.is_empty() {
        all.insert(key.to_owned(), Value::Array(list));
    }
}
