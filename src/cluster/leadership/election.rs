//! The campaign for a Lease: take it when it is free, renew it while leading, give it back at the end.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    LeaderHandle,
    lease::{self, LeaseClaim, Observed},
};
use crate::cluster::{context::Clock, error_chain};

/// Longest wait for one answer of the API server.
const ANSWER: Duration = Duration::from_secs(4);

/// How long things may take. What one process does ends well before another may begin: `renew_within` is shorter than `lease`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a lease that is not renewed keeps others out, in whole seconds.
    pub lease: Duration,
    /// How long a leader acts without a renewal.
    pub renew_within: Duration,
    /// Pause between renewals.
    pub renew_every: Duration,
    /// Pause between two looks at a lease that somebody else holds.
    pub look_every: Duration,
}

impl Timing {
    /// Shortest lease, so that a leader has time to renew it.
    pub const SHORTEST: Duration = Duration::from_secs(3);

    /// In the proportions that have proven good for Kubernetes' own controllers: a leader that cannot renew acts for two thirds of the
    /// lease, which leaves the last third for clocks that run at other speeds. Cut to whole seconds, as a Lease holds them.
    pub fn of_lease(lease: Duration) -> Self {
        let lease = Duration::from_secs(lease.max(Self::SHORTEST).as_secs());
        Self {
            lease,
            renew_within: lease * 2 / 3,
            renew_every: lease * 4 / 15,
            look_every: lease / 15,
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::of_lease(Duration::from_secs(15))
    }
}

/// One process's campaign.
#[derive(Clone)]
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    clock: Clock,
}

impl std::fmt::Debug for Election {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Election");
        shown
            .field("name", &self.name)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Election {
    /// A campaign of `identity`, which no other process may share, for the Lease `name`.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        timing: Timing,
        clock: Clock,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            timing,
            clock,
        }
    }

    /// Campaigns until `retire`, then gives back the lease if it is held. Nothing may be done as leader any more by then.
    pub async fn campaign(self, mandate: LeaderHandle, retire: CancellationToken) {
        let mut known = None;
        let mut leads = false;
        let mut failing = false;
        loop {
            // the term counts from before the request, so that it ends here before it can end for others
            let began = Instant::now();
            let mut pause = self.timing.look_every;
            match tokio::time::timeout(ANSWER, self.attempt(&mut known)).await {
                Ok(Ok(held)) => {
                    failing = false;
                    if held != leads {
                        self.tell(held, known.as_ref());
                    }
                    leads = held;
                    if held {
                        pause = self.timing.renew_every;
                        mandate.lead_until(began + self.timing.renew_within);
                    } else {
                        mandate.end();
                    }
                }
                // what is held stays held until its own end
                failed => {
                    if !std::mem::replace(&mut failing, true) {
                        let why = match failed {
                            Ok(Err(error)) => error_chain(&error),
                            _ => "the API server does not answer".to_owned(),
                        };
                        tracing::warn!(lease = %self.name, error = %why, "the lease cannot be read or written; trying again until it can");
                    }
                }
            }
            let pause = pause.saturating_sub(began.elapsed());
            if retire
                .run_until_cancelled(tokio::time::sleep(pause))
                .await
                .is_none()
            {
                break;
            }
        }
        mandate.end();
        if leads {
            self.release(known).await;
        }
    }

    fn tell(&self, held: bool, known: Option<&Observed>) {
        if held {
            tracing::info!(lease = %self.name, identity = %self.identity, "this process leads");
        } else {
            let holder = known.and_then(Observed::holder).unwrap_or_default();
            tracing::warn!(lease = %self.name, holder, "this process leads no more");
        }
    }

    /// Takes or renews the lease if it may. Says whether this process holds it.
    async fn attempt(&self, known: &mut Option<Observed>) -> Result<bool, kube::Error> {
        let Some(read) = self.api.get_opt(&self.name).await? else {
            let lease = lease::first(&self.name, &self.identity, self.timing.lease, self.clock.now());
            let made = refused_as_none(self.api.create(&PostParams::default(), &lease).await)?;
            return Ok(took(known, made));
        };
        let now = Instant::now();
        let seen = Observed::update(known.take(), read, now);
        let claim = seen.claim(&self.identity, now);
        let wanted = seen.held_by(&self.identity, self.timing.lease, self.clock.now());
        *known = Some(seen);
        if claim == LeaseClaim::Respect {
            return Ok(false);
        }
        let replaced = self
            .api
            .replace(&self.name, &PostParams::default(), &wanted)
            .await;
        let replaced = refused_as_none(replaced)?;
        Ok(took(known, replaced))
    }

    async fn release(&self, known: Option<Observed>) {
        let Some(known) = known.filter(|known| known.holder() == Some(&self.identity)) else {
            return;
        };
        let lease = known.released(self.clock.now());
        let params = PostParams::default();
        let replaced = self.api.replace(&self.name, &params, &lease);
        match tokio::time::timeout(ANSWER, replaced).await {
            Ok(Ok(_)) => tracing::info!(lease = %self.name, "the lease is given back"),
            // it ends by itself
            Ok(Err(error)) => {
                tracing::warn!(lease = %self.name, error = %error_chain(&error), "the lease could not be given back");
            }
            Err(_) => tracing::warn!(lease = %self.name, "the lease could not be given back in time"),
        }
    }
}

/// Takes in what was acknowledged; nothing when somebody was faster.
fn took(known: &mut Option<Observed>, lease: Option<Lease>) -> bool {
    let Some(lease) = lease else { return false };
    *known = Some(Observed::update(None, lease, Instant::now()));
    true
}

/// Somebody else was faster: nothing, which is no error.
fn refused_as_none(result: Result<Lease, kube::Error>) -> Result<Option<Lease>, kube::Error> {
    match result {
        Ok(lease) => Ok(Some(lease)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}
