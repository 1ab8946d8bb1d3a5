//! What a YAML text comes to once its aliases are followed. An alias is three bytes and stands for as much as its anchor, so that a text of a
//! megabyte could fill any memory; the parser bounds how often aliases are followed, not what that brings. Whatever comes from git or
//! from a forge is checked here before it is read.

use std::{cell::Cell, fmt};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// Most lines with directives: the parser compares each `%TAG` with all before it.
const DIRECTIVES: usize = 32;
/// Most brackets that open: for each that is open the parser takes longer over all that follows. A megabyte within that many takes it seconds.
const BRACKETS: usize = 1 << 14;

/// Why a text is not read at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", place(*.at))]
pub struct BudgetExceeded {
    /// Line and column, from 1.
    pub at: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

/// Refuses a text that is broken or would cost much more than its length. `least` is what any text may come to with aliases, in values and bytes of strings;
/// no text comes to three times its length without.
///
/// # Errors
/// Where it would.
pub fn check(text: &str, least: usize) -> Result<(), BudgetExceeded> {
    let mut directives = text.lines().enumerate().filter(|(_, line)| line.starts_with('%'));
    if let Some((line, _)) = directives.nth(DIRECTIVES) {
        return Err(BudgetExceeded {
            at: Some((line + 1, 1)),
            message: format!("there are more than {DIRECTIVES} lines with directives"),
        });
    }
    if let Some((at, _)) = text.match_indices(['[', '{']).nth(BRACKETS) {
        let line = text[..at].matches('\n').count() + 1;
        return Err(BudgetExceeded {
            at: Some((line, 1)),
            message: format!("there are more than {BRACKETS} brackets"),
        });
    }
    if !text.contains('*') {
        return Ok(());
    }
    let budget = Budget(Cell::new(text.len().saturating_mul(3).max(least)));
    for document in serde_yaml::Deserializer::from_str(text) {
        // whatever is wrong: what comes after is not weighed, and the parser may give the same broken document without an end
        (&budget).deserialize(document).map_err(|error| {
            let mut message = error.to_string();
            if let Some(at) = message.find(" at line ") {
                message.truncate(at);
            }
            let at = error.location().map(|at| (at.line(), at.column()));
            BudgetExceeded { at, message }
        })?;
    }
    Ok(())
}

fn place(at: Option<(usize, usize)>) -> String {
    at.map(|(line, column)| format!(" at line {line} column {column}"))
        .unwrap_or_default()
}

/// What is left of the budget that a text may have.
struct Budget(Cell<usize>);

impl Budget {
    fn take<E: Error>(&self, budget: usize) -> Result<(), E> {
        self.0.set(self.0.get().saturating_sub(budget.saturating_add(1)));
        if self.0.get() == 0 {
            return Err(E::custom("the aliases make far too much of this text"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &Budget {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Budget {
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
