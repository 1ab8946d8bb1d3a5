//! What is said on the forge of commits and pull requests.

use std::time::Duration;

use serde_json::json;

use super::{Account, Pull, Stage};
use crate::{controlplane::PATIENCE, world::FLOW};

const SUITE: &str = "feedback on a real forge";

struct Told {
    stage: Stage,
    bot: Account,
}

impl Told {
    async fn open() -> Option<Self> {
        let stage = Stage::open(SUITE).await?;
        let bot = stage.forge.user("signoff").await;
        stage.owner.add_collaborator(&stage.repo, &bot, "write").await;
        stage.connect_with_token(&bot.login, &bot.token).await;
        Some(Self { stage, bot })
    }

    async fn follow(&self) {
        self.follow_with(&self.bot.token).await;
    }

    async fn follow_with(&self, token: &str) {
        let forge = self.stage.api(&self.stage.forge.url(), token).await;
        let more = json!({"interval": "1s", "forge": forge});
        self.stage
            .follow(&self.stage.forge.http_url(&self.stage.repo), more)
            .await;
    }

    /// Waits for a status of a commit that begins like this.
    async fn status(&self, commit: &str, context: &str, wanted: &str) -> String {
        let looking = async {
            loop {
                let all = self.stage.owner.statuses(&self.stage.repo, commit).await;
                let found = all.into_iter().find(|(of, state, text)| {
                    of == context && format!("{state}: {text}").starts_with(wanted)
                });
                if let Some((_, _, text)) = found {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, looking).await;
        match found.ok() {
            Some(text) => text,
            None => panic!(
                "no {wanted}: {:?}",
                self.stage.owner.statuses(&self.stage.repo, commit).await
            ),
        }
    }

    /// Waits until the only comment of ours on a pull request says this.
    async fn comment(&self, pull: &Pull, wanted: &str) -> String {
        let looking = async {
            loop {
                let all = self.stage.owner.comments(pull).await;
                let ours: Vec<String> = all
                    .into_iter()
                    .filter(|(by, _)| *by == self.bot.login)
                    .map(|(_, text)| text)
                    .collect();
                assert!(ours.len() <= 1, "{ours:#?}");
                if let Some(text) = ours.into_iter().find(|text| text.contains(wanted)) {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, looking).await;
        match found.ok() {
            Some(text) => text,
            None => panic!("no {wanted}: {:?}", self.stage.owner.comments(pull).await),
        }
    }
}

#[tokio::test]
async fn a_commit_says_what_was_cut_what_is_wrong_and_where_and_what_became_live() {
    let Some(told) = Told::open().await else { return };
    let stage = &told.stage;
    let good = stage.work.push("main", &[("hello.yaml", Some(FLOW))]).await;
    told.follow().await;
    let release = stage.draft_of(&good).await;
    told.status(&good, "signoff/flows", &format!("success: cut {release}"))
        .await;
    stage.work.point("live", "main").await;
    stage.until_live(&release).await;
    told.status(&good, "signoff/live", &format!("success: live: {release}"))
        .await;

    let bad = FLOW.replace("steps:", "stepz:");
    let bad = stage.work.push("main", &[("hello.yaml", Some(&bad))]).await;
    let text = told.status(&bad, "signoff/flows", "failure: ").await;
    let place = text.strip_prefix("hello.yaml:").expect(&text);
    let numbers: Vec<&str> = place.splitn(3, ':').collect();
    assert!(
        numbers[..2].iter().all(|number| number.parse::<u32>().is_ok()),
        "{text}"
    );
}

#[tokio::test]
async fn a_pull_request_into_live_has_one_comment_with_what_it_would_change() {
    let Some(told) = Told::open().await else { return };
    let stage = &told.stage;
    let flow = "apiVersion: signoff.dev/v1alpha1
kind: Flow
metadata: {name: hello}
spec:
  steps:
  - {name: review, approval: {title: go, approvers: {groups: [finance]}, quorum: 2}}
";
    let first = stage.work.push("main", &[("hello.yaml", Some(flow))]).await;
    told.follow().await;
    let release = stage.draft_of(&first).await;
    stage.work.point("live", "main").await;
    stage.until_live(&release).await;

    let looser = flow.replace("quorum: 2", "quorum: 1");
    let head = stage.work.push("main", &[("hello.yaml", Some(&looser))]).await;
    let pull = stage
        .owner
        .open_pull(&stage.repo, "main", "live", "Go live")
        .await;
    let comment = told.comment(&pull, "loosens").await;
    for said in ["### `hello`", "`2` → `1`", "signoff:difference"] {
        assert!(comment.contains(said), "{said}: {comment}");
    }
    told.status(&head, "signoff/flows", "success: ").await;

    let broken = flow.replace("approval:", "aproval:");
    let head = stage.work.push("main", &[("hello.yaml", Some(&broken))]).await;
    told.comment(&pull, "This cannot go live").await;
    told.status(&head, "signoff/flows", "failure: hello.yaml:").await;

    stage.work.push("main", &[("hello.yaml", Some(flow))]).await;
    told.comment(&pull, "Nothing that is live changes").await;
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_on_the_repository_and_holds_nothing_back() {
    let Some(told) = Told::open().await else { return };
    let stage = &told.stage;
    let commit = stage.work.push("main", &[("hello.yaml", Some(FLOW))]).await;
    told.follow_with("wrong").await;
    stage.draft_of(&commit).await;
    stage.rig.event("flows", "ForgeForbidden").await;
}
