use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use git2::{Repository as Git, Signature, build::TreeUpdateBuilder};
use kube::{Client, client::Body, runtime::reflector};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        look_at_pulls,
        memory::{Memories, Memory},
    },
    *,
};
use crate::{
    cluster::{
        backoff::Backoffs,
        context::{Clock, Context},
    },
    forge::{
        Account, AccountKind, Comment as Posted, CommentId, CommitStatus, Login, NewFile, NewPullRequest,
        PullRequestState, Review,
    },
    git::Limits,
    net::{AddressPolicy, Network},
    remotes::{Pauses, RepositorySettings},
    sync::files::tests::{GOOD, tree},
};
use signoff_api::reason::Classified as _;

/// A forge that only knows pull requests, comments and statuses.
#[derive(Debug, Default)]
struct Fake {
    pulls: Vec<PullRequest>,
    comments: Mutex<Vec<(PullRequestNumber, Posted)>>,
    /// Every status that was set, as `state: description`.
    statuses: Mutex<Vec<String>>,
    /// Comments are not taken on this pull request.
    locked: Option<PullRequestNumber>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fake {
    /// Texts of our comments on a pull request, without the mark.
    fn said(&self, number: u64) -> Vec<String> {
        let comments = lock(&self.comments);
        let ours = comments
            .iter()
            .filter(|(on, comment)| on.0 == number && comment.by == Login::new("signoff"));
        ours.map(|(_, comment)| comment.body.split_once('\n').unwrap().1.to_owned())
            .collect()
    }

    fn comment(&self, number: PullRequestNumber, by: &str, body: &str) -> CommentId {
        let mut comments = lock(&self.comments);
        let id = CommentId(comments.len() as u64);
        let (by, body) = (Login::new(by), body.to_owned());
        let edited = false;
        comments.push((number, Posted { id, by, body, edited }));
        id
    }
}

#[async_trait]
impl Forge for Fake {
    async fn own_account(&self) -> Result<Account, ForgeError> {
        Ok(Account {
            login: Login::new("signoff"),
            id: 1,
            kind: AccountKind::User,
            email: None,
        })
    }
    async fn open_pull_requests_into(&self, branch: &str) -> Result<Vec<PullRequest>, ForgeError> {
        let into = self.pulls.iter().filter(|pull| pull.base == branch);
        Ok(into.cloned().collect())
    }
    async fn comments(&self, number: PullRequestNumber) -> Result<Vec<Posted>, ForgeError> {
        let comments = lock(&self.comments);
        let on = comments.iter().filter(|(on, _)| *on == number);
        Ok(on.map(|(_, comment)| comment.clone()).collect())
    }
    async fn add_comment(&self, number: PullRequestNumber, body: &str) -> Result<CommentId, ForgeError> {
        if self.locked == Some(number) {
            return Err(ForgeError::Forbidden {
                host: "forge.example.com".to_owned(),
                doing: "comment on a pull request",
                message: "locked".to_owned(),
            });
        }
        Ok(self.comment(number, "signoff", body))
    }
    async fn edit_comment(&self, _: PullRequestNumber, id: CommentId, body: &str) -> Result<(), ForgeError> {
        let mut comments = lock(&self.comments);
        let there = comments.iter_mut().find(|(_, comment)| comment.id == id);
        there.unwrap().1.body = body.to_owned();
        Ok(())
    }
    async fn set_commit_status(&self, _: CommitId, status: &CommitStatus) -> Result<(), ForgeError> {
        lock(&self.statuses).push(format!("{:?}: {}", status.state, status.description));
        Ok(())
    }

