//! `signoff git init`: what it writes is valid, applies, and runs.

use std::{
    path::Path,
    process::{Command, Output},
};

use git2::{Repository as Git, Signature};
use kube::api::PostParams;
use serde_json::{Value, json};
use signoff::git::RemoteUrl;
use signoff_api::{Approval, Connection, Flow, Repository};

use crate::support::rig::Rig;

fn signoff(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_signoff"))
        .args(args)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .env("KUBECONFIG", "/nonexistent/kubeconfig")
        .output()
        .unwrap()
}

fn init(folder: &Path, more: &[&str]) -> Value {
    let args: Vec<&str> = ["git", "init", "-o", "json"]
        .iter()
        .chain(more)
        .copied()
        .collect();
    let output = signoff(folder, &args);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn read(folder: &Path, path: &str) -> String {
    std::fs::read_to_string(folder.join(path)).unwrap()
}

/// The documents of `signoff/repository.yaml`: the Repository, and the Connection if there is one.
fn manifests(folder: &Path) -> (Repository, Option<Connection>) {
    let text = read(folder, "signoff/repository.yaml");
    let mut documents = text.split("\n---\n");
    let repository = serde_yaml::from_str(documents.next().unwrap()).unwrap();
    (
        repository,
        documents.next().map(|text| serde_yaml::from_str(text).unwrap()),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_valid_and_applies_for_every_forge_and_kind_of_address() {
    let rig = Rig::open().await;
    for (n, (url, forge, check, api)) in [
        (
            "https://github.com/acme/flows.git",
            None,
            ".github/workflows/flows.yaml",
            "https://api.github.com",
        ),
        (
            "git@gitlab.com:acme/flows.git",
            None,
            ".gitlab-ci.yml",
            "https://gitlab.com/api/v4",
        ),
        (
            "git@github.com:acme/flows.git",
            None,
            ".github/workflows/flows.yaml",
            "https://api.github.com",
        ),
        (
            "ssh://bot@git.example.com/~bot/flows",
            Some("gitlab"),
            ".gitlab-ci.yml",
            "https://git.example.com/api/v4",
        ),
        (
            "ssh://git@git.example.com:2222/acme/flows.git",
            Some("gitea"),
            ".gitea/workflows/flows.yaml",
            "https://git.example.com/api/v1",
        ),
        (
            "https://git.example.com/acme/flows.git",
            Some("github"),
            ".github/workflows/flows.yaml",
            "https://git.example.com/api/v3",
        ),
        (
            "http://git.example.com:3000/acme/flows.git",
            Some("gitea"),
            ".gitea/workflows/flows.yaml",
            "http://git.example.com:3000/api/v1",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("flows-{n}");
        let mut args = vec!["--url", url, "--name", &name];
        args.extend(forge.iter().flat_map(|forge| ["--forge", forge]));
        let answer = init(dir.path(), &args);
        let files = answer["data"]["files"].as_array().unwrap();
        assert!(files.contains(&json!(check)), "{files:?}");
        for next in answer["next"].as_array().unwrap() {
            let readme = read(dir.path(), "README.md");
            assert!(
                readme.contains(next.as_str().unwrap()),
                "{next} is not in the README"
            );
        }
        let tested = signoff(dir.path(), &["test", "-R", "tests"]);
        assert!(tested.status.success(), "{tested:?}");
        let validated = signoff(dir.path(), &["validate", "flows/hello.yaml"]);
        assert!(validated.status.success(), "{validated:?}");
        let run: Value = serde_yaml::from_str(&read(dir.path(), check)).unwrap();
        assert!(run.to_string().contains("-exec signoff validate {} +"), "{run}");
        let when = format!("{} {}", run["on"], run["validate"]["rules"]);
        assert!(when.contains("flows/**") && when.contains("signoff"), "{when}");
        assert!(read(dir.path(), "README.md").contains("`SIGNOFF_SOURCE`"));
        for file in files {
            let text = read(dir.path(), file.as_str().unwrap());
            assert!(
                !text.contains("@NAME@") && !text.contains("@CHECK@") && !text.contains(" \n"),
                "{file}: {text}"
            );
        }

        let (repository, connection) = manifests(dir.path());
        assert_eq!(repository.spec.url, url);
        let remote: RemoteUrl = repository.spec.url.parse().unwrap();
        assert_eq!(Ok(remote), url.parse());
        assert_eq!(repository.spec.forge.as_ref().unwrap().url, api);
        let params = PostParams::default();
        rig.api::<Repository>()
            .create(&params, &repository)
            .await
            .unwrap();
        rig.api::<Connection>()
            .create(&params, &connection.unwrap())
            .await
            .unwrap();
    }
}

#[test]
fn what_is_there_is_not_written_over_unless_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("README.md"), "mine").unwrap();
    let url = ["git", "init", "--url", "https://git.example.com/acme/flows.git"];
    let refused = signoff(dir.path(), &url);
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("README.md is there already"));
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing was written"
    );
    let forced: Vec<&str> = url.iter().copied().chain(["--force"]).collect();
    assert!(signoff(dir.path(), &forced).status.success());
    assert!(read(dir.path(), "README.md").starts_with("# Flows"));
}

