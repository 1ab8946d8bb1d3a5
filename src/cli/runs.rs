//! `signoff runs`: the runs of a namespace, or of all.

use kube::{ResourceExt as _, api::ListParams};
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    archived::{self, Archive},
    connect::{Connection, Namespaces},
    error::CliError,
    lines::{Lines, terminal_width},
    named, replay,
    run::now,
    store_options::StoreArgs,
    table::{
        Column::{self, Extra, Free, Whole},
        table,
    },
    timeline::{age, took},
};
use crate::records::read::Wanted;
use signoff_api::{Run, RunPhase, RunStatus, name::FlowName};

/// List runs, the newest first.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_subcommand = true,
    after_help = "Examples:\n  signoff runs --flow refund --phase Waiting\n  signoff runs -A\n  signoff runs replay refund-x7k2q"
)]
pub(super) struct RunsArgs {
    #[command(subcommand)]
    verb: Option<RunsVerb>,
    /// Only runs of this flow.
    #[arg(long)]
    flow: Option<FlowName>,
    /// Only runs in this phase, such as Waiting; repeatable.
    #[arg(long, value_name = "PHASE", value_parser = named::phase::<RunPhase>)]
    phase: Vec<RunPhase>,
    /// Runs of all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Runs whose records are in the object store, also those that were deleted since. Needs --store, and access to the
    /// store.
    #[arg(long, requires = "store")]
    archived: bool,
    /// With --archived: only runs that ended in this month, such as 2026-11.
    #[arg(long, value_name = "MONTH", value_parser = archived::month, requires = "archived")]
    month: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Subcommand)]
enum RunsVerb {
    Replay(replay::ReplayArgs),
}

/// What a run waits for, or why it failed.
fn why(status: &RunStatus) -> String {
    let error = status.error.as_ref();
    let failed = || error.map(|error| format!("{}: {}", error.reason, error.message));
    status.waiting_on.clone().or_else(failed).unwrap_or_default()
}

pub(super) async fn verb(args: RunsArgs, global: &Global) -> Result<Answer, CliError> {
    if let Some(RunsVerb::Replay(replayed)) = &args.verb {
        if args.flow.is_some() || !args.phase.is_empty() || args.all_namespaces || args.archived {
            let message =
                "--flow, --phase, --all-namespaces and --archived are for the list of runs, not for replay";
            return Err(CliError::usage(message));
        }
        return replay::verb(replayed, global).await;
    }
    if args.archived {
        return of_archive(args, global).await;
    }
    let connection = Connection::open(global).await?;
    let selection = match &args.flow {
        Some(flow) => ListParams::default().fields(&format!("spec.flow={flow}")),
        None => ListParams::default(),
    };
    let namespaces = Namespaces::of(args.all_namespaces);
    let list = connection.list_in::<Run>(namespaces, &selection).await;
    let mut runs = list.map_err(|error| CliError::api("the runs cannot be listed", &error))?;
    let phase = |run: &Run| run.status.as_ref().map(|status| status.phase).unwrap_or_default();
    runs.retain(|run| args.phase.is_empty() || args.phase.contains(&phase(run)));
    runs.sort_by_key(|run| std::cmp::Reverse(run.creation_timestamp().map(|time| time.0)));
    if runs.is_empty() {
        let these = match args.phase.as_slice() {
            [] => "runs".to_owned(),
            phases => format!("runs that are {}", named::list(phases)),
        };
        let text = format!("no {these} in {}", connection.places(namespaces));
        return Ok(Answer::text(text).with_data(json!([])));
    }
    Ok(shown(&runs, namespaces))
}

/// Runs of which there is a record.
async fn of_archive(args: RunsArgs, global: &Global) -> Result<Answer, CliError> {
    let namespaces = Namespaces::of(args.all_namespaces);
    let archive = Archive::open(args.store, args.all_namespaces, global).await?;
    let wanted = Wanted {
        from: args.month.clone(),
        to: args.month,
        ..archive.wanted()
    };
    let found = archive.read(&wanted, |_, record| record.statement.predicate.run_object());
    let found = found.await?;
    let problem = archived::problem(&found.passed_over, vec![], false);
    let mut runs = found.records;
    let phase = |run: &Run| run.status.as_ref().map(|status| status.phase).unwrap_or_default();
    runs.retain(|run| {
        (args.phase.is_empty() || args.phase.contains(&phase(run)))
            && args.flow.as_ref().is_none_or(|flow| *flow == run.spec.flow)
    });
    runs.sort_by_key(|run| std::cmp::Reverse(run.creation_timestamp().map(|time| time.0)));
    if runs.is_empty() {
        let answer = Answer::text("no such runs in the object store").with_data(json!([]));
        return Ok(answer.with_problem(problem));
    }
    Ok(shown(&runs, namespaces).with_problem(problem))
}

fn shown(runs: &[Run], namespaces: Namespaces) -> Answer {
    let now = now();
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let status = run.status.clone().unwrap_or_default();
            vec![
                run.namespace().unwrap_or_default(),
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
        Whole("namespace"),
        Whole("name"),
        Whole("flow"),
        Extra("release"),
        Whole("phase"),
        Free("why"),
        Extra("trigger"),
        Extra("took"),
        Whole("age"),
    ];
    let text = listed(&headings, rows, namespaces);
    let names: Vec<String> = runs.iter().map(|run| format!("run/{}", run.name_any())).collect();
    Answer::text(text).with_data(json!(runs)).with_names(names)
}

/// A table of objects. Their namespace, which is the first column, is told if it may be any.
pub(super) fn listed(headings: &[Column], rows: Vec<Vec<String>>, namespaces: Namespaces) -> Lines {
    let first = usize::from(namespaces == Namespaces::One);
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| row.into_iter().skip(first).collect())
        .collect();
    table(&headings[first..], &rows, terminal_width())
}
