//! Values that a definition gives or computes: a literal, or one `${…}` expression that gives it when the run gets there.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

use super::HumanDuration;

/// Longest text of an expression with its `${` and `}`, in characters.
const MAX_LENGTH: usize = 4_096;
/// A text that begins and ends as one `${…}` does. That it is exactly one is for the parser of expressions to say.
const PATTERN: &str = r"\$\{[\s\S]+\}";
/// Pattern of a quorum that is a text.
pub const QUORUM_PATTERN: &str = r"^\$\{[\s\S]+\}$";

/// A value, or one `${…}` expression that gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrExpression<T> {
    /// The value as it is written.
    Literal(T),
    /// The expression, with its `${` and `}`.
    Expression(String),
}

impl<T> OrExpression<T> {
    /// The value, if it is written down.
    pub fn literal(&self) -> Option<&T> {
        match self {
            Self::Literal(value) => Some(value),
            Self::Expression(_) => None,
        }
    }
}

impl<T: fmt::Display> fmt::Display for OrExpression<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => value.fmt(f),
            Self::Expression(text) => f.write_str(text),
        }
    }
}

impl<T: Serialize> Serialize for OrExpression<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Literal(value) => value.serialize(serializer),
            Self::Expression(text) => serializer.serialize_str(text),
        }
    }
}

/// The text of an expression, if it is one.
fn expression(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("${")?.strip_suffix('}')?;
    (!inner.is_empty() && text.chars().count() <= MAX_LENGTH).then_some(text)
}

impl<'de> Deserialize<'de> for OrExpression<HumanDuration> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        match expression(&text) {
            Some(text) => Ok(Self::Expression(text.to_owned())),
            None => text.parse().map(Self::Literal).map_err(Error::custom),
        }
    }
}

impl JsonSchema for OrExpression<HumanDuration> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DurationOrExpression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": duration_pattern(), "maxLength": MAX_LENGTH })
    }
}

/// Pattern of a duration, or of an expression that gives one.
pub fn duration_pattern() -> String {
    let duration = HumanDuration::pattern();
    let duration = duration.trim_start_matches('^').trim_end_matches('$');
    format!("^({duration}|{PATTERN})$")
}

/// How many people must approve: 1 to 50.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quorum(i64);

/// Why a number is no quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quorum is from 1 to 50, not {0}")]
pub struct QuorumError(i64);

impl Quorum {
    /// One person.
    pub const ONE: Self = Self(1);
    const MAX: i64 = 50;

    /// The number.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Quorum {
    type Error = QuorumError;

    fn try_from(number: i64) -> Result<Self, QuorumError> {
        if (1..=Self::MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(QuorumError(number))
        }
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Quorum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for OrExpression<Quorum> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct QuorumVisitor;

        impl Visitor<'_> for QuorumVisitor {
            type Value = OrExpression<Quorum>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer from 1 to 50, or one ${…} expression that gives it")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                Quorum::try_from(number)
                    .map(OrExpression::Literal)
                    .map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }

            // an API server may hand on 2 as 2.0
            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                let known = (1..=Quorum::MAX).find(|known| {
                    let known = u8::try_from(*known).unwrap_or_default();
                    f64::from(known).total_cmp(&number).is_eq()
                });
                let known =
                    known.ok_or_else(|| E::custom(format!("a quorum is from 1 to 50, not {number}")))?;
                self.visit_i64(known)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                let expression = expression(text).ok_or_else(|| {
                    E::custom(format!(
                        "{:?} must be an integer, or one ${{…}} expression",
                        text.chars().take(40).collect::<String>()
                    ))
                })?;
                Ok(OrExpression::Expression(expression.to_owned()))
            }
        }

        deserializer.deserialize_any(QuorumVisitor)
    }
}

impl JsonSchema for OrExpression<Quorum> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "QuorumOrExpression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "minimum": 1,
            "maximum": Quorum::MAX,
            "pattern": QUORUM_PATTERN,
            "maxLength": MAX_LENGTH,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn quorum(value: Value) -> Result<OrExpression<Quorum>, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_quorum_is_a_number_in_its_bounds_or_an_expression() {
        for good in [
            json!(1),
            json!(50),
            json!("${inputs.n}"),
            json!("${ {'}': 1}['}'] }"),
        ] {
            let read = quorum(good.clone()).unwrap();
            assert_eq!(
                serde_json::to_value(&read).unwrap(),
                good,
                "it is written as it was read"
            );
        }
        for bad in [
            json!(0),
            json!(51),
            json!(-1),
            json!(u64::MAX),
            json!(1.5),
            json!("2"),
            json!("${}"),
            json!("a ${b}"),
            json!(null),
            json!([1]),
            json!({}),
            json!(format!("${{{}}}", "x".repeat(5_000))),
        ] {
            assert!(quorum(bad.clone()).is_err(), "{bad}");
        }
        assert!(quorum(json!("two")).unwrap_err().contains("must be an integer"));
    }

    #[test]
    fn a_duration_keeps_its_text_and_an_expression_too() {
        for good in ["90m", "${inputs.within}"] {
            let read: OrExpression<HumanDuration> = serde_json::from_value(json!(good)).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), json!(good));
            assert_eq!(read.to_string(), good);
        }
        for bad in ["", "5", "${}", "1h${x}", "$${x}"] {
            assert!(
                serde_json::from_value::<OrExpression<HumanDuration>>(json!(bad)).is_err(),
                "{bad}"
            );
        }
    }
}
