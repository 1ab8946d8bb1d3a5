//! `/flows` and `/ns/NS/flows/NAME`: what is live, what is drafted, and what runs by itself.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use kube::api::ListParams;

use super::{
    Head, PageError, Web,
    reading::{Scope, created, name_of, namespace_of, now},
    render,
    run::{RunRow, listed},
    shown,
    when::When,
};
use signoff_api::{Flow, FlowStatus, Release, condition, flow::PromotionPhase};

/// Most runs and releases of one flow that are listed.
const LATELY: usize = 20;

#[derive(Template)]
#[template(path = "flows.html")]
struct FlowsPage {
    head: Head,
    namespace: String,
    flows: Vec<FlowRow>,
}

struct FlowRow {
    url: String,
    name: String,
    about: String,
    live: String,
    draft: String,
    problem: String,
    /// Release that waits for people to become live, and the question.
    promoting: Option<(String, Option<String>)>,
}

impl FlowRow {
    fn of(flow: &Flow) -> Self {
        let status = flow.status.clone().unwrap_or_default();
        let (live, draft) = (release(status.live.as_ref()), release(status.draft.as_ref()));
        Self {
            url: format!("/ns/{}/flows/{}", namespace_of(flow), name_of(flow)),
            name: name_of(flow),
            about: shown(flow.spec.definition.description.as_deref().unwrap_or_default()),
            // one that is live is not told twice
            draft: if draft == live { String::new() } else { draft },
            live,
            problem: shown(&problem(&status)),
            promoting: status
                .promotion
                .filter(|promotion| promotion.phase == PromotionPhase::Waiting)
                .map(|promotion| (shown(&promotion.release), promotion.approval)),
        }
    }
}

fn release(named: Option<&signoff_api::flow::NamedRelease>) -> String {
    named.map(|named| named.release.clone()).unwrap_or_default()
}

/// Why a flow is not ready; nothing if all is well.
fn problem(status: &FlowStatus) -> String {
    let mut conditions = status.conditions.iter();
    let ready = conditions.find(|known| known.type_ == condition::READY && known.status != "True");
    ready
        .map(|ready| format!("{}: {}", ready.reason, ready.message))
        .unwrap_or_default()
}

pub(super) async fn list(
    State(web): State<Arc<Web>>,
    Query(scope): Query<Scope>,
) -> Result<Response, PageError> {
    let namespace = scope.namespace(&web);
    let mut flows: Vec<Flow> = web.all(namespace, &ListParams::default()).await?;
    flows.sort_by_key(|flow| (namespace_of(flow), name_of(flow)));
    render(&FlowsPage {
        head: web.head("Flows"),
        namespace: namespace.unwrap_or("*").to_owned(),
        flows: flows.iter().map(FlowRow::of).collect(),
    })
}

#[derive(Template)]
#[template(path = "flow.html")]
struct FlowPage {
    head: Head,
    namespace: String,
    flow: FlowRow,
    triggers: Vec<TriggerRow>,
    releases: Vec<ReleaseRow>,
    runs: Vec<RunRow>,
}

struct TriggerRow {
    name: String,
    last: Option<When>,
    next: Option<When>,
    why_not: String,
}

struct ReleaseRow {
    name: String,
    commit: String,
    by: String,
    message: String,
    cut: When,
}

pub(super) async fn page(
    State(web): State<Arc<Web>>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let flow: Flow = web.one(&namespace, &name).await?;
    let selection = ListParams::default().fields(&format!("spec.flow={name}"));
    let mut releases: Vec<Release> = web.all(Some(&namespace), &selection).await.unwrap_or_default();
    releases.sort_by_key(|release| std::cmp::Reverse(created(release)));
    let scope = Scope::of(&namespace, &name);
    let runs = listed(&web, &scope).await.unwrap_or_default();
    let status = flow.status.clone().unwrap_or_default();
    let now = now();
    let triggers = status.triggers.iter().map(|trigger| TriggerRow {
        name: trigger.name.to_string(),
        last: trigger.last_at.as_ref().map(|at| When::of(at.0, now)),
        next: trigger.next_at.as_ref().map(|at| When::of(at.0, now)),
        why_not: shown(trigger.message.as_deref().unwrap_or_default()),
    });
    let releases = releases.iter().take(LATELY).map(|release| {
        let source = &release.spec.source;
        let by = source
            .author
            .as_ref()
            .or(source.changed_by.as_ref())
            .or(source.applied_by.as_ref());
        ReleaseRow {
            name: name_of(release),
            commit: shown(
                &source
                    .commit
                    .as_deref()
                    .unwrap_or_default()
                    .chars()
                    .take(10)
                    .collect::<String>(),
            ),
            by: shown(by.map(String::as_str).unwrap_or_default()),
            message: shown(source.message.as_deref().unwrap_or_default()),
            cut: When::of(created(release), now),
        }
    });
    render(&FlowPage {
        head: web.head(&format!("Flow {name}")),
        flow: FlowRow::of(&flow),
        triggers: triggers.collect(),
        releases: releases.collect(),
        runs: runs.iter().take(LATELY).map(RunRow::of).collect(),
        namespace,
    })
}
