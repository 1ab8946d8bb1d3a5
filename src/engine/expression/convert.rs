//! JSON to CEL and back. Integers stay integers, which `serde` alone would make unsigned.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube_cel::cel;
use serde_json::{Number, Value};

pub(super) fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(truth) => cel::Value::Bool(*truth),
        Value::Number(number) => number_to_cel(number),
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(map) => {
            let entries: HashMap<cel::objects::Key, cel::Value> = map
                .iter()
                .map(|(key, item)| (cel::objects::Key::String(Arc::new(key.clone())), to_cel(item)))
                .collect();
            cel::Value::Map(cel::objects::Map {
                map: Arc::new(entries),
            })
        }
    }
}

fn number_to_cel(number: &Number) -> cel::Value {
    if let Some(int) = number.as_i64() {
        cel::Value::Int(int)
    } else if let Some(uint) = number.as_u64() {
        cel::Value::UInt(uint)
    } else {
        cel::Value::Float(number.as_f64().unwrap_or(f64::NAN))
    }
}

pub(super) fn to_json(value: &cel::Value) -> Result<Value, String> {
    Ok(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(truth) => Value::Bool(*truth),
        cel::Value::Int(int) => Value::from(*int),
        cel::Value::UInt(uint) => Value::from(*uint),
        cel::Value::Float(float) => Number::from_f64(*float)
            .map(Value::Number)
            .ok_or_else(|| format!("the result is {float}, which JSON cannot hold"))?,
        cel::Value::String(text) => Value::String(text.as_ref().clone()),
        cel::Value::Bytes(bytes) => Value::String(STANDARD.encode(bytes.as_ref())),
        cel::Value::List(items) => Value::Array(items.iter().map(to_json).collect::<Result<_, _>>()?),
        cel::Value::Map(map) => {
            let entries = map
                .map
                .iter()
                .map(|(key, item)| Ok((key.to_string(), to_json(item)?)));
            Value::Object(entries.collect::<Result<_, String>>()?)
        }
        cel::Value::Timestamp(time) => Value::String(time.to_rfc3339()),
        other => {
            return Err(format!(
                "the result has no JSON form; it is a {:?}",
                other.type_of()
            ));
        }
    })
}
