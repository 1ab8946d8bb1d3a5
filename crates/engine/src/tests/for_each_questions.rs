//! Questions about the items of a step: those that people are asked, and what became of calls.

use super::{
    for_each::{ended, flow, open, pay},
    *,
};

fn ask(extra: &Value) -> Value {
    let mut step = json!({ "name": "ask", "approval": { "title": "Pay ${item.nr}?", "respondWithin": "1h" },
        "forEach": { "items": [{ "nr": 7 }, { "nr": 8 }, { "nr": 9 }] } });
    step["approval"]
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    step
}

#[test]
fn people_are_asked_about_each_item_and_it_is_approved_only_if_every_item_is() {
    let after = json!({ "name": "after", "when": "${steps.ask.outcome == 'Approved'}", "set": {
        "by": "${steps.ask.items.map(i, i.decision.verdict)}" } });
    let mut run = Scenario::of(json!({ "steps": [ask(&json!({})), after] }), &json!({}));
    run.tick();
    let titles: Vec<(&str, Option<i64>)> = run
        .opened()
        .iter()
        .map(|open| (open.spec.title.as_str(), open.spec.subject.item))
        .collect();
    assert_eq!(
        titles,
        [("Pay 7?", Some(0)), ("Pay 8?", Some(1)), ("Pay 9?", Some(2))]
    );
    let digests: BTreeSet<String> = run
        .opened()
        .iter()
        .map(|open| open.spec.digest.to_string())
        .collect();
    assert_eq!(digests.len(), 3);
    run.decide("r-ask-1", ApprovalPhase::Approved)
        .decide("r-ask-0", ApprovalPhase::Approved);
    assert_eq!(run.state.phase, RunPhase::Waiting);
    run.decide("r-ask-2", ApprovalPhase::Approved);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.steps[0].outcome, Some(StepOutcome::Approved));
    let seen = &run.state.steps[1].output.as_ref().unwrap().0["by"];
    assert_eq!(seen, &json!(["Approve", "Approve", "Approve"]));
}

#[test]
fn the_outcome_of_an_approval_is_the_worst_of_its_items() {
    use ApprovalPhase::{Approved, Expired, Rejected};
    let answers = |extra: Value, policy: &str, phases: [ApprovalPhase; 3]| {
        let mut step = ask(&extra);
        step["forEach"]["onItemFailure"] = json!(policy);
        let mut run = Scenario::of(json!({ "steps": [step] }), &json!({}));
        run.tick();
        for (item, phase) in phases.into_iter().enumerate() {
            run.decide(&format!("r-ask-{item}"), phase);
        }
        (run.state.steps[0].outcome.unwrap(), run.state.phase)
    };
    let goes_on = json!({ "onReject": { "outcome": "Continue" }, "onTimeout": { "outcome": "Continue" } });
    for (extra, policy, phases, expected) in [
        (
            goes_on.clone(),
            "Fail",
            [Approved, Rejected, Expired],
            (StepOutcome::Rejected, RunPhase::Succeeded),
        ),
        (
            goes_on,
            "Fail",
            [Approved, Expired, Approved],
            (StepOutcome::TimedOut, RunPhase::Succeeded),
        ),
        (
            json!({}),
            "Fail",
            [Approved, Rejected, Approved],
            (StepOutcome::Rejected, RunPhase::Rejected),
        ),
        (
            json!({}),
            "Fail",
            [Expired, Approved, Approved],
            (StepOutcome::TimedOut, RunPhase::TimedOut),
        ),
        (
            json!({}),
            "Continue",
            [Approved, Rejected, Approved],
            (StepOutcome::Rejected, RunPhase::Succeeded),
        ),
        (
            json!({}),
            "Continue",
            [Approved, Expired, Approved],
            (StepOutcome::TimedOut, RunPhase::Succeeded),
        ),
    ] {
        assert_eq!(answers(extra, policy, phases), expected, "{policy} {phases:?}");
    }
}

