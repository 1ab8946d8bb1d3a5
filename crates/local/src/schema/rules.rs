//! The rules of a structural schema (`x-kubernetes-validations`): found and parsed once, evaluated for each object.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use signoff_expression::{self as cel, Budget, Expr, Library, Limits, Node, Program, Scope};

use super::typed::Shape;

/// What all rules of an object may take together, as in Kubernetes.
const LIMITS: Limits = Limits {
    steps: 10_000_000,
    bytes: 64 << 20,
};
/// Deepest schema whose rules are looked for.
const MAX_DEPTH: usize = 64;

/// The rules of a schema and of everything below it.
#[derive(Debug, Default)]
pub(super) struct Rules {
    shape: Shape,
    here: Vec<Result<Rule, Broken>>,
    properties: BTreeMap<String, Rules>,
    items: Option<Box<Rules>>,
    additional: Option<Box<Rules>>,
    /// The fields by which the items of a list are told apart.
    keys: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    source: String,
    program: Program,
    message: Option<String>,
    message_expression: Option<Program>,
    reason: Option<String>,
    field_path: Option<String>,
    compares: bool,
    takes_no_old: bool,
}

/// A rule that cannot be used.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) message: String,
}

/// A rule that an object does not keep.
#[derive(Debug)]
pub(super) struct RuleError {
    /// Where, such as `spec.steps[0]`.
    pub(super) field: String,
    /// What is wrong.
    pub(super) message: String,
    /// The reason that the rule gives.
    pub(super) reason: Option<String>,
}

impl Rules {
    /// Those of a schema.
    pub(super) fn of(schema: &Value) -> Self {
        Self::within(schema, 0)
    }

    fn within(schema: &Value, depth: usize) -> Self {
        if depth > MAX_DEPTH {
            return Self::default();
        }
        let below = |schema: &Value| Self::within(schema, depth + 1);
        let kept = |rules: Self| (!rules.is_empty()).then(|| Box::new(rules));
        let properties = schema["properties"].as_object().into_iter().flatten();
        let keys = match schema["x-kubernetes-list-type"].as_str() {
            Some("map") => texts(&schema["x-kubernetes-list-map-keys"]),
            _ => Vec::new(),
        };
        Self {
            shape: Shape::of(schema),
            here: schema["x-kubernetes-validations"]
                .as_array()
                .into_iter()
                .flatten()
                .map(Rule::parse)
                .collect(),
            properties: properties
                .map(|(name, schema)| (name.clone(), below(schema)))
                .filter(|(_, rules)| !rules.is_empty())
                .collect(),
            items: schema.get("items").map(below).and_then(kept),
            additional: schema
                .get("additionalProperties")
                .filter(|schema| schema.is_object())
                .map(below)
                .and_then(kept),
            keys,
        }
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty()
            && self.properties.is_empty()
            && self.items.is_none()
            && self.additional.is_none()
    }

    /// Every rule that cannot be used.
    #[cfg(test)]
    pub(super) fn broken(&self) -> Vec<Broken> {
        let here = self.here.iter().filter_map(|rule| rule.as_ref().err().cloned());
        let below = self
            .properties
            .values()
            .chain(self.items.as_deref())
            .chain(self.additional.as_deref());
        here.chain(below.flat_map(Self::broken)).collect()
    }

    /// What an object breaks. Rules that compare hold only where there was something before.
    pub(super) fn check(&self, object: &Value, old: Option<&Value>) -> Vec<RuleError> {
        let mut errors = Vec::new();
        let mut budget = Budget::new(LIMITS);
        // after what costs too much nothing is evaluated any more
        let _ = self.walk(object, old, "", &mut budget, &mut errors);
        errors
    }

