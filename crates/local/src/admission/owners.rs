//! The server deletes what has lost its owners, so who gives a new one may delete.

use serde_json::Value;

/// All that the server looks for an owner by: one whose uid is kept under a kind or a name that does not exist is gone for it as well.
const LOOKED_FOR_BY: [&str; 4] = ["apiVersion", "kind", "name", "uid"];

/// Whether an object has owners that it did not have.
pub(super) fn are_new(old: Option<&Value>, new: &Value) -> bool {
    let same = |a: &Value, b: &Value| LOOKED_FOR_BY.iter().all(|field| a[field] == b[field]);
    let known = || old.into_iter().flat_map(of);
    of(new).any(|owner| !known().any(|known| same(known, owner)))
}

fn of(object: &Value) -> impl Iterator<Item = &Value> {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owned(owners: &[Value]) -> Value {
        json!({"metadata": {"ownerReferences": owners}})
    }

    #[test]
    fn an_owner_under_another_name_is_a_new_one_and_flags_make_none() {
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "1"});
        let old = owned(std::slice::from_ref(&owner));
        for (field, value) in [
            ("apiVersion", json!("v2")),
            ("kind", json!("Secret")),
            ("name", json!("b")),
            ("uid", json!("2")),
        ] {
            let mut turned = owner.clone();
            turned[field] = value;
            assert!(are_new(Some(&old), &owned(&[turned.clone()])), "{field}");
            assert!(are_new(Some(&old), &owned(&[owner.clone(), turned])), "{field}");
        }
        let mut flagged = owner.clone();
        flagged["blockOwnerDeletion"] = json!(true);
        flagged["controller"] = json!(true);
        for new in [old.clone(), owned(&[flagged]), owned(&[]), json!({})] {
            assert!(!are_new(Some(&old), &new), "{new}");
        }
        assert!(are_new(None, &old) && !are_new(None, &owned(&[])));
    }
}
