//! Stand-ins.

use serde_json::Value;

pub mod patch {
    use super::Value;
    #[derive(Debug)]
    pub struct PatchError {
        pub message: String,
        pub malformed: bool,
    }
    pub fn json_patch(current: &Value, patch: &Value) -> Result<Value, PatchError> {
        let patch: json_patch::Patch = serde_json::from_value(patch.clone()).map_err(|e| PatchError {
            message: e.to_string(),
            malformed: true,
        })?;
        let mut new = current.clone();
        json_patch::patch(&mut new, &patch).map_err(|e| PatchError {
            message: e.to_string(),
            malformed: false,
        })?;
        Ok(new)
    }
    pub fn merge_patch(current: &Value, patch: &Value) -> Result<Value, PatchError> {
        let mut new = current.clone();
        json_patch::merge(&mut new, patch);
        Ok(new)
    }
    pub fn strategic_merge_patch(_kind: &str, current: &Value, patch: &Value) -> Result<Value, PatchError> {
        merge_patch(current, patch)
    }
}

pub mod managed_fields {
    use super::Value;
    use crate::local::schema::Schema;
    #[derive(Debug)]
    #[expect(dead_code, reason = "stand-in")]
    pub struct ApplyContext<'a> {
        pub manager: &'a str,
        pub force: bool,
        pub subresource: Option<&'a str>,
        pub now: &'a str,
        pub schema: &'a Schema,
    }
    #[derive(Debug)]
    pub struct Conflict {
        pub message: String,
        pub field: String,
    }
    pub fn apply(
        live: Option<&Value>,
        applied: &Value,
        _context: &ApplyContext<'_>,
    ) -> Result<Value, Vec<Conflict>> {
        let mut new = live.cloned().unwrap_or_else(|| applied.clone());
        json_patch::merge(&mut new, applied);
        Ok(new)
    }
    pub fn track_update(_old: Option<&Value>, _new: &mut Value, _context: &ApplyContext<'_>) {}
}
