//! Creates the runs of a request, or finds those that were created for it before.

use axum::http::StatusCode;
use futures::{StreamExt as _, stream};
use kube::{Api, ResourceExt as _, api::PostParams};

use super::{Sender, unavailable};
use crate::{cluster::status::is_invalid, gateway::problem::Problem};
use signoff_api::{Run, names};
use signoff_engine::trigger::NewRun;

/// How many runs of one request are created at the same time.
const AT_ONCE: usize = 8;

/// Whether the run of an event was started before.
pub(super) async fn exists(sender: &Sender<'_>, new: &NewRun) -> Result<bool, Problem> {
    let api = sender.gateway.context.namespaced::<Run>(sender.namespace);
    let there = api.get_opt(&new.name).await;
    let there = there.map_err(|error| unavailable(&error))?;
    Ok(there.is_some_and(|there| new.is(&there)))
}

/// Creates the runs. Gives whether one of them is new.
pub(super) async fn start(sender: &Sender<'_>, wanted: Vec<NewRun>) -> Result<bool, Problem> {
    let api = sender.gateway.context.namespaced::<Run>(sender.namespace);
    let creating = wanted.into_iter().map(|new| create(api.clone(), new));
    // one that fails leaves the others: the sender sends all of it again
    let created: Vec<Result<bool, Problem>> = stream::iter(creating).buffered(AT_ONCE).collect().await;
    let mut is_new = false;
    for created in created {
        is_new |= created?;
    }
    Ok(is_new)
}

/// Creates a run. False if it was created before for the same event.
async fn create(api: Api<Run>, new: NewRun) -> Result<bool, Problem> {
    let params = PostParams {
        field_manager: Some(names::FIELD_MANAGER_GATEWAY.to_owned()),
        ..PostParams::default()
    };
    match api.create(&params, &new.object()).await {
        Ok(run) => {
            tracing::info!(run = %run.name_any(), "a request started a run");
            Ok(true)
        }
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
            let there = api.get(&new.name).await.map_err(|error| unavailable(&error))?;
            if new.is(&there) && new.is_of_same_body(&there) {
                return Ok(false);
            }
            let detail = "another event with the same id was received before";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with("run", new.name.as_str()))
        }
        Err(error) if is_invalid(&error) => {
            tracing::warn!(run = %new.name, %error, "a run that a request starts was refused");
            let detail = "the run that this starts was refused by the API server";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail))
        }
        Err(error) => Err(unavailable(&error)),
    }
}
