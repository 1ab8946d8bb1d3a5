//! Whatever flow it is and in whatever order things happen: no step is lost, none is done twice, and every prefix replays.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    chat::{LlmAnswer, LlmResponse, ToolCall},
    facts::{GitResponse, JobFact, JobState, ProcessFact, RunFact, SshResponse},
    job,
    object::{Closing, ObjectKind},
};
use signoff_api::{
    WorkItemPhase,
    run::{AgentCallPhase, Usage},
};

/// One thing that may happen; the number picks among what is open at that moment.
#[derive(Clone, Debug)]
enum Happening {
    Answer(usize, u16),
    Lost(usize),
    Decide(usize, bool, bool),
    Changes(usize),
    Callback(usize),
    Child(usize, bool),
    Time(i64),
    Restart,
    Cancel,
    Terminate,
    Suspend(bool),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        4 => (any::<usize>(), prop_oneof![3 => Just(200), 1 => Just(500), 1 => Just(404)]).prop_map(|(n, status)| Happening::Answer(n, status)),
        1 => any::<usize>().prop_map(Happening::Lost),
        3 => (any::<usize>(), prop::bool::weighted(0.9), any::<bool>()).prop_map(|(n, yes, happened)| Happening::Decide(n, yes, happened)),
        1 => any::<usize>().prop_map(Happening::Changes),
        2 => any::<usize>().prop_map(Happening::Callback),
        2 => (any::<usize>(), prop::bool::weighted(0.9)).prop_map(|(n, succeeds)| Happening::Child(n, succeeds)),
        2 => (0_i64..120).prop_map(Happening::Time),
        2 => Just(Happening::Restart),
        2 => Just(Happening::Cancel),
        1 => Just(Happening::Terminate),
        1 => any::<bool>().prop_map(Happening::Suspend),
    ];
    prop::collection::vec(one, 0..40)
}

/// A flow of up to six steps of any kind, in order or as a graph.
fn flows() -> impl Strategy<Value = Value> {
    let step = (
        0..23_u8,
        any::<bool>(),
        prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..3),
        any::<bool>(),
        0..6_u8,
    );
    let last = prop::collection::vec((prop_oneof![0..4_u8, 8..10_u8, 15..18_u8], any::<bool>()), 0..3);
    (prop::collection::vec(step, 1..7), any::<bool>(), last).prop_map(|(drawn, graph, last)| {
        let mut steps: Vec<Value> = Vec::new();
        let mut before: Vec<BTreeSet<usize>> = Vec::new();
        for (i, (kind, flag, needs, skip, again)) in drawn.into_iter().enumerate() {
            let mut step = step_of(&format!("s{i}"), kind, flag);
            let needs: Vec<(usize, bool)> = if graph {
                let earlier = needs.into_iter().filter(|_| i > 0);
                earlier.map(|(index, narrow)| (index.index(i), narrow)).collect()
            } else {
                i.checked_sub(1).map(|last| (last, false)).into_iter().collect()
            };
            let mut all: BTreeSet<usize> = needs.iter().map(|(needed, _)| *needed).collect();
            all.extend(needs.iter().flat_map(|(needed, _)| before[*needed].clone()));
            if graph {
                let say = |(needed, narrow): &(usize, bool)| need(&steps[*needed], *narrow);
                step["needs"] = needs.iter().map(say).collect();
            }
            let unsure: Vec<&Value> = all
                .iter()
                .map(|earlier| &steps[*earlier])
                .filter(|earlier| earlier["approval"]["onReject"].is_object())
                .collect();
            let acts = ["http", "flow", "ssh", "git", "task", "job", "agent"]
                .iter()
                .any(|kind| step[*kind].is_object())
                && !unsure.is_empty();
            if acts {
                let looks = unsure.iter().map(|ask| {
                    let name = ask["name"].as_str().unwrap();
                    format!("steps.{name}.outcome != 'Rejected'")
                });
                step["when"] = json!(format!("${{{}}}", looks.collect::<Vec<_>>().join(" && ")));
            } else if skip && flag {
                step["when"] = json!("${1 > 2}");
            }
            // a loop of one step may stand anywhere, and nothing has to be looked at for it
            if again == 0 && step["end"].is_null() && step["approval"]["changes"].is_null() {
                let name = format!("s{i}");
                step["repeat"] =
                    json!({ "until": format!("${{steps.{name}.pass >= 3}}"), "every": "20s", "max": 3 });
            } else if again == 1 && !graph && step["end"].is_null() && kind != 4 {
                let first = i.saturating_sub(2);
                let is_free = steps[first..]
                    .iter()
                    .all(|step| step["repeat"].is_null() && step["approval"]["changes"].is_null());
                // a next pass would have to look at what was said in the one before
                let all: Vec<&Value> = steps[first..].iter().chain([&step]).collect();
                let has_effect = |step: &&&Value| {
                    ["http", "ssh", "git", "task", "job", "agent"]
                        .iter()
                        .any(|kind| step[*kind].is_object())
                };
                let acts = all.iter().position(|step| has_effect(&step));
                let asks = all
                    .iter()
                    .rposition(|step| step["approval"]["onReject"].is_object());
                let is_guarded = acts.is_none() || asks.is_none() || acts > asks;
                if is_free && is_guarded {
                    let until = format!("${{steps.s{i}.pass >= 2}}");
                    step["repeat"] = json!({ "from": format!("s{first}"), "until": until });
                }
            }
            before.push(all);
            steps.push(step);
        }
        let last = last.into_iter().enumerate().map(|(i, (kind, flag))| {
            let mut step = step_of(&format!("last{i}"), kind, flag);
            if flag {
                step["when"] = json!("${run.outcome != 'Succeeded'}");
            }
            step
        });
        let last: Vec<Value> = last.collect();
        if last.is_empty() {
            json!({ "steps": steps })
        } else {
            json!({ "steps": steps, "finally": last })
        }
    })
}

