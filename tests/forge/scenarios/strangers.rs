//! Accounts that the forge shows to few.

use reqwest::Method;
use serde_json::json;

use crate::{Account, Deciders};

const QUESTION: &str = "r-review";

impl Deciders {
    /// An account that nobody can look up but who shares an organisation with it, and its number.
    async fn hermit(&self) -> (Account, i64) {
        let forge = self.stage.forge;
        let hermit = forge.user("hermit").await;
        let id = hermit.get("/user").await["id"].as_i64().unwrap();
        let path = format!("/admin/users/{}", hermit.login);
        let hidden = json!({"visibility": "private", "source_id": 0, "login_name": hermit.login});
        forge.admin().call(Method::PATCH, &path, hidden).await;
        let profile = format!("/users/{}", hermit.login);
        let seen = self.bot.try_call(Method::GET, &profile, json!(null)).await;
        assert_eq!(seen.unwrap_err().status, 404);
        (hermit, id)
    }
}

#[tokio::test]
async fn an_outsider_whom_the_forge_does_not_show_is_nobody_and_holds_up_no_answer() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let repo = &deciders.stage.repo;
    deciders
        .stage
        .owner
        .call(Method::PATCH, &repo.path(""), json!({"private": false}))
        .await;
    let pull = deciders.ask("r").await;
    let (hermit, _) = deciders.hermit().await;
    hermit
        .review(&pull, "REQUEST_CHANGES", "I have nothing to say here")
        .await;
    let told = deciders
        .told(&pull, "does not show this account to the operator")
        .await;
    assert!(told.contains(&format!("@{}", hermit.login)), "{told}");
    deciders.alice.merge(&pull).await;
    deciders.stage.rig.phase("r", "Succeeded").await;
    assert_eq!(deciders.deciders(QUESTION).await, ["alice"]);
}

#[tokio::test]
async fn who_is_listed_by_number_decides_also_where_the_forge_does_not_show_the_account() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let (hermit, id) = deciders.hermit().await;
    let stage = &deciders.stage;
    stage.owner.add_collaborator(&stage.repo, &hermit, "write").await;
    let listed = json!({"users": [{"login": hermit.login, "id": id, "user": "bob"}]});
    deciders
        .follow_with(&stage.forge.url(), json!({"identities": listed}))
        .await;
    let pull = deciders.ask("r").await;
    hermit.merge(&pull).await;
    stage.rig.phase("r", "Succeeded").await;
    assert_eq!(deciders.deciders(QUESTION).await, ["bob"]);
}

#[tokio::test]
async fn one_answer_that_cannot_be_looked_into_holds_up_no_other() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let stage = &deciders.stage;
    let flaky = crate::flaky::Flaky::open(&stage.forge.url()).await;
    deciders.follow(&flaky.url()).await;
    let pull = deciders.ask("r").await;
    flaky.answer_at(&format!("/api/v1/users/{}", deciders.mallory.login), 403);
    deciders.mallory.review(&pull, "REQUEST_CHANGES", "wait").await;
    stage.rig.event(QUESTION, "ForgeForbidden").await;
    deciders.alice.merge(&pull).await;
    stage.rig.phase("r", "Succeeded").await;
    assert_eq!(deciders.deciders(QUESTION).await, ["alice"]);
}

#[tokio::test]
async fn comments_that_are_too_large_to_be_read_hold_up_no_answer() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let pull = deciders.ask("r").await;
    let large = "x".repeat(3 << 20);
    for _ in 0..3 {
        deciders.mallory.comment(&pull, &large).await;
    }
    deciders
        .mallory
        .review(&pull, "REQUEST_CHANGES", "read all of it")
        .await;
    deciders.told(&pull, "does not say which user").await;
    deciders.alice.merge(&pull).await;
    deciders.stage.rig.phase("r", "Succeeded").await;
    assert_eq!(deciders.deciders(QUESTION).await, ["alice"]);
    assert_eq!(deciders.ours(&pull).await.len(), 1);
}
