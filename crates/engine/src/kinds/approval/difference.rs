//! How two versions of an `approval` step differ.

use crate::difference::{Field, Loosened, LooseningKind, Terms, name};
use signoff_api::{
    OrExpression, Quorum,
    step::{
        ApprovalRejection, ApprovalRejectionOutcome, ApprovalStep, ApprovalTimeout, ApprovalTimeoutOutcome,
    },
};

pub(super) fn fields(step: &ApprovalStep) -> Vec<Field> {
    let ApprovalStep {
        title,
        show,
        form,
        approvers,
        quorum,
        self_approval,
        verdicts,
        respond_within,
        on_timeout,
        on_reject,
        remind_every,
        escalate,
        delegate,
        changes,
        ask_via,
    } = step;
    let outcome = on_timeout.as_ref().map(|ApprovalTimeout { outcome }| outcome);
    let rejected = on_reject.as_ref().map(|ApprovalRejection { outcome }| outcome);
    vec![
        Field::required("approval.title", title),
        Field::new("approval.show", show.as_ref()).named(),
        Field::new("approval.form", form.as_ref()),
        Field::new("approval.approvers", approvers.as_ref())
            .default("everybody with the verb approve")
            .control(),
        Field::new("approval.quorum", quorum.as_ref())
            .default("1")
            .control(),
        Field::new("approval.selfApproval", self_approval.as_ref())
            .default("false")
            .control(),
        Field::new("approval.verdicts", verdicts.as_ref()).default("Approve, Reject"),
        Field::new("approval.respondWithin", respond_within.as_ref())
            .default("stays open")
            .control(),
        Field::new("approval.onTimeout.outcome", outcome)
            .default("Fail")
            .control(),
        Field::new("approval.onReject.outcome", rejected)
            .default("Reject")
            .control(),
        Field::new("approval.remindEvery", remind_every.as_ref()).default("no reminders"),
        Field::new("approval.escalate", escalate.as_ref()).control(),
        Field::new("approval.delegate", delegate.as_ref()).default("false"),
        Field::new("approval.changes", changes.as_ref())
            .default("cannot be requested")
            .control(),
        Field::new("approval.askVia", ask_via.as_ref()).default("as the repository says"),
    ]
}

/// Who is asked, when, and what happens without an answer.
pub(in crate::kinds) fn terms(step: &ApprovalStep, when: Option<&String>) -> Terms {
    let ApprovalStep {
        title: _, // what is asked is not who is asked; the step's change has it
        show: _,
        form: _,
        approvers,
        quorum,
        self_approval,
        verdicts: _, // the step's change has it, and `loosened` says what it means
        respond_within,
        on_timeout,
        on_reject,
        remind_every: _, // how often people are reminded changes nothing about who may decide
        escalate,
        delegate: _, // `loosened` says what it means
        changes,
        ask_via: _, // where it is asked changes nothing about who may decide
    } = step;
    let outcome = on_timeout.as_ref().map(|timeout| timeout.outcome);
    let rejected = on_reject.as_ref().map(|rejection| rejection.outcome);
    Terms {
        when: when.cloned(),
        approvers: approvers.clone(),
        quorum: match quorum {
            None => OrExpression::Literal(Quorum::ONE.get()),
            Some(OrExpression::Literal(quorum)) => OrExpression::Literal(quorum.get()),
            Some(OrExpression::Expression(text)) => OrExpression::Expression(text.clone()),
        },
        self_approval: self_approval.unwrap_or(false),
        respond_within: respond_within.clone(),
        on_timeout: Some(outcome.unwrap_or(ApprovalTimeoutOutcome::Fail)),
        on_reject: Some(rejected.unwrap_or(ApprovalRejectionOutcome::Reject)),
        escalate: escalate.clone().unwrap_or_default(),
        changes: changes.clone(),
    }
}

/// What an approval leaves to less control than it did, beside its terms.
pub(in crate::kinds) fn loosened(old: &ApprovalStep, new: &ApprovalStep) -> Vec<Loosened> {
    let shown = |item: &&str| new.show.iter().flatten().any(|other| other.name == **item);
    let items = old.show.iter().flatten().map(|item| item.name.as_str());
    let gone: Vec<String> = items.filter(|item| !shown(item)).map(name).collect();
    let mut found = Vec::new();
    if !gone.is_empty() {
        found.push(Loosened {
            kind: LooseningKind::ShowsLess,
            before: Some(gone.join(", ")),
            after: None,
        });
    }
    if new.delegate == Some(true) && old.delegate != Some(true) {
        found.push(Loosened {
            kind: LooseningKind::DelegationAllowed,
            before: None,
            after: None,
        });
    }
    if old.offers_rejection() && !new.offers_rejection() {
        found.push(Loosened {
            kind: LooseningKind::CannotReject,
            before: None,
            after: None,
        });
    }
    found
}
