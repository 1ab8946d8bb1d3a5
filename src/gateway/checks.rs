//! What a wait asks of its callback: a signature, a schema, a condition.

use axum::http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::{
    Gateway,
    payload::Payload,
    problem::Problem,
    signature::{self, SigningKey},
};
use crate::cluster::{error_chain, secrets};
use signoff_api::{Run, connection::SecretKeyRef, step::CallbackWait};
use signoff_engine::{
    callback_token::CallbackAddress,
    expression::{Scope, Template},
    schema::Schema,
};

/// The checks of one wait.
#[derive(Debug)]
pub(super) struct Checks {
    wait: CallbackWait,
    key: Option<SigningKey>,
    now: i64,
}

/// The checks that the pinned release asks for at this wait.
pub(super) async fn of(gateway: &Gateway, run: &Run, address: &CallbackAddress) -> Result<Checks, Problem> {
    let pinned = run.status.as_ref().and_then(|status| status.release.as_ref());
    let Some(pinned) = pinned else {
        return Err(nothing_waits());
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
    let wait = wait.cloned().ok_or_else(nothing_waits)?;
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
        let unfit = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
        if let Some(schema) = &self.wait.schema {
            let schema = Schema::compile(schema.as_value())
                .map_err(|error| unfit(format!("the wait's schema cannot be used: {error}")))?;
            if let Some(misfit) = schema.misfits(body).first() {
                return Err(unfit(format!(
                    "the body does not fit at {:?}: {}",
                    misfit.pointer, misfit.message
                )));
            }
        }
        let Some(accept) = &self.wait.accept else {
            return Ok(());
        };
        match holds(accept, headers, body) {
            Ok(true) => Ok(()),
            Ok(false) => Err(unfit("the wait does not accept this body".to_owned())),
            Err(message) => Err(unfit(format!(
                "whether the wait accepts this body cannot be told: {message}"
            ))),
        }
    }
}

fn holds(accept: &str, headers: &HeaderMap, body: &Value) -> Result<bool, String> {
    let template = Template::parse(accept).map_err(|_| "it is no expression")?;
    let expression = template.as_expression().ok_or("it is not one expression")?;
    let headers: Map<String, Value> = headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                Value::String(String::from_utf8_lossy(value.as_bytes()).into_owned()),
            )
        })
        .collect();
    let mut scope = Scope::default();
    scope
        .set("body", body.clone())
        .set("headers", Value::Object(headers));
    expression.holds(&scope).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checks(wait: Value) -> Checks {
        Checks {
            wait: serde_json::from_value(wait).unwrap(),
            key: None,
            now: 0,
        }
    }

    #[test]
    fn a_body_must_fit_the_schema_and_the_condition() {
        let checks = checks(json!({
            "schema": {"type": "object", "required": ["ok"]},
            "accept": "${body.ok && headers['x-kind'] == 'done'}",
        }));
        let mut headers = HeaderMap::new();
        headers.insert("x-kind", "done".parse().unwrap());
        assert!(checks.payload(&headers, &json!({"ok": true})).is_ok());
        assert!(checks.payload(&headers, &json!({"ok": false})).is_err());
        assert!(checks.payload(&headers, &json!({})).is_err());
        assert!(checks.payload(&HeaderMap::new(), &json!({"ok": true})).is_err());
    }

    #[test]
    fn a_condition_that_costs_too_much_accepts_nothing() {
        let accept = "${body.l.all(x, body.l.all(y, x + y >= 0))}";
        let checks = checks(json!({ "accept": accept }));
        let body = json!({"l": vec![1; 3_000]});
        let problem = checks.payload(&HeaderMap::new(), &body).unwrap_err();
        assert!(format!("{problem:?}").contains("too costly"), "{problem:?}");
    }
}
