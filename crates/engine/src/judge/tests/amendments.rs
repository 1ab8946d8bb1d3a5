//! Changes of what is shown: who may make them, what they set aside, and what is approved then.

use super::*;
use signoff_api::{approval::ShownItem, step::Editable};

/// A question with an editable draft, and one item that nobody may change.
fn with_draft(quorum: i64, self_approval: bool) -> ApprovalSpec {
    let item = |name: &str, inline: &str, editable: Option<serde_json::Value>| ShownItem {
        name: name.to_owned(),
        media_type: "text/plain".to_owned(),
        inline: inline.to_owned(),
        editable: editable.map(|schema| Editable { schema: Json(schema) }),
    };
    ApprovalSpec {
        show: vec![
            item("draft", "hello", Some(json!({"type": "string", "maxLength": 10}))),
            item("order", "81", None),
        ],
        quorum,
        self_approval,
        ..question()
    }
}

fn changing(user: &str, draft: &str, second: i64) -> DecisionFact {
    let mut decision = by(user, Verdict::Approve, second);
    decision.spec.shown = Some(JsonObject(json!({"draft": draft}).as_object().cloned().unwrap()));
    decision
}

fn draft(judgement: &Judgement) -> Option<&str> {
    judgement.status.shown.as_ref()?.0["draft"].as_str()
}

#[test]
fn whoever_changes_what_is_shown_does_not_approve_it_as_well() {
    let spec = with_draft(1, false);
    let changed = changing("alice", "hi", 10);
    let judgement = judge_all(&spec, std::slice::from_ref(&changed));
    assert_eq!(judgement.status.phase, ApprovalPhase::Pending);
    assert_eq!(
        reasons(&judgement),
        [("alice-10", DecisionReason::AmendmentProposed)]
    );
    let amendment = judgement.status.amendment.clone().unwrap();
    assert_eq!(
        (amendment.by.as_str(), amendment.decision.as_str()),
        ("alice", "alice-10")
    );
    assert_ne!(amendment.digest, spec.digest);
    assert_eq!(draft(&judgement), Some("hi"));
    // saying it once more changes nothing, and somebody else decides
    let again = changing("alice", "hi", 11);
    let judgement = judge_all(&spec, &[changed.clone(), again]);
    assert_eq!(judgement.status.phase, ApprovalPhase::Pending);
    let judgement = judge_all(&spec, &[changed, changing("bob", "hi", 12)]);
    assert_eq!(judgement.status.phase, ApprovalPhase::Approved);
    assert_eq!(draft(&judgement), Some("hi"));
    assert_eq!(judgement.status.counted.len(), 1);
}

#[test]
fn a_change_that_was_judged_before_is_still_known() {
    let spec = with_draft(1, false);
    let mut changed = changing("alice", "hi", 10);
    let first = judge_all(&spec, std::slice::from_ref(&changed));
    changed.judged = Some(first.decisions[0].1.clone());
    let next = judge(
        &spec,
        at(0),
        &first.status,
        std::slice::from_ref(&changed),
        None,
        PROVEN,
    );
    assert_eq!(next.status, first.status, "nothing is new");
    let next = judge(
        &spec,
        at(0),
        &first.status,
        &[changed, changing("alice", "hi", 20)],
        None,
        PROVEN,
    );
    assert_eq!(next.status.phase, ApprovalPhase::Pending);
}

#[test]
fn with_a_quorum_a_change_sets_earlier_approvals_aside() {
    let spec = with_draft(2, false);
    let decisions = [
        by("bob", Verdict::Approve, 10),
        changing("alice", "hi", 20),
        changing("carol", "hi", 30),
    ];
    let judgement = judge_all(&spec, &decisions);
    assert_eq!(judgement.status.phase, ApprovalPhase::Pending);
    assert_eq!(
        reasons(&judgement),
        [
            ("bob-10", DecisionReason::Amended),
            ("alice-20", DecisionReason::AmendmentProposed),
            ("carol-30", DecisionReason::Counted)
        ]
    );
    let message = judgement.decisions[0].1.message.clone().unwrap();
    assert!(message.contains("alice changed what is shown"), "{message}");
    let all = [&decisions[..], &[changing("bob", "hi", 40)]].concat();
    let judgement = judge_all(&spec, &all);
    assert_eq!(judgement.status.phase, ApprovalPhase::Approved);
    assert_eq!(judgement.status.counted.len(), 2);
}

