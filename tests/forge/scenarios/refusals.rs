//! What decides nothing, however much it looks like an answer.

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use russh::keys::{Algorithm, ssh_key::PrivateKey};
use serde_json::{Value, json};
use signoff_api::Flow;

use crate::{Deciders, deciders::flow, until};

impl Deciders {
    /// The file of a question as its branch has it.
    async fn asked(&self, approval: &str) -> String {
        self.text(&self.branch(approval), &self.file(approval)).await
    }

    /// Looks once more, and nobody has decided.
    async fn is_undecided(&self, approval: &str, pull: &crate::Pull) {
        self.until_looked_at(pull).await;
        assert!(self.is_open(approval).await);
        assert_eq!(self.deciders(approval).await, [""; 0]);
        assert_eq!(self.stage.owner.pull(pull).await["state"], "open");
    }
}

#[tokio::test]
async fn a_user_of_the_cluster_without_the_right_to_approve_merges_for_nothing_until_the_right_is_given() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let stage = &deciders.stage;
    let carol = stage.forge.user("carol").await;
    stage.owner.add_collaborator(&stage.repo, &carol, "write").await;
    let mut users = deciders.users();
    users.push(json!({"login": carol.login, "user": "carol"}));
    let identities = json!({"identities": {"users": users}});
    deciders.follow_with(&stage.forge.url(), identities).await;
    let first = deciders.ask("r").await;
    carol.merge(&first).await;
    let answer = deciders.told(&first, "has no right to `approve` it").await;
    assert!(
        answer.contains(&format!("@{}", carol.login)) && answer.contains("\"carol\""),
        "{answer}"
    );
    let second = deciders.put("r-review", 2).await;
    deciders.is_undecided("r-review", &second).await;

    let binding = json!({"metadata": {"name": "carol-approves"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "signoff-approver"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "carol"}]});
    let binding: RoleBinding = serde_json::from_value(binding).unwrap();
    let bindings: Api<RoleBinding> = stage.rig.api();
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    carol.merge(&second).await;
    stage.rig.phase("r", "Succeeded").await;
    assert_eq!(deciders.deciders("r-review").await, ["carol"]);
}

#[tokio::test]
async fn a_commit_that_claims_to_be_somebodys_merge_decides_nothing() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let pull = deciders.ask("r").await;
    let mut work = deciders.mallory.checkout(&deciders.stage.repo).await;
    work.claim(&deciders.alice.login, &deciders.alice.email);
    work.git(&["fetch", "origin"]).await;
    work.git(&["checkout", "-B", "main", "origin/main"]).await;
    let branch = deciders.branch("r-review");
    // in the very words of the forge
    let message = format!(
        "Merge pull request 'Sign off: Refund 250?' (#{}) from {branch} into main",
        pull.number
    );
    let theirs = format!("origin/{branch}");
    work.git(&["merge", "--no-ff", "-m", &message, &theirs]).await;
    work.git(&["push", "origin", "main"]).await;
    deciders.is_undecided("r-review", &pull).await;
    deciders.bob.close(&pull).await;
    deciders.stage.rig.phase("r", "Rejected").await;
    assert_eq!(deciders.deciders("r-review").await, ["bob"]);
}

#[tokio::test]
async fn a_file_that_is_pushed_past_the_pull_request_decides_nothing_however_well_it_is_signed() {
    let Some(mut deciders) = Deciders::gather().await else {
        return;
    };
    // as in `Branch` mode, where such a commit would count
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let public = key.public_key().to_openssh().unwrap();
    deciders.stage.work.sign_with(&key);
    let identities = json!({"users": deciders.users(), "keys": [{"key": "alice", "user": "alice"}]});
    let verify = json!({"keys": [{"name": "alice", "ssh": public}]});
    let more = json!({"identities": identities, "verify": verify});
    deciders.follow_with(&deciders.stage.forge.url(), more).await;
    deciders.release(&flow("")).await;

    let pull = deciders.ask("r").await;
    let answer = format!(
        "{}verdict: Approve\ncomment: yes\n",
        deciders.asked("r-review").await
    );
    let mut work = deciders.alice.checkout(&deciders.stage.repo).await;
    work.sign_with(&key);
    work.push("main", &[(&deciders.file("r-review"), Some(&answer))])
        .await;
    deciders.is_undecided("r-review", &pull).await;
    deciders.bob.close(&pull).await;
    deciders.stage.rig.phase("r", "Rejected").await;
    assert_eq!(deciders.deciders("r-review").await, ["bob"]);
}

