//! Waits for events that come by webhook triggers.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::*;
use crate::{
    events::{Standing, accepts, begun, forget_ended, may_await, open, standing},
    plan::Problem,
};
use signoff_api::{names, run::EventRecord};

fn flow(wait: &Value) -> Value {
    json!({
        "inputs": { "type": "object", "properties": { "order": { "type": "string" }, "orders": { "type": "array", "items": { "type": "string" } } } },
        "triggers": [
            { "name": "payments", "webhook": { "auth": { "bearer": { "name": "s", "key": "k" } }, "start": "Never",
                "schema": { "type": "object", "required": ["amount"], "properties": { "amount": { "type": "number" }, "order": { "type": "string" } } },
                "key": "${body.?order.orValue('')}" } },
            { "name": "plain", "webhook": { "auth": { "bearer": { "name": "s", "key": "k" } } } },
            { "name": "nightly", "schedule": { "cron": "@daily" } },
        ],
        "steps": [{ "name": "w", "wait": wait }],
    })
}

fn problems(wait: &Value) -> Vec<(String, String)> {
    let definition: Definition = serde_json::from_value(flow(wait)).unwrap();
    let problems = Plan::compile(&definition).err().unwrap_or_default();
    let told = |problem: Problem| (problem.field, problem.message);
    problems.into_iter().map(told).collect()
}

/// The gateway gives the run an event with this key.
fn offer(run: &mut Scenario, key: &str, name: &str, body: &Value) -> bool {
    let hash = names::event_key("f", "payments", key);
    let Some((_, wait)) = open(&run.state, &BTreeSet::from([hash])).into_iter().next() else {
        return false;
    };
    let record = EventRecord {
        received_at: MicroTime(run.now),
        name: name.to_owned(),
        body: Some(body.clone().into()),
    };
    run.state.events.insert(wait.key, record);
    run.tick();
    true
}

#[test]
fn a_wait_takes_an_event_with_one_of_its_keys_and_gives_its_body() {
    for keys in [
        json!(["${inputs.order}", "other"]),
        json!(["${inputs.orders}"]),
        json!(["order-81", "${inputs.?order}"]),
        json!(["order-${inputs.order.substring(6)}"]),
    ] {
        let mut flow = flow(&json!({ "event": { "trigger": "payments", "keys": keys } }));
        flow["output"] = json!({ "half": "${steps.w.output.amount / 2.0}" });
        let inputs = json!({ "order": "order-81", "orders": ["order-80", "order-81"] });
        let mut run = Scenario::of(flow, &inputs);
        run.tick();
        assert_eq!(run.state.awaits_events, Some(true));
        assert_eq!(
            run.state.waiting_on.as_deref(),
            Some("an event of trigger payments (w)")
        );
        assert!(!offer(&mut run, "order-82", "f-1", &json!({ "amount": 1 })));
        assert!(offer(&mut run, "order-81", "f-2", &json!({ "amount": 3 })));
        assert_eq!(run.steps()[0].3, Some(StepOutcome::Event));
        assert_eq!(run.state.phase, RunPhase::Succeeded);
        assert_eq!(run.state.output.as_ref().unwrap().0, json!({ "half": 1.5 }));
        assert_eq!(run.state.awaits_events, None);
        assert!(run.state.steps[0].event_keys.is_empty());
    }
}

#[test]
fn keys_from_data_that_cannot_be_used_fail_the_step() {
    let many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
    for (orders, message) in [
        (json!([]), "event.keys: there is no key"),
        (json!(["a", ""]), "event.keys: a key is empty"),
        (json!(many), "event.keys: there are more than 100 keys"),
    ] {
        let flow = flow(&json!({ "event": { "trigger": "payments", "keys": ["${inputs.orders}"] } }));
        let mut run = Scenario::of(flow, &json!({ "orders": orders }));
        run.tick();
        let error = run.state.steps[0].error.as_ref().unwrap();
        assert_eq!(
            (error.reason, &*error.message),
            (StepReason::InvalidEventKeys, message)
        );
        assert_eq!(run.state.awaits_events, None);
    }
}

