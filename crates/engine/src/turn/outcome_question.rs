//! When it is unknown whether an effect that must not be repeated happened, a person is asked.

use serde_json::{Value, json};

use super::{Owned, Turn, cut, idempotency_key, sentence};
use crate::{
    asked::{self, sealed, unsealed},
    effect::Effect,
    kinds::{
        self, Failure, Next,
        approval::{decision, whom},
    },
    object::{ObjectKey, OpenApproval, OwnedObject},
    question::{ENDING_ITEM, item},
};
use signoff_api::{
    ApprovalPhase, ApprovalSpec, Json, Verdict,
    approval::{ApprovalPurpose, ApprovalStatus, ApprovalSubject, ShownItem},
    names,
    reason::StepReason,
    run::{EndingOutcome, StepError, StepOutcome, StepPhase},
    step::Approvers,
};

/// What people are asked whose answer says whether something happened.
pub(super) struct OutcomeQuestion {
    pub(super) title: String,
    pub(super) show: Vec<ShownItem>,
    /// What the answers do.
    pub(super) answers: String,
    pub(super) form: Value,
}

/// An output as people tell it.
pub(super) fn as_told(output: &Value) -> Value {
    match output {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone())),
        other => other.clone(),
    }
}

/// How the question of a step stands.
pub(super) enum Looked {
    /// It is not answered, or not put yet.
    NotYet,
    /// The API server refuses it.
    Refused(String),
    /// It is there.
    Found(Box<ApprovalStatus>),
}

