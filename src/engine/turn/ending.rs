//! How a turn ends: the run's phase, what it waits for, and its end.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};

use super::{Turn, cut};
use crate::{
    api::{
        ApprovalPhase, Json, RunPhase, RunStatus, bounds, condition,
        reason::StepReason,
        run::{StepError, StepPhase},
    },
    engine::{advance::Advance, effect::Effect},
};

/// Largest status, in bytes of JSON.
const MAX_STATUS: usize = 512 * 1024;

/// How a run ends when it does not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Failed,
    Rejected,
    TimedOut,
    Cancelled,
}

impl Ending {
    fn phase(self) -> RunPhase {
        match self {
            Self::Failed => RunPhase::Failed,
            Self::Rejected => RunPhase::Rejected,
            Self::TimedOut => RunPhase::TimedOut,
            Self::Cancelled => RunPhase::Cancelled,
        }
    }
}

impl Turn<'_> {
    /// Stops the run because somebody asked for it.
    pub(in crate::engine) fn cancel(&mut self) {
        let message = "the run was cancelled".to_owned();
        self.state.error = Some(StepError {
            reason: StepReason::Cancelled,
            message,
        });
        self.ending = Some(Ending::Cancelled);
    }

    /// Settles the run's phase and gives the decision.
    pub(in crate::engine) fn conclude(mut self, before: &RunStatus) -> Advance {
        if self.ending.is_none() && (0..self.plan.steps.len()).all(|step| self.is_over(step)) {
            self.succeed();
        }
        if let Some(ending) = self.ending {
            self.end(ending);
        } else if !self.state.phase.is_finished() {
            self.go_on();
        }
        self.state.observed_generation = self.facts.run.generation;
        self.set_condition();
        if serialized_len(&self.state) > MAX_STATUS {
            return self.too_large(before);
        }
        let wake_at = if self.state.phase.is_finished() {
            None
        } else {
            self.wake_at()
        };
        Advance {
            state: self.state,
            effects: self.effects,
            wake_at,
        }
    }

    fn is_over(&self, step: usize) -> bool {
        self.current(step).is_some_and(|entry| {
            matches!(
                self.state.steps[entry].phase,
                StepPhase::Succeeded | StepPhase::Skipped
            )
        })
    }

    fn succeed(&mut self) {
        let output = match self
            .plan
            .output
            .as_ref()
            .map(|output| output.value(&self.scope()))
        {
            None => None,
            Some(Ok(output)) => Some(Json(output)),
            Some(Err(error)) => {
                self.state.error = Some(StepError {
                    reason: error.reason(),
                    message: cut(format!("output: {error}")),
                });
                self.ending = Some(Ending::Failed);
                return;
            }
        };
        let size = output.as_ref().map_or(0, |output| output.0.to_string().len());
        let too_large = (size > super::MAX_OUTPUT)
            .then(|| format!("the run's output is larger than {} bytes", super::MAX_OUTPUT));
        let too_deep = || bounds::nesting(&output.as_ref()?.0, bounds::MAX_NESTING).err();
        let too_large =
            too_large.or_else(|| Some(format!("the run's output cannot be kept: {}", too_deep()?)));
        if let Some(message) = too_large {
            self.state.error = Some(StepError {
                reason: StepReason::OutputTooLarge,
                message,
            });
            self.ending = Some(Ending::Failed);
            return;
        }
        self.state.output = output;
        self.finish_run(RunPhase::Succeeded);
    }

    fn end(&mut self, ending: Ending) {
        // what this turn was about to begin is not begun
        self.effects
            .retain(|effect| !matches!(effect, Effect::Http(_) | Effect::OpenApproval(_)));
        let why = match ending {
            Ending::Cancelled => "the run was cancelled".to_owned(),
            _ => format!("the run ended {}", ending.phase()),
        };
        for entry in 0..self.state.steps.len() {
            if !self.state.steps[entry].phase.is_finished() {
                self.stop(entry, ApprovalPhase::Cancelled, &why);
            }
        }
        self.finish_run(ending.phase());
    }

    fn finish_run(&mut self, phase: RunPhase) {
        self.state.phase = phase;
        self.state.waiting_on = None;
        self.state.finished_at = Some(MicroTime(self.now));
    }

    fn go_on(&mut self) {
        let phases: Vec<StepPhase> = self.state.steps.iter().map(|step| step.phase).collect();
        let running = phases.contains(&StepPhase::Running);
        self.state.phase = if running {
            RunPhase::Running
        } else {
            RunPhase::Waiting
        };
        let mut sentences: Vec<&String> = self
            .state
            .steps
            .iter()
            .filter(|step| !step.phase.is_finished())
            .filter_map(|step| step.waiting_on.as_ref())
            .collect();
        let more = sentences.len().saturating_sub(1);
        self.state.waiting_on = match (sentences.pop(), more) {
            (Some(_), _) if running => None,
            (Some(only), 0) => Some(only.clone()),
            (Some(last), more) => Some(format!("{last}, and {more} more").chars().take(512).collect()),
            (None, _) if self.facts.run.suspend => Some("somebody to resume it: it is suspended".to_owned()),
            (None, _) => None,
        };
    }

    fn set_condition(&mut self) {
        let phase = self.state.phase;
        let truth = match phase {
            RunPhase::Succeeded => condition::Truth::True,
            _ if phase.is_finished() => condition::Truth::False,
            _ => condition::Truth::Unknown,
        };
        let message = match (&self.state.error, &self.state.waiting_on) {
            (Some(error), _) if phase.is_finished() => error.message.clone(),
            (_, Some(waiting_on)) => format!("waiting on {waiting_on}"),
            _ => String::new(),
        };
        let generation = self.facts.run.generation;
        condition::set(
            &mut self.state.conditions,
            condition::SUCCEEDED,
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
        let unopened = waiting.find_map(|step| self.facts.unopened.get(step.approval.as_ref()?));
        match unopened {
            Some(why) => condition::set(
                &mut self.state.conditions,
                condition::ASKED,
                condition::Truth::False,
                "ApprovalNotOpened",
                why,
                self.facts.run.generation,
                self.now,
            ),
            None => condition::clear(&mut self.state.conditions, condition::ASKED),
        }
    }

    /// A status that could not be written is not made: the run fails from where it was.
    fn too_large(mut self, before: &RunStatus) -> Advance {
        self.state = before.clone();
        self.effects.clear();
        let message = format!("the run's status would outgrow {MAX_STATUS} bytes");
        self.state.error = Some(StepError {
            reason: StepReason::StatusTooLarge,
            message,
        });
        self.end(Ending::Failed);
        self.state.observed_generation = self.facts.run.generation;
        self.set_condition();
        Advance {
            state: self.state,
            effects: self.effects,
            wake_at: None,
        }
    }

    /// Approvals are expired by the API server's clock, so only waits and retries wake a run.
    fn wake_at(&self) -> Option<Timestamp> {
        let times = self
            .state
            .steps
            .iter()
            .filter(|step| !step.phase.is_finished())
            .flat_map(|step| {
                let deadline = step.deadline.as_ref().filter(|_| step.approval.is_none());
                [step.wake_at.as_ref(), deadline]
            });
        times.flatten().map(|time| time.0).min()
    }
}

fn serialized_len(state: &RunStatus) -> usize {
    serde_json::to_vec(state).map_or(usize::MAX, |bytes| bytes.len())
}