#[tokio::test]
async fn a_question_put_as_a_branch_of_the_forge_is_answered_by_the_signed_commit_and_not_by_the_unsigned_one()
 {
    let Some(mut deciders) = Deciders::gather().await else {
        return;
    };
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let public = key.public_key().to_openssh().unwrap();
    deciders.stage.work.sign_with(&key);
    let stage = &deciders.stage;
    let (private, login) = crate::ssh_key();
    let (_, keys) = stage.forge.token(&deciders.bot.login, &["write:user"]).await;
    deciders.bot.with_token(&keys).add_key("signoff", &login).await;
    stage.connect_with_key(&private, &stage.forge.known_hosts()).await;
    let more = json!({
        "url": stage.forge.ssh_url(&stage.repo),
        "decisions": {"propose": "None"},
        "verify": {"keys": [{"name": "alice", "ssh": public}]},
        "identities": {"keys": [{"key": "alice", "user": "alice"}]},
    });
    deciders.follow_connected(&stage.forge.url(), more).await;
    deciders.release(&flow("      askVia: Branch\n")).await;
    let asks = json!({"flow": "refund", "inputs": {"amount": 250}});
    stage.rig.start("r", asks).await;
    stage.rig.question("r-review").await;
    let branch = deciders.branch("r-review");
    until("a branch", async || stage.owner.head(&stage.repo, &branch).await).await;

    let file = deciders.file("r-review");
    let says = |text: &str, comment: &str| text.replace("comment: \"\"", &format!("comment: {comment}"));
    let asked = deciders.asked("r-review").await;
    assert!(asked.contains("verdict: Approve"), "{asked}");
    let mut work = deciders.alice.checkout(&stage.repo).await;
    let unsigned = work
        .push("main", &[(&file, Some(&says(&asked, "unsigned")))])
        .await;
    let refused = stage.rig.event("r-review", "AnswerNotCounted").await;
    let note = refused.note.unwrap_or_default();
    assert!(
        note.contains(&unsigned[..10]) && note.contains("not signed"),
        "{note}"
    );
    assert_eq!(deciders.deciders("r-review").await, [""; 0]);

    work.sign_with(&key);
    let signed = work.push("main", &[(&file, Some(&says(&asked, "signed")))]).await;
    stage.rig.phase("r", "Succeeded").await;
    let [decision] = deciders.decisions("r-review").await.try_into().unwrap();
    assert_eq!(decision.spec.by.as_deref(), Some("alice"));
    assert_eq!(decision.spec.via.unwrap().evidence["commit"], signed);
    deciders.branch_is_gone("r-review").await;
    assert!(stage.owner.pulls(&stage.repo, "all").await.is_empty());
}

#[tokio::test]
async fn two_repositories_of_one_project_do_not_answer_each_others_pull_requests() {
    let Some(deciders) = Deciders::gather().await else {
        return;
    };
    let stage = &deciders.stage;
    let url = stage.forge.url();
    let drafts = |folder: &str| json!({"path": folder, "live": Value::Null});
    deciders.follow_with(&url, drafts("refunds")).await;
    stage.also_follow("payouts", drafts("payouts")).await;
    let payout = flow("").replace("{name: refund}", "{name: payout}");
    let files = [
        ("refunds/flow.yaml", Some(flow(""))),
        ("payouts/flow.yaml", Some(payout.clone())),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, text.as_deref()))
        .collect();
    stage.work.push("main", &files).await;
    stage.sync().await;
    for (run, flow) in [("r", "refund"), ("p", "payout")] {
        let live = Patch::Merge(json!({"spec": {"live": stage.cut(flow).await}}));
        let flows = stage.rig.api::<Flow>();
        flows.patch(flow, &PatchParams::default(), &live).await.unwrap();
        let is_live = |flow: &Flow| flow.status.as_ref().is_some_and(|status| status.live.is_some());
        stage.rig.until(flow, is_live).await;
        let asks = json!({"flow": flow, "inputs": {"amount": 250}});
        stage.rig.start(run, asks).await;
    }
    let (refund, pay) = (
        deciders.put("r-review", 1).await,
        deciders.put("p-review", 1).await,
    );
    let home = async |approval: &str| stage.rig.asked(approval).await.spec.repository;
    assert_eq!(home("r-review").await.as_deref(), Some("flows"));
    assert_eq!(home("p-review").await.as_deref(), Some("payouts"));

    // what does not count is answered once, and the question put once more
    deciders.mallory.merge(&pay).await;
    deciders
        .told(&pay, "does not say which user of the cluster it is")
        .await;
    let again = deciders.put("p-review", 2).await;
    deciders.alice.merge(&refund).await;
    stage.rig.phase("r", "Succeeded").await;
    deciders.branch_is_gone("r-review").await;
    // both have looked since
    deciders.is_undecided("p-review", &again).await;
    stage.sync().await;
    deciders.is_undecided("p-review", &again).await;
    assert_eq!(deciders.ours(&pay).await.len(), 1);
    assert_eq!(deciders.ours(&again).await, [""; 0]);
    assert_eq!(deciders.ours(&refund).await, [""; 0]);
    assert_eq!(stage.owner.pulls(&stage.repo, "all").await.len(), 3);

    // of a change to a file of one of them, that one speaks
    let changed = payout.replace("max: 3", "max: 2");
    stage.work.point("change", "main").await;
    stage
        .work
        .push("change", &[("payouts/flow.yaml", Some(&changed))])
        .await;
    let change = stage
        .owner
        .open_pull(&stage.repo, "change", "main", "A change")
        .await;
    deciders.told(&change, "`payout`").await;
    stage.sync().await;
    assert_eq!(deciders.ours(&change).await.len(), 1);

    deciders.alice.merge(&again).await;
    stage.rig.phase("p", "Succeeded").await;
    for (question, by) in [("r-review", "flows"), ("p-review", "payouts")] {
        let [decision] = deciders.decisions(question).await.try_into().unwrap();
        assert_eq!(decision.spec.via.unwrap().evidence["repository"], by);
    }
}
