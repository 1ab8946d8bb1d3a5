//! Gives events to the runs that wait for them: each to one wait, once.
//!
//! A Lease named after the event says which wait takes it. Whoever creates it first has chosen, so replicas and repeated
//! requests agree. Then the event is written into the status of that run. If the wait ends before that, another wait may be
//! chosen. The Lease goes with the run.
//!
//! An event that no wait takes is kept in its Lease while a run that began before it may still wait for one. Whoever begins
//! a wait, and whoever keeps an event, looks afterwards for what the other has written, so that they do not miss each other.

mod kept;
mod lease;
mod looks;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp,
};
use kube::{Api, Resource as _, ResourceExt as _, api::PatchParams};
use serde_json::{Value, json};

pub use self::kept::sweep;
use self::{
    kept::KeptEvent,
    looks::{Looks, Waiting, goes_on},
};
use super::{
    context::Context,
    releases::{ReleaseUnusable, Releases},
    status::{is_missing, is_stale, replace_in_status},
};
use signoff_api::{
    Digest, Json, Run, bounds, names,
    reason::{Classified as _, ErrorClass},
    run::EventRecord,
};
use signoff_engine::events::{self, Standing};

/// How often it is tried when others write the same objects at the same time.
const ATTEMPTS: u64 = 30;
/// The runs that wait for an event.
const WAITING: &str = "status.awaitsEvents=true";
/// The runs that may still begin to wait for one.
const MAY_WAIT: &str = "status.mayAwaitEvents=true";

/// An event with a key.
#[derive(Clone, Debug)]
pub struct ArrivedEvent {
    /// Its name, which is that of the run that it starts.
    pub name: String,
    /// Flow of its trigger.
    pub flow: String,
    /// Name of its trigger.
    pub trigger: String,
    /// Hash by which waits name it.
    pub hash: String,
    /// When it came.
    pub at: Timestamp,
    /// What it came with; names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What it says.
    pub body: Value,
    /// Digest of what came.
    pub sha256: Option<Digest>,
}

impl ArrivedEvent {
    fn of_trigger(&self) -> looks::Trigger {
        (self.flow.clone(), self.trigger.clone())
    }
}

/// A wait that took an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Name of its run.
    pub run: String,
    /// Name of its step.
    pub step: String,
    /// Whether it took the event just now.
    pub is_new: bool,
}

/// What became of an event that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// A wait took it.
    Taken(Taken),
    /// It is kept for a later wait.
    Kept {
        /// Whether it was not kept before.
        is_new: bool,
    },
    /// Nobody waits for it, and it is not kept.
    Untaken(Option<NotKept>),
}

/// Why an event is not kept that a run may wait for later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// It is too large.
    TooLarge,
    /// As many as there may be are kept.
    Full,
}

/// What may be done with an event for which nothing was chosen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whether a wait may take it.
    pub may_choose: bool,
    /// Whether it may be kept.
    pub may_keep: bool,
}

/// Why it is not known what became of an event.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The API server refused or did not answer.
    #[error("an event could not be given to a run")]
    Api(#[from] kube::Error),
    /// The release of a run could not be read.
    #[error(transparent)]
    Release(#[from] ReleaseUnusable),
    /// Others wrote the same objects again and again.
    #[error("others gave events to the same runs at the same time")]
    Contended,
    /// It has more bytes than a run takes.
    #[error("a run waits for this event, and takes at most {} bytes", bounds::MAX_EVENT)]
    TooLarge,
    /// The status of the run is full.
    #[error("the run that waits for this event can hold no further event of this size")]
    NoRoom,
    /// It was kept with another body.
    #[error("another event with the same id was received before")]
    OtherBody,
}

/// Gives events to runs of one namespace.
#[derive(Clone, Copy, Debug)]
pub struct EventClaims<'a> {
    /// Client, clock, threads.
    pub context: &'a Context,
    /// Releases, for the conditions of waits.
    pub releases: &'a Releases,
    /// The namespace.
    pub namespace: &'a str,
    /// As whom it writes.
    pub field_manager: &'static str,
}

/// The choice of a wait for an event.
struct Claim {
    run: Run,
    key: String,
}

/// What a claim that is there says.
enum Claimed {
    /// The wait took the event.
    Taken(Taken),
    /// The wait is chosen, and the event is to be written.
    Open(Box<Claim>),
    /// There is none, or the wait ended without the event.
    Void,
}