impl Turn<'_> {
    /// Stops at a question: did the effect happen?
    pub(super) fn outcome_question(&mut self, step: usize, entry: usize, why: String) {
        if self.state.steps[entry].item.is_some() {
            return self.await_people(entry, why);
        }
        let run = &self.facts.run;
        let status = &mut self.state.steps[entry];
        status.phase = StepPhase::Waiting;
        status.approval = Some(names::approval_name(
            &run.name,
            &run.uid,
            &status.name,
            status.iteration,
            Some(status.attempt),
        ));
        status.error = Some(StepError {
            reason: StepReason::OutcomeUnknown,
            message: cut(why),
        });
        // waiting for people takes none of the time of an agent
        if let Some(agent) = &mut status.agent {
            agent.active_since = None;
        }
        if let Some(name) = self.state.steps[entry].approval.clone() {
            let asked = format!("to say whether step {} happened", self.state.steps[entry].name);
            self.put_outcome_question(step, entry, name, self.did_it_happen(step, entry), &asked);
        }
    }

    /// Asks a question about something of which it is unknown whether it happened. `asked` is what people are to do.
    pub(super) fn put_outcome_question(
        &mut self,
        step: usize,
        entry: usize,
        name: String,
        question: OutcomeQuestion,
        asked: &str,
    ) {
        let open = self.open_outcome_question(step, entry, name, question);
        let approvers = open.spec.approvers.as_ref();
        let whom = approvers.map_or_else(|| "somebody".to_owned(), whom);
        let status = &mut self.state.steps[entry];
        status.digest = Some(open.spec.digest.clone());
        status.waiting_on = Some(sentence(format!("{whom} {asked}")));
        self.effects
            .push(Effect::Open(OwnedObject::Approval(Box::new(open))));
    }

    /// Looks at the question of a step, which is asked again if it is not there.
    pub(super) fn look_at_outcome_question(
        &mut self,
        step: usize,
        entry: usize,
        question: impl FnOnce(&Self) -> OutcomeQuestion,
    ) -> Looked {
        let Some(name) = self.state.steps[entry].approval.clone() else {
            return Looked::NotYet;
        };
        let found = match self.step_view(step, entry).object() {
            Owned::Nothing => return Looked::NotYet,
            Owned::Refused(why) => {
                return Looked::Refused(format!(
                    "it is unknown whether it happened, and the API server refuses to ask: {why}"
                ));
            }
            Owned::Absent => None,
            Owned::There(fact) => Some(fact.as_approval().map(|fact| fact.status.clone())),
        };
        let Some(found) = found else {
            if !self.is_asked_for(&ObjectKey::approval(&name)) {
                let open = self.open_outcome_question(step, entry, name, question(self));
                self.effects
                    .push(Effect::Open(OwnedObject::Approval(Box::new(open))));
            }
            return Looked::NotYet;
        };
        found.map_or(Looked::NotYet, |found| Looked::Found(Box::new(found)))
    }

    pub(super) fn outcome_question_open(&mut self, step: usize, entry: usize) {
        let answer = match self.look_at_outcome_question(step, entry, |turn| turn.did_it_happen(step, entry))
        {
            Looked::NotYet => return,
            Looked::Refused(message) => return self.fail(entry, StepReason::OutcomeUnknown, message),
            Looked::Found(answer) => answer,
        };
        match answer.phase {
            ApprovalPhase::Pending => {}
            ApprovalPhase::Approved => self.outcome_told(step, entry, &answer),
            ApprovalPhase::Rejected
            | ApprovalPhase::ChangesRequested
            | ApprovalPhase::Expired
            | ApprovalPhase::Cancelled
            | ApprovalPhase::Superseded => {
                let told = answer.message.clone();
                let told = told.unwrap_or_else(|| "nobody could tell".to_owned());
                self.state.steps[entry].decision = Some(decision(&answer, Verdict::Reject));
                self.fail(
                    entry,
                    StepReason::OutcomeUnknown,
                    format!("it is unknown whether it happened ({told})"),
                );
            }
        }
    }

    fn outcome_told(&mut self, step: usize, entry: usize, answer: &ApprovalStatus) {
        let values = answer.values.clone().unwrap_or_default().0;
        self.state.steps[entry].decision = Some(decision(answer, Verdict::Approve));
        if values.get("happened") == Some(&Value::Bool(true)) {
            let output = values.get("output").map(as_told);
            let kind = &self.plan.steps[step].kind;
            if let Some(next) = kind.told(&self.step_view(step, entry), output.clone()) {
                return self.apply(step, entry, next);
            }
            return self.finish(entry, StepPhase::Succeeded, StepOutcome::Succeeded, output);
        }
        if self.ending_beside(step).is_some() {
            return self.did_not_happen(entry);
        }
        let status = &mut self.state.steps[entry];
        status.approval = None;
        status.digest = None;
        self.attempt_again(step, entry);
    }

    /// Lets the next attempt follow one that did not happen.
    pub(super) fn attempt_again(&mut self, step: usize, entry: usize) {
        let status = &mut self.state.steps[entry];
        status.error = None;
        // the next attempt is due at once, but not while the run is suspended
        status.phase = StepPhase::Retrying;
        status.wake_at = None;
        status.waiting_on = Some(sentence(format!(
            "attempt {} of step {}",
            status.attempt.saturating_add(1),
            status.name
        )));
        self.retry_if_due(step, entry);
    }

    pub(super) fn open_outcome_question(
        &self,
        step: usize,
        entry: usize,
        name: String,
        question: OutcomeQuestion,
    ) -> OpenApproval {
        let view = self.step_view(step, entry);
        // of an approval that was skipped, what says who decides may be missing
        let before = self.plan.approval_before(step);
        let before = before.and_then(|approval| approval.approvers(&view.scope()).ok());
        let of_call = self.plan.steps[step].kind.deciders(&view);
        let before = of_call.map(Some).or(before);
        let approvers = match &before {
            Some(approvers) => approvers.clone(),
            None => self.plan.owners.clone(),
        };
        OpenApproval {
            ask_owners: before.is_none() && approvers.is_none(),
            spec: self.outcome_spec(step, entry, approvers, question),
            name,
        }
    }

    fn did_it_happen(&self, step: usize, entry: usize) -> OutcomeQuestion {
        let status = &self.state.steps[entry];
        let title = format!("Did step {} of run {} happen?", status.name, self.facts.run.name);
        let why = status
            .error
            .as_ref()
            .map(|error| error.message.clone())
            .unwrap_or_default();
        let mut show = vec![item("why", "text/plain", why)];
        let kind = &self.plan.steps[step].kind;
        show.extend(kind.about_call(&self.step_view(step, entry)));
        show.extend(self.request(step, entry));
        show.push(item("sending", "text/plain", self.sending(entry)));
        let answers = match self.ending_beside(step) {
            None if self.plan.steps[step].is_finally => {
                "Approve with happened=true if it happened, and with happened=false to have it done again. \
                     Reject if it cannot be told: the step then fails."
                    .to_owned()
            }
            None => {
                "Approve with happened=true if it happened, and with happened=false to have it done again. \
                     Reject if it cannot be told: the run then fails."
                    .to_owned()
            }
            Some(ending) => format!(
                "The run ends {} in each case, and nothing is done again. Approve with happened=true if it happened, and with \
                 happened=false if it did not. Reject if it cannot be told.",
                ending.phase()
            ),
        };
        let form = json!({
            "type": "object",
            "required": ["happened"],
            "properties": {
                "happened": { "type": "boolean", "description": "whether it happened" },
                "output": { "type": "string", "description": "what it answered, as JSON, if it happened" },
            },
        });
        OutcomeQuestion {
            title,
            show,
            answers,
            form,
        }
    }

    fn outcome_spec(
        &self,
        step: usize,
        entry: usize,
        approvers: Option<Approvers>,
        question: OutcomeQuestion,
    ) -> ApprovalSpec {
        let status = &self.state.steps[entry];
        let OutcomeQuestion {
            title,
            mut show,
            answers,
            form,
        } = question;
        show.push(item("what to answer", "text/plain", answers));
        // said with each answer
        show.extend(self.ending_beside(step).map(|ending| {
            let text = format!("the run ends {}", ending.phase());
            item(ENDING_ITEM, "text/plain", text)
        }));
        let subject = asked::of_attempt(&self.facts.release.digest, &self.facts.run.uid, status);
        let spec = ApprovalSpec {
            subject: ApprovalSubject {
                run: Some(self.facts.run.name.clone()),
                step: Some(status.name.clone()),
                iteration: Some(status.iteration),
                item: None,
                release: None,
            },
            purpose: ApprovalPurpose::Outcome,
            digest: unsealed(),
            requested_by: self.facts.run.requested_by.clone(),
            earlier_requesters: self.view().earlier_requesters(),
            parents: self.facts.run.parents.clone(),
            author: self.facts.release.author.clone(),
            written_by: vec![],
            title,
            show,
            form: Some(Json(form)),
            approvers,
            quorum: 1,
            // whoever says that it did not happen has it done again
            self_approval: false,
            verdicts: vec![Verdict::Approve, Verdict::Reject],
            expires_at: None,
            remind_every: None,
            escalate: vec![],
            repository: self.facts.release.repository.clone(),
            ask_via: None,
        };
        sealed(&subject, spec)
    }

    /// How the run will end, for a step that is not part of its end.
    pub(super) fn ending_beside(&self, step: usize) -> Option<EndingOutcome> {
        self.ending.filter(|_| !self.is_last(step))
    }

    /// The request that was sent; tokens of callbacks are taken out.
    pub(super) fn request(&self, step: usize, entry: usize) -> Vec<ShownItem> {
        let next = self.plan.steps[step].kind.start(&self.step_view(step, entry));
        if let Next::Fail(Failure { message, .. }) = &next {
            let why = format!("it cannot be rendered any more: {message}");
            return vec![item("request", "text/plain", why)];
        }
        let Next::Call(request) = next else {
            return vec![];
        };
        kinds::shown(&request, self.facts, &|text| self.view().without_tokens(text))
    }

    pub(super) fn sending(&self, entry: usize) -> String {
        let status = &self.state.steps[entry];
        let at = status.attempted_at.as_ref().or(status.started_at.as_ref());
        let at = at.map(|at| format!("begun at: {}\n", at.0)).unwrap_or_default();
        format!(
            "delivery: AtMostOnce, so it is not sent again by itself\nattempt: {}\n{at}Idempotency-Key: {}\n",
            status.attempt,
            idempotency_key(self.key_uid(&status.name), status)
        )
    }
}
