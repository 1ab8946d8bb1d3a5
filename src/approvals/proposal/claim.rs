//! What was done on a pull request that may be somebody's verdict.

use k8s_openapi::jiff::Timestamp;

use crate::{
    forge::{Actor, Login, Opinion, PullRequest, PullRequestState, Review},
    git::CommitId,
};
use signoff_api::Verdict;

/// Names the merge among all that was done on a pull request.
const MERGED: &str = "merged";

/// Something that somebody did, as the forge's API tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Names it among all that was done on this pull request.
    pub id: String,
    /// Who did it.
    pub by: Actor,
    /// When, by the forge's clock, where it says.
    pub at: Option<Timestamp>,
    /// What was done.
    pub act: &'static str,
    /// What it says.
    pub verdict: Verdict,
    /// In whose own words.
    pub comment: Option<String>,
    /// The commit whose file the verdict is about.
    pub commit: Option<CommitId>,
}

impl Claim {
    /// Whether it is that somebody merged.
    pub(super) fn is_merge(&self) -> bool {
        self.id == MERGED
    }
}

/// The claims on a pull request, in the order in which they were made. What our own account did is none, and neither is what nobody did.
pub(super) fn claims(pull: &PullRequest, reviews: &[Review], quorum: i64, own: &Login) -> Vec<Claim> {
    let mut claims: Vec<Claim> = reviews
        .iter()
        .filter_map(|review| of_review(review, quorum))
        .collect();
    claims.extend(of_end(pull));
    claims.retain(|claim| claim.by.login != *own);
    sort_by_time(&mut claims, |claim| claim.at);
    claims
}

/// Sorts what was done by when it was. What the forge gives no time for stays behind what it tells of before it.
pub(super) fn sort_by_time<T>(acts: &mut Vec<T>, at: impl Fn(&T) -> Option<Timestamp>) {
    let mut before = Timestamp::MIN;
    let mut timed: Vec<(Timestamp, T)> = acts
        .drain(..)
        .map(|act| {
            before = at(&act).unwrap_or(before);
            (before, act)
        })
        .collect();
    timed.sort_by_key(|(at, _)| *at);
    acts.extend(timed.into_iter().map(|(_, act)| act));
}

fn of_review(review: &Review, quorum: i64) -> Option<Claim> {
    let (verdict, act) = match review.opinion {
        // where one person is enough, that person merges
        Opinion::Approved if quorum > 1 => (Verdict::Approve, "approving review"),
        Opinion::ChangesRequested => (Verdict::RequestChanges, "review that requests changes"),
        Opinion::Approved | Opinion::Commented => return None,
    };
    Some(Claim {
        id: format!("review-{}", review.id),
        by: review.by.clone(),
        at: review.at,
        act,
        verdict,
        comment: Some(review.body.trim().to_owned()).filter(|text| !text.is_empty()),
        commit: review.commit,
    })
}

