use serde_json::{Value, json};

use super::*;

#[expect(clippy::needless_pass_by_value, reason = "it is written in place")]
fn objects(steps: Value) -> Objects {
    let definition: Definition = serde_json::from_value(json!({
        "inputs": {"type": "object", "properties": {"n": {"type": "integer", "default": 0}}},
        "steps": steps,
    }))
    .unwrap();
    Objects {
        flows: [("f".parse().unwrap(), definition)].into(),
        connections: BTreeMap::new(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is written in place")]
fn parse(more: Value) -> Result<Scenario, ScenarioError> {
    let mut spec = json!({"files": ["f.yaml"], "flow": "f", "now": "2026-11-23T09:00:00Z"});
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Scenario::parse(json!({
        "apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "s"}, "spec": spec,
    }))
}

fn record(steps: Value, more: Value) -> (Scenario, Record) {
    let scenario = parse(more).unwrap();
    let record = simulate(&scenario, &objects(steps)).unwrap();
    (scenario, record)
}

/// What is not as expected.
fn problems(steps: Value, more: Value) -> Vec<String> {
    let (scenario, record) = record(steps, more);
    check(&scenario.spec.expect, &record)
}

fn call(delivery: &str) -> Value {
    json!([{"name": "pay", "http": {"url": "https://shop.example/pay", "method": "POST", "body": {"n": "${inputs.n}"}},
        "delivery": delivery}])
}

fn question() -> Value {
    json!([{"name": "ask", "approval": {"title": "Go?", "approvers": {"groups": ["g"]}, "respondWithin": "1h"}}])
}

#[test]
fn what_nobody_stubs_is_told_and_never_answered() {
    let found = problems(
        call("AtLeastOnce"),
        json!({"inputs": {"n": 1}, "expect": {"outcome": "Running"}}),
    );
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("NotStubbed: step pay (pass 1, attempt 1)"),
        "{found:?}"
    );
}

#[test]
fn the_most_specific_stub_answers() {
    let stubs = json!([
        {"step": "pay", "attempt": 1, "error": {"reason": "Unreachable", "message": "no"}},
        {"step": "pay", "output": {"ok": true}},
    ]);
    let mut steps = call("AtLeastOnce");
    steps[0]["retry"] = json!({"attempts": 2, "backoff": {"initial": "1h"}});
    let expect = json!({
        "outcome": "Succeeded", "finishedWithin": "1h",
        "steps": [{"step": "pay", "output": {"ok": true}}],
        "calls": [{"step": "pay", "times": 2, "request": {"body": {"n": 7}}}],
    });
    let more = json!({"inputs": {"n": 7}, "stubs": stubs, "expect": expect});
    assert_eq!(problems(steps, more), Vec::<String>::new());
}

#[test]
fn a_crash_repeats_what_may_be_repeated_and_asks_of_what_may_not() {
    let crash = json!([
        {"step": "pay", "crash": "AfterSend"},
        {"step": "pay", "output": {}},
    ]);
    let twice = json!({"outcome": "Succeeded", "calls": [{"step": "pay", "times": 2}]});
    let more = json!({"inputs": {"n": 1}, "stubs": crash, "expect": twice});
    assert_eq!(problems(call("AtLeastOnce"), more), Vec::<String>::new());
    let asked = json!({"outcome": "Waiting", "calls": [{"step": "pay", "times": 1}], "approvals": [{"step": "pay", "phase": "Pending"}]});
    let more = json!({"inputs": {"n": 1}, "stubs": [{"step": "pay", "crash": "AfterSend"}], "expect": asked});
    assert_eq!(problems(call("AtMostOnce"), more), Vec::<String>::new());
}

#[test]
fn people_are_judged_as_by_the_operator_and_the_clock_jumps_to_the_deadline() {
    let decide = |at: &str, by: &str, groups: Value, expect: &str| json!({"at": at, "step": "ask", "decide": {"by": by, "groups": groups, "verdict": "Approve"}, "expect": expect});
    let events = json!([
        decide("1m", "eve", json!([]), "NotAnApprover"),
        decide("2m", "dev", json!(["g"]), "SelfApproval"),
        decide("60m", "alice", json!(["g"]), "Expired"),
    ]);
    let expect = json!({"outcome": "TimedOut", "finishedWithin": "1h", "approvals": [{"step": "ask", "phase": "Expired"}]});
    assert_eq!(
        problems(question(), json!({"events": events, "expect": expect})),
        Vec::<String>::new()
    );
    let events = json!([decide("59m", "alice", json!(["g"]), "Counted")]);
    let more = json!({"events": events, "expect": {"outcome": "Succeeded"}});
    assert_eq!(problems(question(), more), Vec::<String>::new());
}

#[test]
fn what_does_not_count_is_a_problem_unless_it_is_expected() {
    let event = json!({"at": "1m", "step": "ask", "decide": {"by": "eve", "verdict": "Approve"}});
    let expect = json!({"outcome": "TimedOut"});
    let found = problems(question(), json!({"events": [event], "expect": expect}));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("eve decides on ask at 2026-11-23T09:01:00Z: NotAnApprover"),
        "{found:?}"
    );
}

#[test]
fn an_event_after_the_end_is_a_problem() {
    let event = json!({"at": "1m", "run": "cancel"});
    let found = problems(
        json!([{"name": "a", "set": {"v": 1}}]),
        json!({"events": [event]}),
    );
    assert!(found[0].contains("came too late"), "{found:?}");
}

#[test]
fn a_callback_is_checked_and_taken_once() {
    let steps = json!([{"name": "w", "wait": {"callback": {"accept": "${body.ok}"}}}, {"name": "p", "wait": {"duration": "1h"}}]);
    let call = |at: &str, ok: Value, code: u16| json!({"at": at, "step": "w", "callback": {"body": {"ok": ok}}, "expect": code});
    let events = json!([
        call("1m", json!(false), 422),
        call("2m", json!(true), 202),
        call("3m", json!(true), 200),
        call("4m", json!(false), 409),
    ]);
    let expect =
        json!({"outcome": "Succeeded", "asserts": ["${steps.w.output.ok && steps.p.outcome == 'Elapsed'}"]});
    assert_eq!(
        problems(steps, json!({"events": events, "expect": expect})),
        Vec::<String>::new()
    );
}

#[test]
fn a_wait_whose_heartbeats_stop_times_out() {
    let steps = json!([
        {"name": "w", "wait": {"callback": {"heartbeat": "10m"}, "onTimeout": {"outcome": "Continue"}}},
        {"name": "p", "wait": {"callback": {}}},
    ]);
    let beat =
        |at: &str, step: &str, code: u16| json!({"at": at, "step": step, "heartbeat": {}, "expect": code});
    let events = json!([
        beat("6m", "w", 202),
        beat("12m", "w", 202),
        beat("20m", "w", 202),
        beat("31m", "w", 410),
        beat("31m", "p", 409),
        {"at": "32m", "step": "p", "callback": {"body": {}}},
    ]);
    let expect = json!({"outcome": "Succeeded", "steps": [{"step": "w", "outcome": "TimedOut"}], "finishedWithin": "32m"});
    assert_eq!(
        problems(steps, json!({"events": events, "expect": expect})),
        Vec::<String>::new()
    );
}

#[test]
fn a_run_is_cancelled_suspended_and_resumed() {
    let events = json!([{"at": "1m", "run": "suspend"}, {"at": "3h", "run": "resume"}]);
    let steps = json!([{"name": "a", "wait": {"duration": "1h"}}, {"name": "b", "set": {"v": 1}}]);
    let (scenario, record) = record(
        steps.clone(),
        json!({"events": events, "expect": {"outcome": "Succeeded"}}),
    );
    assert_eq!(check(&scenario.spec.expect, &record), Vec::<String>::new());
    assert_eq!(record.ended, "2026-11-23T12:00:00Z".parse().unwrap());
    let more = json!({"events": [{"at": "1m", "run": "cancel"}], "expect": {"outcome": "Cancelled"}});
    assert_eq!(problems(steps, more), Vec::<String>::new());
}

#[test]
fn everything_that_is_not_as_expected_is_told_at_once() {
    let expect = json!({
        "outcome": "Failed", "error": "boom", "output": {"a": 1}, "finishedWithin": "1s",
        "steps": [{"step": "a", "outcome": "Failed"}, {"step": "x", "outcome": "Failed"}],
        "calls": [{"step": "a", "times": 1, "request": {}}], "approvals": [{"step": "a"}],
        "asserts": ["${steps.a.output.v == 2}", "${nothing}", "no"],
    });
    let found = problems(
        json!([{"name": "a", "set": {"v": 1}}, {"name": "stop", "end": {"outcome": "Succeeded"}}, {"name": "x", "set": {}}]),
        json!({"expect": expect}),
    );
    let starts = [
        "outcome: Succeeded",
        "error: there is none",
        "output: null",
        "step a: Succeeded",
        "step x: it did not run",
        "calls of a: sent 0 times",
        "calls of a: none",
        "approval of a",
        "assert ${steps.a",
        "assert ${nothing}",
        "assert no",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}: {start}");
    }
}

