//! What is tried with arbitrary input: everything that reads what others wrote. A target fails by a panic, an endless loop or a broken promise, and
//! says whether the input was taken.
//!
//! `cargo fuzz run TARGET` looks for new input with a nightly compiler. `tests/it/fuzz.rs` includes this file and plays the kept inputs in
//! `corpus`, and some changes of each, in every run of the tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what the targets stand on has to work; what they try is asserted"
)]

mod gateway;
mod remote;

use serde_json::{Value, json};
use signoff::manifest;
use signoff_api::{Approval, Definition};
use signoff_engine::{
    expression::{Expression, JsonTemplate, Scope},
    plan::Plan,
    question::{PutAs, Question},
};

pub use self::{
    gateway::{callback, webhook},
    remote::pack,
};

/// The manifests of a repository: YAML, and what it says of a flow.
pub fn manifest(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let documents = match manifest::documents(text) {
        Ok(documents) => documents,
        Err(error) => {
            assert!(!error.message.is_empty(), "an error that says nothing");
            return false;
        }
    };
    let mut compiled = false;
    for document in documents {
        // whatever was read can be sent to an API server and read again
        serde_json::from_str::<Value>(&document.value.to_string()).unwrap();
        let Ok(definition) = serde_json::from_value::<Definition>(document.value["spec"].clone()) else {
            continue;
        };
        match Plan::compile(&definition) {
            Ok(_) => compiled = true,
            Err(problems) => {
                for problem in problems {
                    manifest::locate(text, document.index, &format!("spec.{}", problem.field));
                }
            }
        }
    }
    compiled
}

/// An expression, alone and in a template.
pub fn expression(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let mut scope = Scope::default();
    scope
        .set(
            "inputs",
            json!({"n": 3, "x": 1.5, "t": "na\u{ef}ve", "l": [1, 2, 3], "o": {"k": null}}),
        )
        .set(
            "steps",
            json!({"a": {"output": {"id": "7"}, "outcome": "Succeeded"}}),
        )
        .set("run", json!({"name": "r"}));
    if let Ok(template) = JsonTemplate::parse(&json!({"a": text})) {
        let _ = template.value(&scope);
    }
    let Ok(expression) = Expression::parse(text) else {
        return false;
    };
    let value = expression.evaluate(&scope);
    assert_eq!(value, expression.evaluate(&scope), "an expression has one value");
    value.is_ok()
}

/// The file that holds a question on a branch, with anything in the place of the answer, and anything in the place of the file.
pub fn question(input: &[u8]) -> bool {
    let approval: Approval = serde_json::from_value(json!({
        "apiVersion": "signoff.dev/v1alpha1", "kind": "Approval", "metadata": {"name": "r-review"},
        "spec": {
            "subject": {"run": "r", "step": "review", "iteration": 1}, "purpose": "Step", "quorum": 1, "selfApproval": false,
            "digest": format!("sha256:{}", "0".repeat(64)), "title": "Refund 250?", "verdicts": ["Approve", "Reject"],
            "form": {"type": "object", "properties": {"amount": {"type": "number"}, "note": {"type": "string"}}},
        },
    }))
    .unwrap();
    let question = Question {
        spec: &approval.spec,
        namespace: "default",
        name: "r-review",
        uid: "u",
        put: PutAs::Branch("main"),
    };
    let file = question.file(1, None);
    let (asked, _) = file.split_once("values: ").unwrap();
    let answered = [asked.as_bytes(), input].concat();
    let _ = question.answer(Some(input));
    let taken = question.answer(Some(&answered)).is_ok();
    if taken {
        // what was asked has to stand above an answer that counts
        assert!(question.answer(Some(&answered[1..])).is_err());
    }
    taken
}
