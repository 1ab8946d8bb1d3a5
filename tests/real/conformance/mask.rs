//! Takes out of an answer what no two servers share: ids, times and the numbers of revisions.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// Gives ids and revisions names in the order in which they first come up, so that equal ones stay equal.
#[derive(Debug, Default, Clone)]
pub struct Mask {
    names: HashMap<String, String>,
}

impl Mask {
    fn name(&mut self, kind: &str, value: &Value) -> Value {
        let next = format!(
            "{kind}-{}",
            self.names.keys().filter(|k| k.starts_with(kind)).count() + 1
        );
        let value = value.as_str().unwrap_or_default();
        json!(
            self.names
                .entry(format!("{kind}/{value}"))
                .or_insert(next)
                .clone()
        )
    }

    /// The answer as both servers should give it.
    pub fn apply(&mut self, answer: &mut Value) {
        match answer {
            _ if answer["kind"] == "Status" && answer["status"] == "Failure" => *answer = refusal(answer),
            Value::Object(map) => {
                forget_the_servers_own(map);
                let is_list = map
                    .get("kind")
                    .and_then(Value::as_str)
                    .is_some_and(|k| k.ends_with("List") || k == "Table");
                if let Some(Value::Object(meta)) = map.get_mut("metadata") {
                    self.metadata(meta, is_list);
                }
                if let Some(Value::Object(details)) = map.get_mut("details")
                    && let Some(uid) = details.get_mut("uid")
                {
                    *uid = self.name("uid", uid);
                }
                for (_, value) in map.iter_mut().filter(|(key, _)| *key != "metadata") {
                    self.apply(value);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply(item)),
            _ => {}
        }
    }

    fn metadata(&mut self, meta: &mut Map<String, Value>, is_list: bool) {
        meta.retain(|key, value| !(key == "creationTimestamp" && value.is_null()));
        for time in ["creationTimestamp", "deletionTimestamp"] {
            if let Some(value) = meta.get_mut(time).filter(|v| v.is_string()) {
                *value = json!("a time");
            }
        }
        if let Some(uid) = meta.get_mut("uid") {
            *uid = self.name("uid", uid);
        }
        if meta.get("continue").is_some_and(|token| token == "") {
            meta.remove("continue");
        }
        if let Some(token) = meta.get_mut("continue") {
            *token = json!("a token");
        }
        if let Some(revision) = meta.get_mut("resourceVersion") {
            // other work on the server moves a collection's revision
            *revision = if is_list {
                json!("a revision")
            } else {
                self.name("revision", revision)
            };
        }
        for owner in meta
            .get_mut("ownerReferences")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            owner["uid"] = self.name("uid", &owner["uid"]);
        }
        if let Some(managers) = meta.get_mut("managedFields").and_then(Value::as_array_mut) {
            // they are in the order of their seconds
            managers.sort_by_key(|m| format!("{} {}", m["operation"], m["manager"]));
            for manager in managers {
                manager["time"] = json!("a time");
                without_containers(&mut manager["fieldsV1"]);
            }
        }
    }
}

/// Takes out that a container is owned besides what is in it, and the parts of an owner reference.
fn without_containers(fields: &mut Value) {
    let Some(map) = fields.as_object_mut() else { return };
    map.remove(".");
    if let Some(owners) = map.get_mut("f:ownerReferences") {
        *owners = json!({});
    }
    map.values_mut().for_each(without_containers);
}

/// What a server adds that no client goes by, and orders that mean nothing.
fn forget_the_servers_own(map: &mut Map<String, Value>) {
    map.remove("storageVersionHash");
    if map.get("object").is_some_and(Value::is_null) {
        map.remove("object");
    }
    let kind = map
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if kind.ends_with("AccessReview") {
        map.remove("metadata");
        // which rule allowed it is worded for people
        if let Some(Value::Object(status)) = map.get_mut("status") {
            status.remove("reason");
        }
    }
    // a second may pass between the writing and the asking
    for cell in map
        .get_mut("cells")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if cell.as_str().is_some_and(is_age) {
            *cell = json!("an age");
        }
    }
    for column in map
        .get_mut("columnDefinitions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        column["description"] = json!("");
    }
    if kind == "APIResourceList"
        && let Some(Value::Array(resources)) = map.get_mut("resources")
    {
        resources.sort_by_key(|resource| resource["name"].to_string());
        for resource in resources {
            if let Some(verbs) = resource["verbs"].as_array_mut() {
                verbs.sort_by_key(Value::to_string);
            }
        }
    }
}

/// Such as `5s`, `2m10s` and `6y328d`.
pub fn is_age(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
        && word.ends_with(['s', 'm', 'h', 'd', 'y'])
        && word.bytes().all(|b| b.is_ascii_digit() || b"smhdy".contains(&b))
}

/// The field of a cause. Of a review with both kinds of attributes, or with neither, 1.34 names one of them and 1.37 the spec.
fn field(cause: &Value) -> Value {
    match cause["field"].as_str() {
        Some("spec.resourceAttributes" | "spec.nonResourceAttributes") => json!("spec"),
        _ => cause["field"].clone(),
    }
}

/// What of a refusal programs and people go by: its code, reason, and the field of each cause. The wording may differ.
fn refusal(status: &Value) -> Value {
    let mut causes: Vec<_> = status["details"]["causes"]
        .as_array()
        .into_iter()
        .flatten()
        // only says that rules were not evaluated because of the other causes
        .filter(|cause| cause["field"] != "<nil>")
        .map(|cause| json!({"reason": cause["reason"], "field": field(cause)}))
        .collect();
    causes.sort_by_key(Value::to_string);
    causes.dedup();
    let mut refusal = json!({"code": status["code"], "reason": status["reason"], "causes": causes});
    if status["metadata"]["continue"].is_string() {
        refusal["continue"] = json!("a token");
    }
    refusal
}
