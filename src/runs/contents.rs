//! Loads the contents of resources that expressions read, before the decision that reads them.

use std::time::Duration;

use kube::ResourceExt as _;

use super::Deps;
use crate::store::Owner;
use signoff_api::{Resource, Run, reason::StepReason};
use signoff_engine::{
    contents::MAX_READ,
    facts::{Contents, EffectError},
};

/// Longest wait for all of them. After that, the run first hears what else has happened.
const PATIENCE: Duration = Duration::from_secs(10);

/// Adds what is not known yet.
///
/// # Errors
/// If the store does not answer. What was read until then is kept.
pub(super) async fn load(
    deps: &Deps,
    run: &Run,
    wanted: Vec<Resource>,
    known: &mut Contents,
) -> Result<(), EffectError> {
    let owner = owner(run);
    let loading = async {
        for resource in wanted {
            if known.contains_key(&resource.sha256) {
                continue;
            }
            let text = text(deps, &owner, &resource).await?;
            known.insert(resource.sha256, text);
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, loading).await.unwrap_or_else(|_| {
        Err(EffectError {
            reason: StepReason::StoreUnavailable,
            message: format!("the store did not answer within {}s", PATIENCE.as_secs()),
            retryable: true,
            may_have_happened: false,
            retry_after: None,
            status: None,
        })
    })
}

/// The run, as the owner of what it has kept.
pub(super) fn owner(run: &Run) -> Owner {
    Owner {
        namespace: run.namespace().unwrap_or_default(),
        run: run.name_any(),
        uid: run.uid().unwrap_or_default(),
    }
}

/// The text of a resource, or why there is none and will be none.
async fn text(
    deps: &Deps,
    owner: &Owner,
    resource: &Resource,
) -> Result<Result<String, String>, EffectError> {
    if resource.bytes().is_none_or(|bytes| bytes > MAX_READ) {
        return Ok(Err(format!(
            "{} has {} bytes; at most {MAX_READ} are read",
            resource.reference, resource.size
        )));
    }
    match deps.executors.read(owner, resource, MAX_READ).await {
        Ok(bytes) => Ok(String::from_utf8(bytes.into())
            .map_err(|_| format!("{} is not text in UTF-8", resource.reference))),
        Err(error) if error.retryable => Err(error),
        Err(error) => Ok(Err(error.message)),
    }
}
