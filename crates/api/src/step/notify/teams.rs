//! `teams`: a message to a Microsoft Teams channel.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::name::ObjectName;

/// A message to a Microsoft Teams channel, as an adaptive card.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotifyTeams {
    /// Name of a `teams` Connection in the run's namespace.
    pub connection: ObjectName,
    /// The message, in the Markdown of adaptive cards. Values of `${…}` expressions are escaped. A text is cut at 24000
    /// bytes of JSON.
    #[schemars(length(min = 1, max = 65_536))]
    pub text: String,
}
