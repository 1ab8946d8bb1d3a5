//! The keys that sign records: in a Secret beside the operator, read while it runs, so that they are rotated without a restart.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::Client;
use tokio::{sync::Mutex, time::Instant};

use super::keys::{InvalidKey, PublicKey, SigningKey};
use crate::cluster::secrets::{self, SecretError};

/// The entry of the Secret that names the key to sign with.
const CURRENT: &str = "current";
/// How long keys that were read are used.
const FRESH: Duration = Duration::from_secs(2);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The Secret cannot be read.
    #[error("the keys of records cannot be read")]
    Secret(#[from] SecretError),
    /// It does not say which key signs.
    #[error("the Secret {0:?} has several keys, and no entry {CURRENT:?} that names the one to sign with")]
    NoCurrent(String),
    /// There is no such key.
    #[error("the entry {CURRENT:?} of the Secret {secret:?} names the key {key:?}, which is not there")]
    NoKey {
        /// The Secret.
        secret: String,
        /// The key.
        key: String,
    },
    /// One of them is no key.
    #[error("the key {key:?} of the Secret {secret:?} cannot be used")]
    Invalid {
        /// The Secret.
        secret: String,
        /// The key.
        key: String,
        /// Why.
        source: InvalidKey,
    },
}

/// The keys of records.
#[derive(Debug)]
pub(super) struct Keys {
    /// The one that signs.
    pub(super) current: SigningKey,
    /// All that may have signed.
    pub(super) known: Vec<PublicKey>,
}

/// Reads the keys of records, again and again. Clones share what was read.
#[derive(Clone)]
pub struct RecordKeys {
    client: Client,
    namespace: String,
    name: String,
    read: Arc<Mutex<Option<Fresh>>>,
}

/// Keys, and when they were read.
type Fresh = (Instant, Arc<Keys>);

impl std::fmt::Debug for RecordKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordKeys")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl RecordKeys {
    /// Those in the Secret of this name.
    pub fn of(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            read: Arc::default(),
        }
    }

    /// The keys as they are, or were a few seconds ago.
    pub(super) async fn now(&self) -> Result<Arc<Keys>, KeysError> {
        let mut read = self.read.lock().await;
        if let Some((at, keys)) = &*read
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(keys));
        }
        let entries = secrets::read_all(&self.client, &self.namespace, &self.name).await?;
        let keys = Arc::new(keys(&self.name, entries)?);
        *read = Some((Instant::now(), Arc::clone(&keys)));
        Ok(keys)
    }
}

fn keys(secret: &str, mut entries: BTreeMap<String, Vec<u8>>) -> Result<Keys, KeysError> {
    let current = entries.remove(CURRENT);
    let current = match current.as_deref().map(String::from_utf8_lossy) {
        Some(name) => name.trim().to_owned(),
        None if entries.len() == 1 => entries.keys().next().cloned().unwrap_or_default(),
        None => return Err(KeysError::NoCurrent(secret.to_owned())),
    };
    let invalid = |key: &str| {
        let (secret, key) = (secret.to_owned(), key.to_owned());
        move |source| KeysError::Invalid { secret, key, source }
    };
    let Some(pem) = entries.remove(&current) else {
        let secret = secret.to_owned();
        return Err(KeysError::NoKey { secret, key: current });
    };
    let signing = SigningKey::read(&pem).map_err(invalid(&current))?;
    let mut known = vec![signing.public().clone()];
    for (name, pem) in &entries {
        // of a key that signs no more, the public part is enough
        let public =
            PublicKey::read_all(pem).or_else(|_| SigningKey::read(pem).map(|key| vec![key.public().clone()]));
        known.extend(public.map_err(invalid(name))?);
    }
    Ok(Keys {
        current: signing,
        known,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(entries: &[(&str, &str)]) -> Result<Keys, KeysError> {
        let entries = entries.iter();
        let entries = entries.map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
        keys("s", entries.collect())
    }

    #[test]
    fn the_entry_current_names_the_key_that_signs_and_others_are_known() {
        let (one, two) = (
            rcgen::KeyPair::generate().unwrap(),
            rcgen::KeyPair::generate().unwrap(),
        );
        let (one, public, two) = (one.serialize_pem(), one.public_key_pem(), two.serialize_pem());
        let first = made(&[("k1", &one)]).unwrap();
        let second = made(&[("k1", &public), ("k2", &two), ("current", "k2\n")]).unwrap();
        assert_ne!(first.current.public(), second.current.public());
        assert!(second.known.contains(first.current.public()));
        assert!(second.known.contains(second.current.public()));
        let wrong: [&[(&str, &str)]; 5] = [
            &[],
            &[("k1", &one), ("k2", &two)],
            &[("k1", &one), ("current", "k2")],
            &[("k1", &public)],
            &[("k1", &one), ("k2", "what"), ("current", "k1")],
        ];
        for wrong in wrong {
            assert!(made(wrong).is_err(), "{wrong:?}");
        }
    }
}
