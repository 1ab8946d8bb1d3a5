//! The keys that sign callback addresses, kept in a Secret beside the operator.
//!
//! The Secret holds each key under its id and the id of the current one under `current`. To rotate, add a key, then change `current`;
//! remove the old key when no run waits for an address made with it.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client, api::ObjectMeta};

use crate::cluster::create::create_or_adopt;
use signoff_api::names;
use signoff_engine::callback_token::{CallbackKeys, CallbackKeysError};

const NAME: &str = "signoff-callback-keys";
const CURRENT: &str = "current";
const FIRST: &str = "k1";
/// Pause between two looks for keys that another process makes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The API server refused or did not answer.
    #[error("cannot {0} the Secret {NAME:?} in namespace {1:?}")]
    Api(&'static str, String, #[source] kube::Error),
    /// The Secret does not say which key is the current one.
    #[error("the Secret {NAME:?} in namespace {0:?} has no readable key {CURRENT:?}")]
    NoCurrent(String),
    /// The keys cannot be used.
    #[error("the keys in the Secret {NAME:?} cannot be used")]
    Unusable(#[from] CallbackKeysError),
}

/// The keys, made at the first start.
pub(super) async fn read_or_make(client: &Client, namespace: &str) -> Result<CallbackKeys, KeysError> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let failed = |what| move |error| KeysError::Api(what, namespace.to_owned(), error);
    let secret = match api.get_opt(NAME).await.map_err(failed("read"))? {
        Some(secret) => secret,
        // another operator may be faster, and its keys are as good
        None => create_or_adopt(&api, &fresh(), |_| true)
            .await
            .map_err(failed("create"))?
            .object(),
    };
    keys(secret, namespace)
}

/// The keys, as soon as an operator has made them.
pub(super) async fn await_made(client: &Client, namespace: &str) -> Result<CallbackKeys, KeysError> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let mut told = false;
    loop {
        match api.get_opt(NAME).await {
            Ok(Some(secret)) => return keys(secret, namespace),
            Ok(None) if told => {}
            Ok(None) => {
                told = true;
                tracing::info!(
                    secret = NAME,
                    namespace,
                    "waiting for an operator to make the keys of callback addresses"
                );
            }
            Err(error) => return Err(KeysError::Api("read", namespace.to_owned(), error)),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What names this installation: the uid of that Secret.
pub(super) async fn installation(client: &Client, namespace: &str) -> Result<String, KeysError> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let secret = api.get(NAME).await;
    let secret = secret.map_err(|error| KeysError::Api("read", namespace.to_owned(), error))?;
    Ok(secret.metadata.uid.unwrap_or_default())
}

fn fresh() -> Secret {
    let key: [u8; 32] = rand::random();
    let data = [(CURRENT, FIRST.as_bytes().to_vec()), (FIRST, key.to_vec())];
    Secret {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            labels: Some([(names::MANAGED_BY.to_owned(), names::MANAGED_BY_VALUE.to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some(
            data.map(|(name, bytes)| (name.to_owned(), ByteString(bytes)))
                .into(),
        ),
        ..Secret::default()
    }
}

fn keys(secret: Secret, namespace: &str) -> Result<CallbackKeys, KeysError> {
    let mut keys: BTreeMap<String, Vec<u8>> = secret
        .data
        .unwrap_or_default()
        .into_iter()
        .map(|(id, bytes)| (id, bytes.0))
        .collect();
    let current = keys.remove(CURRENT).and_then(|id| String::from_utf8(id).ok());
    let current = current.ok_or_else(|| KeysError::NoCurrent(namespace.to_owned()))?;
    Ok(CallbackKeys::new(current.trim(), keys)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_keys_can_be_used_and_differ() {
        let (one, two) = (fresh(), fresh());
        assert_ne!(one.data, two.data);
        assert!(keys(one, "ns").is_ok());
        assert!(matches!(
            keys(Secret::default(), "ns"),
            Err(KeysError::NoCurrent(_))
        ));
    }
}
