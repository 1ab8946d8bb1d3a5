//! What reviewers see of a change, as whole pages and as rules that hold for every change.

mod golden;
mod loosening;
mod mutations;
mod properties;

use serde_json::Value;

use signoff_api::Definition;

fn definition(value: Value) -> Definition {
    serde_json::from_value(value).unwrap()
}
