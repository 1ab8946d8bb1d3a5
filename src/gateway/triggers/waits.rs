//! Gives an event to the run that waits for it: to one, and once.
//!
//! A Lease named after the event says which wait takes it. Whoever creates it first has chosen, so replicas and repeated
//! requests agree. Then the event is written into the status of that run. If the wait ends before that, another wait may be
//! chosen. The Lease goes with the run.

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{Sender, unavailable};
use crate::{
    cluster::status::{is_missing, is_stale},
    gateway::{
        problem::Problem,
        record::{self, ATTEMPTS, has_room, pause},
    },
};
use axum::http::StatusCode;
use signoff_api::{
    Json, Run, bounds, names,
    reason::{Classified as _, ErrorClass},
    run::EventRecord,
};
use signoff_engine::{
    events::{self, OpenWait, Standing},
    trigger::Event,
};

/// The runs that wait for an event.
const WAITING: &str = "status.awaitsEvents=true";

/// A wait that took an event.
pub(super) struct Taken {
    /// Name of its run.
    pub(super) run: String,
    /// Name of its step.
    pub(super) step: String,
    /// Whether it took the event just now.
    pub(super) is_new: bool,
}

/// The choice of a wait for an event.
struct Claim {
    run: Run,
    key: String,
}

/// Gives an event to the wait that began first of those that want it, or finds the one that took it. A new one is chosen only
/// if that `may_choose`.
pub(super) async fn offer(
    sender: &Sender<'_>,
    event: &Event,
    may_choose: bool,
) -> Result<Option<Taken>, Problem> {
    let Some(key) = &event.key else { return Ok(None) };
    let hash = names::event_key(sender.flow, sender.trigger, key);
    let name = names::triggered_run_name(sender.flow, sender.trigger, &event.id);
    let context = &sender.gateway.context;
    let leases = context.namespaced::<Lease>(sender.namespace);
    for attempt in 0..ATTEMPTS {
        let lease = leases.get_opt(&names::event_claim_name(&name)).await;
        let lease = lease.map_err(|error| unavailable(&error))?;
        let claimed = match &lease {
            Some(lease) => claim_of(sender, lease, &name).await?,
            None => Claimed::Void,
        };
        let claim = match claimed {
            Claimed::Taken(taken) => return Ok(Some(taken)),
            Claimed::Open(claim) => *claim,
            Claimed::Void if !may_choose => return Ok(None),
            Claimed::Void => {
                let Some(chosen) = choose(sender, event, &hash).await? else {
                    return Ok(None);
                };
                fitting(&chosen.run, event, &name)?;
                match write_claim(&leases, lease, &chosen, &name).await {
                    Ok(()) => chosen,
                    Err(error) if is_stale(&error) || is_missing(&error) => {
                        pause(attempt).await;
                        continue;
                    }
                    Err(error) => return Err(unavailable(&error)),
                }
            }
        };
        if let Some(taken) = record_event(sender, &claim, event, &name).await? {
            return Ok(Some(taken));
        }
        pause(attempt).await;
    }
    Err(Problem::unavailable())
}

/// What a claim that is there says.
enum Claimed {
    /// The wait took the event.
    Taken(Taken),
    /// The wait is chosen, and the event is to be written.
    Open(Box<Claim>),
    /// The wait ended without it.
    Void,
}

async fn claim_of(sender: &Sender<'_>, lease: &Lease, event: &str) -> Result<Claimed, Problem> {
    let holder = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref());
    let Some((run, key)) = holder.and_then(|holder| holder.split_once('/')) else {
        return Ok(Claimed::Void);
    };
    let taken = || {
        Claimed::Taken(Taken {
            run: run.to_owned(),
            step: step_of(key),
            is_new: false,
        })
    };
    let api = sender.gateway.context.namespaced::<Run>(sender.namespace);
    let found = api.get_opt(run).await.map_err(|error| unavailable(&error))?;
    let owners = lease.owner_references();
    let is_its = |run: &Run| {
        owners
            .iter()
            .any(|owner| Some(&owner.uid) == run.meta().uid.as_ref())
    };
    // the claim goes with the run, so what became of the event is not known any more
    let Some(found) = found.filter(is_its) else {
        return Ok(taken());
    };
    let status = found.status.clone().unwrap_or_default();
    Ok(match events::standing(&status, key, event) {
        Standing::Taken | Standing::Forgotten => taken(),
        Standing::Over => Claimed::Void,
        Standing::Open => Claimed::Open(Box::new(Claim {
            run: found,
            key: key.to_owned(),
        })),
    })
}

