//! `set`: compute values.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Rules};
use crate::Json;

/// Computes values, which become the step's output. Strings may contain `${…}` expressions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SetStep(#[schemars(extend("maxProperties" = 64))] pub BTreeMap<String, Json>);

impl Kind for SetStep {
    fn rules(&self) -> &'static Rules {
        &Rules {
            key: "set",
            attempts: false,
            retries: false,
            delivery: false,
            has_effect: false,
            is_billable: false,
        }
    }
}
