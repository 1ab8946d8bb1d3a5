//! Values as JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map as Object, Number, Value as Json};

use super::{Key, List, Map, Value, number};
use crate::{budget::Budget, error::Error, library::time};

impl Value<'_> {
    /// The value as JSON. What is shared in a value is not in JSON, so this takes from the budget too.
    pub fn to_json(&self, budget: &mut Budget) -> Result<Json, Error> {
        stacker::maybe_grow(64 << 10, 1 << 20, || self.as_json(budget))
    }

    fn as_json(&self, budget: &mut Budget) -> Result<Json, Error> {
        budget.step(1)?;
        budget.allocate(size_of::<Json>())?;
        Ok(match self {
            Self::Null => Json::Null,
            Self::Bool(truth) => Json::Bool(*truth),
            Self::Int(int) => Json::from(*int),
            Self::Uint(uint) => Json::from(*uint),
            Self::Double(double) => self::number(*double)
                .ok_or_else(|| Error::failed(format!("the result is {double}, which JSON cannot hold")))?,
            Self::String(text) => string(text, budget)?,
            Self::Bytes(bytes) => {
                budget.allocate(bytes.len() / 3 * 4 + 4)?;
                Json::String(STANDARD.encode(bytes))
            }
            Self::List(List::Json(items)) => Json::Array(
                items
                    .iter()
                    .map(|item| Value::from(item).to_json(budget))
                    .collect::<Result<_, _>>()?,
            ),
            Self::List(List::Made(items)) => Json::Array(
                items
                    .iter()
                    .map(|item| item.to_json(budget))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Map(map) => object(map, budget)?,
            Self::Timestamp(timestamp) => Json::String(timestamp.to_string()),
            Self::Duration(nanos) => Json::String(time::duration_text(*nanos)),
            Self::Optional(Some(value)) => value.to_json(budget)?,
            Self::Optional(None) => Json::Null,
            Self::Ip(address) => Json::String(address.to_string()),
            Self::Cidr(range) => Json::String(range.to_string()),
            Self::Url(url) => Json::String(url.to_string()),
            Self::Quantity(quantity) => Json::String(quantity.to_string()),
            Self::Semver(version) => Json::String(version.to_string()),
            Self::Type(_) | Self::Format(_) | Self::Host(_) => {
                return Err(Error::failed(format!(
                    "the result has no JSON form; it is a {}",
                    self.type_of().name()
                )));
            }
        })
    }
}

/// A whole number is written without a fraction, as Go does it: 250 is what was meant by 250.
fn number(double: f64) -> Option<Json> {
    match number::exact_int(double).filter(|int| int.unsigned_abs() <= 1 << 53) {
        Some(int) => Some(Json::from(int)),
        None => Number::from_f64(double).map(Json::Number),
    }
}

fn string(text: &str, budget: &mut Budget) -> Result<Json, Error> {
    budget.allocate(text.len())?;
    Ok(Json::String(text.to_owned()))
}

fn object(map: &Map<'_>, budget: &mut Budget) -> Result<Json, Error> {
    let mut object = Object::new();
    for (key, value) in map.entries() {
        let name = match key {
            Key::Bool(truth) => truth.to_string(),
            Key::Int(int) => int.to_string(),
            Key::Uint(uint) => uint.to_string(),
            Key::String(text) => text.to_string(),
        };
        budget.allocate(size_of::<String>() + name.len())?;
        object.insert(name, value.to_json(budget)?);
    }
    Ok(Json::Object(object))
}
