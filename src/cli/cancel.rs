//! `signoff cancel`: stops a run.

use kube::{ResourceExt as _, api::Patch};
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    connect::{Connection, patch_params},
    error::{CliError, exit},
    named,
};
use signoff_api::{Run, name::ObjectName};

/// Stop a run.
#[derive(Debug, clap::Args)]
pub(super) struct CancelArgs {
    /// Name of the run.
    #[arg(value_parser = named::run)]
    run: ObjectName,
    /// Stop the run without the steps of `finally`. You need the verb `terminate` on runs.
    #[arg(long)]
    terminate: bool,
    /// Why, for people.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
}

pub(super) async fn verb(args: &CancelArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let runs = connection.api::<Run>();
    not_ended(&connection, &args.run).await?;
    let field = if args.terminate { "terminate" } else { "cancel" };
    let mut patch = json!({ "spec": { field: true, "stopMessage": args.message } });
    let mut patched = runs
        .patch(&args.run, &patch_params(), &Patch::Merge(&patch))
        .await;
    // a server without a mutating policy asks who stops the run, and checks it
    if let Err(kube::Error::Api(refusal)) = &patched
        && refusal.message.contains("spec.stoppedBy")
    {
        patch["spec"]["stoppedBy"] = json!(connection.whoami().await?.0);
        patched = runs
            .patch(&args.run, &patch_params(), &Patch::Merge(&patch))
            .await;
    }
    let run = patched.map_err(|error| connection.failed::<Run>(&args.run, &error))?;
    let what = if args.terminate { "terminated" } else { "cancelled" };
    Ok(Answer::text(format!("run/{} is being {what}", run.name_any()))
        .with_data(json!(run))
        .with_names([format!("run/{}", run.name_any())])
        .with_next([global.command(&format!("status {}", run.name_any()))]))
}

/// Checks that a run has not ended yet.
pub(super) async fn not_ended(connection: &Connection, name: &ObjectName) -> Result<(), CliError> {
    let run: Run = connection.get(name).await?;
    match run.status.filter(|status| status.phase.is_finished()) {
        None => Ok(()),
        Some(status) => {
            let message = format!("run {name} has ended already: {}", status.phase);
            Err(CliError::new("AlreadyEnded", exit::CONFLICT, message))
        }
    }
}
