//! A page that says why there is no other.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};

use crate::cluster::error_chain;

use super::shown;

/// Why a page cannot be shown, or an act cannot be done.
#[derive(Debug)]
pub(super) struct PageError {
    status: StatusCode,
    message: String,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    message: &'a str,
}

impl PageError {
    pub(super) fn new(status: StatusCode, message: impl AsRef<str>) -> Self {
        Self {
            status,
            message: shown(message.as_ref()),
        }
    }

    pub(super) fn not_found(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error_chain(error))
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What it says, made harmless.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// From what the API server, or the way to it, said.
    pub(super) fn api(what: &str, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::BAD_GATEWAY);
                Self::new(code, format!("{what}: {}", status.message))
            }
            error => Self::new(StatusCode::BAD_GATEWAY, format!("{what}: {}", error_chain(error))),
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let page = ErrorPage {
            message: &self.message,
        };
        let text = page
            .render()
            .unwrap_or_else(|_| "this page cannot be shown".to_owned());
        (self.status, Html(text)).into_response()
    }
}
