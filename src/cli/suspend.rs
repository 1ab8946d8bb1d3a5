//! `signoff suspend` and `signoff resume`: whether further steps of a run start, or the triggers of a flow start runs.

use kube::{ResourceExt as _, api::Patch};
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    cancel::not_ended,
    connect::{Connection, patch_params},
    error::CliError,
};
use signoff_api::{
    Flow, Run,
    name::{FlowName, ObjectName},
};

/// A run or a flow.
#[derive(Debug, clap::Args)]
pub(super) struct SuspendArgs {
    /// Name of the run, or `flow/NAME` for a flow.
    #[arg(value_name = "RUN|flow/FLOW", required_unless_present = "flow")]
    target: Option<Target>,
    /// Name of the flow.
    #[arg(long, value_name = "FLOW", conflicts_with = "target")]
    flow: Option<FlowName>,
}

/// What is suspended or resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Run(ObjectName),
    Flow(FlowName),
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            None => text.parse().map(Self::Run).map_err(|error| error.to_string()),
            Some(("run" | "runs", name)) => name.parse().map(Self::Run).map_err(|error| error.to_string()),
            Some(("flow" | "flows", name)) => name.parse().map(Self::Flow).map_err(|error| error.to_string()),
            Some((kind, _)) => Err(format!("{kind} cannot be suspended, only a run or a flow")),
        }
    }
}

pub(super) async fn verb(args: &SuspendArgs, suspend: bool, global: &Global) -> Result<Answer, CliError> {
    match (&args.target, &args.flow) {
        (_, Some(flow)) | (Some(Target::Flow(flow)), None) => of_flow(flow, suspend, global).await,
        (Some(Target::Run(run)), None) => of_run(run, suspend, global).await,
        (None, None) => Err(CliError::usage("name a run, or a flow as flow/NAME")),
    }
}

async fn of_run(run: &ObjectName, suspend: bool, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let runs = connection.api::<Run>();
    not_ended(&connection, run).await?;
    let patch = json!({ "spec": { "suspend": suspend } });
    let patched = runs.patch(run, &patch_params(), &Patch::Merge(&patch)).await;
    let run = patched.map_err(|error| connection.failed::<Run>(run, &error))?;
    let name = run.name_any();
    let (text, next) = if suspend {
        let text = format!("run/{name} is suspended: no further step starts");
        (text, format!("resume {name}"))
    } else {
        (format!("run/{name} goes on"), format!("status {name}"))
    };
    Ok(Answer::text(text)
        .with_data(json!(run))
        .with_names([format!("run/{name}")])
        .with_next([global.command(&next)]))
}

async fn of_flow(flow: &FlowName, suspend: bool, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    // what is not there takes no room
    let patch = json!({ "spec": { "suspend": suspend.then_some(true) } });
    let flows = connection.api::<Flow>();
    let patched = flows.patch(flow, &patch_params(), &Patch::Merge(&patch)).await;
    let flow = patched.map_err(|error| connection.failed::<Flow>(flow, &error))?;
    let name = flow.name_any();
    let (told, next): (&[&str], _) = if suspend {
        let told: &[&str] = &[
            "is suspended: its triggers start no runs",
            "Schedules, requests and ends of other flows are not made up for later.",
            "Runs that have started go on, and people can start further ones.",
        ];
        (
            told,
            [format!("runs --flow {name}"), format!("resume flow/{name}")],
        )
    } else {
        let told: &[&str] = &["is resumed: its triggers start runs for events from now on"];
        (
            told,
            [format!("runs --flow {name}"), format!("suspend flow/{name}")],
        )
    };
    let mut lines: Vec<String> = told.iter().map(|line| (*line).to_owned()).collect();
    if let Some(first) = lines.first_mut() {
        *first = format!("flow/{name} {first}");
    }
    let triggers = flow.status.as_ref().map_or(0, |status| status.triggers.len());
    if triggers == 0 {
        lines.push("The live release has no triggers now.".to_owned());
    }
    Ok(Answer::text(lines.iter().collect::<super::lines::Lines>())
        .with_data(json!(flow))
        .with_names([format!("flow/{name}")])
        .with_next(next.map(|line| global.command(&line))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_is_a_run_and_a_kind_before_it_says_what_it_is() {
        let target = |text: &str| text.parse::<Target>();
        assert!(matches!(target("refund-x7k2q"), Ok(Target::Run(name)) if name == "refund-x7k2q"));
        assert!(matches!(target("run/refund-x7k2q"), Ok(Target::Run(name)) if name == "refund-x7k2q"));
        assert!(matches!(target("flow/refund"), Ok(Target::Flow(name)) if name == "refund"));
        assert_eq!(
            target("release/refund-1"),
            Err("release cannot be suspended, only a run or a flow".to_owned())
        );
        assert!(target("flow/").is_err());
    }
}
