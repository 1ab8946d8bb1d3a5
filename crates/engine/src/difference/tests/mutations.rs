//! Nothing is forgotten: an example that says everything the schema knows, changed in one place after the other.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{super::difference, definition};
use signoff_api::{Definition, canonical, crds};

/// A definition in which every field of every kind of step is set at least once.
fn everything() -> Value {
    let mut all = all_but_finally();
    all["steps"].as_array_mut().unwrap().extend(further());
    all["steps"].as_array_mut().unwrap().extend(channels());
    // the schema knows the same fields there
    let mut last = all["steps"].clone();
    for step in last.as_array_mut().unwrap() {
        step["name"] = json!(format!("last-{}", step["name"].as_str().unwrap()));
    }
    all["finally"] = last;
    all["notifications"] = notifications();
    all
}

/// Further steps; the macro takes no longer list.
fn further() -> Vec<Value> {
    vec![
        json!({
            "name": "nine",
            "llm": {
                "connection": "model", "model": "m", "system": "s", "prompt": "p", "messages": [{ "role": "user", "content": "c" }],
                "images": ["https://x/"], "schema": { "type": "object" }, "maxTokens": 10, "options": { "temperature": 0 },
            },
        }),
        json!({ "name": "ten", "agent": agent() }),
        json!({
            "name": "job",
            "job": {
                "image": "app:1", "command": ["a"], "args": ["b"], "env": { "A": "1" }, "serviceAccount": "s",
                "resources": { "limits": { "cpu": "1" }, "requests": { "cpu": "1" } },
                "template": { "spec": { "hostNetwork": true } }, "schema": { "type": "object" }, "keepLog": false,
            },
        }),
        json!({ "name": "eleven", "store": { "get": "g", "put": "p", "value": { "deep": 1 }, "ifVersion": "3" } }),
    ]
}

fn agent() -> Value {
    json!({
        "connection": "model", "model": "m", "system": "s", "prompt": "p", "messages": [{ "role": "user", "content": "c" }],
        "images": ["https://x/"], "schema": { "type": "object" }, "maxTokens": 10, "options": { "temperature": 0 },
        "maxTurns": 5, "tokenBudget": 1000, "timeBudget": "10m", "tools": [tool()],
    })
}

fn tool() -> Value {
    let http = json!({
        "url": "http://x/", "connection": "shop", "path": "/p", "method": "PUT", "headers": { "X-A": "1" },
        "query": { "q": "2" }, "body": { "deep": 1 },
        "form": { "f": "1" }, "text": "t", "from": "${inputs.c}", "save": true, "schema": { "type": "object" }, "redirects": 2,
        "expect": { "status": [200, 201], "when": "${response.body.ok}" }, "output": "${response.body}",
    });
    let show = json!([
        { "name": "b", "value": "w", "mediaType": "text/markdown", "editable": { "schema": { "type": "string" } } },
        { "name": "c", "step": "five" },
    ]);
    let approval = json!({
        "when": "${true}", "title": "ok?", "editable": true, "show": show,
        "approvers": { "users": ["u"], "groups": ["g"], "exclude": ["e"], "serviceAccounts": ["n:s"] },
        "quorum": 2, "selfApproval": true, "respondWithin": "1d", "onTimeout": { "outcome": "Fail" },
        "onReject": { "outcome": "Reject" }, "verdicts": ["Approve", "Reject"], "remindEvery": "6h", "delegate": true,
        "escalate": [{ "after": "3h", "to": { "users": ["x"], "groups": ["y"], "exclude": ["e"], "serviceAccounts": ["n:z"] } }],
        "askVia": "PullRequest",
    });
    json!({
        "name": "look", "description": "d", "schema": { "type": "object" }, "delivery": "AtMostOnce",
        "retry": { "attempts": 3, "backoff": { "initial": "3s", "factor": 3, "max": "3m" }, "when": "${error.reason == 'x'}" },
        "timeout": "10s", "maxCalls": 3, "http": http, "approval": approval,
    })
}

/// A notification through each channel.
fn notifications() -> Value {
    json!([
        { "events": ["ApprovalOpened", "RunEnded"], "when": "${true}", "group": "10m",
            "slack": { "connection": "chat", "channel": "c", "text": "hi" } },
        { "events": ["ApprovalClosed"], "email": { "connection": "mail", "to": ["a@b"], "subject": "s", "text": "hi" } },
        { "events": ["RunStarted"], "teams": { "connection": "chat", "text": "hi" } },
        { "events": ["RunStarted"], "discord": { "connection": "chat", "text": "hi" } },
        { "events": ["RunStarted"], "webhook": { "connection": "hook", "path": "/p", "message": { "a": "b" } } },
        { "events": ["RunStarted"], "cloudEvent": { "connection": "hook", "path": "/p", "type": "a.b", "source": "/s",
            "subject": "s", "data": { "a": "b" } } },
    ])
}

