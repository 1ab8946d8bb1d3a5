//! Decoding that notices fields which are there twice: the last one counts, and a strict caller wants to know.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Fields told at most, as a real server does.
const LIMIT: usize = 100;

/// A value as it was sent.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    /// The value, with the last of each field.
    pub value: Value,
    /// Paths of the fields that were there more than once, such as `spec.parts[0].name`.
    pub twice: Vec<String>,
}

/// Decodes a value of any format.
pub fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decoded, D::Error> {
    let twice = RefCell::default();
    let value = Node {
        path: Path::Root,
        twice: &twice,
    }
    .deserialize(deserializer)?;
    Ok(Decoded {
        value,
        twice: twice.into_inner(),
    })
}

/// Where a value is; rendered only for what is found.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Path::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

struct Node<'a> {
    path: Path<'a>,
    twice: &'a RefCell<Vec<String>>,
}

impl Node<'_> {
    fn tell(&self, name: &str) {
        let path = Path::Field(&self.path, name).to_string();
        let mut twice = self.twice.borrow_mut();
        if twice.len() < LIMIT && !twice.contains(&path) {
            twice.push(path);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Node {
            path: Path::Item(&self.path, list.len()),
            twice: self.twice,
        })? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if map.contains_key(&name) {
                self.tell(&name);
            }
            let value = fields.next_value_seed(Node {
                path: Path::Field(&self.path, &name),
                twice: self.twice,
            })?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_of_a_field_counts_and_each_that_is_there_twice_is_told_once() {
        let text = r#"{"a": {"b": 1, "b": 2, "b": 3}, "l": [1, {"x": null, "x": "y"}], "n": -1.5, "a": {"c": true}}"#;
        let decoded = decode(&mut serde_json::Deserializer::from_str(text)).unwrap();
        assert_eq!(
            decoded.value,
            json!({"a": {"c": true}, "l": [1, {"x": "y"}], "n": -1.5})
        );
        assert_eq!(decoded.twice, ["a.b", "l[1].x", "a"]);
    }
}
