//! What is read from a Lease and what is written to it; no clock and no client.
//!
//! Times in a Lease are for people. Whether a holder is alive is judged by how long the record has stayed the same as seen from
//! here, so clocks that disagree do no harm (as in client-go's leader election).

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::api::ObjectMeta;
use tokio::time::Instant;

use signoff_api::names;

/// A Lease as it was first seen in this state.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    lease: Lease,
    since: Instant,
}

/// What a process may do with a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseClaim {
    /// It is the holder and goes on.
    Renew,
    /// Nobody holds it, or who does has been silent for too long.
    Take,
    /// Somebody else holds it.
    Respect,
}

impl Observed {
    /// Takes in what was read at `now`; a record that is still the same keeps the time at which it was first seen.
    pub(super) fn update(known: Option<Self>, lease: Lease, now: Instant) -> Self {
        match known {
            Some(known) if known.lease.metadata.resource_version == lease.metadata.resource_version => known,
            _ => Self { lease, since: now },
        }
    }

    pub(super) fn claim(&self, identity: &str, now: Instant) -> LeaseClaim {
        let spec = self.lease.spec.clone().unwrap_or_default();
        match spec.holder_identity.as_deref() {
            None | Some("") => LeaseClaim::Take,
            Some(holder) if holder == identity => LeaseClaim::Renew,
            Some(_) => {
                let seconds = spec.lease_duration_seconds.unwrap_or_default();
                let silent = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
                if now.duration_since(self.since) >= silent {
                    LeaseClaim::Take
                } else {
                    LeaseClaim::Respect
                }
            }
        }
    }

    pub(super) fn holder(&self) -> Option<&str> {
        self.lease.spec.as_ref()?.holder_identity.as_deref()
    }

    /// The record with this holder. It carries the `resourceVersion` it was read with, so that only one of two rivals can write it.
    pub(super) fn held_by(&self, identity: &str, lasting: Duration, now: Timestamp) -> Lease {
        let mut lease = self.lease.clone();
        lease.metadata.managed_fields = None;
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(identity) {
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
            spec.acquire_time = Some(MicroTime(now));
        }
        spec.holder_identity = Some(identity.to_owned());
        spec.lease_duration_seconds = Some(seconds(lasting));
        spec.renew_time = Some(MicroTime(now));
        lease
    }

    /// The record without a holder, so that the next one need not wait.
    pub(super) fn released(&self, now: Timestamp) -> Lease {
        let mut lease = self.lease.clone();
        lease.metadata.managed_fields = None;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(now));
        lease
    }
}

/// The first record.
pub(super) fn first(name: &str, identity: &str, lasting: Duration, now: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(names::MANAGED_BY.to_owned(), names::MANAGED_BY_VALUE.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: Some(seconds(lasting)),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        }),
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(holder: &str, version: &str) -> Lease {
        let mut lease = first("l", holder, Duration::from_secs(15), Timestamp::UNIX_EPOCH);
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    #[test]
    fn a_silent_holder_is_replaced_by_the_reader_s_own_clock_only() {
        let start = Instant::now();
        let seen = Observed::update(None, read("other", "1"), start);
        // its times are decades old, which says nothing
        assert_eq!(seen.claim("me", start), LeaseClaim::Respect);
        let later = start + Duration::from_secs(14);
        let seen = Observed::update(Some(seen), read("other", "1"), later);
        assert_eq!(seen.claim("me", later), LeaseClaim::Respect);
        let renewed = Observed::update(Some(seen.clone()), read("other", "2"), later);
        let late = start + Duration::from_secs(15);
        assert_eq!(seen.claim("me", late), LeaseClaim::Take);
        assert_eq!(renewed.claim("me", late), LeaseClaim::Respect);
    }

    #[test]
    fn a_released_lease_is_free_at_once_and_the_holder_renews() {
        let now = Instant::now();
        let seen = Observed::update(None, read("me", "1"), now);
        assert_eq!(seen.claim("me", now), LeaseClaim::Renew);
        let free = Observed::update(None, seen.released(Timestamp::UNIX_EPOCH), now);
        assert_eq!(free.claim("other", now), LeaseClaim::Take);
    }

    #[test]
    fn a_change_of_holder_is_counted_and_a_renewal_is_not() {
        let seen = Observed::update(None, read("a", "1"), Instant::now());
        let transitions = |lease: Lease| lease.spec.unwrap().lease_transitions;
        let lasting = Duration::from_secs(15);
        assert_eq!(
            transitions(seen.held_by("a", lasting, Timestamp::UNIX_EPOCH)),
            Some(0)
        );
        let taken = seen.held_by("b", lasting, Timestamp::UNIX_EPOCH);
        assert_eq!(taken.metadata.resource_version.as_deref(), Some("1"));
        assert_eq!(transitions(taken), Some(1));
    }
}
