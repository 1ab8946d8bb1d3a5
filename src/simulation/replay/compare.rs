//! How what the engine decides is compared with the record.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    Difference, StepReplay, Verdict,
    recorded::{EntryKey, Index, key_of},
};
use crate::simulation::compare::{same, word};
use signoff_api::{
    RunStatus,
    items::ItemsStatus,
    run::{AgentStatus, StepStatus},
};

/// Results of tools up to here are never left out, in bytes.
const SHORT: usize = 256;

/// What is known when a replay is over.
pub(super) struct Played<'a> {
    pub(super) index: &'a Index,
    /// What the engine decided of each pass.
    pub(super) decided: &'a BTreeMap<EntryKey, StepStatus>,
    /// The state of the run at the end.
    pub(super) end: &'a RunStatus,
    /// What was found beside the state, such as in the objects of questions.
    pub(super) found: &'a BTreeMap<EntryKey, Vec<Difference>>,
    /// What was taken from the record.
    pub(super) notes: &'a BTreeMap<EntryKey, BTreeSet<String>>,
    /// Fields that follow from what the record does not have.
    pub(super) open: &'a BTreeSet<(EntryKey, &'static str)>,
    /// Whether the engine had to go on in the middle of a loop.
    pub(super) has_gaps: bool,
}

impl Played<'_> {
    pub(super) fn steps(&self) -> Vec<StepReplay> {
        let entries = &self.index.status.steps;
        let mut steps: Vec<StepReplay> = entries.iter().map(|entry| self.step(entry)).collect();
        steps.extend(self.unrecorded());
        steps
    }

    fn step(&self, recorded: &StepStatus) -> StepReplay {
        let key = key_of(recorded);
        let mut differences = self.found.get(&key).cloned().unwrap_or_default();
        let decided = self.decided.get(&key);
        let is_known = recorded.taken_over != Some(true);
        match decided.filter(|_| is_known) {
            Some(decided) => {
                let fields = differing(fields(recorded), fields(decided));
                let is_of_calls = recorded.agent.is_some() && decided.attempt <= recorded.attempt;
                let is_open = |field: &str| {
                    // which calls of an agent were repeated is not in the record
                    let is_repeated = field == "attempt" && is_of_calls;
                    is_repeated || self.open.iter().any(|(of, open)| *of == key && *open == field)
                };
                differences.extend(fields.filter(|difference| !is_open(&difference.field)));
            }
            None if is_known && !self.has_gaps => differences.push(Difference {
                field: "outcome".to_owned(),
                recorded: json!(state_of(recorded)),
                decided: json!("not begun"),
            }),
            None => {}
        }
        let verdict = match (differences.is_empty(), decided) {
            (false, _) => Verdict::Differs,
            (true, Some(_)) if is_known => Verdict::Agrees,
            (true, _) => Verdict::Unproven,
        };
        let mut notes: Vec<String> = self.notes.get(&key).into_iter().flatten().cloned().collect();
        if !is_known {
            notes.push("taken over from the run that is retried".to_owned());
        } else if decided.is_none() && verdict == Verdict::Unproven {
            notes.push("earlier passes are no longer in the record".to_owned());
        } else if !recorded.phase.is_finished() {
            notes.push("under way".to_owned());
        }
        StepReplay {
            step: recorded.name.clone(),
            pass: recorded.iteration,
            item: recorded.item,
            recorded: Some(state_of(recorded)),
            verdict,
            differences,
            notes,
        }
    }

    /// Passes that the engine begins, and the record does not have.
    fn unrecorded(&self) -> Vec<StepReplay> {
        let is_unknown = |entry: &&StepStatus| {
            self.index
                .entry(&entry.name, entry.iteration, entry.item)
                .is_none()
        };
        let entries = self.end.steps.iter().filter(|entry| entry.item.is_none());
        let unknown = entries.filter(is_unknown).filter(|entry| {
            let newest = self.index.newest(&entry.name);
            newest.is_none_or(|newest| newest.iteration < entry.iteration)
        });
        let told = unknown.map(|entry| StepReplay {
            step: entry.name.clone(),
            pass: entry.iteration,
            item: None,
            recorded: None,
            verdict: Verdict::Differs,
            differences: vec![Difference {
                field: "outcome".to_owned(),
                recorded: json!("not begun"),
                decided: json!(state_of(entry)),
            }],
            notes: vec![],
        });
        told.collect()
    }

    pub(super) fn run(&self) -> Vec<Difference> {
        let of = |status: &RunStatus| {
            let mut fields = vec![
                ("phase", json!(status.phase)),
                ("output", json!(status.output)),
                (
                    "error.reason",
                    json!(status.error.as_ref().map(|error| error.reason)),
                ),
                ("inputs", json!(status.inputs)),
                (
                    "ending.outcome",
                    json!(status.ending.as_ref().map(|ending| ending.outcome)),
                ),
            ];
            if !self.has_gaps {
                let loops = status
                    .loops
                    .iter()
                    .map(|(step, state)| (step.clone(), state.pass));
                fields.push(("loops", json!(loops.collect::<BTreeMap<_, _>>())));
                fields.push(("billableSteps", json!(status.billable_steps)));
            }
            fields
        };
        differing(of(&self.index.status), of(self.end)).collect()
    }
}

