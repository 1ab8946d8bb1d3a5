//! The record of one run: gathered, signed, written to the store, and named in the status of the run.
//!
//! It is written once in effect: the first one that is whole stays, whoever wrote it. What lies in its place and is not ours is replaced.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use json_patch::{AddOperation, Patch as Operations, PatchOperation, TestOperation, jsonptr::PointerBuf};
use k8s_openapi::jiff::SignedDuration;
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::reflector::{ObjectRef, Store as Known},
};
use serde_json::{Value, json};

use super::{
    envelope::Envelope,
    gather,
    keys::{PublicKey, Unsigned},
    signer::{Keys, KeysError, RecordKeys},
    statement,
};
use crate::{
    cluster::{
        context::Context,
        status::{is_missing, is_stale},
    },
    store::{MAX_RECORD, RecordPath, Store, StoreError},
};
use signoff_api::{
    Digest, Release, Run, names,
    reason::{Classified, ErrorClass},
    run::RecordRef,
};

/// An Event tells of a record that cannot be written when it fails for the first time.
pub(super) const TOLD_BEFORE: Duration = Duration::from_secs(1);
/// How long after the end of a run its decisions may still be judged.
const JUDGED_WITHIN: SignedDuration = SignedDuration::from_mins(5);

/// Why a run has no record now. It is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// The API server refused or did not answer.
    #[error("cannot {0}")]
    Api(&'static str, #[source] kube::Error),
    /// A question is not closed yet.
    #[error("the question {0} is still open")]
    Open(String),
    /// A decision is not judged yet.
    #[error("the decision {0} is not judged yet")]
    NotJudged(String),
    /// Something that belongs to it cannot be decoded.
    #[error("{0} cannot be decoded: {1}")]
    Undecodable(String, String),
    /// There is no key to sign with.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The key does not sign.
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    /// The store cannot be used.
    #[error("the record cannot be written to the store")]
    Store(#[from] StoreError),
    /// It has no JSON form.
    #[error("the record has no JSON form")]
    NoForm(#[from] serde_json::Error),
    /// It is longer than what is read.
    #[error("the record has {0} bytes, and at most {MAX_RECORD} are read")]
    TooLarge(usize),
}

impl Classified for RecordError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Api(..) | Self::Store(_) | Self::Unsigned(_) => ErrorClass::Transient,
            Self::Open(_) | Self::NotJudged(_) => ErrorClass::Waiting,
            Self::Undecodable(..) | Self::Keys(_) | Self::NoForm(_) | Self::TooLarge(_) => {
                ErrorClass::Invalid
            }
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Api(..) => "APIFailed",
            Self::Open(_) => "QuestionOpen",
            Self::NotJudged(_) => "NotJudged",
            Self::Undecodable(..) => "Undecodable",
            Self::Keys(_) => "NoKey",
            Self::Unsigned(_) => "Unsigned",
            Self::Store(_) => "StoreUnavailable",
            Self::NoForm(_) => "NoForm",
            Self::TooLarge(_) => "TooLarge",
        }
    }
}

/// What is needed to write records.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    pub(super) context: Arc<Context>,
    pub(super) store: Store,
    pub(super) keys: Option<RecordKeys>,
    pub(super) releases: Known<Release>,
}

impl Recorder {
    /// Makes sure that a run that has ended has a record, and that its status says so.
    pub(super) async fn record(&self, run: &Run) -> Result<(), RecordError> {
        let status = run.status.clone().unwrap_or_default();
        let finished_at = status.finished_at.as_ref().map(|time| time.0);
        let since = finished_at.map(|at| self.context.now().duration_since(at));
        let overdue = since.is_none_or(|since| since > JUDGED_WITHIN);
        let keys = match &self.keys {
            Some(keys) => Some(keys.now().await?),
            None => None,
        };
        let questions = gather::questions(&self.context, &self.store, run, overdue).await?;
        let release = self.release(run).await?;
        let payload = statement::statement(run, release.as_deref(), questions)?.to_bytes();
        let owner = gather::owner(run);
        let path = RecordPath::of(&owner, finished_at.unwrap_or_default());
        let (sha256, signed) = self.write(&path, &payload, keys.as_deref()).await?;
        let record = RecordRef {
            reference: path.to_string(),
            sha256,
            signed,
        };
        self.tell(run, &record).await
    }

    async fn release(&self, run: &Run) -> Result<Option<Arc<Release>>, RecordError> {
        let Some(pinned) = run.status.as_ref().and_then(|status| status.release.as_ref()) else {
            return Ok(None);
        };
        let namespace = run.namespace().unwrap_or_default();
        let is_it = |release: &Release| release.spec.digest == pinned.digest;
        let known = self
            .releases
            .get(&ObjectRef::new(&pinned.name).within(&namespace));
        if let Some(release) = known {
            return Ok(Some(release).filter(|release| is_it(release)));
        }
        let read = self
            .context
            .namespaced::<Release>(&namespace)
            .get_opt(&pinned.name)
            .await;
        match read {
            Ok(found) => Ok(found.filter(is_it).map(Arc::new)),
            Err(error) => Err(RecordError::Api("read the release of the run", error)),
        }
    }

