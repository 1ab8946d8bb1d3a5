//! Tables as kubectl prints them: printer columns of definitions, built-in columns of core kinds.

mod age;
mod cells;
mod path;

use serde_json::{Value, json};

use super::clock;
use super::registry::ResourceKind;

/// A column: its name, type and format, what it means, and whether only `-o wide` shows it.
struct Column {
    name: String,
    type_: String,
    format: String,
    description: String,
    priority: i32,
    source: Source,
}

enum Source {
    Name,
    /// A JSON path of a definition.
    Path(path::Path),
    /// Worked out from a core kind's fields.
    Cell(fn(&Value, i64) -> Value),
}

/// Renders objects as a `Table`; the rows carry no objects yet. `meta` is the metadata of the list.
pub fn render(kind: &ResourceKind, objects: &[Value], meta: &Value) -> Value {
    let now = clock::seconds();
    let columns = columns(kind);
    let definitions: Vec<Value> = columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name, "type": column.type_, "format": column.format,
                "description": column.description, "priority": column.priority,
            })
        })
        .collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells: Vec<Value> = columns.iter().map(|column| column.cell(object, now)).collect();
            json!({"cells": cells, "object": null})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
        "columnDefinitions": definitions, "rows": rows,
    })
}

impl Column {
    fn cell(&self, object: &Value, now: i64) -> Value {
        match &self.source {
            Source::Name => object["metadata"]["name"].clone(),
            Source::Path(path) => path
                .find(object)
                .map_or(Value::Null, |value| self.shown(value, now)),
            Source::Cell(cell) => cell(object, now),
        }
    }

    /// A value as a column of this type shows it; nothing where the value is of another type.
    fn shown(&self, value: &Value, now: i64) -> Value {
        match (self.type_.as_str(), value) {
            (_, Value::Null) => Value::Null,
            ("date", Value::String(time)) => json!(age::since(time, now)),
            ("string", Value::String(_)) => value.clone(),
            ("string", other) => json!(other.to_string()),
            ("integer", Value::Number(number)) => json!(number.as_i64()),
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
            _ => Value::Null,
        }
    }
}

fn columns(kind: &ResourceKind) -> Vec<Column> {
    let name = Column {
        name: "Name".to_owned(),
        type_: "string".to_owned(),
        format: "name".to_owned(),
        description: "Name must be unique within a namespace.".to_owned(),
        // Names of events mean nothing to people.
        priority: i32::from(kind.kind == "Event"),
        source: Source::Name,
    };
    let mut columns = vec![name];
    if kind.crd.is_none() {
        columns.extend(cells::of(kind).iter().map(|(name, type_, cell)| Column {
            name: (*name).to_owned(),
            type_: (*type_).to_owned(),
            format: String::new(),
            description: String::new(),
            priority: 0,
            source: Source::Cell(*cell),
        }));
    } else if kind.printer_columns.is_empty() {
        columns.push(Column {
            name: "Age".to_owned(),
            type_: "date".to_owned(),
            format: String::new(),
            description: "When the object was created.".to_owned(),
            priority: 0,
            source: Source::Path(path::Path::parse(".metadata.creationTimestamp")),
        });
    }
    columns.extend(kind.printer_columns.iter().map(|column| Column {
        name: column.name.clone(),
        type_: column.type_.clone(),
        format: column.format.clone().unwrap_or_default(),
        description: column.description.clone().unwrap_or_default(),
        priority: column.priority.unwrap_or_default(),
        source: Source::Path(path::Path::parse(&column.json_path)),
    }));
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn row(kind: &str, api_version: &str, object: &Value) -> Vec<(String, Value)> {
        let registry = Registry::new(signoff_api::crds());
        let kind = registry.by_kind(api_version, kind).unwrap();
        let table = render(kind, std::slice::from_ref(object), &json!({}));
        let names = table["columnDefinitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap().to_owned());
        names
            .zip(table["rows"][0]["cells"].as_array().unwrap().iter().cloned())
            .collect()
    }

    #[test]
    fn columns_of_a_definition_come_after_the_name() {
        let run = json!({
            "metadata": {"name": "r", "creationTimestamp": clock::now()},
            "spec": {"flow": "refund"},
            "status": {"phase": "Waiting", "release": {"name": "refund-1"}},
        });
        let row = row("Run", "signoff.dev/v1alpha1", &run);
        assert_eq!(row[0], ("Name".to_owned(), json!("r")));
        assert!(row.contains(&("Flow".to_owned(), json!("refund"))), "{row:?}");
        assert!(
            row.contains(&("Release".to_owned(), json!("refund-1"))),
            "{row:?}"
        );
        assert!(
            row.iter()
                .any(|(name, cell)| name == "Age" && cell.as_str().is_some_and(|c| c.ends_with('s')))
        );
    }

    #[test]
    fn core_kinds_have_their_own_columns() {
        let secret = json!({"metadata": {"name": "s"}, "type": "Opaque", "data": {"a": "", "b": ""}});
        let row = row("Secret", "v1", &secret);
        assert_eq!(
            row[1..3],
            [
                ("Type".to_owned(), json!("Opaque")),
                ("Data".to_owned(), json!(2))
            ]
        );
    }
}
