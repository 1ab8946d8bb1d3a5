//! Whatever the definitions: empty exactly when they are the same, and never more than code spans in the Markdown.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::difference, definition};
use signoff_api::canonical;

/// Definitions from a small world, so that two of them often have much in common; names may come twice.
fn definitions() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["a", "b", "c", "d"]);
    let step = (name, 0..7_u8, 0..3_u8, 0..4_u8).prop_map(|(name, kind, n, common)| {
        let mut step = match kind {
            0 => json!({ "name": name, "http": { "url": "http://x/", "body": [n, { "x": n }] } }),
            1 => json!({ "name": name, "set": { "x": n, "y": [n] } }),
            2 => json!({ "name": name, "wait": { "callback": {}, "duration": format!("{}m", n + 1) } }),
            3 => json!({ "name": name, "approval": { "title": "?", "quorum": n + 1, "show": [] } }),
            4 => json!({ "name": name, "approval": { "title": "?", "show": [{ "name": "x", "value": n }, { "name": "y", "value": 1 }] } }),
            5 => json!({ "name": name, "end": { "outcome": "Succeeded", "output": n } }),
            _ => json!({ "name": name, "notify": { "webhook": { "url": "http://x/", "message": n } } }),
        };
        match common {
            0 => step["needs"] = json!([]),
            1 => step["needs"] = json!(["a"]),
            2 => step["when"] = json!("${true}"),
            _ => {}
        }
        step
    });
    let inputs = prop::sample::select(vec![
        json!(null),
        json!({}),
        json!(true),
        json!({ "properties": {} }),
        json!({ "required": [] }),
        json!({ "properties": { "x": true }, "required": ["x", "y"] }),
        json!({ "properties": { "x": { "type": "string" } }, "required": ["y", "x"] }),
        json!({ "properties": { "x": {} }, "required": ["x", "x"] }),
        json!({ "properties": 1, "required": "x" }),
    ]);
    let output = prop::sample::select(vec![
        json!(null),
        json!({}),
        json!({ "a": null }),
        json!({ "a": [] }),
    ]);
    let promotion = prop::sample::select(vec![
        json!(null),
        json!({ "approval": {} }),
        json!({ "approval": { "quorum": 1 } }),
        json!({ "approval": { "approvers": {} } }),
    ]);
    (prop::collection::vec(step, 0..6), inputs, output, promotion).prop_map(
        |(steps, inputs, output, promotion)| {
            json!({ "steps": steps, "inputs": inputs, "output": output, "promotion": promotion })
        },
    )
}

/// Text that tries to leave wherever it stands.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "`",
        "``",
        "```",
        "\n",
        "\r\n",
        "\n\n# ",
        "<!--",
        "-->",
        "@alice",
        "[x](http://e)",
        "![",
        "|",
        "\\",
        "\\|",
        "<b>",
        "&lt;",
        "\u{202e}",
        "\u{200b}",
        "\u{1b}[2J",
        "https://e",
        "#1",
        "~~~\n",
        "- ",
        " ",
        "**",
        "$",
        "x",
        "\u{2028}",
        "</details>",
        "\u{0}",
    ]);
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn written_by(texts: &[String]) -> Value {
    let text = |n: usize| texts[n % texts.len()].clone();
    json!({
        "description": text(0),
        "inputs": { "type": text(1), "properties": { text(2): { "type": text(3), text(4): [text(5)] } }, "required": [text(6)], text(7): 1 },
        "steps": [
            { "name": text(0), "when": text(1), "needs": [text(2)], "http": { "url": text(3), "headers": { text(4): text(5) }, "body": { text(6): text(7) } } },
            { "name": text(1), "set": { text(2): text(3) } },
            { "name": "wait", "wait": { "until": text(4), "callback": { "accept": text(5) } } },
            { "name": "ask", "when": text(6), "approval": {
                "title": text(0), "show": [{ "name": text(1), "value": text(2) }], "form": { text(3): text(4) },
                "approvers": { "users": [text(5)], "groups": [text(6)], "serviceAccounts": [text(7)] },
                "escalate": [{ "after": "1h", "to": { "users": [text(0)] } }], "changes": { "backTo": text(1) },
            } },
            { "name": text(1), "flow": { "name": "child", "inputs": { "a": text(4) }, "detached": true, "key": text(5) } },
            { "name": text(2), "notify": { "webhook": { "connection": "shop", "path": text(4), "message": text(5) } } },
        ],
        "output": { text(6): text(7) },
        "promotion": { "approval": { "approvers": { "groups": [text(0)] } } },
    })
}

