//! `/`: what waits for the user, for others, and what was decided lately.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Query, State},
    response::Response,
};
use kube::api::ListParams;

use super::{
    Head, PageError, Web,
    reading::{Scope, created, name_of, namespace_of, now},
    render, shown,
    when::When,
};
use signoff_api::{Approval, Decision};
use signoff_engine::judge::{Tally, refusal_of};

/// Most decided questions that are listed.
const LATELY: usize = 20;
/// Most open questions that are listed of each sort.
const MOST: usize = 500;

#[derive(Template)]
#[template(path = "inbox.html")]
struct InboxPage {
    head: Head,
    namespace: String,
    mine: Vec<Row>,
    /// How many wait for the user, also those that are not listed.
    mine_count: usize,
    others: Vec<Row>,
    others_count: usize,
    /// Whether all namespaces are looked at.
    is_everywhere: bool,
    decided: Vec<Row>,
}

/// One question of a list.
pub(super) struct Row {
    pub(super) url: String,
    pub(super) title: String,
    pub(super) namespace: String,
    /// Run or release that it is about.
    pub(super) about: String,
    pub(super) asked_by: String,
    pub(super) asked: When,
    pub(super) due: Option<When>,
    pub(super) tally: String,
    pub(super) phase: String,
}

impl Row {
    pub(super) fn of(approval: &Approval) -> Self {
        let (namespace, name) = (namespace_of(approval), name_of(approval));
        let status = approval.status.clone().unwrap_or_default();
        let tally = Tally::of(&approval.spec, &status);
        let subject = &approval.spec.subject;
        let about = match (&subject.run, &subject.release) {
            (Some(run), _) => format!("run {run}"),
            (None, Some(release)) => format!("release {release}"),
            (None, None) => String::new(),
        };
        let now = now();
        Self {
            url: format!("/ns/{namespace}/approvals/{name}"),
            title: shown(&approval.spec.title),
            namespace,
            about: shown(&about),
            asked_by: shown(approval.spec.requested_by.as_deref().unwrap_or("unknown")),
            asked: When::of(created(approval), now),
            due: approval.spec.expires_at.as_ref().map(|at| When::of(at.0, now)),
            tally: format!("{} of {}", tally.approved, tally.quorum),
            phase: status.phase.to_string(),
        }
    }
}

pub(super) async fn page(
    State(web): State<Arc<Web>>,
    Query(scope): Query<Scope>,
) -> Result<Response, PageError> {
    let namespace = scope.namespace(&web);
    let mut approvals: Vec<Approval> = web.all(namespace, &ListParams::default()).await?;
    // those who may not read decisions are shown questions as if there were none
    let decisions: Vec<Decision> = web
        .all(namespace, &ListParams::default())
        .await
        .unwrap_or_default();
    let (open, mut closed): (Vec<Approval>, Vec<Approval>) = approvals.drain(..).partition(|approval| {
        approval
            .status
            .as_ref()
            .is_none_or(|status| !status.phase.is_closed())
    });
    let (mut mine, mut others): (Vec<Approval>, Vec<Approval>) = open
        .into_iter()
        .partition(|approval| waits_for(&web, approval, &decisions));
    for sort in [&mut mine, &mut others] {
        sort.sort_by_key(|approval| {
            let due = approval.spec.expires_at.as_ref().map(|at| at.0);
            (due.is_none(), due, created(approval))
        });
    }
    let decided_at = |approval: &Approval| {
        let status = approval.status.as_ref();
        status.and_then(|status| status.decided_at.as_ref().map(|at| at.0))
    };
    closed.sort_by_key(|approval| std::cmp::Reverse(decided_at(approval)));
    let rows = |approvals: &[Approval], most: usize| approvals.iter().take(most).map(Row::of).collect();
    render(&InboxPage {
        head: web.head("Inbox"),
        namespace: namespace.unwrap_or("*").to_owned(),
        mine: rows(&mine, MOST),
        mine_count: mine.len(),
        others: rows(&others, MOST),
        others_count: others.len(),
        is_everywhere: namespace.is_none(),
        decided: rows(&closed, LATELY),
    })
}

#[derive(Template)]
#[template(path = "namespace.html")]
struct NamespacePage {
    head: Head,
    namespace: String,
}

/// `/namespace`: a page of its own, since the inbox is loaded again while somebody types.
pub(super) async fn choose_namespace(State(web): State<Arc<Web>>) -> Result<Response, PageError> {
    render(&NamespacePage {
        head: web.head("Namespace"),
        namespace: web.namespace.clone(),
    })
}

/// Whether an answer of the user would count and is not given yet.
fn waits_for(web: &Web, approval: &Approval, decisions: &[Decision]) -> bool {
    let status = approval.status.as_ref();
    let mut counted = status.iter().flat_map(|status| &status.counted);
    if counted.any(|vote| vote.by == web.user.0) {
        return false;
    }
    let about = |decision: &&Decision| {
        namespace_of(*decision) == namespace_of(approval) && *decision.spec.approval == *name_of(approval)
    };
    let decisions: Vec<&Decision> = decisions.iter().filter(about).collect();
    refusal_of(&web.user, approval, &decisions, now()).is_none()
}
