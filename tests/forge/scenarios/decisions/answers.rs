//! What answers come to: which of several counts, what they are about, and who gave them.

use kube::api::{Patch, PatchParams};
use signoff_api::{Repository, decision::DecisionReason};

use super::*;
use crate::{Account, Pull};

/// A question that takes two people, with something to fill in.
const TWO_OF_AN_AMOUNT: &str = "      quorum: 2
      form: {type: object, properties: {amount: {type: number}}}
";

impl Deciders {
    /// The head of a pull request.
    async fn head(&self, pull: &Pull) -> String {
        let said = self.stage.owner.pull(pull).await;
        said["head"]["sha"].as_str().unwrap().to_owned()
    }

    /// Waits until `signoff/quorum` of the head of a pull request is this.
    async fn quorum(&self, pull: &Pull, wanted: &str) {
        self.until(wanted, async || {
            let head = self.head(pull).await;
            let all = self.stage.owner.statuses(&self.stage.repo, &head).await;
            let quorum = all.into_iter().find(|(context, ..)| context == "signoff/quorum");
            quorum
                .filter(|(_, state, text)| format!("{state}: {text}") == wanted)
                .map(drop)
        })
        .await;
    }

    /// Changes who is who.
    async fn identify(&self, users: serde_json::Value) {
        let identities = json!({"spec": {"identities": {"users": users}}});
        let repositories = self.stage.rig.api::<Repository>();
        let patch = Patch::Merge(identities);
        repositories
            .patch("flows", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    async fn id(&self, account: &Account) -> i64 {
        account.get("/user").await["id"].as_i64().unwrap()
    }
}

#[tokio::test]
async fn of_answers_found_in_one_look_the_one_that_was_given_first_counts() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let flaky = Flaky::open(&deciders.stage.forge.url()).await;
    deciders.follow(&flaky.url()).await;
    let pull = deciders.ask("r").await;
    flaky.answer(500);
    deciders.bob.review(&pull, "REQUEST_CHANGES", "half of it").await;
    deciders.alice.merge(&pull).await;
    flaky.answer(0);

    let second = deciders.put("r-review-2", 1).await;
    let late = deciders.told(&pull, "the question was closed before").await;
    assert!(late.contains(&format!("@{}", deciders.alice.login)), "{late}");
    let [decision] = deciders.decisions("r-review").await.try_into().unwrap();
    assert_eq!(decision.spec.by.as_deref(), Some("bob"));
    deciders.alice.merge(&second).await;
    deciders.stage.rig.phase("r", "Succeeded").await;
}

#[tokio::test]
async fn who_amends_the_values_has_the_others_approve_what_they_made_of_it() {
    let Some(deciders) = Deciders::open(TWO_OF_AN_AMOUNT).await else {
        return;
    };
    let pull = deciders.ask("r").await;
    deciders.alice.review(&pull, "APPROVED", "").await;
    deciders
        .quorum(&pull, "success: 1 of 2 approved; merging is the last")
        .await;
    deciders
        .edit(&deciders.bob, "r-review", |text| {
            text.replace("values: {}", "values: {amount: 1000000}")
        })
        .await;
    let amended = json!({"amount": 1_000_000});
    let digest = signoff_api::canonical::digest_of_value(&amended);
    let waits = format!(
        "pending: 0 of 2 approved values {}, 1 approved others; more reviews are needed",
        digest.short()
    );
    deciders.quorum(&pull, &waits).await;
    deciders.bob.merge(&pull).await;
    let told = deciders.told(&pull, "bob approved other values").await;
    assert!(told.contains(&format!("@{}", deciders.alice.login)), "{told}");

    // what was approved by one of two is put to the other
    let again = deciders.put("r-review", 2).await;
    let last = format!(
        "success: 1 of 2 approved values {}; merging is the last",
        digest.short()
    );
    deciders.quorum(&again, &last).await;
    let approval = deciders.stage.rig.asked("r-review").await;
    assert_eq!(approval.status.unwrap().values_digest.as_ref(), Some(&digest));
    deciders.alice.merge(&again).await;
    let run = deciders.stage.rig.phase("r", "Succeeded").await;
    let steps = run.status.unwrap().steps;
    let review = steps.into_iter().rfind(|step| step.name == "review").unwrap();
    let decision = review.decision.unwrap();
    assert_eq!(decision.values.map(|values| values.to_value()), Some(amended));
    assert_eq!(decision.by.len(), 2, "{:?}", decision.by);
    for decision in deciders.decisions("r-review").await {
        let status = decision.status.unwrap();
        let by = decision.spec.by.as_deref();
        let amended = decision.spec.values.is_none();
        let reason = if amended {
            DecisionReason::Amended
        } else {
            DecisionReason::Counted
        };
        assert_eq!(status.reason, Some(reason), "{by:?}");
    }
}

#[tokio::test]
async fn a_login_that_was_given_up_and_taken_by_somebody_else_decides_nothing() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let id = deciders.id(&deciders.alice).await;
    let user = json!({"login": deciders.alice.login, "id": id, "user": "alice"});
    deciders.identify(json!([user])).await;
    let forge = deciders.stage.forge;
    let renamed = forge.rename(&deciders.alice, &forge.name("formerly")).await;
    let newcomer = forge.user_called(&deciders.alice.login).await;
    let repo = &deciders.stage.repo;
    deciders
        .stage
        .owner
        .add_collaborator(repo, &newcomer, "write")
        .await;

