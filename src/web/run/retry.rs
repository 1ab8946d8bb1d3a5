//! `/ns/NS/runs/NAME/retry`: a run that goes on from one that ended badly.

use std::sync::Arc;

use askama::Template;
use axum::{
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use kube::{ResourceExt as _, api::PostParams};

use crate::{
    client::{RetryError, plan_retry},
    web::{Head, PageError, Web, answer::Filled, render, shown},
};
use signoff_api::{Release, Run, name::DnsLabel};

#[derive(Template)]
#[template(path = "retry.html")]
struct RetryPage {
    head: Head,
    namespace: String,
    name: String,
    /// The steps that it may begin with, as far as they are known.
    steps: Vec<String>,
    /// The step that is chosen.
    from: String,
    problem: Option<String>,
    /// The run that goes on from it already.
    by: Option<String>,
    form: String,
}

impl RetryPage {
    async fn of(web: &Web, namespace: String, run: &Run) -> Self {
        let pinned = run.status.as_ref().and_then(|status| status.release.as_ref());
        let release: Option<Release> = match pinned {
            Some(pinned) => web.one(&namespace, &pinned.name).await.ok(),
            None => None,
        };
        let steps = release
            .into_iter()
            .flat_map(|release| release.spec.definition.steps);
        let name = run.name_any();
        Self {
            head: web.head(&format!("Retry run {name}")),
            steps: steps.map(|step| shown(&step.name)).collect(),
            from: String::new(),
            problem: None,
            by: None,
            form: web.session.form().to_owned(),
            namespace,
            name,
        }
    }

    fn refused(&mut self, error: RetryError) -> StatusCode {
        self.problem = Some(match &error {
            RetryError::Unreadable | RetryError::NoBeginning => {
                "It cannot be told where to begin: choose a step.".to_owned()
            }
            RetryError::Start(error) | RetryError::Api(error) => {
                PageError::api("the run was not retried", error)
                    .message()
                    .to_owned()
            }
            RetryError::NotEnded { .. }
            | RetryError::Succeeded(_)
            | RetryError::NoRelease(_)
            | RetryError::AlreadyRetried { .. }
            | RetryError::Refused(_)
            | RetryError::Name(_) => shown(&error.to_string()),
        });
        match error {
            RetryError::AlreadyRetried { by, .. } => {
                self.by = Some(by);
                StatusCode::CONFLICT
            }
            RetryError::Start(error) | RetryError::Api(error) => PageError::api("", &error).status(),
            RetryError::Unreadable
            | RetryError::NoBeginning
            | RetryError::NotEnded { .. }
            | RetryError::Succeeded(_)
            | RetryError::NoRelease(_)
            | RetryError::Refused(_)
            | RetryError::Name(_) => StatusCode::CONFLICT,
        }
    }
}

/// `GET …/retry`: what a retry would do. Nothing is started.
pub(in crate::web) async fn retry_form(
    State(web): State<Arc<Web>>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let run: Run = web.one(&namespace, &name).await?;
    let planned = plan_retry(&web.client, &namespace, &run, None).await;
    let mut page = RetryPage::of(&web, namespace, &run).await;
    match planned {
        Ok(planned) => page.from = shown(planned.from()),
        Err(error) => {
            // the page is there to say why
            page.refused(error);
        }
    }
    render(&page)
}

/// `POST …/retry`: starts the run.
pub(in crate::web) async fn retry(
    State(web): State<Arc<Web>>,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, PageError> {
    let filled = Filled::of(&web, &body)?;
    let run: Run = web.one(&namespace, &name).await?;
    let from = filled.text("from").unwrap_or_default();
    let step = from.parse::<DnsLabel>();
    let started = match &step {
        Ok(step) => match plan_retry(&web.client, &namespace, &run, Some(step)).await {
            Ok(planned) => {
                planned
                    .start(&web.client, &namespace, &PostParams::default())
                    .await
            }
            Err(error) => Err(error),
        },
        Err(_) => Err(RetryError::NoBeginning),
    };
    match started {
        Ok(started) => {
            let address = format!("/ns/{namespace}/runs/{}", started.name_any());
            Ok(Redirect::to(&address).into_response())
        }
        Err(error) => {
            let mut page = RetryPage::of(&web, namespace, &run).await;
            page.from = shown(from);
            let status = page.refused(error);
            Ok((status, render(&page)?).into_response())
        }
    }
}