#[test]
fn inputs_that_do_not_fit_and_flows_that_are_not_there_are_told() {
    let scenario = parse(json!({"inputs": {"n": "x"}})).unwrap();
    let problem = simulate(&scenario, &objects(call("AtMostOnce"))).unwrap_err();
    assert!(problem[0].starts_with("spec.inputs.n"), "{problem:?}");
    let stubs = json!([{"step": "pya", "output": 1}]);
    let scenario = parse(json!({"stubs": stubs, "expect": {"calls": [{"step": "x"}]}})).unwrap();
    let problems = simulate(&scenario, &objects(call("AtMostOnce"))).unwrap_err();
    assert_eq!(
        problems,
        [
            "spec.stubs: there is no step pya in flow f; did you mean pay?",
            "spec.expect.calls: there is no step x in flow f",
        ]
    );
    let scenario = parse(json!({"flow": "g"})).unwrap();
    let problem = simulate(&scenario, &objects(call("AtMostOnce"))).unwrap_err();
    assert_eq!(problem, ["spec.flow: there is no flow g in the files"]);
}

#[test]
fn a_field_that_cannot_be_read_is_named() {
    for (more, field) in [
        (json!({"stubs": [{"step": "a"}]}), "spec.stubs[0]"),
        (
            json!({"stubs": [{"step": "a", "output": 1, "crash": "AfterSend"}]}),
            "spec.stubs[0]",
        ),
        (
            json!({"stubs": [{"step": "a", "outptu": 1}]}),
            "spec.stubs[0].outptu",
        ),
        (json!({"events": [{"at": "1m", "step": "a"}]}), "spec.events[0]"),
        (
            json!({"events": [{"at": "1m", "step": "a", "run": "cancel"}]}),
            "spec.events[0]",
        ),
        (json!({"expect": {"outcome": "Sucess"}}), "spec.expect.outcome"),
    ] {
        let error = parse(more.clone()).unwrap_err();
        assert_eq!(error.field(), field, "{more} {error}");
    }
}

