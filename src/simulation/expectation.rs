//! What a scenario expects, held against what happened.

use serde_json::{Map, Value, json};

use super::{
    compare::{lacking, same, word},
    flows::{is_meant, split},
    scenario::{Expect, ExpectApproval, ExpectCall, ExpectNotification, ExpectStep},
    world::{Call, Notification, Question, Record},
};
use signoff_api::{
    RunPhase,
    items::ItemsStatus,
    run::{StepOutcome, StepStatus},
};
use signoff_engine::expression::{Scope, Template};

/// Everything that is not as expected, a line each.
pub fn check(expect: &Expect, record: &Record) -> Vec<String> {
    let mut found = record.problems.clone();
    let status = &record.status;
    if expect.is_empty() && status.phase != RunPhase::Succeeded {
        let why = status.error.as_ref().map(|error| format!(": {}", error.message));
        let why = why.unwrap_or_default();
        found.push(format!(
            "nothing is expected, and the run is {}{why}; write expect.outcome",
            status.phase
        ));
    }
    if let Some(outcome) = expect.outcome.filter(|outcome| *outcome != status.phase) {
        let why = status.error.as_ref().map(|error| format!(": {}", error.message));
        let waits = status.waiting_on.as_ref().map(|on| format!(": waits for {on}"));
        found.push(format!(
            "outcome: {}{}; expected {outcome}",
            status.phase,
            why.or(waits).unwrap_or_default()
        ));
    }
    if let Some(part) = &expect.error {
        let error = status.error.as_ref();
        let text = error.map(|error| format!("{}: {}", error.reason, error.message));
        match text {
            None => found.push(format!("error: there is none; expected {part:?} in it")),
            Some(text) if !text.contains(part.as_str()) => {
                found.push(format!("error: {text}; expected {part:?} in it"));
            }
            Some(_) => {}
        }
    }
    if let Some(output) = &expect.output {
        let is = status
            .output
            .as_ref()
            .map_or(Value::Null, |output| output.0.clone());
        if !same(output, &is) {
            found.push(format!("output: {is}; expected {output}"));
        }
    }
    if let Some(longest) = &expect.finished_within {
        let took = record.ended.duration_since(record.began);
        if !status.phase.is_finished() || took.unsigned_abs() > longest.duration() {
            found.push(format!("finishedWithin: {took:#}; expected at most {longest}"));
        }
    }
    found.extend(expect.steps.iter().flat_map(|expected| step(expected, record)));
    found.extend(expect.calls.iter().flat_map(|expected| calls(expected, record)));
    found.extend(
        expect
            .approvals
            .iter()
            .flat_map(|expected| approval(expected, record)),
    );
    let messages = expect.notifications.iter();
    found.extend(messages.filter_map(|expected| notification(expected, record)));
    let scope = scope(record);
    for assert in &expect.asserts {
        found.extend(asserted(assert, &scope));
    }
    found
}

fn step(expected: &ExpectStep, record: &Record) -> Vec<String> {
    let name = &expected.step;
    let (prefix, local) = split(name);
    let mut runs = record.children.iter().rev();
    let status = match prefix {
        "" => Some(&record.status),
        prefix => runs.find(|(of, _)| of == prefix).map(|(_, status)| status),
    };
    let steps = status.map_or(&[][..], |status| &status.steps);
    let entries: Vec<&StepStatus> = steps
        .iter()
        .filter(|entry| entry.name == local && entry.item.is_none())
        .collect();
    let mut found = vec![];
    let began = record.passes.get(name).copied().unwrap_or_default();
    if let Some(passes) = expected.passes.filter(|passes| *passes != began) {
        found.push(format!("step {name}: {began} passes; expected {passes}"));
    }
    if expected.outcome.is_none() && expected.output.is_none() && expected.pass.is_none() {
        return found;
    }
    let entry = match expected.pass {
        Some(pass) => record.asked_for.get(&(name.clone(), pass)),
        None => entries.last().copied(),
    };
    let Some(entry) = entry else {
        let why = match expected.pass {
            Some(pass) if usize::try_from(pass).is_ok_and(|pass| (1..=began).contains(&pass)) => {
                format!("pass {pass} was over together with later ones, and is not kept")
            }
            Some(pass) => format!("there was no pass {pass}"),
            None => "it did not run".to_owned(),
        };
        found.push(format!("step {name}: {why}"));
        return found;
    };
    if let Some(item) = expected.item {
        found.extend(item_of(expected, item, entry, steps));
        return found;
    }
    if let Some(outcome) = expected.outcome.filter(|outcome| Some(*outcome) != entry.outcome) {
        let is = entry.outcome.map_or_else(|| word(entry.phase), word);
        found.push(format!("step {name}: {is}; expected {}", word(outcome)));
    }
    if let Some(output) = &expected.output {
        let is = entry
            .output
            .as_ref()
            .map_or(Value::Null, |output| output.0.clone());
        if !same(output, &is) {
            found.push(format!("step {name}: output {is}; expected {output}"));
        }
    }
    found
}

