//! `job`: a container in the cluster.

use std::{collections::BTreeMap, time::Duration};

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Rules};
use crate::{Json, json::JsonObject, name::ObjectName};

/// Runs a container to its end, as a Kubernetes Job in the namespace of the run. Each attempt is a Job of its own, whose
/// name follows from the run, the step and the attempt. The output is what the container writes to the file that
/// `SIGNOFF_OUTPUT_FILE` names, at most 4096 bytes: JSON is read as such, and anything else is a text.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStep {
    /// Image of the container. It may contain `${…}` expressions after the last `:` or `@`.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Command of the container, in place of the entry point of the image. Each element may contain `${…}` expressions, and
    /// one that is one `${…}` and gives a list becomes several elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 16384)))]
    pub command: Option<Vec<String>>,
    /// Arguments of the command, in the same way. Everybody who can read Jobs in the namespace can read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 16384)))]
    pub args: Option<Vec<String>>,
    /// Environment variables. Values may contain `${…}` expressions. Everybody who can read Jobs in the namespace can read
    /// them: use `template` to take values from Secrets. Names that start with `SIGNOFF_` are reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_texts::<64, 65536>")]
    pub env: Option<BTreeMap<String, String>>,
    /// Name of the service account of the pod. You must be allowed to `use` it. Without it, the pod has no token for the API
    /// server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ObjectName>,
    /// CPU, memory and other resources of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<JobResources>,
    /// Further fields of the pod template, such as volumes, a node selector or variables from Secrets. Lists of things with
    /// names are merged by name. The container of the step is called `step`. It is literal, without expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<JsonObject>,
    /// JSON Schema of the output. An output that does not match it fails the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
    /// Whether the end of the log is kept in the status of the run, with an object store as a resource of at most 64 KiB,
    /// otherwise at most 4 KiB. Not for items of a step with `forEach`. Defaults to true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_log: Option<bool>,
}

/// Resources of the container of a `job` step, as in Kubernetes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobResources {
    /// The most that the container may use, such as `memory: 256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_texts::<16, 64>")]
    pub limits: Option<BTreeMap<String, String>>,
    /// What is set aside for the container, such as `cpu: 500m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_texts::<16, 64>")]
    pub requests: Option<BTreeMap<String, String>>,
}

impl JobStep {
    /// How long an attempt may take, unless the step says it.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_hours(1);
    /// Longest `timeout`.
    pub const LONGEST_TIMEOUT: Duration = Duration::from_hours(720);

    /// Whether the end of the log is kept.
    pub fn keeps_log(&self) -> bool {
        self.keep_log != Some(false)
    }
}

impl Kind for JobStep {
    fn rules(&self) -> &'static Rules {
        &Rules {
            key: "job",
            attempts: true,
            retries: false,
            delivery: false,
            has_effect: true,
            is_billable: true,
        }
    }

    fn default_timeout(&self) -> Duration {
        Self::DEFAULT_TIMEOUT
    }

    fn longest_timeout(&self) -> Duration {
        Self::LONGEST_TIMEOUT
    }
}
