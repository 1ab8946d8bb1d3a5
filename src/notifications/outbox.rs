//! Which messages of runs are new, and which are under way.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{Resource as _, ResourceExt as _, runtime::watcher::Event};

use crate::cluster::{object_key::ObjectKey, objects::Decoded};
use signoff_api::{Run, run::PendingNotification};

type RunKey = ObjectKey<Run>;

/// A message that is to be sent, as a run lists it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The run as it lists it.
    pub(super) run: Arc<Run>,
    /// Its key there.
    pub(super) key: String,
    pub(super) pending: PendingNotification,
}

/// What the watch has shown.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Messages that are not under way.
    pub(super) items: Vec<Item>,
    /// Runs that say that they have messages, and have none: two senders took out the last ones at the same moment.
    pub(super) emptied: Vec<Arc<Run>>,
}

/// The messages that are under way, by their runs.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    runs: HashMap<RunKey, UnderWay>,
    /// Runs not yet seen since the watch began to list anew.
    left: HashSet<RunKey>,
}

#[derive(Debug, Default)]
struct UnderWay {
    uid: Option<String>,
    /// Each until the watch shows the run without it. The time tells it from a later one of the same key.
    taken: HashMap<String, MicroTime>,
}

impl Outbox {
    /// Takes in what the watch shows.
    pub(super) fn take(&mut self, event: Event<Decoded<Run>>) -> News {
        match event {
            Event::Init => self.left = self.runs.keys().cloned().collect(),
            Event::InitApply(Decoded::Object(run)) | Event::Apply(Decoded::Object(run)) => {
                return self.shown(run);
            }
            // reported by the watch
            Event::InitApply(Decoded::Undecodable(_)) | Event::Apply(Decoded::Undecodable(_)) => {}
            Event::InitDone => {
                for key in std::mem::take(&mut self.left) {
                    self.runs.remove(&key);
                }
            }
            Event::Delete(run) => {
                let meta = run.meta();
                let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
                let key = RunKey::new(namespace.unwrap_or_default(), name.unwrap_or_default());
                self.runs.remove(&key);
            }
        }
        News::default()
    }

    fn shown(&mut self, mut run: Run) -> News {
        run.metadata.managed_fields = None;
        let key = RunKey::of(&run);
        self.left.remove(&key);
        let run = Arc::new(run);
        let known = self.runs.entry(key).or_default();
        if known.uid != run.uid() {
            *known = UnderWay {
                uid: run.uid(),
                taken: HashMap::new(),
            };
        }
        let status = run.status.as_ref();
        let Some(pending) = status.map(|status| &status.notifications) else {
            return News::default();
        };
        known.taken.retain(|key, _| pending.contains_key(key));
        let mut news = News::default();
        if pending.is_empty() {
            news.emptied.push(Arc::clone(&run));
        }
        for (key, pending) in pending {
            let before = known.taken.insert(key.clone(), pending.at.clone());
            if before.as_ref() != Some(&pending.at) {
                news.items.push(Item {
                    run: Arc::clone(&run),
                    key: key.clone(),
                    pending: pending.clone(),
                });
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(uid: &str, messages: &[(&str, u8)]) -> Decoded<Run> {
        let messages = messages.iter().map(|(key, second)| {
            let at = format!("2026-01-01T00:00:0{second}.000000Z");
            (
                (*key).to_owned(),
                json!({"notification": 0, "event": "RunStarted", "at": at}),
            )
        });
        let messages: serde_json::Map<_, _> = messages.collect();
        let run = json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "spec": {"flow": "f"},
            "metadata": {"name": "r", "namespace": "default", "uid": uid},
            "status": {"revision": 1, "notifications": messages},
        });
        Decoded::Object(serde_json::from_value(run).unwrap())
    }

    fn keys(news: &News) -> Vec<&str> {
        news.items.iter().map(|item| item.key.as_str()).collect()
    }

    #[test]
    fn each_message_is_given_once_however_often_it_is_shown() {
        let mut outbox = Outbox::default();
        assert!(keys(&outbox.take(Event::Init)).is_empty());
        let news = outbox.take(Event::InitApply(run("u", &[("a", 0), ("b", 0)])));
        assert_eq!(keys(&news), ["a", "b"]);
        outbox.take(Event::InitDone);
        assert!(keys(&outbox.take(Event::Apply(run("u", &[("a", 0), ("b", 0)])))).is_empty());
        assert_eq!(
            keys(&outbox.take(Event::Apply(run("u", &[("b", 0), ("c", 1)])))),
            ["c"]
        );
        // the watch is taken up anew
        outbox.take(Event::Init);
        assert!(keys(&outbox.take(Event::InitApply(run("u", &[("c", 1)])))).is_empty());
        outbox.take(Event::InitDone);
        assert_eq!(keys(&outbox.take(Event::Apply(run("u", &[("a", 2)])))), ["a"]);
    }

    #[test]
    fn a_later_message_of_the_same_key_and_one_of_another_run_are_new() {
        let mut outbox = Outbox::default();
        outbox.take(Event::Apply(run("u", &[("a", 0)])));
        assert_eq!(keys(&outbox.take(Event::Apply(run("u", &[("a", 1)])))), ["a"]);
        assert_eq!(keys(&outbox.take(Event::Apply(run("v", &[("a", 1)])))), ["a"]);
        outbox.take(Event::Delete(run("v", &[])));
        assert_eq!(keys(&outbox.take(Event::Apply(run("v", &[("a", 1)])))), ["a"]);
    }

    #[test]
    fn a_run_that_says_it_has_messages_and_has_none_is_settled() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.take(Event::Apply(run("u", &[]))).emptied.len(), 1);
    }
}
