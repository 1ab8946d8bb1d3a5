//! The admission policies that prove who did what, as the watch shows them: whether all are there, and since when.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _, future, stream};
use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};

use crate::{
    api::names,
    controllers::{approval::created_at, error_chain},
};

/// What an installation's policies are about; each is named for the installation and this.
const SUBJECTS: [&str; 7] = [
    "connections",
    "decisions",
    "flows",
    "gateway",
    "records",
    "repositories",
    "runs",
];

/// Pause before a watch that was forbidden is tried again.
const WHILE_FORBIDDEN: Duration = Duration::from_secs(600);

/// What is known of the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The watch has not shown them yet.
    Unknown,
    /// They may not be watched.
    Unseen,
    /// These policies or bindings are not there.
    Missing(Vec<String>),
    /// All are there, the youngest since then.
    Since(Timestamp),
}

/// What the watch has shown of one kind.
#[derive(Debug, Default)]
enum Shown {
    #[default]
    Nothing,
    Forbidden,
    /// When each came, by name.
    All(BTreeMap<String, Timestamp>),
}

/// The policies and bindings of one installation. Clones are handles on the same.
#[derive(Clone, Debug)]
pub(super) struct Installation {
    /// Value of the label on all of them; their names begin with it.
    name: String,
    policies: Arc<Mutex<Shown>>,
    bindings: Arc<Mutex<Shown>>,
}

impl Installation {
    pub(super) fn of(name: String) -> Self {
        Self {
            name,
            policies: Arc::default(),
            bindings: Arc::default(),
        }
    }

    pub(super) fn standing(&self) -> Standing {
        let (mut missing, mut youngest) = (Vec::new(), Timestamp::UNIX_EPOCH);
        for (kind, shown) in [("policy", &self.policies), ("binding", &self.bindings)] {
            let shown = lock(shown);
            let there = match &*shown {
                Shown::Nothing => return Standing::Unknown,
                Shown::Forbidden => return Standing::Unseen,
                Shown::All(there) => there,
            };
            for name in self.names() {
                match there.get(&name) {
                    Some(came) => youngest = youngest.max(*came),
                    None => missing.push(format!("{kind} {name}")),
                }
            }
        }
        if missing.is_empty() {
            Standing::Since(youngest)
        } else {
            Standing::Missing(missing)
        }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        SUBJECTS.iter().map(|subject| format!("{}-{subject}", self.name))
    }

    /// Tells each time a policy or binding may have changed.
    pub(super) fn changes(&self, client: &Client) -> impl Stream<Item = ()> + Send + use<> {
        let labelled = watcher::Config::default().labels(&format!("{}={}", names::POLICIES, self.name));
        stream::select(
            follow::<ValidatingAdmissionPolicy>(client, labelled.clone(), Arc::clone(&self.policies)),
            follow::<ValidatingAdmissionPolicyBinding>(client, labelled, Arc::clone(&self.bindings)),
        )
    }
}

fn follow<K>(
    client: &Client,
    which: watcher::Config,
    shown: Arc<Mutex<Shown>>,
) -> impl Stream<Item = ()> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    PartialObjectMeta<K>: Resource<DynamicType = ()>,
{
    let api = Api::<PartialObjectMeta<K>>::all(client.clone());
    // a right may be given later
    stream::iter(std::iter::once(Duration::ZERO).chain(std::iter::repeat(WHILE_FORBIDDEN)))
        .then(tokio::time::sleep)
        .flat_map(move |()| until_forbidden(watcher(api.clone(), which.clone()), Arc::clone(&shown)))
}

fn until_forbidden<K>(
    events: impl Stream<Item = watcher::Result<Event<PartialObjectMeta<K>>>> + Send,
    shown: Arc<Mutex<Shown>>,
) -> impl Stream<Item = ()> + Send
where
    K: Send,
    PartialObjectMeta<K>: Resource,
{
    let mut listing = BTreeMap::new();
    let seen = events.default_backoff().scan((), move |(), event| {
        let goes_on = match event {
            Ok(event) => Some(take_in(&shown, &mut listing, event)),
            Err(error) if may_not_be_watched(&error) => {
                *lock(&shown) = Shown::Forbidden;
                None
            }
            // it goes on by itself, and lists anew where it has to
            Err(_) => Some(false),
        };
        future::ready(goes_on)
    });
    seen.filter_map(|changed| future::ready(changed.then_some(())))
}

/// Takes in what the watch shows. Says whether anything may have changed.
fn take_in<K>(
    shown: &Mutex<Shown>,
    listing: &mut BTreeMap<String, Timestamp>,
    event: Event<PartialObjectMeta<K>>,
) -> bool
where
    PartialObjectMeta<K>: Resource,
{
    match event {
        Event::Init => {
            listing.clear();
            return false;
        }
        Event::InitApply(policy) => {
            listing.insert(policy.name_any(), created_at(&policy));
            return false;
        }
        Event::InitDone => *lock(shown) = Shown::All(std::mem::take(listing)),
        Event::Apply(policy) => {
            if let Shown::All(there) = &mut *lock(shown) {
                there.insert(policy.name_any(), created_at(&policy));
            }
        }
        Event::Delete(policy) => {
            if let Shown::All(there) = &mut *lock(shown) {
                there.remove(&policy.name_any());
            }
        }
    }
    true
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

fn lock(shown: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::core::ObjectMeta;

    use super::*;

    fn show(shown: &Mutex<Shown>, event: Event<PartialObjectMeta<ValidatingAdmissionPolicy>>) -> bool {
        take_in(shown, &mut BTreeMap::new(), event)
    }

    fn policy(subject: &str, second: i64) -> PartialObjectMeta<ValidatingAdmissionPolicy> {
        PartialObjectMeta {
            metadata: ObjectMeta {
                name: Some(format!("signoff-{subject}")),
                creation_timestamp: Some(Time(Timestamp::from_second(second).unwrap())),
                ..ObjectMeta::default()
            },
            ..PartialObjectMeta::default()
        }
    }

    #[test]
    fn the_youngest_of_all_says_since_when_and_one_that_is_missing_is_named() {
        let installation = Installation::of("signoff".to_owned());
        assert_eq!(installation.standing(), Standing::Unknown);
        for shown in [&installation.policies, &installation.bindings] {
            show(shown, Event::InitDone);
            for (subject, second) in SUBJECTS.iter().zip(1..) {
                show(shown, Event::Apply(policy(subject, second.min(5))));
            }
        }
        assert_eq!(
            installation.standing(),
            Standing::Since(Timestamp::from_second(5).unwrap())
        );
        assert!(show(&installation.bindings, Event::Delete(policy("flows", 0))));
        let missing = Standing::Missing(vec!["binding signoff-flows".to_owned()]);
        assert_eq!(installation.standing(), missing);
        show(&installation.bindings, Event::Apply(policy("flows", 9)));
        assert_eq!(
            installation.standing(),
            Standing::Since(Timestamp::from_second(9).unwrap())
        );
        *lock(&installation.policies) = Shown::Forbidden;
        assert_eq!(installation.standing(), Standing::Unseen);
    }
}