#[test]
fn a_question_that_cannot_be_put_is_a_failed_item() {
    let mut step = ask(&json!({ "title": "${item.title}" }));
    step["forEach"] = json!({ "items": [{ "title": "one" }, { "title": "" }], "onItemFailure": "Continue" });
    let mut run = Scenario::of(json!({ "steps": [step] }), &json!({}));
    run.tick();
    run.decide("r-ask-0", ApprovalPhase::Approved);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    let step = &run.state.steps[0];
    assert_eq!(
        (step.phase, step.outcome),
        (StepPhase::Failed, Some(StepOutcome::Failed))
    );
    let error = step.error.as_ref().unwrap();
    assert_eq!(error.reason, StepReason::ItemsFailed);
    assert_eq!(
        error.message,
        "1 of 2 items failed; item 1: the title of the question is empty"
    );
}

#[test]
fn a_cancelled_run_closes_the_questions_of_its_items() {
    let mut run = Scenario::of(json!({ "steps": [ask(&json!({}))] }), &json!({}));
    run.tick();
    run.decide("r-ask-1", ApprovalPhase::Approved);
    run.facts.run.cancel = true;
    run.tick();
    let closed = run
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Close(_)));
    assert_eq!(closed.count(), 2);
    assert_eq!(run.state.phase, RunPhase::Cancelled);
    // so that the controller can close them again if that was lost
    let left = run
        .state
        .steps
        .iter()
        .filter(|step| step.item.is_some() && step.approval.is_some());
    assert_eq!(left.count(), 2);
}

#[test]
fn an_item_is_asked_about_anew_when_a_connection_changes() {
    let fact = |digest: &str| ConnectionFact {
        address: None,
        digest: Digest::of(digest.as_bytes()),
    };
    let call = json!({ "name": "call", "http": { "connection": "bank", "path": "/" } });
    let mut run = Scenario::of(json!({ "steps": [ask(&json!({})), call] }), &json!({}));
    run.facts.connections.insert("bank".into(), fact("1"));
    run.tick();
    let first: Vec<String> = run.opened().iter().map(|open| open.name.clone()).collect();
    run.decide("r-ask-0", ApprovalPhase::Approved);
    run.facts.connections.insert("bank".into(), fact("2"));
    run.tick();
    let again: Vec<String> = run.opened().iter().map(|open| open.name.clone()).collect();
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|name| !first.contains(name)), "{again:?}");
    let closed = run
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Close(_)));
    assert_eq!(closed.count(), 2);
    for name in &again {
        run.decide(name, ApprovalPhase::Approved);
    }
    // the first decision was on another address, so the call is not made to this one
    assert_eq!(run.state.steps[0].connections[0].digest, Digest::of(b"1"));
    let bound = format!("{:?}", run.http()[0].request);
    assert!(bound.contains(Digest::of(b"1").as_str()), "{bound}");
}

#[test]
fn people_are_asked_once_about_all_items_of_which_it_is_unknown_whether_they_happened() {
    let mut step = pay(&json!({ "maxParallel": 3 }));
    step["delivery"] = json!("AtMostOnce");
    let mut run = Scenario::of(flow(&step), &json!({}));
    run.tick();
    run.answer("pay[1]", 200, json!({}));
    run.restart();
    let open = run.opened();
    assert_eq!(open.len(), 1);
    let (name, spec) = (open[0].name.clone(), open[0].spec.clone());
    assert_eq!(spec.title, "Which items of step pay of run r happened?");
    assert_eq!(
        spec.form.as_ref().unwrap().0["required"],
        json!(["item-0", "item-2", "item-3"])
    );
    assert!(crate::asked::by_run("u", &with_release(&run), &name, &spec));
    let shown = &spec
        .show
        .iter()
        .find(|item| item.name == "requests")
        .unwrap()
        .inline;
    assert!(
        shown.contains("item 2\nrequest: POST http://bank/pay\nbody: "),
        "{shown}"
    );
    assert_eq!(open_items(&run), [0, 2, 3]);
    // as it was put, whatever is decided meanwhile
    run.tick();
    assert!(run.opened().is_empty());
    let status = run.questions_mut().next().unwrap().1;
    let values = json!({ "item-0": true, "output-0": "{\"nr\": 0}", "item-2": false, "item-3": true });
    status.values = Some(JsonObject(values.as_object().cloned().unwrap()));
    status.phase = ApprovalPhase::Approved;
    run.tick();
    let again: Vec<String> = run.http().iter().map(|call| call.key.to_string()).collect();
    assert_eq!(again, ["pay[2].1.2"]);
    run.answer("pay[2]", 200, json!({}));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    let output = &run.state.steps[0].output.as_ref().unwrap().0;
    assert_eq!((&output[0], &output[3]), (&json!({ "nr": 0 }), &Value::Null));
}

