//! Releases as runs use them: read once, checked, compiled, kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::ResourceExt as _;
use tokio::sync::OnceCell;

use super::context::Context;
use signoff_api::{
    Digest, Release,
    condition::{self, READY},
    flow::Definition,
    name::ReleaseName,
    names,
    reason::{Classified, ErrorClass},
};
use signoff_engine::{facts::ReleaseFacts, plan::Plan};

/// How many releases are kept while no run uses them.
const KEPT: usize = 256;

/// A release that runs may be pinned to.
#[derive(Debug)]
pub struct LoadedRelease {
    /// What the engine is told about it.
    pub facts: ReleaseFacts,
    /// Its definition.
    pub definition: Definition,
    /// Its definition, compiled.
    pub plan: Plan,
}

/// Why a release cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseUnusable {
    /// There is none of that name.
    #[error("there is no release {0:?}")]
    Missing(String),
    /// Something is wrong with it.
    #[error("the release {name:?} is not ready: {message}")]
    NotReady {
        /// Its name.
        name: String,
        /// What its condition says.
        message: String,
    },
    /// Its digest is not that of its definition.
    #[error("the digest of the release {0:?} is not that of its definition, so it is not what its name says")]
    Forged(String),
    /// Its definition cannot be run by this version of the operator.
    #[error("the definition of the release {name:?} cannot be used: {message}")]
    Invalid {
        /// Its name.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// It could not be read.
    #[error("the release {0:?} could not be read")]
    Unreadable(String, #[source] kube::Error),
}

impl Classified for ReleaseUnusable {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Missing(_) | Self::NotReady { .. } => ErrorClass::Waiting,
            Self::Forged(_) | Self::Invalid { .. } => ErrorClass::Invalid,
            Self::Unreadable(..) => ErrorClass::Transient,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "ReleaseNotFound",
            Self::NotReady { .. } => "ReleaseNotReady",
            Self::Forged(_) => "ReleaseForged",
            Self::Invalid { .. } => "ReleaseInvalid",
            Self::Unreadable(..) => "ReleaseUnreadable",
        }
    }
}

/// Releases by namespace and name. A release never changes, so one that passed stays good.
#[derive(Debug)]
pub struct Releases {
    context: Arc<Context>,
    loaded: Mutex<HashMap<(String, String), Arc<Slot>>>,
}

/// A release, or room for one that is read once for all who wait for it.
type Slot = OnceCell<Arc<LoadedRelease>>;

impl Releases {
    /// None loaded yet.
    pub fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            loaded: Mutex::default(),
        }
    }

    /// The release of that name, checked.
    pub async fn load(&self, namespace: &str, name: &str) -> Result<Arc<LoadedRelease>, ReleaseUnusable> {
        let Ok(path) = name.parse::<ReleaseName>() else {
            return Err(ReleaseUnusable::Missing(name.to_owned()));
        };
        let slot = self.slot(namespace, name);
        let loaded = slot.get_or_try_init(|| self.read(namespace, &path)).await?;
        Ok(Arc::clone(loaded))
    }

    async fn read(&self, namespace: &str, name: &ReleaseName) -> Result<Arc<LoadedRelease>, ReleaseUnusable> {
        let found = self.context.namespaced::<Release>(namespace).get_opt(name).await;
        let release = found
            .map_err(|error| ReleaseUnusable::Unreadable(name.to_string(), error))?
            .ok_or_else(|| ReleaseUnusable::Missing(name.to_string()))?;
        let loaded = self
            .context
            .evaluate_first(namespace, move || check(&release))
            .await;
        loaded.map(Arc::new)
    }

    fn slot(&self, namespace: &str, name: &str) -> Arc<Slot> {
        let key = (namespace.to_owned(), name.to_owned());
        let mut all = self.lock();
        if all.len() >= KEPT && !all.contains_key(&key) {
            let is_used = |slot: &Arc<Slot>| {
                Arc::strong_count(slot) > 1 || slot.get().is_some_and(|loaded| Arc::strong_count(loaded) > 1)
            };
            all.retain(|_, slot| is_used(slot));
        }
        Arc::clone(all.entry(key).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Arc<Slot>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(release: &Release) -> Result<LoadedRelease, ReleaseUnusable> {
    let name = release.name_any();
    // the digest is taken here too: the condition is a claim that whoever writes statuses can make
    let digest: Option<Digest> = release.spec.content_digest().ok();
    if digest.as_ref() != Some(&release.spec.digest) {
        return Err(ReleaseUnusable::Forged(name));
    }
    let named = names::release_name(&release.spec.flow, &release.spec.digest);
    if named != name {
        let message = format!("a release with this content is called {named}");
        return Err(ReleaseUnusable::NotReady { name, message });
    }
    let conditions = release
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    // a release has no conditions while nothing is wrong with it and it was never live
    if let Some(ready) = condition::get(conditions, READY).filter(|ready| ready.status != "True") {
        return Err(ReleaseUnusable::NotReady {
            name,
            message: ready.message.clone(),
        });
    }
    let plan = Plan::of_release(&release.spec.definition).map_err(|problems| ReleaseUnusable::Invalid {
        name: name.clone(),
        message: problems
            .first()
            .map(|problem| format!("{}: {}", problem.field, problem.message))
            .unwrap_or_default(),
    })?;
    Ok(LoadedRelease {
        facts: ReleaseFacts {
            name,
            flow: release.spec.flow.clone(),
            digest: release.spec.digest.clone(),
            commit: release.spec.source.commit.clone(),
            author: release.spec.source.written_by().cloned(),
            repository: release.spec.source.repository.clone(),
            dependencies: release.spec.dependencies.clone(),
        },
        definition: release.spec.definition.clone(),
        plan,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use signoff_api::canonical;

    use super::*;

    fn release(more: &Value) -> Release {
        let mut release = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Release",
            "metadata": {"name": "hello", "namespace": "ns"},
            "spec": {"flow": "hello", "definition": {"steps": [{"name": "one", "set": {"x": 1}}]},
                "digest": format!("sha256:{}", "0".repeat(64)), "source": {}}});
        let read: Release = serde_json::from_value(release.clone()).unwrap();
        let digest = canonical::digest(&read.spec.definition).unwrap();
        release["metadata"]["name"] = json!(names::release_name("hello", &digest));
        release["spec"]["digest"] = json!(digest);
        json_patch::merge(&mut release, more);
        serde_json::from_value(release).unwrap()
    }

    fn ready(status: &str) -> Value {
        json!({"status": {"conditions": [{"type": "Ready", "status": status, "reason": "R", "message": "so it is",
            "lastTransitionTime": "1970-01-01T00:00:00Z"}]}})
    }

    #[test]
    fn a_release_of_which_nothing_is_said_can_be_used_and_so_can_one_that_is_ready() {
        check(&release(&json!({}))).unwrap();
        check(&release(&ready("True"))).unwrap();
    }

    #[test]
    fn a_release_of_which_something_is_wrong_cannot_be_used_whatever_is_said_of_it() {
        let refused = |release: &Release| check(release).unwrap_err();
        assert!(
            matches!(refused(&release(&ready("False"))), ReleaseUnusable::NotReady { message, .. } if message == "so it is")
        );
        let mut forged = release(&ready("True"));
        forged.spec.digest = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
        assert!(matches!(refused(&forged), ReleaseUnusable::Forged(_)));
        let mut renamed = release(&ready("True"));
        renamed.metadata.name = Some("hello-0123456789".to_owned());
        assert!(matches!(refused(&renamed), ReleaseUnusable::NotReady { .. }));
    }
}
