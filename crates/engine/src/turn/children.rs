//! Runs of other flows, when the run is to end: it has not ended before they have.

use super::{Turn, sentence};
use crate::{
    effect::Effect,
    object::{CloseObject, Closing, ObjectFact, ObjectKey, ObjectKind},
    plan::Plan,
};
use signoff_api::{RunStatus, names, run::StepPhase};

impl Plan {
    /// The runs that steps may have started without the state saying so, because it could not be written any more.
    pub fn unrecorded_children(&self, run: &str, uid: &str, state: &RunStatus) -> Vec<ObjectKey> {
        let newest = |name: &str| state.steps.iter().rev().find(|entry| entry.name == name);
        let is_over = |step: usize| {
            let entry = newest(&self.steps[step].name);
            entry.is_some_and(|entry| entry.phase.is_finished())
        };
        let due = self
            .steps
            .iter()
            .filter(|step| step.kind.starts_child())
            .filter_map(|step| {
                let iteration = match newest(&step.name) {
                    None if step.needs.iter().all(|needed| is_over(needed.step)) => 1,
                    None => return None,
                    Some(entry) if entry.repeated == Some(true) => entry.iteration.saturating_add(1),
                    Some(entry) if entry.phase == StepPhase::Running && entry.run.is_none() => {
                        entry.iteration
                    }
                    Some(_) => return None,
                };
                Some(ObjectKey::run(names::child_run_name(
                    run, uid, &step.name, iteration,
                )))
            });
        due.collect()
    }
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
            let owner = |entry: &signoff_api::run::StepStatus| {
                entry.name == run.step && entry.iteration == run.iteration
            };
            let known = self.state.steps.iter().position(owner);
            if !self.plan.steps[step].kind.starts_child() || run.iteration < self.view().iteration(step) {
                continue;
            }
            let entry = known.unwrap_or_else(|| self.begin(&self.plan.steps[step], run.iteration, None));
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
            Some(ObjectFact::Approval(_)) | None => false,
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