fn step_of(name: &str, kind: u8, flag: bool) -> Value {
    let each = json!({ "items": [1, 2, 3], "maxParallel": if flag { 1 } else { 2 } });
    let mut step = match kind {
        0 => json!({ "name": name, "http": { "url": "http://x/" }, "retry": { "attempts": 3 } }),
        1 => json!({ "name": name, "http": { "url": "http://x/" }, "delivery": "AtMostOnce" }),
        2 => json!({ "name": name, "set": { "x": name } }),
        3 => json!({ "name": name, "wait": { "callback": { "heartbeat": "1m" }, "duration": "2m" } }),
        5 => json!({ "name": name, "end": { "outcome": if flag { "Succeeded" } else { "Failed" } } }),
        6 => json!({ "name": name, "approval": { "title": "?", "onReject": { "outcome": "Continue" } } }),
        7 => {
            json!({ "name": name, "http": { "url": "http://x/" }, "onFailure": { "outcome": "Continue" } })
        }
        8 => {
            json!({ "name": name, "http": { "url": "http://x/" }, "retry": { "attempts": 2 }, "forEach": each })
        }
        9 => {
            json!({ "name": name, "http": { "url": "http://x/" }, "delivery": "AtMostOnce", "forEach": each })
        }
        10 => json!({ "name": name, "approval": { "title": "?" }, "forEach": each }),
        11 => {
            json!({ "name": name, "wait": { "callback": {}, "duration": "1m" }, "forEach": each })
        }
        12 => json!({ "name": name, "flow": { "name": "child" } }),
        13 => json!({ "name": name, "flow": { "name": "child" }, "forEach": each }),
        14 => json!({ "name": name, "ssh": { "connection": "vm", "command": "x" } }),
        16 => {
            json!({ "name": name, "llm": { "connection": "model", "model": "m", "prompt": "p" }, "retry": { "attempts": 2 } })
        }
        15 => json!({ "name": name, "ssh": { "connection": "vm", "command": "x", "wait": true } }),
        17 => {
            json!({ "name": name, "retry": { "attempts": 2 }, "git": { "connection": "site", "branch": "b", "message": "m",
            "files": [{ "path": "a", "content": "x" }] } })
        }
        18 => json!({ "name": name, "task": { "queue": "q" } }),
        19 => json!({ "name": name, "task": { "queue": "q" }, "forEach": each }),
        21 => json!({ "name": name, "job": { "image": "app:1" }, "retry": { "attempts": 2 } }),
        22 => {
            json!({ "name": name, "job": { "image": "app:1" }, "retry": { "attempts": 2 }, "forEach": each })
        }
        20 => {
            let tool = |name: &str, more: Value| {
                let mut tool = json!({ "name": name, "description": "d", "schema": { "type": "object" }, "http": { "url": "http://x/" } });
                for (field, value) in more.as_object().unwrap() {
                    tool[field] = value.clone();
                }
                tool
            };
            let tools = json!([
                tool("look", json!({ "retry": { "attempts": 2 } })),
                tool("pay", json!({ "delivery": "AtMostOnce" })),
                tool("send", json!({ "delivery": "AtMostOnce", "approval": {} })),
            ]);
            json!({ "name": name, "agent": { "connection": "model", "model": "m", "prompt": "p", "tools": tools }, "retry": { "attempts": 2 } })
        }
        _ => json!({ "name": name, "approval": { "title": "?" } }),
    };
    if kind == 4 && flag {
        step["approval"]["changes"] = json!({ "backTo": name, "max": 2 });
    }
    step
}