#[test]
fn what_happened_is_written_in_place_of_what_was_expected() {
    let (_, record) = record(json!([{"name": "a", "set": {"v": 1}}]), json!({}));
    let text = "# first\nspec:\n  flow: g\n  expect: {}\n---\n# second\nspec:\n  expect:\n    outcome: Failed\n  flow: f  # mine\n";
    let next = update(text, 1, &record).unwrap();
    assert_eq!(
        next,
        "# first\nspec:\n  flow: g\n  expect: {}\n---\n# second\nspec:\n  expect:\n    outcome: Succeeded\n    steps:\n    - outcome: Succeeded\n      passes: 1\n      step: a\n  flow: f  # mine\n"
    );
    assert!(matches!(
        update("spec: {}\n", 0, &record),
        Err(UpdateError::NoBlock)
    ));
}

#[test]
fn every_pass_counts_also_one_that_the_status_does_not_keep() {
    let poll = json!([{"name": "poll", "http": {"url": "http://x/"},
        "repeat": {"until": "${steps.poll.pass >= 4}", "every": "1s"}}]);
    let stubs = json!([{"step": "poll", "output": {}}, {"step": "poll", "pass": 2, "output": {"n": 2}}]);
    let expect = json!({"outcome": "Succeeded", "steps": [
        {"step": "poll", "passes": 4}, {"step": "poll", "pass": 2, "output": {"n": 2}}]});
    let more = json!({"stubs": stubs, "expect": expect});
    assert_eq!(problems(poll.clone(), more), Vec::<String>::new());
    let expect = json!({"steps": [{"step": "poll", "passes": 2}, {"step": "poll", "pass": 5}]});
    let found = problems(poll, json!({"stubs": stubs, "expect": expect}));
    assert_eq!(
        found,
        [
            "step poll: 4 passes; expected 2",
            "step poll: there was no pass 5"
        ]
    );
    let set = json!([{"name": "a", "set": {"v": 1}, "repeat": {"until": "${steps.a.pass >= 9}"}}]);
    let expect =
        json!({"outcome": "Succeeded", "steps": [{"step": "a", "passes": 9}, {"step": "a", "pass": 9}]});
    assert_eq!(problems(set, json!({"expect": expect})), Vec::<String>::new());
}

