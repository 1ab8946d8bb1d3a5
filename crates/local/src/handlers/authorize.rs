//! Whether a caller may do what it asks, by the role objects in the store.

use http::Method;

use super::path::Target;
use crate::plane::Plane;
use crate::rbac::Attributes;
use crate::registry::ResourceKind;
use crate::status::ApiError;
use crate::users::User;

/// Refuses a path outside the resources that the user may not ask for.
pub fn path(plane: &Plane, user: &User, method: &Method, path: &str) -> Result<(), ApiError> {
    let verb = method.as_str().to_ascii_lowercase();
    let attributes = Attributes {
        verb: verb.clone(),
        path: Some(path.to_owned()),
        ..Attributes::default()
    };
    if plane.allows(user, &attributes) {
        return Ok(());
    }
    let message = format!("forbidden: User {:?} cannot {verb} path {path:?}", user.name);
    Err(ApiError::new(http::StatusCode::FORBIDDEN, "Forbidden", message))
}

/// Refuses a request on a resource that the user may not make.
pub fn target(plane: &Plane, user: &User, verb: &str, target: &Target) -> Result<(), ApiError> {
    let attributes = attributes(verb, target);
    if plane.allows(user, &attributes) {
        return Ok(());
    }
    Err(refusal(&target.kind, user, &attributes))
}

fn attributes(verb: &str, target: &Target) -> Attributes {
    let kind = &target.kind;
    // A namespace is authorized as lying in itself.
    let namespace = match (&target.namespace, kind.plural.as_str(), &target.name) {
        (None, "namespaces", Some(name)) if kind.group.is_empty() => name.clone(),
        (namespace, _, _) => namespace.clone().unwrap_or_default(),
    };
    Attributes {
        verb: verb.to_owned(),
        group: kind.group.clone(),
        resource: kind.plural.clone(),
        subresource: target.part.clone().unwrap_or_default(),
        namespace,
        name: target.name.clone().unwrap_or_default(),
        path: None,
    }
}

/// The refusal in the words of Kubernetes.
pub fn refusal(kind: &ResourceKind, user: &User, asked: &Attributes) -> ApiError {
    let resource = if asked.subresource.is_empty() {
        asked.resource.clone()
    } else {
        format!("{}/{}", asked.resource, asked.subresource)
    };
    let place = if asked.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", asked.namespace)
    };
    let why = format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?} {place}",
        user.name, asked.verb, asked.group
    );
    ApiError::forbidden(kind, &asked.name, &why)
}
