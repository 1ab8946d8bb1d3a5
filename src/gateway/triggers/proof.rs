//! Whether the sender of a request knows the secret of a trigger.

use axum::http::HeaderMap;

use crate::gateway::{
    payload::Payload,
    signature::{self, SigningKey, WeakSecret},
};
use signoff_api::trigger::WebhookAuth;

/// Whether the sender knows the secret, in the way that the trigger asks for and in no other.
pub(super) fn is_proven(
    auth: &WebhookAuth,
    secret: &[u8],
    headers: &HeaderMap,
    payload: &Payload,
    now: i64,
) -> Result<bool, WeakSecret> {
    let text = |name| signature::only_text(headers, name);
    // senders sign before they compress, or after
    let [plain, raw] = payload.signable();
    let either = |is_signed: &dyn Fn(&[u8]) -> bool| is_signed(plain) || is_signed(raw);
    let standard =
        |key: &SigningKey| either(&|body| signature::standard_webhooks(key, headers, body, now).is_ok());
    match auth {
        WebhookAuth::StandardWebhooks(_) => Ok(standard(&SigningKey::standard(secret)?)),
        WebhookAuth::Github(_) => {
            let key = SigningKey::plain(secret)?;
            let header = text("x-hub-signature-256");
            Ok(header.is_some_and(|header| either(&|body| signature::hub(&key, header, body))))
        }
        WebhookAuth::Gitlab(_) => {
            let key = SigningKey::plain(secret)?;
            if headers.contains_key("webhook-signature") {
                return Ok(standard(&SigningKey::standard(secret)?));
            }
            let shown = signature::only(headers, "x-gitlab-token");
            Ok(shown.is_some_and(|shown| signature::token(&key, shown.as_bytes())))
        }
        WebhookAuth::Slack(_) => {
            let key = SigningKey::plain(secret)?;
            Ok(either(&|body| signature::slack(&key, headers, body, now)))
        }
        WebhookAuth::Bearer(_) => {
            let key = SigningKey::plain(secret)?;
            let shown = signature::only(headers, "authorization").map(http::HeaderValue::as_bytes);
            let token = shown.and_then(|shown| {
                let (scheme, token) = shown.split_at_checked("Bearer ".len())?;
                scheme
                    .eq_ignore_ascii_case(b"Bearer ")
                    .then(|| token.trim_ascii())
            });
            Ok(token.is_some_and(|token| signature::token(&key, token)))
        }
    }
}