/// An entry of `needs`: the step, or the step with one outcome of its own.
fn need(step: &Value, narrow: bool) -> String {
    let name = step["name"].as_str().unwrap();
    let outcome = if step["approval"].is_object() {
        "Approved"
    } else if step["wait"].is_object() {
        "Callback"
    } else {
        "Succeeded"
    };
    if narrow && step["end"].is_null() {
        format!("{name}.{outcome}")
    } else {
        name.to_owned()
    }
}

impl Scenario {
    fn open_approvals(&self) -> Vec<String> {
        let steps = self
            .state
            .steps
            .iter()
            .filter(|step| step.phase == StepPhase::Waiting);
        steps
            .filter_map(|step| step.approval.clone())
            .filter(|name| {
                let fact = self.facts.objects[&ObjectKey::approval(name.as_str())].as_approval();
                fact.unwrap().status.phase == ApprovalPhase::Pending
            })
            .collect()
    }

    /// The calls that must not be repeated.
    fn sent_once(&self) -> Vec<&Call> {
        let mut calls = self.http();
        calls.retain(|call| {
            let step = self.plan.index_of(&call.key.step).unwrap();
            self.plan.steps[step].at_most_once
        });
        calls
    }

    fn open_callbacks(&self) -> Vec<String> {
        let open = self.state.steps.iter().filter(|step| {
            let owns =
                step.approval.is_some() || step.run.is_some() || step.task.is_some() || step.job.is_some();
            step.phase == StepPhase::Waiting && !owns
        });
        open.filter(|step| step.items.is_none())
            .map(|step| crate::callback_token::record_key(&step.name, step.iteration, step.item))
            .collect()
    }

    fn happen(&mut self, happening: &Happening) {
        self.answer_for_children();
        // what was asked for before is not asked for again unless a turn says so
        self.effects.clear();
        match happening {
            Happening::Answer(n, status) => {
                if let Some(key) = pick(&self.facts.in_flight.iter().cloned().collect::<Vec<_>>(), *n) {
                    let response = self.response(&key, *status);
                    self.outcome_of(key, Ok(response));
                }
            }
            Happening::Lost(n) => {
                if let Some(key) = pick(&self.facts.in_flight.iter().cloned().collect::<Vec<_>>(), *n) {
                    let error = EffectError {
                        reason: StepReason::Unreachable,
                        message: "lost".into(),
                        retryable: true,
                        may_have_happened: true,
                        retry_after: None,
                        status: None,
                    };
                    self.outcome_of(key, Err(error));
                }
            }
            Happening::Decide(n, yes, happened) => {
                if let Some(name) = pick(&self.open_approvals(), *n) {
                    let (_, status) = self.questions_mut().find(|(known, _)| *known == name).unwrap();
                    status.phase = if *yes {
                        ApprovalPhase::Approved
                    } else {
                        ApprovalPhase::Rejected
                    };
                    let values = json!({ "happened": happened, "item-0": happened, "item-1": !happened, "item-2": true });
                    status.values = Some(JsonObject(values.as_object().cloned().unwrap()));
                    self.tick();
                }
            }
            Happening::Changes(n) => {
                if let Some(name) = pick(&self.open_approvals(), *n).filter(|name| !name.contains("outcome"))
                {
                    self.decide(&name, ApprovalPhase::ChangesRequested);
                }
            }
            Happening::Callback(n) => {
                if let Some(key) = pick(&self.open_callbacks(), *n) {
                    let record = CallbackRecord {
                        received_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(self.now),
                        sha256: Digest::of(b"{}"),
                        webhook_id: None,
                        body: json!({}).into(),
                    };
                    self.state.callbacks.insert(key, record);
                    self.tick();
                }
            }
            Happening::Child(n, succeeds) => {
                let is_open = |key: &ObjectKey| {
                    let fact = &self.facts.objects[key];
                    fact.as_approval().is_none() && fact.as_process().is_none() && !fact.is_closed()
                };
                let open: Vec<ObjectKey> = self
                    .facts
                    .objects
                    .keys()
                    .filter(|key| is_open(key))
                    .cloned()
                    .collect();
                let fact = pick(&open, *n).and_then(|key| self.facts.objects.get_mut(&key));
                if let Some(ObjectFact::WorkItem(work)) = fact {
                    work.phase = if *succeeds {
                        WorkItemPhase::Succeeded
                    } else {
                        WorkItemPhase::Failed
                    };
                    self.tick();
                } else if let Some(ObjectFact::Job(job)) = fact {
                    job.state = if *succeeds {
                        JobState::Succeeded { output: None }
                    } else {
                        JobState::Failed(job::error(StepReason::JobFailed, "no"))
                    };
                    self.tick();
                } else if let Some(ObjectFact::Run(run)) = fact {
                    run.phase = match (run.cancel, succeeds) {
                        (true, _) => RunPhase::Cancelled,
                        (false, true) => RunPhase::Succeeded,
                        (false, false) => RunPhase::Rejected,
                    };
                    self.tick();
                }
            }
            Happening::Time(seconds) => {
                self.pass(*seconds);
            }
            Happening::Restart => {
                self.restart();
            }
            Happening::Cancel => {
                self.facts.run.cancel = true;
                self.tick();
            }
            Happening::Terminate => {
                self.facts.run.terminate = true;
                self.tick();
            }
            Happening::Suspend(suspend) => {
                self.facts.run.suspend = *suspend;
                self.tick();
            }
        }
    }

