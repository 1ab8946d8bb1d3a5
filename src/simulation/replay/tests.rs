use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    manifest,
    simulation::{
        Objects, Record, Scenario, is_scenario, scenario::RunEvent, simulate, trigger::start, world,
    },
};
use signoff_api::{
    Approval, Connection, Decision, Flow,
    run::{PinnedRelease, StepOutcome},
};

/// The objects that a cluster would have at the end of a scenario.
fn recorded(scenario: &Scenario, objects: &Objects, record: &Record) -> Recorded {
    let flow = &scenario.spec.flow;
    let definition = &objects.flows[flow];
    let facts = world::release(scenario, objects, definition).unwrap();
    let plan = Plan::compile(definition).unwrap();
    let started = start(scenario, definition, &plan, &facts).unwrap();
    let release = json!({
        "apiVersion": "signoff.dev/v1alpha1", "kind": "Release", "metadata": {"name": facts.name},
        "spec": {"flow": flow, "definition": definition, "digest": facts.digest, "dependencies": facts.dependencies,
            "source": {}},
    });
    let mut status = record.status.clone();
    status.release = Some(PinnedRelease {
        name: facts.name,
        digest: facts.digest,
        commit: None,
    });
    let answers = || {
        scenario
            .spec
            .events
            .iter()
            .filter_map(|event| event.resolve.as_ref())
    };
    let resolved = status.resolutions.iter().filter_map(|(key, noted)| {
        // one that was refused came before
        let by_hand = answers().rfind(|resolve| resolve.message == noted.message)?;
        let resolution = json!({"body": by_hand.body, "message": by_hand.message, "by": by_hand.by});
        Some((key.clone(), resolution))
    });
    let resolutions: Map<String, Value> = resolved.collect();
    let does = |event: RunEvent| scenario.spec.events.iter().any(|known| known.run == Some(event));
    let run = json!({
        "apiVersion": "signoff.dev/v1alpha1", "kind": "Run",
        "metadata": {"name": "run", "uid": "run", "namespace": "default", "generation": 1},
        "spec": {
            "flow": flow, "inputs": record.inputs, "requestedBy": record.requested_by, "trigger": started.trigger,
            "cancel": does(RunEvent::Cancel), "terminate": does(RunEvent::Terminate),
            "suspend": does(RunEvent::Suspend) && !does(RunEvent::Resume), "resolutions": resolutions,
        },
        "status": status,
    });
    let own = || record.questions.iter().filter(|question| question.run == 0);
    let approvals = own().map(|question| {
        let mut approval = Approval::new(&question.name, question.spec.clone());
        approval.metadata.creation_timestamp = Some(Time(question.asked_at));
        approval.status = Some(question.status.clone());
        approval
    });
    let decisions = own().flat_map(|question| &question.decisions).map(|fact| {
        let mut decision = Decision::new(&fact.name, fact.spec.clone());
        decision.metadata.uid = Some(fact.uid.clone());
        decision.metadata.creation_timestamp = Some(Time(fact.created_at));
        decision.status.clone_from(&fact.judged);
        decision
    });
    // as kubectl prints them
    let again = |object: Value| serde_json::from_str(&object.to_string()).unwrap();
    Recorded {
        run: serde_json::from_str(&run.to_string()).unwrap(),
        release: serde_json::from_str(&release.to_string()).unwrap(),
        approvals: again(json!(approvals.collect::<Vec<_>>())),
        decisions: serde_json::from_str(&json!(decisions.collect::<Vec<_>>()).to_string()).unwrap(),
        runs: vec![],
    }
}

/// The end of a scenario of a flow of these steps.
#[expect(clippy::needless_pass_by_value, reason = "it is written in place")]
fn played(steps: Value, more: Value) -> Recorded {
    let definition = json!({
        "inputs": {"type": "object", "properties": {"n": {"type": "integer", "default": 0}}},
        "steps": steps,
    });
    let objects = Objects {
        flows: [("f".parse().unwrap(), serde_json::from_value(definition).unwrap())].into(),
        connections: BTreeMap::new(),
    };
    let mut spec = json!({"files": ["f.yaml"], "flow": "f", "now": "2026-11-23T09:00:00Z"});
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let scenario = json!({
        "apiVersion": "test.signoff.dev/v1alpha1", "kind": "Scenario", "metadata": {"name": "s"}, "spec": spec,
    });
    let scenario = Scenario::parse(scenario).unwrap();
    let record = simulate(&scenario, &objects).unwrap();
    assert_eq!(record.problems, Vec::<String>::new());
    recorded(&scenario, &objects, &record)
}