    fn walk(
        &self,
        value: &Value,
        old: Option<&Value>,
        path: &str,
        budget: &mut Budget,
        errors: &mut Vec<RuleError>,
    ) -> Result<(), cel::Error> {
        if !value.is_null() {
            self.check_here(value, old, path, budget, errors)?;
        }
        match value {
            Value::Object(map) => self.walk_map(map, old, path, budget, errors),
            Value::Array(items) => {
                let Some(rules) = &self.items else {
                    return Ok(());
                };
                for (index, item) in items.iter().enumerate() {
                    let old = old.and_then(|old| self.same_item(item, old));
                    rules.walk(item, old, &format!("{path}[{index}]"), budget, errors)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn walk_map(
        &self,
        map: &Map<String, Value>,
        old: Option<&Value>,
        path: &str,
        budget: &mut Budget,
        errors: &mut Vec<RuleError>,
    ) -> Result<(), cel::Error> {
        for (name, value) in map {
            let Some(rules) = self.properties.get(name).or(self.additional.as_deref()) else {
                continue;
            };
            let old = old.and_then(|old| old.get(name));
            let below = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            rules.walk(value, old, &below, budget, errors)?;
        }
        Ok(())
    }

    /// The item with the same keys, in lists whose items have keys.
    fn same_item<'a>(&self, item: &Value, old: &'a Value) -> Option<&'a Value> {
        if self.keys.is_empty() {
            return None;
        }
        let is_same = |old: &&Value| self.keys.iter().all(|key| old.get(key) == item.get(key));
        old.as_array()?.iter().find(is_same)
    }

    fn check_here(
        &self,
        value: &Value,
        old: Option<&Value>,
        path: &str,
        budget: &mut Budget,
        errors: &mut Vec<RuleError>,
    ) -> Result<(), cel::Error> {
        if self.here.is_empty() {
            return Ok(());
        }
        let mut scope = Scope::default();
        scope.set("self", self.shape.value(value));
        match old {
            Some(old) => scope.set("oldSelf", self.shape.value(old)),
            None => scope.set("oldSelf", cel::Value::Optional(None)),
        };
        for rule in &self.here {
            let rule = match rule {
                Ok(rule) => rule,
                Err(broken) => {
                    errors.push(RuleError {
                        field: path.to_owned(),
                        message: broken.message.clone(),
                        reason: None,
                    });
                    continue;
                }
            };
            let mut scope = scope.clone();
            if rule.takes_no_old
                && let Some(old) = old
            {
                scope.set("oldSelf", cel::Value::some(self.shape.value(old)));
            } else if rule.compares && old.is_none() && !rule.takes_no_old {
                continue;
            }
            let (message, stop) = match rule.program.evaluate(&scope, budget) {
                Ok(cel::Value::Bool(true)) => continue,
                Ok(cel::Value::Bool(false)) => (rule.refusal(&scope, budget), None),
                Ok(other) => {
                    let given = other.type_of().name();
                    (format!("the rule gives a {given}: {}", rule.source), None)
                }
                Err(error) => rule.failure(error),
            };
            let field = match rule
                .field_path
                .as_deref()
                .map(|below| below.trim_start_matches('.'))
            {
                Some(below) if path.is_empty() => below.to_owned(),
                Some(below) => format!("{path}.{below}"),
                None => path.to_owned(),
            };
            errors.push(RuleError {
                field,
                message,
                reason: rule.reason.clone(),
            });
            if let Some(error) = stop {
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Rule {
    fn parse(rule: &Value) -> Result<Self, Broken> {
        let text = |field: &str| rule[field].as_str().map(str::to_owned);
        let source = text("rule").unwrap_or_default().trim().to_owned();
        let parse = |source: &str| {
            Program::parse(source, &Library::kubernetes()).map_err(|error| Broken {
                message: format!("failed to compile rule \"{source}\": {error}"),
            })
        };
        let program = parse(&source)?;
        let message_expression = text("messageExpression")
            .map(|source| parse(&source))
            .transpose()?;
        Ok(Self {
            compares: mentions(program.tree(), "oldSelf"),
            source,
            program,
            message: text("message"),
            message_expression,
            reason: text("reason"),
            field_path: text("fieldPath"),
            takes_no_old: rule["optionalOldSelf"] == Value::Bool(true),
        })
    }

    /// What an object is told that does not keep it.
    fn refusal<'a>(&'a self, scope: &Scope<'a>, budget: &mut Budget) -> String {
        let made = self
            .message_expression
            .as_ref()
            .map(|made| made.evaluate(scope, budget));
        match made {
            Some(Ok(cel::Value::String(text))) if !text.trim().is_empty() && !text.contains('\n') => {
                text.to_string()
            }
            _ => match &self.message {
                Some(message) => message.clone(),
                None => format!("failed rule: {}", self.source),
            },
        }
    }

    /// What is said when it has no value, and the error if nothing more may be evaluated.
    fn failure(&self, error: cel::Error) -> (String, Option<cel::Error>) {
        let rule = self.message.as_ref().unwrap_or(&self.source);
        if error.is_budget_exceeded() {
            let message = format!(
                "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {rule}"
            );
            return (message, Some(error));
        }
        let message = match error {
            cel::Error::NoSuchOverload(_) => format!(
                "'{error}': call arguments did not match a supported operator, function or macro signature for \
                 rule: {rule}"
            ),
            _ => format!("'{error}' evaluating rule: {rule}"),
        };
        (message, None)
    }
}

fn mentions(expr: &Expr, name: &str) -> bool {
    matches!(&expr.node, Node::Variable(known) if known == name)
        || expr.children().into_iter().any(|child| mentions(child, name))
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
