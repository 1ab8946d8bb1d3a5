//! Signatures of Standard Webhooks.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use sha2::Sha256;

use super::Unsent;
use crate::perform::error;
use signoff_api::reason::StepReason;
use signoff_engine::facts::EffectError;

/// Identifies a message. It carries the idempotency key.
pub(in crate::perform::http) const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// Shortest key, in bytes.
const SHORTEST: usize = 16;

/// A key that signs. It is never shown.
pub(in crate::perform::http) struct SigningKey(Vec<u8>);

impl SigningKey {
    /// `whsec_` and base64, or any other text as it is.
    pub(in crate::perform::http) fn parse(secret: &str) -> Option<Self> {
        let key = match secret.trim().strip_prefix("whsec_") {
            Some(encoded) => STANDARD.decode(encoded).ok()?,
            None => secret.trim().as_bytes().to_vec(),
        };
        (key.len() >= SHORTEST).then_some(Self(key))
    }

    /// Adds the time and the signature. The id is there.
    pub(super) fn sign(&self, request: &mut Unsent<'_>, now: Timestamp) -> Result<(), EffectError> {
        let unsigned = || error::invalid(StepReason::InvalidRequest, "the message cannot be signed");
        let id = request.headers.get(ID).ok_or_else(unsigned)?;
        let body = request.content.as_bytes().ok_or_else(unsigned)?;
        let seconds = now.as_second().to_string();
        // HMAC takes a key of any length
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).map_err(|_| unsigned())?;
        for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
            mac.update(part);
        }
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let value = |text: &str| HeaderValue::try_from(text).map_err(|_| unsigned());
        let (seconds, signature) = (value(&seconds)?, value(&signature)?);
        request.headers.insert(TIMESTAMP, seconds);
        request.headers.insert(SIGNATURE, signature);
        Ok(())
    }
}
