//! Which remotes and forges are left alone for a while because they asked for it, whoever of the controllers they asked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::ResourceExt as _;

use crate::git::HostPause;
use signoff_api::Repository;

/// The rests of remotes and forges, by Repository and address: another address is another server, and is called at once. Clones are handles
/// on the same ones.
#[derive(Clone, Debug, Default)]
pub struct Pauses(Arc<Mutex<HashMap<String, HashMap<String, HostPause>>>>);

impl Pauses {
    /// The rest of the server at this address, as this Repository has it.
    pub fn of(&self, repository: &Repository, address: &str) -> HostPause {
        let mut all = self.lock();
        let of_repository = all.entry(repository.uid().unwrap_or_default()).or_default();
        of_repository.entry(address.to_owned()).or_default().clone()
    }

    /// Forgets a Repository that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, HostPause>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
