//! Webhooks that were sent and accepted before, sent again by whoever has seen them.

use axum::http::StatusCode;
use kube::{ResourceExt as _, api::ListParams};
use reqwest::Method;
use serde_json::json;
use signoff_api::{Approval, Decision, Flow, Release, Run};

use crate::{Deciders, Relay, Stage, deciders::flow, until};

impl Stage {
    /// Every object that a person's answer or a push changes, as it is now.
    async fn all(&self) -> Vec<String> {
        let mut all = self.all_of::<Approval>().await;
        all.extend(self.all_of::<Decision>().await);
        all.extend(self.all_of::<Flow>().await);
        all.extend(self.all_of::<Release>().await);
        all.extend(self.all_of::<Run>().await);
        all
    }

    async fn all_of<K>(&self) -> Vec<String>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let list = self.rig.api::<K>().list(&ListParams::default()).await.unwrap();
        let told = |object: K| {
            let version = object.resource_version().unwrap_or_default();
            format!("{} {} at {version}", K::kind(&()), object.name_any())
        };
        list.items.into_iter().map(told).collect()
    }
}

#[tokio::test]
async fn webhooks_that_are_sent_again_decide_nothing_and_change_nothing() {
    let Some(deciders) = Deciders::gather().await else {
        return;
    };
    let stage = &deciders.stage;
    stage
        .secret("webhook", json!({"hmac": "s3cret-of-the-flows"}))
        .await;
    let webhook = json!({"secretRef": {"name": "webhook", "key": "hmac"}});
    let rarely = json!({"interval": "1h", "webhook": webhook});
    deciders.follow_with(&stage.forge.url(), rarely).await;
    let relay = Relay::open(stage.rig.gateway()).await;
    let url = relay.url(stage.rig.namespace(), "flows");
    let events = ["push", "pull_request", "pull_request_review"];
    let webhook = stage
        .owner
        .add_webhook(&stage.repo, &url, "s3cret-of-the-flows", &events)
        .await;
    let first = stage.work.push("main", &[("refund.yaml", Some(&flow("")))]).await;
    stage.work.point("live", "main").await;
    stage.until_read(&first).await;
    let live = |flow: &Flow| flow.status.as_ref().is_some_and(|status| status.live.is_some());
    stage.rig.until("refund", live).await;
    let release = stage.cut("refund").await;

    let pull = deciders.ask("r").await;
    deciders.alice.merge(&pull).await;
    stage.rig.phase("r", "Succeeded").await;
    deciders.branch_is_gone("r-review").await;
    let changed = flow("").replace("max: 3", "max: 2");
    let second = stage.work.push("main", &[("refund.yaml", Some(&changed))]).await;
    let is_newer = |flow: &Flow| {
        let draft = flow.status.as_ref().and_then(|status| status.draft.as_ref());
        draft.is_some_and(|draft| draft.release != release)
    };
    stage.rig.until("refund", is_newer).await;
    let open = deciders.ask("open").await;
    stage.rig.phase("open", "Waiting").await;
    deciders.until_linked("open-review").await;
    stage.owner.remove_webhook(&stage.repo, webhook).await;
    let before = stage.all().await;

    // pushes to both branches, pull requests that were opened and merged, branches that went
    let told = relay.answered(5).await;
    let path = format!("/v1/hooks/git/{}/flows", stage.rig.namespace());
    for delivery in &told {
        assert_eq!(delivery.status, StatusCode::ACCEPTED);
        let again = relay
            .send(&path, delivery.headers.clone(), delivery.body.clone())
            .await;
        assert_eq!(again, StatusCode::ACCEPTED, "it is a reason to look, and no more");
    }
    let merge = told.iter().find(|delivery| {
        let body = String::from_utf8_lossy(&delivery.body);
        body.contains("\"action\": \"closed\"") && body.contains("\"merged\": true")
    });
    let merge = merge.expect("the forge told of the merge");
    // the question that is open now is looked at because of it, as nothing else would have it looked at within the hour
    let edited = stage.repo.path(&format!("/pulls/{}", open.number));
    let text = json!({"body": "edited"});
    deciders.mallory.call(Method::PATCH, &edited, text.clone()).await;
    relay.send(&path, merge.headers.clone(), merge.body.clone()).await;
    until("the text as it was", async || {
        (stage.owner.pull(&open).await["body"] != text["body"]).then_some(())
    })
    .await;
    assert_eq!(stage.all().await, before);
    assert_eq!(deciders.deciders("r-review").await, ["alice"]);
    assert!(deciders.is_open("open-review").await);
    stage.until_read(&second).await;
}
