//! `/runs` and `/ns/NS/runs/NAME`: what runs do, what they wait for, how they ended, and what can be done with them.

mod advice;
mod bars;
mod cancel;
mod page;
mod retry;
mod steps;

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Query, State},
    response::Response,
};
use kube::api::ListParams;

pub(super) use self::{
    cancel::{cancel, cancel_form},
    page::page,
    retry::{retry, retry_form},
};
use super::{
    Head, PageError, Web,
    reading::{Scope, created, name_of, namespace_of, now},
    render, shown,
    when::When,
};
use signoff_api::{Run, RunPhase, RunStatus};

/// Most runs that are listed.
const MOST: usize = 500;

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsPage {
    head: Head,
    namespace: String,
    runs: Vec<RunRow>,
    left_out: usize,
}

/// One run of a list.
pub(super) struct RunRow {
    pub(super) url: String,
    pub(super) name: String,
    pub(super) flow: String,
    pub(super) phase: String,
    pub(super) state: &'static str,
    pub(super) why: String,
    pub(super) began: When,
}

impl RunRow {
    pub(super) fn of(run: &Run) -> Self {
        let (namespace, name) = (namespace_of(run), name_of(run));
        let status = run.status.clone().unwrap_or_default();
        Self {
            url: format!("/ns/{namespace}/runs/{name}"),
            flow: shown(&run.spec.flow),
            phase: status.phase.to_string(),
            state: state_of(status.phase),
            why: shown(&why(&status)),
            began: When::of(created(run), now()),
            name,
        }
    }
}

/// Whether a run has ended.
fn is_over(run: &Run) -> bool {
    run.status
        .as_ref()
        .is_some_and(|status| status.phase.is_finished())
}

/// One of the four states that the page draws.
fn state_of(phase: RunPhase) -> &'static str {
    match phase {
        RunPhase::Pending | RunPhase::Queued | RunPhase::Waiting => "waiting",
        RunPhase::Running => "running",
        RunPhase::Succeeded => "good",
        RunPhase::Failed | RunPhase::Rejected | RunPhase::TimedOut | RunPhase::Cancelled => "bad",
    }
}

/// What a run waits for, or why it ended badly.
fn why(status: &RunStatus) -> String {
    let error = status.error.as_ref();
    let failed = || error.map(|error| format!("{}: {}", error.reason, error.message));
    status.waiting_on.clone().or_else(failed).unwrap_or_default()
}

/// The runs that a list shows, the newest first.
pub(super) async fn listed(web: &Web, scope: &Scope) -> Result<Vec<Run>, PageError> {
    let selection = match &scope.flow {
        Some(flow) => ListParams::default().fields(&format!("spec.flow={flow}")),
        None => ListParams::default(),
    };
    let mut runs: Vec<Run> = web.all(scope.namespace(web), &selection).await?;
    if let Some(wanted) = scope.phase.as_deref().filter(|wanted| !wanted.is_empty()) {
        runs.retain(|run| {
            let phase = run.status.as_ref().map(|status| status.phase).unwrap_or_default();
            phase.to_string().eq_ignore_ascii_case(wanted)
        });
    }
    runs.sort_by_key(|run| std::cmp::Reverse(created(run)));
    Ok(runs)
}

pub(super) async fn list(
    State(web): State<Arc<Web>>,
    Query(scope): Query<Scope>,
) -> Result<Response, PageError> {
    let runs = listed(&web, &scope).await?;
    render(&RunsPage {
        head: web.head("Runs"),
        namespace: scope.namespace(&web).unwrap_or("*").to_owned(),
        left_out: runs.len().saturating_sub(MOST),
        runs: runs.iter().take(MOST).map(RunRow::of).collect(),
    })
}
