//! Tests of the judge: which decisions count, why others do not, and how the question stands then.

mod amendments;
mod delegations;
mod proof;
mod values;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use signoff_api::{
    Digest, HumanDuration, Json,
    approval::{ApprovalPurpose, ApprovalSubject},
    run::ParentRun,
    step::{Approvers, Escalation},
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
            item: None,
            release: None,
        },
        purpose: ApprovalPurpose::Step,
        digest: Digest::of(b"shown"),
        requested_by: Some("dev".into()),
        earlier_requesters: vec!["carl".into()],
        parents: vec![],
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
        remind_every: None,
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
            shown: None,
            to: None,
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
fn who_asked_for_a_run_above_does_not_decide_in_one_below() {
    let mut spec = question();
    spec.parents = ["carol", "dan"]
        .map(|user| ParentRun {
            run: format!("of-{user}"),
            flow: "f".into(),
            requested_by: Some(user.into()),
        })
        .into();
    let decisions = [
        by("carol", Verdict::Approve, 1),
        by("dan", Verdict::Approve, 2),
        by("alice", Verdict::Approve, 3),
    ];
    let judgement = judge_all(&spec, &decisions);
    assert_eq!(
        reasons(&judgement),
        [
            ("carol-1", DecisionReason::SelfApproval),
            ("dan-2", DecisionReason::SelfApproval),
            ("alice-3", DecisionReason::Counted)
        ]
    );
    spec.self_approval = true;
    let judgement = judge_all(&spec, &decisions);
    assert_eq!(reasons(&judgement)[0].1, DecisionReason::Counted);
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
            by("carl", Verdict::Approve, 1),
            DecisionReason::SelfApproval,
            "carl asked for a run that led to it",
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

#[test]
fn whoever_is_excluded_does_not_count_however_they_are_written() {
    let mut spec = question();
    spec.approvers = Some(Approvers {
        exclude: vec!["Alice".to_owned()],
        ..group("finance")
    });
    spec.escalate = vec![Escalation {
        after: "1s".parse().unwrap(),
        to: Approvers {
            users: vec!["alice".to_owned(), "carol".to_owned()],
            exclude: vec!["carol".to_owned()],
            ..Approvers::default()
        },
    }];
    let mut carol = by("carol", Verdict::Approve, 10);
    carol.spec.groups = None;
    let judgement = judge_all(&spec, &[by("alice", Verdict::Approve, 10), carol]);
    assert_eq!(
        reasons(&judgement),
        [
            ("alice-10", DecisionReason::NotAnApprover),
            ("carol-10", DecisionReason::NotAnApprover)
        ]
    );
    let message = judgement.decisions[0].1.message.clone().unwrap();
    assert_eq!(message, "alice is excluded from the approvers");
    let judgement = judge_all(&spec, &[by("bob", Verdict::Approve, 10)]);
    assert_eq!(judgement.status.phase, ApprovalPhase::Approved);
}

#[test]
fn with_nothing_but_exclude_everybody_else_counts_but_service_accounts() {
    let mut spec = question();
    spec.approvers = Some(Approvers {
        exclude: vec!["alice".to_owned()],
        ..Approvers::default()
    });
    let account = by("system:serviceaccount:ns:bot", Verdict::Approve, 5);
    let judgement = judge_all(&spec, &[by("alice", Verdict::Approve, 4), account]);
    assert_eq!(judgement.status.phase, ApprovalPhase::Pending);
    assert_eq!(
        judgement.status.needs.as_deref(),
        Some("1 of anybody who may approve, but not alice")
    );
    assert_eq!(
        judgement.decisions[1].1.reason,
        Some(DecisionReason::ServiceAccount)
    );
    let judgement = judge_all(&spec, &[by("zoe", Verdict::Approve, 5)]);
    assert_eq!(judgement.status.phase, ApprovalPhase::Approved);
}
