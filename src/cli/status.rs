//! `signoff status`: one run's timeline and why it waits.

use kube::ResourceExt as _;
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    archived::{self, Archive},
    connect::Connection,
    error::{CliError, exit},
    named, quoted,
    store_options::StoreArgs,
    timeline,
};
use crate::{client::open_approvals, records::read::Wanted};
use signoff_api::{Run, name::ObjectName};

/// Show a run: its steps, who decided, and what it waits for.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// Name of the run.
    #[arg(value_parser = named::run)]
    run: ObjectName,
    /// Show the record of the run in the object store. The run may have been deleted since. Needs --store, and access to
    /// the store.
    #[arg(long, requires = "store")]
    archived: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn verb(args: StatusArgs, global: &Global) -> Result<Answer, CliError> {
    if args.archived {
        return of_archive(args, global).await;
    }
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

/// A run of which there is a record: the newest one of its name.
async fn of_archive(args: StatusArgs, global: &Global) -> Result<Answer, CliError> {
    let store = args.store.argument();
    let archive = Archive::open(args.store, false, global).await?;
    let wanted = Wanted {
        run: Some(args.run.to_string()),
        ..archive.wanted()
    };
    let found = archive.read(&wanted, |path, record| {
        let is_signed = !record.envelope.signatures().is_empty();
        (path.clone(), record.statement.predicate.run_object(), is_signed)
    });
    let found = found.await?;
    let problem = archived::problem(&found.passed_over, vec![], false);
    let newest = found.records.into_iter().max_by_key(|(_, run, _)| {
        let status = run.status.as_ref();
        status
            .and_then(|status| status.finished_at.clone())
            .map(|time| time.0)
    });
    let Some((path, run, is_signed)) = newest else {
        if let Some(problem) = problem {
            return Err(problem);
        }
        let message = format!("there is no record of a run {} in the object store", args.run);
        return Err(CliError::new("NotFound", exit::NOT_FOUND, message));
    };
    let mut text = timeline::render(&run);
    text.field("record", path.to_string());
    text.field("signed", if is_signed { "yes; not verified here" } else { "no" });
    let mut data = json!(run);
    data["record"] = json!({ "ref": path.to_string(), "signed": is_signed });
    let place = quoted(&path.to_string());
    Ok(Answer::text(text)
        .with_data(data)
        .with_names([format!("run/{}", run.name_any())])
        .with_next([format!("signoff verify {place} --key PUBLIC.pem{store}")])
        .with_problem(problem))
}
