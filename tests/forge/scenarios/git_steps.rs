//! `git` steps on the forge: a branch and its pull request, made once whatever happens between, and left alone where others wrote them.

use reqwest::Method;
use serde_json::{Value, json};
use signoff_api::{Run, run::StepError};

use crate::{Deciders, flaky::Flaky, until};

impl Deciders {
    /// Makes a flow `propose` live that opens a pull request; `more` goes into its step.
    async fn proposes(&self, name: &str, more: &Value) {
        let mut step = json!({"name": "open", "retry": {"attempts": 20, "backoff": {"initial": "100ms", "factor": 1}},
            "git": {"repository": "flows", "branch": "fix-${run.name}", "base": "main", "message": "Fix it, pass ${steps.open.pass}",
                "files": [{"path": "fix.txt", "content": "${inputs.text}, pass ${steps.open.pass}"}],
                "pullRequest": {"into": "main", "title": "Fix it, pass ${steps.open.pass}", "body": "Please look\u{202e}",
                    "reviewers": [self.alice.login, "nobody-of-that-name"], "draft": true}},
            "repeat": {"while": "${steps.open.pass < inputs.passes}"}});
        for (key, value) in more.as_object().unwrap() {
            step["git"][key] = value.clone();
        }
        step["git"]
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        let inputs = json!({"type": "object", "properties": {"text": {"type": "string", "default": "fixed"},
            "passes": {"type": "integer", "default": 1}}});
        let spec = json!({"inputs": inputs, "steps": [step], "output": {"of": "${steps.open.output}"}});
        self.stage.rig.flow(name, spec).await;
    }

    async fn output_of(&self, run: &str) -> Value {
        let run: Run = self.stage.rig.phase(run, "Succeeded").await;
        run.status.unwrap().output.unwrap().0["of"].clone()
    }

    async fn error_of(&self, run: &str) -> StepError {
        let run: Run = self.stage.rig.phase(run, "Failed").await;
        run.status
            .unwrap()
            .steps
            .into_iter()
            .find_map(|step| step.error)
            .unwrap()
    }

    /// Subjects of the commits of a branch that `main` does not have, the newest first.
    async fn subjects(&self, branch: &str) -> Vec<String> {
        let repo = &self.stage.repo;
        let compared = self
            .stage
            .owner
            .get(&repo.path(&format!("/compare/main...{branch}")))
            .await;
        let commits = compared["commits"].as_array().cloned().unwrap_or_default();
        let subject = |commit: &Value| {
            let message = commit["commit"]["message"].as_str().unwrap();
            message.lines().next().unwrap().to_owned()
        };
        commits.iter().map(subject).collect()
    }
}

