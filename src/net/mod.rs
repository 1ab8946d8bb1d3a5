//! Where this process calls out: one client and one address policy for steps, git and forges.
//!
//! A name is resolved once, every address that it has is judged, and the connection is made to one of those that were judged, so a name that
//! changes its mind between check and use gains nothing. A proxy of the environment is not used: it would resolve names by itself,
//! past the policy. Where the operator is told to use one, names are the proxy's to judge, and addresses and the list of hosts are still
//! judged here.

mod address;
mod body;
mod client;
mod content_type;
pub mod redact;
#[cfg(test)]
mod tests;
mod tls;

pub use self::{
    address::{AddressPolicy, AddressRefused},
    body::{BodyError, read_body},
    client::{ConnectError, Network, NetworkError, refusal_in},
    content_type::ContentType,
    tls::{ClientTls, TlsError},
};
