//! Values of flows that outlive their runs: the executor of `store` steps.

use serde_json::Value;

use super::error;
use crate::{
    cluster::context::Clock,
    store::{Author, LONGEST_WRITE, Owner, PutError, Store, StoreError, ValuePath, Version},
};
use signoff_api::reason::StepReason;
use signoff_engine::{
    effect::{Call, StorePut, StoreRequest},
    facts::{EffectError, StoreResponse},
};

/// Reads and writes values. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ValueExecutor {
    clock: Clock,
    store: Option<Store>,
}

impl ValueExecutor {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, store: None }
    }

    pub(super) fn keeping_in(self, store: Option<Store>) -> Self {
        Self { store, ..self }
    }

    pub(super) async fn perform(
        &self,
        run: &Owner,
        call: &Call,
        request: &StoreRequest,
    ) -> Result<StoreResponse, EffectError> {
        let limit = call.timeout.min(LONGEST_WRITE);
        let working = self.work(run, call, request);
        let worked = tokio::time::timeout(limit, working).await;
        worked.unwrap_or_else(|_| Err(error::timed_out("the object store", limit)))
    }

    async fn work(
        &self,
        run: &Owner,
        call: &Call,
        request: &StoreRequest,
    ) -> Result<StoreResponse, EffectError> {
        let store = self.store.as_ref();
        let store = store.ok_or_else(|| error::stored(&StoreError::NoStore, false))?;
        let path = ValuePath {
            namespace: run.namespace.clone(),
            flow: request.flow.clone(),
            name: request.name.clone(),
        };
        match &request.put {
            None => {
                let found = store.value(&path).await;
                let found = found.map_err(|problem| error::stored(&problem, false))?;
                Ok(found.map_or(StoreResponse::Nothing, |version| {
                    let value = version.value.clone();
                    response(version, Some(value))
                }))
            }
            Some(put) => {
                let written = store
                    .put_value(&path, put.if_version, self.version(run, call, put))
                    .await;
                written
                    .map(|version| response(version, None))
                    .map_err(|problem| refused(&problem))
            }
        }
    }

    fn version(&self, run: &Owner, call: &Call, put: &StorePut) -> Version {
        Version {
            number: 0,
            updated_at: self.clock.now(),
            author: Author::Run(run.run.clone()),
            key: call.idempotency_key.clone(),
            value: put.value.clone(),
        }
    }
}

fn response(version: Version, value: Option<Value>) -> StoreResponse {
    let Version {
        number,
        updated_at,
        author,
        key: _,
        value: _,
    } = version;
    StoreResponse::Found {
        value,
        version: number,
        updated_at,
        run: match author {
            Author::Run(run) => Some(run),
            Author::User(_) => None,
        },
    }
}

fn refused(problem: &PutError) -> EffectError {
    match problem {
        PutError::Store(problem) => error::stored(problem, true),
        PutError::Conflict { .. } | PutError::Busy(_) => {
            error::not_ready(StepReason::VersionConflict, problem.to_string())
        }
        PutError::TooMany(_) | PutError::TooLarge(_) | PutError::TooDeep(_) => {
            error::invalid(StepReason::StoreFull, problem.to_string())
        }
    }
}
