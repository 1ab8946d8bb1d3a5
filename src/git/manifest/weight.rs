//! What a text comes to once its aliases are followed. An alias is three bytes and stands for as much as its anchor, so that a text of a
//! megabyte could fill any memory; the parser bounds how often aliases are followed, not what that brings.

use std::{cell::Cell, fmt};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{Position, SyntaxError};

/// Most that aliases may bring a text to, in values and bytes of strings. No text as large as a manifest comes to that without.
const MOST: usize = 1 << 20;
/// Most lines with directives: the parser compares each `%TAG` with all before it.
const DIRECTIVES: usize = 32;

/// Refuses a text that would cost much more than its length.
pub(super) fn check(text: &str) -> Result<(), SyntaxError> {
    let mut directives = text.lines().enumerate().filter(|(_, line)| line.starts_with('%'));
    if let Some((line, _)) = directives.nth(DIRECTIVES) {
        return Err(SyntaxError {
            position: Some(Position {
                line: line + 1,
                column: 1,
            }),
            message: format!("there are more than {DIRECTIVES} lines with directives"),
        });
    }
    if !text.contains('*') {
        return Ok(());
    }
    let weight = Weight(Cell::new(text.len().saturating_mul(3).max(MOST)));
    for document in serde_yaml::Deserializer::from_str(text) {
        // what else is wrong is told by whoever reads the text
        if let Err(error) = (&weight).deserialize(document)
            && weight.0.get() == 0
        {
            return Err(SyntaxError::of(&error));
        }
    }
    Ok(())
}

/// What is left of the weight that a text may have.
struct Weight(Cell<usize>);

impl Weight {
    fn take<E: Error>(&self, weight: usize) -> Result<(), E> {
        self.0.set(self.0.get().saturating_sub(weight.saturating_add(1)));
        if self.0.get() == 0 {
            return Err(E::custom("the aliases make far too much of this text"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &Weight {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Weight {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.take(0)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.take(0)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.take(0)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<(), E> {
        self.take(0)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<(), E> {
        self.take(0)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.take(text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.take(0)?;
        while seq.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.take(0)?;
        while map.next_key_seed(self)?.is_some() {
            map.next_value_seed(self)?;
        }
        Ok(())
    }

    /// A value with a tag.
    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let ((), value) = tagged.variant_seed(self)?;
        value.newtype_variant_seed(self)
    }
}
