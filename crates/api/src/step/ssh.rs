//! `ssh`: a command on another machine.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Rules};
use crate::name::{DnsLabel, ObjectName};

/// A command that runs on another machine. By default it is detached: the step is over as soon as the process has
/// started, and the output is `{host, pid}`. The process group is ended when the step named by `callback` ends other than
/// by a callback, when a loop starts the step again, and when the run ends. With `wait: true`, the step waits for the end
/// of the command, and the output is `{exitCode, stdout, stderr}`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.exitCodes) || has(self.wait) && self.wait")
        .message("exitCodes needs wait: true")
)]
#[x_kube(
    validation = Rule::new("!has(self.callback) || !has(self.wait) || !self.wait")
        .message("a step has either callback or wait: true")
)]
pub struct SshStep {
    /// Name of an `ssh` Connection in the run's namespace.
    pub connection: ObjectName,
    /// Host to connect to in place of the host of the Connection. The Connection must list it in `hosts`. It may contain
    /// `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub host: Option<String>,
    /// Shell command, as literal text. Values belong to `args`, `env` and `stdin`.
    #[schemars(length(min = 1, max = 4096))]
    pub command: String,
    /// Arguments of the command. Each is appended as one quoted word. They may contain `${…}` expressions, and an
    /// argument that is one `${…}` and gives a list becomes several arguments. Everybody on the host can see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 16384)))]
    pub args: Option<Vec<String>>,
    /// Environment variables of the command. Values may contain `${…}` expressions. They are never in the list of
    /// processes of the host. Names that start with `SIGNOFF_` are reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_texts::<64, 65536>")]
    pub env: Option<BTreeMap<String, String>>,
    /// Standard input of the command, at most 1 MiB. It may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_048_576))]
    pub stdin: Option<String>,
    /// Name of a `wait` step with a callback. The command finds the address of the callback in the variable
    /// `SIGNOFF_CALLBACK_URL`, and its process group is ended if that step ends other than by a callback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<DnsLabel>,
    /// If true, the step waits for the end of the command, for as long as `timeout` says. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// Exit codes with which the step succeeds, if it waits. Defaults to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(range(min = 0, max = 255)))]
    pub exit_codes: Option<Vec<i64>>,
}

impl SshStep {
    /// Whether the step goes on only when the command has ended.
    pub fn waits(&self) -> bool {
        self.wait == Some(true)
    }
}

impl Kind for SshStep {
    fn rules(&self) -> &'static Rules {
        // a start that is detached is never repeated, so there is nothing to choose
        if self.waits() { &WAITING } else { &DETACHED }
    }
}

const WAITING: Rules = Rules {
    key: "ssh",
    attempts: true,
    retries: false,
    delivery: true,
    has_effect: true,
    is_billable: true,
};

const DETACHED: Rules = Rules {
    delivery: false,
    ..WAITING
};
