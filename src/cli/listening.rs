//! What `signoff operator` and `signoff gateway` are told of the connections they bear.

use crate::{gateway::ConnectionLimits, telemetry::files};
use signoff_api::HumanDuration;

/// Bounds of the gateway's connections.
#[derive(Clone, Debug, clap::Args)]
#[allow(clippy::struct_field_names, reason = "a field is called like its flag")]
pub(super) struct ConnectionArgs {
    /// Most connections to the gateway at the same time; fewer where the system allows fewer open files. Idle ones give way to new ones.
    #[arg(long, default_value_t = 2_048, value_name = "NUMBER", value_parser = positive)]
    gateway_max_connections: usize,
    /// Most connections of one address, or one IPv6 network of 64 bits. Behind a proxy, all are the proxy's.
    #[arg(long, default_value_t = 1_024, value_name = "NUMBER", value_parser = positive)]
    gateway_max_connections_per_address: usize,
    /// Longest time that the headers of a request may take.
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = time)]
    gateway_header_timeout: HumanDuration,
    /// Longest time that one request may take, its body included.
    #[arg(long, default_value = "15s", value_name = "DURATION", value_parser = time)]
    gateway_request_timeout: HumanDuration,
    /// How long a connection is kept between two requests: longer than a proxy in front of it keeps one.
    #[arg(long, default_value = "75s", value_name = "DURATION", value_parser = time)]
    gateway_idle_timeout: HumanDuration,
}

impl ConnectionArgs {
    /// As asked for, within what the system allows this process.
    pub(super) fn limits(&self) -> ConnectionLimits {
        let limits = ConnectionLimits {
            connections: self.gateway_max_connections,
            of_one_address: self.gateway_max_connections_per_address,
            header_timeout: self.gateway_header_timeout.duration(),
            request_timeout: self.gateway_request_timeout.duration(),
            idle_timeout: self.gateway_idle_timeout.duration(),
        };
        let within = limits.within(files::raise_limit());
        if within != limits {
            tracing::warn!(
                asked = limits.connections,
                most = within.connections,
                "the system allows this process fewer open files than the gateway's connections need"
            );
        }
        within
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

fn time(text: &str) -> Result<HumanDuration, String> {
    let span = text.parse::<HumanDuration>().map_err(|error| error.to_string())?;
    if span.duration().is_zero() {
        return Err("no time at all".to_owned());
    }
    Ok(span)
}