    let first = deciders.ask("r").await;
    newcomer.merge(&first).await;
    deciders.told(&first, "somebody else has it").await;
    let second = deciders.put("r-review", 2).await;
    renamed.merge(&second).await;
    deciders.told(&second, "which is not what it is called").await;
    let third = deciders.put("r-review", 3).await;
    assert_eq!(deciders.decisions("r-review").await.len(), 0);

    let user = json!({"login": renamed.login, "id": id, "user": "alice"});
    deciders.identify(json!([user])).await;
    renamed.merge(&third).await;
    deciders.stage.rig.phase("r", "Succeeded").await;
    let [decision] = deciders.decisions("r-review").await.try_into().unwrap();
    let evidence = decision.spec.via.unwrap().evidence;
    assert_eq!(evidence.get("accountId"), Some(&id.to_string()));
}

#[tokio::test]
async fn a_forge_that_asks_for_it_is_left_alone_whatever_is_touched_meanwhile() {
    /// Who may be under way when it begins: whoever works on the question, asks for news, and tells of commits.
    const UNDER_WAY: usize = 3;
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let (stage, flaky) = (&deciders.stage, Flaky::open(&deciders.stage.forge.url()).await);
    deciders.follow(&flaky.url()).await;
    stage
        .secret("webhook", json!({"hmac": "s3cret-of-the-flows"}))
        .await;
    let secret = json!({"secretRef": {"name": "webhook", "key": "hmac"}});
    let webhook = Patch::Merge(json!({"spec": {"webhook": secret}}));
    let repositories = stage.rig.api::<Repository>();
    repositories
        .patch("flows", &PatchParams::default(), &webhook)
        .await
        .unwrap();
    let pull = deciders.ask("r").await;
    flaky.rest(3_600);
    deciders
        .until("a refused call", async || (flaky.refused() > 0).then_some(()))
        .await;

    let looks = || {
        let text = stage.operator.metrics().render().unwrap();
        let line = "signoff_reconcile_errors_total{kind=\"Proposal\",class=\"Waiting\"} ";
        let count = text.lines().find_map(|text| text.strip_prefix(line));
        count.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    let hook = format!(
        "http://{}/v1/hooks/git/{}/flows",
        stage.rig.gateway(),
        stage.rig.namespace()
    );
    for touch in 0..10 {
        let before = looks();
        let sent = reqwest::Client::new()
            .post(&hook)
            .header("x-gitlab-token", "s3cret-of-the-flows")
            .send()
            .await
            .unwrap();
        assert!(sent.status().is_success(), "{}", sent.status());
        let label = Patch::Merge(json!({"metadata": {"annotations": {"touched": touch.to_string()}}}));
        let approvals = stage.rig.api::<Approval>();
        approvals
            .patch(&stage.rig.known("r-review"), &PatchParams::default(), &label)
            .await
            .unwrap();
        deciders
            .until("look at the question", async || (looks() > before).then_some(()))
            .await;
    }
    let calls = flaky.refused();
    assert!(calls <= UNDER_WAY, "it was called {calls} times");

    // another address is another forge
    deciders.follow(&stage.forge.url()).await;
    deciders.alice.merge(&pull).await;
    stage.rig.phase("r", "Succeeded").await;
    assert!(flaky.refused() <= UNDER_WAY);
}
