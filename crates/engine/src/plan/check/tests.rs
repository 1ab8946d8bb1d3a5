//! What is refused before a release is cut, and that nothing that checks fails for its types.

use serde_json::{Map, Value, json};
use signoff_expression::{self as cel, Budget, Declarations, Library, Program, Scope};

use super::{Defaults, as_declared, type_of};
use crate::plan::Plan;
use proptest::prelude::*;
use signoff_api::Definition;

fn definition(value: Value) -> Definition {
    serde_json::from_value(value).unwrap()
}

fn problems(value: Value) -> Vec<String> {
    let compiled = Plan::compile(&definition(value));
    let problems = compiled.err().into_iter().flatten();
    problems
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect()
}

/// A flow with inputs of every sort, a quote, a review if the amount is high, and one step more.
fn with_step(step: &Value) -> Value {
    json!({
        "inputs": {
            "type": "object",
            "required": ["order", "amount", "count"],
            "properties": {
                "order": {"type": "string"},
                "amount": {"type": "number"},
                "count": {"type": "integer"},
                "coupon": {"type": "string"},
                "currency": {"enum": ["EUR", "USD"]},
                "lines": {"type": "array", "items": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}, "note": {"type": "string"}}}},
            },
        },
        "steps": [
            {"name": "quote", "http": {"url": "http://shop/quote", "output": {"total": "${response.status + 0}", "by": "${response.headers.?server.orValue('')}"}}},
            {"name": "review", "when": "${inputs.amount > 100 && has(inputs.coupon)}", "approval": {
                "title": "Refund ${inputs.amount}?",
                "form": {"type": "object", "required": ["reason"], "properties": {"reason": {"type": "string"}, "note": {"type": "string"}}},
                "onTimeout": {"outcome": "Continue"}, "respondWithin": "1h",
            }},
            {"name": "settled", "wait": {"callback": {"schema": {"type": "object", "required": ["receipt"], "properties": {"receipt": {"type": "string"}, "at": {"type": "string"}}}}}},
            step,
        ],
    })
}