#[test]
fn an_address_is_needed_and_none_that_holds_a_password_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let none = signoff(dir.path(), &["git", "init"]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    let secret = [
        "git",
        "init",
        "--url",
        "https://me:s3cret@git.example.com/flows.git",
    ];
    let secret = signoff(dir.path(), &secret);
    assert_eq!(secret.status.code(), Some(2), "{secret:?}");
    let said = String::from_utf8_lossy(&secret.stderr).into_owned();
    assert!(!said.contains("s3cret"), "{said}");
    let git = Git::init(dir.path()).unwrap();
    git.remote("origin", "https://github.com/acme/flows.git").unwrap();
    init(dir.path(), &[]);
    let (repository, _) = manifests(dir.path());
    assert_eq!(repository.spec.url, "https://github.com/acme/flows.git");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_runs_from_the_first_push_to_the_first_question() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let dir = tempfile::tempdir().unwrap();
    let remote = Git::init_bare(dir.path().join("flows.git")).unwrap();
    let url = format!("file://{}", remote.path().display());
    let work = dir.path().join("work");
    let git = Git::init(&work).unwrap();
    git.remote("origin", &url).unwrap();
    init(&work, &[]);

    let mut index = git.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
    let tree = git.find_tree(index.write_tree().unwrap()).unwrap();
    let who = Signature::now("Dev", "dev@example.com").unwrap();
    git.commit(Some("refs/heads/main"), &who, &who, "Begin", &tree, &[])
        .unwrap();
    let push = |refspec: &str| git.find_remote("origin").unwrap().push(&[refspec], None).unwrap();
    push("refs/heads/main:refs/heads/main");
    push("refs/heads/main:refs/heads/live");

    let (repository, connection) = manifests(&work);
    assert!(connection.is_none(), "nobody logs in to a folder");
    let params = PostParams::default();
    rig.api::<Repository>()
        .create(&params, &repository)
        .await
        .unwrap();
    let live = |flow: &Flow| flow.status.as_ref().is_some_and(|status| status.live.is_some());
    rig.until("hello", live).await;
    rig.start("r", json!({"flow": "hello", "inputs": {"who": "world"}}))
        .await;
    let asked = rig.until::<Approval>("r-review", |_| true).await;
    assert_eq!(asked.spec.title, "Greet world?");
    rig.decide("alice", "r-review", "Approve").await;
    let ended = rig.phase("r", "Succeeded").await;
    let output = ended.status.unwrap().output.unwrap().0;
    assert_eq!(output, json!({"text": "Hello, world!", "approved": "Approve"}));
    operator.stop().await;
}
