//! An object, or what can be said of one that cannot be decoded.

use std::{borrow::Cow, fmt::Debug};

use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference},
};
use kube::{Resource, core::ObjectMeta};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

use signoff_api::{flow::Definition, text::visible};

/// Longest description of what is wrong with an object, in characters.
const MAX_PROBLEM: usize = 300;

/// A kind in namespaces that can be read.
pub trait Kind:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// An object as the API server sent it: decoded, or not decodable by this version.
#[derive(Clone, Debug)]
pub enum Decoded<K> {
    /// An object that was decoded.
    Object(K),
    /// An object that cannot be decoded.
    Undecodable(Box<Undecodable>),
}

/// What can be said of an object that cannot be decoded.
#[derive(Clone, Debug, Default)]
pub struct Undecodable {
    /// What identifies it: name, namespace, uid, versions, owners. Nothing else of its metadata.
    pub metadata: ObjectMeta,
    /// The conditions in its status, if these can be decoded.
    pub conditions: Vec<Condition>,
    /// Path of the field that cannot be decoded; `.` if it is the object as a whole.
    pub path: String,
    /// What is wrong with that field.
    pub problem: String,
}

impl Undecodable {
    /// One sentence for people.
    pub fn message(&self) -> String {
        format!("{}: {}", self.path, self.problem)
    }
}

impl<K: DeserializeOwned> Decoded<K> {
    /// Decodes the JSON text of one object.
    pub fn of(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(object) => Self::Object(object),
            Err(error) => Self::Undecodable(Box::new(undecodable::<K>(text, &error))),
        }
    }
}

impl<K> Decoded<K> {
    /// The object, unless it cannot be decoded.
    pub fn ok(self) -> Option<K> {
        match self {
            Self::Object(object) => Some(object),
            Self::Undecodable(_) => None,
        }
    }
}

/// Whatever is inside, a list or an event that has it as a part can be decoded: the text of the object is found without recursion, however
/// deeply it is nested, and decoded by itself.
impl<'de, K: DeserializeOwned> Deserialize<'de> for Decoded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(<&RawValue>::deserialize(deserializer)?.get()))
    }
}

/// The parts of an object that are needed to tell people about it. What is not named here is skipped without recursion.
#[derive(Deserialize)]
struct Shell<'a> {
    #[serde(default)]
    metadata: Identity,
    #[serde(default, borrow)]
    status: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    owner_references: Option<Vec<OwnerReference>>,
}

#[derive(Default, Deserialize)]
struct StatusShell {
    #[serde(default)]
    conditions: Vec<Condition>,
}

fn undecodable<K: DeserializeOwned>(text: &str, error: &serde_json::Error) -> Undecodable {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let located = serde_path_to_error::deserialize::<_, K>(&mut deserializer).err();
    let (path, problem) = match located {
        Some(located) => {
            let path = located.path().to_string();
            let path = if path == "spec" {
                within_spec(text).unwrap_or(path)
            } else {
                path
            };
            (path, located.into_inner().to_string())
        }
        None => (".".to_owned(), error.to_string()),
    };
    // the position is one in a text that nobody has seen
    let problem = problem
        .rsplit_once(" at line ")
        .map_or(&*problem, |(problem, _)| problem);
    let (metadata, conditions) = match serde_json::from_str::<Shell<'_>>(text) {
        Ok(shell) => {
            let status = shell
                .status
                .map(|status| serde_json::from_str::<StatusShell>(status.get()));
            let status = status.and_then(Result::ok).unwrap_or_default();
            (shell.metadata.into(), status.conditions)
        }
        Err(_) => Default::default(),
    };
    Undecodable {
        metadata,
        conditions,
        path: shown(&path),
        problem: shown(problem),
    }
}

