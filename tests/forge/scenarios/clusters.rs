//! Two clusters that follow one project.

use serde_json::json;

use crate::support::rig::Rig;
use crate::{Deciders, Stage, deciders::flow, until};

/// The same people and the same repository, followed by another cluster under this prefix.
async fn of_another_cluster(first: &Deciders, prefix: &'static str) -> Deciders {
    let rig = Rig::open().await;
    let stage = Stage {
        forge: first.stage.forge,
        operator: rig.operator().await,
        rig,
        owner: first.stage.owner.clone(),
        repo: first.stage.repo.clone(),
        work: first.stage.owner.checkout(&first.stage.repo).await,
    };
    Deciders {
        stage,
        prefix,
        bot: first.bot.clone(),
        alice: first.alice.clone(),
        bob: first.bob.clone(),
        dev: first.dev.clone(),
        agent: first.agent.clone(),
        mallory: first.mallory.clone(),
    }
}

#[tokio::test]
async fn questions_of_one_name_in_two_clusters_keep_apart_by_their_prefixes() {
    let Some(production) = Deciders::gather().await else {
        return;
    };
    let staging = of_another_cluster(&production, "signoff-staging").await;
    let url = production.stage.forge.url();
    production.follow(&url).await;
    let decisions = json!({"propose": "PullRequest", "path": "decisions/staging"});
    let more = json!({"prefix": staging.prefix, "decisions": decisions});
    staging.follow_with(&url, more).await;
    let work = &production.stage.work;
    let commit = work.push("main", &[("refund.yaml", Some(&flow("")))]).await;
    work.point("live", "main").await;
    for cluster in [&production, &staging] {
        cluster.stage.sync().await;
        cluster.stage.until_read(&commit).await;
    }
    for context in ["flows", "live"] {
        for cluster in [&production, &staging] {
            let context = format!("{}/{context}", cluster.prefix);
            until(&context, async || {
                let all = production
                    .stage
                    .owner
                    .statuses(&production.stage.repo, &commit)
                    .await;
                let said = all.into_iter().find(|(of, ..)| *of == context);
                said.filter(|(_, state, _)| state == "success")
            })
            .await;
        }
    }

    let asked = [production.ask("r").await, staging.ask("r").await];
    // both have looked while the other's is open
    production.until_looked_at(&asked[0]).await;
    staging.until_looked_at(&asked[1]).await;
    production.alice.merge(&asked[0]).await;
    production.stage.rig.phase("r", "Succeeded").await;
    staging.until_looked_at(&asked[1]).await;
    assert!(staging.is_open("r-review").await);
    staging.bob.close(&asked[1]).await;
    staging.stage.rig.phase("r", "Rejected").await;
    assert_eq!(production.deciders("r-review").await, ["alice"]);
    assert_eq!(staging.deciders("r-review").await, ["bob"]);
    let all = production.stage.owner.pulls(&production.stage.repo, "all").await;
    assert_eq!(
        all.len(),
        2,
        "no question was put twice, and no change was commented on"
    );
    for (cluster, pull) in [&production, &staging].into_iter().zip(&asked) {
        let told = cluster.ours(pull).await;
        assert!(told.is_empty(), "{told:?}");
    }
}
