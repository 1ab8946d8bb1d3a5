//! Runs of other flows, when the run is to end: it has not ended before they have.

use std::collections::BTreeSet;

use super::{Turn, sentence};
use crate::{
    effect::Effect,
    object::{CloseObject, Closing, ObjectFact, ObjectKey, ObjectKind},
    plan::{Plan, PlannedStep},
};
use signoff_api::{
    RunStatus, names,
    run::{StepPhase, StepStatus},
};

impl Plan {
    /// The runs that steps may have started without the state saying so, because it could not be written any more.
    pub fn unrecorded_children(&self, run: &str, uid: &str, state: &RunStatus) -> Vec<ObjectKey> {
        let newest = |name: &str| {
            let mut newest = state.steps.iter().rev();
            newest.find(|entry| entry.name == name && entry.item.is_none())
        };
        let is_over = |step: usize| {
            let entry = newest(&self.steps[step].name);
            entry.is_some_and(|entry| entry.phase.is_finished())
        };
        let due = self
            .steps
            .iter()
            .filter(|step| step.kind.starts_child())
            .filter_map(|step| {
                let (iteration, of_step) = match newest(&step.name) {
                    None if step.needs.iter().all(|needed| is_over(needed.step)) => (1, None),
                    None => return None,
                    Some(entry) if entry.repeated == Some(true) => (entry.iteration.saturating_add(1), None),
                    Some(entry) if !entry.phase.is_finished() => (entry.iteration, Some(entry)),
                    Some(_) => return None,
                };
                Some((step, iteration, of_step))
            });
        let due = due.flat_map(|(step, iteration, of_step)| {
            let name = move |item: Option<i64>| {
                ObjectKey::run(match item {
                    None => names::child_run_name(run, uid, &step.name, iteration),
                    Some(item) => names::item_child_run_name(run, uid, &step.name, iteration, item),
                })
            };
            unrecorded(step, of_step, state).into_iter().map(name)
        });
        due.collect()
    }
}

/// The items of a step that may have started a run without the state saying so; none stands for a step without items.
fn unrecorded(step: &PlannedStep, of_step: Option<&StepStatus>, state: &RunStatus) -> Vec<Option<i64>> {
    let Some(for_each) = &step.for_each else {
        let is_named = of_step.is_some_and(|entry| entry.run.is_some() || entry.phase != StepPhase::Running);
        return if is_named { vec![] } else { vec![None] };
    };
    let Some(of_step) = of_step else {
        let first = (0..).take(for_each.parallel);
        return first.map(Some).collect();
    };
    let entries = || {
        let entries = state.steps.iter();
        entries.filter(|entry| entry.name == of_step.name && entry.iteration == of_step.iteration)
    };
    let begun: BTreeSet<i64> = entries().filter_map(|entry| entry.item).collect();
    let unnamed = entries().filter(|entry| entry.run.is_none() && !entry.phase.is_finished());
    let unnamed = unnamed.filter_map(|entry| entry.item);
    let items = of_step.items.iter();
    let left = items.flat_map(|items| (0..items.count).filter(move |item| items.outcome(*item).is_none()));
    // one decision begins no more than may be under way, and the next one follows when that is written
    let next = left.filter(|item| !begun.contains(item)).take(for_each.parallel);
    unnamed.chain(next).map(Some).collect()
}

impl Turn<'_> {
    /// Takes in runs that are there, though the state that was to say so was not written.
    pub(super) fn recall_children(&mut self) {
        let facts = self.facts;
        for (key, fact) in &facts.objects {
            let Some(run) = fact.as_run() else { continue };
            let Some(step) = self.plan.index_of(&run.step) else {
                continue;
            };
            if !self.plan.steps[step].kind.starts_child() || run.iteration < self.view().iteration(step) {
                continue;
            }
            let known = |turn: &Self, item: Option<i64>| {
                let mut entries = turn.state.steps.iter();
                entries.position(|entry| {
                    entry.name == run.step && entry.iteration == run.iteration && entry.item == item
                })
            };
            if run.item.is_some() {
                let of_step = known(self, None);
                if !self.recall_step_of(step, run.iteration, run.item, of_step) {
                    continue;
                }
            }
            let entry = known(self, run.item)
                .unwrap_or_else(|| self.begin(&self.plan.steps[step], run.iteration, run.item));
            let status = &mut self.state.steps[entry];
            if status.run.is_none() && !status.phase.is_finished() {
                key.own(status);
                status.phase = StepPhase::Waiting;
            }
        }
    }

    /// Whether a step waits for a run that has not ended.
    pub(super) fn is_child_open(&self, entry: usize) -> bool {
        let status = &self.state.steps[entry];
        let key = ObjectKey::of(status).filter(|key| key.kind == ObjectKind::Run);
        let fact = key.and_then(|key| self.facts.objects.get(&key));
        !status.phase.is_finished() && fact.is_some_and(|fact| !fact.is_closed())
    }

    /// Has the run of a step stopped. The step is over when that run has ended.
    pub(super) fn stop_child(&mut self, entry: usize, why: &str) {
        let closing = if self.terminated {
            Closing::Terminated
        } else {
            Closing::Cancelled
        };
        let status = &mut self.state.steps[entry];
        let Some(key) = ObjectKey::of(status) else { return };
        status.phase = StepPhase::Waiting;
        status.waiting_on = Some(sentence(format!("the end of run {}", key.name)));
        let is_told = match self.facts.objects.get(&key) {
            Some(ObjectFact::Run(run)) => run.terminate || run.cancel && closing != Closing::Terminated,
            Some(
                ObjectFact::Approval(_)
                | ObjectFact::WorkItem(_)
                | ObjectFact::Job(_)
                | ObjectFact::Process(_),
            )
            | None => false,
        };
        if !is_told {
            self.effects.push(Effect::Close(CloseObject {
                key,
                closing,
                message: why.to_owned(),
            }));
        }
    }
}
