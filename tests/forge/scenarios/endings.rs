//! Questions that end elsewhere, and answers to them that come late.

use kube::api::DeleteParams;
use reqwest::Method;
use serde_json::json;
use signoff_api::{Approval, Run};

use crate::{Account, Parlour, Pull, flaky::Flaky};

/// A parlour whose operator cannot close what it has put, so that people come late. Its forge is well again at `answer(0)`.
async fn slow_to_close(more: &str) -> Option<(Parlour, Flaky)> {
    let parlour = Parlour::open(more).await?;
    let flaky = Flaky::open(&parlour.stage.forge.url()).await;
    parlour.follow(&flaky.url()).await;
    flaky.answer_to(Method::PATCH, 500);
    Some((parlour, flaky))
}

impl Parlour {
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
    let (parlour, flaky, late, left) = loop {
        let within = format!("      respondWithin: {seconds}s\n");
        let Some((parlour, flaky)) = slow_to_close(&within).await else {
            return;
        };
        if let Some(late) = parlour.ask_in_time("late").await
            && let Some(left) = parlour.ask_in_time("left").await
        {
            break (parlour, flaky, late, left);
        }
        seconds *= 4;
    };
    parlour.closed_as("late-review", "Expired").await;
    let expired = parlour.closed_as("left-review", "Expired").await;
    parlour.alice.merge(&late).await;
    let answer = parlour.is_late(&late, &parlour.alice).await;
    assert!(answer.contains("the question was closed before"), "{answer}");

    flaky.answer(0);
    let closed = parlour.told(&left, "Closed: Expired").await;
    assert!(closed.contains(&expired), "{closed}");
    assert_eq!(parlour.stage.owner.pull(&left).await["state"], "closed");
    for question in ["late-review", "left-review"] {
        parlour.branch_is_gone(question).await;
        assert_eq!(parlour.deciders(question).await, [""; 0], "{question}");
    }
    assert_eq!(parlour.ours(&late).await.len(), 1);
}

#[tokio::test]
async fn a_question_that_is_decided_cancelled_or_deleted_is_closed_with_its_branch_and_a_late_merge_is_answered()
 {
    let Some((parlour, flaky)) = slow_to_close("").await else {
        return;
    };
    let rig = &parlour.stage.rig;
    let decided = parlour.ask("decided").await;
    let (cancelled, deleted) = (parlour.ask("cancelled").await, parlour.ask("deleted").await);
    rig.decide("alice", "decided-review", "Approve").await;
    rig.phase("decided", "Succeeded").await;
    parlour.bob.merge(&decided).await;
    let answer = parlour.is_late(&decided, &parlour.bob).await;
    assert!(
        answer.contains("the question was closed before: Approved at "),
        "{answer}"
    );
    assert!(answer.contains("alice"), "{answer}");
    rig.patch_run("cancelled", serde_json::json!({"cancel": true}))
        .await;
    rig.phase("cancelled", "Cancelled").await;
    let at = parlour.closed_as("cancelled-review", "Cancelled").await;
    rig.api::<Run>()
        .delete("deleted", &DeleteParams::default())
        .await
        .unwrap();
    rig.until_gone::<Approval>("deleted-review").await;

    flaky.answer(0);
    let told = parlour.told(&cancelled, "Closed: Cancelled").await;
    assert!(told.contains(&at), "{told}");
    parlour
        .told(&deleted, "Closed: the question is not put here any more")
        .await;
    for pull in [&cancelled, &deleted] {
        assert_eq!(parlour.stage.owner.pull(pull).await["state"], "closed");
        assert_eq!(parlour.ours(pull).await.len(), 1);
    }
    for question in ["decided-review", "cancelled-review", "deleted-review"] {
        parlour.branch_is_gone(question).await;
    }
    assert_eq!(parlour.deciders("decided-review").await, ["alice"]);
    assert_eq!(parlour.deciders("cancelled-review").await, [""; 0]);
}

#[tokio::test]
async fn a_merge_that_is_found_after_the_question_was_taken_from_the_forge_still_counts() {
    let Some(parlour) = Parlour::open("").await else {
        return;
    };
    let flaky = Flaky::open(&parlour.stage.forge.url()).await;
    parlour.follow(&flaky.url()).await;
    let (merged, left) = (parlour.ask("merged").await, parlour.ask("left").await);
    flaky.answer(500);
    parlour.alice.merge(&merged).await;
    let none = json!({"decisions": {"propose": "None"}});
    parlour.follow_with(&flaky.url(), none).await;
    flaky.answer(0);
    parlour.stage.rig.phase("merged", "Succeeded").await;
    assert_eq!(parlour.deciders("merged-review").await, ["alice"]);
    parlour
        .told(&left, "Closed: the question is not put here any more")
        .await;
    assert_eq!(parlour.ours(&merged).await, [""; 0]);
    parlour.branch_is_gone("left-review").await;
    assert!(parlour.is_open("left-review").await);
}

#[tokio::test]
async fn pull_requests_of_a_repository_that_has_no_decisions_any_more_are_closed_and_decide_nothing() {
    let Some(parlour) = Parlour::open("").await else {
        return;
    };
    let flaky = Flaky::open(&parlour.stage.forge.url()).await;
    parlour.follow(&flaky.url()).await;
    let (merged, left) = (parlour.ask("merged").await, parlour.ask("left").await);
    for question in ["merged-review", "left-review"] {
        parlour.until_linked(question).await;
    }
    flaky.answer(500);
    parlour.alice.merge(&merged).await;
    parlour
        .follow_with(&flaky.url(), json!({"decisions": null}))
        .await;
    flaky.answer(0);
    let answer = parlour.is_late(&merged, &parlour.alice).await;
    assert!(
        answer.contains("the question was not put here any more"),
        "{answer}"
    );
    parlour
        .told(&left, "Closed: the question is not put here any more")
        .await;
    for question in ["merged-review", "left-review"] {
        parlour.branch_is_gone(question).await;
        assert_eq!(parlour.deciders(question).await, [""; 0]);
        assert!(parlour.is_open(question).await);
    }
}

#[tokio::test]
async fn a_merge_of_our_own_pull_request_after_the_question_was_put_anew_decides_neither_and_is_answered() {
    let Some((parlour, flaky)) = slow_to_close("").await else {
        return;
    };
    let first = parlour.ask("r").await;
    parlour.bob.review(&first, "REQUEST_CHANGES", "half of it").await;
    let second = parlour.put("r-review-2", 1).await;
    parlour.alice.merge(&first).await;
    flaky.answer(0);
    let answer = parlour.is_late(&first, &parlour.alice).await;
    assert!(answer.contains("the question was closed before"), "{answer}");
    parlour.until_looked_at(&second).await;
    assert_eq!(parlour.deciders("r-review").await, ["bob"]);
    assert_eq!(parlour.deciders("r-review-2").await, [""; 0]);
    assert!(parlour.is_open("r-review-2").await);

    parlour.alice.merge(&second).await;
    parlour.stage.rig.phase("r", "Succeeded").await;
    assert_eq!(parlour.deciders("r-review-2").await, ["alice"]);
}
