//! From a git remote to flows, releases and what is live, over the embedded control plane.

use std::{fmt::Debug, sync::Arc, time::Duration};

use git2::{Repository as Git, Signature, build::TreeUpdateBuilder};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use signoff::{
    api::{Flow, Release, Repository, names},
    controllers::{
        context::{Clock, Context},
        flow, release,
        repository::{self, RepositorySettings, SyncRequests, sync_requests},
    },
    git::{Limits, Network},
    local::Identity,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::local_support::{Local, PATIENCE};

/// A control plane with the controllers of Repository, Flow and Release, and a git remote on disk.
struct World {
    local: Local,
    remote: tempfile::TempDir,
    git: Git,
    requests: SyncRequests,
    _running: DropGuard,
}

const FLOW: &str = "\
apiVersion: signoff.dev/v1alpha1
kind: Flow
metadata: {name: hello}
spec:
  steps:
  - name: one
    set: {x: 1}
";

impl World {
    async fn start() -> Self {
        let local = Local::start().await;
        let remote = tempfile::tempdir().unwrap();
        let git = Git::init_bare(remote.path().join("flows.git")).unwrap();
        let context = Arc::new(Context::new(
            local.plane.client(&Identity::Operator),
            Clock::system(),
        ));
        let (requests, queue) = sync_requests();
        let settings = RepositorySettings {
            mirrors: local.dir.path().join("mirrors"),
            network: Network::new(|_| true, true),
            limits: Limits::default(),
        };
        let shutdown = CancellationToken::new();
        tokio::spawn(repository::run(
            context.clone(),
            settings,
            queue,
            shutdown.clone(),
        ));
        tokio::spawn(flow::run(context.clone(), shutdown.clone()));
        tokio::spawn(release::run(context, shutdown.clone()));
        Self {
            local,
            remote,
            git,
            requests,
            _running: shutdown.drop_guard(),
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::default_namespaced(self.local.client())
    }

    /// Pushes files on top of a branch; no content deletes a file.
    fn push(&self, branch: &str, files: &[(&str, Option<&str>)]) -> String {
        let name = format!("refs/heads/{branch}");
        let parent = self
            .git
            .find_reference(&name)
            .ok()
            .map(|head| head.peel_to_commit().unwrap());
        let empty = self.git.treebuilder(None).unwrap().write().unwrap();
        let base = parent.as_ref().map_or_else(
            || self.git.find_tree(empty).unwrap(),
            |parent| parent.tree().unwrap(),
        );
        let mut update = TreeUpdateBuilder::new();
        for (path, content) in files {
            match content {
                Some(content) => {
                    let blob = self.git.blob(content.as_bytes()).unwrap();
                    update.upsert(*path, blob, git2::FileMode::Blob);
                }
                None => {
                    update.remove(*path);
                }
            }
        }
        let tree = self
            .git
            .find_tree(update.create_updated(&self.git, &base).unwrap())
            .unwrap();
        let who = Signature::now("Dev", "dev@example.com").unwrap();
        let parents: Vec<_> = parent.iter().collect();
        self.git
            .commit(Some(&name), &who, &who, "a change", &tree, &parents)
            .unwrap()
            .to_string()
    }

    /// Points a branch where another is.
    fn promote(&self, from: &str, to: &str) {
        let commit = self
            .git
            .find_reference(&format!("refs/heads/{from}"))
            .unwrap()
            .peel_to_commit()
            .unwrap();
        self.git
            .reference(&format!("refs/heads/{to}"), commit.id(), true, "promote")
            .unwrap();
    }

    async fn create_repository(&self, more: serde_json::Value) {
        let mut repository = json!({
            "apiVersion": "signoff.dev/v1alpha1",
            "kind": "Repository",
            "metadata": {"name": "flows"},
            "spec": {
                "url": format!("file://{}", self.remote.path().join("flows.git").display()),
                "interval": "1h",
                "draft": {"ref": "main"},
            },
        });
        for (key, value) in more.as_object().unwrap() {
            repository["spec"][key] = value.clone();
        }
        let repository: Repository = serde_json::from_value(repository).unwrap();
        self.api::<Repository>()
            .create(&PostParams::default(), &repository)
            .await
            .unwrap();
    }

    fn sync(&self) {
        self.requests.request("default", "flows");
    }

    /// Waits for the Repository's `Ready` condition to have this reason; gives its message.
    async fn ready(&self, reason: &str) -> String {
        let has = reason.to_owned();
        let of = |repository: &Repository| {
            let status = repository.status.clone().unwrap_or_default();
            status
                .conditions
                .into_iter()
                .find(|c| c.type_ == "Ready")
                .map(|c| (c.reason, c.message))
        };
        let repository = self
            .until::<Repository>("flows", move |it| of(it).is_some_and(|(reason, _)| reason == has))
            .await;
        of(&repository).unwrap().1
    }

    async fn until<K>(&self, name: &str, passes: impl Fn(&K) -> bool) -> K
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Send
            + DeserializeOwned
            + 'static,
    {
        let api = self.api::<K>();
        let waiting = await_condition(api.clone(), name, |found: Option<&K>| found.is_some_and(&passes));
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found.unwrap().unwrap(),
            Err(elapsed) => panic!("{elapsed}; it is {:#?}", api.get_opt(name).await),
        }
    }

    async fn draft_other_than(&self, before: &str) -> String {
        let draft = |flow: &Flow| {
            flow.status
                .as_ref()?
                .draft
                .as_ref()
                .map(|draft| draft.release.clone())
        };
        let flow = self
            .until::<Flow>("hello", |flow| draft(flow).is_some_and(|draft| draft != before))
            .await;
        draft(&flow).unwrap()
    }

    async fn until_live(&self, release: &str) {
        let live = |flow: &Flow| flow.status.as_ref().and_then(|status| status.live.clone());
        self.until::<Flow>("hello", |flow| live(flow).as_deref() == Some(release))
            .await;
    }

    async fn until_gone(&self, name: &str) {
        let gone = await_condition(self.api::<Flow>(), name, |found: Option<&Flow>| found.is_none());
        tokio::time::timeout(PATIENCE, gone)
            .await
            .expect("the flow goes")
            .unwrap();
    }
}

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
        .get(&status.live.clone().unwrap())
        .await
        .unwrap();
    assert_eq!(release.spec.source.commit, Some(live));
    let draft = world.draft_other_than("").await;
    assert_ne!(status.live, Some(draft));
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
    let huge = "x".repeat(5 << 20);
    let bad = other.replace("    set", "    sett");
    let files = [
        ("hello.yaml", Some(changed.as_str())),
        ("other.yaml", Some(&bad)),
        ("huge.yaml", Some(&huge)),
        ("bad.yaml", Some("a: [")),
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
            ("bad.yaml", Some(2)),
            ("other.yaml", Some(6))
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
    let mirrors = world.local.dir.path().join("mirrors");
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
