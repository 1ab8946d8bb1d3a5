//! What is to be done about a question on the forge: decided from what is known, without asking anybody.

use super::claim::{Claim, sort_by_time};
use crate::{
    forge::{CommitState, PullRequest, PullRequestNumber, PullRequestState},
    git::CommitId,
};
use signoff_api::{ApprovalStatus, Verdict, json::JsonObject};
use signoff_engine::judge::values_digest;

/// Most pull requests that put one question: an answer that does not count has it put once more.
pub(super) const MAX_ATTEMPTS: usize = 10;

/// How a claim stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClaimState {
    /// Nothing was made of it.
    New,
    /// It is a Decision that is not judged yet.
    Judging,
    /// It is a Decision that counts, or counted until the same person decided anew.
    Counted,
    /// It is a Decision that does not count.
    Refused(String),
    /// Whoever made it was told that it does not count.
    Answered,
}

/// A pull request that puts the question, and what was done on it.
#[derive(Clone, Debug)]
pub(super) struct ProposedPull {
    pub request: PullRequest,
    pub claims: Vec<(Claim, ClaimState)>,
    /// What is wrong with its branch, while it is open.
    pub flaw: Option<Flaw>,
    /// What is filled in at the head of one that is open.
    pub values: Option<JsonObject>,
}

impl ProposedPull {
    /// Whether there is something to do about it, or may be without a word of ours.
    pub(super) fn waits(&self) -> bool {
        let is_done = |standing: &ClaimState| matches!(standing, ClaimState::Counted | ClaimState::Answered);
        self.request.state == PullRequestState::Open
            || !self.claims.iter().all(|(_, standing)| is_done(standing))
    }
}

/// Why merging a pull request would not approve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// The commit that has it.
    pub head: CommitId,
    /// What it is.
    pub why: String,
    /// Whether people were told of it.
    pub told: bool,
}

/// One thing to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Find out who made a claim, and make a Decision of it or say why not. Once a Decision was made, what comes after has to wait until it is
    /// judged: the judge goes by the order in which they are made.
    Consider(PullRequestNumber, Claim),
    /// Say that a claim does not count.
    Answer(PullRequestNumber, Claim, String),
    /// Put the question with a pull request, the n-th.
    Propose(usize),
    /// Say that merging would not approve.
    Warn(PullRequestNumber, CommitId, String),
    /// Say that the question is not put once more.
    GiveUp,
    /// Show how far the quorum is.
    ShowQuorum(CommitId, CommitState, String),
    /// Close a pull request, because the question is closed.
    Close(PullRequestNumber),
    /// Delete the branch.
    DeleteBranch,
}

/// What is to be done about a question that is open.
pub(super) fn while_open(status: &ApprovalStatus, quorum: i64, puts: &[ProposedPull]) -> Vec<Step> {
    let (mut steps, settled) = of_claims(quorum, puts);
    let open = puts
        .iter()
        .find(|put| put.request.state == PullRequestState::Open);
    match open {
        Some(ProposedPull {
            request,
            flaw: Some(flaw),
            ..
        }) => {
            if !flaw.told {
                steps.push(Step::Warn(request.number, flaw.head, flaw.why.clone()));
            }
            let text = format!("do not merge: {}", flaw.why);
            steps.push(Step::ShowQuorum(flaw.head, CommitState::Failure, text));
        }
        Some(put) => steps.extend(quorum_of(status, quorum, put)),
        // what was done on the last one may have been the answer
        None if !settled => {}
        None if puts.len() < MAX_ATTEMPTS => {
            if !puts.is_empty() {
                steps.push(Step::DeleteBranch);
            }
            steps.push(Step::Propose(puts.len() + 1));
        }
        None => steps.push(Step::GiveUp),
    }
    steps
}

/// What is to be done about what people did on a question that is open, and whether none of it may still be the answer.
fn of_claims(quorum: i64, puts: &[ProposedPull]) -> (Vec<Step>, bool) {
    let mut steps = Vec::new();
    let all = in_order(puts);
    let judging = all.iter().any(|(.., standing)| **standing == ClaimState::Judging);
    // one that closes the question, which was still open when it was read
    let closes = |claim: &Claim| quorum == 1 || claim.verdict != Verdict::Approve;
    let settled = !all.iter().any(|(_, claim, standing)| match standing {
        ClaimState::New | ClaimState::Judging => true,
        ClaimState::Counted => closes(claim),
        ClaimState::Refused(_) | ClaimState::Answered => false,
    });
    let is_closing =
        |(_, claim, standing): &(_, &Claim, &ClaimState)| **standing == ClaimState::Counted && closes(claim);
    let waits = judging || all.iter().any(is_closing);
    for (number, claim, standing) in all {
        match standing {
            ClaimState::New if waits => {}
            ClaimState::New => steps.push(Step::Consider(number, claim.clone())),
            ClaimState::Refused(why) => steps.push(Step::Answer(number, claim.clone(), why.clone())),
            ClaimState::Judging | ClaimState::Counted | ClaimState::Answered => {}
        }
    }
    (steps, settled)
}