/// The outcome of a pass, or its phase while it has none.
fn state_of(entry: &StepStatus) -> String {
    entry.outcome.map_or_else(|| word(entry.phase), word)
}

type Fields = Vec<(&'static str, Value)>;

fn differing(recorded: Fields, decided: Fields) -> impl Iterator<Item = Difference> {
    let pairs = recorded.into_iter().zip(decided);
    pairs
        .filter(|((_, recorded), (_, decided))| !same(recorded, decided))
        .map(|((field, recorded), (_, decided))| Difference {
            field: field.to_owned(),
            recorded,
            decided,
        })
}

/// What an entry says, without times and without the words for people.
fn fields(entry: &StepStatus) -> Fields {
    let decision = entry.decision.as_ref();
    vec![
        ("digest", json!(entry.digest)),
        ("outcome", json!(entry.outcome)),
        ("phase", json!(entry.phase)),
        (
            "decision.verdict",
            json!(decision.map(|decision| decision.verdict)),
        ),
        ("decision.by", json!(decision.map(|decision| &decision.by))),
        ("decision", json!(decision)),
        ("output", json!(entry.output)),
        (
            "error.reason",
            json!(entry.error.as_ref().map(|error| error.reason)),
        ),
        ("items", json!(entry.items.as_ref().map(items))),
        ("approval", json!(entry.approval)),
        ("run", json!(entry.run)),
        ("attempt", json!(entry.attempt)),
        ("repeated", json!(entry.repeated)),
        ("requests", json!(entry.requests)),
        ("connections", json!(entry.connections)),
        ("eventKeys", json!(entry.event_keys)),
        ("agent", json!(entry.agent.as_deref().map(agent))),
    ]
}

/// What is said of an agent, without times. Long results of tools may be left out of the record.
fn agent(agent: &AgentStatus) -> Value {
    let transcript = agent.transcript.iter().map(|message| {
        let mut message = message.0.clone();
        let content = message["content"].as_str().unwrap_or_default();
        if message["role"] == "tool" && (content.len() > SHORT || content.starts_with("[left out")) {
            message["content"] = Value::Null;
        }
        message
    });
    let transcript: Vec<Value> = transcript.collect();
    let AgentStatus {
        turns,
        calls,
        made,
        open,
        transcript: _,
        first_attempt: _, // it follows from how often calls were repeated
        active_millis: _,
        active_since: _,
    } = agent;
    json!({ "turns": turns, "calls": calls, "made": made, "open": open, "transcript": transcript })
}

/// What is said of items, without the words for people.
fn items(items: &ItemsStatus) -> Value {
    let ended: BTreeMap<String, String> = items
        .ended
        .iter()
        .map(|ended| (word(ended.outcome), ended.items.to_string()))
        .collect();
    let errors: BTreeMap<i64, String> = items
        .errors
        .iter()
        .flat_map(|error| error.items.iter().map(|item| (item, word(error.reason))))
        .collect();
    let decisions: BTreeMap<i64, &signoff_api::run::StepDecision> = items
        .decisions
        .iter()
        .map(|known| (known.item, &known.decision))
        .collect();
    json!({ "count": items.count, "digest": items.digest, "ended": ended, "errors": errors, "decisions": decisions })
}