    fn response(&self, key: &EffectKey, status: u16) -> Response {
        let definition = &self.plan.steps[self.plan.index_of(&key.step).unwrap()];
        if definition.rules.key == "agent" {
            let entries = self.state.steps.iter().rev();
            let entry = entries
                .filter(|entry| entry.name == key.step && entry.iteration == key.iteration)
                .find_map(|entry| entry.agent.as_deref());
            let is_tool = entry.is_some_and(|agent| {
                agent
                    .open
                    .first()
                    .is_some_and(|call| call.phase == AgentCallPhase::Calling)
            });
            if is_tool {
                return Response::Http(HttpResponse {
                    status,
                    headers: BTreeMap::new(),
                    body: Value::Null,
                });
            }
            let turns = entry.map_or(0, |agent| agent.turns);
            let asked: &[&str] = match turns {
                0 => &["pay", "look", "send"],
                1 if status == 404 => &["nothing", "send"],
                _ => &[],
            };
            let calls = asked.iter().enumerate().map(|(n, name)| ToolCall {
                id: format!("c{n}"),
                name: (*name).to_owned(),
                arguments: json!({}),
            });
            return Response::Llm(LlmResponse {
                usage: Usage::default(),
                answer: Ok(LlmAnswer {
                    calls: calls.collect(),
                    ..LlmAnswer::default()
                }),
            });
        }
        if definition.rules.key == "llm" {
            let answer = if status == 200 {
                Ok(LlmAnswer::default())
            } else {
                Err(EffectError {
                    reason: StepReason::UnexpectedStatus,
                    message: "no".into(),
                    retryable: true,
                    may_have_happened: false,
                    retry_after: None,
                    status: Some(status),
                })
            };
            return Response::Llm(LlmResponse {
                usage: Usage::default(),
                answer,
            });
        }
        if definition.rules.key == "git" {
            return Response::Git(GitResponse {
                changed: status == 200,
                commit: "c0ffee0".into(),
                branch: "b".into(),
                pull_request: None,
            });
        }
        if definition.rules.key != "ssh" {
            return Response::Http(HttpResponse {
                status,
                headers: BTreeMap::new(),
                body: Value::Null,
            });
        }
        let waits = definition.rules.delivery;
        Response::Ssh(if waits {
            SshResponse::Ended {
                exit_code: i64::from(status != 200),
                stdout: String::new(),
                stderr: String::new(),
            }
        } else {
            SshResponse::Started {
                host: "vm".into(),
                pid: 7,
            }
        })
    }

