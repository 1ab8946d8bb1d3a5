//! One task: its command runs, its lease is renewed, and its answer is written.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Api, runtime::wait::await_condition};
use serde_json::{Value, json};
use tokio::{sync::mpsc::UnboundedReceiver, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    command::{Command, Ended},
    say,
};
use crate::{
    cli::connect::post_params,
    client::{Claim, TaskError, claim},
    cluster::error_chain,
};
use signoff_api::{
    Json, WorkItem, WorkItemSpec,
    work_item::{WorkAnswer, WorkError},
};
use signoff_engine::work::{misfit, owns};

/// Pause before a write is tried again that did not reach the API server.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a worker that ends tries to write what became of a task.
const LAST_TRY: Duration = Duration::from_secs(5);

/// What came of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was answered with a result.
    Done,
    /// It was answered with an error.
    Failed,
    /// It was given back or lost, or nobody heard of the answer.
    Unanswered,
}

/// Who works, and how.
pub(super) struct Worker {
    pub(super) api: Api<WorkItem>,
    /// User name, as the API server knows it.
    pub(super) name: String,
    /// How far this machine's clock is behind that of the API server.
    pub(super) skew: SignedDuration,
    pub(super) command: Vec<String>,
}

impl Worker {
    /// Takes a task.
    pub(super) async fn claim(&self, item: &WorkItem) -> Result<(WorkItem, Claim), TaskError> {
        claim(&self.api, &post_params(), item, &self.name, self.now()).await
    }

    /// Does a task that it has.
    pub(super) async fn do_task(&self, item: &WorkItem, mine: &Claim, stop: &CancellationToken) -> Ending {
        let name = &mine.name;
        say(&format!("task {name}: begins"));
        let (mut command, progress) = match Command::start(&self.command, &input(item), &variables(item)) {
            Ok(started) => started,
            Err(error) => {
                let message = format!("the command cannot be started: {error}");
                // it was there when the worker began, so another worker may have it
                return self.answer(item, mine, failure(message, true), stop).await;
            }
        };
        let ended = tokio::select! {
            ended = command.until_it_ends() => Some(ended),
            why = self.keep(item, mine, progress) => {
                say(&format!("task {name}: {why}, and its command is ended"));
                None
            }
            () = stop.cancelled() => {
                command.end().await;
                give_back(mine).await;
                return Ending::Unanswered;
            }
        };
        command.end().await;
        match ended {
            Some(ended) => self.answer(item, mine, answer(&item.spec, ended), stop).await,
            None => Ending::Unanswered,
        }
    }

