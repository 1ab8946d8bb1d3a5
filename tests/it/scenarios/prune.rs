//! What stays when a Repository, or a file of it, is gone.

use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PropagationPolicy},
    runtime::wait::await_condition,
};
use serde_json::json;
use signoff_api::{Flow, Repository, names};

use crate::{
    support::rig::PATIENCE,
    world::{FLOW, World},
};

/// Two flows from git, of which `hello` is live, by somebody's word.
async fn two_flows(more: serde_json::Value) -> World {
    let world = World::start().await;
    let draft = FLOW.replace("hello", "draft");
    world.push(
        "main",
        &[("hello.yaml", Some(FLOW)), ("draft.yaml", Some(&draft))],
    );
    world.create_repository(more).await;
    world.until::<Flow>("draft", |_| true).await;
    let release = world.draft_other_than("").await;
    let live = Patch::Merge(json!({"spec": {"live": release}}));
    world
        .api::<Flow>()
        .patch("hello", &PatchParams::default(), &live)
        .await
        .unwrap();
    world.until_live(&release).await;
    world
}

async fn delete(world: &World, how: PropagationPolicy) {
    let params = DeleteParams {
        propagation_policy: Some(how),
        ..DeleteParams::default()
    };
    world.api::<Repository>().delete("flows", &params).await.unwrap();
    let gone = await_condition(
        world.api::<Repository>(),
        "flows",
        |found: Option<&Repository>| found.is_none(),
    );
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("the Repository goes")
        .unwrap();
}

async fn flow_stays(world: &World, name: &str) {
    let flow = world.api::<Flow>().get(name).await.unwrap();
    assert!(flow.metadata.deletion_timestamp.is_none(), "{name}");
    assert_eq!(flow.owner_references(), [], "{name}");
}

#[tokio::test]
async fn a_live_flow_stays_when_its_repository_is_deleted_and_a_draft_goes() {
    let world = two_flows(json!({})).await;
    delete(&world, PropagationPolicy::Background).await;
    if world.server.can_test("that a draft goes with its Repository") {
        world.until_gone("draft").await;
    }
    flow_stays(&world, "hello").await;
}

#[tokio::test]
async fn a_live_flow_stays_when_its_repository_is_deleted_while_suspended() {
    let world = two_flows(json!({})).await;
    let suspend = Patch::Merge(json!({"spec": {"suspend": true}}));
    world
        .api::<Repository>()
        .patch("flows", &PatchParams::default(), &suspend)
        .await
        .unwrap();
    world.ready("Suspended").await;
    flow_is_noted(&world, "hello").await;
    delete(&world, PropagationPolicy::Background).await;
    flow_stays(&world, "hello").await;
}

/// The flow is the Repository's, and is not deleted with it.
async fn flow_is_noted(world: &World, name: &str) {
    let untied = await_condition(world.api::<Flow>(), name, |flow: Option<&Flow>| {
        flow.is_some_and(|flow| flow.owner_references().is_empty())
    });
    let flow = tokio::time::timeout(PATIENCE, untied)
        .await
        .expect("a live flow has no owner")
        .unwrap()
        .unwrap();
    let repository = world.api::<Repository>().get("flows").await.unwrap();
    assert_eq!(
        flow.annotations().get(names::REPOSITORY_UID),
        repository.metadata.uid.as_ref(),
        "{name}"
    );
}

#[tokio::test]
async fn a_live_flow_stays_when_its_repository_is_deleted_in_the_foreground_and_a_draft_goes() {
    let world = two_flows(json!({})).await;
    flow_is_noted(&world, "hello").await;
    delete(&world, PropagationPolicy::Foreground).await;
    if world.server.can_test("that a draft goes with its Repository") {
        world.until_gone("draft").await;
    }
    flow_stays(&world, "hello").await;
    assert!(
        !world
            .api::<Flow>()
            .get("hello")
            .await
            .unwrap()
            .annotations()
            .contains_key(names::REPOSITORY_UID)
    );
}

#[tokio::test]
async fn all_flows_go_or_stay_where_the_repository_says_so() {
    let world = two_flows(json!({"prune": "Never"})).await;
    delete(&world, PropagationPolicy::Background).await;
    flow_stays(&world, "hello").await;
    flow_stays(&world, "draft").await;

    let world = two_flows(json!({"prune": "All"})).await;
    if !world.server.can_test("that live flows go with their Repository") {
        return;
    }
    delete(&world, PropagationPolicy::Background).await;
    world.until_gone("draft").await;
    world.until_gone("hello").await;
}

#[tokio::test]
async fn a_flow_that_people_made_live_stays_when_its_file_leaves_git() {
    let world = two_flows(json!({})).await;
    world.push("main", &[("hello.yaml", None), ("draft.yaml", None)]);
    world.sync();
    world.until_gone("draft").await;
    flow_is_noted(&world, "hello").await;
    let all = Patch::Merge(json!({"spec": {"prune": "All"}}));
    world
        .api::<Repository>()
        .patch("flows", &PatchParams::default(), &all)
        .await
        .unwrap();
    world.until_gone("hello").await;
}