    async fn changed_files(&self, _: PullRequestNumber) -> Result<Option<u64>, ForgeError> {
        unreachable!()
    }
    async fn is_merge_of(
        &self,
        _: &PullRequest,
        _: CommitId,
        _: &[CommitId],
    ) -> Result<Option<bool>, ForgeError> {
        unreachable!()
    }
    async fn account(&self, _: &Login) -> Result<Account, ForgeError> {
        unreachable!()
    }
    async fn groups(&self, _: &Account) -> Result<Vec<String>, ForgeError> {
        unreachable!()
    }
    async fn pull_request(&self, _: PullRequestNumber) -> Result<PullRequest, ForgeError> {
        unreachable!()
    }
    async fn pull_requests_from(&self, _: &str) -> Result<Vec<PullRequest>, ForgeError> {
        unreachable!()
    }
    async fn create_pull_request(&self, _: &NewPullRequest) -> Result<PullRequest, ForgeError> {
        unreachable!()
    }
    async fn change_pull_request(
        &self,
        _: PullRequestNumber,
        _: &NewPullRequest,
    ) -> Result<PullRequest, ForgeError> {
        unreachable!()
    }
    async fn close_pull_request(&self, _: PullRequestNumber) -> Result<(), ForgeError> {
        unreachable!()
    }
    async fn reviews(&self, _: PullRequestNumber) -> Result<Vec<Review>, ForgeError> {
        unreachable!()
    }
    async fn propose_file(&self, _: &NewFile) -> Result<(), ForgeError> {
        unreachable!()
    }
    async fn file(&self, _: CommitId, _: &str) -> Result<Option<Vec<u8>>, ForgeError> {
        unreachable!()
    }
    async fn delete_branch(&self, _: &str) -> Result<(), ForgeError> {
        unreachable!()
    }
}

/// A remote on disk, and what looks at its pull requests.
struct Scene {
    remote: TempDir,
    git: Git,
    feedback: Feedback,
    forge: Fake,
    repository: Repository,
}

impl Scene {
    fn open(limits: Limits) -> Self {
        let remote = tempfile::tempdir().unwrap();
        let git = Git::init_bare(remote.path().join("flows.git")).unwrap();
        // whatever is asked for is not there
        let missing = tower::service_fn(|_: http::Request<Body>| async {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404});
            let body = Body::from(serde_json::to_vec(&status).unwrap());
            http::Response::builder().status(404).body(body)
        });
        let client = Client::new(missing, "default");
        let (flows, _) = reflector::store();
        let feedback = Feedback {
            context: Context::new(client, Clock::system()).into(),
            settings: RepositorySettings {
                mirrors: remote.path().join("mirrors"),
                network: Network::new(AddressPolicy::local()),
                limits,
                pauses: Pauses::default(),
            },
            flows,
            memories: Memories::default(),
            hooked: Mutex::default(),
            backoffs: Backoffs::default(),
            shutdown: CancellationToken::new(),
        };
        let url = format!("file://{}", git.path().display());
        let token = json!({"name": "api", "key": "token"});
        let forge = json!({"kind": "Gitea", "url": "https://forge.example.com/api/v1", "token": token});
        let repository = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository",
            "metadata": {"name": "flows", "namespace": "shop", "uid": "uid-1", "generation": 1},
            "spec": {"url": url, "draft": {"ref": "main"}, "live": {"ref": "live"}, "forge": forge},
            "status": {}});
        Self {
            remote,
            git,
            feedback,
            forge: Fake::default(),
            repository: serde_json::from_value(repository).unwrap(),
        }
    }

    /// Opens a pull request from a fork with these files, or pushes to it.
    fn push(&mut self, number: u64, files: &[(&str, &str)]) -> CommitId {
        let empty = self.git.treebuilder(None).unwrap().write().unwrap();
        let mut update = TreeUpdateBuilder::new();
        for (path, text) in files {
            let blob = self.git.blob(text.as_bytes()).unwrap();
            update.upsert(*path, blob, git2::FileMode::Blob);
        }
        let base = self.git.find_tree(empty).unwrap();
        let tree = update.create_updated(&self.git, &base).unwrap();
        let tree = self.git.find_tree(tree).unwrap();
        let who = Signature::now("Guest", "guest@example.com").unwrap();
        let commit = self.git.commit(None, &who, &who, "a change", &tree, &[]);
        let commit = commit.unwrap();
        let name = format!("refs/pull/{number}/head");
        self.git.reference(&name, commit, true, "push").unwrap();
        let head = CommitId::parse(&commit.to_string()).unwrap();
        self.forge.pulls.retain(|pull| pull.number.0 != number);
        self.forge.pulls.push(PullRequest {
            number: PullRequestNumber(number),
            url: String::new(),
            title: String::new(),
            body: String::new(),
            head: "change".to_owned(),
            head_commit: Some(head),
            same_project: false,
            base: "live".to_owned(),
            author: Login::new("guest"),
            updated_at: None,
            state: PullRequestState::Open,
        });
        head
    }

    async fn look(&self, flows: &[&Flow]) -> Result<(), FeedbackError> {
        look_at_pulls(&self.feedback, &self.repository, flows, &self.forge).await
    }

    /// Says of a pull request that it comes from this branch of the project itself, and who opened it.
    fn comes_from(&mut self, number: u64, head: &str, author: &str) {
        let mut pulls = self.forge.pulls.iter_mut();
        let pull = pulls.find(|pull| pull.number.0 == number).unwrap();
        (pull.head, pull.author) = (head.to_owned(), Login::new(author));
        pull.same_project = true;
    }

    /// Lets the pull requests be listed again.
    fn is_told_of(&self) {
        self.feedback.memories.of("uid-1", Memory::list_again);
    }

    /// Every status that was set since the last time.
    fn statuses(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.forge.statuses))
    }

    fn has_mirror(&self) -> bool {
        Path::exists(&self.remote.path().join("mirrors/shop.uid-1-pulls"))
    }
}

