//! The questions of a run and the decisions on them, read for its record.

use bytes::Bytes;
use kube::{ResourceExt as _, api::ListParams};

use super::{
    statement::Question,
    verify::{self, ATTEMPTS},
    write::RecordError,
};
use crate::{
    cluster::context::Context,
    store::{Owner, Store},
};
use signoff_api::{Approval, Decision, Run, names};
use signoff_engine::asked;

/// How many questions are in memory with all that they show.
const PAGE: u32 = 10;
/// How many decisions are read at once. Each can be as long as the API server takes.
const DECISIONS: u32 = 25;
/// Most decisions of a question that did not count and are in the record nevertheless.
const UNCOUNTED: usize = 500;
/// How many bytes the decisions of a run have that did not count and are in the record nevertheless: anybody can create them.
const UNCOUNTED_BYTES: usize = 4 << 20;
/// How much a record contains of what was shown. What is beyond lies in the store.
const SHOWN: usize = 8 << 20;

/// The questions of a run. All of them must be closed and all decisions judged, unless this is `overdue`.
pub(super) async fn questions(
    context: &Context,
    store: &Store,
    run: &Run,
    overdue: bool,
) -> Result<Vec<Question>, RecordError> {
    let namespace = run.namespace().unwrap_or_default();
    let name = run.name_any();
    let mut params = ListParams::default()
        .labels(&format!("{}={name}", names::RUN))
        .limit(PAGE);
    let mut questions = Vec::new();
    let (mut shown, mut room) = (0, UNCOUNTED_BYTES);
    loop {
        let listed = context.list::<Approval>(&namespace, &params).await;
        let listed = listed.map_err(|error| RecordError::Api("list the questions of the run", error))?;
        if let Some(bad) = listed.undecodable.first() {
            let name = bad.metadata.name.clone().unwrap_or_default();
            return Err(RecordError::Undecodable(
                format!("the approval {name}"),
                bad.message(),
            ));
        }
        for approval in listed.items {
            if !is_of(&approval, run) {
                continue;
            }
            let is_closed = approval
                .status
                .as_ref()
                .is_some_and(|status| status.phase.is_closed());
            if !is_closed {
                return Err(RecordError::Open(approval.name_any()));
            }
            let (decisions, left_out) = decisions(context, &approval, overdue, &mut room).await?;
            shown += size(&approval);
            let mut question = Question::of(&approval, decisions, left_out);
            if shown > SHOWN {
                keep(store, run, &mut question).await?;
            }
            questions.push(question);
        }
        match listed.next {
            Some(next) => params = params.continue_token(&next),
            None => break,
        }
    }
    questions.sort_by(|one, other| {
        let key = |question: &Question| (question.approval.created_at, question.approval.name.clone());
        key(one).cmp(&key(other))
    });
    Ok(questions)
}

/// Whether a question is one that this very run asks: its digest binds it to the run. One that somebody else put is none of it.
fn is_of(approval: &Approval, run: &Run) -> bool {
    let status = run.status.as_ref();
    let release = status.and_then(|status| status.release.as_ref());
    let uid = run.uid().unwrap_or_default();
    approval.spec.subject.run.as_deref() == Some(run.name_any().as_str())
        && release.is_some_and(|release| asked::is_bound(&release.digest, &uid, &approval.spec, ATTEMPTS))
}

fn size(approval: &Approval) -> usize {
    approval.spec.show.iter().map(|item| item.inline.len()).sum()
}

/// Leaves out what was shown, and keeps it in the store.
async fn keep(store: &Store, run: &Run, question: &mut Question) -> Result<(), RecordError> {
    let owner = owner(run);
    for item in &mut question.approval.spec.show {
        let content = Bytes::from(std::mem::take(&mut item.inline));
        store.keep_shown(&owner.namespace, content).await?;
    }
    question.content_left_out = true;
    Ok(())
}

/// The run, as the owner of its record.
pub(super) fn owner(run: &Run) -> Owner {
    Owner {
        namespace: run.namespace().unwrap_or_default(),
        run: run.name_any(),
        uid: run.uid().unwrap_or_default(),
    }
}

