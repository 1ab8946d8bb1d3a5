//! How many control planes of one test run at once. Each is three servers, and mostly operators beside them: on a large machine the test runner
//! would start one for every core.

use std::sync::{Condvar, Mutex, PoisonError};

static TAKEN: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

/// Room for one; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Slot(());

impl Slot {
    /// Waits until there is room. Blocks.
    pub(super) fn take() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let most = (cores / 2).max(2);
        // what is counted is right even after a test has panicked
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = GIVEN_BACK
            .wait_while(taken, |taken| *taken >= most)
            .unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Self(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        GIVEN_BACK.notify_one();
    }
}
