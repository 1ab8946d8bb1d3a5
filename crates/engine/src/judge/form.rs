//! What a decider may fill in: the fields of a form, and whether what was filled in fits it.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::schema::{Schema, SchemaError};
use signoff_api::{Json, Verdict, json::JsonObject};

/// A form that is ready to check values. It is closed: a key that it does not list is refused, whatever its schema says of others.
#[derive(Debug)]
pub struct Form<'a> {
    schema: Option<&'a Value>,
    /// Compiled when values are checked for the first time: most questions are looked at and not answered.
    checked: OnceLock<Result<Schema, SchemaError>>,
}

impl<'a> Form<'a> {
    /// The form of an approval; where there is none, nothing may be filled in.
    pub fn of(form: Option<&'a Json>) -> Self {
        Self {
            schema: form.map(Json::as_value),
            checked: OnceLock::new(),
        }
    }

    /// The fields, in the order of their names.
    pub fn fields(&self) -> Vec<Field<'a>> {
        let Some(schema) = self.schema else {
            return Vec::new();
        };
        let required: Vec<&str> = texts(&schema["required"]);
        let properties = schema["properties"].as_object().into_iter().flatten();
        properties
            .map(|(name, schema)| Field {
                name,
                required: required.contains(&name.as_str()),
                schema,
            })
            .collect()
    }

    /// The keys that the form does not list.
    pub fn unknown(&self, values: Option<&JsonObject>) -> Vec<String> {
        let known = self.schema.and_then(|schema| schema["properties"].as_object());
        let keys = values.into_iter().flat_map(|values| values.0.keys());
        keys.filter(|key| known.is_none_or(|known| !known.contains_key(*key)))
            .map(|key| match known {
                Some(_) => format!("{key}: the form has no such field"),
                None => format!("{key}: there is no form to fill in"),
            })
            .collect()
    }

    /// All that is wrong with values: keys that are not listed or missing, types, formats, values that are not allowed.
    pub fn problems(&self, values: Option<&JsonObject>) -> Vec<String> {
        let mut problems = self.unknown(values);
        let values = values.map_or_else(|| Value::Object(Map::new()), JsonObject::to_value);
        let checked = self
            .schema
            .map(|schema| self.checked.get_or_init(|| Schema::compile(schema)));
        match checked {
            None => {}
            Some(Err(error)) => problems.push(format!("the form cannot be used: {error}")),
            Some(Ok(schema)) => problems.extend(schema.misfits(&values).into_iter().map(|misfit| {
                let field = misfit.pointer.trim_start_matches('/').replace('/', ".");
                let message = misfit.message;
                if field.is_empty() {
                    message
                } else {
                    format!("{field}: {message}")
                }
            })),
        }
        problems
    }
}

impl Form<'_> {
    /// Values as people type them, by the names of fields, read as the form declares them, and all that is wrong with them. Only an
    /// approval has to fill in what is required.
    pub fn read(&self, given: &[(String, String)], verdict: Verdict) -> (Option<JsonObject>, Vec<String>) {
        let fields = self.fields();
        let (mut values, mut problems) = (Map::new(), Vec::new());
        for (key, text) in given {
            let field = fields.iter().find(|field| field.name == key);
            match (values.get_mut(key), read(text, field)) {
                (None, value) => {
                    values.insert(key.clone(), value);
                }
                // a list may be given entry by entry
                (Some(Value::Array(entries)), Value::Array(more)) if field.is_some_and(Field::is_list) => {
                    entries.extend(more);
                }
                (Some(_), _) => problems.push(format!("{key}: it is given twice")),
            }
        }
        let values = (!values.is_empty()).then_some(JsonObject(values));
        problems.extend(match verdict {
            Verdict::Approve => self.problems(values.as_ref()),
            Verdict::Reject | Verdict::RequestChanges | Verdict::Delegate | Verdict::Withdraw => {
                self.unknown(values.as_ref())
            }
        });
        (values, problems)
    }
}

/// A value as its field declares it: of a list, a JSON list or one entry.
fn read(text: &str, field: Option<&Field<'_>>) -> Value {
    let text_only = || Value::String(text.to_owned());
    let scalar = || match field.map(Field::scalar) {
        Some("string") => text_only(),
        Some(_) | None => serde_json::from_str(text).unwrap_or_else(|_| text_only()),
    };
    if !field.is_some_and(Field::is_list) {
        return scalar();
    }
    match serde_json::from_str(text) {
        Ok(Value::Array(entries)) => Value::Array(entries),
        Ok(_) | Err(_) => Value::Array(vec![scalar()]),
    }
}

/// One field of a form.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Its key in the values.
    pub name: &'a str,
    /// Whether it has to be filled in to approve.
    pub required: bool,
    schema: &'a Value,
}

