//! Per-object exponential backoff.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// First pause after a failure.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause.
pub const LONGEST: Duration = Duration::from_mins(2);

/// How often each object has failed in a row.
#[derive(Debug)]
pub struct Backoffs<K>(Mutex<HashMap<K, u32>>);

impl<K> Default for Backoffs<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Backoffs<K> {
    /// Counts a failure and gives the pause before the next try: half a second, doubling up to two minutes.
    pub fn failed(&self, key: K) -> Duration {
        let mut failures = self.lock();
        let count = failures.entry(key).or_default();
        let pause = FIRST.saturating_mul(1 << (*count).min(16)).min(LONGEST);
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
        assert_eq!(backoffs.failed("a"), LONGEST);
        backoffs.succeeded(&"a");
        assert_eq!(backoffs.failed("a"), FIRST);
    }
}
