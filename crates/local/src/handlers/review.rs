//! Reviews: who am I, may I, whose token is this. Posted, answered, not stored.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::{self, Body};
use super::{Call, objects};
use crate::rbac::Attributes;
use crate::status::{ApiError, cause};
use crate::users::User;

/// Answers a review.
pub fn answer(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let mut review = body::parse(&call.headers, &call.body)?.value;
    objects::identify(call, &mut review)?;
    let status = match call.kind().kind.as_str() {
        "SelfSubjectReview" => json!({"userInfo": call.user.info()}),
        "TokenReview" => token(call, &review),
        "SelfSubjectAccessReview" => access(call, &call.user, &review)?,
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            let user = subject(call, &review)?;
            access(call, &user, &review)?
        }
        "SelfSubjectRulesReview" => rules(call, &review),
        _ => return Err(ApiError::method_not_allowed()),
    };
    review["status"] = status;
    Ok(body::object(StatusCode::CREATED, &review))
}

fn token(call: &Call<'_>, review: &Value) -> Value {
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    match call.plane.accounts.by_token(token) {
        Some(user) => json!({"authenticated": true, "user": user.info()}),
        None => json!({"authenticated": false, "error": "invalid bearer token"}),
    }
}

fn subject(call: &Call<'_>, review: &Value) -> Result<User, ApiError> {
    let spec = &review["spec"];
    let strings = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let user = User {
        name: spec["user"].as_str().unwrap_or_default().to_owned(),
        uid: spec["uid"].as_str().unwrap_or_default().to_owned(),
        groups: strings(&spec["groups"]),
        extra: spec["extra"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.clone(), strings(v)))
            .collect(),
    };
    if user.name.is_empty() && user.groups.is_empty() {
        let required = cause(
            "FieldValueInvalid",
            "spec.user",
            "Invalid value: \"\": at least one of user or group must be specified",
        );
        return Err(ApiError::invalid(call.kind(), "", vec![required]));
    }
    Ok(user)
}

fn access(call: &Call<'_>, user: &User, review: &Value) -> Result<Value, ApiError> {
    let spec = &review["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_null() == path.is_null() {
        let which = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified";
        return Err(ApiError::invalid(
            call.kind(),
            "",
            vec![cause("FieldValueInvalid", "spec", which)],
        ));
    }
    let elsewhere = text(&resource["namespace"]);
    if call.kind().namespaced && path.is_null() && elsewhere != call.namespace() {
        let must = format!("Invalid value: {elsewhere:?}: must match metadata.namespace");
        let field = "spec.resourceAttributes.namespace";
        return Err(ApiError::invalid(
            call.kind(),
            "",
            vec![cause("FieldValueInvalid", field, must)],
        ));
    }
    let asked = if path.is_null() {
        Attributes {
            verb: text(&resource["verb"]),
            group: text(&resource["group"]),
            resource: text(&resource["resource"]),
            subresource: text(&resource["subresource"]),
            namespace: text(&resource["namespace"]),
            name: text(&resource["name"]),
            path: None,
        }
    } else {
        Attributes {
            verb: text(&path["verb"]),
            path: Some(text(&path["path"])),
            ..Attributes::default()
        }
    };
    let verdict = call.plane.authorize(user, &asked);
    let mut status = json!({"allowed": verdict.allowed});
    if !verdict.reason.is_empty() {
        status["reason"] = json!(verdict.reason);
    }
    Ok(status)
}

fn rules(call: &Call<'_>, review: &Value) -> Value {
    let namespace = review["spec"]["namespace"].as_str().unwrap_or_default();
    let rules = call.plane.authorizer().rules(&call.user, namespace);
    let (paths, resources): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| {
        rule.non_resource_urls
            .as_ref()
            .is_some_and(|urls| !urls.is_empty())
    });
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}
