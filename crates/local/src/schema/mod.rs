//! Structural schemas: pruning, defaulting and validation, CEL rules included.

mod convert;
mod defaults;
mod duplicates;
mod prune;
mod rules;
mod typed;
mod wording;

pub use prune::resolve;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use jsonschema::{Draft, Validator};
use serde_json::Value;

use super::openapi::core;
use super::registry::ResourceKind;
use rules::Rules;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The reason of the cause, such as `FieldValueInvalid`.
    pub reason: String,
    /// Path of the field, such as `spec.steps[0].name`.
    pub field: String,
    /// What is wrong, in the words of Kubernetes.
    pub message: String,
}

/// The schema of one kind.
pub struct Schema {
    /// The schema as in the definition, or of the core kind; none for kinds that are not checked.
    root: Option<Value>,
    /// Definitions of core kinds are less strict than structural schemas: see [`prune`].
    custom: bool,
    rules: OnceLock<Rules>,
    validator: OnceLock<Option<Validator>>,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schema")
            .field("custom", &self.custom)
            .finish_non_exhaustive()
    }
}

impl Schema {
    fn new(root: Option<Value>, custom: bool) -> Self {
        Self {
            root,
            custom,
            rules: OnceLock::new(),
            validator: OnceLock::new(),
        }
    }

    /// A structural schema as it stands.
    #[cfg(test)]
    pub fn structural(schema: Value) -> Self {
        Self::new(Some(schema), true)
    }

    /// The schema itself.
    pub fn root(&self) -> Option<&Value> {
        self.root.as_ref()
    }

    /// A schema that accepts anything.
    pub fn unchecked() -> Self {
        Self::new(None, false)
    }

    /// The schema of a resource.
    pub fn of(kind: &ResourceKind) -> Self {
        match &kind.crd {
            Some(_) => Self::new(kind.custom_schema(), true),
            None => Self::new(core::schema(kind).map(|(_, schema)| schema), false),
        }
    }

    /// Removes fields that the schema does not know, and says which.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let Some(schema) = &self.root else {
            return Vec::new();
        };
        prune::prune(schema, self.custom, object)
    }

    /// Fills in defaults.
    pub fn default(&self, object: &mut Value) {
        if let (Some(schema), true) = (&self.root, self.custom) {
            defaults::fill(schema, object);
        }
    }

    /// What breaks the schema, or, where nothing does, its rules. `old` is the state before an update:
    /// what was wrong already and did not change is let through, and rules may compare with it.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let Some(schema) = &self.root else {
            return Vec::new();
        };
        let mut errors = self.duplicates(object);
        if !errors.is_empty() && old.is_some_and(|old| !self.duplicates(old).is_empty()) {
            errors.clear();
        }
        if let Some(validator) = self.validator(schema)
            && !validator.is_valid(object)
        {
            let broken: Vec<_> = validator
                .iter_errors(object)
                .filter(|error| {
                    let at = error.instance_path().as_str();
                    old.is_none_or(|old| at.is_empty() || old.pointer(at) != object.pointer(at))
                })
                .map(|error| wording::field_error(&error))
                .collect();
            if !broken.is_empty() {
                errors.extend(broken);
                return errors;
            }
        }
        if !self.custom {
            return errors;
        }
        let rules = self.rules.get_or_init(|| Rules::of(schema));
        let broken = rules.check(object, old);
        errors.extend(broken.iter().map(|error| wording::rule_error(error, object)));
        errors
    }

    /// Items that are there twice in lists whose items have to differ.
    pub fn duplicates(&self, object: &Value) -> Vec<FieldError> {
        match &self.root {
            Some(schema) if self.custom => duplicates::find(schema, object),
            _ => Vec::new(),
        }
    }

    fn validator(&self, schema: &Value) -> Option<&Validator> {
        let build = || {
            let whole = convert::json_schema(schema, !self.custom);
            let built = jsonschema::options()
                .with_draft(Draft::Draft4)
                .should_validate_formats(true)
                .build(&whole);
            built
                .inspect_err(|error| tracing::error!(%error, "a schema cannot be used for validation"))
                .ok()
        };
        self.validator.get_or_init(build).as_ref()
    }
}
