//! `signoff worker run`: takes tasks from a queue and does each with a command.

mod command;
mod queue;
mod rights;
mod stop;
mod task;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use self::{
    queue::Queue,
    task::{Ending, Worker},
};
use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::{CliError, exit},
    lines::{self, Lines},
};
use crate::{
    client::{Claim, TaskError},
    cluster::{error_chain, server_time::server_time},
};
use signoff_api::{WorkItem, name::DnsLabel};

/// Pause before a claim is tried again that did not reach the API server.
const PAUSE: Duration = Duration::from_secs(1);

/// Take tasks from queues.
#[derive(Debug, clap::Args)]
pub(super) struct WorkerArgs {
    #[command(subcommand)]
    verb: WorkerVerb,
}

#[derive(Debug, clap::Subcommand)]
enum WorkerVerb {
    Run(RunArgs),
}

/// Take tasks from a queue, and do each with a command.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The command reads the task as JSON from standard input. A line of its standard output that begins with `::progress ` \
tells how far it is. Its last other line is the result as JSON, unless it writes the result to the file that SIGNOFF_OUTPUT names. Exit \
code 0 is success, 75 a failure that may be tried again, any other a failure.\n\nExample:\n  signoff worker run --queue coders -- ./agent.sh"
)]
struct RunArgs {
    /// Name of the queue. You need the verb `work` on it.
    #[arg(long, value_name = "QUEUE")]
    queue: DnsLabel,
    /// How many tasks are done at the same time.
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// Do this many tasks, and end.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    max_tasks: Option<u32>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) async fn verb(args: WorkerArgs, global: &Global) -> Result<Answer, CliError> {
    let WorkerVerb::Run(args) = args.verb;
    if let Some(program) = args.command.first()
        && let Err(error) = command::look_up(program)
    {
        let message = format!("{program} cannot be started: {error}");
        return Err(CliError::usage(message).hint("no task was taken"));
    }
    let connection = Connection::open(global).await?;
    let (name, _) = connection.whoami().await?;
    let skew = skew(&connection).await?;
    say(&format!(
        "{name} works on queue {} in namespace {}",
        args.queue, connection.namespace
    ));
    let worker = Arc::new(Worker {
        api: connection.api(),
        name,
        skew,
        command: args.command,
    });
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        stop::asked().await;
        say("the worker ends: it takes no more tasks, and gives back those that it has");
        asked.cancel();
    });
    let count = work(worker, &args.queue, args.parallel, args.max_tasks, &stop).await?;
    Ok(Answer::text(count.to_string()).with_data(
        serde_json::json!({ "tasks": count.taken(), "failed": count.failed, "unanswered": count.unanswered }),
    ))
}

/// What came of the tasks that were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    done: u32,
    failed: u32,
    /// Given back, lost, or answered when nobody heard of it.
    unanswered: u32,
}

impl Count {
    fn taken(self) -> u32 {
        self.done
            .saturating_add(self.failed)
            .saturating_add(self.unanswered)
    }

    fn add(&mut self, ended: &Result<Ending, JoinError>) {
        let count = match ended {
            Ok(Ending::Done) => &mut self.done,
            Ok(Ending::Failed) => &mut self.failed,
            // the work on it broke
            Ok(Ending::Unanswered) | Err(_) => &mut self.unanswered,
        };
        *count = count.saturating_add(1);
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tasks = if self.done == 1 { "task" } else { "tasks" };
        write!(f, "{} {tasks} done", self.done)?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        if self.unanswered > 0 {
            write!(f, ", {} not answered", self.unanswered)?;
        }
        Ok(())
    }
}

/// Does tasks until it is to stop, has done enough of them, or cannot take any more. All commands have ended then.
async fn work(
    worker: Arc<Worker>,
    queue: &DnsLabel,
    parallel: u16,
    most: Option<u32>,
    stop: &CancellationToken,
) -> Result<Count, CliError> {
    let mut shift = Shift {
        queued: Queue::watch(&worker.api, queue),
        queue: queue.clone(),
        places: Arc::new(Semaphore::new(usize::from(parallel))),
        under_way: JoinSet::new(),
        count: Count::default(),
        // ends what is under way, also when this worker cannot go on
        end: stop.child_token(),
        worker,
    };
    let taken = shift.take(most).await;
    if taken.is_err() && !shift.under_way.is_empty() {
        say("no more tasks can be taken: the worker ends, and gives back those that it has");
        shift.end.cancel();
    }
    while let Some(ended) = shift.under_way.join_next().await {
        shift.count.add(&ended);
    }
    taken.map(|()| shift.count)
}