/// Where the definition of a flow cannot be decoded. As a part of the spec it is decoded in two passes, of which the second knows no path.
fn within_spec(text: &str) -> Option<String> {
    #[derive(Debug, Deserialize)]
    struct Defined {
        #[allow(dead_code, reason = "it is decoded only to see where that fails")]
        spec: Definition,
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let located = serde_path_to_error::deserialize::<_, Defined>(&mut deserializer).err()?;
    Some(located.path().to_string())
}

/// A text that quotes what somebody else wrote, on one line, with everything in it visible, and not too long.
fn shown(text: &str) -> String {
    visible(text).chars().take(MAX_PROBLEM).collect()
}

impl From<Identity> for ObjectMeta {
    fn from(identity: Identity) -> Self {
        Self {
            name: identity.name,
            namespace: identity.namespace,
            uid: identity.uid,
            resource_version: identity.resource_version,
            generation: identity.generation,
            owner_references: identity.owner_references,
            ..Self::default()
        }
    }
}

impl<K: Resource> Resource for Decoded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &K::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &K::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn api_version(dt: &K::DynamicType) -> Cow<'_, str> {
        K::api_version(dt)
    }

    fn plural(dt: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn metadata_api() -> bool {
        K::metadata_api()
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Object(object) => object.meta(),
            Self::Undecodable(object) => &object.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Object(object) => object.meta_mut(),
            Self::Undecodable(object) => &mut object.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::{
        ResourceExt as _,
        api::{ObjectList, WatchEvent},
        core::PartialObjectMeta,
    };

    use super::*;
    use signoff_api::{Flow, Repository};

    fn flow(name: &str, steps: &str) -> String {
        format!(
            r#"{{"apiVersion":"signoff.dev/v1alpha1","kind":"Flow","metadata":{{"name":"{name}","namespace":"ns","uid":"u-{name}",
            "resourceVersion":"7","generation":3}},"spec":{{"steps":{steps}}},"status":{{"conditions":[{{"type":"Ready","status":"True",
            "reason":"Released","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}}]}}}}"#
        )
    }

    const GOOD: &str = r#"[{"name":"pause","wait":{"duration":"1m"}}]"#;

    fn list(items: &[String]) -> ObjectList<Decoded<Flow>> {
        let text = format!(
            r#"{{"kind":"FlowList","apiVersion":"signoff.dev/v1alpha1","metadata":{{"resourceVersion":"9"}},"items":[{}]}}"#,
            items.join(",")
        );
        serde_json::from_str(&text).unwrap()
    }

    fn nested(levels: usize) -> String {
        let value = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        format!(r#"[{{"name":"set","set":{{"v":{value}}}}}]"#)
    }

    #[test]
    fn a_bad_object_takes_no_other_of_its_list_with_it() {
        for bad in [
            r#"[{"name":"pause","wait":{"duration":"a while"}}]"#.to_owned(),
            r#"[{"name":7}]"#.to_owned(),
            r#""none""#.to_owned(),
            nested(124),
            nested(10_000),
        ] {
            let listed = list(&[flow("one", GOOD), flow("bad", &bad), flow("two", GOOD)]);
            assert_eq!(listed.metadata.resource_version.as_deref(), Some("9"));
            let decoded: Vec<_> = listed
                .into_iter()
                .map(|flow| (flow.name_any(), flow.ok().is_some()))
                .collect();
            let expected = [("one", true), ("bad", false), ("two", true)];
            assert_eq!(decoded, expected.map(|(name, ok)| (name.to_owned(), ok)));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_field_and_on_one_line() {
        let bad = r#"[{"name":"pause","wait":{"duration":"a\nwhile"}}]"#;
        let Decoded::Undecodable(bad) = Decoded::<Flow>::of(&flow("bad", bad)) else {
            panic!("it was decoded")
        };
        assert!(bad.path.starts_with("spec.steps[0]"), "{}", bad.path);
        assert!(
            !bad.problem.contains(['\n', '\r']) && !bad.problem.contains(" at line "),
            "{}",
            bad.problem
        );
        assert_eq!(bad.metadata.uid.as_deref(), Some("u-bad"));
        assert_eq!((bad.metadata.generation, bad.conditions.len()), (Some(3), 1));
        let Decoded::Undecodable(deep) = Decoded::<Flow>::of(&flow("deep", &nested(10_000))) else {
            panic!("it was decoded")
        };
        assert!(deep.problem.contains("recursion"), "{}", deep.problem);
    }

    #[test]
    fn an_event_of_a_watch_about_a_bad_object_can_be_read() {
        let text = format!(
            r#"{{"type":"MODIFIED","object":{}}}"#,
            flow("bad", &nested(10_000))
        );
        let event: WatchEvent<Decoded<Flow>> = serde_json::from_str(&text).unwrap();
        let WatchEvent::Modified(flow) = event else {
            panic!("{event:?}")
        };
        assert_eq!(flow.resource_version().as_deref(), Some("7"));
        let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"Flow","apiVersion":"signoff.dev/v1alpha1","metadata":{"resourceVersion":"12"}}}"#;
        let event: WatchEvent<Decoded<Flow>> = serde_json::from_str(bookmark).unwrap();
        assert!(matches!(event, WatchEvent::Bookmark(mark) if mark.metadata.resource_version == "12"));
    }

    #[test]
    fn metadata_that_is_nested_too_deep_has_an_identity_still() {
        let fields = format!(
            "{}{}",
            r#"{"f:v":"#.repeat(1_000),
            "{}".to_owned() + &"}".repeat(1_000)
        );
        let text = format!(
            r#"{{"metadata":{{"name":"deep","namespace":"ns","uid":"u","managedFields":[{{"fieldsV1":{fields}}}]}}}}"#
        );
        let read = Decoded::<PartialObjectMeta<Repository>>::of(&text);
        assert!(
            matches!(&read, Decoded::Undecodable(deep) if deep.metadata.uid.as_deref() == Some("u")),
            "{read:?}"
        );
        assert!(<Decoded<PartialObjectMeta<Repository>> as Resource>::metadata_api());
    }
}
