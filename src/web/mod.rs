//! The page for people: what waits for them, exactly what is asked, and an answer in one act.
//!
//! Every read and every act is a request of the user's own to the API server, so the page needs no trust of its own. Nothing
//! decides on GET. What others wrote is escaped, its invisible characters are made visible, and it stands in a frame.

mod answer;
mod content;
mod error;
mod flows;
mod guard;
mod inbox;
mod items;
mod live;
mod offers;
mod question;
mod reading;
mod run;
mod session;
mod when;

use std::{net::SocketAddr, sync::Arc};

use askama::Template;
use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::{Html, IntoResponse as _, Response},
    routing::{get, post},
};
use kube::Client;

use self::error::PageError;
pub use self::session::Session;

/// The style sheet.
const STYLE: &str = include_str!("style.css");

/// Who looks, and how they reach the API server.
#[derive(Clone)]
pub struct Web {
    /// A client with the user's own rights.
    pub client: Client,
    /// The user as the API server knows them, and their groups.
    pub user: (String, Vec<String>),
    /// Namespace that is looked at first.
    pub namespace: String,
    /// What the browser has to show.
    pub session: Arc<Session>,
    /// Address that it listens on.
    pub address: SocketAddr,
    /// Held while an answer is sent, so that one that is sent twice finds itself.
    pub answering: Arc<tokio::sync::Mutex<()>>,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // neither the client's credentials nor the session's secrets
        f.debug_struct("Web")
            .field("user", &self.user)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Web {
    /// The pages, behind the guard.
    pub fn router(self) -> Router {
        let guarded = Arc::new(self);
        Router::new()
            .route("/", get(inbox::page))
            .route("/namespace", get(inbox::choose_namespace))
            .route("/runs", get(run::list))
            .route("/flows", get(flows::list))
            .route("/ns/{namespace}/approvals/{name}", get(question::page))
            .route("/ns/{namespace}/approvals/{name}/decisions", post(answer::decide))
            .route(
                "/ns/{namespace}/approvals/{name}/items/{sha256}/picture",
                get(items::picture),
            )
            .route(
                "/ns/{namespace}/approvals/{name}/items/{sha256}/download",
                get(items::download),
            )
            .route("/ns/{namespace}/runs/{name}", get(run::page))
            .route(
                "/ns/{namespace}/runs/{name}/cancel",
                get(run::cancel_form).post(run::cancel),
            )
            .route(
                "/ns/{namespace}/runs/{name}/retry",
                get(run::retry_form).post(run::retry),
            )
            .route("/ns/{namespace}/flows/{name}", get(flows::page))
            .route("/login", get(session::login))
            .route("/style.css", get(style))
            .route("/live.js", get(live::script))
            .fallback(async || PageError::not_found("there is no such page"))
            .layer(middleware::from_fn(live::tagged))
            .layer(middleware::from_fn_with_state(Arc::clone(&guarded), guard::check))
            .with_state(guarded)
    }

    /// What the head of every page says.
    fn head(&self, title: &str) -> Head {
        Head {
            title: title.to_owned(),
            user: shown(&self.user.0),
        }
    }
}

/// Head of every page.
struct Head {
    title: String,
    user: String,
}

/// Text of others: its invisible characters are made visible. The template escapes it.
fn shown(text: &str) -> String {
    signoff_api::text::visible(text).into_owned()
}

/// Text of others with its lines.
fn shown_lines(text: &str) -> String {
    signoff_api::text::visible_lines(text)
}

fn render(page: &impl Template) -> Result<Response, PageError> {
    let text = page.render().map_err(|error| PageError::internal(&error))?;
    Ok(Html(text).into_response())
}

async fn style() -> Response {
    let kind = HeaderValue::from_static("text/css; charset=utf-8");
    (StatusCode::OK, [(header::CONTENT_TYPE, kind)], STYLE).into_response()
}
