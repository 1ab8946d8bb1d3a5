//! The patch formats: JSON Patch, JSON Merge Patch and strategic merge.

mod strategic;

use json_patch::PatchOperation;
use serde_json::Value;

use signoff_api::bounds;

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

/// Most bytes of JSON that the copies of one JSON Patch make, as in Kubernetes.
const COPIED: usize = 3 << 20;

/// Applies a JSON Patch (RFC 6902), whole or not at all.
pub fn json_patch(current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let patch: json_patch::Patch =
        serde_json::from_value(patch.clone()).map_err(|e| PatchError::Malformed(e.to_string()))?;
    if patch.0.len() > OPERATIONS {
        return Err(PatchError::Malformed(format!(
            "a patch has at most {OPERATIONS} operations"
        )));
    }
    let copies = patch
        .0
        .iter()
        .any(|operation| matches!(operation, PatchOperation::Copy(_) | PatchOperation::Move(_)));
    let mut new = current.clone();
    let mut copied = 0;
    // each copy may double what is there, so one is looked at before the next
    let at_once = if copies { 1 } else { OPERATIONS };
    for operations in patch.0.chunks(at_once) {
        for operation in operations {
            bounded(operation, &new, &mut copied)?;
        }
        json_patch::patch(&mut new, operations).map_err(|e| PatchError::Unfit(e.to_string()))?;
    }
    Ok(new)
}

/// Refuses an operation by which the object would outgrow, in depth or size, what a request body may have. An object never becomes deeper
/// than twice the bound while a patch is applied; the whole is checked afterwards.
fn bounded(operation: &PatchOperation, object: &Value, copied: &mut usize) -> Result<(), PatchError> {
    let (path, value) = match operation {
        PatchOperation::Add(add) => (&add.path, Some(&add.value)),
        PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value)),
        PatchOperation::Copy(copy) => (&copy.path, object.pointer(copy.from.as_str())),
        PatchOperation::Move(moved) => (&moved.path, object.pointer(moved.from.as_str())),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    let too_deep = || PatchError::Malformed(bounds::TooDeep(bounds::MAX_OBJECT_NESTING).to_string());
    if path.count() > bounds::MAX_OBJECT_NESTING {
        return Err(too_deep());
    }
    let Some(value) = value else { return Ok(()) };
    bounds::nesting(value, bounds::MAX_OBJECT_NESTING).map_err(|_| too_deep())?;
    if matches!(operation, PatchOperation::Copy(_)) {
        *copied += value.to_string().len();
    }
    if *copied > COPIED {
        return Err(PatchError::Malformed(format!(
            "a patch copies at most {COPIED} bytes"
        )));
    }
    Ok(())
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
    fn a_patch_that_multiplies_or_deepens_an_object_is_refused() {
        let object = json!({"a": {"l": "x".repeat(1_000)}});
        let copies: Vec<Value> = (0..40)
            .map(|n| json!({"op": "copy", "from": "/a", "path": format!("/a/{n}")}))
            .collect();
        let refused = json_patch(&object, &json!(copies));
        assert!(matches!(refused, Err(PatchError::Malformed(why)) if why.contains("copies")));

        let deeper: Vec<Value> = (0..bounds::MAX_OBJECT_NESTING + 10)
            .map(|n| json!({"op": "add", "path": "/a".repeat(n + 1), "value": {}}))
            .collect();
        let refused = json_patch(&json!({}), &json!(deeper));
        assert!(matches!(refused, Err(PatchError::Malformed(why)) if why.contains("nested")));

        let doubled: Vec<Value> = (0..bounds::MAX_OBJECT_NESTING + 10)
            .map(|_| json!({"op": "copy", "from": "/a", "path": "/a/a"}))
            .collect();
        let refused = json_patch(&json!({"a": {}}), &json!(doubled));
        assert!(matches!(refused, Err(PatchError::Malformed(_))), "{refused:?}");
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
