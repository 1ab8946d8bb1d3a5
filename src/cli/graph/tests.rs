//! How flows and runs are drawn, in every format.

use serde_json::{Value, json};
use signoff_api::{Definition, RunStatus};

use super::{Graph, dot, mermaid, svg, text};

fn definition(value: Value) -> Definition {
    serde_json::from_value(value).unwrap()
}

/// A sequence with a loop, a question and last steps.
fn refund() -> Definition {
    definition(json!({
        "steps": [
            {"name": "propose", "http": {"connection": "shop", "path": "/quotes", "body": {}}, "retry": {"attempts": 3}},
            {"name": "review", "approval": {
                "title": "Refund ${inputs.amount} for order ${inputs.order}?", "quorum": 2,
                "approvers": {"groups": ["finance"]}, "respondWithin": "2d", "changes": {"backTo": "propose"}
            }},
            {"name": "pay", "http": {"connection": "psp", "path": "/refunds", "body": {}}, "delivery": "AtMostOnce"},
            {"name": "settled", "wait": {"callback": {}, "respondWithin": "2d"}},
            {"name": "poll", "http": {"url": "https://x.example/"}, "repeat": {
                "until": "${steps.poll.output.done}", "every": "30s"
            }},
        ],
        "finally": [
            {"name": "unlock", "http": {"url": "https://x.example/lock", "method": "DELETE"}},
            {"name": "tell", "when": "${run.outcome != 'Succeeded'}", "notify": {"webhook": {
                "url": "https://chat.example/", "message": "x"
            }}},
        ]
    }))
}

/// A graph with branches, items, a flow and an end.
fn expense() -> Definition {
    definition(json!({"steps": [
        {"name": "rate", "needs": [], "http": {"url": "https://rates.example/"}, "onFailure": {"outcome": "Continue"}},
        {"name": "owners", "needs": [], "set": {"users": ["a"]}},
        {"name": "review", "needs": ["rate", "owners"], "approval": {
            "title": "Pay?", "approvers": {"users": ["${steps.owners.output.users}"]}, "onReject": {"outcome": "Continue"}
        }},
        {"name": "pay", "needs": ["review.Approved"], "flow": {"name": "payment"}},
        {"name": "tell", "needs": ["pay"], "forEach": {"items": "${inputs.people}"}, "notify": {"webhook": {
            "connection": "chat", "message": "${item}"
        }}},
        {"name": "stop", "needs": ["review.Rejected"], "end": {"outcome": "Failed", "message": "refused"}},
        {"name": "archive", "needs": ["tell", "rate"], "wait": {"duration": "1d"}},
    ]}))
}

/// A run of the sequence that waits for its second pass to be decided.
fn run() -> RunStatus {
    serde_json::from_value(json!({
        "phase": "Waiting", "startedAt": "2026-11-29T12:00:00.000000Z", "steps": [
            {"name": "propose", "iteration": 1, "phase": "Succeeded", "outcome": "Succeeded", "attempt": 1, "repeated": true},
            {"name": "review", "iteration": 1, "phase": "Succeeded", "outcome": "ChangesRequested", "repeated": true},
            {"name": "propose", "iteration": 2, "phase": "Succeeded", "outcome": "Succeeded", "attempt": 2,
             "startedAt": "2026-11-29T13:00:00.000000Z", "finishedAt": "2026-11-29T13:00:01.500000Z"},
            {"name": "review", "iteration": 2, "phase": "Waiting", "startedAt": "2026-11-29T13:00:02.000000Z",
             "waitingOn": "2 of finance"},
        ]
    }))
    .unwrap()
}

fn drawings() -> [(&'static str, Graph); 4] {
    let hostile = definition(json!({"steps": [
        {"name": "a", "http": {"url": "https://x.example/\u{202e}\u{1b}[2J\n</text><script>alert(1)</script>&\"'"}},
        {"name": "b", "approval": {"title": "\"];\n%% click s0 \"javascript:1\"\n│ ✓  pay\u{200b}"}},
    ]}));
    [
        ("sequence", Graph::of("Flow refund".to_owned(), &refund(), None)),
        ("graph", Graph::of("Flow expense".to_owned(), &expense(), None)),
        (
            "run",
            Graph::of(
                "Run r of flow refund: Waiting".to_owned(),
                &refund(),
                Some(&run()),
            ),
        ),
        (
            "hostile",
            Graph::of("Flow <b>\u{202e}\"&".to_owned(), &hostile, None),
        ),
    ]
}

#[test]
fn every_format_draws_the_same_flows() {
    for (name, graph) in drawings() {
        insta::assert_snapshot!(format!("{name}_text"), text::render(&graph).render(None));
        insta::assert_snapshot!(format!("{name}_dot"), dot::render(&graph));
        insta::assert_snapshot!(format!("{name}_mermaid"), mermaid::render(&graph));
        insta::assert_snapshot!(format!("{name}_svg"), svg::render(&graph));
    }
}

#[test]
fn nothing_that_others_wrote_leaves_its_place_in_a_drawing() {
    let [.., (_, graph)] = drawings();
    let text = text::render(&graph).render(None);
    assert_eq!(
        text.lines().filter(|line| line.contains('│')).count(),
        1,
        "{text}"
    );
    for drawn in [
        text,
        dot::render(&graph),
        mermaid::render(&graph),
        svg::render(&graph),
    ] {
        assert!(!drawn.contains(['\u{202e}', '\u{1b}', '\u{200b}']), "{drawn}");
    }
    let svg = svg::render(&graph);
    assert!(!svg.contains("<script") && !svg.contains("<b>"), "{svg}");
    // a quote of a text never ends the label that it is in
    let labels = |drawn: &str| drawn.replace("\\\\", "").replace("\\\"", "").matches('"').count();
    assert_eq!(labels(&dot::render(&graph)), 6, "{}", dot::render(&graph));
    assert_eq!(
        mermaid::render(&graph).matches('"').count(),
        4,
        "{}",
        mermaid::render(&graph)
    );
}

#[test]
fn a_definition_that_cannot_run_is_drawn_as_far_as_it_goes() {
    let odd = definition(json!({"steps": [
        {"name": "a", "needs": ["c"], "set": {}},
        {"name": "b", "needs": ["nowhere", "a.Nonsense|"], "set": {}},
        {"name": "c", "needs": ["b", "c"], "set": {}},
    ]}));
    let graph = Graph::of("Flow odd".to_owned(), &odd, None);
    let drawn = text::render(&graph).render(None);
    assert!(drawn.contains("nowhere, which is not there"), "{drawn}");
    for name in ["a", "b", "c"] {
        assert!(svg::render(&graph).contains(&format!("<title>{name} (set)")));
    }
    assert!(dot::render(&graph).contains("s1 -> s2"));
    assert!(mermaid::render(&graph).contains("s1 --> s2"));
}

#[test]
fn a_flow_of_many_parallel_steps_says_what_they_come_after_in_words() {
    let mut steps = vec![json!({"name": "begin", "needs": [], "set": {}})];
    let middle = (0..40).map(|n| json!({"name": format!("s{n}"), "needs": ["begin"], "set": {}}));
    steps.extend(middle);
    let names: Vec<String> = (0..40).map(|n| format!("s{n}")).collect();
    steps.push(json!({"name": "end", "needs": names, "set": {}}));
    let drawn = Graph::of("Flow wide".to_owned(), &definition(json!({"steps": steps})), None);
    let drawn = text::render(&drawn).render(None);
    assert!(drawn.contains("after begin"), "{drawn}");
    assert!(drawn.lines().all(|line| line.chars().count() < 140), "{drawn}");
}
