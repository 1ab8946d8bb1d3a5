//! Where later steps call is bound by what people decide on.

use super::*;
use crate::{effect::HttpTarget, object::Closing};

fn shop(address: &str) -> ConnectionFact {
    ConnectionFact {
        address: Some(address.to_owned()),
        digest: Digest::of(address.as_bytes()),
    }
}

fn gated() -> Scenario {
    let flow = json!({ "steps": [
        { "name": "quote", "http": { "connection": "shop", "path": "/quote" } },
        { "name": "review", "approval": { "title": "go?", "show": [{ "name": "n", "value": 1 }] } },
        { "name": "pay", "delivery": "AtMostOnce", "http": { "connection": "shop", "path": "/pay" } },
        { "name": "tell", "notify": { "webhook": { "connection": "chat", "message": "paid" } } },
    ] });
    let mut run = Scenario::of(flow, &json!({}));
    run.facts.connections.insert("shop".into(), shop("https://shop"));
    run.tick();
    run
}

fn bound(run: &Scenario) -> Option<Digest> {
    match &request(run.http()[0]).target {
        HttpTarget::Connection { bound, .. } | HttpTarget::Channel { bound, .. } => bound.clone(),
        HttpTarget::Url(url) | HttpTarget::PublicUrl(url) => panic!("{url}"),
    }
}

#[test]
fn people_are_shown_where_later_steps_call_and_these_call_nowhere_else() {
    let mut run = gated();
    assert_eq!(bound(&run), None, "nobody has decided on it");
    run.answer("quote", 200, Value::Null);
    let question = run.opened()[0].clone();
    let item = question.spec.show.last().unwrap();
    assert_eq!((question.spec.show.len(), item.name.as_str()), (2, "connections"));
    let shown: Value = serde_json::from_str(&item.inline).unwrap();
    let expected = json!([
        { "connection": "chat", "address": null, "digest": shown[0]["digest"], "steps": ["tell"] },
        { "connection": "shop", "address": "https://shop", "digest": Digest::of(b"https://shop"), "steps": ["pay"] },
    ]);
    assert_eq!(shown, expected);
    run.decide("r-review", ApprovalPhase::Approved);
    assert_eq!(bound(&run), Some(Digest::of(b"https://shop")));
    // what it has become meanwhile changes nothing of what may be called
    run.facts.connections.insert("shop".into(), shop("https://evil"));
    run.answer("pay", 200, Value::Null);
    assert!(bound(&run).is_some());
}

#[test]
fn a_connection_that_changes_below_an_open_question_supersedes_it() {
    for answered in [ApprovalPhase::Pending, ApprovalPhase::Approved] {
        let mut run = gated();
        run.answer("quote", 200, Value::Null);
        let before = run.opened()[0].spec.digest.clone();
        run.facts.connections.insert("shop".into(), shop("https://evil"));
        // also when the answer to what was shown before is there at the same time
        run.decide("r-review", answered);
        assert!(run.http().is_empty(), "{answered}");
        let closed = run.effects.iter().any(
            |effect| matches!(effect, Effect::Close(close) if is_called(&close.key.name, "r-review") && close.closing == Closing::Superseded),
        );
        assert!(closed, "{:?}", run.effects);
        let next = run.opened()[0].clone();
        assert_eq!(next.spec.subject.iteration, Some(2));
        assert_ne!(next.spec.digest, before);
        assert_eq!(run.state.phase, RunPhase::Waiting);
        run.decide("r-review", ApprovalPhase::Approved);
        assert_eq!(bound(&run), Some(Digest::of(b"https://evil")));
        run.answer("pay", 200, Value::Null)
            .answer("tell", 200, Value::Null);
        assert_eq!(run.state.phase, RunPhase::Succeeded);
    }
}

#[test]
fn one_that_changes_again_and_again_ends_the_run() {
    let mut run = gated();
    run.answer("quote", 200, Value::Null);
    for n in 0..=20 {
        assert_eq!(run.state.phase, RunPhase::Waiting, "{n}");
        run.facts
            .connections
            .insert("shop".into(), shop(&format!("https://{n}")));
        run.tick();
    }
    let error = run.state.error.as_ref().unwrap();
    assert_eq!(
        (run.state.phase, error.reason),
        (RunPhase::Failed, StepReason::ConnectionChanged)
    );
}

#[test]
fn an_item_of_the_flow_keeps_its_name() {
    let flow = json!({ "steps": [
        { "name": "review", "approval": { "title": "go?", "show": [{ "name": "connections", "value": "mine" }] } },
        { "name": "pay", "http": { "connection": "shop", "path": "/pay" } },
    ] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    let names: Vec<String> = run.opened()[0]
        .spec
        .show
        .iter()
        .map(|item| item.name.clone())
        .collect();
    assert_eq!(names, ["connections", "bound-connections"]);
}

#[test]
fn a_flow_without_connections_shows_nothing_more() {
    let mut run = Scenario::of(refund(), &json!({ "amount": 250 }));
    run.tick().answer("propose", 200, json!({ "fee": 2 }));
    assert_eq!(run.opened()[0].spec.show.len(), 1);
    assert!(run.state.steps[1].connections.is_empty());
}