fn live(release: &str) -> Flow {
    serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": {"name": "good", "namespace": "shop"},
        "spec": {"steps": [], "live": release}, "status": {"live": {"release": release, "digest": format!("sha256:{}", "0".repeat(64))}}}))
    .unwrap()
}

/// Name of the release that `GOOD` is.
fn release() -> String {
    let defined = files::read(tree(&[("a.yaml", GOOD)]), "shop");
    names::release_name("good", &defined.flows["good"].digest)
}

#[tokio::test]
async fn one_comment_is_written_and_edited_when_the_head_or_what_is_live_changes() {
    let mut scene = Scene::open(Limits::default());
    scene.push(1, &[("a.yaml", GOOD)]);
    scene.look(&[]).await.unwrap();
    assert_eq!(scene.forge.said(1).len(), 1);
    assert!(scene.forge.said(1)[0].contains("### `good`"));
    assert_eq!(scene.statuses(), ["Success: would change 1 flow"]);
    scene.is_told_of();
    scene.look(&[]).await.unwrap();
    assert_eq!(scene.statuses(), [""; 0], "it was looked at as it is");

    scene.push(
        1,
        &[
            ("a.yaml", GOOD),
            ("bad.yaml", "apiVersion: signoff.dev/v1alpha1\na: ["),
        ],
    );
    scene.is_told_of();
    scene.look(&[]).await.unwrap();
    assert_eq!(scene.forge.said(1).len(), 1);
    assert!(scene.forge.said(1)[0].contains("- `bad.yaml:"));

    scene.push(1, &[("a.yaml", GOOD)]);
    let good = live(&release());
    scene.look(&[&good]).await.unwrap();
    assert_eq!(scene.forge.said(1), ["Nothing that is live changes.\n"]);
}

#[tokio::test]
async fn a_pull_request_that_changes_nothing_has_a_status_and_no_comment() {
    let mut scene = Scene::open(Limits::default());
    scene.push(1, &[("a.yaml", GOOD)]);
    let good = live(&release());
    scene.look(&[&good]).await.unwrap();
    assert_eq!(scene.forge.said(1), [""; 0]);
    assert_eq!(scene.statuses(), ["Success: nothing that is live changes"]);
}

#[tokio::test]
async fn a_comment_of_somebody_else_with_our_mark_is_left_alone() {
    let mut scene = Scene::open(Limits::default());
    scene.push(1, &[("a.yaml", GOOD)]);
    let forged = mark(&scene.repository).on("Nothing that is live changes.");
    scene.forge.comment(PullRequestNumber(1), "mallory", &forged);
    scene.look(&[]).await.unwrap();
    assert!(scene.forge.said(1)[0].contains("### `good`"));
    let theirs = lock(&scene.forge.comments)[0].1.body.clone();
    assert_eq!(theirs, forged);
}

#[tokio::test]
async fn only_what_the_operator_itself_asks_is_told_nothing_whatever_others_call_their_branches() {
    let mut scene = Scene::open(Limits::default());
    for (number, head, author, told) in [
        (1, "signoff/shop/refund-7c2k-review", "signoff", false),
        (2, "signoff-staging/shop/refund-7c2k-review", "signoff", false),
        (3, "signoff/shop/refund-7c2k-review", "mallory", true),
        (4, "signoff-x/shop/a", "mallory", true),
        (5, "signoff/change", "signoff", true),
        (6, "signoff/shop/a/b", "signoff", true),
        (7, "signoffs/shop/a", "signoff", true),
        (8, "change", "signoff", true),
    ] {
        // a commit of its own each
        scene.push(number, &[("a.yaml", GOOD), ("number", &number.to_string())]);
        scene.comes_from(number, head, author);
        scene.is_told_of();
        scene.look(&[]).await.unwrap();
        let (said, set) = (scene.forge.said(number), scene.statuses());
        assert_eq!(
            (said.len(), set.len()),
            (usize::from(told), usize::from(told)),
            "{head} of {author}"
        );
    }
}