/// A worker at work on a queue.
struct Shift {
    worker: Arc<Worker>,
    queue: DnsLabel,
    queued: Queue,
    places: Arc<Semaphore>,
    under_way: JoinSet<Ending>,
    count: Count,
    end: CancellationToken,
}

impl Shift {
    /// Takes tasks and begins to do them, until it is to stop, has taken enough, or cannot take any more.
    async fn take(&mut self, most: Option<u32>) -> Result<(), CliError> {
        let end = self.end.clone();
        let mut taken = 0;
        while most.is_none_or(|most| taken < most) {
            let place = Arc::clone(&self.places).acquire_owned();
            let Some(Ok(place)) = end.run_until_cancelled(place).await else {
                break;
            };
            let Some(next) = end.run_until_cancelled(self.queued.next()).await else {
                break;
            };
            let item = next.map_err(|error| CliError::api("the queue cannot be watched", &error))?;
            if let Some((item, claim)) = self.claim(item).await? {
                taken += 1;
                self.begin(item, claim, place);
            }
            while let Some(ended) = self.under_way.try_join_next() {
                self.count.add(&ended);
            }
        }
        Ok(())
    }

    /// Claims a task. None if somebody else has it, or if it cannot be claimed.
    async fn claim(&mut self, item: WorkItem) -> Result<Option<(WorkItem, Claim)>, CliError> {
        let error = match self.worker.claim(&item).await {
            Ok(claimed) => return Ok(Some(claimed)),
            Err(error) => error,
        };
        let name = item.metadata.name.clone().unwrap_or_default();
        match &error {
            // somebody else was faster
            TaskError::Lost(_) => {}
            TaskError::Api(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            TaskError::Api(kube::Error::Api(status)) if status.code == 403 => {
                // what cannot be taken by this worker now may be another's by the time of the answer
                if status.message.contains("has the task") {
                    return Ok(None);
                }
                let client = self.worker.api.clone().into_client();
                let namespace = self.worker.api.namespace().unwrap_or_default();
                // without the right no other task can be taken either
                if !rights::may_work(&client, namespace, &self.queue)
                    .await
                    .unwrap_or(true)
                {
                    return Err(failed(&name, &error));
                }
                say(&format!("task {name} is passed over: {}", error_chain(&error)));
            }
            TaskError::Api(_) if error.is_final() => {
                say(&format!("task {name} is passed over: {}", error_chain(&error)));
            }
            TaskError::Api(_) => {
                say(&format!(
                    "task {name} could not be claimed: {}",
                    error_chain(&error)
                ));
                self.queued.put_back(item);
                // whoever waits for this looks at it next
                let _ = self.end.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
        Ok(None)
    }

    fn begin(&mut self, item: WorkItem, claim: Claim, place: OwnedSemaphorePermit) {
        let (worker, end) = (Arc::clone(&self.worker), self.end.clone());
        self.under_way.spawn(async move {
            let ending = worker.do_task(&item, &claim, &end).await;
            drop(place);
            ending
        });
    }
}

/// How far this machine's clock is behind that of the API server.
async fn skew(connection: &Connection) -> Result<SignedDuration, CliError> {
    let theirs = server_time(&connection.client).await;
    let theirs =
        theirs.map_err(|error| CliError::internal("the time of the API server is not known", &error))?;
    let skew = theirs.duration_since(Timestamp::now());
    // headers have whole seconds
    Ok(if skew.abs() > SignedDuration::from_secs(2) {
        skew
    } else {
        SignedDuration::ZERO
    })
}

/// Why a task could not be written.
pub(super) fn failed(name: &str, error: &TaskError) -> CliError {
    match error {
        TaskError::Api(error) => CliError::api(name, error),
        TaskError::Lost(lost) => CliError::new("NotYours", exit::CONFLICT, format!("task {name}: {lost}")),
    }
}

/// Tells people, on standard error.
fn say(text: &str) {
    let mut said = Lines::default();
    said.push(text);
    lines::say(&said);
}