fn question() -> Value {
    json!([
        {"name": "quote", "http": {"url": "https://shop.example/quote"}},
        {"name": "sum", "set": {"total": "${steps.quote.output.price * 2}"}},
        {"name": "ask", "approval": {"title": "Pay ${steps.sum.output.total}?", "approvers": {"groups": ["g"]},
            "quorum": 2, "onReject": {"outcome": "Continue"}}},
        {"name": "pay", "when": "${steps.ask.outcome == 'Approved'}", "http": {"url": "https://shop.example/pay", "method": "POST"}},
        {"name": "rest", "when": "${steps.ask.outcome == 'Rejected'}", "http": {"url": "https://shop.example/no", "method": "POST"}},
    ])
}

fn answered() -> Recorded {
    let decide = |at: &str, by: &str| json!({"at": at, "step": "ask", "decide": {"by": by, "groups": ["g"], "verdict": "Approve"}});
    let more = json!({
        "stubs": [{"step": "quote", "output": {"price": 4}}, {"step": "pay", "output": {"ok": true}}],
        "events": [decide("1h", "alice"), decide("2h", "bob")],
    });
    played(question(), more)
}

/// The first difference, as `step.field: recorded, decided`.
fn first(recorded: &Recorded) -> String {
    let replay = replay(recorded).unwrap();
    let Some((step, difference)) = replay.first_difference() else {
        return "none".to_owned();
    };
    let step = step.map_or("run", |step| &step.step);
    let Difference {
        field,
        recorded,
        decided,
    } = difference;
    format!("{step}.{field}: {recorded}, {decided}")
}

fn step<'a>(recorded: &'a mut Recorded, name: &str) -> &'a mut signoff_api::run::StepStatus {
    let status = recorded.run.status.as_mut().unwrap();
    status.steps.iter_mut().rfind(|step| step.name == name).unwrap()
}

#[test]
fn an_untouched_record_agrees_and_tells_what_it_took_as_given() {
    let replay = replay(&answered()).unwrap();
    assert_eq!(replay.first_difference(), None);
    let told: Vec<(&str, Verdict, usize)> = replay
        .steps
        .iter()
        .map(|step| (step.step.as_str(), step.verdict, step.notes.len()))
        .collect();
    let agrees = Verdict::Agrees;
    assert_eq!(
        told,
        [
            ("quote", agrees, 1),
            ("sum", agrees, 0),
            ("ask", agrees, 0),
            ("pay", agrees, 1),
            ("rest", agrees, 0)
        ]
    );
    assert_eq!(replay.unproven, Vec::<String>::new());
}

#[test]
fn a_changed_outcome_of_an_approval_is_found() {
    let mut forged = answered();
    step(&mut forged, "ask").outcome = Some(StepOutcome::Rejected);
    assert_eq!(first(&forged), "ask.outcome: \"Rejected\", \"Approved\"");
    let mut forged = answered();
    step(&mut forged, "ask").decision.as_mut().unwrap().by = vec!["alice".into(), "eve".into()];
    assert_eq!(
        first(&forged),
        "ask.decision.by: [\"alice\",\"eve\"], [\"alice\",\"bob\"]"
    );
}

#[test]
fn a_step_that_its_condition_would_have_skipped_is_found() {
    let mut forged = answered();
    let rest = step(&mut forged, "rest");
    rest.outcome = Some(StepOutcome::Succeeded);
    rest.phase = signoff_api::run::StepPhase::Succeeded;
    rest.attempt = 1;
    assert_eq!(first(&forged), "rest.outcome: \"Succeeded\", \"Skipped\"");
    let mut forged = answered();
    step(&mut forged, "pay").outcome = Some(StepOutcome::Skipped);
    assert!(
        first(&forged).starts_with("pay.outcome: \"Skipped\""),
        "{}",
        first(&forged)
    );
}

#[test]
fn a_forged_output_of_a_computed_step_is_found_and_so_is_what_people_were_shown() {
    let mut forged = answered();
    step(&mut forged, "sum").output = Some(signoff_api::Json(json!({"total": 9})));
    assert_eq!(first(&forged), "sum.output: {\"total\":9}, {\"total\":8}");
    // of a call, the answer is given; what was made of it is not
    let mut forged = answered();
    step(&mut forged, "quote").output = Some(signoff_api::Json(json!({"price": 5})));
    assert_eq!(first(&forged), "sum.output: {\"total\":8}, {\"total\":10}");
    let mut forged = answered();
    forged.approvals[0].spec.title = "Pay 1?".into();
    assert_eq!(first(&forged), "ask.approval.spec.title: \"Pay 1?\", \"Pay 8?\"");
}

