//! Whether a record is what it says, found out from the record and public keys alone.

use serde::Deserialize;

use signoff_api::{
    ApprovalPhase, ApprovalStatus, DecisionStatus, Digest, Verdict, canonical, names, release::content_digest,
};
use signoff_engine::asked;

use super::{
    envelope::{Envelope, EnvelopeError},
    keys::PublicKey,
    statement::{PREDICATE_TYPE, Predicate, Question, STATEMENT_TYPE, Statement, subjects},
};
use crate::store::RecordPath;

/// How many attempts of a step are tried for a question about one of them.
pub(super) const ATTEMPTS: i64 = 100;

/// Why a file is no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is no envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The payload is something else, or newer than this version.
    #[error("the payload is no statement about a run that this version can read")]
    NoStatement(#[source] serde_json::Error),
    /// It has something that this version does not know.
    #[error(
        "the record has fields that this version does not know: verify it with the version that wrote it, or a newer one"
    )]
    Unknown,
    /// It states something else.
    #[error("the payload is a statement of type {0:?}, and that of a record is {PREDICATE_TYPE:?}")]
    OtherStatement(String),
}

/// A record that was read.
#[derive(Debug)]
pub struct Record {
    /// What it came in.
    pub envelope: Envelope,
    /// What it says.
    pub statement: Statement,
}

/// What a statement says of itself.
#[derive(Deserialize)]
struct Types {
    #[serde(rename = "_type")]
    statement_type: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
}

/// Reads a record. Whether it is true is another question.
///
/// # Errors
/// If it is none.
pub fn read(bytes: &[u8]) -> Result<Record, RecordError> {
    let envelope = Envelope::read(bytes)?;
    let payload = envelope.payload()?;
    let types: Types = serde_json::from_slice(&payload).map_err(RecordError::NoStatement)?;
    for (is, wanted) in [
        (&types.statement_type, STATEMENT_TYPE),
        (&types.predicate_type, PREDICATE_TYPE),
    ] {
        if is != wanted {
            return Err(RecordError::OtherStatement(is.clone()));
        }
    }
    let statement: Statement = serde_json::from_slice(&payload).map_err(RecordError::NoStatement)?;
    if statement.to_bytes() != payload {
        return Err(RecordError::Unknown);
    }
    Ok(Record { envelope, statement })
}

impl Record {
    /// What contradicts the place in which it lies, if something does.
    pub fn misplaced(&self, path: &RecordPath) -> Option<String> {
        let place = self.statement.predicate.place();
        (place != *path).then(|| format!("it lies in {path}, and is the record of {place}"))
    }

    /// The first of these keys that has signed it.
    pub fn signed_by<'k>(&self, keys: &'k [PublicKey]) -> Option<&'k PublicKey> {
        // the payload was read before
        self.envelope.signed_by(keys).ok().flatten()
    }

    /// What contradicts itself in it, a sentence each.
    pub fn contradictions(&self) -> Vec<String> {
        let predicate = &self.statement.predicate;
        let mut found = Vec::new();
        let mut hold = |holds: bool, sentence: &str| {
            if !holds {
                found.push(sentence.to_owned());
            }
        };
        let is_right = subjects(predicate).is_ok_and(|subjects| subjects == self.statement.subject);
        hold(
            is_right,
            "the subjects are not the digests of what the record contains",
        );
        let run = predicate.run_object();
        let inputs = canonical::digest(&run.inputs().cloned().unwrap_or_default()).ok();
        hold(
            inputs.as_ref() == Some(&predicate.inputs),
            "the digest of the inputs is not that of the inputs of the run",
        );
        let status = run.status.unwrap_or_default();
        hold(
            status.phase == predicate.end.phase && status.phase.is_finished(),
            "the run has not ended as the record says",
        );
        if let Some(release) = &predicate.release {
            let digest = content_digest(&release.spec.definition, &release.spec.dependencies).ok();
            let pinned = status.release.as_ref();
            hold(
                digest.as_ref() == Some(&release.spec.digest)
                    && names::release_name(&release.spec.flow, &release.spec.digest) == release.name,
                "the content of the release does not have the digest of the release",
            );
            hold(
                pinned.is_some_and(|pinned| {
                    pinned.digest == release.spec.digest && pinned.name == release.name
                }),
                "the release is not the one that the run used",
            );
        }
        for question in &predicate.questions {
            found.extend(of_question(predicate, question));
        }
        found
    }
}

