//! The question as it is put to people.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{RoundMode, Timestamp, TimestampRound, Unit},
};

use super::{ApprovalPlan, connections, earlier, people::Deciders, shown::shown};
use crate::{
    asked::{self, sealed, unsealed},
    kinds::{Failure, Next, Own},
    object::{OpenApproval, OwnedObject},
    turn::StepView,
};
use signoff_api::{
    ApprovalSpec, Verdict,
    approval::{ApprovalPurpose, ApprovalStatus, ApprovalSubject},
    bounds,
    reason::StepReason,
    run::{BoundConnection, ShownRequest, StepDecision},
    step::Approvers,
    text::into_visible,
};

impl ApprovalPlan {
    /// Asks for the first time.
    pub(super) fn ask(&self, step: &StepView<'_>) -> Next {
        self.deadline(step)
            .and_then(|deadline| self.own(step, deadline, connections::now(step)))
            .unwrap_or_else(Next::Fail)
    }

    fn deadline(&self, step: &StepView<'_>) -> Result<Option<Timestamp>, Failure> {
        let Some(within) = &self.respond_within else {
            return Ok(None);
        };
        let within = within.value(&step.scope())?;
        Ok(Some(whole_second(step.after(within.duration()))))
    }

    /// Asks for what was asked before. Rendered from the same state it is the same again.
    pub(super) fn ask_again(&self, step: &StepView<'_>) -> Next {
        let deadline = step.status.deadline.as_ref().map(|deadline| deadline.0);
        self.own(step, deadline, step.status.connections.clone())
            .unwrap_or(Next::Stay)
    }

    fn own(
        &self,
        step: &StepView<'_>,
        deadline: Option<Timestamp>,
        connections: Vec<BoundConnection>,
    ) -> Result<Next, Failure> {
        let (spec, requests) = self.question(step, deadline, &connections)?;
        let whom = spec
            .approvers
            .as_ref()
            .map_or_else(|| "somebody".to_owned(), whom);
        let until = deadline.map(|at| format!(" until {at:.0}")).unwrap_or_default();
        let waiting_on = format!("{whom} to decide “{}”{until}", spec.title);
        let object = OwnedObject::Approval(Box::new(OpenApproval {
            name: step.approval_name(),
            spec,
            ask_owners: false,
        }));
        Ok(Next::Own(Box::new(Own {
            object,
            deadline,
            connections,
            requests,
            waiting_on,
        })))
    }

    fn question(
        &self,
        view: &StepView<'_>,
        deadline: Option<Timestamp>,
        connections: &[BoundConnection],
    ) -> Result<(ApprovalSpec, Vec<ShownRequest>), Failure> {
        let scope = view.scope();
        let title = self.title.text(&scope)?;
        if title.trim().is_empty() {
            let message = "the title of the question is empty";
            return Err(Failure::new(StepReason::ApprovalRefused, message));
        }
        // kubectl shows it as it is
        let title = into_visible(title).chars().take(bounds::MAX_TITLE).collect();
        let mut show = Vec::with_capacity(self.show.len());
        let mut requests = Vec::new();
        let mut together = 0;
        for item in &self.show {
            let (item, request) = item.value(view, &scope)?;
            requests.extend(request);
            together += item.inline.len();
            if together > bounds::MAX_SHOWN_TOGETHER {
                let message = format!(
                    "the shown items are larger than {} bytes together",
                    bounds::MAX_SHOWN_TOGETHER
                );
                return Err(Failure::new(StepReason::OutputTooLarge, message));
            }
            show.push(item);
        }
        if let Some((name, value)) = connections::shown(view, self, connections) {
            show.push(shown(&name, value, None)?);
        }
        if let Some((name, value)) = earlier::shown(view, self) {
            show.push(shown(&name, value, None)?);
        }
        let Deciders {
            approvers,
            quorum,
            escalate,
        } = self.deciders(&scope)?;
        let form = self.form.as_ref().map(|form| form.value(&scope)).transpose()?;
        let remind_every = self.remind_every.as_ref();
        let remind_every = remind_every.map(|every| every.value(&scope)).transpose()?;
        let (step, facts) = (&self.step, view.run.facts);
        let subject = asked::of_step(&facts.release.digest, &facts.run.uid, view.status);
        let mut verdicts = vec![Verdict::Approve];
        verdicts.extend(self.step.offers_rejection().then_some(Verdict::Reject));
        verdicts.extend(self.changes.as_ref().map(|_| Verdict::RequestChanges));
        verdicts.extend((self.step.delegate == Some(true)).then_some(Verdict::Delegate));
        let spec = sealed(
            &subject,
            ApprovalSpec {
                subject: ApprovalSubject {
                    run: Some(facts.run.name.clone()),
                    step: Some(view.status.name.clone()),
                    iteration: Some(view.status.iteration),
                    item: view.status.item,
                    release: None,
                },
                purpose: ApprovalPurpose::Step,
                digest: unsealed(),
                requested_by: facts.run.requested_by.clone(),
                earlier_requesters: view.run.earlier_requesters(),
                parents: facts.run.parents.clone(),
                author: facts.release.author.clone(),
                written_by: vec![],
                title,
                show,
                form,
                approvers,
                quorum,
                self_approval: step.self_approval.unwrap_or(false),
                verdicts,
                expires_at: deadline.map(Time),
                remind_every,
                escalate,
                repository: facts.release.repository.clone(),
                ask_via: step.ask_via,
            },
        );
        Ok((spec, requests))
    }
}

/// What an answer says about who decided.
pub(crate) fn decision(answer: &ApprovalStatus, verdict: Verdict) -> StepDecision {
    let by = answer
        .counted
        .iter()
        .filter(|counted| counted.verdict == verdict)
        .map(|counted| counted.by.clone())
        .collect();
    StepDecision {
        verdict,
        by,
        at: answer.decided_at.clone(),
        comment: answer.comment.clone(),
        values: answer.values.clone(),
        shown: answer.shown.clone().filter(|_| verdict == Verdict::Approve),
    }
}

/// Those who may decide, in words.
pub(crate) fn whom(approvers: &Approvers) -> String {
    if approvers.is_everybody_else() {
        return "somebody".to_owned();
    }
    let names: Vec<&str> = approvers
        .groups
        .iter()
        .chain(&approvers.users)
        .chain(&approvers.service_accounts)
        .map(String::as_str)
        .collect();
    if names.is_empty() {
        "nobody".to_owned()
    } else {
        names.join(" or ")
    }
}

/// The API keeps deadlines in whole seconds; rounding up gives people the time they were promised.
fn whole_second(time: Timestamp) -> Timestamp {
    time.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil))
        .unwrap_or(time)
}