#[test]
fn a_vote_that_was_added_or_counted_otherwise_is_found() {
    let mut forged = answered();
    forged
        .decisions
        .retain(|decision| decision.spec.by.as_deref() != Some("bob"));
    let status = forged.approvals[0].status.as_mut().unwrap();
    status.counted.retain(|counted| counted.by != "bob");
    assert_eq!(first(&forged), "ask.approval.phase: \"Approved\", \"Pending\"");
    // one who is no approver
    let mut forged = answered();
    forged.decisions[1].spec.groups = Some(vec![]);
    assert_eq!(first(&forged), "ask.approval.phase: \"Approved\", \"Pending\"");
    let mut forged = answered();
    forged.decisions[1].status.as_mut().unwrap().counted = Some(false);
    assert!(
        first(&forged).contains("counted: false, true"),
        "{}",
        first(&forged)
    );
}

#[test]
fn the_end_of_a_run_is_compared_too() {
    let mut forged = answered();
    forged.run.status.as_mut().unwrap().phase = signoff_api::RunPhase::Failed;
    assert_eq!(first(&forged), "run.phase: \"Failed\", \"Succeeded\"");
    let mut forged = answered();
    forged.run.status.as_mut().unwrap().billable_steps = 1;
    assert_eq!(first(&forged), "run.billableSteps: 1, 2");
}

#[test]
fn another_release_is_refused() {
    let mut forged = answered();
    forged.release.spec.definition.description = Some("other".into());
    let error = replay(&forged).unwrap_err();
    assert!(matches!(error, ReplayError::ReleaseChanged { .. }), "{error}");
    let mut forged = answered();
    forged.run.status.as_mut().unwrap().release = None;
    assert!(matches!(replay(&forged).unwrap_err(), ReplayError::NoRelease(_)));
}

#[test]
fn without_its_approval_an_answer_is_taken_from_the_record_and_that_is_said() {
    let mut partly = answered();
    partly.approvals.clear();
    partly.decisions.clear();
    let replayed = replay(&partly).unwrap();
    assert_eq!(replayed.first_difference(), None);
    let ask = replayed.steps.iter().find(|step| step.step == "ask").unwrap();
    assert!(ask.notes[0].contains("taken from the record"), "{ask:?}");
    let mut partly = answered();
    partly.decisions.pop();
    let replayed = replay(&partly).unwrap();
    assert_eq!(replayed.first_difference(), None);
}

#[test]
fn passes_that_are_forgotten_are_named_and_the_newest_is_replayed() {
    let steps = json!([
        {"name": "poll", "http": {"url": "https://a.example"}},
        {"name": "seen", "set": {"n": "${steps.poll.output.n}"},
            "repeat": {"from": "poll", "until": "${steps.seen.output.n >= 5.0}", "every": "1m"}},
        {"name": "done", "set": {"n": "${steps.seen.output.n}"}},
    ]);
    let stubs: Vec<Value> = (1..=5)
        .map(|n| json!({"step": "poll", "pass": n, "output": {"n": f64::from(n)}}))
        .collect();
    let mut run = played(steps, json!({"stubs": stubs}));
    let replayed = replay(&run).unwrap();
    assert_eq!(replayed.first_difference(), None, "{replayed:#?}");
    assert_eq!(replayed.unproven.len(), 1);
    assert!(
        replayed.unproven[0].starts_with("passes 1 to 3 of step poll"),
        "{:?}",
        replayed.unproven
    );
    let verdict = |name: &str, pass: i64| {
        let mut steps = replayed.steps.iter();
        steps
            .find(|step| step.step == name && step.pass == pass)
            .unwrap()
            .verdict
    };
    assert_eq!(verdict("seen", 4), Verdict::Unproven);
    assert_eq!(verdict("seen", 5), Verdict::Agrees);
    assert_eq!(verdict("done", 1), Verdict::Agrees);
    step(&mut run, "seen").output = Some(signoff_api::Json(json!({"n": 6.0})));
    assert_eq!(first(&run), "seen.output: {\"n\":6.0}, {\"n\":5}");
}

