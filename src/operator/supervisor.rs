//! Long-lived tasks that are started again when they break.

use std::{future::Future, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{backoff::Backoff, parts::caught},
    gateway::Readiness,
    telemetry::metrics::Metrics,
};

/// Pauses before a task is started again.
const PAUSES: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(30),
};
/// A task that has run for so long has recovered.
const STEADY: Duration = Duration::from_mins(2);
/// How often in a row a task is started again. It takes about two minutes.
const MOST: u32 = 10;

/// A task breaks whenever it is started.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the {task} breaks whenever it is started: {last}")]
pub struct Exhausted {
    /// The task.
    pub task: &'static str,
    /// What it said last.
    pub last: String,
}

/// Starts tasks again. Clones are handles on the same.
#[derive(Clone, Debug)]
pub(super) struct Supervisor {
    metrics: Metrics,
    readiness: Readiness,
    pauses: Backoff,
}

impl Supervisor {
    pub(super) fn new(metrics: Metrics, readiness: Readiness) -> Self {
        Self {
            metrics,
            readiness,
            pauses: PAUSES,
        }
    }

    /// Runs a task that is to last until `shutdown`. One that panics, or ends before, is started again, later each time, and the process is
    /// not ready meanwhile.
    ///
    /// # Errors
    /// If it breaks again and again.
    pub(super) async fn keep<F: Future<Output = ()>>(
        &self,
        task: &'static str,
        shutdown: &CancellationToken,
        mut start: impl FnMut() -> F,
    ) -> Result<(), Exhausted> {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            // boxed: what it does is large
            let ended = caught(Box::pin(start())).await;
            if shutdown.is_cancelled() {
                if let Err(panic) = ended {
                    tracing::error!(task, panic, "a task broke while it was to end");
                }
                return Ok(());
            }
            let last = ended.err().unwrap_or_else(|| "it ended by itself".to_owned());
            if began.elapsed() >= STEADY {
                failures = 0;
            }
            failures += 1;
            self.metrics.task_restarted(task);
            tracing::error!(
                task,
                failures,
                reason = last,
                "a task broke, which is a defect; it is started again"
            );
            let _down = self.readiness.down(task);
            if failures > MOST {
                return Err(Exhausted { task, last });
            }
            let pause = self.pauses.after(failures - 1);
            if shutdown
                .run_until_cancelled(tokio::time::sleep(pause))
                .await
                .is_none()
            {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn supervisor() -> Supervisor {
        Supervisor {
            pauses: Backoff {
                first: Duration::from_micros(10),
                ..PAUSES
            },
            ..Supervisor::new(Metrics::new(), Readiness::default())
        }
    }

    #[tokio::test]
    async fn a_task_that_breaks_is_started_again_and_counted_and_the_process_is_not_ready_meanwhile() {
        let (supervisor, shutdown, starts) = (supervisor(), CancellationToken::new(), Cell::new(0));
        let readiness = supervisor.readiness.clone();
        let started = supervisor.keep("controller", &shutdown, || {
            starts.set(starts.get() + 1);
            let (number, readiness, shutdown) = (starts.get(), readiness.clone(), shutdown.clone());
            async move {
                assert!(readiness.is_down().is_empty(), "it runs");
                match number {
                    1 => panic!("a defect"),
                    2 => {}
                    _ => {
                        shutdown.cancel();
                    }
                }
            }
        });
        started.await.unwrap();
        assert_eq!(starts.get(), 3);
        let text = supervisor.metrics.render().unwrap();
        assert!(
            text.contains("signoff_task_restarts_total{task=\"controller\"} 2"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_process_that_cannot_go_on_says_so() {
        let (supervisor, shutdown) = (supervisor(), CancellationToken::new());
        let kept = supervisor.keep("controller", &shutdown, || async { panic!("it cannot start") });
        let exhausted = kept.await.unwrap_err();
        assert_eq!(
            (exhausted.task, &*exhausted.last),
            ("controller", "it cannot start")
        );
    }

    #[tokio::test]
    async fn the_process_is_not_ready_while_a_task_waits_to_be_started_again() {
        let mut supervisor = supervisor();
        supervisor.pauses.first = PAUSES.longest;
        let shutdown = CancellationToken::new();
        let kept = supervisor.keep("controller", &shutdown, || async { panic!("a defect") });
        let looked = async {
            while supervisor.readiness.is_down().is_empty() {
                tokio::task::yield_now().await;
            }
            let down = supervisor.readiness.is_down();
            shutdown.cancel();
            down
        };
        let (kept, down) = tokio::join!(kept, looked);
        kept.unwrap();
        assert_eq!(down, ["controller"]);
        assert!(supervisor.readiness.is_down().is_empty());
    }
}
