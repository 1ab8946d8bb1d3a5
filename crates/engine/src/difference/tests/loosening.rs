//! Which changes loosen control, one at a time, and that the way back does not.

use serde_json::{Value, json};

use super::{
    super::{LooseningKind, Subject, difference},
    definition,
};

fn kinds(old: &Value, new: &Value) -> Vec<LooseningKind> {
    let difference = difference(Some(&definition(old.clone())), &definition(new.clone()));
    assert!(!difference.is_empty());
    difference
        .loosenings
        .iter()
        .map(|loosening| loosening.kind)
        .collect()
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the callers read better with the value in place"
)]
fn asking(approval: Value) -> Value {
    let mut step = json!({ "name": "ask", "approval": { "title": "?" } });
    step["approval"]
        .as_object_mut()
        .unwrap()
        .extend(approval.as_object().unwrap().clone());
    json!({ "steps": [step] })
}

#[track_caller]
fn loosens(old: &Value, new: &Value, kind: LooseningKind) {
    assert_eq!(kinds(old, new), [kind], "{old} → {new}");
    assert_eq!(kinds(new, old), [], "{new} → {old}");
}

#[test]
fn another_model_or_another_connection_to_one() {
    let asks = |connection: &str, model: &str| json!({ "steps": [{ "name": "ask", "llm": { "connection": connection, "model": model, "prompt": "p" } }] });
    for other in [asks("b", "m"), asks("a", "n")] {
        assert_eq!(kinds(&asks("a", "m"), &other), [LooseningKind::ModelChanged]);
    }
}

#[test]
fn a_lower_quorum() {
    loosens(
        &asking(json!({ "quorum": 2 })),
        &asking(json!({})),
        LooseningKind::QuorumLowered,
    );
}

#[test]
fn a_wider_list_of_approvers() {
    let few = asking(json!({ "approvers": { "groups": ["finance"] } }));
    for many in [
        json!({ "approvers": { "groups": ["finance", "support"] } }),
        json!({ "approvers": { "groups": ["finance"], "users": ["bob"] } }),
        json!({ "approvers": { "groups": ["finance"], "serviceAccounts": ["a:b"] } }),
        json!({}),
    ] {
        loosens(&few, &asking(many), LooseningKind::ApproversWidened);
    }
}

#[test]
fn approvers_that_data_names() {
    let literal = asking(json!({ "approvers": { "users": ["bob"] } }));
    for computed in [
        json!({ "approvers": { "users": ["bob", "${run.name}"] } }),
        json!({ "approvers": { "users": ["bob"], "groups": ["team-${run.name}"] } }),
        json!({ "approvers": { "users": ["bob"] }, "escalate": [{ "after": "1h", "to": { "users": ["${run.name}"] } }] }),
    ] {
        loosens(&literal, &asking(computed), LooseningKind::ApproversComputed);
    }
    let everybody = asking(json!({}));
    let computed = asking(json!({ "approvers": { "users": ["${run.name}"] } }));
    assert_eq!(kinds(&everybody, &computed), [LooseningKind::ApproversComputed]);
    let other = asking(json!({ "approvers": { "users": ["${run.uid}"] } }));
    assert_eq!(kinds(&computed, &other), [LooseningKind::ApproversComputed]);
}

#[test]
fn a_quorum_or_a_time_that_data_says() {
    let (two, computed) = (
        asking(json!({ "quorum": 2 })),
        asking(json!({ "quorum": "${size(run.name)}" })),
    );
    assert_eq!(kinds(&two, &computed), [LooseningKind::QuorumLowered]);
    assert_eq!(
        kinds(&computed, &two),
        [LooseningKind::QuorumLowered],
        "it may be lower"
    );
    let within =
        |within: &str| asking(json!({ "respondWithin": within, "onTimeout": { "outcome": "Continue" } }));
    assert_eq!(
        kinds(&within("4h"), &within("${run.name}")),
        [LooseningKind::ContinuesUnanswered]
    );
}

#[test]
fn somebody_who_is_no_longer_excluded() {
    let both = asking(json!({ "approvers": { "groups": ["g"], "exclude": ["a", "${run.name}"] } }));
    for fewer in [json!(["a"]), json!(["${run.name}"]), json!([])] {
        loosens(
            &both,
            &asking(json!({ "approvers": { "groups": ["g"], "exclude": fewer } })),
            LooseningKind::ApproversWidened,
        );
    }
    let group = asking(json!({ "approvers": { "groups": ["g"] } }));
    let everybody_else = asking(json!({ "approvers": { "exclude": ["a"] } }));
    assert_eq!(kinds(&group, &everybody_else), [LooseningKind::ApproversWidened]);
    // somebody of the group may be excluded no longer
    assert_eq!(kinds(&everybody_else, &group), [LooseningKind::ApproversWidened]);
}

#[test]
fn a_service_account_where_everybody_could_approve() {
    let all = asking(json!({}));
    let account = asking(json!({ "approvers": { "users": ["bob"], "serviceAccounts": ["a:b"] } }));
    assert_eq!(kinds(&all, &account), [LooseningKind::ApproversWidened]);
}

