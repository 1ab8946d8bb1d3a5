//! Resource: content that is too large for a status, or binary. It lies in the object store, and is passed on by this value.

use std::{borrow::Cow, fmt, str::FromStr};

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Digest, name::is_label};

/// Most bytes of content that an `http` step keeps or sends.
pub const MAX_CONTENT: u64 = 64 << 20;
/// Longest media type.
pub const MAX_MEDIA_TYPE: usize = 255;

const SCHEME: &str = "res://";
const PATTERN: &str = "^res://[a-z0-9-]{1,63}/[a-z0-9.-]{1,63}/[a-z0-9-]{1,63}/[a-zA-Z0-9._-]{1,253}$";

/// Content of a run in the object store.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource {
    /// Where the content comes from: `res://<namespace>/<run>/<step>/<name>`.
    #[serde(rename = "ref")]
    pub reference: ResourceRef,
    /// Number of bytes.
    #[schemars(range(min = 0))]
    pub size: i64,
    /// Media type, such as `application/pdf`.
    #[schemars(length(min = 1, max = 255))]
    pub media_type: String,
    /// Digest of the content. Whoever reads the content checks it.
    pub sha256: Digest,
}

impl Resource {
    /// The number of bytes, as memory counts them; none if it is no number of bytes.
    pub fn bytes(&self) -> Option<u64> {
        u64::try_from(self.size).ok()
    }
}

/// `res://<namespace>/<run>/<step>/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceRef {
    /// Namespace of the run.
    pub namespace: String,
    /// Name of the run that has the content.
    pub run: String,
    /// Name of the step that brought it.
    pub step: String,
    /// What it is called among those of the step.
    pub name: String,
}

impl ResourceRef {
    /// The body that a step has kept, of one of its passes and items.
    pub fn of_body(namespace: &str, run: &str, pass: i64, item: Option<i64>, step: &str) -> Self {
        let name = match (pass, item) {
            (1, None) => "body".to_owned(),
            (pass, None) => format!("body.{pass}"),
            (pass, Some(item)) => format!("body.{pass}.{item}"),
        };
        Self {
            namespace: namespace.to_owned(),
            run: run.to_owned(),
            step: step.to_owned(),
            name,
        }
    }

    /// The end of the log of a Job, of one of the passes and attempts of a step.
    pub fn of_log(namespace: &str, run: &str, step: &str, pass: i64, attempt: i64) -> Self {
        Self {
            namespace: namespace.to_owned(),
            run: run.to_owned(),
            step: step.to_owned(),
            name: format!("log.{pass}.{attempt}"),
        }
    }
}

/// The text is no reference to a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a resource: expected res://<namespace>/<run>/<step>/<name>")]
pub struct ResourceRefError;

impl fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            run,
            step,
            name,
        } = self;
        write!(f, "{SCHEME}{namespace}/{run}/{step}/{name}")
    }
}

impl FromStr for ResourceRef {
    type Err = ResourceRefError;

    fn from_str(text: &str) -> Result<Self, ResourceRefError> {
        let rest = text.strip_prefix(SCHEME).ok_or(ResourceRefError)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let [namespace, run, step, name] = parts.as_slice() else {
            return Err(ResourceRefError);
        };
        let fits = is_label(namespace) && is_run(run) && is_label(step) && is_name(name);
        fits.then(|| Self {
            namespace: (*namespace).to_owned(),
            run: (*run).to_owned(),
            step: (*step).to_owned(),
            name: (*name).to_owned(),
        })
        .ok_or(ResourceRefError)
    }
}

fn is_run(text: &str) -> bool {
    text.len() <= 63 && text.split('.').all(is_label)
}

fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=253).contains(&text.len()) && text.bytes().all(is_letter) && !matches!(text, "." | "..")
}

impl Serialize for ResourceRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ResourceRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ResourceRef {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ResourceRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": 512 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_reads_itself_back() {
        for text in ["res://payments/refund-7c2k/fetch/body", "res://a/b.c/d/body.2.13"] {
            assert_eq!(text.parse::<ResourceRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_reference() {
        for text in [
            "",
            "res://a/b/c",
            "res://a/b/c/d/e",
            "res://a/b/c/..",
            "res://a/../c/d",
            "res:///b/c/d",
            "res://A/b/c/d",
            "res://a/b/c/%2e%2e",
            "https://a/b/c/d",
            "res://a/b/c/d ",
        ] {
            assert!(text.parse::<ResourceRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_object_with_anything_more_is_no_resource() {
        let whole = serde_json::json!({
            "ref": "res://a/b/c/body", "size": 3, "mediaType": "text/plain", "sha256": Digest::of(b"abc"),
        });
        let read = |value: &serde_json::Value| serde_json::from_value::<Resource>(value.clone());
        assert_eq!(serde_json::to_value(read(&whole).unwrap()).unwrap(), whole);
        let mut more = whole.clone();
        more["more"] = 1.into();
        assert!(read(&more).is_err());
        for field in ["ref", "size", "mediaType", "sha256"] {
            let mut less = whole.clone();
            less.as_object_mut().unwrap().remove(field);
            assert!(read(&less).is_err(), "{field}");
        }
    }
}
