//! Callbacks that were lost, and are answered by hand.

use super::*;
use crate::resolution;
use signoff_api::{Json, resolution::Resolution, run::EndingOutcome};

fn waits() -> Value {
    json!({ "steps": [
        call("pay"),
        { "name": "settled", "wait": { "callback": {
            "schema": { "type": "object", "required": ["receipt"], "properties": { "receipt": { "type": "string" } } },
            "accept": "${body.receipt != 'R0'}" } } },
        call("thank"),
    ], "output": { "receipt": "${steps.settled.output.receipt}" } })
}

fn by_hand(body: Value) -> Resolution {
    Resolution {
        body: Json(body),
        message: "the bank confirmed it".into(),
        by: Some("alice".into()),
    }
}

impl Scenario {
    fn resolve(&mut self, key: &str, body: Value) -> &mut Self {
        self.facts.run.resolutions.insert(key.to_owned(), by_hand(body));
        self.tick()
    }

    fn refused(&self, key: &str) -> Option<&str> {
        self.state.resolutions[key].refused.as_deref()
    }
}

fn waiting() -> Scenario {
    let mut run = Scenario::of(waits(), &json!({}));
    run.tick().answer("pay", 200, json!({}));
    run
}

#[test]
fn the_wait_takes_an_answer_by_hand_as_it_takes_a_callback_and_says_who_gave_it() {
    let mut run = waiting();
    run.resolve("settled.1", json!({ "receipt": "R1" }));
    let known = &run.state.resolutions["settled.1"];
    assert_eq!(
        (known.by.as_deref(), known.message.as_str()),
        (Some("alice"), "the bank confirmed it")
    );
    assert_eq!((&known.refused, known.at.0), (&None, run.now));
    assert_eq!(run.state.steps[1].outcome, Some(StepOutcome::Callback));
    run.answer("thank", 200, json!({}));
    assert_eq!(run.state.output, Some(Json(json!({ "receipt": "R1" }))));
}

#[test]
fn an_answer_that_the_wait_does_not_take_is_refused_with_the_reason_and_another_takes_its_place() {
    for (body, why) in [
        (json!({}), "does not fit"),
        (json!({ "receipt": 1 }), "does not fit"),
        (json!({ "receipt": "R0" }), "does not accept"),
        (json!({ "receipt": "R".repeat(70_000) }), "at most 65536 may be"),
    ] {
        let mut run = waiting();
        run.resolve("settled.1", body);
        let refused = run.refused("settled.1").unwrap();
        assert!(refused.contains(why), "{refused}");
        assert_eq!(run.state.phase, RunPhase::Waiting);
        run.resolve("settled.1", json!({ "receipt": "R1" }));
        assert_eq!((run.refused("settled.1"), run.http().len()), (None, 1));
    }
}

#[test]
fn what_does_not_wait_for_a_callback_now_takes_no_answer() {
    let body = || json!({ "receipt": "R1" });
    for key in ["settled.1", "settled.2", "pay.1", "nowhere.1", "settled.1.0"] {
        let mut run = Scenario::of(waits(), &json!({}));
        run.tick().resolve(key, body());
        assert!(run.refused(key).is_some(), "{key}");
        run.answer("pay", 200, json!({}));
        assert_eq!(
            run.state.phase,
            RunPhase::Waiting,
            "{key}: it is not kept for later"
        );
    }
    // the callback came first
    let mut run = waiting();
    let record = CallbackRecord {
        received_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(run.now),
        sha256: Digest::of(b"{}"),
        webhook_id: None,
        body: json!({ "receipt": "R2" }).into(),
    };
    run.state.callbacks.insert("settled.1".to_owned(), record);
    run.resolve("settled.1", body()).answer("thank", 200, json!({}));
    assert!(run.refused("settled.1").unwrap().contains("meanwhile"));
    assert_eq!(run.state.output, Some(Json(json!({ "receipt": "R2" }))));
    // it is to end
    let mut run = waiting();
    run.facts.run.cancel = true;
    run.resolve("settled.1", body());
    assert!(run.refused("settled.1").is_some());
    assert_eq!(run.state.phase, RunPhase::Cancelled);
}

#[test]
fn an_answer_counts_once_and_stays_whatever_is_written_later() {
    let mut run = waiting();
    run.resolve("settled.1", json!({ "receipt": "R1" }));
    let known = run.state.resolutions.clone();
    run.resolve("settled.1", json!({ "receipt": "R9" }));
    assert_eq!(run.state.resolutions, known);
    run.restart().answer("thank", 200, json!({}));
    assert_eq!(run.state.output, Some(Json(json!({ "receipt": "R1" }))));
}

#[test]
fn the_last_steps_of_a_run_take_answers_while_it_ends() {
    let definition = json!({ "steps": [call("pay")],
        "finally": [{ "name": "told", "wait": { "callback": {}, "respondWithin": "1h" } }] });
    let mut run = Scenario::of(definition, &json!({}));
    run.tick().answer("pay", 400, json!({}));
    assert_eq!(run.state.ending.as_ref().unwrap().outcome, EndingOutcome::Failed);
    run.resolve("told.1", json!({}));
    assert_eq!((run.refused("told.1"), run.state.phase), (None, RunPhase::Failed));
}

#[test]
fn each_item_and_each_pass_is_answered_by_itself() {
    let definition = json!({ "steps": [
        { "name": "each", "forEach": { "items": ["a", "b"] }, "wait": { "callback": {} },
          "repeat": { "until": "${steps.each.pass >= 2}" } },
    ], "output": { "all": "${steps.each.output}" } });
    let mut run = Scenario::of(definition, &json!({}));
    run.tick();
    let key = |run: &Scenario, item| resolution::key(&run.plan, &run.state, "each", item);
    assert!(key(&run, None).unwrap_err().contains("has items"));
    assert_eq!(key(&run, Some(1)).unwrap(), "each.1.1");
    assert!(key(&run, Some(2)).is_err());
    for (pass, item) in [(1, 1), (1, 0), (2, 0), (2, 1)] {
        run.resolve(&format!("each.{pass}.{item}"), json!(format!("{pass}{item}")));
    }
    assert_eq!(run.state.output, Some(Json(json!({ "all": ["20", "21"] }))));
    assert_eq!(run.state.resolutions.len(), 4);
}

#[test]
fn the_command_line_is_told_why_a_step_cannot_be_answered() {
    let run = waiting();
    let key = |step: &str, item| resolution::key(&run.plan, &run.state, step, item);
    assert_eq!(key("settled", None).unwrap(), "settled.1");
    for (step, item, why) in [
        ("nowhere", None, "the flow has no step nowhere"),
        ("pay", None, "waits for no callback"),
        ("settled", Some(0), "has no items"),
    ] {
        let told = key(step, item).unwrap_err();
        assert!(told.contains(why), "{told}");
    }
}
