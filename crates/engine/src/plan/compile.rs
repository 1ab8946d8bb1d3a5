//! From a definition to a plan, with everything that is wrong on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;

use super::{
    Plan, PlannedStep, Problem, RetryPolicy, finally, graph::Graph, guard, place::Place, repeat,
    repeat::RepeatPlan, types::InputTypes,
};
use crate::kinds;
use signoff_api::{
    Definition, HumanDuration, Json, Step,
    name::DnsLabel,
    step::{Delivery, Retry},
};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn compile(definition: &Definition) -> Result<Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    names(definition, &mut problems);
    let last: &[Step] = definition.finally.as_deref().unwrap_or_default();
    let graph = Graph::of(&definition.steps, &mut problems).with_finally(last.len());
    let mut compiler = Compiler::new(definition, &graph);
    compiler.schema("inputs", definition.inputs.as_ref());
    let main = definition.steps.len();
    let mut steps = Vec::with_capacity(main + last.len());
    for (i, step) in definition.steps.iter().enumerate() {
        let known = compiler.known(i);
        steps.push(compiler.step(i, &format!("steps[{i}]"), step, &known));
    }
    compiler.in_finally = true;
    for (i, step) in last.iter().enumerate() {
        let at = format!("finally[{i}]");
        finally::check(&mut compiler, &at, step);
        let known = compiler.all_steps[..main + i].iter().copied().collect();
        steps.push(compiler.step(main + i, &at, step, &known));
    }
    compiler.in_finally = false;
    compiler.looped.clear();
    let output = definition.output.as_ref().and_then(|output| {
        let values = output.iter();
        let value = Value::Object(
            values
                .map(|(key, value)| (key.clone(), value.0.clone()))
                .collect(),
        );
        let everything = compiler.all_steps[..main].iter().copied().collect();
        compiler.json("output", &value, &everything, &[])
    });
    problems.append(&mut compiler.problems);
    problems.extend(guard::not_guarded(&definition.steps, &graph));
    if problems.is_empty() {
        problems.extend(repeat::across(&steps));
    }
    if problems.is_empty() {
        bind_connections(&mut steps, &graph);
        repeat::innermost(&mut steps);
        let gate = definition.promotion.as_ref();
        Ok(Plan {
            steps,
            main,
            output,
            owners: gate.and_then(|gate| gate.approval.approvers.clone()),
        })
    } else {
        Err(problems)
    }
}

/// Lets every question know where the steps after it call.
fn bind_connections(steps: &mut [PlannedStep], graph: &Graph) {
    let used: Vec<Option<(String, String)>> = steps
        .iter()
        .map(|step| Some((step.kind.connection()?.to_string(), step.name.clone())))
        .collect();
    for (i, step) in steps.iter_mut().enumerate() {
        if step.kind.question().is_none() {
            continue;
        }
        for later in graph.from(i) {
            if let Some((connection, user)) = &used[later] {
                let users = step.binds.entry(connection.clone()).or_default();
                users.push(user.clone());
            }
        }
    }
}

fn names(definition: &Definition, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    let lists = [
        ("steps", definition.steps.as_slice()),
        ("finally", definition.finally.as_deref().unwrap_or_default()),
    ];
    let all = lists
        .iter()
        .flat_map(|(list, steps)| steps.iter().enumerate().map(move |(i, step)| (list, i, step)));
    for (list, i, step) in all {
        let field = format!("{list}[{i}].name");
        if step.name.parse::<DnsLabel>().is_err() {
            let message = format!(
                "{:?} is not a DNS label: lower-case letters, digits and dashes, at most 63",
                step.name
            );
            problems.push(Problem {
                field,
                offset: None,
                message,
            });
        } else if !seen.insert(&step.name) {
            problems.push(Problem {
                field,
                offset: None,
                message: format!("there is another step {}", step.name),
            });
        }
    }
    if definition.steps.is_empty() {
        problems.push(Problem {
            field: "steps".to_owned(),
            offset: None,
            message: "a flow has at least one step".to_owned(),
        });
    }
}

