//! Templates: text with `${…}` in it, alone or within a JSON value.

use serde_json::{Map, Value};
use signoff_expression::Budget;

use super::{EvaluationError, Expression, ExpressionProblem, Scope};

/// A string with expressions in it.
#[derive(Clone, Debug, Default)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    /// An expression, and where it begins in the string.
    Expression(usize, Expression),
}

impl Template {
    /// Parses a string; positions are bytes from its start. All problems are reported.
    pub fn parse(text: &str) -> Result<Self, Vec<ExpressionProblem>> {
        let mut parts = Vec::new();
        let mut problems = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(found) = text[at..].find('$') {
            let start = at + found;
            literal.push_str(&text[at..start]);
            if text[start..].starts_with("$${") {
                literal.push_str("${");
                at = start + 3;
            } else if text[start..].starts_with("${") {
                let Some(end) = closing_brace(&text[start + 2..]).map(|end| start + 2 + end) else {
                    problems.push(ExpressionProblem {
                        offset: start,
                        message: "${ without its closing }".to_owned(),
                    });
                    at = text.len();
                    break;
                };
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                match Expression::parse(&text[start + 2..end]) {
                    Ok(expression) => parts.push(Part::Expression(start + 2, expression)),
                    Err(problem) => problems.push(ExpressionProblem {
                        offset: start + 2 + problem.offset,
                        ..problem
                    }),
                }
                at = end + 1;
            } else {
                literal.push('$');
                at = start + 1;
            }
        }
        literal.push_str(&text[at..]);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        if problems.is_empty() {
            Ok(Self { parts })
        } else {
            Err(problems)
        }
    }

    /// The expressions in it, each with where it begins in the string.
    pub fn expressions(&self) -> impl Iterator<Item = (usize, &Expression)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Expression(offset, expression) => Some((*offset, expression)),
            Part::Text(_) => None,
        })
    }

    /// The text before the first expression.
    pub fn prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            Some(Part::Expression(..)) | None => "",
        }
    }

    /// The text with an `x` in the place of each expression.
    pub fn outline(&self) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Expression(..) => "x",
        });
        parts.collect()
    }

    /// The expression, if the string is exactly one.
    pub fn as_expression(&self) -> Option<&Expression> {
        match self.parts.as_slice() {
            [Part::Expression(_, expression)] => Some(expression),
            _ => None,
        }
    }

    /// Whether it holds no expression, and the text if so.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Its value: of the expression's own type when it is exactly one, otherwise text.
    pub fn value(&self, scope: &Scope) -> Result<Value, EvaluationError> {
        self.value_within(scope, &mut Budget::default())
    }

    fn value_within(&self, scope: &Scope, budget: &mut Budget) -> Result<Value, EvaluationError> {
        self.present_within(scope, budget).map(Option::unwrap_or_default)
    }

    fn present_within(&self, scope: &Scope, budget: &mut Budget) -> Result<Option<Value>, EvaluationError> {
        if let Some(expression) = self.as_expression() {
            return expression.present_within(scope, budget);
        }
        let text = self.text_within(scope, budget, |text| text)?;
        Ok(Some(Value::String(text)))
    }

    /// Its value as text; none if it is exactly one expression, and that gives `optional.none()`.
    pub fn present_text(&self, scope: &Scope) -> Result<Option<String>, EvaluationError> {
        let value = self.present_within(scope, &mut Budget::default())?;
        Ok(value.map(as_text))
    }

    /// Its value as text: strings as they are, everything else as JSON.
    pub fn text(&self, scope: &Scope) -> Result<String, EvaluationError> {
        self.text_with(scope, |text| text)
    }

    /// As [`Template::text`], with every inserted value passed through `encode`.
    pub fn text_with(
        &self,
        scope: &Scope,
        encode: impl Fn(String) -> String,
    ) -> Result<String, EvaluationError> {
        self.text_within(scope, &mut Budget::default(), encode)
    }

    fn text_within(
        &self,
        scope: &Scope,
        budget: &mut Budget,
        encode: impl Fn(String) -> String,
    ) -> Result<String, EvaluationError> {
        self.insert_within(scope, budget, |out, value| {
            out.push_str(&encode(value));
            Ok(())
        })
    }

    /// As [`Template::text`], where `insert` appends each value to what stands before it, or refuses it.
    pub fn text_inserting<E: From<EvaluationError>>(
        &self,
        scope: &Scope,
        insert: impl FnMut(&mut String, String) -> Result<(), E>,
    ) -> Result<String, E> {
        self.insert_within(scope, &mut Budget::default(), insert)
    }

    fn insert_within<E: From<EvaluationError>>(
        &self,
        scope: &Scope,
        budget: &mut Budget,
        mut insert: impl FnMut(&mut String, String) -> Result<(), E>,
    ) -> Result<String, E> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Expression(_, expression) => {
                    let value = as_text(expression.evaluate_within(scope, budget)?);
                    insert(&mut out, value)?;
                }
            }
        }
        Ok(out)
    }
}

