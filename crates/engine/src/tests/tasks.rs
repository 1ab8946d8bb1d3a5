//! `task` steps: queued, answered, lost, late, stopped; and what workers may write.

#![allow(
    clippy::needless_pass_by_value,
    reason = "values that a test writes down are handed over"
)]

use super::*;
use crate::work::Lost;
use signoff_api::{
    WorkItemPhase, WorkItemSpec,
    work_item::{WorkAnswer, WorkError},
};

fn flow(task: Value, retry: Value) -> Value {
    let mut step = json!({ "name": "code", "task": task });
    if !retry.is_null() {
        step["retry"] = retry;
    }
    json!({ "steps": [step, { "name": "after", "set": { "v": "${steps.code.?output.branch.orValue('none')}" } }] })
}

/// Sets the fields of one object in another one.
fn merge(into: &mut Value, more: &Value) {
    for (name, value) in more.as_object().into_iter().flatten() {
        if into[name].is_object() && value.is_object() {
            merge(&mut into[name], value);
        } else {
            into[name] = value.clone();
        }
    }
}

fn problems(step: Value) -> Vec<String> {
    let definition: Definition = serde_json::from_value(json!({ "steps": [step] })).unwrap();
    let problems = Plan::compile(&definition).err().unwrap_or_default();
    problems
        .into_iter()
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect()
}

impl Scenario {
    /// The tasks that were queued in this turn.
    fn queued(&self) -> Vec<WorkItemSpec> {
        let opened = self.effects.iter().filter_map(|effect| match effect {
            Effect::Open(OwnedObject::WorkItem(open)) => Some(open.spec.clone()),
            Effect::Open(_) | Effect::Call(_) | Effect::Close(_) | Effect::Abort(_) => None,
        });
        opened.collect()
    }

    /// Says how the only task stands, and decides.
    fn task_is(&mut self, change: impl FnOnce(&mut crate::facts::WorkFact)) {
        let tasks = self.facts.objects.values_mut();
        let mut tasks = tasks.filter_map(|fact| match fact {
            ObjectFact::WorkItem(work) => Some(work),
            ObjectFact::Approval(_) | ObjectFact::Run(_) | ObjectFact::Job(_) | ObjectFact::Process(_) => {
                None
            }
        });
        change(tasks.next().expect("a task was queued"));
        self.tick();
    }
}

#[test]
fn a_task_is_queued_and_its_result_is_the_output() {
    let task = json!({ "queue": "coders", "input": { "n": "${inputs.n}" }, "instructions": "Fix ${inputs.n}.", "respondWithin": "1h" });
    let mut run = Scenario::of(flow(task, json!({ "attempts": 3 })), &json!({ "n": 81 }));
    run.tick();
    let queued = run.queued();
    assert_eq!(queued.len(), 1);
    let spec = &queued[0];
    assert_eq!(
        (spec.queue.as_str(), spec.attempts, spec.heartbeat.as_str()),
        ("coders", 3, "5m")
    );
    assert_eq!(spec.input.as_ref().unwrap().0, json!({ "n": 81 }));
    assert_eq!(spec.instructions.as_deref(), Some("Fix 81."));
    assert_eq!(
        spec.expires_at.as_ref().unwrap().0,
        run.now + SignedDuration::from_hours(1)
    );
    assert_eq!(run.state.phase, RunPhase::Waiting);
    assert_eq!(run.state.billable_steps, 1);
    assert!(
        run.state
            .waiting_on
            .as_ref()
            .unwrap()
            .starts_with("a worker of queue coders (code)")
    );
    assert_eq!(run.wake_at, None, "the controller of tasks has the clock");
    run.tick();
    assert!(run.queued().is_empty(), "it is there");
    run.task_is(|work| {
        work.phase = WorkItemPhase::Succeeded;
        work.worker = Some("bot".into());
        work.result = Some(json!({ "branch": "fix" }).into());
    });
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.steps[0].worker.as_deref(), Some("bot"));
    assert_eq!(
        run.state.steps[1].output.as_ref().unwrap().0,
        json!({ "v": "fix" })
    );
    assert_eq!(run.state.billable_steps, 1);
}

#[test]
fn a_task_that_failed_or_was_lost_fails_the_step_with_its_reason() {
    for (is_lost, reason) in [(false, StepReason::TaskFailed), (true, StepReason::LeaseLost)] {
        let mut run = Scenario::of(flow(json!({ "queue": "q" }), Value::Null), &json!({}));
        run.tick();
        run.task_is(|work| {
            work.phase = WorkItemPhase::Failed;
            work.message = Some("no disk".into());
            work.is_lost = is_lost;
        });
        assert_eq!(run.state.phase, RunPhase::Failed);
        let error = run.state.error.as_ref().unwrap();
        assert_eq!(
            (error.reason, error.message.as_str()),
            (reason, "step code: no disk")
        );
    }
}

