//! A Repository follows the forge over http with a token and over ssh with a key.

use serde_json::{Value, json};
use signoff_api::Flow;

use crate::world::FLOW;
use crate::{Stage, ssh_key};

const SUITE: &str = "repositories on a real forge";

fn changed(x: u32) -> String {
    FLOW.replace("x: 1", &format!("x: {x}"))
}

/// A push to the draft cuts a release, a push to live makes it live, and so does a merged pull request.
async fn is_followed(stage: &Stage) {
    let first = stage.work.push("main", &[("hello.yaml", Some(FLOW))]).await;
    stage.sync().await;
    let release = stage.draft_of(&first).await;
    stage.work.point("live", "main").await;
    stage.sync().await;
    stage.until_live(&release).await;

    let second = stage
        .work
        .push("main", &[("hello.yaml", Some(&changed(2)))])
        .await;
    stage.sync().await;
    let next = stage.draft_of(&second).await;
    stage.until_live(&release).await;
    let pull = stage
        .owner
        .open_pull(&stage.repo, "main", "live", "Go live")
        .await;
    stage.owner.merge(&pull).await;
    stage.sync().await;
    stage.until_live(&next).await;
    stage.ready("Synced").await;
}

#[tokio::test]
async fn a_private_repository_is_followed_over_http_by_a_token_that_may_only_read() {
    let Some(stage) = Stage::open(SUITE).await else {
        return;
    };
    let (reader, _, token) = stage.reader().await;
    stage.connect_with_token(&reader.login, &token).await;
    stage.follow(&stage.forge.http_url(&stage.repo), json!({})).await;
    stage.ready("RefNotFound").await;
    is_followed(&stage).await;
}

#[tokio::test]
async fn a_private_repository_is_followed_over_ssh_by_a_deploy_key_with_the_host_key_known() {
    let Some(stage) = Stage::open(SUITE).await else {
        return;
    };
    let (private, public) = ssh_key();
    stage.owner.add_deploy_key(&stage.repo, &public).await;
    stage.connect_with_key(&private, &stage.forge.known_hosts()).await;
    stage.follow(&stage.forge.ssh_url(&stage.repo), json!({})).await;
    is_followed(&stage).await;
}

#[tokio::test]
async fn a_revoked_token_is_told_and_takes_nothing_away_and_a_new_one_is_taken_up_without_a_restart() {
    let Some(stage) = Stage::open(SUITE).await else {
        return;
    };
    let (reader, name, token) = stage.reader().await;
    stage.connect_with_token(&reader.login, &token).await;
    let commit = stage.work.push("main", &[("hello.yaml", Some(FLOW))]).await;
    stage.follow(&stage.forge.http_url(&stage.repo), json!({})).await;
    stage.draft_of(&commit).await;

    stage.forge.revoke(&reader.login, &name).await;
    stage.sync().await;
    let message = stage.ready("AuthenticationFailed").await;
    assert!(message.contains("401") && !message.contains(&token), "{message}");
    assert!(stage.rig.api::<Flow>().get_opt("hello").await.unwrap().is_some());

    let commit = stage
        .work
        .push("main", &[("hello.yaml", Some(&changed(2)))])
        .await;
    let (_, token) = stage.forge.token(&reader.login, &["read:repository"]).await;
    stage.secret("forge", json!({"token": token})).await;
    stage.sync().await;
    stage.ready("Synced").await;
    stage.draft_of(&commit).await;
}

#[tokio::test]
async fn credentials_that_do_not_reach_the_repository_are_told_apart() {
    let Some(stage) = Stage::open(SUITE).await else {
        return;
    };
    stage.work.push("main", &[("hello.yaml", Some(FLOW))]).await;
    let stranger = stage.forge.user("stranger").await;
    let (reader, _, _) = stage.reader().await;
    let (_, narrow) = stage.forge.token(&reader.login, &["read:user"]).await;
    let cases = [
        (reader.login.as_str(), "rubbish", "AuthenticationFailed", "401"),
        (&reader.login, &narrow, "AuthenticationFailed", "403"),
        (&stranger.login, &stranger.token, "RepositoryNotFound", "404"),
    ];
    let url = stage.forge.http_url(&stage.repo);
    stage.follow(&url, json!({"connection": Value::Null})).await;
    let message = stage.ready("AuthenticationFailed").await;
    assert!(message.contains("it wants credentials"), "{message}");
    stage.connect_with_token(&reader.login, "none yet").await;
    stage.follow(&url, json!({})).await;
    for (login, token, reason, status) in cases {
        stage.connect_with_token(login, token).await;
        stage.sync().await;
        let message = stage.ready(reason).await;
        assert!(message.contains(status) && !message.contains(token), "{message}");
    }
}

#[tokio::test]
async fn an_ssh_server_with_another_key_than_the_known_one_gets_nothing_and_a_mended_secret_is_taken_up() {
    let Some(stage) = Stage::open(SUITE).await else {
        return;
    };
    let commit = stage.work.push("main", &[("hello.yaml", Some(FLOW))]).await;
    let (private, public) = ssh_key();
    stage.owner.add_deploy_key(&stage.repo, &public).await;
    let (other_private, other_public) = ssh_key();
    let known = stage.forge.known_hosts();
    stage
        .connect_with_key(&private, &stage.forge.known_hosts_with(&other_public))
        .await;
    stage.follow(&stage.forge.ssh_url(&stage.repo), json!({})).await;
    let message = stage.ready("HostKeyUnknown").await;
    assert!(message.contains("SHA256:"), "{message}");

    stage.connect_with_key(&other_private, &known).await;
    stage.sync().await;
    stage.ready("AuthenticationFailed").await;

    stage.connect_with_key(&private, &known).await;
    stage.sync().await;
    stage.ready("Synced").await;
    stage.draft_of(&commit).await;
}

#[tokio::test]
async fn a_repository_that_was_renamed_on_the_forge_is_followed_by_its_old_address() {
    let Some(stage) = Stage::open(SUITE).await else {
        return;
    };
    let (reader, _, token) = stage.reader().await;
    stage.connect_with_token(&reader.login, &token).await;
    let commit = stage.work.push("main", &[("hello.yaml", Some(FLOW))]).await;
    stage.follow(&stage.forge.http_url(&stage.repo), json!({})).await;
    stage.draft_of(&commit).await;
    let renamed = stage.owner.rename(&stage.repo, "renamed").await;
    let work = stage.owner.checkout(&renamed).await;
    let commit = work.push("main", &[("hello.yaml", Some(&changed(2)))]).await;
    stage.sync().await;
    stage.draft_of(&commit).await;
}