#[test]
fn what_is_known_in_each_place_may_be_read() {
    for step in [
        json!({"name": "x", "set": {"v": "${inputs.order} ${inputs.amount * 1.5} ${inputs.count + 1}"}}),
        json!({"name": "x", "set": {"v": "${run.name}/${run.namespace}/${run.uid}/${run.?requestedBy.orValue('')}/${release.digest}/${release.?commit.orValue('')}"}}),
        json!({"name": "x", "set": {"v": "${steps.quote.output.total + 1}"}}),
        json!({"name": "x", "set": {"v": "${steps.quote.output.by.startsWith('n')}"}}),
        json!({"name": "x", "set": {"v": "${steps.settled.output.receipt + steps.settled.output.?at.orValue('')}"}}),
        json!({"name": "x", "set": {"v": "${inputs.?lines.orValue([]).map(l, l.sku)}"}}),
        json!({"name": "x", "set": {"v": "${has(inputs.lines) ? inputs.lines.filter(l, has(l.note)).map(l, l.sku) : []}"}}),
        json!({"name": "x", "when": "${steps.review.outcome == 'Approved'}", "http": {"url": "http://x/", "body": {"v": "${callback('settled').url}"}}}),
        json!({"name": "x", "when": "${has(inputs.coupon)}", "set": {"v": "${inputs.coupon}"}}),
        json!({"name": "x", "when": "${steps.review.outcome == 'Approved'}", "set": {"v": "${steps.review.decision.values.reason + steps.review.decision.by[0]}"}}),
        // its own condition held too
        json!({"name": "x", "when": "${steps.review.outcome in ['Approved', 'TimedOut']}", "set": {"v": "${inputs.coupon}"}}),
        json!({"name": "x", "when": "${steps.review.outcome != 'Skipped'}", "set": {"v": "${inputs.coupon}"}}),
        json!({"name": "x", "set": {"v": "${steps.review.?decision.?comment.orValue('')}"}}),
        json!({"name": "x", "wait": {"callback": {"accept": "${body.anything == 1 && headers[?'x-a'].orValue('') == 'b'}"}}}),
        json!({"name": "x", "wait": {"callback": {"schema": {"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}}, "accept": "${body.ok}"}}}),
    ] {
        assert_eq!(problems(with_step(&step)), [""; 0], "{step}");
    }
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the callers read better with the value in place"
)]
fn of_approval(more: Value) -> Vec<String> {
    let mut approval = json!({"title": "?"});
    approval
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let problems = problems(with_step(&json!({"name": "x", "approval": approval})));
    let short = problems
        .into_iter()
        .map(|problem| problem.replace("steps[3].approval.", ""));
    short.collect()
}

#[test]
fn who_decides_how_many_and_until_when_may_be_computed_with_fitting_types() {
    for good in [
        json!({"approvers": {"users": ["${inputs.order}", "${inputs.?lines.orValue([]).map(l, l.sku)}", "a-${inputs.count}"]}}),
        json!({"approvers": {"groups": ["${inputs.?coupon}"], "exclude": ["system:x-${inputs.order}"]}}),
        json!({"approvers": {"groups": ["${steps.settled.output.receipt}"]}, "quorum": "${inputs.count}"}),
        json!({"approvers": {"groups": ["g"]}, "quorum": "${size(inputs.order) > 3 ? 2 : 1}"}),
        json!({"respondWithin": "${inputs.order}", "escalate": [{"after": "${duration('1h')}", "to": {"users": ["${inputs.order}"]}}]}),
        json!({"approvers": {"users": ["a"]}, "quorum": 2, "escalate": [{"after": "1h", "to": {"groups": ["g"]}}]}),
        json!({"approvers": {"users": ["a", "${inputs.order}"]}, "quorum": 3}),
        json!({"form": {"type": "object", "properties": {
            "one": {"type": "string", "enum": "${inputs.?lines.orValue([]).map(l, l.sku)}", "default": "${inputs.order}"},
            "all": {"type": "array", "items": {"type": "string", "enum": ["x", "${inputs.order}"]}, "default": ["x"]}}}}),
    ] {
        assert_eq!(of_approval(good.clone()), [""; 0], "{good}");
    }
    for (bad, expected) in [
        (
            json!({"show": [{"name": "a", "value": {"b": 1}, "mediaType": "text/markdown"}]}),
            "show[0].value: text/markdown is text, not",
        ),
        (
            json!({"show": [{"name": "a", "value": "${inputs.count}", "mediaType": "image/png"}]}),
            "show[0].value: image/png is text, not int",
        ),
        (
            json!({"form": {"type": "object", "properties": {"f": {"type": "object"}}}}),
            "form.properties.f: a form's field is",
        ),
        (
            json!({"form": {"type": "object", "properties": {"f": {"type": "array", "items": {"type": "array"}}}}}),
            "form.properties.f: a form's field is",
        ),
        (
            json!({"form": {"type": "object", "properties": {"f": {"type": "string", "title": "${inputs.order}"}}}}),
            "form: expressions stand only in default and enum",
        ),
        (
            json!({"form": {"type": "object", "properties": {"f": {"type": "string", "enum": "${inputs.oder}"}}}}),
            "form.properties.f.enum: there is no input oder",
        ),
        (
            json!({"form": {"type": "object", "properties": {"f": {"type": "integer", "default": "5"}}}}),
            "form.properties.f.default: \"5\" is not of type",
        ),
        (
            json!({"remindEvery": "4m"}),
            "remindEvery: \"4m\" is shorter than 5m",
        ),
        (
            json!({"verdicts": ["Reject"]}),
            "verdicts: they are [Approve], or [Approve, Reject]",
        ),
        (
            json!({"verdicts": ["Approve", "Approve"]}),
            "verdicts: they are [Approve], or [Approve, Reject]",
        ),
        (
            json!({"verdicts": ["Approve"], "onReject": {"outcome": "Continue"}}),
            "onReject: people cannot reject",
        ),
        (
            json!({"approvers": {"users": ["${inputs.count}"]}}),
            "approvers.users[0]: it gives a name or a list of names, not int",
        ),
        (
            json!({"approvers": {"users": ["a", "${[[inputs.order]]}"]}}),
            "approvers.users[1]: it gives a name or a list of names, not list",
        ),
        (
            json!({"approvers": {"groups": ["system:${inputs.order}"]}}),
            "approvers.groups[0]: a name that begins with system: never comes from data",
        ),
        (
            json!({"approvers": {"serviceAccounts": ["ns:${inputs.order}"]}}),
            "approvers.serviceAccounts[0]: a service account never comes from data",
        ),
        (
            json!({"approvers": {"users": ["${inputs.oder}"]}}),
            "approvers.users[0]: there is no input oder",
        ),
        (
            json!({"quorum": "${inputs.order}"}),
            "quorum: it gives an integer, not string",
        ),
        (
            json!({"quorum": "${inputs.amount}"}),
            "quorum: it gives an integer, not double",
        ),
        (
            json!({"quorum": "${1} ${2}"}),
            "quorum: it is an integer, or one ${…} expression that gives one",
        ),
        (
            json!({"respondWithin": "${inputs.count}"}),
            "respondWithin: it gives a duration, not int",
        ),
        (
            json!({"respondWithin": "${1}h${2}"}),
            "respondWithin: it is a duration, or one ${…} expression that gives one",
        ),
        (
            json!({"escalate": [{"after": "${true}", "to": {}}]}),
            "escalate[0].after: it gives a duration, not bool",
        ),
        (
            json!({"escalate": [{"after": "1h", "to": {"users": ["${1}"]}}]}),
            "escalate[0].to.users[0]: it gives a name",
        ),
        (
            json!({"approvers": {"users": ["a", "b"]}, "quorum": 3}),
            "quorum: 3 people must approve, and the approvers are 2",
        ),
        (
            json!({"approvers": {"users": ["a", "a"], "exclude": ["b"]}, "quorum": 2}),
            "quorum: 2 people must approve, and the approvers are 1",
        ),
        (
            json!({"approvers": {"users": ["a", "b"], "exclude": ["B"]}, "quorum": 2}),
            "quorum: 2 people must approve, and the approvers are 1",
        ),
    ] {
        let found = of_approval(bad.clone());
        assert!(
            found.iter().any(|problem| problem.starts_with(expected)),
            "{bad}: {found:?}"
        );
    }
}

#[test]
fn what_was_approved_of_an_editable_item_is_known_after_an_approval() {
    let with = |read: &str| {
        let draft =
            json!({"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}});
        let item = json!({"name": "draft", "value": {"text": "hi"}, "editable": {"schema": draft}});
        json!({"steps": [
            {"name": "ask", "approval": {"title": "?", "show": [item], "onTimeout": {"outcome": "Continue"}}},
            {"name": "x", "when": "${steps.ask.outcome == 'Approved'}", "set": {"v": read}},
        ]})
    };
    assert_eq!(
        problems(with("${steps.ask.decision.shown.draft.text + '!'}")),
        [""; 0]
    );
    let found = problems(with("${steps.ask.decision.shown.draft.txt}"));
    assert!(found[0].contains("there is no field txt"), "{found:?}");
    let found = problems(with("${steps.ask.decision.shown.other}"));
    assert!(
        found[0].contains("there is no editable item called other"),
        "{found:?}"
    );
}

#[test]
fn a_shown_request_reads_only_what_is_known_when_the_question_is_asked() {
    let with = |item: Value, pay: Value| {
        json!({"steps": [
            {"name": "quote", "set": {"total": 5}},
            {"name": "ask", "approval": {"title": "?", "show": [item]}},
            {"name": "between", "set": {"total": 6}},
            {"name": "pay", "http": {"url": "http://bank/", "body": pay}},
        ]})
    };
    let item = json!({"name": "p", "step": "pay"});
    assert_eq!(
        problems(with(item.clone(), json!("${steps.quote.output.total}"))),
        [""; 0]
    );
    for (item, pay, expected) in [
        (
            item.clone(),
            json!("${steps.between.output.total}"),
            "steps[1].approval.show[0].step.http.body: step between is not done before this one",
        ),
        (
            item,
            json!("${steps.ask.decision.comment}"),
            "steps[1].approval.show[0].step.http.body: step ask is not done before this one",
        ),
        (
            json!({"name": "p", "step": "quote"}),
            json!(1),
            "steps[1].approval.show[0].step: there is no step quote that comes after this one",
        ),
        (
            json!({"name": "p", "step": "nope"}),
            json!(1),
            "steps[1].approval.show[0].step: there is no step nope that comes after this one",
        ),
        (
            json!({"name": "p", "step": "between"}),
            json!(1),
            "steps[1].approval.show[0].step: set steps send no request",
        ),
        (
            json!({"name": "p", "step": "pay", "value": 1}),
            json!(1),
            "steps[1].approval.show[0]: an item has either value or step",
        ),
        (
            json!({"name": "p"}),
            json!(1),
            "steps[1].approval.show[0]: an item has either value or step",
        ),
        (
            json!({"name": "p", "step": "pay", "editable": {"schema": {}}}),
            json!(1),
            "steps[1].approval.show[0]: a request is shown as JSON",
        ),
    ] {
        let found = problems(with(item.clone(), pay));
        assert!(
            found.iter().any(|problem| problem.starts_with(expected)),
            "{item}: {found:?}"
        );
    }
}

#[test]
fn the_requests_of_items_are_not_shown() {
    let found = problems(json!({"steps": [
        {"name": "ask", "approval": {"title": "?", "show": [{"name": "p", "step": "pay"}]}},
        {"name": "pay", "http": {"url": "http://bank/"}, "forEach": {"items": [1, 2]}},
    ]}));
    assert_eq!(
        found,
        ["steps[0].approval.show[0].step: step pay has a request for each of its items"]
    );
}

#[test]
fn a_promotion_gate_has_no_expressions() {
    let gate = json!({"approvers": {"users": ["a", "${run.name}"], "exclude": ["x-${run.name}"]},
        "escalate": [{"after": "1h", "to": {"groups": ["${run.name}"]}}]});
    let found = problems(json!({"steps": [{"name": "x", "set": {}}], "promotion": {"approval": gate}}));
    let places: Vec<&str> = found
        .iter()
        .filter_map(|problem| problem.split(": ").next())
        .collect();
    let expected = [
        "approvers.users[1]",
        "approvers.exclude[0]",
        "escalate[0].to.groups[0]",
    ];
    assert_eq!(
        places,
        expected.map(|place| format!("promotion.approval.{place}"))
    );
    assert!(
        found[0].ends_with("who may promote never comes from data"),
        "{found:?}"
    );
}

#[test]
fn what_is_wrong_in_an_expression_is_told_with_its_place_before_a_release_is_cut() {
    for (step, expected) in [
        (
            json!({"set": {"v": "${inputs.amout}"}}),
            "set.v: there is no input amout; did you mean 'amount'?",
        ),
        (
            json!({"set": {"v": "${input.amount}"}}),
            "set.v: there is no variable input; did you mean 'inputs'?",
        ),
        (
            json!({"set": {"v": "${inputs.amount * 100}"}}),
            "set.v: * does not take double and int; write a whole number with .0, such as 100.0, or convert with double(…)",
        ),
        (
            json!({"set": {"v": "${inputs.coupon}"}}),
            "set.v: coupon may be absent: write inputs.?coupon.orValue(…), or guard it with has(inputs.coupon)",
        ),
        (
            json!({"when": "${inputs.count}", "set": {}}),
            "when: a condition is true or false, not int",
        ),
        (
            json!({"when": "${inputs.currency == 'EUR'}", "set": {}}),
            "when: currency may be absent: write inputs.?currency.orValue(…), or guard it with has(inputs.currency)",
        ),
        (
            json!({"when": "${has(inputs.currency) && inputs.currency == 'GBP'}", "set": {}}),
            "when: it is never 'GBP', but 'EUR' or 'USD'",
        ),
        (
            json!({"when": "${steps.review.outcome == 'Aproved'}", "set": {}}),
            "when: it is never 'Aproved', but 'Approved', 'Skipped' or 'TimedOut'; did you mean 'Approved'?",
        ),
        (
            // who rejects ends the run
            json!({"when": "${steps.review.outcome == 'Rejected'}", "set": {}}),
            "when: it is never 'Rejected', but 'Approved', 'Skipped' or 'TimedOut'",
        ),
        (
            json!({"set": {"v": "${steps.quote.output.totl}"}}),
            "set.v: there is no field totl; did you mean 'total'?",
        ),
        (
            json!({"set": {"v": "${steps.settled.output.recipt}"}}),
            "set.v: there is no field recipt; did you mean 'receipt'?",
        ),
        (
            json!({"set": {"v": "${steps.settled.output.at}"}}),
            "set.v: at may be absent: write steps.settled.output.?at.orValue(…), or guard it with has(steps.settled.output.at)",
        ),
        (
            json!({"set": {"v": "${steps.review.decision.values.reason}"}}),
            "set.v: decision may be absent: write steps.review.?decision.values.reason.orValue(…), or guard it with has(steps.review.decision) && has(steps.review.decision.values.reason)",
        ),
        (
            json!({"when": "${steps.review.outcome == 'Approved'}", "set": {"v": "${steps.review.decision.values.note}"}}),
            "set.v: note may be absent: write steps.review.decision.values.?note.orValue(…), or guard it with has(steps.review.decision.values.note)",
        ),
        (
            json!({"when": "${steps.review.outcome == 'Approved'}", "set": {"v": "${steps.review.decision.values.resaon}"}}),
            "set.v: there is no field of the form called resaon; did you mean 'reason'?",
        ),
        (
            json!({"set": {"v": "${steps.review.output}"}}),
            "set.v: step review has no output",
        ),
        (
            json!({"set": {"v": "${steps.quote.decision}"}}),
            "set.v: step quote asks nobody, so it has no decision",
        ),
        (
            json!({"set": {"v": "${steps.quote.outcom}"}}),
            "set.v: there is no field of a step called outcom; did you mean 'outcome'?",
        ),
        (
            json!({"set": {"v": "${steps.quot.output}"}}),
            "set.v: there is no step quot; did you mean 'quote'?",
        ),
        (
            json!({"set": {"v": "${steps.x.output}"}}),
            "set.v: step x is not done before this one",
        ),
        (
            json!({"set": {"v": "${run.nam}"}}),
            "set.v: there is no field nam; did you mean 'name'?",
        ),
        (
            json!({"when": "${steps.review.outcome == 'Approved'}", "http": {"url": "http://x/", "body": "${callback('quote').url}"}}),
            "http.body: callback('quote'): there is no wait step quote with a callback",
        ),
        (
            json!({"when": "${steps.review.outcome == 'Approved'}", "http": {"url": "http://x/", "body": "${callback('setled').url}"}}),
            "http.body: there is no wait step with a callback named setled; did you mean 'settled'?",
        ),
        (
            json!({"set": {"v": "${callback('settled').token}"}}),
            "set.v: callback() is known only in what is sent: this is kept, and many may read it",
        ),
        (
            json!({"when": "${steps.review.outcome == 'Approved'}", "flow": {"name": "f", "inputs": {"url": "${callback('settled').url}"}}}),
            "flow.inputs.url: callback() is known only in what is sent: this is kept, and many may read it",
        ),
        (
            json!({"when": "${steps.review.outcome == 'Approved'}", "http": {"url": "http://x/", "output": "${callback('settled').url}"}}),
            "http.output: callback() is known only in what is sent: this is kept, and many may read it",
        ),
        (
            json!({"set": {"v": "${inputs.order.startswith('a')}"}}),
            "set.v: there is no method startswith; did you mean 'startsWith'?",
        ),
        (
            json!({"set": {"v": "${[1, 'a']}"}}),
            "set.v: the values of a list or map have one type, not int and string; dyn(…) around each allows both",
        ),
        (
            json!({"set": {"v": "${type(1)}"}}),
            "set.v: a value of type type(int) cannot be written as text or JSON",
        ),
        (
            json!({"when": "${steps.review.outcome == 'Approved'}", "http": {"url": "http://x/", "output": "${response.body.a + response.statu}"}}),
            "http.output: there is no field statu; did you mean 'status'?",
        ),
        (
            json!({"when": "${steps.review.outcome == 'Approved'}", "http": {"url": "http://x/", "output": "${response.headers.etag}"}}),
            "http.output: etag may be absent: write response.headers.?etag.orValue(…), or guard it with has(response.headers.etag)",
        ),
        (
            json!({"wait": {"callback": {"schema": {"type": "object", "properties": {"ok": {"type": "string"}}, "required": ["ok"]}, "accept": "${body.ok}"}}}),
            "wait.callback.accept: a condition is true or false, not string",
        ),
    ] {
        let mut named = json!({"name": "x"});
        for (key, value) in step.as_object().unwrap() {
            named[key] = value.clone();
        }
        assert_eq!(
            problems(with_step(&named)),
            [format!("steps[3].{expected}")],
            "{step}"
        );
    }
}

#[test]
fn a_release_that_was_cut_runs_whatever_is_found_in_its_expressions_today() {
    let definition = definition(with_step(&json!({"name": "x", "set": {"v": "${inputs.amout}"}})));
    assert!(Plan::compile(&definition).is_err());
    assert!(Plan::of_release(&definition).is_ok());
}

#[test]
fn of_a_later_step_in_a_loop_the_previous_pass_may_be_read_where_it_is_guarded() {
    let flow = |why: &str| {
        json!({"steps": [
            {"name": "propose", "set": {"why": why}},
            {"name": "review", "approval": {"title": "?", "changes": {"backTo": "propose"}}},
        ]})
    };
    for why in [
        "${steps.review.?previous.decision.comment.orValue('')}",
        "${has(steps.review.previous) ? steps.review.previous.outcome : ''}",
        "${steps.review.pass}",
        "${steps.propose.?previous.output.why.orValue('')}",
    ] {
        assert_eq!(problems(flow(why)), [""; 0], "{why}");
    }
    for (why, expected) in [
        ("${steps.review.previous.outcome}", "previous may be absent"),
        (
            "${steps.review.?decision.?comment.orValue('')}",
            "step review is not done before this one in a pass; of the pass before, `steps.review.?previous` is known",
        ),
        (
            "${has(steps.review.previous) && steps.review.previous.outcome == 'Aproved'}",
            "never 'Aproved'",
        ),
    ] {
        let found = problems(flow(why));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
}

#[test]
fn where_a_loop_looks_whether_it_is_over_its_last_step_took_part() {
    let flow = |until: &str| {
        json!({"steps": [
            {"name": "poll", "when": "${1 + 1 == 2}", "set": {"n": "${1 + 1}"}, "repeat": {"until": until}},
            {"name": "after", "set": {"v": "${steps.poll.pass}"}},
        ]})
    };
    assert_eq!(problems(flow("${steps.poll.output.n == 2}")), [""; 0]);
    assert_eq!(problems(flow("${steps.poll.output.n == 'x'}")).len(), 1);
}

#[test]
fn what_a_step_needs_of_an_outcome_is_known_in_it_and_in_those_after_it() {
    let flow = |step: &Value| {
        json!({"steps": [
            {"name": "ask", "needs": [], "approval": {"title": "?", "onReject": {"outcome": "Continue"}}},
            {"name": "pay", "needs": ["ask.Approved"], "set": {"n": "${steps.ask.decision.by[0]}"}},
            {"name": "thank", "needs": ["pay"], "set": {"n": "${steps.pay.output.n + steps.ask.decision.by[0]}"}},
            step,
        ]})
    };
    for step in [
        json!({"name": "x", "needs": ["ask.Rejected"], "set": {"v": "${steps.ask.decision.comment}"}}),
        json!({"name": "x", "needs": ["thank.Succeeded|Omitted"], "set": {"v": "${steps.pay.?output.n.orValue('')}"}}),
        json!({"name": "x", "needs": ["thank.Succeeded|Omitted"], "when": "${steps.thank.outcome != 'Omitted'}", "set": {"v": "${steps.pay.output.n}"}}),
        json!({"name": "x", "needs": ["ask"], "when": "${steps.ask.outcome == 'Rejected'}", "set": {}}),
    ] {
        assert_eq!(problems(flow(&step)), [""; 0], "{step}");
    }
    for (step, expected) in [
        (
            json!({"name": "x", "needs": ["thank.Succeeded|Omitted"], "set": {"v": "${steps.pay.output.n}"}}),
            "output may be absent",
        ),
        (
            json!({"name": "x", "needs": ["ask.Rejected"], "when": "${steps.ask.outcome == 'Omitted'}", "set": {}}),
            "it is never 'Omitted', but 'Approved' or 'Rejected'",
        ),
    ] {
        let found = problems(flow(&step));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
}

#[test]
fn of_a_step_that_may_fail_the_output_and_the_error_may_be_absent() {
    let flow = |value: &str| {
        json!({"steps": [
            {"name": "rate", "http": {"url": "http://x/"}, "onFailure": {"outcome": "Continue"}},
            {"name": "x", "set": {"v": value}},
        ]})
    };
    for value in [
        "${steps.rate.outcome == 'Failed' ? steps.rate.error.message : string(steps.rate.output.rate)}",
        "${steps.rate.outcome == 'Succeeded' ? steps.rate.output.rate : 1}",
    ] {
        assert_eq!(problems(flow(value)), [""; 0], "{value}");
    }
    for value in ["${steps.rate.output.rate}", "${steps.rate.error.reason}"] {
        assert_eq!(problems(flow(value)).len(), 1, "{value}");
    }
}

#[test]
fn only_finally_knows_how_the_run_ends_and_there_any_step_may_not_have_begun() {
    let flow = |of_steps: &str, of_finally: &str| {
        json!({
            "steps": [{"name": "lock", "set": {"n": "${1 + 1}"}}, {"name": "x", "set": {"v": of_steps}}],
            "finally": [{"name": "unlock", "set": {"v": of_finally}}],
        })
    };
    for value in [
        "${run.outcome == 'Failed' && has(run.error) ? run.error.message + run.?failedStep.orValue('') : ''}",
        "${steps.lock.outcome == 'Succeeded' ? steps.lock.output.n : 0}",
        "${steps.x.outcome in ['Omitted', 'Cancelled', 'Failed']}",
    ] {
        assert_eq!(
            problems(flow("${steps.lock.output.n}", value)),
            [""; 0],
            "{value}"
        );
    }
    for (of_steps, of_finally, expected) in [
        ("${run.outcome}", "", "run.outcome is known only in finally"),
        ("", "${run.outcome == 'Done'}", "it is never 'Done'"),
        ("", "${run.error.reason}", "error may be absent"),
        ("", "${steps.lock.output.n}", "output may be absent"),
        (
            "${steps.unlock.output}",
            "",
            "step unlock is not done before this one",
        ),
    ] {
        let found = problems(flow(of_steps, of_finally));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
}

#[test]
fn in_a_graph_the_results_of_a_step_are_known_although_it_is_written_later() {
    let flow = json!({"steps": [
        {"name": "last", "needs": ["first"], "set": {"v": "${steps.first.output.n + 1}"}},
        {"name": "first", "needs": [], "set": {"n": "${1 + 1}"}},
    ]});
    assert_eq!(problems(flow), [""; 0]);
}

/// Numbers from a seed.
struct Picks(u64);

impl Picks {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        let place = self.below(among.len());
        &among[place]
    }
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn schema(picks: &mut Picks, depth: usize) -> Value {
    match picks.below(if depth == 0 { 5 } else { 8 }) {
        0 => json!({"type": "string"}),
        1 => json!({"enum": ["x", "y"]}),
        2 => json!({"type": "integer"}),
        3 => json!({"type": "number"}),
        4 => json!({"type": "boolean"}),
        5 => json!({"type": "array", "items": schema(picks, depth - 1)}),
        _ => object_schema(picks, depth),
    }
}

fn object_schema(picks: &mut Picks, depth: usize) -> Value {
    let names = &NAMES[..=picks.below(NAMES.len())];
    let properties: Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), schema(picks, depth - 1)))
        .collect();
    let required: Vec<&str> = names.iter().copied().filter(|_| picks.one_in(2)).collect();
    let mut object = json!({"type": "object", "properties": properties, "required": required});
    if picks.one_in(4) {
        object["additionalProperties"] = json!({"type": "integer"});
    }
    object
}

fn value(picks: &mut Picks, schema: &Value) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        return picks.of(values).clone();
    }
    match schema["type"].as_str().unwrap() {
        "string" => json!(picks.of(&["", "x", "y", "long"])),
        "integer" => picks.of(&[json!(-1), json!(0), json!(3), json!(4.0)]).clone(),
        "number" => picks.of(&[json!(-1), json!(0), json!(2.5), json!(1e300)]).clone(),
        "boolean" => json!(picks.one_in(2)),
        "array" => (0..picks.below(4))
            .map(|_| value(picks, &schema["items"]))
            .collect(),
        _ => {
            let required = schema["required"].as_array().unwrap();
            let mut made = Map::new();
            for (name, part) in schema["properties"].as_object().unwrap() {
                if required.contains(&json!(name)) || picks.one_in(2) {
                    made.insert(name.clone(), value(picks, part));
                }
            }
            if schema["additionalProperties"].is_object() && picks.one_in(2) {
                made.insert("z".to_owned(), json!(1));
            }
            Value::Object(made)
        }
    }
}

/// An expression that is perhaps right: half of its parts are made for the type that is wanted, and guards are often left out.
fn expression(picks: &mut Picks, schema: &Value, wanted: &str, depth: usize) -> String {
    if depth == 0 {
        return leaf(picks, schema, wanted);
    }
    let mut part = |wanted: &str| {
        let wanted = if picks.one_in(12) {
            *picks.of(&["string", "integer", "number", "boolean"])
        } else {
            wanted
        };
        expression(picks, schema, wanted, depth - 1)
    };
    let (left, right, condition) = (part(wanted), part(wanted), part("boolean"));
    let other = *picks.of(&["string", "integer", "number", "boolean"]);
    let pair = [other, other].map(|wanted| expression(picks, schema, wanted, depth - 1));
    let [one, two] = pair;
    match (wanted, picks.below(7)) {
        (_, 0) => leaf(picks, schema, wanted),
        (_, 1) => format!("({condition} ? {left} : {right})"),
        ("boolean", 2) => format!("({left} && {right})"),
        ("boolean", 3) => format!("({left} || {right})"),
        ("boolean", 4) => format!("({one} == {two})"),
        ("boolean", 5) => format!("({one} < {two})"),
        ("boolean", _) => format!("!({left})"),
        ("string", 2 | 3) => format!("({left} + {right})"),
        ("string", 4) => format!("string({one})"),
        ("string", _) => format!("[{left}, {right}].map(s, s + 'k').join('-')"),
        ("integer", 2) => format!("size({})", expression(picks, schema, "string", depth - 1)),
        ("integer", 3) => format!("[{left}, {right}].min()"),
        ("integer", 4) => format!("int({})", expression(picks, schema, "number", depth - 1)),
        (_, 2) => format!("double({})", expression(picks, schema, "integer", depth - 1)),
        (_, 3) => format!("[{left}, {right}].max()"),
        _ => {
            let operator = picks.of(&["+", "-", "*", "/"]);
            format!("({left} {operator} {right})")
        }
    }
}

fn leaf(picks: &mut Picks, schema: &Value, wanted: &str) -> String {
    if picks.one_in(4) {
        return match wanted {
            "string" => "'x'",
            "integer" => "7",
            "number" => "1.5",
            _ => "true",
        }
        .to_owned();
    }
    let mut found = Vec::new();
    paths(schema, "inputs", &[], wanted, &mut found);
    let fallback = match wanted {
        "string" => "''",
        "integer" => "0",
        "number" => "0.0",
        _ => "false",
    };
    let Some((path, optional)) = (!found.is_empty()).then(|| picks.of(&found)) else {
        return fallback.to_owned();
    };
    if optional.is_empty() {
        path.clone()
    } else {
        match picks.below(4) {
            0 => path.clone(),
            1 => {
                let guards: Vec<String> = optional.iter().map(|path| format!("has({path})")).collect();
                format!("({} ? {path} : {fallback})", guards.join(" && "))
            }
            2 => {
                let absent: Vec<String> = optional.iter().map(|path| format!("!has({path})")).collect();
                format!("({} ? {fallback} : {path})", absent.join(" || "))
            }
            _ => {
                let mut chained = path.clone();
                for at in optional.iter().rev() {
                    let (before, _) = at.rsplit_once('.').unwrap();
                    chained.insert(before.len() + 1, '?');
                }
                format!("{chained}.orValue({fallback})")
            }
        }
    }
}

/// The paths to values of a type, each with those on the way that may be absent.
fn paths(
    schema: &Value,
    at: &str,
    optional: &[String],
    wanted: &str,
    found: &mut Vec<(String, Vec<String>)>,
) {
    let is_text = schema["enum"].is_array() || schema["type"] == "string";
    if schema["type"] == wanted || wanted == "string" && is_text {
        found.push((at.to_owned(), optional.to_vec()));
    }
    if schema["type"] == "array" && schema["items"]["type"] == wanted && optional.is_empty() {
        found.push((format!("{at}[0]"), vec![]));
        if wanted == "boolean" {
            found.push((format!("{at}.all(x, x)"), vec![]));
        }
    }
    if schema["type"] == "array"
        && schema["items"]["type"] == "object"
        && wanted == "boolean"
        && optional.is_empty()
    {
        let item = &schema["items"];
        let mut inner = Vec::new();
        paths(item, "x", &[], "boolean", &mut inner);
        for (path, optional) in inner {
            let guards = optional.iter().map(|path| format!("has({path})"));
            let condition: Vec<String> = guards.chain([path]).collect();
            found.push((format!("{at}.exists(x, {})", condition.join(" && ")), vec![]));
        }
    }
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, part) in schema["properties"].as_object().into_iter().flatten() {
        let below = format!("{at}.{name}");
        let mut optional = optional.to_vec();
        if !required.contains(&json!(name)) {
            optional.push(below.clone());
        }
        paths(part, &below, &optional, wanted, found);
    }
}

/// Whether an expression checks; if so it is evaluated, and may fail for nothing that its types say.
fn holds_what_its_type_says(source: &str, schema: &Value, inputs: &Value) -> bool {
    let Ok(program) = Program::parse(source, &Library::kubernetes()) else {
        return false;
    };
    let declared = type_of(schema, Defaults::Ignored);
    let declarations = Declarations {
        variables: [("inputs".to_owned(), declared.clone())].into(),
        ..Declarations::default()
    };
    let Ok(type_) = program.check(&declarations) else {
        return false;
    };
    let inputs = as_declared(inputs.clone(), &declared);
    let mut scope = Scope::default();
    scope.set("inputs", &inputs);
    match program.evaluate(&scope, &mut Budget::default()) {
        Ok(value) => {
            let given = value.type_of();
            let fits = match type_ {
                cel::StaticType::Scalar(type_) => given == type_,
                cel::StaticType::OneOf(_) => given == cel::Type::String,
                _ => true,
            };
            assert!(
                fits,
                "{source} gives {given:?} and not {type_} for {inputs} of {schema}"
            );
        }
        Err(cel::Error::BudgetExceeded(_) | cel::Error::Failed(_)) => {}
        Err(
            error @ (cel::Error::NoSuchKey(_)
            | cel::Error::NoSuchOverload(_)
            | cel::Error::UnknownVariable(_)),
        ) => panic!("{source} fails with {error} for {inputs} of {schema}"),
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn an_expression_that_checks_never_fails_for_its_types(seed in any::<u64>()) {
        let picks = &mut Picks(seed);
        let schema = object_schema(picks, 3);
        let mut checked = 0;
        for _ in 0..40 {
            let wanted = *picks.of(&["string", "integer", "number", "boolean"]);
            let depth = picks.below(4);
            let source = expression(picks, &schema, wanted, depth);
            for _ in 0..3 {
                let inputs = value(picks, &schema);
                checked += usize::from(holds_what_its_type_says(&source, &schema, &inputs));
            }
        }
        // some are as they are meant, whatever the schema
        prop_assert!(checked >= 3, "only {checked} of 120 check with {schema}");
    }
}
