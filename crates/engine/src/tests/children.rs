//! Runs that steps start.

use super::{
    retries::{pinned, retry},
    *,
};
use crate::{
    facts::RunFact,
    object::{Closing, StartRun},
    plan::Children,
};
use signoff_api::{
    Json,
    run::{EndingOutcome, ParentRun, StepError},
};

impl Scenario {
    pub(super) fn starts(&self) -> Vec<&StartRun> {
        let starts = self.effects.iter().filter_map(|effect| match effect {
            Effect::Open(OwnedObject::Run(run)) => Some(&**run),
            Effect::Open(OwnedObject::Approval(_) | OwnedObject::WorkItem(_) | OwnedObject::Job(_))
            | Effect::Call(_)
            | Effect::Close(_)
            | Effect::Abort(_) => None,
        });
        starts.collect()
    }

    /// The run that a step started is there, and stands so.
    pub(super) fn child(&mut self, step: &str, phase: RunPhase) -> &mut Self {
        let entry = self
            .state
            .steps
            .iter()
            .rev()
            .find(|entry| entry.name == step)
            .unwrap();
        let iteration = entry.iteration;
        let run = &self.facts.run;
        let name = signoff_api::names::child_run_name(&run.name, &run.uid, step, iteration);
        let error = (phase.is_finished() && phase != RunPhase::Succeeded).then(|| StepError {
            reason: StepReason::Rejected,
            message: "step ask: no".into(),
        });
        let known = self
            .facts
            .objects
            .get(&ObjectKey::run(&name))
            .and_then(ObjectFact::as_run);
        let fact = RunFact {
            step: step.to_owned(),
            iteration,
            item: None,
            phase,
            output: (phase == RunPhase::Succeeded).then(|| Json(json!({ "receipt": "R1" }))),
            error,
            cancel: known.is_some_and(|known| known.cancel),
            terminate: known.is_some_and(|known| known.terminate),
        };
        self.facts
            .objects
            .insert(ObjectKey::run(name), ObjectFact::Run(fact));
        self.tick()
    }

    /// The runs that are told to stop, as they are told.
    fn stops(&self) -> Vec<Closing> {
        let stops = self.effects.iter().filter_map(|effect| match effect {
            Effect::Close(close) => Some(close.closing),
            Effect::Call(_) | Effect::Open(_) | Effect::Abort(_) => None,
        });
        stops.collect()
    }
}

fn one(more: &Value) -> Value {
    let mut step =
        json!({ "name": "apply", "flow": { "name": "child", "inputs": { "order": "${inputs.order}" } } });
    step.as_object_mut()
        .unwrap()
        .extend(more.as_object().cloned().unwrap());
    json!({
        "inputs": { "type": "object", "required": ["order"], "properties": { "order": { "type": "string" } } },
        "steps": [step, { "name": "after", "set": { "outcome": "${steps.apply.outcome}" } }],
        "output": { "receipt": "${steps.apply.?output.?receipt.orValue('none')}", "outcome": "${steps.after.output.outcome}" },
    })
}

fn begun(more: &Value) -> Scenario {
    let mut run = Scenario::of(one(more), &json!({ "order": "81" }));
    run.tick();
    run
}

#[test]
fn a_step_starts_the_pinned_release_with_its_inputs_for_whoever_asked() {
    let mut run = Scenario::of(one(&json!({})), &json!({ "order": "81" }));
    run.facts.run.parents = vec![ParentRun {
        run: "above".into(),
        flow: "top".into(),
        requested_by: Some("carol".into()),
        author: None,
    }];
    run.tick();
    let starts = run.starts();
    let [child] = starts[..] else { panic!("{starts:?}") };
    assert_eq!(
        (child.flow.as_str(), child.release.as_str()),
        ("child", "child-1")
    );
    assert_eq!(child.inputs.to_value(), json!({ "order": "81" }));
    assert_eq!(child.requested_by.as_deref(), Some("dev"));
    assert_eq!(child.parent.digest, Digest::of(b"child"));
    let chain: Vec<_> = child
        .parent
        .chain
        .iter()
        .map(|above| above.run.as_str())
        .collect();
    assert_eq!(chain, ["r", "above"]);
    assert_eq!(run.state.steps[0].run, None, "it is named when it is there");
    run.child("apply", RunPhase::Pending);
    assert!(run.starts().is_empty());
    assert!(run.state.steps[0].run.is_some());
    assert_eq!(run.state.phase, RunPhase::Waiting);
}