    /// Writes a record, unless one that is ours lies there. Gives the digest of the one that lies there then, and whether it is signed.
    async fn write(
        &self,
        path: &RecordPath,
        payload: &[u8],
        keys: Option<&Keys>,
    ) -> Result<(Digest, bool), RecordError> {
        let envelope = Envelope::seal(payload, keys.map(|keys| &keys.current))?;
        let bytes = Bytes::from(serde_json::to_vec(&envelope)?);
        if bytes.len() as u64 > MAX_RECORD {
            return Err(RecordError::TooLarge(bytes.len()));
        }
        match self.store.create_record(path, bytes.clone()).await {
            Ok(None) => return Ok((Digest::of(&bytes), keys.is_some())),
            Ok(Some(there)) => {
                let known = keys.map(|keys| keys.known.as_slice());
                if let Some(signed) = accepted(&there, path, payload, known) {
                    return Ok((Digest::of(&there), signed));
                }
            }
            // nothing of ours is that long
            Err(StoreError::TooLarge(_)) => {}
            Err(error) => return Err(error.into()),
        }
        tracing::warn!(%path, "what lay in the place of a record is not ours, and is replaced");
        self.store.replace_record(path, bytes.clone()).await?;
        Ok((Digest::of(&bytes), keys.is_some()))
    }

    async fn tell(&self, run: &Run, record: &RecordRef) -> Result<(), RecordError> {
        let operations = Operations(vec![
            PatchOperation::Test(TestOperation {
                path: PointerBuf::from_tokens(["metadata", "uid"]),
                value: Value::String(run.uid().unwrap_or_default()),
            }),
            PatchOperation::Add(AddOperation {
                path: PointerBuf::from_tokens(["status", "record"]),
                value: json!(record),
            }),
        ]);
        let params = PatchParams {
            field_manager: Some(names::FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let runs = self
            .context
            .namespaced::<Run>(&run.namespace().unwrap_or_default());
        let written = runs
            .patch_status(&run.name_any(), &params, &Patch::<()>::Json(operations))
            .await;
        match written {
            Ok(_) => Ok(()),
            // it was deleted, and another one may have its name
            Err(error) if is_missing(&error) || is_stale(&error) => Ok(()),
            Err(error) => Err(RecordError::Api("write where the record of the run is", error)),
        }
    }
}

/// Whether what lies in the place of a record can stay, and then whether it is signed. What one of our keys has signed is ours, if it is
/// about the run whose place it is: somebody can copy the record of another one. Without keys, what says the same as we would.
fn accepted(there: &[u8], path: &RecordPath, payload: &[u8], known: Option<&[PublicKey]>) -> Option<bool> {
    let envelope = Envelope::read(there).ok()?;
    let says = envelope.payload().ok()?;
    match known {
        Some(keys) => {
            let is_about_it = statement::place_of(&says).as_ref() == Some(path);
            let is_ours = is_about_it && envelope.signed_by(keys).ok().flatten().is_some();
            is_ours.then_some(true)
        }
        None => (says == payload).then(|| !envelope.signatures().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{keys::SigningKey, statement::PREDICATE_TYPE};

    fn payload(namespace: &str, run: &str, uid: &str, at: &str) -> Vec<u8> {
        let predicate = json!({"namespace": namespace, "end": {"phase": "Failed", "at": at},
            "run": {"name": run, "uid": uid}, "newer": 1});
        serde_json::to_vec(&json!({"predicateType": PREDICATE_TYPE, "predicate": predicate})).unwrap()
    }

    #[test]
    fn what_one_of_our_keys_signed_stays_only_in_the_place_of_the_run_that_it_is_about() {
        let made = rcgen::KeyPair::generate().unwrap();
        let key = SigningKey::read(made.serialize_pem().as_bytes()).unwrap();
        let known = [key.public().clone()];
        let path: RecordPath = "records/ns/2026-11/r.u-1.json".parse().unwrap();
        let at = "2026-11-01T11:00:00Z";
        for (says, stays) in [
            (payload("ns", "r", "u-1", at), true),
            (payload("ns", "r", "u-2", at), false),
            (payload("ns", "s", "u-1", at), false),
            (payload("other", "r", "u-1", at), false),
            (payload("ns", "r", "u-1", "2026-12-01T11:00:00Z"), false),
            (b"{}".to_vec(), false),
        ] {
            let there = serde_json::to_vec(&Envelope::seal(&says, Some(&key)).unwrap()).unwrap();
            let found = accepted(&there, &path, b"ours", Some(&known));
            assert_eq!(found, stays.then_some(true), "{}", String::from_utf8_lossy(&says));
            let unsigned = serde_json::to_vec(&Envelope::seal(&says, None).unwrap()).unwrap();
            assert_eq!(accepted(&unsigned, &path, b"ours", Some(&known)), None);
            assert_eq!(accepted(&unsigned, &path, &says, None), Some(false));
        }
    }
}
