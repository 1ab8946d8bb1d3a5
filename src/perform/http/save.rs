//! Keeps the body of a response in the store, while it is received. What the store takes is no part of the attempt's time: the
//! other side has done what it was asked, and a store that is away for a moment must not lose that.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use reqwest::Response;
use serde_json::json;

use super::body::{self, MAX_BODY};
use crate::{
    net::{ContentType, redact::Secrets},
    perform::error,
    store::{Owner, Store, StoreError, Stored},
};
use signoff_api::{
    Resource, ResourceRef,
    reason::StepReason,
    resource::{MAX_CONTENT, MAX_MEDIA_TYPE},
};
use signoff_engine::{
    effect::EffectKey,
    facts::{EffectError, HttpResponse},
};

/// A response whose body is to be kept.
pub(super) struct Keeping<'a> {
    pub(super) store: &'a Store,
    pub(super) run: &'a Owner,
    pub(super) key: &'a EffectKey,
    /// How the sender is named.
    pub(super) place: &'a str,
    pub(super) secrets: &'a Secrets,
    /// Whether it is kept even if it is text.
    pub(super) keeps_text: bool,
    /// What is left of the attempt's time.
    pub(super) left: Duration,
    /// How long the attempt may take.
    pub(super) timeout: Duration,
}

/// Whether the body of a response may be neither JSON nor text, as far as its content type says.
pub(super) fn may_be_binary(headers: &HeaderMap) -> bool {
    let essence = ContentType::of(headers).essence;
    let is_text = essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("/xml")
        || essence.ends_with("yaml")
        || essence.ends_with("javascript")
        || essence == "application/x-www-form-urlencoded"
        || essence == "application/x-ndjson";
    !is_text && !ContentType::of(headers).is_json()
}

impl Keeping<'_> {
    pub(super) async fn keep(mut self, mut response: Response) -> Result<HttpResponse, EffectError> {
        if response
            .content_length()
            .is_some_and(|length| length > MAX_CONTENT)
        {
            return Err(self.too_large());
        }
        let (mut first, mut next) = (BytesMut::new(), None);
        while let Some(piece) = self.receive(&mut response).await? {
            if first.len() + piece.len() > MAX_BODY {
                next = Some(piece);
                break;
            }
            first.extend_from_slice(&piece);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let first = first.freeze();
        let text = if next.is_none() { text(&first) } else { None };
        if text.is_some() && !self.keeps_text {
            return body::understand_elsewhere(self.place, status, headers, first, self.secrets).await;
        }
        let stored = match text {
            // of what is small, a secret is found however it is written
            Some(text) => {
                let redacted = self.secrets.redact(text);
                let stored = self.store.put(self.run, redacted.into()).await;
                stored.map_err(|problem| self.failed(&problem))?
            }
            None => self.pass_on(first, next, response).await?,
        };
        let resource = self.resource(&stored, &headers);
        Ok(HttpResponse {
            status: status.as_u16(),
            headers: body::headers(&headers, self.secrets),
            body: json!(resource),
        })
    }

    /// Passes everything on to the store.
    async fn pass_on(
        &mut self,
        first: Bytes,
        next: Option<Bytes>,
        mut response: Response,
    ) -> Result<Stored, EffectError> {
        let mut writer = self.store.write(self.run, MAX_CONTENT);
        let mut redactor = self.secrets.stream();
        let written = writer.write(redactor.push(first)).await;
        written.map_err(|problem| self.failed(&problem))?;
        let mut next = next;
        while let Some(piece) = next {
            let written = writer.write(redactor.push(piece)).await;
            written.map_err(|problem| self.failed(&problem))?;
            next = self.receive(&mut response).await?;
        }
        let written = writer.write(redactor.finish()).await;
        written.map_err(|problem| self.failed(&problem))?;
        writer.finish().await.map_err(|problem| self.failed(&problem))
    }

    /// The next piece, within what is left of the attempt's time.
    async fn receive(&mut self, response: &mut Response) -> Result<Option<Bytes>, EffectError> {
        let began = Instant::now();
        let received = tokio::time::timeout(self.left, response.chunk()).await;
        self.left = self.left.saturating_sub(began.elapsed());
        match received {
            Ok(piece) => piece.map_err(|broken| error::transport(self.place, broken, self.secrets)),
            Err(_) => Err(error::timed_out(self.place, self.timeout)),
        }
    }

    fn resource(&self, stored: &Stored, headers: &HeaderMap) -> Resource {
        let EffectKey {
            step,
            iteration,
            item,
            attempt: _,
        } = self.key;
        let Owner { namespace, run, .. } = self.run;
        Resource {
            reference: ResourceRef::of_body(namespace, run, *iteration, *item, step),
            size: i64::try_from(stored.size).unwrap_or(i64::MAX),
            media_type: media_type(headers),
            sha256: stored.sha256.clone(),
        }
    }

    fn failed(&self, problem: &StoreError) -> EffectError {
        match problem {
            StoreError::TooLarge(_) => self.too_large(),
            StoreError::NoStore
            | StoreError::NotFound
            | StoreError::HashMismatch
            | StoreError::Refused(_)
            | StoreError::Unavailable(_) => error::stored(problem, true),
        }
    }

    fn too_large(&self) -> EffectError {
        let message = format!(
            "the response of {} is larger than {} MiB",
            self.place,
            MAX_CONTENT >> 20
        );
        error::unusable(StepReason::ResponseTooLarge, message)
    }
}

/// The bytes as text, if that is what they are.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.contains('\0')).then_some(text)
}

/// What a resource says it is: what its sender said, if that can be said again.
fn media_type(headers: &HeaderMap) -> String {
    let said = headers.get(header::CONTENT_TYPE);
    let said = said.and_then(|value| value.to_str().ok()).map(str::trim);
    let said = said.filter(|said| said.contains('/') && said.len() <= MAX_MEDIA_TYPE);
    said.unwrap_or("application/octet-stream").to_owned()
}