/// What is left of a line without its code spans, by the rule of `CommonMark`: a run of backticks up to the next run of the same length.
fn outside_code(line: &str) -> String {
    let mut rest = line;
    let mut outside = String::new();
    while let Some(at) = rest.find('`') {
        outside.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = rest.len() - rest.trim_start_matches('`').len();
        let mut closing = length;
        let end = loop {
            let Some(next) = rest[closing..].find('`') else {
                break None;
            };
            let start = closing + next;
            let run = rest[start..].len() - rest[start..].trim_start_matches('`').len();
            if run == length {
                break Some(start + run);
            }
            closing = start + run;
        };
        if let Some(end) = end {
            rest = &rest[end..];
        } else {
            outside.push_str(rest);
            rest = "";
        }
    }
    outside + rest
}

fn assert_tame(markdown: &str) {
    assert!(!markdown.contains("<!--"), "{markdown}");
    assert!(
        !markdown.chars().any(|c| c.is_control() && c != '\n'),
        "{markdown:?}"
    );
    for line in markdown.lines() {
        let left = outside_code(line);
        let starts = ["**", "#### ", "- ", "  - ", "… and "];
        assert!(
            line.is_empty() || starts.iter().any(|start| line.starts_with(start)),
            "{line}"
        );
        let words = left.trim_start_matches("#### ");
        assert!(
            words
                .chars()
                .all(|c| c.is_alphanumeric() || " ,.:;*()-→…".contains(c)),
            "{left:?} of {line:?}"
        );
        for told in ["alice", "evil", "details"] {
            assert!(!left.contains(told), "{left:?} of {line:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_difference_is_empty_exactly_when_the_canonical_forms_are_one(old in definitions(), new in definitions()) {
        let (old, new) = (definition(old), definition(new));
        prop_assert!(difference(Some(&old), &old).is_empty());
        let same = canonical::digest(&old).unwrap() == canonical::digest(&new).unwrap();
        let found = difference(Some(&old), &new);
        prop_assert_eq!(found.is_empty(), same, "{:?}", found);
        prop_assert!(!difference(None, &new).is_empty());
    }

    #[test]
    fn the_markdown_of_a_hostile_definition_holds_nothing_but_code_spans(
        texts in prop::collection::vec(hostile(), 8),
        others in prop::collection::vec(hostile(), 8),
        limit in 0_usize..20_000,
    ) {
        let (old, new) = (definition(written_by(&texts)), definition(written_by(&others)));
        for found in [difference(Some(&old), &new), difference(None, &new)] {
            let markdown = found.to_markdown(limit);
            prop_assert!(markdown.len() <= limit.max(1_024), "{} > {limit}", markdown.len());
            assert_tame(&markdown);
            let text = found.to_text();
            prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            prop_assert!(!text.contains(['\u{202e}', '\u{200b}', '\u{2028}']), "{text:?}");
        }
    }
}

#[test]
fn a_long_difference_ends_with_a_count_and_keeps_what_loosens_control() {
    let step = |n: usize| json!({ "name": format!("s{n}"), "set": { "x": "y".repeat(500) } });
    let old = json!({ "steps": [{ "name": "ask", "approval": { "title": "?" } }] });
    let new = json!({ "steps": (0..200).map(step).collect::<Vec<_>>() });
    let markdown = difference(Some(&definition(old)), &definition(new)).to_markdown(4_096);
    assert!(markdown.len() <= 4_096, "{}", markdown.len());
    assert!(
        markdown.contains("step `ask`: nobody is asked any more"),
        "{markdown}"
    );
    let last = markdown.lines().last().unwrap();
    assert!(last.starts_with("… and ") && last.contains(" more"), "{last}");
}

#[test]
fn one_long_step_does_not_hide_the_next_one() {
    let of = |n: usize| {
        let values: serde_json::Map<String, Value> = (0..200).map(|i| (format!("k{i}"), json!(n))).collect();
        json!({ "steps": [{ "name": "long", "set": values }, { "name": "next", "set": { "x": n } }] })
    };
    let markdown = difference(Some(&definition(of(1))), &definition(of(2))).to_markdown(60_000);
    assert!(markdown.contains("… and 175 more"), "{markdown}");
    assert!(markdown.contains("`next`"), "{markdown}");
}
