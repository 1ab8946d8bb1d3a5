//! What is refused before a release is cut.

mod approvals;
mod random;

use serde_json::{Value, json};

use crate::plan::Plan;
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
            json!({"when": "${steps.review.outcome == 'Approved'}", "task": {"queue": "q", "input": {"url": "${callback('settled').url}"}}}),
            "task.input.url: callback() is known only in what is sent: this is kept, and many may read it",
        ),
        (
            json!({"when": "${steps.review.outcome == 'Approved'}", "task": {"queue": "q", "instructions": "Send it to ${callback('settled').url}"}}),
            "task.instructions: callback() is known only in what is sent: this is kept, and many may read it",
        ),
        (
            json!({"when": "${steps.review.outcome == 'Approved'}", "store": {"put": "a", "value": "${callback('settled').token}"}}),
            "store.value: callback() is known only in what is sent: this is kept, and many may read it",
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
