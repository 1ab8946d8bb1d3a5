//! Whole pages: the text, the Markdown and the JSON of a change, kept under `crates/engine/golden/difference`.

use serde_json::json;

use super::{super::difference, definition};
use signoff_api::Definition;

fn refund() -> Definition {
    definition(json!({
        "description": "Refund a customer, with a human check above 100",
        "inputs": {
            "type": "object",
            "required": ["order", "amount"],
            "properties": {
                "order": { "type": "string" },
                "amount": { "type": "number", "minimum": 0 },
                "reason": { "type": "string" },
            },
        },
        "steps": [
            {
                "name": "propose",
                "http": { "connection": "shop", "method": "POST", "path": "/refunds/quote", "body": { "order": "${inputs.order}" } },
                "retry": { "attempts": 4, "backoff": { "initial": "1s", "factor": 2, "max": "1m" } },
            },
            {
                "name": "review",
                "when": "${inputs.amount > 100}",
                "approval": {
                    "title": "Refund ${inputs.amount} for order ${inputs.order}",
                    "show": [{ "name": "quote", "value": "${steps.propose.output}" }, { "name": "order", "value": "${inputs.order}" }],
                    "approvers": { "groups": ["finance"] },
                    "quorum": 2,
                    "respondWithin": "24h",
                    "onTimeout": { "outcome": "Fail" },
                    "escalate": [{ "after": "4h", "to": { "groups": ["finance-leads"] } }],
                    "changes": { "backTo": "propose", "max": 3 },
                },
            },
            { "name": "tell", "notify": { "webhook": { "url": "https://chat.example.com/", "message": "refunding" } } },
            {
                "name": "pay",
                "http": { "connection": "shop", "method": "POST", "path": "/refunds", "body": "${steps.propose.output}" },
                "delivery": "AtMostOnce",
            },
            { "name": "settled", "wait": { "callback": { "accept": "${body.ok}" }, "respondWithin": "7d" } },
        ],
        "output": { "receipt": "${steps.settled.output.receipt}" },
        "promotion": { "approval": { "approvers": { "groups": ["owners"] }, "quorum": 2 } },
    }))
}

/// The same flow, loosened wherever it can be.
fn loosened() -> Definition {
    definition(json!({
        "description": "Refund a customer",
        "inputs": {
            "type": "object",
            "required": ["order", "amount", "currency"],
            "properties": {
                "order": { "type": "string" },
                "amount": { "type": "integer", "minimum": 0 },
                "currency": { "type": "string", "enum": ["EUR", "NOK"] },
            },
        },
        "steps": [
            {
                "name": "propose",
                "http": {
                    "connection": "shop", "method": "POST", "path": "/refunds/quote",
                    "body": { "order": "${inputs.order}", "currency": "${inputs.currency}" },
                },
                "retry": { "attempts": 6, "backoff": { "initial": "1s", "factor": 2, "max": "1m" } },
                "timeout": "10s",
            },
            {
                "name": "pay",
                "http": { "connection": "shop", "method": "POST", "path": "/v2/refunds", "body": "${steps.propose.output}" },
            },
            {
                "name": "review",
                "when": "${inputs.amount > 1000}",
                "approval": {
                    "title": "Refund ${inputs.amount} ${inputs.currency} for order ${inputs.order}",
                    "show": [{ "name": "quote", "value": "${steps.propose.output}" }],
                    "approvers": { "groups": ["finance", "support"], "serviceAccounts": ["shop:bot"] },
                    "selfApproval": true,
                    "respondWithin": "24h",
                    "onTimeout": { "outcome": "Continue" },
                    "escalate": [{ "after": "1h", "to": { "groups": ["finance-leads"] } }],
                    "changes": { "backTo": "propose", "max": 3 },
                },
            },
            { "name": "audit", "approval": { "title": "Audited?" } },
            { "name": "settled", "wait": { "callback": {}, "duration": "1d", "respondWithin": "7d", "onTimeout": { "outcome": "Continue" } } },
        ],
        "output": { "receipt": "${steps.settled.output.receipt}", "currency": "${inputs.currency}" },
        "promotion": { "approval": { "quorum": 1 } },
    }))
}

fn golden(name: &str, old: Option<&Definition>, new: &Definition) {
    let difference = difference(old, new);
    let json = serde_json::to_string_pretty(&difference).unwrap();
    insta::with_settings!({ snapshot_path => "../../../golden/difference", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(format!("{name}.txt"), difference.to_text());
        insta::assert_snapshot!(format!("{name}.md"), difference.to_markdown(60_000));
        insta::assert_snapshot!(format!("{name}.json"), json);
    });
}

#[test]
fn a_flow_that_is_loosened_wherever_it_can_be() {
    golden("loosened", Some(&refund()), &loosened());
}

#[test]
fn a_flow_that_is_tightened_again() {
    golden("tightened", Some(&loosened()), &refund());
}

#[test]
fn a_flow_of_which_nothing_is_live_yet() {
    golden("first", None, &refund());
}

#[test]
fn a_sequence_that_becomes_a_graph() {
    let mut graph = refund();
    graph.steps[4].needs = Some(vec!["pay".to_owned()]);
    golden("graph", Some(&refund()), &graph);
}

#[test]
fn a_definition_that_tries_to_write_the_comment_itself() {
    let hostile = definition(json!({
        "description": "<!-- signoff -->\n# Approved by @alice\n[click](https://evil.example.com)",
        "inputs": { "type": "object", "properties": { "`@bob`\n\n# x": { "type": "string`` @carol" } } },
        "steps": [
            { "name": "a", "when": "${true}` @everyone `", "set": { "</details>|x": "``` \u{202e}evil\u{200b}" } },
            { "name": "b", "approval": { "title": "x\n\n## LGTM\n| a | b |\n|---|---|", "approvers": { "users": ["a, b; group `root`"], "groups": ["x\ny"] } } },
        ],
    }));
    golden("hostile", Some(&refund()), &hostile);
}
