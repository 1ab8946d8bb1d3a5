//! Approvers, quorums and durations that come from data: what they come to, what is bound, and what is refused.

use super::*;
use signoff_api::{ApprovalSpec, Verdict, step::Approvers};

#[allow(
    clippy::needless_pass_by_value,
    reason = "the callers read better with the value in place"
)]
fn asking(more: Value, inputs: &Value) -> Scenario {
    let mut approval = json!({ "title": "?" });
    approval
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let mut run = Scenario::of(
        json!({ "steps": [{ "name": "ask", "approval": approval }] }),
        inputs,
    );
    run.tick();
    run
}

#[track_caller]
fn asked(run: &Scenario) -> &ApprovalSpec {
    let opened = run.opened();
    assert_eq!(opened.len(), 1, "{:?}", run.state.error);
    &opened[0].spec
}

/// Why the step failed.
fn refusal(run: &Scenario) -> (StepReason, &str) {
    let error = run.state.error.as_ref().expect("it failed");
    (error.reason, error.message.as_str())
}

fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn names_are_spliced_in_and_each_stands_once() {
    let approvers = json!({
        "users": ["zoe", "${inputs.owners}", "${inputs.team}-lead", "zoe", "${inputs.none}"],
        "groups": ["${inputs.team}"],
        "exclude": ["${run.requestedBy}", "${inputs.robots}"],
        "serviceAccounts": ["ns:bot"],
    });
    let inputs = json!({
        "owners": ["alice", "Bob", "alice"], "team": "shop", "none": null, "robots": ["system:serviceaccount:ns:x"],
    });
    let run = asking(json!({ "approvers": approvers }), &inputs);
    let expected = Approvers {
        users: names(&["zoe", "alice", "Bob", "shop-lead"]),
        groups: names(&["shop"]),
        exclude: names(&["dev", "system:serviceaccount:ns:x"]),
        service_accounts: names(&["ns:bot"]),
    };
    assert_eq!(asked(&run).approvers, Some(expected));
    assert_eq!(
        run.state.waiting_on.as_deref(),
        Some("shop or zoe or alice or Bob or shop-lead or ns:bot to decide “?”")
    );
}

#[test]
fn what_data_says_is_bound_by_the_digest() {
    let digest = |inputs: &Value| {
        let more = json!({
            "approvers": { "users": ["${inputs.who}", "zoe"] }, "quorum": "${inputs.quorum}",
            "respondWithin": "${inputs.within}",
            "escalate": [{ "after": "${inputs.after}", "to": { "groups": ["${inputs.who}"] } }],
        });
        asked(&asking(more, inputs)).digest.clone()
    };
    let base = json!({ "who": "alice", "quorum": 1, "within": "2h", "after": "1h" });
    assert_eq!(digest(&base), digest(&base));
    for (key, value) in [
        ("who", json!("bob")),
        ("quorum", json!(2)),
        ("within", json!("3h")),
        ("after", json!("90m")),
    ] {
        let mut other = base.clone();
        other[key] = value;
        assert_ne!(digest(&base), digest(&other), "{key}");
    }
}

#[test]
fn durations_and_quorums_come_from_data() {
    let more = json!({
        "approvers": { "groups": ["g"] }, "quorum": "${size(inputs.lines) + 1}", "respondWithin": "${inputs.within}",
        "escalate": [{ "after": "${inputs.within}", "to": { "users": ["${inputs.boss}"] } }],
    });
    let run = asking(more, &json!({ "lines": [1, 2], "within": "90m", "boss": "zoe" }));
    let spec = asked(&run);
    assert_eq!(spec.quorum, 3);
    let left = spec.expires_at.as_ref().unwrap().0.duration_since(run.now);
    assert_eq!(left.as_mins(), 90);
    assert_eq!(spec.escalate[0].after.as_str(), "90m");
    assert_eq!(spec.escalate[0].to.users, ["zoe"]);
}

