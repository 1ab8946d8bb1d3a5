//! Questions that were left open by a run that has ended.

use std::{sync::Arc, time::Duration};

use super::{
    Deps, RunKey,
    objects::{self, ObjectError},
};
use crate::cluster::{backoff::Backoff, error_chain, object_key::ApprovalKey};
use signoff_api::Run;
use signoff_engine::object::{CloseObject, Closing, ObjectKey};

/// Pauses between attempts.
const PAUSES: Backoff = Backoff {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(15),
};

/// Closes a question if its run has ended. One whose run is gone goes with it, by its owner reference.
pub(super) async fn close_if_ended(deps: Arc<Deps>, approval: ApprovalKey, run: String) {
    let mut failures = 0;
    while let Err(error) = try_to_close(&deps, &approval, &run).await {
        tracing::warn!(%approval, error = %error_chain(&error), "a question that a run left open could not be closed; trying again");
        tokio::time::sleep(PAUSES.after(failures)).await;
        failures += 1;
    }
}

/// Stops a run that another one started, if that has ended. If that is gone, it goes with it, by its owner reference.
pub(super) async fn stop_if_ended(deps: Arc<Deps>, parent: RunKey, child: String) {
    let mut failures = 0;
    while let Err(error) = try_to_stop(&deps, &parent, &child).await {
        tracing::warn!(run = %parent, child, error = %error_chain(&error), "a run that another one left could not be stopped; trying again");
        tokio::time::sleep(PAUSES.after(failures)).await;
        failures += 1;
    }
}

async fn try_to_stop(deps: &Deps, parent: &RunKey, child: &str) -> Result<(), ObjectError> {
    if let Some(run) = ended(deps, parent.namespace(), parent.name()).await? {
        let wanted = CloseObject {
            key: ObjectKey::run(child),
            closing: Closing::Cancelled,
            message: "the run that started it has ended".to_owned(),
        };
        objects::close(&deps.context, &run, &wanted).await?;
    }
    Ok(())
}

async fn try_to_close(deps: &Deps, approval: &ApprovalKey, run: &str) -> Result<(), ObjectError> {
    if let Some(run) = ended(deps, approval.namespace(), run).await? {
        let wanted = CloseObject {
            key: ObjectKey::approval(approval.name()),
            closing: Closing::Cancelled,
            message: "the run has ended".to_owned(),
        };
        objects::close(&deps.context, &run, &wanted).await?;
    }
    Ok(())
}

/// The run of this name, if it has ended.
async fn ended(deps: &Deps, namespace: &str, run: &str) -> Result<Option<Run>, ObjectError> {
    let found = deps.context.namespaced::<Run>(namespace).get_opt(run).await;
    if let Err(kube::Error::SerdeError(_)) = found {
        // whether it has ended cannot be known, and will not be by reading it again
        return Ok(None);
    }
    let found = found.map_err(|error| ObjectError::Api(format!("read the run {run:?}"), error))?;
    let has_ended = |run: &Run| {
        run.status
            .as_ref()
            .is_some_and(|status| status.phase.is_finished())
    };
    Ok(found.filter(has_ended))
}
