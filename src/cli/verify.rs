//! `signoff verify`: whether a record is signed by a key that you trust, and contradicts itself nowhere. Offline.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    answer::Answer,
    archived,
    error::{CliError, exit},
    lines::{Lines, count},
    store_options::StoreArgs,
};
use crate::{
    cluster::error_chain,
    records::{
        keys::PublicKey,
        verify::{self, Record},
    },
    store::{RecordPath, StoreError},
};

/// Verify the record of a run that ended: its signature, and that its digests are right. No cluster is needed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  signoff verify refund-x7k2q.json --key records.pub\n  signoff verify records/default/2026-11/refund-x7k2q.0c7….json --store s3://signoff/production --key records.pub"
)]
pub(super) struct VerifyArgs {
    /// File with the record, or with --store its place in the object store, as `status.record.ref` of the run says.
    record: PathBuf,
    /// Public keys that you trust (Ed25519 or P-256, PEM, one or several in a file); repeatable. The record must be signed by one of them.
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present = "ignore_signature"
    )]
    key: Vec<PathBuf>,
    /// Look only whether the digests in the record are right. That proves nothing of who wrote it.
    #[arg(long, conflicts_with = "key")]
    ignore_signature: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn verb(args: VerifyArgs) -> Result<Answer, CliError> {
    let keys = keys(&args.key)?;
    let place = args
        .record
        .to_str()
        .and_then(|text| text.parse::<RecordPath>().ok());
    let bytes = read(&args.record, place.as_ref(), args.store).await?;
    let record = verify::read(&bytes)
        .map_err(|error| CliError::new("NoRecord", exit::INVALID, error_chain(&error)))?;
    let signed_by = if args.ignore_signature {
        None
    } else {
        Some(signed_by(&record, &keys)?)
    };
    let misplaced = place.and_then(|place| record.misplaced(&place));
    let contradictions: Vec<String> = misplaced.into_iter().chain(record.contradictions()).collect();
    if !contradictions.is_empty() {
        let message = "the record contradicts itself:";
        return Err(CliError::new("Differs", exit::DIFFERS, message)
            .details(json!(contradictions))
            .listing(contradictions.iter().map(|sentence| format!("  {sentence}"))));
    }
    Ok(told(&record, signed_by))
}

/// Reads public keys.
pub(super) fn keys(files: &[PathBuf]) -> Result<Vec<PublicKey>, CliError> {
    let mut keys = Vec::new();
    for file in files {
        let read = PublicKey::read_all(&of_file(file)?).map_err(|error| {
            let message = format!("{}: {error}", file.display());
            CliError::new("InvalidKey", exit::INVALID, message)
        });
        keys.extend(read?);
    }
    Ok(keys)
}

fn of_file(file: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(file).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => exit::NOT_FOUND,
            _ => exit::FAILURE,
        };
        CliError::new(
            "Unreadable",
            exit,
            format!("{} cannot be read: {error}", file.display()),
        )
    })
}

async fn read(record: &Path, place: Option<&RecordPath>, store: StoreArgs) -> Result<Vec<u8>, CliError> {
    let (Some(place), true) = (place, store.is_named()) else {
        return of_file(record);
    };
    let found = archived::open(store)?.read_record(place).await;
    found.map(Vec::from).map_err(|error| match error {
        StoreError::NotFound => CliError::new(
            "NotFound",
            exit::NOT_FOUND,
            format!("there is no {place} in the object store"),
        ),
        error => CliError::internal(&format!("the record {place} cannot be read"), &error),
    })
}

fn signed_by<'k>(record: &Record, keys: &'k [PublicKey]) -> Result<&'k PublicKey, CliError> {
    let signatures = record.envelope.signatures();
    if signatures.is_empty() {
        let message = "the record is not signed: the operator that wrote it had no key";
        return Err(CliError::new("Unsigned", exit::REFUSED, message)
            .hint("--ignore-signature looks only whether its digests are right"));
    }
    record.signed_by(keys).ok_or_else(|| {
        let says = signatures.iter().map(|signature| signature.keyid.as_str());
        let is_known = says.clone().any(|id| keys.iter().any(|key| key.id() == id));
        let says: Vec<String> = says
            .map(|id| format!("  it says it is signed by the key {id}"))
            .collect();
        let given = keys
            .iter()
            .map(|key| format!("  given is the key {} ({})", key.id(), key.algorithm()));
        let message = if is_known {
            "the signature is wrong: the record was changed after it was signed"
        } else {
            "the record is not signed by any of the keys that were given"
        };
        CliError::new("NotVerified", exit::REFUSED, message).listing(says.into_iter().chain(given))
    })
}

fn told(record: &Record, key: Option<&PublicKey>) -> Answer {
    let predicate = &record.statement.predicate;
    let decisions: usize = predicate
        .questions
        .iter()
        .map(|question| question.decisions.len())
        .sum();
    let heading = if key.is_some() {
        "The record is verified."
    } else {
        "The digests in the record are right. Its signature was not looked at."
    };
    let mut lines = Lines::from(heading.to_owned());
    let at = predicate.end.at.map(|at| format!(" at {at}")).unwrap_or_default();
    lines.field("run", format!("{}/{}", predicate.namespace, predicate.run.name));
    lines.field("flow", predicate.run.spec.flow.as_str());
    lines.field("ended", format!("{}{at}", predicate.end.phase));
    if let Some(key) = key {
        lines.field("signed by", format!("{} ({})", key.id(), key.algorithm()));
    }
    let status = predicate.run.status.as_ref();
    if let Some(pinned) = status.and_then(|status| status.release.as_ref()) {
        lines.field("release", format!("{} ({})", pinned.name, pinned.digest));
        if let Some(commit) = &pinned.commit {
            lines.field("commit", commit);
        }
    }
    let questions = count(predicate.questions.len(), "question");
    lines.field("people", format!("{questions}, {}", count(decisions, "decision")));
    let key = key.map(|key| json!({ "id": key.id(), "algorithm": key.algorithm().to_string() }));
    Answer::text(lines).with_data(json!({ "signedBy": key, "statement": record.statement }))
}