/// What must be true of an item. One that has not ended has an entry of its own.
fn item_of(expected: &ExpectStep, item: i64, entry: &StepStatus, entries: &[StepStatus]) -> Vec<String> {
    let name = format!("{}[{item}]", expected.step);
    let Some(items) = entry
        .items
        .as_ref()
        .filter(|items| (0..items.count).contains(&item))
    else {
        return vec![format!("step {name}: there is no such item")];
    };
    let open = entries.iter().find(|other| {
        other.name == entry.name && other.iteration == entry.iteration && other.item == Some(item)
    });
    let mut found = vec![];
    let ended = items.outcome(item);
    if let Some(outcome) = expected.outcome.filter(|outcome| Some(*outcome) != ended) {
        let is = match (ended, open) {
            (Some(ended), _) => word(ended),
            (None, Some(open)) => word(open.phase),
            (None, None) => "it did not begin".to_owned(),
        };
        found.push(format!("step {name}: {is}; expected {}", word(outcome)));
    }
    if let Some(output) = &expected.output {
        let outputs = entry.output.as_ref().and_then(|output| output.0.as_array());
        let index = usize::try_from(item).unwrap_or(usize::MAX);
        let is = outputs
            .and_then(|outputs| outputs.get(index))
            .unwrap_or(&Value::Null);
        if !same(output, is) {
            found.push(format!("step {name}: output {is}; expected {output}"));
        }
    }
    found
}

fn calls(expected: &ExpectCall, record: &Record) -> Vec<String> {
    let name = &expected.step;
    let of_item = |call: &&Call| expected.item.is_none() || call.item == expected.item;
    let calls = record.calls.iter().filter(|call| is_meant(name, &call.step));
    let of_tool = |call: &&Call| {
        let mut tool = expected.tool.iter();
        tool.all(|tool| call.request["tool"] == tool.as_str())
    };
    let sent: Vec<_> = calls.filter(of_item).filter(of_tool).collect();
    let mut found = vec![];
    if let Some(times) = expected.times.filter(|times| *times != sent.len()) {
        found.push(format!(
            "calls of {name}: sent {} times; expected {times}",
            sent.len()
        ));
    }
    match (&expected.request, sent.last()) {
        (Some(part), Some(call)) => {
            found.extend(lacking(part, &call.request, "").map(|lacks| format!("calls of {name}: {lacks}")));
        }
        (Some(_), None) => found.push(format!("calls of {name}: none was sent")),
        (None, _) => {}
    }
    found
}

fn approval(expected: &ExpectApproval, record: &Record) -> Vec<String> {
    let name = &expected.step;
    let of_step = |question: &&Question| {
        let item = question.spec.subject.item;
        question.step == *name && (expected.item.is_none() || item == expected.item)
    };
    let mut asked = record.questions.iter().filter(of_step);
    let question = match expected.pass {
        Some(pass) => asked.find(|question| question.spec.subject.iteration == Some(pass)),
        None => asked.next_back(),
    };
    let Some(question) = question else {
        return vec![format!("approval of {name}: it was not asked")];
    };
    let mut found = vec![];
    if let Some(title) = expected
        .title
        .as_ref()
        .filter(|title| **title != question.spec.title)
    {
        found.push(format!(
            "approval of {name}: title {:?}; expected {title:?}",
            question.spec.title
        ));
    }
    if let Some(phase) = expected.phase.filter(|phase| *phase != question.status.phase) {
        found.push(format!(
            "approval of {name}: {}; expected {phase}",
            question.status.phase
        ));
    }
    if let Some(part) = &expected.approvers {
        let approvers = json!(question.spec.approvers);
        found.extend(
            lacking(part, &approvers, "approvers").map(|lacks| format!("approval of {name}: {lacks}")),
        );
    }
    if let Some(part) = &expected.shown {
        let shown = shown(question);
        found.extend(lacking(part, &shown, "shown").map(|lacks| format!("approval of {name}: {lacks}")));
    }
    found
}

