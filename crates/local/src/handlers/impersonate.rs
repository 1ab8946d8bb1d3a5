//! `--as`: acting as another user, for those whom RBAC allows it.

use http::HeaderMap;

use crate::plane::Plane;
use crate::rbac::Attributes;
use crate::status::ApiError;
use crate::users::{AUTHENTICATED, User};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The user the request acts as: the caller, unless it asks to be somebody else and may.
pub fn resolve(plane: &Plane, caller: User, headers: &HeaderMap) -> Result<User, ApiError> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let groups: Vec<String> = headers
        .get_all(GROUP)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .map(str::to_owned)
        .collect();
    let mut extra = Vec::new();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) {
            extra.push((key.replace("%2f", "/"), value.to_owned()));
        }
    }
    let Some(name) = text(USER) else {
        if groups.is_empty() && text(UID).is_none() && extra.is_empty() {
            return Ok(caller);
        }
        return Err(ApiError::bad_request(
            "requested impersonation without impersonating a user",
        ));
    };
    check_name(plane, &caller, &name)?;
    for group in &groups {
        check(plane, &caller, "", "groups", "", group)?;
    }
    for (key, value) in &extra {
        check(plane, &caller, "authentication.k8s.io", "userextras", key, value)?;
    }
    let uid = text(UID).unwrap_or_default();
    if !uid.is_empty() {
        check(plane, &caller, "authentication.k8s.io", "uids", "", &uid)?;
    }
    let mut user = User {
        groups: own_groups(&name, groups),
        name,
        uid,
        ..User::default()
    };
    for (key, value) in extra {
        user.extra.entry(key).or_default().push(value);
    }
    Ok(user)
}

/// The groups given, or those a service account has by itself; all authenticated.
fn own_groups(name: &str, given: Vec<String>) -> Vec<String> {
    let mut groups = given;
    if groups.is_empty()
        && let Some((namespace, _)) = name
            .strip_prefix(SERVICE_ACCOUNT)
            .and_then(|rest| rest.split_once(':'))
    {
        groups.push("system:serviceaccounts".to_owned());
        groups.push(format!("system:serviceaccounts:{namespace}"));
    }
    if !groups.iter().any(|g| g == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    groups
}

fn check_name(plane: &Plane, caller: &User, name: &str) -> Result<(), ApiError> {
    match name
        .strip_prefix(SERVICE_ACCOUNT)
        .and_then(|rest| rest.split_once(':'))
    {
        Some((namespace, account)) => {
            let asked = attributes("", "serviceaccounts", "", account, namespace);
            decide(plane, caller, &asked)
        }
        None => check(plane, caller, "", "users", "", name),
    }
}

fn check(
    plane: &Plane,
    caller: &User,
    group: &str,
    resource: &str,
    part: &str,
    name: &str,
) -> Result<(), ApiError> {
    decide(plane, caller, &attributes(group, resource, part, name, ""))
}

fn attributes(group: &str, resource: &str, part: &str, name: &str, namespace: &str) -> Attributes {
    Attributes {
        verb: "impersonate".to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        subresource: part.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        path: None,
    }
}

fn decide(plane: &Plane, caller: &User, asked: &Attributes) -> Result<(), ApiError> {
    if plane.allows(caller, asked) {
        return Ok(());
    }
    let scope = if asked.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", asked.namespace)
    };
    let message = format!(
        "{} {:?} is forbidden: User {:?} cannot impersonate resource {:?} in API group {:?} {scope}",
        asked.resource, asked.name, caller.name, asked.resource, asked.group
    );
    Err(ApiError::new(http::StatusCode::FORBIDDEN, "Forbidden", message))
}
