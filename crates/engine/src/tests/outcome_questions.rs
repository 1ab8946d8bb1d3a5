//! People are asked whether an effect that must not be repeated happened.

use super::*;

/// The question whether the step `pay` of a flow happened, after a crash.
fn outcome_question(flow: Value) -> OpenApproval {
    let mut run = Scenario::of(flow, &json!({ "amount": 50 }));
    run.tick();
    run.restart();
    run.opened()[0].clone()
}

#[test]
fn the_next_leader_asks_the_same_question_whatever_address_it_has_for_the_gateway() {
    let pay = json!({ "name": "pay", "delivery": "AtMostOnce", "http": {
        "connection": "bank", "path": "/pay", "query": { "tell": "${callback('settled').url}" },
        "body": { "tell": "${callback('settled').url}", "token": "${callback('settled').token}" } } });
    let settled = json!({ "name": "settled", "wait": { "callback": {} } });
    let asked = |gateway: &str| {
        let mut run = Scenario::of(json!({ "steps": [pay, settled] }), &json!({}));
        run.tick();
        run.facts.callbacks.base_url = gateway.into();
        run.restart();
        run.opened()[0].spec.clone()
    };
    let first = asked("http://gateway");
    let texts = serde_json::to_string(&first.show).unwrap();
    assert!(
        texts.contains("(address of the callback of settled)")
            && texts.contains("(token of the callback of settled)")
            && !texts.contains("v1/callbacks"),
        "{texts}"
    );
    assert_eq!(first.digest, asked("https://other.example/path").digest);
}

#[test]
fn who_is_asked_whether_it_happened_sees_the_request_but_no_token() {
    let pay = json!({ "name": "pay", "delivery": "AtMostOnce", "http": {
        "connection": "bank", "path": "/pay/${inputs.amount}", "method": "PUT", "query": { "note": "a b&c" },
        "body": { "amount": "${inputs.amount}", "tell": "${callback('settled').url}" } } });
    let settled = json!({ "name": "settled", "wait": { "callback": {} } });
    let inputs = json!({ "type": "object", "properties": { "amount": { "type": "number" } } });
    let open = outcome_question(json!({ "inputs": inputs, "steps": [pay, settled] }));
    let shown = |name: &str| {
        let item = open.spec.show.iter().find(|item| item.name == name);
        item.unwrap().inline.clone()
    };
    assert_eq!(
        shown("request"),
        "PUT /pay/50?note=a+b%26c through connection bank"
    );
    let body: Value = serde_json::from_str(&shown("body")).unwrap();
    assert_eq!(
        body,
        json!({ "amount": 50, "tell": "(address of the callback of settled)" })
    );
    let sending = shown("sending");
    for part in [
        "AtMostOnce",
        "attempt: 1",
        "begun at: 2027-01-15T08:00:00Z",
        "Idempotency-Key: u/pay/1",
    ] {
        assert!(sending.contains(part), "{part} in {sending}");
    }
    let other = outcome_question(
        json!({ "steps": [{ "name": "pay", "delivery": "AtMostOnce", "http": {
        "connection": "bank", "path": "/pay/1" } }] }),
    );
    assert_ne!(
        open.spec.digest, other.spec.digest,
        "the request is bound by the digest"
    );
}

#[test]
fn whether_it_happened_is_for_those_to_say_who_approved_before_it_or_own_the_release() {
    let pay = json!({ "name": "pay", "delivery": "AtMostOnce", "http": { "url": "http://bank/pay" } });
    let ask = |name: &str, group: &str| json!({ "name": name, "approval": { "title": "go?", "approvers": { "groups": [group] } } });
    let asked = |flow: Value| {
        let mut run = Scenario::of(flow, &json!({}));
        run.tick();
        for name in ["r-first", "r-second"] {
            if run.facts.objects.keys().any(|known| is_called(&known.name, name)) {
                run.decide(name, ApprovalPhase::Approved);
            }
        }
        run.restart();
        let open = run.opened()[0].clone();
        assert!(!open.spec.self_approval);
        assert_eq!(open.spec.requested_by.as_deref(), Some("dev"));
        (
            open.spec.approvers.map(|approvers| approvers.groups),
            open.ask_owners,
        )
    };
    let groups = |group: &str| Some(vec![group.to_owned()]);
    let gate = json!({ "approval": { "approvers": { "groups": ["owners"] } } });
    let both = json!([ask("first", "far"), ask("second", "near"), pay]);
    assert_eq!(
        asked(json!({ "steps": both, "promotion": gate })),
        (groups("near"), false)
    );
    assert_eq!(
        asked(json!({ "steps": [pay, ask("second", "later")], "promotion": gate })),
        (groups("owners"), false)
    );
    assert_eq!(asked(json!({ "steps": [pay] })), (None, true));
    let mut graph = [ask("first", "left"), ask("second", "right"), pay.clone()];
    graph[0]["needs"] = json!([]);
    graph[1]["needs"] = json!([]);
    graph[2]["needs"] = json!(["first"]);
    assert_eq!(asked(json!({ "steps": graph })), (groups("left"), false));
}

#[test]
fn after_a_restart_a_repeatable_effect_is_repeated_and_the_other_kind_is_asked_about() {
    let mut run = Scenario::of(refund(), &json!({ "amount": 50 }));
    run.tick();
    let first = run.http()[0].clone();
    run.restart();
    assert_eq!(run.http(), [&first]);
    run.answer("propose", 200, Value::Null).restart();
    assert!(run.http().is_empty());
    assert_eq!(run.state.phase, RunPhase::Waiting);
    let status = run.open("r-pay-outcome");
    status.phase = ApprovalPhase::Approved;
    status.values = Some(JsonObject(
        json!({ "happened": false }).as_object().cloned().unwrap(),
    ));
    run.tick();
    assert_eq!(run.http()[0].key.attempt, 2);
    run.restart();
    let status = run.open("r-pay-outcome");
    status.phase = ApprovalPhase::Approved;
    status.values = Some(JsonObject(
        json!({ "happened": true, "output": "{\"id\": 7}" })
            .as_object()
            .cloned()
            .unwrap(),
    ));
    run.tick();
    assert_eq!(
        run.state
            .steps
            .iter()
            .find(|step| step.name == "pay")
            .unwrap()
            .output
            .as_ref()
            .unwrap()
            .0,
        json!({ "id": 7 })
    );
}
