mod gates;
mod plan;
mod question;
mod rest;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use signoff_api::ApprovalSpec;

fn definition(quorum: Option<i64>) -> Definition {
    let promotion = quorum.map(|quorum| json!({ "approval": { "quorum": quorum } }));
    serde_json::from_value(json!({ "steps": [{ "name": "a", "set": { "x": 1 } }], "promotion": promotion }))
        .unwrap()
}
