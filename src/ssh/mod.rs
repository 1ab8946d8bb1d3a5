//! Connections over ssh, for git remotes and for commands: the host key must be known, and the private key never leaves
//! memory.

mod client;
mod known_hosts;

pub use self::{
    client::{Login, SshError, SshHandle, connect, private_key},
    known_hosts::{HostKeys, KnownHostsError},
};
