//! Who waits for events, or may wait later: without the runs around it, which can be large and many.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt as _, api::ListParams};

use super::{ArrivedEvent, ClaimError, EventClaims, MAY_WAIT, WAITING};
use signoff_api::{
    Run,
    reason::{Classified as _, ErrorClass},
};
use signoff_engine::events::{self, OpenWait, may_await};

/// How many runs are read at a time.
const PAGE: u32 = 25;

/// A wait that is open for events.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) wait: OpenWait,
    /// Hash of the events that it waits for.
    pub(super) hash: String,
    pub(super) run: SlimRun,
    /// Release that its run uses.
    pub(super) release: String,
}

/// A run that may begin to wait.
#[derive(Clone, Debug)]
pub(super) struct SlimRun {
    pub(super) name: String,
    created: Option<Timestamp>,
}

impl SlimRun {
    fn of(run: &Run) -> Self {
        Self {
            name: run.name_any(),
            created: run.metadata.creation_timestamp.as_ref().map(|at| at.0),
        }
    }

    /// Whether a run had begun when an event came. A run is not there before the event that started it.
    pub(super) fn began_before(&self, event: &ArrivedEvent) -> bool {
        // the API server cuts off parts of seconds
        self.created.is_some_and(|created| created <= event.at) && self.name != event.name
    }
}

/// A trigger: its flow and its name.
pub(super) type Trigger = (String, String);

/// The runs that may begin to wait for events of triggers.
pub(super) type Expecting = BTreeMap<Trigger, Vec<SlimRun>>;

/// Whether a run that began before an event may still begin to wait for it.
pub(super) fn is_expected(expecting: &Expecting, event: &ArrivedEvent) -> bool {
    let runs = expecting.get(&event.of_trigger());
    runs.is_some_and(|runs| runs.iter().any(|run| run.began_before(event)))
}

/// What was seen for all events of a request: first who waits, then who may wait later, then who waits by now. A wait that
/// begins meanwhile is in one of them, since each was read after the one before.
#[derive(Debug, Default)]
pub(super) struct Looks {
    waiting: Option<Vec<Waiting>>,
    expecting: Option<Expecting>,
    by_now: Option<Vec<Waiting>>,
}

impl Looks {
    /// The waits that are open for events under these hashes, in the order in which they began.
    pub(super) async fn waiting(
        &mut self,
        claims: &EventClaims<'_>,
        hashes: &BTreeSet<String>,
    ) -> Result<&[Waiting], ClaimError> {
        if self.waiting.is_none() {
            self.waiting = Some(claims.waiting(hashes).await?);
        }
        Ok(self.waiting.as_deref().unwrap_or_default())
    }

    /// Whether a run that began before an event may still begin to wait for it.
    pub(super) async fn is_expected(
        &mut self,
        claims: &EventClaims<'_>,
        event: &ArrivedEvent,
    ) -> Result<bool, ClaimError> {
        if self.expecting.is_none() {
            // they are events of one trigger
            let triggers = BTreeSet::from([event.of_trigger()]);
            self.expecting = Some(claims.expecting(&triggers).await?);
        }
        Ok(self
            .expecting
            .as_ref()
            .is_some_and(|runs| is_expected(runs, event)))
    }

    /// The waits that were open after that.
    pub(super) async fn by_now(
        &mut self,
        claims: &EventClaims<'_>,
        hashes: &BTreeSet<String>,
    ) -> Result<&[Waiting], ClaimError> {
        if self.by_now.is_none() {
            self.by_now = Some(claims.waiting(hashes).await?);
        }
        Ok(self.by_now.as_deref().unwrap_or_default())
    }
}

impl EventClaims<'_> {
    /// The waits that are open for events under these hashes, in the order in which they began.
    pub(super) async fn waiting(&self, hashes: &BTreeSet<String>) -> Result<Vec<Waiting>, ClaimError> {
        let mut waiting = Vec::new();
        let mut selector = Some(String::new());
        while let Some(next) = selector.take() {
            let (runs, more) = self.page(WAITING, &next).await?;
            selector = more;
            for run in &runs {
                let Some(status) = &run.status else { continue };
                let Some(release) = &status.release else { continue };
                let open = events::open(status, hashes).into_iter();
                waiting.extend(open.map(|(hash, wait)| Waiting {
                    wait,
                    hash,
                    run: SlimRun::of(run),
                    release: release.name.clone(),
                }));
            }
        }
        waiting.sort_by(|a, b| {
            (a.wait.since, &a.run.name, &a.wait.key).cmp(&(b.wait.since, &b.run.name, &b.wait.key))
        });
        Ok(waiting)
    }

    /// The runs that may still begin to wait for events of triggers, each by its flow and its name.
    pub(super) async fn expecting(&self, triggers: &BTreeSet<Trigger>) -> Result<Expecting, ClaimError> {
        let mut expecting = Expecting::new();
        let mut selector = Some(String::new());
        while let Some(next) = selector.take() {
            let (runs, more) = self.page(MAY_WAIT, &next).await?;
            selector = more;
            for run in &runs {
                for trigger in triggers {
                    if self.may_await(run, trigger).await? {
                        expecting
                            .entry(trigger.clone())
                            .or_default()
                            .push(SlimRun::of(run));
                    }
                }
            }
        }
        Ok(expecting)
    }

    /// Whether a run may still begin to wait for events of a trigger.
    async fn may_await(&self, run: &Run, (flow, trigger): &Trigger) -> Result<bool, ClaimError> {
        let status = run.status.as_ref();
        let Some(status) = status.filter(|status| status.may_await_events == Some(true)) else {
            return Ok(false);
        };
        let Some(pinned) = &status.release else {
            return Ok(false);
        };
        match self.releases.load(self.namespace, &pinned.name).await {
            Ok(release) => {
                let plan = (&release.plan, release.facts.flow.as_str());
                Ok(may_await(plan, status, (flow, trigger)))
            }
            Err(error) if error.class() == ErrorClass::Transient => Err(error.into()),
            Err(_) => Ok(false),
        }
    }

    /// Some of the runs that are as a selector says and are not to stop, and where the next ones begin.
    async fn page(&self, selector: &str, from: &str) -> Result<(Vec<Run>, Option<String>), ClaimError> {
        let mut params = ListParams::default().fields(selector).limit(PAGE);
        if !from.is_empty() {
            params = params.continue_token(from);
        }
        let listed = self.context.list::<Run>(self.namespace, &params).await?;
        let runs = listed.items.into_iter().filter(goes_on).collect();
        Ok((runs, listed.next))
    }
}

/// Whether a run is not to stop.
pub(super) fn goes_on(run: &Run) -> bool {
    let stops = run.spec.cancel == Some(true) || run.spec.terminate == Some(true);
    !stops && run.metadata.deletion_timestamp.is_none()
}
