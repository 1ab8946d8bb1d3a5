//! Retries of runs whose steps have started runs: what those did is not done again.

use super::{
    retries::{earlier, pinned, retry, retry_of},
    *,
};
use crate::retry::{ChildFact, EarlierRun, RetryRefused, children_to_read, end_taken_over, take_over};
use signoff_api::{Json, names};

/// A quote, a run of another flow, and a call after it.
fn flow() -> Value {
    json!({ "steps": [call("quote"), { "name": "apply", "flow": { "name": "child" } }, call("thank")] })
}

/// How a run that a step of the run `r` started ended.
pub(super) fn ended(phase: RunPhase) -> ChildFact {
    ChildFact {
        parent: "u".into(),
        phase,
        has_begun: true,
        retried_by: None,
    }
}

/// The run that a step has started is there, and stands so.
pub(super) fn knows(earlier: &mut EarlierRun, step: &str, iteration: i64, fact: ChildFact) -> String {
    let name = names::child_run_name(&earlier.name, &earlier.uid, step, iteration);
    earlier.children.insert(name.clone(), fact);
    name
}

/// A run whose child ended so.
fn failed(phase: RunPhase) -> Scenario {
    let mut run = Scenario::of(flow(), &json!({}));
    run.tick().answer("quote", 200, json!({}));
    run.child("apply", RunPhase::Running).child("apply", phase);
    pinned(run)
}

/// The run that a run starts for its step, by the run that it goes on from.
fn started(run: &mut Scenario) -> Option<String> {
    run.tick();
    let starts = run.starts();
    let [start] = starts[..] else { panic!("{starts:?}") };
    start.retry_of.clone()
}

#[test]
fn the_run_that_a_step_starts_goes_on_from_the_earlier_one_however_that_ended() {
    for phase in [
        RunPhase::Failed,
        RunPhase::Rejected,
        RunPhase::TimedOut,
        RunPhase::Cancelled,
    ] {
        let first = failed(phase);
        for from in [None, Some("apply")] {
            let mut earlier = earlier(&first);
            let name = knows(&mut earlier, "apply", 1, ended(phase));
            assert_eq!(children_to_read(&first.plan, from, &earlier), [name.as_str()]);
            let mut next = retry_of(&earlier, &first, flow(), from).unwrap();
            next.tick();
            let start = next.starts()[0].clone();
            assert_eq!(start.retry_of, Some(name));
            assert_eq!(start.parent.chain[0].run, "r-retry-1");
            assert_eq!(start.parent.digest, Digest::of(b"child"), "the pinned release");
            assert_eq!(start.earlier_requesters, ["dev"]);
            assert!(next.http().is_empty(), "the quote was taken over");
        }
    }
}

/// A change of what is known of the run that a step started.
type Change = &'static dyn Fn(&mut ChildFact);

#[test]
fn a_run_that_cannot_go_on_is_told_before_anything_begins() {
    let child = || names::child_run_name("r", "u", "apply", 1);
    let step = || "apply".to_owned();
    let retried = RetryRefused::ChildRetried {
        step: step(),
        child: child(),
        by: "other".into(),
    };
    let cases: [(Change, Option<RetryRefused>); 5] = [
        (&|_| {}, None),
        (&|fact| fact.retried_by = Some("other".into()), Some(retried)),
        (
            &|fact| fact.phase = RunPhase::Waiting,
            Some(RetryRefused::ChildNotEnded {
                step: step(),
                child: child(),
            }),
        ),
        (
            // one of that name that another run started
            &|fact| fact.parent = "other".into(),
            Some(RetryRefused::ChildGone {
                step: step(),
                child: child(),
            }),
        ),
        (
            &|fact| {
                fact.phase = RunPhase::Succeeded;
                fact.retried_by = Some("other".into());
            },
            None,
        ),
    ];
    let first = failed(RunPhase::Failed);
    for from in [None, Some("quote"), Some("apply"), Some("thank")] {
        for (change, expected) in &cases {
            let mut earlier = earlier(&first);
            let mut fact = ended(RunPhase::Failed);
            change(&mut fact);
            knows(&mut earlier, "apply", 1, fact);
            let refused = retry_of(&earlier, &first, flow(), from).err();
            assert_eq!(refused, *expected, "{from:?}");
        }
        let refused = retry_of(&earlier(&first), &first, flow(), from).err();
        assert!(
            matches!(refused, Some(RetryRefused::ChildGone { .. })),
            "{from:?}"
        );
    }
}

