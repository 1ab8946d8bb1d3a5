//! From a definition to a plan, with everything that is wrong on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use signoff_expression::{Declarations, Facts, StaticType};

use super::{
    Children, Plan, PlannedStep, Problem, RetryPolicy, Unread,
    check::{Environment, StepTypes, failed_attempt, with},
    concurrency, finally,
    for_each::ForEachPlan,
    graph::Graph,
    guard, notifications,
    place::{NOT_KEPT, Place},
    repeat,
    repeat::RepeatPlan,
    triggers,
};
use crate::{facts::bound_repository, kinds, promotion};
use signoff_api::{
    Definition, HumanDuration, Json, Step, Trigger,
    name::DnsLabel,
    step::{Delivery, Retry},
};

/// Longest time that an attempt may take.
pub(crate) const LONGEST_TIMEOUT: Duration = Duration::from_mins(10);

/// Compiles a definition; if it `is_strict`, what its expressions get wrong are problems too.
pub(super) fn compile(
    definition: &Definition,
    is_strict: bool,
    children: &Children,
    unread: &Unread,
) -> Result<Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    names(definition, &mut problems);
    let last: &[Step] = definition.finally.as_deref().unwrap_or_default();
    let graph = Graph::of(&definition.steps, unread, &mut problems).with_finally(last.len());
    let mut compiler = Compiler::new(definition, &graph, (is_strict, children, unread));
    compiler.inputs(definition.inputs.as_ref());
    problems.append(&mut compiler.problems);
    let main = definition.steps.len();
    // what a step gives is known to those after it, which may be written before it
    let mut compiled = BTreeMap::new();
    for i in graph.in_order() {
        let step = compiler.step(i, &format!("steps[{i}]"), &definition.steps[i]);
        compiled.insert(i, (step, std::mem::take(&mut compiler.problems)));
    }
    let mut steps = Vec::with_capacity(main + last.len());
    for (step, found) in compiled.into_values() {
        steps.push(step);
        problems.extend(found);
    }
    for (i, step) in last.iter().enumerate() {
        let at = format!("finally[{i}]");
        finally::check(&mut compiler, &at, step);
        steps.push(compiler.step(main + i, &at, step));
    }
    let output = definition.output.as_ref().and_then(|output| {
        let values = output.iter();
        let value = Value::Object(
            values
                .map(|(key, value)| (key.clone(), value.0.clone()))
                .collect(),
        );
        let everything: Vec<usize> = (0..main).collect();
        let declarations = compiler.environment.declarations(&everything, &BTreeSet::new());
        let template = compiler.json("output", &value, &declarations)?;
        let mut expressions = template.expressions().into_iter();
        if let Some((path, offset, _)) = expressions.find(|(.., expression)| expression.reads_callbacks()) {
            compiler.mistyped_at(&format!("output{path}"), offset, NOT_KEPT.to_owned());
        }
        Some(template)
    });
    if is_strict && let Some(gate) = &definition.promotion {
        for field in promotion::expressions(gate) {
            compiler.problem(format!("promotion.{field}"), promotion::NO_EXPRESSIONS);
        }
        if let Some(message) = promotion::unreachable_quorum(gate) {
            compiler.problem("promotion.approval.quorum", message);
        }
    }
    let triggers = triggers::compile(&mut compiler, definition);
    let limit = definition.concurrency.as_ref();
    let concurrency = limit.and_then(|limit| concurrency::compile(&mut compiler, limit));
    let notifications = notifications::compile(&mut compiler, definition);
    problems.append(&mut compiler.problems);
    problems.extend(guard::not_guarded(&definition.steps, &graph, is_strict, unread));
    if !graph.has_circle {
        problems.extend(repeat::across(&steps));
    }
    if problems.is_empty() {
        bind_connections(&mut steps, &graph);
        repeat::innermost(&mut steps);
        let gate = definition.promotion.as_ref();
        Ok(Plan {
            steps,
            main,
            inputs: compiler.environment.inputs,
            output,
            triggers,
            concurrency,
            notifications,
            reads_contents: compiler.reads_contents,
            owners: gate.and_then(|gate| gate.approval.approvers.clone()),
        })
    } else {
        Err(problems)
    }
}

