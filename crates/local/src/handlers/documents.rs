//! Discovery, `OpenAPI` and the version.

use http::header::ACCEPT;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use super::body::{self, Body};
use crate::discovery;
use crate::openapi;
use crate::plane::Plane;
use crate::status::ApiError;

/// The Kubernetes version whose API is spoken.
const MAJOR: &str = "1";
const MINOR: &str = "35";

fn git_version() -> String {
    format!("v{MAJOR}.{MINOR}.0+signoff.{}", env!("CARGO_PKG_VERSION"))
}

/// The answer of `/version`.
pub fn version() -> Value {
    json!({
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": git_version(),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// Answers with a document.
pub fn answer(plane: &Plane, parts: &[String], headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let registry = &plane.registry;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let accept = headers
        .get(ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let found = match parts.as_slice() {
        [root @ ("api" | "apis")] if discovery::wants_aggregated(accept) => {
            let document = discovery::aggregated(registry, *root == "api");
            let body = body::full(document.to_string());
            return Ok(body::respond(StatusCode::OK, discovery::AGGREGATED, body));
        }
        ["api"] => Some(discovery::api_versions()),
        ["apis"] => Some(discovery::api_groups(registry)),
        ["api", version] => discovery::resources(registry, "", version),
        ["apis", group] => discovery::one_group(registry, group),
        ["apis", group, version] => discovery::resources(registry, group, version),
        ["openapi", "v2"] if accept.contains(openapi::v2::ACCEPTED) => {
            let body = body::full(openapi::v2::protobuf(&git_version()));
            return Ok(body::respond(StatusCode::OK, openapi::v2::PROTOBUF, body));
        }
        ["openapi", "v2"] => Some(openapi::v2::json(&git_version())),
        ["openapi", "v3"] => Some(plane.documents().root().clone()),
        ["openapi", "v3", path @ ..] => {
            let document = plane.documents().document(&path.join("/")).map(str::to_owned);
            return document
                .map(|json| body::rendered(StatusCode::OK, json))
                .ok_or_else(ApiError::no_such_resource);
        }
        _ => None,
    };
    found
        .map(|document| body::object(StatusCode::OK, &document))
        .ok_or_else(ApiError::no_such_resource)
}
