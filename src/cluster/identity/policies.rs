//! The admission policies that prove who did what, as the watch shows them: whether all are there and say what the chart has them say, and
//! since when.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
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
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};

use serde::de::DeserializeOwned;

use super::rules::{Rendered, RenderedError, Rules, Ruling};
use crate::cluster::{
    error_chain,
    object_key::created_at,
    objects::{Decoded, watched_briefly},
};
use signoff_api::names;

/// What an installation's policies are about; each is named for the installation and this.
const SUBJECTS: [&str; 8] = [
    "connections",
    "decisions",
    "flows",
    "gateway",
    "records",
    "repositories",
    "runs",
    "workitems",
];

/// Pause before a watch that was forbidden is tried again.
const WHILE_FORBIDDEN: Duration = Duration::from_secs(600);

/// What is known of the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PolicyState {
    /// The watch has not shown them yet.
    Unknown,
    /// They may not be watched.
    Unseen,
    /// These policies or bindings are not there, or not as the chart has them.
    Broken(Vec<String>),
    /// All are there and say what they should.
    Since {
        /// When the youngest came, or was changed before the eyes of this process.
        since: Timestamp,
        /// When one was last written, as far as they say.
        written: Timestamp,
    },
}

/// What the watch has shown of one kind.
#[derive(Debug, Default)]
enum Shown {
    #[default]
    Nothing,
    Forbidden,
    /// Each, by name.
    All(BTreeMap<String, Seen>),
}

/// A policy or binding as it is.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    rules: Rules,
    /// Since when it says that, as far as this process has seen: when it came, or when it was changed.
    since: Timestamp,
    /// When it was last written before this process saw it first, or since. Nothing if somebody took that away.
    written: Option<Timestamp>,
}

/// The policies and bindings of one installation of the chart.
#[derive(Clone)]
pub struct Policies {
    /// Value of the label on all of them; their names begin with it.
    name: String,
    rendered: Option<Arc<Rendered>>,
}

impl Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Policies")
            .field(&self.name)
            .finish_non_exhaustive()
    }
}

impl Policies {
    /// Those whose names begin like this. What they say is not known, only when it changes.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            rendered: None,
        }
    }

    /// The same, which must say what they say in this stream of YAML documents.
    ///
    /// # Errors
    /// If that cannot be read, or not all are in it.
    pub fn rendered_as(self, text: &str) -> Result<Self, RenderedError> {
        let rendered = Rendered::parse(text)?;
        for (kind, there) in [("policy", &rendered.policies), ("binding", &rendered.bindings)] {
            if let Some(missing) = self.names().find(|name| !there.contains_key(name)) {
                return Err(RenderedError::Missing(format!("{kind} {missing}")));
            }
        }
        Ok(Self {
            rendered: Some(Arc::new(rendered)),
            ..self
        })
    }

    fn names(&self) -> impl Iterator<Item = String> {
        SUBJECTS.iter().map(|subject| format!("{}-{subject}", self.name))
    }
}

/// What the watch has shown of an installation. Clones are handles on the same.
#[derive(Clone, Debug)]
pub(super) struct Installation {
    wanted: Policies,
    policies: Arc<Mutex<Shown>>,
    bindings: Arc<Mutex<Shown>>,
}

impl Installation {
    pub(super) fn of(wanted: Policies) -> Self {
        Self {
            wanted,
            policies: Arc::default(),
            bindings: Arc::default(),
        }
    }

    pub(super) fn standing(&self) -> PolicyState {
        let mut broken = Vec::new();
        let (mut youngest, mut last) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let rendered = self.wanted.rendered.as_deref();
        for (kind, shown, rendered) in [
            ("policy", &self.policies, rendered.map(|all| &all.policies)),
            ("binding", &self.bindings, rendered.map(|all| &all.bindings)),
        ] {
            let shown = lock(shown);
            let there = match &*shown {
                Shown::Nothing => return PolicyState::Unknown,
                Shown::Forbidden => return PolicyState::Unseen,
                Shown::All(there) => there,
            };
            for name in self.wanted.names() {
                match there.get(&name) {
                    Some(seen) if rendered.is_some_and(|all| all.get(&name) != Some(&seen.rules)) => {
                        broken.push(format!("{kind} {name} is not as the chart has it"));
                    }
                    Some(Seen {
                        since,
                        written: Some(written),
                        ..
                    }) => {
                        youngest = youngest.max(*since);
                        last = last.max(*written);
                    }
                    Some(_) => broken.push(format!("{kind} {name} does not say when it was written")),
                    None => broken.push(format!("{kind} {name} is missing")),
                }
            }
        }
        if broken.is_empty() {
            PolicyState::Since {
                since: youngest,
                written: last.max(youngest),
            }
        } else {
            PolicyState::Broken(broken)
        }
    }

