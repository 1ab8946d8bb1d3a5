//! Watches of the embedded control plane.

use std::pin::pin;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::json;

use crate::local_support::{Local, PATIENCE, Widget, eventually, map, refusal, widget};

async fn next<K>(stream: &mut (impl Stream<Item = kube::Result<WatchEvent<K>>> + Unpin)) -> WatchEvent<K> {
    tokio::time::timeout(PATIENCE, stream.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
}

fn shown<K: kube::ResourceExt>(event: &WatchEvent<K>) -> (&'static str, String) {
    match event {
        WatchEvent::Added(object) => ("ADDED", object.name_any()),
        WatchEvent::Modified(object) => ("MODIFIED", object.name_any()),
        WatchEvent::Deleted(object) => ("DELETED", object.name_any()),
        WatchEvent::Bookmark(_) => ("BOOKMARK", String::new()),
        WatchEvent::Error(error) => ("ERROR", error.reason.clone()),
    }
}

#[tokio::test]
async fn a_watch_goes_on_from_the_version_it_names() {
    let local = Local::start().await;
    let maps = local.maps();
    let first = maps.create(&PostParams::default(), &map("a", "1")).await.unwrap();
    maps.create(&PostParams::default(), &map("b", "1")).await.unwrap();
    let since = first.resource_version().unwrap();
    let mut events = pin!(maps.watch(&WatchParams::default(), &since).await.unwrap());
    assert_eq!(shown(&next(&mut events).await), ("ADDED", "b".to_owned()));
    let change = Patch::Merge(json!({"data": {"k": "2"}}));
    maps.patch("a", &PatchParams::default(), &change).await.unwrap();
    maps.delete("b", &DeleteParams::default()).await.unwrap();
    assert_eq!(shown(&next(&mut events).await), ("MODIFIED", "a".to_owned()));
    assert_eq!(shown(&next(&mut events).await), ("DELETED", "b".to_owned()));
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    let local = Local::start().await;
    let widgets = local.widgets();
    let made = widgets
        .create(&PostParams::default(), &widget("a", "red"))
        .await
        .unwrap();
    let params = WatchParams::default().fields("spec.color=blue");
    let mut events = pin!(
        widgets
            .watch(&params, &made.resource_version().unwrap())
            .await
            .unwrap()
    );
    for color in ["blue", "green", "blue"] {
        let change = Patch::Merge(json!({"spec": {"color": color}}));
        widgets
            .patch("a", &PatchParams::default(), &change)
            .await
            .unwrap();
    }
    let change = Patch::Merge(json!({"spec": {"size": 9}}));
    let last = widgets
        .patch("a", &PatchParams::default(), &change)
        .await
        .unwrap();
    assert_eq!(shown(&next(&mut events).await).0, "ADDED");
    let left = next(&mut events).await;
    let WatchEvent::Deleted(object) = &left else {
        panic!("{left:?}")
    };
    assert_eq!(object.spec.color, "blue", "the last state inside the selection");
    assert_eq!(shown(&next(&mut events).await).0, "ADDED");
    let WatchEvent::Modified(object) = next(&mut events).await else {
        panic!("not modified")
    };
    assert_eq!(object.resource_version(), last.resource_version());
}

#[tokio::test]
async fn a_version_from_before_the_history_is_gone_and_one_from_the_future_waits() {
    let local = Local::start().await;
    let first = local
        .maps()
        .create(&PostParams::default(), &map("a", "1"))
        .await
        .unwrap();
    local
        .maps()
        .create(&PostParams::default(), &map("b", "1"))
        .await
        .unwrap();
    let local = local.restart().await;
    let maps = local.maps();
    let since = first.resource_version().unwrap();
    let mut events = pin!(maps.watch(&WatchParams::default(), &since).await.unwrap());
    let WatchEvent::Error(error) = next(&mut events).await else {
        panic!("not an error")
    };
    assert_eq!((error.code, error.reason.as_str()), (410, "Expired"));
    assert!(events.next().await.is_none(), "the watch ends after that");
    let ahead = maps.watch(&WatchParams::default(), "999999").await;
    let Err(kube::Error::Api(error)) = ahead.map(|_| ()) else {
        panic!("not refused")
    };
    assert_eq!(error.code, 504);
}

#[tokio::test]
async fn a_watch_of_an_untouched_kind_survives_a_restart_without_a_new_list() {
    let local = Local::start().await;
    let last = local
        .maps()
        .create(&PostParams::default(), &map("a", "1"))
        .await
        .unwrap();
    local
        .widgets()
        .create(&PostParams::default(), &widget("w", "red"))
        .await
        .unwrap();
    let local = local.restart().await;
    let maps = local.maps();
    let since = last.resource_version().unwrap();
    let mut events = pin!(maps.watch(&WatchParams::default(), &since).await.unwrap());
    maps.create(&PostParams::default(), &map("b", "1")).await.unwrap();
    assert_eq!(shown(&next(&mut events).await), ("ADDED", "b".to_owned()));
}

#[tokio::test]
async fn a_streaming_list_ends_its_initial_objects_with_a_marked_bookmark() {
    let local = Local::start().await;
    let maps = local.maps();
    maps.create(&PostParams::default(), &map("a", "1")).await.unwrap();
    let params = WatchParams::default().initial_events();
    let mut events = pin!(maps.watch(&params, "0").await.unwrap());
    assert_eq!(shown(&next(&mut events).await), ("ADDED", "a".to_owned()));
    let WatchEvent::Bookmark(mark) = next(&mut events).await else {
        panic!("no bookmark")
    };
    assert_eq!(
        mark.metadata
            .annotations
            .get("k8s.io/initial-events-end")
            .map(String::as_str),
        Some("true")
    );
}

#[tokio::test]
async fn watchers_of_the_runtime_follow_with_both_strategies() {
    let local = Local::start().await;
    local
        .widgets()
        .create(&PostParams::default(), &widget("a-before", "red"))
        .await
        .unwrap();
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let mut objects = pin!(watcher(local.widgets(), config).applied_objects());
        let first: Widget = tokio::time::timeout(PATIENCE, objects.try_next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(first.name_any(), "a-before");
        let name = format!(
            "after-{}",
            local
                .widgets()
                .list(&ListParams::default())
                .await
                .unwrap()
                .items
                .len()
        );
        local
            .widgets()
            .create(&PostParams::default(), &widget(&name, "red"))
            .await
            .unwrap();
        loop {
            let seen = tokio::time::timeout(PATIENCE, objects.try_next())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            if seen.name_any() == name {
                break;
            }
        }
    }
}

#[tokio::test]
async fn metadata_only_watches_carry_metadata_only() {
    let local = Local::start().await;
    let maps = local.maps();
    maps.create(&PostParams::default(), &map("a", "1")).await.unwrap();
    let mut events = pin!(maps.watch_metadata(&WatchParams::default(), "0").await.unwrap());
    assert_eq!(shown(&next(&mut events).await), ("ADDED", "a".to_owned()));
    let list = maps.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(list.items[0].name_any(), "a");
    assert!(
        list.items[0]
            .types
            .as_ref()
            .is_some_and(|t| t.kind == "PartialObjectMetadata")
    );
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_up_and_when_the_server_stops() {
    let local = Local::start().await;
    let maps = local.maps();
    let short = WatchParams::default().timeout(1);
    let ended: Vec<_> = tokio::time::timeout(
        PATIENCE,
        maps.watch(&short, "0").await.unwrap().collect::<Vec<_>>(),
    )
    .await
    .unwrap();
    assert!(ended.is_empty());
    let long = maps.watch(&WatchParams::default(), "0").await.unwrap();
    local.plane.shutdown().await;
    assert!(
        tokio::time::timeout(PATIENCE, long.collect::<Vec<_>>())
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        refusal(local.maps().create(&PostParams::default(), &map("b", "1")).await).0,
        503
    );
}

#[tokio::test]
async fn many_watches_see_every_change_in_order() {
    let local = Local::start().await;
    let maps = local.maps();
    let mut followers = Vec::new();
    for _ in 0..20 {
        let events = maps.watch(&WatchParams::default(), "0").await.unwrap();
        followers.push(tokio::spawn(async move {
            let versions = events
                .map(|event| match event.unwrap() {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => version(&object),
                    other => panic!("{other:?}"),
                })
                .take(200);
            versions.collect::<Vec<u64>>().await
        }));
    }
    let writers: Vec<_> = (0..10)
        .map(|writer| {
            let maps = maps.clone();
            tokio::spawn(async move {
                for turn in 0..20 {
                    maps.create(&PostParams::default(), &map(&format!("m-{writer}-{turn}"), "1"))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for follower in followers {
        let versions = tokio::time::timeout(PATIENCE, follower).await.unwrap().unwrap();
        assert_eq!(versions.len(), 200);
        assert!(versions.is_sorted());
    }
    eventually("all are listed", async || {
        maps.list(&ListParams::default()).await.unwrap().items.len() == 200
    })
    .await;
}

fn version(object: &ConfigMap) -> u64 {
    object.resource_version().unwrap().parse().unwrap()
}
