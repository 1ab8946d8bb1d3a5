//! The push webhooks that the forge sends and signs.

use axum::http::StatusCode;
use serde_json::json;

use crate::world::FLOW;
use crate::{Relay, Stage};

const SUITE: &str = "push webhooks of a real forge";

/// A Repository with a webhook that nothing but a webhook makes sync, and what stands before its gateway.
async fn told_by_webhook(secret: &str) -> Option<(Stage, Relay)> {
    let stage = Stage::open(SUITE).await?;
    let (reader, _, token) = stage.reader().await;
    stage.connect_with_token(&reader.login, &token).await;
    stage.secret("webhook", json!({"hmac": secret})).await;
    let commit = stage.work.push("main", &[("hello.yaml", Some(FLOW))]).await;
    let webhook = json!({"secretRef": {"name": "webhook", "key": "hmac"}});
    stage
        .follow(&stage.forge.http_url(&stage.repo), json!({"webhook": webhook}))
        .await;
    stage.draft_of(&commit).await;
    let relay = Relay::open(stage.rig.gateway()).await;
    Some((stage, relay))
}

impl Stage {
    async fn tell(&self, relay: &Relay, secret: &str) -> i64 {
        let url = relay.url(self.rig.namespace(), "flows");
        self.owner.add_webhook(&self.repo, &url, secret, &["push"]).await
    }

    async fn push_change(&self, x: u32) -> String {
        let changed = FLOW.replace("x: 1", &format!("x: {x}"));
        self.work.push("main", &[("hello.yaml", Some(&changed))]).await
    }
}

#[tokio::test]
async fn a_signed_push_event_syncs_at_once_and_a_merged_pull_request_is_one() {
    let Some((stage, relay)) = told_by_webhook("s3cret-of-the-flows").await else {
        return;
    };
    stage.tell(&relay, "s3cret-of-the-flows").await;
    let commit = stage.push_change(2).await;
    let release = stage.draft_of(&commit).await;
    assert_eq!(relay.answer_to(&commit).await.status, StatusCode::ACCEPTED);

    stage.work.point("live", "main").await;
    stage.until_live(&release).await;
    let commit = stage.push_change(3).await;
    let next = stage.draft_of(&commit).await;
    let pull = stage
        .owner
        .open_pull(&stage.repo, "main", "live", "Go live")
        .await;
    stage.owner.merge(&pull).await;
    stage.until_live(&next).await;
}

#[tokio::test]
async fn an_event_that_is_unsigned_altered_or_signed_with_another_secret_is_refused_and_syncs_nothing() {
    let Some((stage, relay)) = told_by_webhook("s3cret-of-the-flows").await else {
        return;
    };
    let read = stage.owner.head(&stage.repo, "main").await.unwrap();
    let wrong = stage.tell(&relay, "not the secret").await;
    let commit = stage.push_change(2).await;
    let refused = relay.answer_to(&commit).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    stage.owner.remove_webhook(&stage.repo, wrong).await;
    let none = stage.tell(&relay, "").await;
    let commit = stage.push_change(3).await;
    assert_eq!(relay.answer_to(&commit).await.status, StatusCode::UNAUTHORIZED);
    stage.until_read(&read).await;

    stage.owner.remove_webhook(&stage.repo, none).await;
    stage.tell(&relay, "s3cret-of-the-flows").await;
    let commit = stage.push_change(4).await;
    let good = relay.answer_to(&commit).await;
    assert_eq!(good.status, StatusCode::ACCEPTED);
    stage.draft_of(&commit).await;
    let path = format!("/v1/hooks/git/{}/flows", stage.rig.namespace());
    let altered = [&good.body[..], b" "].concat();
    let mut unsigned = good.headers.clone();
    unsigned.remove("x-hub-signature-256");
    for (headers, body) in [
        (good.headers.clone(), altered.into()),
        (unsigned, good.body.clone()),
        (refused.headers, good.body.clone()),
    ] {
        assert_eq!(relay.send(&path, headers, body).await, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_rotated_webhook_secret_counts_from_the_next_event_without_a_restart() {
    let Some((stage, relay)) = told_by_webhook("the-old-secret-of-flows").await else {
        return;
    };
    let old = stage.tell(&relay, "the-old-secret-of-flows").await;
    let commit = stage.push_change(2).await;
    stage.draft_of(&commit).await;

    stage
        .secret("webhook", json!({"hmac": "the-new-secret-of-flows"}))
        .await;
    let commit = stage.push_change(3).await;
    assert_eq!(relay.answer_to(&commit).await.status, StatusCode::UNAUTHORIZED);
    stage.owner.remove_webhook(&stage.repo, old).await;
    stage.tell(&relay, "the-new-secret-of-flows").await;
    let commit = stage.push_change(4).await;
    assert_eq!(relay.answer_to(&commit).await.status, StatusCode::ACCEPTED);
    stage.draft_of(&commit).await;
}

#[tokio::test]
async fn a_push_that_nobody_was_there_to_hear_of_is_made_up_for_at_the_next_start() {
    let Some((mut stage, _)) = told_by_webhook("s3cret-of-the-flows").await else {
        return;
    };
    stage.operator.stop().await;
    let changed = FLOW.replace("x: 1", "x: 2");
    let commit = stage.work.push("main", &[("hello.yaml", Some(&changed))]).await;
    stage.operator = stage.rig.operator().await;
    stage.draft_of(&commit).await;
}