/// Offers the events of one request. Who waits is read once for all of them.
#[derive(Debug)]
pub struct Offers<'a> {
    claims: EventClaims<'a>,
    hashes: BTreeSet<String>,
    looks: Looks,
}

impl<'a> Offers<'a> {
    /// Offers of events under these hashes.
    pub fn new(claims: EventClaims<'a>, hashes: BTreeSet<String>) -> Self {
        Self {
            claims,
            hashes,
            looks: Looks::default(),
        }
    }

    /// Gives an event to the wait that began first of those that want it, or finds the one that took it, or keeps it.
    ///
    /// # Errors
    /// If that is not known, or the event does not fit.
    pub async fn offer(&mut self, event: &ArrivedEvent, terms: Terms) -> Result<Offered, ClaimError> {
        // boxed: it is large
        Box::pin(self.offered(event, terms)).await
    }

    async fn offered(&mut self, event: &ArrivedEvent, terms: Terms) -> Result<Offered, ClaimError> {
        let Self {
            claims,
            hashes,
            looks,
        } = self;
        let leases = claims.leases();
        let mut is_kept_now = false;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                // what was seen is not how it is any more
                *looks = Looks::default();
            }
            let lease = leases.get_opt(&names::event_claim_name(&event.name)).await?;
            let kept = lease.as_ref().and_then(KeptEvent::of);
            if lease.as_ref().is_some_and(|lease| is_of_other(lease, event)) {
                return Err(ClaimError::OtherBody);
            }
            let claim = match claims.claimed(lease.as_ref(), &event.name).await? {
                Claimed::Taken(taken) => {
                    let is_new = taken.is_new || is_kept_now;
                    return Ok(Offered::Taken(Taken { is_new, ..taken }));
                }
                Claimed::Open(claim) => *claim,
                // a wait may have begun since; those that were kept before it go first
                Claimed::Void if kept.is_some() => {
                    let taken = claims.settle(std::slice::from_ref(&event.hash)).await?;
                    if taken.contains(&event.name) {
                        continue;
                    }
                    return Ok(Offered::Kept { is_new: is_kept_now });
                }
                Claimed::Void if !terms.may_choose => return Ok(Offered::Untaken(None)),
                Claimed::Void => match claims.choose(event, looks.waiting(claims, hashes).await?).await? {
                    Some(chosen) => {
                        let is_next = claims.settle(std::slice::from_ref(&event.hash)).await?.is_empty();
                        if is_next && claims.claim(lease, &chosen, event).await? {
                            return Ok(Offered::Taken(chosen.taken(true)));
                        }
                        pause(attempt).await;
                        continue;
                    }
                    None if terms.may_keep && looks.is_expected(claims, event).await? => {
                        match claims.keep(event, lease).await? {
                            Ok(is_new) => is_kept_now |= is_new,
                            Err(why) => return Ok(Offered::Untaken(Some(why))),
                        }
                        continue;
                    }
                    // its wait may have begun between the two looks
                    None if terms.may_keep => {
                        let by_now = looks.by_now(claims, hashes).await?;
                        if claims.choose(event, by_now).await?.is_none() {
                            return Ok(Offered::Untaken(None));
                        }
                        continue;
                    }
                    None => return Ok(Offered::Untaken(None)),
                },
            };
            if claims.record(&claim, event).await? {
                return Ok(Offered::Taken(claim.taken(true)));
            }
            pause(attempt).await;
        }
        Err(ClaimError::Contended)
    }
}

