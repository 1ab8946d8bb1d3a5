//! Values that deciders fill in, and what is said of an answer beforehand.

use super::*;

/// An approval that fills in an amount.
fn of_amount(user: &str, amount: i64, second: i64) -> DecisionFact {
    let mut decision = by(user, Verdict::Approve, second);
    let values = json!({ "amount": amount });
    decision.spec.values = values.as_object().cloned().map(JsonObject);
    decision
}

/// A question to two people that asks for an amount and, of no type, two more.
fn quorum_of_two() -> ApprovalSpec {
    let form = json!({"type": "object", "properties": {"amount": {"type": "integer"}, "a": {}, "b": {}}});
    ApprovalSpec {
        quorum: 2,
        form: Some(Json(form)),
        ..question()
    }
}

#[test]
fn approvals_of_different_values_do_not_count_together() {
    let decisions = [of_amount("alice", 100, 1), of_amount("bob", 1_000_000, 2)];
    let judgement = judge_all(&quorum_of_two(), &decisions);
    assert_eq!(judgement.status.phase, ApprovalPhase::Pending);
    assert_eq!(
        reasons(&judgement),
        [
            ("alice-1", DecisionReason::Amended),
            ("bob-2", DecisionReason::Counted)
        ]
    );
    let told = judgement.decisions[0].1.message.as_deref().unwrap_or_default();
    assert!(told.starts_with("bob approved other values ("), "{told}");
    let (status, amended) = (judgement.status, json!({"amount": 1_000_000}));
    assert_eq!(
        status.values.map(|values| values.to_value()),
        Some(amended.clone())
    );
    assert_eq!(status.values_digest, Some(canonical::digest_of_value(&amended)));

    let agreeing = [&decisions[..], &[of_amount("alice", 1_000_000, 3)]].concat();
    let judgement = judge_all(&quorum_of_two(), &agreeing);
    assert_eq!(judgement.status.phase, ApprovalPhase::Approved);
    assert_eq!(
        judgement.status.values.map(|values| values.to_value()),
        Some(amended)
    );
}

#[test]
fn who_was_amended_away_is_not_brought_back_by_going_back_to_their_values() {
    let mut decisions = vec![
        of_amount("alice", 100, 1),
        of_amount("bob", 200, 2),
        of_amount("bob", 100, 3),
    ];
    let judgement = judge_all(&quorum_of_two(), &decisions);
    assert_eq!(judgement.status.phase, ApprovalPhase::Pending);
    let expected = [
        ("alice-1", DecisionReason::Amended),
        ("bob-2", DecisionReason::Replaced),
        ("bob-3", DecisionReason::Counted),
    ];
    assert_eq!(reasons(&judgement), expected);
    decisions.push(of_amount("alice", 100, 4));
    assert_eq!(
        judge_all(&quorum_of_two(), &decisions).status.phase,
        ApprovalPhase::Approved
    );
}

#[test]
fn no_values_are_the_same_as_empty_ones_and_numbers_are_compared_by_what_they_are() {
    let same = |one: Option<serde_json::Value>, other: Option<serde_json::Value>| {
        let filled = |user: &str, values: Option<serde_json::Value>, second| {
            let mut decision = by(user, Verdict::Approve, second);
            decision.spec.values = values.map(|values| JsonObject(values.as_object().cloned().unwrap()));
            decision
        };
        let decisions = [filled("alice", one, 1), filled("bob", other, 2)];
        judge_all(&quorum_of_two(), &decisions).status.phase == ApprovalPhase::Approved
    };
    assert!(same(None, None));
    assert!(same(None, Some(json!({}))));
    assert!(same(
        Some(json!({"a": 1, "b": 2})),
        Some(json!({"b": 2, "a": 1.0}))
    ));
    assert!(!same(None, Some(json!({"a": null}))));
    assert!(!same(Some(json!({"a": 1})), Some(json!({"a": "1"}))));
}

#[test]
fn alone_somebody_who_amends_approves_what_they_made_of_it() {
    let alone = ApprovalSpec {
        quorum: 1,
        ..quorum_of_two()
    };
    let judgement = judge_all(&alone, &[of_amount("alice", 5, 1)]);
    assert_eq!(judgement.status.phase, ApprovalPhase::Approved);
    let values = judgement.status.values.map(|values| values.to_value());
    assert_eq!(values, Some(json!({"amount": 5})));
}