#[tokio::test]
async fn a_pull_request_is_opened_once_and_the_next_pass_updates_it() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let (stage, repo) = (&deciders.stage, &deciders.stage.repo);
    deciders.proposes("propose", &json!({})).await;
    stage
        .rig
        .start("r", json!({"flow": "propose", "inputs": {"passes": 2}}))
        .await;
    let output = deciders.output_of("r").await;
    let pulls = stage.owner.pulls(repo, "all").await;
    let [pull] = pulls.as_slice() else {
        panic!("{pulls:?}")
    };
    // the forge looks at what was pushed in its own time
    let seen = until("the pull request has the commit", async || {
        let seen = stage.owner.pull(pull).await;
        (seen["head"]["sha"] == output["commit"]).then_some(seen)
    })
    .await;
    assert_eq!(
        (&output["number"], &output["url"]),
        (&seen["number"], &seen["html_url"])
    );
    assert_eq!(seen["title"], "WIP: Fix it, pass 2");
    assert_eq!(seen["draft"], true);
    assert_eq!(seen["body"], "Please look\\u{202e}");
    assert_eq!(seen["user"]["login"], deciders.bot.login.as_str());
    assert_eq!(
        seen["requested_reviewers"][0]["login"],
        deciders.alice.login.as_str()
    );
    let mut subjects = deciders.subjects("fix-r").await;
    subjects.sort();
    assert_eq!(subjects, ["Fix it, pass 1", "Fix it, pass 2"]);

    // what changes nothing opens nothing
    stage
        .work
        .push("main", &[("fix.txt", Some("fixed, pass 1"))])
        .await;
    stage.rig.start("same", json!({"flow": "propose"})).await;
    let output = deciders.output_of("same").await;
    assert_eq!(
        (&output["changed"], &output["number"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(stage.owner.head(repo, "fix-same").await, None);
    assert_eq!(stage.owner.pulls(repo, "all").await.len(), 1);
}

#[tokio::test]
async fn a_forge_that_fails_between_the_commit_and_the_pull_request_gets_each_once() {
    let Some(deciders) = Deciders::gather().await else {
        return;
    };
    let stage = &deciders.stage;
    let flaky = Flaky::open(&stage.forge.url()).await;
    deciders
        .follow_with(&flaky.url(), json!({"decisions": {"propose": "None"}}))
        .await;
    deciders.release(&crate::deciders::flow("")).await;
    deciders.proposes("propose", &json!({})).await;
    flaky.answer_to(Method::POST, 500);
    stage.rig.start("r", json!({"flow": "propose"})).await;
    until("the pull request is asked for", async || {
        let is_there = stage.owner.head(&stage.repo, "fix-r").await.is_some();
        (is_there && flaky.refused() > 1).then_some(())
    })
    .await;
    flaky.answer(0);
    let output = deciders.output_of("r").await;
    assert_eq!(output["changed"], true);
    assert_eq!(deciders.subjects("fix-r").await, ["Fix it, pass 1"]);
    assert_eq!(stage.owner.pulls(&stage.repo, "all").await.len(), 1);
}

#[tokio::test]
async fn what_others_wrote_is_left_and_what_the_forge_refuses_is_told() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let (stage, repo) = (&deciders.stage, &deciders.stage.repo);
    deciders
        .proposes("propose", &json!({"branch": "theirs", "ifExists": "Append"}))
        .await;
    let work = deciders.dev.checkout(repo).await;
    // a branch of its own history could not be compared
    work.git(&["fetch", "--quiet", "origin"]).await;
    let main = "refs/remotes/origin/main:refs/heads/theirs";
    work.git(&["push", "--quiet", "origin", main]).await;
    let before = work.push("theirs", &[("theirs.txt", Some("x"))]).await;
    let theirs = deciders.dev.open_pull(repo, "theirs", "main", "Mine").await;
    stage.rig.start("r", json!({"flow": "propose"})).await;
    let output = deciders.output_of("r").await;
    assert_eq!(output["number"], theirs.number);
    assert_eq!(stage.owner.pull(&theirs).await["title"], "Mine");
    assert_eq!(
        stage.owner.head(repo, "theirs").await.as_deref(),
        output["commit"].as_str()
    );
    let mut subjects = deciders.subjects("theirs").await;
    subjects.sort();
    assert_eq!(subjects.len(), 2, "{subjects:?} {before}");

    let refused = [
        (
            "draft",
            json!({"branch": "main", "ifExists": "Append", "pullRequest": null}),
            "BranchNotAllowed",
        ),
        (
            "ours",
            json!({"branch": "signoff/x", "pullRequest": null}),
            "BranchNotAllowed",
        ),
        (
            "base",
            json!({"base": "nowhere", "pullRequest": null}),
            "BranchNotFound",
        ),
        (
            "into",
            json!({"pullRequest": {"into": "nowhere", "title": "x"}}),
            "BranchNotFound",
        ),
        (
            "locked",
            json!({"branch": "locked-x", "pullRequest": null}),
            "PushRefused",
        ),
    ];
    let rule = json!({"enable_push": false});
    stage.owner.protect(repo, "locked-*", rule).await;
    for (name, more, reason) in refused {
        deciders.proposes(name, &more).await;
        stage.rig.start(&format!("r-{name}"), json!({"flow": name})).await;
        let error = deciders.error_of(&format!("r-{name}")).await;
        assert_eq!(error.reason.to_string(), reason, "{name}: {}", error.message);
        assert!(!error.message.contains(&deciders.bot.token), "{}", error.message);
    }
}

#[tokio::test]
async fn a_token_that_the_forge_refuses_leaves_the_commit_which_a_retry_finds() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let stage = &deciders.stage;
    deciders.proposes("propose", &json!({})).await;
    stage.secret("api", json!({"token": "n0t-a-token"})).await;
    stage.rig.start("r", json!({"flow": "propose"})).await;
    let error = deciders.error_of("r").await;
    assert_eq!(error.reason.to_string(), "ForgeRefused", "{}", error.message);
    assert!(!error.message.contains("n0t-a-token"), "{}", error.message);
    let made = stage.owner.head(&stage.repo, "fix-r").await.unwrap();

    stage.secret("api", json!({"token": deciders.bot.token})).await;
    let again = json!({"flow": "propose", "retryOf": {"run": "r", "from": "open"}});
    stage.rig.start("r2", again).await;
    // the branch is named after the run, so the retry makes another
    let output = deciders.output_of("r2").await;
    assert_ne!(output["commit"], json!(made));
    assert_eq!(stage.owner.pulls(&stage.repo, "all").await.len(), 1);
}
