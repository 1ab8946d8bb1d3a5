//! `webhook`: a JSON message to an address.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{Json, address, name::ObjectName};

/// A JSON message to `url`, or to `path` of a `connection`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.url) != has(self.connection)").message("a webhook has either url, or connection and path")
)]
#[x_kube(validation = Rule::new("!has(self.path) || has(self.connection)").message("path needs a connection"))]
#[x_kube(validation = Rule::new(address::URL_RULE).message(address::CREDENTIALS))]
pub struct NotifyWebhook {
    /// Complete address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub url: Option<String>,
    /// Name of a `webhook` or `http` Connection in the run's namespace. A `webhook` Connection signs the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ObjectName>,
    /// Path that is appended to the base address of the Connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub path: Option<String>,
    /// The message. Strings may contain `${…}` expressions. A plain string is sent as `{"text": …}`.
    /// It is for a program: values are not escaped.
    pub message: Json,
}