impl Field<'_> {
    /// The type of its value, or of each entry if it is a list.
    pub fn scalar(&self) -> &str {
        self.one()["type"].as_str().unwrap_or("any")
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        self.schema["type"] == "array"
    }

    /// The schema of its value, or of each entry if it is a list.
    fn one(&self) -> &Value {
        if self.is_list() {
            &self.schema["items"]
        } else {
            self.schema
        }
    }

    /// Its type and what limits it, in words: `integer, required, at least 0; default 5`.
    pub fn terms(&self) -> String {
        let mut terms = vec![if self.is_list() {
            format!("list of {}", self.scalar())
        } else {
            self.scalar().to_owned()
        }];
        if self.required {
            terms.push("required".to_owned());
        }
        let schema = self.one();
        if let Some(allowed) = schema["enum"].as_array() {
            let allowed: Vec<String> = allowed.iter().map(plain).collect();
            terms.push(format!("one of {}", allowed.join(", ")));
        }
        if let Some(allowed) = schema["oneOf"].as_array() {
            let allowed: Vec<String> = allowed.iter().map(|one| plain(&one["const"])).collect();
            terms.push(format!("one of {}", allowed.join(", ")));
        }
        for (key, words) in [
            ("const", "always"),
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
            ("multipleOf", "a multiple of"),
            ("minLength", "characters at least"),
            ("maxLength", "characters at most"),
            ("format", "format"),
            ("pattern", "pattern"),
        ] {
            if let Some(limit) = schema.get(key) {
                terms.push(format!("{words} {}", plain(limit)));
            }
        }
        for (key, words) in [("minItems", "entries at least"), ("maxItems", "entries at most")] {
            if let Some(limit) = self.schema.get(key).filter(|_| self.is_list()) {
                terms.push(format!("{words} {limit}"));
            }
        }
        if self.is_list() && self.schema["uniqueItems"] == true {
            terms.push("each once".to_owned());
        }
        let default = self
            .schema
            .get("default")
            .map(|default| format!("; default {}", plain(default)));
        terms.join(", ") + &default.unwrap_or_default()
    }

    /// What may be chosen, as it is typed, if that is limited to a list and only one may be chosen.
    pub fn options(&self) -> Vec<String> {
        if self.is_list() {
            return Vec::new();
        }
        if self.scalar() == "boolean" {
            return vec!["true".to_owned(), "false".to_owned()];
        }
        let allowed = self.schema["enum"].as_array().into_iter().flatten();
        let consts = self.schema["oneOf"].as_array().into_iter().flatten();
        allowed
            .chain(consts.map(|one| &one["const"]))
            .map(plain)
            .collect()
    }

    /// Its default, if it has one.
    pub fn default(&self) -> Option<&Value> {
        self.schema.get("default")
    }

    /// What the flow says of it.
    pub fn about(&self) -> Option<&str> {
        ["description", "title"]
            .iter()
            .find_map(|key| self.schema[key].as_str())
    }
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// A value in words: text as it is, all else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form() -> Json {
        Json(json!({
            "type": "object", "required": ["amount", "currency"], "additionalProperties": true,
            "properties": {
                "amount": {"type": "integer", "minimum": 0, "maximum": 500, "description": "how much"},
                "currency": {"type": "string", "enum": ["EUR", "USD"], "default": "EUR"},
                "until": {"type": "string", "format": "date"},
                "tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "maxItems": 2, "uniqueItems": true},
            },
        }))
    }

    fn problems(values: &Value) -> Vec<String> {
        let values = JsonObject(values.as_object().cloned().unwrap());
        Form::of(Some(&form())).problems(Some(&values))
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        assert_eq!(
            problems(&json!({"amount": 5, "currency": "EUR"})),
            Vec::<String>::new()
        );
        let found = problems(&json!({"amount": "5", "until": "tomorrow", "admin": true}));
        assert_eq!(found.len(), 4, "{found:#?}");
        let said = found.join("\n");
        for part in [
            "admin: the form has no such field",
            r#"amount: "5" is not of type "integer""#,
            r#""currency" is a required property"#,
            r#"until: "tomorrow" is not a "date""#,
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        let found = problems(&json!({"amount": 501, "currency": "CHF"}));
        assert_eq!(found.len(), 2, "{found:#?}");
    }

    #[test]
    fn a_list_is_filled_in_with_values_that_are_on_offer() {
        let with = |tags: Value| problems(&json!({"amount": 5, "currency": "EUR", "tags": tags}));
        assert_eq!(with(json!(["b", "a"])), [""; 0]);
        assert_eq!(with(json!([])), [""; 0]);
        for bad in [
            json!("a"),
            json!(["c"]),
            json!(["a", "a"]),
            json!([["a"]]),
            json!([1]),
            json!({"a": 1}),
        ] {
            assert!(!with(bad.clone()).is_empty(), "{bad}");
        }
    }

    #[test]
    fn without_a_form_nothing_is_filled_in() {
        let values = JsonObject(json!({"a": 1}).as_object().cloned().unwrap());
        let none = Form::of(None);
        assert_eq!(none.problems(Some(&values)), ["a: there is no form to fill in"]);
        assert_eq!(none.problems(None), Vec::<String>::new());
    }

    #[test]
    fn a_field_says_what_may_be_filled_in() {
        let form = form();
        let form = Form::of(Some(&form));
        let terms: Vec<String> = form
            .fields()
            .iter()
            .map(|field| format!("{} ({})", field.name, field.terms()))
            .collect();
        assert_eq!(
            terms,
            [
                "amount (integer, required, at least 0, at most 500)",
                "currency (string, required, one of EUR, USD; default EUR)",
                "tags (list of string, one of a, b, entries at most 2, each once)",
                "until (string, format date)",
            ]
        );
        assert_eq!(form.fields()[0].about(), Some("how much"));
    }
}
