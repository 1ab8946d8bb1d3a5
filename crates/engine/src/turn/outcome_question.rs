//! When it is unknown whether an effect that must not be repeated happened, a person is asked.

use serde_json::{Value, json};

use super::{
    Turn,
    approval::{decision, whom},
    cut, sentence,
};
use crate::question::ENDING_ITEM;
use crate::{
    asked::{self, sealed, unsealed},
    effect::{Effect, HttpTarget, OpenApproval},
    plan::Action,
    question::item,
};
use signoff_api::{
    ApprovalPhase, ApprovalSpec, Json, Verdict,
    approval::{ApprovalPurpose, ApprovalStatus, ApprovalSubject, ShownItem},
    names,
    reason::StepReason,
    run::{StepError, StepOutcome, StepPhase},
    step::Approvers,
};

impl Turn<'_> {
    /// Stops at a question: did the effect happen?
    pub(super) fn outcome_question(&mut self, entry: usize, why: String) {
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
        if let Some(name) = self.state.steps[entry].approval.clone() {
            let open = self.open_outcome_question(entry, name);
            let approvers = open.spec.approvers.as_ref();
            let whom = approvers.map_or_else(|| "somebody".to_owned(), whom);
            let status = &mut self.state.steps[entry];
            status.digest = Some(open.spec.digest.clone());
            status.waiting_on = Some(sentence(format!(
                "{whom} to say whether step {} happened",
                status.name
            )));
            self.effects.push(Effect::OpenApproval(Box::new(open)));
        }
    }

    pub(super) fn outcome_question_open(&mut self, entry: usize, step: usize) {
        let status = &self.state.steps[entry];
        let Some(name) = status.approval.clone() else {
            return;
        };
        // one that is about something else is not ours, whoever put it there
        let known = self.facts.approvals.get(&name);
        let Some(fact) = known.filter(|fact| status.digest.as_ref() == Some(&fact.digest)) else {
            if let Some(why) = self.facts.refused.get(&name) {
                let message =
                    format!("it is unknown whether it happened, and the API server refuses to ask: {why}");
                return self.fail(entry, StepReason::OutcomeUnknown, message);
            }
            let asked = |effect: &Effect| matches!(effect, Effect::OpenApproval(open) if open.name == name);
            if !self.effects.iter().any(asked) {
                let open = self.open_outcome_question(entry, name);
                self.effects.push(Effect::OpenApproval(Box::new(open)));
            }
            return;
        };
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
        if self.ending.is_some() {
            return self.did_not_happen(entry);
        }
        let status = &mut self.state.steps[entry];
        status.approval = None;
        status.digest = None;
        status.error = None;
        // the next attempt is due at once, but not while the run is suspended
        status.phase = StepPhase::Retrying;
        status.wake_at = None;
        status.waiting_on = Some(sentence(format!(
            "attempt {} of step {}",
            status.attempt.saturating_add(1),
            status.name
        )));
        self.http_retrying(entry, step);
    }

    fn open_outcome_question(&self, entry: usize, name: String) -> OpenApproval {
        let before = self
            .plan
            .index_of(&self.state.steps[entry].name)
            .and_then(|step| self.plan.approval_before(step));
        let approvers = match before {
            Some(approval) => approval.step.approvers.clone(),
            None => self.plan.owners.clone(),
        };
        OpenApproval {
            ask_owners: before.is_none() && approvers.is_none(),
            spec: self.outcome_spec(entry, approvers),
            name,
        }
    }

    fn outcome_spec(&self, entry: usize, approvers: Option<Approvers>) -> ApprovalSpec {
        let status = &self.state.steps[entry];
        let title = format!("Did step {} of run {} happen?", status.name, self.facts.run.name);
        let why = status
            .error
            .as_ref()
            .map(|error| error.message.clone())
            .unwrap_or_default();
        let mut show = vec![item("why", "text/plain", why)];
        show.extend(self.request(entry));
        show.push(item("sending", "text/plain", self.sending(entry)));
        let answers = match self.ending {
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
        show.push(item("what to answer", "text/plain", answers));
        // said with each answer
        show.extend(self.ending.map(|ending| {
            let text = format!("the run ends {}", ending.phase());
            item(ENDING_ITEM, "text/plain", text)
        }));
        let form = json!({
            "type": "object",
            "required": ["happened"],
            "properties": {
                "happened": { "type": "boolean", "description": "whether it happened" },
                "output": { "type": "string", "description": "what it answered, as JSON, if it happened" },
            },
        });
        let subject = asked::of_attempt(&self.facts.release.digest, &self.facts.run.uid, status);
        let spec = ApprovalSpec {
            subject: ApprovalSubject {
                run: Some(self.facts.run.name.clone()),
                step: Some(status.name.clone()),
                iteration: Some(status.iteration),
                release: None,
            },
            purpose: ApprovalPurpose::Outcome,
            digest: unsealed(),
            requested_by: self.facts.run.requested_by.clone(),
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
            escalate: vec![],
            repository: self.facts.release.repository.clone(),
            ask_via: None,
        };
        sealed(&subject, spec)
    }

    /// The request that was sent. Nothing of the Connection is in it, so no secret of it either; tokens of callbacks are taken out.
    fn request(&self, entry: usize) -> Vec<ShownItem> {
        let step = self.plan.index_of(&self.state.steps[entry].name);
        let Some(Action::Http(http)) = step.map(|step| &self.plan.steps[step].action) else {
            return vec![];
        };
        let (target, _, query, body) = match self.render(&self.state.steps[entry].name, http) {
            Ok(request) => request,
            Err(error) => {
                let why = format!("it cannot be rendered any more: {error}");
                return vec![item("request", "text/plain", why)];
            }
        };
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(&query);
        let query = pairs.finish();
        let (mark, through, address) = match &target {
            HttpTarget::Url(url) => (if url.contains('?') { '&' } else { '?' }, String::new(), url),
            HttpTarget::Connection { name, path, bound: _ } => {
                let mark = if path.contains('?') { '&' } else { '?' };
                let known = self.facts.connections.get(name.as_str());
                let address = known.and_then(|known| known.address.as_deref());
                let address = address.map(|address| format!(" ({address})")).unwrap_or_default();
                (mark, format!(" through connection {name}{address}"), path)
            }
        };
        let query = if query.is_empty() {
            query
        } else {
            format!("{mark}{query}")
        };
        let request = format!("{} {address}{query}{through}", http.method);
        let mut items = vec![item("request", "text/plain", self.without_tokens(request))];
        items.extend(body.map(|body| {
            let text = self.without_tokens(format!("{body:#}"));
            item("body", "application/json", text)
        }));
        items
    }

    fn sending(&self, entry: usize) -> String {
        let status = &self.state.steps[entry];
        let at = status.attempted_at.as_ref().or(status.started_at.as_ref());
        let at = at.map(|at| format!("begun at: {}\n", at.0)).unwrap_or_default();
        format!(
            "delivery: AtMostOnce, so it is not sent again by itself\nattempt: {}\n{at}Idempotency-Key: {}/{}/{}\n",
            status.attempt, self.facts.run.uid, status.name, status.iteration
        )
    }

    /// Whoever has the token of a callback may answer it, so those who are asked do not see it.
    fn without_tokens(&self, text: String) -> String {
        let callbacks = self.callbacks();
        let all = callbacks.as_object().into_iter().flatten();
        all.fold(text, |text, (step, callback)| match callback["token"].as_str() {
            Some(token) => text.replace(token, &format!("(token of the callback of {step})")),
            None => text,
        })
    }
}
