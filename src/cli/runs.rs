//! `signoff runs`: the runs of a namespace.

use kube::{ResourceExt as _, api::ListParams};
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::CliError,
    lines::terminal_width,
    run::now,
    table::{
        Column::{Free, Whole},
        table,
    },
    timeline::{age, took},
};
use signoff_api::{Run, RunStatus, name::FlowName};

/// List runs, the newest first.
#[derive(Debug, clap::Args)]
pub(super) struct RunsArgs {
    /// Only runs of this flow.
    #[arg(long)]
    flow: Option<FlowName>,
}

/// What a run waits for, or why it failed.
fn why(status: &RunStatus) -> String {
    let error = status.error.as_ref();
    let failed = || error.map(|error| format!("{}: {}", error.reason, error.message));
    status.waiting_on.clone().or_else(failed).unwrap_or_default()
}

pub(super) async fn verb(args: &RunsArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let selection = match &args.flow {
        Some(flow) => ListParams::default().fields(&format!("spec.flow={flow}")),
        None => ListParams::default(),
    };
    let list = connection.list::<Run>(&selection).await;
    let mut runs = list.map_err(|error| CliError::api("the runs cannot be listed", &error))?;
    runs.sort_by_key(|run| std::cmp::Reverse(run.creation_timestamp().map(|time| time.0)));
    if runs.is_empty() {
        return Ok(
            Answer::text(format!("no runs in namespace {}", connection.namespace)).with_data(json!([])),
        );
    }
    let now = now();
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let status = run.status.clone().unwrap_or_default();
            vec![
                run.name_any(),
                run.spec.flow.to_string(),
                status
                    .release
                    .as_ref()
                    .map(|release| release.name.clone())
                    .unwrap_or_default(),
                status.phase.to_string(),
                why(&status),
                run.spec
                    .trigger
                    .as_ref()
                    .map(|trigger| trigger.name.to_string())
                    .unwrap_or_default(),
                took(&status, now),
                age(run.creation_timestamp().as_ref(), now),
            ]
        })
        .collect();
    let headings = [
        Whole("name"),
        Whole("flow"),
        Whole("release"),
        Whole("phase"),
        Free("why"),
        Whole("trigger"),
        Whole("took"),
        Whole("age"),
    ];
    let text = table(&headings, &rows, terminal_width());
    let names: Vec<String> = runs.iter().map(|run| format!("run/{}", run.name_any())).collect();
    Ok(Answer::text(text).with_data(json!(runs)).with_names(names))
}