/// A message through each channel but a webhook.
fn channels() -> Vec<Value> {
    let channels = json!([
        {
            "name": "slack",
            "notify": { "slack": { "connection": "chat", "channel": "c", "text": "hi", "thread": "1.2" } },
        },
        {
            "name": "email",
            "notify": { "email": {
                "connection": "mail", "to": ["a@b"], "cc": ["c@b"], "replyTo": "d@b", "subject": "s", "text": "hi",
                "attachments": [{ "name": "a", "value": "x" }],
            } },
        },
        { "name": "teams", "notify": { "teams": { "connection": "chat", "text": "hi" } } },
        { "name": "discord", "notify": { "discord": { "connection": "chat", "text": "hi" } } },
        {
            "name": "event",
            "notify": { "cloudEvent": {
                "connection": "hook", "path": "/e", "type": "t", "source": "s", "subject": "x", "data": { "a": "${inputs.a}" },
            } },
        },
    ]);
    channels.as_array().cloned().unwrap()
}

fn all_but_finally() -> Value {
    json!({
        "description": "all of it",
        "inputs": {
            "type": "object",
            "required": ["a", "b"],
            "additionalProperties": false,
            "properties": { "a": { "type": "string" }, "b": { "type": "integer", "enum": [1, 2] }, "c": true },
        },
        "triggers": [
            {
                "name": "t1", "suspend": true, "inputs": { "a": "x" },
                "schedule": { "cron": "0 2 * * *", "timeZone": "Europe/Berlin", "jitter": "5m", "missed": "Skip" },
            },
            { "name": "t2", "flow": { "name": "other", "phases": ["Failed"] } },
            {
                "name": "t3",
                "webhook": {
                    "auth": { "github": { "name": "s", "key": "k" } },
                    "schema": { "type": "object" }, "when": "${true}", "dedupe": "${item}", "each": "${['x']}",
                    "key": "${item}", "start": "Unmatched",
                },
            },
            { "name": "t4", "webhook": { "auth": { "gitlab": { "name": "s", "key": "k" } } } },
            { "name": "t5", "webhook": { "auth": { "slack": { "name": "s", "key": "k" } } } },
            { "name": "t6", "webhook": { "auth": { "bearer": { "name": "s", "key": "k" } } } },
            { "name": "t7", "webhook": { "auth": { "standardWebhooks": { "name": "s", "key": "k" } } } },
        ],
        "concurrency": { "key": "${inputs.a}", "max": 2, "whenFull": "Reject", "scope": "Namespace" },
        "retention": { "keep": 7, "after": "48h" },
        "steps": [
            {
                "name": "one",
                "when": "${inputs.b > 1}",
                "needs": ["zero", "other.Succeeded|Failed"],
                "forEach": { "items": ["${inputs.a}", 2], "maxParallel": 3, "onItemFailure": "Continue" },
                "onFailure": { "outcome": "Continue" },
                "repeat": { "from": "zero", "until": "${true}", "while": "${false}", "every": "5s", "max": 7 },
                "retry": { "attempts": 3, "backoff": { "initial": "3s", "factor": 3, "max": "3m" },
                    "when": "${error.reason == 'UnexpectedResponse'}" },
                "timeout": "10s",
                "delivery": "AtMostOnce",
                "http": {
                    "url": "http://x/", "connection": "shop", "path": "/p", "method": "PUT", "headers": { "X-A": "1" },
                    "query": { "q": "2" }, "body": { "deep": [{ "er": "${inputs.a}" }, null, 1.5] },
                    "form": { "f": "1" }, "text": "t", "from": "${inputs.c}", "save": true, "schema": { "type": "object" }, "redirects": 2,
                    "expect": { "status": [200, 201], "when": "${response.body.ok}" }, "output": "${response.body}",
                },
            },
            { "name": "two", "set": { "x": 1, "y": { "z": ["a", "b"] } } },
            {
                "name": "three",
                "wait": {
                    "callback": {
                        "schema": { "type": "object" }, "accept": "${body.ok}",
                        "hmac": { "secretRef": { "name": "s", "key": "k" } }, "heartbeat": "5m",
                    },
                    "event": { "trigger": "t3", "flow": "other", "keys": ["x", "${inputs.a}"], "when": "${body.ok}" },
                    "duration": "1h", "until": "2030-01-01T00:00:00Z", "respondWithin": "2d",
                    "onTimeout": { "outcome": "Fail" },
                },
            },
            {
                "name": "four",
                "when": "${true}",
                "approval": {
                    "title": "ok?",
                    "show": [{ "name": "a", "value": { "v": 1 } }, { "name": "b", "value": "w", "mediaType": "text/markdown", "editable": { "schema": { "type": "string" } } }, { "name": "c", "step": "five" }],
                    "form": { "type": "object", "properties": { "n": { "type": "number" } } },
                    "approvers": { "users": ["u", "v"], "groups": ["g", "h"], "exclude": ["e"], "serviceAccounts": ["n:s", "n:t"] },
                    "quorum": 2, "selfApproval": true, "respondWithin": "1d", "onTimeout": { "outcome": "Fail" },
                    "onReject": { "outcome": "Continue" }, "verdicts": ["Approve", "Reject"], "remindEvery": "6h", "delegate": true,
                    "escalate": [
                        { "after": "3h", "to": { "users": ["x"], "groups": ["y"], "exclude": ["e"], "serviceAccounts": ["n:z"] } },
                        { "after": "4h", "to": { "users": ["x"] } },
                    ],
                    "changes": { "backTo": "one", "max": 2 }, "askVia": "PullRequest",
                },
            },
            {
                "name": "five",
                "notify": { "webhook": { "url": "http://y/", "connection": "chat", "path": "/m", "message": { "text": "hi" } } },
            },
            {
                "name": "eight",
                "ssh": {
                    "connection": "vm", "host": "a.vm", "command": "run", "args": ["x", "${inputs.a}"], "env": { "A": "1" },
                    "stdin": "in", "callback": "three", "wait": true, "exitCodes": [0, 3],
                },
            },
            {
                "name": "nine",
                "git": {
                    "repository": "site", "connection": "other", "branch": "b", "base": "main", "files": [{ "path": "a", "content": "x" }],
                    "message": "m", "ifExists": "Append",
                    "pullRequest": { "into": "main", "title": "t", "body": "b", "draft": true, "reviewers": ["r"] },
                },
            },
            { "name": "task", "retry": { "attempts": 3 }, "task": {
                "queue": "coders", "input": { "a": "${inputs.a}" }, "instructions": "do it", "schema": { "type": "object" },
                "heartbeat": "10m", "respondWithin": "1h", "onTimeout": { "outcome": "Continue" } } },
            { "name": "seven", "flow": { "name": "child", "inputs": { "a": "${inputs.a}" }, "detached": true, "key": "k" } },
            { "name": "six", "end": { "outcome": "Failed", "message": "${inputs.a}", "output": { "r": "${inputs.b}" } } },
        ],
        "output": { "r": "${steps.two.output}", "s": { "t": [1, 2] } },
        "promotion": {
            "approval": {
                "approvers": { "users": ["p"], "groups": ["q"], "exclude": ["e"], "serviceAccounts": ["n:p"] },
                "quorum": 2, "selfApproval": false, "respondWithin": "3d",
                "escalate": [{ "after": "1d", "to": { "users": ["r"], "groups": ["t"], "exclude": ["e"], "serviceAccounts": ["n:r"] } }], "askVia": "PullRequest",
            },
        },
    })
}

