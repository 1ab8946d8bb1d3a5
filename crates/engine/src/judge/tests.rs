//! Who counts, who does not and why, and what it all comes to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use signoff_api::{
    Digest, HumanDuration, Json,
    approval::{ApprovalPurpose, ApprovalSubject},
    step::Escalation,
};

const PROVEN: Proof = Proof::Proven {
    since: None,
    written: None,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn group(name: &str) -> Approvers {
    Approvers {
        groups: vec![name.to_owned()],
        ..Approvers::default()
    }
}

fn question() -> ApprovalSpec {
    ApprovalSpec {
        subject: ApprovalSubject {
            run: Some("r".into()),
            step: Some("s".into()),
            iteration: Some(1),
            release: None,
        },
        purpose: ApprovalPurpose::Step,
        digest: Digest::of(b"shown"),
        requested_by: Some("dev".into()),
        author: Some("Eve <eve>".into()),
        written_by: vec![],
        title: "May it?".into(),
        show: vec![],
        form: None,
        approvers: Some(group("finance")),
        quorum: 1,
        self_approval: false,
        verdicts: vec![Verdict::Approve, Verdict::Reject],
        expires_at: Some(Time(at(1_000))),
        escalate: vec![],
        repository: None,
        ask_via: None,
    }
}

fn by(user: &str, verdict: Verdict, second: i64) -> DecisionFact {
    DecisionFact {
        name: format!("{user}-{second}"),
        uid: format!("{user}-{second}"),
        created_at: at(second),
        spec: DecisionSpec {
            approval: "r-s".parse().unwrap(),
            digest: Digest::of(b"shown"),
            verdict,
            comment: None,
            values: None,
            by: Some(user.into()),
            groups: Some(vec!["finance".into()]),
            via: None,
        },
        judged: None,
        acts_as: ActsAs::Nobody,
    }
}

fn judge_all(spec: &ApprovalSpec, decisions: &[DecisionFact]) -> Judgement {
    judge(spec, at(0), &ApprovalStatus::default(), decisions, None, PROVEN)
}

fn reasons(judgement: &Judgement) -> Vec<(&str, DecisionReason)> {
    judgement
        .decisions
        .iter()
        .map(|(name, status)| (name.as_str(), status.reason.unwrap()))
        .collect()
}

#[test]
fn one_approval_of_an_approver_decides() {
    let judgement = judge_all(&question(), &[by("alice", Verdict::Approve, 10)]);
    assert_eq!(judgement.status.phase, ApprovalPhase::Approved);
    assert_eq!(
        judgement.status.message.as_deref(),
        Some("alice approved at 1970-01-01T00:00:10Z")
    );
    assert_eq!(reasons(&judgement), [("alice-10", DecisionReason::Counted)]);
}

#[test]
fn what_does_not_count_is_told_why() {
    let mut other_digest = by("alice", Verdict::Approve, 1);
    other_digest.spec.digest = Digest::of(b"something else");
    let mut outsider = by("mallory", Verdict::Approve, 1);
    outsider.spec.groups = Some(vec!["sales".into()]);
    let mut nobody = by("alice", Verdict::Approve, 1);
    nobody.spec.by = None;
    let left_over = by("alice", Verdict::Approve, -1);
    for (decision, reason, message) in [
        (
            other_digest,
            DecisionReason::DigestMismatch,
            "but what was shown has",
        ),
        (
            by("dev", Verdict::Approve, 1),
            DecisionReason::SelfApproval,
            "dev asked for it",
        ),
        (
            by("eve", Verdict::Approve, 1),
            DecisionReason::SelfApproval,
            "eve wrote it",
        ),
        (
            outsider,
            DecisionReason::NotAnApprover,
            "not among the approvers (finance)",
        ),
        (
            by("system:serviceaccount:default:bot", Verdict::Approve, 1),
            DecisionReason::ServiceAccount,
            "service account",
        ),
        (
            by("alice", Verdict::RequestChanges, 1),
            DecisionReason::VerdictNotOffered,
            "choose Approve or Reject",
        ),
        (
            by("alice", Verdict::Approve, 1_000),
            DecisionReason::Expired,
            "the time to decide was over",
        ),
        (nobody, DecisionReason::IdentityUnverified, "does not say who"),
        (left_over, DecisionReason::TooEarly, "older than the question"),
    ] {
        let judgement = judge_all(&question(), &[decision]);
        let (_, status) = &judgement.decisions[0];
        assert_eq!((status.counted, status.reason), (Some(false), Some(reason)));
        assert!(status.message.as_ref().unwrap().contains(message), "{status:?}");
        assert_eq!(judgement.status.phase, ApprovalPhase::Pending);
    }
}

#[test]
fn a_service_account_counts_only_where_it_is_named() {
    let mut spec = question();
    spec.approvers = Some(Approvers {
        service_accounts: vec!["default:bot".into()],
        ..Approvers::default()
    });
    let mut bot = by("system:serviceaccount:default:bot", Verdict::Approve, 1);
    bot.spec.groups = None;
    assert_eq!(
        judge_all(&spec, &[bot.clone()]).status.phase,
        ApprovalPhase::Approved
    );
    spec.approvers = None;
    assert_eq!(
        reasons(&judge_all(&spec, &[bot]))[0].1,
        DecisionReason::ServiceAccount
    );
}

#[test]
fn one_person_counts_once_and_the_latest_decision_stands() {
    let mut spec = question();
    spec.quorum = 2;
    let twice = [by("alice", Verdict::Approve, 1), by("alice", Verdict::Approve, 2)];
    let judgement = judge_all(&spec, &twice);
    assert_eq!(judgement.status.phase, ApprovalPhase::Pending);
    assert_eq!(
        reasons(&judgement),
        [
            ("alice-1", DecisionReason::Replaced),
            ("alice-2", DecisionReason::Counted)
        ]
    );
    assert_eq!(judgement.status.needs.as_deref(), Some("1 more of finance"));
    let judgement = judge_all(
        &spec,
        &[twice[0].clone(), twice[1].clone(), by("bob", Verdict::Approve, 3)],
    );
    assert_eq!(judgement.status.phase, ApprovalPhase::Approved);
}

#[test]
fn of_two_at_once_the_first_decides_and_the_loser_is_told_who_and_when() {
    let judgement = judge_all(
        &question(),
        &[by("bob", Verdict::Reject, 5), by("alice", Verdict::Approve, 4)],
    );
    assert_eq!(judgement.status.phase, ApprovalPhase::Approved);
    let (_, loser) = judgement
        .decisions
        .iter()
        .find(|(name, _)| name == "bob-5")
        .unwrap();
    assert_eq!(loser.reason, Some(DecisionReason::AlreadyDecided));
    assert_eq!(
        loser.message.as_deref(),
        Some("alice approved at 1970-01-01T00:00:04Z")
    );
}

#[test]
fn a_closed_question_stays_closed_and_later_decisions_do_not_count() {
    let first = [by("alice", Verdict::Approve, 4)];
    let closed = judge_all(&question(), &first).status;
    // even one that the watch showed late and that was accepted before
    let all = [by("bob", Verdict::Reject, 3), first[0].clone()];
    let judgement = judge(&question(), at(0), &closed, &all, None, PROVEN);
    assert_eq!(judgement.status, closed);
    assert_eq!(
        reasons(&judgement),
        [
            ("bob-3", DecisionReason::AlreadyDecided),
            ("alice-4", DecisionReason::Counted)
        ]
    );
}

#[test]
fn a_question_expires_only_by_the_servers_time_and_after_what_came_in_time() {
    let nobody = judge(
        &question(),
        at(0),
        &ApprovalStatus::default(),
        &[],
        Some(at(999)),
        PROVEN,
    );
    assert_eq!(nobody.status.phase, ApprovalPhase::Pending);
    let over = judge(
        &question(),
        at(0),
        &ApprovalStatus::default(),
        &[],
        Some(at(1_000)),
        PROVEN,
    );
    assert_eq!(over.status.phase, ApprovalPhase::Expired);
    let in_time = judge(
        &question(),
        at(0),
        &ApprovalStatus::default(),
        &[by("alice", Verdict::Approve, 999)],
        Some(at(2_000)),
        PROVEN,
    );
    assert_eq!(in_time.status.phase, ApprovalPhase::Approved);
    let late = judge(
        &question(),
        at(0),
        &over.status,
        &[by("alice", Verdict::Approve, 1_001)],
        None,
        PROVEN,
    );
    assert_eq!(reasons(&late)[0].1, DecisionReason::Expired);
}

#[test]
fn escalation_lets_others_decide_from_its_time_on() {
    let mut spec = question();
    let after: HumanDuration = "100s".parse().unwrap();
    spec.escalate = vec![Escalation {
        after,
        to: group("leads"),
    }];
    let lead = |second| {
        let mut decision = by("lea", Verdict::Approve, second);
        decision.spec.groups = Some(vec!["leads".into()]);
        decision
    };
    assert_eq!(
        reasons(&judge_all(&spec, &[lead(99)]))[0].1,
        DecisionReason::NotAnApprover
    );
    assert_eq!(
        judge_all(&spec, &[lead(100)]).status.phase,
        ApprovalPhase::Approved
    );
}

#[test]
fn an_approval_needs_the_values_its_form_asks_for() {
    let mut spec = question();
    spec.form = Some(Json(json!({
        "type": "object", "required": ["happened"], "properties": { "happened": { "type": "boolean" } },
    })));
    let mut decision = by("alice", Verdict::Approve, 1);
    assert_eq!(
        reasons(&judge_all(&spec, &[decision.clone()]))[0].1,
        DecisionReason::InvalidValues
    );
    decision.spec.values = Some(JsonObject(
        json!({ "happened": true }).as_object().cloned().unwrap(),
    ));
    let judgement = judge_all(&spec, &[decision]);
    assert_eq!(
        judgement.status.values.unwrap().to_value(),
        json!({ "happened": true })
    );
    assert_eq!(
        judge_all(&spec, &[by("alice", Verdict::Reject, 1)]).status.phase,
        ApprovalPhase::Rejected
    );
}

#[test]
fn a_refusal_is_final_even_if_its_reason_has_gone() {
    let mut decision = by("alice", Verdict::Approve, 1);
    decision.judged = Some(refused(DecisionReason::NotAnApprover, "not then"));
    let judgement = judge_all(&question(), &[decision]);
    assert_eq!(judgement.status.phase, ApprovalPhase::Pending);
    assert_eq!(reasons(&judgement)[0].1, DecisionReason::NotAnApprover);
}

#[test]
fn judging_again_with_the_same_decisions_changes_nothing() {
    let decisions = [by("alice", Verdict::Approve, 4), by("bob", Verdict::Approve, 4)];
    let mut spec = question();
    for quorum in 1..=3 {
        spec.quorum = quorum;
        let once = judge_all(&spec, &decisions);
        let twice = judge(&spec, at(0), &once.status, &decisions, None, PROVEN);
        assert_eq!(once, twice, "quorum {quorum}");
    }
}

/// As [`judge_all`], with this known of who proves, before anything was written.
fn judge_with(proof: Proof, decision: &DecisionFact, server_now: Option<Timestamp>) -> Judgement {
    let decisions = [decision.clone()];
    judge(
        &question(),
        at(0),
        &ApprovalStatus::default(),
        &decisions,
        server_now,
        proof,
    )
}

#[test]
fn what_is_decided_while_nobody_knows_when_it_will_be_proven_never_counts() {
    let mut decision = by("alice", Verdict::Approve, 1);
    let unproven = judge_with(Proof::Refuted, &decision, None);
    assert_eq!(unproven.status.phase, ApprovalPhase::Pending);
    assert_eq!(reasons(&unproven)[0].1, DecisionReason::IdentityUnverified);
    assert_eq!(unproven.status.conditions[0].reason, "IdentityUnverified");
    decision.judged = Some(unproven.decisions[0].1.clone());
    let proven = judge_with(PROVEN, &decision, None);
    assert_eq!(proven.status.phase, ApprovalPhase::Pending);
    assert_eq!(reasons(&proven)[0].1, DecisionReason::IdentityUnverified);
    let again = [decision, by("alice", Verdict::Approve, 2)];
    assert_eq!(
        judge_all(&question(), &again).status.phase,
        ApprovalPhase::Approved
    );
}

#[test]
fn what_is_decided_while_a_policy_is_changed_is_held_until_it_is_as_it_was() {
    let decision = by("alice", Verdict::Approve, 5);
    let held = judge_with(Proof::Interrupted, &decision, None);
    assert_eq!(held.status.phase, ApprovalPhase::Pending);
    assert!(held.decisions.is_empty(), "nothing is said of it");
    let condition = &held.status.conditions[0];
    assert_eq!(condition.reason, "IdentityUnverified");
    assert!(
        condition.message.contains("is judged when they are"),
        "{condition:?}"
    );
    // an upgrade changed a policy and the next operator finds it as it should be
    assert_eq!(
        judge_with(PROVEN, &decision, None).status.phase,
        ApprovalPhase::Approved
    );
}

#[test]
fn what_was_held_and_is_older_than_the_policies_is_not_proven_by_them() {
    let decision = by("alice", Verdict::Approve, 5);
    let proven = |since: i64, written: i64| Proof::Proven {
        since: Some(at(since)),
        written: Some(at(written)),
    };
    for (proof, counts) in [
        (proven(4, 4), true),
        (proven(5, 4), false),
        // somebody changed one and changed it back while nobody watched
        (proven(1, 5), false),
    ] {
        let judgement = judge_with(proof, &decision, None);
        let expected = if counts {
            DecisionReason::Counted
        } else {
            DecisionReason::IdentityUnverified
        };
        assert_eq!(reasons(&judgement)[0].1, expected, "{proof:?}");
    }
    // what counted before they were written anew was proven then
    let mut counted = decision;
    counted.judged = Some(super::counted());
    let spec = ApprovalSpec {
        quorum: 2,
        ..question()
    };
    let both = [counted, by("bob", Verdict::Approve, 9)];
    let open = ApprovalStatus::default();
    let judgement = judge(&spec, at(0), &open, &both, None, proven(1, 7));
    assert_eq!(judgement.status.phase, ApprovalPhase::Approved);
}

#[test]
fn somebody_who_may_act_as_the_account_that_asked_does_not_decide_on_it() {
    let mut spec = question();
    spec.requested_by = Some("system:serviceaccount:ci:bot".into());
    let mut decision = by("alice", Verdict::Approve, 1);
    decision.acts_as = ActsAs::Account {
        account: "system:serviceaccount:ci:bot".into(),
        how: "may impersonate it".into(),
    };
    let judgement = judge_all(&spec, &[decision.clone()]);
    assert_eq!(judgement.status.phase, ApprovalPhase::Pending);
    assert_eq!(reasons(&judgement)[0].1, DecisionReason::ActsAsRequester);
    let message = judgement.decisions[0].1.message.clone().unwrap();
    assert!(message.contains("alice may impersonate it"), "{message}");
    // it is final, and another one's counts
    decision.judged = Some(judgement.decisions[0].1.clone());
    decision.acts_as = ActsAs::Nobody;
    let both = [decision.clone(), by("bob", Verdict::Approve, 2)];
    let judgement = judge_all(&spec, &both);
    assert_eq!(judgement.status.phase, ApprovalPhase::Approved);
    assert_eq!(judgement.status.counted[0].by, "bob");
    // who may decide on their own work may do this too
    spec.self_approval = true;
    decision.judged = None;
    decision.acts_as = ActsAs::Account {
        account: "system:serviceaccount:ci:bot".into(),
        how: "may impersonate it".into(),
    };
    assert_eq!(
        judge_all(&spec, &[decision]).status.phase,
        ApprovalPhase::Approved
    );
}

#[test]
fn a_decision_is_held_past_the_deadline_while_it_is_not_known_as_whom_the_decider_may_act() {
    let mut decision = by("alice", Verdict::Approve, 1);
    decision.acts_as = ActsAs::Unknown;
    let held = judge_with(PROVEN, &decision, Some(at(2_000)));
    assert_eq!(held.status.phase, ApprovalPhase::Pending);
    assert!(held.decisions.is_empty());
    decision.acts_as = ActsAs::Nobody;
    let known = judge_with(PROVEN, &decision, Some(at(2_000)));
    assert_eq!(known.status.phase, ApprovalPhase::Approved);
}

#[test]
fn an_answer_given_while_it_was_proven_stays() {
    let decision = by("alice", Verdict::Approve, 1);
    let answered = judge_with(PROVEN, &decision, None).status;
    let decisions = [decision];
    for proof in [
        Proof::Unknown,
        Proof::Refuted,
        Proof::Interrupted,
        Proof::Proven {
            since: Some(at(9)),
            written: None,
        },
    ] {
        let later = judge(&question(), at(0), &answered, &decisions, None, proof);
        assert_eq!(later.status, answered);
        assert_eq!(reasons(&later)[0].1, DecisionReason::Counted);
    }
}

#[test]
fn a_vote_that_counted_waits_while_it_is_not_proven_who_decides() {
    let spec = ApprovalSpec {
        quorum: 2,
        ..question()
    };
    let mut first = by("alice", Verdict::Approve, 1);
    first.judged = Some(judge_all(&spec, &[first.clone()]).decisions[0].1.clone());
    let both = [first, by("bob", Verdict::Approve, 2)];
    let open = ApprovalStatus::default();
    let unproven = judge(&spec, at(0), &open, &both, None, Proof::Refuted);
    assert_eq!(unproven.status.phase, ApprovalPhase::Pending);
    assert_eq!(
        reasons(&unproven),
        [
            ("alice-1", DecisionReason::Counted),
            ("bob-2", DecisionReason::IdentityUnverified)
        ]
    );
    let held = judge(&spec, at(0), &open, &both, None, Proof::Interrupted);
    assert_eq!(held.status.phase, ApprovalPhase::Pending);
    assert_eq!(reasons(&held), [("alice-1", DecisionReason::Counted)]);
    assert!(unproven.status.counted.is_empty());
    let unknown = judge(&spec, at(0), &open, &both, None, Proof::Unknown);
    assert_eq!(reasons(&unknown), [("alice-1", DecisionReason::Counted)]);
}

#[test]
fn a_decision_that_is_not_younger_than_the_policies_proves_nothing() {
    let decision = by("alice", Verdict::Approve, 5);
    for (since, counts) in [(4, true), (5, false), (6, false)] {
        let proof = Proof::Proven {
            since: Some(at(since)),
            written: None,
        };
        let judgement = judge_with(proof, &decision, None);
        let approved = judgement.status.phase == ApprovalPhase::Approved;
        assert_eq!(approved, counts, "policies since {since}");
    }
}

#[test]
fn nothing_expires_while_it_is_not_known_whether_it_is_proven_who_decides() {
    let decision = by("alice", Verdict::Approve, 5);
    let unknown = judge_with(Proof::Unknown, &decision, Some(at(2_000)));
    assert_eq!(unknown.status.phase, ApprovalPhase::Pending);
    assert!(unknown.decisions.is_empty());
    let proven = judge_with(PROVEN, &decision, Some(at(2_000)));
    assert_eq!(proven.status.phase, ApprovalPhase::Approved);
    // somebody decided in time, and it may turn out to be proven
    let held = judge_with(Proof::Interrupted, &decision, Some(at(2_000)));
    assert_eq!(held.status.phase, ApprovalPhase::Pending);
    let refuted = judge_with(Proof::Refuted, &decision, Some(at(2_000)));
    assert_eq!(refuted.status.phase, ApprovalPhase::Expired);
    let nobody = judge(
        &question(),
        at(0),
        &ApprovalStatus::default(),
        &[],
        Some(at(2_000)),
        Proof::Interrupted,
    );
    assert_eq!(nobody.status.phase, ApprovalPhase::Expired);
}

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
    assert!(own.refused.unwrap().contains("dev asked for it"));
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