#[test]
fn approvers_who_cannot_be_used_fail_the_step_and_say_why() {
    let many: Vec<String> = (0..101).map(|n| format!("u{n}")).collect();
    for (list, data, reason, said) in [
        (
            "users",
            json!([]),
            StepReason::NoApprovers,
            "approvers: nobody is left",
        ),
        ("users", json!(null), StepReason::NoApprovers, "nobody is left"),
        (
            "users",
            json!(""),
            StepReason::InvalidApprovers,
            "a name is not empty",
        ),
        (
            "users",
            json!(["a", ""]),
            StepReason::InvalidApprovers,
            "a name is not empty",
        ),
        (
            "users",
            json!(7),
            StepReason::InvalidApprovers,
            "gives a number, not a name",
        ),
        (
            "users",
            json!({ "a": 1 }),
            StepReason::InvalidApprovers,
            "gives an object",
        ),
        (
            "users",
            json!([["a"]]),
            StepReason::InvalidApprovers,
            "a list with a list in it",
        ),
        (
            "users",
            json!(many),
            StepReason::InvalidApprovers,
            "more than 100 names",
        ),
        (
            "users",
            json!("x".repeat(257)),
            StepReason::InvalidApprovers,
            "at most 256",
        ),
        (
            "users",
            json!("a\nb"),
            StepReason::InvalidApprovers,
            "control or invisible",
        ),
        (
            "users",
            json!("a\u{202e}b"),
            StepReason::InvalidApprovers,
            "control or invisible",
        ),
        (
            "users",
            json!(" a"),
            StepReason::InvalidApprovers,
            "no space at its ends",
        ),
        (
            "users",
            json!("${x}"),
            StepReason::InvalidApprovers,
            "is not read",
        ),
        (
            "users",
            json!("system:admin"),
            StepReason::InvalidApprovers,
            "begins with system:",
        ),
        (
            "groups",
            json!(["g", "system:masters"]),
            StepReason::InvalidApprovers,
            "begins with system:",
        ),
        (
            "groups",
            json!("SYSTEM:Authenticated"),
            StepReason::InvalidApprovers,
            "begins with system:",
        ),
        ("groups", json!(["\u{e9}é:\u{e9}"]), StepReason::NoApprovers, ""),
    ] {
        let run = asking(
            json!({ "approvers": { (list): ["${inputs.data}"] } }),
            &json!({ "data": data }),
        );
        if said.is_empty() {
            assert!(!run.opened().is_empty(), "{data} is a name like others");
            continue;
        }
        let (found, message) = refusal(&run);
        assert_eq!(found, reason, "{data}: {message}");
        assert!(message.contains(said), "{data}: {message}");
        assert!(!message.chars().any(char::is_control), "{message}");
    }
}

#[test]
fn whoever_is_excluded_does_not_count_as_left() {
    let approvers = json!({ "users": ["${inputs.owner}"], "exclude": ["${run.requestedBy}"] });
    let run = asking(json!({ "approvers": approvers }), &json!({ "owner": "Dev" }));
    assert_eq!(refusal(&run).0, StepReason::NoApprovers);
    let everybody_else = json!({ "exclude": ["${inputs.owner}"] });
    let run = asking(json!({ "approvers": everybody_else }), &json!({ "owner": "zoe" }));
    assert!(asked(&run).approvers.as_ref().unwrap().is_everybody_else());
}

#[test]
fn an_escalation_to_nobody_fails_the_step() {
    let more = json!({ "approvers": { "users": ["zoe"] },
        "escalate": [{ "after": "1h", "to": { "users": ["${inputs.boss}"] } }] });
    let (reason, message) = {
        let run = asking(more, &json!({ "boss": [] }));
        let (reason, message) = refusal(&run);
        (reason, message.to_owned())
    };
    assert_eq!(reason, StepReason::NoApprovers);
    assert!(message.contains("escalate[0].to: nobody is left"), "{message}");
}

