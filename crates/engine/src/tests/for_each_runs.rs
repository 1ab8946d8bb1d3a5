//! Steps that start a run for each item.

use super::{
    retried_children::ended,
    retries::{earlier, pinned, retry_of},
    *,
};
use crate::{
    facts::RunFact,
    object::{Closing, StartRun},
    retry::{EarlierRun, RetryRefused, children_to_read},
};
use signoff_api::{
    Json, names,
    run::{StepError, StepStatus},
};

impl Scenario {
    fn item_run(&self, step: &str, item: i64) -> String {
        let run = &self.facts.run;
        let mut entries = self.state.steps.iter().rev();
        let entry = entries.find(|entry| entry.name == step).unwrap();
        names::item_child_run_name(&run.name, &run.uid, step, entry.iteration, item)
    }

    /// The run that an item has started is there, and stands so.
    pub(super) fn item(&mut self, step: &str, item: i64, phase: RunPhase) -> &mut Self {
        let name = self.item_run(step, item);
        let iteration = self
            .state
            .steps
            .iter()
            .rev()
            .find(|entry| entry.name == step)
            .unwrap()
            .iteration;
        let failed = phase.is_finished() && phase != RunPhase::Succeeded;
        let fact = RunFact {
            step: step.to_owned(),
            iteration,
            item: Some(item),
            phase,
            output: (phase == RunPhase::Succeeded).then(|| Json(json!({ "receipt": item }))),
            error: failed.then(|| StepError {
                reason: StepReason::Rejected,
                message: "no".into(),
            }),
            cancel: false,
            terminate: false,
        };
        self.facts
            .objects
            .insert(ObjectKey::run(name), ObjectFact::Run(fact));
        self.tick()
    }

    fn started_items(&self) -> Vec<i64> {
        self.starts()
            .iter()
            .filter_map(|start| start.parent.item)
            .collect()
    }

    fn closed(&self) -> Vec<(&str, Closing)> {
        let closed = self.effects.iter().filter_map(|effect| match effect {
            Effect::Close(close) => Some((close.key.name.as_str(), close.closing)),
            Effect::Call(_) | Effect::Open(_) | Effect::Abort(_) => None,
        });
        closed.collect()
    }
}

/// A run for each of five, two at the same time, and what came of them.
fn deliver(more: &Value) -> Value {
    let mut step = json!({ "name": "deliver", "forEach": { "items": ["a", "b", "c", "d", "e"], "maxParallel": 2 },
        "flow": { "name": "child", "inputs": { "to": "${item}", "nr": "${index}" } } });
    step["forEach"]
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().cloned().unwrap());
    json!({ "steps": [step, { "name": "after", "set": { "outcomes": "${steps.deliver.items.map(i, i.outcome)}" } }],
        "output": { "all": "${steps.deliver.?output.orValue([])}", "outcomes": "${steps.after.output.outcomes}" } })
}

fn begun(more: &Value) -> Scenario {
    let mut run = Scenario::of(deliver(more), &json!({}));
    run.tick();
    run
}

fn step(run: &Scenario) -> &StepStatus {
    run.state.steps.iter().find(|step| step.item.is_none()).unwrap()
}

fn each(run: &Scenario) -> Vec<(StepOutcome, String)> {
    let items = step(run).items.as_ref().unwrap();
    items
        .ended
        .iter()
        .map(|ended| (ended.outcome, ended.items.to_string()))
        .collect()
}

#[test]
fn each_item_starts_a_run_with_its_own_inputs_under_a_name_of_its_index() {
    let mut run = begun(&json!({}));
    assert_eq!(run.started_items(), [0, 1]);
    let starts: Vec<StartRun> = run.starts().into_iter().cloned().collect();
    assert_eq!(starts[1].inputs.to_value(), json!({ "to": "b", "nr": 1 }));
    assert_eq!(
        starts[1].name,
        names::item_child_run_name("r", "u", "deliver", 1, 1)
    );
    assert!(starts[1].name.starts_with("r-deliver-1-"));
    // the order in which they end does not matter
    for item in [1, 0, 3, 2, 4] {
        run.item("deliver", item, RunPhase::Running);
        run.item("deliver", item, RunPhase::Succeeded);
    }
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    let output = run.state.output.clone().unwrap().0;
    assert_eq!(
        output["all"],
        json!([{ "receipt": 0 }, { "receipt": 1 }, { "receipt": 2 }, { "receipt": 3 }, { "receipt": 4 }])
    );
    assert_eq!(each(&run), [(StepOutcome::Succeeded, "0-4".to_owned())]);
    let started = step(&run).items.as_ref().unwrap().started.clone().unwrap();
    assert_eq!(started.to_string(), "0-4");
    assert_eq!(run.state.steps.len(), 2, "items that ended have no entry");
}

