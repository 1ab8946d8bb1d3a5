//! The API server's own clock, which deadlines follow.

use bytes::Bytes;
use http::{Request, header::DATE};
use k8s_openapi::jiff::{Timestamp, fmt::rfc2822};
use kube::Client;

/// Why the server's time is not known.
#[derive(Debug, thiserror::Error)]
pub enum ServerTimeError {
    /// The API server did not answer.
    #[error("the API server did not answer when asked for its time")]
    Unanswered(#[source] kube::Error),
    /// It answered without a readable `Date` header.
    #[error("the API server's answer has no readable Date header")]
    NoDate,
}

/// What the API server's clock says now, in whole seconds: the `Date` header (RFC 9110 §6.6.1) of `/version`, which every
/// authenticated user may read. The true time is between this and one second later.
pub async fn server_time(client: &Client) -> Result<Timestamp, ServerTimeError> {
    let request = Request::get("/version")
        .body(Bytes::new().into())
        .map_err(|_| ServerTimeError::NoDate)?;
    let response = client.send(request).await.map_err(ServerTimeError::Unanswered)?;
    let date = response
        .headers()
        .get(DATE)
        .and_then(|value| value.to_str().ok())
        .ok_or(ServerTimeError::NoDate)?;
    // an HTTP date says GMT, which RFC 2822 calls an obsolete zone and the parser accepts
    let parsed = rfc2822::DateTimeParser::new().parse_timestamp(date);
    parsed.map_err(|_| ServerTimeError::NoDate)
}