#[test]
fn a_quorum_or_a_duration_out_of_bounds_fails_the_step_and_says_so() {
    for (field, data, reason, said) in [
        (
            "quorum",
            json!(0),
            StepReason::InvalidQuorum,
            "a quorum is from 1 to 50, not 0",
        ),
        ("quorum", json!(51), StepReason::InvalidQuorum, "not 51"),
        ("quorum", json!(-1), StepReason::InvalidQuorum, "not -1"),
        (
            "quorum",
            json!(1.5),
            StepReason::InvalidQuorum,
            "gives 1.5, not an integer",
        ),
        (
            "quorum",
            json!(1e300),
            StepReason::InvalidQuorum,
            "not an integer",
        ),
        (
            "quorum",
            json!("2"),
            StepReason::InvalidQuorum,
            "gives a string, not an integer",
        ),
        (
            "quorum",
            json!(2),
            StepReason::InvalidQuorum,
            "2 people must approve, and the approvers are 1",
        ),
        (
            "respondWithin",
            json!("59s"),
            StepReason::InvalidTime,
            "is shorter than 1m",
        ),
        (
            "respondWithin",
            json!("soon"),
            StepReason::InvalidTime,
            "is not a duration",
        ),
        (
            "respondWithin",
            json!("40000d"),
            StepReason::InvalidTime,
            "out of range",
        ),
        (
            "respondWithin",
            json!(60),
            StepReason::InvalidTime,
            "gives a number, not a duration",
        ),
    ] {
        let run = asking(
            json!({ "approvers": { "users": ["zoe"] }, (field): "${inputs.data}" }),
            &json!({ "data": data }),
        );
        let (found, message) = refusal(&run);
        assert_eq!(found, reason, "{data}: {message}");
        assert!(message.contains(said), "{data}: {message}");
        assert!(message.contains(field), "{message}");
    }
    let run = asking(
        json!({ "approvers": { "groups": ["g"] }, "quorum": "${inputs.data}" }),
        &json!({ "data": 2.0 }),
    );
    assert_eq!(asked(&run).quorum, 2, "a fraction that is whole");
}

#[test]
fn what_is_not_on_offer_is_not_in_the_question_and_reminders_are() {
    let run = asking(
        json!({ "verdicts": ["Approve"], "remindEvery": "${inputs.every}" }),
        &json!({ "every": "2h" }),
    );
    let spec = asked(&run);
    assert_eq!(spec.verdicts, [Verdict::Approve]);
    assert_eq!(spec.remind_every.as_ref().unwrap().as_str(), "2h");
    let run = asking(
        json!({ "remindEvery": "${inputs.every}" }),
        &json!({ "every": "299s" }),
    );
    let (reason, message) = refusal(&run);
    assert_eq!(reason, StepReason::InvalidTime);
    assert!(
        message.contains("remindEvery: \"299s\" is shorter than 5m"),
        "{message}"
    );
}

#[test]
fn a_wait_takes_its_duration_and_its_deadline_from_data() {
    let flow = json!({ "steps": [
        { "name": "pause", "wait": { "duration": "${inputs.pause}" } },
        { "name": "answer", "wait": { "callback": {}, "respondWithin": "${inputs.within}", "onTimeout": { "outcome": "Continue" } } },
    ] });
    let mut run = Scenario::of(flow.clone(), &json!({ "pause": "90s", "within": "10s" }));
    run.tick();
    assert_eq!(run.wake_at.unwrap().duration_since(run.now).as_secs(), 90);
    run.pass(90);
    assert_eq!(run.wake_at.unwrap().duration_since(run.now).as_secs(), 10);
    run.pass(10);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    let mut run = Scenario::of(flow, &json!({ "pause": "-1s", "within": "10s" }));
    run.tick();
    assert_eq!(refusal(&run).0, StepReason::InvalidTime);
}

#[test]
fn who_is_asked_whether_a_payment_happened_are_those_whom_data_named() {
    let flow = json!({ "steps": [
        { "name": "ask", "approval": { "title": "?", "approvers": { "users": ["${inputs.who}"] } } },
        { "name": "pay", "delivery": "AtMostOnce", "http": { "url": "http://shop/pay", "method": "POST" } },
    ] });
    let mut run = Scenario::of(flow, &json!({ "who": ["alice", "bob"] }));
    run.tick().decide("r-ask", ApprovalPhase::Approved).restart();
    let approvers = asked(&run).approvers.clone().unwrap();
    assert_eq!(approvers.users, ["alice", "bob"]);
}

fn form(property: &Value) -> Value {
    json!({ "form": { "type": "object", "properties": { "f": property } } })
}

