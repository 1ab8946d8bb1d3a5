//! What writes and reads of the embedded control plane do to objects.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{
    Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, PropagationPolicy,
};
use kube::{Resource as _, ResourceExt};
use serde_json::json;

use crate::local_support::{Local, Widget, eventually, map, refusal, widget};

#[tokio::test]
async fn an_object_can_be_created_read_changed_listed_and_deleted() {
    let local = Local::start().await;
    let maps = local.maps();
    let made = maps.create(&PostParams::default(), &map("a", "1")).await.unwrap();
    assert!(made.uid().is_some_and(|uid| uid.len() == 36));
    assert!(made.creation_timestamp().is_some());
    let mut changed = maps.get("a").await.unwrap();
    assert_eq!(changed.resource_version(), made.resource_version());
    changed.data = map("a", "2").data;
    let changed = maps.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_ne!(changed.resource_version(), made.resource_version());
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items, [changed]);
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let (code, reason, message) = refusal(maps.get("a").await);
    assert_eq!(
        (code, reason.as_str(), message.as_str()),
        (404, "NotFound", "configmaps \"a\" not found")
    );
}

#[tokio::test]
async fn a_write_from_an_old_version_is_a_conflict_and_a_second_create_too() {
    let local = Local::start().await;
    let widgets = local.widgets();
    let old = widgets
        .create(&PostParams::default(), &widget("a", "red"))
        .await
        .unwrap();
    let mut new = old.clone();
    new.spec.color = "blue".to_owned();
    widgets.replace("a", &PostParams::default(), &new).await.unwrap();
    let (code, reason, _) = refusal(widgets.replace("a", &PostParams::default(), &old).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    let (code, reason, message) = refusal(widgets.create(&PostParams::default(), &widget("a", "red")).await);
    assert_eq!((code, reason.as_str()), (409, "AlreadyExists"));
    assert_eq!(message, "widgets.test.dev \"a\" already exists");
    let mut blind = new.clone();
    blind.metadata.resource_version = None;
    assert_eq!(
        refusal(widgets.replace("a", &PostParams::default(), &blind).await).0,
        422
    );
}

#[tokio::test]
async fn spec_and_status_are_written_apart_and_only_spec_counts_generations() {
    let local = Local::start().await;
    let widgets = local.widgets();
    let mut first = widget("a", "red");
    first.status = Some(crate::local_support::WidgetStatus { ready: true });
    let made = widgets.create(&PostParams::default(), &first).await.unwrap();
    assert_eq!((made.status.as_ref(), made.metadata.generation), (None, Some(1)));
    let status = Patch::Merge(json!({"status": {"ready": true}, "spec": {"color": "green"}}));
    let with_status = widgets
        .patch_status("a", &PatchParams::default(), &status)
        .await
        .unwrap();
    assert!(with_status.status.as_ref().is_some_and(|s| s.ready));
    assert_eq!(
        (with_status.spec.color.as_str(), with_status.metadata.generation),
        ("red", Some(1))
    );
    let spec = Patch::Merge(json!({"status": {"ready": false}, "spec": {"color": "green"}}));
    let changed = widgets.patch("a", &PatchParams::default(), &spec).await.unwrap();
    assert!(changed.status.as_ref().is_some_and(|s| s.ready));
    assert_eq!(
        (changed.spec.color.as_str(), changed.metadata.generation),
        ("green", Some(2))
    );
    let label = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}));
    let labelled = widgets.patch("a", &PatchParams::default(), &label).await.unwrap();
    assert_eq!(labelled.metadata.generation, Some(2));
}

#[tokio::test]
async fn a_write_that_changes_nothing_makes_no_new_version() {
    let local = Local::start().await;
    let widgets = local.widgets();
    let made = widgets
        .create(&PostParams::default(), &widget("a", "red"))
        .await
        .unwrap();
    let same = Patch::Merge(json!({"spec": {"color": "red"}}));
    let again = widgets.patch("a", &PatchParams::default(), &same).await.unwrap();
    assert_eq!(again.resource_version(), made.resource_version());
}

#[tokio::test]
async fn a_json_patch_applies_whole_or_not_at_all() {
    let local = Local::start().await;
    let widgets = local.widgets();
    widgets
        .create(&PostParams::default(), &widget("a", "red"))
        .await
        .unwrap();
    let fenced = |size: i64, next: i64| {
        let patch = json!([
            {"op": "test", "path": "/spec/size", "value": size},
            {"op": "replace", "path": "/spec/size", "value": next},
        ]);
        Patch::<Widget>::Json(serde_json::from_value(patch).unwrap())
    };
    let moved = widgets
        .patch("a", &PatchParams::default(), &fenced(1, 2))
        .await
        .unwrap();
    assert_eq!(moved.spec.size, 2);
    let (code, reason, _) = refusal(widgets.patch("a", &PatchParams::default(), &fenced(1, 3)).await);
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert_eq!(widgets.get("a").await.unwrap().spec.size, 2);
}

