//! Values as their declared types have them. JSON has one type of numbers, and expressions have two.

use serde_json::{Map, Number, Value};
use signoff_expression::{ObjectType, StaticType, Type};

/// The value, with each number of the type that it is declared as. One that cannot be so exactly stays as it is.
pub(crate) fn as_declared(value: Value, type_: &StaticType) -> Value {
    match (value, type_) {
        (Value::Number(number), StaticType::Scalar(Type::Double)) => Value::Number(floating(number)),
        (Value::Number(number), StaticType::Scalar(Type::Int)) => Value::Number(whole(number)),
        (Value::Array(items), StaticType::List(item)) => {
            items.into_iter().map(|value| as_declared(value, item)).collect()
        }
        (Value::Object(map), StaticType::Object(object)) => Value::Object(fields_as_declared(map, object)),
        (value, _) => value,
    }
}

/// The same of an object.
pub(crate) fn fields_as_declared(map: Map<String, Value>, object: &ObjectType) -> Map<String, Value> {
    let fields = map.into_iter().map(|(name, value)| {
        let field = object.fields().get(&name).map(|field| &field.type_);
        let value = match field.or(object.rest()) {
            Some(type_) => as_declared(value, type_),
            None => value,
        };
        (name, value)
    });
    fields.collect()
}

fn floating(number: Number) -> Number {
    /// Integers up to here are floating-point numbers exactly.
    const EXACT: i64 = 1 << 53;
    let int = number.as_i64().filter(|int| (-EXACT..=EXACT).contains(int));
    #[expect(
        clippy::cast_precision_loss,
        reason = "it lies within the range that is exact"
    )]
    let double = int.map(|int| int as f64);
    double.and_then(Number::from_f64).unwrap_or(number)
}

fn whole(number: Number) -> Number {
    if number.is_i64() {
        return number;
    }
    let double = number.as_f64().unwrap_or(f64::NAN);
    let is_exact = double.fract() == 0.0 && double.abs() <= 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is a whole number within the range"
    )]
    let int = is_exact.then_some(double as i64);
    int.map_or(number, Number::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::schema::{Defaults, type_of},
        *,
    };

    #[test]
    fn numbers_have_the_type_that_they_are_declared_as() {
        let schema = json!({"type": "object", "additionalProperties": {"type": "integer"}, "properties": {
            "amount": {"type": "number"},
            "count": {"type": "integer"},
            "prices": {"type": "array", "items": {"type": "number"}},
            "any": {},
        }});
        let type_ = type_of(&schema, Defaults::Applied);
        for (given, expected) in [
            (
                json!({"amount": 250, "count": 3}),
                r#"{"amount":250.0,"count":3}"#,
            ),
            (
                json!({"amount": 2.5, "count": 3.0}),
                r#"{"amount":2.5,"count":3}"#,
            ),
            (
                json!({"prices": [1, 2.5], "any": 1, "other": 4.0}),
                r#"{"any":1,"other":4,"prices":[1.0,2.5]}"#,
            ),
            // neither is a floating-point number exactly, or an integer of 64 bits
            (
                json!({"amount": 9_007_199_254_740_993_i64, "count": 1e30}),
                r#"{"amount":9007199254740993,"count":1e+30}"#,
            ),
            (json!({"amount": "x"}), r#"{"amount":"x"}"#),
        ] {
            assert_eq!(as_declared(given, &type_).to_string(), expected);
        }
    }
}