#[test]
fn the_step_ends_as_the_worst_of_its_runs_or_goes_on_whatever_came_of_them() {
    let cases = [
        (RunPhase::Failed, StepOutcome::Failed, RunPhase::Failed),
        (RunPhase::Rejected, StepOutcome::Rejected, RunPhase::Rejected),
        (RunPhase::TimedOut, StepOutcome::TimedOut, RunPhase::TimedOut),
        (RunPhase::Cancelled, StepOutcome::Cancelled, RunPhase::Cancelled),
    ];
    for (phase, outcome, ending) in cases {
        let mut run = begun(&json!({}));
        run.item("deliver", 0, phase);
        assert_eq!(
            run.started_items(),
            [1],
            "no other begins, and that one is still asked for"
        );
        run.item("deliver", 1, RunPhase::Succeeded);
        assert_eq!((step(&run).outcome, run.state.phase), (Some(outcome), ending));
        let error = run.state.error.clone().unwrap();
        assert_eq!(error.reason, StepReason::RunNotSucceeded);
        assert!(
            error
                .message
                .starts_with("step deliver: item 0: run r-deliver-0-"),
            "{}",
            error.message
        );

        let mut run = begun(&json!({ "onItemFailure": "Continue" }));
        for item in 0..5 {
            run.item(
                "deliver",
                item,
                if item == 2 { phase } else { RunPhase::Succeeded },
            );
        }
        assert_eq!(run.state.phase, RunPhase::Succeeded, "{phase}: {:#?}", run.state);
        let output = run.state.output.clone().unwrap().0;
        assert_eq!(output["all"][2], Value::Null);
        assert_eq!(output["outcomes"][2], json!(outcome));
    }
    // of several, the worst
    let mut run = begun(&json!({}));
    run.item("deliver", 0, RunPhase::TimedOut)
        .item("deliver", 1, RunPhase::Rejected);
    assert_eq!(run.state.phase, RunPhase::Rejected);
}

#[test]
fn a_cancellation_reaches_every_run_before_it_is_said() {
    for (terminate, closing) in [(false, Closing::Cancelled), (true, Closing::Terminated)] {
        let mut run = begun(&json!({}));
        run.item("deliver", 0, RunPhase::Waiting)
            .item("deliver", 1, RunPhase::Waiting);
        (run.facts.run.cancel, run.facts.run.terminate) = (!terminate, terminate);
        run.tick();
        let told: Vec<Closing> = run.closed().into_iter().map(|(_, closing)| closing).collect();
        assert_eq!(told, [closing, closing]);
        assert_eq!(run.state.phase, RunPhase::Waiting);
        for fact in run.facts.objects.values_mut() {
            if let ObjectFact::Run(fact) = fact {
                (fact.cancel, fact.terminate) = (true, terminate);
            }
        }
        run.tick();
        assert!(run.closed().is_empty(), "each is told once");
        run.item("deliver", 0, RunPhase::Cancelled);
        assert_eq!(run.state.phase, RunPhase::Waiting, "the other has not ended");
        run.item("deliver", 1, RunPhase::Cancelled);
        assert_eq!(run.state.phase, RunPhase::Cancelled);
        assert_eq!(each(&run), [(StepOutcome::Cancelled, "0-1".to_owned())]);
        assert!(run.starts().is_empty());
    }
}

#[test]
fn runs_that_were_started_beside_a_write_that_was_lost_are_stopped_too() {
    let mut run = begun(&json!({}));
    let unwritten = std::mem::take(&mut run.state);
    // whether nothing was written, or the intent
    let names: BTreeSet<ObjectKey> = [0, 1]
        .map(|item| ObjectKey::run(names::item_child_run_name("r", "u", "deliver", 1, item)))
        .into();
    for state in [RunStatus::default(), unwritten.clone()] {
        let unrecorded = run.plan.unrecorded_children("r", "u", &state);
        assert!(names.is_subset(&unrecorded.into_iter().collect()), "{state:#?}");
    }
    run.state.steps = unwritten.steps;
    run.item("deliver", 1, RunPhase::Running);
    run.state = RunStatus::default();
    run.facts.run.cancel = true;
    run.tick();
    assert_eq!(run.closed().len(), 1);
    assert_eq!(run.state.phase, RunPhase::Waiting);
    run.item("deliver", 1, RunPhase::Cancelled);
    assert_eq!(run.state.phase, RunPhase::Cancelled);
}

