//! `git` steps of real runs, on a remote that lies on the disk: commits, what is refused, what people are shown, and an operator that is cut
//! off at any write.

use git2::{Oid, Repository as Git};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use signoff_api::{
    Approval, ApprovalPhase, Connection, Repository, Run,
    run::{StepError, StepOutcome},
};
use tempfile::TempDir;

use crate::support::{
    faults::{Cut, cut, cut_at_each_write},
    rig::Rig,
    world::push,
};

/// A bare repository on the disk.
struct Remote {
    git: Git,
    _dir: TempDir,
}

impl Remote {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let git = Git::init_bare(dir.path().join("site.git")).unwrap();
        git.set_head("refs/heads/main").unwrap();
        push(
            &git,
            "main",
            &[("index.html", Some("hello")), ("old.html", Some("old"))],
        );
        Self { git, _dir: dir }
    }

    fn url(&self) -> String {
        format!("file://{}", self.git.path().display())
    }

    fn at(&self, branch: &str) -> Option<Oid> {
        self.git.refname_to_id(&format!("refs/heads/{branch}")).ok()
    }

    fn file(&self, branch: &str, path: &str) -> Option<String> {
        let commit = self.git.find_commit(self.at(branch)?).unwrap();
        let entry = commit.tree().unwrap().get_path(path.as_ref()).ok()?;
        let blob = self.git.find_blob(entry.id()).unwrap();
        Some(String::from_utf8(blob.content().to_vec()).unwrap())
    }

    /// Messages of the commits of a branch that its base does not have, the newest first.
    fn messages(&self, branch: &str) -> Vec<String> {
        let mut walk = self.git.revwalk().unwrap();
        walk.push(self.at(branch).unwrap()).unwrap();
        walk.hide(self.at("main").unwrap()).unwrap();
        let commits = walk.map(|id| self.git.find_commit(id.unwrap()).unwrap());
        commits
            .map(|commit| commit.message().unwrap().to_owned())
            .collect()
    }

    async fn connect(&self, rig: &Rig, name: &str, more: &Value) {
        let mut git = json!({"url": self.url()});
        git.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let connection = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection",
            "metadata": {"name": name}, "spec": {"git": git}});
        create::<Connection>(rig, connection).await;
    }

    async fn follow(&self, rig: &Rig, name: &str, url: &str) {
        let repository = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": {"name": name},
            "spec": {"url": url, "interval": "1h", "draft": {"ref": "drafts"}, "live": {"ref": "main"},
                "prefix": "signoff-x", "suspend": true}});
        create::<Repository>(rig, repository).await;
    }
}

async fn create<K>(rig: &Rig, object: Value)
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let object: K = serde_json::from_value(object).unwrap();
    rig.api::<K>()
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
}

fn propose(more: &Value) -> Value {
    let mut git = json!({"connection": "site", "branch": "fix-${run.name}", "message": "Say ${inputs.word}",
        "files": [{"path": "index.html", "content": "${inputs.word}"}, {"path": "old.html", "delete": true}]});
    git.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({"name": "propose", "git": git})
}

fn flow(steps: &Value) -> Value {
    json!({"inputs": {"type": "object", "properties": {"word": {"type": "string", "default": "bye"}}}, "steps": steps,
        "output": {"of": "${steps.propose.output}"}})
}

