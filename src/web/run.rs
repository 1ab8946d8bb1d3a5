//! `/runs` and `/ns/NS/runs/NAME`: what runs do, what they wait for, and how they ended.

use std::sync::Arc;

use askama::Template;
use axum::{
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::{
    Head, PageError, Web,
    answer::Filled,
    reading::{Scope, created, name_of, namespace_of, now},
    render, shown, shown_lines,
    when::When,
};
use signoff_api::{
    Run, RunPhase, RunStatus,
    run::{StepPhase, StepStatus},
};

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

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    head: Head,
    namespace: String,
    name: String,
    flow: String,
    phase: String,
    state: &'static str,
    /// What it waits for, or why it ended badly, in one sentence.
    sentence: String,
    facts: Vec<(&'static str, String)>,
    began: When,
    ended: Option<When>,
    steps: Vec<StepRow>,
    inputs: Option<String>,
    output: Option<String>,
    is_over: bool,
}

struct StepRow {
    name: String,
    phase: String,
    state: &'static str,
    began: Option<When>,
    ended: Option<When>,
    by: String,
    waits_for: String,
    /// The question that it waits for.
    approval: Option<String>,
    error: Option<String>,
    output: Option<String>,
}

impl StepRow {
    fn of(step: &StepStatus) -> Self {
        let now = now();
        let pass = (step.iteration > 1).then(|| format!(", pass {}", step.iteration));
        let item = step.item.map(|item| format!(", item {item}"));
        let attempt = (step.attempt > 1).then(|| format!(", attempt {}", step.attempt));
        let outcome = step.outcome.map(|outcome| outcome.to_string());
        Self {
            name: shown(&format!(
                "{}{}{}{}",
                step.name,
                pass.unwrap_or_default(),
                item.unwrap_or_default(),
                attempt.unwrap_or_default()
            )),
            phase: outcome.unwrap_or_else(|| format!("{:?}", step.phase)),
            state: match step.phase {
                StepPhase::Running => "running",
                StepPhase::Retrying | StepPhase::Waiting => "waiting",
                StepPhase::Succeeded => "good",
                StepPhase::Failed | StepPhase::Cancelled => "bad",
                StepPhase::Skipped | StepPhase::Omitted => "none",
            },
            began: step.started_at.as_ref().map(|at| When::of(at.0, now)),
            ended: step.finished_at.as_ref().map(|at| When::of(at.0, now)),
            by: shown(
                &step
                    .decision
                    .as_ref()
                    .map(|decision| decision.by.join(", "))
                    .unwrap_or_default(),
            ),
            waits_for: shown(step.waiting_on.as_deref().unwrap_or_default()),
            approval: step.approval.clone(),
            error: step
                .error
                .as_ref()
                .map(|error| shown_lines(&format!("{}: {}", error.reason, error.message))),
            output: step
                .output
                .as_ref()
                .map(|output| shown_lines(&format!("{:#}", output.0))),
        }
    }
}

pub(super) async fn page(
    State(web): State<Arc<Web>>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let run: Run = web.one(&namespace, &name).await?;
    let status = run.status.clone().unwrap_or_default();
    let now = now();
    render(&RunPage {
        head: web.head(&format!("Run {name}")),
        flow: shown(&run.spec.flow),
        phase: status.phase.to_string(),
        state: state_of(status.phase),
        sentence: shown(&why(&status)),
        facts: facts(&run, &status),
        began: When::of(created(&run), now),
        ended: status.finished_at.as_ref().map(|at| When::of(at.0, now)),
        steps: status.steps.iter().map(StepRow::of).collect(),
        inputs: run
            .inputs()
            .map(|inputs| shown_lines(&format!("{:#}", inputs.to_value()))),
        output: status
            .output
            .as_ref()
            .map(|output| shown_lines(&format!("{:#}", output.0))),
        is_over: status.phase.is_finished(),
        namespace,
        name,
    })
}

fn facts(run: &Run, status: &RunStatus) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let by = run.spec.requested_by.as_deref().unwrap_or("unknown");
    facts.push(("Requested by", by.to_owned()));
    if let Some(release) = &status.release {
        let commit = release
            .commit
            .as_deref()
            .map(|commit| format!(", commit {commit}"));
        facts.push((
            "Release",
            format!("{}{}", release.name, commit.unwrap_or_default()),
        ));
    }
    if let Some(trigger) = &run.spec.trigger {
        facts.push(("Started by", format!("trigger {}", trigger.name)));
    }
    if let Some(of) = &run.spec.retry_of {
        facts.push(("Retries", of.run.to_string()));
    }
    if let Some(by) = &status.retried_by {
        facts.push(("Retried by", by.clone()));
    }
    if let Some(by) = &run.spec.stopped_by {
        let why = run.spec.stop_message.as_deref().map(|why| format!(": {why}"));
        facts.push(("Stopped by", format!("{by}{}", why.unwrap_or_default())));
    }
    for (_, value) in &mut facts {
        *value = shown(value);
    }
    facts
}

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
pub(super) async fn cancel_form(
    State(web): State<Arc<Web>>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let run: Run = web.one(&namespace, &name).await?;
    if is_over(&run) {
        return Ok(Redirect::to(&format!("/ns/{namespace}/runs/{name}")).into_response());
    }
    render(&CancelPage::of(&web, namespace, name))
}

fn is_over(run: &Run) -> bool {
    run.status
        .as_ref()
        .is_some_and(|status| status.phase.is_finished())
}

/// `POST /ns/NS/runs/NAME/cancel`: asks for the end of a run, with a reason.
pub(super) async fn cancel(
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
