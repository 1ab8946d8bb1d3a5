//! `email`: a mail.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{Json, name::ObjectName};

/// A mail. It is plain text.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotifyEmail {
    /// Name of an `smtp` Connection in the run's namespace. It names the sender, and may limit the recipients.
    pub connection: ObjectName,
    /// Addresses of the recipients, at most 50 with those of `cc`. An element that is one `${…}` expression may give a
    /// list.
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 4096)))]
    pub to: Vec<String>,
    /// Addresses of those who get a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50), inner(length(min = 1, max = 4096)))]
    pub cc: Option<Vec<String>>,
    /// Address that answers go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub reply_to: Option<String>,
    /// Subject, on one line. It is cut at 250 characters.
    #[schemars(length(min = 1, max = 4096))]
    pub subject: String,
    /// The message.
    #[schemars(length(min = 1, max = 262_144))]
    pub text: String,
    /// Files: objects with `name`, one of `value` (text or JSON) and `from` (a resource), and `mediaType`, which is neither
    /// `multipart/…` nor `message/…`. At most 10 MiB together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10))]
    pub attachments: Option<Vec<Json>>,
}
