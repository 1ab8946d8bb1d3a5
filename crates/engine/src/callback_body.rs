//! What a wait asks of the body of its callback: a schema and a condition.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    expression::{Scope, Template},
    plan::check::{Defaults, as_declared, type_of},
    schema::Schema,
};
use signoff_api::step::CallbackWait;

/// Checks a body and the headers it came with; names of headers are in lower case.
///
/// # Errors
/// Why the wait does not take it, for the sender.
pub fn check(wait: &CallbackWait, headers: &BTreeMap<String, String>, body: &Value) -> Result<(), String> {
    if let Some(schema) = &wait.schema {
        let schema = Schema::compile(schema.as_value())
            .map_err(|error| format!("the wait's schema cannot be used: {error}"))?;
        if let Some(misfit) = schema.misfits(body).first() {
            return Err(format!(
                "the body does not fit at {:?}: {}",
                misfit.pointer, misfit.message
            ));
        }
    }
    let Some(accept) = &wait.accept else {
        return Ok(());
    };
    let body = match &wait.schema {
        Some(schema) => as_declared(body.clone(), &type_of(schema.as_value(), Defaults::Ignored)),
        None => body.clone(),
    };
    match holds(accept, headers, body) {
        Ok(true) => Ok(()),
        Ok(false) => Err("the wait does not accept this body".to_owned()),
        Err(message) => Err(format!(
            "whether the wait accepts this body cannot be told: {message}"
        )),
    }
}

/// Whether a condition over a body and headers is true.
pub(crate) fn holds(accept: &str, headers: &BTreeMap<String, String>, body: Value) -> Result<bool, String> {
    let template = Template::parse(accept).map_err(|_| "it is no expression")?;
    let expression = template.as_expression().ok_or("it is not one expression")?;
    let headers: Map<String, Value> = headers
        .iter()
        .map(|(name, value)| (name.clone(), Value::String(value.clone())))
        .collect();
    let mut scope = Scope::default();
    scope.set("body", body).set("headers", Value::Object(headers));
    expression.holds(&scope).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wait(wait: Value) -> CallbackWait {
        serde_json::from_value(wait).unwrap()
    }

    #[test]
    fn a_body_must_fit_the_schema_and_the_condition() {
        let wait = wait(json!({
            "schema": {"type": "object", "required": ["ok"]},
            "accept": "${body.ok && headers['x-kind'] == 'done'}",
        }));
        let headers = BTreeMap::from([("x-kind".to_owned(), "done".to_owned())]);
        assert!(check(&wait, &headers, &json!({"ok": true})).is_ok());
        assert!(check(&wait, &headers, &json!({"ok": false})).is_err());
        assert!(check(&wait, &headers, &json!({})).is_err());
        assert!(check(&wait, &BTreeMap::new(), &json!({"ok": true})).is_err());
    }

    #[test]
    fn a_condition_sees_numbers_as_the_schema_declares_them() {
        let wait = wait(json!({
            "schema": {"type": "object", "required": ["n"], "properties": {"n": {"type": "number"}}},
            "accept": "${body.n * 1.5 == 3.0}",
        }));
        assert_eq!(check(&wait, &BTreeMap::new(), &json!({"n": 2})), Ok(()));
    }

    #[test]
    fn a_condition_that_costs_too_much_accepts_nothing() {
        let accept = "${body.l.all(x, body.l.all(y, x + y >= 0))}";
        let wait = wait(json!({ "accept": accept }));
        let body = json!({"l": vec![1; 3_000]});
        let why = check(&wait, &BTreeMap::new(), &body).unwrap_err();
        assert!(why.contains("too costly"), "{why}");
    }
}
