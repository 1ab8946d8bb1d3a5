//! The patch formats: JSON Patch, JSON Merge Patch and strategic merge.

mod strategic;

use serde_json::Value;

pub use strategic::strategic_merge_patch;

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It is not a patch of this format.
    #[error("{0}")]
    Malformed(String),
    /// It does not fit the object, for example because a test in it fails.
    #[error("{0}")]
    Unfit(String),
}

/// Most operations in a JSON Patch, as in Kubernetes.
const OPERATIONS: usize = 10_000;

/// Applies a JSON Patch (RFC 6902), whole or not at all.
pub fn json_patch(current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let patch: json_patch::Patch =
        serde_json::from_value(patch.clone()).map_err(|e| PatchError::Malformed(e.to_string()))?;
    if patch.0.len() > OPERATIONS {
        return Err(PatchError::Malformed(format!(
            "a patch has at most {OPERATIONS} operations"
        )));
    }
    let mut new = current.clone();
    json_patch::patch(&mut new, &patch).map_err(|e| PatchError::Unfit(e.to_string()))?;
    Ok(new)
}

/// Applies a JSON Merge Patch (RFC 7386).
pub fn merge_patch(current: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed("a merge patch is an object".to_owned()));
    }
    let mut new = current.clone();
    json_patch::merge(&mut new, patch);
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_json_patch_whose_test_fails_changes_nothing() {
        let object = json!({"a": 1});
        let patch =
            json!([{"op": "replace", "path": "/a", "value": 2}, {"op": "test", "path": "/a", "value": 3}]);
        assert!(matches!(json_patch(&object, &patch), Err(PatchError::Unfit(_))));
        assert!(matches!(
            json_patch(&object, &json!({"op": "add"})),
            Err(PatchError::Malformed(_))
        ));
        let patch = json!([{"op": "test", "path": "/a", "value": 1}, {"op": "remove", "path": "/a"}]);
        assert_eq!(json_patch(&object, &patch), Ok(json!({})));
    }

    #[test]
    fn a_null_in_a_merge_patch_removes() {
        assert_eq!(
            merge_patch(
                &json!({"a": 1, "b": {"c": 1}}),
                &json!({"a": null, "b": {"d": 2}})
            ),
            Ok(json!({"b": {"c": 1, "d": 2}}))
        );
        assert!(merge_patch(&json!({}), &json!([])).is_err());
    }
}
