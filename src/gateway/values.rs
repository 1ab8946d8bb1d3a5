//! `/v1/values/<namespace>/<flow>[/<name>]`: values of flows that outlive their runs, for those who may read or write them. Whose
//! token it is, and what its owner may do, is for the API server to say.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
};
use k8s_openapi::{
    api::{authentication::v1::UserInfo, authorization::v1::ResourceAttributes},
    jiff::Timestamp,
};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use super::{
    Gateway,
    problem::Problem,
    resources::{bearer, may, refusal, unanswered, user},
};
use crate::store::{Author, LONGEST_WRITE, PutError, ValuePath, Version};
use signoff_api::{
    Flow,
    bounds::{MAX_NESTING, MAX_VALUE, exact_integers_of_json, nesting_of_json},
    name::{DnsLabel, FlowName},
};

/// Longest request to write a value: it may be written with white space.
const MAX_BODY: usize = 4 * MAX_VALUE;

/// A value to be written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    value: Value,
    #[serde(default, deserialize_with = "version")]
    if_version: Option<u64>,
}

/// A version as a number, or as the text that answers have. It may be left out, but is not null: that could be a mistake of
/// whoever wants to overwrite nothing.
fn version<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "ifVersion is a number, or a text with one")]
    enum Given {
        Number(u64),
        Text(String),
    }
    match Given::deserialize(from)? {
        Given::Number(number) => Ok(Some(number)),
        Given::Text(text) => text.parse().map(Some).map_err(D::Error::custom),
    }
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    path: Result<Path<(DnsLabel, FlowName)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let store = gateway.resources.store_or_problem()?;
    let Path((namespace, flow)) = path.map_err(|_| unknown())?;
    let user = user(&gateway, bearer(&headers)?).await?;
    allowed(&gateway, &user, "get", &namespace, &flow).await?;
    let found = store.list_values(&namespace, &flow).await;
    let found = found.map_err(|error| refusal(&error))?;
    let values = found.iter().map(|(name, listed)| {
        json!({ "name": name, "version": listed.version.to_string(), "updatedAt": listed.updated_at, "size": listed.size })
    });
    Ok(Json(values.collect()))
}

pub(super) async fn read(
    State(gateway): State<Arc<Gateway>>,
    path: Result<Path<(DnsLabel, FlowName, DnsLabel)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let store = gateway.resources.store_or_problem()?;
    let path = value_path(path)?;
    let user = user(&gateway, bearer(&headers)?).await?;
    allowed(&gateway, &user, "get", &path.namespace, &path.flow).await?;
    let found = store.value(&path).await.map_err(|error| refusal(&error))?;
    found.as_ref().map(shown).map(Json).ok_or_else(unknown)
}

pub(super) async fn write(
    State(gateway): State<Arc<Gateway>>,
    path: Result<Path<(DnsLabel, FlowName, DnsLabel)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let store = gateway.resources.store_or_problem()?;
    let path = value_path(path)?;
    let user = user(&gateway, bearer(&headers)?).await?;
    allowed(&gateway, &user, "update", &path.namespace, &path.flow).await?;
    let flows = gateway.context.namespaced::<Flow>(&path.namespace);
    let flow = flows.get_metadata_opt(&path.flow).await;
    flow.map_err(|error| unanswered(&error))?
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no flow {}", path.flow)))?;
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a value has at most {MAX_VALUE} bytes"),
        )
    })?;
    let unusable = |error: &dyn std::error::Error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the value: {error}"))
    };
    // the value lies one level below the body
    nesting_of_json(&body, MAX_NESTING).map_err(|error| unusable(&error))?;
    exact_integers_of_json(&body).map_err(|error| unusable(&error))?;
    let wanted: Wanted = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is no value: {error}")))?;
    let version = Version {
        number: 0,
        updated_at: Timestamp::now(),
        author: Author::User(user.username.unwrap_or_default()),
        key: format!("{:032x}", rand::random::<u128>()),
        value: wanted.value,
    };
    let writing = store.put_value(&path, wanted.if_version, version);
    let written = tokio::time::timeout(LONGEST_WRITE, writing).await;
    let written = written.map_err(|_| Problem::unavailable())?;
    written.map(|version| Json(shown(&version))).map_err(not_written)
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such value")
}

fn value_path(
    path: Result<Path<(DnsLabel, FlowName, DnsLabel)>, PathRejection>,
) -> Result<ValuePath, Problem> {
    // what is no name is part of no address, neither of the store nor of the API server
    let Path((namespace, flow, name)) = path.map_err(|_| unknown())?;
    Ok(ValuePath {
        namespace: namespace.to_string(),
        flow,
        name,
    })
}

async fn allowed(
    gateway: &Gateway,
    user: &UserInfo,
    verb: &str,
    namespace: &str,
    flow: &FlowName,
) -> Result<(), Problem> {
    let wanted = ResourceAttributes {
        resource: Some("flows".to_owned()),
        subresource: Some("values".to_owned()),
        name: Some(flow.to_string()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    if may(gateway, namespace, user, wanted).await? {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        format!("you may not do this with the values of this flow: it needs the verb {verb} on flows/values"),
    ))
}

fn shown(version: &Version) -> Value {
    let Version {
        number,
        updated_at,
        author,
        key: _,
        value,
    } = version;
    let mut shown = json!({ "value": value, "version": number.to_string(), "updatedAt": updated_at });
    match author {
        Author::Run(run) => shown["run"] = json!(run),
        Author::User(user) => shown["user"] = json!(user),
    }
    shown
}

fn not_written(problem: PutError) -> Problem {
    match problem {
        PutError::Store(error) => refusal(&error),
        PutError::Conflict { found, .. } => {
            Problem::new(StatusCode::CONFLICT, problem.to_string()).with("version", found.to_string())
        }
        PutError::Busy(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, problem.to_string()),
        PutError::TooMany(_) | PutError::TooLarge(_) | PutError::TooDeep(_) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, problem.to_string())
        }
    }
}
