//! Questions put as pull requests, and answered there by people of the forge.

mod answers;

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use kube::api::ListParams;
use reqwest::Method;
use serde_json::json;
use signoff::api::{Approval, Decision, Run};

use super::{Account, Pull, Stage, flaky::Flaky};
use crate::controlplane::PATIENCE;

const SUITE: &str = "decisions by pull request on a real forge";

/// Everybody of the story: who they are on the forge, and who in the cluster.
struct Parlour {
    stage: Stage,
    /// The operator's own account.
    bot: Account,
    alice: Account,
    bob: Account,
    dev: Account,
    agent: Account,
    /// Nobody in the cluster.
    mallory: Account,
}

/// A flow with one question; `more` goes into the approval.
fn flow(more: &str) -> String {
    format!(
        "apiVersion: signoff.dev/v1alpha1
kind: Flow
metadata: {{name: refund}}
spec:
  inputs: {{type: object, properties: {{amount: {{type: number}}}}}}
  steps:
  - name: quote
    set: {{amount: \"${{inputs.amount}}\", note: \"${{steps.review.decision.comment}}\"}}
  - name: review
    approval:
      title: \"Refund ${{inputs.amount}}?\"
      show: [{{name: quote, value: \"${{steps.quote.output}}\"}}]
      changes: {{backTo: quote, max: 3}}
{more}"
    )
}

impl Parlour {
    /// A Repository whose questions are put as pull requests, and a run that has asked one.
    async fn open(more: &str) -> Option<Self> {
        let stage = Stage::open(SUITE).await?;
        let mut people = Vec::new();
        for name in ["signoff", "alice", "bob", "dev", "agent", "mallory"] {
            let account = stage.forge.user(name).await;
            stage.owner.add_collaborator(&stage.repo, &account, "write").await;
            people.push(account);
        }
        let [bot, alice, bob, dev, agent, mallory] = people.try_into().unwrap();
        let parlour = Self {
            stage,
            bot,
            alice,
            bob,
            dev,
            agent,
            mallory,
        };
        parlour.follow(&parlour.stage.forge.url()).await;
        let commit = parlour
            .stage
            .work
            .push("main", &[("refund.yaml", Some(&flow(more)))])
            .await;
        parlour.stage.work.point("live", "main").await;
        parlour.stage.sync().await;
        parlour.stage.until_read(&commit).await;
        Some(parlour)
    }

    /// Puts the Repository there, with the forge's API at this address.
    async fn follow(&self, api: &str) {
        let stage = &self.stage;
        stage.connect_with_token(&self.bot.login, &self.bot.token).await;
        let forge = stage.api(api, &self.bot.token).await;
        let agent = "system:serviceaccount:default:agent";
        let users = json!([
            {"login": self.alice.login, "user": "alice"},
            {"login": self.bob.login, "user": "bob"},
            {"login": self.dev.login, "user": "dev"},
            {"login": self.agent.login, "user": agent},
        ]);
        let more = json!({"interval": "1s", "identities": {"users": users}, "decisions": {"propose": "PullRequest"},
            "forge": forge});
        stage.follow(&stage.forge.http_url(&stage.repo), more).await;
    }

    /// Starts a run that asks, and gives the pull request that puts its question.
    async fn ask(&self, run: &str) -> Pull {
        let spec = json!({"flow": "refund", "inputs": {"amount": 250}});
        self.stage.rig.start(run, spec).await;
        self.put(&format!("{run}-review"), 1).await
    }

    /// Waits for the n-th pull request that puts a question.
    async fn put(&self, approval: &str, count: usize) -> Pull {
        let branch = self.branch(approval);
        let found = self.until("a pull request", async || {
            let mut all = Vec::new();
            for pull in self.stage.owner.pulls(&self.stage.repo, "all").await {
                let said = self.stage.owner.pull(&pull).await;
                let of_branch = [&said["head"]["ref"], &said["head"]["label"]];
                if of_branch.iter().any(|name| **name == json!(branch)) {
                    all.push(pull);
                }
            }
            all.sort_by_key(|pull| pull.number);
            (all.len() >= count).then(|| all.remove(count - 1))
        });
        found.await
    }

    fn branch(&self, approval: &str) -> String {
        format!("signoff/{}/{approval}", self.stage.rig.namespace())
    }

    fn file(&self, approval: &str) -> String {
        format!("decisions/{}/{approval}.yaml", self.stage.rig.namespace())
    }

    /// Looks until there is something, which must not take for ever.
    async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, looking).await;
        found.unwrap_or_else(|_| panic!("there is no {what}"))
    }

    /// Waits until our account has said this on a pull request.
    async fn told(&self, pull: &Pull, what: &str) -> String {
        self.until(what, async || {
            let comments = self.stage.owner.comments(pull).await;
            let ours = comments.into_iter().filter(|(by, _)| *by == self.bot.login);
            ours.map(|(_, text)| text).find(|text| text.contains(what))
        })
        .await
    }

    async fn decisions(&self, approval: &str) -> Vec<Decision> {
        let of = ListParams::default().fields(&format!("spec.approval={approval}"));
        self.stage.rig.api::<Decision>().list(&of).await.unwrap().items
    }

    /// A file of a branch.
    async fn text(&self, branch: &str, file: &str) -> String {
        let path = self.stage.repo.path(&format!("/contents/{file}"));
        let branch = branch.replace('/', "%2F");
        let there = self.stage.owner.get(&format!("{path}?ref={branch}")).await;
        let text = BASE64_STANDARD.decode(there["content"].as_str().unwrap());
        String::from_utf8(text.unwrap()).unwrap()
    }

    /// Changes the file of a question on its branch.
    async fn edit(&self, who: &Account, approval: &str, change: impl Fn(&str) -> String) {
        let repo = &self.stage.repo;
        let (branch, file) = (self.branch(approval), self.file(approval));
        let path = repo.path(&format!("/contents/{file}"));
        let there = who
            .get(&format!("{path}?ref={}", branch.replace('/', "%2F")))
            .await;
        let text = BASE64_STANDARD
            .decode(there["content"].as_str().unwrap())
            .unwrap();
        let text = change(std::str::from_utf8(&text).unwrap());
        let change = json!({"branch": branch, "sha": there["sha"], "content": BASE64_STANDARD.encode(text)});
        who.call(Method::PUT, &path, change).await;
    }

    async fn is_open(&self, approval: &str) -> bool {
        let approval = self.stage.rig.api::<Approval>().get(approval).await.unwrap();
        !approval.status.is_some_and(|status| status.phase.is_closed())
    }

    async fn branch_is_gone(&self, approval: &str) {
        let branch = self.branch(approval);
        self.until("end of the branch", async || {
            self.stage
                .owner
                .head(&self.stage.repo, &branch)
                .await
                .is_none()
                .then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn merging_approves_as_the_user_that_the_forge_says_merged() {
    let Some(parlour) = Parlour::open("").await else {
        return;
    };
    let pull = parlour.ask("r").await;
    let said = parlour.stage.owner.pull(&pull).await;
    assert_eq!(said["title"], "Sign off: Refund 250?");
    let (body, approval) = (
        said["body"].as_str().unwrap(),
        parlour.stage.rig.api::<Approval>(),
    );
    let approval = approval.get("r-review").await.unwrap();
    for shown in [
        &approval.spec.digest.to_string(),
        "\"amount\": 250",
        "**Merge** to approve",
        "`dev`",
    ] {
        assert!(body.contains(shown), "{shown}: {body}");
    }
    let told = |approval: &Approval| {
        approval
            .status
            .as_ref()
            .and_then(|status| status.pull_request.clone())
    };
    let named = parlour
        .stage
        .rig
        .until::<Approval>("r-review", |approval| told(approval).is_some())
        .await;
    assert_eq!(told(&named).unwrap().number, pull.number);

    parlour.alice.merge(&pull).await;
    parlour.stage.rig.phase("r", "Succeeded").await;
    let decision = parlour.decisions("r-review").await.remove(0);
    assert_eq!(decision.spec.by.as_deref(), Some("alice"));
    let via = decision.spec.via.unwrap();
    let evidence = |key: &str| via.evidence.get(key).map(String::as_str).unwrap_or_default();
    assert_eq!(evidence("login"), parlour.alice.login);
    assert_eq!(evidence("pullRequest"), pull.number.to_string());
    assert_eq!(evidence("act"), "merged");
    assert_eq!(evidence("commit").len(), 40);
    parlour.branch_is_gone("r-review").await;
    // the file that the merge left on the draft branch is no flow, and no problem either
    parlour.stage.sync().await;
    parlour.stage.ready("Synced").await;
}

#[tokio::test]
async fn closing_rejects_and_a_review_sends_it_back_with_its_text() {
    let Some(parlour) = Parlour::open("").await else {
        return;
    };
    let first = parlour.ask("r").await;
    parlour
        .bob
        .review(&first, "REQUEST_CHANGES", "half of it, please")
        .await;
    let second = parlour.put("r-review-2", 1).await;
    let closed = parlour.told(&first, "Closed: ChangesRequested").await;
    assert!(closed.contains("bob"), "{closed}");
    let body = parlour.stage.owner.pull(&second).await["body"].to_string();
    assert!(body.contains("half of it, please"), "{body}");
    parlour.branch_is_gone("r-review").await;

    parlour.bob.close(&second).await;
    parlour.stage.rig.phase("r", "Rejected").await;
    let decision = parlour.decisions("r-review-2").await.remove(0);
    assert_eq!(decision.spec.by.as_deref(), Some("bob"));
}

#[tokio::test]
async fn a_merge_of_an_old_branch_after_the_question_was_put_anew_decides_neither() {
    let Some(parlour) = Parlour::open("").await else {
        return;
    };
    let first = parlour.ask("r").await;
    let (branch, file) = (parlour.branch("r-review"), parlour.file("r-review"));
    let old = parlour.text(&branch, &file).await;
    parlour.bob.review(&first, "REQUEST_CHANGES", "half of it").await;
    let second = parlour.put("r-review-2", 1).await;
    parlour.branch_is_gone("r-review").await;

    // somebody who may approve has kept the branch, puts it back, and merges it
    let repo = &parlour.stage.repo;
    let other = "late";
    parlour.stage.work.point(other, "main").await;
    parlour.stage.work.push(other, &[(&file, Some(&old))]).await;
    parlour.stage.work.point(&branch, other).await;
    let late = parlour
        .alice
        .open_pull(repo, &branch, "main", "Sign off: late")
        .await;
    parlour.alice.merge(&late).await;
    // and the file of the newer question is made of the old one, past any pull request
    let newer = parlour.file("r-review-2");
    parlour.stage.work.push("main", &[(&newer, Some(&old))]).await;

    parlour.bob.close(&second).await;
    parlour.stage.rig.phase("r", "Rejected").await;
    let by = |decisions: Vec<Decision>| -> Vec<Option<String>> {
        decisions.into_iter().map(|decision| decision.spec.by).collect()
    };
    let bob = || vec![Some("bob".to_owned())];
    assert_eq!(by(parlour.decisions("r-review").await), bob());
    assert_eq!(by(parlour.decisions("r-review-2").await), bob());
}

#[tokio::test]
async fn a_merge_by_somebody_who_may_not_is_answered_and_the_question_is_put_again() {
    let Some(parlour) = Parlour::open("").await else {
        return;
    };
    let mut pull = parlour.ask("r").await;
    let cases = [
        (&parlour.mallory, "does not say which user of the cluster it is"),
        (&parlour.dev, "does not count as an approval"),
        (&parlour.agent, "programs decide nothing"),
    ];
    for (attempt, (who, why)) in cases.into_iter().enumerate() {
        who.merge(&pull).await;
        let answer = parlour.told(&pull, why).await;
        assert!(answer.contains(&format!("@{}", who.login)), "{answer}");
        pull = parlour.put("r-review", attempt + 2).await;
        assert!(parlour.is_open("r-review").await, "{}", who.login);
    }
    parlour.alice.merge(&pull).await;
    parlour.stage.rig.phase("r", "Succeeded").await;
}

#[tokio::test]
async fn a_merge_by_the_operators_own_account_decides_nothing_and_the_question_is_put_again() {
    let Some(parlour) = Parlour::open("").await else {
        return;
    };
    let first = parlour.ask("r").await;
    parlour.bot.merge(&first).await;
    let second = parlour.put("r-review", 2).await;
    assert!(parlour.is_open("r-review").await);
    parlour.alice.merge(&second).await;
    parlour.stage.rig.phase("r", "Succeeded").await;
    let [decision] = parlour.decisions("r-review").await.try_into().unwrap();
    assert_eq!(decision.spec.by.as_deref(), Some("alice"));
}

#[tokio::test]
async fn who_asked_for_the_run_cannot_merge_it_through() {
    let Some(parlour) = Parlour::open("").await else {
        return;
    };
    let pull = parlour.ask("r").await;
    parlour.dev.merge(&pull).await;
    parlour.told(&pull, "does not count as an approval").await;
    assert!(parlour.is_open("r-review").await);
    let refused = parlour.decisions("r-review").await.remove(0).status.unwrap();
    assert_eq!(serde_json::to_value(refused.reason).unwrap(), "SelfApproval");
}

#[tokio::test]
async fn a_commit_that_claims_to_be_somebodys_merge_decides_nothing() {
    let Some(parlour) = Parlour::open("").await else {
        return;
    };
    let pull = parlour.ask("r").await;
    let mut work = parlour.mallory.checkout(&parlour.stage.repo).await;
    work.claim("alice", &parlour.alice.email);
    work.git(&["fetch", "origin"]).await;
    work.git(&["checkout", "-B", "main", "origin/main"]).await;
    let branch = format!("origin/{}", parlour.branch("r-review"));
    work.git(&["merge", "--no-ff", "-m", "Merge pull request", &branch])
        .await;
    work.git(&["push", "origin", "main"]).await;
    parlour.stage.sync().await;
    // asked of the forge since then, as the next question shows
    parlour.ask("later").await;
    assert!(parlour.is_open("r-review").await);
    let state = parlour.stage.owner.pull(&pull).await["state"].clone();
    let decided: Vec<_> = parlour.decisions("r-review").await;
    assert!(
        decided
            .iter()
            .all(|decision| decision.spec.by.as_deref() != Some("alice")),
        "{state}: {decided:?}"
    );
}

#[tokio::test]
async fn an_edited_digest_is_no_answer_and_edited_values_are_the_answers() {
    let form = "      form: {type: object, required: [amount], properties: {amount: {type: number}}}\n";
    let Some(parlour) = Parlour::open(form).await else {
        return;
    };
    let pull = parlour.ask("r").await;
    parlour
        .edit(&parlour.alice, "r-review", |text| {
            text.replace("sha256:", "sha256:0000")
        })
        .await;
    parlour.alice.merge(&pull).await;
    parlour
        .told(&pull, "the file with the question cannot be read")
        .await;

    let pull = parlour.put("r-review", 2).await;
    parlour.alice.merge(&pull).await;
    let missing = parlour.told(&pull, "does not count as an approval").await;
    assert!(missing.contains("amount"), "{missing}");

    let pull = parlour.put("r-review", 3).await;
    parlour
        .edit(&parlour.alice, "r-review", |text| {
            text.replace("values: {}", "values: {amount: 100}")
        })
        .await;
    parlour.alice.merge(&pull).await;
    let run = parlour.stage.rig.phase("r", "Succeeded").await;
    let values = |run: &Run| {
        let steps = run.status.clone().unwrap().steps;
        let review = steps.into_iter().rfind(|step| step.name == "review").unwrap();
        serde_json::to_value(review.decision).unwrap()["values"].clone()
    };
    assert_eq!(values(&run), json!({"amount": 100}));
}

#[tokio::test]
async fn what_is_decided_elsewhere_closes_the_pull_request_and_says_by_whom() {
    let Some(parlour) = Parlour::open("").await else {
        return;
    };
    let pull = parlour.ask("r").await;
    parlour.stage.rig.decide("alice", "r-review", "Approve").await;
    let closed = parlour.told(&pull, "Closed: Approved").await;
    assert!(closed.contains("alice"), "{closed}");
    assert_eq!(parlour.stage.owner.pull(&pull).await["state"], "closed");
    parlour.branch_is_gone("r-review").await;
    assert_eq!(
        parlour.decisions("r-review").await.len(),
        1,
        "closing it is no rejection"
    );
}

#[tokio::test]
async fn a_quorum_is_reached_by_reviews_and_the_merge_and_its_status_says_how_far_it_is() {
    let Some(parlour) = Parlour::open("      quorum: 2\n").await else {
        return;
    };
    let pull = parlour.ask("r").await;
    let head = parlour.stage.owner.pull(&pull).await["head"]["sha"]
        .as_str()
        .unwrap()
        .to_owned();
    let status = async |wanted: &str| {
        parlour
            .until(wanted, async || {
                let all = parlour.stage.owner.statuses(&parlour.stage.repo, &head).await;
                let quorum = all.into_iter().find(|(context, ..)| context == "signoff/quorum");
                quorum
                    .filter(|(_, state, text)| format!("{state}: {text}").contains(wanted))
                    .map(drop)
            })
            .await;
    };
    status("pending: 0 of 2 approved").await;
    parlour.bob.review(&pull, "APPROVED", "").await;
    status("success: 1 of 2 approved").await;
    assert!(parlour.is_open("r-review").await);
    parlour.alice.merge(&pull).await;
    parlour.stage.rig.phase("r", "Succeeded").await;
    let mut by: Vec<_> = parlour
        .decisions("r-review")
        .await
        .into_iter()
        .filter_map(|decision| decision.spec.by)
        .collect();
    by.sort();
    assert_eq!(by, ["alice", "bob"]);
}

#[tokio::test]
async fn a_question_that_asks_for_no_pull_request_gets_none_and_a_wrong_token_is_told_on_the_question() {
    let Some(parlour) = Parlour::open("      askVia: None\n").await else {
        return;
    };
    parlour
        .stage
        .rig
        .start("quiet", json!({"flow": "refund", "inputs": {"amount": 1}}))
        .await;
    parlour
        .stage
        .rig
        .until::<Approval>("quiet-review", |_| true)
        .await;
    let commit = parlour
        .stage
        .work
        .push("main", &[("refund.yaml", Some(&flow("")))])
        .await;
    parlour.stage.work.point("live", "main").await;
    parlour.stage.sync().await;
    parlour.stage.until_read(&commit).await;
    parlour.stage.secret("api", json!({"token": "wrong"})).await;
    parlour
        .stage
        .rig
        .start("asked", json!({"flow": "refund", "inputs": {"amount": 1}}))
        .await;
    parlour.stage.rig.event("asked-review", "ForgeForbidden").await;
    assert!(
        parlour
            .stage
            .owner
            .pulls(&parlour.stage.repo, "all")
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_forge_that_is_down_or_wants_to_be_left_alone_loses_no_answer() {
    let Some(parlour) = Parlour::open("").await else {
        return;
    };
    let flaky = Flaky::open(&parlour.stage.forge.url()).await;
    parlour.follow(&flaky.url()).await;
    let pull = parlour.ask("r").await;
    for status in [500, 429] {
        flaky.answer(status);
        parlour
            .until("a refused call", async || (flaky.refused() > 0).then_some(()))
            .await;
    }
    parlour.alice.merge(&pull).await;
    let run = format!("{:?}", parlour.decisions("r-review").await);
    assert_eq!(run, "[]", "nobody could know");
    flaky.answer(0);
    parlour.stage.rig.phase("r", "Succeeded").await;
    assert_eq!(parlour.decisions("r-review").await.len(), 1);
}

#[tokio::test]
async fn a_pull_request_whose_text_somebody_edited_approves_nothing_and_is_put_right() {
    let Some(parlour) = Parlour::open("").await else {
        return;
    };
    let flaky = Flaky::open(&parlour.stage.forge.url()).await;
    parlour.follow(&flaky.url()).await;
    let pull = parlour.ask("r").await;
    let path = parlour.stage.repo.path(&format!("/pulls/{}", pull.number));
    let harmless = json!({"body": "Refund 1, as always"});
    let edited = async || parlour.stage.owner.pull(&pull).await["body"] == harmless["body"];
    parlour.mallory.call(Method::PATCH, &path, harmless.clone()).await;
    parlour
        .until("the text as it was", async || (!edited().await).then_some(()))
        .await;

    flaky.answer(500);
    parlour.mallory.call(Method::PATCH, &path, harmless.clone()).await;
    parlour.alice.merge(&pull).await;
    flaky.answer(0);
    parlour
        .told(&pull, "somebody edited the title or the description")
        .await;
    let again = parlour.put("r-review", 2).await;
    parlour.alice.merge(&again).await;
    parlour.stage.rig.phase("r", "Succeeded").await;
}
