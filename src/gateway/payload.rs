//! The body of a callback or an event as senders send it: compressed or not, in any character set, with or without a byte order mark.
//! What is not taken is answered with what to send.

use std::io::Read as _;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::{problem::Problem, signature};
use crate::net::ContentType;
use signoff_api::{Digest, bounds};

pub(super) use signoff_api::bounds::MAX_CALLBACK as MAX_BODY;

/// Longest id of a delivery, in bytes.
const MAX_ID: usize = 256;
/// What to send instead.
const HINT: &str =
    "send JSON with the content type application/json, for example: curl --json '{\"ok\": true}' ADDRESS";

/// A body that was read.
#[derive(Debug)]
pub(super) struct Payload {
    /// As it was sent.
    raw: Bytes,
    /// The same, uncompressed.
    plain: Bytes,
    content_type: ContentType,
    /// What the sender calls this delivery, the same each time that it is sent.
    pub(super) delivery: Option<String>,
}

impl Payload {
    /// Refuses what is not taken, before it is read.
    pub(super) fn is_taken(headers: &HeaderMap) -> Result<(), Problem> {
        taken(headers).map(|_| ())
    }

    /// Reads the body of a callback.
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        Self::is_taken(headers)?;
        let raw = receive(headers, body).await?;
        Self::of(headers, raw, MAX_BODY)
    }

    /// A body that was read, of at most so many bytes once it is uncompressed.
    pub(super) fn of(headers: &HeaderMap, raw: Bytes, most: usize) -> Result<Self, Problem> {
        let (content_type, is_compressed) = taken(headers)?;
        let plain = if is_compressed {
            uncompressed(&raw, most)?
        } else {
            raw.clone()
        };
        Ok(Self::with(headers, raw, plain, content_type))
    }

    /// A body that cannot be uncompressed, to find out whether its sender may know why.
    pub(super) fn as_sent(headers: &HeaderMap, raw: Bytes) -> Result<Self, Problem> {
        let (content_type, _) = taken(headers)?;
        Ok(Self::with(headers, raw.clone(), raw, content_type))
    }

    fn with(headers: &HeaderMap, raw: Bytes, plain: Bytes, content_type: ContentType) -> Self {
        let delivery = signature::only_text(headers, "webhook-id");
        let delivery = delivery.filter(|id| !id.is_empty() && id.len() <= MAX_ID);
        Self {
            raw,
            plain,
            content_type,
            delivery: delivery.map(str::to_owned),
        }
    }

    /// The bytes that a signature may be over: senders sign before they compress, or after.
    pub(super) fn signable(&self) -> [&[u8]; 2] {
        [&self.plain, &self.raw]
    }

    /// Digest of the body, uncompressed.
    pub(super) fn sha256(&self) -> Digest {
        Digest::of(&self.plain)
    }

    /// The JSON value.
    pub(super) fn parse(&self) -> Result<Value, Problem> {
        let text = self.content_type.decode(&self.plain);
        if text.trim().is_empty() {
            let detail = format!("the body is empty; {HINT}");
            return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
        }
        bounds::nesting_of_json(text.as_bytes(), bounds::MAX_NESTING).map_err(|error| {
            let detail = format!("the body cannot be taken: {error}");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with("limit", bounds::MAX_NESTING)
        })?;
        bounds::exact_integers_of_json(text.as_bytes()).map_err(|error| {
            let detail = format!("the body cannot be taken: {error}");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
        })?;
        serde_json::from_str(&text).map_err(|error| {
            let detail = format!(
                "the body is not JSON: line {}, column {}; {HINT}",
                error.line(),
                error.column()
            );
            Problem::new(StatusCode::BAD_REQUEST, detail)
        })
    }
}

/// The content type, and whether the body is compressed, of a body that is taken.
fn taken(headers: &HeaderMap) -> Result<(ContentType, bool), Problem> {
    let content_type = ContentType::of(headers);
    if !content_type.essence.is_empty() && !content_type.is_json() {
        return Err(unsupported(&format!(
            "the content type is {}{}",
            shown(&content_type.essence),
            if content_type.essence == "application/x-www-form-urlencoded" {
                ", which is what curl -d sends"
            } else {
                ""
            }
        )));
    }
    Ok((content_type, is_compressed(headers)?))
}