#[test]
fn a_task_that_nobody_did_in_time_ends_the_run_or_lets_it_go_on() {
    let late =
        |outcome: &str| json!({ "queue": "q", "respondWithin": "1h", "onTimeout": { "outcome": outcome } });
    let mut run = Scenario::of(flow(late("Fail"), Value::Null), &json!({}));
    run.tick();
    run.task_is(|work| work.phase = WorkItemPhase::Expired);
    assert_eq!(run.state.phase, RunPhase::TimedOut);
    let mut run = Scenario::of(flow(late("Continue"), Value::Null), &json!({}));
    run.tick();
    run.task_is(|work| work.phase = WorkItemPhase::Expired);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.steps[0].outcome, Some(StepOutcome::TimedOut));
}

#[test]
fn a_task_is_closed_when_its_run_is_cancelled_and_queued_again_when_it_was_deleted() {
    let mut run = Scenario::of(flow(json!({ "queue": "q" }), Value::Null), &json!({}));
    run.tick();
    let name = run.state.steps[0].task.clone().unwrap();
    run.facts.objects.clear();
    run.tick();
    assert_eq!(run.queued().len(), 1, "somebody deleted it");
    run.facts.run.cancel = true;
    run.tick();
    let key = ObjectKey::work_item(&name);
    let closes = |effect: &Effect| matches!(effect, Effect::Close(close) if close.key == key);
    assert!(run.effects.iter().any(closes), "{:?}", run.effects);
    assert_eq!(run.state.phase, RunPhase::Cancelled);
}

#[test]
fn each_item_has_a_task_of_its_own() {
    let step = json!({ "name": "code", "forEach": { "items": "${inputs.all}", "maxParallel": 2 },
        "task": { "queue": "q", "input": "${item}" } });
    let mut run = Scenario::of(
        json!({ "steps": [step], "output": { "all": "${steps.code.output}" } }),
        &json!({ "all": [1, 2, 3] }),
    );
    run.tick();
    let mut seen: Vec<i64> = run.queued().iter().filter_map(|spec| spec.item).collect();
    assert_eq!(seen, [0, 1]);
    for _ in 0..3 {
        let open = run.facts.objects.values_mut().find_map(|fact| match fact {
            ObjectFact::WorkItem(work) if !work.phase.is_closed() => Some(work),
            _ => None,
        });
        let work = open.unwrap();
        work.phase = WorkItemPhase::Succeeded;
        work.result = Some(json!(work.item.unwrap() * 10).into());
        run.tick();
        seen.extend(run.queued().iter().filter_map(|spec| spec.item));
    }
    assert_eq!(seen, [0, 1, 2]);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(
        run.state.output.as_ref().unwrap().0,
        json!({ "all": [0, 10, 20] })
    );
    assert_eq!(run.state.billable_steps, 3);
}

#[test]
fn what_a_task_cannot_say_is_refused_when_its_release_is_cut() {
    let with = |more: Value| {
        let mut step = json!({ "name": "a", "task": { "queue": "q" } });
        merge(&mut step, &more);
        problems(step)
    };
    assert_eq!(with(json!({})), Vec::<String>::new());
    assert_eq!(with(json!({ "retry": { "attempts": 3 } })), Vec::<String>::new());
    for (more, path) in [
        (
            json!({ "task": { "heartbeat": "59s" } }),
            "steps[0].task.heartbeat",
        ),
        (
            json!({ "task": { "onTimeout": { "outcome": "Continue" } } }),
            "steps[0].task.onTimeout",
        ),
        (
            json!({ "task": { "heartbeat": "61m" } }),
            "steps[0].task.heartbeat",
        ),
        (
            json!({ "task": { "schema": { "type": 7 } } }),
            "steps[0].task.schema",
        ),
        (
            json!({ "retry": { "attempts": 2, "backoff": { "initial": "5s" } } }),
            "steps[0].retry.backoff",
        ),
        (
            json!({ "retry": { "attempts": 2, "when": "${true}" } }),
            "steps[0].retry.when",
        ),
        (json!({ "timeout": "5s" }), "steps[0].timeout"),
        (json!({ "delivery": "AtMostOnce" }), "steps[0].delivery"),
    ] {
        let found = with(more.clone());
        assert!(
            found.iter().any(|problem| problem.starts_with(path)),
            "{more}: {found:?}"
        );
    }
}

