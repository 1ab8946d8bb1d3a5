//! Loops: `repeat` and `changes` on the same machinery.

use super::*;

fn poll(repeat: Value) -> Value {
    let mut repeat = repeat;
    repeat["until"] = json!("${steps.poll.output.done}");
    json!({
        "steps": [{ "name": "poll", "http": { "url": "http://x/job", "query": { "seen": "${string(steps.poll.pass)}" } }, "repeat": repeat }],
        "output": { "passes": "${steps.poll.pass}", "before": "${steps.poll.?previous.output.done.orValue('none')}" },
    })
}

fn done(run: &mut Scenario, done: bool) -> &mut Scenario {
    run.answer("poll", 200, json!({ "done": done }))
}

#[test]
fn a_poll_pauses_between_its_passes_and_wakes_by_itself() {
    let mut run = Scenario::of(poll(json!({ "every": "1h" })), &json!({}));
    done(run.tick(), false);
    assert_eq!(run.state.phase, RunPhase::Waiting);
    let at = "the next pass of the loop of step poll, at 2027-01-15T09:00:00Z";
    assert_eq!(run.state.waiting_on.as_deref(), Some(at));
    assert_eq!(run.wake_at, Some("2027-01-15T09:00:00Z".parse().unwrap()));
    let paused = run.state.clone();
    run.pass(3_599);
    assert_eq!(run.state, paused, "a pause changes nothing");
    run.pass(1);
    assert_eq!(run.http()[0].key.iteration, 2);
    assert_eq!(run.http()[0].idempotency_key, "u/poll/2");
    assert_eq!(request(run.http()[0]).query["seen"], ["2"]);
    done(&mut run, true);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(
        run.state.output.as_ref().unwrap().0,
        json!({ "passes": 2, "before": false })
    );
}

#[test]
fn only_the_newest_two_passes_are_kept_and_each_has_a_key_of_its_own() {
    let mut run = Scenario::of(poll(json!({})), &json!({}));
    run.tick();
    for pass in 1..=50 {
        assert_eq!(run.http()[0].key.iteration, pass);
        done(&mut run, pass == 50);
        assert!(run.state.steps.len() <= 2, "{:#?}", run.state.steps);
    }
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.output.as_ref().unwrap().0["passes"], 50);
    assert_eq!(run.state.billable_steps, 50);
}

#[test]
fn past_its_limit_a_loop_fails_its_last_step() {
    let mut run = Scenario::of(poll(json!({ "max": 2 })), &json!({}));
    done(done(run.tick(), false), false);
    assert_eq!(run.state.phase, RunPhase::Failed);
    let error = run.state.error.clone().unwrap();
    assert_eq!(error.reason, StepReason::RepeatLimit);
    assert_eq!(error.message, "step poll: the loop is not over after 2 passes");

    let mut flow = poll(json!({ "max": 2 }));
    flow["steps"][0]["onFailure"] = json!({ "outcome": "Continue" });
    let mut run = Scenario::of(flow, &json!({}));
    done(done(run.tick(), false), false);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.steps().last().unwrap().3, Some(StepOutcome::Failed));
}

