//! A forge that nobody can reach.

use std::sync::Mutex;

use serde_json::json;

use crate::{Deciders, deciders::flow, flaky::Flaky, line::Line, until};

#[tokio::test]
async fn a_question_that_is_not_put_there_costs_no_call_beside_the_list_of_all_that_is_open() {
    let Some(deciders) = Deciders::gather().await else {
        return;
    };
    let stage = &deciders.stage;
    let flaky = Flaky::open(&stage.forge.url()).await;
    let none = json!({"decisions": {"propose": "None"}});
    deciders.follow_with(&flaky.url(), none).await;
    deciders.release(&flow("")).await;
    let asks = json!({"flow": "refund", "inputs": {"amount": 1}});
    stage.rig.start("r", asks).await;
    let calls = Mutex::new(Vec::new());
    let after = async |first: &str, lists: usize| {
        until("calls", async || {
            let mut calls = calls.lock().unwrap();
            calls.extend(flaky.passed());
            let begin = calls.iter().position(|call: &String| call.contains(first))?;
            let open = calls[begin..].iter().filter(|call| call.contains("state=open"));
            (open.count() >= lists).then(|| calls[begin + 1..].to_vec())
        })
        .await
    };
    // once it was looked for it there, as something may be left from before; two controllers list what is open
    let calls = after("state=all", 8).await;
    let about_it = |call: &&String| call.contains("/user") || call.contains("state=all");
    let more: Vec<_> = calls.iter().filter(about_it).collect();
    assert!(more.len() <= 2, "{calls:#?}");
    stage.rig.decide("alice", "r-review", "Approve").await;
    stage.rig.phase("r", "Succeeded").await;
}

#[tokio::test]
async fn a_forge_that_refuses_connections_loses_nothing_and_is_caught_up_with_when_it_is_back() {
    let Some(deciders) = Deciders::gather().await else {
        return;
    };
    let stage = &deciders.stage;
    let mut line = Line::open(&stage.forge.url()).await;
    let url = stage.forge.http_url(&stage.repo);
    let url = url.replace(&stage.forge.url(), &line.url());
    deciders.follow_with(&line.url(), json!({"url": url})).await;
    deciders.release(&flow("")).await;
    let release = stage.cut("refund").await;
    let pull = deciders.ask("r").await;

    line.cut().await;
    // an answer, a question and a push come meanwhile
    deciders.alice.merge(&pull).await;
    let asks = json!({"flow": "refund", "inputs": {"amount": 1}});
    stage.rig.start("meanwhile", asks).await;
    let changed = flow("").replace("max: 3", "max: 2");
    let commit = stage.work.push("main", &[("refund.yaml", Some(&changed))]).await;
    stage.ready("RemoteUnreachable").await;
    let failed = "reconcile_errors_total{kind=\"Proposal\",class=\"Transient\"}";
    until("failure to ask the forge", async || {
        let counted = stage.operator.metrics().render().unwrap();
        counted.contains(failed).then_some(())
    })
    .await;
    assert_eq!(deciders.deciders("r-review").await, [""; 0], "nobody could know");
    assert_eq!(stage.cut("refund").await, release);

    line.mend().await;
    stage.rig.phase("r", "Succeeded").await;
    assert_eq!(deciders.deciders("r-review").await, ["alice"]);
    stage.until_read(&commit).await;
    stage.ready("Synced").await;
    let asked = deciders.put("meanwhile-review", 1).await;
    deciders.alice.close(&asked).await;
    stage.rig.phase("meanwhile", "Rejected").await;
    assert_eq!(stage.owner.pulls(&stage.repo, "all").await.len(), 2);
}
