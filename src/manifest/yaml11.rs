//! Words that YAML 1.1 reads as true or false, and we as text: kubectl and the API machinery of Kubernetes read YAML 1.1.

use serde_json::Value;

use super::{Document, Position, locate, wording::join};

const WORDS: [&str; 16] = [
    "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF",
];
/// Most that are told of one document: finding each is reading the text once more.
const MAX_FOUND: usize = 10;

/// The fields of a document that kubectl reads otherwise than we do, and the word without quotes that makes it so.
pub fn booleans(text: &str, document: &Document) -> Vec<(String, &'static str)> {
    let mut candidates = Vec::new();
    walk(&document.value, "", &mut candidates);
    candidates
        .into_iter()
        .take(MAX_FOUND)
        .filter(|candidate| candidate.is_plain(text, document.index))
        .map(|candidate| (candidate.field, candidate.word))
        .collect()
}

struct Candidate {
    field: String,
    word: &'static str,
    /// The word is a key, an element of a list, or else the value of a key.
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Key,
    Element,
    Value,
}

impl Candidate {
    fn is_plain(&self, text: &str, document: usize) -> bool {
        let Some(mut rest) = locate(text, document, &self.field).and_then(|at| from(text, at)) else {
            return false;
        };
        if self.place == Place::Value {
            let Some((_, value)) = rest.split_once(':') else {
                return false;
            };
            rest = value.trim_start();
        }
        let after = rest.strip_prefix(self.word);
        after
            .is_some_and(|after| after.starts_with([':', ',', ']', '}', ' ', '\r', '\n']) || after.is_empty())
    }
}

fn from(text: &str, at: Position) -> Option<&str> {
    let line = text
        .split_inclusive('\n')
        .take(at.line - 1)
        .map(str::len)
        .sum::<usize>();
    let rest = text.get(line..)?;
    let column = rest.char_indices().nth(at.column - 1)?.0;
    rest.get(column..)
}

fn word(text: &str) -> Option<&'static str> {
    WORDS.into_iter().find(|word| *word == text)
}

fn walk(value: &Value, path: &str, found: &mut Vec<Candidate>) {
    match value {
        Value::Object(map) => {
            for (key, item) in map {
                let field = join(path, key);
                if let Some(word) = word(key) {
                    found.push(Candidate {
                        field: field.clone(),
                        word,
                        place: Place::Key,
                    });
                }
                if let Some(word) = item.as_str().and_then(word) {
                    found.push(Candidate {
                        field: field.clone(),
                        word,
                        place: Place::Value,
                    });
                }
                walk(item, &field, found);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let field = format!("{path}[{i}]");
                if let Some(word) = item.as_str().and_then(word) {
                    found.push(Candidate {
                        field: field.clone(),
                        word,
                        place: Place::Element,
                    });
                }
                walk(item, &field, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{super::documents, *};

    fn found(text: &str) -> Vec<(String, &'static str)> {
        documents(text)
            .unwrap()
            .iter()
            .flat_map(|document| booleans(text, document))
            .collect()
    }

    #[test]
    fn words_without_quotes_are_found_wherever_they_stand() {
        let text = "---\na: 1\n---\nspec:\n  inputs: {n: 1, \"y\": 2}\n  list:\n  - yes\n  - 'no'\n  switch: off # for now\n  said: \"on\"\n  text: |\n    on\n";
        assert_eq!(
            found(text),
            [
                ("spec.inputs.n".into(), "n"),
                ("spec.list[0]".into(), "yes"),
                ("spec.switch".into(), "off")
            ]
        );
    }

    #[test]
    fn words_that_only_begin_so_and_real_booleans_are_none() {
        assert_eq!(found("a: yesterday\nb: true\nnone: on-call\nc: [n-1]\n"), []);
    }
}
