//! What is said on the forge of commits and pull requests.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use signoff_api::{Release, Repository};

use crate::{Account, Pull, Relay, Stage, flaky::Flaky};
use crate::{controlplane::PATIENCE, world::FLOW};

const SUITE: &str = "feedback on a real forge";

struct Told {
    stage: Stage,
    bot: Account,
}

impl Told {
    async fn open() -> Option<Self> {
        let stage = Stage::open(SUITE).await?;
        let bot = stage.forge.operator().await;
        stage.owner.add_collaborator(&stage.repo, &bot, "write").await;
        stage.connect_with_token(&bot.login, &bot.token).await;
        Some(Self { stage, bot })
    }

    async fn follow(&self) {
        self.follow_with(&self.stage.forge.url(), &self.bot.token, json!({}))
            .await;
    }

    /// Follows the repository, with the forge's API at this address and this token; `more` goes into the spec.
    async fn follow_with(&self, api: &str, token: &str, mut more: Value) {
        more["forge"] = self.stage.api(api, token).await;
        if more["interval"].is_null() {
            more["interval"] = json!("1s");
        }
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
    told.comment(&pull, "- `hello.yaml:").await;
    told.status(&head, "signoff/flows", "failure: hello.yaml:").await;

    stage.work.push("main", &[("hello.yaml", Some(flow))]).await;
    told.comment(&pull, "Nothing that is live changes").await;
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_on_the_repository_and_holds_nothing_back() {
    let Some(told) = Told::open().await else { return };
    let stage = &told.stage;
    let commit = stage.work.push("main", &[("hello.yaml", Some(FLOW))]).await;
    told.follow_with(&stage.forge.url(), "wrong", json!({})).await;
    stage.draft_of(&commit).await;
    stage.rig.event("flows", "ForgeForbidden").await;
    let reason = |wanted: &'static str| {
        move |repository: &Repository| {
            let conditions = repository.status.as_ref().map(|status| &status.conditions);
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|c| c.type_ == "ForgeReady" && c.reason == wanted)
        }
    };
    stage
        .rig
        .until::<Repository>("flows", reason("ForgeForbidden"))
        .await;
    stage.ready("Synced").await;

    stage.api(&stage.forge.url(), &told.bot.token).await;
    stage.rig.until::<Repository>("flows", reason("Told")).await;
    told.status(&commit, "signoff/flows", "success: cut ").await;
}

#[tokio::test]
async fn a_revert_on_the_live_branch_is_told_as_a_rollback() {
    let Some(told) = Told::open().await else { return };
    let stage = &told.stage;
    let first = stage.work.push("main", &[("hello.yaml", Some(FLOW))]).await;
    told.follow().await;
    let old = stage.draft_of(&first).await;
    stage.work.point("live", "main").await;
    stage.until_live(&old).await;
    later_than(&stage.rig.api::<Release>().get(&old).await.unwrap()).await;

    let changed = FLOW.replace("x: 1", "x: 2");
    let second = stage.work.push("main", &[("hello.yaml", Some(&changed))]).await;
    let new = stage.draft_of(&second).await;
    stage.work.point("live", "main").await;
    stage.until_live(&new).await;
    told.status(&second, "signoff/live", &format!("success: live: {new}"))
        .await;

    let revert = stage.work.push("live", &[("hello.yaml", Some(FLOW))]).await;
    stage.until_live(&old).await;
    let back = format!("success: rolled back hello to {old}");
    told.status(&revert, "signoff/live", &back).await;
    stage.rig.event("hello", "RolledBack").await;
}

/// Waits until another release would have a later time: they are whole seconds.
async fn later_than(release: &Release) {
    let cut = release.metadata.creation_timestamp.as_ref().unwrap().0;
    let waiting = async {
        while Timestamp::now().as_second() <= cut.as_second() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test]
async fn a_bad_file_of_the_live_branch_is_no_failure_of_the_draft() {
    let Some(told) = Told::open().await else { return };
    let stage = &told.stage;
    let good = stage.work.push("main", &[("hello.yaml", Some(FLOW))]).await;
    stage.work.point("live", "main").await;
    let bad = stage
        .work
        .push(
            "live",
            &[("bad.yaml", Some("apiVersion: signoff.dev/v1alpha1\na: ["))],
        )
        .await;
    told.follow().await;
    told.status(&bad, "signoff/live", "failure: bad.yaml:").await;
    told.status(&good, "signoff/flows", "success: cut hello-").await;
}

#[tokio::test]
async fn a_forge_that_is_down_holds_nothing_back_and_is_told_when_it_is_back() {
    let Some(told) = Told::open().await else { return };
    let stage = &told.stage;
    let flaky = Flaky::open(&stage.forge.url()).await;
    let mut flow = FLOW.to_owned();
    for (x, status) in [(2, 503), (3, 429)] {
        flaky.answer(status);
        flow = flow.replace(&format!("x: {}", x - 1), &format!("x: {x}"));
        let commit = stage.work.push("main", &[("hello.yaml", Some(&flow))]).await;
        told.follow_with(&flaky.url(), &told.bot.token, json!({})).await;
        let release = stage.draft_of(&commit).await;
        let refusing = async {
            while flaky.refused() == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, refusing).await.unwrap();
        stage.ready("Synced").await;
        assert_eq!(stage.owner.statuses(&stage.repo, &commit).await, []);
        flaky.answer(0);
        told.status(&commit, "signoff/flows", &format!("success: cut {release}"))
            .await;
    }
}

#[tokio::test]
async fn a_pull_request_from_a_branch_of_its_own_is_looked_at_when_the_forge_tells_of_it() {
    // as questions have it, which it is none of
    const CHANGE: &str = "signoff/change";
    let Some(told) = Told::open().await else { return };
    let stage = &told.stage;
    stage
        .secret("webhook", json!({"hmac": "s3cret-of-the-flows"}))
        .await;
    let first = stage.work.push("main", &[("hello.yaml", Some(FLOW))]).await;
    stage.work.point("live", "main").await;
    stage.work.point(CHANGE, "main").await;
    let webhook = json!({"secretRef": {"name": "webhook", "key": "hmac"}});
    let more = json!({"interval": "1h", "webhook": webhook});
    told.follow_with(&stage.forge.url(), &told.bot.token, more).await;
    let release = stage.draft_of(&first).await;
    told.status(&first, "signoff/live", &format!("success: live: {release}"))
        .await;

    let relay = Relay::open(stage.rig.gateway()).await;
    let url = relay.url(stage.rig.namespace(), "flows");
    let events = ["pull_request", "pull_request_sync"];
    stage
        .owner
        .add_webhook(&stage.repo, &url, "s3cret-of-the-flows", &events)
        .await;
    let changed = FLOW.replace("x: 1", "x: 2");
    let head = stage.work.push(CHANGE, &[("hello.yaml", Some(&changed))]).await;
    let pull = stage
        .owner
        .open_pull(&stage.repo, CHANGE, "live", "A change")
        .await;
    told.comment(&pull, "`1` → `2`").await;
    told.status(&head, "signoff/flows", "success: would change 1 flow")
        .await;
}
