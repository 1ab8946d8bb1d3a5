//! The walk of `docs/git.md` from an empty repository to the first approval, in its own words: its commands are run and its files are
//! filled in as they stand there.

use std::{
    ffi::OsString,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use axum::http::StatusCode;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _, api::ListParams, config::Kubeconfig};
use signoff_api::{Decision, Flow, Run};
use tokio::process::Command;

use crate::{Account, Forge, Pull, Relay, Repo, people::documented_scopes, until};
use crate::{controlplane::kubectl, support::dev::Dev};

const SUITE: &str = "the walk of docs/git.md on a real forge";

/// The section of the documentation.
fn walk() -> &'static str {
    let docs = include_str!("../../docs/git.md");
    let mut sections = docs.split("\n## ");
    sections
        .find(|section| section.starts_with("From an empty repository"))
        .unwrap()
}

/// Its blocks of commands and YAML, in order.
fn blocks<const N: usize>() -> [String; N] {
    let blocks = walk().split("```").skip(1).step_by(2);
    let blocks: Vec<String> = blocks
        .map(|block| block.split_once('\n').unwrap().1.to_owned())
        .collect();
    blocks.try_into().unwrap()
}

/// What stands between backticks within its text and begins like this.
fn inline(begin: &str) -> &'static str {
    let mut found = walk().split('`').filter(|text| text.starts_with(begin));
    found.next().unwrap_or_else(|| panic!("nothing says {begin}"))
}

/// The events that its table names for Gitea, as the API calls them.
fn events() -> Vec<String> {
    let row = walk()
        .lines()
        .find(|line| line.contains("| `application/json` | Push, Create"));
    let events = row.unwrap().trim_end_matches(" |").rsplit("| ").next().unwrap();
    let named = events.split(", ").map(|event| match event {
        // in the API the short name is that of all events about pull requests
        "Pull request" => "pull_request_only".to_owned(),
        "Pull request synchronized" => "pull_request_sync".to_owned(),
        other => other.to_lowercase().replace(' ', "_"),
    });
    named.collect()
}

/// A terminal of somebody who has the programs, and a working copy of the repository.
struct Terminal {
    dir: tempfile::TempDir,
    path: OsString,
}

impl Terminal {
    async fn open(kubectl: &Path, kubeconfig: &Path, you: &Account, url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let programs = dir.path().join("bin");
        std::fs::create_dir(&programs).unwrap();
        symlink(kubectl, programs.join("kubectl")).unwrap();
        symlink(env!("CARGO_BIN_EXE_signoff"), programs.join("signoff")).unwrap();
        let mut path = programs.into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        for user in ["admin", "dev"] {
            let mut config = Kubeconfig::read_from(kubeconfig).unwrap();
            config.current_context = Some(user.to_owned());
            std::fs::write(dir.path().join(user), serde_yaml::to_string(&config).unwrap()).unwrap();
        }
        let terminal = Self { dir, path };
        std::fs::create_dir(terminal.work()).unwrap();
        let login = format!(
            "!f() {{ echo username={}; echo password={}; }}; f",
            you.login, you.token
        );
        let clone = format!("git clone --quiet -c credential.helper='{login}' {url} .");
        terminal.run("admin", &clone).await;
        terminal
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Runs commands in the working copy, as somebody in the cluster, and gives what they print.
    async fn run(&self, user: &str, commands: &str) -> String {
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", commands])
            .current_dir(self.work())
            // nothing of whoever runs the tests
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.dir.path())
            .env("KUBECONFIG", self.dir.path().join(user))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs([
                ("GIT_AUTHOR_NAME", "Dev"),
                ("GIT_AUTHOR_EMAIL", "dev@example.com"),
            ])
            .envs([
                ("GIT_COMMITTER_NAME", "Dev"),
                ("GIT_COMMITTER_EMAIL", "dev@example.com"),
            ])
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{commands}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn replace(&self, file: &str, old: &str, new: &str) {
        let file = self.work().join(file);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "{text}");
        std::fs::write(file, text.replace(old, new)).unwrap();
    }
}

/// Waits for a status of a commit, and gives what it says.
async fn status(asker: &Account, repo: &Repo, commit: &str, context: &str) -> String {
    until(context, async || {
        let all = asker.statuses(repo, commit).await;
        let found = all
            .into_iter()
            .find(|(of, state, _)| of == context && state == "success");
        found.map(|(.., text)| text)
    })
    .await
}

