//! From a git remote to flows, releases and what is live.

use std::time::Duration;

use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;
use signoff_api::{Flow, Release, Repository, names};

use crate::{
    support::rig::PATIENCE,
    world::{FLOW, World},
};

#[tokio::test]
async fn a_push_to_the_draft_cuts_a_release_and_a_push_to_live_promotes_it_and_rolls_it_back() {
    let world = World::start().await;
    let commit = world.push("main", &[("flows/hello.yaml", Some(FLOW))]);
    world
        .create_repository(json!({"live": {"ref": "live"}, "path": "flows"}))
        .await;
    let first = world.draft_other_than("").await;
    let source = world.api::<Release>().get(&first).await.unwrap().spec.source;
    assert_eq!(
        (
            source.commit.as_deref(),
            source.git_ref.as_deref(),
            source.path.as_deref(),
            source.author.as_deref()
        ),
        (
            Some(commit.as_str()),
            Some("refs/heads/main"),
            Some("flows/hello.yaml"),
            Some("Dev <dev@example.com>")
        )
    );
    let message = world.ready("Synced").await;
    assert!(message.contains("there is no refs/heads/live yet"), "{message}");

    world.promote("main", "live");
    world.sync();
    world.until_live(&first).await;

    world.push(
        "main",
        &[("flows/hello.yaml", Some(&FLOW.replace("x: 1", "x: 2")))],
    );
    world.sync();
    let second = world.draft_other_than(&first).await;
    world.until_live(&first).await;
    world.promote("main", "live");
    world.sync();
    world.until_live(&second).await;

    world
        .git
        .reference("refs/heads/live", commit.parse().unwrap(), true, "revert")
        .unwrap();
    world.sync();
    world.until_live(&first).await;
}

#[tokio::test]
async fn content_that_only_live_has_gets_its_release_from_there() {
    let world = World::start().await;
    let live = world.push("live", &[("hello.yaml", Some(FLOW))]);
    world.push("main", &[("hello.yaml", Some(&FLOW.replace("x: 1", "x: 2")))]);
    world.create_repository(json!({"live": {"ref": "live"}})).await;
    let flow = world
        .until::<Flow>("hello", |flow| {
            flow.status.as_ref().is_some_and(|status| status.live.is_some())
        })
        .await;
    let status = flow.status.unwrap();
    let release = world
        .api::<Release>()
        .get(status.live_release().unwrap())
        .await
        .unwrap();
    assert_eq!(release.spec.source.commit, Some(live));
    let draft = world.draft_other_than("").await;
    assert_ne!(status.live_release(), Some(draft.as_str()));
}

#[tokio::test]
async fn a_broken_file_is_told_by_its_place_and_holds_back_nothing_else() {
    let world = World::start().await;
    let other = FLOW.replace("hello", "other");
    world.push(
        "main",
        &[("hello.yaml", Some(FLOW)), ("other.yaml", Some(&other))],
    );
    world.create_repository(json!({})).await;
    world.ready("Synced").await;

    let changed = FLOW.replace("x: 1", "x: 2");
    let huge = format!("apiVersion: signoff.dev/v1alpha1\n{}", "x".repeat(5 << 20));
    let bad = other.replace("    set", "    sett");
    let files = [
        ("hello.yaml", Some(changed.as_str())),
        ("other.yaml", Some(&bad)),
        ("huge.yaml", Some(&huge)),
        ("bad.yaml", Some("apiVersion: signoff.dev/v1alpha1\na: [")),
    ];
    world.push("main", &files);
    let first = world.draft_other_than("").await;
    world.sync();
    world.draft_other_than(&first).await;
    world.ready("FilesInvalid").await;
    let status = world
        .api::<Repository>()
        .get("flows")
        .await
        .unwrap()
        .status
        .unwrap();
    let places: Vec<_> = status
        .problems
        .iter()
        .map(|p| (p.path.as_str(), p.line))
        .collect();
    assert_eq!(
        places,
        [
            ("huge.yaml", None),
            ("bad.yaml", Some(3)),
            ("other.yaml", Some(7))
        ],
        "{:?}",
        status.problems
    );
    assert!(
        world.api::<Flow>().get_opt("other").await.unwrap().is_some(),
        "a flow whose file is broken stays"
    );

    world.push(
        "main",
        &[
            ("other.yaml", Some(&other)),
            ("huge.yaml", None),
            ("bad.yaml", None),
        ],
    );
    world.sync();
    world.ready("Synced").await;
}

