//! Messages that wait for others to the same place.

use std::{collections::HashMap, sync::Arc, time::Duration};

use signoff_api::Run;
use signoff_engine::notification::{Destination, Message};
use tokio::time::Instant;

/// Most messages that wait for one place. With more, they are sent.
const MOST: usize = 500;

/// A message that was made.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Its run.
    pub(super) run: Arc<Run>,
    /// For how long others are waited for.
    pub(super) group: Duration,
    pub(super) message: Message,
}

/// Messages to one place that are sent together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) to: Destination,
    /// The run of the first of them.
    pub(super) run: Arc<Run>,
    pub(super) messages: Vec<Message>,
    due: Instant,
}

/// Namespace and flow, and the place.
type Key = (String, String, Destination);

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<Key, Group>);

impl Groups {
    pub(super) fn add(&mut self, messages: Vec<Waiting>, now: Instant) {
        for Waiting { run, group, message } in messages {
            let namespace = run.metadata.namespace.clone().unwrap_or_default();
            let key = (namespace, run.spec.flow.to_string(), message.to.clone());
            let known = self.0.entry(key).or_insert_with(|| Group {
                to: message.to.clone(),
                run,
                messages: Vec::new(),
                due: now + group,
            });
            known.messages.push(message);
            if known.messages.len() >= MOST {
                known.due = now;
            }
        }
    }

    /// When the next ones are sent.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.values().map(|group| group.due).min()
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Group> {
        let due: Vec<Key> = self
            .0
            .iter()
            .filter(|(_, group)| group.due <= now)
            .map(|(key, _)| key.clone())
            .collect();
        due.iter().filter_map(|key| self.0.remove(key)).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<Group> {
        self.0.drain().map(|(_, group)| group).collect()
    }
}
