//! The form of a question: a flat object of scalars and of lists of scalars, whose defaults and choices may come from data.

use serde_json::{Map, Value, json};

use crate::{
    expression::{JsonTemplate, Scope, type_name},
    kinds::Failure,
    plan::Place,
    schema::Schema,
};
use signoff_api::{Json, reason::StepReason};

/// Most values that a field offers.
const MAX_CHOICES: usize = 200;
/// Largest form, in bytes of JSON.
const MAX_FORM: usize = 32 * 1024;

/// A form with its expressions parsed.
#[derive(Debug)]
pub(super) struct FormPlan {
    form: Value,
    computed: Vec<Computed>,
}

/// A part of a form that data gives.
#[derive(Debug)]
struct Computed {
    /// JSON Pointer of it in the form.
    at: String,
    part: Part,
    template: JsonTemplate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Default,
    Choices,
}

impl FormPlan {
    /// Parses it at the field `form` of a place.
    pub(super) fn compile(place: &mut Place<'_, '_>, form: &Json) -> Self {
        let form = form.as_value();
        place.schema("form", Some(&Json(without_computed(form))));
        if form["type"] != json!("object") {
            place.problem("form", "a form is of type object");
        }
        let mut computed = Vec::new();
        let mut rest = form.clone();
        for (name, property) in form["properties"].as_object().into_iter().flatten() {
            if !is_scalar(property) && !is_list(property) {
                place.problem(
                    &format!("form.properties.{name}"),
                    "a form's field is a string, number, integer, boolean, or a list of one of them",
                );
            }
            let pointer = format!("/properties/{}", name.replace('~', "~0").replace('/', "~1"));
            let parts = [
                ("/default", Part::Default),
                ("/enum", Part::Choices),
                ("/items/enum", Part::Choices),
            ];
            for (below, part) in parts {
                let Some(value) = property.pointer(below).filter(|value| has_expression(value)) else {
                    continue;
                };
                let field = format!("form.properties.{name}{}", below.replace('/', "."));
                let template = place.json(&field, value, &[]);
                computed.extend(template.map(|template| Computed {
                    at: format!("{pointer}{below}"),
                    part,
                    template,
                }));
                if let Some(taken) = rest.pointer_mut(&format!("{pointer}{below}")) {
                    taken.take();
                }
            }
            if let Some(default) = property.get("default").filter(|default| !has_expression(default))
                && let Some(why) = misfit(&without_computed_property(property), default)
            {
                place.mistyped(&format!("form.properties.{name}.default"), 0, why);
            }
        }
        if has_expression(&rest) {
            let message = "expressions stand only in default and enum of a form's fields";
            place.mistyped("form", 0, message);
        }
        Self {
            form: form.clone(),
            computed,
        }
    }

    /// What it comes to.
    pub(super) fn value(&self, scope: &Scope) -> Result<Json, Failure> {
        let mut form = self.form.clone();
        for computed in &self.computed {
            let at = computed.at.trim_start_matches('/').replace('/', ".");
            let value = computed.template.value(scope);
            let value = value.map_err(|error| Failure::new(error.reason(), format!("form.{at}: {error}")))?;
            let value = match computed.part {
                Part::Default if value.is_null() => None,
                Part::Default => Some(value),
                Part::Choices => Some(choices(value).map_err(|why| invalid(&format!(".{at}"), &why))?),
            };
            put(&mut form, &computed.at, value);
        }
        if !self.computed.is_empty() {
            check(&form)?;
        }
        Ok(Json(form))
    }
}

/// Puts a value in the place of an expression, or takes that out.
fn put(form: &mut Value, pointer: &str, value: Option<Value>) {
    let Some((above, key)) = pointer.rsplit_once('/') else {
        return;
    };
    let Some(Value::Object(fields)) = form.pointer_mut(above) else {
        return;
    };
    match value {
        Some(value) => {
            fields.insert(key.to_owned(), value);
        }
        None => {
            fields.remove(key);
        }
    }
}

/// The values that a field offers, each once.
fn choices(value: Value) -> Result<Value, String> {
    let Value::Array(found) = value else {
        return Err(format!("it gives {}, not a list of values", type_name(&value)));
    };
    if found.is_empty() {
        return Err("it gives no value to choose from".to_owned());
    }
    if found.len() > MAX_CHOICES {
        return Err(format!("it gives more than {MAX_CHOICES} values"));
    }
    let mut all: Vec<Value> = Vec::with_capacity(found.len());
    for one in found {
        match one {
            Value::String(_) | Value::Number(_) | Value::Bool(_) => {}
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(format!("it gives a list with {} in it", type_name(&one)));
            }
        }
        if !all.contains(&one) {
            all.push(one);
        }
    }
    Ok(Value::Array(all))
}

/// Whether a form that data has a part in can be used.
fn check(form: &Value) -> Result<(), Failure> {
    if form.to_string().len() > MAX_FORM {
        return Err(invalid("", &format!("it is larger than {MAX_FORM} bytes")));
    }
    Schema::compile(form).map_err(|error| invalid("", &error.to_string()))?;
    for (name, property) in form["properties"].as_object().into_iter().flatten() {
        let own = property
            .get("items")
            .filter(|_| is_list(property))
            .unwrap_or(property);
        let offered = own.get("enum").and_then(Value::as_array).into_iter().flatten();
        let typed = json!({ "type": own["type"] });
        for one in offered {
            if let Some(why) = misfit(&typed, one) {
                return Err(invalid(&format!(".properties.{name}.enum"), &why));
            }
        }
        if let Some(why) = property
            .get("default")
            .and_then(|default| misfit(property, default))
        {
            return Err(invalid(&format!(".properties.{name}.default"), &why));
        }
    }
    Ok(())
}

fn invalid(at: &str, why: &str) -> Failure {
    let why: String = why.chars().take(300).collect();
    Failure::new(StepReason::InvalidForm, format!("form{at}: {why}"))
}

/// Why a value does not fit a schema that can be used.
fn misfit(schema: &Value, value: &Value) -> Option<String> {
    let misfits = Schema::compile(schema).ok()?.misfits(value);
    misfits.into_iter().next().map(|misfit| misfit.message)
}

fn is_scalar(schema: &Value) -> bool {
    matches!(
        schema["type"].as_str(),
        Some("string" | "number" | "integer" | "boolean")
    )
}

fn is_list(schema: &Value) -> bool {
    schema["type"] == json!("array") && is_scalar(&schema["items"])
}

fn has_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(has_expression),
        Value::Object(fields) => fields.values().any(has_expression),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A form as it is known before data is: without defaults and choices that are computed.
pub(crate) fn without_computed(form: &Value) -> Value {
    let mut form = form.clone();
    if let Some(Value::Object(properties)) = form.get_mut("properties") {
        for property in properties.values_mut() {
            *property = without_computed_property(property);
        }
    }
    form
}

fn without_computed_property(property: &Value) -> Value {
    let mut property = property.clone();
    let strip = |fields: &mut Map<String, Value>| {
        fields.retain(|key, value| !matches!(key.as_str(), "default" | "enum") || !has_expression(value));
    };
    if let Value::Object(fields) = &mut property {
        strip(fields);
        if let Some(Value::Object(items)) = fields.get_mut("items") {
            strip(items);
        }
    }
    property
}
