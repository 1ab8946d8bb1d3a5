//! Releases as runs use them: read once, checked, compiled, kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::ResourceExt as _;

use super::context::Context;
use signoff_api::{
    Digest, Release, canonical,
    condition::{self, READY},
    flow::Definition,
    name::ReleaseName,
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
    /// It was not checked yet, or did not pass.
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
    loaded: Mutex<HashMap<(String, String), Arc<LoadedRelease>>>,
}

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
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(loaded) = self.lock().get(&key) {
            return Ok(Arc::clone(loaded));
        }
        let Ok(path) = name.parse::<ReleaseName>() else {
            return Err(ReleaseUnusable::Missing(name.to_owned()));
        };
        let found = self.context.namespaced::<Release>(namespace).get_opt(&path).await;
        let release = found
            .map_err(|error| ReleaseUnusable::Unreadable(name.to_owned(), error))?
            .ok_or_else(|| ReleaseUnusable::Missing(name.to_owned()))?;
        let loaded = self
            .context
            .evaluate_first(namespace, move || check(&release))
            .await;
        let loaded = Arc::new(loaded?);
        let mut all = self.lock();
        if all.len() >= KEPT {
            all.retain(|_, release| Arc::strong_count(release) > 1);
        }
        all.insert(key, Arc::clone(&loaded));
        Ok(loaded)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Arc<LoadedRelease>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(release: &Release) -> Result<LoadedRelease, ReleaseUnusable> {
    let name = release.name_any();
    // the digest is taken here too: the condition is a claim that whoever writes statuses can make
    let digest: Option<Digest> = canonical::digest(&release.spec.definition).ok();
    if digest.as_ref() != Some(&release.spec.digest) {
        return Err(ReleaseUnusable::Forged(name));
    }
    let conditions = release
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    match condition::get(conditions, READY) {
        Some(ready) if ready.status == "True" => {}
        Some(ready) => {
            return Err(ReleaseUnusable::NotReady {
                name,
                message: ready.message.clone(),
            });
        }
        None => {
            return Err(ReleaseUnusable::NotReady {
                name,
                message: "it was not checked yet".into(),
            });
        }
    }
    let plan = Plan::compile(&release.spec.definition).map_err(|problems| ReleaseUnusable::Invalid {
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
        },
        definition: release.spec.definition.clone(),
        plan,
    })
}
