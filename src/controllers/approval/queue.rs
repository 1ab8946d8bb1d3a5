//! Work on approvals: one at a time for each, many at the same time for all, and none is kept that has nothing to wait for.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use compact_str::CompactString;
use futures::{Stream, StreamExt as _};
use tokio::task::JoinSet;
use tokio_util::{
    sync::CancellationToken,
    time::{DelayQueue, delay_queue},
};

use super::{key::ApprovalKey, open::Touched};
use crate::{
    api::Approval,
    controllers::fairness::{FairQueue, may_take},
};

/// How many that wait are kept as they were shown; the others are read again.
const KEPT: usize = 256;

/// When an approval is looked at again; nothing when only a change is a reason.
pub(in crate::controllers) type Again = Option<Duration>;

/// What waits to be worked on.
#[derive(Default)]
struct Queue {
    /// What is not worked on; namespaces take turns.
    waiting: FairQueue<ApprovalKey>,
    /// What the watch has last shown of those that wait, so that it need not be read.
    shown: HashMap<ApprovalKey, Option<Box<Approval>>>,
    busy: HashSet<ApprovalKey>,
    /// How many of each namespace are.
    busy_of: HashMap<CompactString, usize>,
    timers: DelayQueue<ApprovalKey>,
    timer_of: HashMap<ApprovalKey, delay_queue::Key>,
}

/// Works on whatever is touched until `shutdown`, then lets what is under way end.
pub(in crate::controllers) async fn run<F>(
    touched: impl Stream<Item = Touched>,
    concurrency: usize,
    shutdown: CancellationToken,
    work: impl Fn(ApprovalKey, Option<Box<Approval>>) -> F,
) where
    F: Future<Output = Again> + Send + 'static,
{
    let mut queue = Queue::default();
    let mut working: JoinSet<(ApprovalKey, Again)> = JoinSet::new();
    let mut touched = std::pin::pin!(touched);
    loop {
        while working.len() < concurrency
            && let Some((key, shown)) = queue.next(concurrency - working.len())
        {
            let job = work(key.clone(), shown);
            working.spawn(async move { (key, job.await) });
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(done) = working.join_next() => match done {
                Ok((key, again)) => queue.done(&key, again),
                Err(broken) => {
                    // a defect: which one it was is not known, so none of those at work may wait for it
                    tracing::error!(error = %broken, "the judging of an approval broke");
                    queue.forget_busy();
                }
            },
            Some(expired) = queue.timers.next() => {
                let key = expired.into_inner();
                queue.timer_of.remove(&key);
                queue.touch(key, None);
            }
            Some(next) = touched.next() => match next {
                Touched::Shown(approval) => queue.touch(ApprovalKey::of(&*approval), Some(approval)),
                Touched::Named(key) => queue.touch(key, None),
            },
            else => break,
        }
    }
    while working.join_next().await.is_some() {}
}

impl Queue {
    fn touch(&mut self, key: ApprovalKey, shown: Option<Box<Approval>>) {
        let shown = shown.filter(|_| self.waiting.len() < KEPT);
        // what the watch shows later is newer; a mere name is a reason to read it
        // one that is worked on waits for its end
        if self.shown.insert(key.clone(), shown).is_none() && !self.busy.contains(&key) {
            self.wait(key);
        }
    }

    fn wait(&mut self, key: ApprovalKey) {
        let namespace = CompactString::from(key.namespace());
        self.waiting.push(&namespace, key);
    }

    /// The next that waits, where so many more may be worked on. One namespace leaves some of them for others.
    fn next(&mut self, free: usize) -> Option<(ApprovalKey, Option<Box<Approval>>)> {
        let busy_of = &self.busy_of;
        let has = |namespace: &str| busy_of.get(namespace).copied().unwrap_or_default();
        let key = self
            .waiting
            .pop_where(|namespace| may_take(has(namespace), free))?;
        let shown = self.shown.remove(&key).flatten();
        if let Some(timer) = self.timer_of.remove(&key) {
            self.timers.try_remove(&timer);
        }
        self.busy.insert(key.clone());
        *self.busy_of.entry(key.namespace().into()).or_default() += 1;
        if self.waiting.is_empty() {
            // a burst may have made it long
            self.shown.shrink_to(KEPT);
        }
        Some((key, shown))
    }

    fn done(&mut self, key: &ApprovalKey, again: Again) {
        self.end(key);
        if let Some(pause) = again
            && !self.shown.contains_key(key)
        {
            let timer = self.timers.insert(key.clone(), pause);
            self.timer_of.insert(key.clone(), timer);
        }
    }

    /// It is worked on no more; what came meanwhile is a reason to do so again.
    fn end(&mut self, key: &ApprovalKey) {
        if !self.busy.remove(key) {
            return;
        }
        if let Some(busy) = self.busy_of.get_mut(key.namespace()) {
            *busy -= 1;
            if *busy == 0 {
                self.busy_of.remove(key.namespace());
            }
        }
        if self.shown.contains_key(key) {
            self.wait(key.clone());
        }
    }

    fn forget_busy(&mut self) {
        for key in self.busy.clone() {
            self.end(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

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
        run(touched, 4, shutdown, work).await;
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
        run(touched, 8, shutdown, work).await;
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
            let again = (*times < 3).then_some(Duration::from_millis(1));
            if again.is_none() {
                stop.cancel();
            }
            async move { again }
        };
        run(touched, 4, shutdown, work).await;
        drop(sender);
    }
}