fn notification(expected: &ExpectNotification, record: &Record) -> Option<String> {
    let ExpectNotification {
        event,
        channel,
        contains,
        times,
    } = expected;
    let is_meant = |sent: &&Notification| {
        let has = |part: &String| {
            let subject = sent.subject.as_ref();
            sent.text.contains(part) || subject.is_some_and(|subject| subject.contains(part))
        };
        sent.event == *event
            && channel.is_none_or(|channel| channel.as_str() == sent.channel)
            && contains.as_ref().is_none_or(has)
    };
    let sent = record.notifications.iter().filter(is_meant).count();
    let is_right = times.map_or(sent > 0, |times| times == sent);
    if is_right {
        return None;
    }
    let by = channel.map(|channel| format!(" by {}", channel.as_str()));
    let part = contains.as_ref().map(|part| format!(" with {part:?}"));
    let wanted = times.map_or_else(|| "at least one".to_owned(), |times| times.to_string());
    let others = record.notifications.iter().filter(|sent| sent.event == *event);
    let others: Vec<String> = others.map(|sent| format!("{:?}", sent.text)).collect();
    let others = if others.is_empty() {
        String::new()
    } else {
        format!("; the messages about {event} are {}", others.join(", "))
    };
    Some(format!(
        "notifications about {event}{}{}: {sent}; expected {wanted}{others}",
        by.unwrap_or_default(),
        part.unwrap_or_default()
    ))
}

/// What a question shows, by name. What is JSON is given as it is.
pub(super) fn shown(question: &Question) -> Value {
    let items = question.spec.show.iter().map(|item| {
        let value = serde_json::from_str(&item.inline).unwrap_or_else(|_| Value::String(item.inline.clone()));
        (item.name.clone(), value)
    });
    Value::Object(items.collect())
}

fn asserted(assert: &str, scope: &Scope) -> Option<String> {
    let failed = |why: String| Some(format!("assert {assert}: {why}"));
    let template = match Template::parse(assert) {
        Ok(template) => template,
        Err(problems) => {
            let all: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
            return failed(all.join("; "));
        }
    };
    let Some(expression) = template.as_expression() else {
        return failed("it is not one expression; write ${…}".to_owned());
    };
    match expression.holds(scope) {
        Ok(true) => None,
        Ok(false) => failed("it does not hold".to_owned()),
        Err(error) => failed(error.to_string()),
    }
}

/// What came of each item, as expressions of the flow see it.
fn items_of(entry: &StepStatus, items: &ItemsStatus) -> Value {
    let outputs = entry.output.as_ref().and_then(|output| output.0.as_array());
    let of_item = |item: i64| {
        let output = outputs.and_then(|outputs| outputs.get(usize::try_from(item).ok()?));
        let decision = items.decisions.iter().find(|decision| decision.item == item);
        let error = items.errors.iter().find(|error| error.items.contains(item));
        let mut seen = json!({ "outcome": items.outcome(item).unwrap_or(StepOutcome::Omitted) });
        let parts = [
            ("output", output.filter(|output| !output.is_null()).cloned()),
            ("decision", decision.map(|known| json!(known.decision))),
            (
                "error",
                error.map(|error| json!({ "reason": error.reason, "message": error.message })),
            ),
        ];
        for (key, value) in parts {
            if let Some(value) = value {
                seen[key] = value;
            }
        }
        seen
    };
    (0..items.count).map(of_item).collect()
}

/// What asserts see.
fn scope(record: &Record) -> Scope {
    let status = &record.status;
    let mut steps = Map::new();
    for entry in status.steps.iter().filter(|entry| entry.item.is_none()) {
        let mut seen = json!({ "passes": record.passes.get(&entry.name).copied().unwrap_or_default() });
        let parts = [
            ("outcome", entry.outcome.map(|outcome| json!(outcome))),
            ("output", entry.output.as_ref().map(|output| output.0.clone())),
            (
                "decision",
                entry.decision.as_ref().map(|decision| json!(decision)),
            ),
            ("error", entry.error.as_ref().map(|error| json!(error))),
            ("items", entry.items.as_ref().map(|items| items_of(entry, items))),
        ];
        for (key, value) in parts {
            if let Some(value) = value {
                seen[key] = value;
            }
        }
        steps.insert(entry.name.clone(), seen);
    }
    let mut run = json!({ "outcome": status.phase, "requestedBy": record.requested_by });
    if let Some(output) = &status.output {
        run["output"] = output.0.clone();
    }
    if let Some(error) = &status.error {
        run["error"] = json!(error);
    }
    let approvals = record.questions.iter().map(|question| {
        json!({
            "step": question.step,
            "item": question.spec.subject.item,
            "title": question.spec.title,
            "phase": question.status.phase,
            "shown": shown(question),
        })
    });
    let approvals: Vec<Value> = approvals.collect();
    let mut scope = Scope::default();
    scope
        .set("inputs", record.inputs.clone())
        .set("steps", Value::Object(steps))
        .set("run", run)
        .set("calls", json!(record.calls))
        .set("approvals", json!(approvals))
        .set("notifications", json!(record.notifications));
    scope
}