    /// Tells each time a policy or binding may have changed.
    pub(super) fn changes(&self, client: &Client) -> impl Stream<Item = ()> + Send + use<> {
        let labelled =
            watcher::Config::default().labels(&format!("{}={}", names::POLICIES, self.wanted.name));
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
    K: Resource<DynamicType = ()> + Ruling + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api = Api::<Decoded<K>>::all(client.clone());
    let which = watched_briefly(which);
    // a right may be given later
    stream::iter(std::iter::once(Duration::ZERO).chain(std::iter::repeat(WHILE_FORBIDDEN)))
        .then(tokio::time::sleep)
        .flat_map(move |()| until_forbidden(watcher(api.clone(), which.clone()), Arc::clone(&shown)))
}

fn until_forbidden<K: Resource + Ruling + Send>(
    events: impl Stream<Item = watcher::Result<Event<Decoded<K>>>> + Send,
    shown: Arc<Mutex<Shown>>,
) -> impl Stream<Item = ()> + Send {
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
fn take_in<K: Resource + Ruling>(
    shown: &Mutex<Shown>,
    listing: &mut BTreeMap<String, Seen>,
    event: Event<Decoded<K>>,
) -> bool {
    let mut shown = lock(shown);
    match event {
        Event::Init => {
            listing.clear();
            return false;
        }
        // one that cannot be decoded is as good as missing
        Event::InitApply(Decoded::Undecodable(_)) => return false,
        Event::InitApply(Decoded::Object(policy)) => {
            let seen = see(&policy, shown.before(&policy));
            listing.insert(policy.name_any(), seen);
            return false;
        }
        Event::InitDone => *shown = Shown::All(std::mem::take(listing)),
        Event::Apply(Decoded::Object(policy)) => {
            let seen = see(&policy, shown.before(&policy));
            if let Shown::All(there) = &mut *shown {
                there.insert(policy.name_any(), seen);
            }
        }
        Event::Apply(gone @ Decoded::Undecodable(_)) | Event::Delete(gone) => {
            if let Shown::All(there) = &mut *shown {
                there.remove(&gone.name_any());
            }
        }
    }
    true
}

impl Shown {
    /// What was seen before of this one.
    fn before(&self, policy: &impl Resource) -> Option<&Seen> {
        match self {
            Self::All(there) => there.get(&policy.name_any()),
            Self::Nothing | Self::Forbidden => None,
        }
    }
}

fn see(policy: &(impl Resource + Ruling), before: Option<&Seen>) -> Seen {
    let (rules, created) = (policy.rules(), created_at(policy));
    let written = written_at(policy);
    let (since, written) = match before {
        // a write before the eyes of this process that changes nothing is no reason for doubt
        Some(before) if before.rules == rules => {
            let seen = before.written.map(|before| before.max(created));
            (before.since.max(created), seen.or(written))
        }
        Some(_) => (written.unwrap_or(created), written),
        None => (created, written),
    };
    Seen {
        rules,
        since,
        written,
    }
}

/// When somebody last wrote it, by the API server's clock.
fn written_at(policy: &impl Resource) -> Option<Timestamp> {
    let writes = policy.meta().managed_fields.as_deref().unwrap_or_default();
    let of_spec = writes.iter().filter(|write| write.subresource.is_none());
    of_spec.filter_map(|write| Some(write.time.as_ref()?.0)).max()
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
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};
    use kube::core::ObjectMeta;

    use super::*;

    fn show(shown: &Mutex<Shown>, event: Event<Decoded<ValidatingAdmissionPolicy>>) -> bool {
        take_in(shown, &mut BTreeMap::new(), event)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// One that came at a second and was last written at another.
    fn policy(subject: &str, came: i64, written: i64, failure_policy: &str) -> ValidatingAdmissionPolicy {
        let write = ManagedFieldsEntry {
            time: Some(Time(at(written))),
            ..ManagedFieldsEntry::default()
        };
        let mut policy = ValidatingAdmissionPolicy {
            metadata: ObjectMeta {
                name: Some(format!("signoff-{subject}")),
                creation_timestamp: Some(Time(at(came))),
                managed_fields: Some(vec![write]),
                ..ObjectMeta::default()
            },
            ..ValidatingAdmissionPolicy::default()
        };
        policy.spec.get_or_insert_default().failure_policy = Some(failure_policy.to_owned());
        policy
    }

    fn all_of(wanted: Policies) -> Installation {
        let installation = Installation::of(wanted);
        assert_eq!(installation.standing(), PolicyState::Unknown);
        for shown in [&installation.policies, &installation.bindings] {
            show(shown, Event::InitDone);
            for (subject, second) in SUBJECTS.iter().zip(1..) {
                show(
                    shown,
                    Event::Apply(Decoded::Object(policy(subject, second.min(5), 100, "Fail"))),
                );
            }
        }
        installation
    }

    fn since(installation: &Installation) -> Timestamp {
        match installation.standing() {
            PolicyState::Since { since, .. } => since,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_written_before_this_process_saw_it_is_known_from_then() {
        let installation = all_of(Policies::named("signoff"));
        let expected = PolicyState::Since {
            since: at(5),
            written: at(100),
        };
        assert_eq!(installation.standing(), expected);
        // a label put on it later changes nothing
        show(
            &installation.policies,
            Event::Apply(Decoded::Object(policy("runs", 5, 200, "Fail"))),
        );
        assert_eq!(installation.standing(), expected);
    }

    #[test]
    fn the_youngest_of_all_says_since_when_and_one_that_is_missing_is_named() {
        let installation = all_of(Policies::named("signoff"));
        assert_eq!(since(&installation), at(5));
        let gone = policy("flows", 0, 0, "Fail");
        assert!(show(&installation.bindings, Event::Delete(Decoded::Object(gone))));
        let missing = PolicyState::Broken(vec!["binding signoff-flows is missing".to_owned()]);
        assert_eq!(installation.standing(), missing);
        show(
            &installation.bindings,
            Event::Apply(Decoded::Object(policy("flows", 9, 9, "Fail"))),
        );
        assert_eq!(since(&installation), at(9));
        *lock(&installation.policies) = Shown::Forbidden;
        assert_eq!(installation.standing(), PolicyState::Unseen);
    }

    #[test]
    fn one_that_is_changed_and_changed_back_counts_from_then() {
        let installation = all_of(Policies::named("signoff"));
        let shown = &installation.policies;
        show(
            shown,
            Event::Apply(Decoded::Object(policy("runs", 5, 40, "Ignore"))),
        );
        show(
            shown,
            Event::Apply(Decoded::Object(policy("runs", 5, 50, "Fail"))),
        );
        assert_eq!(since(&installation), at(50));
        // to label it changes nothing, and neither does a watch that begins anew
        show(
            shown,
            Event::Apply(Decoded::Object(policy("runs", 5, 60, "Fail"))),
        );
        let mut listing = BTreeMap::new();
        take_in::<ValidatingAdmissionPolicy>(shown, &mut listing, Event::Init);
        for subject in SUBJECTS {
            let listed = policy(subject, 5, 70, "Fail");
            take_in(shown, &mut listing, Event::InitApply(Decoded::Object(listed)));
        }
        take_in::<ValidatingAdmissionPolicy>(shown, &mut listing, Event::InitDone);
        assert_eq!(since(&installation), at(50));
    }

    #[test]
    fn one_that_says_something_else_than_the_chart_is_named() {
        let object = |kind: &str, subject: &str| {
            format!(
                "---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy{kind}\n\
                metadata: {{name: signoff-{subject}}}\nspec: {{failurePolicy: Fail}}\n"
            )
        };
        let text: String = SUBJECTS
            .iter()
            .flat_map(|subject| [object("", subject), object("Binding", subject)])
            .collect();
        let rendered = Policies::named("signoff").rendered_as(&text).unwrap();
        let installation = all_of(rendered);
        assert_eq!(since(&installation), at(5));
        show(
            &installation.policies,
            Event::Apply(Decoded::Object(policy("decisions", 5, 40, "Ignore"))),
        );
        let changed = vec!["policy signoff-decisions is not as the chart has it".to_owned()];
        assert_eq!(installation.standing(), PolicyState::Broken(changed));

        let partly = text.replace("signoff-runs", "signoff-walks");
        let error = Policies::named("signoff").rendered_as(&partly).unwrap_err();
        assert!(error.to_string().contains("policy signoff-runs"), "{error}");
        assert!(Policies::named("signoff").rendered_as("a: [").is_err());
    }
}