#[tokio::test]
async fn a_flow_that_left_git_goes_and_one_that_was_edited_is_set_right() {
    let world = World::start().await;
    let other = FLOW.replace("hello", "other");
    world.push(
        "main",
        &[("hello.yaml", Some(FLOW)), ("other.yaml", Some(&other))],
    );
    world.create_repository(json!({})).await;
    world.ready("Synced").await;
    let edit = Patch::Merge(json!({"spec": {"description": "edited by hand"}}));
    let edited = world
        .api::<Flow>()
        .patch("hello", &PatchParams::default(), &edit)
        .await
        .unwrap();
    let later = |flow: &Flow| flow.metadata.generation > edited.metadata.generation;
    world
        .until::<Flow>("hello", |flow| {
            later(flow) && flow.annotations().contains_key(names::SOURCE)
        })
        .await;

    world.push("main", &[("other.yaml", None)]);
    world.sync();
    world.until_gone("other").await;
    assert!(world.api::<Flow>().get_opt("hello").await.unwrap().is_some());
}

#[tokio::test]
async fn an_annotation_asks_for_a_sync_and_is_echoed_and_a_sync_without_news_writes_no_flow() {
    let world = World::start().await;
    world.push("main", &[("hello.yaml", Some(FLOW))]);
    world.create_repository(json!({})).await;
    world.ready("Synced").await;
    world.draft_other_than("").await;
    let settled = |flow: &Flow| {
        flow.status
            .as_ref()
            .is_some_and(|status| status.observed_generation == flow.metadata.generation)
    };
    let before = world.until::<Flow>("hello", settled).await;
    let ask = Patch::Merge(json!({"metadata": {"annotations": {names::REQUESTED_AT: "now, please"}}}));
    world
        .api::<Repository>()
        .patch("flows", &PatchParams::default(), &ask)
        .await
        .unwrap();
    let echoed = |repository: &Repository| {
        repository
            .status
            .as_ref()
            .and_then(|status| status.last_handled_request.as_deref())
            == Some("now, please")
    };
    world.until::<Repository>("flows", echoed).await;
    let after = world.api::<Flow>().get("hello").await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
}

#[tokio::test]
async fn an_unreachable_remote_and_missing_credentials_are_told_and_recovered_from() {
    let world = World::start().await;
    world.create_repository(json!({"connection": "forge"})).await;
    let message = world.ready("ConnectionNotFound").await;
    assert!(message.contains("forge"), "{message}");
    let none = Patch::Merge(json!({"spec": {"connection": null}}));
    world
        .api::<Repository>()
        .patch("flows", &PatchParams::default(), &none)
        .await
        .unwrap();
    world.ready("RefNotFound").await;

    let (here, away) = (
        world.remote.path().join("flows.git"),
        world.remote.path().join("away.git"),
    );
    std::fs::rename(&here, &away).unwrap();
    world.sync();
    world.ready("RepositoryNotFound").await;
    std::fs::rename(&away, &here).unwrap();
    world.push("main", &[("hello.yaml", Some(FLOW))]);
    world.sync();
    world.ready("Synced").await;
    world.draft_other_than("").await;
}

#[tokio::test]
async fn a_deleted_repository_takes_its_mirror_along() {
    let world = World::start().await;
    world.push("main", &[("hello.yaml", Some(FLOW))]);
    world.create_repository(json!({})).await;
    world.ready("Synced").await;
    let mirrors = world.mirrors();
    assert_eq!(std::fs::read_dir(&mirrors).unwrap().count(), 1);
    world
        .api::<Repository>()
        .delete("flows", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    let empty = async {
        while std::fs::read_dir(&mirrors).unwrap().count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, empty)
        .await
        .expect("the mirror goes");
}