/// The decisions on a question in their order, and how many more there are. `room` is how many bytes those may have that did not count.
async fn decisions(
    context: &Context,
    approval: &Approval,
    overdue: bool,
    room: &mut usize,
) -> Result<(Vec<Decision>, u64), RecordError> {
    let namespace = approval.namespace().unwrap_or_default();
    let mut params = ListParams::default()
        .fields(&format!("spec.approval={}", approval.name_any()))
        .limit(DECISIONS);
    let (mut kept, mut uncounted, mut left_out) = (Vec::new(), 0, 0);
    loop {
        let listed = context.list::<Decision>(&namespace, &params).await;
        let listed = listed.map_err(|error| RecordError::Api("list the decisions on a question", error))?;
        if let Some(bad) = listed.undecodable.first() {
            let name = bad.metadata.name.clone().unwrap_or_default();
            return Err(RecordError::Undecodable(
                format!("the decision {name}"),
                bad.message(),
            ));
        }
        for mut decision in listed.items {
            if !is_judged(approval, &decision) {
                if !overdue {
                    return Err(RecordError::NotJudged(decision.name_any()));
                }
                // what was said of it before the question was closed is not so any more
                decision.status = None;
            }
            let counted = approval.status.iter().flat_map(|status| &status.counted);
            let counts = counted
                .map(|counted| &counted.decision)
                .any(|name| *name == decision.name_any());
            let is_kept = counts || uncounted < UNCOUNTED && fits(&decision, room);
            if !is_kept {
                left_out += 1;
                continue;
            }
            if !counts {
                uncounted += 1;
            }
            kept.push(decision);
        }
        match listed.next {
            Some(next) => params = params.continue_token(&next),
            None => break,
        }
    }
    kept.sort_by_key(|decision| {
        (
            decision.creation_timestamp().map(|time| time.0),
            decision.name_any(),
        )
    });
    Ok((kept, left_out))
}

/// Whether a decision was judged, and the last time when its question was closed.
fn is_judged(approval: &Approval, decision: &Decision) -> bool {
    let judged = decision.status.as_ref();
    let (name, verdict) = (decision.name_any(), decision.spec.verdict);
    let is_alike = |question| verify::is_judged_alike(question, &name, verdict, judged);
    judged.and_then(|status| status.reason).is_some() && approval.status.as_ref().is_some_and(is_alike)
}

/// Whether there is room for a decision, which it takes then.
fn fits(decision: &Decision, room: &mut usize) -> bool {
    // what cannot be written has no place in a record
    let length = serde_json::to_vec(&decision.spec).map_or(usize::MAX, |bytes| bytes.len());
    match room.checked_sub(length) {
        Some(left) => {
            *room = left;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use signoff_api::Digest;

    use super::*;

    #[test]
    fn a_decision_is_judged_when_it_says_what_its_closed_question_says() {
        let judged = |counted: bool, among: bool, phase: &str| {
            let decision: Decision =
                serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Decision",
                "metadata": {"name": "d"},
                "spec": {"approval": "a", "digest": Digest::of(b""), "verdict": "Approve", "by": "alice"},
                "status": {"counted": counted, "reason": if counted { "Counted" } else { "Replaced" }}}))
                .unwrap();
            let vote = json!({"decision": "d", "by": "alice", "verdict": "Approve",
                "at": "2026-11-01T10:30:00.000000Z"});
            let votes = if among { vec![vote] } else { vec![] };
            let mut approval = Approval::new(
                "a",
                serde_json::from_value(json!({"subject": {"run": "r"}, "purpose": "Step",
                "digest": Digest::of(b""), "title": "t", "quorum": 1, "selfApproval": false,
                "verdicts": ["Approve"]}))
                .unwrap(),
            );
            approval.status =
                Some(serde_json::from_value(json!({"phase": phase, "counted": votes})).unwrap());
            is_judged(&approval, &decision)
        };
        assert!(judged(true, true, "Approved") && judged(false, false, "Approved"));
        assert!(!judged(false, true, "Approved"), "it counts in the end");
        assert!(!judged(true, false, "Rejected"), "it was replaced in the end");
        assert!(judged(true, false, "Cancelled"));
    }

    #[test]
    fn a_long_decision_takes_no_room_that_a_short_one_needs() {
        let of = |length: usize| -> Decision {
            serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Decision",
                "metadata": {"name": "d"}, "spec": {"approval": "a", "digest": Digest::of(b""),
                    "verdict": "Approve", "values": {"x": "y".repeat(length)}}}))
            .unwrap()
        };
        let mut room = UNCOUNTED_BYTES;
        let large = (0..56).filter(|_| fits(&of(1_300_000), &mut room)).count();
        assert_eq!(large, 3);
        assert!(fits(&of(10), &mut room));
    }
}
