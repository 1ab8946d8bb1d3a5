//! Sends spans to a receiver of OTLP over HTTP, as its library writes them. Requests go through our own client.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{Request, Response};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkError,
    trace::{SpanData, SpanExporter as _},
};
use tokio::sync::Mutex;
use url::Url;

use crate::net::{Network, read_body};

/// Longest time that a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read.
const LONGEST_ANSWER: usize = 64 << 10;
/// What the traces are of, unless `OTEL_SERVICE_NAME` says another name.
const SERVICE: &str = "signoff";

/// Sends the spans of runs. Cheap to clone.
#[derive(Clone)]
pub struct TraceExporter(Arc<Mutex<SpanExporter>>);

impl std::fmt::Debug for TraceExporter {
    /// Its headers may hold credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraceExporter").finish_non_exhaustive()
    }
}

/// Traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceExporterError {
    /// There is no client.
    #[error("cannot set up the HTTP client for traces")]
    Client(#[from] reqwest::Error),
    /// What the environment says is wrong.
    #[error("cannot set up the export of traces")]
    Configuration(#[from] ExporterBuildError),
}

impl TraceExporter {
    /// Sends to this receiver: `/v1/traces` is appended to its address, as for every signal of OTLP. Headers come from the
    /// variables `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_EXPORTER_OTLP_TRACES_HEADERS`, attributes of the resource from
    /// `OTEL_RESOURCE_ATTRIBUTES`
    /// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).
    ///
    /// # Errors
    /// If the address or a variable cannot be used.
    pub fn new(endpoint: &Url, network: &Network) -> Result<Self, TraceExporterError> {
        // the receiver is the operator's own configuration, as its store is
        let client = network.own_client().no_proxy().timeout(TIMEOUT).build()?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client(client))
            .with_endpoint(format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')))
            .with_protocol(Protocol::HttpBinary)
            // its pauses would block the thread; the controller tries again
            .with_retry_policy(RetryPolicy::disabled())
            .build()?;
        let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| SERVICE.to_owned());
        let resource = Resource::builder()
            .with_service_name(name)
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                env!("CARGO_PKG_VERSION"),
            ))
            .build();
        exporter.set_resource(&resource);
        Ok(Self(Arc::new(Mutex::new(exporter))))
    }

    /// Sends the spans of one run.
    pub(super) async fn export(&self, spans: Vec<SpanData>) -> Result<(), OTelSdkError> {
        // it bears one call at a time
        self.0.lock().await.export(spans).await
    }
}

#[derive(Debug)]
struct Client(reqwest::Client);

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = self.0.execute(request.try_into()?).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut answer = Response::new(read_body(response, LONGEST_ANSWER).await?);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }
}
