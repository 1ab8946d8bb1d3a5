//! Scenarios: given a flow, what happens, and what is decided then.

mod connections;
mod endings;
mod properties;
mod transcripts;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    advance::{Advance, advance},
    callback_token::{CallbackKeys, CallbackMinter},
    effect::{Effect, EffectKey, HttpEffect, OpenApproval},
    facts::{
        ApprovalFact, ConnectionFact, EffectError, EffectOutcome, Facts, HttpResponse, ReleaseFacts, RunFacts,
    },
    plan::Plan,
};
use signoff_api::{
    ApprovalPhase, Definition, Digest, RunPhase, RunStatus,
    approval::ApprovalStatus,
    json::JsonObject,
    reason::StepReason,
    run::{CallbackRecord, StepOutcome, StepPhase},
};

/// A run with a clock that stands still until it is moved.
struct Scenario {
    plan: Plan,
    state: RunStatus,
    facts: Facts,
    now: Timestamp,
    effects: Vec<Effect>,
    wake_at: Option<Timestamp>,
}

impl Scenario {
    fn of(definition: Value, inputs: &Value) -> Self {
        let definition: Definition = serde_json::from_value(definition).unwrap();
        let keys = CallbackKeys::new("k1", [("k1".to_owned(), vec![7; 32])].into()).unwrap();
        let facts = Facts {
            run: RunFacts {
                namespace: "default".into(),
                name: "r".into(),
                uid: "u".into(),
                generation: Some(1),
                requested_by: Some("dev".into()),
                inputs: JsonObject(inputs.as_object().cloned().unwrap()),
                cancel: false,
                suspend: false,
            },
            release: ReleaseFacts {
                name: "f-1".into(),
                flow: "f".into(),
                digest: Digest::of(b"1"),
                commit: None,
                author: None,
                repository: None,
            },
            approvals: BTreeMap::new(),
            refused: BTreeMap::new(),
            unopened: BTreeMap::new(),
            outcomes: vec![],
            in_flight: BTreeSet::new(),
            connections: BTreeMap::new(),
            callbacks: CallbackMinter {
                base_url: "http://gateway".into(),
                keys,
            },
        };
        let plan = Plan::compile(&definition).unwrap();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        Self {
            plan,
            state: RunStatus::default(),
            facts,
            now,
            effects: vec![],
            wake_at: None,
        }
    }

    /// Decides once, as the controller does: what was asked for is under way afterwards, what was heard is forgotten.
    fn tick(&mut self) -> &mut Self {
        let Advance {
            state,
            effects,
            wake_at,
        } = advance(&self.plan, &self.state, &self.facts, self.now);
        self.state = state;
        self.wake_at = wake_at;
        self.facts.outcomes.clear();
        for effect in &effects {
            match effect {
                Effect::Http(http) => {
                    self.facts.in_flight.insert(http.key.clone());
                }
                Effect::OpenApproval(open) => {
                    let fact = ApprovalFact {
                        digest: open.spec.digest.clone(),
                        status: ApprovalStatus::default(),
                    };
                    self.facts.approvals.insert(open.name.clone(), fact);
                }
                Effect::CloseApproval(_) => {}
                Effect::Abort(key) => {
                    self.facts.in_flight.remove(key);
                }
            }
        }
        self.effects = effects;
        let again = advance(&self.plan, &self.state, &self.facts, self.now);
        assert_eq!(again.state, self.state, "deciding again changes nothing");
        self
    }

    fn answer(&mut self, step: &str, status: u16, body: Value) -> &mut Self {
        let response = HttpResponse {
            status,
            headers: BTreeMap::new(),
            body,
        };
        self.outcome(step, Ok(response))
    }

    fn outcome(&mut self, step: &str, result: Result<HttpResponse, EffectError>) -> &mut Self {
        let key = self
            .facts
            .in_flight
            .iter()
            .find(|key| key.step == step)
            .cloned()
            .expect("the step is under way");
        self.facts.in_flight.remove(&key);
        self.facts.outcomes.push(EffectOutcome {
            key,
            at: self.now,
            result,
        });
        self.tick()
    }

    fn decide(&mut self, approval: &str, phase: ApprovalPhase) -> &mut Self {
        self.open(approval).phase = phase;
        self.tick()
    }

    /// The status of the question that is open, by its name without the hash.
    fn open(&mut self, approval: &str) -> &mut ApprovalStatus {
        self.facts
            .approvals
            .iter_mut()
            .filter(|(name, fact)| is_called(name, approval) && fact.status.phase == ApprovalPhase::Pending)
            .map(|(_, fact)| &mut fact.status)
            .next()
            .expect("the approval is open")
    }

