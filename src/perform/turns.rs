//! Turns of calls through Connections that have limits. One process performs all calls of a namespace, so it counts them
//! in memory. Within a Connection, runs take turns.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use crate::cluster::fairness::FairQueue;
use signoff_api::connection::ConnectionLimits;

/// The time that `perMinute` is about.
const MINUTE: Duration = Duration::from_mins(1);

/// The turns. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct CallTurns(Arc<Mutex<HashMap<Key, Lane>>>);

/// Namespace and name of a Connection.
type Key = (String, String);

/// The calls through one Connection.
#[derive(Debug, Default)]
struct Lane {
    limits: ConnectionLimits,
    running: usize,
    /// When calls of the last minute began.
    begun: VecDeque<Instant>,
    waiting: FairQueue<oneshot::Sender<CallTurn>>,
    /// Whether somebody looks again when the next call may begin.
    is_timed: bool,
}

/// The right to make one call, until it is dropped.
#[derive(Debug)]
pub struct CallTurn {
    /// Where it goes back to.
    of: Option<CallTurns>,
    key: Key,
}

impl CallTurns {
    /// A turn for a call of a run, when the limits allow it and it is the run's turn. Whoever waits no more loses nothing.
    pub async fn acquire(
        &self,
        (namespace, connection): (&str, &str),
        run: &str,
        limits: &ConnectionLimits,
    ) -> CallTurn {
        let key = (namespace.to_owned(), connection.to_owned());
        let (sender, receiver) = oneshot::channel();
        {
            let mut lanes = self.lock();
            if !lanes.contains_key(&key) {
                let now = Instant::now();
                lanes.retain(|_, lane| lane.is_in_use(now));
            }
            let lane = lanes.entry(key.clone()).or_default();
            lane.limits = limits.clone();
            lane.waiting.push(run, sender);
            self.give(&key, lane);
        }
        match receiver.await {
            Ok(turn) => turn,
            // the sender is in the queue, which this handle keeps
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives the turns that there are.
    fn give(&self, key: &Key, lane: &mut Lane) {
        loop {
            let now = Instant::now();
            lane.forget_old(now);
            if lane.waiting.is_empty() || lane.is_full() {
                return;
            }
            if let Some(at) = lane.next_at() {
                if !std::mem::replace(&mut lane.is_timed, true) {
                    self.give_at(key.clone(), at);
                }
                return;
            }
            let Some(next) = lane.waiting.pop() else { return };
            let turn = CallTurn {
                of: Some(self.clone()),
                key: key.clone(),
            };
            match next.send(turn) {
                Ok(()) => {
                    lane.running += 1;
                    lane.begun.push_back(now);
                }
                // who waited does so no more; the lock is held, so it is not given back
                Err(mut unwanted) => unwanted.of = None,
            }
        }
    }

    /// Looks again at a time.
    fn give_at(&self, key: Key, at: Instant) {
        let turns = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            let Some(turns) = turns.upgrade() else { return };
            let turns = Self(turns);
            let mut lanes = turns.lock();
            if let Some(lane) = lanes.get_mut(&key) {
                lane.is_timed = false;
                turns.give(&key, lane);
            }
        });
    }

    fn give_back(&self, key: &Key) {
        let mut lanes = self.lock();
        if let Some(lane) = lanes.get_mut(key) {
            lane.running = lane.running.saturating_sub(1);
            self.give(key, lane);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Lane>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn forget_old(&mut self, now: Instant) {
        while self.begun.front().is_some_and(|at| *at + MINUTE <= now) {
            self.begun.pop_front();
        }
    }

    fn is_full(&self) -> bool {
        let most = self.limits.max_parallel.map(most);
        most.is_some_and(|most| self.running >= most)
    }

    /// When the next call may begin, if as many as may be have begun in the last minute.
    fn next_at(&self) -> Option<Instant> {
        let most = most(self.limits.per_minute?);
        // it was lowered if more have begun
        let oldest = self.begun.len().checked_sub(most)?;
        self.begun.get(oldest).map(|at| *at + MINUTE)
    }

    fn is_in_use(&self, now: Instant) -> bool {
        let is_recent = self.begun.back().is_some_and(|at| *at + MINUTE > now);
        self.running > 0 || !self.waiting.is_empty() || is_recent
    }
}

/// A limit, which is at least one.
fn most(limit: i64) -> usize {
    usize::try_from(limit).unwrap_or_default().max(1)
}

impl Drop for CallTurn {
    fn drop(&mut self) {
        if let Some(turns) = self.of.take() {
            turns.give_back(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    const SHOP: (&str, &str) = ("a", "shop");

    fn limits(max_parallel: Option<i64>, per_minute: Option<i64>) -> ConnectionLimits {
        ConnectionLimits {
            max_parallel,
            per_minute,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_calls_go_on_at_the_same_time_and_runs_take_turns() {
        let turns = CallTurns::default();
        let two = limits(Some(2), None);
        let first = turns.acquire(SHOP, "r", &two).await;
        let second = turns.acquire(SHOP, "r", &two).await;
        let mut of_r = [(); 2].map(|()| Box::pin(turns.acquire(SHOP, "r", &two)));
        let mut of_s = Box::pin(turns.acquire(SHOP, "s", &two));
        for waits in &mut of_r {
            assert!(waits.now_or_never().is_none());
        }
        assert!((&mut of_s).now_or_never().is_none());
        // another Connection is not held up
        assert!(turns.acquire(("b", "shop"), "r", &two).now_or_never().is_some());
        drop(first);
        let [third, mut fourth] = of_r;
        let third = third.await;
        drop(second);
        let _of_s = of_s.await;
        assert!((&mut fourth).now_or_never().is_none());
        drop(third);
        drop(fourth.await);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_calls_begin_in_any_minute() {
        let turns = CallTurns::default();
        let three = limits(None, Some(3));
        let began = Instant::now();
        let mut at = Vec::new();
        for _ in 0..7 {
            drop(turns.acquire(SHOP, "r", &three).await);
            at.push(began.elapsed().as_secs());
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(at, [0, 10, 20, 60, 70, 80, 120]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_no_more_takes_no_turn() {
        let turns = CallTurns::default();
        let one = limits(Some(1), Some(2));
        let held = turns.acquire(SHOP, "r", &one).await;
        let mut gone = Box::pin(turns.acquire(SHOP, "r", &one));
        let mut next = Box::pin(turns.acquire(SHOP, "s", &one));
        assert!((&mut gone).now_or_never().is_none());
        assert!((&mut next).now_or_never().is_none());
        drop(gone);
        drop(held);
        drop(next.await);
        // one that was given its turn and did not take it has not called, but its turn is over
        assert_eq!(turns.lock()[&("a".to_owned(), "shop".to_owned())].running, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_that_are_raised_count_from_the_next_call() {
        let turns = CallTurns::default();
        let (one, three) = (limits(Some(1), None), limits(Some(3), None));
        let held = turns.acquire(SHOP, "r", &one).await;
        let mut waits = Box::pin(turns.acquire(SHOP, "r", &one));
        assert!((&mut waits).now_or_never().is_none());
        let another = turns.acquire(SHOP, "s", &three).await;
        waits.await;
        drop((held, another));
        let later = Instant::now() + MINUTE;
        assert!(!turns.lock().values().any(|lane| lane.is_in_use(later)));
    }
}
