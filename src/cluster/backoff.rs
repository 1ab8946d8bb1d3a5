//! Exponential back-off: how long to wait after so many failures in a row.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Pauses that double with each failure in a row, up to a longest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// However many there were.
    pub longest: Duration,
}

impl Backoff {
    /// For an object that cannot be brought forward: half a second, doubling up to two minutes.
    pub const OBJECT: Self = Self {
        first: Duration::from_millis(500),
        longest: Duration::from_mins(2),
    };

    /// The pause after one more failure than these.
    pub fn after(self, failures_before: u32) -> Duration {
        self.first
            .saturating_mul(1 << failures_before.min(16))
            .min(self.longest)
    }
}

/// How often each object has failed in a row.
#[derive(Debug)]
pub struct Backoffs<K>(Mutex<HashMap<K, u32>>);

impl<K> Default for Backoffs<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Backoffs<K> {
    /// Counts a failure and gives the pause before the next try.
    pub fn failed(&self, key: K) -> Duration {
        let mut failures = self.lock();
        let count = failures.entry(key).or_default();
        let pause = Backoff::OBJECT.after(*count);
        *count = count.saturating_add(1);
        pause
    }

    /// Forgets the failures of an object that succeeded or is gone.
    pub fn succeeded(&self, key: &K) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap_and_starts_anew_after_a_success() {
        let backoffs = Backoffs::default();
        let pauses: Vec<u128> = (0..4).map(|_| backoffs.failed("a").as_millis()).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000]);
        assert_eq!(backoffs.failed("b").as_millis(), 500);
        for _ in 0..50 {
            backoffs.failed("a");
        }
        assert_eq!(backoffs.failed("a"), Backoff::OBJECT.longest);
        backoffs.succeeded(&"a");
        assert_eq!(backoffs.failed("a"), Backoff::OBJECT.first);
    }
}
