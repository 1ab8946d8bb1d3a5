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
#[x_kube(validation = Rule::new("!has(self.form) || !has(self.text)").message("a request has one of body, form, text and from"))]
#[x_kube(validation = Rule::new("!has(self.from) || (!has(self.form) && !has(self.text))").message("a request has one of body, form, text and from"))]
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
    /// Request method. Defaults to GET, or to POST if there is a `body`, `form`, `text` or `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
    /// Request headers. Values may contain `${…}` expressions. `Host`, `Authorization` and a few others are refused:
    /// credentials are in the Connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_texts::<64, 4096>")]
    pub headers: Option<BTreeMap<String, String>>,
    /// Query parameters: texts, numbers, booleans, or lists of them. A list repeats the parameter. Strings may contain
    /// `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_values::<64>")]
    pub query: Option<BTreeMap<String, Json>>,
    /// Request body, sent as JSON. Strings may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Json>,
    /// Request body, sent as the fields of a form (`application/x-www-form-urlencoded`). Values may contain `${…}`
    /// expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_texts::<64, 65536>")]
    pub form: Option<BTreeMap<String, String>>,
    /// Request body, sent as text, at most 1 MiB. It may contain `${…}` expressions. It is `text/plain` in UTF-8 unless
    /// `headers` has a `Content-Type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_048_576))]
    pub text: Option<String>,
    /// Request body: one `${…}` expression that gives a resource, such as the output of a step with `save`. Its content is
    /// streamed, at most 64 MiB. Its media type is the `Content-Type` unless `headers` has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub from: Option<String>,
    /// Responses that count as success. Defaults to status 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<HttpExpect>,
    /// JSON Schema of the response body. A response with another body fails the step with `InvalidResponse`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
    /// Number of redirects to follow, for GET and HEAD. Defaults to 0: a redirect is the response. Each address is
    /// checked as the first one is. Another origin receives neither credentials nor headers of the Connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5))]
    pub redirects: Option<i64>,
    /// Keep the response body in the object store, text and binary alike, at most 64 MiB. `response.body`, and so the output,
    /// is then its resource: `ref`, `size`, `mediaType` and `sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save: Option<bool>,
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
            retries: false,
            delivery: true,
            has_effect: true,
            is_billable: true,
        }
    }
}

/// Request method. Defaults to GET, or to POST if there is a `body`, `form`, `text` or `from`.
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

/// Conditions on the response of an HTTP call. Both must hold.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpExpect {
    /// Status codes that count as success. Defaults to 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(range(min = 100, max = 599)))]
    pub status: Option<Vec<i64>>,
    /// Condition: one `${…}` expression over `response.status`, `response.headers` and `response.body` that returns true
    /// or false. If it is false, the attempt fails with `UnexpectedResponse`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub when: Option<String>,
}
