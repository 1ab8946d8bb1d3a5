//! Votes that are handed on and taken back.

use super::*;

fn with_delegation(quorum: i64) -> ApprovalSpec {
    let mut spec = question();
    spec.verdicts.push(Verdict::Delegate);
    ApprovalSpec { quorum, ..spec }
}

fn handing(user: &str, to: &str, second: i64) -> DecisionFact {
    let mut decision = by(user, Verdict::Delegate, second);
    decision.spec.to = Some(to.to_owned());
    decision
}

/// A decision of somebody who is in no group.
fn outside(mut decision: DecisionFact) -> DecisionFact {
    decision.spec.groups = None;
    decision
}

#[test]
fn somebody_decides_with_a_vote_that_was_handed_on_to_them() {
    let spec = with_delegation(1);
    let alone = outside(by("zoe", Verdict::Approve, 5));
    let handed = handing("alice", "zoe", 10);
    let judgement = judge_all(
        &spec,
        &[alone, handed.clone(), outside(by("zoe", Verdict::Approve, 20))],
    );
    assert_eq!(
        reasons(&judgement),
        [
            ("zoe-5", DecisionReason::NotAnApprover),
            ("alice-10", DecisionReason::Counted),
            ("zoe-20", DecisionReason::Counted)
        ]
    );
    assert_eq!(judgement.status.phase, ApprovalPhase::Approved);
    let hop = &judgement.status.delegations[0];
    assert_eq!(
        (hop.from.as_str(), hop.to.as_str(), hop.decision.as_str()),
        ("alice", "zoe", "alice-10")
    );
    // whoever handed it on has no vote any more
    let judgement = judge_all(&spec, &[handed, by("alice", Verdict::Approve, 20)]);
    assert_eq!(judgement.decisions[1].1.reason, Some(DecisionReason::Delegated));
    assert_eq!(judgement.status.phase, ApprovalPhase::Pending);
}

#[test]
fn a_vote_is_one_however_it_is_handed_on() {
    let judgement = judge_all(
        &with_delegation(2),
        &[
            by("alice", Verdict::Approve, 5),
            handing("alice", "bob", 10),
            by("bob", Verdict::Approve, 20),
        ],
    );
    assert_eq!(judgement.status.phase, ApprovalPhase::Pending);
    assert_eq!(judgement.status.counted.len(), 1);
    assert_eq!(judgement.decisions[0].1.reason, Some(DecisionReason::Withdrawn));
}

#[test]
fn a_vote_is_handed_on_three_times_and_to_nobody_who_may_not_decide() {
    let chain = [
        handing("alice", "b", 10),
        outside(handing("b", "c", 11)),
        outside(handing("c", "d", 12)),
        outside(handing("d", "e", 13)),
    ];
    let judgement = judge_all(&with_delegation(1), &chain);
    let found: Vec<DecisionReason> = reasons(&judgement).iter().map(|(_, reason)| *reason).collect();
    assert_eq!(found[..3], [DecisionReason::Counted; 3]);
    assert_eq!(found[3], DecisionReason::InvalidDelegation);
    for (to, said) in [
        ("dev", "dev asked for it"),
        ("eve", "eve wrote it"),
        ("alice", "alice has the vote already"),
        ("system:serviceaccount:ns:bot", "is a service account"),
    ] {
        let judgement = judge_all(&with_delegation(1), &[handing("alice", to, 10)]);
        let status = &judgement.decisions[0].1;
        assert_eq!(status.reason, Some(DecisionReason::InvalidDelegation));
        assert!(status.message.as_ref().unwrap().contains(said), "{status:?}");
    }
    let circle = [handing("alice", "bob", 10), handing("bob", "alice", 11)];
    let judgement = judge_all(&with_delegation(1), &circle);
    assert_eq!(
        judgement.decisions[1].1.reason,
        Some(DecisionReason::InvalidDelegation)
    );
    let judgement = judge_all(&question(), &[handing("alice", "zoe", 10)]);
    assert_eq!(
        judgement.decisions[0].1.reason,
        Some(DecisionReason::VerdictNotOffered)
    );
}

#[test]
fn what_was_said_is_taken_back_and_what_hangs_on_it_too() {
    let spec = with_delegation(2);
    let all = [
        by("alice", Verdict::Approve, 10),
        by("alice", Verdict::Withdraw, 20),
        by("alice", Verdict::Withdraw, 30),
    ];
    let judgement = judge_all(&spec, &all);
    assert_eq!(
        reasons(&judgement),
        [
            ("alice-10", DecisionReason::Withdrawn),
            ("alice-20", DecisionReason::Counted),
            ("alice-30", DecisionReason::NothingToWithdraw)
        ]
    );
    assert!(judgement.status.counted.is_empty());
    let all = [
        handing("alice", "b", 10),
        outside(handing("b", "c", 11)),
        outside(by("c", Verdict::Approve, 12)),
        by("alice", Verdict::Withdraw, 20),
        outside(by("c", Verdict::Approve, 30)),
        by("alice", Verdict::Approve, 40),
    ];
    let judgement = judge_all(&spec, &all);
    assert_eq!(
        reasons(&judgement),
        [
            ("alice-10", DecisionReason::Withdrawn),
            ("b-11", DecisionReason::Withdrawn),
            ("c-12", DecisionReason::Withdrawn),
            ("alice-20", DecisionReason::Counted),
            ("c-30", DecisionReason::NotAnApprover),
            ("alice-40", DecisionReason::Counted)
        ]
    );
    assert!(judgement.status.delegations.is_empty());
    assert_eq!(judgement.status.counted.len(), 1);
}

#[test]
fn what_was_judged_before_is_judged_the_same_again() {
    let spec = with_delegation(2);
    let mut all = vec![
        handing("alice", "b", 10),
        outside(by("b", Verdict::Approve, 11)),
        by("bob", Verdict::Approve, 12),
    ];
    all.truncate(2);
    let first = judge_all(&spec, &all);
    for (decision, (_, status)) in all.iter_mut().zip(&first.decisions) {
        decision.judged = Some(status.clone());
    }
    let again = judge(&spec, at(0), &first.status, &all, None, PROVEN);
    assert_eq!(again.status, first.status);
    all.push(by("alice", Verdict::Withdraw, 20));
    let next = judge(&spec, at(0), &first.status, &all, None, PROVEN);
    assert!(next.status.counted.is_empty());
    for (decision, (_, status)) in all.iter_mut().zip(&next.decisions) {
        decision.judged = Some(status.clone());
    }
    let again = judge(&spec, at(0), &next.status, &all, None, PROVEN);
    assert_eq!(again.status, next.status);
    assert_eq!(again.decisions, next.decisions);
}

#[test]
fn what_made_an_answer_stays_as_it_was_judged() {
    let spec = with_delegation(1);
    let mut all = [
        by("bob", Verdict::Withdraw, 5),
        handing("alice", "zoe", 10),
        outside(by("zoe", Verdict::Approve, 20)),
    ];
    let first = judge_all(&spec, &all);
    assert_eq!(first.status.phase, ApprovalPhase::Approved);
    // the answer was written, and what became of each decision was not
    let again = judge(&spec, at(0), &first.status, &all, None, PROVEN);
    assert_eq!(
        (again.status, &again.decisions[1..]),
        (first.status.clone(), &first.decisions[1..])
    );
    for (decision, (_, status)) in all.iter_mut().zip(&first.decisions) {
        decision.judged = Some(status.clone());
    }
    let again = judge(&spec, at(0), &first.status, &all, None, PROVEN);
    assert_eq!(again, first);
}