#[test]
fn self_approval() {
    loosens(
        &asking(json!({})),
        &asking(json!({ "selfApproval": true })),
        LooseningKind::SelfApprovalAllowed,
    );
}

#[test]
fn going_on_without_an_answer_or_sooner() {
    let fail = asking(json!({ "respondWithin": "4h", "onTimeout": { "outcome": "Fail" } }));
    let go_on =
        |within: &str| asking(json!({ "respondWithin": within, "onTimeout": { "outcome": "Continue" } }));
    loosens(&fail, &go_on("4h"), LooseningKind::ContinuesUnanswered);
    loosens(&go_on("4h"), &go_on("1h"), LooseningKind::ContinuesUnanswered);
}

#[test]
fn an_escalation_that_lets_somebody_in_or_lets_them_in_earlier() {
    let with = |after: &str, group: &str| {
        asking(json!({
            "approvers": { "groups": ["finance"] },
            "escalate": [{ "after": after, "to": { "groups": [group] } }],
        }))
    };
    let none = asking(json!({ "approvers": { "groups": ["finance"] } }));
    loosens(&none, &with("4h", "leads"), LooseningKind::EscalationWidened);
    loosens(
        &with("4h", "leads"),
        &with("1h", "leads"),
        LooseningKind::EscalationWidened,
    );
    assert_eq!(kinds(&none, &with("4h", "finance")), [], "they could already");
}

#[test]
fn another_condition_of_an_approval() {
    let when = |when: Option<&str>| json!({ "steps": [{ "name": "ask", "when": when, "approval": { "title": "?" } }] });
    loosens(
        &when(None),
        &when(Some("${1 > 2}")),
        LooseningKind::ConditionChanged,
    );
    assert_eq!(
        kinds(&when(Some("${1 > 2}")), &when(Some("${1 > 3}"))),
        [LooseningKind::ConditionChanged]
    );
}

#[test]
fn a_gate_that_is_gone() {
    let step = json!({ "name": "x", "set": { "a": 1 } });
    let gated = json!({ "steps": [step, { "name": "ask", "approval": { "title": "?" } }] });
    loosens(&gated, &json!({ "steps": [step] }), LooseningKind::GateRemoved);
    let replaced = json!({ "steps": [step, { "name": "ask", "set": { "a": 1 } }] });
    loosens(&gated, &replaced, LooseningKind::GateRemoved);
    let promotion = json!({ "steps": [step], "promotion": { "approval": {} } });
    loosens(
        &promotion,
        &json!({ "steps": [step] }),
        LooseningKind::GateRemoved,
    );
}

#[test]
fn a_looser_promotion_gate() {
    let gate = |quorum: i64| json!({ "steps": [{ "name": "x", "set": {} }], "promotion": { "approval": { "quorum": quorum } } });
    loosens(&gate(2), &gate(1), LooseningKind::QuorumLowered);
}

#[test]
fn a_shown_item_that_is_gone() {
    let show = |names: &[&str]| {
        let items: Vec<Value> = names
            .iter()
            .map(|name| json!({ "name": name, "value": 1 }))
            .collect();
        asking(json!({ "show": items }))
    };
    loosens(&show(&["a", "b"]), &show(&["b"]), LooseningKind::ShowsLess);
}

#[test]
fn a_vote_that_may_be_handed_on() {
    loosens(
        &asking(json!({})),
        &asking(json!({ "delegate": true })),
        LooseningKind::DelegationAllowed,
    );
}

#[test]
fn a_no_that_is_no_longer_on_offer() {
    loosens(
        &asking(json!({ "verdicts": ["Approve", "Reject"] })),
        &asking(json!({ "verdicts": ["Approve"] })),
        LooseningKind::CannotReject,
    );
}

#[test]
fn an_effect_that_may_be_repeated() {
    let with = |delivery: &str| json!({ "steps": [{ "name": "pay", "delivery": delivery, "http": { "url": "http://x/" } }] });
    loosens(
        &with("AtMostOnce"),
        &with("AtLeastOnce"),
        LooseningKind::RepeatsAllowed,
    );
}

#[test]
fn a_callback_that_is_checked_less() {
    let with = |callback: Value| json!({ "steps": [{ "name": "w", "wait": { "callback": callback } }] });
    let checked =
        json!({ "accept": "${true}", "schema": {}, "hmac": { "secretRef": { "name": "a", "key": "b" } } });
    loosens(
        &with(checked),
        &with(json!({})),
        LooseningKind::CallbackCheckRemoved,
    );
}

#[test]
fn a_wait_that_goes_on_without_an_answer() {
    let with = |outcome: &str| json!({ "steps": [{ "name": "w", "wait": { "callback": {}, "respondWithin": "1h", "onTimeout": { "outcome": outcome } } }] });
    loosens(
        &with("Fail"),
        &with("Continue"),
        LooseningKind::ContinuesUnanswered,
    );
}

