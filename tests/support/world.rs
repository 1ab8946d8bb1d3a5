//! A control plane with the controllers of Repository, Flow and Release, and a git remote on disk.

use std::{fmt::Debug, path::PathBuf, sync::Arc};

use git2::{Repository as Git, Signature, build::TreeUpdateBuilder};
use kube::{Api, api::PostParams, runtime::wait::await_condition};
use russh::keys::ssh_key::{HashAlg, LineEnding, PrivateKey};
use serde::de::DeserializeOwned;
use serde_json::json;
use signoff::{
    cluster::{
        context::{Clock, Context},
        run_endings::run_endings,
        shared::SharedStores,
    },
    git::Limits,
    net::{AddressPolicy, Network},
    promotion::{self, release},
    remotes::{Pauses, RepositorySettings},
    runs,
    sync::{self, SyncRequests, sync_requests},
};
use signoff_api::{Flow, Repository};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{rig::PATIENCE, server::Server};

/// A control plane with the controllers of Repository, Flow and Release, and a git remote on disk.
pub struct World {
    pub server: Server,
    pub remote: tempfile::TempDir,
    pub git: Git,
    requests: SyncRequests,
    dir: tempfile::TempDir,
    _running: DropGuard,
}

pub const FLOW: &str = "\
apiVersion: signoff.dev/v1alpha1
kind: Flow
metadata: {name: hello}
spec:
  steps:
  - name: one
    set: {x: 1}
";

/// Commits files on top of a branch of a bare repository; no content deletes a file.
pub fn push(git: &Git, branch: &str, files: &[(&str, Option<&str>)]) -> String {
    let name = format!("refs/heads/{branch}");
    let parent = git
        .find_reference(&name)
        .ok()
        .map(|head| head.peel_to_commit().unwrap());
    let empty = git.treebuilder(None).unwrap().write().unwrap();
    let base = parent
        .as_ref()
        .map_or_else(|| git.find_tree(empty).unwrap(), |parent| parent.tree().unwrap());
    let mut update = TreeUpdateBuilder::new();
    for (path, content) in files {
        match content {
            Some(content) => {
                let blob = git.blob(content.as_bytes()).unwrap();
                update.upsert(*path, blob, git2::FileMode::Blob);
            }
            None => {
                update.remove(*path);
            }
        }
    }
    let tree = update.create_updated(git, &base).unwrap();
    let tree = git.find_tree(tree).unwrap();
    let who = Signature::now("Dev", "dev@example.com").unwrap();
    let parents: Vec<_> = parent.iter().collect();
    git.commit(Some(&name), &who, &who, "a change", &tree, &parents)
        .unwrap()
        .to_string()
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(Limits::default()).await
    }

    pub async fn start_with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::open(dir.path()).await;
        let remote = tempfile::tempdir().unwrap();
        let git = Git::init_bare(remote.path().join("flows.git")).unwrap();
        let context = Context::new(server.operator(), Clock::system());
        let context = Arc::new(context.watching(server.watched()));
        let (requests, queue) = sync_requests();
        let settings = RepositorySettings {
            mirrors: dir.path().join("mirrors"),
            network: Network::new(AddressPolicy::local()),
            limits,
            pauses: Pauses::default(),
        };
        let shutdown = CancellationToken::new();
        // there are no runs here
        let (waker, _) = runs::waker();
        let (stores, _, watching) = SharedStores::watch(&context, waker);
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(watching));
        assert!(stores.are_known().await, "the watches have ended");
        let syncing = sync::run(context.clone(), stores.clone(), settings, queue, shutdown.clone());
        tokio::spawn(syncing);
        tokio::spawn(promotion::run(context.clone(), stores.clone(), shutdown.clone()));
        let (_, ended, _) = run_endings();
        tokio::spawn(release::run(context, stores, ended, shutdown.clone()));
        Self {
            server,
            remote,
            git,
            requests,
            dir,
            _running: shutdown.drop_guard(),
        }
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        self.server.api()
    }

    /// Where the operator keeps clones.
    pub fn mirrors(&self) -> PathBuf {
        self.dir.path().join("mirrors")
    }

    /// Pushes files on top of a branch; no content deletes a file.
    pub fn push(&self, branch: &str, files: &[(&str, Option<&str>)]) -> String {
        push(&self.git, branch, files)
    }

    /// Like [`World::push`], with a commit that this key signs.
    pub fn push_signed(&self, branch: &str, files: &[(&str, Option<&str>)], key: &PrivateKey) -> String {
        let name = format!("refs/heads/{branch}");
        let before = self.git.refname_to_id(&name).ok();
        let commit = self
            .git
            .find_commit(self.push(branch, files).parse().unwrap())
            .unwrap();
        let parents: Vec<_> = commit.parents().collect();
        let unsigned = self
            .git
            .commit_create_buffer(
                &commit.author(),
                &commit.committer(),
                "a signed change",
                &commit.tree().unwrap(),
                &parents.iter().collect::<Vec<_>>(),
            )
            .unwrap();
        assert_eq!(parents.first().map(git2::Commit::id), before);
        let signature = key.sign("git", HashAlg::Sha512, &unsigned).unwrap();
        let signature = signature.to_pem(LineEnding::LF).unwrap();
        let signed = self
            .git
            .commit_signed(unsigned.as_str().unwrap(), &signature, None)
            .unwrap();
        self.git.reference(&name, signed, true, "sign").unwrap();
        signed.to_string()
    }

    /// Points a branch where another is.
    pub fn promote(&self, from: &str, to: &str) {
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

    pub async fn create_repository(&self, more: serde_json::Value) {
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

    pub fn sync(&self) {
        self.requests.request(self.server.namespace(), "flows");
    }

    /// Waits for the Repository's `Ready` condition to have this reason; gives its message.
    pub async fn ready(&self, reason: &str) -> String {
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

    pub async fn until<K>(&self, name: &str, passes: impl Fn(&K) -> bool) -> K
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

    pub async fn draft_other_than(&self, before: &str) -> String {
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

    pub async fn until_live(&self, release: &str) {
        let live = |flow: &Flow| {
            flow.status
                .as_ref()
                .and_then(|status| status.live_release().map(str::to_owned))
        };
        self.until::<Flow>("hello", |flow| live(flow).as_deref() == Some(release))
            .await;
    }

    pub async fn until_gone(&self, name: &str) {
        let gone = await_condition(self.api::<Flow>(), name, |found: Option<&Flow>| found.is_none());
        tokio::time::timeout(PATIENCE, gone)
            .await
            .expect("the flow goes")
            .unwrap();
    }
}
