//! Manifest text: its documents, and the line and column of any field in it.

use std::fmt;

use serde::{
    Deserialize as _,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use signoff_api::{
    bounds,
    yaml_budget::{self, BudgetExceeded},
};

/// Most that aliases may bring a manifest to that is smaller. No text as large as a manifest comes to that without.
const MOST: usize = 1 << 20;

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

/// One document of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Which one in the text, from 0; empty ones count.
    pub index: usize,
    /// Its content.
    pub value: serde_json::Value,
}

/// Why a text is not YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where.
    pub position: Option<Position>,
    /// What is wrong.
    pub message: String,
}

/// How the `apiVersion` of our manifests begins.
const OURS: &[u8] = b"signoff.dev/";
/// Most bytes between a key and its value.
const BETWEEN: usize = 64;

/// Whether a text mentions our group at all. One that does not holds nothing of ours, and need not be parsed.
pub fn may_be_ours(text: &[u8]) -> bool {
    text.windows(OURS.len()).any(|window| window == OURS)
}

/// Whether a text that cannot be parsed is meant to be a manifest of ours: an `apiVersion` in it names our group. Looks at its bytes once.
pub fn is_meant_to_be_ours(text: &[u8]) -> bool {
    const KEY: &[u8] = b"apiVersion";
    let keys = text
        .windows(KEY.len())
        .enumerate()
        .filter(|(_, window)| *window == KEY);
    keys.map(|(at, _)| &text[at + KEY.len()..]).any(|rest| {
        let between = rest
            .iter()
            .take(BETWEEN)
            .take_while(|byte| b"\"' \t\r\n:|>-".contains(byte))
            .count();
        rest[between..].starts_with(OURS)
    })
}

/// The documents of a YAML or JSON text, without the empty ones.
///
/// # Errors
/// When any of them is not YAML, has a key twice, has no form as JSON, or is much larger than its text once its aliases are followed.
pub fn documents(text: &str) -> Result<Vec<Document>, SyntaxError> {
    yaml_budget::check(text, MOST).map_err(SyntaxError::of_budget)?;
    let mut documents = vec![];
    for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let mut value = serde_yaml::Value::deserialize(document).map_err(|error| SyntaxError::of(&error))?;
        value.apply_merge().map_err(|error| SyntaxError::of(&error))?;
        let value = serde_json::to_value(value).map_err(|error| SyntaxError {
            position: locate(text, index, ""),
            message: error.to_string(),
        })?;
        bounds::nesting(&value, bounds::MAX_OBJECT_NESTING).map_err(|error| SyntaxError {
            position: locate(text, index, ""),
            message: error.to_string(),
        })?;
        if !value.is_null() {
            documents.push(Document { index, value });
        }
    }
    Ok(documents)
}

impl SyntaxError {
    /// What keeps a file as a whole from being read.
    pub fn of_file(why: &str) -> Self {
        Self {
            position: None,
            message: why.to_owned(),
        }
    }

    fn of_budget(error: BudgetExceeded) -> Self {
        Self {
            position: error.at.map(|(line, column)| Position { line, column }),
            message: error.message,
        }
    }

    fn of(error: &serde_yaml::Error) -> Self {
        let position = error.location().map(|at| Position {
            line: at.line(),
            column: at.column(),
        });
        let mut message = error.to_string();
        // the place is told apart from the message
        if let Some(at) = message.find(" at line ") {
            message.truncate(at);
        }
        Self { position, message }
    }
}

/// Where a field such as `spec.steps[2].http.url` is in a document; where it is not there, the nearest field around it.
pub fn locate(text: &str, document: usize, field: &str) -> Option<Position> {
    let path = segments(field);
    (0..=path.len())
        .rev()
        .find_map(|length| exactly(text, document, &path[..length]))
}

/// serde tells nobody where it is, but an error raised at a place carries it: so walk there and raise one.
fn exactly(text: &str, document: usize, path: &[Segment<'_>]) -> Option<Position> {
    let document = serde_yaml::Deserializer::from_str(text).nth(document)?;
    let error = Walk(path).deserialize(document).err()?;
    let found = error.to_string().contains(FOUND);
    error.location().filter(|_| found).map(|at| Position {
        line: at.line(),
        column: at.column(),
    })
}

const FOUND: &str = "signoff: found the place";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment<'a> {
    Key(&'a str),
    Index(usize),
}

fn segments(field: &str) -> Vec<Segment<'_>> {
    let mut segments = vec![];
    for part in field.split('.') {
        let (name, indices) = part
            .split_once('[')
            .map_or((part, ""), |(name, rest)| (name, rest));
        if !name.is_empty() {
            segments.push(Segment::Key(name));
        }
        for index in indices.split('[') {
            let index = index.trim_end_matches(']');
            match index.parse() {
                Ok(index) => segments.push(Segment::Index(index)),
                Err(_) if index.is_empty() => {}
                Err(_) => segments.push(Segment::Key(index.trim_matches(['"', '\'']))),
            }
        }
    }
    segments
}

