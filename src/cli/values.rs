//! `signoff store`: values of flows that outlive their runs.

use std::{io::Read as _, path::PathBuf};

use http::Method;
use serde_json::{Value, json};
use url::Url;

use super::{
    Global,
    answer::Answer,
    connect::{self, Connection},
    error::CliError,
    gateway_client,
    gateway_url::GatewayUrl,
    lines::{Lines, terminal_width},
    table::{Column::Whole, table},
};
use signoff_api::{
    bounds::MAX_VALUE,
    name::{DnsLabel, FlowName},
};

/// Longest answer of the gateway: a value with white space around its parts.
const MAX_ANSWER: usize = 4 * MAX_VALUE;

/// List, read and write the values of flows that outlive their runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  signoff store ls content
  signoff store get content memory
  signoff store put content memory '{\"tone\": \"friendly\"}' --if-version 3")]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    verb: StoreVerb,
}

#[derive(Debug, clap::Subcommand)]
enum StoreVerb {
    /// List the values of a flow.
    Ls {
        /// Name of the flow.
        flow: FlowName,
        #[command(flatten)]
        gateway: GatewayUrl,
    },
    /// Read a value: its newest version.
    Get {
        /// Name of the flow.
        flow: FlowName,
        /// Name of the value.
        name: DnsLabel,
        #[command(flatten)]
        gateway: GatewayUrl,
    },
    /// Write a value as its next version. Runs that read it from now on read this.
    Put(PutArgs),
}

#[derive(Debug, clap::Args)]
struct PutArgs {
    /// Name of the flow.
    flow: FlowName,
    /// Name of the value.
    name: DnsLabel,
    /// The value as JSON; a text stands in quotes.
    #[arg(
        value_name = "JSON",
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    value: Option<String>,
    /// File with the value as JSON; `-` is standard input.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Version that the value has to have; 0 if there is to be none. It is refused if somebody else has written it.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
    #[command(flatten)]
    gateway: GatewayUrl,
}

pub(super) async fn verb(args: StoreArgs, global: &Global) -> Result<Answer, CliError> {
    match args.verb {
        StoreVerb::Ls { flow, gateway } => list(&flow, &gateway, global).await,
        StoreVerb::Get { flow, name, gateway } => get(&flow, &name, &gateway, global).await,
        StoreVerb::Put(args) => put(args, global).await,
    }
}

async fn list(flow: &FlowName, gateway: &GatewayUrl, global: &Global) -> Result<Answer, CliError> {
    let found = Asked::of(gateway, global, flow, None).await?;
    let found = found.send(Method::GET, None).await?;
    let values = found.as_array().cloned().unwrap_or_default();
    if values.is_empty() {
        return Ok(Answer::text(format!("flow {flow} has no values")).with_data(json!([])));
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |value: &Value| {
        ["name", "version", "size", "updatedAt"]
            .map(|key| text(&value[key]))
            .to_vec()
    };
    let rows: Vec<Vec<String>> = values.iter().map(row).collect();
    let headings = [Whole("name"), Whole("version"), Whole("bytes"), Whole("updated")];
    let names = values
        .iter()
        .map(|value| text(&value["name"]))
        .collect::<Vec<_>>();
    Ok(Answer::text(table(&headings, &rows, terminal_width()))
        .with_data(found)
        .with_names(names))
}

async fn get(
    flow: &FlowName,
    name: &DnsLabel,
    gateway: &GatewayUrl,
    global: &Global,
) -> Result<Answer, CliError> {
    let asked = Asked::of(gateway, global, flow, Some(name)).await?;
    let found = asked.send(Method::GET, None).await?;
    let mut lines = Lines::default();
    lines.block(0, &format!("{:#}", found["value"]));
    Ok(Answer::text(lines).with_data(found))
}

async fn put(args: PutArgs, global: &Global) -> Result<Answer, CliError> {
    let text = match (&args.value, &args.file) {
        (Some(value), _) => value.clone(),
        (None, Some(file)) => read(file)?,
        (None, None) => String::new(),
    };
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        CliError::usage(format!("the value is not JSON: {error}")).hint("write a text in quotes: '\"text\"'")
    })?;
    let mut wanted = json!({ "value": value });
    if let Some(version) = args.if_version {
        wanted["ifVersion"] = json!(version);
    }
    let asked = Asked::of(&args.gateway, global, &args.flow, Some(&args.name)).await?;
    let written = asked.send(Method::PUT, Some(&wanted)).await?;
    let version = written["version"].as_str().unwrap_or_default();
    Ok(Answer::text(format!(
        "{} of flow {} has version {version} now",
        args.name, args.flow
    ))
    .with_data(written))
}

fn read(file: &PathBuf) -> Result<String, CliError> {
    let unreadable =
        |error: &std::io::Error| CliError::internal(&format!("{} cannot be read", file.display()), error);
    let mut text = String::new();
    // enough to be refused
    let limit = MAX_ANSWER as u64 + 1;
    if file.as_os_str() == "-" {
        let read = std::io::stdin().take(limit).read_to_string(&mut text);
        read.map_err(|error| unreadable(&error))?;
    } else {
        let opened = std::fs::File::open(file).map_err(|error| unreadable(&error))?;
        let read = opened.take(limit).read_to_string(&mut text);
        read.map_err(|error| unreadable(&error))?;
    }
    Ok(text)
}

/// What the gateway is asked.
struct Asked {
    gateway: Url,
    path: String,
    token: String,
}

impl Asked {
    async fn of(
        gateway: &GatewayUrl,
        global: &Global,
        flow: &FlowName,
        name: Option<&DnsLabel>,
    ) -> Result<Self, CliError> {
        if global.act_as.is_some() {
            return Err(CliError::usage(
                "the gateway knows you by your own token: leave --as away",
            ));
        }
        // before the token is made
        let gateway = gateway.find(global)?;
        let namespace = Connection::open(global).await?.namespace;
        let name = name.map(|name| format!("/{name}")).unwrap_or_default();
        Ok(Self {
            gateway,
            path: format!("/v1/values/{namespace}/{flow}{name}"),
            token: gateway_client::token(connect::config(global).await?).await?,
        })
    }

    async fn send(&self, method: Method, body: Option<&Value>) -> Result<Value, CliError> {
        let answer = gateway_client::send(&self.gateway, method, &self.path, &self.token, body).await?;
        gateway_client::document(answer, MAX_ANSWER).await
    }
}
