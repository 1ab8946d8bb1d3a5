//! Pure: messages that wait for others to the same place.

use std::{collections::HashMap, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::outbox::Item;
use signoff_engine::notification::{Destination, Message};

/// Most messages that wait for one place. With more, they are sent.
const MOST: usize = 500;
/// How long the first message waits for others that come in the same moment.
const MOMENT: SignedDuration = SignedDuration::from_secs(1);
/// Shortest time between two messages to one place.
const PACE: SignedDuration = SignedDuration::from_secs(30);

/// A message that was made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) item: Item,
    pub(super) message: Message,
    /// For how long others are waited for, if the flow says so.
    pub(super) group: Option<Duration>,
}

/// Messages to one place that are sent as one.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) to: Destination,
    pub(super) items: Vec<Item>,
    pub(super) messages: Vec<Message>,
}

/// Messages that are collected: those of a flow, to one place, for the same time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    namespace: String,
    flow: String,
    group: Option<Duration>,
    to: Destination,
    /// A program gets each message by itself.
    single: Option<(Option<String>, String)>,
}

/// All messages that wait.
#[derive(Debug, Default)]
pub(super) struct Groups {
    waiting: HashMap<Key, (Timestamp, Group)>,
    /// When something was sent to a place last, while that matters.
    sent: HashMap<Key, Timestamp>,
}

impl Groups {
    /// Lets a message wait for its time.
    pub(super) fn add(&mut self, made: Made, now: Timestamp) {
        let Made { item, message, group } = made;
        let is_for_people = message.to.is_for_people();
        let key = Key {
            namespace: item.run.metadata.namespace.clone().unwrap_or_default(),
            flow: item.run.spec.flow.to_string(),
            group,
            to: message.to.clone(),
            single: (!is_for_people).then(|| (item.run.metadata.uid.clone(), item.key.clone())),
        };
        let due = match group {
            _ if !is_for_people => now,
            // counted from when it happened, so that a restart delays nothing
            Some(group) => later(
                item.pending.at.0,
                SignedDuration::try_from(group).unwrap_or_default(),
            ),
            None => later(now, MOMENT),
        };
        let paced = self.sent.get(&key).map(|sent| later(*sent, PACE));
        let due = paced.map_or(due, |paced| paced.max(due));
        let (due, group) = self.waiting.entry(key).or_insert_with(|| {
            let group = Group {
                to: message.to.clone(),
                items: Vec::new(),
                messages: Vec::new(),
            };
            (due, group)
        });
        group.items.push(item);
        group.messages.push(message);
        if group.messages.len() >= MOST {
            *due = now;
        }
    }

    /// When the next ones are sent.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.waiting.values().map(|(due, _)| *due).min()
    }

    /// Those that are sent now.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<Group> {
        let waiting = self.waiting.iter();
        let due: Vec<Key> = waiting
            .filter(|(_, (due, _))| *due <= now)
            .map(|(key, _)| key.clone())
            .collect();
        if due.is_empty() {
            return vec![];
        }
        self.sent.retain(|_, sent| later(*sent, PACE) > now);
        let mut groups = Vec::with_capacity(due.len());
        for key in due {
            groups.extend(self.waiting.remove(&key).map(|(_, group)| group));
            if key.single.is_none() {
                self.sent.insert(key, now);
            }
        }
        groups
    }
}

fn later(at: Timestamp, span: SignedDuration) -> Timestamp {
    at.checked_add(span).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn made(second: i64, group: Option<u64>, to: Destination) -> Made {
        let run = json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "spec": {"flow": "f"},
            "metadata": {"name": "r", "namespace": "default", "uid": "u"},
        });
        let pending = json!({"notification": 0, "event": "RunStarted", "at": at(second)});
        Made {
            item: Item {
                run: Arc::new(serde_json::from_value(run).unwrap()),
                key: format!("{second}"),
                pending: serde_json::from_value(pending).unwrap(),
            },
            message: Message {
                to,
                text: format!("text {second}"),
                subject: String::new(),
                document: json!({}),
            },
            group: group.map(Duration::from_secs),
        }
    }

    fn ops() -> Destination {
        Destination::Teams("ops".parse().unwrap())
    }

    fn sizes(groups: &[Group]) -> Vec<usize> {
        groups.iter().map(|group| group.messages.len()).collect()
    }

    #[test]
    fn a_hundred_messages_of_one_moment_are_one_and_later_ones_wait_for_the_pace() {
        let mut groups = Groups::default();
        for _ in 0..100 {
            groups.add(made(0, None, ops()), at(0));
        }
        assert!(groups.take_due(at(0)).is_empty());
        assert_eq!(groups.due(), Some(at(1)));
        assert_eq!(sizes(&groups.take_due(at(1))), [100]);
        groups.add(made(5, None, ops()), at(5));
        groups.add(made(9, None, ops()), at(9));
        assert_eq!(groups.due(), Some(at(31)));
        assert_eq!(sizes(&groups.take_due(at(31))), [2]);
        // after a quiet time it is told at once again
        groups.add(made(99, None, ops()), at(99));
        assert_eq!(groups.due(), Some(at(100)));
    }

    #[test]
    fn a_group_is_sent_when_its_time_is_over_counted_from_the_first_event() {
        let mut groups = Groups::default();
        groups.add(made(0, Some(600), ops()), at(0));
        groups.add(made(300, Some(600), ops()), at(300));
        groups.add(made(300, Some(60), ops()), at(300));
        assert_eq!(groups.due(), Some(at(360)));
        assert_eq!(sizes(&groups.take_due(at(360))), [1]);
        assert_eq!(sizes(&groups.take_due(at(600))), [2]);
        // what waited over a restart is sent at once, and together
        let mut groups = Groups::default();
        for second in [0, 1, 2] {
            groups.add(made(second, Some(600), ops()), at(900));
        }
        assert_eq!(sizes(&groups.take_due(at(900))), [3]);
    }

    #[test]
    fn a_program_gets_each_message_at_once_by_itself() {
        let mut groups = Groups::default();
        let hook = || Destination::Webhook("hook".parse().unwrap(), String::new());
        for second in 0..3 {
            groups.add(made(second, None, hook()), at(3));
        }
        assert_eq!(sizes(&groups.take_due(at(3))), [1, 1, 1]);
    }

    #[test]
    fn too_many_messages_do_not_wait() {
        let mut groups = Groups::default();
        for _ in 0..MOST {
            groups.add(made(0, Some(86_400), ops()), at(0));
        }
        assert_eq!(sizes(&groups.take_due(at(0))), [MOST]);
    }
}
