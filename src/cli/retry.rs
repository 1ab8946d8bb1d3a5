//! `signoff retry` and `signoff rerun`: a run once more, from a step or from the beginning.

use kube::ResourceExt as _;

use super::{
    Global,
    answer::Answer,
    connect::{Connection, post_params},
    error::{CliError, exit},
    named, run,
};
use crate::client::{self, RetryError};
use signoff_api::{
    Run, RunSpec,
    name::{DnsLabel, ObjectName, ReleaseName},
    run::Channel,
};

/// Go on from a run that ended badly: with its release, its inputs, and the outcomes of the steps before.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Calls are made with the idempotency keys of the earlier run. Approvals are asked again.\n\n\
Examples:\n  signoff retry refund-x7k2q\n  signoff retry refund-x7k2q --from pay --wait"
)]
pub(super) struct RetryArgs {
    /// Name of the run.
    #[arg(value_parser = named::run)]
    run: ObjectName,
    /// First step that is done again; by default, the first that did not end well.
    #[arg(long, value_name = "STEP")]
    from: Option<DnsLabel>,
    /// Wait until the run ends, or until only people or a callback let it go on (exit code 9); at most --timeout.
    #[arg(long)]
    wait: bool,
}

/// Start another run with the inputs of a run, and its release.
#[derive(Debug, clap::Args)]
pub(super) struct RerunArgs {
    /// Name of the run.
    #[arg(value_parser = named::run)]
    run: ObjectName,
    /// Use the live release instead of the one of that run.
    #[arg(long, conflicts_with = "draft")]
    live: bool,
    /// Use the newest draft instead of the release of that run.
    #[arg(long)]
    draft: bool,
    /// Wait until the run ends, or until only people or a callback let it go on (exit code 9); at most --timeout.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn retry(args: &RetryArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let earlier = found(&connection, &args.run).await?;
    let Connection { client, namespace } = &connection;
    let name = earlier.name_any();
    let planned = client::plan_retry(client, namespace, &earlier, args.from.as_ref()).await;
    let planned = planned.map_err(|error| refused(&name, error))?;
    let from = planned.from().clone();
    let created = planned.start(client, namespace, &post_params()).await;
    run::started(
        &connection,
        created.map_err(|error| refused(&name, error))?,
        &format!("retries {name} from step {from}"),
        args.wait,
        global,
    )
    .await
}

fn refused(name: &str, error: RetryError) -> CliError {
    let message = error.to_string();
    match error {
        RetryError::NotEnded { .. } => CliError::new("NotEnded", exit::CONFLICT, message),
        RetryError::Succeeded(_) => CliError::new("Succeeded", exit::CONFLICT, message),
        RetryError::NoRelease(_) => CliError::new("NoRelease", exit::CONFLICT, message),
        RetryError::AlreadyRetried { .. } => CliError::new("AlreadyRetried", exit::CONFLICT, message),
        RetryError::Unreadable | RetryError::NoBeginning => CliError::usage(message),
        RetryError::Refused(_) => CliError::new("RetryRefused", exit::CONFLICT, message),
        RetryError::Name(error) => CliError::internal(name, &error),
        RetryError::Start(error) => CliError::api("the run cannot be started", &error),
        RetryError::Api(error) => CliError::api(name, &error),
    }
}

pub(super) async fn rerun(args: &RerunArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let earlier = found(&connection, &args.run).await?;
    let release = earlier.status.as_ref().and_then(|status| status.release.as_ref());
    let mut spec = again(&earlier);
    if args.draft {
        spec.channel = Some(Channel::Draft);
    } else if !args.live {
        spec.release = match release {
            Some(pinned) => Some(parsed::<ReleaseName>(&pinned.name)?),
            None => earlier.spec.release.clone(),
        };
    }
    let metadata = run::generated(&spec);
    let created = run::start(&connection, metadata, spec).await?;
    let why = format!("starts {} again", earlier.name_any());
    run::started(&connection, created, &why, args.wait, global).await
}

async fn found(connection: &Connection, name: &ObjectName) -> Result<Run, CliError> {
    connection.get(name).await
}

/// The same flow with the same inputs.
fn again(earlier: &Run) -> RunSpec {
    RunSpec {
        inputs: earlier.spec.inputs.clone(),
        ..RunSpec::of(earlier.spec.flow.clone())
    }
}

fn parsed<T: std::str::FromStr<Err = signoff_api::name::NameError>>(name: &str) -> Result<T, CliError> {
    name.parse().map_err(|error| CliError::internal(name, &error))
}