#[test]
fn a_failure_that_is_expected_is_an_outcome_after_which_the_condition_is_read() {
    let flow = json!({ "steps": [{
        "name": "try", "http": { "url": "http://x/" }, "onFailure": { "outcome": "Continue" },
        "repeat": { "while": "${steps.try.outcome == 'Failed' && steps.try.error.reason == 'UnexpectedStatus'}", "every": "10s" },
    }] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick().answer("try", 404, Value::Null);
    assert_eq!(run.state.phase, RunPhase::Waiting);
    run.pass(10).answer("try", 200, Value::Null);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
}

#[test]
fn a_pass_in_which_the_last_step_is_skipped_is_the_last() {
    let flow = json!({ "steps": [
        { "name": "look", "http": { "url": "http://x/" } },
        { "name": "mend", "when": "${steps.look.output.broken}", "set": {}, "repeat": { "from": "look", "until": "${false}" } },
        { "name": "after", "set": {} },
    ] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick().answer("look", 200, json!({ "broken": true }));
    assert_eq!(run.http()[0].key.iteration, 2);
    run.answer("look", 200, json!({ "broken": false }));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.loops["mend"].pass, 2);
}

#[test]
fn the_pause_comes_from_data_and_may_not_be_too_short() {
    let flow = poll(json!({ "every": "${steps.poll.output.wait}" }));
    let mut run = Scenario::of(flow.clone(), &json!({}));
    run.tick()
        .answer("poll", 200, json!({ "done": false, "wait": "90s" }));
    assert_eq!(
        run.wake_at,
        run.now.checked_add(SignedDuration::from_secs(90)).ok()
    );
    for wrong in [json!("5"), json!("500ms"), json!(90)] {
        let mut run = Scenario::of(flow.clone(), &json!({}));
        run.tick()
            .answer("poll", 200, json!({ "done": false, "wait": wrong }));
        assert_eq!(run.state.error.as_ref().unwrap().reason, StepReason::InvalidTime);
    }
}

#[test]
fn what_comes_after_a_loop_runs_once_and_what_is_beside_is_stopped() {
    let flow = json!({ "steps": [
        { "name": "start", "needs": [], "http": { "url": "http://x/start" } },
        { "name": "note", "needs": ["start"], "wait": { "callback": {} } },
        { "name": "check", "needs": ["start"], "http": { "url": "http://x/check" },
            "repeat": { "from": "start", "until": "${steps.check.output.ok}" } },
        { "name": "ship", "needs": ["check"], "http": { "url": "http://x/ship" } },
    ] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick()
        .answer("start", 200, Value::Null)
        .answer("check", 200, json!({ "ok": false }));
    assert_eq!(run.http()[0].key.to_string(), "start.2.1");
    let note = run.state.steps.iter().find(|step| step.name == "note").unwrap();
    assert_eq!((note.phase, note.repeated), (StepPhase::Cancelled, Some(true)));
    run.answer("start", 200, Value::Null)
        .answer("check", 200, json!({ "ok": true }));
    assert_eq!(run.http()[0].key.to_string(), "ship.1.1");
    assert!(
        run.state
            .steps
            .iter()
            .any(|step| step.name == "note" && step.iteration == 2)
    );
}

#[test]
fn a_loop_within_another_is_entered_anew() {
    let flow = json!({ "steps": [
        { "name": "outer", "set": { "n": "${steps.outer.?previous.output.n.orValue(0) + 1}" } },
        { "name": "inner", "http": { "url": "http://x/" }, "repeat": { "until": "${steps.inner.pass == 2}", "max": 2 } },
        { "name": "end-of-outer", "set": {}, "repeat": { "from": "outer", "until": "${steps.outer.output.n == 3}" } },
    ] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    for call in 1..=6 {
        assert_eq!(run.http()[0].key.iteration, call);
        run.answer("inner", 200, Value::Null);
    }
    assert_eq!(run.state.phase, RunPhase::Succeeded);
}

/// Loops of `set` steps, each within the next, that are over after so many passes each.
fn nested(depth: usize, passes: i64) -> Value {
    let mut steps = vec![json!({ "name": "s", "set": { "x": 1 } })];
    steps.extend((0..depth).map(|n| {
        let until = format!("${{steps.l{n}.pass >= {passes}}}");
        json!({ "name": format!("l{n}"), "set": { "x": 1 }, "repeat": { "from": "s", "until": until, "max": passes } })
    }));
    json!({ "steps": steps })
}

/// Decides until nothing is left to do; the most iterations that a turn began.
fn worked_off(run: &mut Scenario) -> (usize, i64) {
    let newest = |run: &Scenario| {
        let of_step = |name: &String| {
            let entries = run.state.steps.iter().filter(|step| step.name == *name);
            entries.map(|step| step.iteration).max().unwrap_or_default()
        };
        run.plan.steps.iter().map(|step| of_step(&step.name)).sum::<i64>()
    };
    let (mut turns, mut most) = (0, 0);
    loop {
        let before = newest(run);
        run.tick();
        turns += 1;
        most = most.max(newest(run) - before);
        assert!(
            run.state.steps.len() <= 2 * run.plan.steps.len(),
            "old passes are kept"
        );
        if !run.has_more_to_do() {
            return (turns, most);
        }
    }
}

#[test]
fn a_turn_begins_a_bounded_number_of_steps_however_many_passes_are_due() {
    let mut run = Scenario::of(nested(2, 30), &json!({}));
    let (turns, most) = worked_off(&mut run);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    // 900 passes of two steps, and 30 steps between them
    assert_eq!(turns, 1_830_usize.div_ceil(256));
    assert!(most <= 256, "{most}");
    let last = run.state.steps.iter().rfind(|step| step.name == "l0").unwrap();
    assert_eq!(last.iteration, 900);
}

#[test]
fn a_loop_that_is_not_over_is_cancelled_at_the_next_turn_and_held_while_suspended() {
    for terminate in [false, true] {
        let mut run = Scenario::of(nested(2, 100), &json!({}));
        run.tick();
        assert!(run.has_more_to_do());
        run.facts.run.suspend = true;
        let held = run.tick().state.clone();
        assert!(!run.has_more_to_do());
        assert_eq!(held.steps, run.tick().state.steps);
        run.facts.run.suspend = false;
        run.tick();
        assert!(run.has_more_to_do());
        run.facts.run.terminate = terminate;
        run.facts.run.cancel = !terminate;
        run.tick();
        assert_eq!((run.state.phase, run.wake_at), (RunPhase::Cancelled, None));
    }
}

#[test]
fn a_flow_without_loops_is_one_turn_however_long() {
    let steps = (0..200).map(|n| json!({ "name": format!("s{n}"), "set": {} }));
    let flow = json!({ "steps": steps.collect::<Vec<_>>() });
    let mut run = Scenario::of(flow, &json!({}));
    assert_eq!(run.tick().state.phase, RunPhase::Succeeded);
}

#[test]
fn all_passes_of_a_loop_in_a_run_are_bounded() {
    let mut run = Scenario::of(nested(2, 10_000), &json!({}));
    run.tick();
    // as after very many turns
    for step in &mut run.state.steps {
        step.iteration += 99_990 - 128;
    }
    while run.has_more_to_do() {
        run.tick();
    }
    assert_eq!(run.state.phase, RunPhase::Failed);
    let error = run.state.error.clone().unwrap();
    assert_eq!(error.reason, StepReason::RepeatLimit);
    assert_eq!(
        error.message,
        "step l0: the loop has had 100000 passes in this run, and no loop has more"
    );
}

#[test]
fn a_restart_in_a_pause_and_in_a_pass_repeats_nothing_that_is_over() {
    let mut run = Scenario::of(poll(json!({ "every": "1m" })), &json!({}));
    done(run.tick(), false);
    run.restart();
    assert!(run.effects.is_empty());
    run.pass(60).restart();
    assert_eq!(run.http()[0].key.to_string(), "poll.2.1");
    done(&mut run, true);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
}

#[test]
fn a_suspended_loop_begins_no_pass_and_a_cancelled_one_ends() {
    let mut run = Scenario::of(poll(json!({ "every": "1m" })), &json!({}));
    run.tick();
    run.facts.run.suspend = true;
    done(&mut run, false).pass(120);
    assert!(run.http().is_empty());
    run.facts.run.suspend = false;
    run.tick();
    assert_eq!(run.http().len(), 1);
    done(&mut run, false);
    run.facts.run.cancel = true;
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Cancelled);
}

#[test]
fn a_step_reads_later_steps_of_its_loop_only_of_the_pass_before() {
    let steps = |note: &str| {
        json!([
            { "name": "draft", "set": { "note": note } },
            { "name": "ask", "approval": { "title": "?", "changes": { "backTo": "draft" } } },
        ])
    };
    let told = |note: &str| {
        let definition = serde_json::from_value(json!({ "steps": steps(note) })).unwrap();
        let problems = Plan::compile(&definition).err().unwrap_or_default();
        problems
            .into_iter()
            .map(|problem| problem.message)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told("${steps.ask.?previous.decision.comment.orValue('')}"),
        Vec::<String>::new()
    );
    assert_eq!(
        told("${steps.draft.?previous.output.note.orValue('')}"),
        Vec::<String>::new()
    );
    assert_eq!(
        told("${steps.ask.decision.comment}"),
        [
            "step ask is not done before this one in a pass; of the pass before, `steps.ask.?previous` is known"
        ]
    );
    let mut run = Scenario::of(
        json!({ "steps": steps("${steps.ask.?previous.decision.comment.orValue('none')}") }),
        &json!({}),
    );
    run.tick();
    run.open("r-ask").comment = Some("at most 200".into());
    run.decide("r-ask", ApprovalPhase::ChangesRequested);
    let draft = run.state.steps.iter().rfind(|step| step.name == "draft").unwrap();
    assert_eq!(draft.output.as_ref().unwrap().0, json!({ "note": "at most 200" }));
}

#[test]
fn callbacks_of_passes_that_are_not_kept_are_of_no_more_use() {
    use crate::callback_token::is_of_old_pass;
    let flow = json!({ "steps": [
        { "name": "w", "wait": { "callback": {} }, "repeat": { "until": "${steps.w.output.done}" } },
    ] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    for pass in 1..=4 {
        let record = CallbackRecord {
            received_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(run.now),
            sha256: Digest::of(b"{}"),
            webhook_id: None,
            body: json!({ "done": false }).into(),
        };
        run.state.callbacks.insert(format!("w.{pass}"), record);
        run.tick();
    }
    let old = |key: &str| is_of_old_pass(&run.state, key);
    assert!(old("w.1") && old("w.3"), "{:?}", run.state.steps);
    assert!(!old("w.4") && !old("w.5") && !old("x.1") && !old("w"));
}

#[test]
fn what_is_wrong_with_a_loop_is_told_with_its_place() {
    let told = |steps: Value| {
        let definition = serde_json::from_value(json!({ "steps": steps })).unwrap();
        let problems = Plan::compile(&definition).err().unwrap_or_default();
        let problems = problems.into_iter();
        problems
            .map(|problem| (problem.field, problem.message))
            .collect::<Vec<_>>()
    };
    let set = |name: &str, repeat: Value| json!({ "name": name, "set": {}, "repeat": repeat });
    let plain = |name: &str| json!({ "name": name, "set": {} });
    let is = |field: &str, message: &str| vec![(field.to_owned(), message.to_owned())];
    let until = "${true}";
    assert_eq!(
        told(json!([
            set("a", json!({ "from": "b", "until": until })),
            plain("b")
        ])),
        is("steps[0].repeat.from", "step b does not come before this one")
    );
    assert_eq!(
        told(json!([set("a", json!({}))])),
        is("steps[0].repeat", "repeat has either until or while")
    );
    assert_eq!(
        told(json!([set("a", json!({ "until": until, "every": "100ms" }))])),
        is("steps[0].repeat.every", "\"100ms\" is shorter than 1s")
    );
    assert_eq!(
        told(json!([{ "name": "a", "end": { "outcome": "Failed" }, "repeat": { "until": until } }])),
        is("steps[0].repeat", "end steps have no repeat")
    );
    assert_eq!(
        told(json!([
            plain("a"),
            plain("b"),
            set("c", json!({ "from": "a", "until": until })),
            set("d", json!({ "from": "b", "until": until })),
        ])),
        is(
            "steps[3].repeat",
            "this loop and that of step c lie across each other: one must lie within the other, or beside it"
        )
    );
    let beside = json!([
        { "name": "a", "needs": [], "set": {} },
        { "name": "b", "needs": ["a"], "http": { "url": "http://x/" } },
        { "name": "c", "needs": ["a"], "set": {}, "repeat": { "from": "a", "until": until } },
    ]);
    assert_eq!(
        told(beside),
        is(
            "steps[2].repeat.from",
            "step b depends on a and has an effect, so it must come before this step"
        )
    );
}

fn polls(more: &Value) -> Scenario {
    let mut poll = call("poll");
    poll["repeat"] = json!({ "until": "${steps.poll.output == 'done'}", "every": "10s" });
    for (name, value) in more.as_object().unwrap() {
        poll[name] = value.clone();
    }
    let mut run = Scenario::of(json!({ "steps": [poll, call("next")] }), &json!({}));
    assert!(!run.tick().is_deferrable, "its begin is written");
    run
}

#[test]
fn passes_of_a_poll_may_stay_unwritten_until_it_is_over() {
    let mut run = polls(&json!({ "retry": { "attempts": 2 } }));
    assert!(run.answer("poll", 200, json!("no")).is_deferrable, "the pause");
    assert!(run.pass(10).is_deferrable, "the next pass begins");
    assert!(
        run.answer("poll", 503, json!(null)).is_deferrable,
        "an attempt that failed"
    );
    assert!(run.pass(2).is_deferrable, "the next attempt");
    run.facts.run.suspend = true;
    run.facts.run.generation = Some(2);
    assert!(!run.tick().is_deferrable, "that it is suspended");
    run.facts.run.suspend = false;
    let over = run.answer("poll", 200, json!("done"));
    assert!(!over.is_deferrable, "its end, and the next step");
    assert_eq!(run.http().last().unwrap().key.step, "next");
}

#[test]
fn what_is_no_poll_is_written_in_each_pass() {
    let mut run = polls(&json!({ "delivery": "AtMostOnce" }));
    assert!(!run.answer("poll", 200, json!("no")).is_deferrable);
    let repeat = json!({ "until": "${steps.poll.pass == 9}", "every": "10s" });
    let mut run = polls(&json!({ "forEach": { "items": [1] }, "repeat": repeat }));
    assert!(!run.answer("poll[0]", 200, json!("no")).is_deferrable);
    let mut poll = call("poll");
    poll["repeat"] = json!({ "from": "first", "until": "${steps.poll.pass == 9}", "every": "10s" });
    let mut run = Scenario::of(json!({ "steps": [call("first"), poll] }), &json!({}));
    run.tick().answer("first", 200, json!({}));
    assert!(!run.answer("poll", 200, json!("no")).is_deferrable);
    // one that is cancelled
    let mut run = polls(&json!({}));
    run.answer("poll", 200, json!("no"));
    run.facts.run.cancel = true;
    assert!(!run.tick().is_deferrable);
}

#[test]
fn a_poll_whose_passes_were_lost_repeats_them_under_the_same_keys() {
    let mut run = polls(&json!({}));
    let written = run.state.clone();
    let key = |run: &Scenario| run.http().last().unwrap().idempotency_key.clone();
    let first = key(&run);
    run.answer("poll", 200, json!("no")).pass(10);
    let second = key(&run);
    assert_ne!(first, second);
    // the process ends before anything of it is written
    run.state = written;
    run.facts.in_flight.clear();
    run.tick();
    assert_eq!(key(&run), first);
    run.answer("poll", 200, json!("no")).pass(10);
    assert_eq!(key(&run), second);
}
