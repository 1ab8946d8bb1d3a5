//! Server-side apply and field ownership.

mod merge;
mod set;
mod typed;

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use super::schema::Schema;
use set::Set;
use typed::Typed;

/// One write, as ownership sees it.
#[derive(Debug)]
pub struct ApplyContext<'a> {
    /// Who writes.
    pub manager: &'a str,
    /// Whether to take over fields that others own.
    pub force: bool,
    /// The part written, such as `status`.
    pub subresource: Option<&'a str>,
    /// The time now, as Kubernetes writes it.
    pub now: &'a str,
    /// The schema of the kind: which lists are merged by which keys.
    pub schema: &'a Schema,
}

/// A field that somebody else owns with another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Who owns it, as messages say it: `conflict with "kubectl-edit" using v1`.
    pub message: String,
    /// The field, such as `.spec.color`.
    pub field: String,
}

const APPLY: &str = "Apply";
const UPDATE: &str = "Update";

/// What one manager owns by one kind of write.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    manager: String,
    operation: String,
    api_version: String,
    subresource: String,
    time: String,
    set: Set,
}

impl Entry {
    fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let entry = Self {
            manager: text("manager"),
            operation: text("operation"),
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            set: Set::read(value.get("fieldsV1")?),
        };
        (!entry.operation.is_empty()).then_some(entry)
    }

    fn write(&self) -> Value {
        let mut value = json!({
            "manager": self.manager, "operation": self.operation, "apiVersion": self.api_version,
            "time": self.time, "fieldsType": "FieldsV1", "fieldsV1": self.set.write(),
        });
        if !self.subresource.is_empty() {
            value["subresource"] = json!(self.subresource);
        }
        value
    }

    fn is(&self, operation: &str, context: &ApplyContext<'_>) -> bool {
        self.manager == context.manager
            && self.operation == operation
            && self.subresource == context.subresource.unwrap_or_default()
    }

    fn conflict(&self) -> String {
        let part = if self.subresource.is_empty() {
            String::new()
        } else {
            format!(" with subresource {:?}", self.subresource)
        };
        // a real server names the version only of those who did not apply
        if self.operation == "Apply" {
            return format!("conflict with {:?}{part}", self.manager);
        }
        format!(
            "conflict with {:?}{part} using {}",
            self.manager, self.api_version
        )
    }
}

fn entries(object: &Value) -> Vec<Entry> {
    object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Entry::read)
        .collect()
}

/// Writes the entries back: those of apply first, older ones first.
fn store(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.set.is_empty());
    entries.sort_by(|a, b| {
        let order = |e: &Entry| {
            (
                e.operation != APPLY,
                e.time.clone(),
                e.manager.clone(),
                e.subresource.clone(),
            )
        };
        order(a).cmp(&order(b))
    });
    let list: Vec<Value> = entries.iter().map(Entry::write).collect();
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("managedFields");
        if !list.is_empty() {
            meta.insert("managedFields".to_owned(), Value::Array(list));
        }
    }
}

/// Puts the changed set of the writer into its entry; the time changes only with the set.
fn own(entries: &mut Vec<Entry>, operation: &str, api_version: &str, set: Set, context: &ApplyContext<'_>) {
    let mine = entries.iter_mut().find(|entry| entry.is(operation, context));
    match mine {
        Some(entry) if entry.set == set && entry.api_version == api_version => {}
        Some(entry) => {
            entry.set = set;
            api_version.clone_into(&mut entry.api_version);
            context.now.clone_into(&mut entry.time);
        }
        None => entries.push(Entry {
            manager: context.manager.to_owned(),
            operation: operation.to_owned(),
            api_version: api_version.to_owned(),
            subresource: context.subresource.unwrap_or_default().to_owned(),
            time: context.now.to_owned(),
            set,
        }),
    }
}

/// Merges what a manager applies into the live object: what it applied before and no longer does goes,
/// unless others own it too.
pub fn apply(
    live: Option<&Value>,
    applied: &Value,
    context: &ApplyContext<'_>,
) -> Result<Value, Vec<Conflict>> {
    let typed = Typed::new(context.schema);
    let applied = typed::writable(applied, context.subresource);
    let wanted = typed.set(&applied);
    let api_version = applied["apiVersion"].as_str().unwrap_or_default().to_owned();
    let Some(live) = live else {
        let mut object = applied;
        let mut entries = Vec::new();
        own(&mut entries, APPLY, &api_version, wanted, context);
        store(&mut object, entries);
        return Ok(object);
    };
    let mut entries = entries(live);
    let mut conflicts = Vec::new();
    for entry in entries.iter_mut().filter(|entry| !entry.is(APPLY, context)) {
        let differing = typed.differing(&entry.set.intersection(&wanted), live, &applied);
        if differing.is_empty() {
            continue;
        }
        if context.force {
            entry.set = entry.set.difference(&differing);
        } else {
            let message = entry.conflict();
            conflicts.extend(differing.paths().into_iter().map(|field| Conflict {
                message: message.clone(),
                field,
            }));
        }
    }
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let before = entries
        .iter()
        .find(|entry| entry.is(APPLY, context))
        .map(|entry| entry.set.clone());
    let mut others = Set::default();
    for entry in entries.iter().filter(|entry| !entry.is(APPLY, context)) {
        others.union(&entry.set);
    }
    let mut object = typed.merge(live, &applied);
    let dropped = before.unwrap_or_default().difference(&wanted).difference(&others);
    typed.remove(&mut object, &dropped, &others);
    own(&mut entries, APPLY, &api_version, wanted, context);
    store(&mut object, entries);
    Ok(object)
}

/// Works out who owns what after a write that is not an apply: the writer owns what it changed.
pub fn track_update(old: Option<&Value>, new: &mut Value, context: &ApplyContext<'_>) {
    let typed = Typed::new(context.schema);
    let api_version = new["apiVersion"].as_str().unwrap_or_default().to_owned();
    let mut entries = entries(new);
    let (changed, removed) = match old {
        Some(old) => typed.compare(old, new),
        None => (typed.set(new), Set::default()),
    };
    if changed.is_empty() && removed.is_empty() {
        store(new, entries);
        return;
    }
    for entry in entries.iter_mut().filter(|entry| !entry.is(UPDATE, context)) {
        entry.set = entry.set.difference(&changed).difference(&removed);
    }
    let mine = entries.iter().find(|entry| entry.is(UPDATE, context));
    let mut set = mine
        .map(|entry| entry.set.difference(&removed))
        .unwrap_or_default();
    set.union(&changed);
    own(&mut entries, UPDATE, &api_version, set, context);
    store(new, entries);
}