#[test]
fn within_a_second_what_was_judged_before_came_before() {
    // by their uids alone the later one would come first
    let (zoe, bob) = (of_amount("zoe", 100, 1), of_amount("bob", 200, 1));
    let keep = |decision: &DecisionFact, judgement: &Judgement| {
        let judged = judgement
            .decisions
            .iter()
            .find(|(name, _)| *name == decision.name);
        DecisionFact {
            judged: judged.map(|(_, status)| status.clone()),
            ..decision.clone()
        }
    };
    let first = judge_all(&quorum_of_two(), std::slice::from_ref(&zoe));
    let zoe = keep(&zoe, &first);
    let second = judge_all(&quorum_of_two(), &[zoe.clone(), bob.clone()]);
    assert_eq!(
        reasons(&second),
        [
            ("zoe-1", DecisionReason::Amended),
            ("bob-1", DecisionReason::Counted)
        ]
    );
    let both = [keep(&zoe, &second), keep(&bob, &second)];
    assert_eq!(judge_all(&quorum_of_two(), &both), second);
}

#[test]
fn what_was_worked_out_while_the_question_was_open_stays_when_it_is_closed() {
    let mut decisions = [
        of_amount("alice", 100, 1),
        of_amount("bob", 200, 2),
        of_amount("carol", 200, 3),
    ];
    let closed = judge_all(&quorum_of_two(), &decisions);
    assert_eq!(closed.status.phase, ApprovalPhase::Approved);
    for (decision, (_, status)) in decisions.iter_mut().zip(&closed.decisions) {
        decision.judged = Some(status.clone());
    }
    let again = judge(&quorum_of_two(), at(0), &closed.status, &decisions, None, PROVEN);
    assert_eq!(again, closed);
}

#[test]
fn what_the_form_does_not_ask_for_is_refused_with_all_else_that_is_wrong() {
    let mut decision = of_amount("alice", 5, 1);
    decision.spec.values = json!({"amount": "5", "admin": true})
        .as_object()
        .cloned()
        .map(JsonObject);
    let judgement = judge_all(&quorum_of_two(), &[decision.clone()]);
    assert_eq!(reasons(&judgement), [("alice-1", DecisionReason::InvalidValues)]);
    let told = judgement.decisions[0].1.message.as_deref().unwrap_or_default();
    assert_eq!(
        told,
        r#"admin: the form has no such field; amount: "5" is not of type "integer""#
    );
    decision.spec.verdict = Verdict::Reject;
    assert_eq!(
        reasons(&judge_all(&quorum_of_two(), &[decision]))[0].1,
        DecisionReason::InvalidValues
    );
    assert_eq!(
        reasons(&judge_all(&question(), &[of_amount("alice", 5, 1)]))[0].1,
        DecisionReason::InvalidValues,
        "there is no form"
    );
}

#[test]
fn a_preview_tells_what_an_answer_comes_to_and_whom_it_sets_aside() {
    let spec = quorum_of_two();
    let earlier = [of_amount("alice", 100, 1)];
    let status = judge_all(&spec, &earlier).status;
    let seen = |answer: DecisionFact| preview(&spec, at(0), &status, &earlier, answer.spec, at(5));
    let agreeing = seen(of_amount("bob", 100, 5));
    assert_eq!(agreeing.phase, ApprovalPhase::Approved);
    assert_eq!(
        agreeing.tally,
        Tally {
            approved: 2,
            quorum: 2
        }
    );
    let differing = seen(of_amount("bob", 7, 5));
    assert_eq!(differing.set_aside, ["alice-1"]);
    assert_eq!(
        (
            differing.phase,
            differing.tally.approved,
            differing.needs.as_deref()
        ),
        (ApprovalPhase::Pending, 1, Some("1 more of finance"))
    );
    let again = seen(of_amount("alice", 7, 5));
    assert_eq!(
        (again.replaces.as_deref(), again.tally.approved),
        (Some("alice-1"), 1)
    );
    let own = seen(of_amount("dev", 100, 5));
    assert!(own.refused.unwrap().message.contains("dev asked for it"));
}

#[test]
fn what_a_judgement_quotes_is_made_visible() {
    let mut decision = by("mallory\n\u{202e}", Verdict::Approve, 1);
    decision.spec.groups = Some(vec![]);
    let judgement = judge_all(&question(), &[decision]);
    let told = judgement.decisions[0].1.message.as_deref().unwrap_or_default();
    assert!(told.starts_with(r"mallory␊\u{202e} is not among"), "{told}");
    let closing = judge_all(&question(), &[by("al\u{200b}ice", Verdict::Approve, 1)]);
    let message = closing.status.message.unwrap_or_default();
    assert!(message.starts_with(r"al\u{200b}ice approved"), "{message}");
}