/// Goes to the place a path names and raises an error there.
struct Walk<'a>(&'a [Segment<'a>]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // a scalar that the walk ends at is refused with this text
        f.write_str(if self.0.is_empty() { FOUND } else { "a field" })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((segment, rest)) = self.0.split_first() else {
            return Err(A::Error::custom(FOUND));
        };
        let Segment::Key(wanted) = *segment else {
            return Ok(());
        };
        while let Some(hit) = map.next_key_seed(Key {
            wanted,
            last: rest.is_empty(),
        })? {
            if hit {
                map.next_value_seed(Walk(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((segment, rest)) = self.0.split_first() else {
            return Err(A::Error::custom(FOUND));
        };
        let Segment::Index(wanted) = *segment else {
            return Ok(());
        };
        for _ in 0..wanted {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Walk(rest))?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// A key of a map: is it the wanted one? If the path ends with it, this is the place.
struct Key<'a> {
    wanted: &'a str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        match (key == self.wanted, self.last) {
            (true, true) => Err(E::custom(FOUND)),
            (hit, _) => Ok(hit),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const TEXT: &str = "\
# a comment
apiVersion: v1
---
kind: Flow
spec:
  steps:
  - name: one
    http:
      url: x
  - name: two
    headers: {a-b: c}
";

    fn at(field: &str) -> Option<(usize, usize)> {
        locate(TEXT, 1, field).map(|at| (at.line, at.column))
    }

    #[test]
    fn finds_keys_and_elements_in_any_document() {
        assert_eq!(at("kind"), Some((4, 1)));
        assert_eq!(at("spec.steps[0].http.url"), Some((9, 7)));
        assert_eq!(at("spec.steps[1]"), Some((10, 5)));
        assert_eq!(at("spec.steps[1].headers['a-b']"), Some((11, 15)));
        assert_eq!(
            locate(TEXT, 0, "apiVersion"),
            Some(Position { line: 2, column: 1 })
        );
    }

    #[test]
    fn falls_back_to_the_nearest_field_around() {
        assert_eq!(at("spec.steps[0].http.method"), Some((8, 5)));
        assert_eq!(at("spec.steps[7].name"), Some((6, 3)));
        assert_eq!(at("nothing.here"), Some((4, 1)));
        assert_eq!(locate(TEXT, 5, "kind"), None);
    }

    #[test]
    fn reads_every_document_and_skips_empty_ones() {
        let documents = documents("---\n---\na: 1\n---\n# nothing\n---\nb: {c: &x [1], d: *x}\n").unwrap();
        let indices: Vec<_> = documents.iter().map(|document| document.index).collect();
        assert_eq!(indices.len(), 2);
        assert_eq!(documents[1].value, serde_json::json!({"b": {"c": [1], "d": [1]}}));
    }

    #[test]
    fn tells_where_a_text_is_broken() {
        let error = documents("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert_eq!(error.position.map(|at| at.line), Some(3), "{error:?}");
        assert!(!error.message.contains("line"), "{error:?}");
        let twice = documents("a: 1\na: 2\n").unwrap_err();
        assert!(twice.message.contains("duplicate"), "{twice:?}");
    }

    #[test]
    fn a_document_that_multiplies_itself_is_refused() {
        let wide = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(5_000), "*a,".repeat(5_000));
        let error = documents(&wide).unwrap_err();
        assert!(error.message.contains("aliases"), "{error:?}");
        assert!(error.message.starts_with("b["), "{error:?}");
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a,".repeat(5_000));
        assert!(documents(&long).unwrap_err().message.contains("aliases"));
        let nested = documents(&format!("a: 1\nb: {}", "[".repeat(500_000))).unwrap_err();
        assert!(nested.message.contains("brackets"), "{nested:?}");
        assert_eq!(nested.position.map(|at| at.line), Some(2));
        for broken in ["a: '*\n", "a: *b\n", "a: {b: '*'\n", "a: '*'\nb: ]\n"] {
            assert!(documents(broken).is_err(), "{broken}");
        }
        let merged = format!("a: &a {{k1: v}}\nb:\n{}", "- {<<: *a}\n".repeat(1_000));
        assert_eq!(documents(&merged).unwrap()[0].value["b"][999]["k1"], "v");

        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let previous = vec![format!("*a{}", level - 1); 10].join(", ");
            writeln!(text, "a{level}: &a{level} [{previous}]").unwrap();
        }
        assert!(documents(&text).is_err());
    }

    #[test]
    fn a_text_is_meant_to_be_ours_if_its_api_version_says_so() {
        for ours in [
            "apiVersion: signoff.dev/v1alpha1\nkind: [",
            "# a comment\n\"apiVersion\" : 'signoff.dev/v2",
            "{\"kind\": \"Flow\", \"apiVersion\":\"signoff.dev/v1alpha1\"",
            "apiVersion:\n  signoff.dev/v1alpha1\n{{ if }}",
        ] {
            assert!(
                is_meant_to_be_ours(ours.as_bytes()) && may_be_ours(ours.as_bytes()),
                "{ours}"
            );
        }
        for other in [
            "",
            "apiVersion: v1\nmetadata: {labels: {signoff.dev/flow: x}}",
            "apiVersion: test.signoff.dev/v1alpha1",
            "{ // see https://signoff.dev/docs\n\"compilerOptions\": {} }",
            "apiVersion: {{ .Values.v }}\nkind: {{ x }}",
            "apiVersion",
        ] {
            assert!(!is_meant_to_be_ours(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_document_that_is_nested_too_deeply_is_refused() {
        for levels in [100, 10_000] {
            let text = format!("a: {}{}", "[".repeat(levels), "]".repeat(levels));
            assert!(documents(&text).is_err(), "{levels}");
        }
        assert!(documents(&format!("a: {}{}", "[".repeat(30), "]".repeat(30))).is_ok());
    }

    #[test]
    fn directives_that_make_reading_slow_are_refused() {
        let tags = "%TAG !a! x\n".repeat(1_000);
        let error = documents(&format!("{tags}---\na: 1\n")).unwrap_err();
        assert!(error.message.contains("directives"), "{error:?}");
        assert_eq!(error.position.map(|at| at.line), Some(33));
    }
}