#[test]
fn the_first_of_a_callback_an_event_and_a_time_ends_the_wait() {
    let wait = json!({ "callback": {}, "duration": "1h", "event": { "trigger": "payments", "keys": ["a"] } });
    let start = || {
        let mut run = Scenario::of(flow(&wait), &json!({}));
        run.tick();
        run
    };
    let call = |run: &mut Scenario| {
        let record = CallbackRecord {
            received_at: MicroTime(run.now),
            sha256: Digest::of(b"{}"),
            webhook_id: None,
            body: json!({}).into(),
        };
        run.state.callbacks.insert("w.1".into(), record);
    };
    let event = |run: &mut Scenario| {
        let record = EventRecord {
            received_at: MicroTime(run.now),
            name: "f-1".into(),
            body: Some(json!({ "amount": 1 }).into()),
        };
        run.state.events.insert("w.1".into(), record);
    };
    for (expected, first, second) in [
        (StepOutcome::Callback, Some(&call as &dyn Fn(&mut Scenario)), None),
        (StepOutcome::Event, Some(&event), None),
        (
            StepOutcome::Callback,
            Some(&call),
            Some(&event as &dyn Fn(&mut Scenario)),
        ),
        (StepOutcome::Event, Some(&event), Some(&call)),
        (StepOutcome::Elapsed, None, None),
    ] {
        let mut run = start();
        if let Some(first) = first {
            first(&mut run);
        }
        run.now += SignedDuration::from_secs(1);
        if let Some(second) = second {
            second(&mut run);
        }
        run.pass(3_600);
        assert_eq!(run.steps()[0].3, Some(expected));
    }
    let waiting = start();
    let told = waiting.state.waiting_on.unwrap();
    assert!(
        told.starts_with("a callback, or an event of trigger payments, or 20"),
        "{told}"
    );
}

#[test]
fn a_wait_for_an_event_times_out_as_others_do() {
    let wait = json!({ "event": { "trigger": "payments", "keys": ["a"] }, "respondWithin": "1m" });
    let mut run = Scenario::of(flow(&wait), &json!({}));
    run.tick().pass(60);
    assert_eq!(run.state.phase, RunPhase::TimedOut);
    assert_eq!(
        run.state.error.as_ref().unwrap().message,
        "step w: no event came in time"
    );
    assert!(!offer(&mut run, "a", "f-1", &json!({ "amount": 1 })));
    assert_eq!(standing(&run.state, "w.1", "f-1"), Standing::Over);
}

