//! Signatures of incoming requests. Every comparison takes the same time whatever the difference.

use axum::http::HeaderMap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// How far a signature's time may be from ours, in seconds.
const TOLERANCE: i64 = 300;

/// Checks a Standard Webhooks signature (`webhook-id`, `webhook-timestamp`, `webhook-signature`). The secret is `whsec_` and base64,
/// or any other text as it is. `now` is in seconds of Unix time.
pub(super) fn standard_webhooks(
    secret: &[u8],
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Result<(), &'static str> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(timestamp), Some(signatures)) = (
        header("webhook-id"),
        header("webhook-timestamp"),
        header("webhook-signature"),
    ) else {
        return Err(
            "the request is not signed; webhook-id, webhook-timestamp and webhook-signature are needed",
        );
    };
    let at: i64 = timestamp
        .parse()
        .map_err(|_| "webhook-timestamp is not a time in seconds")?;
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let expected = hmac(&key(secret), &signed);
    let good = signatures
        .split_ascii_whitespace()
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .filter_map(|signature| STANDARD.decode(signature).ok())
        .fold(false, |good, given| good | bool::from(given.ct_eq(&expected)));
    if !good {
        return Err("the signature is not that of this body");
    }
    if now.saturating_sub(at).saturating_abs() > TOLERANCE {
        return Err("the signature is too old, or the sender's clock is wrong");
    }
    Ok(())
}

fn key(secret: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(secret).map(str::trim).unwrap_or_default();
    let decoded = text
        .strip_prefix("whsec_")
        .and_then(|encoded| STANDARD.decode(encoded).ok());
    decoded.unwrap_or_else(|| {
        if text.is_empty() {
            secret.to_vec()
        } else {
            text.as_bytes().to_vec()
        }
    })
}

/// Checks `X-Hub-Signature-256: sha256=<hex>` (GitHub, Gitea, Forgejo).
pub(super) fn hub(secret: &[u8], header: &str, body: &[u8]) -> bool {
    let Some(hex) = header.strip_prefix("sha256=") else {
        return false;
    };
    let expected = hmac(secret, body);
    let given: Option<Vec<u8>> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect();
    given.is_some_and(|given| bool::from(given.ct_eq(&expected)))
}

/// Checks a shared token (GitLab).
pub(super) fn token(secret: &[u8], given: &[u8]) -> bool {
    // both are hashed first, so that not even the length is told
    bool::from(hmac(b"signoff", secret).ct_eq(&hmac(b"signoff", given)))
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes a key of any length, so this never falls back
    Hmac::<Sha256>::new_from_slice(key).map_or_else(
        |_| Vec::new(),
        |mut mac| {
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(entries: &[(&'static str, &str)]) -> HeaderMap {
        entries
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn accepts_the_example_of_the_standard_and_no_change_of_it() {
        // the example of https://github.com/standard-webhooks/standard-webhooks
        let secret = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = br#"{"test": 2432232314}"#;
        let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let with = |signature: &str| {
            headers(&[
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", signature),
            ])
        };
        let check =
            |signature: &str, body: &[u8], now| standard_webhooks(secret, &with(signature), body, now);
        assert_eq!(check(good, body, 1_614_265_400), Ok(()));
        assert_eq!(
            check(&format!("v1,AAAA v2,x {good}"), body, 1_614_265_100),
            Ok(())
        );
        assert!(check(good, b"{}", 1_614_265_400).is_err());
        assert!(check("v1,AAAA", body, 1_614_265_400).is_err());
        assert!(check(good, body, 1_614_266_000).is_err());
        assert!(standard_webhooks(secret, &HeaderMap::new(), body, 0).is_err());
    }

    #[test]
    fn accepts_a_hub_signature_of_this_body_only() {
        // the example of GitHub's documentation
        let header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert!(hub(b"It's a Secret to Everybody", header, b"Hello, World!"));
        assert!(!hub(b"It's a Secret to Everybody", header, b"Hello, World"));
        assert!(!hub(b"other", header, b"Hello, World!"));
        assert!(!hub(b"other", "", b""));
    }

    #[test]
    fn a_token_is_equal_or_refused() {
        assert!(token(b"abc", b"abc"));
        assert!(!token(b"abc", b"abcd") && !token(b"abc", b""));
    }
}
