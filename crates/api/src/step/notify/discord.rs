//! `discord`: a message to a Discord channel.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::name::ObjectName;

/// A message to a Discord channel. It mentions nobody.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotifyDiscord {
    /// Name of a `discord` Connection in the run's namespace.
    pub connection: ObjectName,
    /// The message, in Discord's Markdown. Values of `${…}` expressions are escaped. A text is cut at 2000 characters.
    #[schemars(length(min = 1, max = 65_536))]
    pub text: String,
}
