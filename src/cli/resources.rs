//! `signoff resources`: what runs have kept in the object store.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use futures::StreamExt as _;
use http::Method;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{
    Global,
    answer::Answer,
    connect::{self, Connection},
    error::{CliError, exit},
    gateway_client,
    gateway_url::GatewayUrl,
    lines::terminal_width,
    table::{
        Column::{Free, Whole},
        table,
    },
};
use crate::client::resources_of;
use signoff_api::{Digest, Resource, ResourceRef, Run};

/// Longest time in which all of the content comes.
const LONGEST: Duration = Duration::from_mins(10);

/// List and read the resources of runs: content that is large or binary.
#[derive(Debug, clap::Args)]
pub(super) struct ResourcesArgs {
    #[command(subcommand)]
    verb: ResourcesVerb,
}

#[derive(Debug, clap::Subcommand)]
enum ResourcesVerb {
    /// List the resources that a run names in its steps and its output.
    Ls {
        /// Name of the run.
        run: String,
    },
    /// Read a resource. Its hash is checked.
    Get(GetArgs),
}

#[derive(Debug, clap::Args)]
struct GetArgs {
    /// The resource, `res://NAMESPACE/RUN/STEP/NAME`, as `signoff resources ls` lists it.
    #[arg(value_name = "REF")]
    reference: ResourceRef,
    /// File to write. It is there only when all of the content is, and the hash is right.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    gateway: GatewayUrl,
}

pub(super) async fn verb(args: ResourcesArgs, global: &Global) -> Result<Answer, CliError> {
    match args.verb {
        ResourcesVerb::Ls { run } => list(&run, global).await,
        ResourcesVerb::Get(args) => get(args, global).await,
    }
}

async fn list(run: &str, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let found = connection.api::<Run>().get(run).await;
    let found = found.map_err(|error| CliError::api(run, &error))?;
    let resources = resources_of(&found);
    if resources.is_empty() {
        return Ok(Answer::text(format!("run {run} names no resources")).with_data(json!([])));
    }
    let rows: Vec<Vec<String>> = resources
        .values()
        .map(|resource| {
            vec![
                resource.reference.to_string(),
                resource.size.to_string(),
                resource.media_type.clone(),
                resource.sha256.short().to_owned(),
            ]
        })
        .collect();
    let headings = [Whole("ref"), Whole("bytes"), Free("media type"), Whole("sha256")];
    let names = resources.keys().map(ToString::to_string).collect::<Vec<_>>();
    let data: Vec<_> = resources.values().collect();
    Ok(Answer::text(table(&headings, &rows, terminal_width()))
        .with_data(json!(data))
        .with_names(names))
}

async fn get(args: GetArgs, global: &Global) -> Result<Answer, CliError> {
    let reference = &args.reference;
    let mut connection = Connection::open(global).await?;
    connection.namespace.clone_from(&reference.namespace);
    let run = connection.api::<Run>().get(&reference.run).await;
    let run = run.map_err(|error| CliError::api(&reference.run, &error))?;
    let resource = resources_of(&run).remove(reference).ok_or_else(|| {
        let message = format!("run {} has no resource {reference}", reference.run);
        CliError::new("NotFound", exit::NOT_FOUND, message)
            .hint(global.command(&format!("resources ls {}", reference.run)))
    })?;
    if global.act_as.is_some() {
        return Err(CliError::usage(
            "the gateway knows you by your own token: leave --as away",
        ));
    }
    // before the token is made
    let gateway = args.gateway.find(global)?;
    let token = gateway_client::token(connect::config(global).await?).await?;
    let response = ask(&gateway, &resource, &token).await?;
    let file = &args.file;
    let written = tokio::time::timeout(LONGEST, to_file(file, response, &resource)).await;
    written.unwrap_or_else(|_| {
        // what was begun is not left behind
        let _ = std::fs::remove_file(temporary(file));
        let message = format!(
            "the content did not come within {} minutes",
            LONGEST.as_secs() / 60
        );
        Err(CliError::new("Unreachable", exit::UNREACHABLE, message))
    })?;
    let text = format!("{}: {} bytes, {}", file.display(), resource.size, resource.sha256);
    Ok(Answer::text(text).with_data(json!(resource)))
}

/// Asks the gateway for the content of a resource.
pub(super) async fn ask(
    gateway: &Url,
    resource: &Resource,
    token: &str,
) -> Result<reqwest::Response, CliError> {
    let reference = &resource.reference;
    let path = format!(
        "/v1/resources/{}/{}/{}",
        reference.namespace,
        reference.run,
        resource.sha256.hex()
    );
    gateway_client::send(gateway, Method::GET, &path, token, None).await
}

fn temporary(file: &Path) -> PathBuf {
    file.with_extension("part")
}

/// Writes to a file, which is there only when all of it is.
async fn to_file(file: &Path, response: reqwest::Response, resource: &Resource) -> Result<(), CliError> {
    let unwritable = |error: &(dyn std::error::Error + 'static)| {
        CliError::internal(&format!("{} cannot be written", file.display()), error)
    };
    let temporary = temporary(file);
    let mut out = std::fs::File::create(&temporary).map_err(|error| unwritable(&error))?;
    let received = receive(&mut out, response, resource).await;
    if received.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    received?;
    out.sync_all()
        .and_then(|()| std::fs::rename(&temporary, file))
        .map_err(|error| unwritable(&error))
}

/// Passes the content on and checks its hash.
async fn receive(
    out: &mut impl std::io::Write,
    response: reqwest::Response,
    resource: &Resource,
) -> Result<(), CliError> {
    let mut hash = Sha256::new();
    let mut pieces = response.bytes_stream();
    let failed =
        |error: &(dyn std::error::Error + 'static)| CliError::internal("the content broke off", error);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| failed(&error.without_url()))?;
        hash.update(&piece);
        out.write_all(&piece).map_err(|error| failed(&error))?;
    }
    out.flush().map_err(|error| failed(&error))?;
    if Digest::from(<[u8; 32]>::from(hash.finalize())) != resource.sha256 {
        let message = "the content is not what its sha256 says";
        return Err(CliError::new("HashMismatch", exit::FAILURE, message));
    }
    Ok(())
}
