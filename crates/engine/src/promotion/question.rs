//! What people are asked at a gate, until when, and whether an approval asks just that.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit},
};
use serde_json::{Value, json};

use super::{Candidate, Gate, Involved};
use crate::{difference::difference, plan::Plan, question::item};
use signoff_api::{
    Approval, ApprovalSpec, Release, Verdict,
    approval::{ApprovalPurpose, ApprovalSubject, ShownItem},
    bounds, canonical,
};

/// How long people have to decide on a promotion, unless the gate says otherwise.
const RESPOND_WITHIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Until when people may decide on what they are asked `now`, in whole seconds.
pub fn deadline(gate: &Gate, now: Timestamp) -> Timestamp {
    let span = gate
        .approval
        .respond_within
        .as_ref()
        .and_then(|span| SignedDuration::try_from(span.duration()).ok());
    let deadline = now
        .checked_add(span.unwrap_or(RESPOND_WITHIN))
        .map_or(bounds::LATEST_TIME, |deadline| deadline.min(bounds::LATEST_TIME));
    deadline
        .round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil))
        .unwrap_or(deadline)
}

/// Whether an approval is this very question and not one of the same name: from before a gate was changed, about a release that was made
/// anew, or put there by somebody else. One that keeps more people from deciding asks it too.
pub fn asks(approval: &Approval, question: &ApprovalSpec, release: &Release) -> bool {
    let mut owners = approval.metadata.owner_references.iter().flatten();
    let of_release = owners.any(|owner| Some(&owner.uid) == release.metadata.uid.as_ref());
    let same = ApprovalSpec {
        // when it was asked is no part of the question
        expires_at: question.expires_at.clone(),
        written_by: question.written_by.clone(),
        ..approval.spec.clone()
    };
    let mut wrote = question.written_by.iter();
    of_release && same == *question && wrote.all(|user| approval.spec.written_by.contains(user))
}

/// What people are asked at a gate, for the `round`-th time. An answer to an earlier round, or about a release of the same name that is gone, is
/// about another digest.
pub fn question(
    candidate: &Candidate<'_>,
    gate: &Gate,
    round: i64,
    involved: &Involved,
    deadline: Timestamp,
) -> ApprovalSpec {
    let title = match candidate.live {
        Some((live, ..)) => format!(
            "Make {} live for flow {}, in place of {live}?",
            candidate.release, candidate.flow
        ),
        None => format!("Make {} live for flow {}?", candidate.release, candidate.flow),
    };
    let mut show = vec![
        item("what changes", "text/plain", what_changes(candidate)),
        shown("source", &json!(candidate.source)),
        shown("definition", &json!(candidate.definition)),
    ];
    if let Some((_, _, definition)) = candidate.live {
        show.push(shown("live now", &json!(definition)));
    }
    let subject = json!({
        "release": candidate.release,
        "uid": candidate.uid,
        "digest": candidate.digest,
        "round": round,
        "live": candidate.live.map(|(_, digest, _)| digest),
        "gate": gate.name,
    });
    let digest = canonical::digest_of_value(&json!({ "subject": subject, "title": title, "show": show }));
    let approval = &gate.approval;
    ApprovalSpec {
        subject: ApprovalSubject {
            release: Some(candidate.release.to_owned()),
            ..ApprovalSubject::default()
        },
        purpose: ApprovalPurpose::Promotion,
        digest,
        requested_by: involved.requested_by.clone(),
        earlier_requesters: vec![],
        parents: vec![],
        author: candidate.source.written_by().cloned(),
        written_by: involved.written_by.clone(),
        title,
        show,
        form: None,
        approvers: approval.approvers.clone(),
        quorum: approval.quorum.unwrap_or(1),
        self_approval: approval.self_approval.unwrap_or(false),
        verdicts: vec![Verdict::Approve, Verdict::Reject],
        expires_at: Some(Time(deadline)),
        remind_every: None,
        escalate: approval.escalate.clone().unwrap_or_default(),
        repository: candidate.source.repository.clone(),
        ask_via: approval.ask_via,
    }
}

/// The difference in words, what loosens control first.
fn what_changes(candidate: &Candidate<'_>) -> String {
    let live = candidate.live.map(|(_, _, definition)| definition);
    // whoever wrote a release by hand may have written one that nothing can follow
    let mut definitions = live.into_iter().chain([candidate.definition]);
    if definitions.any(|definition| Plan::of_release(definition).is_err()) {
        return "It cannot be told, since one of the two cannot run: compare the documents below.".to_owned();
    }
    difference(live, candidate.definition)
        .with_dependencies(candidate.live_dependencies, candidate.dependencies)
        .to_text()
}

fn shown(name: &str, value: &Value) -> ShownItem {
    item(name, "application/json", format!("{value:#}"))
}