#[tokio::test]
async fn a_dry_run_answers_as_if_and_writes_nothing() {
    let local = Local::start().await;
    let maps = local.maps();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let made = maps.create(&dry, &map("a", "1")).await.unwrap();
    assert!(made.uid().is_some());
    assert!(maps.get_opt("a").await.unwrap().is_none());
    maps.create(&PostParams::default(), &map("a", "1")).await.unwrap();
    maps.delete("a", &DeleteParams::default().dry_run())
        .await
        .unwrap();
    assert_eq!(refusal(maps.create(&dry, &map("a", "1")).await).0, 409);
}

#[tokio::test]
async fn names_are_generated_and_bad_ones_refused() {
    let local = Local::start().await;
    let maps = local.maps();
    let mut generated = map("", "1");
    generated.metadata = ObjectMeta {
        generate_name: Some("run-".to_owned()),
        ..ObjectMeta::default()
    };
    let made = maps.create(&PostParams::default(), &generated).await.unwrap();
    assert_eq!(made.name_any().len(), "run-".len() + 5);
    let (code, reason, message) = refusal(maps.create(&PostParams::default(), &map("Not_A_Name", "1")).await);
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert!(
        message.starts_with("ConfigMap \"Not_A_Name\" is invalid: metadata.name: Invalid value:"),
        "{message}"
    );
}

