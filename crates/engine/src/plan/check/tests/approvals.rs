//! What approvals may compute, and what may be read of them.

use serde_json::{Value, json};

use super::{problems, with_step};

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