/// Lets every question know where the steps after it call.
fn bind_connections(steps: &mut [PlannedStep], graph: &Graph) {
    let used: Vec<(Vec<String>, String)> = steps
        .iter()
        .map(|step| {
            let mut names: Vec<String> = step.kind.connections().iter().map(ToString::to_string).collect();
            if names.is_empty() {
                names.extend(step.kind.repository().map(|name| bound_repository(name)));
            }
            (names, step.name.clone())
        })
        .collect();
    for (i, step) in steps.iter_mut().enumerate() {
        let asked: Vec<String> = step
            .kind
            .asked_connections()
            .into_iter()
            .map(ToString::to_string)
            .collect();
        for connection in asked {
            step.binds.insert(connection, vec![step.name.clone()]);
        }
        if step.kind.question().is_none() {
            continue;
        }
        for later in graph.from(i) {
            let (connections, user) = &used[later];
            for connection in connections {
                let users = step.binds.entry(connection.clone()).or_default();
                if !users.contains(user) {
                    users.push(user.clone());
                }
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
    pub(super) environment: Environment<'a>,
    /// The steps of each loop.
    loops: Vec<BTreeSet<usize>>,
    pub(super) triggers: &'a [Trigger],
    /// Whether what expressions get wrong is a problem.
    pub(super) is_strict: bool,
    /// What is known of the flows that steps run.
    children: &'a Children,
    /// What could not be read.
    pub(super) unread: &'a Unread,
    pub(super) problems: Vec<Problem>,
    /// Whether an expression reads the content of a resource.
    pub(super) reads_contents: bool,
}

/// What is known of the inputs of a flow that a step runs.
pub(crate) enum Child {
    /// Nothing.
    Unknown,
    /// Their schema, or that there are none.
    Known(Option<Json>),
}

impl<'a> Compiler<'a> {
    fn new(
        definition: &'a Definition,
        graph: &'a Graph,
        (is_strict, children, unread): (bool, &'a Children, &'a Unread),
    ) -> Self {
        let inputs = definition.inputs.as_ref().map(Json::as_value);
        Self {
            graph,
            steps: &definition.steps,
            all_steps: definition.all_steps().map(|step| step.name.as_str()).collect(),
            environment: Environment::new(
                inputs,
                definition.all_steps().collect(),
                definition.triggers.as_deref().unwrap_or_default(),
                unread,
            ),
            loops: loops(&definition.steps, graph),
            triggers: definition.triggers.as_deref().unwrap_or_default(),
            is_strict,
            children,
            unread,
            problems: Vec::new(),
            reads_contents: false,
        }
    }

    /// What is known of the inputs of a flow that a step runs.
    pub(super) fn child(&self, flow: &str) -> Child {
        let known = self.children.get(flow);
        known.map_or(Child::Unknown, |inputs| Child::Known(inputs.clone()))
    }

    /// The steps of `steps`.
    pub(super) fn main_steps(&self) -> &'a [Step] {
        self.steps
    }

    /// The steps that run in the same loops and not before a step: what they gave in the previous pass is known.
    fn looped(&self, step: usize) -> BTreeSet<usize> {
        let around = self.loops.iter().filter(|again| again.contains(&step));
        let others = around.flatten().copied();
        others
            .filter(|other| !self.graph.ancestors[step].contains(other))
            .collect()
    }

    /// What is known where a step begins because the steps that it needs ended as it asks for, and whether they may not.
    fn wanted(&self, step: usize) -> (Facts, bool) {
        let mut wanted = Facts::default();
        let mut may_be_omitted = false;
        for needed in &self.graph.needs[step] {
            let Some(types) = self.environment.results.get(&needed.step) else {
                continue;
            };
            let (facts, is_narrower) = types.among(self.all_steps[needed.step], needed);
            wanted = wanted.and(facts);
            may_be_omitted |= is_narrower;
        }
        (wanted, may_be_omitted)
    }

    fn step(&mut self, i: usize, at: &str, step: &Step) -> PlannedStep {
        let is_finally = i >= self.steps.len();
        let before: Vec<usize> = self.graph.ancestors[i].iter().copied().collect();
        let mut declarations = if is_finally {
            self.environment.declarations_of_finally(i)
        } else {
            self.environment.declarations(&before, &self.looped(i))
        };
        let (wanted, may_be_omitted) = self.wanted(i);
        declarations.facts = declarations.facts.and(wanted.clone());
        declarations = declarations.closed();
        let when = step
            .when
            .as_ref()
            .and_then(|when| self.condition(&format!("{at}.when"), when, &declarations));
        // the step is begun only where it holds
        let proven = when.as_ref().map(|when| when.proves(&declarations));
        if let Some(proven) = &proven {
            declarations.facts = declarations.facts.and(proven.clone());
            declarations = declarations.closed();
        }
        let rules = step.kind.rules();
        let mut for_each = self.for_each(i, at, step, &mut declarations);
        let at_kind = format!("{at}.{}", rules.key);
        let retry = self.retry_policy(&format!("{at}.retry"), step.retry.as_ref(), &declarations);
        let mut place = Place::new(self, i, at_kind, &declarations).sent(rules.attempts || rules.retries);
        let kind = kinds::of(&step.kind).compile(&mut place);
        let results = kinds::of(&step.kind).results(&declarations);
        // of a condition that cannot be read nothing is known
        let proven = proven.or_else(|| step.when.as_ref().map(|_| Facts::default()));
        let types = StepTypes::new(step, results, proven)
            .for_each(step)
            .wanted(wanted, may_be_omitted)
            .looped(self.loops.iter().any(|again| again.contains(&i)));
        if self.unread.knows(i) {
            self.environment.insert(i, types.clone());
        }
        if let Some(for_each) = &mut for_each {
            for_each.has_output = types.has_output();
        }
        let repeat = step.repeat.as_ref().filter(|_| !is_finally);
        let repeat = repeat.and_then(|repeat| {
            let known: Vec<usize> = before.iter().copied().chain([i]).collect();
            let mut later = self.looped(i);
            later.remove(&i);
            let mut declarations = self.environment.declarations(&known, &later);
            declarations.facts = declarations.facts.and(types.of_pass(&step.name));
            let steps = self.steps;
            RepeatPlan::compile(
                repeat,
                steps,
                i,
                &mut Place::new(self, i, at.to_owned(), &declarations),
            )
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
            ("retry", step.retry.is_some(), rules.attempts || rules.retries),
            ("timeout", step.timeout.is_some(), rules.attempts),
            ("delivery", step.delivery.is_some(), rules.delivery),
        ] {
            if said && !may {
                let message = format!("{} steps have no {name}", rules.key);
                self.problem(format!("{at}.{name}"), message);
            }
        }
        // the worker says which failures are retried, and the queue has no pauses
        let queued = step.retry.as_ref().filter(|_| rules.retries);
        for (field, said) in [
            ("backoff", queued.is_some_and(|retry| retry.backoff.is_some())),
            ("when", queued.is_some_and(|retry| retry.when.is_some())),
        ] {
            if said {
                let message = format!("{} steps have no retry.{field}", rules.key);
                self.problem(format!("{at}.retry.{field}"), message);
            }
        }
        let longest = step.kind.as_kind().longest_timeout();
        let is_long = |timeout: &HumanDuration| timeout.duration() > longest;
        if self.is_strict && step.timeout.as_ref().is_some_and(is_long) {
            let longest = longest.as_secs() / 60;
            let message = match longest % 60 {
                0 => format!("an attempt takes at most {}h", longest / 60),
                _ => format!("an attempt takes at most {longest}m"),
            };
            self.problem(format!("{at}.timeout"), message);
        }
        PlannedStep {
            name: step.name.clone(),
            needs: self.graph.needs[i].clone(),
            when,
            is_finally,
            continues_after_failure: step.continues_after_failure(),
            failures: step.kind.as_kind().failures(),
            repeat,
            for_each,
            loop_end: None,
            retry,
            timeout: step
                .timeout
                .as_ref()
                .map_or_else(|| step.kind.as_kind().default_timeout(), HumanDuration::duration),
            at_most_once: step.delivery == Some(Delivery::AtMostOnce),
            rules,
            kind,
            types,
            binds: BTreeMap::new(),
        }
    }
}

impl Compiler<'_> {
    /// How often an attempt is repeated, how long after, and after which failures.
    pub(super) fn retry_policy(
        &mut self,
        at: &str,
        retry: Option<&Retry>,
        known: &Declarations,
    ) -> RetryPolicy {
        let when = retry.and_then(|retry| retry.when.as_ref()).and_then(|when| {
            let known = with(known, &[("error", failed_attempt())]);
            self.condition(&format!("{at}.when"), when, &known)
        });
        if when.is_some() && retry.is_some_and(|retry| retry.attempts < 2) {
            self.mistyped(
                &format!("{at}.when"),
                "with one attempt, nothing is retried".to_owned(),
            );
        }
        RetryPolicy {
            when,
            ..retry_policy(retry)
        }
    }

    /// The items of a step; then `item` and `index` are known in it.
    fn for_each(
        &mut self,
        i: usize,
        at: &str,
        step: &Step,
        declarations: &mut Declarations,
    ) -> Option<ForEachPlan> {
        let for_each = step.for_each.as_ref()?;
        let before = declarations.clone();
        let mut place = Place::new(self, i, at.to_owned(), &before).sent(true);
        let compiled = ForEachPlan::compile(for_each, step, &mut place);
        let known = match &compiled {
            Some(compiled) => compiled.variables(&before, &mut place),
            // what is wrong with the items is told already
            None => [("item", StaticType::Dyn), ("index", StaticType::INT)],
        };
        *declarations = with(declarations, &known);
        compiled
    }
}

/// The steps of each loop that `repeat` or `changes` says.
fn loops(steps: &[Step], graph: &Graph) -> Vec<BTreeSet<usize>> {
    let position = |name: &String| steps.iter().position(|step| step.name == *name);
    let begins = |(last, step): (usize, &Step)| {
        let question = step.kind.as_kind().question();
        let changes = question.and_then(|question| question.changes.as_ref());
        let changes = changes.and_then(|changes| position(&changes.back_to));
        let repeat = step.repeat.as_ref().and_then(|repeat| match &repeat.from {
            Some(from) => position(from),
            None => Some(last),
        });
        let first = changes.into_iter().chain(repeat);
        first.map(move |first| (first, last)).collect::<Vec<_>>()
    };
    let loops = steps.iter().enumerate().flat_map(begins);
    loops.map(|(first, last)| graph.between(first, last)).collect()
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
        when: None,
    }
}
