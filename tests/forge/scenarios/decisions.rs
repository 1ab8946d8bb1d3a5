//! Questions put as pull requests, and answered there by people of the forge.

mod answers;

use kube::api::{Patch, PatchParams};
use reqwest::{Method, StatusCode};
use serde_json::json;
use signoff_api::{Approval, Decision, Digest, Repository, Run};

use crate::{Deciders, Relay, deciders::flow, flaky::Flaky};

#[tokio::test]
async fn merging_approves_as_the_user_that_the_forge_says_merged() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let pull = deciders.ask("r").await;
    let said = deciders.stage.owner.pull(&pull).await;
    assert_eq!(said["title"], "Sign off: Refund 250?");
    let body = said["body"].as_str().unwrap();
    let approval = deciders.stage.rig.asked("r-review").await;
    for shown in [
        &approval.spec.digest.to_string(),
        "\"amount\": 250",
        "**Merge** to approve",
        "`dev`",
    ] {
        assert!(body.contains(shown), "{shown}: {body}");
    }
    let told = |approval: &Approval| {
        approval
            .status
            .as_ref()
            .and_then(|status| status.pull_request.clone())
    };
    let named = deciders
        .stage
        .rig
        .until::<Approval>("r-review", |approval| told(approval).is_some())
        .await;
    assert_eq!(told(&named).unwrap().number, pull.number);

    deciders.alice.merge(&pull).await;
    deciders.stage.rig.phase("r", "Succeeded").await;
    let decision = deciders.decisions("r-review").await.remove(0);
    assert_eq!(decision.spec.by.as_deref(), Some("alice"));
    let via = decision.spec.via.unwrap();
    let evidence = |key: &str| via.evidence.get(key).map(String::as_str).unwrap_or_default();
    assert_eq!(evidence("login"), deciders.alice.login);
    assert_eq!(evidence("pullRequest"), pull.number.to_string());
    assert_eq!(evidence("act"), "merged");
    assert_eq!(evidence("commit").len(), 40);
    deciders.branch_is_gone("r-review").await;
    // the file that the merge left on the draft branch is no flow, and no problem either
    deciders.stage.sync().await;
    deciders.stage.ready("Synced").await;
}

#[tokio::test]
async fn closing_rejects_and_a_review_sends_it_back_with_its_text() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let first = deciders.ask("r").await;
    deciders
        .bob
        .review(&first, "REQUEST_CHANGES", "half of it, please")
        .await;
    let second = deciders.put("r-review-2", 1).await;
    let closed = deciders.told(&first, "Closed: ChangesRequested").await;
    assert!(closed.contains("bob"), "{closed}");
    let body = deciders.stage.owner.pull(&second).await["body"].to_string();
    assert!(body.contains("half of it, please"), "{body}");
    deciders.branch_is_gone("r-review").await;

    deciders.bob.close(&second).await;
    deciders.stage.rig.phase("r", "Rejected").await;
    let decision = deciders.decisions("r-review-2").await.remove(0);
    assert_eq!(decision.spec.by.as_deref(), Some("bob"));
}

#[tokio::test]
async fn a_merge_of_an_old_branch_after_the_question_was_put_anew_decides_neither() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let flaky = Flaky::open(&deciders.stage.forge.url()).await;
    deciders.follow(&flaky.url()).await;
    let first = deciders.ask("r").await;
    let (branch, file) = (deciders.branch("r-review"), deciders.file("r-review"));
    let old = deciders.text(&branch, &file).await;
    deciders.bob.review(&first, "REQUEST_CHANGES", "half of it").await;
    let second = deciders.put("r-review-2", 1).await;
    deciders.branch_is_gone("r-review").await;

    // somebody who may approve has kept the branch, puts it back, and merges it before the operator takes it away again
    flaky.answer_to(Method::DELETE, 500);
    let repo = &deciders.stage.repo;
    let other = "late";
    deciders.stage.work.point(other, "main").await;
    deciders.stage.work.push(other, &[(&file, Some(&old))]).await;
    deciders.stage.work.point(&branch, other).await;
    let late = deciders
        .alice
        .open_pull(repo, &branch, "main", "Sign off: late")
        .await;
    deciders.alice.merge(&late).await;
    flaky.answer(0);
    // and the file of the newer question is made of the old one, past any pull request
    let newer = deciders.file("r-review-2");
    deciders.stage.work.push("main", &[(&newer, Some(&old))]).await;

    deciders.bob.close(&second).await;
    deciders.stage.rig.phase("r", "Rejected").await;
    let by = |decisions: Vec<Decision>| -> Vec<Option<String>> {
        decisions.into_iter().map(|decision| decision.spec.by).collect()
    };
    let bob = || vec![Some("bob".to_owned())];
    assert_eq!(by(deciders.decisions("r-review").await), bob());
    assert_eq!(by(deciders.decisions("r-review-2").await), bob());
}