    /// Runs that were asked for are there, and those that are to stop know it. Processes that are to end have ended.
    fn answer_for_children(&mut self) {
        for effect in self.effects.clone() {
            match effect {
                Effect::Open(OwnedObject::Run(run)) => {
                    let fact = RunFact {
                        step: run.parent.step.clone(),
                        iteration: run.parent.iteration,
                        item: run.parent.item,
                        phase: RunPhase::Running,
                        output: None,
                        error: None,
                        cancel: false,
                        terminate: false,
                    };
                    let known = self.facts.objects.entry(ObjectKey::run(&run.name));
                    known.or_insert(ObjectFact::Run(fact));
                }
                Effect::Open(OwnedObject::Job(open)) => {
                    let fact = JobFact {
                        step: open.step,
                        iteration: open.iteration,
                        item: open.item,
                        attempt: open.attempt,
                        started_at: Some(self.now),
                        state: JobState::Open(None),
                        log: None,
                    };
                    let known = self.facts.objects.entry(ObjectKey::job(&open.name));
                    known.or_insert(ObjectFact::Job(Box::new(fact)));
                }
                Effect::Close(close) if close.key.kind == ObjectKind::Process => {
                    let fact = ProcessFact {
                        is_ended: true,
                        message: "ended".into(),
                    };
                    self.facts.objects.insert(close.key, ObjectFact::Process(fact));
                }
                Effect::Close(close) => match self.facts.objects.get_mut(&close.key) {
                    Some(ObjectFact::Run(run)) => {
                        run.cancel = true;
                        run.terminate |= close.closing == Closing::Terminated;
                    }
                    Some(ObjectFact::WorkItem(work)) if !work.phase.is_closed() => {
                        work.phase = WorkItemPhase::Cancelled;
                    }
                    Some(ObjectFact::Job(job)) if matches!(job.state, JobState::Open(_)) => {
                        job.state = JobState::Failed(job::deleted());
                    }
                    Some(_) | None => {}
                },
                Effect::Open(OwnedObject::Approval(_) | OwnedObject::WorkItem(_))
                | Effect::Call(_)
                | Effect::Abort(_) => {}
            }
        }
    }

    fn outcome_of(&mut self, key: EffectKey, result: Result<Response, EffectError>) {
        self.facts.in_flight.remove(&key);
        self.facts.outcomes.push(EffectOutcome {
            key,
            at: self.now,
            result,
        });
        self.tick();
    }

    /// Says yes to everything that is open until nothing is.
    fn say_yes_to_everything(&mut self) {
        self.facts.run.suspend = false;
        for _ in 0..200 {
            if self.state.phase.is_finished() {
                return;
            }
            for n in 0..self.facts.in_flight.len() {
                self.happen(&Happening::Answer(n, 200));
            }
            self.happen(&Happening::Decide(0, true, true));
            self.happen(&Happening::Callback(0));
            self.happen(&Happening::Child(0, true));
            self.happen(&Happening::Time(120));
        }
    }
}

