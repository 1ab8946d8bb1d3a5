//! Reading Secrets: at the moment of use, so that a rotated one is taken up, and never into a log or a message.

use std::collections::BTreeMap;

use json_patch::{Patch as Operations, PatchOperation, ReplaceOperation, TestOperation, jsonptr::PointerBuf};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use signoff_api::{connection::SecretKeyRef, names};

/// Why the value of a key of a Secret is not there.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// There is no such Secret.
    #[error("there is no Secret {name:?} in namespace {namespace:?}")]
    NoSecret {
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// The Secret has no such key.
    #[error("the Secret {name:?} has no key {key:?}")]
    NoKey {
        /// The Secret.
        name: String,
        /// The key.
        key: String,
    },
    /// The value is not text.
    #[error("the key {key:?} of the Secret {name:?} is not text")]
    NotText {
        /// The Secret.
        name: String,
        /// The key.
        key: String,
    },
    /// The API server refused or did not answer.
    #[error("the Secret {0:?} could not be read")]
    Unreadable(String, #[source] kube::Error),
}

/// Why the value of a key of a Secret was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum SecretWriteError {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] SecretError),
    /// The value is not what it was when it was read.
    #[error("the key {key:?} of the Secret {name:?} has changed")]
    Changed {
        /// The Secret.
        name: String,
        /// The key.
        key: String,
    },
    /// The API server refused the new value or did not answer.
    #[error("the Secret {0:?} could not be written")]
    Refused(String, #[source] kube::Error),
}

/// The value of one key of a Secret. It shows nothing of it.
pub struct SecretValue {
    /// What was read.
    pub bytes: Vec<u8>,
    /// The Secret it was read from.
    pub of: SecretVersion,
}

/// A Secret as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretVersion {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which of that name it is, and its version.
    pub version: String,
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretValue")
            .field("of", &self.of)
            .finish_non_exhaustive()
    }
}

/// Reads one key of a Secret.
///
/// # Errors
/// If it is not there or cannot be read.
pub async fn read(client: &Client, namespace: &str, at: &SecretKeyRef) -> Result<SecretValue, SecretError> {
    let (name, key) = (at.name.to_string(), at.key.to_string());
    let found = Api::<Secret>::namespaced(client.clone(), namespace)
        .get_opt(&name)
        .await;
    let mut secret = match found {
        Ok(Some(secret)) => secret,
        Ok(None) => {
            let namespace = namespace.to_owned();
            return Err(SecretError::NoSecret { name, namespace });
        }
        Err(error) => return Err(SecretError::Unreadable(name, error)),
    };
    let (uid, version) = (secret.uid(), secret.resource_version());
    match secret.data.as_mut().and_then(|data| data.remove(&key)) {
        Some(bytes) => Ok(SecretValue {
            bytes: bytes.0,
            of: SecretVersion {
                namespace: namespace.to_owned(),
                name,
                version: format!("{}/{}", uid.unwrap_or_default(), version.unwrap_or_default()),
            },
        }),
        None => Err(SecretError::NoKey { name, key }),
    }
}

/// Reads all keys of a Secret.
///
/// # Errors
/// If it is not there or cannot be read.
pub async fn read_all(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<BTreeMap<String, Vec<u8>>, SecretError> {
    let found = Api::<Secret>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await
        .map_err(|error| SecretError::Unreadable(name.to_owned(), error))?;
    let missing = || SecretError::NoSecret {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
    };
    let data = found.ok_or_else(missing)?.data.unwrap_or_default();
    Ok(data.into_iter().map(|(key, bytes)| (key, bytes.0)).collect())
}

/// Writes one key of a Secret anew, if it still has the text that was read, white space around it aside.
///
/// # Errors
/// If it has another text, or must not be written.
pub async fn replace_text(
    client: &Client,
    namespace: &str,
    at: &SecretKeyRef,
    old: &str,
    new: &str,
) -> Result<(), SecretWriteError> {
    let (name, key) = (at.name.to_string(), at.key.to_string());
    let known = read(client, namespace, at).await?.bytes;
    if known.trim_ascii() != old.trim().as_bytes() {
        return Err(SecretWriteError::Changed { name, key });
    }
    let path = PointerBuf::from_tokens(["data", &key]);
    let operations = Operations(vec![
        PatchOperation::Test(TestOperation {
            path: path.clone(),
            value: json!(ByteString(known)),
        }),
        PatchOperation::Replace(ReplaceOperation {
            path,
            value: json!(ByteString(new.as_bytes().to_vec())),
        }),
    ]);
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let written = api.patch(&name, &params, &Patch::<()>::Json(operations)).await;
    written
        .map(drop)
        .map_err(|error| SecretWriteError::Refused(name, error))
}

/// Reads one key of a Secret as text.
///
/// # Errors
/// If it is not there, cannot be read or is not text.
pub async fn read_text(client: &Client, namespace: &str, at: &SecretKeyRef) -> Result<String, SecretError> {
    let value = read(client, namespace, at).await?;
    String::from_utf8(value.bytes).map_err(|_| SecretError::NotText {
        name: at.name.to_string(),
        key: at.key.to_string(),
    })
}
