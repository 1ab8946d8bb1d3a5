//! The rules of a kind's schema (`x-kubernetes-validations`), as an API server looks at them when an object is created.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use signoff_expression::{self as cel, Budget, Library, Limits, Program, Scope};

use super::{FieldProblem, wording::join};

/// What all rules of an object may take together, as in Kubernetes.
const LIMITS: Limits = Limits {
    steps: 10_000_000,
    bytes: 64 << 20,
};
/// Names of fields that rules spell otherwise, because they are words of CEL.
const RESERVED: [&str; 2] = ["namespace", "while"];

/// The rules of a schema and of everything below it.
#[derive(Debug, Default)]
pub(super) struct Rules {
    here: Vec<Rule>,
    properties: BTreeMap<String, Rules>,
    items: Option<Box<Rules>>,
    additional: Option<Box<Rules>>,
}

#[derive(Debug)]
struct Rule {
    program: Program,
    message: String,
}

impl Rule {
    /// A rule about an object as it is. Those that compare it with an earlier one say nothing of a new one.
    fn parse(rule: &Value) -> Option<Self> {
        let source = rule["rule"]
            .as_str()
            .filter(|source| !source.contains("oldSelf"))?;
        let message = rule["message"].as_str();
        Some(Self {
            program: Program::parse(source, &Library::kubernetes()).ok()?,
            message: message.map_or_else(|| format!("does not hold: {source}"), str::to_owned),
        })
    }
}

impl Rules {
    /// Those of a schema as Kubernetes has it.
    pub(super) fn of(schema: &Value) -> Self {
        let below = |schema: &Value| {
            let rules = Self::of(schema);
            (!rules.is_empty()).then_some(rules)
        };
        let properties = schema["properties"].as_object().into_iter().flatten();
        let rules = schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten();
        let inner = |key: &str| {
            schema
                .get(key)
                .filter(|schema| schema.is_object())
                .and_then(below)
        };
        Self {
            here: rules.filter_map(Rule::parse).collect(),
            properties: properties
                .filter_map(|(name, schema)| Some((name.clone(), below(schema)?)))
                .collect(),
            items: inner("items").map(Box::new),
            additional: inner("additionalProperties").map(Box::new),
        }
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty()
            && self.properties.is_empty()
            && self.items.is_none()
            && self.additional.is_none()
    }

    /// The rules that an object does not keep. One that cannot be looked at, because something in the object is of another
    /// type, is passed over: the schema says that.
    pub(super) fn broken(&self, object: &Value) -> Vec<FieldProblem> {
        let mut found = Vec::new();
        let mut budget = Budget::new(LIMITS);
        self.walk(object, "", &mut budget, &mut found);
        found
    }

    fn walk(&self, value: &Value, path: &str, budget: &mut Budget, found: &mut Vec<FieldProblem>) {
        if !value.is_null() && !self.here.is_empty() {
            let spelled = spelled(value);
            let mut scope = Scope::default();
            scope.set("self", cel::Value::from(&spelled));
            let broken = self
                .here
                .iter()
                .filter(|rule| matches!(rule.program.evaluate(&scope, budget), Ok(cel::Value::Bool(false))));
            let told: Vec<FieldProblem> = broken
                .map(|rule| FieldProblem {
                    field: path.to_owned(),
                    message: rule.message.clone(),
                })
                .collect();
            found.extend(told);
        }
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    if let Some(rules) = self.properties.get(name).or(self.additional.as_deref()) {
                        rules.walk(value, &join(path, name), budget, found);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let Some(rules) = &self.items {
                        rules.walk(item, &format!("{path}[{index}]"), budget, found);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// An object with the names that rules use for its fields.
fn spelled(value: &Value) -> Value {
    let Value::Object(map) = value else {
        return value.clone();
    };
    let fields = map.iter().map(|(name, value)| {
        let name = if RESERVED.contains(&name.as_str()) {
            format!("__{name}__")
        } else {
            name.clone()
        };
        (name, value.clone())
    });
    Value::Object(fields.collect::<Map<_, _>>())
}
