//! Who is asked where: by single approvals, by groups of the forge, about releases.

use kube::api::ListParams;
use serde_json::json;
use signoff_api::{Approval, Flow};

use crate::{Deciders, deciders::flow, until};

#[tokio::test]
async fn a_single_approval_asks_by_pull_request_where_the_others_do_not() {
    let Some(deciders) = Deciders::gather().await else {
        return;
    };
    let stage = &deciders.stage;
    let none = json!({"decisions": {"propose": "None"}});
    deciders.follow_with(&stage.forge.url(), none).await;
    let quiet = "  - name: pay\n    approval: {title: Pay?}\n";
    deciders
        .release(&format!("{}{quiet}", flow("      askVia: PullRequest\n")))
        .await;
    let pull = deciders.ask("r").await;
    deciders.alice.merge(&pull).await;
    stage.rig.until::<Approval>("r-pay", |_| true).await;
    deciders.branch_is_gone("r-review").await;
    // the operator has had as long for this one as for the next
    let next = deciders.ask("next").await;
    deciders.until_looked_at(&next).await;
    assert_eq!(stage.owner.pulls(&stage.repo, "all").await.len(), 2);
    assert_eq!(
        stage.owner.head(&stage.repo, &deciders.branch("r-pay")).await,
        None
    );
    stage.rig.decide("bob", "r-pay", "Approve").await;
    stage.rig.phase("r", "Succeeded").await;
}

#[tokio::test]
async fn an_expression_makes_users_of_the_members_of_a_team_and_of_nobody_else() {
    let Some(mut deciders) = Deciders::gather().await else {
        return;
    };
    let shop = deciders.stage.forge.name("shop");
    let (owner, bot) = (deciders.stage.owner.clone(), deciders.bot.clone());
    owner.create_organisation(&shop).await;
    let (alice, bob, mallory) = (&deciders.alice, &deciders.bob, &deciders.mallory);
    owner
        .create_team(&shop, "flows", "write", &[alice, bob, mallory, &bot])
        .await;
    owner.create_team(&shop, "finance", "write", &[alice, &bot]).await;
    deciders.stage.repo = owner.create_repository_of(&shop, "flows").await;
    deciders.stage.work = owner.checkout(&deciders.stage.repo).await;
    let expression = format!(
        "'{shop}/finance' in groups ? {{'user': login.split('-')[0], 'groups': groups.map(g, g.split('/')[1])}} : null"
    );
    let identities = json!({"identities": {"expression": expression}});
    deciders
        .follow_with(&deciders.stage.forge.url(), identities)
        .await;
    deciders
        .release(&flow("      approvers: {groups: [finance]}\n"))
        .await;

    let nobody = "does not say which user of the cluster it is";
    let pull = deciders.ask("r").await;
    deciders.bob.merge(&pull).await;
    deciders.told(&pull, nobody).await;
    // a token that may not look into teams says so, and what was done counts once it may
    let pull = deciders.put("r-review", 2).await;
    deciders.narrow("read:organization", None).await;
    deciders.alice.merge(&pull).await;
    deciders
        .lacks("r-review", "read:organization", "list the teams of the owner")
        .await;
    assert!(deciders.decisions("r-review").await.is_empty());
    deciders.widen().await;
    deciders.stage.rig.phase("r", "Succeeded").await;
    let [decision] = deciders.decisions("r-review").await.try_into().unwrap();
    assert_eq!(decision.spec.by.as_deref(), Some("alice"));
    let mut groups = decision.spec.groups.unwrap();
    groups.sort();
    assert_eq!(groups, ["finance", "flows"]);
}

#[tokio::test]
async fn a_push_to_live_waits_for_the_merge_of_an_owner() {
    let Some(deciders) = Deciders::gather().await else {
        return;
    };
    let stage = &deciders.stage;
    let gate = json!({"promotion": {"approval": {"approvers": {"groups": ["owners"]}}}});
    deciders.follow_with(&stage.forge.url(), gate).await;
    deciders.release(&flow("")).await;
    let release = stage.cut("refund").await;
    let question = until("a question", async || {
        let all = stage.rig.api::<Approval>().list(&ListParams::default()).await;
        let mut all = all.unwrap().items.into_iter();
        all.find(|approval| approval.spec.subject.release.as_ref() == Some(&release))
    })
    .await;
    let question = question.metadata.name.unwrap();
    let pull = deciders.put(&question, 1).await;
    let said = stage.owner.pull(&pull).await;
    let title = format!("Sign off: Make {release} live for flow refund?");
    assert_eq!(said["title"], json!(title));
    let body = said["body"].as_str().unwrap();
    assert!(
        body.contains("Refund ${inputs.amount}?") && body.contains("owners"),
        "{body}"
    );
    let live = |flow: &Flow| {
        flow.status
            .as_ref()
            .and_then(|status| status.live_release().map(str::to_owned))
    };
    let now = async || live(&stage.rig.api::<Flow>().get("refund").await.unwrap());

    deciders.dev.merge(&pull).await;
    deciders.told(&pull, "does not count as an approval").await;
    let again = deciders.put(&question, 2).await;
    assert_eq!(now().await, None);
    deciders.alice.merge(&again).await;
    let is_live = |flow: &Flow| live(flow).as_ref() == Some(&release);
    stage.rig.until::<Flow>("refund", is_live).await;
    deciders.branch_is_gone(&question).await;
    assert_eq!(deciders.deciders(&question).await, ["alice", "dev"]);
}