/// All that was done on the pull requests of a question, in the order in which it was done.
fn in_order(puts: &[ProposedPull]) -> Vec<(PullRequestNumber, &Claim, &ClaimState)> {
    let mut all: Vec<_> = puts
        .iter()
        // they come with the newest first
        .rev()
        .flat_map(|put| {
            let number = put.request.number;
            put.claims
                .iter()
                .map(move |(claim, standing)| (number, claim, standing))
        })
        .collect();
    sort_by_time(&mut all, |(_, claim, _)| claim.at);
    all
}

/// What is to be done about a question that is open and not put here any more: what was done before its pull request is closed counts, and `late` is
/// what those are told who do something after that.
pub(super) fn when_elsewhere(quorum: i64, puts: &[ProposedPull], late: &str) -> Vec<Step> {
    let is_late = |number: &PullRequestNumber, claim: &Claim| {
        let put = puts.iter().find(|put| put.request.number == *number);
        let ended = put.and_then(|put| match &put.request.state {
            PullRequestState::Closed(act) => act.at,
            PullRequestState::Open | PullRequestState::Merged { .. } => None,
        });
        ended.zip(claim.at).is_some_and(|(ended, at)| at > ended)
    };
    let (steps, _) = of_claims(quorum, puts);
    let mut steps: Vec<Step> = steps
        .into_iter()
        .map(|step| match step {
            Step::Consider(number, claim) if is_late(&number, &claim) => {
                Step::Answer(number, claim, late.to_owned())
            }
            step => step,
        })
        .collect();
    steps.extend(take_back(puts));
    steps
}

/// Closes what is open.
fn take_back(puts: &[ProposedPull]) -> Vec<Step> {
    let open = puts
        .iter()
        .filter(|put| put.request.state == PullRequestState::Open);
    let mut steps: Vec<Step> = open.map(|put| Step::Close(put.request.number)).collect();
    if !puts.is_empty() {
        steps.push(Step::DeleteBranch);
    }
    steps
}

/// What is to be done about a question that is closed or gone; `late` is what those are told who answer it now.
pub(super) fn when_closed(puts: &[ProposedPull], late: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for put in puts {
        let number = put.request.number;
        for (claim, standing) in &put.claims {
            match standing {
                ClaimState::New => steps.push(Step::Answer(number, claim.clone(), late.to_owned())),
                ClaimState::Refused(why) => steps.push(Step::Answer(number, claim.clone(), why.clone())),
                ClaimState::Judging | ClaimState::Counted | ClaimState::Answered => {}
            }
        }
    }
    steps.extend(take_back(puts));
    steps
}