/// The wait that began first of those that want the event.
async fn choose(sender: &Sender<'_>, event: &Event, hash: &str) -> Result<Option<Claim>, Problem> {
    let context = &sender.gateway.context;
    let params = ListParams::default().fields(WAITING);
    let listed = context.list::<Run>(sender.namespace, &params).await;
    let listed = listed.map_err(|error| unavailable(&error))?;
    let mut waits: Vec<(OpenWait, Run)> = Vec::new();
    for run in listed.items {
        let stops = run.spec.cancel == Some(true) || run.spec.terminate == Some(true);
        if stops || run.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let open = run.status.as_ref().map(|status| events::open(status, hash));
        waits.extend(open.into_iter().flatten().map(|wait| (wait, run.clone())));
    }
    waits.sort_by(|(a, of_a), (b, of_b)| {
        (a.since, of_a.name_any(), &a.key).cmp(&(b.since, of_b.name_any(), &b.key))
    });
    for (wait, run) in waits {
        if wants(sender, &run, &wait, event).await? {
            return Ok(Some(Claim { run, key: wait.key }));
        }
    }
    Ok(None)
}

/// Whether the condition of a wait holds for an event.
async fn wants(sender: &Sender<'_>, run: &Run, wait: &OpenWait, event: &Event) -> Result<bool, Problem> {
    let pinned = run.status.as_ref().and_then(|status| status.release.as_ref());
    let Some(pinned) = pinned else { return Ok(false) };
    let release = match sender.gateway.releases.load(sender.namespace, &pinned.name).await {
        Ok(release) => release,
        Err(error) if error.class() == ErrorClass::Transient => return Err(unavailable(&error)),
        Err(_) => return Ok(false),
    };
    let step = release.definition.all_steps().find(|step| step.name == wait.step);
    let Some(wanted) = step.and_then(|step| step.kind.as_kind().event()).cloned() else {
        return Ok(false);
    };
    let (headers, body) = (sender.headers.clone(), event.payload().clone());
    let told = move || events::accepts(&release.definition, &wanted, &headers, &body);
    match sender.gateway.context.evaluate(sender.namespace, told).await {
        Ok(accepts) => Ok(accepts),
        Err(why) => {
            tracing::warn!(run = %run.name_any(), step = %wait.step, %why, "whether a wait takes an event cannot be told");
            Ok(false)
        }
    }
}

/// Says which wait takes an event: creates the claim, or changes the one whose wait ended without the event.
async fn write_claim(
    leases: &Api<Lease>,
    before: Option<Lease>,
    claim: &Claim,
    event: &str,
) -> Result<(), kube::Error> {
    let run = &claim.run;
    let params = PostParams {
        field_manager: Some(names::FIELD_MANAGER_GATEWAY.to_owned()),
        ..PostParams::default()
    };
    let owner = OwnerReference {
        api_version: Run::api_version(&()).into_owned(),
        kind: Run::kind(&()).into_owned(),
        name: run.name_any(),
        uid: run.uid().unwrap_or_default(),
        ..OwnerReference::default()
    };
    let labels = [
        (names::MANAGED_BY.to_owned(), names::MANAGED_BY_VALUE.to_owned()),
        (names::RUN.to_owned(), run.name_any()),
    ];
    let name = names::event_claim_name(event);
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels.into()),
            owner_references: Some(vec![owner]),
            resource_version: before.as_ref().and_then(kube::ResourceExt::resource_version),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(format!("{}/{}", run.name_any(), claim.key)),
            ..LeaseSpec::default()
        }),
    };
    if before.is_none() {
        leases.create(&params, &lease).await.map(|_| ())
    } else {
        let params = PatchParams {
            field_manager: params.field_manager,
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&lease);
        leases.patch(&name, &params, &patch).await.map(|_| ())
    }
}

/// Writes an event into the status of the run whose wait takes it. None if the run is not as it was read any more.
async fn record_event(
    sender: &Sender<'_>,
    claim: &Claim,
    event: &Event,
    name: &str,
) -> Result<Option<Taken>, Problem> {
    let run = &claim.run;
    let record = fitting(run, event, name)?;
    let status = run.status.as_ref();
    let mut entries = status.map(|status| status.events.clone()).unwrap_or_default();
    entries.insert(claim.key.clone(), record);
    let api = sender.gateway.context.namespaced::<Run>(sender.namespace);
    match record::replace(&api, run, "events", json!(entries)).await {
        Ok(_) => {
            tracing::info!(run = %run.name_any(), wait = %claim.key, "a wait took an event");
            Ok(Some(Taken {
                run: run.name_any(),
                step: step_of(&claim.key),
                is_new: true,
            }))
        }
        Err(error) if is_stale(&error) || is_missing(&error) => Ok(None),
        Err(error) => Err(unavailable(&error)),
    }
}

/// What is written of an event, if the run has room for it.
fn fitting(run: &Run, event: &Event, name: &str) -> Result<EventRecord, Problem> {
    let record = EventRecord {
        received_at: MicroTime(event.at),
        name: name.to_owned(),
        body: Some(Json(event.payload().clone())),
    };
    if event.payload().to_string().len() > bounds::MAX_EVENT {
        let most = bounds::MAX_EVENT;
        let detail = format!("a run waits for this event, and takes at most {most} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).with("limit", most));
    }
    if !has_room(run, &record) {
        let detail = "the run that waits for this event can hold no further event of this size";
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(record)
}

/// The step of a wait, by its key. Names of steps have no dots.
fn step_of(key: &str) -> String {
    key.split('.').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
