//! The `Status` object with which the server answers what it cannot do, in the words of Kubernetes.

use http::StatusCode;
use kube::core::response::{StatusCause, StatusDetails, StatusSummary, reason};
use serde_json::{Value, json};

use super::registry::ResourceKind;

/// An answer that is not success: HTTP code, machine-readable reason, message, details.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", .0.message)]
pub struct ApiError(Box<kube::core::Status>);

impl ApiError {
    /// Any error, from its parts.
    pub fn new(code: StatusCode, reason: &str, message: impl Into<String>) -> Self {
        Self(Box::new(kube::core::Status {
            status: Some(StatusSummary::Failure),
            code: code.as_u16(),
            message: message.into(),
            metadata: None,
            reason: reason.to_owned(),
            details: None,
        }))
    }

    fn about(mut self, kind: &ResourceKind, name: &str) -> Self {
        self.0.details = Some(details(&kind.group, &kind.plural, name));
        self
    }

    /// Adds causes to the details.
    #[must_use]
    pub fn with_causes(mut self, causes: Vec<StatusCause>) -> Self {
        self.0.details.get_or_insert_with(|| details("", "", "")).causes = causes;
        self
    }

    /// 404: the object is not there.
    pub fn not_found(kind: &ResourceKind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.qualified());
        Self::new(StatusCode::NOT_FOUND, reason::NOT_FOUND, message).about(kind, name)
    }

    /// 404: no such path.
    pub fn no_such_resource() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(StatusCode::NOT_FOUND, reason::NOT_FOUND, message).with_causes(Vec::new())
    }

    /// 409: an object of that name exists.
    pub fn already_exists(kind: &ResourceKind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.qualified());
        Self::new(StatusCode::CONFLICT, reason::ALREADY_EXISTS, message).about(kind, name)
    }

    /// 409: the operation cannot be fulfilled, and why.
    pub fn conflict(kind: &ResourceKind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            kind.qualified()
        );
        Self::new(StatusCode::CONFLICT, reason::CONFLICT, message).about(kind, name)
    }

    /// 409: written from an old resourceVersion.
    pub fn modified(kind: &ResourceKind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422: the object breaks its schema or rules; the message lists every cause as `field: message`.
    pub fn invalid(kind: &ResourceKind, name: &str, causes: Vec<StatusCause>) -> Self {
        let list: Vec<String> = causes
            .iter()
            .map(|c| {
                if c.field.is_empty() {
                    c.message.clone()
                } else {
                    format!("{}: {}", c.field, c.message)
                }
            })
            .collect();
        let what = if kind.group.is_empty() {
            kind.kind.clone()
        } else {
            format!("{}.{}", kind.kind, kind.group)
        };
        let list = match list.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut error = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            reason::INVALID,
            format!("{what} \"{name}\" is invalid: {list}"),
        );
        let mut about = details(&kind.group, &kind.kind, name);
        about.causes = causes;
        error.0.details = Some(about);
        error
    }

    /// 422: the options of a request (such as `PatchOptions`) are wrong.
    pub fn invalid_options(options: &str, causes: Vec<StatusCause>) -> Self {
        let list: Vec<String> = causes
            .iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect();
        let message = format!("{options}.meta.k8s.io \"\" is invalid: {}", list.join(", "));
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, reason::INVALID, message);
        let mut about = details("meta.k8s.io", options, "");
        about.causes = causes;
        error.0.details = Some(about);
        error
    }

    /// 403: refused, and why. `name` may be empty.
    pub fn forbidden(kind: &ResourceKind, name: &str, why: &str) -> Self {
        let what = kind.qualified();
        let message = if name.is_empty() {
            format!("{what} is forbidden: {why}")
        } else {
            format!("{what} \"{name}\" is forbidden: {why}")
        };
        Self::new(StatusCode::FORBIDDEN, reason::FORBIDDEN, message).about(kind, name)
    }

    /// 401: no valid credentials.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, reason::UNAUTHORIZED, "Unauthorized")
    }

    /// 400: the request makes no sense, and why.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 410: the resource version or continue token is older than what is kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// 415: the body is of a media type that is not understood here.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            message,
        )
    }

    /// 406: no media type that the client accepts can be served.
    pub fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json, \
                       application/json;as=Table;v=v1;g=meta.k8s.io, \
                       application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// 405: the verb does not exist on this resource.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message).with_causes(Vec::new())
    }

    /// 413: the body is larger than `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// 504: the revision asked for is not reached yet.
    pub fn future_revision(asked: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {asked}, current: {current}");
        Self::timeout(&message)
            .with_causes(vec![cause(
                "ResourceVersionTooLarge",
                "",
                "Too large resource version",
            )])
            .with_retry_after(1)
    }

    /// 504: the server could not answer in time, and why.
    pub fn timeout(message: &str) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "Timeout",
            format!("Timeout: {message}"),
        )
    }

    /// 500: something broke inside.
    pub fn internal(what: &dyn std::fmt::Display) -> Self {
        let message = format!("Internal error occurred: {what}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// 507: there is no room for what was sent.
    pub fn full(message: &str) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "InsufficientStorage", message)
    }

    /// 503: the server is stopping.
    pub fn unavailable(message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// Adds the token with which a list can go on.
    #[must_use]
    pub fn with_continue(mut self, token: String) -> Self {
        self.0.metadata = Some(kube::core::ListMeta {
            continue_: Some(token),
            ..Default::default()
        });
        self
    }

    /// The same with another message.
    #[must_use]
    pub fn with_message(mut self, message: String) -> Self {
        self.0.message = message;
        self
    }

    /// The same with another code and reason.
    #[must_use]
    pub fn with_code(mut self, code: StatusCode, reason: &str) -> Self {
        self.0.code = code.as_u16();
        reason.clone_into(&mut self.0.reason);
        self
    }

    /// The client may try again after this many seconds.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.0
            .details
            .get_or_insert_with(|| details("", "", ""))
            .retry_after_seconds = seconds;
        self
    }

    /// Seconds after which to try again, where that helps.
    pub fn retry_after(&self) -> Option<u32> {
        self.0
            .details
            .as_ref()
            .map(|d| d.retry_after_seconds)
            .filter(|seconds| *seconds > 0)
    }

    /// HTTP status code.
    pub fn code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Machine-readable reason.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// Causes, where there are any.
    pub fn causes(&self) -> &[StatusCause] {
        self.0.details.as_ref().map_or(&[], |d| d.causes.as_slice())
    }

    /// The `Status` object as it goes over the wire.
    pub fn to_value(&self) -> Value {
        let mut object = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}});
        if let (Some(into), Ok(Value::Object(from))) =
            (object.as_object_mut(), serde_json::to_value(&*self.0))
        {
            into.extend(from);
        }
        object
    }
}

/// A cause: reason such as `FieldValueInvalid`, the field's path and what is wrong with it.
pub fn cause(reason: &str, field: impl Into<String>, message: impl Into<String>) -> StatusCause {
    StatusCause {
        reason: reason.to_owned(),
        message: message.into(),
        field: field.into(),
    }
}

fn details(group: &str, kind: &str, name: &str) -> StatusDetails {
    StatusDetails {
        name: name.to_owned(),
        group: group.to_owned(),
        kind: kind.to_owned(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds: 0,
    }
}

/// The `Status` object that tells of success, for example after a delete.
pub fn success(kind: &ResourceKind, name: &str, uid: &str) -> Value {
    let mut details = json!({"name": name, "kind": kind.plural, "uid": uid});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
