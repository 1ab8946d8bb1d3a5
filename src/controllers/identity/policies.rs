//! The admission policy that proves who decides, as the watch shows it: when it came, and that it was changed.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt as _, future, stream};
use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};

use crate::controllers::{approval::created_at, error_chain};

/// When the policy and its binding came.
#[derive(Clone, Debug, Default)]
pub(super) struct Ages(Arc<Mutex<BTreeMap<&'static str, Timestamp>>>);

impl Ages {
    /// When the younger of the two came, if the watch has shown any.
    pub(super) fn youngest(&self) -> Option<Timestamp> {
        let ages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ages.values().max().copied()
    }

    fn set(&self, kind: &'static str, came: Option<Timestamp>) {
        let mut ages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match came {
            Some(came) => ages.insert(kind, came),
            None => ages.remove(kind),
        };
    }
}

/// Tells each time the policy of that name, or its binding, may have changed, and keeps `ages`. It ends where they may not be watched.
pub(super) fn changes(client: &Client, name: &str, ages: &Ages) -> impl Stream<Item = ()> + Send + use<> {
    stream::select(
        of::<ValidatingAdmissionPolicy>(client, name, ages.clone()),
        of::<ValidatingAdmissionPolicyBinding>(client, name, ages.clone()),
    )
}

fn of<K>(client: &Client, name: &str, ages: Ages) -> impl Stream<Item = ()> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    PartialObjectMeta<K>: Resource<DynamicType = ()>,
{
    let named = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let kind = std::any::type_name::<K>();
    watcher(Api::<PartialObjectMeta<K>>::all(client.clone()), named)
        .default_backoff()
        .take_while(|event| future::ready(!event.as_ref().is_err_and(may_not_be_watched)))
        .filter_map(move |event| {
            let changed = match event {
                Ok(Event::Init) => {
                    ages.set(kind, None);
                    false
                }
                Ok(Event::InitApply(policy)) => {
                    ages.set(kind, Some(created_at(&policy)));
                    false
                }
                Ok(Event::Apply(policy)) => {
                    ages.set(kind, Some(created_at(&policy)));
                    true
                }
                Ok(Event::Delete(_)) => {
                    ages.set(kind, None);
                    true
                }
                Ok(Event::InitDone) => true,
                // it goes on by itself, and lists anew where it has to
                Err(_) => false,
            };
            future::ready(changed.then_some(()))
        })
}

/// Whether the API server has no such kind for us: an installation for some namespaces has no right in the cluster, and `signoff dev` has the
/// rules of the policies without the objects.
fn may_not_be_watched(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(cause) | watcher::Error::WatchStartFailed(cause)) = error else {
        return false;
    };
    let never = matches!(cause, kube::Error::Api(status) if matches!(status.code, 403 | 404));
    if never {
        tracing::debug!(error = %error_chain(error), "the admission policies cannot be watched; they are tried from time to time");
    }
    never
}