fn as_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Where the `}` is that ends an expression: braces inside CEL literals and strings do not.
fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            quote @ (b'"' | b'\'') => {
                let raw = at > 0 && matches!(bytes[at - 1], b'r' | b'R');
                at = end_of_string(bytes, at, quote, raw)?;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The position after a CEL string literal that starts at `start`; triple quotes and escapes as in the CEL specification.
fn end_of_string(bytes: &[u8], start: usize, quote: u8, raw: bool) -> Option<usize> {
    let triple = bytes[start..].starts_with(&[quote; 3]);
    let width = if triple { 3 } else { 1 };
    let mut at = start + width;
    while at < bytes.len() {
        if bytes[at] == b'\\' && !raw {
            at += 2;
        } else if bytes[at..].starts_with(&[quote; 3][..width]) {
            return Some(at + width);
        } else {
            at += 1;
        }
    }
    None
}

/// A JSON value with templates for its strings.
#[derive(Clone, Debug)]
pub enum JsonTemplate {
    /// A value without expressions.
    Literal(Value),
    /// A string with expressions.
    Text(Template),
    /// A list.
    Array(Vec<JsonTemplate>),
    /// An object.
    Object(Vec<(String, JsonTemplate)>),
}

/// A problem somewhere in a JSON value.
pub type Located = (String, ExpressionProblem);

impl JsonTemplate {
    /// Parses every string in a value. Problems come with the path below the value, such as `.order` or `[2].name`.
    pub fn parse(value: &Value) -> Result<Self, Vec<Located>> {
        let (parsed, problems) = Self::parse_all(value);
        if problems.is_empty() {
            Ok(parsed)
        } else {
            Err(problems)
        }
    }

    /// What can be parsed of a value, and the problems. A string that cannot be parsed is null.
    pub(crate) fn parse_all(value: &Value) -> (Self, Vec<Located>) {
        let mut problems = Vec::new();
        let parsed = Self::parse_at(value, "", &mut problems);
        (parsed, problems)
    }

    fn parse_at(value: &Value, path: &str, problems: &mut Vec<Located>) -> Self {
        match value {
            Value::String(text) if text.contains('$') => match Template::parse(text) {
                Ok(template) => Self::Text(template),
                Err(found) => {
                    problems.extend(found.into_iter().map(|problem| (path.to_owned(), problem)));
                    Self::Literal(Value::Null)
                }
            },
            Value::Array(items) => Self::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| Self::parse_at(item, &format!("{path}[{i}]"), problems))
                    .collect(),
            ),
            Value::Object(map) => Self::Object(
                map.iter()
                    .map(|(key, item)| {
                        (
                            key.clone(),
                            Self::parse_at(item, &format!("{path}.{key}"), problems),
                        )
                    })
                    .collect(),
            ),
            other => Self::Literal(other.clone()),
        }
    }

    /// The expressions in it, each with the path of its string and where it begins there.
    pub fn expressions(&self) -> Vec<(String, usize, &Expression)> {
        let mut found = Vec::new();
        self.collect("", &mut found);
        found
    }

    fn collect<'a>(&'a self, path: &str, found: &mut Vec<(String, usize, &'a Expression)>) {
        match self {
            Self::Literal(_) => {}
            Self::Text(template) => found.extend(
                template
                    .expressions()
                    .map(|(offset, expression)| (path.to_owned(), offset, expression)),
            ),
            Self::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    item.collect(&format!("{path}[{i}]"), found);
                }
            }
            Self::Object(entries) => {
                for (key, item) in entries {
                    item.collect(&format!("{path}.{key}"), found);
                }
            }
        }
    }

    /// Its value, if there is no expression in it.
    pub fn as_literal(&self) -> Option<Value> {
        match self {
            Self::Literal(value) => Some(value.clone()),
            Self::Text(text) => text.as_literal().map(Value::from),
            Self::Array(items) => items.iter().map(Self::as_literal).collect::<Option<_>>(),
            Self::Object(entries) => {
                let entries = entries.iter();
                let entries = entries.map(|(key, item)| Some((key.clone(), item.as_literal()?)));
                entries.collect::<Option<Map<_, _>>>().map(Value::Object)
            }
        }
    }

    /// Its value. All expressions in it share one budget: there may be many. An element or a key whose value is one
    /// expression that gives `optional.none()` is left out.
    pub fn value(&self, scope: &Scope) -> Result<Value, EvaluationError> {
        self.present(scope).map(Option::unwrap_or_default)
    }

    /// The same; none if all of it is one expression that gives `optional.none()`.
    pub fn present(&self, scope: &Scope) -> Result<Option<Value>, EvaluationError> {
        self.present_within(scope, &mut Budget::default())
    }

    /// The same, within what is left of a budget.
    pub(crate) fn present_within(
        &self,
        scope: &Scope,
        budget: &mut Budget,
    ) -> Result<Option<Value>, EvaluationError> {
        Ok(Some(match self {
            Self::Literal(value) => value.clone(),
            Self::Text(template) => return template.present_within(scope, budget),
            Self::Array(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.extend(item.present_within(scope, budget)?);
                }
                Value::Array(list)
            }
            Self::Object(entries) => {
                let mut map = Map::new();
                for (key, item) in entries {
                    let value = item.present_within(scope, budget)?;
                    map.extend(value.map(|value| (key.clone(), value)));
                }
                Value::Object(map)
            }
        }))
    }
}
