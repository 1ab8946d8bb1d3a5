//! Jobs of the cluster: each attempt of a step is one, whose name follows from the attempt. The state names it when it is
//! there.

use std::collections::BTreeSet;

use super::Turn;
use crate::{
    effect::Effect,
    object::{CloseObject, Closing, ObjectKey, ObjectKind},
    plan::{Plan, PlannedStep},
};
use signoff_api::{
    RunStatus, names,
    run::{StepPhase, StepStatus},
};

impl Plan {
    /// The Jobs that steps may have created without the state saying so, because it could not be written any more.
    pub fn unrecorded_jobs(&self, run: &str, uid: &str, state: &RunStatus) -> Vec<ObjectKey> {
        let newest = |name: &str| {
            let mut newest = state.steps.iter().rev();
            newest.find(|entry| entry.name == name && entry.item.is_none())
        };
        let is_over = |step: usize| {
            let entry = newest(&self.steps[step].name);
            entry.is_some_and(|entry| entry.phase.is_finished())
        };
        let mut keys = Vec::new();
        for step in self.steps.iter().filter(|step| step.rules.key == "job") {
            let (iteration, of_step) = match newest(&step.name) {
                None if step.needs.iter().all(|needed| is_over(needed.step)) => (1, None),
                None => continue,
                Some(entry) if entry.repeated == Some(true) => (entry.iteration.saturating_add(1), None),
                Some(entry) if !entry.phase.is_finished() => (entry.iteration, Some(entry)),
                Some(_) => continue,
            };
            for (item, attempt) in unrecorded(step, of_step, state) {
                let name = names::job_name(run, uid, &step.name, iteration, item, attempt);
                keys.push(ObjectKey::job(name));
            }
        }
        keys
    }
}

/// The items and attempts of a step that may have created a Job without the state saying so.
fn unrecorded(
    step: &PlannedStep,
    of_step: Option<&StepStatus>,
    state: &RunStatus,
) -> Vec<(Option<i64>, i64)> {
    let Some(for_each) = &step.for_each else {
        return match of_step {
            None => vec![(None, 1)],
            Some(entry) => next_attempt(entry)
                .map(|attempt| (None, attempt))
                .into_iter()
                .collect(),
        };
    };
    let Some(of_step) = of_step else {
        return (0..)
            .take(for_each.parallel)
            .map(|item| (Some(item), 1))
            .collect();
    };
    let entries = || {
        let entries = state.steps.iter();
        entries.filter(|entry| entry.name == of_step.name && entry.iteration == of_step.iteration)
    };
    let begun: BTreeSet<i64> = entries().filter_map(|entry| entry.item).collect();
    let open = entries().filter(|entry| entry.item.is_some());
    let open = open.filter_map(|entry| Some((entry.item, next_attempt(entry)?)));
    let items = of_step.items.iter();
    let left = items.flat_map(|items| (0..items.count).filter(move |item| items.outcome(*item).is_none()));
    // one decision begins no more than may be under way, and the next one follows when that is written
    let next = left.filter(|item| !begun.contains(item)).take(for_each.parallel);
    open.chain(next.map(|item| (Some(item), 1))).collect()
}

/// The attempt whose Job the state would name next.
fn next_attempt(entry: &StepStatus) -> Option<i64> {
    match entry.phase {
        StepPhase::Running if entry.job.is_none() => Some(entry.attempt.max(1)),
        StepPhase::Retrying => Some(entry.attempt.saturating_add(1)),
        StepPhase::Running
        | StepPhase::Waiting
        | StepPhase::Succeeded
        | StepPhase::Failed
        | StepPhase::Skipped
        | StepPhase::Omitted
        | StepPhase::Cancelled => None,
    }
}

impl Turn<'_> {
    /// Keeps the end of the log of a Job that has ended. The entry of an item goes when it has ended.
    pub(super) fn note_log(&mut self, entry: usize) {
        let Some(key) = ObjectKey::of(&self.state.steps[entry]) else {
            return;
        };
        let fact = self.facts.objects.get(&key).filter(|fact| fact.is_closed());
        let log = fact.and_then(|fact| fact.as_job()?.log.clone());
        let status = &mut self.state.steps[entry];
        if status.item.is_none() && log.is_some() {
            status.log = log;
        }
    }

    /// Ends the Job of an attempt that failed, if it goes on.
    pub(super) fn close_job(&mut self, entry: usize, why: &str) {
        let key = ObjectKey::of(&self.state.steps[entry]);
        let key = key.filter(|key| key.kind == ObjectKind::Job);
        let is_open = |key: &ObjectKey| self.facts.objects.get(key).is_some_and(|fact| !fact.is_closed());
        if let Some(key) = key.filter(is_open) {
            self.effects.push(Effect::Close(CloseObject {
                key,
                closing: Closing::Superseded,
                message: why.to_owned(),
            }));
        }
    }

    /// The Job of an attempt that has begun, and that the state does not name.
    pub(super) fn job_under_way(&self, entry: usize) -> Option<ObjectKey> {
        let status = &self.state.steps[entry];
        let step = self
            .plan
            .index_of(&status.name)
            .filter(|_| status.job.is_none())?;
        let name = self.plan.steps[step].kind.job_name(&self.step_view(step, entry));
        name.map(ObjectKey::job)
    }

    /// Stops an attempt of which it is not known whether its Job is there.
    pub(super) fn stop_job(&mut self, entry: usize, key: ObjectKey, closing: Closing, why: &str) {
        if self.was_sent(entry) || self.facts.objects.contains_key(&key) {
            // so that it is looked for until it is gone
            key.own(&mut self.state.steps[entry]);
            self.effects.push(Effect::Close(CloseObject {
                key,
                closing,
                message: why.to_owned(),
            }));
        } else {
            self.take_back_attempt(entry);
        }
    }

    /// Takes in Jobs that are there, though the state that was to say so was not written.
    pub(super) fn recall_jobs(&mut self) {
        let facts = self.facts;
        for (key, fact) in &facts.objects {
            let Some(job) = fact.as_job() else { continue };
            let Some(step) = self.plan.index_of(&job.step) else {
                continue;
            };
            if self.plan.steps[step].rules.key != "job" || job.iteration < self.view().iteration(step) {
                continue;
            }
            let known = |turn: &Self, item: Option<i64>| {
                let mut entries = turn.state.steps.iter();
                entries.position(|entry| {
                    entry.name == job.step && entry.iteration == job.iteration && entry.item == item
                })
            };
            if job.item.is_some() {
                let of_step = known(self, None);
                if !self.recall_step_of(step, job.iteration, job.item, of_step) {
                    continue;
                }
            }
            let entry = known(self, job.item)
                .unwrap_or_else(|| self.begin(&self.plan.steps[step], job.iteration, job.item));
            let status = &self.state.steps[entry];
            let is_new =
                status.job.is_none() && status.attempt == job.attempt || status.attempt < job.attempt;
            if status.phase.is_finished() || !is_new {
                continue;
            }
            if status.attempt == 0 && self.plan.steps[step].rules.is_billable {
                self.state.billable_steps += 1;
            }
            let status = &mut self.state.steps[entry];
            status.attempt = job.attempt;
            status.phase = StepPhase::Waiting;
            status.wake_at = None;
            key.own(status);
        }
    }
}
