//! When it is unknown whether an effect that must not be repeated happened, a person is asked.

use serde_json::{Value, json};

use super::{
    Turn,
    approval::{decision, digest},
    cut, sentence,
};
use crate::{
    api::{
        ApprovalPhase, ApprovalSpec, Json, Verdict,
        approval::{ApprovalPurpose, ApprovalStatus, ApprovalSubject, ShownItem},
        names,
        reason::StepReason,
        run::{StepError, StepOutcome, StepPhase},
    },
    engine::effect::{Effect, OpenApproval},
};

impl Turn<'_> {
    /// Stops at a question: did the effect happen?
    pub(super) fn outcome_question(&mut self, entry: usize, why: String) {
        let run = &self.facts.run.name;
        let status = &mut self.state.steps[entry];
        status.phase = StepPhase::Waiting;
        status.approval = Some(names::outcome_approval_name(
            run,
            &status.name,
            status.iteration,
            status.attempt,
        ));
        status.error = Some(StepError {
            reason: StepReason::OutcomeUnknown,
            message: cut(why),
        });
        status.waiting_on = Some(sentence(format!(
            "somebody to say whether step {} happened",
            status.name
        )));
        let spec = self.outcome_spec(entry);
        self.state.steps[entry].digest = Some(spec.digest.clone());
        if let Some(name) = self.state.steps[entry].approval.clone() {
            self.effects
                .push(Effect::OpenApproval(Box::new(OpenApproval { name, spec })));
        }
    }

    pub(super) fn outcome_question_open(&mut self, entry: usize, step: usize) {
        let status = &self.state.steps[entry];
        let Some(name) = status.approval.clone() else {
            return;
        };
        let Some(fact) = self.facts.approvals.get(&name) else {
            let spec = self.outcome_spec(entry);
            return self
                .effects
                .push(Effect::OpenApproval(Box::new(OpenApproval { name, spec })));
        };
        if status.digest.as_ref() != Some(&fact.digest) {
            let message = format!("the approval {name} is about something else than this step");
            return self.fail(entry, StepReason::InvalidRequest, message);
        }
        match fact.status.phase {
            ApprovalPhase::Pending => {}
            ApprovalPhase::Approved => self.outcome_told(entry, step, &fact.status),
            _ => {
                let told = fact
                    .status
                    .message
                    .clone()
                    .unwrap_or_else(|| "nobody could tell".to_owned());
                self.state.steps[entry].decision = Some(decision(&fact.status, Verdict::Reject));
                self.fail(
                    entry,
                    StepReason::OutcomeUnknown,
                    format!("it is unknown whether it happened ({told})"),
                );
            }
        }
    }

    fn outcome_told(&mut self, entry: usize, step: usize, answer: &ApprovalStatus) {
        let values = answer.values.clone().unwrap_or_default().0;
        self.state.steps[entry].decision = Some(decision(answer, Verdict::Approve));
        if values.get("happened") == Some(&Value::Bool(true)) {
            let output = values.get("output").map(|output| match output {
                Value::String(text) => {
                    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
                }
                other => other.clone(),
            });
            return self.finish(entry, StepPhase::Succeeded, StepOutcome::Succeeded, output);
        }
        let status = &mut self.state.steps[entry];
        status.approval = None;
        status.digest = None;
        status.error = None;
        self.http_attempt(entry, step);
    }

    fn outcome_spec(&self, entry: usize) -> ApprovalSpec {
        let status = &self.state.steps[entry];
        let title = format!("Did step {} of run {} happen?", status.name, self.facts.run.name);
        let why = status
            .error
            .as_ref()
            .map(|error| error.message.clone())
            .unwrap_or_default();
        let key = format!("{}/{}/{}", self.facts.run.uid, status.name, status.iteration);
        let show = vec![
            item("why", why),
            item("idempotency-key", key),
            item(
                "what to answer",
                "Approve with happened=true if it happened, and with happened=false to have it done again. \
                 Reject if it cannot be told: the run then fails."
                    .to_owned(),
            ),
        ];
        let form = json!({
            "type": "object",
            "required": ["happened"],
            "properties": {
                "happened": { "type": "boolean", "description": "whether it happened" },
                "output": { "type": "string", "description": "what it answered, as JSON, if it happened" },
            },
        });
        let subject = json!({
            "release": self.facts.release.digest, "run": self.facts.run.uid,
            "step": status.name, "iteration": status.iteration, "attempt": status.attempt,
        });
        ApprovalSpec {
            subject: ApprovalSubject {
                run: Some(self.facts.run.name.clone()),
                step: Some(status.name.clone()),
                iteration: Some(status.iteration),
                release: None,
            },
            purpose: ApprovalPurpose::Outcome,
            digest: digest(&subject, &title, &show, Some(&form)),
            requested_by: self.facts.run.requested_by.clone(),
            author: self.facts.release.author.clone(),
            written_by: vec![],
            title,
            show,
            form: Some(Json(form)),
            approvers: None,
            quorum: 1,
            // a fact is asked for, not a judgement on one's own work
            self_approval: true,
            verdicts: vec![Verdict::Approve, Verdict::Reject],
            expires_at: None,
            escalate: vec![],
            repository: self.facts.release.repository.clone(),
            ask_via: None,
        }
    }
}

fn item(name: &str, text: String) -> ShownItem {
    ShownItem {
        name: name.to_owned(),
        media_type: "text/plain".to_owned(),
        inline: text,
    }
}
