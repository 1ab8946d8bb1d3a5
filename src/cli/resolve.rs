//! `signoff resolve`: answers a callback that was lost.

use std::io::Read as _;

use kube::{Api, ResourceExt as _, api::Patch};
use serde_json::{Value, json};

use super::{
    Global,
    answer::Answer,
    connect::{Connection, patch_params},
    error::{CliError, exit},
    named,
};
use signoff_api::{
    Release, Run,
    name::{DnsLabel, ObjectName},
};
use signoff_engine::{plan::Plan, resolution};

/// Largest file with a body, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Answer a callback that never came.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "You need the verb `resolve` on runs. The body must fit the schema and the condition of the wait.\n\n\
Examples:\n  signoff resolve refund-x7k2q settled --body '{\"receipt\": \"R-1\"}' -m 'The bank confirmed it by phone'\n  \
signoff resolve refund-x7k2q settled --body @receipt.json -m 'See ticket 81'"
)]
pub(super) struct ResolveArgs {
    /// Name of the run.
    #[arg(value_parser = named::run)]
    run: ObjectName,
    /// Step that waits for the callback.
    step: DnsLabel,
    /// Item that waits for it, from 0, if the step has `forEach`.
    #[arg(long, value_name = "INDEX")]
    item: Option<i64>,
    /// Body of the callback: JSON, or @FILE for a file (@- for standard input).
    #[arg(long, value_name = "JSON")]
    body: String,
    /// Why you answer it by hand, for people.
    #[arg(short, long, value_name = "TEXT")]
    message: String,
}

pub(super) async fn verb(args: &ResolveArgs, global: &Global) -> Result<Answer, CliError> {
    let body = body(&args.body)?;
    let connection = Connection::open(global).await?;
    let runs = connection.api::<Run>();
    let run = runs.get(&args.run).await;
    let run = run.map_err(|error| CliError::api(&args.run, &error))?;
    let key = key(&connection, args, &run, &body).await?;
    let mut resolution = json!({ "body": body, "message": args.message });
    let mut patched = add(&runs, &run, &key, &resolution).await;
    // a server without a mutating policy asks who answers, and checks it
    if let Err(kube::Error::Api(refusal)) = &patched
        && refusal.message.contains("resolution does not say who")
    {
        resolution["by"] = json!(connection.whoami().await?.0);
        patched = add(&runs, &run, &key, &resolution).await;
    }
    let run = patched.map_err(|error| CliError::api(&args.run, &error))?;
    let name = run.name_any();
    Ok(Answer::text(format!(
        "run/{name}: the callback of step {} is answered",
        args.step
    ))
    .with_data(json!(run))
    .with_names([format!("run/{name}")])
    .with_next([global.command(&format!("status {name}"))]))
}

/// The key of the wait, if it takes the body: what the run would refuse is told here.
async fn key(
    connection: &Connection,
    args: &ResolveArgs,
    run: &Run,
    body: &Value,
) -> Result<String, CliError> {
    let refused = |why: String| CliError::new("ResolutionRefused", exit::CONFLICT, why);
    let status = run.status.clone().unwrap_or_default();
    if status.phase.is_finished() {
        let message = format!("run {} has ended already: {}", args.run, status.phase);
        return Err(CliError::new("AlreadyEnded", exit::CONFLICT, message));
    }
    let Some(pinned) = &status.release else {
        return Err(refused(format!("run {} has not begun", args.run)));
    };
    let release: Option<Release> = connection.named(&pinned.name).await?;
    let plan = release.and_then(|release| Plan::of_release(&release.spec.definition).ok());
    let plan = plan.ok_or_else(|| refused(format!("release {} of the run cannot be read", pinned.name)))?;
    let key = resolution::key(&plan, &status, &args.step, args.item).map_err(refused)?;
    resolution::check(&plan, &status, &key, body).map_err(refused)?;
    Ok(key)
}

/// Adds the resolution. A merge patch would leave out every null of the body.
async fn add(runs: &Api<Run>, run: &Run, key: &str, resolution: &Value) -> Result<Run, kube::Error> {
    let mut operations = vec![json!({ "op": "test", "path": "/metadata/uid", "value": run.metadata.uid })];
    if run.spec.resolutions.is_empty() {
        operations.push(json!({ "op": "add", "path": "/spec/resolutions", "value": {} }));
    }
    let path = format!("/spec/resolutions/{key}");
    operations.push(json!({ "op": "add", "path": path, "value": resolution }));
    let patch = serde_json::from_value(Value::Array(operations)).map_err(kube::Error::SerdeError)?;
    runs.patch(&run.name_any(), &patch_params(), &Patch::Json::<()>(patch))
        .await
}

fn body(given: &str) -> Result<Value, CliError> {
    let text = match given.strip_prefix('@') {
        None => given.to_owned(),
        Some(file) => read(file).map_err(|error| CliError::usage(format!("{file}: {error}")))?,
    };
    serde_json::from_str(&text).map_err(|error| CliError::usage(format!("--body is no JSON: {error}")))
}

fn read(file: &str) -> std::io::Result<String> {
    let mut text = String::new();
    match file {
        "-" => std::io::stdin().take(MAX_FILE).read_to_string(&mut text)?,
        file => std::fs::File::open(file)?
            .take(MAX_FILE)
            .read_to_string(&mut text)?,
    };
    Ok(text)
}
