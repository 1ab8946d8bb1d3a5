//! A number of permits that namespaces share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use compact_str::CompactString;
use tokio::sync::{oneshot, watch};

use super::{SHARE, may_take, queue::FairQueue};

/// Permits. Clones share them.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    freed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Whether some are always left for others.
    leaves_some: bool,
    held: HashMap<CompactString, usize>,
    waiting: FairQueue<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    namespace: CompactString,
    sender: oneshot::Sender<Permit>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    /// Where it goes back to.
    of: Option<Permits>,
    namespace: CompactString,
}

impl Permits {
    /// So many, of which some are always left for namespaces that hold less: for what may take long.
    pub fn that_leave_some(all: usize) -> Self {
        Self::new(all, true)
    }

    /// As many as one namespace may hold, and some more that are left for others.
    pub fn of_which_one_may_hold(share: usize) -> Self {
        Self::that_leave_some(share + share / SHARE)
    }

    /// So many, all of which one namespace may hold while no other wants any: for what takes a moment.
    pub fn new_in_turns(all: usize) -> Self {
        Self::new(all, false)
    }

    fn new(all: usize, leaves_some: bool) -> Self {
        let state = State {
            free: all,
            leaves_some,
            held: HashMap::new(),
            waiting: FairQueue::default(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            freed: watch::Sender::new(()),
        }))
    }

    /// A permit for a namespace, when there is one and it is the namespace's turn.
    pub async fn acquire(&self, namespace: &str) -> Permit {
        let waiting = {
            let mut state = self.lock();
            if let Some(permit) = self.take(&mut state, namespace) {
                return permit;
            }
            let (sender, receiver) = oneshot::channel();
            let namespace = CompactString::from(namespace);
            state
                .waiting
                .push(&namespace.clone(), Waiting { namespace, sender });
            receiver
        };
        match waiting.await {
            Ok(permit) => permit,
            // the sender is in the queue, which this handle keeps
            Err(_) => std::future::pending().await,
        }
    }

    /// A permit for a namespace, if it may have one now.
    pub fn try_acquire(&self, namespace: &str) -> Option<Permit> {
        self.take(&mut self.lock(), namespace)
    }

    /// Takes the first item of the first namespace whose turn it is and that may have a permit now, with the permit.
    pub fn pop<T>(&self, waiting: &mut FairQueue<T>) -> Option<(T, Permit)> {
        let mut permit = None;
        let item = waiting.pop_where(|namespace| {
            permit = self.try_acquire(namespace);
            permit.is_some()
        })?;
        Some((item, permit?))
    }

    /// Changes whenever a permit is given back.
    pub fn freed(&self) -> watch::Receiver<()> {
        self.0.freed.subscribe()
    }

    fn take(&self, state: &mut State, namespace: &str) -> Option<Permit> {
        state.may_take(namespace).then(|| {
            state.count(namespace);
            Permit {
                of: Some(self.clone()),
                namespace: namespace.into(),
            }
        })
    }

    fn give_back(&self, namespace: &str) {
        let mut state = self.lock();
        state.uncount(namespace);
        loop {
            let State {
                free,
                leaves_some,
                held,
                waiting,
            } = &mut *state;
            let next = waiting.pop_where(|namespace| may(*leaves_some, held, *free, namespace));
            let Some(Waiting { namespace, sender }) = next else {
                break;
            };
            state.count(&namespace);
            let permit = Permit {
                of: Some(self.clone()),
                namespace,
            };
            if let Err(mut unwanted) = sender.send(permit) {
                // who waited does so no more; it is given back here, since the lock is held
                unwanted.of = None;
                state.uncount(&unwanted.namespace);
            }
        }
        drop(state);
        self.0.freed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn may(leaves_some: bool, held: &HashMap<CompactString, usize>, free: usize, namespace: &str) -> bool {
    if leaves_some {
        may_take(held.get(namespace).copied().unwrap_or_default(), free)
    } else {
        free > 0
    }
}

impl State {
    fn may_take(&self, namespace: &str) -> bool {
        may(self.leaves_some, &self.held, self.free, namespace)
    }

    fn count(&mut self, namespace: &str) {
        self.free -= 1;
        match self.held.get_mut(namespace) {
            Some(held) => *held += 1,
            None => {
                self.held.insert(namespace.into(), 1);
            }
        }
    }

    fn uncount(&mut self, namespace: &str) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(namespace) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(namespace);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(permits) = self.of.take() {
            permits.give_back(&self.namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn one_namespace_leaves_some_for_another() {
        let permits = Permits::that_leave_some(8);
        let mut of_a: Vec<_> = std::iter::from_fn(|| permits.try_acquire("a")).collect();
        assert_eq!(of_a.len(), 6);
        let mut waits = Box::pin(permits.acquire("a"));
        assert!((&mut waits).now_or_never().is_none());
        let of_b = permits.acquire("b").await;
        assert!(permits.try_acquire("c").is_some());
        drop(of_b);
        assert!(
            (&mut waits).now_or_never().is_none(),
            "what others leave is not for it"
        );
        of_a.pop();
        drop(waits.await);
        drop(of_a);
        let state = permits.lock();
        assert_eq!((state.free, state.held.len(), state.waiting.len()), (8, 0, 0));
    }

    #[test]
    fn one_namespace_holds_as_many_as_it_may_where_others_have_room_beside() {
        for share in [4, 8, 16] {
            let permits = Permits::of_which_one_may_hold(share);
            let held: Vec<_> = std::iter::from_fn(|| permits.try_acquire("a")).collect();
            assert_eq!(held.len(), share);
            assert!(permits.try_acquire("b").is_some());
        }
    }

    #[tokio::test]
    async fn who_waits_takes_turns_and_who_waits_no_more_loses_nothing() {
        let permits = Permits::new_in_turns(1);
        let held = permits.acquire("a").await;
        let mut of_a = [(); 3].map(|()| Box::pin(permits.acquire("a")));
        let mut of_b = Box::pin(permits.acquire("b"));
        for waiting in &mut of_a {
            assert!(waiting.now_or_never().is_none());
        }
        assert!((&mut of_b).now_or_never().is_none());
        let [first, second, third] = of_a;
        drop(first);
        drop(held);
        // that of the one that waits no more is passed on at once
        let of_b = of_b.await;
        let mut second = second;
        assert!((&mut second).now_or_never().is_none());
        drop(of_b);
        drop(second.await);
        // it was given to the third, which never took it
        assert!(permits.try_acquire("b").is_none());
        drop(third);
        assert!(permits.try_acquire("b").is_some());
        let state = permits.lock();
        assert_eq!((state.free, state.held.len()), (1, 0));
    }

    #[tokio::test]
    async fn it_is_told_when_one_is_given_back() {
        let permits = Permits::new_in_turns(1);
        let mut freed = permits.freed();
        let held = permits.try_acquire("a");
        assert!(freed.changed().now_or_never().is_none());
        drop(held);
        freed.changed().await.unwrap();
    }
}
