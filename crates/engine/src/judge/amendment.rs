//! What deciders change of what is shown: which items they may change, to what, and what is approved then.

use serde_json::{Map, Value, json};

use crate::schema::Schema;
use signoff_api::{
    ApprovalSpec, Digest, approval::ShownItem, bounds, canonical, json::JsonObject, step::Editable,
};

/// Largest changes of one decision, in bytes of JSON.
const MAX_CHANGES: usize = bounds::MAX_SHOWN;

/// The value of a shown item: JSON as it is, anything else as text.
fn value(item: &ShownItem) -> Value {
    let text = || Value::String(item.inline.clone());
    if item.media_type == "application/json" {
        serde_json::from_str(&item.inline).unwrap_or_else(|_| text())
    } else {
        text()
    }
}

fn editable(spec: &ApprovalSpec) -> impl Iterator<Item = (&ShownItem, &Editable)> {
    let items = spec.show.iter();
    items.filter_map(|item| item.editable.as_ref().map(|editable| (item, editable)))
}

/// Why an editable item does not match its own schema, if so.
pub(crate) fn misfit_of_item(item: &ShownItem) -> Option<String> {
    let Editable { schema } = item.editable.as_ref()?;
    misfit(schema.as_value(), &value(item))
}

fn misfit(schema: &Value, value: &Value) -> Option<String> {
    match Schema::compile(schema) {
        Err(error) => Some(format!("its schema cannot be used: {error}")),
        Ok(schema) => {
            let misfit = schema.misfits(value).into_iter().next()?;
            let at = misfit.pointer.trim_start_matches('/').replace('/', ".");
            Some(if at.is_empty() {
                misfit.message
            } else {
                format!("{at}: {}", misfit.message)
            })
        }
    }
}

/// All that is wrong with changes.
pub fn problems_of_changes(spec: &ApprovalSpec, shown: Option<&JsonObject>) -> Vec<String> {
    let Some(shown) = shown else { return vec![] };
    if !serde_json::to_string(shown).is_ok_and(|text| text.len() <= MAX_CHANGES) {
        return vec![format!("the changes are larger than {MAX_CHANGES} bytes")];
    }
    let mut problems = Vec::new();
    for (name, changed) in &shown.0 {
        let Some((_, Editable { schema })) = editable(spec).find(|(item, _)| item.name == *name) else {
            problems.push(format!("{name}: there is no such item that may be changed"));
            continue;
        };
        if bounds::nesting(changed, bounds::MAX_NESTING).is_err() {
            problems.push(format!("{name}: it is nested too deeply"));
        } else if let Some(why) = misfit(schema.as_value(), changed) {
            problems.push(format!("{name}: {why}"));
        }
    }
    problems
}

/// What really changes: what is as it was is no change.
pub(super) fn changes(spec: &ApprovalSpec, shown: Option<&JsonObject>) -> Map<String, Value> {
    let given = shown.into_iter().flat_map(|shown| &shown.0);
    let changed = given.filter(|(name, changed)| {
        let known = editable(spec).find(|(item, _)| item.name == **name);
        known.is_some_and(|(item, _)| canonical::bytes(&value(item)) != canonical::bytes(changed))
    });
    changed
        .map(|(name, changed)| (name.clone(), changed.clone()))
        .collect()
}

/// The editable items with changes; none if there are no such items.
pub(super) fn amended(spec: &ApprovalSpec, changes: &Map<String, Value>) -> Option<JsonObject> {
    let items = editable(spec).map(|(item, _)| {
        let changed = changes.get(&item.name).cloned();
        (item.name.clone(), changed.unwrap_or_else(|| value(item)))
    });
    let items: Map<String, Value> = items.collect();
    (!items.is_empty()).then_some(JsonObject(items))
}

/// What binds a question with changes.
pub(super) fn digest(spec: &ApprovalSpec, changes: &Map<String, Value>) -> Digest {
    canonical::digest_of_value(&json!({ "question": spec.digest, "shown": changes }))
}
