//! Questions that end elsewhere, and answers to them that come late.

use reqwest::Method;
use serde_json::json;
use signoff_api::Approval;

use crate::{Account, Deciders, Pull, flaky::Flaky};

/// A deciders whose operator cannot close what it has put, so that people come late. Its forge is well again at `answer(0)`.
async fn slow_to_close(more: &str) -> Option<(Deciders, Flaky)> {
    let deciders = Deciders::open(more).await?;
    let flaky = Flaky::open(&deciders.stage.forge.url()).await;
    deciders.follow(&flaky.url()).await;
    flaky.answer_to(Method::PATCH, 500);
    Some((deciders, flaky))
}

impl Deciders {
    /// Waits until a question is in a phase; gives when it was closed, as people are told.
    async fn closed_as(&self, approval: &str, phase: &str) -> String {
        let is = |approval: &Approval| {
            let status = approval.status.as_ref();
            status.is_some_and(|status| status.phase.to_string() == phase && status.decided_at.is_some())
        };
        let closed = self.stage.rig.until::<Approval>(approval, is).await;
        let at = closed.status.unwrap().decided_at.unwrap().0;
        at.strftime("%F %T UTC").to_string()
    }

    /// The pull request that puts the question of a new run; `None` where the question expires before that.
    async fn ask_in_time(&self, run: &str) -> Option<Pull> {
        let approval = format!("{run}-review");
        tokio::select! {
            biased;
            pull = self.ask(run) => Some(pull),
            _ = self.closed_as(&approval, "Expired") => None,
        }
    }

    /// Waits until a merge was answered as one that counts for nothing.
    async fn is_late(&self, pull: &Pull, who: &Account) -> String {
        let begin = format!("@{}: the merge does not count as an approval: ", who.login);
        self.told(pull, &begin).await
    }
}

#[tokio::test]
async fn a_question_that_expires_is_closed_with_its_branch_and_a_merge_after_that_is_answered() {
    let mut seconds = 8;
    // on a busy machine it may take longer to put them
    let (deciders, flaky, late, left) = loop {
        let within = format!("      respondWithin: {seconds}s\n");
        let Some((deciders, flaky)) = slow_to_close(&within).await else {
            return;
        };
        if let Some(late) = deciders.ask_in_time("late").await
            && let Some(left) = deciders.ask_in_time("left").await
        {
            break (deciders, flaky, late, left);
        }
        seconds *= 4;
    };
    deciders.closed_as("late-review", "Expired").await;
    let expired = deciders.closed_as("left-review", "Expired").await;
    deciders.alice.merge(&late).await;
    let answer = deciders.is_late(&late, &deciders.alice).await;
    assert!(answer.contains("the question was closed before"), "{answer}");

    flaky.answer(0);
    let closed = deciders.told(&left, "Closed: Expired").await;
    assert!(closed.contains(&expired), "{closed}");
    assert_eq!(deciders.stage.owner.pull(&left).await["state"], "closed");
    for question in ["late-review", "left-review"] {
        deciders.branch_is_gone(question).await;
        assert_eq!(deciders.deciders(question).await, [""; 0], "{question}");
    }
    assert_eq!(deciders.ours(&late).await.len(), 1);
}

