//! Processes on other machines: known before they are started, and ended when nobody needs them any more. A run has not
//! ended before they have, or could not be ended for a while.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};

use super::{Turn, cut, sentence};
use crate::{
    callback_token::record_key,
    effect::{Effect, SshRequest},
    facts::{EffectError, SshResponse},
    heartbeat::later,
    object::{CloseObject, Closing, ObjectFact, ObjectKey, ObjectKind},
};
use signoff_api::run::{ProcessPhase, ProcessStatus, StepOutcome, StepStatus};

/// How long it is tried to end a process.
pub(crate) const LONGEST_ENDING: Duration = Duration::from_secs(120);

/// Most processes that are over and kept.
const MOST_OVER: usize = 50;

impl Turn<'_> {
    /// A call is to start a process: from now on it is known, whatever becomes of the call.
    pub(super) fn process_begins(&mut self, step: usize, entry: usize, request: &SshRequest) {
        let callback = self.tie(step, entry);
        let status = &self.state.steps[entry];
        let known = self
            .state
            .processes
            .iter_mut()
            .find(|known| known.name == request.process);
        if let Some(known) = known {
            known.connection = request.connection.clone();
            known.host.clone_from(&request.host);
            return;
        }
        self.state.processes.push(ProcessStatus {
            name: request.process.clone(),
            step: status.name.clone(),
            iteration: status.iteration,
            item: status.item,
            connection: request.connection.clone(),
            host: request.host.clone(),
            pid: None,
            callback,
            phase: ProcessPhase::Starting,
            ending_since: None,
            message: None,
        });
    }

    /// The wait that a process is tied to.
    fn tie(&self, step: usize, entry: usize) -> Option<String> {
        let wait = self.plan.steps[step].kind.tied_wait()?;
        let wait = self.plan.index_of(wait)?;
        let planned = &self.plan.steps[wait];
        let item = self.state.steps[entry]
            .item
            .filter(|_| planned.for_each.is_some());
        Some(record_key(&planned.name, self.view().iteration(wait), item))
    }

    /// What came of a start, or of a command that was waited for.
    pub(super) fn process_answered(&mut self, entry: usize, response: &SshResponse) {
        let Some(process) = self.process_of(entry) else {
            return;
        };
        match response {
            SshResponse::Started { pid, .. } => {
                process.pid = Some(*pid);
                process.phase = ProcessPhase::Running;
            }
            SshResponse::Ended { .. } => {
                let name = process.name.clone();
                self.state.processes.retain(|process| process.name != name);
            }
        }
    }

    /// An attempt failed, after which the process may be there.
    pub(super) fn process_failed(&mut self, entry: usize, error: &EffectError) {
        if error.may_have_happened {
            self.process_unknown(entry);
        }
    }

    /// It is not known whether an attempt started the process.
    pub(super) fn process_unknown(&mut self, entry: usize) {
        if let Some(process) = self.process_of(entry)
            && process.phase == ProcessPhase::Starting
        {
            process.phase = ProcessPhase::Unknown;
        }
    }

    fn process_of(&mut self, entry: usize) -> Option<&mut ProcessStatus> {
        let status = &self.state.steps[entry];
        let processes = &mut self.state.processes;
        processes.iter_mut().find(|process| is_of(process, status))
    }

    /// Has every process ended that nobody needs any more, and takes in what came of that.
    pub(crate) fn look_after_processes(&mut self) {
        if self.state.processes.is_empty() {
            return;
        }
        // those that are still to end are asked for anew
        self.effects.retain(|effect| !ends_process(effect));
        let mut processes = std::mem::take(&mut self.state.processes);
        processes.retain(|process| process.phase != ProcessPhase::Starting || !self.is_start_over(process));
        for process in &mut processes {
            if let Some(why) = self.why_to_end(process) {
                process.phase = ProcessPhase::Ending;
                process.ending_since = Some(MicroTime(self.now));
                process.message = Some(cut(why));
            }
            if process.phase == ProcessPhase::Ending {
                self.go_on_ending(process);
            }
        }
        let over = processes.iter().filter(|process| process.phase.is_over());
        let mut old = over.count().saturating_sub(MOST_OVER);
        processes.retain(|process| {
            let is_old = process.phase.is_over() && old > 0;
            old -= usize::from(is_old);
            !is_old
        });
        self.state.processes = processes;
    }

    /// Whether nothing was started, and nothing will be.
    fn is_start_over(&self, process: &ProcessStatus) -> bool {
        let state = self.entry_of(process);
        state.is_none_or(|entry| entry.phase.is_finished())
    }

    /// Why a process is to end now, if it is.
    fn why_to_end(&self, process: &ProcessStatus) -> Option<String> {
        let is_under_way = || {
            let entry = self.entry_of(process);
            entry.is_some_and(|entry| !entry.phase.is_finished())
        };
        match process.phase {
            ProcessPhase::Starting | ProcessPhase::Ending | ProcessPhase::Ended | ProcessPhase::NotEnded => {
                None
            }
            ProcessPhase::Unknown if is_under_way() => None,
            ProcessPhase::Unknown => Some("its start was broken off".to_owned()),
            ProcessPhase::Running => {
                let is_current = self.is_current(process);
                let tied = process.callback.as_deref();
                match self.ending {
                    Some(ending) => Some(format!("the run ends {}", ending.phase())),
                    None if !is_current => Some("the step is done again".to_owned()),
                    None => {
                        let wait = tied.filter(|wait| self.is_over_without_callback(wait))?;
                        Some(format!("the wait {wait} ended without a callback"))
                    }
                }
            }
        }
    }

    /// Whether the pass of the step that started it is still the newest.
    fn is_current(&self, process: &ProcessStatus) -> bool {
        let mut entries = self.state.steps.iter();
        entries.any(|entry| {
            entry.name == process.step
                && entry.iteration == process.iteration
                && entry.item.is_none()
                && entry.repeated != Some(true)
        })
    }

    /// The entry of the step or item that starts a process. An item that has ended has none.
    fn entry_of(&self, process: &ProcessStatus) -> Option<&StepStatus> {
        self.state.steps.iter().find(|entry| is_of(process, entry))
    }

    /// Whether a wait is over, and no callback ended it.
    fn is_over_without_callback(&self, wait: &str) -> bool {
        let key = |entry: &StepStatus, item| record_key(&entry.name, entry.iteration, item);
        let outcome = self.state.steps.iter().find_map(|entry| match &entry.items {
            Some(items) => {
                let mut all = 0..items.count;
                let item = all.find(|item| key(entry, Some(*item)) == wait)?;
                let left = entry.phase.is_finished().then_some(StepOutcome::Cancelled);
                items.outcome(item).or(left)
            }
            None => (key(entry, entry.item) == wait)
                .then_some(entry.outcome)
                .flatten(),
        });
        outcome.is_some_and(|outcome| outcome != StepOutcome::Callback)
    }

    /// Asks for the end of a process until it is known, or was asked for long enough.
    fn go_on_ending(&mut self, process: &mut ProcessStatus) {
        let key = ObjectKey::process(&process.name);
        let fact = self.facts.objects.get(&key).and_then(ObjectFact::as_process);
        let said = fact.map(|fact| fact.message.as_str());
        let told = |what: &str| {
            let why = process.message.as_deref().unwrap_or_default();
            Some(cut(format!("{why}: {what}")))
        };
        if fact.is_some_and(|fact| fact.is_ended) {
            process.message = told(said.unwrap_or("it has ended"));
            process.phase = ProcessPhase::Ended;
        } else if gives_up_at(process).is_some_and(|at| at <= self.now) {
            let what = said.unwrap_or("the host gave no answer");
            process.message = told(&format!("it could not be ended: {what}"));
            process.phase = ProcessPhase::NotEnded;
        } else {
            let closing = if self.terminated {
                Closing::Terminated
            } else {
                Closing::Cancelled
            };
            let message = process.message.clone().unwrap_or_default();
            self.effects.push(Effect::Close(CloseObject {
                key,
                closing,
                message,
            }));
        }
    }

    /// Whether a process of a step is being ended, before which the step is not done again.
    pub(super) fn ends_process_of(&self, step: usize) -> bool {
        let name = &self.plan.steps[step].name;
        let mut processes = self.state.processes.iter();
        processes.any(|process| {
            let is_ending = process.phase == ProcessPhase::Ending || self.why_to_end(process).is_some();
            process.step == *name && is_ending
        })
    }

    /// Whether nothing is left of processes that the run has started.
    pub(super) fn processes_are_over(&self) -> bool {
        self.state.processes.iter().all(|process| process.phase.is_over())
    }

    /// What the run waits for, of the processes that are being ended.
    pub(super) fn waiting_on_processes(&self) -> impl Iterator<Item = String> {
        let ending = self.state.processes.iter();
        let ending = ending.filter(|process| process.phase == ProcessPhase::Ending);
        ending.map(|process| {
            let host = process.host.as_ref().map(|host| format!(" on {host}"));
            sentence(format!(
                "the end of the process of step {}{}",
                process.step,
                host.unwrap_or_default()
            ))
        })
    }

    /// When it is given up to end a process.
    pub(super) fn gives_up_processes_at(&self) -> Option<Timestamp> {
        let ending = self.state.processes.iter();
        let ending = ending.filter(|process| process.phase == ProcessPhase::Ending);
        ending.filter_map(gives_up_at).min()
    }
}

/// Whether an effect ends a process.
fn ends_process(effect: &Effect) -> bool {
    matches!(effect, Effect::Close(close) if close.key.kind == ObjectKind::Process)
}

fn gives_up_at(process: &ProcessStatus) -> Option<Timestamp> {
    let since = process.ending_since.as_ref()?;
    Some(later(since.0, LONGEST_ENDING))
}

fn is_of(process: &ProcessStatus, entry: &StepStatus) -> bool {
    process.step == entry.name && process.iteration == entry.iteration && process.item == entry.item
}
