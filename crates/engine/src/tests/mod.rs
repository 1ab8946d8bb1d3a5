//! Scenarios: given a flow, what happens, and what is decided then.

mod agents;
mod channels;
mod checks;
mod children;
mod computed;
mod connections;
mod definitions;
mod endings;
mod events;
mod finally;
mod for_each;
mod for_each_questions;
mod for_each_runs;
mod git;
mod going_on;
mod guards;
mod heartbeats;
mod http;
mod http_resources;
mod http_retries;
mod jobs;
mod loops;
mod models;
mod outcome_questions;
mod places;
mod processes;
mod properties;
mod resolutions;
mod retried_children;
mod retries;
mod runs;
mod scenario;
mod store;
mod tasks;
mod transcripts;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub(crate) use self::scenario::Scenario;
use self::scenario::{is_called, request};
use super::{
    advance::{Advance, advance},
    callback_token::{CallbackKeys, CallbackMinter},
    concurrency::Place,
    effect::{Call, Effect, EffectKey, HttpRequest, Request},
    facts::{
        ApprovalFact, ConnectionFact, EffectError, EffectOutcome, Facts, HttpResponse, ReleaseFacts,
        Response, RunFacts,
    },
    object::{ObjectFact, ObjectKey, OpenApproval, OwnedObject},
    plan::Plan,
    work,
};
use signoff_api::{
    ApprovalPhase, Definition, Digest, RunPhase, RunStatus, WorkItemStatus,
    approval::ApprovalStatus,
    json::JsonObject,
    reason::StepReason,
    run::{CallbackRecord, StepOutcome, StepPhase},
};

fn call(name: &str) -> Value {
    json!({ "name": name, "http": { "url": format!("http://shop/{name}"), "method": "POST" } })
}

fn refund() -> Value {
    json!({
        "inputs": { "type": "object", "properties": { "amount": { "type": "number" } } },
        "steps": [
            { "name": "propose", "http": { "url": "http://shop/quote", "body": { "amount": "${inputs.amount}", "why": "${steps.review.?previous.decision.comment.orValue('')}" } } },
            { "name": "review", "when": "${inputs.amount > 100}", "approval": {
                "title": "Refund ${inputs.amount}", "show": [{ "name": "quote", "value": "${steps.propose.output}" }],
                "approvers": { "groups": ["finance"] }, "changes": { "backTo": "propose", "max": 1 } } },
            { "name": "pay", "delivery": "AtMostOnce", "http": { "url": "http://shop/pay", "body": { "callback": "${callback('settled').url}" } } },
            { "name": "settled", "wait": { "callback": {} } },
        ],
        "output": { "receipt": "${steps.settled.output.receipt}" },
    })
}
