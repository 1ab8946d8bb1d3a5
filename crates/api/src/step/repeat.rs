//! `repeat`: do steps again.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{HumanDuration, OrExpression, name::LABEL};

/// Repeats the steps from `from` to this one, until a condition holds or as long as one does.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.until) != has(self.while)").message("repeat has either until or while"))]
pub struct Repeat {
    /// First step of the loop. Defaults to this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub from: Option<String>,
    /// Condition: one `${…}` expression, read after each pass. If it is true, the loop is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub until: Option<String>,
    /// Condition: one `${…}` expression, read after each pass. If it is false, the loop is over.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "while")]
    #[schemars(length(max = 4096))]
    pub while_: Option<String>,
    /// Pause between two passes: a duration of at least 1s, or one `${…}` expression that gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<OrExpression<HumanDuration>>,
    /// Largest number of passes each time that the loop is entered. After one more, this step fails (`RepeatLimit`).
    /// Defaults to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max: Option<i64>,
}