#[test]
fn loops_that_do_not_end_are_told() {
    let again = |name: &str| {
        json!({"name": name, "set": {}, "onFailure": {"outcome": "Continue"},
            "repeat": {"from": "a", "until": "${1 > 2}", "max": 10_000}})
    };
    let steps = json!([{"name": "a", "set": {}}, again("b"), again("c")]);
    let found = problems(steps, json!({"expect": {"outcome": "Waiting"}}));
    assert_eq!(
        found,
        [
            "the loops of the run were not over after 25600 steps without a pause: give them `every`, or a lower `max`"
        ]
    );
}

#[test]
fn a_callback_is_answered_as_the_gateway_does() {
    let steps = json!([
        {"name": "w", "wait": {"callback": {}, "duration": "1h"}},
        {"name": "p", "wait": {"callback": {}, "duration": "10h"}},
    ]);
    let deep: Value = serde_json::from_str(&format!("{}{}", "[".repeat(40), "]".repeat(40))).unwrap();
    let call = |at: &str, step: &str, body: Value, code: u16| json!({"at": at, "step": step, "callback": {"body": body}, "expect": code});
    let events = json!([
        call("2h", "w", json!(1), 410),
        call("2h", "p", json!("x".repeat(17_000)), 413),
        call("2h", "p", deep, 422),
        call("2h", "p", json!(u64::MAX), 422),
    ]);
    let more = json!({"events": events, "expect": {"outcome": "Succeeded"}});
    assert_eq!(problems(steps, more), Vec::<String>::new());
}

#[test]
fn a_callback_between_two_passes_is_for_the_next_one() {
    let steps = json!([{"name": "w", "wait": {"callback": {}}, "repeat": {"until": "${steps.w.output == 2}", "every": "1h"}}]);
    let call =
        |at: &str, body: i64| json!({"at": at, "step": "w", "callback": {"body": body}, "expect": 202});
    let events = json!([call("10m", 1), call("20m", 2)]);
    let expect =
        json!({"outcome": "Succeeded", "finishedWithin": "70m", "steps": [{"step": "w", "passes": 2}]});
    assert_eq!(
        problems(steps, json!({"events": events, "expect": expect})),
        Vec::<String>::new()
    );
}

#[test]
fn where_nothing_is_expected_the_run_must_succeed() {
    let end = |outcome: &str| json!([{"name": "e", "end": {"outcome": outcome}}]);
    assert_eq!(problems(end("Succeeded"), json!({})), Vec::<String>::new());
    let found = problems(end("Failed"), json!({}));
    assert!(
        found.len() == 1 && found[0].starts_with("nothing is expected, and the run is Failed"),
        "{found:?}"
    );
    let found = problems(end("Succeeded"), json!({"expect": {"error": "no"}}));
    assert_eq!(found, ["error: there is none; expected \"no\" in it"]);
}

#[test]
fn a_stub_of_a_call_that_never_was_is_told_and_so_is_a_path_that_leads_elsewhere() {
    let stubs = json!([{"step": "pay", "output": {}}, {"step": "pay", "pass": 99, "output": {}}]);
    let found = problems(
        call("AtLeastOnce"),
        json!({"inputs": {"n": 1}, "stubs": stubs, "expect": {"outcome": "Succeeded"}}),
    );
    assert_eq!(found, ["spec.stubs[1]: step pay had no call with pass 99"]);
    let path =
        json!([{"name": "a", "http": {"connection": "shop", "path": "/o/${['..', ''][inputs.n]}/pay"}}]);
    let expect =
        json!({"outcome": "Failed", "error": "InvalidRequest", "calls": [{"step": "a", "times": 0}]});
    assert_eq!(problems(path, json!({"expect": expect})), Vec::<String>::new());
}

