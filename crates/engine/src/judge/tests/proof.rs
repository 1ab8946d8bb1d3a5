//! What is not, or not yet, proven does not count.

use super::*;

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
