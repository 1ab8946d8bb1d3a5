//! Discovery, `OpenAPI` and the version.

use http::{HeaderMap, Response};
use serde_json::{Value, json};

use super::body::Body;
use super::query::Query;
use crate::local::plane::Plane;
use crate::local::status::ApiError;

/// The Kubernetes version whose API is spoken.
const MAJOR: &str = "1";
const MINOR: &str = "35";

/// The answer of `/version`.
pub fn version() -> Value {
    json!({
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": format!("v{MAJOR}.{MINOR}.0+signoff.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// Answers with a document.
pub fn answer(
    plane: &Plane,
    parts: &[String],
    _headers: &HeaderMap,
    _query: &Query,
) -> Result<Response<Body>, ApiError> {
    let document = crate::local::shim::discovery::document(&plane.registry, parts);
    document
        .map(|d| super::body::object(http::StatusCode::OK, &d))
        .ok_or_else(ApiError::no_such_resource)
}
