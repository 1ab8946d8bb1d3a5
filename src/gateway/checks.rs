//! What a wait asks of its callback: a signature, a schema, a condition.

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use super::{
    Gateway,
    payload::Payload,
    problem::Problem,
    signature::{self, SigningKey},
};
use crate::cluster::{error_chain, secrets};
use signoff_api::{Run, connection::SecretKeyRef, step::CallbackWait};
use signoff_engine::{callback_body, callback_token::CallbackAddress};

/// The checks of one wait.
#[derive(Debug)]
pub(super) struct Checks {
    wait: CallbackWait,
    key: Option<SigningKey>,
    now: i64,
}

/// The callback that the pinned release waits for at this address.
pub(super) async fn wait_of(
    gateway: &Gateway,
    run: &Run,
    address: &CallbackAddress,
) -> Result<CallbackWait, Problem> {
    let pinned = run.status.as_ref().and_then(|status| status.release.as_ref());
    let Some(pinned) = pinned else {
        return Err(unpinned(run));
    };
    let release = gateway.releases.load(&address.namespace, &pinned.name).await.map_err(|error| {
        tracing::warn!(run = %address.run, error = %error_chain(&error), "the release of a callback's run could not be used");
        Problem::unavailable()
    })?;
    let step = release
        .definition
        .all_steps()
        .find(|step| step.name == address.step);
    let wait = step.and_then(|step| step.kind.as_kind().callback());
    wait.cloned().ok_or_else(nothing_waits)
}

/// The checks that the pinned release asks for at this wait.
pub(super) async fn of(gateway: &Gateway, run: &Run, address: &CallbackAddress) -> Result<Checks, Problem> {
    let wait = wait_of(gateway, run, address).await?;
    let key = match &wait.hmac {
        Some(hmac) => Some(key(gateway, run, address, &hmac.secret_ref).await?),
        None => None,
    };
    Ok(Checks {
        wait,
        key,
        now: gateway.context.now().as_second(),
    })
}

/// The answer where it is not known which release a run has. What is called waits for that, so this is for senders that have the address from
/// elsewhere; they are to try again.
fn unpinned(run: &Run) -> Problem {
    if run
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_finished())
    {
        Problem::new(StatusCode::GONE, "nothing waits for this callback any more")
    } else {
        Problem::unavailable()
    }
}

fn nothing_waits() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no callback at this address")
}

async fn key(
    gateway: &Gateway,
    run: &Run,
    address: &CallbackAddress,
    at: &SecretKeyRef,
) -> Result<SigningKey, Problem> {
    let read = secrets::read(gateway.context.client(), &address.namespace, at).await;
    let Ok(secret) = read else {
        tracing::warn!(run = %address.run, secret = %at.name, "a callback cannot be checked: its secret is not there");
        return Err(Problem::unavailable());
    };
    match SigningKey::standard(&secret.bytes) {
        Ok(key) => Ok(key),
        Err(weak) => {
            gateway.weak.tell(&gateway.context, run, &secret.of, weak).await;
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, weak.to_string()))
        }
    }
}

impl Checks {
    /// The signature, if one is asked for.
    pub(super) fn signature(&self, headers: &HeaderMap, body: &Payload) -> Result<(), Problem> {
        let Some(key) = &self.key else {
            return Ok(());
        };
        let [plain, raw] = body
            .signable()
            .map(|bytes| signature::standard_webhooks(key, headers, bytes, self.now));
        plain
            .or(raw)
            .map_err(|why| Problem::new(StatusCode::UNAUTHORIZED, why))
    }

    /// The schema and the condition, where they are asked for.
    pub(super) fn payload(&self, headers: &HeaderMap, body: &Value) -> Result<(), Problem> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect();
        callback_body::check(&self.wait, &headers, body)
            .map_err(|why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why))
    }
}
