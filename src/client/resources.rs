//! The resources of a run.

use std::collections::BTreeMap;

use serde_json::Value;

use signoff_api::{Resource, ResourceRef, Run};

/// The resources that a run names in its steps and its output, by their reference.
pub fn resources_of(run: &Run) -> BTreeMap<ResourceRef, Resource> {
    let mut found = BTreeMap::new();
    let Some(status) = &run.status else { return found };
    let outputs = status.steps.iter().filter_map(|step| step.output.as_ref());
    for output in outputs.chain(&status.output) {
        collect(&output.0, &mut found);
    }
    found
}

fn collect(value: &Value, found: &mut BTreeMap<ResourceRef, Resource>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => match serde_json::from_value::<Resource>(value.clone()) {
            Ok(resource) => {
                found.insert(resource.reference.clone(), resource);
            }
            Err(_) => fields.values().for_each(|field| collect(field, found)),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
