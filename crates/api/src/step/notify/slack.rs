//! `slack`: a message to a Slack channel.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::name::ObjectName;

/// A message to a Slack channel.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotifySlack {
    /// Name of a `slack` Connection in the run's namespace.
    pub connection: ObjectName,
    /// Name or ID of the channel, or ID of a user.
    #[schemars(length(min = 1, max = 4096))]
    pub channel: String,
    /// The message, in Slack's `mrkdwn`. Values of `${…}` expressions are escaped: they mention nobody and are no
    /// links. Addresses that you write are links. A text is cut at 39000 characters.
    #[schemars(length(min = 1, max = 65_536))]
    pub text: String,
    /// The `ts` of a message, such as `${steps.tell.output.ts}`: this one goes into its thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub thread: Option<String>,
}
