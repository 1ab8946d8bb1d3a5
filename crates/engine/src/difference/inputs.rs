//! Inputs that were added, removed or changed, read from the schema.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    ChangeKind,
    fields::{FieldChange, leaf, tree},
};
use signoff_api::Json;

/// An input that is not what it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InputChange {
    /// Name of the input.
    pub input: String,
    /// What happened to it.
    pub change: ChangeKind,
    /// Whether a run had to give it; absent when there was no such input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_before: Option<bool>,
    /// Whether a run has to give it; absent when there is no such input any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_after: Option<bool>,
    /// What differs in its schema, such as `type` and `minimum`.
    pub fields: Vec<FieldChange>,
}

/// A schema as inputs and what it says beside them.
struct Schema {
    properties: Option<BTreeMap<String, Value>>,
    required: Option<Vec<String>>,
    rest: Option<Value>,
}

/// Compares two schemas: the inputs, and what else they say.
pub(super) fn compare(old: Option<&Json>, new: Option<&Json>) -> (Vec<InputChange>, Vec<FieldChange>) {
    let (old, new) = (Schema::of(old), Schema::of(new));
    let names: BTreeSet<&String> = old.names().chain(new.names()).collect();
    let inputs = names
        .into_iter()
        .filter_map(|name| input(name, &old, &new))
        .collect();
    let mut rules = Vec::new();
    tree(
        "inputs".to_owned(),
        old.rest.as_ref(),
        new.rest.as_ref(),
        &mut rules,
    );
    for rule in rules.iter_mut().filter(|rule| rule.field == "inputs") {
        rule.default = Some("a run takes no inputs");
    }
    let bare = |schema: &Schema| schema.properties.as_ref().map(BTreeMap::is_empty);
    if let (None, Some(true)) | (Some(true), None) = (bare(&old), bare(&new)) {
        let shown = |schema: &Schema| schema.properties.as_ref().map(|_| Value::Object(Map::new()));
        rules.push(leaf("inputs.properties".to_owned(), shown(&old), shown(&new)));
    }
    if old.required != new.required && old.required_names() == new.required_names() {
        let shown = |schema: &Schema| schema.required.clone().map(Value::from);
        rules.push(leaf("inputs.required".to_owned(), shown(&old), shown(&new)));
    }
    (inputs, rules)
}

fn input(name: &String, old: &Schema, new: &Schema) -> Option<InputChange> {
    let (before, after) = (old.property(name), new.property(name));
    let change = match (before, after) {
        (None, Some(_)) => ChangeKind::Added,
        (Some(_), None) => ChangeKind::Removed,
        (Some(_), Some(_)) | (None, None) => ChangeKind::Changed,
    };
    let required_before = (change != ChangeKind::Added).then(|| old.requires(name));
    let required_after = (change != ChangeKind::Removed).then(|| new.requires(name));
    let fields = schema_fields(before, after);
    let same = change == ChangeKind::Changed && required_before == required_after && fields.is_empty();
    (!same).then(|| InputChange {
        input: name.clone(),
        change,
        required_before,
        required_after,
        fields,
    })
}

/// What differs in the schema of one input, keyword by keyword.
fn schema_fields(old: Option<&Value>, new: Option<&Value>) -> Vec<FieldChange> {
    let keywords = |schema: Option<&Value>| match schema {
        None => Some(Map::new()),
        Some(Value::Object(keywords)) => Some(keywords.clone()),
        Some(_) => None,
    };
    let mut found = Vec::new();
    match (keywords(old), keywords(new)) {
        (Some(old), Some(new)) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                tree(name.clone(), old.get(name), new.get(name), &mut found);
            }
        }
        _ => tree("schema".to_owned(), old, new, &mut found),
    }
    found
}

impl Schema {
    fn of(schema: Option<&Json>) -> Self {
        let mut rest = schema.map(|schema| schema.0.clone());
        let keywords = rest.as_mut().and_then(Value::as_object_mut);
        let (properties, required) = keywords.map(split).unwrap_or_default();
        Self {
            properties,
            required,
            rest,
        }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        let listed = self.properties.iter().flat_map(BTreeMap::keys);
        listed.chain(self.required.iter().flatten())
    }

    fn property(&self, name: &str) -> Option<&Value> {
        self.properties.as_ref()?.get(name)
    }

    fn requires(&self, name: &String) -> bool {
        self.required.as_ref().is_some_and(|names| names.contains(name))
    }

    fn required_names(&self) -> BTreeSet<&String> {
        self.required.iter().flatten().collect()
    }
}

type Split = (Option<BTreeMap<String, Value>>, Option<Vec<String>>);

/// Takes `properties` and `required` out of a schema, unless they are not what they should be: then they are compared as they stand.
fn split(keywords: &mut Map<String, Value>) -> Split {
    let properties = keywords.get("properties").and_then(Value::as_object);
    let properties = properties.map(|properties| properties.clone().into_iter().collect());
    let required = keywords.get("required").and_then(names);
    if properties.is_some() {
        keywords.remove("properties");
    }
    if required.is_some() {
        keywords.remove("required");
    }
    (properties, required)
}

/// A list of different names.
fn names(value: &Value) -> Option<Vec<String>> {
    let items = value.as_array()?;
    let names: Option<Vec<String>> = items
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect();
    names.filter(|names| names.iter().collect::<BTreeSet<_>>().len() == names.len())
}
