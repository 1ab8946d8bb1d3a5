//! The tools of agents, by the Model Context Protocol. What carries the messages is elsewhere: `signoff mcp` on standard input
//! and output, and the gateway at `/mcp`.
//!
//! Every tool acts with the rights of the caller, and none of them decides: agents start flows and read what people are asked.

mod answer;
mod approvals;
mod error;
mod flows;
mod list;
mod resources;
mod runs;
mod server;
mod tasks;
mod tool;

pub use self::{
    error::ToolError,
    resources::{Content, MAX_CONTENT},
    server::{Caller, ToolServer},
};