#[test]
fn the_outcome_is_the_phase_of_the_child_and_the_run_ends_with_it() {
    for (phase, outcome, ending) in [
        (RunPhase::Failed, StepOutcome::Failed, RunPhase::Failed),
        (RunPhase::Rejected, StepOutcome::Rejected, RunPhase::Rejected),
        (RunPhase::TimedOut, StepOutcome::TimedOut, RunPhase::TimedOut),
        (RunPhase::Cancelled, StepOutcome::Cancelled, RunPhase::Cancelled),
    ] {
        let mut run = begun(&json!({}));
        run.child("apply", RunPhase::Running).child("apply", phase);
        assert_eq!(
            (run.state.steps[0].outcome, run.state.phase),
            (Some(outcome), ending)
        );
        let error = run.state.error.clone().unwrap();
        assert_eq!(error.reason, StepReason::RunNotSucceeded);
        assert!(error.message.ends_with(": step ask: no"), "{}", error.message);

        let mut run = begun(&json!({ "onFailure": { "outcome": "Continue" } }));
        run.child("apply", phase);
        assert_eq!(run.state.phase, RunPhase::Succeeded);
        let output = run.state.output.clone().unwrap().0;
        assert_eq!(output, json!({ "receipt": "none", "outcome": outcome }));
    }
    let mut run = begun(&json!({}));
    run.child("apply", RunPhase::Succeeded);
    let output = run.state.output.clone().unwrap().0;
    assert_eq!(output, json!({ "receipt": "R1", "outcome": "Succeeded" }));
}

#[test]
fn a_run_that_is_cancelled_ends_after_its_children() {
    for (terminate, closing) in [(false, Closing::Cancelled), (true, Closing::Terminated)] {
        let mut run = begun(&json!({}));
        run.child("apply", RunPhase::Waiting);
        if terminate {
            run.facts.run.terminate = true;
        } else {
            run.facts.run.cancel = true;
        }
        run.tick();
        assert_eq!(run.stops(), [closing]);
        assert_eq!(run.state.phase, RunPhase::Waiting);
        assert_eq!(
            run.state.ending.as_ref().unwrap().outcome,
            EndingOutcome::Cancelled
        );
        for fact in run.facts.objects.values_mut() {
            if let ObjectFact::Run(fact) = fact {
                (fact.cancel, fact.terminate) = (true, terminate);
            }
        }
        run.tick();
        assert_eq!(run.stops(), [], "it is told once");
        run.child("apply", RunPhase::Cancelled);
        assert_eq!(run.state.phase, RunPhase::Cancelled);
        assert_eq!(run.state.steps[0].outcome, Some(StepOutcome::Cancelled));
    }
}

#[test]
fn a_child_that_was_started_beside_a_write_that_was_lost_is_stopped_too() {
    let mut run = begun(&json!({}));
    let unwritten = std::mem::take(&mut run.state);
    run.facts.run.cancel = true;
    assert_eq!(run.plan.unrecorded_children("r", "u", &run.state).len(), 1);
    run.state.steps = unwritten.steps;
    run.child("apply", RunPhase::Running);
    assert_eq!(run.stops(), [Closing::Cancelled]);
    assert_eq!(run.state.phase, RunPhase::Waiting);
}

#[test]
fn a_child_that_somebody_deletes_fails_its_step_and_is_not_started_again() {
    let mut run = begun(&json!({}));
    run.child("apply", RunPhase::Running);
    run.facts.objects.clear();
    run.tick();
    assert!(run.starts().is_empty());
    assert_eq!(run.state.phase, RunPhase::Failed);
    assert_eq!(run.state.error.as_ref().unwrap().reason, StepReason::RunDeleted);
}