impl EventClaims<'_> {
    /// Claims a chosen wait and writes the event into its run. False if something changed meanwhile.
    async fn claim(
        &self,
        lease: Option<Lease>,
        chosen: &Claim,
        event: &ArrivedEvent,
    ) -> Result<bool, ClaimError> {
        fitting(&chosen.run, event)?;
        match self.write_claim(lease, chosen, event).await {
            Ok(()) => self.record(chosen, event).await,
            Err(error) if is_stale(&error) || is_missing(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn leases(&self) -> Api<Lease> {
        self.context.namespaced(self.namespace)
    }

    async fn claimed(&self, lease: Option<&Lease>, event: &str) -> Result<Claimed, ClaimError> {
        let holder = lease
            .and_then(|lease| lease.spec.as_ref())
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
        let found = self
            .context
            .namespaced::<Run>(self.namespace)
            .get_opt(run)
            .await?;
        let owners = lease.map(kube::ResourceExt::owner_references).unwrap_or_default();
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

    /// The wait that began first of those that want an event.
    async fn choose(&self, event: &ArrivedEvent, waiting: &[Waiting]) -> Result<Option<Claim>, ClaimError> {
        let body = Arc::new(event.body.clone());
        for of in waiting.iter().filter(|of| of.hash == event.hash) {
            if self.wants(of, event, &body).await?
                && let Some(claim) = self.still_open(of, event).await?
            {
                return Ok(Some(claim));
            }
        }
        Ok(None)
    }

    /// A wait with its run as it is now, if it is still open.
    async fn still_open(&self, of: &Waiting, event: &ArrivedEvent) -> Result<Option<Claim>, ClaimError> {
        let runs = self.context.namespaced::<Run>(self.namespace);
        let run = runs.get_opt(&of.run.name).await?.filter(goes_on);
        let is_open = |run: &Run| {
            let status = run.status.as_ref();
            status.is_some_and(|status| events::standing(status, &of.wait.key, &event.name) == Standing::Open)
        };
        Ok(run.filter(is_open).map(|run| Claim {
            run,
            key: of.wait.key.clone(),
        }))
    }

    /// Whether the condition of a wait holds for an event.
    async fn wants(&self, of: &Waiting, event: &ArrivedEvent, body: &Arc<Value>) -> Result<bool, ClaimError> {
        let release = match self.releases.load(self.namespace, &of.release).await {
            Ok(release) => release,
            Err(error) if error.class() == ErrorClass::Transient => return Err(error.into()),
            Err(_) => return Ok(false),
        };
        let step = release
            .definition
            .all_steps()
            .find(|step| step.name == of.wait.step);
        let Some(wanted) = step.and_then(|step| step.kind.as_kind().event()) else {
            return Ok(false);
        };
        if wanted.when.is_none() {
            return Ok(true);
        }
        let (wanted, headers, body) = (wanted.clone(), event.headers.clone(), Arc::clone(body));
        let told = move || events::accepts(&release.definition, &wanted, &headers, &body);
        match self.context.evaluate(self.namespace, told).await {
            Ok(accepts) => Ok(accepts),
            Err(why) => {
                tracing::warn!(run = %of.run.name, step = %of.wait.step, %why, "whether a wait takes an event cannot be told");
                Ok(false)
            }
        }
    }

    /// Writes an event into the status of the run whose wait takes it. False if the run is not as it was read any more.
    async fn record(&self, claim: &Claim, event: &ArrivedEvent) -> Result<bool, ClaimError> {
        let run = &claim.run;
        let record = fitting(run, event)?;
        let status = run.status.as_ref();
        let mut entries = status.map(|status| status.events.clone()).unwrap_or_default();
        entries.insert(claim.key.clone(), record);
        let api = self.context.namespaced::<Run>(self.namespace);
        let params = PatchParams {
            field_manager: Some(self.field_manager.to_owned()),
            ..PatchParams::default()
        };
        match replace_in_status(&api, run, "events", json!(entries), &params).await {
            Ok(_) => {
                tracing::info!(run = %run.name_any(), wait = %claim.key, "a wait took an event");
                Ok(true)
            }
            Err(error) if is_stale(&error) || is_missing(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Claim {
    fn taken(&self, is_new: bool) -> Taken {
        Taken {
            run: self.run.name_any(),
            step: step_of(&self.key),
            is_new,
        }
    }
}

/// Whether a Lease is of an event of the same name that said something else.
fn is_of_other(lease: &Lease, event: &ArrivedEvent) -> bool {
    let known = lease.annotations().get(names::EVENT_DIGEST);
    let (Some(known), Some(digest)) = (known, &event.sha256) else {
        return false;
    };
    *known != digest.to_string()
}

/// What is written of an event, if the run has room for it.
fn fitting(run: &Run, event: &ArrivedEvent) -> Result<EventRecord, ClaimError> {
    let record = EventRecord {
        received_at: MicroTime(event.at),
        name: event.name.clone(),
        body: Some(Json(event.body.clone())),
    };
    if event.body.to_string().len() > bounds::MAX_EVENT {
        return Err(ClaimError::TooLarge);
    }
    if size(&run.status) + size(&record) > bounds::MAX_RUN_STATUS {
        return Err(ClaimError::NoRoom);
    }
    Ok(record)
}

fn size(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX / 2, |bytes| bytes.len())
}

/// The step of a wait, by its key. Names of steps have no dots.
fn step_of(key: &str) -> String {
    key.split('.').next().unwrap_or_default().to_owned()
}

/// Those who came at the same time should not come again at the same time.
async fn pause(attempt: u64) {
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..=2 * attempt))).await;
}