#[test]
fn five_hundred_runs_keep_the_status_small() {
    let definition = json!({
        "inputs": { "type": "object", "properties": { "items": { "type": "array" } } },
        "steps": [{ "name": "deliver", "forEach": { "items": "${inputs.items}", "maxParallel": 50 },
            "flow": { "name": "child", "inputs": { "to": "${item}" } } }],
        "output": { "last": "${steps.deliver.output[499].receipt}" },
    });
    let items: Vec<i64> = (0..500).collect();
    let mut run = Scenario::of(definition, &json!({ "items": items }));
    run.tick();
    let mut largest = 0;
    for item in 0..500 {
        run.item("deliver", item, RunPhase::Succeeded);
        largest = largest.max(serde_json::to_vec(&run.state).unwrap().len());
        // what has ended is forgotten by the controller, too
        let name = names::item_child_run_name("r", "u", "deliver", 1, item);
        run.facts.objects.remove(&ObjectKey::run(name));
    }
    assert_eq!(run.state.output.clone().unwrap().0, json!({ "last": 499 }));
    assert!(largest < 40 * 1024, "{largest}");
}

#[test]
fn items_with_one_key_share_a_detached_run() {
    let definition = json!({ "steps": [
        { "name": "deliver", "forEach": { "items": ["a", "a", "b"] },
          "flow": { "name": "child", "detached": true, "key": "${item}" } },
    ], "output": { "runs": "${steps.deliver.output.map(o, o.run)}" } });
    let mut run = Scenario::of(definition, &json!({}));
    run.tick();
    assert_eq!(run.starts().len(), 2);
    let names: Vec<String> = run.starts().iter().map(|start| start.name.clone()).collect();
    for name in &names {
        let fact = RunFact {
            step: "deliver".into(),
            iteration: 1,
            item: Some(0),
            phase: RunPhase::Running,
            output: None,
            error: None,
            cancel: false,
            terminate: false,
        };
        run.facts
            .objects
            .insert(ObjectKey::run(name), ObjectFact::Run(fact));
    }
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    let output = run.state.output.clone().unwrap().0;
    assert_eq!(output, json!({ "runs": [names[0], names[0], names[1]] }));
}

/// Five runs of which the third failed, and the fourth succeeded meanwhile.
fn failed() -> (Scenario, EarlierRun) {
    let mut run = begun(&json!({}));
    run.item("deliver", 0, RunPhase::Succeeded)
        .item("deliver", 1, RunPhase::Succeeded);
    run.item("deliver", 2, RunPhase::Failed)
        .item("deliver", 3, RunPhase::Succeeded);
    assert_eq!(run.state.phase, RunPhase::Failed);
    let run = pinned(run);
    let earlier = earlier(&run);
    (run, earlier)
}