#[test]
fn retries_crashes_items_callbacks_and_ends_by_people_agree() {
    let call = json!({"url": "https://a.example", "method": "POST"});
    let wait =
        json!({"callback": {"heartbeat": "5m"}, "respondWithin": "2h", "onTimeout": {"outcome": "Continue"}});
    let cases = [
        (
            json!([{"name": "a", "http": call, "retry": {"attempts": 3, "backoff": {"initial": "1h"}}}]),
            json!({"stubs": [{"step": "a", "attempt": 1, "error": {"reason": "Unreachable"}},
                {"step": "a", "attempt": 2, "error": {"reason": "Unreachable"}}, {"step": "a", "output": 1}]}),
        ),
        (
            json!([{"name": "a", "http": call, "retry": {"attempts": 2, "backoff": {"initial": "1h"}}}]),
            json!({"stubs": [{"step": "a", "error": {"reason": "Unreachable", "message": "no"}}]}),
        ),
        (
            json!([{"name": "a", "http": call, "delivery": "AtMostOnce"}, {"name": "b", "set": {"x": "${steps.a.outcome}"}}]),
            json!({"stubs": [{"step": "a", "crash": "AfterSend"}, {"step": "a", "output": 1}], "events": [
                {"at": "1h", "step": "a", "decide": {"by": "alice", "verdict": "Approve", "values": {"happened": false}}}]}),
        ),
        (
            json!([{"name": "a", "http": call, "forEach": {"items": [1, 2, 3, 4], "maxParallel": 2, "onItemFailure": "Continue"}},
                {"name": "b", "set": {"x": "${steps.a.items.map(i, i.outcome)}"}}]),
            json!({"stubs": [{"step": "a", "item": 1, "error": {"reason": "Unreachable"}}, {"step": "a", "output": "x"}]}),
        ),
        (
            json!([{"name": "w", "wait": wait}, {"name": "b", "set": {"x": "${steps.w.outcome}"}}]),
            json!({"events": [{"at": "4m", "step": "w", "heartbeat": {}, "expect": 202},
                {"at": "8m", "step": "w", "callback": {"body": {"ok": true}}}]}),
        ),
        (
            json!([{"name": "w", "wait": wait}, {"name": "b", "set": {"x": "${steps.w.outcome}"}}]),
            json!({"events": [{"at": "4m", "step": "w", "heartbeat": {}, "expect": 202}]}),
        ),
        (
            json!([{"name": "a", "needs": [], "wait": {"duration": "3h"}}, {"name": "b", "needs": [], "wait": {"duration": "1h"}},
                {"name": "c", "needs": ["b"], "set": {"x": 1}}]),
            json!({"events": [{"at": "2h", "run": "cancel"}]}),
        ),
        (
            json!([{"name": "a", "set": {"x": 1}}, {"name": "ask", "approval": {"title": "Go?", "respondWithin": "1h",
                "changes": {"backTo": "a"}}}]),
            json!({"events": [{"at": "10m", "step": "ask", "decide": {"by": "eve", "verdict": "RequestChanges", "comment": "no"}}]}),
        ),
    ];
    for (steps, more) in cases {
        let run = played(steps.clone(), more);
        let replayed = replay(&run).unwrap();
        assert_eq!(replayed.first_difference(), None, "{steps:#}\n{replayed:#?}");
        assert!(
            replayed.steps.iter().any(|step| step.verdict == Verdict::Agrees),
            "{replayed:#?}"
        );
    }
}

fn scenarios(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            scenarios(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            found.push(path);
        }
    }
}

fn documents(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let documents = manifest::documents(&text).unwrap();
    documents.into_iter().map(|document| document.value).collect()
}

fn objects_of(path: &Path, scenario: &Scenario) -> Objects {
    let mut objects = Objects::default();
    for file in &scenario.spec.files {
        for document in documents(&path.parent().unwrap().join(file)) {
            let name = document["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if document["kind"] == "Flow" {
                let flow: Flow = serde_json::from_value(document).unwrap();
                objects.flows.insert(name.parse().unwrap(), flow.spec.definition);
            } else if document["kind"] == "Connection" {
                let connection: Connection = serde_json::from_value(document).unwrap();
                objects.connections.insert(name, connection);
            }
        }
    }
    objects
}

#[test]
fn the_end_of_every_scenario_of_the_examples_replays() {
    let mut files = vec![];
    scenarios(Path::new("examples"), &mut files);
    let (mut replayed, mut agreed, mut all) = (0, 0, 0);
    for path in files {
        for document in documents(&path) {
            if !is_scenario(&document) {
                continue;
            }
            let scenario = Scenario::parse(document).unwrap();
            let objects = objects_of(&path, &scenario);
            let record = simulate(&scenario, &objects).unwrap();
            let recorded = recorded(&scenario, &objects, &record);
            let name = &scenario.metadata.name;
            let told = match replay(&recorded) {
                Ok(told) => told,
                Err(error) => panic!("{}: {name}: {error}", path.display()),
            };
            assert_eq!(
                told.first_difference(),
                None,
                "{}: {name}: {told:#?}",
                path.display()
            );
            replayed += 1;
            all += told.steps.len();
            agreed += told
                .steps
                .iter()
                .filter(|step| step.verdict == Verdict::Agrees)
                .count();
        }
    }
    assert!(replayed >= 30, "{replayed} scenarios");
    assert!(agreed * 10 >= all * 9, "{agreed} of {all} passes are proven");
}