fn pick<T: Clone>(from: &[T], n: usize) -> Option<T> {
    (!from.is_empty()).then(|| from[n % from.len()].clone())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_run_comes_to_an_end_when_everything_is_answered(flow in flows(), script in happenings()) {
        let mut run = Scenario::of(flow, &json!({}));
        run.tick();
        for happening in &script {
            run.happen(happening);
        }
        run.say_yes_to_everything();
        prop_assert!(run.state.phase.is_finished(), "{:#?}", run.state);
        let is_end = |name: &str| run.plan.index_of(name).is_some_and(|step| run.plan.steps[step].rules.key == "end");
        // an `end` step leaves out what would come after it
        let cut_short = run.state.steps.iter().any(|entry| is_end(&entry.name) && entry.outcome == Some(StepOutcome::Succeeded));
        if run.state.phase == RunPhase::Succeeded && !cut_short {
            for step in 0..run.plan.main {
                let name = &run.plan.steps[step].name;
                prop_assert!(run.state.steps.iter().any(|entry| entry.name == *name), "step {name} was lost");
            }
        }
    }

    #[test]
    fn no_attempt_of_an_at_most_once_step_is_asked_for_twice(flow in flows(), script in happenings()) {
        let mut run = Scenario::of(flow, &json!({}));
        let mut asked: BTreeMap<EffectKey, usize> = BTreeMap::new();
        let mut note = |run: &Scenario| {
            for http in run.sent_once() {
                *asked.entry(http.key.clone()).or_default() += 1;
            }
        };
        run.tick();
        note(&run);
        for happening in &script {
            run.happen(happening);
            note(&run);
        }
        prop_assert!(asked.values().all(|count| *count == 1), "{asked:?}");
    }

    #[test]
    fn no_call_of_a_tool_is_made_twice_that_must_not_be_and_none_before_its_answer_is_known(script in happenings()) {
        let mut run = Scenario::of(json!({ "steps": [step_of("s", 20, false)] }), &json!({}));
        let mut asked: BTreeMap<EffectKey, usize> = BTreeMap::new();
        let mut approved: BTreeSet<String> = BTreeSet::new();
        let mut known: Vec<(i64, i64, usize)> = vec![];
        run.tick();
        for happening in script.iter().cloned().chain((0..200).map(|n| match n % 3 {
            0 => Happening::Answer(n, 200),
            1 => Happening::Decide(n, true, n % 2 == 0),
            _ => Happening::Time(60),
        })) {
            run.happen(&happening);
            for (key, fact) in &run.facts.objects {
                let is_yes = fact.as_approval().is_some_and(|fact| fact.status.phase == ApprovalPhase::Approved);
                approved.extend(is_yes.then(|| key.name.clone()));
            }
            for call in run.http() {
                prop_assert!(call.fenced, "each is written before it is made");
                if let crate::effect::CallPart::Tool { tool, number } = &call.part {
                    if tool != "look" {
                        *asked.entry(call.key.clone()).or_default() += 1;
                    }
                    let mut yes = approved.iter();
                    let is_approved = yes.any(|name| name.starts_with(&format!("r-s-call-{number}-")));
                    prop_assert!(tool != "send" || is_approved, "nobody approved it");
                }
            }
            // what was said and done is never unsaid
            let agent = run.state.steps.first().and_then(|step| step.agent.as_deref());
            known.extend(agent.map(|agent| (agent.turns, agent.calls, agent.transcript.len())));
            prop_assert!(known.is_sorted(), "{known:?}");
        }
        prop_assert!(asked.values().all(|count| *count == 1), "{asked:?}");
    }

    #[test]
    fn what_was_sent_and_must_not_be_repeated_ends_with_its_outcome_or_a_question(flow in flows(), script in happenings()) {
        let mut run = Scenario::of(flow, &json!({}));
        let mut sent: Vec<EffectKey> = vec![];
        let mut heard: BTreeMap<EffectKey, Option<u16>> = BTreeMap::new();
        run.tick();
        let script = script.iter().cloned();
        // whatever is left at the end is answered, one after another
        let rest = (0..800).map(|n| match n % 4 {
            0 => Happening::Answer(n, 200),
            1 => Happening::Decide(n, true, n % 8 == 1),
            2 => Happening::Child(n, true),
            _ => Happening::Time(60),
        });
        for happening in script.chain([Happening::Cancel, Happening::Suspend(false)]).chain(rest) {
            sent.extend(run.sent_once().into_iter().map(|http| http.key.clone()));
            let under_way = run.facts.in_flight.clone();
            run.happen(&happening);
            for key in under_way.difference(&run.facts.in_flight) {
                let status = match &happening {
                    Happening::Answer(_, status) => Some(Some(*status)),
                    Happening::Lost(_) => Some(None),
                    _ => None,
                };
                heard.extend(status.map(|status| (key.clone(), status)));
            }
            for effect in &run.effects {
                if let Effect::Abort(key) = effect {
                    prop_assert!(!sent.contains(key), "{key} was broken off");
                }
            }
        }
        prop_assert!(run.state.phase.is_finished(), "{:#?}", run.state);
        for key in sent {
            let of_step = |step: &&signoff_api::run::StepStatus| {
                step.name == key.step && step.iteration == key.iteration && step.item.is_none()
            };
            let entry = run.state.steps.iter().find(of_step);
            let Some(entry) = entry else {
                // a pass of a loop that is over and not kept
                let newer = run.state.steps.iter().any(|step| step.name == key.step && step.iteration > key.iteration);
                prop_assert!(newer, "{key} was lost: {:#?}", run.state);
                continue;
            };
            let question = |attempt| {
                let name = signoff_api::names::approval_name("r", "u", &key.step, key.iteration, Some(attempt));
                run.facts.objects.contains_key(&ObjectKey::approval(&name))
            };
            if let Some(item) = key.item {
                let outcome = entry.items.as_ref().and_then(|items| items.outcome(item));
                match heard.get(&key) {
                    Some(Some(200)) => prop_assert_eq!(outcome, Some(StepOutcome::Succeeded)),
                    Some(Some(404)) => prop_assert_eq!(outcome, Some(StepOutcome::Failed)),
                    _ => prop_assert!((1..=entry.attempt).any(question), "{key} is not settled: {entry:#?}"),
                }
                continue;
            }
            match heard.get(&key) {
                Some(Some(200)) => prop_assert_eq!(entry.phase, StepPhase::Succeeded),
                Some(Some(404)) => prop_assert_eq!(entry.phase, StepPhase::Failed),
                _ => prop_assert!(question(key.attempt), "{key} is not settled: {entry:#?}"),
            }
        }
    }

    #[test]
    fn the_same_happenings_lead_to_the_same_state_and_every_prefix_replays(flow in flows(), script in happenings()) {
        let mut first = Scenario::of(flow.clone(), &json!({}));
        first.tick();
        let mut second = Scenario::of(flow, &json!({}));
        second.tick();
        for happening in &script {
            first.happen(happening);
            second.happen(happening);
            prop_assert_eq!(&first.state, &second.state);
            prop_assert_eq!(&first.effects, &second.effects);
        }
    }

    #[test]
    fn each_item_starts_one_run_and_none_goes_on_after_the_run_has_ended(flow in flows(), script in happenings()) {
        let mut run = Scenario::of(flow, &json!({}));
        let mut started: BTreeMap<String, (String, i64, Option<i64>)> = BTreeMap::new();
        run.tick();
        for happening in &script {
            let starts: Vec<_> = run.starts().into_iter().cloned().collect();
            for start in starts {
                let of = (start.parent.step, start.parent.iteration, start.parent.item);
                let known = started.entry(start.name).or_insert_with(|| of.clone());
                prop_assert_eq!(&*known, &of);
            }
            run.happen(happening);
        }
        run.say_yes_to_everything();
        let steps: BTreeSet<_> = started.values().collect();
        prop_assert_eq!(steps.len(), started.len(), "two runs for one: {:?}", started);
        run.answer_for_children();
        let left = run.facts.objects.values().filter_map(ObjectFact::as_run);
        let mut left = left.filter(|child| !child.phase.is_finished() && !child.cancel);
        prop_assert!(!run.state.phase.is_finished() || left.next().is_none(), "{:#?}", run.facts.objects);
    }

    #[test]
    fn each_attempt_has_one_job_and_none_goes_on_after_the_run_has_ended(flow in flows(), script in happenings()) {
        let mut run = Scenario::of(flow, &json!({}));
        let mut created: BTreeMap<String, (String, i64, Option<i64>, i64)> = BTreeMap::new();
        run.tick();
        for happening in &script {
            for effect in &run.effects {
                if let Effect::Open(OwnedObject::Job(open)) = effect {
                    let of = (open.step.clone(), open.iteration, open.item, open.attempt);
                    let known = created.entry(open.name.clone()).or_insert_with(|| of.clone());
                    prop_assert_eq!(&*known, &of);
                }
            }
            run.happen(happening);
        }
        run.say_yes_to_everything();
        let attempts: BTreeSet<_> = created.values().collect();
        prop_assert_eq!(attempts.len(), created.len(), "two jobs for one attempt: {:?}", created);
        run.answer_for_children();
        let left = run.facts.objects.values().filter_map(ObjectFact::as_job);
        let mut left = left.filter(|job| matches!(job.state, JobState::Open(_)));
        prop_assert!(!run.state.phase.is_finished() || left.next().is_none(), "{:#?}", run.facts.objects);
    }

    #[test]
    fn a_process_is_known_before_it_is_started_and_none_is_left_when_the_run_has_ended(flow in flows(), script in happenings()) {
        let mut run = Scenario::of(flow, &json!({}));
        run.tick();
        for happening in &script {
            for call in run.http() {
                if let Request::Ssh(request) = &call.request {
                    prop_assert!(call.fenced);
                    let known = run.state.processes.iter().find(|known| known.name == request.process);
                    prop_assert!(known.is_some_and(|known| !known.phase.is_over()), "{:#?}", run.state.processes);
                }
            }
            run.happen(happening);
        }
        run.say_yes_to_everything();
        prop_assert!(run.state.phase.is_finished(), "{:#?}", run.state);
        prop_assert!(run.state.processes.iter().all(|process| process.phase.is_over()), "{:#?}", run.state.processes);
    }

    #[test]
    fn an_ended_run_never_changes_again(flow in flows(), script in happenings(), after in happenings()) {
        let mut run = Scenario::of(flow, &json!({}));
        run.tick();
        for happening in &script {
            run.happen(happening);
        }
        run.say_yes_to_everything();
        let ended = run.state.clone();
        for happening in after.iter().filter(|happening| !matches!(happening, Happening::Callback(_))) {
            run.happen(happening);
            prop_assert_eq!(&run.state, &ended);
        }
    }

    #[test]
    fn a_step_begins_only_after_everything_it_needs(flow in flows(), script in happenings()) {
        let mut run = Scenario::of(flow, &json!({}));
        run.tick();
        for happening in &script {
            run.happen(happening);
        }
        for (at, entry) in run.state.steps.iter().enumerate().filter(|(_, entry)| entry.iteration == 1) {
            let step = run.plan.index_of(&entry.name).unwrap();
            for needed in &run.plan.steps[step].needs {
                let name = &run.plan.steps[needed.step].name;
                let before = run.state.steps[..at].iter().any(|other| other.name == *name && other.phase.is_finished());
                prop_assert!(before, "{} began before {name} was done", entry.name);
            }
        }
    }

    #[test]
    fn last_steps_run_once_in_order_in_every_case_but_a_termination(flow in flows(), script in happenings()) {
        let mut run = Scenario::of(flow, &json!({}));
        run.tick();
        let mut ending = None;
        for happening in &script {
            run.happen(happening);
            let noted = run.state.ending.as_ref().map(|ending| ending.outcome);
            if !run.facts.run.terminate && noted.is_some() {
                prop_assert!(ending.is_none() || ending == noted, "it ends in another way: {noted:?}");
                ending = noted;
            }
        }
        run.say_yes_to_everything();
        prop_assert!(run.state.phase.is_finished(), "{:#?}", run.state);
        let is_last = |name: &str| run.plan.steps[run.plan.index_of(name).unwrap()].is_finally;
        let last: Vec<&str> = run.state.steps.iter().map(|entry| entry.name.as_str()).filter(|name| is_last(name)).collect();
        let all: Vec<&str> = run.plan.steps[run.plan.main..].iter().map(|step| step.name.as_str()).collect();
        if run.facts.run.terminate || run.state.steps.is_empty() {
            prop_assert!(all.starts_with(&last), "{last:?}");
        } else {
            prop_assert_eq!(last, all);
            let first = run.state.steps.iter().position(|entry| is_last(&entry.name));
            prop_assert!(run.state.steps[first.unwrap_or(0)..].iter().all(|entry| first.is_none() || is_last(&entry.name)));
        }
    }

    #[test]
    fn items_begin_in_order_at_most_so_many_at_once_and_each_is_done_once(
        count in 0..7_usize, parallel in 1..4_usize, continues in any::<bool>(), once in any::<bool>(), script in happenings()
    ) {
        let items: Vec<usize> = (10..10 + count).collect();
        let policy = if continues { "Continue" } else { "Fail" };
        let delivery = if once { "AtMostOnce" } else { "AtLeastOnce" };
        let step = json!({ "name": "s", "delivery": delivery,
            "http": { "url": "http://x/", "output": { "nr": "${index}", "of": "${item}" } },
            "forEach": { "items": items, "maxParallel": parallel, "onItemFailure": policy } });
        let mut run = Scenario::of(json!({ "steps": [step] }), &json!({}));
        run.tick();
        let mut begun: Vec<i64> = vec![];
        let mut sent: BTreeMap<EffectKey, usize> = BTreeMap::new();
        let mut note = |run: &Scenario| {
            let open = run.state.steps.iter().filter(|step| step.item.is_some() && !step.phase.is_finished());
            prop_assert!(open.count() <= parallel);
            for call in run.http() {
                let item = call.key.item.unwrap();
                if call.key.attempt == 1 && !begun.contains(&item) {
                    begun.push(item);
                }
                *sent.entry(call.key.clone()).or_default() += 1;
            }
            prop_assert!(begun.iter().copied().eq(0..i64::try_from(begun.len()).unwrap()), "{begun:?}");
            prop_assert!(!once || sent.values().all(|times| *times == 1), "{sent:?}");
            Ok(())
        };
        note(&run)?;
        let ends = [Happening::Suspend(false)].into_iter().chain((0..200).map(|n| match n % 3 {
            0 => Happening::Answer(n, 200),
            1 => Happening::Decide(n, true, true),
            _ => Happening::Time(60),
        }));
        for happening in script.iter().cloned().chain(ends) {
            run.happen(&happening);
            note(&run)?;
        }
        prop_assert!(run.state.phase.is_finished(), "{:#?}", run.state);
        let Some(step) = run.state.steps.first() else { return Ok(()) };
        let status = step.items.as_ref().unwrap();
        if run.state.phase == RunPhase::Succeeded {
            prop_assert_eq!(status.ended_count(), count);
            let outputs = step.output.as_ref().unwrap().0.as_array().unwrap();
            prop_assert_eq!(outputs.len(), count);
            for (nr, output) in outputs.iter().enumerate() {
                prop_assert!(output.is_null() || *output == json!({ "nr": nr, "of": nr + 10 }), "{output}");
            }
        }
    }
}