#[tokio::test]
async fn a_question_that_is_decided_cancelled_or_deleted_is_closed_with_its_branch_and_a_late_merge_is_answered()
 {
    let Some((deciders, flaky)) = slow_to_close("").await else {
        return;
    };
    let rig = &deciders.stage.rig;
    let decided = deciders.ask("decided").await;
    let (cancelled, deleted) = (deciders.ask("cancelled").await, deciders.ask("deleted").await);
    rig.decide("alice", "decided-review", "Approve").await;
    rig.phase("decided", "Succeeded").await;
    deciders.bob.merge(&decided).await;
    let answer = deciders.is_late(&decided, &deciders.bob).await;
    assert!(
        answer.contains("the question was closed before: Approved at "),
        "{answer}"
    );
    assert!(answer.contains("alice"), "{answer}");
    rig.patch_run("cancelled", serde_json::json!({"cancel": true}))
        .await;
    rig.phase("cancelled", "Cancelled").await;
    let at = deciders.closed_as("cancelled-review", "Cancelled").await;
    rig.delete_run("deleted").await;
    rig.until_gone::<Approval>("deleted-review").await;

    flaky.answer(0);
    let told = deciders.told(&cancelled, "Closed: Cancelled").await;
    assert!(told.contains(&at), "{told}");
    deciders
        .told(&deleted, "Closed: the question is not put here any more")
        .await;
    for pull in [&cancelled, &deleted] {
        assert_eq!(deciders.stage.owner.pull(pull).await["state"], "closed");
        assert_eq!(deciders.ours(pull).await.len(), 1);
    }
    for question in ["decided-review", "cancelled-review", "deleted-review"] {
        deciders.branch_is_gone(question).await;
    }
    assert_eq!(deciders.deciders("decided-review").await, ["alice"]);
    assert_eq!(deciders.deciders("cancelled-review").await, [""; 0]);
}

#[tokio::test]
async fn a_merge_that_is_found_after_the_question_was_taken_from_the_forge_still_counts() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let flaky = Flaky::open(&deciders.stage.forge.url()).await;
    deciders.follow(&flaky.url()).await;
    let (merged, left) = (deciders.ask("merged").await, deciders.ask("left").await);
    flaky.answer(500);
    deciders.alice.merge(&merged).await;
    let none = json!({"decisions": {"propose": "None"}});
    deciders.follow_with(&flaky.url(), none).await;
    flaky.answer(0);
    deciders.stage.rig.phase("merged", "Succeeded").await;
    assert_eq!(deciders.deciders("merged-review").await, ["alice"]);
    deciders
        .told(&left, "Closed: the question is not put here any more")
        .await;
    assert_eq!(deciders.ours(&merged).await, [""; 0]);
    deciders.branch_is_gone("left-review").await;
    assert!(deciders.is_open("left-review").await);
}

#[tokio::test]
async fn pull_requests_of_a_repository_that_has_no_decisions_any_more_are_closed_and_decide_nothing() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let flaky = Flaky::open(&deciders.stage.forge.url()).await;
    deciders.follow(&flaky.url()).await;
    let (merged, left) = (deciders.ask("merged").await, deciders.ask("left").await);
    for question in ["merged-review", "left-review"] {
        deciders.until_linked(question).await;
    }
    flaky.answer(500);
    deciders.alice.merge(&merged).await;
    deciders
        .follow_with(&flaky.url(), json!({"decisions": null}))
        .await;
    flaky.answer(0);
    let answer = deciders.is_late(&merged, &deciders.alice).await;
    assert!(
        answer.contains("the question was not put here any more"),
        "{answer}"
    );
    deciders
        .told(&left, "Closed: the question is not put here any more")
        .await;
    for question in ["merged-review", "left-review"] {
        deciders.branch_is_gone(question).await;
        assert_eq!(deciders.deciders(question).await, [""; 0]);
        assert!(deciders.is_open(question).await);
    }
}

#[tokio::test]
async fn a_merge_of_our_own_pull_request_after_the_question_was_put_anew_decides_neither_and_is_answered() {
    let Some((deciders, flaky)) = slow_to_close("").await else {
        return;
    };
    let first = deciders.ask("r").await;
    deciders.bob.review(&first, "REQUEST_CHANGES", "half of it").await;
    let second = deciders.put("r-review-2", 1).await;
    deciders.alice.merge(&first).await;
    flaky.answer(0);
    let answer = deciders.is_late(&first, &deciders.alice).await;
    assert!(answer.contains("the question was closed before"), "{answer}");
    deciders.until_looked_at(&second).await;
    assert_eq!(deciders.deciders("r-review").await, ["bob"]);
    assert_eq!(deciders.deciders("r-review-2").await, [""; 0]);
    assert!(deciders.is_open("r-review-2").await);

    deciders.alice.merge(&second).await;
    deciders.stage.rig.phase("r", "Succeeded").await;
    assert_eq!(deciders.deciders("r-review-2").await, ["alice"]);
}
