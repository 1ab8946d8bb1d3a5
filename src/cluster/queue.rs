//! Work on objects by their names: one at a time for each, many at the same time for all, fair between namespaces, and none is kept that has
//! nothing to wait for.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::{Stream, StreamExt as _};
use kube::Resource;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    backoff::Backoffs,
    context::Context,
    fairness::{FairQueue, Permit, Permits},
    object_key::ObjectKey,
    parts::caught,
    timers::{Again, Due, Timers, Wake},
};

/// How many that wait are kept as they were shown; the others are read again.
const KEPT: usize = 256;

/// An object that has come or changed, or the name of one that has to be worked on for another reason.
#[derive(Debug)]
pub enum Touched<K> {
    /// As the watch has just shown it.
    Shown(Arc<K>),
    /// To be read.
    Named(ObjectKey<K>),
    /// There is nothing to do for it now; it is to be read at that time.
    Later(ObjectKey<K>, Wake),
}

/// What waits to be worked on.
struct Queue<K> {
    /// What is not worked on; namespaces take turns.
    waiting: FairQueue<ObjectKey<K>>,
    /// What the watch has last shown of those that wait, so that it need not be read.
    shown: HashMap<ObjectKey<K>, Option<Arc<K>>>,
    busy: HashSet<ObjectKey<K>>,
    turns: Permits,
    timers: Timers<ObjectKey<K>>,
    timer_of: HashMap<ObjectKey<K>, Due>,
}

/// Works on whatever is touched until `shutdown`, then lets what is under way end. A panic stays with the object at which it happened.
pub async fn run<K, F>(
    kind: &'static str,
    context: &Context,
    touched: impl Stream<Item = Touched<K>>,
    concurrency: usize,
    shutdown: CancellationToken,
    work: impl Fn(ObjectKey<K>, Option<Arc<K>>) -> F,
) where
    K: Resource<DynamicType = ()> + Send + Sync + 'static,
    F: Future<Output = Again> + Send + 'static,
{
    let mut queue = Queue::new(context.timers(), concurrency);
    let panics = Backoffs::default();
    let mut working: JoinSet<(ObjectKey<K>, Result<Again, String>)> = JoinSet::new();
    let mut touched = std::pin::pin!(touched);
    loop {
        while let Some((key, shown, turn)) = queue.next() {
            let job = work(key.clone(), shown);
            working.spawn(async move {
                let done = caught(job).await;
                drop(turn);
                (key, done)
            });
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(done) = working.join_next() => match done {
                Ok((key, Ok(again))) => {
                    panics.succeeded(&key);
                    queue.done(&key, again);
                }
                Ok((key, Err(panic))) => {
                    context.panicked(kind, &key, &panic);
                    queue.done(&key, Some(Wake::After(panics.failed(key.clone()))));
                }
                // it was stopped, as everything is
                Err(_) => {}
            },
            Some(key) = queue.timers.next() => {
                queue.timer_of.remove(&key);
                queue.touch(key, None);
            }
            Some(next) = touched.next() => match next {
                Touched::Shown(object) => queue.touch(ObjectKey::of(&*object), Some(object)),
                Touched::Named(key) => queue.touch(key, None),
                Touched::Later(key, wake) => queue.later(key, wake),
            },
            else => break,
        }
    }
    while working.join_next().await.is_some() {}
}

impl<K> Queue<K> {
    fn new(timers: Timers<ObjectKey<K>>, concurrency: usize) -> Self {
        Self {
            waiting: FairQueue::default(),
            shown: HashMap::new(),
            busy: HashSet::new(),
            turns: Permits::that_leave_some(concurrency),
            timers,
            timer_of: HashMap::new(),
        }
    }

    fn touch(&mut self, key: ObjectKey<K>, shown: Option<Arc<K>>) {
        let shown = shown.filter(|_| self.waiting.len() < KEPT);
        // what the watch shows later is newer; a mere name is a reason to read it
        // one that is worked on waits for its end
        if self.shown.insert(key.clone(), shown).is_none() && !self.busy.contains(&key) {
            self.wait(key);
        }
    }

