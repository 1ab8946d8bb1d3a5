//! `signoff connections`: where steps and Repositories connect, and whether that works.

use kube::{ResourceExt, api::ListParams};
use serde_json::{Value, json};

use super::{
    Global,
    answer::Answer,
    connect::Connection as ApiServer,
    error::{CliError, exit},
    lines::terminal_width,
    named,
    run::now,
    table::{
        Column::{Free, Whole},
        table,
    },
    timeline::age,
};
use crate::{
    cluster::context::Clock,
    perform::{Check, Executors},
    remotes::RepositorySettings,
};
use signoff_api::{Connection, name::ObjectName, reason::StepReason};

/// List Connections, and test one.
#[derive(Debug, clap::Args)]
pub(super) struct ConnectionsArgs {
    #[command(subcommand)]
    verb: Option<ConnectionsVerb>,
}

#[derive(Debug, clap::Subcommand)]
enum ConnectionsVerb {
    /// List Connections. It is what `signoff connections` does.
    Ls,
    /// Read the Secrets that a Connection names, and call the other side, from this machine and with your rights. Nothing
    /// is sent that anybody reads.
    Test {
        /// Name of the Connection.
        #[arg(value_parser = named::connection)]
        name: ObjectName,
    },
}

pub(super) async fn verb(args: ConnectionsArgs, global: &Global) -> Result<Answer, CliError> {
    match args.verb {
        None | Some(ConnectionsVerb::Ls) => list(global).await,
        Some(ConnectionsVerb::Test { name }) => Box::pin(test(&name, global)).await,
    }
}

async fn list(global: &Global) -> Result<Answer, CliError> {
    let api_server = ApiServer::open(global).await?;
    let listed = api_server.list::<Connection>(&ListParams::default()).await;
    let mut found = listed.map_err(|error| CliError::api("the Connections cannot be listed", &error))?;
    found.sort_by_key(ResourceExt::name_any);
    if found.is_empty() {
        let text = format!("namespace {} has no Connections", api_server.namespace);
        return Ok(Answer::text(text).with_data(json!([])));
    }
    let now = now();
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|connection| {
            let mut secrets: Vec<String> = connection
                .spec
                .secrets()
                .iter()
                .map(|secret| secret.name.to_string())
                .collect();
            secrets.sort();
            secrets.dedup();
            vec![
                connection.name_any(),
                connection.spec.kind.key().to_owned(),
                connection.spec.address().unwrap_or_default().to_owned(),
                secrets.join(", "),
                age(connection.creation_timestamp().as_ref(), now),
            ]
        })
        .collect();
    let headings = [
        Whole("name"),
        Whole("kind"),
        Free("address"),
        Free("secrets"),
        Whole("age"),
    ];
    let names = found
        .iter()
        .map(|connection| format!("connection/{}", connection.name_any()));
    let names: Vec<String> = names.collect();
    Ok(Answer::text(table(&headings, &rows, terminal_width()))
        .with_data(json!(found))
        .with_names(names))
}

async fn test(name: &ObjectName, global: &Global) -> Result<Answer, CliError> {
    let api_server = ApiServer::open(global).await?;
    api_server.get::<Connection>(name).await?;
    // the caller's own machine calls, and the caller says where to
    let settings = RepositorySettings::local(std::env::temp_dir());
    let executors = Executors::new(api_server.client.clone(), settings, Clock::system());
    let executors = executors.map_err(|error| CliError::internal("nothing can be called", &error))?;
    let probing = Box::pin(executors.probe(&api_server.namespace, name, global.timeout()));
    let checks = probing.await;
    let checks = checks.map_err(|error| CliError::new("Failed", exit::FAILURE, error.message))?;
    let rows: Vec<Vec<String>> = checks.iter().map(row).collect();
    let headings = [Whole("result"), Whole("what"), Free("found")];
    let data: Vec<Value> = checks.iter().map(data).collect();
    let failed = checks.iter().any(|check| check.result.is_err());
    let code = if failed { exit::REFUSED } else { 0 };
    let mut text = table(&headings, &rows, terminal_width());
    // the table cuts what is long
    for check in &checks {
        if let Err(error) = &check.result {
            text.push(format!("{}: {}", check.what, error.message));
        }
    }
    Ok(Answer::text(text).with_data(json!(data)).with_exit(code))
}

fn row(check: &Check) -> Vec<String> {
    let (result, found) = match &check.result {
        Ok(found) => ("ok".to_owned(), found),
        Err(error) => (error.reason.to_string(), &error.message),
    };
    vec![result, check.what.clone(), found.clone()]
}

fn data(check: &Check) -> Value {
    let (reason, found): (Option<StepReason>, _) = match &check.result {
        Ok(found) => (None, found),
        Err(error) => (Some(error.reason), &error.message),
    };
    json!({ "what": check.what, "ok": reason.is_none(), "reason": reason, "found": found })
}