/// Every path the schema of a definition knows; items of lists and free keys have no name of their own.
fn known(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        known(below, &format!("{path}.{key}"), found);
    }
    if schema["items"].is_object() {
        known(&schema["items"], &format!("{path}[]"), found);
    }
    if schema["additionalProperties"].is_object() {
        known(&schema["additionalProperties"], &format!("{path}{{}}"), found);
    }
}

/// The same paths as a value says them.
fn said(value: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    for (key, item) in value.as_object().into_iter().flatten() {
        if schema["properties"][key].is_object() {
            said(item, &schema["properties"][key], &format!("{path}.{key}"), found);
        } else if schema["additionalProperties"].is_object() {
            said(
                item,
                &schema["additionalProperties"],
                &format!("{path}{{}}"),
                found,
            );
        }
    }
    for item in value.as_array().into_iter().flatten() {
        if schema["items"].is_object() {
            said(item, &schema["items"], &format!("{path}[]"), found);
        }
    }
}

#[test]
fn the_example_says_everything_the_schema_knows() {
    let crd = crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == "Flow")
        .unwrap();
    let schema = crd.spec.versions[0]
        .schema
        .as_ref()
        .unwrap()
        .open_api_v3_schema
        .as_ref()
        .unwrap();
    let mut schema = serde_json::to_value(schema).unwrap()["properties"]["spec"].take();
    for not_in_a_release in ["live", "suspend"] {
        schema["properties"]
            .as_object_mut()
            .unwrap()
            .remove(not_in_a_release);
    }
    let (mut all, mut mentioned) = (BTreeSet::new(), BTreeSet::new());
    known(&schema, "spec", &mut all);
    said(&everything(), &schema, "spec", &mut mentioned);
    assert!(all.len() > 70, "{all:?}");
    let missing: Vec<_> = all.difference(&mentioned).collect();
    assert!(missing.is_empty(), "add these to the example: {missing:?}");
}