#[test]
fn the_defaults_and_the_choices_of_a_form_come_from_data() {
    let property =
        json!({ "type": "string", "default": "${inputs.best}", "enum": ["none", "${inputs.best}", "none"] });
    let run = asking(form(&property), &json!({ "best": "b" }));
    let shown = &asked(&run).form.as_ref().unwrap().0["properties"]["f"];
    assert_eq!(
        shown,
        &json!({ "type": "string", "default": "b", "enum": ["none", "b"] })
    );
    let property = json!({ "type": "array", "default": "${inputs.all}", "items": { "type": "integer", "enum": "${inputs.all}" } });
    let run = asking(form(&property), &json!({ "all": [2, 1, 2] }));
    let shown = &asked(&run).form.as_ref().unwrap().0["properties"]["f"];
    assert_eq!(shown["items"]["enum"], json!([2, 1]));
    assert_eq!(shown["default"], json!([2, 1, 2]));
    let property = json!({ "type": "string", "default": "${inputs.?none}" });
    let run = asking(form(&property), &json!({}));
    assert_eq!(
        asked(&run).form.as_ref().unwrap().0["properties"]["f"],
        json!({ "type": "string" })
    );
}

#[test]
fn choices_that_cannot_be_used_fail_the_step_and_say_why() {
    let many: Vec<String> = (0..201).map(|n| n.to_string()).collect();
    let large: Vec<String> = (0..200).map(|n| format!("{n}{}", "x".repeat(200))).collect();
    for (data, said) in [
        (json!([]), "no value to choose from"),
        (json!("a"), "gives a string, not a list"),
        (json!(null), "gives null, not a list"),
        (json!([["a"]]), "a list with a list in it"),
        (json!(["a", null]), "a list with null in it"),
        (json!(["a", 1]), "1 is not of type"),
        (json!(many), "more than 200 values"),
        (json!(large), "larger than 32768 bytes"),
    ] {
        let run = asking(
            form(&json!({ "type": "string", "enum": "${inputs.data}" })),
            &json!({ "data": data }),
        );
        let (reason, message) = refusal(&run);
        assert_eq!(reason, StepReason::InvalidForm, "{message}");
        assert!(message.contains(said), "{data}: {message}");
    }
    let property = json!({ "type": "string", "enum": ["a", "b"], "default": "${inputs.data}" });
    let run = asking(form(&property), &json!({ "data": "c" }));
    assert_eq!(refusal(&run).0, StepReason::InvalidForm);
}

#[test]
fn what_is_shown_fits_its_media_type_or_the_step_fails() {
    let show = |value: &Value, media_type: &str| {
        let item = json!({ "name": "a", "value": "${inputs.data}", "mediaType": media_type });
        asking(json!({ "show": [item] }), &json!({ "data": value }))
    };
    for (value, media_type, inline) in [
        (json!("# Hi"), "text/markdown", "# Hi"),
        (json!("--- a\n+++ b\n"), "text/x-diff", "--- a\n+++ b\n"),
        (json!("AAAA"), "image/png", "AAAA"),
        (json!("AA=="), "audio/wav", "AA=="),
        (json!({ "a": 1 }), "application/json", "{\n  \"a\": 1\n}"),
        (json!("[1]"), "application/json", "[\n  1\n]"),
        (json!("[1"), "application/json", "\"[1\""),
    ] {
        let run = show(&value, media_type);
        let item = &asked(&run).show[0];
        assert_eq!(
            (item.media_type.as_str(), item.inline.as_str()),
            (media_type, inline)
        );
    }
    for (value, media_type, said) in [
        (json!("<svg/>"), "image/png", "is image/png and not in base64"),
        (json!({ "a": 1 }), "text/markdown", "gives an object, not text"),
        (json!(null), "audio/wav", "gives null, not text"),
    ] {
        let run = show(&value, media_type);
        let (reason, message) = refusal(&run);
        assert_eq!(reason, StepReason::InvalidShownItem);
        assert!(message.contains(said), "{message}");
    }
    let run = show(&json!("A".repeat(65_540)), "image/png");
    assert_eq!(refusal(&run).0, StepReason::OutputTooLarge);
}

