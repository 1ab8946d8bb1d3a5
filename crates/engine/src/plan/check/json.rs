//! The types of values that are made of expressions, as they are when they are read again.

use std::collections::BTreeMap;

use serde_json::Value;
use signoff_expression::{Declarations, Field, ObjectType, StaticType, Type};

use crate::expression::{Expression, JsonTemplate};

/// The type of an expression; any, if something is wrong with it, which is told elsewhere.
pub(crate) fn type_of_expression(expression: &Expression, declarations: &Declarations) -> StaticType {
    expression.check(declarations).unwrap_or(StaticType::Dyn)
}

/// The type of what a template makes.
pub(crate) fn type_of_template(template: &JsonTemplate, declarations: &Declarations) -> StaticType {
    match template {
        JsonTemplate::Literal(value) => type_of_value(value),
        JsonTemplate::Text(text) => match text.as_expression() {
            Some(expression) => in_json(&type_of_expression(expression, declarations)),
            None => StaticType::STRING,
        },
        JsonTemplate::Array(items) => one_type(items.iter().map(|item| {
            let optional = type_if_there(item, declarations);
            optional.unwrap_or_else(|| type_of_template(item, declarations))
        })),
        JsonTemplate::Object(entries) => {
            let entries = entries.iter();
            object_of(entries.map(|(name, item)| {
                let field = match type_if_there(item, declarations) {
                    Some(type_) => Field::optional(type_),
                    None => Field::required(type_of_template(item, declarations)),
                };
                (name.clone(), field)
            }))
        }
    }
}

/// The type of an element or a key that is left out if its expression gives `optional.none()`. None if it is always there.
fn type_if_there(template: &JsonTemplate, declarations: &Declarations) -> Option<StaticType> {
    let JsonTemplate::Text(text) = template else {
        return None;
    };
    match type_of_expression(text.as_expression()?, declarations) {
        StaticType::Optional(inner) => Some(in_json(&inner)),
        StaticType::Scalar(Type::Optional) => Some(StaticType::Dyn),
        StaticType::Scalar(_)
        | StaticType::OneOf(_)
        | StaticType::List(_)
        | StaticType::Map(_)
        | StaticType::TypeOf(_)
        | StaticType::Object(_)
        | StaticType::Unresolved(_)
        | StaticType::Dyn => None,
    }
}

fn type_of_value(value: &Value) -> StaticType {
    match value {
        Value::Null => StaticType::Scalar(Type::Null),
        Value::Bool(_) => StaticType::BOOL,
        Value::Number(number) if number.is_i64() => StaticType::INT,
        Value::Number(_) => StaticType::DOUBLE,
        Value::String(_) => StaticType::STRING,
        Value::Array(items) => one_type(items.iter().map(type_of_value)),
        Value::Object(map) => object_of(
            map.iter()
                .map(|(name, value)| (name.clone(), Field::required(type_of_value(value)))),
        ),
    }
}

fn object_of(fields: impl Iterator<Item = (String, Field)>) -> StaticType {
    let fields: BTreeMap<String, Field> = fields.collect();
    ObjectType::new(fields, None).into()
}

fn one_type(mut types: impl Iterator<Item = StaticType>) -> StaticType {
    let Some(first) = types.next() else {
        return StaticType::list(StaticType::Dyn);
    };
    StaticType::list(if types.all(|type_| type_ == first) {
        first
    } else {
        StaticType::Dyn
    })
}

/// The type of a value after it was written as JSON and read again.
fn in_json(type_: &StaticType) -> StaticType {
    match type_ {
        StaticType::Scalar(scalar) => match scalar {
            Type::Null | Type::Bool | Type::Int | Type::Double | Type::String => type_.clone(),
            Type::Bytes
            | Type::Timestamp
            | Type::Duration
            | Type::Ip
            | Type::Cidr
            | Type::Url
            | Type::Quantity
            | Type::Semver => StaticType::STRING,
            Type::Dyn
            | Type::Uint
            | Type::List
            | Type::Map
            | Type::Type
            | Type::Optional
            | Type::Format
            | Type::Host(_) => StaticType::Dyn,
        },
        StaticType::OneOf(_) => type_.clone(),
        StaticType::List(item) => StaticType::list(in_json(item)),
        StaticType::Map(parts) => ObjectType::new(BTreeMap::new(), Some(in_json(&parts.1))).into(),
        // its fields were read from JSON, or are those of a template
        StaticType::Object(_) => type_.clone(),
        StaticType::Dyn | StaticType::Optional(_) | StaticType::TypeOf(_) | StaticType::Unresolved(_) => {
            StaticType::Dyn
        }
    }
}

/// Why a value of a type is nothing that JSON can hold, if it is.
pub(crate) fn no_json(type_: &StaticType) -> Option<String> {
    let has_none = match type_ {
        StaticType::TypeOf(_) => true,
        StaticType::Scalar(scalar) => matches!(scalar, Type::Format | Type::Host(_)),
        StaticType::List(inner) | StaticType::Optional(inner) => return no_json(inner),
        StaticType::Map(parts) => return no_json(&parts.1),
        StaticType::Dyn | StaticType::OneOf(_) | StaticType::Object(_) | StaticType::Unresolved(_) => false,
    };
    has_none.then(|| format!("a value of type {type_} cannot be written as text or JSON"))
}