#[test]
fn a_detached_run_is_started_and_left_alone() {
    let definition = |key: &str| {
        json!({ "steps": [
            { "name": "apply", "flow": { "name": "child", "detached": true, "key": key } },
            { "name": "ask", "approval": { "title": "go on without ${steps.apply.output.run}?" } },
        ] })
    };
    let mut run = Scenario::of(definition("${run.namespace}"), &json!({}));
    run.tick();
    let name = run.starts()[0].name.clone();
    assert_eq!(name, signoff_api::names::keyed_run_name("f", "child", "default"));
    let fact = RunFact {
        step: "apply".into(),
        iteration: 1,
        item: None,
        phase: RunPhase::Running,
        output: None,
        error: None,
        cancel: false,
        terminate: false,
    };
    run.facts
        .objects
        .insert(ObjectKey::run(&name), ObjectFact::Run(fact));
    run.tick();
    assert_eq!(run.state.steps[0].output, Some(Json(json!({ "run": name }))));
    run.facts.run.cancel = true;
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Cancelled);
    let closed: Vec<_> = run
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Close(_)))
        .collect();
    assert_eq!(closed.len(), 1, "only the question: {closed:?}");
}

#[test]
fn inputs_are_checked_against_those_of_the_child_as_far_as_they_are_known() {
    let schema = json!({ "type": "object", "required": ["order", "count"], "properties": {
        "order": { "type": "string" }, "count": { "type": "integer", "minimum": 1 }, "note": { "type": "string" } } });
    let problems = |inputs: Value, schema: Option<&Value>| {
        let definition = json!({
            "inputs": { "type": "object", "required": ["text", "number"],
                "properties": { "text": { "type": "string" }, "number": { "type": "integer" } } },
            "steps": [{ "name": "apply", "flow": { "name": "child", "inputs": inputs } }],
        });
        let definition: Definition = serde_json::from_value(definition).unwrap();
        let children = Children::from([("child".to_owned(), schema.cloned().map(Json))]);
        let problems = Plan::compile_with(&definition, &children)
            .err()
            .unwrap_or_default();
        let told = problems
            .into_iter()
            .map(|problem| format!("{}: {}", problem.field, problem.message));
        told.collect::<Vec<_>>().join("\n")
    };
    for (inputs, expected) in [
        (json!({ "order": "81", "count": 1 }), ""),
        (
            json!({ "order": "${inputs.text}", "count": "${inputs.number}" }),
            "",
        ),
        (json!({ "order": "no ${inputs.number}", "count": 2 }), ""),
        (json!({ "order": "81" }), "count"),
        (json!({ "order": "${inputs.text}" }), "requires the input count"),
        (json!({ "order": "81", "count": 0 }), "inputs.count"),
        (json!({ "order": "${inputs.text}", "count": 0 }), "inputs.count"),
        (
            json!({ "order": "${inputs.text}", "count": 1, "extra": 1 }),
            "no such input",
        ),
        (
            json!({ "order": "${inputs.number}", "count": 1 }),
            "inputs.order: it is of type int",
        ),
        (
            json!({ "order": "${inputs.text}", "count": "${inputs.text}" }),
            "inputs.count: it is of type string",
        ),
    ] {
        let found = problems(inputs.clone(), Some(&schema));
        if expected.is_empty() {
            assert_eq!(found, "", "{inputs}");
        } else {
            assert!(found.contains(expected), "{inputs}: {found}");
        }
    }
    assert!(problems(json!({ "order": "1" }), None).contains("takes no inputs"));
    assert!(problems(json!({ "order": "${inputs.text}" }), None).contains("takes no inputs"));
    assert_eq!(problems(json!({}), None), "");
}

#[test]
fn a_retry_starts_a_detached_run_of_the_same_key_again_which_is_the_same_run() {
    let keyed =
        json!({ "flow": { "name": "child", "detached": true, "key": "k", "inputs": { "order": "81" } } });
    let mut run = pinned(begun(&keyed));
    run.state.phase = RunPhase::Cancelled;
    let mut next = retry(&run, one(&keyed), "apply").unwrap();
    let first: Vec<_> = run.starts().iter().map(|start| start.name.clone()).collect();
    next.tick();
    let again: Vec<_> = next.starts().iter().map(|start| start.name.clone()).collect();
    assert_eq!(first, again);
    assert_eq!(first.len(), 1);
}

#[test]
fn a_run_that_was_to_start_in_the_turn_that_ends_everything_is_not_started() {
    let steps = json!([
        { "name": "apply", "needs": [], "flow": { "name": "child" } },
        { "name": "stop", "needs": [], "end": { "outcome": "Failed" } },
    ]);
    let mut run = Scenario::of(json!({ "steps": steps }), &json!({}));
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Failed);
    assert!(run.starts().is_empty());
}
