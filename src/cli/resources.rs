//! `signoff resources`: what runs have kept in the object store.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use futures::StreamExt as _;
use http::{StatusCode, header};
use kube::Config;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tower::{Layer as _, ServiceExt as _};
use url::Url;

use super::{
    Global,
    answer::Answer,
    connect::{self, Connection},
    error::{CliError, exit},
    gateway_url::GatewayUrl,
    lines::terminal_width,
    table::{
        Column::{Free, Whole},
        table,
    },
};
use crate::{client::resources_of, cluster::error_chain};
use signoff_api::{Digest, Resource, ResourceRef, Run};

/// Longest time in which nothing comes.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest time in which all of the content comes.
const LONGEST: Duration = Duration::from_mins(10);
/// Longest answer that says what is wrong, in bytes.
const MAX_PROBLEM: usize = 64 << 10;

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
    let token = token(connect::config(global).await?).await?;
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

/// The token that the kubeconfig has for the API server.
pub(super) async fn token(config: Config) -> Result<String, CliError> {
    let unusable = |error: &(dyn std::error::Error + 'static)| {
        CliError::internal("the token of the kubeconfig cannot be used", error)
    };
    let layer = kube::client::ConfigExt::auth_layer(&config).map_err(|error| unusable(&error))?;
    let seen = tower::service_fn(|request: http::Request<kube::client::Body>| async move {
        let value = request.headers().get(header::AUTHORIZATION).cloned();
        Ok::<_, tower::BoxError>(http::Response::new(value))
    });
    let asked = http::Request::new(kube::client::Body::empty());
    let value = match layer {
        Some(layer) => layer.layer(seen).oneshot(asked).await,
        None => Ok(http::Response::new(None)),
    };
    let value = value.map_err(|error| unusable(error.as_ref()))?;
    let value = value.body().as_ref().and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bearer "));
    token.map(str::to_owned).ok_or_else(|| {
        let message = "the kubeconfig has no token, and the gateway takes nothing else";
        CliError::new("NoToken", exit::REFUSED, message).hint(
            "choose a context of a user with a token: kubectl create token makes one for a service account",
        )
    })
}

pub(super) async fn ask(
    gateway: &Url,
    resource: &Resource,
    token: &str,
) -> Result<reqwest::Response, CliError> {
    let reference = &resource.reference;
    let url = format!(
        "{}/v1/resources/{}/{}/{}",
        gateway.as_str().trim_end_matches('/'),
        reference.namespace,
        reference.run,
        resource.sha256.hex()
    );
    let unreachable = |error: reqwest::Error| {
        let message = format!(
            "the gateway at {gateway} cannot be reached: {}",
            error_chain(&error.without_url())
        );
        CliError::new("Unreachable", exit::UNREACHABLE, message).hint("name it with --gateway")
    };
    let client = crate::net::Network::new(crate::net::AddressPolicy::local())
        .own_client()
        .read_timeout(SILENCE)
        .build()
        .map_err(unreachable)?;
    let response = client
        .get(url)
        .bearer_auth(token)
        .send()
        .await
        .map_err(unreachable)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let problem = problem(response).await;
    let detail = problem["detail"].as_str().unwrap_or("the gateway gave no reason");
    let (code, exit) = match status {
        StatusCode::NOT_FOUND => ("NotFound", exit::NOT_FOUND),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ("Forbidden", exit::REFUSED),
        _ => ("Failed", exit::FAILURE),
    };
    Err(CliError::new(code, exit, signoff_api::text::visible(detail)))
}

/// What the gateway says is wrong, as far as it says little.
async fn problem(response: reqwest::Response) -> Value {
    let mut pieces = response.bytes_stream();
    let mut said = Vec::new();
    while let Some(Ok(piece)) = pieces.next().await {
        said.extend_from_slice(&piece);
        if said.len() > MAX_PROBLEM {
            return Value::Null;
        }
    }
    serde_json::from_slice(&said).unwrap_or_default()
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
