//! Whether a run may read a resource. A reference is a text that anybody can write, so it gives no right by itself: content
//! is read only from the run's own folder of the store, or where the operator's own records say that it was handed on.
//!
//! * A run reads what its own steps have kept. So does a run that retries it.
//! * A run that a step started reads what the inputs name, and that step's run what the output names. Each run between the two
//!   must have handed on that very value.

use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use super::error;
use crate::{
    cluster::error_chain,
    store::{Owner, Store, StoreError},
};
use signoff_api::{Digest, Resource, Run, reason::StepReason};
use signoff_engine::facts::EffectError;

/// Longest line of runs that started each other, or retried each other.
const LONGEST_LINE: usize = 8;

/// Content that may be read.
#[derive(Clone, Debug)]
pub(super) struct Readable {
    pub(super) store: Store,
    /// The run that has it.
    pub(super) owner: Owner,
    pub(super) sha256: Digest,
}

/// The content of a resource, if the run may read it and it is there.
pub(super) async fn find(
    client: &Client,
    store: Option<&Store>,
    run: &Owner,
    resource: &Resource,
) -> Result<Readable, EffectError> {
    let store = store.ok_or_else(|| error::stored(&StoreError::NoStore, false))?;
    let owner = owner_of(client, run, resource).await?;
    let size = store.size(&owner, &resource.sha256).await;
    let size = size.map_err(|problem| error::stored(&problem, false))?;
    if Some(size) != resource.bytes() {
        return Err(error::stored(&StoreError::HashMismatch, false));
    }
    Ok(Readable {
        store: store.clone(),
        owner,
        sha256: resource.sha256.clone(),
    })
}

async fn owner_of(client: &Client, run: &Owner, resource: &Resource) -> Result<Owner, EffectError> {
    let reference = &resource.reference;
    if reference.namespace != run.namespace {
        return Err(not_readable(resource));
    }
    if reference.run == run.run {
        return Ok(run.clone());
    }
    let runs = Runs(Api::namespaced(client.clone(), &run.namespace));
    let Some(reader) = runs.get(&run.run, Some(&run.uid)).await? else {
        return Err(not_readable(resource));
    };
    if let Some(retried) = runs.retried(&reader, &reference.run).await? {
        return Ok(owner(&retried));
    }
    let Some(holder) = runs.get(&reference.run, None).await? else {
        return Err(error::stored(&StoreError::NotFound, false));
    };
    let found = owner(&holder);
    let (reader, holder) = (runs.line(reader).await?, runs.line(holder).await?);
    if is_handed_on(&reader, &holder, resource) {
        Ok(found)
    } else {
        Err(not_readable(resource))
    }
}

fn not_readable(resource: &Resource) -> EffectError {
    let message = format!(
        "the run may not read {}: neither its own steps have kept it, nor was it handed to the run by value",
        resource.reference
    );
    error::invalid(StepReason::NotAResource, message)
}

fn owner(run: &Run) -> Owner {
    Owner {
        namespace: run.namespace().unwrap_or_default(),
        run: run.name_any(),
        uid: run.uid().unwrap_or_default(),
    }
}

/// Whether a resource came from the first run of one line to the first of another: each line begins with a run, and goes on with
/// the run that started it.
fn is_handed_on(reader: &[Run], holder: &[Run], resource: &Resource) -> bool {
    let Ok(wanted) = serde_json::to_value(resource) else {
        return false;
    };
    let common = |(below, run): (usize, &Run)| {
        let above = holder
            .iter()
            .position(|other| other.uid().is_some() && other.uid() == run.uid());
        above.map(|above| (below, above))
    };
    let Some((below, above)) = reader.iter().enumerate().find_map(common) else {
        return false;
    };
    let gives = |run: &Run| {
        let output = run.status.as_ref().and_then(|status| status.output.as_ref());
        output.is_some_and(|output| holds(&output.0, &wanted))
    };
    let takes = |run: &Run| {
        let inputs = run.spec.inputs.as_ref();
        inputs.is_some_and(|inputs| inputs.0.values().any(|value| holds(value, &wanted)))
    };
    reader[..below].iter().all(takes) && holder[..above].iter().all(gives)
}

fn holds(value: &Value, wanted: &Value) -> bool {
    value == wanted
        || match value {
            Value::Array(items) => items.iter().any(|item| holds(item, wanted)),
            Value::Object(fields) => fields.values().any(|field| holds(field, wanted)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
}

struct Runs(Api<Run>);

impl Runs {
    /// The run of this name, and of this uid if it is known.
    async fn get(&self, name: &str, uid: Option<&str>) -> Result<Option<Run>, EffectError> {
        let found = self.0.get_opt(name).await.map_err(|failure| {
            let message = format!("the run {name} could not be read: {}", error_chain(&failure));
            error::not_ready(StepReason::StoreUnavailable, message)
        })?;
        Ok(found.filter(|run| uid.is_none() || run.uid().as_deref() == uid))
    }

    /// A run, the run that started it, and so on.
    async fn line(&self, run: Run) -> Result<Vec<Run>, EffectError> {
        let mut line = vec![run];
        while line.len() < LONGEST_LINE {
            let parent = line.last().and_then(|run| run.spec.parent.as_ref());
            let Some((uid, name)) =
                parent.and_then(|parent| Some((parent.uid.clone(), parent.run()?.to_owned())))
            else {
                break;
            };
            match self.get(&name, Some(&uid)).await? {
                Some(parent) => line.push(parent),
                None => break,
            }
        }
        Ok(line)
    }

    /// The run of this name, if it is one that a run retries, or that one retries, and so on.
    async fn retried(&self, run: &Run, wanted: &str) -> Result<Option<Run>, EffectError> {
        let before = |run: &Run| {
            // the operator wrote it when the run took over from the other
            let retry = run.status.as_ref().and_then(|status| status.retry.as_ref());
            retry.map(|retry| retry.run.clone())
        };
        let mut name = before(run);
        for _ in 0..LONGEST_LINE {
            let Some(earlier) = &name else { break };
            let Some(found) = self.get(earlier, None).await? else {
                break;
            };
            if earlier == wanted {
                return Ok(Some(found));
            }
            name = before(&found);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