#[test]
fn a_run_that_could_not_go_on_stands_for_the_one_before_it() {
    let first = failed(RunPhase::Failed);
    let mut known = earlier(&first);
    let child = knows(&mut known, "apply", 1, ended(RunPhase::Failed));
    let mut second = retry_of(&known, &first, flow(), None).unwrap();
    second.tick();
    second.child("apply", RunPhase::Failed);
    let second = pinned(second);
    // what the second run knows of the first one is kept, whatever became of its own
    for (has_begun, there) in [(true, true), (false, true), (false, false)] {
        let mut known = EarlierRun {
            name: "r-retry-1".into(),
            uid: "u2".into(),
            ..earlier(&second)
        };
        let mut of_second = second.state.clone();
        if !there {
            of_second.steps.last_mut().unwrap().run = None;
        }
        known.status = of_second;
        known.children.insert(child.clone(), ended(RunPhase::Failed));
        let own = names::child_run_name("r-retry-1", "u2", "apply", 1);
        if there {
            let fact = ChildFact {
                parent: "u2".into(),
                has_begun,
                ..ended(RunPhase::Failed)
            };
            known.children.insert(own.clone(), fact);
        }
        let mut third = retry_of(&known, &second, flow(), None).unwrap();
        let expected = if has_begun { own } else { child.clone() };
        assert_eq!(started(&mut third), Some(expected), "{has_begun} {there}");
    }
}

#[test]
fn a_step_that_started_nothing_starts_a_run_from_the_beginning() {
    let mut first = Scenario::of(flow(), &json!({}));
    first.tick().answer("quote", 400, json!({}));
    let first = pinned(first);
    let mut next = retry(&first, flow(), "quote").unwrap();
    next.tick().answer("quote", 200, json!({}));
    assert_eq!(next.starts()[0].retry_of, None);
    // and so does one whose run came to nothing before it began
    let first = failed(RunPhase::Cancelled);
    let mut earlier = earlier(&first);
    let fact = ChildFact {
        has_begun: false,
        ..ended(RunPhase::Cancelled)
    };
    knows(&mut earlier, "apply", 1, fact);
    let mut next = retry_of(&earlier, &first, flow(), None).unwrap();
    assert_eq!(started(&mut next), None);
}

#[test]
fn a_run_that_nobody_waits_for_is_not_started_a_second_time() {
    let detached = json!({ "steps": [{ "name": "apply", "flow": { "name": "child", "detached": true } }, call("thank")] });
    let mut first = Scenario::of(detached.clone(), &json!({}));
    first.tick();
    first
        .child("apply", RunPhase::Running)
        .answer("thank", 400, json!({}));
    let first = pinned(first);
    let refused = retry(&first, detached.clone(), "apply").err();
    assert!(
        matches!(refused, Some(RetryRefused::RanFlow { .. })),
        "{refused:?}"
    );
    assert!(retry(&first, detached, "thank").is_ok());
}

/// A loop whose second pass failed in the run that it starts.
fn looped() -> (Value, Scenario) {
    let definition = json!({ "steps": [
        call("open"),
        { "name": "apply", "flow": { "name": "child" } },
        { "name": "check", "http": { "url": "http://x/check" },
          "repeat": { "from": "apply", "until": "${steps.check.output.done}" } },
    ] });
    let mut run = Scenario::of(definition.clone(), &json!({}));
    run.tick().answer("open", 200, json!({}));
    for _ in 0..3 {
        run.child("apply", RunPhase::Succeeded);
        run.answer("check", 200, json!({ "done": false }));
    }
    run.child("apply", RunPhase::Failed);
    (definition, pinned(run))
}

#[test]
fn each_pass_of_a_loop_goes_on_from_the_run_of_that_pass() {
    let (definition, first) = looped();
    let mut known = earlier(&first);
    let mut names = vec![];
    for (pass, phase) in [
        (1, RunPhase::Succeeded),
        (2, RunPhase::Succeeded),
        (3, RunPhase::Succeeded),
        (4, RunPhase::Failed),
    ] {
        names.push(knows(&mut known, "apply", pass, ended(phase)));
    }
    assert_eq!(children_to_read(&first.plan, None, &known).len(), 4);
    // the whole loop is done again: its first pass takes over what the first run did
    let mut whole = retry_of(&known, &first, definition.clone(), Some("apply")).unwrap();
    for (pass, name) in names.iter().enumerate() {
        assert_eq!(started(&mut whole).as_ref(), Some(name), "pass {pass}");
        whole.child("apply", RunPhase::Succeeded);
        whole.answer("check", 200, json!({ "done": false }));
    }
    assert_eq!(
        started(&mut whole),
        None,
        "a pass that the earlier run did not have"
    );
    // a retry of that goes on from its own runs, and beyond them from those of the first one
    let mut second = retry_of(&known, &first, definition.clone(), Some("apply")).unwrap();
    started(&mut second);
    second
        .child("apply", RunPhase::Succeeded)
        .answer("check", 400, json!({}));
    let second = pinned(second);
    let mut again = EarlierRun {
        name: "r-retry-1".into(),
        uid: "u2".into(),
        ..earlier(&second)
    };
    again.children = known.children.clone();
    let own = names::child_run_name("r-retry-1", "u2", "apply", 1);
    let fact = ChildFact {
        parent: "u2".into(),
        ..ended(RunPhase::Succeeded)
    };
    again.children.insert(own.clone(), fact);
    let mut third = retry_of(&again, &second, definition, Some("apply")).unwrap();
    assert_eq!(started(&mut third), Some(own));
    third.child("apply", RunPhase::Succeeded);
    third.answer("check", 200, json!({ "done": false }));
    assert_eq!(started(&mut third), Some(names[1].clone()));
}

