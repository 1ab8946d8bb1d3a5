//! Sends messages, and tries again where that may help.

use std::{sync::Arc, time::Duration};

use kube::{ResourceExt as _, runtime::events::EventType};
use tokio::sync::Semaphore;

use super::{Deps, groups::Group};
use crate::{cluster::backoff::Backoff, store::Owner};
use signoff_api::{Digest, Run};
use signoff_engine::{
    effect::{Call, EffectKey, Request},
    facts::EffectError,
    notification::{refused, requests},
};

/// How many are sent at the same time.
const SENDING: usize = 8;
/// How often one is tried.
const ATTEMPTS: u32 = 6;
/// Longest time of an attempt.
const TIMEOUT: Duration = Duration::from_secs(30);
const PAUSES: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_mins(2),
};

/// Turns to send.
pub(super) fn turns() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(SENDING))
}

pub(super) async fn send(deps: Arc<Deps>, turns: Arc<Semaphore>, group: Group) {
    for request in requests(&group.to, &group.messages) {
        let sent = one(&deps, &turns, &group, &request).await;
        if let Err(error) = sent {
            let note = format!(
                "{} of {} through the Connection {} could not be sent: {} ({})",
                group.messages.len(),
                group.to.channel(),
                group.to.connection(),
                error.message,
                error.reason
            );
            failed(&deps, &group.run, &note).await;
        } else {
            deps.context.metrics().notified(group.to.channel(), true);
        }
    }
}

async fn one(deps: &Deps, turns: &Semaphore, group: &Group, request: &Request) -> Result<(), EffectError> {
    let run = &group.run;
    let owner = Owner {
        namespace: run.namespace().unwrap_or_default(),
        run: run.name_any(),
        uid: run.uid().unwrap_or_default(),
    };
    // the same for each attempt, so that the other side can tell a repetition
    let seed = format!("{}/{}/{:?}", owner.uid, deps.context.now(), group.to);
    let key = Digest::of(seed.as_bytes()).to_string();
    let mut attempt = 0;
    loop {
        let call = Call {
            key: EffectKey {
                step: "notifications".to_owned(),
                iteration: 1,
                item: None,
                attempt: i64::from(attempt) + 1,
            },
            idempotency_key: key.replace(':', "-"),
            fenced: false,
            timeout: TIMEOUT,
            request: request.clone(),
        };
        let result = {
            // closed never
            let _turn = turns.acquire().await;
            deps.executors.perform(&owner, &call).await
        };
        let error = match result {
            Ok(response) => match refused(request, &response, deps.context.now()) {
                None => return Ok(()),
                Some(error) => error,
            },
            Err(error) => error,
        };
        attempt += 1;
        if !error.retryable || attempt >= ATTEMPTS {
            return Err(error);
        }
        let asked = error.retry_after.unwrap_or_default();
        tokio::time::sleep(PAUSES.after(attempt - 1).max(asked)).await;
    }
}

/// People are told that others were not told.
pub(super) async fn failed(deps: &Deps, run: &Arc<Run>, note: &str) {
    tracing::warn!(run = %run.name_any(), note, "a notification could not be sent");
    deps.context.metrics().notified("any", false);
    deps.context
        .event(&**run, EventType::Warning, "NotificationFailed", note)
        .await;
}
