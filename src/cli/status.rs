//! `signoff status`: one run's timeline and why it waits.

use kube::ResourceExt as _;
use serde_json::json;

use super::{Global, answer::Answer, connect::Connection, error::CliError, named, timeline};
use crate::client::open_approvals;
use signoff_api::{Run, name::ObjectName};

/// Show a run: its steps, who decided, and what it waits for.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// Name of the run.
    #[arg(value_parser = named::run)]
    run: ObjectName,
}

pub(super) async fn verb(args: &StatusArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let run: Run = connection.get(&args.run).await?;
    let approvals = open_approvals(&run);
    let next = approvals
        .iter()
        .map(|approval| global.command_for_others(&format!("approve {approval}")));
    Ok(Answer::text(timeline::render(&run))
        .with_data(json!(run))
        .with_names([format!("run/{}", run.name_any())])
        .with_next(next)
        .for_deciders())
}