#[test]
fn a_retry_starts_no_run_for_items_that_succeeded_and_goes_on_from_the_one_that_did_not() {
    let (first, mut known) = failed();
    let failed = names::item_child_run_name("r", "u", "deliver", 1, 2);
    let fifth = names::item_child_run_name("r", "u", "deliver", 1, 4);
    let read: BTreeSet<String> = children_to_read(&first.plan, None, &known).into_iter().collect();
    assert_eq!(read, BTreeSet::from([failed.clone(), fifth]));
    let gone = retry_of(&known, &first, deliver(&json!({})), None).err();
    assert!(matches!(gone, Some(RetryRefused::ChildGone { .. })), "{gone:?}");

    known.children.insert(failed.clone(), ended(RunPhase::Failed));
    let mut next = retry_of(&known, &first, deliver(&json!({})), None).unwrap();
    next.tick();
    let starts: Vec<(Option<i64>, Option<String>)> = next
        .starts()
        .iter()
        .map(|start| (start.parent.item, start.retry_of.clone()))
        .collect();
    assert_eq!(starts, [(Some(2), Some(failed.clone())), (Some(4), None)]);
    next.item("deliver", 2, RunPhase::Succeeded)
        .item("deliver", 4, RunPhase::Failed);
    assert_eq!(
        each(&next),
        [
            (StepOutcome::Succeeded, "0-3".to_owned()),
            (StepOutcome::Failed, "4".to_owned())
        ]
    );
    let next = pinned(next);

    // and the retry of that, which fails and is retried in turn
    let mut known = EarlierRun {
        name: "r-retry-1".into(),
        uid: "u2".into(),
        ..earlier(&next)
    };
    let fifth = names::item_child_run_name("r-retry-1", "u2", "deliver", 1, 4);
    let fact = crate::retry::ChildFact {
        parent: "u2".into(),
        ..ended(RunPhase::Failed)
    };
    known.children = [(fifth.clone(), fact), (failed, ended(RunPhase::Failed))].into();
    let mut last = retry_of(&known, &next, deliver(&json!({})), None).unwrap();
    last.tick();
    let starts: Vec<(Option<i64>, Option<String>)> = last
        .starts()
        .iter()
        .map(|start| (start.parent.item, start.retry_of.clone()))
        .collect();
    assert_eq!(starts, [(Some(4), Some(fifth))]);
    last.item("deliver", 4, RunPhase::Succeeded);
    let all = last.state.output.clone().unwrap().0["all"].clone();
    assert_eq!(all.as_array().unwrap().len(), 5);
    assert_eq!(
        all[3],
        json!({ "receipt": 3 }),
        "the output that two runs took over"
    );
}

#[test]
fn a_retry_calls_no_item_again_that_succeeded() {
    let definition = json!({ "steps": [
        { "name": "pay", "forEach": { "items": "${['a', 'b', 'c']}" }, "http": { "url": "http://bank/${item}", "method": "POST" } },
    ], "output": { "all": "${steps.pay.output}" } });
    let mut first = Scenario::of(definition.clone(), &json!({}));
    first.tick().answer("pay[1]", 400, json!({}));
    first
        .answer("pay[0]", 200, json!({ "n": 0 }))
        .answer("pay[2]", 200, json!({ "n": 2 }));
    let first = pinned(first);
    let mut next = retry_of(&earlier(&first), &first, definition, None).unwrap();
    next.tick();
    let keys: Vec<&str> = next
        .http()
        .iter()
        .map(|call| call.idempotency_key.as_str())
        .collect();
    assert_eq!(keys, ["u/pay/1/1"]);
    next.answer("pay[1]", 200, json!({ "n": 1 }));
    assert_eq!(
        next.state.output.clone().unwrap().0,
        json!({ "all": [{ "n": 0 }, { "n": 1 }, { "n": 2 }] })
    );
    assert_eq!(next.state.billable_steps, 1);
}

#[test]
fn items_that_are_others_by_now_are_not_taken_for_those_that_were_done() {
    let definition = json!({ "steps": [
        call("list"),
        { "name": "pay", "forEach": { "items": "${steps.list.output}" }, "http": { "url": "http://bank/${item}", "method": "POST" } },
    ] });
    let mut first = Scenario::of(definition.clone(), &json!({}));
    first.tick().answer("list", 200, json!(["a", "b"]));
    first
        .answer("pay[0]", 200, json!({}))
        .answer("pay[1]", 400, json!({}));
    let first = pinned(first);
    let mut next = retry_of(&earlier(&first), &first, definition, Some("list")).unwrap();
    next.tick().answer("list", 200, json!(["x", "b"]));
    assert_eq!(next.http().len(), 2);
}

#[test]
fn runs_of_items_that_nobody_waits_for_are_not_started_a_second_time() {
    let definition = json!({ "steps": [
        { "name": "deliver", "forEach": { "items": ["a"] }, "flow": { "name": "child", "detached": true } },
        call("thank"),
    ] });
    let mut first = Scenario::of(definition.clone(), &json!({}));
    first.tick().item("deliver", 0, RunPhase::Running);
    first.answer("thank", 400, json!({}));
    let first = pinned(first);
    let retried = |from: &str| retry_of(&earlier(&first), &first, definition.clone(), Some(from));
    assert!(matches!(
        retried("deliver").err(),
        Some(RetryRefused::RanFlow { .. })
    ));
    assert!(retried("thank").is_ok());
}