fn of_question(predicate: &Predicate, question: &Question) -> Vec<String> {
    let name = &question.approval.name;
    let spec = &question.approval.spec;
    let mut found = Vec::new();
    let mut hold = |holds: bool, sentence: String| {
        if !holds {
            found.push(sentence);
        }
    };
    hold(
        spec.subject.run.as_ref() == Some(&predicate.run.name),
        format!("the question {name} is about another run"),
    );
    let is_named = spec.show.len() == question.shown.len()
        && spec
            .show
            .iter()
            .zip(&question.shown)
            .all(|(item, shown)| item.name == shown.name);
    hold(
        is_named,
        format!("the items of the question {name} are not those that were shown"),
    );
    if !question.content_left_out {
        let is_content = spec.show.iter().zip(&question.shown).all(|(item, shown)| {
            Digest::of(item.inline.as_bytes()) == shown.sha256 && item.inline.len() as u64 == shown.size
        });
        hold(
            is_content,
            format!("what the question {name} shows does not have the digests of what was shown"),
        );
        let status = predicate.run.status.as_ref();
        let pinned = status.and_then(|status| status.release.as_ref());
        let is_bound = pinned
            .is_some_and(|release| asked::is_bound(&release.digest, &predicate.run.uid, spec, ATTEMPTS));
        hold(
            is_bound,
            format!("the digest of the question {name} is not that of what it asks and shows"),
        );
    }
    let status = question.approval.status.clone().unwrap_or_default();
    for decision in &question.decisions {
        hold(
            *decision.spec.approval == *question.approval.name,
            format!(
                "the decision {} is on another question than {name}",
                decision.name
            ),
        );
        let counts = decision.status.as_ref().and_then(|status| status.counted) == Some(true);
        let amended = status.amendment.as_ref().map(|amendment| &amendment.digest);
        hold(
            !counts || decision.spec.digest == spec.digest || Some(&decision.spec.digest) == amended,
            format!(
                "the decision {} counts on {name} and has another digest than what was shown",
                decision.name
            ),
        );
    }
    found.extend(of_votes(question, &status));
    found
}

/// Whether the votes that count are those of the decisions, and the other way round.
fn of_votes(question: &Question, status: &ApprovalStatus) -> Vec<String> {
    let name = &question.approval.name;
    let mut found = Vec::new();
    for counted in &status.counted {
        let mut decisions = question.decisions.iter();
        let about = format!("the decision {} counts on {name} and", counted.decision);
        let Some(decision) = decisions.find(|decision| decision.name == counted.decision) else {
            found.push(format!("{about} is not in the record"));
            continue;
        };
        if decision.spec.by.as_deref().unwrap_or_default() != counted.by {
            found.push(format!("{about} is of somebody else"));
        }
        if decision.spec.verdict != counted.verdict {
            found.push(format!("{about} has another verdict"));
        }
    }
    for decision in &question.decisions {
        let (spec, judged) = (&decision.spec, decision.status.as_ref());
        if !is_judged_alike(status, &decision.name, spec.verdict, judged) {
            found.push(format!(
                "the decision {} says otherwise than the question {name} whether it counts",
                decision.name
            ));
        }
    }
    found
}

/// Whether a decision says of itself that it counts if, and only if, the question counts it. One without a status says nothing.
pub(super) fn is_judged_alike(
    question: &ApprovalStatus,
    name: &str,
    verdict: Verdict,
    judged: Option<&DecisionStatus>,
) -> bool {
    let Some(judged) = judged else { return true };
    let says_so = judged.counted == Some(true);
    if question.counted.iter().any(|counted| counted.decision == name) {
        return says_so;
    }
    let is_vote = match verdict {
        Verdict::Approve | Verdict::Reject | Verdict::RequestChanges => true,
        Verdict::Delegate | Verdict::Withdraw => false,
    };
    // of a question that nobody answered, votes may have been set aside
    let is_decided = match question.phase {
        ApprovalPhase::Approved | ApprovalPhase::Rejected | ApprovalPhase::ChangesRequested => true,
        ApprovalPhase::Pending
        | ApprovalPhase::Expired
        | ApprovalPhase::Cancelled
        | ApprovalPhase::Superseded => false,
    };
    !(says_so && is_vote && is_decided)
}

#[cfg(test)]
mod tests;
