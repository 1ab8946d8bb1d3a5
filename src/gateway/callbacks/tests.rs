use serde_json::json;

use super::*;
use signoff_api::RunPhase;

fn address(iteration: i64) -> CallbackAddress {
    CallbackAddress {
        namespace: "ns".to_owned(),
        run: "r".to_owned(),
        uid: "u".to_owned(),
        step: "settled".to_owned(),
        iteration,
        item: None,
    }
}

fn run(status: &Value) -> Run {
    let run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "r", "uid": "u"},
        "spec": {"flow": "f"}, "status": status});
    serde_json::from_value(run).unwrap()
}

/// Whether a callback to the second pass of a run is taken, whose step is at this pass.
fn takes(iteration: i64, phase: &str) -> bool {
    let step = json!({"name": "settled", "iteration": iteration, "phase": phase, "attempt": 0});
    let other = json!({"name": "other", "iteration": 9, "phase": "Succeeded", "attempt": 0});
    let run = run(&json!({"phase": "Waiting", "steps": [other, step]}));
    expired(&run, &address(2)).is_ok()
}

#[test]
fn a_callback_is_taken_until_its_pass_is_over() {
    // one that comes before its step begins is kept for it
    assert!(expired(&run(&json!(null)), &address(1)).is_ok());
    assert!(takes(1, "Waiting") && takes(1, "Succeeded"));
    assert!(takes(2, "Waiting") && takes(2, "Running"));
    for phase in ["Succeeded", "Failed", "Skipped", "Omitted", "Cancelled"] {
        assert!(!takes(2, phase), "{phase}");
    }
    assert!(!takes(3, "Waiting"));
}

#[test]
fn a_run_that_has_ended_or_is_deleted_takes_none() {
    for phase in RunPhase::FINISHED {
        let run = run(&json!({"phase": phase.to_string()}));
        assert!(expired(&run, &address(1)).is_err(), "{phase}");
    }
    let mut going = run(&json!({"phase": "Waiting"}));
    assert!(expired(&going, &address(1)).is_ok());
    going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    assert!(expired(&going, &address(1)).is_err());
}

#[test]
fn a_delivery_is_the_same_by_its_body_or_by_its_id() {
    let known = |id: Option<&str>| -> CallbackRecord {
        let record = json!({"receivedAt": "2026-01-01T00:00:00.000000Z", "sha256": Digest::of(b"a"), "body": 1, "webhookID": id});
        serde_json::from_value(record).unwrap()
    };
    let sent = |body: &[u8], id: Option<&str>| Delivery {
        sha256: Digest::of(body),
        id: id.map(str::to_owned),
    };
    for (known, sent, same) in [
        (known(None), sent(b"a", None), true),
        (known(Some("1")), sent(b"a", Some("2")), true),
        (known(Some("1")), sent(b"b", Some("1")), true),
        (known(Some("1")), sent(b"b", Some("2")), false),
        (known(None), sent(b"b", None), false),
        (known(None), sent(b"b", Some("1")), false),
        (known(Some("1")), sent(b"b", None), false),
    ] {
        let answer = answer_again(&known, &sent);
        assert_eq!(answer.is_ok(), same, "{:?} {:?}", known.webhook_id, sent.id);
        let code = answer.map_or_else(
            |problem| problem.into_response().status(),
            |answer| answer.status(),
        );
        assert_eq!(code.as_u16(), if same { 200 } else { 409 });
    }
}
