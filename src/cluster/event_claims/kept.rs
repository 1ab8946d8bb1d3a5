//! Events that are kept for later waits, each in the Lease that is named after it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    ATTEMPTS, ArrivedEvent, ClaimError, Claimed, EventClaims, NotKept, Waiting,
    looks::{Expecting, is_expected},
    pause,
};
use crate::cluster::{
    context::Context,
    error_chain,
    releases::Releases,
    status::{is_missing, is_stale},
};
use signoff_api::{Digest, bounds, names};

/// How long an event is kept.
const LONGEST: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How many keys are asked for at the same time: they are part of an address.
const KEYS: usize = 100;

/// An event as its Lease has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    at: MicroTime,
    flow: String,
    trigger: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Value,
    sha256: Option<Digest>,
}

/// An event that is kept, and its Lease.
#[derive(Clone, Debug)]
pub(super) struct KeptEvent {
    pub(super) event: ArrivedEvent,
    lease: Lease,
}

impl KeptEvent {
    /// What a Lease keeps, if it keeps an event.
    pub(super) fn of(lease: &Lease) -> Option<Self> {
        let stored = lease.annotations().get(names::KEPT_EVENT)?;
        let hash = lease.labels().get(names::EVENT)?.clone();
        let name = lease.name_any();
        let name = name.strip_prefix(&names::event_claim_name(""))?.to_owned();
        let Stored {
            at,
            flow,
            trigger,
            headers,
            body,
            sha256,
        } = serde_json::from_str(stored).ok()?;
        let event = ArrivedEvent {
            name,
            flow,
            trigger,
            hash,
            at: at.0,
            headers,
            body,
            sha256,
        };
        Some(Self {
            event,
            lease: lease.clone(),
        })
    }
}

