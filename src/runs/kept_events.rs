//! Events that came before a run waited for them: given to its waits as they begin, and given up if no run may wait for
//! them any more.

use std::{sync::Arc, time::Duration};

use super::{Deps, RunKey};
use crate::cluster::{
    backoff::Backoff,
    error_chain,
    event_claims::{EventClaims, sweep},
};
use signoff_api::names::FIELD_MANAGER;

/// Pauses between attempts.
const PAUSES: Backoff = Backoff {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(15),
};
/// How often it is tried to give events to the waits of a run. After that, it is done with all others.
const ATTEMPTS: u32 = 10;
/// How often all events that are kept are looked at. A process that ended left some to its successor.
const EVERY: Duration = Duration::from_hours(1);

/// Gives the events that are kept under some hashes to the waits of a run that have begun.
pub(super) async fn give(deps: &Deps, run: &RunKey, hashes: Vec<String>) {
    let claims = EventClaims {
        context: &deps.context,
        releases: &deps.releases,
        namespace: run.namespace(),
        field_manager: FIELD_MANAGER,
    };
    for failures in 0..ATTEMPTS {
        let Err(error) = claims.settle(&hashes).await else {
            return;
        };
        tracing::warn!(%run, error = %error_chain(&error), "events that came before could not be given to a run; trying again");
        tokio::time::sleep(PAUSES.after(failures)).await;
    }
}

/// Looks at all events that are kept, now and then.
pub(super) async fn look_after(deps: Arc<Deps>) {
    let mut failures = 0;
    loop {
        match sweep(&deps.context, &deps.releases, FIELD_MANAGER).await {
            Ok(()) => {
                failures = 0;
                tokio::time::sleep(EVERY).await;
            }
            Err(error) => {
                tracing::warn!(error = %error_chain(&error), "the events that are kept could not be looked at; trying again");
                tokio::time::sleep(PAUSES.after(failures)).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}
