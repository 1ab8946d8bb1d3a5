//! `signoff worker run`: takes tasks from a queue and does each with a command.

mod command;
mod queue;
mod task;

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{queue::Queue, task::Worker};
use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::{CliError, exit},
    lines::{self, Lines},
    operator::stop_asked,
};
use crate::{client::TaskError, cluster::server_time::server_time};
use signoff_api::name::DnsLabel;

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
        stop_asked().await;
        say("the worker ends: it takes no more tasks, and gives back those that it has");
        asked.cancel();
    });
    let done = work(worker, &args.queue, args.parallel, args.max_tasks, &stop).await?;
    Ok(Answer::text(format!("{done} tasks done")).with_data(serde_json::json!({ "tasks": done })))
}

/// Does tasks until it is to stop, or has done enough of them. Gives how many it took.
async fn work(
    worker: Arc<Worker>,
    queue: &DnsLabel,
    parallel: u16,
    most: Option<u32>,
    stop: &CancellationToken,
) -> Result<u32, CliError> {
    let places = Arc::new(Semaphore::new(usize::from(parallel)));
    let mut queued = Queue::watch(&worker.api, queue);
    let mut under_way = JoinSet::new();
    let mut taken = 0;
    while most.is_none_or(|most| taken < most) {
        let place = Arc::clone(&places).acquire_owned();
        let Some(Ok(place)) = stop.run_until_cancelled(place).await else {
            break;
        };
        let Some(next) = stop.run_until_cancelled(queued.next()).await else {
            break;
        };
        let item = next.map_err(|error| CliError::api("the queue cannot be watched", &error))?;
        let (item, claim) = match worker.claim(&item).await {
            Ok(claimed) => claimed,
            // somebody else was faster
            Err(TaskError::Lost(_)) => continue,
            Err(TaskError::Api(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => continue,
            Err(error) if error.is_final() => {
                let name = item.metadata.name.unwrap_or_default();
                // what cannot be taken by this worker now may be another's by the time of the answer
                if let TaskError::Api(kube::Error::Api(status)) = &error
                    && status.code == 403
                    && status.message.contains("has the task")
                {
                    continue;
                }
                return Err(failed(&name, &error));
            }
            Err(error) => {
                say(&format!("a task could not be claimed: {error}"));
                queued.put_back(item);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        taken += 1;
        let (worker, stop) = (Arc::clone(&worker), stop.clone());
        under_way.spawn(async move {
            worker.do_task(&item, &claim, &stop).await;
            drop(place);
        });
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
    Ok(taken)
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
