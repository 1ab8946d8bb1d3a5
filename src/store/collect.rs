//! Content goes with its run. Runs have no finalizer, and one may be deleted while no operator runs: so the leader compares what
//! is in the store with the runs that there are, again and again.

use std::{collections::HashSet, sync::Arc, time::Duration};

use kube::{ResourceExt, api::ListParams};
use tokio_util::sync::CancellationToken;

use super::{Owner, Store, StoreError};
use crate::cluster::{backoff::Backoff, context::Context, error_chain};
use signoff_api::Run;

/// Most runs that are read at once. Only their metadata is.
const PAGE: u32 = 500;
/// Pauses after a comparison that failed.
const PAUSES: Backoff = Backoff {
    first: Duration::from_secs(5),
    longest: Duration::from_secs(300),
};

/// What is needed to collect.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Client, clock, metrics.
    pub context: Arc<Context>,
    /// The store.
    pub store: Store,
    /// The one namespace that is looked at; without it all of them.
    pub namespace: Option<String>,
    /// Names this installation. One that shares a store with another collects nothing.
    pub installation: String,
    /// Pause between two comparisons.
    pub every: Duration,
}

#[derive(Debug, thiserror::Error)]
enum CollectError {
    #[error("the store could not be looked through")]
    Store(#[from] StoreError),
    #[error("the runs could not be listed")]
    Api(#[from] kube::Error),
}

/// Collects until `shutdown`.
pub async fn run(deps: Deps, shutdown: CancellationToken) {
    let mut failures = 0;
    loop {
        let collected = shutdown.run_until_cancelled(collect(&deps)).await;
        let pause = match collected {
            None => return,
            Some(Ok(())) => {
                failures = 0;
                deps.every
            }
            Some(Err(error)) => {
                deps.context.metrics().reconcile_failed("Resource", "Transient");
                tracing::warn!(error = %error_chain(&error), "content of deleted runs could not be collected; trying again");
                failures += 1;
                PAUSES.after(failures)
            }
        };
        if shutdown
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_none()
        {
            return;
        }
    }
}

async fn collect(deps: &Deps) -> Result<(), CollectError> {
    if !deps.store.is_of(&deps.installation).await? {
        tracing::warn!(
            "the object store is that of another installation, so content of deleted runs is not collected: \
             give each installation a prefix of its own"
        );
        return Ok(());
    }
    let namespaces = match &deps.namespace {
        Some(namespace) => vec![namespace.clone()],
        None => deps.store.namespaces().await?,
    };
    for namespace in namespaces {
        for owner in orphans(deps, &namespace).await? {
            deps.store.delete(&owner).await?;
            tracing::info!(
                namespace,
                run = owner.run,
                "the content of a deleted run was collected"
            );
        }
    }
    Ok(())
}

/// The runs that have content and are not there any more. The store is listed first: a run whose content it shows was there before
/// the runs are listed.
async fn orphans(deps: &Deps, namespace: &str) -> Result<Vec<Owner>, CollectError> {
    let mut owners = deps.store.owners(namespace).await?;
    if owners.is_empty() {
        return Ok(owners);
    }
    let runs = deps.context.namespaced::<Run>(namespace);
    let mut there = HashSet::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = runs.list_metadata(&page).await?;
        there.extend(listed.items.iter().filter_map(ResourceExt::uid));
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    owners.retain(|owner| !there.contains(&owner.uid));
    Ok(owners)
}
