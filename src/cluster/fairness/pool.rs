//! Threads for work that tenants wrote: expressions, schemas, manifests. None of it runs on the threads that serve.

use std::{
    any::Any,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use compact_str::CompactString;
use tokio::sync::oneshot;

use super::queue::FairQueue;
use crate::telemetry::metrics::Metrics;

/// Stack of each thread. Values and expressions are nested, within bounds.
const STACK: usize = 8 << 20;

/// A few threads that namespaces share. One namespace never has all of them. Clones share them; they end when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Shared>);

struct Shared {
    name: &'static str,
    threads: usize,
    metrics: Metrics,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    waiting: FairQueue<Job>,
    running: HashMap<CompactString, usize>,
    started: usize,
    idle: usize,
    closed: bool,
}

struct Job {
    namespace: CompactString,
    since: Instant,
    work: Box<dyn Work>,
}

/// What is to be done, and whether anybody still waits for it.
trait Work: Send {
    fn is_wanted(&self) -> bool;
    fn perform(self: Box<Self>);
}

struct Task<F, T> {
    work: F,
    to: oneshot::Sender<Result<T, Box<dyn Any + Send>>>,
}

impl<T: Send, F: FnOnce() -> T + Send> Work for Task<F, T> {
    fn is_wanted(&self) -> bool {
        !self.to.is_closed()
    }

    fn perform(self: Box<Self>) {
        let result = catch_unwind(AssertUnwindSafe(self.work));
        // whoever waited may have given up meanwhile
        let _ = self.to.send(result);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// As many threads as the machine has cores, at least two. They start when there is work.
    pub fn new(name: &'static str, metrics: Metrics) -> Self {
        let cores = thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self::with_threads(name, cores.max(2), metrics)
    }

    fn with_threads(name: &'static str, threads: usize, metrics: Metrics) -> Self {
        Self(Arc::new(Handle(Arc::new(Shared {
            name,
            threads,
            metrics,
            state: Mutex::default(),
            work: Condvar::new(),
        }))))
    }

    /// Does work of a namespace on one of the threads. Work that nobody waits for any more when its turn comes is not done.
    ///
    /// # Panics
    /// If the work does.
    pub async fn run<T: Send + 'static>(
        &self,
        namespace: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.perform(namespace, work, FairQueue::push).await
    }

    /// The same, before all that the namespace has in its queue: for what is quick, or what makes the others superfluous.
    pub async fn run_first<T: Send + 'static>(
        &self,
        namespace: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.perform(namespace, work, FairQueue::push_first).await
    }

    async fn perform<T: Send + 'static>(
        &self,
        namespace: &str,
        work: impl FnOnce() -> T + Send + 'static,
        put: fn(&mut FairQueue<Job>, &str, Job),
    ) -> T {
        let (to, result) = oneshot::channel();
        let job = Job {
            namespace: namespace.into(),
            since: Instant::now(),
            work: Box::new(Task { work, to }),
        };
        self.0.0.add(job, put);
        match result.await {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => resume_unwind(panic),
            // jobs are dropped only with the pool, which this handle keeps
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
    }
}

impl Shared {
    fn add(self: &Arc<Self>, job: Job, put: fn(&mut FairQueue<Job>, &str, Job)) {
        let mut state = self.lock();
        let namespace = job.namespace.clone();
        put(&mut state.waiting, &namespace, job);
        self.metrics.pool_waiting(self.name, 1);
        if state.idle > 0 {
            self.work.notify_one();
        }
        // those that were woken may not have begun yet
        if state.waiting.len() > state.idle && state.started < self.threads {
            let shared = Arc::clone(self);
            let thread = thread::Builder::new()
                .name(self.name.to_owned())
                .stack_size(STACK)
                .spawn(move || shared.serve());
            match thread {
                Ok(_) => state.started += 1,
                // another one does it later
                Err(error) if state.started > 0 => {
                    tracing::warn!(%error, pool = self.name, "a thread could not be started");
                }
                Err(error) => {
                    tracing::error!(%error, pool = self.name, "no thread could be started; what waits is done when one can be");
                }
            }
        }
    }

    fn serve(&self) {
        let mut state = self.lock();
        while !state.closed {
            let Some(job) = state.next(self.threads) else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            drop(state);
            self.metrics.pool_waiting(self.name, -1);
            let began = Instant::now();
            if job.work.is_wanted() {
                self.metrics.pool_waited(self.name, began - job.since);
                job.work.perform();
                self.metrics.pool_worked(self.name, began.elapsed());
            }
            state = self.lock();
            state.done(&job.namespace);
            // one that had as many threads as it may has one less
            if state.idle > 0 && !state.waiting.is_empty() {
                self.work.notify_one();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next job, of a namespace that has not as many threads as one may have.
    fn next(&mut self, threads: usize) -> Option<Job> {
        let running = &self.running;
        let has = |namespace: &str| running.get(namespace).copied().unwrap_or_default();
        let job = self.waiting.pop_where(|namespace| has(namespace) + 1 < threads)?;
        *self.running.entry(job.namespace.clone()).or_default() += 1;
        Some(job)
    }

    fn done(&mut self, namespace: &str) {
        if let Some(running) = self.running.get_mut(namespace) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn pool(threads: usize) -> Pool {
        Pool::with_threads("test", threads, Metrics::new())
    }

    /// A job that says when it has begun, and ends when it is told to.
    fn held() -> (
        impl FnOnce() + Send + 'static,
        mpsc::Receiver<()>,
        mpsc::Sender<()>,
    ) {
        let (begun, has_begun) = mpsc::channel();
        let (end, ends) = mpsc::channel();
        let job = move || {
            // not everybody asks
            let _ = begun.send(());
            let _ = ends.recv();
        };
        (job, has_begun, end)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_namespace_never_has_all_threads_however_much_it_wants() {
        let pool = pool(3);
        let mut ends = Vec::new();
        let mut tasks = Vec::new();
        for number in 0..100 {
            let (job, begun, end) = held();
            let pool = pool.clone();
            tasks.push(tokio::spawn(async move { pool.run("a", job).await }));
            if number < 2 {
                begun.recv().unwrap();
            }
            ends.push(end);
        }
        for number in 0..50 {
            assert_eq!(pool.run("b", move || number).await, number);
        }
        assert_eq!(pool.0.0.lock().running.get("a"), Some(&2));
        drop(ends);
        for task in tasks {
            task.await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn work_that_nobody_waits_for_is_not_done() {
        let pool = pool(2);
        let (job, begun, end) = held();
        let first = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run("a", job).await }
        });
        begun.recv().unwrap();
        let (told, done) = mpsc::channel();
        let given_up = {
            let told = told.clone();
            pool.run("a", move || told.send("given up").unwrap())
        };
        assert!(futures::FutureExt::now_or_never(given_up).is_none());
        drop(end);
        first.await.unwrap();
        pool.run("a", move || told.send("wanted").unwrap()).await;
        assert_eq!(done.iter().collect::<Vec<_>>(), ["wanted"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_is_that_of_whoever_asked_and_the_thread_goes_on() {
        let pool = pool(2);
        let asked = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run("a", || panic!("a defect")).await }
        });
        assert!(asked.await.unwrap_err().is_panic());
        assert_eq!(pool.run("a", || 1).await, 1);
    }

    #[tokio::test]
    async fn threads_end_with_the_pool() {
        let pool = pool(2);
        pool.run("a", || ()).await;
        let shared = Arc::downgrade(&pool.0.0);
        drop(pool);
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
    }
}