    /// Renews the lease until the task is not this worker's any more, and says why.
    async fn keep(&self, item: &WorkItem, mine: &Claim, mut progress: UnboundedReceiver<String>) -> String {
        let heartbeat = item.spec.heartbeat.duration();
        let is_lost = {
            let (worker, number) = (mine.worker.clone(), mine.number);
            move |item: Option<&WorkItem>| {
                item.is_none_or(|item| {
                    let status = item.status.clone().unwrap_or_default();
                    owns(&status, &worker, number).is_err()
                })
            }
        };
        let watching = async {
            loop {
                match await_condition(self.api.clone(), &mine.name, is_lost.clone()).await {
                    Ok(Some(item)) => {
                        let status = item.status.unwrap_or_default();
                        let why = owns(&status, &mine.worker, mine.number).err();
                        return why.map_or_else(|| "the claim is lost".to_owned(), |why| why.to_string());
                    }
                    Ok(None) => return "the task is gone".to_owned(),
                    // the lease says how long that may go on
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        };
        let renewing = async {
            let mut newest = None;
            let (mut written, mut ends) = (Instant::now(), Instant::now() + heartbeat);
            let mut is_silent = true;
            loop {
                let due = written + heartbeat / 2;
                tokio::select! {
                    Some(said) = progress.recv() => {
                        newest = Some(said);
                        // people see at once that it works
                        if !std::mem::replace(&mut is_silent, false) {
                            continue;
                        }
                    }
                    () = tokio::time::sleep_until(due.min(ends)) => {}
                }
                match mine.renew(&post_params(), newest.as_deref(), self.now()).await {
                    Ok(_) => {
                        written = Instant::now();
                        ends = written + heartbeat;
                        newest = None;
                    }
                    Err(error) if error.is_final() => return error_chain(&error),
                    Err(_) if Instant::now() >= ends => {
                        return "the API server was not reached before the lease ran out".to_owned();
                    }
                    Err(error) => {
                        let error = error_chain(&error);
                        tracing::warn!(
                            task = mine.name,
                            error,
                            "the lease could not be renewed; trying again"
                        );
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            why = watching => why,
            why = renewing => why,
        }
    }

    /// Writes the answer, as long as it may be of use. A worker that is to stop does not try for long.
    async fn answer(
        &self,
        item: &WorkItem,
        mine: &Claim,
        answer: WorkAnswer,
        stop: &CancellationToken,
    ) -> Ending {
        let name = &mine.name;
        let (told, ending) = match &answer.error {
            Some(error) => (format!("failed: {}", error.message), Ending::Failed),
            None => ("done".to_owned(), Ending::Done),
        };
        let too_late = async {
            let stopped = async {
                stop.cancelled().await;
                tokio::time::sleep(LAST_TRY).await;
            };
            tokio::select! {
                () = tokio::time::sleep(item.spec.heartbeat.duration()) => {}
                () = stopped => {}
            }
        };
        let mut why = "the API server does not answer".to_owned();
        let mut is_said = false;
        let writing = async {
            loop {
                match mine.answer(&post_params(), &answer).await {
                    Ok(_) => return Ok(()),
                    Err(error) if error.is_final() => return Err(error),
                    Err(error) => {
                        why = error_chain(&error);
                        if !std::mem::replace(&mut is_said, true) {
                            say(&format!(
                                "task {name}: {told}; that could not be written, and is tried again: {why}"
                            ));
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        };
        let written = tokio::select! {
            written = writing => Some(written),
            () = too_late => None,
        };
        let why = match written {
            Some(Ok(())) => {
                say(&format!("task {name}: {told}"));
                return ending;
            }
            Some(Err(error)) => error_chain(&error),
            None => why,
        };
        say(&format!("task {name}: {told}, but nobody hears of it: {why}"));
        Ending::Unanswered
    }

    /// The API server's time.
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        now.checked_add(self.skew).unwrap_or(now)
    }
}

/// Puts a task back in the queue.
async fn give_back(mine: &Claim) {
    let name = &mine.name;
    match tokio::time::timeout(LAST_TRY, mine.give_back(&post_params())).await {
        Ok(Ok(_)) => say(&format!("task {name}: given back")),
        Ok(Err(error)) => say(&format!("task {name}: not given back: {}", error_chain(&error))),
        Err(_) => say(&format!(
            "task {name}: not given back: the API server does not answer"
        )),
    }
}

/// What a command is told of its task.
fn input(item: &WorkItem) -> Value {
    let spec = &item.spec;
    let mut input = json!({
        "name": item.metadata.name, "namespace": item.metadata.namespace, "queue": spec.queue, "run": spec.run,
        "flow": spec.flow, "step": spec.step, "iteration": spec.iteration,
        "attempt": item.status.as_ref().map_or(1, |status| status.failures.saturating_add(1)),
    });
    let more = [
        ("item", spec.item.map(|item| json!(item))),
        ("input", spec.input.as_ref().map(|input| input.0.clone())),
        ("instructions", spec.instructions.as_ref().map(|text| json!(text))),
        ("schema", spec.schema.as_ref().map(|schema| schema.0.clone())),
        ("expiresAt", spec.expires_at.as_ref().map(|at| json!(at))),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            input[name] = value;
        }
    }
    input
}

fn variables(item: &WorkItem) -> [(&'static str, String); 5] {
    let meta = &item.metadata;
    [
        ("SIGNOFF_TASK", meta.name.clone().unwrap_or_default()),
        ("SIGNOFF_NAMESPACE", meta.namespace.clone().unwrap_or_default()),
        ("SIGNOFF_QUEUE", item.spec.queue.to_string()),
        ("SIGNOFF_RUN", item.spec.run.clone()),
        ("SIGNOFF_STEP", item.spec.step.clone()),
    ]
}

/// What follows from how the command ended.
fn answer(spec: &WorkItemSpec, ended: Ended) -> WorkAnswer {
    let result = match ended {
        Ended::Failed { message, retryable } => return failure(message, retryable),
        Ended::Succeeded(None) => None,
        Ended::Succeeded(Some(text)) => match serde_json::from_str::<Value>(&text) {
            Ok(value) => Some(Json(value)),
            Err(error) => return failure(format!("the result is no JSON: {error}"), true),
        },
    };
    match misfit(spec, result.as_ref()) {
        Some(problem) => failure(problem, true),
        None => WorkAnswer { result, error: None },
    }
}

fn failure(message: impl Into<String>, retryable: bool) -> WorkAnswer {
    let message = message.into().chars().take(1_000).collect();
    WorkAnswer {
        result: None,
        error: Some(WorkError { message, retryable }),
    }
}
