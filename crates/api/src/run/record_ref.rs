//! Where the record of a run that ended lies.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Digest;

/// The record of a run that ended, in the object store.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordRef {
    /// Path of the file, below the prefix of the object store.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 512))]
    pub reference: String,
    /// Digest of the file.
    pub sha256: Digest,
    /// Whether the record is signed.
    pub signed: bool,
}
