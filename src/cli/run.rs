//! `signoff run`: starts a run, and waits for it if asked to.

use std::{path::PathBuf, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    api::{ObjectMeta, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Map, Value, json};

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::{CliError, exit},
    timeline,
};
use signoff_api::{
    Flow, Release, Run, RunPhase, RunSpec, bounds,
    json::JsonObject,
    name::{FlowName, ReleaseName},
    run::Channel,
};

/// Start a run of a flow.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Name of the flow.
    flow: FlowName,
    /// An input as key=value, read as its declared type; repeatable.
    #[arg(long = "input", value_name = "KEY=VALUE")]
    inputs: Vec<String>,
    /// Inputs from a YAML or JSON file; single inputs override it.
    #[arg(long, value_name = "FILE")]
    input_file: Option<PathBuf>,
    /// Run the newest draft instead of the live release.
    #[arg(long, conflicts_with = "release")]
    draft: bool,
    /// Run this release.
    #[arg(long, value_name = "RELEASE")]
    release: Option<ReleaseName>,
    /// Wait until the run ends or stops for people, at most --timeout.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn verb(args: RunArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let inputs = inputs(&args, &connection).await?;
    let spec = RunSpec {
        flow: args.flow.clone(),
        channel: args.draft.then_some(Channel::Draft),
        release: args.release.clone(),
        inputs: (!inputs.is_empty()).then_some(JsonObject(inputs)),
        requested_by: None,
        cancel: None,
        suspend: None,
    };
    let runs: Api<Run> = connection.api();
    let run = start(&connection, spec).await?;
    let name = run.name_any();
    if !args.wait {
        return Ok(Answer::text(format!("run/{name} created"))
            .with_data(json!(run))
            .with_names([format!("run/{name}")])
            .with_next([format!("signoff status {name}")]));
    }
    let settled = await_condition(runs.clone(), &name, |run: Option<&Run>| {
        run.is_none_or(is_settled)
    });
    let waited = tokio::time::timeout(global.timeout(), settled).await;
    let run = runs
        .get(&name)
        .await
        .map_err(|error| CliError::api(&name, &error))?;
    Ok(after_wait(&run, waited.is_err(), global.timeout()))
}

async fn start(connection: &Connection, spec: RunSpec) -> Result<Run, CliError> {
    let metadata = ObjectMeta {
        generate_name: Some(format!("{}-", spec.flow)),
        ..ObjectMeta::default()
    };
    let mut run = Run {
        metadata,
        spec,
        status: None,
    };
    let runs: Api<Run> = connection.api();
    let mut created = runs.create(&PostParams::default(), &run).await;
    // a server without a mutating policy asks the requester to say who they are, and checks it
    if let Err(kube::Error::Api(refusal)) = &created
        && refusal.message.contains("spec.requestedBy")
    {
        run.spec.requested_by = Some(connection.whoami().await?.0);
        created = runs.create(&PostParams::default(), &run).await;
    }
    created.map_err(|error| CliError::api("the run cannot be started", &error))
}

/// Nothing goes on by itself any more, or not without people or the outside.
fn is_settled(run: &Run) -> bool {
    run.status
        .as_ref()
        .is_some_and(|status| status.phase.is_finished() || status.phase == RunPhase::Waiting)
}

fn after_wait(run: &Run, timed_out: bool, timeout: Duration) -> Answer {
    let name = run.name_any();
    let phase = run.status.as_ref().map(|status| status.phase).unwrap_or_default();
    let approvals: Vec<String> = super::status::open_approvals(run);
    let mut text = timeline::render(run);
    if timed_out {
        text.blank();
        text.push(format!("still going on after {}s", timeout.as_secs()));
    }
    let exit = if phase.is_finished() && phase != RunPhase::Succeeded {
        exit::RUN_ENDED_BADLY
    } else {
        0
    };
    let mut data = json!(run);
    data["waiting"] = json!(!phase.is_finished());
    let next = if approvals.is_empty() && !phase.is_finished() {
        vec![format!("signoff status {name}")]
    } else {
        approvals
            .iter()
            .map(|approval| format!("signoff approve {approval}"))
            .collect()
    };
    Answer::text(text)
        .with_data(data)
        .with_names([format!("run/{name}")])
        .with_next(next)
        .with_exit(exit)
}

async fn inputs(args: &RunArgs, connection: &Connection) -> Result<Map<String, Value>, CliError> {
    let mut inputs = match &args.input_file {
        None => Map::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?;
            serde_yaml::from_str(&text).map_err(|error| {
                CliError::usage(format!("{}: not an object of inputs: {error}", path.display()))
            })?
        }
    };
    let schema = if args.inputs.is_empty() {
        Value::Null
    } else {
        schema(args, connection).await
    };
    for pair in &args.inputs {
        let (key, text) = pair
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("--input {pair}: write KEY=VALUE")))?;
        inputs.insert(
            key.to_owned(),
            typed(text, schema["properties"][key]["type"].as_str()),
        );
    }
    for (name, value) in &inputs {
        // the object of all inputs is the first level
        bounds::nesting(value, bounds::MAX_NESTING - 1).map_err(|_| {
            CliError::usage(format!("input {name}: {}", bounds::TooDeep(bounds::MAX_NESTING)))
        })?;
    }
    Ok(inputs)
}

/// The inputs' schema of what will run; nothing if it cannot be read, as the API has the last word anyway.
async fn schema(args: &RunArgs, connection: &Connection) -> Value {
    let flow: Option<Flow> = connection.api::<Flow>().get_opt(&args.flow).await.ok().flatten();
    let status = flow
        .as_ref()
        .and_then(|flow| flow.status.clone())
        .unwrap_or_default();
    let draft = status.draft.map(|draft| draft.release);
    let Some(name) =
        args.release
            .as_ref()
            .map(ToString::to_string)
            .or(if args.draft { draft } else { status.live })
    else {
        return Value::Null;
    };
    let release: Option<Release> = connection.api::<Release>().get_opt(&name).await.ok().flatten();
    release
        .and_then(|release| release.spec.definition.inputs)
        .map(|inputs| inputs.0)
        .unwrap_or_default()
}

/// A string stays one where it is declared so; everything else is JSON if it can be.
fn typed(text: &str, declared: Option<&str>) -> Value {
    let string = || Value::String(text.to_owned());
    if declared == Some("string") {
        string()
    } else {
        serde_json::from_str(text).unwrap_or_else(|_| string())
    }
}

/// The time now, for ages.
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_read_as_they_are_declared() {
        assert_eq!(typed("81", Some("string")), json!("81"));
        assert_eq!(typed("81", Some("number")), json!(81));
        assert_eq!(typed("true", None), json!(true));
        assert_eq!(typed("plain text", None), json!("plain text"));
    }
}
