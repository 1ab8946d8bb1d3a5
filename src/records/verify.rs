//! Whether a record is what it says, found out from the record and public keys alone.

use serde::Deserialize;

use signoff_api::{Digest, canonical, names, release::content_digest};
use signoff_engine::asked;

use super::{
    envelope::{Envelope, EnvelopeError},
    keys::PublicKey,
    statement::{PREDICATE_TYPE, Predicate, Question, STATEMENT_TYPE, Statement, subjects},
};

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
    for counted in &status.counted {
        let is_there = question
            .decisions
            .iter()
            .any(|decision| decision.name == counted.decision);
        hold(
            is_there,
            format!(
                "the decision {} counts on {name} and is not in the record",
                counted.decision
            ),
        );
    }
    found
}

#[cfg(test)]
mod tests;
