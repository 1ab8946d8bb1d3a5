//! What a path asks for.

use std::sync::Arc;

use http::Method;

use crate::registry::{Registry, ResourceKind};
use crate::status::ApiError;

/// One thing that can be asked for.
#[derive(Debug, Clone)]
pub enum Route {
    /// `/healthz`, `/livez`, `/readyz` and below.
    Health,
    /// `/version`.
    Version,
    /// Discovery and `OpenAPI` documents, by path parts.
    Document(Vec<String>),
    /// A resource.
    Resource(Target),
}

/// A resource, or one object of it, or a part of that.
#[derive(Debug, Clone)]
pub struct Target {
    /// The resource.
    pub kind: Arc<ResourceKind>,
    /// The namespace in the path; for namespaced kinds none means all.
    pub namespace: Option<String>,
    /// The object's name.
    pub name: Option<String>,
    /// The part, such as `status`.
    pub part: Option<String>,
}

/// Finds what a path asks for; none when nothing is there.
pub fn route(registry: &Registry, path: &str) -> Option<Route> {
    let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(decode).collect();
    let parts_str: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts_str.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => Some(Route::Health),
        ["version"] => Some(Route::Version),
        ["openapi", ..] | ["api" | "apis"] | ["api" | "apis", _] | ["apis", _, _] => {
            Some(Route::Document(parts))
        }
        ["api", version, rest @ ..] => target(registry, "", version, rest).map(Route::Resource),
        ["apis", group, version, rest @ ..] => target(registry, group, version, rest).map(Route::Resource),
        _ => None,
    }
}

fn target(registry: &Registry, group: &str, version: &str, rest: &[&str]) -> Option<Target> {
    let lookup = |plural: &str| registry.lookup(group, version, plural).cloned();
    let (namespace, rest) = match rest {
        ["namespaces", _, "status"] if group.is_empty() => (None, rest),
        ["namespaces", namespace, inner @ ..] if !inner.is_empty() => (Some(*namespace), inner),
        _ => (None, rest),
    };
    let (plural, name, part) = match rest {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(*name), None),
        [plural, name, part] => (plural, Some(*name), Some(*part)),
        _ => return None,
    };
    let kind = lookup(plural)?;
    if namespace.is_some() != kind.namespaced && (namespace.is_some() || name.is_some()) {
        return None;
    }
    let part_served = match part {
        None => true,
        Some("status") => kind.status_subresource,
        Some(_) => false,
    };
    part_served.then(|| Target {
        kind,
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        part: part.map(str::to_owned),
    })
}

/// Decodes percent escapes; a plus sign stays itself, as it does in paths.
fn decode(part: &str) -> String {
    if !part.contains('%') {
        return part.to_owned();
    }
    let escaped = part.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(escaped.as_bytes())
        .map(|(name, _)| name.into_owned())
        .collect()
}

/// The verb of a request, as RBAC names it.
pub fn verb(method: &Method, target: &Target, watch: bool) -> Result<&'static str, ApiError> {
    let verb = match (method.as_str(), target.name.is_some()) {
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) if watch => "watch",
        ("GET" | "HEAD", false) => "list",
        ("POST", false) => "create",
        ("PUT", true) => "update",
        ("PATCH", true) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => return Err(ApiError::method_not_allowed()),
    };
    // A part of an object can be read and changed, not created or deleted.
    let fits = target.part.is_none() || matches!(verb, "get" | "update" | "patch");
    if target.kind.allows(verb) && fits {
        Ok(verb)
    } else {
        Err(ApiError::method_not_allowed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (String, Option<String>, Option<String>, Option<String>);

    fn find(path: &str) -> Option<Parts> {
        let registry = Registry::new(signoff_api::crds());
        match route(&registry, path)? {
            Route::Resource(t) => Some((t.kind.qualified(), t.namespace, t.name, t.part)),
            _ => None,
        }
    }

    #[test]
    fn resource_paths_are_taken_apart() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            find("/api/v1/namespaces/a"),
            Some(("namespaces".into(), None, some("a"), None))
        );
        assert_eq!(
            find("/api/v1/namespaces/a/status"),
            Some(("namespaces".into(), None, some("a"), some("status")))
        );
        assert_eq!(
            find("/apis/signoff.dev/v1alpha1/namespaces/a/runs/b/status"),
            Some(("runs.signoff.dev".into(), some("a"), some("b"), some("status")))
        );
        assert_eq!(
            find("/api/v1/secrets"),
            Some(("secrets".into(), None, None, None))
        );
        assert_eq!(
            find("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Abasic-user")
                .unwrap()
                .2,
            some("system:basic-user")
        );
    }

    #[test]
    fn paths_that_make_no_sense_are_not_found() {
        for path in [
            "/api/v1/secrets/a",
            "/api/v1/namespaces/a/nodes",
            "/apis/signoff.dev/v1/runs",
            "/api/v1/namespaces/a/secrets/b/status",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/a/clusterroles",
            "/nothing",
        ] {
            assert!(find(path).is_none(), "{path}");
        }
    }
}
