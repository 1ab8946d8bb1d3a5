//! `notify`: tell people.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Rules};
use crate::{Json, name::ObjectName};

/// A message and where it is sent.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotifyStep {
    /// Sends a JSON message to an address with POST.
    pub webhook: NotifyWebhook,
}

impl Kind for NotifyStep {
    fn rules(&self) -> &'static Rules {
        &Rules {
            key: "notify",
            attempts: true,
            delivery: true,
            has_effect: true,
            is_billable: false,
        }
    }
}

/// A JSON message to `url`, or to `path` of a `connection`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.url) != has(self.connection)").message("a webhook has either url, or connection and path")
)]
#[x_kube(validation = Rule::new("!has(self.path) || has(self.connection)").message("path needs a connection"))]
#[x_kube(validation = Rule::new(crate::address::URL_RULE).message(crate::address::CREDENTIALS))]
pub struct NotifyWebhook {
    /// Complete address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub url: Option<String>,
    /// Name of an `http` Connection in the run's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ObjectName>,
    /// Path that is appended to the base address of the Connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub path: Option<String>,
    /// The message. Strings may contain `${…}` expressions. A plain string is sent as `{"text": …}`.
    pub message: Json,
}