fn open_items(run: &Scenario) -> Vec<i64> {
    let mut items: Vec<i64> = open(run).into_iter().map(|(item, _)| item).collect();
    items.sort_unstable();
    items
}

fn with_release(run: &Scenario) -> RunStatus {
    let release = json!({ "name": "f-1", "digest": run.facts.release.digest });
    let mut state = run.state.clone();
    state.release = Some(serde_json::from_value(release).unwrap());
    state
}

#[test]
fn a_cancelled_run_asks_what_became_of_its_items_before_it_ends() {
    let mut step = pay(&json!({}));
    step["delivery"] = json!("AtMostOnce");
    let mut run = Scenario::of(flow(&step), &json!({}));
    run.tick();
    run.facts.run.cancel = true;
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Running);
    run.restart();
    assert_eq!(run.opened().len(), 1);
    let waits = run.state.waiting_on.clone().unwrap();
    assert!(
        waits.contains("to say which items of step pay happened"),
        "{waits}"
    );
    let status = run.questions_mut().next().unwrap().1;
    status.values = Some(JsonObject(
        json!({ "item-0": true, "item-1": false })
            .as_object()
            .cloned()
            .unwrap(),
    ));
    status.phase = ApprovalPhase::Approved;
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Cancelled);
    assert_eq!(
        ended(&run),
        [
            (StepOutcome::Succeeded, "0".to_owned()),
            (StepOutcome::Cancelled, "1".to_owned())
        ]
    );
}

#[test]
fn nobody_can_tell_what_became_of_some_items() {
    let mut step = pay(&json!({ "items": ["a", "b"] }));
    step["delivery"] = json!("AtMostOnce");
    let mut run = Scenario::of(json!({ "steps": [step] }), &json!({}));
    run.tick();
    run.restart();
    run.decide("r-pay-outcome", ApprovalPhase::Rejected);
    assert_eq!(run.state.phase, RunPhase::Failed);
    assert_eq!(
        run.state.error.as_ref().unwrap().reason,
        StepReason::OutcomeUnknown
    );
}

#[test]
fn an_approval_whose_items_go_on_after_a_no_is_answered_for_by_what_comes_after_it() {
    let mut step = ask(&json!({}));
    step["forEach"]["onItemFailure"] = json!("Continue");
    let told = |after: Value| {
        let definition = serde_json::from_value(json!({ "steps": [step, after] })).unwrap();
        Plan::compile(&definition)
            .err()
            .map(|problems| problems[0].message.clone())
    };
    let act = |when: Option<&str>| {
        let mut act = call("act");
        act["when"] = json!(when);
        act
    };
    let refused = told(act(None)).unwrap();
    assert!(
        refused
            .starts_with("NotGuarded: the run goes on when approval ask is TimedOut or Failed or Rejected"),
        "{refused}"
    );
    assert_eq!(told(act(Some("${steps.ask.outcome == 'Approved'}"))), None);
    assert_eq!(
        told(act(Some(
            "${steps.ask.outcome != 'Skipped' && steps.ask.?items.orValue([]).exists(i, i.outcome == 'Approved')}"
        ))),
        None
    );
}
