//! A JSON value as a tree that is opened and closed without a script.

use serde_json::Value;

use super::{Extent, Markup};

/// Most values that are drawn before somebody asks for all of them.
const MOST_VALUES: usize = 600;
/// Most values of a tree that is open to its leaves.
const MOST_OPEN: usize = 150;
/// How many levels of a larger tree are open.
const LEVELS_OPEN: usize = 2;

/// The tree of a JSON text, and how many values are left out. None if the text says something else than its tree would: it is no JSON, a
/// name stands in it twice, or a number is not exact.
pub(super) fn tree(text: &str, extent: Extent) -> Option<(Markup, usize)> {
    let value: Value = serde_json::from_str(text).ok()?;
    if format!("{value:#}") != text {
        return None;
    }
    let count = count(&value);
    let mut drawing = Drawing {
        out: Markup::default(),
        left: match extent {
            Extent::Beginning => MOST_VALUES,
            Extent::Whole => usize::MAX,
        },
        left_out: 0,
        levels_open: if count <= MOST_OPEN {
            usize::MAX
        } else {
            LEVELS_OPEN
        },
    };
    drawing.out.tag("<ul class=\"tree\">");
    drawing.entry(None, &value, 0);
    drawing.out.tag("</ul>");
    Some((drawing.out, drawing.left_out))
}

/// How many values there are, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

struct Drawing {
    out: Markup,
    /// How many values may still be drawn.
    left: usize,
    left_out: usize,
    levels_open: usize,
}

impl Drawing {
    fn entry(&mut self, key: Option<&str>, value: &Value, level: usize) {
        let Some(left) = self.left.checked_sub(1) else {
            self.left_out += count(value);
            return;
        };
        self.left = left;
        self.out.tag("<li>");
        match value {
            Value::Array(items) if !items.is_empty() => {
                self.begin(key, level);
                self.out.tag("[ ").number(items.len());
                self.out
                    .tag(if items.len() == 1 { " item ]" } else { " items ]" });
                self.out.tag("</summary><ul>");
                for item in items {
                    self.entry(None, item, level + 1);
                }
                self.out.tag("</ul></details>");
            }
            Value::Object(fields) if !fields.is_empty() => {
                self.begin(key, level);
                self.out.tag("{ ").number(fields.len());
                self.out.tag(if fields.len() == 1 {
                    " field }"
                } else {
                    " fields }"
                });
                self.out.tag("</summary><ul>");
                for (key, field) in fields {
                    self.entry(Some(key), field, level + 1);
                }
                self.out.tag("</ul></details>");
            }
            Value::String(text) if text.contains('\n') => {
                self.key(key);
                self.out.tag("<span class=\"kind\">text</span><pre>");
                self.out.lines(text).tag("</pre>");
            }
            leaf => {
                self.key(key);
                self.out.tag("<code>").text(&leaf.to_string()).tag("</code>");
            }
        }
        self.out.tag("</li>");
    }

    fn begin(&mut self, key: Option<&str>, level: usize) {
        self.out.tag(if level < self.levels_open {
            "<details open><summary>"
        } else {
            "<details><summary>"
        });
        self.key(key);
    }

    /// A name as JSON writes it, so that no name looks like more than one.
    fn key(&mut self, key: Option<&str>) {
        if let Some(key) = key {
            let name = Value::from(key).to_string();
            self.out.tag("<code class=\"key\">").text(&name).tag("</code>: ");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn drawn(value: &Value, extent: Extent) -> (String, usize) {
        let (markup, left) = tree(&format!("{value:#}"), extent).unwrap();
        (markup.to_string(), left)
    }

    #[test]
    fn a_value_is_drawn_with_all_that_is_in_it() {
        let (tree, left) = drawn(
            &json!({"a": [1, {"b": null}], "empty": {}, "text": "x\ny"}),
            Extent::Beginning,
        );
        assert_eq!(left, 0);
        for part in [
            "{ 3 fields }",
            "[ 2 items ]",
            "<code>1</code>",
            "{ 1 field }",
            "<code>null</code>",
            "<code>{}</code>",
            "<pre>x\ny</pre>",
        ] {
            assert!(tree.contains(part), "{part}\n{tree}");
        }
        assert!(!tree.contains("<details>"), "a small one is open\n{tree}");
        assert_eq!(tree.matches("<li>").count(), tree.matches("</li>").count());
    }

    #[test]
    fn a_large_one_is_closed_below_and_cut_until_all_of_it_is_asked_for() {
        let many: Vec<Value> = (0..1_000).map(|n| json!({"n": [n]})).collect();
        let many = json!({ "all": many });
        let (tree, left) = drawn(&many, Extent::Beginning);
        assert_eq!(left, 2 + 3_000 - MOST_VALUES);
        assert!(tree.contains("<details>"), "{tree}");
        let (tree, left) = drawn(&many, Extent::Whole);
        assert!(left == 0 && tree.contains("<code>999</code>"));
    }

    #[test]
    fn json_that_says_more_than_its_tree_is_not_drawn_as_one() {
        for text in [
            "{\n  \"a\": 1,\n  \"a\": 2\n}",
            "1e400",
            "1.0000000000000000001",
            "{",
            "",
        ] {
            assert!(tree(text, Extent::Whole).is_none(), "{text}");
        }
    }
}
