//! `forEach`: do a step once for each item of a list.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::FailureOutcome;
use crate::Json;

/// Does the step once for each item of a list. In the step, `item` is the item, and `index` its place from 0.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForEach {
    /// The items, at most 500: a list whose strings may contain `${…}` expressions, or one `${…}` expression that gives
    /// a list. It is read once, after `when`.
    pub items: Json,
    /// Largest number of items that are under way at the same time. Defaults to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50))]
    pub max_parallel: Option<i64>,
    /// Policy for an item that fails. `Fail`, the default: no further item begins, and the step fails once the items
    /// under way have ended. `Continue`: the other items go on, and `steps.<name>.items` says what came of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_item_failure: Option<FailureOutcome>,
}

impl ForEach {
    /// Most items of a step.
    pub const MOST: usize = 500;
    /// How many items are under way at the same time if the step does not say it.
    const DEFAULT_PARALLEL: i64 = 10;

    /// Largest number of items that are under way at the same time.
    pub fn parallel(&self) -> usize {
        let wanted = self.max_parallel.unwrap_or(Self::DEFAULT_PARALLEL);
        usize::try_from(wanted.clamp(1, 50)).unwrap_or(1)
    }

    /// Whether the other items go on when one fails.
    pub fn continues(&self) -> bool {
        match self.on_item_failure {
            Some(FailureOutcome::Continue) => true,
            Some(FailureOutcome::Fail) | None => false,
        }
    }
}
