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

/// Largest part of a task that is answered with the others, in bytes of JSON. All four fit in an answer.
const LARGEST_PART: usize = 56 << 10;
/// Largest page of a part, in bytes. It fits in an answer even if each byte of it has to be escaped.
const PAGE: usize = 40 << 10;

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
pub(super) struct GetTask {
    #[serde(flatten)]
    place: Place,
    /// Name of the task.
    task: ObjectName,
    /// Read only this part, page by page: one that is too large for the whole answer.
    #[serde(default)]
    part: Option<Part>,
    /// `nextOffset` of the page before. Only with `part`.
    #[serde(default)]
    #[schemars(range(min = 0))]
    offset: Option<usize>,
}

/// Part of a task. `Instructions` is text, the others are the text of JSON.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
enum Part {
    Input,
    Instructions,
    Schema,
    Result,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct GiveBackTask {
    #[serde(flatten)]
    place: Place,
    /// Name of the task.
    task: ObjectName,
    /// `claim`, as `claim_task` gave it.
    #[schemars(range(min = 1))]
    claim: i64,
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

pub(super) async fn get(server: &ToolServer, args: GetTask) -> Result<Value, ToolError> {
    let item = read(server, &args.place, &args.task).await?;
    match (args.part, args.offset) {
        (Some(part), offset) => page(&item, part, offset.unwrap_or_default()),
        (None, Some(_)) => Err(ToolError::arguments("offset is only for a part")),
        (None, None) => Ok(whole(&item, &worker(server).await?)),
    }
}

/// All of a task, but for parts that are too large. Whoever has it is told the number of the claim.
fn whole(item: &WorkItem, worker: &str) -> Value {
    let (spec, status) = (&item.spec, item.status.clone().unwrap_or_default());
    let mut shown = summary(item);
    if status.phase == WorkItemPhase::Claimed && status.worker.as_deref() == Some(worker) {
        shown["claim"] = json!(status.claim);
    }
    shown["heartbeat"] = json!(spec.heartbeat);
    shown["leaseUntil"] = json!(status.lease_until);
    shown["problem"] = json!(status.problem);
    shown["message"] = json!(status.message);
    let mut large = vec![];
    for (part, name) in [
        (Part::Instructions, "instructions"),
        (Part::Input, "input"),
        (Part::Schema, "schema"),
        (Part::Result, "result"),
    ] {
        let value = value(item, part);
        let bytes = value.to_string().len();
        if bytes <= LARGEST_PART {
            shown[name] = value;
        } else {
            large.push(json!({ "part": part_name(part), "bytes": bytes }));
        }
    }
    if !large.is_empty() {
        shown["large"] = json!(large);
        shown["readLarge"] = json!("call get_task with each part that `large` names");
    }
    shown
}

fn part_name(part: Part) -> String {
    format!("{part:?}")
}

fn value(item: &WorkItem, part: Part) -> Value {
    let spec = &item.spec;
    match part {
        Part::Input => json!(spec.input),
        Part::Instructions => json!(spec.instructions),
        Part::Schema => json!(spec.schema),
        Part::Result => {
            let answer = item.status.as_ref().and_then(|status| status.answer.as_ref());
            json!(answer.and_then(|answer| answer.result.as_ref()))
        }
    }
}

/// A page of the text of a part.
fn page(item: &WorkItem, part: Part, offset: usize) -> Result<Value, ToolError> {
    let text = match value(item, part) {
        Value::String(text) if matches!(part, Part::Instructions) => text,
        value => value.to_string(),
    };
    if !text.is_char_boundary(offset) {
        return Err(ToolError::arguments(
            "offset is not the nextOffset of a page before",
        ));
    }
    let mut end = text.len().min(offset.saturating_add(PAGE));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let next = (end < text.len()).then_some(end);
    Ok(json!({
        "name": item.name_any(), "part": part_name(part), "text": text[offset..end], "bytes": text.len(),
        "offset": offset, "nextOffset": next,
    }))
}

pub(super) async fn claim(server: &ToolServer, args: ClaimTask) -> Result<Value, ToolError> {
    let item = read(server, &args.place, &args.task).await?;
    let worker = worker(server).await?;
    let status = item.status.clone().unwrap_or_default();
    let is_own = status.phase == WorkItemPhase::Claimed && status.worker.as_ref() == Some(&worker);
    let item = if is_own {
        item
    } else {
        let api = server.api(&args.place)?;
        let claimed = claim_task(&api, &PostParams::default(), &item, &worker, now(server).await?).await;
        claimed.map_err(|error| failed(&args.task, &error))?.0
    };
    let mut shown = whole(&item, &worker);
    let next = "call report_task_progress within the heartbeat, and end with complete_task or give_back_task";
    shown["next"] = if shown["large"].is_array() {
        json!(format!("read what is large with get_task, work on it, {next}"))
    } else {
        json!(format!("work on it, {next}"))
    };
    Ok(shown)
}

pub(super) async fn give_back(server: &ToolServer, args: GiveBackTask) -> Result<Value, ToolError> {
    let mine = mine(server, &args.place, &args.task, args.claim).await?;
    let written = mine.give_back(&PostParams::default()).await;
    let item = written.map_err(|error| failed(&args.task, &error))?;
    Ok(summary(&item))
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
        TaskError::Lost(lost) => ToolError::new("NotYours", format!("task {name}: {lost}")).hint(
            "stop working on it; list_tasks shows tasks that nobody has, and get_task the claim of your own",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(input: &Value, instructions: &str) -> WorkItem {
        let item = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "WorkItem", "metadata": {"name": "t"},
            "spec": {"run": "r", "flow": "f", "step": "code", "iteration": 1, "queue": "coders", "heartbeat": "5m", "attempts": 1,
                "input": input, "instructions": instructions},
            "status": {"phase": "Claimed", "claim": 3, "worker": "w"}});
        serde_json::from_value(item).unwrap()
    }

    fn paged(item: &WorkItem, part: Part) -> String {
        let (mut text, mut offset) = (String::new(), Some(0));
        while let Some(at) = offset {
            let page = page(item, part, usize::try_from(at).unwrap()).unwrap();
            assert!(page.to_string().len() < 250 << 10);
            text.push_str(page["text"].as_str().unwrap());
            offset = page["nextOffset"].as_u64();
        }
        text
    }

    #[test]
    fn what_is_too_large_is_named_and_read_whole_in_pages() {
        let input = json!({"big": "é\u{1}".repeat(80_000), "small": 1});
        let instructions = "\u{1}é".repeat(30_000);
        let item = item(&input, &instructions);
        let shown = whole(&item, "w");
        assert_eq!((&shown["claim"], shown.get("input")), (&json!(3), None));
        let named: Vec<_> = shown["large"]
            .as_array()
            .unwrap()
            .iter()
            .map(|large| &large["part"])
            .collect();
        assert_eq!(named, ["Instructions", "Input"]);
        assert!(shown.to_string().len() < 250 << 10);
        let read: Value = serde_json::from_str(&paged(&item, Part::Input)).unwrap();
        assert_eq!(read, input);
        assert_eq!(paged(&item, Part::Instructions), instructions);
        assert_eq!(paged(&item, Part::Schema), "null");
        assert!(page(&item, Part::Input, 10_000_000).is_err());
    }

    #[test]
    fn only_who_has_a_task_is_told_the_claim() {
        let shown = whole(&item(&json!(7), "Do it."), "v");
        assert_eq!((shown.get("claim"), &shown["input"]), (None, &json!(7)));
        assert_eq!(
            (&shown["instructions"], shown.get("large")),
            (&json!("Do it."), None)
        );
    }
}