    fn restart(&mut self) -> &mut Self {
        self.facts.in_flight.clear();
        self.tick()
    }

    fn pass(&mut self, seconds: i64) -> &mut Self {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        self.tick()
    }

    fn http(&self) -> Vec<&HttpEffect> {
        self.effects
            .iter()
            .filter_map(|effect| {
                if let Effect::Http(http) = effect {
                    Some(&**http)
                } else {
                    None
                }
            })
            .collect()
    }

    fn steps(&self) -> Vec<(&str, i64, StepPhase, Option<StepOutcome>)> {
        self.state
            .steps
            .iter()
            .map(|step| (step.name.as_str(), step.iteration, step.phase, step.outcome))
            .collect()
    }
}

/// Whether a name is this one and a hash.
/// Whether a question is called so, or so but for the hash at its end.
fn is_called(name: &str, readable: &str) -> bool {
    let hash = name
        .strip_prefix(readable)
        .and_then(|rest| rest.strip_prefix('-'));
    name == readable
        || hash.is_some_and(|hash| hash.len() == 10 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn call(name: &str) -> Value {
    json!({ "name": name, "http": { "url": format!("http://shop/{name}"), "method": "POST" } })
}

fn refund() -> Value {
    json!({
        "inputs": { "type": "object", "properties": { "amount": { "type": "number" } } },
        "steps": [
            { "name": "propose", "http": { "url": "http://shop/quote", "body": { "amount": "${inputs.amount}", "why": "${steps.review.decision}" } } },
            { "name": "review", "when": "${inputs.amount > 100}", "approval": {
                "title": "Refund ${inputs.amount}", "show": [{ "name": "quote", "value": "${steps.propose.output}" }],
                "approvers": { "groups": ["finance"] }, "changes": { "backTo": "propose", "max": 1 } } },
            { "name": "pay", "delivery": "AtMostOnce", "http": { "url": "http://shop/pay", "body": { "callback": "${callback('settled').url}" } } },
            { "name": "settled", "wait": { "callback": {} } },
        ],
        "output": { "receipt": "${steps.settled.output.receipt}" },
    })
}

#[test]
fn a_run_goes_from_call_to_question_to_call_to_callback_to_its_end() {
    let mut run = Scenario::of(refund(), &json!({ "amount": 250 }));
    run.tick();
    assert_eq!(run.http()[0].body, Some(json!({ "amount": 250, "why": null })));
    run.answer("propose", 200, json!({ "fee": 2 }));
    assert_eq!(
        (run.state.phase, run.state.waiting_on.as_deref()),
        (RunPhase::Waiting, Some("finance to decide “Refund 250”"))
    );
    run.decide("r-review", ApprovalPhase::Approved);
    let pay = run.http()[0].clone();
    assert!(pay.fenced);
    run.answer("pay", 200, Value::Null);
    assert_eq!(run.state.waiting_on.as_deref(), Some("a callback (settled)"));
    let record = CallbackRecord {
        received_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(run.now),
        sha256: Digest::of(b"{}"),
        body: json!({ "receipt": "R1" }).into(),
    };
    run.state.callbacks.insert("settled.1".into(), record);
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.output.as_ref().unwrap().0, json!({ "receipt": "R1" }));
    assert_eq!(run.state.billable_steps, 2);
    let url = pay.body.unwrap()["callback"].as_str().unwrap().to_owned();
    let token = url.strip_prefix("http://gateway/v1/callbacks/").unwrap();
    assert_eq!(run.facts.callbacks.keys.verify(token).unwrap().step, "settled");
}

#[test]
fn a_condition_that_is_false_skips_the_step() {
    let mut run = Scenario::of(refund(), &json!({ "amount": 50 }));
    run.tick().answer("propose", 200, Value::Null);
    assert_eq!(
        run.steps()[1],
        ("review", 1, StepPhase::Skipped, Some(StepOutcome::Skipped))
    );
    assert_eq!(
        run.http()[0].key,
        EffectKey {
            step: "pay".into(),
            iteration: 1,
            attempt: 1
        }
    );
}

#[test]
fn a_request_for_changes_goes_back_until_there_are_too_many() {
    let mut run = Scenario::of(refund(), &json!({ "amount": 250 }));
    run.tick()
        .answer("propose", 200, json!(1))
        .decide("r-review", ApprovalPhase::ChangesRequested);
    assert_eq!(
        run.http()[0].key,
        EffectKey {
            step: "propose".into(),
            iteration: 2,
            attempt: 1
        }
    );
    run.answer("propose", 200, json!(2))
        .decide("r-review", ApprovalPhase::ChangesRequested);
    assert_eq!(run.state.phase, RunPhase::Failed);
    assert_eq!(
        run.state.error.as_ref().unwrap().reason,
        StepReason::TooManyChanges
    );
}

/// The question whether the step `pay` of a flow happened, after a crash.
fn outcome_question(flow: Value) -> OpenApproval {
    let mut run = Scenario::of(flow, &json!({ "amount": 50 }));
    run.tick();
    run.restart();
    let open = run.effects.iter().find_map(|effect| match effect {
        Effect::OpenApproval(open) => Some((**open).clone()),
        _ => None,
    });
    open.unwrap()
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
        json!({ "amount": 50, "tell": "http://gateway/v1/callbacks/(token of the callback of settled)" })
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
            if run.facts.approvals.keys().any(|known| is_called(known, name)) {
                run.decide(name, ApprovalPhase::Approved);
            }
        }
        run.restart();
        let open = run.effects.iter().find_map(|effect| match effect {
            Effect::OpenApproval(open) => Some((**open).clone()),
            _ => None,
        });
        let open = open.unwrap();
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

#[test]
fn failures_are_retried_with_growing_pauses_and_then_end_the_run() {
    let mut step = call("a");
    step["retry"] = json!({ "attempts": 3, "backoff": { "initial": "1s", "factor": 3, "max": "2s" } });
    let mut run = Scenario::of(json!({ "steps": [step] }), &json!({}));
    run.tick().answer("a", 500, json!("oops"));
    assert_eq!(
        run.wake_at.unwrap().duration_since(run.now),
        SignedDuration::from_secs(1)
    );
    run.pass(1).answer("a", 503, Value::Null);
    assert_eq!(
        run.wake_at.unwrap().duration_since(run.now),
        SignedDuration::from_secs(2)
    );
    run.pass(2).answer("a", 500, json!("oops"));
    assert_eq!(run.state.phase, RunPhase::Failed);
    assert_eq!(
        run.state.error.as_ref().unwrap().message,
        "step a: the response has status 500: oops (attempt 3 of 3)"
    );
}

#[test]
fn branches_run_side_by_side_and_a_failure_stops_the_others() {
    let mut last = call("c");
    last["needs"] = json!(["a", "b"]);
    let mut run = Scenario::of(json!({ "steps": [call("a"), call("b"), last] }), &json!({}));
    run.tick();
    assert_eq!(run.http().len(), 2);
    run.answer("a", 404, Value::Null);
    assert_eq!(run.state.phase, RunPhase::Failed);
    assert_eq!(
        run.effects,
        [Effect::Abort(EffectKey {
            step: "b".into(),
            iteration: 1,
            attempt: 1
        })]
    );
}

#[test]
fn waits_end_by_the_clock_or_time_out() {
    let flow = json!({ "steps": [
        { "name": "pause", "wait": { "duration": "1h" } },
        { "name": "answer", "wait": { "callback": {}, "respondWithin": "1m", "onTimeout": { "outcome": "Continue" } } },
        { "name": "last", "wait": { "callback": {}, "respondWithin": "1m" } },
    ] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick().pass(3_600);
    assert_eq!(run.steps()[0].3, Some(StepOutcome::Elapsed));
    run.pass(60);
    assert_eq!(run.steps()[1].3, Some(StepOutcome::TimedOut));
    run.pass(60);
    assert_eq!(run.state.phase, RunPhase::TimedOut);
}

#[test]
fn cancelling_stops_what_is_under_way_and_closes_the_question() {
    let mut run = Scenario::of(refund(), &json!({ "amount": 250 }));
    run.tick().answer("propose", 200, Value::Null);
    run.facts.run.cancel = true;
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Cancelled);
    assert!(matches!(&run.effects[..], [Effect::CloseApproval(close)] if is_called(&close.name, "r-review")));
}

#[test]
fn a_question_that_cannot_be_put_is_told_and_one_that_is_refused_for_good_fails_its_step() {
    let mut run = Scenario::of(refund(), &json!({ "amount": 250 }));
    run.tick().answer("propose", 200, json!(1));
    let name = run.facts.approvals.keys().next().unwrap().clone();
    let asked = |run: &Scenario| {
        let condition = signoff_api::condition::get(&run.state.conditions, "Asked")?;
        Some((condition.status.clone(), condition.message.clone()))
    };
    run.facts.approvals.clear();
    run.facts.unopened.insert(name.clone(), "no right".into());
    run.tick();
    assert!(matches!(&run.effects[..], [Effect::OpenApproval(open)] if open.name == name));
    assert_eq!(asked(&run), Some(("False".into(), "no right".into())));
    run.facts.unopened.clear();
    run.tick();
    assert_eq!(asked(&run), None);

    run.facts.approvals.clear();
    run.facts.refused.insert(name, "spec.title: too long".into());
    run.tick();
    let error = run.state.error.as_ref().unwrap();
    assert_eq!(
        (run.state.phase, error.reason),
        (RunPhase::Failed, StepReason::ApprovalRefused)
    );
    assert!(error.message.contains("spec.title: too long"), "{error:?}");
}

#[test]
fn an_output_that_is_nested_too_deeply_fails_its_step() {
    let mut run = Scenario::of(json!({ "steps": [call("a")] }), &json!({}));
    let deep: Value = serde_json::from_str(&format!("{}{}", "[".repeat(33), "]".repeat(33))).unwrap();
    run.tick().answer("a", 200, deep);
    let error = run.state.error.as_ref().unwrap();
    assert_eq!(error.reason, StepReason::OutputTooLarge);
    assert!(error.message.contains("nested more than 32"), "{error:?}");
}

#[test]
fn nothing_new_begins_while_a_run_is_suspended() {
    let mut run = Scenario::of(json!({ "steps": [call("a"), call("b")] }), &json!({}));
    run.tick();
    run.facts.run.suspend = true;
    run.answer("a", 200, Value::Null);
    assert!(run.effects.is_empty());
    run.facts.run.suspend = false;
    run.tick();
    assert_eq!(run.http()[0].key.step, "b");
}

#[test]
fn values_are_set_without_any_effect_and_too_large_ones_fail() {
    let flow = json!({ "steps": [
        { "name": "sum", "set": { "total": "${inputs.a + 1}", "text": "a=${inputs.a}, $${kept}" } },
        { "name": "big", "set": { "text": "${inputs.big}" } },
    ], "inputs": { "type": "object" } });
    let mut run = Scenario::of(flow, &json!({ "a": 1, "big": "x".repeat(70_000) }));
    run.tick();
    assert_eq!(
        run.state.steps[0].output.as_ref().unwrap().0,
        json!({ "total": 2, "text": "a=1, ${kept}" })
    );
    assert_eq!(
        run.state.error.as_ref().unwrap().reason,
        StepReason::OutputTooLarge
    );
}

#[test]
fn every_problem_of_a_definition_is_reported_with_its_place() {
    let definition: Definition = serde_json::from_value(json!({
        "inputs": { "type": "object", "properties": { "n": { "type": "number" } } },
        "steps": [
            { "name": "a", "when": "${inputs.n + 1}", "http": { "url": "http://x/${inputs.m}" } },
            { "name": "a", "set": { "v": { "deep": "${steps.later.output}" } } },
            { "name": "later", "when": "${inputs.n == 'x'}", "set": { "v": "${1 +}" } },
            { "name": "ask", "approval": { "title": "${secrets.x} ${callback('a').url}", "changes": { "backTo": "gone" } } },
        ],
    }))
    .unwrap();
    let problems = Plan::compile(&definition).unwrap_err();
    let told: Vec<(&str, &str)> = problems
        .iter()
        .map(|problem| (problem.field.as_str(), problem.message.as_str()))
        .collect();
    for expected in [
        ("steps[1].name", "there is another step a"),
        ("steps[0].when", "a condition is true or false, not a number"),
        ("steps[0].http.url", "there is no input m"),
        ("steps[1].set.v.deep", "step later is not done before this one"),
        ("steps[2].when", "a number and a string are never equal"),
        (
            "steps[3].approval.title",
            "callback('a'): there is no wait step a with a callback",
        ),
        ("steps[3].approval.changes.backTo", "there is no step gone"),
    ] {
        assert!(told.contains(&expected), "{expected:?} not in {told:#?}");
    }
    assert!(
        told.iter()
            .any(|(field, message)| *field == "steps[2].set.v" && message.starts_with("syntax error")),
        "{told:#?}"
    );
    assert!(
        told.iter()
            .any(|(_, message)| message.starts_with("there is no variable secrets")),
        "{told:#?}"
    );
}

#[test]
fn a_circle_of_needs_is_named() {
    let with = |name: &str, needs: &str| json!({ "name": name, "needs": [needs], "set": { "x": 1 } });
    let definition =
        serde_json::from_value(json!({ "steps": [with("a", "b"), with("b", "c"), with("c", "a")] })).unwrap();
    let problems = Plan::compile(&definition).unwrap_err();
    assert_eq!(
        problems[0].message,
        "the steps need each other in a circle: a needs b needs c needs a"
    );
}
