//! Makes the messages about what happened to a run.

use std::{sync::Arc, time::Duration};

use kube::ResourceExt as _;

use super::{Deps, groups::Waiting, reminders::Reminding};
use crate::cluster::{error_chain, happenings::RunHappened, run_facts::run_facts};
use signoff_api::{Approval, ApprovalPhase, notification::NotificationEvent};
use signoff_engine::notification::{Happened, Known};

/// Pauses before a question is looked for again: it is put after the state that names it.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1_600),
];

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) messages: Vec<Waiting>,
    /// Questions that people are reminded of.
    pub(super) remind: Vec<Reminding>,
}

pub(super) async fn make(deps: Arc<Deps>, news: RunHappened) -> Made {
    let mut made = Made::default();
    let RunHappened { run, happened } = news;
    let namespace = run.namespace().unwrap_or_default();
    let release = run.status.as_ref().and_then(|status| status.release.as_ref());
    let Some(release) = release.map(|release| release.name.clone()) else {
        return made;
    };
    let loaded = match deps.releases.load(&namespace, &release).await {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::warn!(run = %run.name_any(), error = %error_chain(&error), "nobody is told of the run: its release cannot be read");
            return made;
        }
    };
    let wants = |on: NotificationEvent| {
        let mut plans = loaded.plan.notifications().iter();
        plans.any(|plan| plan.on.contains(&on))
    };
    let reminds = wants(NotificationEvent::ApprovalReminder) || wants(NotificationEvent::ApprovalEscalated);
    for mut one in happened {
        let is_opened = one.on == NotificationEvent::ApprovalOpened;
        if !wants(one.on) && !(is_opened && reminds) {
            continue;
        }
        if let Some(question) = one.question.take() {
            let read = approval(&deps, &namespace, &question.approval).await;
            let read_question = match &read {
                Some(read) => question.as_read(read),
                None => question,
            };
            one.question = Some(read_question);
            let is_open = read.as_ref().is_none_or(|read| {
                let status = read.status.as_ref();
                status.is_none_or(|status| status.phase == ApprovalPhase::Pending)
            });
            let is_of_open = match one.on {
                NotificationEvent::ApprovalReminder | NotificationEvent::ApprovalEscalated => true,
                NotificationEvent::ApprovalOpened
                | NotificationEvent::ApprovalClosed
                | NotificationEvent::RunStarted
                | NotificationEvent::RunEnded => false,
            };
            if is_of_open && !is_open {
                continue;
            }
            if let Some(read) = read.filter(|_| is_opened && reminds && is_open) {
                made.remind.push(Reminding::of(&run, one.clone(), &read));
            }
        }
        if wants(one.on) {
            made.messages.extend(messages(&deps, &run, &loaded, one).await);
        }
    }
    made
}

async fn approval(deps: &Deps, namespace: &str, name: &str) -> Option<Approval> {
    let api = deps.context.namespaced::<Approval>(namespace);
    for pause in PAUSES {
        match api.get_opt(name).await {
            Ok(Some(found)) => return Some(found),
            Ok(None) | Err(_) => tokio::time::sleep(pause).await,
        }
    }
    None
}

async fn messages(
    deps: &Deps,
    run: &Arc<signoff_api::Run>,
    loaded: &Arc<crate::cluster::releases::LoadedRelease>,
    one: Happened,
) -> Vec<Waiting> {
    let (facts, at) = (run_facts(run), deps.context.now());
    let (of, release) = (Arc::clone(run), Arc::clone(loaded));
    let namespace = facts.namespace.clone();
    let made = deps.context.evaluate(&namespace, move || {
        let status = of.status.clone().unwrap_or_default();
        let known = Known {
            run: &facts,
            release: &release.facts,
            status: &status,
            at,
        };
        release.plan.messages(known, &one)
    });
    let mut waiting = Vec::new();
    for (number, message) in made.await {
        match message {
            Ok(message) => waiting.push(Waiting {
                run: Arc::clone(run),
                group: loaded.plan.notifications()[number].group,
                message,
            }),
            Err(why) => {
                let note = format!("notifications[{number}]: {why}");
                super::send::failed(deps, run, &note).await;
            }
        }
    }
    waiting
}