#[test]
fn an_editable_item_matches_its_schema_when_it_is_shown() {
    let show = |value: &Value| {
        let schema = json!({ "type": "object", "required": ["a"] });
        let item = json!({ "name": "a", "value": "${inputs.data}", "editable": { "schema": schema } });
        asking(json!({ "show": [item] }), &json!({ "data": value }))
    };
    assert!(asked(&show(&json!({ "a": 1 }))).show[0].editable.is_some());
    let run = show(&json!({ "b": 1 }));
    let (reason, message) = refusal(&run);
    assert_eq!(reason, StepReason::InvalidShownItem);
    assert!(message.contains("does not match its schema"), "{message}");
}

#[test]
fn what_was_approved_is_what_later_steps_read() {
    let draft =
        json!({ "name": "draft", "value": "${inputs.text}", "editable": { "schema": { "type": "string" } } });
    let flow = json!({ "steps": [
        { "name": "ask", "approval": { "title": "?", "show": [draft] } },
        { "name": "send", "http": { "url": "http://x/send", "method": "POST", "body": { "text": "${steps.ask.decision.shown.draft}" } } },
    ] });
    let mut run = Scenario::of(flow, &json!({ "text": "hello" }));
    run.tick();
    run.open("r-ask").shown = Some(JsonObject(json!({ "draft": "hi" }).as_object().cloned().unwrap()));
    run.decide("r-ask", ApprovalPhase::Approved);
    let body = super::scenario::json(request(run.http()[0])).clone();
    assert_eq!(body, json!({ "text": "hi" }));
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the callers read better with the value in place"
)]
fn paying(pay: Value) -> Value {
    json!({ "steps": [
        { "name": "quote", "set": { "total": "${inputs.total}" } },
        { "name": "ask", "approval": { "title": "?", "show": [{ "name": "payment", "step": "pay" }] } },
        { "name": "pay", "http": pay },
        { "name": "settled", "wait": { "callback": {} } },
    ] })
}

#[test]
fn the_request_of_a_later_step_is_shown_and_sent_as_it_was_shown() {
    let pay = json!({
        "url": "http://bank/pay", "method": "POST", "headers": { "x-order": "${inputs.order}" }, "query": { "dry": false },
        "body": { "total": "${steps.quote.output.total}", "tell": "${callback('settled').url}" },
    });
    let mut run = Scenario::of(paying(pay), &json!({ "total": 5, "order": "81" }));
    run.tick();
    let item = asked(&run).show[0].clone();
    let shown: Value = serde_json::from_str(&item.inline).unwrap();
    let tell = "(address of the callback of settled)";
    assert_eq!(
        shown,
        json!({ "method": "POST", "url": "http://bank/pay", "headers": { "x-order": "81" }, "query": { "dry": ["false"] },
            "body": { "total": 5, "tell": tell } })
    );
    run.decide("r-ask", ApprovalPhase::Approved);
    assert_eq!(super::scenario::json(request(run.http()[0]))["total"], json!(5));
    // another request is not sent
    let mut run = Scenario::of(
        paying(json!({ "url": "http://bank/pay", "body": { "total": "${inputs.total}" } })),
        &json!({ "total": 5 }),
    );
    run.tick();
    run.facts.run.inputs = JsonObject(json!({ "total": 6 }).as_object().cloned().unwrap());
    let status = run.state.clone();
    run.open("r-ask").phase = ApprovalPhase::Approved;
    run.tick();
    assert!(run.http().is_empty(), "{status:?}");
    assert_eq!(refusal(&run).0, StepReason::RequestChanged);
}

#[test]
fn a_title_has_no_hidden_characters_wherever_it_is_shown() {
    let run = asking(
        json!({ "title": "Pay ${inputs.who}?" }),
        &json!({ "who": "bob\u{202e}\u{7}\ncleo" }),
    );
    let title = asked(&run).title.clone();
    assert_eq!(title, signoff_api::text::visible(&title));
    assert!(
        title.starts_with("Pay bob") && title.ends_with("cleo?"),
        "{title}"
    );
    assert!(run.state.waiting_on.as_ref().unwrap().contains(&title));
}