    /// Lets an object wait for a time. One that is about to be worked on, or is worked on now, says itself when that is.
    fn later(&mut self, key: ObjectKey<K>, wake: Wake) {
        if self.shown.contains_key(&key) || self.busy.contains(&key) {
            return;
        }
        let timer = self.timers.insert(key.clone(), wake);
        if let Some(before) = self
            .timer_of
            .insert(key.clone(), timer)
            .filter(|before| *before != timer)
        {
            self.timers.remove(key, before);
        }
    }

    fn wait(&mut self, key: ObjectKey<K>) {
        let namespace = key.namespace().to_owned();
        self.waiting.push(&namespace, key);
    }

    /// The next that waits and whose namespace has a turn. One namespace leaves some of them for others.
    fn next(&mut self) -> Option<(ObjectKey<K>, Option<Arc<K>>, Permit)> {
        let (key, turn) = self.turns.pop(&mut self.waiting)?;
        let shown = self.shown.remove(&key).flatten();
        if let Some(timer) = self.timer_of.remove(&key) {
            self.timers.remove(key.clone(), timer);
        }
        self.busy.insert(key.clone());
        if self.waiting.is_empty() {
            // a burst may have made it long
            self.shown.shrink_to(KEPT);
        }
        Some((key, shown, turn))
    }

