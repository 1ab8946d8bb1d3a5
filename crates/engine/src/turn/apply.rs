//! Does to the run's state what a kind of step wants next.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{Turn, cut, ending::unkept, sentence};
use crate::{
    effect::Effect,
    kinds::{Done, End, Failure, Next, Own, Progress, Then, Wait},
    object::{CloseObject, Closing, ObjectFact, ObjectKey},
    plan::LONGEST_WAIT,
};
use signoff_api::{
    Json,
    reason::StepReason,
    run::{EndingOutcome, StepDecision, StepError, StepOutcome, StepPhase},
};

impl Turn<'_> {
    /// Lets the kind of a step begin it.
    pub(super) fn start_kind(&mut self, step: usize, entry: usize) {
        let next = self.plan.steps[step].kind.start(&self.step_view(step, entry));
        self.apply(step, entry, next);
    }

    /// Lets the kind of a step look at what it waits for.
    pub(super) fn go_on_with(&mut self, step: usize, entry: usize) {
        self.note_worker(entry);
        self.note_log(entry);
        let next = self.plan.steps[step].kind.go_on(&self.step_view(step, entry));
        self.apply(step, entry, next);
    }

    pub(super) fn apply(&mut self, step: usize, entry: usize, next: Next) {
        match next {
            Next::Stay => {}
            Next::Done(Done {
                outcome,
                output,
                decision,
                error,
            }) => {
                self.keep_decision(entry, decision);
                self.finish(entry, StepPhase::Succeeded, outcome, output);
                if let Some(error) = error {
                    self.state.steps[entry].error.get_or_insert(error);
                }
            }
            Next::Call(request) => self.call(step, entry, request),
            Next::AttemptFailed(error) => self.attempt_failed(step, entry, &error),
            Next::Own(own) => self.own(step, entry, *own),
            Next::Wait(wait) => self.wait(step, entry, wait),
            Next::Fail(failure) => self.failed(entry, failure),
            Next::End(end) => self.end_here(entry, end),
            Next::GoBack(decision) => self.go_back(step, entry, decision),
            Next::Progress(progress) => self.progress(step, entry, *progress),
            Next::Supersede(reason, message) => self.supersede(entry, reason, message),
        }
    }

    fn keep_decision(&mut self, entry: usize, decision: Option<StepDecision>) {
        if decision.is_some() {
            self.state.steps[entry].decision = decision;
        }
    }

    pub(super) fn failed(&mut self, entry: usize, failure: Failure) {
        let Failure {
            outcome,
            reason,
            message,
            decision,
            ending,
        } = failure;
        self.keep_decision(entry, decision.map(|decision| *decision));
        self.end_badly(entry, outcome, reason, &message, ending);
    }

    fn end_here(&mut self, entry: usize, end: End) {
        let End {
            ending,
            message,
            output,
        } = end;
        let output = output.filter(|output| !output.is_null()).map(Json);
        if let Some(message) = output.as_ref().and_then(unkept) {
            return self.fail(entry, StepReason::OutputTooLarge, message);
        }
        self.finish(entry, StepPhase::Succeeded, StepOutcome::Succeeded, None);
        self.state.output = output;
        if ending == EndingOutcome::Failed {
            self.failed_step = Some(self.state.steps[entry].name.clone());
        }
        self.end_because(ending, StepReason::Ended, cut(message));
    }

    /// Owns an object from now on, or asks once more for one that is not there.
    fn own(&mut self, step: usize, entry: usize, own: Own) {
        let key = own.object.key();
        let is_known = self.facts.objects.contains_key(&key) || self.facts.refused.contains_key(&key);
        // others make its attempts, so it counts when it is put to them
        let is_first = ObjectKey::of(&self.state.steps[entry]).is_none();
        let rules = self.plan.steps[step].rules;
        if is_first && rules.is_billable && !rules.attempts {
            self.state.billable_steps += 1;
        }
        let status = &mut self.state.steps[entry];
        if own.object.is_named_when_there() && !is_known {
            status.phase = StepPhase::Running;
            status.waiting_on = Some(sentence(own.waiting_on));
        } else if ObjectKey::of(status).as_ref() != Some(&key) {
            status.phase = StepPhase::Waiting;
            status.deadline = own.deadline.map(MicroTime);
            status.digest = own.object.digest().cloned();
            status.connections = own.connections;
            status.requests = own.requests;
            status.waiting_on = Some(sentence(own.waiting_on));
            key.own(status);
            // it may be there already, or be refused
            if is_known {
                return self.go_on_with(step, entry);
            }
        }
        if !self.is_asked_for(&key) {
            self.effects.push(Effect::Open(own.object));
        }
    }

    /// Whether this turn asks for the object already.
    pub(super) fn is_asked_for(&self, key: &ObjectKey) -> bool {
        let opens = |effect: &Effect| matches!(effect, Effect::Open(object) if object.key() == *key);
        self.effects.iter().any(opens)
    }

    fn wait(&mut self, step: usize, entry: usize, wait: Wait) {
        let latest = self.view().after(LONGEST_WAIT);
        let first = wait.wake_at.into_iter().chain(wait.deadline).min();
        if self.plan.steps[step].is_finally && first.is_some_and(|at| at > latest) {
            let message = "a wait of finally takes at most 24h";
            return self.fail(entry, StepReason::InvalidTime, message);
        }
        let status = &mut self.state.steps[entry];
        let begins = status.phase != StepPhase::Waiting;
        status.phase = StepPhase::Waiting;
        status.wake_at = wait.wake_at.map(MicroTime);
        status.deadline = wait.deadline.map(MicroTime);
        status.event_keys = wait.event_keys;
        status.waiting_on = Some(sentence(wait.waiting_on));
        if begins {
            // it may have come before
            self.go_on_with(step, entry);
        }
    }

    /// Takes in how far an agent has come, and does what it does next.
    fn progress(&mut self, step: usize, entry: usize, progress: Progress) {
        let Progress { status: agent, then } = progress;
        let open = ObjectKey::of(&self.state.steps[entry]).filter(|key| {
            let fact = self.facts.objects.get(key);
            !fact.is_some_and(ObjectFact::is_closed)
        });
        if let Some(key) = open {
            self.effects.push(Effect::Close(CloseObject {
                key,
                closing: Closing::Superseded,
                message: "the agent goes on without it".to_owned(),
            }));
        }
        let status = &mut self.state.steps[entry];
        status.agent = Some(Box::new(agent));
        status.approval = None;
        status.digest = None;
        status.deadline = None;
        status.error = None;
        if self.ending_beside(step).is_some() && !matches!(then, Then::Done(_)) {
            return self.cancelled(entry);
        }
        match then {
            Then::Call => {
                let name = self.state.steps[entry].name.clone();
                let status = &mut self.state.steps[entry];
                // it is due at once, but not while the run is suspended
                status.phase = StepPhase::Retrying;
                status.wake_at = None;
                status.waiting_on = Some(sentence(format!("the run to be resumed (step {name})")));
                self.retry_if_due(step, entry);
            }
            Then::Ask(own) => self.own(step, entry, *own),
            Then::Done(done) => self.apply(step, entry, Next::Done(*done)),
            Then::Fail(failure) => self.failed(entry, failure),
        }
    }

    /// Goes back: this step is done, and everything from the step gone back to is due once more.
    fn go_back(&mut self, step: usize, entry: usize, decision: StepDecision) {
        let name = self.state.steps[entry].name.clone();
        let question = self.plan.steps[step].kind.question();
        let Some(changes) = question.and_then(|question| question.changes.as_ref()) else {
            return;
        };
        // what was sent and must not be repeated is settled before it is done again
        let over = self.current_of(&changes.again);
        if let Some(unsettled) = over.iter().find(|other| self.is_unsettled(**other)) {
            let sent = self.state.steps[*unsettled].name.clone();
            self.held.extend(changes.again.iter().copied());
            self.state.steps[entry].waiting_on = Some(sentence(format!(
                "the outcome of step {sent}, which was sent, before it is done again"
            )));
            return;
        }
        self.state.steps[entry].decision = Some(decision);
        self.finish(entry, StepPhase::Succeeded, StepOutcome::ChangesRequested, None);
        let why = format!("changes were requested at step {name}");
        self.begin_pass(step, &changes.again, None, &why);
    }

    /// Ends this iteration, so that another takes its place.
    fn supersede(&mut self, entry: usize, reason: StepReason, message: String) {
        self.stop(entry, Closing::Superseded, &message);
        self.state.steps[entry].error = Some(StepError {
            reason,
            message: cut(message),
        });
    }
}