#[test]
fn who_may_approve_their_own_work_changes_and_approves_at_once() {
    let judgement = judge_all(&with_draft(1, true), &[changing("alice", "hi", 10)]);
    assert_eq!(judgement.status.phase, ApprovalPhase::Approved);
    assert_eq!(draft(&judgement), Some("hi"));
    assert_eq!(judgement.status.amendment.unwrap().by, "alice");
}

#[test]
fn what_is_as_it_was_is_no_change() {
    let judgement = judge_all(&with_draft(1, false), &[changing("alice", "hello", 10)]);
    assert_eq!(judgement.status.phase, ApprovalPhase::Approved);
    assert_eq!(
        (draft(&judgement), judgement.status.amendment.clone()),
        (Some("hello"), None)
    );
    let judgement = judge_all(&with_draft(1, false), &[by("alice", Verdict::Approve, 10)]);
    assert_eq!(draft(&judgement), Some("hello"));
}

#[test]
fn a_change_that_is_not_on_offer_does_not_count() {
    let spec = with_draft(1, true);
    for (shown, said) in [
        (json!({"draft": "much too long a text"}), "draft: "),
        (json!({"draft": 1}), "draft: "),
        (json!({"order": "82"}), "order: there is no such item"),
        (json!({"none": "a"}), "none: there is no such item"),
        (json!({"draft": "x".repeat(70_000)}), "larger than 65536 bytes"),
    ] {
        let mut decision = by("alice", Verdict::Approve, 10);
        decision.spec.shown = Some(JsonObject(shown.as_object().cloned().unwrap()));
        let judgement = judge_all(&spec, &[decision]);
        let status = &judgement.decisions[0].1;
        assert_eq!(status.reason, Some(DecisionReason::InvalidValues), "{said}");
        assert!(status.message.as_ref().unwrap().contains(said), "{status:?}");
    }
}

#[test]
fn a_change_that_is_withdrawn_is_shown_no_more() {
    let withdrawn = by("alice", Verdict::Withdraw, 20);
    let judgement = judge_all(
        &with_draft(2, false),
        &[changing("alice", "hi", 10), withdrawn.clone()],
    );
    assert_eq!(
        reasons(&judgement),
        [
            ("alice-10", DecisionReason::Withdrawn),
            ("alice-20", DecisionReason::Counted)
        ]
    );
    assert_eq!(draft(&judgement), None);
    assert_eq!(judgement.status.amendment, None);
}

#[test]
fn a_change_that_its_maker_took_back_is_made_anew_by_the_next_one_who_makes_it() {
    let left = [
        by("bob", Verdict::Withdraw, 20),
        changing("bob", "other", 20),
        by("bob", Verdict::Approve, 20),
    ];
    for (left, quorum) in left.into_iter().zip([1, 1, 2]) {
        let decisions = [
            changing("bob", "hi", 10),
            left.clone(),
            changing("alice", "hi", 30),
        ];
        let judgement = judge_all(&with_draft(quorum, false), &decisions);
        assert_eq!(judgement.status.phase, ApprovalPhase::Pending, "{left:?}");
        assert_eq!(
            reasons(&judgement).last(),
            Some(&("alice-30", DecisionReason::AmendmentProposed)),
            "{left:?}"
        );
    }
}

#[test]
fn whoever_took_a_change_over_in_the_same_second_is_not_called_its_author_when_it_is_judged_again() {
    let spec = with_draft(2, false);
    let mut proposed = changing("zoe", "hi", 10);
    let mut taken_over = changing("bob", "hi", 10);
    let first = judge_all(&spec, std::slice::from_ref(&proposed));
    proposed.judged = Some(first.decisions[0].1.clone());
    let decisions = [
        proposed.clone(),
        taken_over.clone(),
        by("zoe", Verdict::Approve, 20),
    ];
    let second = judge_all(&spec, &decisions);
    let of_bob = |judgement: &Judgement| {
        let mut judged = judgement.decisions.iter();
        judged.find(|(name, _)| name == "bob-10").unwrap().1.clone()
    };
    let before = of_bob(&second);
    assert_eq!(before.reason, Some(DecisionReason::Amended));
    // its uid comes before that of the proposal
    taken_over.judged = Some(before.clone());
    let decisions = [proposed, taken_over, by("zoe", Verdict::Approve, 20)];
    assert_eq!(of_bob(&judge_all(&spec, &decisions)), before);
}
