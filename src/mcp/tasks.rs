//! Tasks in queues, which an agent works on with the rights and in the name of its caller.

use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt as _, api::PostParams};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ToolError,
    list::{self, Page},
    server::{Place, ToolServer},
};
use crate::{
    client::{Claim, TaskError, claim as claim_task, whoami},
    cluster::server_time::server_time,
};
use signoff_api::{
    Json, WorkItem, WorkItemPhase,
    name::{DnsLabel, ObjectName},
    work_item::{WorkAnswer, WorkError},
};
use signoff_engine::work::misfit;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ListTasks {
    #[serde(flatten)]
    place: Place,
    /// Only tasks in this queue.
    #[serde(default)]
    queue: Option<DnsLabel>,
    /// Only tasks in this phase. Defaults to `Queued`, which are those that nobody has.
    #[serde(default)]
    phase: Option<Phase>,
    #[serde(flatten)]
    page: Page,
}

/// Phase of a task; `Any` for all of them.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
enum Phase {
    Queued,
    Claimed,
    Succeeded,
    Failed,
    Expired,
    Cancelled,
    Any,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ClaimTask {
    #[serde(flatten)]
    place: Place,
    /// Name of the task.
    task: ObjectName,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ReportTaskProgress {
    #[serde(flatten)]
    place: Place,
    /// Name of the task.
    task: ObjectName,
    /// `claim`, as `claim_task` gave it.
    #[schemars(range(min = 1))]
    claim: i64,
    /// How far you are, in one line.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    message: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct CompleteTask {
    #[serde(flatten)]
    place: Place,
    /// Name of the task.
    task: ObjectName,
    /// `claim`, as `claim_task` gave it.
    #[schemars(range(min = 1))]
    claim: i64,
    /// The result, which matches the schema of the task. Leave it out if there is none, or if the task failed.
    #[serde(default)]
    result: Option<Value>,
    /// Why the task failed, if it did.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1000))]
    error: Option<String>,
    /// Whether another attempt may help, if the task failed.
    #[serde(default)]
    retryable: bool,
}

pub(super) async fn list(server: &ToolServer, args: ListTasks) -> Result<Value, ToolError> {
    let phase = args.phase.unwrap_or(Phase::Queued);
    let mut fields = match phase {
        Phase::Any => vec![],
        // a new one has no status
        Phase::Queued => [WorkItemPhase::Claimed]
            .into_iter()
            .chain(WorkItemPhase::CLOSED)
            .map(|other| format!("status.phase!={other}"))
            .collect(),
        Phase::Claimed | Phase::Succeeded | Phase::Failed | Phase::Expired | Phase::Cancelled => {
            vec![format!("status.phase={phase:?}")]
        }
    };
    fields.extend(args.queue.map(|queue| format!("spec.queue={queue}")));
    let tasks = server.api(&args.place)?;
    list::page(&tasks, &args.page, &fields, "tasks", summary).await
}

fn summary(item: &WorkItem) -> Value {
    let (spec, status) = (&item.spec, item.status.clone().unwrap_or_default());
    json!({
        "name": item.name_any(), "queue": spec.queue, "run": spec.run, "step": spec.step, "phase": status.phase,
        "worker": status.worker, "progress": status.progress, "expiresAt": spec.expires_at,
    })
}

pub(super) async fn claim(server: &ToolServer, args: ClaimTask) -> Result<Value, ToolError> {
    let item = read(server, &args.place, &args.task).await?;
    let worker = worker(server).await?;
    let api = server.api(&args.place)?;
    let claimed = claim_task(&api, &PostParams::default(), &item, &worker, now(server).await?).await;
    let (item, claim) = claimed.map_err(|error| failed(&args.task, &error))?;
    let spec = &item.spec;
    let mut shown = summary(&item);
    shown["claim"] = json!(claim.number);
    shown["instructions"] = json!(spec.instructions);
    shown["input"] = json!(spec.input);
    shown["schema"] = json!(spec.schema);
    shown["heartbeat"] = json!(spec.heartbeat);
    shown["next"] =
        json!("work on it, call report_task_progress within the heartbeat, and end with complete_task");
    Ok(shown)
}

pub(super) async fn report(server: &ToolServer, args: ReportTaskProgress) -> Result<Value, ToolError> {
    let mine = mine(server, &args.place, &args.task, args.claim).await?;
    let now = now(server).await?;
    let written = mine
        .renew(&PostParams::default(), args.message.as_deref(), now)
        .await;
    let item = written.map_err(|error| failed(&args.task, &error))?;
    let status = item.status.clone().unwrap_or_default();
    let mut shown = summary(&item);
    shown["leaseUntil"] = json!(status.lease_until);
    shown["problem"] = json!(status.problem);
    Ok(shown)
}

pub(super) async fn complete(server: &ToolServer, args: CompleteTask) -> Result<Value, ToolError> {
    if args.result.is_some() && args.error.is_some() {
        return Err(ToolError::arguments("give a result or an error, not both"));
    }
    let item = read(server, &args.place, &args.task).await?;
    let result = args.result.map(Json);
    let error = args.error.map(|message| WorkError {
        message,
        retryable: args.retryable,
    });
    if error.is_none()
        && let Some(problem) = misfit(&item.spec, result.as_ref())
    {
        return Err(ToolError::arguments(problem));
    }
    let mine = mine(server, &args.place, &args.task, args.claim).await?;
    let answer = WorkAnswer { result, error };
    let written = mine.answer(&PostParams::default(), &answer).await;
    let item = written.map_err(|error| failed(&args.task, &error))?;
    Ok(summary(&item))
}

async fn read(server: &ToolServer, place: &Place, name: &str) -> Result<WorkItem, ToolError> {
    let found = server.api::<WorkItem>(place)?.get(name).await;
    found.map_err(|error| ToolError::api(&format!("task {name}"), &error))
}

async fn mine(server: &ToolServer, place: &Place, name: &str, number: i64) -> Result<Claim, ToolError> {
    Ok(Claim {
        api: server.api(place)?,
        worker: worker(server).await?,
        name: name.to_owned(),
        number,
    })
}

async fn worker(server: &ToolServer) -> Result<String, ToolError> {
    let known = whoami(server.client()).await;
    let (worker, _) = known.map_err(|error| ToolError::api("it is not known who you are", &error))?;
    Ok(worker)
}

/// The API server's time, as leases follow it.
async fn now(server: &ToolServer) -> Result<Timestamp, ToolError> {
    let now = server_time(server.client()).await;
    now.map_err(|error| ToolError::new("Unavailable", error.to_string()))
}

fn failed(name: &str, error: &TaskError) -> ToolError {
    match error {
        TaskError::Api(error) => ToolError::api(&format!("task {name}"), error),
        TaskError::Lost(lost) => ToolError::new("NotYours", format!("task {name}: {lost}"))
            .hint("stop working on it; list_tasks shows tasks that nobody has"),
    }
}