#[tokio::test]
async fn a_merge_by_somebody_who_may_not_is_answered_and_the_question_is_put_again() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let mut pull = deciders.ask("r").await;
    let cases = [
        (&deciders.mallory, "does not say which user of the cluster it is"),
        (&deciders.dev, "does not count as an approval"),
        (&deciders.agent, "programs decide nothing"),
    ];
    for (attempt, (who, why)) in cases.into_iter().enumerate() {
        who.merge(&pull).await;
        let answer = deciders.told(&pull, why).await;
        assert!(answer.contains(&format!("@{}", who.login)), "{answer}");
        pull = deciders.put("r-review", attempt + 2).await;
        assert!(deciders.is_open("r-review").await, "{}", who.login);
    }
    deciders.alice.merge(&pull).await;
    deciders.stage.rig.phase("r", "Succeeded").await;
}

#[tokio::test]
async fn a_merge_by_the_operators_own_account_decides_nothing_and_the_question_is_put_again() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let first = deciders.ask("r").await;
    deciders.bot.merge(&first).await;
    let second = deciders.put("r-review", 2).await;
    assert!(deciders.is_open("r-review").await);
    deciders.alice.merge(&second).await;
    deciders.stage.rig.phase("r", "Succeeded").await;
    let [decision] = deciders.decisions("r-review").await.try_into().unwrap();
    assert_eq!(decision.spec.by.as_deref(), Some("alice"));
}

#[tokio::test]
async fn who_asked_for_the_run_cannot_merge_it_through() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let pull = deciders.ask("r").await;
    deciders.dev.merge(&pull).await;
    deciders.told(&pull, "does not count as an approval").await;
    assert!(deciders.is_open("r-review").await);
    let refused = deciders.decisions("r-review").await.remove(0).status.unwrap();
    assert_eq!(serde_json::to_value(refused.reason).unwrap(), "SelfApproval");
}

#[tokio::test]
async fn an_edited_digest_is_no_answer_and_edited_values_are_the_answers() {
    let form = "      form: {type: object, required: [amount], properties: {amount: {type: number}}}\n";
    let Some(deciders) = Deciders::open(form).await else {
        return;
    };
    let pull = deciders.ask("r").await;
    let asked = deciders.stage.rig.asked("r-review").await;
    let (digest, other) = (
        asked.spec.digest.to_string(),
        Digest::of(b"something else").to_string(),
    );
    deciders
        .edit(&deciders.alice, "r-review", |text| {
            assert!(text.contains(&digest), "{text}");
            text.replace(&digest, &other)
        })
        .await;
    deciders.alice.merge(&pull).await;
    deciders
        .told(&pull, "the file with the question was changed in line")
        .await;
    assert!(deciders.decisions("r-review").await.is_empty());

    let pull = deciders.put("r-review", 2).await;
    deciders.alice.merge(&pull).await;
    let missing = deciders.told(&pull, "does not count as an approval").await;
    assert!(missing.contains("amount"), "{missing}");

    let pull = deciders.put("r-review", 3).await;
    deciders
        .edit(&deciders.alice, "r-review", |text| {
            text.replace("values: {}", "values: {amount: 100}")
        })
        .await;
    deciders.alice.merge(&pull).await;
    let run = deciders.stage.rig.phase("r", "Succeeded").await;
    let values = |run: &Run| {
        let steps = run.status.clone().unwrap().steps;
        let review = steps.into_iter().rfind(|step| step.name == "review").unwrap();
        serde_json::to_value(review.decision).unwrap()["values"].clone()
    };
    assert_eq!(values(&run), json!({"amount": 100}));
}

#[tokio::test]
async fn what_is_decided_elsewhere_closes_the_pull_request_and_says_by_whom() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let pull = deciders.ask("r").await;
    deciders.stage.rig.decide("alice", "r-review", "Approve").await;
    let closed = deciders.told(&pull, "Closed: Approved").await;
    let approval = deciders.stage.rig.asked("r-review").await;
    let at = approval.status.unwrap().decided_at.unwrap().0;
    let at = at.strftime("%F %T UTC").to_string();
    assert!(closed.contains("alice") && closed.contains(&at), "{closed}");
    assert_eq!(deciders.stage.owner.pull(&pull).await["state"], "closed");
    deciders.branch_is_gone("r-review").await;
    assert_eq!(
        deciders.decisions("r-review").await.len(),
        1,
        "closing it is no rejection"
    );
}

