//! `http`: call an HTTP API.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Rules};
use crate::{Json, name::ObjectName};

/// An HTTP request to `url`, or to `path` of a `connection`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.url) != has(self.connection)").message("an http step has either url, or connection and path")
)]
#[x_kube(validation = Rule::new("!has(self.path) || has(self.connection)").message("path needs a connection"))]
#[x_kube(validation = Rule::new(crate::address::URL_RULE).message(crate::address::CREDENTIALS))]
pub struct HttpStep {
    /// Complete address. It may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub url: Option<String>,
    /// Name of an `http` Connection in the run's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ObjectName>,
    /// Path that is appended to the base address of the Connection. It may contain `${…}` expressions, whose values
    /// are percent-encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub path: Option<String>,
    /// Request method. Defaults to GET, or to POST if there is a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
    /// Request headers. Values may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_texts::<64, 4096>")]
    pub headers: Option<BTreeMap<String, String>>,
    /// Query parameters. Values may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_texts::<64, 4096>")]
    pub query: Option<BTreeMap<String, String>>,
    /// Request body, sent as JSON. Strings may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Json>,
    /// Responses that count as success. Defaults to status 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<HttpExpect>,
    /// Output of the step. Expressions can read `response.status`, `response.headers` and `response.body`. Defaults
    /// to the response body: parsed if it is JSON, otherwise as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
}

impl Kind for HttpStep {
    fn rules(&self) -> &'static Rules {
        &Rules {
            key: "http",
            attempts: true,
            delivery: true,
            has_effect: true,
            is_billable: true,
        }
    }
}

/// Request method. Defaults to GET, or to POST if there is a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(
    missing_docs,
    reason = "the names are the HTTP methods; per-variant docs would break the enum's schema"
)]
pub enum HttpMethod {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl std::fmt::Display for HttpMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        })
    }
}

/// Conditions on the response of an HTTP call.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpExpect {
    /// Status codes that count as success.
    #[schemars(length(min = 1, max = 32), inner(range(min = 100, max = 599)))]
    pub status: Vec<i64>,
}