#[test]
fn each_item_takes_an_event_of_its_own() {
    let mut flow = flow(&json!({ "event": { "trigger": "payments", "keys": ["${item}"] } }));
    flow["steps"][0]["forEach"] = json!({ "items": ["a", "b", "a"] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    for (key, name, amount) in [("b", "f-1", 1), ("a", "f-2", 2), ("a", "f-3", 3)] {
        assert!(offer(&mut run, key, name, &json!({ "amount": amount })));
    }
    assert!(!offer(&mut run, "a", "f-4", &json!({ "amount": 4 })));
    let output = &run.state.steps[0].output.as_ref().unwrap().0;
    assert_eq!(
        *output,
        json!([{ "amount": 2 }, { "amount": 1 }, { "amount": 3 }])
    );
}

#[test]
fn what_a_wait_took_is_known_until_later_passes_begin() {
    let mut flow = flow(&json!({ "event": { "trigger": "payments", "keys": ["a"] } }));
    flow["steps"][0]["repeat"] = json!({ "until": "${steps.w.pass == 4}" });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    assert_eq!(standing(&run.state, "w.1", "f-1"), Standing::Open);
    for pass in 1..=3 {
        assert!(offer(
            &mut run,
            "a",
            &format!("f-{pass}"),
            &json!({ "amount": pass })
        ));
        forget_ended(&mut run.state);
    }
    assert_eq!(standing(&run.state, "w.1", "f-1"), Standing::Forgotten);
    assert_eq!(standing(&run.state, "w.3", "f-3"), Standing::Taken);
    assert_eq!(standing(&run.state, "w.3", "f-4"), Standing::Over);
    assert_eq!(standing(&run.state, "w.4", "f-4"), Standing::Open);
    assert!(run.state.events.values().all(|record| record.body.is_none()));
}

#[test]
fn a_wait_names_a_webhook_with_a_key_of_its_flow() {
    let event = |trigger: &str| json!({ "event": { "trigger": trigger, "keys": ["a"] } });
    for (wait, field, message) in [
        (
            event("paymnets"),
            "trigger",
            "the flow has no trigger paymnets; did you mean payments?",
        ),
        (
            event("plain"),
            "trigger",
            "the webhook of trigger plain has no key",
        ),
        (
            event("nightly"),
            "trigger",
            "trigger nightly is no webhook, so no event comes by it",
        ),
        (
            json!({ "event": { "trigger": "payments", "keys": ["${1.5 > 1.0 ? {'a': 1} : {'b': 2}}"] } }),
            "keys[0]",
            "a key is a text or a list of texts, not map(string, int)",
        ),
        (
            json!({ "event": { "trigger": "payments", "keys": ["a"], "when": "${body.amuont > 1.0}" } }),
            "when",
            "there is no field amuont",
        ),
    ] {
        let found = problems(&wait);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, format!("steps[0].wait.event.{field}"));
        assert!(found[0].1.contains(message) || field == "when", "{found:?}");
    }
    let other = json!({ "event": { "flow": "shop", "trigger": "anything", "keys": ["a"] } });
    assert_eq!(problems(&other), vec![]);
}

#[test]
fn a_condition_sees_the_body_as_the_schema_declares_it() {
    let wait = json!({ "event": { "trigger": "payments", "keys": ["a"], "when": "${body.amount * 2.0 > 5.0 && headers[?'x-kind'].orValue('') == 'paid'}" } });
    assert_eq!(problems(&wait), vec![]);
    let definition: Definition = serde_json::from_value(flow(&wait)).unwrap();
    let event = definition.steps[0].kind.as_kind().event().unwrap();
    let headers = BTreeMap::from([("x-kind".to_owned(), "paid".to_owned())]);
    assert_eq!(
        accepts(&definition, event, &headers, &json!({ "amount": 3 })),
        Ok(true)
    );
    assert_eq!(
        accepts(&definition, event, &headers, &json!({ "amount": 2 })),
        Ok(false)
    );
    let without = accepts(&definition, event, &BTreeMap::new(), &json!({ "amount": 3 }));
    assert_eq!(without, Ok(false));
}

/// Whether events of trigger `payments` are kept for a run.
fn expects(run: &Scenario) -> bool {
    let may = may_await((&run.plan, "f"), &run.state, ("f", "payments"));
    assert!(!may_await((&run.plan, "f"), &run.state, ("f", "plain")));
    assert!(!may_await((&run.plan, "f"), &run.state, ("g", "payments")));
    // there is one trigger that steps wait for
    assert_eq!(run.state.may_await_events, may.then_some(true));
    may
}

#[test]
fn events_are_kept_for_a_run_until_its_wait_begins() {
    let mut flow = flow(&json!({ "event": { "trigger": "payments", "keys": ["a"] } }));
    let wait = flow["steps"][0].take();
    flow["steps"] = json!([call("order"), wait]);
    let mut run = Scenario::of(flow.clone(), &json!({}));
    run.tick();
    assert!(expects(&run));
    run.answer("order", 200, json!({})).tick();
    assert_eq!(run.state.awaits_events, Some(true));
    assert!(!expects(&run));
    // a wait that is skipped, and one that comes after the end of the run
    flow["steps"][1]["when"] = json!("${steps.order.output == 'x'}");
    let mut run = Scenario::of(flow, &json!({}));
    run.tick().answer("order", 200, json!("y")).tick();
    assert!(!expects(&run));
}

#[test]
fn events_are_kept_for_each_pass_and_each_item_that_may_come() {
    let wait = json!({ "event": { "trigger": "payments", "keys": ["a"] } });
    let mut looped = flow(&wait);
    looped["steps"][0]["repeat"] = json!({ "until": "${steps.w.pass == 2}" });
    let mut run = Scenario::of(looped, &json!({}));
    run.tick();
    assert!(expects(&run));
    assert!(offer(&mut run, "a", "f-1", &json!({ "amount": 1 })));
    assert!(expects(&run));
    assert!(offer(&mut run, "a", "f-2", &json!({ "amount": 1 })));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert!(!expects(&run));
    let mut items = flow(&wait);
    items["steps"][0]["forEach"] = json!({ "items": [1, 2], "maxParallel": 1 });
    let mut run = Scenario::of(items, &json!({}));
    run.tick();
    assert!(expects(&run));
    assert!(offer(&mut run, "a", "f-1", &json!({ "amount": 1 })));
    assert!(offer(&mut run, "a", "f-2", &json!({ "amount": 1 })));
    assert!(!expects(&run));
}

#[test]
fn steps_that_begin_to_wait_are_told_by_the_hashes_of_their_events() {
    let wait = json!({ "event": { "trigger": "payments", "keys": ["a", "b"] } });
    let mut run = Scenario::of(flow(&wait), &json!({}));
    run.tick();
    let both = ["a", "b"].map(|key| names::event_key("f", "payments", key));
    assert_eq!(begun(None, &run.state), both.into());
    assert!(begun(Some(&run.state), &run.state).is_empty());
}