/// The merge is one of those that must approve, so it may come when no more than it is missing. Who approved other values than those at the
/// head has not approved these.
fn quorum_of(status: &ApprovalStatus, quorum: i64, put: &ProposedPull) -> Option<Step> {
    let head = put.request.head_commit?;
    let digest = values_digest(put.values.as_ref());
    let counted = status.counted.iter();
    let voted = counted.filter(|vote| vote.verdict == Verdict::Approve).count();
    let voted = i64::try_from(voted).unwrap_or(i64::MAX);
    let (approved, others) = if values_digest(status.values.as_ref()) == digest {
        (voted, 0)
    } else {
        (0, voted)
    };
    let what = match &put.values {
        Some(_) => format!(" values {}", digest.short()),
        None => String::new(),
    };
    let aside = if others > 0 {
        format!(", {others} approved others")
    } else {
        String::new()
    };
    let (state, text) = if quorum == 1 {
        (CommitState::Success, format!("merging approves{what}"))
    } else if approved + 1 >= quorum {
        (
            CommitState::Success,
            format!("{approved} of {quorum} approved{what}{aside}; merging is the last"),
        )
    } else {
        (
            CommitState::Pending,
            format!("{approved} of {quorum} approved{what}{aside}; more reviews are needed"),
        )
    };
    Some(Step::ShowQuorum(head, state, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::{Act, Actor, Login};
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    fn alice() -> Actor {
        Actor {
            login: Login::new("alice"),
            id: 7,
        }
    }

    fn put(number: u64, state: PullRequestState, claims: &[(&str, ClaimState)]) -> ProposedPull {
        let claim = |id: &str| Claim {
            id: id.to_owned(),
            by: alice(),
            at: None,
            act: "merge",
            verdict: Verdict::Approve,
            comment: None,
            commit: None,
        };
        ProposedPull {
            request: PullRequest {
                number: PullRequestNumber(number),
                url: String::new(),
                title: String::new(),
                body: String::new(),
                head: "signoff/ns/a".into(),
                head_commit: CommitId::parse(&"a".repeat(40)),
                same_project: true,
                base: "main".into(),
                author: Login::new("signoff-bot"),
                updated_at: None,
                state,
            },
            claims: claims
                .iter()
                .map(|(id, standing)| (claim(id), standing.clone()))
                .collect(),
            flaw: None,
            values: None,
        }
    }

    fn merged() -> PullRequestState {
        let act = Act {
            by: Some(alice()),
            at: None,
        };
        PullRequestState::Merged { act, commit: None }
    }

    /// The steps in short.
    fn told(steps: &[Step]) -> Vec<String> {
        let short = |step: &Step| match step {
            Step::Consider(number, claim) => format!("consider {number} {}", claim.id),
            Step::Answer(number, claim, why) => format!("answer {number} {}: {why}", claim.id),
            Step::Propose(attempt) => format!("propose {attempt}"),
            Step::Warn(number, _, why) => format!("warn on {number}: {why}"),
            Step::GiveUp => "give up".to_owned(),
            Step::ShowQuorum(_, state, text) => format!("{state:?}: {text}"),
            Step::Close(number) => format!("close {number}"),
            Step::DeleteBranch => "delete the branch".to_owned(),
        };
        steps.iter().map(short).collect()
    }

    fn status(approved_by: &[&str]) -> ApprovalStatus {
        let vote = |by: &&str| json!({"decision": by, "by": by, "verdict": "Approve", "at": "2026-11-23T10:00:00.000000Z"});
        let counted: Vec<_> = approved_by.iter().map(vote).collect();
        serde_json::from_value(json!({"phase": "Pending", "counted": counted})).unwrap()
    }

    #[test]
    fn a_question_is_put_once() {
        assert_eq!(told(&while_open(&status(&[]), 1, &[])), ["propose 1"]);
        let open = [put(1, PullRequestState::Open, &[])];
        assert_eq!(
            told(&while_open(&status(&[]), 1, &open)),
            ["Success: merging approves"]
        );
    }

    #[test]
    fn a_merge_is_considered_and_waited_for_until_it_is_judged() {
        for (standing, steps) in [
            (ClaimState::New, vec!["consider 1 merged"]),
            (ClaimState::Judging, vec![]),
            (ClaimState::Counted, vec![]),
        ] {
            let puts = [put(1, merged(), &[("merged", standing)])];
            assert_eq!(told(&while_open(&status(&[]), 1, &puts)), steps);
        }
    }

    #[test]
    fn a_merge_that_counts_for_one_of_several_is_not_the_last_and_the_question_is_put_again() {
        let puts = [put(1, merged(), &[("merged", ClaimState::Counted)])];
        let steps = ["delete the branch", "propose 2"];
        assert_eq!(told(&while_open(&status(&["alice"]), 2, &puts)), steps);
    }

    #[test]
    fn what_was_done_later_waits_until_what_was_done_before_is_judged() {
        let at = |second| Some(k8s_openapi::jiff::Timestamp::from_second(second).unwrap());
        let mut first = put(1, merged(), &[("merged", ClaimState::New)]);
        first.claims[0].0.at = at(3);
        let mut second = put(
            2,
            PullRequestState::Open,
            &[("review-b", ClaimState::New), ("review-a", ClaimState::New)],
        );
        (second.claims[0].0.at, second.claims[1].0.at) = (at(2), at(1));
        let quorum = "Success: merging approves";
        let considered = [
            "consider 2 review-a",
            "consider 2 review-b",
            "consider 1 merged",
            quorum,
        ];
        let puts = [second.clone(), first.clone()];
        assert_eq!(told(&while_open(&status(&[]), 1, &puts)), considered);
        second.claims[1].1 = ClaimState::Judging;
        assert_eq!(told(&while_open(&status(&[]), 1, &[second, first])), [quorum]);
    }

    #[test]
    fn nothing_is_made_of_what_came_after_an_answer_that_closes_the_question() {
        let answered = put(1, merged(), &[("merged", ClaimState::Counted)]);
        let later = put(2, PullRequestState::Open, &[("review-a", ClaimState::New)]);
        let considers = |steps: &[Step]| steps.iter().any(|step| matches!(step, Step::Consider(..)));
        let puts = [later, answered];
        assert!(!considers(&while_open(&status(&[]), 1, &puts)));
        assert!(considers(&while_open(&status(&["alice"]), 2, &puts)));
    }

    #[test]
    fn who_approved_other_values_than_those_at_the_head_does_not_make_the_merge_the_last() {
        let values = |amount: i64| serde_json::from_value::<JsonObject>(json!({"amount": amount})).ok();
        let mut put = put(1, PullRequestState::Open, &[]);
        put.values = values(5);
        let digest = values_digest(put.values.as_ref());
        let mut status = status(&["bob"]);
        let waits = format!(
            "Pending: 0 of 2 approved values {}, 1 approved others; more reviews are needed",
            digest.short()
        );
        assert_eq!(told(&while_open(&status, 2, std::slice::from_ref(&put))), [waits]);
        status.values = values(5);
        let may = format!(
            "Success: 1 of 2 approved values {}; merging is the last",
            digest.short()
        );
        assert_eq!(told(&while_open(&status, 2, &[put])), [may]);
    }

    #[test]
    fn an_answer_that_does_not_count_is_answered_and_the_question_is_put_again() {
        let puts = [put(1, merged(), &[("merged", ClaimState::Refused("no".into()))])];
        let steps = ["answer 1 merged: no", "delete the branch", "propose 2"];
        assert_eq!(told(&while_open(&status(&[]), 1, &puts)), steps);
        let puts = [put(1, merged(), &[("merged", ClaimState::Answered)])];
        assert_eq!(told(&while_open(&status(&[]), 1, &puts)), steps[1..]);
        let many: Vec<ProposedPull> = (0..10)
            .map(|number| put(number, merged(), &[("merged", ClaimState::Answered)]))
            .collect();
        assert_eq!(told(&while_open(&status(&[]), 1, &many)), ["give up"]);
    }

    #[test]
    fn nobody_is_told_to_merge_a_branch_that_would_not_approve() {
        let mut open = [put(1, PullRequestState::Open, &[])];
        let flaw = |told| Flaw {
            head: CommitId::parse(&"a".repeat(40)).unwrap(),
            why: "it brings more".to_owned(),
            told,
        };
        open[0].flaw = Some(flaw(false));
        let steps = [
            "warn on 1: it brings more",
            "Failure: do not merge: it brings more",
        ];
        assert_eq!(told(&while_open(&status(&[]), 1, &open)), steps);
        open[0].flaw = Some(flaw(true));
        assert_eq!(told(&while_open(&status(&[]), 1, &open)), steps[1..]);
    }

    #[test]
    fn the_merge_may_come_when_no_more_than_it_is_missing() {
        let puts = [put(
            1,
            PullRequestState::Open,
            &[("review-1", ClaimState::Counted)],
        )];
        let waits = "Pending: 1 of 3 approved; more reviews are needed";
        assert_eq!(told(&while_open(&status(&["bob"]), 3, &puts)), [waits]);
        let may = "Success: 2 of 3 approved; merging is the last";
        assert_eq!(told(&while_open(&status(&["bob", "carol"]), 3, &puts)), [may]);
    }

    #[test]
    fn what_was_done_before_a_question_is_put_elsewhere_is_considered_and_what_comes_after_is_not() {
        let puts = [put(1, merged(), &[("merged", ClaimState::New)])];
        let steps = ["consider 1 merged", "delete the branch"];
        assert_eq!(told(&when_elsewhere(1, &puts, "not here")), steps);
        let open = [put(1, PullRequestState::Open, &[("review-1", ClaimState::New)])];
        let steps = ["consider 1 review-1", "close 1", "delete the branch"];
        assert_eq!(told(&when_elsewhere(2, &open, "not here")), steps);
        let at = |second| Timestamp::from_second(second).ok();
        let closed = PullRequestState::Closed(Act {
            by: None,
            at: at(100),
        });
        let mut puts = [put(
            1,
            closed,
            &[("review-1", ClaimState::New), ("review-2", ClaimState::New)],
        )];
        puts[0].claims[0].0.at = at(99);
        puts[0].claims[1].0.at = at(101);
        let steps = [
            "consider 1 review-1",
            "answer 1 review-2: not here",
            "delete the branch",
        ];
        assert_eq!(told(&when_elsewhere(2, &puts, "not here")), steps);
    }

    #[test]
    fn a_question_closed_elsewhere_closes_its_pull_request_and_answers_who_came_late() {
        let open = [put(1, PullRequestState::Open, &[])];
        assert_eq!(
            told(&when_closed(&open, "too late")),
            ["close 1", "delete the branch"]
        );
        let late = [put(1, merged(), &[("merged", ClaimState::New)])];
        let answer = "answer 1 merged: too late";
        assert_eq!(
            told(&when_closed(&late, "too late")),
            [answer, "delete the branch"]
        );
        let counted = [put(1, merged(), &[("merged", ClaimState::Counted)])];
        assert_eq!(told(&when_closed(&counted, "too late")), ["delete the branch"]);
        assert_eq!(told(&when_closed(&[], "too late")), Vec::<String>::new());
    }
}
