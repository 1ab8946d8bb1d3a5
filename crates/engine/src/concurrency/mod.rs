//! Which of the runs that have the same key go on, and which wait.
//!
//! All unfinished runs of a namespace with the same key are a [`Group`]. It says who holds a place: those that hold one
//! keep it until they end, and of those that wait, the one that was created first is next.

mod group;
#[cfg(test)]
mod tests;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub use self::group::{Decision, Group, Settled, Ticket, Waiter};
use signoff_api::concurrency::{ConcurrencyScope, ConcurrencyStatus};

/// Whether a run may begin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Place {
    /// Nothing holds it back: the flow has no limit, or the run has begun.
    #[default]
    Unlimited,
    /// It has a place.
    Held,
    /// It shares the place of this run, which started it.
    Shared(String),
    /// It waits.
    Queued {
        /// Its position in the queue, from 1.
        position: usize,
        /// Runs that hold the places.
        holders: Holders,
    },
    /// There is no place for it, and it does not wait.
    Full(Holders),
}

/// The runs that hold the places of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holders {
    /// The oldest of them.
    pub first: String,
    /// How many others there are.
    pub others: usize,
}

impl std::fmt::Display for Holders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.others {
            0 => write!(f, "run {} holds it", self.first),
            1 => write!(f, "run {} and 1 other hold it", self.first),
            others => write!(f, "run {} and {others} others hold it", self.first),
        }
    }
}

/// What the runs of a namespace have in common that share places: a hash of the scope, the flow if that is the scope, and
/// the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupMark([u8; 16]);

impl GroupMark {
    /// That of a run of a flow.
    pub fn of(flow: &str, concurrency: &ConcurrencyStatus) -> Self {
        let scope = match concurrency.scope {
            ConcurrencyScope::Flow => flow,
            // no flow is called so
            ConcurrencyScope::Namespace => "",
        };
        let mut hash = Sha256::new();
        hash.update(scope.as_bytes());
        hash.update([0]);
        hash.update(concurrency.key.as_bytes());
        let mut mark = [0; 16];
        mark.copy_from_slice(&hash.finalize()[..16]);
        Self(mark)
    }
}
