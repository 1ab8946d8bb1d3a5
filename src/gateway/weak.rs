//! Tells people of secrets that are too short to prove anything. Whoever calls may do so again and again: each secret is told of once.

use std::{
    collections::HashSet,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
};

use kube::{Resource, runtime::events::EventType};

use super::signature::WeakSecret;
use crate::cluster::{context::Context, secrets::SecretVersion};

/// How many are remembered.
const REMEMBERED: usize = 1_024;

/// Those that people were told of, by the uid of what uses them and their own version. Clones are handles on the same.
#[derive(Clone, Debug, Default)]
pub struct WeakSecrets(Arc<Mutex<HashSet<(String, String)>>>);

impl WeakSecrets {
    /// Tells people on the object that uses a secret, unless they were told.
    pub(super) async fn tell<K>(&self, context: &Context, user: &K, secret: &SecretVersion, weak: WeakSecret)
    where
        K: Resource<DynamicType = ()>,
    {
        let of = (
            user.meta().uid.clone().unwrap_or_default(),
            secret.version.clone(),
        );
        {
            let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() >= REMEMBERED {
                told.clear();
            }
            if !told.insert(of) {
                return;
            }
        }
        let note = format!("the Secret {}: {weak}", secret.name);
        tracing::warn!(
            object = user.meta().name.as_deref().unwrap_or_default(),
            namespace = secret.namespace,
            "{note}"
        );
        context.event(user, EventType::Warning, "WeakSecret", &note).await;
    }
}

#[cfg(test)]
mod tests;
