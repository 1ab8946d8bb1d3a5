//! Repositories beside one another, those that come and go while nobody looks, and runs that outlive their flow in git.

use git2::Repository as Git;
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use signoff::operator::OperatorOptions;
use signoff_api::{Approval, Flow, Release, Repository, names};

use crate::{
    support::{
        rig::{Rig, eventually},
        shop::Shop,
    },
    world::{FLOW, push},
};

/// An operator's control plane, and a remote on disk.
struct Yard {
    rig: Rig,
    git: Git,
    dir: tempfile::TempDir,
}

impl Yard {
    async fn open() -> Self {
        let rig = Rig::open().await;
        let dir = tempfile::tempdir().unwrap();
        let git = Git::init_bare(dir.path().join("flows.git")).unwrap();
        Self { rig, git, dir }
    }

    /// Follows branches of the remote; `more` goes into the spec.
    async fn follow(&self, name: &str, draft: &str, more: Value) -> Repository {
        let url = format!("file://{}", self.git.path().display());
        let mut spec = json!({"url": url, "interval": "1h", "draft": {"ref": draft}});
        json_patch::merge(&mut spec, &more);
        let repository = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository",
            "metadata": {"name": name}, "spec": spec});
        let repository: Repository = serde_json::from_value(repository).unwrap();
        let repositories = self.rig.api::<Repository>();
        repositories
            .create(&PostParams::default(), &repository)
            .await
            .unwrap()
    }

    /// Asks for a sync and waits until one was made.
    async fn sync(&self, name: &str, now: &str) {
        let ask = Patch::Merge(json!({"metadata": {"annotations": {names::REQUESTED_AT: now}}}));
        let repositories = self.rig.api::<Repository>();
        repositories
            .patch(name, &PatchParams::default(), &ask)
            .await
            .unwrap();
        let handled = |repository: &Repository| {
            let status = repository.status.as_ref();
            status.and_then(|status| status.last_handled_request.as_deref()) == Some(now)
        };
        self.rig.until(name, handled).await;
    }

    /// Reason and message of a Repository's `Ready` condition, once it has one.
    async fn ready(&self, name: &str) -> (String, String) {
        let ready = |repository: &Repository| {
            let status = repository.status.clone().unwrap_or_default();
            let mut conditions = status.conditions.into_iter();
            conditions.find(|condition| condition.type_ == "Ready")
        };
        let repository = self
            .rig
            .until::<Repository>(name, |repository| ready(repository).is_some())
            .await;
        let ready = ready(&repository).unwrap();
        (ready.reason, ready.message)
    }

    async fn owners(&self, flow: &str) -> Vec<String> {
        let flow = self.rig.api::<Flow>().get(flow).await.unwrap();
        let owners = flow.owner_references().iter();
        owners.map(|owner| owner.name.clone()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_repositories_that_bring_one_flow_the_first_keeps_it_and_the_other_says_whose_it_is() {
    let yard = Yard::open().await;
    let operator = yard.rig.operator().await;
    push(&yard.git, "main", &[("hello.yaml", Some(FLOW))]);
    let changed = FLOW.replace("x: 1", "x: 2");
    push(&yard.git, "other", &[("theirs.yaml", Some(&changed))]);
    yard.follow("first", "main", json!({})).await;
    assert_eq!(yard.ready("first").await.0, "Synced");
    yard.follow("second", "other", json!({})).await;
    for again in ["once", "twice"] {
        let (reason, message) = yard.ready("second").await;
        assert_eq!(reason, "FilesInvalid", "{message}");
        assert!(
            message.contains("theirs.yaml: flow hello belongs to Repository first"),
            "{message}"
        );
        yard.sync("second", again).await;
        yard.sync("first", again).await;
        assert_eq!(yard.ready("first").await.0, "Synced");
        assert_eq!(yard.owners("hello").await, ["first"]);
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_repositories_that_come_at_once_one_has_the_flow_and_keeps_it() {
    let yard = Yard::open().await;
    push(&yard.git, "main", &[("hello.yaml", Some(FLOW))]);
    let changed = FLOW.replace("x: 1", "x: 2");
    push(&yard.git, "other", &[("hello.yaml", Some(&changed))]);
    // both are there when the operator begins, and are read at the same time
    tokio::join!(
        yard.follow("one", "main", json!({})),
        yard.follow("two", "other", json!({}))
    );
    let operator = yard.rig.operator().await;
    let (one, two) = tokio::join!(yard.ready("one"), yard.ready("two"));
    let (has, lacks, told) = if one.0 == "Synced" {
        ("one", "two", &two)
    } else {
        ("two", "one", &one)
    };
    assert_eq!(told.0, "FilesInvalid", "{one:?} {two:?}");
    let whose = format!("flow hello belongs to Repository {has}");
    assert!(told.1.contains(&whose), "{one:?} {two:?}");
    yard.sync(lacks, "now").await;
    assert_eq!(yard.owners("hello").await, [has]);
    let flow = yard.rig.api::<Flow>().get("hello").await.unwrap();
    let branch = if has == "one" { "main" } else { "other" };
    assert!(flow.annotations()[names::SOURCE].contains(&format!("refs/heads/{branch}")));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_of_repositories_that_were_deleted_while_nobody_looked_go_at_the_next_start() {
    let yard = Yard::open().await;
    push(&yard.git, "main", &[("hello.yaml", Some(FLOW))]);
    let cache = yard.dir.path().join("cache");
    let namespace = yard.rig.namespace().to_owned();
    // one of several that keep their mirrors in the same folder
    let options = |options: &mut OperatorOptions| {
        options.git_cache.clone_from(&cache);
        options.watch_namespaces = [namespace.clone()].into();
    };
    let start = async || yard.rig.operator_as(yard.rig.operator_client(), options).await;
    let operator = start().await.unwrap();
    let (mut mirrors, mut gone) = (Vec::new(), None);
    for (name, draft) in [("kept", "main"), ("gone", "nothing")] {
        // one that keeps what is live waits for the operator
        let repository = yard.follow(name, draft, json!({"prune": "All"})).await;
        yard.ready(name).await;
        let mirror = cache.join(format!("{namespace}.{}", repository.uid().unwrap()));
        assert!(mirror.is_dir(), "{name}");
        gone = Some(mirror.clone());
        mirrors.push(mirror);
    }
    let (gone, stays) = (gone.unwrap(), mirrors.swap_remove(0));
    operator.stop().await;

    let repositories = yard.rig.api::<Repository>();
    repositories
        .delete("gone", &DeleteParams::default())
        .await
        .unwrap();
    yard.rig.until_gone::<Repository>("gone").await;
    let uid = "3f9a1c07-81c4-4d2a-9be1-0123456789ab";
    let questions = cache.join(format!("{namespace}.{uid}-questions"));
    let of_others = cache.join(format!("somewhere-else.{uid}"));
    let foreign = cache.join("lost+found");
    for folder in [&questions, &of_others, &foreign] {
        std::fs::create_dir(folder).unwrap();
    }

    let operator = start().await.unwrap();
    eventually("what nobody needs is removed", || {
        !gone.exists() && !questions.exists()
    })
    .await;
    for folder in [&stays, &of_others, &foreign] {
        assert!(folder.exists(), "{}", folder.display());
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_leaves_git_lets_its_runs_end() {
    let (yard, shop) = (Yard::open().await, Shop::open().await);
    let operator = yard.rig.operator().await;
    let flow = format!(
        "apiVersion: signoff.dev/v1alpha1
kind: Flow
metadata: {{name: f}}
spec:
  steps:
  - name: review
    approval: {{title: \"go?\"}}
  - name: call
    http: {{url: \"{}\"}}
",
        shop.url("/x")
    );
    for branch in ["main", "live"] {
        push(
            &yard.git,
            branch,
            &[("f.yaml", Some(&flow)), ("hello.yaml", Some(FLOW))],
        );
    }
    yard.follow("flows", "main", json!({"live": {"ref": "live"}}))
        .await;
    let live = |flow: &Flow| {
        flow.status
            .as_ref()
            .and_then(|status| status.live_release().map(str::to_owned))
    };
    let flow = yard.rig.until::<Flow>("f", |flow| live(flow).is_some()).await;
    let release = live(&flow).unwrap();
    yard.rig.start("r", json!({"flow": "f"})).await;
    yard.rig.until::<Approval>("r-review", |_| true).await;

    for branch in ["main", "live"] {
        push(&yard.git, branch, &[("f.yaml", None)]);
    }
    yard.sync("flows", "now").await;
    yard.rig.until_gone::<Flow>("f").await;
    yard.rig
        .until::<Release>(&release, |release| release.metadata.deletion_timestamp.is_some())
        .await;
    operator.stop().await;

    let operator = yard.rig.operator().await;
    yard.rig.decide("alice", "r-review", "Approve").await;
    yard.rig.phase("r", "Succeeded").await;
    assert_eq!(shop.asked("/x").len(), 1);
    yard.rig.until_gone::<Release>(&release).await;
    assert_eq!(yard.ready("flows").await.0, "Synced");
    operator.stop().await;
}