impl EventClaims<'_> {
    /// Keeps an event, if there is room for it. False if somebody else changed its Lease meanwhile.
    pub(super) async fn keep(
        &self,
        event: &ArrivedEvent,
        before: Option<Lease>,
    ) -> Result<Result<bool, NotKept>, ClaimError> {
        let stored = Stored {
            at: MicroTime(event.at),
            flow: event.flow.clone(),
            trigger: event.trigger.clone(),
            headers: event.headers.clone(),
            body: event.body.clone(),
            sha256: event.sha256.clone(),
        };
        let text = json!(stored).to_string();
        if text.len() > bounds::MAX_EVENT {
            return Ok(Err(NotKept::TooLarge));
        }
        let trigger = names::event_trigger(&event.flow, &event.trigger);
        let params = ListParams::default().labels(&format!("{}={trigger}", names::EVENT_TRIGGER));
        let others = self.leases().list(&params).await?.items;
        let sizes = others
            .iter()
            .filter_map(|lease| lease.annotations().get(names::KEPT_EVENT));
        let together: usize = sizes.map(String::len).sum();
        if others.len() >= bounds::MAX_KEPT_EVENTS
            || together.saturating_add(text.len()) > bounds::MAX_KEPT_EVENTS_TOGETHER
        {
            return Ok(Err(NotKept::Full));
        }
        let labels = [
            (names::EVENT.to_owned(), event.hash.clone()),
            (names::EVENT_TRIGGER.to_owned(), trigger),
        ];
        let lease = Lease {
            metadata: ObjectMeta {
                labels: Some(labels.into()),
                annotations: Some([(names::KEPT_EVENT.to_owned(), text)].into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec::default()),
        };
        match self.write_lease(before, event, lease).await {
            Ok(()) => {
                tracing::info!(event = %event.name, "an event is kept for a later wait");
                Ok(Ok(true))
            }
            Err(error) if is_stale(&error) || is_missing(&error) => Ok(Ok(false)),
            Err(error) => Err(error.into()),
        }
    }

    /// The events that are kept under some hashes, in the order in which they came.
    pub(super) async fn kept(&self, hashes: &[String]) -> Result<Vec<KeptEvent>, ClaimError> {
        let mut kept = Vec::new();
        for some in hashes.chunks(KEYS) {
            let selector = format!("{} in ({})", names::EVENT, some.join(","));
            let listed = self
                .leases()
                .list(&ListParams::default().labels(&selector))
                .await?;
            let found = listed.items.iter().filter_map(KeptEvent::of);
            kept.extend(found.filter(|kept| some.contains(&kept.event.hash)));
        }
        kept.sort_by(|a, b| (a.event.at, &a.event.name).cmp(&(b.event.at, &b.event.name)));
        Ok(kept)
    }

    /// Gives events that are kept under some hashes to waits that are open. Gives the names of those that were taken.
    ///
    /// # Errors
    /// If that could not be done; what was given until then is given.
    pub async fn settle(&self, hashes: &[String]) -> Result<BTreeSet<String>, ClaimError> {
        let kept = self.kept(hashes).await?;
        Box::pin(self.give(kept)).await
    }

    async fn give(&self, kept: Vec<KeptEvent>) -> Result<BTreeSet<String>, ClaimError> {
        let hashes: BTreeSet<String> = kept.iter().map(|kept| kept.event.hash.clone()).collect();
        let mut taken = BTreeSet::new();
        let mut waiting = None;
        for kept in kept {
            if self.give_one(&kept, (&hashes, &mut waiting)).await? {
                taken.insert(kept.event.name);
            }
        }
        Ok(taken)
    }

    /// Gives an event that is kept to a wait. False if none is open for it.
    async fn give_one(
        &self,
        kept: &KeptEvent,
        (hashes, waiting): (&BTreeSet<String>, &mut Option<Vec<Waiting>>),
    ) -> Result<bool, ClaimError> {
        let KeptEvent { event, lease } = kept;
        let mut lease = Some(lease.clone());
        for attempt in 0..ATTEMPTS {
            let Some(there) = lease.take().filter(|lease| KeptEvent::of(lease).is_some()) else {
                // somebody else has given it, or it was kept for too long
                return Ok(false);
            };
            let claim = match self.claimed(Some(&there), &event.name).await? {
                Claimed::Taken(_) => {
                    self.forget(&there).await;
                    return Ok(true);
                }
                Claimed::Open(claim) => Some(*claim),
                Claimed::Void => {
                    if waiting.is_none() {
                        *waiting = Some(self.waiting(hashes).await?);
                    }
                    let open = waiting.iter().flatten();
                    let open = open.filter(|of| of.hash == event.hash && of.run.began_before(event));
                    let open: Vec<Waiting> = open.cloned().collect();
                    match self.choose(event, &open).await? {
                        None => return Ok(false),
                        Some(chosen) => {
                            let written = self.write_claim(Some(there.clone()), &chosen, event).await;
                            match written {
                                Ok(()) => Some(chosen),
                                Err(error) if is_stale(&error) || is_missing(&error) => None,
                                Err(error) => return Err(error.into()),
                            }
                        }
                    }
                }
            };
            // whatever was known of the runs is not news any more
            *waiting = None;
            let is_recorded = match claim {
                Some(claim) => self.record(&claim, event).await?,
                None => false,
            };
            if !is_recorded {
                pause(attempt).await;
            }
            lease = self
                .leases()
                .get_opt(&names::event_claim_name(&event.name))
                .await?;
        }
        Err(ClaimError::Contended)
    }

    /// Takes out of a Lease what was kept. If that fails, it is done another time.
    async fn forget(&self, lease: &Lease) {
        let gone = json!({ "metadata": {
            "resourceVersion": lease.resource_version(),
            "labels": { names::EVENT: null, names::EVENT_TRIGGER: null },
            "annotations": { names::KEPT_EVENT: null },
        }});
        let params = PatchParams {
            field_manager: Some(self.field_manager.to_owned()),
            ..PatchParams::default()
        };
        let name = lease.name_any();
        let patched = self.leases().patch(&name, &params, &Patch::Merge(&gone)).await;
        if let Err(error) = patched
            && !is_stale(&error)
            && !is_missing(&error)
        {
            tracing::warn!(lease = %name, error = %error_chain(&error), "an event that was taken is still kept");
        }
    }

    /// Deletes what is kept for nobody.
    async fn drop_unexpected(
        &self,
        kept: Vec<KeptEvent>,
        expecting: &Expecting,
        now: Timestamp,
    ) -> Result<(), ClaimError> {
        for KeptEvent { event, lease } in kept {
            let is_old = now.duration_since(event.at) > LONGEST;
            let is_claimed = || {
                lease
                    .spec
                    .as_ref()
                    .is_some_and(|spec| spec.holder_identity.is_some())
            };
            if !is_old && (is_claimed() || is_expected(expecting, &event)) {
                continue;
            }
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: lease.uid(),
                    resource_version: lease.resource_version(),
                }),
                ..DeleteParams::default()
            };
            match self.leases().delete(&lease.name_any(), &params).await {
                Ok(_) => tracing::info!(event = %event.name, "an event was kept for nobody and is given up"),
                Err(error) if is_stale(&error) || is_missing(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Gives all events that are kept to waits that are open, and gives up those that no run may wait for any more.
///
/// # Errors
/// If the API server refused or did not answer.
pub async fn sweep(
    context: &Context,
    releases: &Releases,
    field_manager: &'static str,
) -> Result<(), ClaimError> {
    let leases: Api<Lease> = context.all();
    let all = leases.list(&ListParams::default().labels(names::EVENT)).await?;
    let mut of_namespaces: BTreeMap<String, Vec<KeptEvent>> = BTreeMap::new();
    for lease in &all.items {
        let (Some(namespace), Some(kept)) = (lease.namespace(), KeptEvent::of(lease)) else {
            continue;
        };
        of_namespaces.entry(namespace).or_default().push(kept);
    }
    for (namespace, mut kept) in of_namespaces {
        let claims = EventClaims {
            context,
            releases,
            namespace: &namespace,
            field_manager,
        };
        kept.sort_by(|a, b| (a.event.at, &a.event.name).cmp(&(b.event.at, &b.event.name)));
        // in this order: a run whose wait begins meanwhile is among the first or takes its event
        let triggers = kept.iter().map(|kept| kept.event.of_trigger()).collect();
        let expecting = claims.expecting(&triggers).await?;
        let taken = Box::pin(claims.give(kept.clone())).await?;
        kept.retain(|kept| !taken.contains(&kept.event.name));
        claims.drop_unexpected(kept, &expecting, context.now()).await?;
    }
    Ok(())
}
