//! `signoff tasks`: the tasks in queues, and what a worker of its own making does to them.

use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt as _, api::ListParams};
use serde_json::{Value, json};

use super::{
    Global,
    answer::Answer,
    connect::{Connection, Namespaces, post_params},
    error::{CliError, exit},
    lines::Lines,
    named,
    run::now,
    runs::listed,
    table::Column::{Extra, Free, Whole},
    timeline::{age, until},
    worker::failed,
};
use crate::client::{Claim, TaskError, claim};
use signoff_api::{
    Json, WorkItem, WorkItemPhase, WorkItemStatus,
    name::{DnsLabel, ObjectName},
    work_item::{WorkAnswer, WorkError},
};
use signoff_engine::work::misfit;

/// List tasks, show one, and work on one by hand.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  signoff tasks --queue coders\n  signoff tasks claim fix-x7k2q-code-1a2b3c4d5e\n  \
signoff tasks complete fix-x7k2q-code-1a2b3c4d5e --result '{\"branch\": \"fix-81\"}'"
)]
pub(super) struct TasksArgs {
    #[command(subcommand)]
    verb: Option<TasksVerb>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only those in this queue.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<DnsLabel>,
    /// Also list those that are over.
    #[arg(long)]
    all: bool,
    /// Only those in this phase, such as Claimed; repeatable.
    #[arg(long, value_name = "PHASE", value_parser = named::phase::<WorkItemPhase>, conflicts_with = "all")]
    phase: Vec<WorkItemPhase>,
    /// Tasks of all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

#[derive(Debug, clap::Subcommand)]
enum TasksVerb {
    /// Show a task: what it asks for, who has it, and what came of it.
    Show(NameArgs),
    /// Take a task from its queue.
    Claim(NameArgs),
    /// Say how far you are with your task. This renews its lease.
    Progress {
        #[command(flatten)]
        of: MineArgs,
        /// What to say.
        message: Option<String>,
    },
    /// Answer your task with a result.
    Complete {
        #[command(flatten)]
        of: MineArgs,
        /// The result as JSON.
        #[arg(long, value_name = "JSON", value_parser = parsed)]
        result: Option<Value>,
    },
    /// Say that your task failed.
    Fail {
        #[command(flatten)]
        of: MineArgs,
        /// Why.
        #[arg(long)]
        message: String,
        /// Another attempt may help.
        #[arg(long)]
        retryable: bool,
    },
    /// Put your task back in the queue. That is no failure.
    GiveBack(MineArgs),
}

#[derive(Debug, clap::Args)]
struct NameArgs {
    /// Name of the task.
    #[arg(value_name = "TASK", value_parser = named::task)]
    name: ObjectName,
}

/// A task, and under which claim the caller has it.
#[derive(Debug, clap::Args)]
struct MineArgs {
    #[command(flatten)]
    of: NameArgs,
    /// Number of your claim, as `tasks claim` printed it: fail if the task was claimed again since. By default, whatever
    /// claim of yours is in force.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(1..))]
    claim: Option<i64>,
}

pub(super) async fn verb(args: TasksArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    match args.verb {
        None => list(&args.list, &connection, global).await,
        Some(TasksVerb::Show(of)) => {
            let item: WorkItem = connection.get(&of.name).await?;
            Ok(shown(&item, global))
        }
        Some(TasksVerb::Claim(of)) => {
            let item: WorkItem = connection.get(&of.name).await?;
            let (worker, _) = connection.whoami().await?;
            let claimed = claim(&connection.api(), &post_params(), &item, &worker, now()).await;
            let (item, _) = claimed.map_err(|error| failed(&of.name, &error))?;
            Ok(shown(&item, global))
        }
        Some(TasksVerb::Progress { of, message }) => {
            let (_, mine) = mine(&connection, &of).await?;
            let written = mine.renew(&post_params(), message.as_deref(), now()).await;
            told(written, &of.of.name, "is yours for longer")
        }
        Some(TasksVerb::Complete { of, result }) => {
            let (item, mine) = mine(&connection, &of).await?;
            let result = result.map(Json);
            if let Some(problem) = misfit(&item.spec, result.as_ref()) {
                return Err(CliError::new("Invalid", exit::INVALID, problem));
            }
            let answer = WorkAnswer { result, error: None };
            told(
                mine.answer(&post_params(), &answer).await,
                &of.of.name,
                "is answered",
            )
        }
        Some(TasksVerb::Fail {
            of,
            message,
            retryable,
        }) => {
            let (_, mine) = mine(&connection, &of).await?;
            let answer = WorkAnswer {
                result: None,
                error: Some(WorkError {
                    message: message.chars().take(1_000).collect(),
                    retryable,
                }),
            };
            told(
                mine.answer(&post_params(), &answer).await,
                &of.of.name,
                "is answered",
            )
        }
        Some(TasksVerb::GiveBack(of)) => {
            let (_, mine) = mine(&connection, &of).await?;
            told(
                mine.give_back(&post_params()).await,
                &of.of.name,
                "is in the queue again",
            )
        }
    }
}

fn parsed(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

/// A task, and the caller's hold on it.
async fn mine(connection: &Connection, args: &MineArgs) -> Result<(WorkItem, Claim), CliError> {
    let name = &args.of.name;
    let item: WorkItem = connection.get(name).await?;
    let (worker, _) = connection.whoami().await?;
    let mine = Claim {
        api: connection.api(),
        worker,
        name: name.to_string(),
        number: args.claim.unwrap_or_else(|| status(&item).claim),
    };
    Ok((item, mine))
}

fn told(written: Result<WorkItem, TaskError>, name: &ObjectName, what: &str) -> Result<Answer, CliError> {
    let item = written.map_err(|error| failed(name, &error))?;
    Ok(Answer::text(format!("task {name} {what}"))
        .with_data(json!(item))
        .with_names([format!("workitem/{name}")]))
}

async fn list(args: &ListArgs, connection: &Connection, global: &Global) -> Result<Answer, CliError> {
    let namespaces = Namespaces::of(args.all_namespaces);
    let params = match &args.queue {
        Some(queue) => ListParams::default().fields(&format!("spec.queue={queue}")),
        None => ListParams::default(),
    };
    let items = connection.list_in::<WorkItem>(namespaces, &params).await;
    let mut items = items.map_err(|error| CliError::api("the tasks cannot be listed", &error))?;
    items.retain(|item| match args.phase.as_slice() {
        [] => args.all || !status(item).phase.is_closed(),
        phases => phases.contains(&status(item).phase),
    });
    items.sort_by_key(|item| item.creation_timestamp().map(|time| time.0));
    if items.is_empty() {
        let places = connection.places(namespaces);
        let text = match &args.queue {
            Some(queue) => format!("no tasks wait in queue {queue} of {places}"),
            None => format!("no tasks wait in {places}"),
        };
        return Ok(Answer::text(text).with_data(json!([])));
    }
    let now = now();
    let rows = items.iter().map(|item| row(item, now)).collect();
    let headings = [
        Whole("namespace"),
        Whole("name"),
        Whole("queue"),
        Whole("phase"),
        Free("worker"),
        Extra("lease"),
        Free("progress"),
        Extra("age"),
    ];
    let names: Vec<String> = items
        .iter()
        .map(|item| format!("workitem/{}", item.name_any()))
        .collect();
    let next = items.first().filter(|_| namespaces == Namespaces::One);
    let next = next.map(|item| global.command(&format!("tasks show {}", item.name_any())));
    Ok(Answer::text(listed(&headings, rows, namespaces))
        .with_data(json!(items))
        .with_names(names)
        .with_next(next))
}

fn row(item: &WorkItem, now: Timestamp) -> Vec<String> {
    let status = status(item);
    let lease = status.lease_until.as_ref().map(|at| until(at.0, now));
    vec![
        item.namespace().unwrap_or_default(),
        item.name_any(),
        item.spec.queue.to_string(),
        status.phase.to_string(),
        status.worker.unwrap_or_default(),
        lease.unwrap_or_default(),
        status.progress.unwrap_or_default(),
        age(item.creation_timestamp().as_ref(), now),
    ]
}

fn shown(item: &WorkItem, global: &Global) -> Answer {
    let (status, spec, name) = (status(item), &item.spec, item.name_any());
    let mut lines = Lines::default();
    let mut field = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let mut texts = value.lines();
            lines.push(format!("{name:<13}{}", texts.next().unwrap_or_default()));
            for text in texts {
                lines.push(format!("{:<13}{text}", ""));
            }
        }
    };
    let json = |value: Option<&Json>| value.map(|value| format!("{:#}", value.0));
    field("task", Some(name.clone()));
    field("queue", Some(spec.queue.to_string()));
    field("run", Some(format!("{}, step {}", spec.run, spec.step)));
    field("phase", Some(status.phase.to_string()));
    field("worker", status.worker.clone());
    let is_claimed = status.phase == WorkItemPhase::Claimed;
    field("claim", is_claimed.then(|| status.claim.to_string()));
    field(
        "lease until",
        status.lease_until.as_ref().map(|at| format!("{:.0}", at.0)),
    );
    field(
        "expires",
        spec.expires_at.as_ref().map(|at| format!("{:.0}", at.0)),
    );
    field("progress", status.progress.clone());
    field("problem", status.problem.clone());
    field("message", status.message.clone());
    field("instructions", spec.instructions.clone());
    field("input", json(spec.input.as_ref()));
    field("schema", json(spec.schema.as_ref()));
    field(
        "result",
        json(status.answer.as_ref().and_then(|answer| answer.result.as_ref())),
    );
    let next = match status.phase {
        WorkItemPhase::Queued => Some(format!("tasks claim {name}")),
        WorkItemPhase::Claimed => {
            let claim = status.claim;
            Some(format!("tasks progress {name} --claim {claim} MESSAGE"))
        }
        WorkItemPhase::Succeeded
        | WorkItemPhase::Failed
        | WorkItemPhase::Expired
        | WorkItemPhase::Cancelled => Some(format!("status {}", spec.run)),
    };
    Answer::text(lines)
        .with_data(json!(item))
        .with_names([format!("workitem/{name}")])
        .with_next(next.map(|line| global.command(&line)))
}

fn status(item: &WorkItem) -> WorkItemStatus {
    item.status.clone().unwrap_or_default()
}