/// All places in a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, item) in map {
                let below = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                found.push(below.clone());
                places(item, &below, found);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let below = format!("{at}/{i}");
                found.push(below.clone());
                places(item, &below, found);
            }
        }
        _ => {}
    }
}

/// Other values that may stand in the place of one.
fn others(value: &Value) -> Vec<Value> {
    const WORDS: [&str; 18] = [
        "ApprovalReminder",
        "RunOnce",
        "17h",
        "text/plain",
        "Approve",
        "GET",
        "POST",
        "AtLeastOnce",
        "AtMostOnce",
        "Reject",
        "Fail",
        "Continue",
        "None",
        "Never",
        "Succeeded",
        "Failed",
        "Queue",
        "Flow",
    ];
    match value {
        Value::String(text) => std::iter::once(format!("{text}-other"))
            .chain(WORDS.map(str::to_owned))
            .map(Value::from)
            .collect(),
        Value::Number(number) => vec![
            json!(number.as_f64().unwrap() + 41.0),
            json!(number.as_i64().unwrap_or(0) + 41),
        ],
        Value::Bool(bool) => vec![json!(!bool)],
        Value::Null => vec![json!("was null")],
        Value::Array(items) => {
            let reversed: Vec<Value> = items.iter().rev().cloned().collect();
            let twice: Vec<Value> = items.iter().chain(items).cloned().collect();
            vec![Value::from(reversed), Value::from(twice), json!([])]
        }
        Value::Object(map) => {
            let mut more = map.clone();
            more.insert("zz".to_owned(), json!("one more"));
            vec![Value::Object(more), json!({})]
        }
    }
}

fn without(value: &Value, place: &str) -> Value {
    let mut value = value.clone();
    let (above, key) = place.rsplit_once('/').unwrap();
    match value.pointer_mut(above).unwrap() {
        Value::Object(map) => drop(map.remove(&key.replace("~1", "/").replace("~0", "~"))),
        Value::Array(items) => drop(items.remove(key.parse().unwrap())),
        other => panic!("{place}: {other}"),
    }
    value
}

#[track_caller]
fn is_told(old: &Definition, new: &Definition, place: &str) {
    for (old, new) in [(old, new), (new, old)] {
        let found = difference(Some(old), new);
        assert!(!found.is_empty(), "{place} is forgotten");
        let text = found.to_text();
        assert!(text.lines().count() > 2, "{place} is not in the text: {text}");
        assert!(
            found.to_markdown(60_000).contains("\n- "),
            "{place} is not in the Markdown"
        );
    }
}

#[test]
fn a_change_in_any_one_place_is_told() {
    let whole = everything();
    let original = definition(whole.clone());
    let digest = canonical::digest(&original).unwrap();
    let mut all = vec![];
    places(&whole, "", &mut all);
    let mut tried = 0;
    for place in &all {
        let here = whole.pointer(place).unwrap();
        let mut changed: Vec<(Value, Option<Value>)> = vec![(without(&whole, place), None)];
        for other in others(here) {
            let mut whole = whole.clone();
            *whole.pointer_mut(place).unwrap() = other.clone();
            changed.push((whole, Some(other)));
        }
        let mut effective = 0;
        for (whole, other) in changed {
            let Ok(mutant) = serde_json::from_value::<Definition>(whole) else {
                continue;
            };
            if canonical::digest(&mutant).unwrap() == digest {
                continue;
            }
            effective += usize::from(other.is_some());
            is_told(&original, &mutant, place);
            if let Some(Value::String(other)) = &other {
                let told = serde_json::to_string(&difference(Some(&original), &mutant)).unwrap();
                assert!(told.contains(other.as_str()), "{place}: {other} is not told");
            }
        }
        tried += effective;
        assert!(
            effective > 0 || here.is_array() || here.is_object(),
            "{place} was never changed"
        );
    }
    assert!(tried > 150, "{tried}");
}

#[test]
fn what_only_looks_different_is_no_difference() {
    let mut whole = everything();
    let one = definition(whole.clone());
    whole["inputs"]["properties"]["b"]["enum"] = json!([1.0, 2.0]);
    assert!(difference(Some(&one), &definition(whole)).is_empty());
}