#[test]
fn times_and_numbers_that_cannot_be_are_refused() {
    let long = json!([{"step": "a", "output": {"id": 1e23}}]);
    let early = json!([{"at": "2026-11-23T08:59:59Z", "run": "cancel"}]);
    let late = json!([{"at": "9999-12-29T00:00:00Z", "run": "cancel"}]);
    let many: Vec<Value> = (0..1_001).map(|_| json!({"at": "1h", "run": "cancel"})).collect();
    for (more, field) in [
        (json!({"now": "9999-12-30T21:00:00Z"}), "spec.now"),
        (json!({"stubs": long}), "spec.stubs[0]"),
        (json!({"events": early}), "spec.events[0].at"),
        (json!({"events": late}), "spec.events[0].at"),
        (json!({"events": many}), "spec.events"),
    ] {
        assert_eq!(parse(more).unwrap_err().field(), field);
    }
}

#[test]
fn a_task_is_answered_given_back_tried_again_or_too_late() {
    let steps = json!([{"name": "code", "retry": {"attempts": 2}, "task": {"queue": "q", "respondWithin": "1h",
        "schema": {"type": "integer"}}}]);
    let answer = |at: &str, task: Value, expect: &str| json!({"at": at, "step": "code", "task": task, "expect": expect});
    let events = json!([
        answer("1m", json!({"result": "no"}), "Claimed"),
        answer("2m", json!({"by": "other", "result": 1}), "Refused"),
        answer(
            "3m",
            json!({"error": {"message": "busy", "retryable": true}}),
            "Queued"
        ),
        answer("4m", json!({"by": "other", "result": 7}), "Succeeded"),
    ]);
    let expect =
        json!({"outcome": "Succeeded", "finishedWithin": "4m", "steps": [{"step": "code", "output": 7}]});
    assert_eq!(
        problems(steps.clone(), json!({"events": events, "expect": expect})),
        Vec::<String>::new()
    );
    let expect = json!({"outcome": "TimedOut", "finishedWithin": "1h", "error": "RespondTimedOut"});
    assert_eq!(
        problems(steps.clone(), json!({"expect": expect})),
        Vec::<String>::new()
    );
    let more = json!({"events": [{"at": "1m", "run": "cancel"}], "expect": {"outcome": "Cancelled"}});
    assert_eq!(problems(steps, more), Vec::<String>::new());
}

#[test]
fn messages_are_expected_by_event_channel_and_part_and_a_question_nobody_answers_does_not_remind_for_ever() {
    let mut objects = objects(json!([{"name": "ask", "approval": {"title": "Go?", "remindEvery": "1h"}}]));
    let flow = objects.flows.values_mut().next().unwrap();
    let told = json!([
        {"events": ["ApprovalOpened", "ApprovalReminder"], "teams": {"connection": "c", "text": "${event.approval.title}"}},
        {"events": ["RunEnded"], "email": {"connection": "m", "to": ["a@b"], "subject": "n is ${inputs.n}"}},
    ]);
    flow.notifications = serde_json::from_value(told).unwrap();
    let played = |more: Value| {
        let scenario = parse(more).unwrap();
        check(&scenario.spec.expect, &simulate(&scenario, &objects).unwrap())
    };
    let expect = json!({"outcome": "Waiting", "notifications": [
        {"event": "ApprovalOpened", "channel": "teams", "contains": "Go?", "times": 1},
        {"event": "ApprovalReminder", "times": 3},
        {"event": "RunEnded", "times": 0},
    ]});
    assert_eq!(played(json!({"expect": expect})), Vec::<String>::new());
    let events = json!([{"at": "90m", "step": "ask", "decide": {"by": "alice", "verdict": "Approve"}}]);
    let expect = json!({
        "notifications": [{"event": "ApprovalReminder", "times": 1}, {"event": "RunEnded", "contains": "n is 7"}],
        "asserts": ["${notifications.size() == 3}"],
    });
    let more = json!({"inputs": {"n": 7}, "events": events, "expect": expect});
    assert_eq!(played(more), Vec::<String>::new());
    let wrong = json!([{"event": "ApprovalOpened", "channel": "slack"}]);
    let found = played(json!({"events": events, "expect": {"notifications": wrong}}));
    assert_eq!(
        found,
        [
            "notifications about ApprovalOpened by slack: 0; expected at least one; the messages about ApprovalOpened are \"Go?\""
        ]
    );
}
