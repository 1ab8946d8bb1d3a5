//! Heartbeats of callbacks.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::*;
use crate::heartbeat::{Renewal, forget_ended, renew};
use signoff_api::run::HeartbeatRecord;

/// A heartbeat for a wait arrives as the gateway records it.
fn beat(run: &mut Scenario, key: (&str, i64, Option<i64>), minutes: u64) -> Renewal {
    let span = std::time::Duration::from_mins(minutes);
    let renewal = renew(&run.state, key, span, run.now);
    if let Renewal::Written(_) = renewal {
        let received_at = MicroTime(run.now);
        let (step, iteration, item) = key;
        let key = crate::callback_token::record_key(step, iteration, item);
        run.state.heartbeats.insert(key, HeartbeatRecord { received_at });
    }
    run.tick();
    renewal
}

#[test]
fn a_wait_goes_on_while_heartbeats_come_and_times_out_when_they_stop() {
    for (then, phase, outcome) in [
        ("Fail", RunPhase::TimedOut, StepOutcome::TimedOut),
        ("Continue", RunPhase::Succeeded, StepOutcome::TimedOut),
    ] {
        let flow = json!({ "steps": [
            { "name": "pause", "wait": { "duration": "1h" } },
            { "name": "w", "wait": { "callback": { "heartbeat": "10m" }, "onTimeout": { "outcome": then } } },
        ] });
        let mut run = Scenario::of(flow, &json!({}));
        // the clock begins with the wait
        run.tick();
        assert_eq!(beat(&mut run, ("w", 1, None), 10), Renewal::NotBegun);
        run.pass(3_600);
        let span = |run: &Scenario| run.wake_at.unwrap().duration_since(run.now).as_secs();
        assert_eq!(span(&run), 600);
        run.pass(240);
        assert!(matches!(
            beat(&mut run, ("w", 1, None), 10),
            Renewal::Unwritten(_)
        ));
        assert_eq!(span(&run), 360);
        run.pass(300);
        assert!(matches!(beat(&mut run, ("w", 1, None), 10), Renewal::Written(_)));
        assert_eq!(span(&run), 600);
        run.pass(599);
        assert_eq!(run.state.phase, RunPhase::Waiting);
        run.pass(1);
        assert_eq!((run.state.phase, run.steps()[1].3), (phase, Some(outcome)));
        let error = run.state.steps[1].error.as_ref().unwrap();
        assert_eq!(error.reason, StepReason::HeartbeatLost);
        assert_eq!(error.message, "no heartbeat came for 10m");
    }
}

#[test]
fn each_item_and_each_pass_has_its_own_heartbeat() {
    let flow = json!({ "steps": [{ "name": "w",
        "forEach": { "items": ["a", "b"], "onItemFailure": "Continue" },
        "repeat": { "until": "${steps.w.pass == 2}" },
        "wait": { "callback": { "heartbeat": "10m" } } }] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    for pass in 1..=2 {
        run.pass(540);
        beat(&mut run, ("w", pass, Some(1)), 10);
        run.pass(60);
        // the first item is lost, and the other one is not
        let left: Vec<_> = run.state.steps.iter().filter_map(|entry| entry.item).collect();
        assert_eq!(left, [1], "pass {pass}");
        run.pass(540);
    }
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    forget_ended(&mut run.state);
    assert!(run.state.heartbeats.is_empty());
}

#[test]
fn a_callback_that_is_there_counts_however_late_the_heartbeat_is() {
    let flow = json!({ "steps": [{ "name": "w", "wait": { "callback": { "heartbeat": "10m" } } }] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    let record = CallbackRecord {
        received_at: MicroTime(run.now),
        sha256: Digest::of(b"{}"),
        webhook_id: None,
        body: json!({}).into(),
    };
    run.state.callbacks.insert("w.1".into(), record);
    run.pass(3_600);
    assert_eq!(run.steps()[0].3, Some(StepOutcome::Callback));
}
