//! Where a push is passed on to: the controller of this process while it leads, else whichever process does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{cluster::context::Context, sync::SyncRequests};
use signoff_api::{Repository, names};

/// Passes pushes on. Clones are handles on the same one.
#[derive(Clone, Debug, Default)]
pub struct Pushes(Arc<Mutex<HashMap<Scope, SyncRequests>>>);

/// The one namespace that a controller is in; without it all of them.
type Scope = Option<String>;

/// While it lives, pushes go to a controller of this process.
#[derive(Debug)]
pub struct Connected(Pushes, Scope);

impl Pushes {
    /// Lets pushes go to a controller of this process, which is in one namespace or in all.
    #[must_use]
    pub fn connect(&self, scope: Scope, to: SyncRequests) -> Connected {
        self.lock().insert(scope.clone(), to);
        Connected(self.clone(), scope)
    }

    fn controller(&self, namespace: &str) -> Option<SyncRequests> {
        let connected = self.lock();
        let in_it = connected.get(&Some(namespace.to_owned()));
        in_it.or_else(|| connected.get(&None)).cloned()
    }

    /// Asks for a sync of a Repository at once.
    pub(super) async fn pass_on(
        &self,
        context: &Context,
        namespace: &str,
        name: &str,
    ) -> Result<(), kube::Error> {
        if let Some(controller) = self.controller(namespace) {
            controller.request(namespace, name);
            return Ok(());
        }
        // the watch of the process that leads brings it there; as people ask for a sync with kubectl
        let now = context.now().to_string();
        let asked = json!({"metadata": {"annotations": {names::REQUESTED_AT: now}}});
        context
            .namespaced::<Repository>(namespace)
            .patch_metadata(name, &PatchParams::default(), &Patch::Merge(asked))
            .await
            .map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Scope, SyncRequests>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}
