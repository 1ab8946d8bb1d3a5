//! `signoff mcp`: the tools of agents on standard input and output.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use rmcp::{
    ServiceExt as _,
    transport::{async_rw::AsyncRwTransport, io::stdio_pipes},
};
use url::Url;

use super::{
    Global,
    answer::Answer,
    connect::{self, Connection},
    error::CliError,
    resources,
};
use crate::{
    cluster::error_chain,
    mcp::{Caller, Content, MAX_CONTENT, ToolError, ToolServer},
};
use signoff_api::{Digest, Resource, Run};

/// Longest message of an agent, in bytes. Inputs of a run are at most half of it.
const MAX_MESSAGE: usize = 512 << 10;

/// Serve an agent on standard input and output, by the Model Context Protocol, with the rights of your kubeconfig.
///
/// The agent lists and reads flows, starts runs and waits for them, and reads what people are asked. No tool decides.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  claude mcp add signoff -- signoff mcp --namespace shop\n  signoff mcp --context agent"
)]
pub(super) struct McpArgs {
    /// Where the gateway is reached, for reading resources.
    #[arg(
        long,
        env = "SIGNOFF_GATEWAY_URL",
        default_value = "http://127.0.0.1:7480",
        value_name = "URL"
    )]
    gateway: Url,
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
    let transport = AsyncRwTransport::new_server(input, output).with_max_line_length(MAX_MESSAGE);
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
    gateway: Url,
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
        let config = connect::config(&self.global)
            .await
            .map_err(|error| error.to_tool_error())?;
        // a plugin of the kubeconfig may take a while to make the token
        let runtime = tokio::runtime::Handle::current();
        let token = tokio::task::spawn_blocking(move || runtime.block_on(resources::token(config)));
        let token = token
            .await
            .map_err(|error| ToolError::new("Failed", format!("there is no token for the gateway: {error}")))?
            .map_err(|error| error.to_tool_error())?;
        let response = resources::ask(&self.gateway, resource, &token).await;
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
