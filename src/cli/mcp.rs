//! `signoff mcp`: the tools of agents on standard input and output.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use rmcp::{ServiceExt as _, transport::io::stdio_pipes};

use super::{
    Global,
    agent_stdio::AgentStdio,
    answer::Answer,
    connect::{self, Connection},
    error::CliError,
    gateway_client,
    gateway_url::GatewayUrl,
    resources,
};
use crate::{
    cluster::error_chain,
    mcp::{Caller, Content, MAX_CONTENT, ToolError, ToolServer},
};
use signoff_api::{Digest, Resource, Run};

/// Longest time for reading content, which is small.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serve an agent on standard input and output, by the Model Context Protocol, with the rights of your kubeconfig.
///
/// The agent lists and reads flows, starts runs and waits for them, and reads what people are asked. No tool decides.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  claude mcp add signoff -- signoff mcp --namespace shop\n  signoff mcp --context agent"
)]
pub(super) struct McpArgs {
    #[command(flatten)]
    gateway: GatewayUrl,
}

pub(super) async fn verb(args: McpArgs, global: &Global) -> Result<Answer, CliError> {
    let Connection { client, namespace } = Connection::open(global).await?;
    let caller = Caller {
        client,
        namespace: Some(namespace),
    };
    let content = GatewayContent {
        gateway: args.gateway,
        global: global.clone(),
    };
    let server = ToolServer::new(caller, Arc::new(content));
    let (input, output) = stdio_pipes();
    let transport = AgentStdio::new(input, output);
    // an agent that goes away without a word ends it as well
    let Ok(service) = Box::pin(server.serve(transport)).await else {
        return Ok(Answer::default());
    };
    let ended = service.waiting().await;
    ended
        .map(|_| Answer::default())
        .map_err(|error| CliError::internal("the agent can no longer be served", &error))
}

/// Content as the gateway gives it out.
struct GatewayContent {
    gateway: GatewayUrl,
    global: Global,
}

#[async_trait]
impl Content for GatewayContent {
    async fn read(&self, _: &Caller, _: &Run, resource: &Resource) -> Result<Bytes, ToolError> {
        if self.global.act_as.is_some() {
            return Err(ToolError::new(
                "Forbidden",
                "the gateway knows you by your own token, not by --as",
            )
            .hint("start `signoff mcp` without --as to read resources"));
        }
        let read = self.read_from_gateway(resource);
        tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| {
            let message = format!(
                "the gateway did not give the content within {} s",
                PATIENCE.as_secs()
            );
            Err(ToolError::new("Unavailable", message).hint("try again in a while"))
        })
    }
}

impl GatewayContent {
    async fn read_from_gateway(&self, resource: &Resource) -> Result<Bytes, ToolError> {
        let gateway = self
            .gateway
            .find(&self.global)
            .map_err(|error| error.to_tool_error())?;
        let config = connect::config(&self.global)
            .await
            .map_err(|error| error.to_tool_error())?;
        // a plugin of the kubeconfig may take a while to make the token
        let runtime = tokio::runtime::Handle::current();
        let token = tokio::task::spawn_blocking(move || runtime.block_on(gateway_client::token(config)));
        let token = token
            .await
            .map_err(|error| ToolError::new("Failed", format!("there is no token for the gateway: {error}")))?
            .map_err(|error| error.to_tool_error())?;
        let response = resources::ask(&gateway, resource, &token).await;
        received(response.map_err(|error| error.to_tool_error())?, resource).await
    }
}

/// The content, if it is what its hash says.
async fn received(response: reqwest::Response, resource: &Resource) -> Result<Bytes, ToolError> {
    let mut pieces = response.bytes_stream();
    let mut content = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| {
            let why = error_chain(&error.without_url());
            ToolError::new("Unavailable", format!("the content broke off: {why}")).hint("try again")
        })?;
        content.extend_from_slice(&piece);
        if content.len() as u64 > MAX_CONTENT {
            break;
        }
    }
    if Digest::of(&content) == resource.sha256 {
        Ok(content.into())
    } else {
        Err(ToolError::new(
            "HashMismatch",
            "the content is not what its sha256 says",
        ))
    }
}