/// What came of a run, as the next one of its step takes it over.
fn taken_over(child: &Scenario, is_child: bool) -> Result<RunStatus, RetryRefused> {
    let earlier = EarlierRun {
        is_child,
        ..earlier(child)
    };
    let same = (&child.facts.release.digest, &child.facts.run.inputs);
    let mut state = RunStatus::default();
    take_over(&child.plan, None, &earlier, same, &mut state)?;
    Ok(state)
}

#[test]
fn a_run_that_succeeded_is_taken_over_whole_by_the_next_run_of_its_step_alone() {
    let definition = json!({ "steps": [
        { "name": "ask", "approval": { "title": "Pay?" } },
        { "name": "pay", "delivery": "AtMostOnce", "http": { "url": "http://shop/pay", "method": "POST" } },
    ], "finally": [call("tell")], "output": { "receipt": "${steps.pay.output.receipt}" } });
    let mut child = Scenario::of(definition, &json!({}));
    child.tick().decide("r-ask", ApprovalPhase::Approved);
    child
        .answer("pay", 200, json!({ "receipt": 7 }))
        .answer("tell", 200, json!({}));
    assert_eq!(child.state.phase, RunPhase::Succeeded);
    let child = pinned(child);
    assert_eq!(
        taken_over(&child, false).err(),
        Some(RetryRefused::Succeeded("r".into()))
    );

    let mut state = taken_over(&child, true).unwrap();
    assert!(end_taken_over(&mut state, Some(1), child.now));
    assert_eq!(state.output, Some(Json(json!({ "receipt": 7 }))));
    assert_eq!(
        (state.billable_steps, state.retry.as_ref().unwrap().uid.as_str()),
        (0, "u")
    );
    assert!(
        state
            .steps
            .iter()
            .all(|step| step.taken_over == Some(true) && ObjectKey::of(step).is_none())
    );
    assert_eq!(state.conditions[0].status, "True");
    let next = advance(&child.plan, &state, &child.facts, child.now);
    assert_eq!(
        (next.state, next.effects),
        (state, vec![]),
        "nothing is performed or asked again"
    );
}

#[test]
fn without_a_first_step_a_run_goes_on_where_it_stopped() {
    let definition = json!({ "steps": [call("a"), call("b")], "output": { "n": "${steps.a.output.n + 1}" } });
    let mut child = Scenario::of(definition.clone(), &json!({}));
    child
        .tick()
        .answer("a", 200, json!({ "n": 1 }))
        .answer("b", 400, json!({}));
    let state = taken_over(&pinned(child), true).unwrap();
    let done: Vec<_> = state.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(done, ["a"]);
    // every step ended well, and the output could not be had
    let mut child = Scenario::of(definition, &json!({}));
    child
        .tick()
        .answer("a", 200, json!({ "n": "x" }))
        .answer("b", 200, json!({}));
    assert_eq!(child.state.phase, RunPhase::Failed);
    let state = taken_over(&pinned(child), true).unwrap();
    assert_eq!((state.steps.len(), state.phase), (2, RunPhase::Pending));
}

#[test]
fn a_step_that_ended_the_run_ends_it_again() {
    let definition = json!({ "steps": [
        { "name": "stop", "end": { "outcome": "Failed", "message": "no" } },
        call("never"),
    ] });
    let mut run = Scenario::of(definition.clone(), &json!({}));
    run.tick();
    let run = pinned(run);
    let mut next = retry_of(&earlier(&run), &run, definition, None).unwrap();
    next.tick();
    assert!(next.http().is_empty());
    assert_eq!(next.state.phase, RunPhase::Failed);
}

#[test]
fn what_is_not_known_of_a_call_in_a_run_is_asked_in_the_next_one() {
    let definition = json!({ "steps": [
        { "name": "pay", "delivery": "AtMostOnce", "http": { "url": "http://shop/pay", "method": "POST" } },
    ] });
    let mut child = Scenario::of(definition.clone(), &json!({}));
    child.tick().restart();
    child.decide("r-pay-outcome", ApprovalPhase::Rejected);
    assert_eq!(child.state.phase, RunPhase::Failed);
    let child = pinned(child);
    let known = EarlierRun {
        is_child: true,
        ..earlier(&child)
    };
    let mut next = retry_of(&known, &child, definition, None).unwrap();
    next.tick();
    assert!(next.http().is_empty(), "people say first whether it happened");
    assert_eq!(next.opened().len(), 1);
}
