//! Label and field selectors.

use std::collections::BTreeSet;

use kube::core::{Expression, Selector, SelectorExt};

use crate::registry::ResourceKind;
use crate::status::ApiError;
use crate::store::Entry;

/// Which objects a list or watch is about.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    labels: Selector,
    fields: Vec<FieldTerm>,
    namespace: Option<String>,
}

#[derive(Debug, Clone)]
struct FieldTerm {
    field: Field,
    value: String,
    equal: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    /// Index into the kind's selectable fields.
    Selectable(usize),
}

impl Filter {
    /// Parses the selectors of a request on a kind; `None` stands for every namespace.
    pub fn parse(
        kind: &ResourceKind,
        namespace: Option<&str>,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Result<Self, ApiError> {
        let bad = |what: &str| ApiError::bad_request(format!("unable to parse requirement: {what}"));
        Ok(Self {
            labels: parse_labels(labels.unwrap_or_default()).map_err(|e| bad(&e))?,
            fields: parse_fields(kind, fields.unwrap_or_default())?,
            namespace: namespace.map(str::to_owned),
        })
    }

    /// Whether every object in the namespace passes.
    pub fn selects_all(&self) -> bool {
        self.labels.selects_all() && self.fields.is_empty()
    }

    /// Whether the object passes.
    pub fn admits(&self, entry: &Entry) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == entry.namespace)
            && self.fields.iter().all(|term| term.admits(entry))
            && (self.labels.selects_all() || self.labels.matches(&entry.labels))
    }
}

impl FieldTerm {
    fn admits(&self, entry: &Entry) -> bool {
        let found = match self.field {
            Field::Name => Some(&entry.name),
            Field::Namespace => Some(&entry.namespace),
            Field::Selectable(index) => entry.fields.get(index),
        };
        (found == Some(&self.value)) == self.equal
    }
}

fn parse_fields(kind: &ResourceKind, text: &str) -> Result<Vec<FieldTerm>, ApiError> {
    let mut terms = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (name, value, equal) = if let Some((name, value)) = part.split_once("!=") {
            (name, value, false)
        } else if let Some((name, value)) = part.split_once("==") {
            (name, value, true)
        } else if let Some((name, value)) = part.split_once('=') {
            (name, value, true)
        } else {
            return Err(ApiError::bad_request(format!(
                "invalid selector: '{text}'; can't understand '{part}'"
            )));
        };
        let selectable = |name: &str| kind.selectable_fields.iter().position(|path| path[1..] == *name);
        let field = match name {
            "metadata.name" => Field::Name,
            "metadata.namespace" if kind.namespaced => Field::Namespace,
            other => match selectable(other) {
                Some(index) => Field::Selectable(index),
                None => {
                    return Err(ApiError::bad_request(format!(
                        "field label not supported: {other}"
                    )));
                }
            },
        };
        terms.push(FieldTerm {
            field,
            value: value.to_owned(),
            equal,
        });
    }
    Ok(terms)
}

/// Parses the text form of a label selector: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
fn parse_labels(text: &str) -> Result<Selector, String> {
    split_outside_parentheses(text)
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(parse_label)
        .collect::<Result<Vec<_>, _>>()
        .map(|all| all.into_iter().collect())
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_label(part: &str) -> Result<Expression, String> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Expression::DoesNotExist(label_key(key)?));
    }
    if let Some((head, set)) = part.split_once('(') {
        let set = set
            .trim_end()
            .strip_suffix(')')
            .ok_or_else(|| format!("found '{part}', expected: ')'"))?;
        let values: BTreeSet<String> = set.split(',').map(|v| v.trim().to_owned()).collect();
        return match head.split_whitespace().collect::<Vec<_>>().as_slice() {
            [key, "in"] => Ok(Expression::In(label_key(key)?, values)),
            [key, "notin"] => Ok(Expression::NotIn(label_key(key)?, values)),
            _ => Err(format!("found '{part}', expected: in, notin")),
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Expression::NotEqual(label_key(key)?, value.trim().to_owned()));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Expression::Equal(label_key(key)?, value.trim().to_owned()));
    }
    Ok(Expression::Exists(label_key(part)?))
}

fn label_key(text: &str) -> Result<String, String> {
    let key = text.trim();
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if key.is_empty() || !key.chars().all(letters) {
        return Err(format!("found '{key}', expected: identifier"));
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn passes(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels: BTreeMap<_, _> = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        parse_labels(selector).unwrap().matches(&labels)
    }

    #[test]
    fn every_form_of_a_label_selector_is_understood() {
        let labels = [("app", "shop"), ("signoff.dev/flow", "refund")];
        assert!(passes("", &labels));
        assert!(passes("app=shop,signoff.dev/flow==refund", &labels));
        assert!(passes("app in (shop, other),!gone,app", &labels));
        assert!(!passes("app notin (shop)", &labels));
        assert!(!passes("app!=shop", &labels));
        assert!(passes("gone!=x", &labels));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["a in (b", "a near (b)", "a b"] {
            assert!(parse_labels(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let registry = crate::registry::Registry::new([]);
        let kind = registry.resource("", "configmaps").unwrap();
        let error = Filter::parse(kind, None, None, Some("spec.x=1")).unwrap_err();
        assert_eq!(error.to_string(), "field label not supported: spec.x");
        assert!(Filter::parse(kind, None, None, Some("metadata.name=a,metadata.namespace!=b")).is_ok());
    }
}