#[test]
fn a_wait_that_does_without_its_callback() {
    let with = |wait: Value| json!({ "steps": [{ "name": "w", "wait": wait }] });
    let callback = with(json!({ "callback": {} }));
    let either = with(json!({ "callback": {}, "duration": "1h" }));
    loosens(&callback, &either, LooseningKind::ContinuesUnanswered);
    let sooner = with(json!({ "callback": {}, "duration": "1m" }));
    loosens(&either, &sooner, LooseningKind::ContinuesUnanswered);
    let none = with(json!({ "duration": "1h" }));
    loosens(&either, &none, LooseningKind::CallbackCheckRemoved);
}

#[test]
fn a_step_that_slips_past_an_approval_without_being_touched_itself() {
    let ask = json!({ "name": "ask", "approval": { "title": "?" } });
    let pay = json!({ "name": "pay", "http": { "url": "http://x/" } });
    let end = json!({ "name": "end", "set": {} });
    let guarded = json!({ "steps": [ask, pay, end] });
    loosens(
        &guarded,
        &json!({ "steps": [pay, ask, end] }),
        LooseningKind::NoLongerGuarded,
    );
    let mut graph = guarded.clone();
    graph["steps"][2]["needs"] = json!(["ask"]);
    let difference = difference(Some(&definition(guarded)), &definition(graph));
    assert_eq!(difference.loosenings.len(), 1, "{:?}", difference.loosenings);
    assert_eq!(difference.loosenings[0].kind, LooseningKind::NoLongerGuarded);
    assert_eq!(difference.loosenings[0].subject, Subject::Step("pay".to_owned()));
}

#[test]
fn a_run_that_goes_on_after_a_no_or_a_failure() {
    let go_on = asking(json!({ "onReject": { "outcome": "Continue" } }));
    loosens(&asking(json!({})), &go_on, LooseningKind::ContinuesRejected);
    let call = json!({ "name": "scan", "http": { "url": "http://x/" } });
    let mut on = call.clone();
    on["onFailure"] = json!({ "outcome": "Continue" });
    loosens(
        &json!({ "steps": [call] }),
        &json!({ "steps": [on] }),
        LooseningKind::ContinuesFailed,
    );
}

#[test]
fn a_step_that_acts_after_more_answers_than_it_did() {
    let ask = json!({ "name": "ask", "needs": [], "approval": { "title": "?", "onReject": { "outcome": "Continue" } } });
    let pay = |needs: &str| {
        let pay = json!({ "name": "pay", "needs": [needs], "http": { "url": "http://x/" } });
        json!({ "steps": [ask, pay] })
    };
    for wider in ["ask", "ask.Approved|Rejected"] {
        loosens(&pay("ask.Approved"), &pay(wider), LooseningKind::NeedsWidened);
    }
    loosens(&pay("ask.Rejected"), &pay("ask"), LooseningKind::NeedsWidened);
}

#[test]
fn a_step_that_looks_at_an_answer_in_another_way() {
    let ask = json!({ "name": "ask", "approval": { "title": "?", "onReject": { "outcome": "Continue" } } });
    let pay = |when: &str| {
        let pay = json!({ "name": "pay", "when": when, "http": { "url": "http://x/" } });
        json!({ "steps": [ask, pay] })
    };
    let (only, never) = (
        pay("${steps.ask.outcome == 'Approved'}"),
        pay("${steps['ask'].outcome != 'Failed'}"),
    );
    assert_eq!(kinds(&only, &never), [LooseningKind::GuardChanged]);
    assert_eq!(kinds(&only, &pay("${true}")), [LooseningKind::GuardChanged]);
    assert_eq!(kinds(&pay("${true}"), &only), []);
}

#[test]
fn a_step_that_is_moved_to_where_it_runs_in_every_case() {
    let ask = json!({ "name": "ask", "approval": { "title": "?" } });
    let pay = json!({ "name": "pay", "http": { "url": "http://x/" } });
    let after = json!({ "steps": [ask], "finally": [pay] });
    let before = json!({ "steps": [ask, pay] });
    loosens(&before, &after, LooseningKind::NoLongerGuarded);
}

#[test]
fn nothing_is_loosened_by_the_first_release() {
    let first = difference(None, &definition(asking(json!({ "selfApproval": true }))));
    assert!(first.first && !first.loosens_control() && !first.is_empty());
}

#[test]
fn items_of_which_the_others_go_on_when_one_fails() {
    let calling = |policy: &str| json!({ "steps": [{ "name": "s", "http": { "url": "http://x/" }, "forEach": { "items": [1], "onItemFailure": policy } }] });
    loosens(
        &calling("Fail"),
        &calling("Continue"),
        LooseningKind::ContinuesItems,
    );
}

#[test]
fn other_items_that_people_are_asked_about() {
    let asking = |items: Value| json!({ "steps": [{ "name": "ask", "approval": { "title": "?" }, "forEach": { "items": items } }] });
    let once = json!({ "steps": [{ "name": "ask", "approval": { "title": "?" } }] });
    for (old, new) in [
        (asking(json!([1, 2])), asking(json!([1]))),
        (asking(json!([1])), once),
    ] {
        assert_eq!(kinds(&old, &new), [LooseningKind::ItemsChanged]);
    }
}
