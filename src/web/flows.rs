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
    shown, shown_lines,
    when::When,
};
use crate::drawing::{model::Graph, svg};
use signoff_api::{
    Flow, FlowStatus, Release, condition,
    flow::{NamedRelease, PromotionPhase},
};
use signoff_engine::{difference::difference, plan::Plan};

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
    namespace: String,
    name: String,
    about: String,
    live: String,
    draft: String,
    problem: String,
    /// Release that waits for people to become live, and the question.
    promoting: Option<(String, Option<String>)>,
    /// The trigger that starts a run next, and when.
    next: Option<(String, When)>,
    is_suspended: bool,
}

impl FlowRow {
    fn of(flow: &Flow) -> Self {
        let status = flow.status.clone().unwrap_or_default();
        let (live, draft) = (release(status.live.as_ref()), release(status.draft.as_ref()));
        Self {
            url: format!("/ns/{}/flows/{}", namespace_of(flow), name_of(flow)),
            namespace: namespace_of(flow),
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
            next: status
                .triggers
                .iter()
                .filter_map(|trigger| Some((trigger.next_at.as_ref()?.0, trigger.name.to_string())))
                .min()
                .map(|(at, name)| (name, When::of(at, now()))),
            is_suspended: flow.spec.suspend == Some(true),
        }
    }
}

fn release(named: Option<&NamedRelease>) -> String {
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
    /// What changes if the draft becomes live, and whether it takes away some control.
    change: Option<(String, bool)>,
    /// The steps of what is live, or else of the draft, as SVG. All text in it is escaped.
    picture: Option<String>,
    releases: Vec<ReleaseRow>,
    runs: Vec<RunRow>,
}

struct TriggerRow {
    name: String,
    last: Option<When>,
    /// The run that it started last.
    last_run: Option<String>,
    next: Option<When>,
    why_not: String,
}

struct ReleaseRow {
    name: String,
    /// Whether it is live or the draft.
    channel: &'static str,
    commit: String,
    by: String,
    message: String,
    cut: When,
}

/// What changes if a draft becomes live. Nothing if it is live already.
fn change(live: Option<&Release>, draft: &Release) -> Option<(String, bool)> {
    // what is no plan may refer to itself without end
    let is_plan = |release: &Release| Plan::of_release(&release.spec.definition).is_ok();
    if !is_plan(draft) || !live.is_none_or(is_plan) {
        return None;
    }
    let before = live.map(|live| &live.spec.definition);
    let dependencies = live
        .map(|live| live.spec.dependencies.clone())
        .unwrap_or_default();
    let difference =
        difference(before, &draft.spec.definition).with_dependencies(&dependencies, &draft.spec.dependencies);
    (live.is_some() && !difference.is_empty())
        .then(|| (shown_lines(&difference.to_text()), difference.loosens_control()))
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
        last_run: trigger.last_run.clone(),
        next: trigger.next_at.as_ref().map(|at| When::of(at.0, now)),
        why_not: shown(trigger.message.as_deref().unwrap_or_default()),
    });
    let named = |wanted: Option<&NamedRelease>| {
        let wanted = wanted?;
        releases
            .iter()
            .find(|release| name_of(*release) == wanted.release)
    };
    let (live, draft) = (named(status.live.as_ref()), named(status.draft.as_ref()));
    let change = draft.and_then(|draft| change(live, draft));
    let picture = live.or(draft).map(|release| {
        let title = format!("Release {}", name_of(release));
        svg::in_page(&Graph::of(title, &release.spec.definition, None))
    });
    let is = |release: &Release, other: Option<&Release>| {
        other.is_some_and(|other| name_of(other) == name_of(release))
    };
    let rows = releases.iter().take(LATELY).map(|release| {
        let source = &release.spec.source;
        let by = source
            .author
            .as_ref()
            .or(source.changed_by.as_ref())
            .or(source.applied_by.as_ref());
        ReleaseRow {
            name: name_of(release),
            channel: match (is(release, live), is(release, draft)) {
                (true, _) => "live",
                (false, true) => "draft",
                (false, false) => "",
            },
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
        change,
        picture,
        releases: rows.collect(),
        runs: runs.iter().take(LATELY).map(RunRow::of).collect(),
        namespace,
    })
}