/// What is known of a definition while its steps are compiled.
pub(super) struct Compiler<'a> {
    pub(super) graph: &'a Graph,
    steps: &'a [Step],
    pub(super) all_steps: Vec<&'a str>,
    pub(super) callback_steps: BTreeSet<&'a str>,
    pub(super) inputs: InputTypes,
    /// Whether what is compiled runs before the run ends, when it is known how it will.
    pub(super) in_finally: bool,
    /// The steps of which only the previous pass is known where something is compiled.
    pub(super) looped: BTreeSet<&'a str>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Compiler<'a> {
    fn new(definition: &'a Definition, graph: &'a Graph) -> Self {
        let callbacks = definition
            .all_steps()
            .filter(|step| step.kind.as_kind().callback().is_some());
        Self {
            graph,
            steps: &definition.steps,
            all_steps: definition.all_steps().map(|step| step.name.as_str()).collect(),
            callback_steps: callbacks.map(|step| step.name.as_str()).collect(),
            inputs: InputTypes::of(definition.inputs.as_ref().map(Json::as_value)),
            in_finally: false,
            looped: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// The steps whose results are known when a step starts: those before it.
    fn known(&self, step: usize) -> BTreeSet<&'a str> {
        let before = self.graph.ancestors[step].iter();
        before.map(|before| self.all_steps[*before]).collect()
    }

    /// The steps that run in the same loops and not before a step: what they gave in the previous pass is known.
    fn looped(&self, step: usize) -> BTreeSet<&'a str> {
        let position = |name: &String| self.all_steps.iter().position(|step| step == name);
        let begins = |(last, other): (usize, &'a Step)| {
            let changes = other
                .kind
                .as_kind()
                .question()
                .and_then(|question| question.changes.as_ref());
            let changes = changes.and_then(|changes| position(&changes.back_to));
            let repeat = other.repeat.as_ref().and_then(|repeat| match &repeat.from {
                Some(from) => position(from),
                None => Some(last),
            });
            let first = changes.into_iter().chain(repeat);
            first.map(move |first| (first, last)).collect::<Vec<_>>()
        };
        let loops = self.steps.iter().enumerate().flat_map(begins);
        loops
            .filter(|(first, _)| *first < self.steps.len())
            .map(|(first, last)| self.graph.between(first, last))
            .filter(|again| again.contains(&step))
            .flatten()
            .filter(|other| !self.graph.ancestors[step].contains(other))
            .map(|other| self.all_steps[other])
            .collect()
    }

    fn step(&mut self, i: usize, at: &str, step: &Step, known: &BTreeSet<&'a str>) -> PlannedStep {
        self.looped = if self.in_finally {
            BTreeSet::new()
        } else {
            self.looped(i)
        };
        let when = step
            .when
            .as_ref()
            .and_then(|when| self.condition(&format!("{at}.when"), when, known, &[]));
        let rules = step.kind.rules();
        let mut place = Place::new(self, i, format!("{at}.{}", rules.key), known);
        let kind = kinds::of(&step.kind).compile(&mut place);
        let repeat = step.repeat.as_ref().filter(|_| !self.in_finally);
        let repeat = repeat.and_then(|repeat| {
            let mut known = known.clone();
            known.insert(self.all_steps[i]);
            let steps = self.steps;
            RepeatPlan::compile(repeat, steps, i, &mut Place::new(self, i, at.to_owned(), &known))
        });
        let changes = step
            .kind
            .as_kind()
            .question()
            .and_then(|question| question.changes.as_ref());
        if step.repeat.is_some() && changes.is_some() {
            let message = "a step has either repeat or changes";
            self.problem(format!("{at}.repeat"), message);
        }
        for (name, said, may) in [
            ("repeat", step.repeat.is_some(), rules.key != "end"),
            (
                "onFailure",
                step.on_failure.is_some(),
                step.kind.as_kind().may_continue_after_failure(),
            ),
            ("retry", step.retry.is_some(), rules.attempts),
            ("timeout", step.timeout.is_some(), rules.attempts),
            ("delivery", step.delivery.is_some(), rules.delivery),
        ] {
            if said && !may {
                let message = format!("{} steps have no {name}", rules.key);
                self.problem(format!("{at}.{name}"), message);
            }
        }
        PlannedStep {
            name: step.name.clone(),
            needs: self.graph.needs[i].clone(),
            when,
            is_finally: self.in_finally,
            continues_after_failure: step.continues_after_failure(),
            repeat,
            loop_end: None,
            retry: retry_policy(step.retry.as_ref()),
            timeout: step
                .timeout
                .as_ref()
                .map_or(DEFAULT_TIMEOUT, HumanDuration::duration),
            at_most_once: step.delivery == Some(Delivery::AtMostOnce),
            rules,
            kind,
            binds: BTreeMap::new(),
        }
    }
}

fn retry_policy(retry: Option<&Retry>) -> RetryPolicy {
    let backoff = retry.and_then(|retry| retry.backoff.as_ref());
    let span = |span: Option<&HumanDuration>, default| span.map_or(default, HumanDuration::duration);
    RetryPolicy {
        attempts: retry.map_or(1, |retry| retry.attempts.max(1)),
        initial: span(
            backoff.and_then(|backoff| backoff.initial.as_ref()),
            Duration::from_secs(1),
        ),
        factor: backoff
            .and_then(|backoff| backoff.factor)
            .and_then(|factor| u32::try_from(factor).ok())
            .unwrap_or(2),
        max: span(
            backoff.and_then(|backoff| backoff.max.as_ref()),
            Duration::from_secs(60),
        ),
    }
}