fn of_end(pull: &PullRequest) -> Option<Claim> {
    let (id, done, act, verdict, commit) = match &pull.state {
        PullRequestState::Open => return None,
        PullRequestState::Merged { act, commit } => {
            let commit = commit.or(pull.head_commit);
            (MERGED, act, "merge", Verdict::Approve, commit)
        }
        PullRequestState::Closed(act) => ("closed", act, "closing", Verdict::Reject, None),
    };
    Some(Claim {
        id: id.to_owned(),
        by: done.by.clone()?,
        at: done.at,
        act,
        verdict,
        comment: None,
        commit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::{Act, PullRequestNumber};

    fn pull(state: PullRequestState) -> PullRequest {
        PullRequest {
            number: PullRequestNumber(7),
            url: "https://forge.example.com/7".into(),
            title: "t".into(),
            body: "b".into(),
            head: "signoff/ns/a".into(),
            head_commit: CommitId::parse(&"a".repeat(40)),
            same_project: true,
            base: "main".into(),
            author: Login::new("signoff-bot"),
            updated_at: None,
            state,
        }
    }

    fn actor(login: &str) -> Actor {
        Actor {
            login: Login::new(login),
            id: 7,
        }
    }

    fn review(id: &str, by: &str, opinion: Opinion, body: &str) -> Review {
        Review {
            id: id.into(),
            by: actor(by),
            opinion,
            body: body.into(),
            commit: CommitId::parse(&"b".repeat(40)),
            at: None,
        }
    }

    fn by(login: &str) -> Act {
        Act {
            by: Some(actor(login)),
            at: None,
        }
    }

    fn told(pull: &PullRequest, reviews: &[Review], quorum: i64) -> Vec<(String, Verdict)> {
        claims(pull, reviews, quorum, &Login::new("signoff-bot"))
            .into_iter()
            .map(|claim| (format!("{} {}", claim.by.login, claim.id), claim.verdict))
            .collect()
    }

    #[test]
    fn merging_approves_closing_rejects_and_requesting_changes_requests_changes() {
        let merged = pull(PullRequestState::Merged {
            act: by("alice"),
            commit: None,
        });
        assert_eq!(
            told(&merged, &[], 1),
            [("alice merged".to_owned(), Verdict::Approve)]
        );
        let closed = pull(PullRequestState::Closed(by("bob")));
        assert_eq!(
            told(&closed, &[], 1),
            [("bob closed".to_owned(), Verdict::Reject)]
        );
        let open = pull(PullRequestState::Open);
        let reviews = [review(
            "1",
            "carol",
            Opinion::ChangesRequested,
            " smaller, please \n",
        )];
        let found = claims(&open, &reviews, 1, &Login::new("signoff-bot"));
        assert_eq!(found[0].verdict, Verdict::RequestChanges);
        assert_eq!(found[0].comment.as_deref(), Some("smaller, please"));
    }

    #[test]
    fn an_approving_review_counts_only_where_several_people_are_needed() {
        let open = pull(PullRequestState::Open);
        let reviews = [
            review("1", "carol", Opinion::Approved, ""),
            review("2", "dave", Opinion::Commented, "hm"),
        ];
        assert_eq!(told(&open, &reviews, 1), []);
        assert_eq!(
            told(&open, &reviews, 2),
            [("carol review-1".to_owned(), Verdict::Approve)]
        );
    }

    #[test]
    fn what_was_done_is_told_in_the_order_in_which_it_was_done() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let reviewed = |id: &str, opinion, second: Option<i64>| Review {
            at: second.and_then(at),
            ..review(id, "carol", opinion, "")
        };
        let merged = pull(PullRequestState::Merged {
            act: Act {
                at: at(5),
                ..by("alice")
            },
            commit: None,
        });
        let reviews = [
            reviewed("late", Opinion::ChangesRequested, Some(9)),
            reviewed("later", Opinion::ChangesRequested, None),
            reviewed("first", Opinion::Approved, Some(2)),
            reviewed("same", Opinion::ChangesRequested, Some(5)),
        ];
        let ids: Vec<String> = claims(&merged, &reviews, 2, &Login::new("signoff-bot"))
            .into_iter()
            .map(|claim| claim.id)
            .collect();
        let expected = [
            "review-first",
            "review-same",
            "merged",
            "review-late",
            "review-later",
        ];
        assert_eq!(ids, expected);
    }

    #[test]
    fn our_own_account_and_nobody_decide_nothing() {
        for act in [by("Signoff-Bot"), Act { by: None, at: None }] {
            let merged = pull(PullRequestState::Merged {
                act: act.clone(),
                commit: None,
            });
            assert_eq!(told(&merged, &[], 1), []);
            assert_eq!(told(&pull(PullRequestState::Closed(act)), &[], 1), []);
        }
    }

    #[test]
    fn a_verdict_is_about_the_file_of_the_commit_that_was_looked_at() {
        let (head, reviewed) = (CommitId::parse(&"a".repeat(40)), CommitId::parse(&"b".repeat(40)));
        let merge = CommitId::parse(&"c".repeat(40));
        let own = Login::new("signoff-bot");
        let merged = pull(PullRequestState::Merged {
            act: by("alice"),
            commit: merge,
        });
        assert_eq!(claims(&merged, &[], 1, &own)[0].commit, merge);
        let merged = pull(PullRequestState::Merged {
            act: by("alice"),
            commit: None,
        });
        assert_eq!(claims(&merged, &[], 1, &own)[0].commit, head);
        let reviews = [review("1", "carol", Opinion::Approved, "")];
        assert_eq!(
            claims(&pull(PullRequestState::Open), &reviews, 2, &own)[0].commit,
            reviewed
        );
    }
}