#[tokio::test]
async fn a_list_is_cut_into_pages_of_one_revision() {
    let local = Local::start().await;
    let maps = local.maps();
    for name in ["a", "b", "c", "d", "e"] {
        maps.create(&PostParams::default(), &map(name, "1"))
            .await
            .unwrap();
    }
    let first = maps.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(
        (first.items.len(), first.metadata.remaining_item_count),
        (2, Some(3))
    );
    maps.delete("d", &DeleteParams::default()).await.unwrap();
    maps.create(&PostParams::default(), &map("cc", "1"))
        .await
        .unwrap();
    let mut names: Vec<_> = first.items.iter().map(ResourceExt::name_any).collect();
    let mut token = first.metadata.continue_;
    while let Some(next) = token.filter(|t| !t.is_empty()) {
        let page = maps
            .list(&ListParams::default().limit(2).continue_token(&next))
            .await
            .unwrap();
        assert_eq!(page.metadata.resource_version, first.metadata.resource_version);
        names.extend(page.items.iter().map(ResourceExt::name_any));
        token = page.metadata.continue_;
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn selectors_choose_by_label_and_by_field() {
    let local = Local::start().await;
    let widgets = local.widgets();
    for (name, color) in [("a", "red"), ("b", "blue"), ("c", "red")] {
        let mut made = widget(name, color);
        made.labels_mut().insert("name".to_owned(), name.to_owned());
        widgets.create(&PostParams::default(), &made).await.unwrap();
    }
    let names = async |params: ListParams| -> Vec<String> {
        let list = widgets.list(&params).await.unwrap();
        list.items.iter().map(ResourceExt::name_any).collect()
    };
    assert_eq!(
        names(ListParams::default().labels("name in (a,b)")).await,
        ["a", "b"]
    );
    assert_eq!(
        names(ListParams::default().labels("name!=a").fields("spec.color=red")).await,
        ["c"]
    );
    assert_eq!(
        names(ListParams::default().fields("metadata.name=b")).await,
        ["b"]
    );
    let refused = widgets.list(&ListParams::default().fields("spec.size=1")).await;
    assert_eq!(refusal(refused).2, "field label not supported: spec.size");
}

#[tokio::test]
async fn a_finalizer_holds_an_object_until_it_is_taken_away() {
    let local = Local::start().await;
    let widgets = local.widgets();
    let mut held = widget("a", "red");
    held.finalizers_mut().push("test.dev/hold".to_owned());
    widgets.create(&PostParams::default(), &held).await.unwrap();
    let answer = widgets.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(
        answer
            .left()
            .is_some_and(|object| object.metadata.deletion_timestamp.is_some())
    );
    let more = Patch::Merge(json!({"metadata": {"finalizers": ["test.dev/hold", "test.dev/more"]}}));
    assert_eq!(
        refusal(widgets.patch("a", &PatchParams::default(), &more).await).0,
        422
    );
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    widgets
        .patch("a", &PatchParams::default(), &release)
        .await
        .unwrap();
    assert!(widgets.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn preconditions_of_a_delete_are_kept() {
    let local = Local::start().await;
    let maps = local.maps();
    let made = maps.create(&PostParams::default(), &map("a", "1")).await.unwrap();
    let with = |uid: &str| DeleteParams {
        preconditions: Some(kube::api::Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    assert_eq!(refusal(maps.delete("a", &with("other")).await).0, 409);
    maps.delete("a", &with(&made.uid().unwrap())).await.unwrap();
}

fn owned(name: &str, owner: &ConfigMap) -> ConfigMap {
    let mut dependent = map(name, "1");
    let mut reference = owner.controller_owner_ref(&()).unwrap();
    reference.block_owner_deletion = Some(true);
    dependent.metadata.owner_references = Some(vec![reference]);
    dependent
}

#[tokio::test]
async fn dependents_go_when_their_owner_is_gone() {
    let local = Local::start().await;
    let maps = local.maps();
    let owner = maps
        .create(&PostParams::default(), &map("owner", "1"))
        .await
        .unwrap();
    let child = maps
        .create(&PostParams::default(), &owned("child", &owner))
        .await
        .unwrap();
    maps.create(&PostParams::default(), &owned("grandchild", &child))
        .await
        .unwrap();
    maps.delete("owner", &DeleteParams::background()).await.unwrap();
    eventually("dependents are collected", async || {
        maps.list(&ListParams::default()).await.unwrap().items.is_empty()
    })
    .await;
    maps.create(&PostParams::default(), &owned("late", &owner))
        .await
        .unwrap();
    eventually("a dependent of nobody is collected", async || {
        maps.get_opt("late").await.unwrap().is_none()
    })
    .await;
}

#[tokio::test]
async fn foreground_deletion_takes_dependents_first_and_orphaning_leaves_them() {
    let local = Local::start().await;
    let maps = local.maps();
    let owner = maps
        .create(&PostParams::default(), &map("owner", "1"))
        .await
        .unwrap();
    let mut held = owned("child", &owner);
    held.metadata.finalizers = Some(vec!["test.dev/hold".to_owned()]);
    maps.create(&PostParams::default(), &held).await.unwrap();
    maps.delete("owner", &DeleteParams::foreground()).await.unwrap();
    eventually("the child is being deleted", async || {
        maps.get("child")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    })
    .await;
    assert!(
        maps.get("owner")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("child", &PatchParams::default(), &release)
        .await
        .unwrap();
    eventually("both are gone", async || {
        maps.list(&ListParams::default()).await.unwrap().items.is_empty()
    })
    .await;

    let owner = maps
        .create(&PostParams::default(), &map("owner", "1"))
        .await
        .unwrap();
    maps.create(&PostParams::default(), &owned("child", &owner))
        .await
        .unwrap();
    let orphan = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    maps.delete("owner", &orphan).await.unwrap();
    eventually("the owner is gone", async || {
        maps.get_opt("owner").await.unwrap().is_none()
    })
    .await;
    assert_eq!(
        maps.get("child").await.unwrap().metadata.owner_references,
        None::<Vec<OwnerReference>>
    );
}

#[tokio::test]
async fn a_namespace_takes_its_contents_with_it() {
    let local = Local::start().await;
    let namespaces: Api<Namespace> = Api::all(local.client());
    let team = Namespace {
        metadata: ObjectMeta {
            name: Some("team".to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let elsewhere: Api<ConfigMap> = Api::namespaced(local.client(), "team");
    let (code, _, message) = refusal(elsewhere.create(&PostParams::default(), &map("a", "1")).await);
    assert_eq!((code, message.as_str()), (404, "namespaces \"team\" not found"));
    namespaces.create(&PostParams::default(), &team).await.unwrap();
    let mut held = map("a", "1");
    held.metadata.finalizers = Some(vec!["test.dev/hold".to_owned()]);
    elsewhere.create(&PostParams::default(), &held).await.unwrap();
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    let (code, _, message) = refusal(elsewhere.create(&PostParams::default(), &map("b", "1")).await);
    assert_eq!(code, 403);
    assert!(message.contains("because it is being terminated"), "{message}");
    eventually("the content is being deleted", async || {
        elsewhere
            .get("a")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    })
    .await;
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    elsewhere
        .patch("a", &PatchParams::default(), &release)
        .await
        .unwrap();
    eventually("the namespace is gone", async || {
        namespaces.get_opt("team").await.unwrap().is_none()
    })
    .await;
}

#[tokio::test]
async fn text_in_a_secret_becomes_data() {
    let local = Local::start().await;
    let secrets: Api<Secret> = Api::default_namespaced(local.client());
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some("s".to_owned()),
            ..ObjectMeta::default()
        },
        string_data: Some([("token".to_owned(), "abc".to_owned())].into()),
        ..Secret::default()
    };
    let made = secrets.create(&PostParams::default(), &secret).await.unwrap();
    assert_eq!(made.data.unwrap()["token"].0, b"abc");
    assert_eq!((made.type_.as_deref(), made.string_data), (Some("Opaque"), None));
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let local = Local::start().await;
    let widgets = local.widgets();
    for (name, color) in [("a", "red"), ("b", "blue"), ("c", "red")] {
        widgets
            .create(&PostParams::default(), &widget(name, color))
            .await
            .unwrap();
    }
    let red = ListParams::default().fields("spec.color=red");
    widgets
        .delete_collection(&DeleteParams::default(), &red)
        .await
        .unwrap();
    let left = widgets.list(&ListParams::default()).await.unwrap();
    assert_eq!(
        left.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
        ["b"]
    );
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let local = Local::start().await;
    let made = local
        .maps()
        .create(&PostParams::default(), &map("a", "1"))
        .await
        .unwrap();
    let local = local.restart().await;
    assert_eq!(local.maps().get("a").await.unwrap(), made);
    let second = signoff_local::ControlPlane::open(signoff_local::Options::new(local.dir.path())).await;
    assert!(matches!(second, Err(signoff_local::OpenError::InUse(_))));
}
