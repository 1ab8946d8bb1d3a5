//! The question as it is put to people.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{RoundMode, Timestamp, TimestampRound, Unit},
};
use serde_json::Value;

use super::{ApprovalPlan, connections};
use crate::{
    asked::{self, sealed, unsealed},
    kinds::{Failure, Next, Own},
    object::{OpenApproval, OwnedObject},
    turn::StepView,
};
use signoff_api::{
    ApprovalSpec, Verdict,
    approval::{ApprovalPurpose, ApprovalStatus, ApprovalSubject, ShownItem},
    bounds,
    reason::StepReason,
    run::{BoundConnection, StepDecision},
    step::Approvers,
};

impl ApprovalPlan {
    /// Asks for the first time.
    pub(super) fn ask(&self, step: &StepView<'_>) -> Next {
        let within = self.step.respond_within.as_ref();
        let deadline = within.map(|span| whole_second(step.after(span.duration())));
        self.own(step, deadline, connections::now(step))
            .unwrap_or_else(Next::Fail)
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
        let spec = self.question(step, deadline, &connections)?;
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
            waiting_on,
        })))
    }

    fn question(
        &self,
        view: &StepView<'_>,
        deadline: Option<Timestamp>,
        connections: &[BoundConnection],
    ) -> Result<ApprovalSpec, Failure> {
        let scope = view.scope();
        let title = self.title.text(&scope)?;
        let title: String = title.chars().take(bounds::MAX_TITLE).collect();
        if title.trim().is_empty() {
            let message = "the title of the question is empty";
            return Err(Failure::new(StepReason::ApprovalRefused, message));
        }
        let mut show = Vec::with_capacity(self.show.len());
        let mut together = 0;
        for (name, template) in &self.show {
            let item = shown(name, template.value(&scope)?)?;
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
            show.push(shown(&name, value)?);
        }
        let (step, facts) = (&self.step, view.run.facts);
        let subject = asked::of_step(&facts.release.digest, &facts.run.uid, view.status);
        let mut verdicts = vec![Verdict::Approve, Verdict::Reject];
        verdicts.extend(self.changes.as_ref().map(|_| Verdict::RequestChanges));
        Ok(sealed(
            &subject,
            ApprovalSpec {
                subject: ApprovalSubject {
                    run: Some(facts.run.name.clone()),
                    step: Some(view.status.name.clone()),
                    iteration: Some(view.status.iteration),
                    release: None,
                },
                purpose: ApprovalPurpose::Step,
                digest: unsealed(),
                requested_by: facts.run.requested_by.clone(),
                parents: facts.run.parents.clone(),
                author: facts.release.author.clone(),
                written_by: vec![],
                title,
                show,
                form: step.form.clone(),
                approvers: step.approvers.clone(),
                quorum: step.quorum.unwrap_or(1),
                self_approval: step.self_approval.unwrap_or(false),
                verdicts,
                expires_at: deadline.map(Time),
                escalate: step.escalate.clone().unwrap_or_default(),
                repository: facts.release.repository.clone(),
                ask_via: step.ask_via,
            },
        ))
    }
}

fn shown(name: &str, value: Value) -> Result<ShownItem, Failure> {
    let (media_type, inline) = match value {
        Value::String(text) => ("text/plain", text),
        other => ("application/json", format!("{other:#}")),
    };
    if inline.len() > bounds::MAX_SHOWN {
        let message = format!("the shown item {name} is larger than {} bytes", bounds::MAX_SHOWN);
        return Err(Failure::new(StepReason::OutputTooLarge, message));
    }
    Ok(ShownItem {
        name: name.to_owned(),
        media_type: media_type.to_owned(),
        inline,
    })
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
    }
}

/// Those who may decide, in words.
pub(crate) fn whom(approvers: &Approvers) -> String {
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
