//! A queue for each namespace, and one turn after another.

use std::collections::{HashMap, VecDeque};

use compact_str::CompactString;

/// Items of many namespaces. Within a namespace the first that came is the first to go; namespaces take turns.
#[derive(Debug)]
pub struct FairQueue<T> {
    of: HashMap<CompactString, VecDeque<T>>,
    /// The namespaces that have items, in the order of their turns.
    turns: VecDeque<CompactString>,
    len: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            of: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> FairQueue<T> {
    /// Adds an item at the end of its namespace.
    pub fn push(&mut self, namespace: &str, item: T) {
        self.len += 1;
        if let Some(queue) = self.of.get_mut(namespace) {
            queue.push_back(item);
            return;
        }
        let namespace = CompactString::from(namespace);
        self.of.insert(namespace.clone(), VecDeque::from([item]));
        self.turns.push_back(namespace);
    }

    /// Adds an item before the others of its namespace.
    pub fn push_first(&mut self, namespace: &str, item: T) {
        match self.of.get_mut(namespace) {
            Some(queue) => {
                self.len += 1;
                queue.push_front(item);
            }
            None => self.push(namespace, item),
        }
    }

    /// Takes the first item of the first namespace whose turn it is and that may have one now.
    pub fn pop_where(&mut self, mut may: impl FnMut(&str) -> bool) -> Option<T> {
        let turn = self.turns.iter().position(|namespace| may(namespace))?;
        let namespace = self.turns.remove(turn)?;
        let queue = self.of.get_mut(&namespace)?;
        let item = queue.pop_front();
        if queue.is_empty() {
            self.of.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        if self.of.is_empty() {
            // a burst may have made them large
            self.of.shrink_to_fit();
            self.turns.shrink_to_fit();
        }
        self.len -= usize::from(item.is_some());
        item
    }

    /// Takes the first item of the namespace whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        self.pop_where(|_| true)
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn namespaces_take_turns_however_many_items_one_has() {
        let mut queue = FairQueue::default();
        for number in 0..3 {
            queue.push("a", format!("a{number}"));
        }
        queue.push("b", "b0".to_owned());
        queue.push("c", "c0".to_owned());
        queue.push_first("a", "urgent".to_owned());
        queue.push_first("d", "d0".to_owned());
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["urgent", "b0", "c0", "d0", "a0", "a1", "a2"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn one_that_may_not_have_an_item_now_keeps_its_turn() {
        let mut queue = FairQueue::default();
        for item in ["a0", "b0", "b1"] {
            queue.push(&item[..1], item);
        }
        assert_eq!(queue.pop_where(|namespace| namespace != "a"), Some("b0"));
        assert_eq!(queue.pop_where(|_| false), None);
        assert_eq!(
            (queue.pop(), queue.pop(), queue.len()),
            (Some("a0"), Some("b1"), 0)
        );
    }

    proptest! {
        #[test]
        fn each_item_comes_out_once_and_in_its_namespaces_order(items in proptest::collection::vec((0..4_u8, any::<bool>()), 0..60)) {
            let mut queue = FairQueue::default();
            let (mut put, mut taken) = (Vec::new(), Vec::new());
            for (number, (namespace, take)) in items.into_iter().enumerate() {
                queue.push(&namespace.to_string(), (namespace, number));
                put.push((namespace, number));
                if take {
                    taken.extend(queue.pop());
                }
                prop_assert_eq!(queue.len(), put.len() - taken.len());
            }
            taken.extend(std::iter::from_fn(|| queue.pop()));
            for of in 0..4 {
                let only = |all: &[(u8, usize)]| all.iter().filter(|item| item.0 == of).copied().collect::<Vec<_>>();
                prop_assert_eq!(only(&taken), only(&put));
            }
        }
    }
}