#[tokio::test]
async fn of_the_drafts_own_commit_it_is_not_said_what_a_pull_request_says() {
    let mut scene = Scene::open(Limits::default());
    let head = scene.push(1, &[("a.yaml", GOOD)]);
    let at = json!({"commit": head.to_string(), "short": head.short()});
    scene.repository.status = serde_json::from_value(json!({"draft": at})).unwrap();
    scene.look(&[]).await.unwrap();
    assert_eq!((scene.forge.said(1).len(), scene.statuses().len()), (1, 0));
}

#[tokio::test]
async fn a_head_above_the_limits_is_told_and_is_not_in_the_way_of_others() {
    let mut scene = Scene::open(Limits {
        files: 3,
        file_bytes: 1_024,
        ..Limits::default()
    });
    let large = format!("# {}\n{GOOD}", "x".repeat(2_000));
    let names: Vec<String> = (0..10).map(|n| format!("{n}.yaml")).collect();
    let mut many: BTreeMap<&str, &str> = names.iter().map(|name| (name.as_str(), "{}")).collect();
    many.insert("0-large.yaml", &large);
    let many: Vec<(&str, &str)> = many.into_iter().collect();
    scene.push(1, &many);
    scene.push(2, &[("a.yaml", GOOD)]);
    scene.look(&[]).await.unwrap();
    let (first, second) = (scene.forge.said(1).remove(0), scene.forge.said(2).remove(0));
    assert!(first.starts_with("**There are errors"), "{first}");
    assert!(second.contains("### `good`"), "{second}");
    assert_eq!(scene.statuses().len(), 2);
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_told_once() {
    let mut scene = Scene::open(Limits::default());
    scene.push(1, &[("a.yaml", GOOD)]);
    scene.repository.spec.path = Some("nowhere".to_owned());
    scene.look(&[]).await.unwrap();
    assert!(scene.has_mirror());
    let said = scene.forge.said(1).remove(0);
    assert!(
        said.starts_with("**This cannot be read:** `there is no folder"),
        "{said}"
    );
    assert_eq!(scene.statuses().len(), 1);
    scene.feedback.mirror(&scene.repository).remove().await.unwrap();
    scene.is_told_of();
    scene.look(&[]).await.unwrap();
    assert_eq!(scene.statuses(), [""; 0]);
    assert!(!scene.has_mirror(), "it is not fetched again");
}

#[tokio::test]
async fn one_pull_request_that_cannot_be_told_is_not_in_the_way_of_the_next() {
    let mut scene = Scene::open(Limits::default());
    scene.push(1, &[("a.yaml", GOOD)]);
    scene.push(2, &[("a.yaml", GOOD)]);
    scene.forge.locked = Some(PullRequestNumber(1));
    let error = scene.look(&[]).await.unwrap_err();
    assert_eq!(error.reason(), "ForgeForbidden");
    let counts = |scene: &Scene| (scene.forge.said(1).len(), scene.forge.said(2).len());
    assert_eq!(counts(&scene), (0, 1));
    scene.forge.locked = None;
    scene.look(&[]).await.unwrap();
    assert_eq!(counts(&scene), (1, 1), "it is tried again");
}

#[test]
fn pull_requests_go_into_the_live_branch_or_into_the_drafts_where_live_is_none() {
    let target = |draft: &str, live: Option<&str>| {
        let live = live.map(|live| json!({"ref": live}));
        let repository = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "flows"},
            "spec": {"url": "https://forge.example.com/a/b", "draft": {"ref": draft}, "live": live}});
        super::target(&serde_json::from_value(repository).unwrap())
    };
    let to_live = |branch: &str| Some(Target::Live(branch.to_owned()));
    let to_draft = |branch: &str| Some(Target::Draft(branch.to_owned()));
    assert_eq!(target("main", Some("live")), to_live("live"));
    assert_eq!(target("main", Some("refs/heads/live")), to_live("live"));
    assert_eq!(target("main", Some("main")), to_live("main"));
    assert_eq!(target("main", Some("refs/tags/v1")), to_draft("main"));
    assert_eq!(target("main", None), to_draft("main"));
    assert_eq!(target("refs/tags/v2", Some("refs/tags/v1")), None);
}