/// Waits for an open pull request with this title.
async fn pull_of(asker: &Account, repo: &Repo, title: &str) -> Pull {
    until(title, async || {
        for pull in asker.pulls(repo, "open").await {
            if asker.pull(&pull).await["title"] == title {
                return Some(pull);
            }
        }
        None
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_leads_from_an_empty_repository_to_the_first_approval_and_on() {
    let Some(forge) = Forge::shared(SUITE).await else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::new(dir.path());
    let Some(kubectl) = kubectl(SUITE, &dev.kubeconfig()) else {
        return;
    };
    let _cluster = dev.start().await;
    let [init, identities, secrets, push, run] = blocks();
    let [you, alice, bot] = [
        forge.user("dev").await,
        forge.user("alice").await,
        forge.user("signoff-bot").await,
    ];
    let repo = you.create_repository("flows").await;
    for who in [&alice, &bot] {
        you.add_collaborator(&repo, who, "write").await;
    }
    let url = forge.http_url(&repo);
    let terminal = Terminal::open(kubectl.program(), &dev.kubeconfig(), &you, &url).await;

    // 1 to 3: files, token, secrets
    let init = init.split('#').next().unwrap().trim();
    terminal.run("admin", &format!("{init} --forge gitea")).await;
    let (_, token) = forge.token(&bot.login, &documented_scopes()).await;
    let id = you.get(&format!("/users/{}", alice.login)).await["id"].clone();
    let is_alice = |text: &str| {
        let named = format!("login: {}, id: {id}", alice.login);
        text.replace("login: alice, id: 7", &named)
    };
    let known = is_alice(&identities).replace("alice@example.com", "alice");
    terminal.replace(
        "signoff/repository.yaml",
        "  identities:\n    users: []\n",
        &known,
    );
    // where there is no such program, its like
    let openssl =
        "command -v openssl >/dev/null || openssl() { od -An -N32 -tx1 /dev/urandom | tr -d ' \\n'; }\n";
    assert!(secrets.contains("TOKEN=…"), "{secrets}");
    let secrets = secrets.replace("TOKEN=…", &format!("TOKEN={token}"));
    terminal.run("admin", &format!("{openssl}{secrets}")).await;

    // 4: the webhook
    let relay = Relay::open(dev.gateway()).await;
    let address = inline("https://GATEWAY/").replace("NAMESPACE", "default");
    let hook = relay.url("default", "flows");
    assert!(
        hook.ends_with(address.trim_start_matches("https://GATEWAY")),
        "{address}"
    );
    let secret = terminal.run("admin", inline("kubectl get secret")).await;
    let client = dev.client("admin").await;
    let stored = Api::<Secret>::default_namespaced(client.clone())
        .get("flows-forge")
        .await
        .unwrap();
    assert_eq!(stored.data.unwrap()["webhook"].0, secret.as_bytes());
    let events = events();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    you.add_webhook(&repo, &hook, &secret, &events).await;

    // 5: the first push
    terminal.run("admin", &push).await;
    let commit = terminal.run("admin", "git rev-parse HEAD").await;
    let commit = commit.trim();
    let cut = status(&you, &repo, commit, "signoff/flows").await;
    assert!(cut.starts_with("cut hello-"), "{cut}");
    let live = status(&you, &repo, commit, "signoff/live").await;
    assert!(live.starts_with("live: hello-"), "{live}");
    assert!(
        relay
            .answered(2)
            .await
            .iter()
            .all(|told| told.status == StatusCode::ACCEPTED)
    );

    // 6: the run and its answer
    terminal.run("dev", &run).await;
    let pull = pull_of(&you, &repo, "Sign off: Greet world?").await;
    let head = you.pull(&pull).await["head"]["ref"].as_str().unwrap().to_owned();
    assert!(head.starts_with("signoff/default/"), "{head}");
    alice.merge(&pull).await;
    let runs: Api<Run> = Api::default_namespaced(client.clone());
    let name = runs.list(&ListParams::default()).await.unwrap().items[0].name_any();
    until("end of the run", async || {
        let status = runs.get(&name).await.unwrap().status?;
        status.phase.is_finished().then_some(())
    })
    .await;
    let told = terminal.run("dev", &format!("signoff status {name}")).await;
    assert!(told.contains("Succeeded") && told.contains("alice"), "{told}");
    let via = terminal.run("dev", inline("kubectl get decisions")).await;
    assert!(
        via.contains(&format!("\"pullRequest\":\"{}\"", pull.number)),
        "{via}"
    );
    let decisions: Api<Decision> = Api::default_namespaced(client.clone());
    assert_eq!(
        decisions.list(&ListParams::default()).await.unwrap().items.len(),
        1
    );

    // and on: a change, and a pull request that makes it live
    let work = you.checkout(&repo).await;
    work.point("change", "main").await;
    let flow = std::fs::read_to_string(terminal.work().join("flows/hello.yaml")).unwrap();
    let changed = flow.replace("Hello, ${inputs.who}!", "Good day, ${inputs.who}!");
    work.push("change", &[("flows/hello.yaml", Some(&changed))]).await;
    let change = you.open_pull(&repo, "change", "main", "More polite").await;
    you.merge(&change).await;
    let merged = you.head(&repo, "main").await.unwrap();
    let cut = status(&you, &repo, &merged, "signoff/flows").await;
    assert!(cut.starts_with("cut hello-"), "{cut}");
    let release = cut
        .trim_start_matches("cut ")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let go = you.open_pull(&repo, "main", "live", "Go live").await;
    until("comment on what would change", async || {
        let comments = you.comments(&go).await.into_iter();
        let mut ours = comments.filter(|(by, _)| *by == bot.login);
        ours.find(|(_, text)| text.contains("Good day"))
    })
    .await;
    you.merge(&go).await;
    let flows: Api<Flow> = Api::default_namespaced(client);
    until("live release", async || {
        let live = flows.get("hello").await.unwrap().status?.live?.release;
        (live == release).then_some(())
    })
    .await;
}
