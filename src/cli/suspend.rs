//! `signoff suspend` and `signoff resume`: whether further steps of a run start.

use kube::{ResourceExt as _, api::Patch};
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    cancel::not_ended,
    connect::{Connection, patch_params},
    error::CliError,
};
use signoff_api::{Run, name::ObjectName};

/// A run.
#[derive(Debug, clap::Args)]
pub(super) struct SuspendArgs {
    /// Name of the run.
    run: ObjectName,
}

pub(super) async fn verb(args: &SuspendArgs, suspend: bool, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let runs = connection.api::<Run>();
    not_ended(&runs, &args.run).await?;
    let patch = json!({ "spec": { "suspend": suspend } });
    let patched = runs
        .patch(&args.run, &patch_params(), &Patch::Merge(&patch))
        .await;
    let run = patched.map_err(|error| CliError::api(&args.run, &error))?;
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
