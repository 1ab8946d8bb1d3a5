//! Whether and for whom the gateway serves agents.

use super::{Global, connect, error::CliError};
use crate::gateway::Agents;

/// Agents at `/mcp`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct AgentsArgs {
    /// Serve agents at /mcp, by the Model Context Protocol. Each acts with the rights of the token that it sends.
    #[arg(long)]
    mcp: bool,
    /// Name of the host under which agents reach /mcp; repeatable. Requests for other hosts are refused.
    #[arg(long, value_name = "HOST", value_delimiter = ',', requires = "mcp", default_values = ["localhost", "127.0.0.1"])]
    mcp_host: Vec<String>,
    /// Origin of web pages that may use /mcp, such as `https://chat.example.com:443`; repeatable. Other pages are refused.
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', requires = "mcp")]
    mcp_origin: Vec<String>,
}

impl AgentsArgs {
    /// The agents to serve, if any.
    pub(super) async fn open(self, global: &Global) -> Result<Option<Agents>, CliError> {
        if !self.mcp {
            return Ok(None);
        }
        let agents = Agents::new(connect::config(global).await?, self.mcp_host, self.mcp_origin);
        let unusable = |error| CliError::internal("agents cannot be served", &error);
        agents.map(Some).map_err(unusable)
    }
}
