//! Sends messages, and tries again where that may help.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::{
    ResourceExt as _,
    runtime::{events::EventType, reflector::ObjectRef},
};

use super::{Deps, Work, groups::Group, outbox::Item, settle::settle};
use crate::{cluster::backoff::Backoff, store::Owner};
use signoff_api::{Connection, Digest, Run};
use signoff_engine::{
    effect::{Call, CallPart, EffectKey, Request},
    facts::EffectError,
    notification::{refused, request},
};

/// How often one is tried.
const ATTEMPTS: u32 = 8;
/// Longest time of an attempt.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time that another side may ask to wait.
const LONGEST_ASKED: Duration = Duration::from_mins(10);
const PAUSES: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_mins(2),
};

/// Sends messages as one. Afterwards their runs do not list them any more, whatever came of it.
pub(super) async fn send(work: Arc<Work>, group: Group) {
    let deps = &work.deps;
    let mut runs: BTreeMap<Option<String>, (Arc<Run>, Vec<String>)> = BTreeMap::new();
    for Item { run, key, .. } in &group.items {
        let of = runs.entry(run.uid()).or_insert_with(|| (Arc::clone(run), vec![]));
        of.1.push(key.clone());
    }
    let channel = group.to.channel();
    if let Err(error) = sent(&work, &group).await {
        for (run, keys) in runs.values() {
            let what = match keys.len() {
                1 => "a message".to_owned(),
                several => format!("{several} messages"),
            };
            let note = format!(
                "{what} by {channel} through the Connection {} could not be sent: {} ({})",
                group.to.connection(),
                error.message,
                error.reason
            );
            failed(deps, run, channel, &note).await;
        }
    } else {
        for _ in &group.messages {
            deps.context.metrics().notified(channel, true);
        }
    }
    for (run, keys) in runs.values() {
        settle(deps, run, keys).await;
    }
}

async fn sent(work: &Work, group: &Group) -> Result<(), EffectError> {
    let (Some(request), Some(first)) = (request(&group.to, &group.messages), group.items.first()) else {
        return Ok(());
    };
    let deps = &work.deps;
    let owner = Owner {
        namespace: first.run.namespace().unwrap_or_default(),
        run: first.run.name_any(),
        uid: first.run.uid().unwrap_or_default(),
    };
    let idempotency_key = id(&group.items);
    let mut attempt = 0;
    loop {
        let call = call(&request, &idempotency_key, attempt);
        let error = match performed(work, group, &owner, &call).await {
            Ok(response) => match refused(&group.to, &response, deps.context.now()) {
                None => return Ok(()),
                Some(error) => error,
            },
            Err(error) => error,
        };
        attempt += 1;
        if !error.retryable || attempt >= ATTEMPTS {
            return Err(error);
        }
        let asked = error.retry_after.unwrap_or_default().min(LONGEST_ASKED);
        tokio::time::sleep(PAUSES.after(attempt - 1).max(asked)).await;
    }
}

async fn performed(
    work: &Work,
    group: &Group,
    owner: &Owner,
    call: &Call,
) -> Result<signoff_engine::facts::Response, EffectError> {
    let deps = &work.deps;
    let (namespace, name) = (owner.namespace.as_str(), group.to.connection().as_str());
    let connection = ObjectRef::<Connection>::new(name).within(namespace);
    let connection = deps.connections.get(&connection);
    let limits = connection.and_then(|connection| connection.spec.limits.clone());
    let _turn = match &limits {
        Some(limits) => Some(deps.turns.acquire((namespace, name), &owner.run, limits).await),
        None => None,
    };
    let _permit = work.sending.acquire(namespace).await;
    if !deps.leadership.is_held() {
        // it is for another process to send; this task ends with the term
        return std::future::pending().await;
    }
    deps.executors.perform(owner, call).await
}

fn call(request: &Request, idempotency_key: &str, attempt: u32) -> Call {
    Call {
        part: CallPart::Whole,
        key: EffectKey {
            step: "notifications".to_owned(),
            iteration: 1,
            item: None,
            attempt: i64::from(attempt) + 1,
        },
        idempotency_key: idempotency_key.to_owned(),
        fenced: false,
        timeout: TIMEOUT,
        request: request.clone(),
    }
}

/// The same whenever the same messages are sent, so that the other side can tell a repetition.
fn id(items: &[Item]) -> String {
    let each = items.iter().map(|item| {
        let uid = item.run.uid().unwrap_or_default();
        format!("{uid}/{}/{}", item.key, item.pending.at.0)
    });
    let all: Vec<String> = each.collect();
    Digest::of(all.join("\n").as_bytes()).hex().to_owned()
}

/// Says that nobody was told.
pub(super) async fn failed(deps: &Deps, run: &Arc<Run>, channel: &'static str, note: &str) {
    let namespace = run.namespace().unwrap_or_default();
    tracing::warn!(%namespace, run = %run.name_any(), note, "a message could not be sent");
    deps.context.metrics().notified(channel, false);
    deps.context
        .event(&**run, EventType::Warning, "NotificationFailed", note)
        .await;
}
