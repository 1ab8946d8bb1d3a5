//! `store`: a value that outlives the run.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Rules};
use crate::{Json, name::DnsLabel};

/// Reads or writes a value of the flow that outlives its runs. It lies in the object store, and each write makes a new
/// version of it. Runs of drafts have the same values. The output of a read is `{value, version, updatedAt, run}`, and `{}`
/// if there is no such value. That of a write is `{version, updatedAt, run}`.
// rules about `value` are checked when a release is cut: API servers know no field without a type in rules
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.get) != has(self.put)").message("a store step has either get or put")
)]
#[x_kube(
    validation = Rule::new("!has(self.ifVersion) || has(self.put)").message("ifVersion needs put")
)]
pub struct StoreStep {
    /// Name of the value that is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub get: Option<DnsLabel>,
    /// Name of the value that is written. A flow has at most 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put: Option<DnsLabel>,
    /// The value that is written, at most 60 KiB as JSON. Strings may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
    /// Version that the value has before it is written, or `0` if there is to be none. It may contain `${…}` expressions. If
    /// it has another version, the attempt fails with the reason `VersionConflict`. Without `ifVersion`, the last write wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub if_version: Option<String>,
}

impl Kind for StoreStep {
    fn rules(&self) -> &'static Rules {
        const READS: Rules = Rules {
            key: "store",
            attempts: true,
            retries: false,
            // a version that the attempt has written is found again, so there is nothing to choose
            delivery: false,
            has_effect: false,
            is_billable: false,
        };
        const WRITES: Rules = Rules {
            has_effect: true,
            ..READS
        };
        if self.put.is_some() { &WRITES } else { &READS }
    }
}