#[test]
fn the_output_has_the_type_of_the_schema() {
    let task = json!({ "queue": "q", "schema": { "type": "object", "required": ["branch"], "properties": { "branch": { "type": "string" } }, "additionalProperties": false } });
    let with = |read: &str| {
        let steps = json!([{ "name": "code", "task": task }, { "name": "s", "set": { "v": read } }]);
        let definition: Definition = serde_json::from_value(json!({ "steps": steps })).unwrap();
        Plan::compile(&definition).err().unwrap_or_default().len()
    };
    assert_eq!(with("${steps.code.output.branch + '!'}"), 0);
    assert_eq!(with("${steps.code.output.brunch}"), 1);
    assert_eq!(with("${steps.code.output.branch + 1}"), 1);
}

fn spec(attempts: i64, schema: Value) -> WorkItemSpec {
    serde_json::from_value(json!({ "run": "r", "flow": "f", "step": "s", "iteration": 1, "queue": "q",
        "heartbeat": "5m", "attempts": attempts, "schema": schema, "expiresAt": "2027-01-15T09:00:00.000000Z" }))
    .unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn result(value: Value) -> WorkAnswer {
    WorkAnswer {
        result: Some(value.into()),
        error: None,
    }
}

fn error(retryable: bool) -> WorkAnswer {
    WorkAnswer {
        result: None,
        error: Some(WorkError {
            message: "no disk".into(),
            retryable,
        }),
    }
}

#[test]
fn a_task_is_one_workers_at_a_time() {
    let spec = spec(2, json!({}));
    let queued = WorkItemStatus::default();
    let claimed = work::claim(&spec, &queued, "a", at(0)).unwrap();
    assert_eq!(
        (claimed.claim, claimed.lease_until.as_ref().unwrap().0),
        (1, at(300))
    );
    assert_eq!(
        work::claim(&spec, &claimed, "b", at(1)),
        Err(Lost::Taken("a".into()))
    );
    assert_eq!(work::owns(&claimed, "a", 1), Ok(()));
    assert_eq!(work::owns(&claimed, "b", 1), Err(Lost::Taken("a".into())));
    let judged = work::judge(&spec, &claimed, at(0), None, at(299));
    assert_eq!(judged, claimed, "nothing has happened");
    let lost = work::judge(&spec, &claimed, at(0), None, at(300));
    assert_eq!(
        (lost.phase, lost.failures, lost.worker.clone()),
        (WorkItemPhase::Queued, 1, None)
    );
    let again = work::claim(&spec, &lost, "a", at(301)).unwrap();
    assert_eq!(
        work::owns(&again, "a", 1),
        Err(Lost::Renewed(2)),
        "the first claim of the same worker is over"
    );
    let gone = work::judge(&spec, &again, at(301), None, at(700));
    assert_eq!((gone.phase, gone.failures), (WorkItemPhase::Failed, 2));
    assert!(work::fact(&spec, &gone).is_lost);
    assert!(gone.message.unwrap().contains("worker a"));
}

#[test]
fn a_worker_whose_clock_is_ahead_keeps_a_task_no_longer() {
    let spec = spec(2, json!({}));
    let mut claimed = work::claim(&spec, &WorkItemStatus::default(), "a", at(86_400)).unwrap();
    assert_eq!(work::lease_end(&spec, &claimed, at(10)), Some(at(310)));
    claimed.lease_until = None;
    assert_eq!(work::lease_end(&spec, &claimed, at(10)), Some(at(310)));
    let renewed = work::renew(&spec, &claimed, Some("half\nof it"), at(20));
    assert_eq!(work::lease_end(&spec, &renewed, at(20)), Some(at(320)));
    assert_eq!(renewed.progress.as_deref(), Some("half␊of it"));
}

#[test]
fn an_answer_ends_a_task_or_is_given_back() {
    let spec = spec(1, json!({ "type": "object", "required": ["branch"] }));
    let claimed = work::claim(&spec, &WorkItemStatus::default(), "a", at(0)).unwrap();
    let judged = |status: &WorkItemStatus, answer| {
        work::judge(&spec, &work::answer(status, answer), at(0), None, at(1))
    };
    let done = judged(&claimed, result(json!({ "branch": "b" })));
    assert_eq!(done.phase, WorkItemPhase::Succeeded);
    assert_eq!(
        work::fact(&spec, &done).result.unwrap().0,
        json!({ "branch": "b" })
    );
    assert!(signoff_api::condition::get(&done.conditions, work::COMPLETE).is_some());
    let mut bad = claimed;
    for time in 1..=4 {
        bad = judged(&bad, result(json!({ "brunch": "b" })));
        assert_eq!(
            (bad.phase, bad.given_back, bad.answer.clone()),
            (WorkItemPhase::Claimed, time, None)
        );
        assert!(bad.problem.as_ref().unwrap().contains("branch"), "{bad:?}");
        assert_eq!(work::owns(&bad, "a", 1), Ok(()), "it may try again");
    }
    assert_eq!(
        judged(&bad, result(json!({ "branch": "b" }))).phase,
        WorkItemPhase::Succeeded
    );
    let failed = judged(&bad, result(json!([])));
    assert_eq!(failed.phase, WorkItemPhase::Failed);
    assert!(!work::fact(&spec, &failed).is_lost);
}

#[test]
fn a_failure_is_tried_again_only_if_the_worker_says_so() {
    let spec = spec(2, json!({}));
    let claimed = work::claim(&spec, &WorkItemStatus::default(), "a", at(0)).unwrap();
    let judged = |status: &WorkItemStatus, answer| {
        work::judge(&spec, &work::answer(status, answer), at(0), None, at(1))
    };
    assert_eq!(judged(&claimed, error(false)).phase, WorkItemPhase::Failed);
    let again = judged(&claimed, error(true));
    assert_eq!(
        (again.phase, again.failures, again.message.as_deref()),
        (WorkItemPhase::Queued, 1, Some("no disk"))
    );
    let second = work::claim(&spec, &again, "b", at(2)).unwrap();
    let failed = judged(&second, error(true));
    assert_eq!(failed.phase, WorkItemPhase::Failed);
    assert_eq!(failed.message.as_deref(), Some("no disk (attempt 2 of 2)"));
    let back = work::give_back(&second);
    assert_eq!(
        (back.phase, back.failures, back.claim),
        (WorkItemPhase::Queued, 1, 2),
        "that is no failure"
    );
}

#[test]
fn an_answer_that_is_there_counts_and_otherwise_the_time_is_over() {
    let spec = spec(5, json!({}));
    let late = at(3_600);
    let queued = WorkItemStatus::default();
    assert_eq!(
        work::judge(&spec, &queued, at(0), None, late).phase,
        WorkItemPhase::Expired
    );
    let claimed = work::claim(&spec, &queued, "a", at(3_500)).unwrap();
    assert_eq!(
        work::judge(&spec, &claimed, at(3_500), None, late).phase,
        WorkItemPhase::Expired
    );
    let answered = work::answer(&claimed, result(json!(1)));
    assert_eq!(
        work::judge(&spec, &answered, at(3_500), None, late).phase,
        WorkItemPhase::Succeeded
    );
    assert_eq!(work::next_look(&spec, &claimed, at(3_500)), Some(late));
    let over = work::cancelled(&claimed, "the run was cancelled", None, late);
    assert_eq!(
        work::judge(&spec, &over, at(0), None, late),
        over,
        "what is over stays so"
    );
    assert_eq!(
        work::owns(&over, "a", 1),
        Err(Lost::Over(WorkItemPhase::Cancelled))
    );
    assert_eq!(work::next_look(&spec, &over, at(0)), None);
}

proptest::proptest! {
    /// Whatever workers and clocks do: a task has at most one worker, a claim's number never comes again, failures never
    /// exceed the attempts, and what is over stays over.
    #[test]
    fn a_task_is_never_two_workers(acts in proptest::collection::vec((0_u8..7, 0_u8..3), 1..60), attempts in 1_i64..4) {
        let spec = spec(attempts, json!({ "type": "integer" }));
        let (mut status, mut now, mut seen) = (WorkItemStatus::default(), 0_i64, 0_i64);
        // what each worker believes to have
        let mut beliefs: [Option<i64>; 3] = [None; 3];
        for (act, who) in acts {
            let name = format!("w{who}");
            let slot = usize::from(who);
            let before = status.clone();
            match act {
                0 => if let Ok(claimed) = work::claim(&spec, &status, &name, at(now)) {
                    proptest::prop_assert!(claimed.claim > before.claim);
                    beliefs[slot] = Some(claimed.claim);
                    (status, seen) = (claimed, now);
                },
                1..=4 => if let Some(claim) = beliefs[slot] && work::owns(&status, &name, claim).is_ok() {
                    proptest::prop_assert_eq!(status.worker.as_ref(), Some(&name));
                    let answer = |answer| work::answer(&status, answer);
                    status = match act {
                        1 => { seen = now; work::renew(&spec, &status, None, at(now)) }
                        2 => answer(result(json!(1))),
                        3 => answer(result(json!("no"))),
                        _ => answer(error(true)),
                    };
                },
                5 => if let Some(claim) = beliefs[slot] && work::owns(&status, &name, claim).is_ok() {
                    status = work::give_back(&status);
                },
                _ => now += 200,
            }
            let judged = work::judge(&spec, &status, at(seen), None, at(now));
            if before.phase.is_closed() {
                proptest::prop_assert_eq!(&judged, &before);
            }
            proptest::prop_assert!(judged.failures <= attempts);
            proptest::prop_assert!(judged.claim >= before.claim);
            proptest::prop_assert_eq!(judged.phase == WorkItemPhase::Queued, judged.worker.is_none() && !judged.phase.is_closed());
            status = judged;
        }
    }
}