async fn error_of(rig: &Rig, run: &str) -> StepError {
    let run = rig.phase(run, "Failed").await;
    let steps = run.status.unwrap().steps;
    steps.into_iter().find_map(|step| step.error).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_names_its_run_and_a_second_pass_is_added_to_its_branch() {
    let (rig, remote) = (Rig::open().await, Remote::new());
    let author = json!({"author": {"name": "Site Bot", "email": "bot@example.com"}});
    remote.connect(&rig, "site", &author).await;
    let operator = rig.operator().await;
    let step = json!({"name": "propose", "repeat": {"while": "${steps.propose.pass < 2}"},
        "git": {"connection": "site", "branch": "fix", "message": "Pass ${steps.propose.pass}",
            "files": "${[{'path': 'n.txt', 'content': string(steps.propose.pass)}]}"}});
    rig.flow("f", flow(&json!([step]))).await;
    rig.start("r", json!({"flow": "f"})).await;
    let run = rig.phase("r", "Succeeded").await;
    let uid = run.metadata.uid.unwrap();
    let output = run.status.unwrap().output.unwrap().0["of"].clone();
    let commit = remote.at("fix").unwrap();
    assert_eq!(
        output,
        json!({"changed": true, "branch": "fix", "commit": commit.to_string()})
    );
    let namespace = rig.namespace();
    let trailers = |pass: i64| {
        format!(
            "Pass {pass}\n\nSignoff-Run: {namespace}/r\nSignoff-Step: propose\nSignoff-Pass: {pass}\nSignoff-Key: {uid}/propose/{pass}\n"
        )
    };
    assert_eq!(remote.messages("fix"), [trailers(2), trailers(1)]);
    let commit = remote.git.find_commit(commit).unwrap();
    assert_eq!(commit.author().name(), Ok("Site Bot"));

    // another run of the flow does not add to it
    rig.start("r2", json!({"flow": "f"})).await;
    let error = error_of(&rig, "r2").await;
    assert_eq!(error.reason.to_string(), "BranchExists", "{}", error.message);
    assert_eq!(remote.messages("fix").len(), 2);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_commit_to_branches_of_their_own_and_nothing_is_committed_twice() {
    let (rig, remote) = (Rig::open().await, Remote::new());
    remote
        .connect(&rig, "site", &json!({"password": {"name": "none", "key": "x"}}))
        .await;
    let operator = rig.operator().await;
    let step = json!({"name": "propose", "forEach": {"items": ["a", "b", "c"]},
        "git": {"connection": "site", "branch": "fix-${item}", "message": "Fix", "files": [{"path": "${item}.txt", "content": "${item}"}]}});
    rig.flow("f", flow(&json!([step]))).await;
    rig.start("r", json!({"flow": "f"})).await;
    let error = error_of(&rig, "r").await;
    assert!(error.message.contains("none"), "{}", error.message);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "none"}, "stringData": {"x": "secret"}});
    create::<Secret>(&rig, secret).await;
    rig.start("r2", json!({"flow": "f"})).await;
    let run = rig.phase("r2", "Succeeded").await;
    let output = run.status.unwrap().output.unwrap().0["of"].clone();
    assert_eq!(output.as_array().unwrap().len(), 3);
    for item in ["a", "b", "c"] {
        let branch = format!("fix-{item}");
        assert_eq!(
            remote.file(&branch, &format!("{item}.txt")).as_deref(),
            Some(item)
        );
        assert_eq!(remote.messages(&branch).len(), 1);
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_of_a_repository_are_not_committed_to_and_other_ones_are_by_its_name() {
    let (rig, remote) = (Rig::open().await, Remote::new());
    push(&remote.git, "drafts", &[("x.yaml", Some("x: 1"))]);
    let (main, drafts) = (remote.at("main"), remote.at("drafts"));
    remote.follow(&rig, "site", &remote.url()).await;
    remote.connect(&rig, "site", &json!({})).await;
    let operator = rig.operator().await;
    let step = json!({"name": "propose", "git": {"repository": "site", "branch": "${inputs.word}", "message": "Fix",
        "ifExists": "Append", "base": "main", "files": [{"path": "a", "content": "a"}]}});
    rig.flow("f", flow(&json!([step]))).await;
    for (n, branch) in ["main", "drafts", "Main", "signoff-x/anything"]
        .into_iter()
        .enumerate()
    {
        let name = format!("r{n}");
        rig.start(&name, json!({"flow": "f", "inputs": {"word": branch}}))
            .await;
        let error = error_of(&rig, &name).await;
        assert_eq!(
            error.reason.to_string(),
            "BranchNotAllowed",
            "{branch}: {}",
            error.message
        );
    }
    for (n, branch) in ["refs/heads/main", "a b", "-x", "a..b"].into_iter().enumerate() {
        let name = format!("bad{n}");
        rig.start(&name, json!({"flow": "f", "inputs": {"word": branch}}))
            .await;
        let error = error_of(&rig, &name).await;
        assert_eq!(
            error.reason.to_string(),
            "InvalidRequest",
            "{branch}: {}",
            error.message
        );
    }
    assert_eq!((remote.at("main"), remote.at("drafts")), (main, drafts));
    // the same by a Connection
    rig.flow(
        "g",
        flow(&json!([propose(
            &json!({"branch": "main", "ifExists": "Append"})
        )])),
    )
    .await;
    rig.start("g1", json!({"flow": "g"})).await;
    assert_eq!(error_of(&rig, "g1").await.reason.to_string(), "BranchNotAllowed");

    rig.start("good", json!({"flow": "f", "inputs": {"word": "topic"}}))
        .await;
    rig.phase("good", "Succeeded").await;
    assert_eq!(remote.file("topic", "a").as_deref(), Some("a"));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_from_data_do_not_lead_out_of_the_repository() {
    let (rig, remote) = (Rig::open().await, Remote::new());
    remote.connect(&rig, "site", &json!({})).await;
    let operator = rig.operator().await;
    let step = json!({"name": "propose", "git": {"connection": "site", "branch": "fix-${run.name}", "message": "Fix",
        "files": [{"path": "${inputs.word}", "content": "x"}]}});
    rig.flow("f", flow(&json!([step]))).await;
    let paths = [
        "../x",
        "/etc/passwd",
        ".git/config",
        "a/.GIT/hooks/post-checkout",
        "GIT~1/config",
        "a\\b",
        "index.html/x",
    ];
    for (n, path) in paths.into_iter().enumerate() {
        let name = format!("r{n}");
        rig.start(&name, json!({"flow": "f", "inputs": {"word": path}}))
            .await;
        let reason = error_of(&rig, &name).await.reason.to_string();
        assert!(
            ["InvalidRequest", "FileRefused"].contains(&reason.as_str()),
            "{path}: {reason}"
        );
        assert_eq!(remote.at(&format!("fix-{name}")), None, "{path}");
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_were_shown_is_committed_and_only_to_where_they_were_shown() {
    let (rig, remote, other) = (Rig::open().await, Remote::new(), Remote::new());
    remote.follow(&rig, "elsewhere", "file:///nowhere/else.git").await;
    remote.follow(&rig, "site", &remote.url()).await;
    let operator = rig.operator().await;
    let review = json!({"name": "review", "approval": {"title": "Commit?", "show": [{"name": "change", "step": "propose"}]}});
    let step = json!({"name": "propose", "git": {"repository": "site", "branch": "fix-${run.name}", "message": "Say ${inputs.word}",
        "files": [{"path": "index.html", "content": "${inputs.word}"}]}});
    rig.flow("f", flow(&json!([review, step]))).await;
    rig.start("r", json!({"flow": "f"})).await;
    let question = rig.until::<Approval>("r-review", |_| true).await;
    let shown = |name: &str| {
        let item = question.spec.show.iter().find(|item| item.name == name).unwrap();
        serde_json::from_str::<Value>(&item.inline).unwrap()
    };
    let change = json!({"repository": "site", "branch": "fix-r", "message": "Say bye",
        "files": [{"path": "index.html", "content": "bye"}]});
    assert_eq!(shown("change"), change);
    assert_eq!(shown("connections")[0]["connection"], "repository/site");
    assert_eq!(shown("connections")[0]["address"], json!(remote.url()));
    rig.decide("alice", "r-review", "Approve").await;
    rig.phase("r", "Succeeded").await;
    assert_eq!(remote.file("fix-r", "index.html").as_deref(), Some("bye"));

    // the Repository is turned elsewhere after the answer, before the commit
    let wait = json!({"name": "pause", "wait": {"callback": {}}});
    let review = json!({"name": "review", "approval": {"title": "Commit?"}});
    let mut step = propose(&json!({"repository": "site"}));
    step["git"].as_object_mut().unwrap().remove("connection");
    rig.flow("g", flow(&json!([review, wait, step]))).await;
    rig.start("g1", json!({"flow": "g"})).await;
    rig.until::<Approval>("g1-review", |_| true).await;
    rig.decide("alice", "g1-review", "Approve").await;
    rig.until::<Approval>("g1-review", |approval| {
        approval
            .status
            .as_ref()
            .is_some_and(|status| status.phase == ApprovalPhase::Approved)
    })
    .await;
    rig.until::<Run>("g1", |run| {
        let steps = run.status.iter().flat_map(|status| &status.steps);
        steps.into_iter().any(|step| step.name == "pause")
    })
    .await;
    let turned = Patch::Merge(json!({"spec": {"url": other.url()}}));
    rig.api::<Repository>()
        .patch("site", &PatchParams::default(), &turned)
        .await
        .unwrap();
    let resolve = json!({"resolutions": {"pause.1": {"body": {}, "message": "go on"}}});
    rig.patch_run("g1", resolve).await;
    let error = error_of(&rig, "g1").await;
    assert_eq!(error.reason.to_string(), "ConnectionChanged", "{}", error.message);
    assert_eq!((remote.at("fix-g1"), other.at("fix-g1")), (None, None));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_changes_nothing_says_so() {
    let (rig, remote) = (Rig::open().await, Remote::new());
    remote.connect(&rig, "site", &json!({})).await;
    let operator = rig.operator().await;
    let files = json!([{"path": "index.html", "content": "${inputs.word}"}]);
    rig.flow("f", flow(&json!([propose(&json!({"files": files}))])))
        .await;
    rig.start("r", json!({"flow": "f", "inputs": {"word": "hello"}}))
        .await;
    let run = rig.phase("r", "Succeeded").await;
    let output = run.status.unwrap().output.unwrap().0["of"].clone();
    assert_eq!(
        (&output["changed"], &output["branch"]),
        (&json!(false), &json!("fix-r"))
    );
    assert_eq!(remote.at("fix-r"), None);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_says_nothing_holds_up_neither_a_time_out_nor_a_cancellation() {
    let rig = Rig::open().await;
    // whoever connects waits in its queue
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/acme/site.git", silent.local_addr().unwrap());
    let connection = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": {"name": "site"},
        "spec": {"git": {"url": url}}});
    create::<Connection>(&rig, connection).await;
    let operator = rig.operator().await;
    let mut step = propose(&json!({}));
    step["timeout"] = json!("300ms");
    rig.flow("f", flow(&json!([step]))).await;
    rig.start("late", json!({"flow": "f"})).await;
    let error = error_of(&rig, "late").await;
    assert_eq!(error.reason.to_string(), "AttemptTimedOut", "{}", error.message);

    rig.flow("g", flow(&json!([propose(&json!({}))]))).await;
    rig.start("gone", json!({"flow": "g"})).await;
    rig.until::<Run>("gone", |run| {
        let steps = run.status.iter().flat_map(|status| &status.steps);
        steps.into_iter().any(|step| step.name == "propose")
    })
    .await;
    rig.patch_run("gone", json!({"cancel": true})).await;
    rig.phase("gone", "Cancelled").await;
    // nothing that goes on keeps the operator from stopping
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_any_write_commits_once() {
    cut_at_each_write(Cut::Before, 2, one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_after_any_write_commits_once() {
    cut_at_each_write(Cut::After, 2, one).await;
}

/// Plays one run under a cut. Says whether the cut was reached.
async fn one(at: Cut) -> bool {
    let (rig, remote) = (Rig::open().await, Remote::new());
    remote.connect(&rig, "site", &json!({})).await;
    let operator = rig.operator().await;
    let again = json!({"name": "again", "git": {"connection": "site", "branch": "${steps.propose.output.branch}",
        "message": "Then this", "files": [{"path": "then.txt", "content": "${steps.propose.output.commit}"}]}});
    let review = json!({"name": "review", "approval": {"title": "go?"}});
    rig.flow("f", flow(&json!([propose(&json!({})), review, again])))
        .await;
    operator.stop().await;

    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    rig.start("r", json!({"flow": "f"})).await;
    let story = async {
        rig.until_ever::<Approval>("r-review").await;
        rig.decide("alice", "r-review", "Approve").await;
        rig.phase("r", "Succeeded").await;
    };
    let (reached, second) = rig.play_over(&fault, first, story).await;
    let run = rig.phase("r", "Succeeded").await;
    second.stop().await;

    let said: Vec<String> = remote.messages("fix-r");
    let subjects: Vec<&str> = said.iter().filter_map(|message| message.lines().next()).collect();
    assert_eq!(subjects, ["Then this", "Say bye"], "{at:?}");
    let steps = run.status.unwrap().steps;
    assert!(
        steps
            .iter()
            .all(|step| step.outcome == Some(StepOutcome::Succeeded) || step.name == "review"),
        "{at:?}"
    );
    let named = remote.file("fix-r", "then.txt").unwrap();
    let last = remote.git.find_commit(remote.at("fix-r").unwrap()).unwrap();
    assert_eq!(last.parent_id(0).unwrap().to_string(), named, "{at:?}");
    reached
}
