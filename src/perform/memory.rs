//! Memory for content of the store that calls hold whole. There is room for a few of them; namespaces share it.
//!
//! A call waits for room before it reads anything, while it holds none, so those that wait never keep each other waiting. The wait is
//! no part of an attempt's time: each call holds room for no longer than its own attempt may take.

use crate::cluster::fairness::{Permit, Permits};

/// How many calls hold content at the same time. Each has a bound of its own.
const CALLS: usize = 4;
/// Content that needs no room, in bytes.
const LITTLE: u64 = 256 * 1024;

/// The room. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Memory(Permits);

/// Room for the content of one call, until it is dropped. Little content needs none.
#[derive(Debug)]
pub(super) struct Room {
    _permit: Option<Permit>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::for_calls(CALLS)
    }
}

impl Memory {
    pub(super) fn for_calls(calls: usize) -> Self {
        Self(Permits::that_leave_some(calls))
    }

    /// Room for so many bytes, when there is some and it is the namespace's turn.
    pub(super) async fn room(&self, namespace: &str, bytes: u64) -> Room {
        let permit = if bytes > LITTLE {
            Some(self.0.acquire(namespace).await)
        } else {
            None
        };
        Room { _permit: permit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn few_calls_hold_much_content_and_one_namespace_leaves_some_room() {
        let memory = Memory::default();
        let held: Vec<_> = std::iter::from_fn(|| memory.room("a", 1 << 20).now_or_never()).collect();
        assert_eq!(held.len(), 3);
        assert!(memory.room("a", LITTLE).now_or_never().is_some());
        let _of_b = memory.room("b", 1 << 20).await;
        let mut waits = Box::pin(memory.room("b", 1 << 20));
        assert!((&mut waits).now_or_never().is_none());
        drop(held);
        waits.await;
    }
}