    fn done(&mut self, key: &ObjectKey<K>, again: Again) {
        self.busy.remove(key);
        if self.shown.contains_key(key) {
            // what came meanwhile is a reason to work on it again
            self.wait(key.clone());
        } else if let Some(wake) = again {
            let timer = self.timers.insert(key.clone(), wake);
            self.timer_of.insert(key.clone(), timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use kube::{Client, client::Body};

    use super::*;
    use crate::cluster::{context::Clock, object_key::ApprovalKey};

    fn context() -> Context {
        let nobody = tower::service_fn(|_: http::Request<Body>| {
            std::future::pending::<Result<http::Response<Body>, kube::Error>>()
        });
        Context::new(Client::new(nobody, "ns"), Clock::system())
    }

    fn key(name: &str) -> ApprovalKey {
        ApprovalKey::new("ns", name)
    }

    #[tokio::test]
    async fn one_is_worked_on_once_at_a_time_and_again_for_what_came_meanwhile() {
        let (sender, touched) = futures::channel::mpsc::unbounded();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let shutdown = CancellationToken::new();
        for name in ["a", "a", "b"] {
            sender.unbounded_send(Touched::Named(key(name))).unwrap();
        }
        let (told, stop) = (Arc::clone(&log), shutdown.clone());
        let work = move |key: ApprovalKey, _| {
            let (log, sender, stop) = (Arc::clone(&told), sender.clone(), stop.clone());
            async move {
                let times = {
                    let mut log = log.lock().unwrap();
                    log.push(format!("begin {}", key.name()));
                    log.iter()
                        .filter(|line| **line == format!("begin {}", key.name()))
                        .count()
                };
                if key.name() == "a" && times == 1 {
                    sender.unbounded_send(Touched::Named(key.clone())).unwrap();
                }
                tokio::task::yield_now().await;
                log.lock().unwrap().push(format!("end {}", key.name()));
                if times == 2 {
                    stop.cancel();
                }
                None
            }
        };
        run("Approval", &context(), touched, 4, shutdown, work).await;
        let log = log.lock().unwrap();
        let of_a: Vec<_> = log.iter().filter(|line| line.ends_with('a')).collect();
        assert_eq!(of_a, ["begin a", "end a", "begin a", "end a"]);
        assert!(log.contains(&"end b".to_owned()));
    }

    #[tokio::test]
    async fn many_of_one_namespace_do_not_hold_up_one_of_another() {
        let (sender, touched) = futures::channel::mpsc::unbounded();
        let shutdown = CancellationToken::new();
        for number in 0..100 {
            sender
                .unbounded_send(Touched::Named(key(&number.to_string())))
                .unwrap();
        }
        sender
            .unbounded_send(Touched::Named(ApprovalKey::new("other", "a")))
            .unwrap();
        let stop = shutdown.clone();
        // those of the first namespace never end
        let work = move |key: ApprovalKey, _| {
            let stop = stop.clone();
            async move {
                if key.namespace() == "other" {
                    stop.cancel();
                    return None;
                }
                stop.cancelled().await;
                None
            }
        };
        run("Approval", &context(), touched, 8, shutdown, work).await;
        drop(sender);
    }

    #[tokio::test]
    async fn one_that_asks_for_it_is_looked_at_again() {
        let (sender, touched) = futures::channel::mpsc::unbounded();
        let shutdown = CancellationToken::new();
        sender.unbounded_send(Touched::Named(key("a"))).unwrap();
        let (stop, times) = (shutdown.clone(), Arc::new(Mutex::new(0)));
        let work = move |_, _| {
            let mut times = times.lock().unwrap();
            *times += 1;
            let again = (*times < 3).then_some(Wake::After(Duration::from_millis(1)));
            if again.is_none() {
                stop.cancel();
            }
            async move { again }
        };
        run("Approval", &context(), touched, 4, shutdown, work).await;
        drop(sender);
    }

    #[tokio::test]
    async fn one_that_has_nothing_to_do_now_is_worked_on_once_when_its_time_comes() {
        let (sender, touched) = futures::channel::mpsc::unbounded();
        let shutdown = CancellationToken::new();
        let wakes = [Duration::from_secs(3_600), Duration::from_millis(1)];
        for wake in wakes {
            sender
                .unbounded_send(Touched::Later(key("a"), Wake::After(wake)))
                .unwrap();
        }
        let (stop, times) = (shutdown.clone(), Arc::new(Mutex::new(0)));
        let counted = Arc::clone(&times);
        let work = move |_, shown: Option<Arc<_>>| {
            assert!(shown.is_none(), "it is read");
            *counted.lock().unwrap() += 1;
            stop.cancel();
            std::future::ready(None)
        };
        run("Approval", &context(), touched, 4, shutdown, work).await;
        assert_eq!(*times.lock().unwrap(), 1);
        drop(sender);
    }

    #[tokio::test]
    async fn one_that_is_about_to_be_worked_on_does_not_wait_for_a_time() {
        let mut queue = Queue::<signoff_api::Approval>::new(context().timers(), 4);
        let (waits, works) = (key("waits"), key("works"));
        queue.touch(works.clone(), None);
        let (next, _, _turn) = queue.next().unwrap();
        assert_eq!(next, works);
        queue.touch(waits.clone(), None);
        for key in [&waits, &works] {
            queue.later(key.clone(), Wake::After(Duration::ZERO));
        }
        assert!(queue.timer_of.is_empty());
        queue.done(&works, None);
        queue.later(works.clone(), Wake::After(Duration::ZERO));
        assert!(queue.timer_of.contains_key(&works));
    }

    #[tokio::test]
    async fn one_whose_judging_panics_is_judged_again_and_holds_no_other_up() {
        let (sender, touched) = futures::channel::mpsc::unbounded();
        let (shutdown, context) = (CancellationToken::new(), context());
        for name in ["broken", "sound"] {
            sender.unbounded_send(Touched::Named(key(name))).unwrap();
        }
        let (stop, tries) = (shutdown.clone(), Arc::new(Mutex::new(0)));
        let work = move |key: ApprovalKey, _| {
            let (stop, tries) = (stop.clone(), Arc::clone(&tries));
            async move {
                if key.name() == "sound" {
                    return None;
                }
                let mut tries = tries.lock().unwrap();
                *tries += 1;
                let first = *tries == 1;
                drop(tries);
                assert!(!first, "a defect");
                stop.cancel();
                None
            }
        };
        run("Approval", &context, touched, 4, shutdown, work).await;
        let metrics = context.metrics().render().unwrap();
        assert!(metrics.contains("class=\"Defect\""), "{metrics}");
        drop(sender);
    }
}