#[tokio::test]
async fn a_quorum_is_reached_by_reviews_and_the_merge_which_the_forge_refuses_where_its_status_is_required() {
    let Some(deciders) = Deciders::open("      quorum: 2\n").await else {
        return;
    };
    let rule = json!({"enable_push": true, "enable_status_check": true, "status_check_contexts": ["signoff/quorum"]});
    let stage = &deciders.stage;
    stage.owner.protect(&stage.repo, "main", rule).await;
    let pull = deciders.ask("r").await;
    let head = deciders.stage.owner.pull(&pull).await["head"]["sha"]
        .as_str()
        .unwrap()
        .to_owned();
    let status = async |wanted: &str| {
        deciders
            .until(wanted, async || {
                let all = deciders.stage.owner.statuses(&deciders.stage.repo, &head).await;
                let quorum = all.into_iter().find(|(context, ..)| context == "signoff/quorum");
                quorum
                    .filter(|(_, state, text)| format!("{state}: {text}").contains(wanted))
                    .map(drop)
            })
            .await;
    };
    status("pending: 0 of 2 approved").await;
    let refusal = deciders.alice.try_merge(&pull).await.unwrap_err();
    assert_eq!(refusal.status, StatusCode::METHOD_NOT_ALLOWED, "{refusal:?}");
    assert!(refusal.message.contains("status checks"), "{refusal:?}");
    deciders.bob.review(&pull, "APPROVED", "").await;
    status("success: 1 of 2 approved").await;
    assert!(deciders.is_open("r-review").await);
    deciders.alice.merge(&pull).await;
    deciders.stage.rig.phase("r", "Succeeded").await;
    let mut by: Vec<_> = deciders
        .decisions("r-review")
        .await
        .into_iter()
        .filter_map(|decision| decision.spec.by)
        .collect();
    by.sort();
    assert_eq!(by, ["alice", "bob"]);
}

#[tokio::test]
async fn a_question_that_asks_for_no_pull_request_gets_none_and_a_wrong_token_is_told_on_the_question() {
    let Some(deciders) = Deciders::open("      askVia: None\n").await else {
        return;
    };
    deciders
        .stage
        .rig
        .start("quiet", json!({"flow": "refund", "inputs": {"amount": 1}}))
        .await;
    deciders
        .stage
        .rig
        .until::<Approval>("quiet-review", |_| true)
        .await;
    let commit = deciders
        .stage
        .work
        .push("main", &[("refund.yaml", Some(&flow("")))])
        .await;
    deciders.stage.work.point("live", "main").await;
    deciders.stage.sync().await;
    deciders.stage.until_read(&commit).await;
    deciders.stage.secret("api", json!({"token": "wrong"})).await;
    deciders
        .stage
        .rig
        .start("asked", json!({"flow": "refund", "inputs": {"amount": 1}}))
        .await;
    deciders.stage.rig.event("asked-review", "ForgeForbidden").await;
    assert!(
        deciders
            .stage
            .owner
            .pulls(&deciders.stage.repo, "all")
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_forge_that_is_down_or_wants_to_be_left_alone_loses_no_answer() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let flaky = Flaky::open(&deciders.stage.forge.url()).await;
    deciders.follow(&flaky.url()).await;
    let pull = deciders.ask("r").await;
    for status in [500, 429] {
        flaky.answer(status);
        deciders
            .until("a refused call", async || (flaky.refused() > 0).then_some(()))
            .await;
    }
    deciders.alice.merge(&pull).await;
    let run = format!("{:?}", deciders.decisions("r-review").await);
    assert_eq!(run, "[]", "nobody could know");
    flaky.answer(0);
    deciders.stage.rig.phase("r", "Succeeded").await;
    assert_eq!(deciders.decisions("r-review").await.len(), 1);
}

#[tokio::test]
async fn a_pull_request_whose_text_somebody_edited_approves_nothing_and_is_put_right() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let flaky = Flaky::open(&deciders.stage.forge.url()).await;
    deciders.follow(&flaky.url()).await;
    let pull = deciders.ask("r").await;
    let path = deciders.stage.repo.path(&format!("/pulls/{}", pull.number));
    let harmless = json!({"body": "Refund 1, as always"});
    let edited = async || deciders.stage.owner.pull(&pull).await["body"] == harmless["body"];
    deciders
        .mallory
        .call(Method::PATCH, &path, harmless.clone())
        .await;
    deciders
        .until("the text as it was", async || (!edited().await).then_some(()))
        .await;

    flaky.answer(500);
    deciders
        .mallory
        .call(Method::PATCH, &path, harmless.clone())
        .await;
    deciders.alice.merge(&pull).await;
    flaky.answer(0);
    deciders
        .told(&pull, "somebody edited the title or the description")
        .await;
    let again = deciders.put("r-review", 2).await;
    deciders.alice.merge(&again).await;
    deciders.stage.rig.phase("r", "Succeeded").await;
}

#[tokio::test]
async fn a_merge_that_the_forge_tells_of_decides_long_before_the_interval() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let stage = &deciders.stage;
    stage
        .secret("webhook", json!({"hmac": "s3cret-of-the-flows"}))
        .await;
    let pull = deciders.ask("r").await;
    let webhook = json!({"secretRef": {"name": "webhook", "key": "hmac"}});
    let rarely = Patch::Merge(json!({"spec": {"interval": "24h", "webhook": webhook}}));
    let api = stage.rig.api::<Repository>();
    api.patch("flows", &PatchParams::default(), &rarely)
        .await
        .unwrap();
    stage.sync().await;
    let relay = Relay::open(stage.rig.gateway()).await;
    let url = relay.url(stage.rig.namespace(), "flows");
    let events = ["pull_request"];
    stage
        .owner
        .add_webhook(&stage.repo, &url, "s3cret-of-the-flows", &events)
        .await;
    deciders.alice.merge(&pull).await;
    stage.rig.phase("r", "Succeeded").await;
}
