//! What a request sends: bytes, or the content of a resource, which is streamed from the store.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;

use crate::{
    perform::{error, memory::Room, resource::Readable},
    store::StoreError,
};
use signoff_api::{Digest, resource::MAX_CONTENT};
use signoff_engine::{effect::HttpBody, facts::EffectError};

/// What a request sends.
#[derive(Debug)]
pub(super) enum Content {
    /// Nothing.
    None,
    /// Bytes in memory.
    Bytes(Bytes),
    /// JSON that was written out, with the room that it takes.
    Written(Arc<Written>),
    /// The content of a resource.
    Resource(Readable),
}

/// JSON that was written out, and the room in memory that it takes until it is sent.
#[derive(Debug)]
pub(in crate::perform) struct Written {
    text: Bytes,
    _room: Room,
}

impl Written {
    /// A text in its room.
    pub fn new(text: String, room: Room) -> Self {
        Self {
            text: text.into(),
            _room: room,
        }
    }
}

/// What is sent that stands not in the request itself.
#[derive(Debug)]
pub(super) enum Given {
    /// The content of a resource.
    Resource(Readable),
    /// JSON of another kind of step.
    Written(Written),
}

/// How much of a text is sent at once.
const PIECE: usize = 64 * 1024;

/// Why a body that is being streamed from the store ended early, if it did.
pub(super) type Broken = Arc<OnceLock<StoreError>>;

impl Content {
    /// The bytes of a body. Its content type is set unless the step has set one.
    pub(super) fn encode(
        body: Option<&HttpBody>,
        given: Option<Given>,
        headers: &mut HeaderMap,
        idempotency_key: &str,
    ) -> Self {
        let (content_type, content) = match (body, given) {
            (_, Some(Given::Written(written))) => (json(), Self::Written(Arc::new(written))),
            (None, _) | (Some(HttpBody::Resource(_)), None) => return Self::None,
            (Some(HttpBody::Json(value)), _) => (json(), Self::Bytes(value.to_string().into())),
            (Some(HttpBody::CloudEvent(event)), _) => {
                let mut event = event.clone();
                event["id"] = Value::from(idempotency_key);
                let content_type = HeaderValue::from_static("application/cloudevents+json; charset=UTF-8");
                (content_type, Self::Bytes(event.to_string().into()))
            }
            (Some(HttpBody::Form(fields)), _) => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.extend_pairs(fields);
                let form = Self::Bytes(form.finish().into());
                (
                    HeaderValue::from_static("application/x-www-form-urlencoded"),
                    form,
                )
            }
            (Some(HttpBody::Text(text)), _) => {
                let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
                (content_type, Self::Bytes(text.clone().into()))
            }
            (Some(HttpBody::Resource(resource)), Some(Given::Resource(readable))) => {
                let content_type = HeaderValue::try_from(&resource.media_type);
                let unknown = HeaderValue::from_static("application/octet-stream");
                (content_type.unwrap_or(unknown), Self::Resource(readable))
            }
        };
        headers.entry(header::CONTENT_TYPE).or_insert(content_type);
        content
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The hash of what is sent.
    pub(super) fn sha256(&self) -> Digest {
        match self {
            Self::None => Digest::of(&[]),
            Self::Bytes(bytes) => Digest::of(bytes),
            Self::Written(written) => Digest::of(&written.text),
            Self::Resource(readable) => readable.sha256.clone(),
        }
    }

    /// The bytes, if it is not streamed.
    pub(super) fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::None => Some(&[]),
            Self::Bytes(bytes) => Some(bytes),
            Self::Written(written) => Some(&written.text),
            Self::Resource(_) => None,
        }
    }

    /// The request with this body. What breaks while it is streamed is said in the second value.
    pub(super) async fn put_on(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(reqwest::RequestBuilder, Broken), EffectError> {
        let broken = Broken::default();
        let request = match self {
            Self::None => request,
            Self::Bytes(bytes) => request.body(bytes.clone()),
            Self::Written(written) => request
                .header(header::CONTENT_LENGTH, written.text.len())
                .body(reqwest::Body::wrap_stream(in_pieces(Arc::clone(written)))),
            Self::Resource(readable) => {
                let content = readable
                    .store
                    .read(&readable.owner, &readable.sha256, MAX_CONTENT)
                    .await
                    .map_err(|problem| error::stored(&problem, false))?;
                let size = content.size;
                let why = Arc::clone(&broken);
                let pieces = content.into_stream().map(move |piece| {
                    piece.map_err(|problem| {
                        let message = problem.to_string();
                        // only the first one is the cause
                        let _ = why.set(problem);
                        std::io::Error::other(message)
                    })
                });
                request
                    .header(header::CONTENT_LENGTH, size)
                    .body(reqwest::Body::wrap_stream(pieces))
            }
        };
        Ok((request, broken))
    }
}

/// A text in pieces. It is let go of when the last of them is taken.
fn in_pieces(
    written: Arc<Written>,
) -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static {
    stream::unfold((written, 0), |(written, at)| async move {
        let end = written.text.len().min(at + PIECE);
        let piece = written.text.slice(at..end);
        (!piece.is_empty()).then_some((Ok(piece), (written, end)))
    })
}

fn json() -> HeaderValue {
    HeaderValue::from_static("application/json")
}
