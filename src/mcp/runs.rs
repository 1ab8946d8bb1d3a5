//! Runs: starting, reading and waiting for them.

use std::time::Duration;

use kube::{
    ResourceExt as _,
    api::{ObjectMeta, PostParams},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    ToolError,
    list::{self, Page},
    server::{Place, ToolServer},
};
use crate::client::{self, InputError, Standing, StartError, Started};
use signoff_api::{
    Run, RunPhase, RunSpec,
    json::JsonObject,
    name::{FlowName, ReleaseName, RunName},
    names,
    run::{Channel, StepStatus},
};

/// The name under which the API server notes what agents write.
const FIELD_MANAGER: &str = "signoff-mcp";
/// How long is waited, unless the caller says.
const WAIT: u64 = 30;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ListRuns {
    #[serde(flatten)]
    place: Place,
    /// Only runs of this flow.
    #[serde(default)]
    flow: Option<FlowName>,
    /// Only runs in this phase.
    #[serde(default)]
    phase: Option<Phase>,
    #[serde(flatten)]
    page: Page,
}

/// Phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
enum Phase {
    Pending,
    Queued,
    Running,
    Waiting,
    Succeeded,
    Failed,
    Rejected,
    TimedOut,
    Cancelled,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct GetRun {
    #[serde(flatten)]
    place: Place,
    /// Name of the run.
    run: RunName,
    /// Name of a step whose output to return too.
    #[serde(default)]
    #[schemars(length(min = 1, max = 63))]
    step: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StartRun {
    #[serde(flatten)]
    place: Place,
    /// Name of the flow.
    flow: FlowName,
    /// Inputs, as `get_flow` shows their schema.
    #[serde(default)]
    inputs: Map<String, Value>,
    /// `Live`, the default, or `Draft` for the newest content. Not together with `release`.
    #[serde(default)]
    channel: Option<RunChannel>,
    /// Name of the release to run instead.
    #[serde(default)]
    release: Option<ReleaseName>,
    /// Any text that stands for this start, such as the id of the task at hand. A second start with the same text finds the
    /// first run and starts nothing.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    idempotency_key: Option<String>,
}

/// Which release to run.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
enum RunChannel {
    Live,
    Draft,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct WaitForRun {
    #[serde(flatten)]
    place: Place,
    /// Name of the run.
    run: RunName,
    /// Longest wait in seconds. Defaults to 30. The server may answer earlier.
    #[serde(default)]
    #[schemars(range(min = 1, max = 60))]
    seconds: Option<u64>,
    /// `state` of an earlier answer. While only people or a callback let the run go on, it waits until that changes.
    /// Without it, such a run is answered at once.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    since: Option<String>,
}

pub(super) async fn list(server: &ToolServer, args: ListRuns) -> Result<Value, ToolError> {
    let of_flow = args.flow.iter().map(|flow| format!("spec.flow={flow}"));
    let fields: Vec<String> = of_flow
        .chain(args.phase.into_iter().flat_map(selectors))
        .collect();
    let runs = server.api(&args.place)?;
    list::page(&runs, &args.page, &fields, "runs", summary).await
}

/// Field selectors of the runs in a phase. A run that the operator has not seen yet has no status, and is pending.
fn selectors(phase: Phase) -> Vec<String> {
    let of = |phase: Phase| format!("{phase:?}");
    if phase != Phase::Pending {
        return vec![format!("status.phase={}", of(phase))];
    }
    let others = [
        Phase::Queued,
        Phase::Running,
        Phase::Waiting,
        Phase::Succeeded,
        Phase::Failed,
        Phase::Rejected,
        Phase::TimedOut,
        Phase::Cancelled,
    ];
    others
        .map(|phase| format!("status.phase!={}", of(phase)))
        .to_vec()
}

fn summary(run: &Run) -> Value {
    let status = run.status.clone().unwrap_or_default();
    json!({
        "name": run.name_any(),
        "flow": run.spec.flow,
        "phase": status.phase,
        "waitingOn": status.waiting_on,
        "error": status.error,
        "requestedBy": run.spec.requested_by,
        "startedAt": status.started_at,
        "finishedAt": status.finished_at,
    })
}

pub(super) async fn get(server: &ToolServer, args: GetRun) -> Result<Value, ToolError> {
    let standing = client::look(&server.api::<Run>(&args.place)?, &args.run)
        .await
        .map_err(|error| ToolError::api(&format!("run {}", args.run), &error))?;
    if let Some(step) = &args.step {
        let status = standing.run.status.clone().unwrap_or_default();
        if !status.steps.iter().any(|entry| entry.name == *step) {
            let message = format!(
                "step {step} of run {} has not started, or the flow has no such step",
                args.run
            );
            return Err(ToolError::new("NotFound", message)
                .hint("get_run without a step lists those that have started"));
        }
    }
    Ok(details(&standing, args.step.as_deref()))
}

/// The run with its steps; of one of them the output too.
fn details(standing: &Standing, step: Option<&str>) -> Value {
    let run = &standing.run;
    let status = run.status.clone().unwrap_or_default();
    let mut shown = summary(run);
    shown["namespace"] = json!(run.namespace());
    shown["release"] = json!(status.release);
    shown["inputs"] = json!(run.inputs());
    shown["output"] = json!(status.output);
    shown["steps"] = status.steps.iter().map(|entry| of_step(entry, step)).collect();
    shown["ended"] = json!(status.phase.is_finished());
    shown["state"] = json!(standing.state());
    shown["next"] = json!(next(standing, status.phase));
    shown["openApprovals"] = json!(standing.open_approvals);
    shown
}

fn of_step(entry: &StepStatus, wanted: Option<&str>) -> Value {
    let mut shown = json!(entry);
    if let Value::Object(fields) = &mut shown {
        // what only the operator needs
        for inner in ["eventKeys", "connections", "requests"] {
            fields.remove(inner);
        }
        if wanted != Some(entry.name.as_str()) && fields.remove("output").is_some() {
            fields.insert("hasOutput".to_owned(), json!(true));
        }
    }
    shown
}

/// What an agent can do now.
fn next(standing: &Standing, phase: RunPhase) -> String {
    let (name, state) = (standing.run.name_any(), standing.state());
    match (
        phase.is_finished(),
        standing.is_settled,
        &standing.open_approvals[..],
    ) {
        (true, _, _) => "the run has ended".to_owned(),
        (false, false, []) => format!("call wait_for_run with run {name}"),
        (false, true, []) => format!(
            "a callback is waited for: call wait_for_run with run {name} and since {state} to wait for it"
        ),
        (false, _, approvals) => format!(
            "people are asked ({}), and only they can answer: get_approval shows the question; call wait_for_run with run \
             {name} and since {state} to wait for them",
            approvals.join(", ")
        ),
    }
}

pub(super) async fn start(server: &ToolServer, args: StartRun) -> Result<Value, ToolError> {
    if args.channel.is_some() && args.release.is_some() {
        return Err(ToolError::arguments("give either channel or release, not both"));
    }
    let inputs = JsonObject(args.inputs);
    let mut spec = RunSpec {
        channel: args.channel.map(|channel| match channel {
            RunChannel::Live => Channel::Live,
            RunChannel::Draft => Channel::Draft,
        }),
        release: args.release,
        ..RunSpec::of(args.flow)
    };
    let (client, namespace) = (server.client(), server.namespace(&args.place)?);
    let choice = client::choose_release(client, &namespace, &spec).await?;
    let definition = choice.release().map(|release| &release.spec.definition);
    client::check_inputs(definition, &inputs).map_err(|error| match error {
        InputError::Misfit(problems) => {
            let message = format!("no run was started, since the inputs do not fit: {problems}");
            ToolError::new("InvalidInputs", message).hint("get_flow shows the schema of the inputs")
        }
        InputError::TooDeep(..) | InputError::Inexact(..) => ToolError::arguments(error.to_string()),
    })?;
    spec.inputs = (!inputs.0.is_empty()).then_some(inputs);
    let (run, before) = create(server, &namespace, spec, args.idempotency_key.as_deref()).await?;
    let name = run.name_any();
    let runs = server.api::<Run>(&args.place)?;
    // that it was started is told even if it cannot be read any more
    let standing = client::look(&runs, &name)
        .await
        .unwrap_or_else(|_| Standing::of(run));
    let mut shown = details(&standing, None);
    shown["startedBefore"] = json!(before);
    Ok(shown)
}

/// The run, and whether it was there before.
async fn create(
    server: &ToolServer,
    namespace: &str,
    spec: RunSpec,
    key: Option<&str>,
) -> Result<(Run, bool), ToolError> {
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let refused = |error: &kube::Error| ToolError::api("the run was not started", error);
    let Some(key) = key else {
        let metadata = ObjectMeta {
            generate_name: Some(format!("{}-", spec.flow)),
            ..ObjectMeta::default()
        };
        let run = client::create_run(server.client(), namespace, metadata, spec, &params).await;
        return Ok((run.map_err(|error| refused(&error))?, false));
    };
    let name = names::idempotent_run_name(&spec.flow, key);
    match client::start_once(server.client(), namespace, &name, spec, &params).await {
        Ok(Started::Now(run)) => Ok((*run, false)),
        Ok(Started::Before(run)) => Ok((*run, true)),
        Err(StartError::Api(error)) => Err(refused(&error)),
        Err(error @ StartError::Taken { .. }) => Err(ToolError::new("AlreadyExists", error.to_string())
            .hint("use another idempotencyKey for a run of its own")),
    }
}

pub(super) async fn wait(server: &ToolServer, args: WaitForRun) -> Result<Value, ToolError> {
    let longest = Duration::from_secs(args.seconds.unwrap_or(WAIT)).min(server.longest_wait());
    let runs = server.api::<Run>(&args.place)?;
    let is_over = |standing: &Standing| {
        let is_new = args.since.as_ref().is_none_or(|since| *since != standing.state());
        standing.has_ended() || (standing.is_settled && is_new)
    };
    let waited = client::until(&runs, &args.run, longest, is_over)
        .await
        .map_err(|error| ToolError::api(&format!("run {}", args.run), &error))?;
    if let Some(error) = waited.unwatched {
        let message = format!(
            "run {} cannot be watched: {}",
            args.run,
            crate::cluster::error_chain(&error)
        );
        return Err(ToolError::new("Unwatchable", message)
            .hint("waiting needs the verb watch on runs; get_run shows the run as it is now"));
    }
    let mut shown = details(&waited.standing, None);
    shown["timedOut"] = json!(waited.timed_out);
    if waited.timed_out && waited.standing.open_approvals.is_empty() {
        let since = args.since.map(|since| format!(" and since {since}"));
        shown["next"] = json!(format!(
            "the run has not come further within {} s: call wait_for_run again with run {}{}",
            longest.as_secs(),
            args.run,
            since.unwrap_or_default()
        ));
    }
    Ok(shown)
}
