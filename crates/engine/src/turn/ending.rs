//! How a turn ends: the run's phase, what it waits for, and its end.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};

use super::{Turn, cut, key_of, sentence};
use crate::{
    advance::Advance,
    events::may_begin,
    object::{Closing, ObjectKey},
};
use signoff_api::{
    Json, RunPhase, RunStatus, bounds, condition,
    reason::StepReason,
    run::{EndingOutcome, RunEnding, StepError, StepPhase, StepStatus},
};

/// What a suspended run waits for.
const SUSPENDED: &str = "somebody to resume it: it is suspended";

impl Turn<'_> {
    /// Stops the run because somebody asked for it, unless it ends for another reason already.
    pub(crate) fn cancel(&mut self) {
        let message = cut(format!("the run was cancelled{}", self.facts.run.stopped()));
        self.end_because(EndingOutcome::Cancelled, StepReason::Cancelled, message);
    }

    pub(super) fn end_because(&mut self, ending: EndingOutcome, reason: StepReason, message: String) {
        if self.ending.is_none() {
            match ending {
                EndingOutcome::Succeeded => self.end_message = Some(message),
                EndingOutcome::Failed
                | EndingOutcome::Rejected
                | EndingOutcome::TimedOut
                | EndingOutcome::Cancelled => self.state.error = Some(StepError { reason, message }),
            }
            self.ending = Some(ending);
        }
    }

    /// Settles the run's phase and gives the decision.
    pub(crate) fn conclude(mut self) -> Advance {
        if self.ending.is_none() && (0..self.plan.main).all(|step| self.is_ended(step)) {
            self.succeed();
        }
        self.look_after_processes();
        if let Some(ending) = self.ending {
            self.end(ending);
        } else if !self.state.phase.is_finished() {
            self.go_on();
        }
        // what is forgotten may have been asked about
        self.note_notifications();
        self.forget_old_passes();
        self.forget_ended_items();
        self.note_events();
        self.state.observed_generation = self.facts.run.generation;
        self.set_condition();
        if !self.without_outputs && serialized_len(&self.state) > bounds::MAX_RUN_STATUS {
            return self.too_large();
        }
        let wake_at = if self.state.phase.is_finished() {
            None
        } else {
            self.wake_at()
        };
        Advance {
            is_deferrable: self.is_only_polling(),
            state: self.state,
            effects: self.effects,
            wake_at,
        }
    }

    fn succeed(&mut self) {
        let output = match self
            .plan
            .output
            .as_ref()
            .map(|output| output.value(&self.view().scope()))
        {
            None => None,
            Some(Ok(output)) => Some(Json(output)),
            Some(Err(error)) => {
                let message = cut(format!("output: {error}"));
                return self.end_because(EndingOutcome::Failed, error.reason(), message);
            }
        };
        if let Some(message) = output.as_ref().and_then(unkept) {
            return self.end_because(EndingOutcome::Failed, StepReason::OutputTooLarge, message);
        }
        self.state.output = output;
        if self.plan.has_finally() || !self.processes_are_over() {
            self.ending = Some(EndingOutcome::Succeeded);
        } else {
            self.finish_run(RunPhase::Succeeded);
        }
    }

    /// Stops what may be stopped. What was sent and must not be repeated is settled first: only then the run has ended.
    fn end(&mut self, ending: EndingOutcome) {
        self.recall_unwritten();
        self.recall_children();
        self.recall_jobs();
        let why = match ending {
            EndingOutcome::Cancelled => "the run was cancelled".to_owned(),
            EndingOutcome::Succeeded
            | EndingOutcome::Failed
            | EndingOutcome::Rejected
            | EndingOutcome::TimedOut => {
                format!("the run ended {}", ending.phase())
            }
        };
        for entry in 0..self.state.steps.len() {
            if self.is_last_entry(entry) || self.state.steps[entry].items.is_some() {
                continue;
            }
            if self.is_unsettled(entry) {
                self.settle(entry);
            } else if self.is_child_open(entry) {
                self.stop_child(entry, &why);
            } else if !self.state.steps[entry].phase.is_finished() {
                self.stop(entry, Closing::Cancelled, &why);
            }
        }
        self.go_on_with_items();
        self.look_after_processes();
        let has_ended =
            self.processes_are_over() && self.state.steps.iter().all(|step| step.phase.is_finished());
        if has_ended && !self.has_last_steps() {
            return self.finish_ending(ending);
        }
        self.note_ending(ending);
        if self.processes_are_over() {
            self.begin_last_steps();
            self.look_after_processes();
            if self.last_steps_are_over() && self.processes_are_over() {
                return self.finish_ending(ending);
            }
        }
        self.state.phase = self.phase_of_steps();
        // a step tells of items that wait for people, and items tell of the step otherwise
        let tells = |step: &&StepStatus| {
            let is_told = step.items.is_some() || step.item.is_some() && step.phase == StepPhase::Waiting;
            !is_told || step.waiting_on.is_some()
        };
        let left = self.unfinished().filter(tells);
        let left = left.map(|step| {
            let what = step.waiting_on.clone();
            what.unwrap_or_else(|| match step.item {
                None => format!("step {}", step.name),
                Some(item) => format!("item {item} of step {}", step.name),
            })
        });
        let left = left.chain(self.waiting_on_processes());
        let left = left.collect::<Vec<_>>().join(" and ");
        let left = if left.is_empty() { SUSPENDED } else { &left };
        self.state.waiting_on = Some(sentence(format!(
            "{left}, before the run ends {}",
            ending.phase()
        )));
    }

    /// Writes down how the run will end.
    fn note_ending(&mut self, outcome: EndingOutcome) {
        let known = self.state.ending.as_ref();
        self.state.ending = Some(RunEnding {
            outcome,
            since: known.map_or(MicroTime(self.now), |known| known.since.clone()),
            message: self.end_message.clone(),
            failed_step: self.failed_step.clone(),
        });
    }

    fn finish_ending(&mut self, ending: EndingOutcome) {
        self.state.ending = None;
        let failed = self
            .failed_last_step()
            .filter(|_| ending == EndingOutcome::Succeeded);
        let Some(error) = failed else {
            return self.finish_run(ending.phase());
        };
        self.state.error = Some(error);
        self.state.output = None;
        self.finish_run(RunPhase::Failed);
    }

    fn finish_run(&mut self, phase: RunPhase) {
        self.state.phase = phase;
        self.state.waiting_on = None;
        self.state.finished_at = Some(MicroTime(self.now));
    }

    fn go_on(&mut self) {
        self.state.phase = self.phase_of_steps();
        let calls = |step: &StepStatus| {
            step.phase == StepPhase::Running && !self.facts.waiting_calls.contains_key(&key_of(step))
        };
        let running = self.unfinished().any(calls);
        let mut sentences: Vec<&String> = self
            .unfinished()
            .filter_map(|step| step.waiting_on.as_ref())
            .collect();
        let more = sentences.len().saturating_sub(1);
        self.state.waiting_on = match (sentences.pop(), more) {
            (Some(_), _) if running => None,
            (Some(only), 0) => Some(only.clone()),
            (Some(last), more) => Some(format!("{last}, and {more} more").chars().take(512).collect()),
            (None, _) if self.next_pass().is_some() => self
                .next_pass()
                .map(|(at, last)| format!("the next pass of the loop of step {last}, at {at:.0}")),
            (None, _) if self.facts.run.suspend => Some(SUSPENDED.to_owned()),
            (None, _) => self.waiting_on_processes().next(),
        };
    }

    /// Says whether a step waits for an event, so that the run is found by those that come.
    fn note_events(&mut self) {
        let mut awaits = false;
        for step in &mut self.state.steps {
            if step.phase.is_finished() {
                step.event_keys.clear();
            }
            awaits |= !step.event_keys.is_empty();
        }
        self.state.awaits_events = awaits.then_some(true);
        self.note_coming_events();
    }

    /// Says whether a step may still begin to wait for an event, so that those that come before are kept for it.
    pub(super) fn note_coming_events(&mut self) {
        let mut steps = 0..self.plan.steps.len();
        let may_await = steps.any(|step| {
            let planned = &self.plan.steps[step];
            planned.kind.awaits_event().is_some() && may_begin(self.plan, &self.state, step)
        });
        self.state.may_await_events = may_await.then_some(true);
    }

    fn unfinished(&self) -> impl Iterator<Item = &StepStatus> {
        self.state.steps.iter().filter(|step| !step.phase.is_finished())
    }

    fn phase_of_steps(&self) -> RunPhase {
        if self.unfinished().any(|step| step.phase == StepPhase::Running) {
            RunPhase::Running
        } else {
            RunPhase::Waiting
        }
    }

    pub(super) fn set_condition(&mut self) {
        let phase = self.state.phase;
        let truth = match phase {
            RunPhase::Succeeded => condition::ConditionStatus::True,
            _ if phase.is_finished() => condition::ConditionStatus::False,
            _ => condition::ConditionStatus::Unknown,
        };
        let why = self.state.error.as_ref().map(|error| &error.message);
        let message = match (why.or(self.end_message.as_ref()), &self.state.waiting_on) {
            (Some(why), _) if phase.is_finished() => why.clone(),
            (_, Some(waiting_on)) => format!("waiting on {waiting_on}"),
            (_, None) => String::new(),
        };
        let generation = self.facts.run.generation;
        condition::set_run(
            &mut self.state.conditions,
            truth,
            &phase.to_string(),
            &message,
            generation,
            self.now,
        );
        self.set_asked();
    }

    /// Says of a question that cannot be put why, until it can.
    fn set_asked(&mut self) {
        let mut waiting = self
            .state
            .steps
            .iter()
            .filter(|step| step.phase == StepPhase::Waiting);
        let unopened = waiting.find_map(|step| self.facts.unopened.get(&ObjectKey::of(step)?));
        match unopened {
            Some(why) => condition::set(
                &mut self.state.conditions,
                condition::ASKED,
                condition::ConditionStatus::False,
                "ApprovalNotOpened",
                why,
                self.facts.run.generation,
                self.now,
            ),
            None => condition::clear(&mut self.state.conditions, condition::ASKED),
        }
    }

    /// A status that could not be written is not made: the run ends from where it was, and what came of calls is kept without the outputs.
    fn too_large(self) -> Advance {
        let mut turn = Self::new(self.plan, self.before, self.facts, self.now);
        turn.without_outputs = true;
        if self.facts.run.terminate {
            turn.terminate();
        } else if self.facts.run.cancel {
            turn.cancel();
        }
        let most = bounds::MAX_RUN_STATUS;
        let message = format!("the run's status would outgrow {most} bytes");
        turn.end_because(EndingOutcome::Failed, StepReason::StatusTooLarge, message);
        turn.hear_outcomes();
        turn.conclude()
    }

    /// Objects expire by the API server's clock, so only waits and retries wake a run.
    fn wake_at(&self) -> Option<Timestamp> {
        if self.has_more_to_do() {
            return Some(self.now);
        }
        let suspend = self.facts.run.suspend;
        let times = self.unfinished().flat_map(|step| {
            let deadline = step.deadline.as_ref().filter(|_| ObjectKey::of(step).is_none());
            // an attempt that is due while the run is suspended begins when that ends
            let wake_at = step
                .wake_at
                .as_ref()
                .filter(|_| !(suspend && step.phase == StepPhase::Retrying));
            [wake_at, deadline]
        });
        let next_pass = self.next_pass().map(|(at, _)| at);
        let of_kinds = (0..self.state.steps.len()).filter_map(|entry| self.due_at(entry));
        let times = times.flatten().map(|time| time.0);
        let gives_up = self.gives_up_processes_at();
        let reminds = self.reminds_at();
        times
            .chain(of_kinds)
            .chain(next_pass)
            .chain(gives_up)
            .chain(reminds)
            .min()
    }

    /// When the kind of a step that waits goes on by itself.
    fn due_at(&self, entry: usize) -> Option<Timestamp> {
        let status = &self.state.steps[entry];
        if status.phase != StepPhase::Waiting || status.items.is_some() {
            return None;
        }
        let step = self.plan.index_of(&status.name)?;
        self.plan.steps[step].kind.due_at(&self.step_view(step, entry))
    }
}

/// Why a run's output cannot be kept, if it cannot.
pub(super) fn unkept(output: &Json) -> Option<String> {
    if output.0.to_string().len() > super::MAX_OUTPUT {
        return Some(format!(
            "the run's output is larger than {} bytes",
            super::MAX_OUTPUT
        ));
    }
    let too_deep = bounds::nesting(&output.0, bounds::MAX_NESTING).err()?;
    Some(format!("the run's output cannot be kept: {too_deep}"))
}

fn serialized_len(state: &RunStatus) -> usize {
    serde_json::to_vec(state).map_or(usize::MAX, |bytes| bytes.len())
}
