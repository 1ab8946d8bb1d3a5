//! Items of a step with `forEach`, as a run's status keeps them.

use std::{borrow::Cow, collections::BTreeSet, fmt, str::FromStr};

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, de};

use crate::{
    Digest,
    reason::StepReason,
    run::{StepDecision, StepOutcome},
    step::ForEach,
};

/// Items of a step with `forEach`. An item that is under way has an entry of its own in `steps`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemsStatus {
    /// Number of items.
    #[schemars(range(min = 0, max = 500))]
    pub count: i64,
    /// Digest of the items. The step fails if they are not the same after a restart.
    pub digest: Digest,
    /// Items that ended, by outcome.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub ended: Vec<EndedItems>,
    /// Items that started a run, such as `0-41,43`. The names of the runs follow from the indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<ItemRanges>,
    /// Why items failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    pub errors: Vec<ItemErrors>,
    /// Decisions on items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    pub decisions: Vec<ItemDecision>,
}

/// Items with the same outcome.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndedItems {
    /// Outcome of the items.
    pub outcome: StepOutcome,
    /// The items, such as `0-41,43`.
    pub items: ItemRanges,
}

/// Items that failed for the same reason.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemErrors {
    /// The items, such as `0-41,43`.
    pub items: ItemRanges,
    /// Machine-readable reason.
    pub reason: StepReason,
    /// Explanation for people.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Decision on an item.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemDecision {
    /// Index of the item, from 0.
    #[schemars(range(min = 0, max = 499))]
    pub item: i64,
    /// Verdict, and who decided.
    pub decision: StepDecision,
}

impl ItemsStatus {
    /// Of a step that begins with so many items.
    pub fn new(count: usize, digest: Digest) -> Self {
        Self {
            count: i64::try_from(count).unwrap_or(i64::MAX),
            digest,
            ended: vec![],
            started: None,
            errors: vec![],
            decisions: vec![],
        }
    }

    /// How an item ended, if it has.
    pub fn outcome(&self, item: i64) -> Option<StepOutcome> {
        let ended = self.ended.iter().find(|ended| ended.items.contains(item))?;
        Some(ended.outcome)
    }

    /// Number of items that ended.
    pub fn ended_count(&self) -> usize {
        self.ended.iter().map(|ended| ended.items.0.len()).sum()
    }

    /// Notes how an item ended.
    pub fn end(&mut self, item: i64, outcome: StepOutcome) {
        match self.ended.iter_mut().find(|ended| ended.outcome == outcome) {
            Some(ended) => ended.items.insert(item),
            None => self.ended.push(EndedItems {
                outcome,
                items: ItemRanges::of(item),
            }),
        }
    }

    /// Notes that an item started a run.
    pub fn start(&mut self, item: i64) {
        self.started.get_or_insert_default().insert(item);
    }

    /// Whether an item that ended had started a run.
    pub fn has_started(&self, item: i64) -> bool {
        self.started
            .as_ref()
            .is_some_and(|started| started.contains(item))
    }

    /// Notes why an item failed.
    pub fn fail(&mut self, item: i64, reason: StepReason, message: String) {
        let same = |known: &&mut ItemErrors| known.reason == reason && known.message == message;
        match self.errors.iter_mut().find(same) {
            Some(known) => known.items.insert(item),
            None => self.errors.push(ItemErrors {
                items: ItemRanges::of(item),
                reason,
                message,
            }),
        }
    }
}

/// Longest list of ranges, in bytes.
const MAX_RANGES: usize = 2048;
/// A list of ranges of items, from 0 to 499.
const RANGES: &str = "^(0|[1-9][0-9]?|[1-4][0-9]{2})(-(0|[1-9][0-9]?|[1-4][0-9]{2}))?(,(0|[1-9][0-9]?|[1-4][0-9]{2})(-(0|[1-9][0-9]?|[1-4][0-9]{2}))?)*$";

/// Indexes of items, written as ranges such as `0-41,43`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemRanges(BTreeSet<u16>);

/// A text is no list of ranges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no list of ranges of items, such as 0-41,43")]
pub struct NoRanges(String);

impl ItemRanges {
    /// One item.
    pub fn of(item: i64) -> Self {
        let mut one = Self::default();
        one.insert(item);
        one
    }

    /// Whether an item is among them.
    pub fn contains(&self, item: i64) -> bool {
        u16::try_from(item).is_ok_and(|item| self.0.contains(&item))
    }

    /// The items, in order.
    pub fn iter(&self) -> impl Iterator<Item = i64> {
        self.0.iter().copied().map(i64::from)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an item.
    pub fn insert(&mut self, item: i64) {
        self.0.extend(u16::try_from(item));
    }

    /// The ranges, each with its first and last item.
    fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for item in &self.0 {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(*item) => *last = *item,
                _ => ranges.push((*item, *item)),
            }
        }
        ranges
    }
}

impl fmt::Display for ItemRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.ranges().into_iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for ItemRanges {
    type Err = NoRanges;

    fn from_str(text: &str) -> Result<Self, NoRanges> {
        let wrong = || NoRanges(text.to_owned());
        if text.len() > MAX_RANGES {
            return Err(wrong());
        }
        let number = |digits: &str| {
            let number = digits.parse::<u16>().ok();
            number.filter(|number| usize::from(*number) < ForEach::MOST && number.to_string() == digits)
        };
        let mut items = BTreeSet::new();
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let first = number(first).ok_or_else(wrong)?;
            let last = number(last).ok_or_else(wrong)?;
            items.extend(first.min(last)..=first.max(last));
        }
        Ok(Self(items))
    }
}

impl Serialize for ItemRanges {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ItemRanges {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for ItemRanges {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ItemRanges".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": MAX_RANGES,
            "pattern": RANGES,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_written_as_ranges_and_read_again() {
        for (items, text) in [
            (vec![0], "0"),
            (vec![3, 1, 2, 7], "1-3,7"),
            ((0..500).collect(), "0-499"),
            (vec![0, 2, 4], "0,2,4"),
        ] {
            let mut ranges = ItemRanges::default();
            for item in items {
                ranges.insert(item);
            }
            assert_eq!(ranges.to_string(), text);
            assert_eq!(text.parse(), Ok(ranges));
        }
    }

    #[test]
    fn what_is_no_list_of_ranges_is_refused() {
        for text in [
            "",
            ",",
            "1-",
            "-1",
            "a",
            "1,,2",
            "500",
            "0-500",
            "0-99999999",
            "1 2",
        ] {
            assert!(text.parse::<ItemRanges>().is_err(), "{text}");
        }
    }

    #[test]
    fn no_items_are_so_many_that_their_ranges_outgrow_their_bound() {
        let mut ranges = ItemRanges::default();
        (0..500).step_by(2).for_each(|item| ranges.insert(item));
        assert!(ranges.to_string().len() <= MAX_RANGES);
    }

    #[test]
    fn items_that_failed_alike_share_an_entry() {
        let mut items = ItemsStatus::new(4, Digest::of(b""));
        for item in [0, 1, 3] {
            items.end(item, StepOutcome::Failed);
            items.fail(item, StepReason::Unreachable, "down".into());
        }
        items.end(2, StepOutcome::Succeeded);
        assert_eq!(items.errors.len(), 1);
        assert_eq!(items.errors[0].items.to_string(), "0-1,3");
        assert_eq!(items.outcome(3), Some(StepOutcome::Failed));
        assert_eq!(items.outcome(2), Some(StepOutcome::Succeeded));
        assert_eq!((items.ended_count(), items.outcome(4)), (4, None));
    }
}
