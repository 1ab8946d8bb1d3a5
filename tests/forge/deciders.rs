//! Everybody who has a say in a question that is put on the forge, and a flow that asks one.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use kube::api::ListParams;
use reqwest::Method;
use serde_json::{Value, json};
use signoff_api::{Approval, Decision};

use crate::{Account, Pull, Stage, until};

const SUITE: &str = "decisions by pull request on a real forge";

/// Everybody of the story: who they are on the forge, and who in the cluster.
pub struct Deciders {
    pub stage: Stage,
    /// What begins the names of its branches and statuses.
    pub prefix: &'static str,
    /// The operator's own account.
    pub bot: Account,
    pub alice: Account,
    pub bob: Account,
    pub dev: Account,
    pub agent: Account,
    /// Nobody in the cluster.
    pub mallory: Account,
}

/// A flow with one question; `more` goes into the approval.
pub fn flow(more: &str) -> String {
    format!(
        "apiVersion: signoff.dev/v1alpha1
kind: Flow
metadata: {{name: refund}}
spec:
  inputs: {{type: object, required: [amount], properties: {{amount: {{type: number}}}}}}
  steps:
  - name: quote
    set: {{amount: \"${{inputs.amount}}\", note: \"${{steps.review.?previous.decision.comment.orValue('')}}\"}}
  - name: review
    approval:
      title: \"Refund ${{inputs.amount}}?\"
      show: [{{name: quote, value: \"${{steps.quote.output}}\"}}]
      changes: {{backTo: quote, max: 3}}
{more}"
    )
}

impl Deciders {
    /// A Repository whose questions are put as pull requests, and a flow of it that asks one.
    pub async fn open(more: &str) -> Option<Self> {
        let deciders = Self::gather().await?;
        deciders.follow(&deciders.stage.forge.url()).await;
        deciders.release(&flow(more)).await;
        Some(deciders)
    }

    /// Everybody, in an empty repository that nobody follows yet.
    pub async fn gather() -> Option<Self> {
        let stage = Stage::open(SUITE).await?;
        let (bot, mut people) = (stage.forge.operator().await, Vec::new());
        for name in ["alice", "bob", "dev", "agent", "mallory"] {
            people.push(stage.forge.user(name).await);
        }
        for account in people.iter().chain([&bot]) {
            stage.owner.add_collaborator(&stage.repo, account, "write").await;
        }
        let [alice, bob, dev, agent, mallory] = people.try_into().unwrap();
        Some(Self {
            stage,
            prefix: "signoff",
            bot,
            alice,
            bob,
            dev,
            agent,
            mallory,
        })
    }

    /// Puts the Repository there, with the forge's API at this address.
    pub async fn follow(&self, api: &str) {
        self.follow_with(api, json!({})).await;
    }

    /// The same, with more in the spec.
    pub async fn follow_with(&self, api: &str, more: Value) {
        let stage = &self.stage;
        stage.connect_with_token(&self.bot.login, &self.bot.token).await;
        self.follow_connected(api, more).await;
    }

    /// The same, through the Connection that is there.
    pub async fn follow_connected(&self, api: &str, more: Value) {
        let stage = &self.stage;
        let forge = stage.api(api, &self.bot.token).await;
        let mut spec = json!({"interval": "1s", "identities": {"users": self.users()},
            "decisions": {"propose": "PullRequest"}, "forge": forge});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        stage.follow(&stage.forge.http_url(&stage.repo), spec).await;
    }

    /// Who they are in the cluster.
    pub fn users(&self) -> Vec<Value> {
        let agent = "system:serviceaccount:default:agent";
        let user = |account: &Account, user: &str, groups: &[&str]| json!({"login": account.login, "user": user, "groups": groups});
        vec![
            user(&self.alice, "alice", &["finance", "owners"]),
            user(&self.bob, "bob", &["finance", "owners"]),
            user(&self.dev, "dev", &[]),
            user(&self.agent, agent, &[]),
        ]
    }

    /// Pushes this as the flow, makes it live, and waits until it was read.
    pub async fn release(&self, flow: &str) {
        let stage = &self.stage;
        let commit = stage.work.push("main", &[("refund.yaml", Some(flow))]).await;
        stage.work.point("live", "main").await;
        stage.sync().await;
        stage.until_read(&commit).await;
    }

    /// Starts a run that asks, and gives the pull request that puts its question.
    pub async fn ask(&self, run: &str) -> Pull {
        let spec = json!({"flow": "refund", "inputs": {"amount": 250}});
        self.stage.rig.start(run, spec).await;
        self.put(&format!("{run}-review"), 1).await
    }

    /// Waits for the n-th pull request that puts a question.
    pub async fn put(&self, approval: &str, count: usize) -> Pull {
        self.stage.rig.question(approval).await;
        let branch = self.branch(approval);
        let found = until("a pull request", async || {
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

    pub fn branch(&self, approval: &str) -> String {
        let rig = &self.stage.rig;
        format!("{}/{}/{}", self.prefix, rig.namespace(), rig.known(approval))
    }

    pub fn file(&self, approval: &str) -> String {
        let rig = &self.stage.rig;
        format!("decisions/{}/{}.yaml", rig.namespace(), rig.known(approval))
    }

    /// Looks until there is something, which must not take for ever.
    pub async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        until(what, look).await
    }

    /// Waits until our account has said this on a pull request.
    pub async fn told(&self, pull: &Pull, what: &str) -> String {
        until(what, async || {
            let ours = self.ours(pull).await;
            ours.into_iter().find(|text| text.contains(what))
        })
        .await
    }

    pub async fn decisions(&self, approval: &str) -> Vec<Decision> {
        let approval = self.stage.rig.known(approval);
        let of = ListParams::default().fields(&format!("spec.approval={approval}"));
        self.stage.rig.api::<Decision>().list(&of).await.unwrap().items
    }

    /// A file of a branch.
    pub async fn text(&self, branch: &str, file: &str) -> String {
        let path = self.stage.repo.path(&format!("/contents/{file}"));
        let branch = branch.replace('/', "%2F");
        let there = self.stage.owner.get(&format!("{path}?ref={branch}")).await;
        let text = BASE64_STANDARD.decode(there["content"].as_str().unwrap());
        String::from_utf8(text.unwrap()).unwrap()
    }

    /// Changes the file of a question on its branch.
    pub async fn edit(&self, who: &Account, approval: &str, change: impl Fn(&str) -> String) {
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

    pub async fn is_open(&self, approval: &str) -> bool {
        let name = self.stage.rig.question(approval).await;
        let approval = self.stage.rig.api::<Approval>().get(&name).await.unwrap();
        !approval.status.is_some_and(|status| status.phase.is_closed())
    }

    pub async fn branch_is_gone(&self, approval: &str) {
        let branch = self.branch(approval);
        until("end of the branch", async || {
            self.stage
                .owner
                .head(&self.stage.repo, &branch)
                .await
                .is_none()
                .then_some(())
        })
        .await;
    }

    /// Waits until a question names the pull request that puts it.
    pub async fn until_linked(&self, approval: &str) {
        let linked = |approval: &Approval| {
            let status = approval.status.as_ref();
            status.is_some_and(|status| status.pull_request.is_some())
        };
        self.stage.rig.until::<Approval>(approval, linked).await;
    }

    /// Waits until the question was looked at after all that was done so far: its pull request, which must be open, is edited, and the operator
    /// puts the text back when it next looks.
    pub async fn until_looked_at(&self, pull: &Pull) {
        let path = self.stage.repo.path(&format!("/pulls/{}", pull.number));
        let edited = json!({"body": self.stage.forge.name("edited")});
        self.mallory.call(Method::PATCH, &path, edited.clone()).await;
        until("the text as it was", async || {
            (self.stage.owner.pull(pull).await["body"] != edited["body"]).then_some(())
        })
        .await;
    }

    /// Who has decided, in no order.
    pub async fn deciders(&self, approval: &str) -> Vec<String> {
        let decisions = self.decisions(approval).await.into_iter();
        let mut by: Vec<String> = decisions.filter_map(|decision| decision.spec.by).collect();
        by.sort();
        by
    }

    /// Our comments on a pull request.
    pub async fn ours(&self, pull: &Pull) -> Vec<String> {
        let comments = self.stage.owner.comments(pull).await;
        let ours = comments.into_iter().filter(|(by, _)| *by == self.bot.login);
        ours.map(|(_, text)| text).collect()
    }
}
