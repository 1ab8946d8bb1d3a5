//! `/ns/NS/runs/NAME/cancel`: the end of a run, with a reason.

use std::sync::Arc;

use askama::Template;
use axum::{
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::is_over;
use crate::web::{Head, PageError, Web, answer::Filled, render};
use signoff_api::Run;

#[derive(Template)]
#[template(path = "cancel.html")]
struct CancelPage {
    head: Head,
    namespace: String,
    name: String,
    /// What was typed.
    comment: String,
    problem: Option<String>,
    form: String,
}

impl CancelPage {
    fn of(web: &Web, namespace: String, name: String) -> Self {
        Self {
            head: web.head(&format!("Cancel run {name}")),
            comment: String::new(),
            problem: None,
            form: web.session.form().to_owned(),
            namespace,
            name,
        }
    }
}

/// `GET /ns/NS/runs/NAME/cancel`: a page of its own, since that of the run is loaded again while somebody types.
pub(in crate::web) async fn cancel_form(
    State(web): State<Arc<Web>>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let run: Run = web.one(&namespace, &name).await?;
    if is_over(&run) {
        return Ok(Redirect::to(&format!("/ns/{namespace}/runs/{name}")).into_response());
    }
    render(&CancelPage::of(&web, namespace, name))
}

/// `POST /ns/NS/runs/NAME/cancel`: asks for the end of a run, with a reason.
pub(in crate::web) async fn cancel(
    State(web): State<Arc<Web>>,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, PageError> {
    let filled = Filled::of(&web, &body)?;
    let run: Run = web.one(&namespace, &name).await?;
    if is_over(&run) {
        return Err(PageError::new(StatusCode::CONFLICT, "the run has ended already"));
    }
    let mut patch = json!({ "spec": { "cancel": true, "stopMessage": filled.text("comment") } });
    let (runs, params) = (web.api::<Run>(&namespace), PatchParams::default());
    let mut patched = runs.patch(&name, &params, &Patch::Merge(&patch)).await;
    // a server without a mutating policy asks who stops the run, and checks it
    if let Err(kube::Error::Api(refusal)) = &patched
        && refusal.message.contains("spec.stoppedBy")
    {
        patch["spec"]["stoppedBy"] = json!(web.user.0);
        patched = runs.patch(&name, &params, &Patch::Merge(&patch)).await;
    }
    let Err(error) = patched else {
        return Ok(Redirect::to(&format!("/ns/{namespace}/runs/{name}")).into_response());
    };
    let error = PageError::api("the run was not cancelled", &error);
    let page = CancelPage {
        comment: filled.text("comment").unwrap_or_default().to_owned(),
        problem: Some(error.message().to_owned()),
        ..CancelPage::of(&web, namespace, name)
    };
    Ok((error.status(), render(&page)?).into_response())
}
