//! Signatures of incoming requests. Every comparison takes the same time whatever the difference.

use axum::http::{HeaderMap, HeaderValue};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// How far a signature's time may be from ours, in seconds.
const TOLERANCE: i64 = 300;

/// Shortest secret that proves anything, in bytes: an empty one is known to everybody, and a short one is guessed.
pub(super) const SHORTEST_SECRET: usize = 16;

/// A secret that is long enough to sign with.
pub(super) struct SigningKey(Vec<u8>);

/// A secret that proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret that signs it has fewer than {SHORTEST_SECRET} bytes, so that no signature is accepted")]
pub(super) struct WeakSecret;

impl SigningKey {
    /// A secret as it is, without the white space around it.
    pub(super) fn plain(secret: &[u8]) -> Result<Self, WeakSecret> {
        let secret = secret.trim_ascii();
        if secret.len() < SHORTEST_SECRET {
            return Err(WeakSecret);
        }
        Ok(Self(secret.to_vec()))
    }

    /// As Standard Webhooks has it: `whsec_` and base64, or any other text as it is.
    pub(super) fn standard(secret: &[u8]) -> Result<Self, WeakSecret> {
        match secret.trim_ascii().strip_prefix(b"whsec_") {
            None => Self::plain(secret),
            Some(encoded) => {
                let decoded = STANDARD.decode(encoded).map_err(|_| WeakSecret)?;
                if decoded.len() < SHORTEST_SECRET {
                    return Err(WeakSecret);
                }
                Ok(Self(decoded))
            }
        }
    }
}

impl std::fmt::Debug for SigningKey {
    /// It is not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

/// The value of a header that a request has once. One that it has twice proves nothing, as whoever reads it may take the other value.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The same as text.
pub(super) fn only_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    only(headers, name)?.to_str().ok()
}

/// Checks a Standard Webhooks signature (`webhook-id`, `webhook-timestamp`, `webhook-signature`). `now` is in seconds of Unix time.
pub(super) fn standard_webhooks(
    key: &SigningKey,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Result<(), &'static str> {
    let header = |name| only_text(headers, name);
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
    let expected = hmac(&key.0, &signed);
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

/// Checks `X-Hub-Signature-256: sha256=<hex>` (GitHub, Gitea, Forgejo).
pub(super) fn hub(key: &SigningKey, header: &str, body: &[u8]) -> bool {
    let Some(hex) = header.strip_prefix("sha256=") else {
        return false;
    };
    let expected = hmac(&key.0, body);
    unhex(hex).is_some_and(|given| bool::from(given.ct_eq(&expected)))
}

/// Checks the signature of a Slack app (`X-Slack-Signature`, `X-Slack-Request-Timestamp`). `now` is in seconds of Unix time.
pub(super) fn slack(key: &SigningKey, headers: &HeaderMap, body: &[u8], now: i64) -> bool {
    let header = |name| only_text(headers, name);
    let (Some(signature), Some(timestamp)) =
        (header("x-slack-signature"), header("x-slack-request-timestamp"))
    else {
        return false;
    };
    let (Some(given), Ok(at)) = (
        signature.strip_prefix("v0=").and_then(unhex),
        timestamp.parse::<i64>(),
    ) else {
        return false;
    };
    let signed = [b"v0:", timestamp.as_bytes(), b":", body].concat();
    let is_good = bool::from(given.ct_eq(&hmac(&key.0, &signed)));
    is_good && now.saturating_sub(at).saturating_abs() <= TOLERANCE
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect()
}

/// Checks a shared token (GitLab).
pub(super) fn token(key: &SigningKey, given: &[u8]) -> bool {
    // both are hashed first, so that not even the length is told
    bool::from(hmac(b"signoff", &key.0).ct_eq(&hmac(b"signoff", given)))
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
        let key = SigningKey::standard(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let with = |signature: &str| {
            headers(&[
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", signature),
            ])
        };
        let check = |signature: &str, body: &[u8], now| standard_webhooks(&key, &with(signature), body, now);
        assert_eq!(check(good, body, 1_614_265_400), Ok(()));
        assert_eq!(
            check(&format!("v1,AAAA v2,x {good}"), body, 1_614_265_100),
            Ok(())
        );
        assert!(check(good, b"{}", 1_614_265_400).is_err());
        assert!(check("v1,AAAA", body, 1_614_265_400).is_err());
        assert!(check(good, body, 1_614_266_000).is_err());
        assert!(standard_webhooks(&key, &HeaderMap::new(), body, 0).is_err());
    }

    #[test]
    fn a_header_that_comes_twice_proves_nothing() {
        let key = SigningKey::standard(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let once = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            (
                "webhook-signature",
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
        ];
        for (name, value) in once {
            for second in [value, "other"] {
                let mut twice = headers(&once);
                twice.append(name, second.parse().unwrap());
                let refused = standard_webhooks(&key, &twice, br#"{"test": 2432232314}"#, 1_614_265_400);
                assert!(refused.is_err(), "{name}: {second}");
            }
        }
    }

    #[test]
    fn accepts_a_hub_signature_of_this_body_only() {
        // the example of GitHub's documentation
        let header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let key = SigningKey::plain(b"It's a Secret to Everybody\n").unwrap();
        let other = SigningKey::plain(b"It's a Secret to Nobody").unwrap();
        assert!(hub(&key, header, b"Hello, World!"));
        assert!(!hub(&key, header, b"Hello, World"));
        assert!(!hub(&other, header, b"Hello, World!"));
        assert!(!hub(&other, "", b""));
    }

    #[test]
    fn a_token_is_equal_or_refused() {
        let key = SigningKey::plain(b"0123456789abcdef").unwrap();
        assert!(token(&key, b"0123456789abcdef"));
        assert!(!token(&key, b"0123456789abcdefg") && !token(&key, b""));
    }

    #[test]
    fn a_secret_of_fewer_than_sixteen_bytes_signs_nothing() {
        for weak in [
            "",
            " \n",
            "whsec_",
            "whsec_c2hvcnQ=",
            "whsec_not base64 but long enough",
            "0123456789abcde",
            "  0123456789abcde \n",
        ] {
            assert_eq!(
                SigningKey::standard(weak.as_bytes()).unwrap_err(),
                WeakSecret,
                "{weak:?}"
            );
        }
        for weak in ["", "\t", "0123456789abcde"] {
            assert_eq!(
                SigningKey::plain(weak.as_bytes()).unwrap_err(),
                WeakSecret,
                "{weak:?}"
            );
        }
        assert!(SigningKey::standard(b"0123456789abcdef").is_ok());
        assert!(SigningKey::standard(b"whsec_MDEyMzQ1Njc4OWFiY2RlZg==").is_ok());
    }
}
