//! Where traces of runs are sent, as arguments.

use url::Url;

use super::error::CliError;
use crate::{
    net::Network,
    traces::{TraceExporter, TraceExporterError},
};

/// Where traces of runs are sent.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TraceArgs {
    /// Receiver of traces over OTLP/HTTP, such as `http://collector:4318`: a trace of each run is sent when the run has
    /// ended, and calls of steps carry `traceparent`. `OTEL_EXPORTER_OTLP_HEADERS` may hold headers.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", value_parser = endpoint)]
    otlp_endpoint: Option<Url>,
}

/// An address of a receiver.
pub(super) fn endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("it is no address such as http://collector:4318".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials belong in OTEL_EXPORTER_OTLP_HEADERS".to_owned());
    }
    Ok(url)
}

impl TraceArgs {
    /// What sends them, if they are sent.
    pub(super) fn open(&self, network: &Network) -> Result<Option<TraceExporter>, CliError> {
        exporter(self.otlp_endpoint.as_ref(), network)
            .map_err(|error| CliError::internal("--otlp-endpoint cannot be used", &error))
    }
}

/// What sends traces to this receiver, if there is one.
pub(super) fn exporter(
    endpoint: Option<&Url>,
    network: &Network,
) -> Result<Option<TraceExporter>, TraceExporterError> {
    endpoint
        .map(|endpoint| TraceExporter::new(endpoint, network))
        .transpose()
}
