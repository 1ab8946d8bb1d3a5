//! `/ns/NS/runs/NAME`: one run.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use k8s_openapi::api::authorization::v1::ResourceAttributes;

use super::{
    is_over, state_of,
    steps::{Failure, StepRow, of_value, rows},
};
use crate::{
    client,
    drawing::{model::Graph, svg},
    web::{
        Head, PageError, Web,
        content::View,
        reading::{created, now},
        render, shown,
        when::When,
    },
};
use signoff_api::{Release, Run, RunPhase, RunStatus};

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    head: Head,
    namespace: String,
    name: String,
    flow: String,
    phase: String,
    state: &'static str,
    /// What it waits for, in one sentence.
    waits_for: String,
    /// Why it ended badly.
    failure: Option<Failure>,
    facts: Vec<(&'static str, String)>,
    began: When,
    ended: Option<When>,
    /// Runs that it goes on from, and that goes on from it.
    retries: Option<String>,
    retried_by: Option<String>,
    /// The flow and what the run did of it, as SVG. All text in it is escaped.
    picture: Option<String>,
    steps: Vec<StepRow>,
    inputs: Option<View>,
    output: Option<View>,
    is_over: bool,
    may_cancel: bool,
    may_retry: bool,
}

pub(in crate::web) async fn page(
    State(web): State<Arc<Web>>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let run: Run = web.one(&namespace, &name).await?;
    let status = run.status.clone().unwrap_or_default();
    let now = now();
    let is_over = is_over(&run);
    let ended_badly = is_over && status.phase != RunPhase::Succeeded;
    let is_cancelled = run.spec.cancel == Some(true) || run.spec.terminate == Some(true);
    let (picture, may_cancel, may_retry) = tokio::join!(
        picture(&web, &namespace, &run, &status),
        async { !is_over && !is_cancelled && web.may(&namespace, "patch", Some(&name)).await },
        async { ended_badly && status.retried_by.is_none() && web.may(&namespace, "create", None).await },
    );
    render(&RunPage {
        head: web.head(&format!("Run {name}")),
        flow: shown(&run.spec.flow),
        phase: status.phase.to_string(),
        state: state_of(status.phase),
        waits_for: shown(status.waiting_on.as_deref().unwrap_or_default()),
        failure: status.error.as_ref().map(Failure::of),
        facts: facts(&run, &status),
        began: When::of(created(&run), now),
        ended: status.finished_at.as_ref().map(|at| When::of(at.0, now)),
        retries: run.spec.retry_of.as_ref().map(|of| of.run.to_string()),
        retried_by: status.retried_by.clone(),
        picture,
        steps: rows(&status.steps, now),
        inputs: run.inputs().map(|inputs| of_value(&inputs.to_value())),
        output: status.output.as_ref().map(|output| of_value(&output.0)),
        is_over,
        may_cancel,
        may_retry,
        namespace,
        name,
    })
}

/// The picture, if the release can be read.
async fn picture(web: &Web, namespace: &str, run: &Run, status: &RunStatus) -> Option<String> {
    let release: Release = web
        .one(namespace, &status.release.as_ref()?.name)
        .await
        .ok()
        .filter(|release: &Release| release.spec.flow == run.spec.flow)?;
    let title = format!("Flow {}", run.spec.flow);
    let graph = Graph::of(title, &release.spec.definition, Some(status));
    Some(svg::in_page(&graph))
}

impl Web {
    /// Whether the user may do this with runs. What the API server does not say now, it says when it is tried.
    pub(super) async fn may(&self, namespace: &str, verb: &str, name: Option<&str>) -> bool {
        let what = ResourceAttributes {
            resource: Some("runs".to_owned()),
            verb: Some(verb.to_owned()),
            name: name.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        client::may(&self.client, namespace, what).await.unwrap_or(true)
    }
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
    if let Some(parent) = &run.spec.parent {
        let above = parent.chain.iter();
        let above = above.map(|above| format!("run {} of flow {}", above.run, above.flow));
        let above: Vec<String> = above.collect();
        let above = above.join(", started by ");
        facts.push(("Started by", format!("step {} of {above}", parent.step)));
    }
    if run.spec.suspend == Some(true) && !status.phase.is_finished() {
        let how = "yes: no further step starts before `signoff resume`";
        facts.push(("Suspended", how.to_owned()));
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
