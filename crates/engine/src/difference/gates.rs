//! Gates: where people are asked, and on what terms, before and after.

use serde::Serialize;

use super::{ChangeKind, Subject, fields::Field, steps::Pair};
use crate::kinds;
use signoff_api::{
    HumanDuration, OrExpression, Step,
    flow::{Promotion, PromotionApproval},
    step::{
        ApprovalRejectionOutcome, ApprovalTimeoutOutcome, ApproversTemplate, Changes, EscalationTemplate,
    },
};

/// A gate whose terms are not what they were.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GateChange {
    /// The approval step, or the promotion gate.
    pub gate: Subject,
    /// What happened to it.
    pub change: ChangeKind,
    /// Its terms before; absent when it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Terms>,
    /// Its terms after; absent when it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Terms>,
}

/// Who is asked, when, and what happens without an answer; with what holds where the definition is silent filled in.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// The condition under which people are asked; absent means always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Who may decide; absent means everybody who has the verb `approve`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvers: Option<ApproversTemplate>,
    /// How many people must approve.
    pub quorum: OrExpression<i64>,
    /// Whether the person who asked, or wrote the release, may approve.
    pub self_approval: bool,
    /// How long people have; absent means that the question stays open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respond_within: Option<OrExpression<HumanDuration>>,
    /// What comes of it when nobody answers in time; absent for the promotion gate, where the promotion is not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<ApprovalTimeoutOutcome>,
    /// What comes of it when people reject; absent for the promotion gate, where the promotion is not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_reject: Option<ApprovalRejectionOutcome>,
    /// A rule that lets more people decide after a while.
    pub escalate: Vec<EscalationTemplate>,
    /// What "request changes" does; absent when it is not offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
}

/// What happened to the gate of a step.
pub(super) fn of_step(pair: &Pair<'_>) -> Option<GateChange> {
    let (old, new) = match *pair {
        Pair::Added(step) => (None, Some(step)),
        Pair::Removed(step) => (Some(step), None),
        Pair::Kept { old, new, .. } => (Some(old), Some(new)),
    };
    let gate = Subject::Step(pair.name().to_owned());
    compare(gate, old.and_then(terms_of_step), new.and_then(terms_of_step))
}

/// What happened to the promotion gate.
pub(super) fn of_promotion(old: Option<&Promotion>, new: Option<&Promotion>) -> Option<GateChange> {
    compare(
        Subject::Promotion,
        old.map(terms_of_promotion),
        new.map(terms_of_promotion),
    )
}

fn compare(gate: Subject, before: Option<Terms>, after: Option<Terms>) -> Option<GateChange> {
    let change = match (&before, &after) {
        (None, Some(_)) => ChangeKind::Added,
        (Some(_), None) => ChangeKind::Removed,
        (Some(before), Some(after)) if before != after => ChangeKind::Changed,
        _ => return None,
    };
    Some(GateChange {
        gate,
        change,
        before,
        after,
    })
}

fn terms_of_step(step: &Step) -> Option<Terms> {
    kinds::of(&step.kind).terms(step.when.as_ref())
}

fn terms_of_promotion(promotion: &Promotion) -> Terms {
    let Promotion { approval } = promotion;
    let PromotionApproval {
        approvers,
        quorum,
        self_approval,
        respond_within,
        escalate,
        ask_via: _,
    } = approval;
    Terms {
        when: None,
        approvers: approvers.as_ref().map(ApproversTemplate::from),
        quorum: OrExpression::Literal(quorum.unwrap_or(1)),
        self_approval: self_approval.unwrap_or(false),
        respond_within: respond_within.clone().map(OrExpression::Literal),
        on_timeout: None,
        on_reject: None,
        escalate: escalate.iter().flatten().map(EscalationTemplate::from).collect(),
        changes: None,
    }
}

/// The promotion gate as fields.
pub(super) fn promotion_fields(promotion: &Promotion) -> Vec<Field> {
    let Promotion { approval } = promotion;
    let PromotionApproval {
        approvers,
        quorum,
        self_approval,
        respond_within,
        escalate,
        ask_via,
    } = approval;
    vec![
        Field::new("promotion.approval.approvers", approvers.as_ref())
            .default("everybody with the verb approve")
            .control(),
        Field::new("promotion.approval.quorum", quorum.as_ref())
            .default("1")
            .control(),
        Field::new("promotion.approval.selfApproval", self_approval.as_ref())
            .default("false")
            .control(),
        Field::new("promotion.approval.respondWithin", respond_within.as_ref())
            .default("7d")
            .control(),
        Field::new("promotion.approval.escalate", escalate.as_ref()).control(),
        Field::new("promotion.approval.askVia", ask_via.as_ref()).default("as the repository says"),
    ]
}
