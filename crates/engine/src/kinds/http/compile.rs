//! How an `http` step is compiled.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};
use signoff_expression::{Declarations, StaticType};

use super::{Body, HttpPlan, Target, response::Expected};
use crate::{
    expression::{JsonTemplate, Template},
    plan::{Place, check},
    schema::Schema,
};
use signoff_api::{
    Json, header,
    step::{HttpMethod, HttpStep},
};

pub(super) fn compile(step: &HttpStep, place: &mut Place<'_, '_>) -> HttpPlan {
    let target = Target::compile(
        place,
        step.url.as_ref(),
        step.connection.as_ref(),
        step.path.as_ref(),
    );
    let body = body(step, place);
    let default_method = if body.is_some() {
        HttpMethod::Post
    } else {
        HttpMethod::Get
    };
    let method = step.method.unwrap_or(default_method);
    let redirects = step.redirects.unwrap_or(0);
    if redirects > 0 && !matches!(method, HttpMethod::Get | HttpMethod::Head) {
        place.problem("redirects", "only GET and HEAD follow redirects");
    }
    place.schema("schema", step.schema.as_ref());
    if saves(step) && step.schema.is_some() {
        place.problem("schema", "with save, the body is a resource, which has no schema");
    }
    let schema = step.schema.as_ref();
    let schema = schema.and_then(|schema| Schema::compile(schema.as_value()).ok());
    let output = step.output.as_ref().and_then(|output| {
        place
            .kept()
            .json("output", &output.0, &[("response", response(step))])
    });
    HttpPlan {
        target,
        method,
        headers: headers(place, step.headers.as_ref()),
        query: query(place, step.query.as_ref()),
        body,
        redirects: u8::try_from(redirects).unwrap_or(0),
        expected: expected(place, step),
        schema: schema.map(Arc::new),
        saves: saves(step),
        body_type: type_of_body(step),
        output,
    }
}

fn body(step: &HttpStep, place: &mut Place<'_, '_>) -> Option<Body> {
    let given = [
        step.body.is_some(),
        step.form.is_some(),
        step.text.is_some(),
        step.from.is_some(),
    ];
    if given.into_iter().filter(|is_there| *is_there).count() > 1 {
        place.problem("", "a request has one of body, form, text and from");
        return None;
    }
    if let Some(body) = &step.body {
        return place.json("body", &body.0, &[]).map(Body::Json);
    }
    if let Some(text) = &step.text {
        return place.template("text", text).map(Body::Text);
    }
    if let Some(from) = &step.from {
        return resource(place, "from", from).map(Body::Resource);
    }
    let form = step.form.as_ref()?;
    Some(Body::Form(texts(place, "form", form)))
}

/// One expression that gives a resource.
fn resource(place: &mut Place<'_, '_>, field: &str, text: &str) -> Option<JsonTemplate> {
    let template = place.json(field, &Value::String(text.to_owned()), &[])?;
    let expression = match &template {
        JsonTemplate::Text(text) => text.as_expression(),
        JsonTemplate::Literal(_) | JsonTemplate::Array(_) | JsonTemplate::Object(_) => None,
    };
    if expression.is_none() {
        place.problem(field, "a resource is one ${…} expression");
        return None;
    }
    let type_ = place.type_of_template(&template);
    if !check::may_be_resource(&type_) {
        let message = format!("it is a resource, such as the output of a step with save, not {type_}");
        place.mistyped(field, 0, message);
    }
    Some(template)
}

fn saves(step: &HttpStep) -> bool {
    step.save == Some(true)
}

fn headers(place: &mut Place<'_, '_>, headers: Option<&BTreeMap<String, String>>) -> Vec<(String, Template)> {
    for (name, value) in headers.into_iter().flatten() {
        let field = format!("headers.{name}");
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            place.problem(&field, "not a name for a header");
        } else if header::is_of_the_client(name) || name.eq_ignore_ascii_case("idempotency-key") {
            place.problem(&field, header::OF_THE_CLIENT_MESSAGE);
        } else if header::holds_credentials(name) {
            place.problem(
                &field,
                "credentials are not in a flow; use a Connection, whose auth names a Secret",
            );
        }
        if value.contains(['\r', '\n', '\0']) {
            place.problem(&field, "a header has no line breaks");
        }
    }
    headers.map_or_else(Vec::new, |headers| texts(place, "headers", headers))
}

fn query(place: &mut Place<'_, '_>, query: Option<&BTreeMap<String, Json>>) -> Option<JsonTemplate> {
    let query = query?;
    for (name, value) in query {
        let is_plain = |value: &Value| !matches!(value, Value::Null | Value::Array(_) | Value::Object(_));
        let fits = match &value.0 {
            Value::Array(items) => items.iter().all(is_plain),
            other => is_plain(other),
        };
        if !fits {
            let message = "a query parameter is a text, a number, a boolean, or a list of them";
            place.problem(&format!("query.{name}"), message);
        }
    }
    let entries = query.iter().map(|(name, value)| (name.clone(), value.0.clone()));
    place.json("query", &Value::Object(entries.collect::<Map<_, _>>()), &[])
}

fn expected(place: &mut Place<'_, '_>, step: &HttpStep) -> Expected {
    let Some(expect) = &step.expect else {
        return Expected::default();
    };
    let when = expect.when.as_ref();
    Expected {
        status: expect.status.clone().unwrap_or_default(),
        when: when.and_then(|when| place.condition("expect.when", when, &[("response", response(step))])),
    }
}

/// The type of a response that the step takes. Its body fits the schema.
fn response(step: &HttpStep) -> StaticType {
    check::response(type_of_body(step))
}

fn type_of_body(step: &HttpStep) -> StaticType {
    if saves(step) {
        return check::resource();
    }
    let schema = step.schema.as_ref().map(Json::as_value);
    schema.map_or(StaticType::Dyn, |schema| {
        check::type_of(schema, check::Defaults::Ignored)
    })
}

/// The type of the output, which is the body, or is made of the response.
pub(super) fn type_of_output(step: &HttpStep, declarations: &Declarations) -> StaticType {
    let Some(output) = &step.output else {
        return type_of_body(step);
    };
    let declarations = check::with(declarations, &[("response", response(step))]);
    match JsonTemplate::parse(output.as_value()) {
        Ok(template) => check::type_of_template(&template, &declarations),
        Err(_) => StaticType::Dyn,
    }
}

fn texts(
    place: &mut Place<'_, '_>,
    field: &str,
    entries: &BTreeMap<String, String>,
) -> Vec<(String, Template)> {
    let entries = entries.iter();
    entries
        .filter_map(|(key, text)| Some((key.clone(), place.template(&format!("{field}.{key}"), text)?)))
        .collect()
}
