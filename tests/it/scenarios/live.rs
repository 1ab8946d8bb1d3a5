//! What is live: a branch, the tag of the highest version, or a folder; and what people set beside git.

use git2::Oid;
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use signoff_api::{Flow, Release, Repository};

use crate::world::{FLOW, World};

fn hello(x: u64) -> String {
    FLOW.replace("x: 1", &format!("x: {x}"))
}

fn tag(world: &World, name: &str, commit: &str) {
    let commit: Oid = commit.parse().unwrap();
    let object = world.git.find_object(commit, None).unwrap();
    world.git.tag_lightweight(name, &object, true).unwrap();
}

/// `spec.live` of the flow, as a person sets it.
async fn set_live(world: &World, live: Option<&str>) {
    let flows = world.api::<Flow>();
    let patch = json!({"spec": {"live": live}});
    let params = PatchParams {
        field_manager: Some("kubectl-patch".to_owned()),
        ..PatchParams::default()
    };
    flows.patch("hello", &params, &Patch::Merge(patch)).await.unwrap();
}

#[tokio::test]
async fn the_tag_of_the_highest_version_is_live_and_taking_it_away_is_a_rollback() {
    let world = World::start().await;
    let first = world.push("main", &[("hello.yaml", Some(&hello(1)))]);
    world.create_repository(json!({"live": {"tag": "v*"}})).await;
    let one = world.draft_other_than("").await;
    let message = world.ready("Synced").await;
    assert!(
        message.contains("there is no tag of a version like v* yet"),
        "{message}"
    );

    tag(&world, "v1.9.0", &first);
    tag(&world, "latest", &first);
    world.sync();
    world.until_live(&one).await;

    let second = world.push("main", &[("hello.yaml", Some(&hello(2)))]);
    world.sync();
    let two = world.draft_other_than(&one).await;
    world.until_live(&one).await;
    tag(&world, "v1.10.0", &second);
    tag(&world, "v2.0.0-rc.1", &first);
    world.sync();
    world.until_live(&two).await;
    let status = world
        .until::<Repository>("flows", |it| {
            let live = it.status.as_ref().and_then(|status| status.live.clone());
            live.is_some_and(|live| live.git_ref.as_deref() == Some("refs/tags/v1.10.0"))
        })
        .await;
    assert_eq!(status.status.unwrap().live.unwrap().commit, second);

    world.git.tag_delete("v1.10.0").unwrap();
    world.sync();
    world.until_live(&one).await;
}

#[tokio::test]
async fn two_folders_of_one_branch_hold_the_draft_and_what_is_live() {
    let world = World::start().await;
    world.push("main", &[("draft/hello.yaml", Some(&hello(1)))]);
    let folders = json!({"draft": {"ref": "main", "path": "draft"}, "live": {"ref": "main", "path": "live"}});
    world.create_repository(folders).await;
    let one = world.draft_other_than("").await;
    let message = world.ready("Synced").await;
    assert!(
        message.contains("no folder live at refs/heads/main yet"),
        "{message}"
    );

    world.push("main", &[("live/hello.yaml", Some(&hello(1)))]);
    world.sync();
    world.until_live(&one).await;

    world.push("main", &[("draft/hello.yaml", Some(&hello(2)))]);
    world.sync();
    let two = world.draft_other_than(&one).await;
    world.until_live(&one).await;

    // a file that is broken in one of them is no reason to take away what is live, and is told with its folder
    world.push(
        "main",
        &[("live/hello.yaml", Some("apiVersion: signoff.dev/v1alpha1\na: ["))],
    );
    world.sync();
    let message = world.ready("FilesInvalid").await;
    assert!(message.starts_with("live/hello.yaml:3"), "{message}");
    world.until_live(&one).await;

    world.push("main", &[("live/hello.yaml", Some(&hello(2)))]);
    world.sync();
    world.until_live(&two).await;

    // what was never a draft goes live too
    world.push("main", &[("live/hello.yaml", Some(&hello(3)))]);
    world.sync();
    let live = |flow: &Flow| {
        flow.status
            .as_ref()
            .and_then(|status| status.live_release().map(str::to_owned))
    };
    let flow = world
        .until::<Flow>("hello", |flow| live(flow).is_some_and(|live| live != two))
        .await;
    let release = world.api::<Release>().get(&live(&flow).unwrap()).await.unwrap();
    assert_eq!(release.spec.source.path.as_deref(), Some("live/hello.yaml"));
    world.ready("Synced").await;
}

#[tokio::test]
async fn git_and_people_who_want_different_releases_live_end_in_a_conflict_that_is_told() {
    let world = World::start().await;
    world.push("main", &[("hello.yaml", Some(&hello(1)))]);
    world.create_repository(json!({"live": {"ref": "live"}})).await;
    let one = world.draft_other_than("").await;
    world.push("main", &[("hello.yaml", Some(&hello(2)))]);
    world.sync();
    let two = world.draft_other_than(&one).await;
    world.promote("main", "live");
    world.sync();
    world.until_live(&two).await;
    world.ready("Synced").await;

    // a way back in a hurry holds, however often git is looked at
    set_live(&world, Some(&one)).await;
    world.until_live(&one).await;
    world.sync();
    let message = world.ready("LiveConflict").await;
    for said in [
        "kubectl-patch set spec.live of flow hello",
        &one,
        &two,
        "refs/heads/live",
    ] {
        assert!(message.contains(said), "{said}: {message}");
    }
    world.push("main", &[("other.yaml", Some(&FLOW.replace("hello", "other")))]);
    world.sync();
    world.until::<Flow>("other", |_| true).await;
    assert_eq!(wanted(&world).await, json!(one));

    // git says the same: nothing is left to say, and git goes on from there
    let back = world.push("back", &[("hello.yaml", Some(&hello(1)))]);
    let live = |commit: &str| {
        let commit = commit.parse().unwrap();
        world
            .git
            .reference("refs/heads/live", commit, true, "push")
            .unwrap();
    };
    live(&back);
    world.sync();
    world.ready("Synced").await;
    world.promote("main", "live");
    world.sync();
    world.until_live(&two).await;

    // and what is removed is git's as well
    set_live(&world, Some(&one)).await;
    world.sync();
    world.ready("LiveConflict").await;
    set_live(&world, None).await;
    world.sync();
    world.ready("Synced").await;
    world.until_live(&two).await;
}

async fn wanted(world: &World) -> Value {
    let flow = world.api::<Flow>().get("hello").await.unwrap();
    assert_eq!(flow.name_any(), "hello");
    json!(flow.spec.live)
}