/// Whether the body is compressed.
fn is_compressed(headers: &HeaderMap) -> Result<bool, Problem> {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encodings = encodings.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let encodings: Vec<String> = encodings.collect();
    match encodings.join(",").trim() {
        "" | "identity" => Ok(false),
        "gzip" | "x-gzip" => Ok(true),
        other => Err(unsupported(&format!(
            "the content encoding is {}; send it with gzip, or uncompressed",
            shown(other)
        ))),
    }
}

fn uncompressed(raw: &Bytes, most: usize) -> Result<Bytes, Problem> {
    let mut plain = Vec::new();
    // one byte more than may be tells that there is more
    let mut reader = MultiGzDecoder::new(raw.as_ref()).take(most as u64 + 1);
    reader.read_to_end(&mut plain).map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "the body is not what its content encoding says, which is gzip",
        )
    })?;
    if plain.len() > most {
        return Err(too_large(most));
    }
    Ok(plain.into())
}

async fn receive(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_large(MAX_BODY));
    }
    to_bytes(body, MAX_BODY).await.map_err(|error| {
        // the limit is an error of its own within axum's
        let over = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        if over {
            too_large(MAX_BODY)
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "the body could not be read")
        }
    })
}

fn too_large(most: usize) -> Problem {
    let detail = format!("a body has at most {most} bytes here, uncompressed");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).with("limit", most)
}

fn unsupported(what: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{what}; {HINT}"))
}

/// The beginning of what a header says.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use serde_json::json;

    use super::*;

    fn headers(entries: &[(&'static str, &'static str)]) -> HeaderMap {
        let entries = entries.iter();
        entries
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    async fn read(
        entries: &[(&'static str, &'static str)],
        body: impl Into<Body>,
    ) -> Result<Payload, Problem> {
        Payload::read(&headers(entries), body.into()).await
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn refusal(problem: &Problem) -> String {
        format!("{problem:?}")
    }

    #[tokio::test]
    async fn a_body_is_taken_as_senders_send_it() {
        let json = ("content-type", "application/json");
        for (entries, body) in [
            (&[][..], b"{\"name\": \"caf\xc3\xa9\"}".to_vec()),
            (&[json], b"\xef\xbb\xbf{\"name\": \"caf\xc3\xa9\"}\r\n".to_vec()),
            (
                &[("content-type", "application/json; charset=ISO-8859-1")],
                b"{\"name\": \"caf\xe9\"}".to_vec(),
            ),
            (
                &[("content-type", "application/cloudevents+json; charset=\"utf-8\"")],
                b"{\"name\": \"caf\xc3\xa9\"}".to_vec(),
            ),
            (
                &[json, ("content-encoding", "GZIP")],
                gzip(b"{\"name\": \"caf\xc3\xa9\"}"),
            ),
        ] {
            let payload = read(entries, body).await.unwrap();
            assert_eq!(payload.parse().unwrap(), json!({"name": "café"}), "{entries:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_taken_is_answered_with_what_to_send() {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let told = refusal(&read(&form, "{}").await.unwrap_err());
        assert!(
            told.contains("415") && told.contains("curl -d") && told.contains("curl --json"),
            "{told}"
        );
        let brotli = [("content-encoding", "br")];
        let told = refusal(&read(&brotli, "{}").await.unwrap_err());
        assert!(told.contains("415") && told.contains("gzip"), "{told}");
        for body in ["", "\u{feff}\r\n", "ok"] {
            let told = refusal(&read(&[], body).await.unwrap().parse().unwrap_err());
            assert!(
                told.contains("400") && told.contains("curl --json"),
                "{body:?}: {told}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_compressed_is_bounded_by_what_it_becomes() {
        let gzipped = [("content-encoding", "gzip")];
        let bomb = gzip(&vec![b' '; 10 << 20]);
        assert!(bomb.len() < MAX_BODY);
        let told = refusal(&read(&gzipped, bomb).await.unwrap_err());
        assert!(told.contains("413"), "{told}");
        let told = refusal(&read(&gzipped, "{}").await.unwrap_err());
        assert!(told.contains("400") && told.contains("gzip"), "{told}");
    }

    #[tokio::test]
    async fn a_compressed_body_and_the_same_uncompressed_are_one() {
        let plain = read(&[], "{\"a\":1}").await.unwrap();
        let packed = read(&[("content-encoding", "gzip")], gzip(b"{\"a\":1}"))
            .await
            .unwrap();
        assert_eq!(plain.sha256(), packed.sha256());
        assert_eq!(packed.signable()[0], b"{\"a\":1}");
    }
}
