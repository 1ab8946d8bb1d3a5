//! Makes a message of what a run lists.

use std::{sync::Arc, time::Duration};

use kube::ResourceExt as _;

use super::{Work, groups::Made, outbox::Item, send, settle::settle};
use crate::cluster::{
    backoff::Backoff,
    error_chain,
    releases::{LoadedRelease, ReleaseUnusable},
    run_facts::run_facts,
};
use signoff_api::{
    Approval, ApprovalPhase,
    notification::NotificationEvent,
    reason::{Classified as _, ErrorClass},
};
use signoff_engine::notification::{Asked, Known, Message, NotMade};

/// Pauses before something is read again.
const PAUSES: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_mins(1),
};
/// How often a question that was just put is looked for: it is created after the state that names it.
const LOOKS: u32 = 9;

/// Makes the message. If there is none to send, the run does not list it any more.
pub(super) async fn make(work: Arc<Work>, item: Item) -> Option<Made> {
    match made(&work, &item).await {
        Ok(Some((message, group))) => Some(Made { item, message, group }),
        Ok(None) => {
            settle(&work.deps, &item.run, &[item.key]).await;
            None
        }
        Err((channel, why)) => {
            let note = format!("notifications[{}]: {why}", item.pending.notification);
            send::failed(&work.deps, &item.run, channel, &note).await;
            settle(&work.deps, &item.run, &[item.key]).await;
            None
        }
    }
}

/// A message, and for how long others are waited for.
type Rendered = (Message, Option<Duration>);
/// The channel, as far as it is known, and why nothing can be sent.
type Unmade = (&'static str, String);

async fn made(work: &Work, item: &Item) -> Result<Option<Rendered>, Unmade> {
    let release = release(work, item).await.map_err(|why| ("unknown", why))?;
    let index = usize::try_from(item.pending.notification).unwrap_or(usize::MAX);
    let Some(plan) = release.plan.notifications().get(index) else {
        return Ok(None);
    };
    let (channel, group) = (plan.channel(), plan.group);
    let question = match &item.pending.approval {
        None => None,
        Some(name) => question(work, item, name).await,
    };
    let is_about_open = match item.pending.event {
        NotificationEvent::ApprovalReminder | NotificationEvent::ApprovalEscalated => true,
        NotificationEvent::ApprovalOpened
        | NotificationEvent::ApprovalClosed
        | NotificationEvent::RunStarted
        | NotificationEvent::RunEnded => false,
    };
    if is_about_open && !question.as_ref().is_some_and(is_open) {
        return Ok(None);
    }
    let asked = question.as_ref().map(Asked::of);
    match rendered(work, item, &release, asked).await {
        Ok(message) => Ok(message.map(|message| (message, group))),
        Err(error) => Err((channel, error.to_string())),
    }
}

fn is_open(approval: &Approval) -> bool {
    let status = approval.status.as_ref();
    status.is_none_or(|status| status.phase == ApprovalPhase::Pending)
}

async fn release(work: &Work, item: &Item) -> Result<Arc<LoadedRelease>, String> {
    let namespace = item.run.namespace().unwrap_or_default();
    let pinned = item
        .run
        .status
        .as_ref()
        .and_then(|status| status.release.as_ref());
    let Some(pinned) = pinned else {
        return Err("the run has no release".to_owned());
    };
    let mut failures = 0;
    loop {
        let loaded = {
            let _permit = work.making.acquire(&namespace).await;
            work.deps.releases.load(&namespace, &pinned.name).await
        };
        let error: ReleaseUnusable = match loaded {
            Ok(loaded) => return Ok(loaded),
            Err(error) => error,
        };
        match error.class() {
            ErrorClass::Transient => {}
            ErrorClass::Waiting | ErrorClass::Invalid => return Err(error.to_string()),
        }
        tracing::warn!(run = %item.run.name_any(), error = %error_chain(&error), "the release of a message could not be read; trying again");
        failures += 1;
        tokio::time::sleep(PAUSES.after(failures)).await;
    }
}

/// The question that a message is about, unless it is gone.
async fn question(work: &Work, item: &Item, name: &str) -> Option<Approval> {
    let namespace = item.run.namespace().unwrap_or_default();
    let api = work.deps.context.namespaced::<Approval>(&namespace);
    let looks = match item.pending.event {
        NotificationEvent::ApprovalOpened => LOOKS,
        NotificationEvent::ApprovalReminder
        | NotificationEvent::ApprovalEscalated
        | NotificationEvent::ApprovalClosed
        | NotificationEvent::RunStarted
        | NotificationEvent::RunEnded => 1,
    };
    let (mut absent, mut failures) = (0, 0);
    loop {
        let read = {
            let _permit = work.making.acquire(&namespace).await;
            api.get_opt(name).await
        };
        match read {
            Ok(Some(found)) => return Some(found),
            Ok(None) => absent += 1,
            // it is reported by the watch, and reading it again does not help
            Err(kube::Error::SerdeError(_)) => return None,
            Err(error) => {
                tracing::warn!(approval = name, error = %error_chain(&error), "the question of a message could not be read; trying again");
            }
        }
        if absent >= looks {
            return None;
        }
        failures += 1;
        tokio::time::sleep(PAUSES.after(failures)).await;
    }
}

async fn rendered(
    work: &Work,
    item: &Item,
    release: &Arc<LoadedRelease>,
    asked: Option<Asked>,
) -> Result<Option<Message>, NotMade> {
    let (facts, pages) = (run_facts(&item.run), work.deps.pages.clone());
    let (item, release) = (item.clone(), Arc::clone(release));
    let namespace = facts.namespace.clone();
    let evaluated = work.deps.context.evaluate(&namespace, move || {
        let status = item.run.status.clone().unwrap_or_default();
        let known = Known {
            run: &facts,
            release: &release.facts,
            status: &status,
            pages: pages.as_deref(),
        };
        release.plan.message(known, &item.pending, asked.as_ref())
    });
    evaluated.await
}
