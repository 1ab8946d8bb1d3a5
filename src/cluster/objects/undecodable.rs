//! Telling people of objects that are passed over: once for each version of each.

use std::{
    borrow::Cow,
    collections::HashMap,
    hash::{DefaultHasher, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Resource,
    api::{Patch, PatchParams, Request},
    runtime::events::EventType,
};
use serde_json::json;
use tokio::sync::Semaphore;

use super::decoded::{Decoded, Kind, Undecodable};
use crate::cluster::{
    context::Context,
    error_chain,
    status::{Standing, stand},
};
use signoff_api::{
    condition::{self, ConditionStatus},
    names,
};

/// Why an object is passed over, as its condition and its Event say it.
const REASON: &str = "Undecodable";
/// How many versions are remembered as told of. Beyond that they are told of once more.
const MOST: usize = 10_000;
/// How many are told of at the same time.
const AT_ONCE: usize = 2;

/// What was told of objects that were passed over. Clones are handles on the same.
#[derive(Clone, Debug)]
pub struct PassedOver {
    /// A mark of the version that was told of, by a mark of the object.
    told: Arc<Mutex<HashMap<u64, u64>>>,
    turns: Arc<Semaphore>,
}

impl Default for PassedOver {
    fn default() -> Self {
        Self {
            told: Arc::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl PassedOver {
    /// Whether this version of an object was not told of before; then it is from now on.
    fn is_news(&self, kind: &str, object: &Undecodable) -> bool {
        let version = mark(&(object.metadata.generation, &object.path, &object.problem));
        let key = mark(&(kind, &object.metadata.uid));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MOST {
            told.clear();
        }
        told.insert(key, version) != Some(version)
    }
}

fn mark(of: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The name of a kind, as labels of metrics want it.
fn kind_of<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        Cow::Borrowed(kind) => kind,
        Cow::Owned(_) => "other",
    }
}

impl Context {
    /// An object cannot be decoded and is passed over: tells people, once for each version of it.
    pub fn pass_over<K: Kind>(&self, object: &Undecodable) {
        let kind = kind_of::<K>();
        if !self.passed_over().is_news(kind, object) {
            return;
        }
        self.metrics().undecodable(kind);
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
        let (namespace, name) = (
            namespace.as_deref().unwrap_or_default(),
            name.as_deref().unwrap_or_default(),
        );
        tracing::warn!(kind, namespace, name, problem = %object.message(), "an object cannot be decoded; it is passed over");
        let (context, object) = (self.clone(), object.clone());
        tokio::spawn(async move { context.report::<K>(kind, object).await });
    }

    async fn report<K: Kind>(&self, kind: &'static str, object: Undecodable) {
        // it is never closed
        let _turn = self.passed_over().turns.acquire().await;
        let message = object.message();
        let mut conditions = object.conditions.clone();
        if say(&mut conditions, kind, &object, &message, self) {
            if conditions == object.conditions {
                // told before this process began
                return;
            }
            if let Err(error) = self.patch_conditions::<K>(&object, &conditions).await {
                tracing::warn!(kind, error = %error_chain(&error), "it could not be said on an object that it cannot be decoded");
            }
        }
        let note = format!("it cannot be decoded, and nothing is done for it: {message}");
        let object = Decoded::<K>::Undecodable(Box::new(object));
        self.event(&object, EventType::Warning, REASON, &note).await;
    }

    /// Writes the conditions of an object whatever else is in it; the answer is not decoded.
    async fn patch_conditions<K: Kind>(
        &self,
        object: &Undecodable,
        conditions: &[Condition],
    ) -> kube::Result<()> {
        let meta = &object.metadata;
        let url = K::url_path(&(), meta.namespace.as_deref());
        // an object of that name that was made meanwhile is another one
        let patch = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": conditions}});
        let params = PatchParams {
            field_manager: Some(names::FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let name = meta.name.as_deref().unwrap_or_default();
        let request = Request::new(url)
            .patch_subresource("status", name, &params, &Patch::Merge(patch))
            .map_err(kube::Error::BuildRequest)?;
        self.client().request_text(request).await.map(drop)
    }
}

/// Sets the conditions that this kind has. Says whether it has any.
fn say(
    conditions: &mut Vec<Condition>,
    kind: &str,
    object: &Undecodable,
    message: &str,
    context: &Context,
) -> bool {
    let (generation, now) = (object.metadata.generation, context.now());
    let mut set = |type_| {
        condition::set(
            conditions,
            type_,
            ConditionStatus::False,
            REASON,
            message,
            generation,
            now,
        );
    };
    match kind {
        "Repository" | "Flow" | "Release" => {
            stand(conditions, Standing::Stalled, REASON, message, generation, now);
        }
        "Run" => set(condition::SUCCEEDED),
        "Approval" => set(condition::DECIDED),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use kube::core::ObjectMeta;

    use super::*;

    #[test]
    fn each_version_of_an_object_is_told_of_once() {
        let told = PassedOver::default();
        let object = |uid: &str, generation, problem: &str| Undecodable {
            metadata: ObjectMeta {
                uid: Some(uid.to_owned()),
                generation: Some(generation),
                ..ObjectMeta::default()
            },
            problem: problem.to_owned(),
            ..Undecodable::default()
        };
        assert!(told.is_news("Flow", &object("a", 1, "x")));
        assert!(
            !told.is_news("Flow", &object("a", 1, "x")),
            "another watch shows it"
        );
        assert!(told.is_news("Flow", &object("b", 1, "x")));
        assert!(told.is_news("Run", &object("a", 1, "x")));
        assert!(told.is_news("Flow", &object("a", 2, "x")), "it was edited");
        assert!(told.is_news("Flow", &object("a", 2, "y")));
    }
}
