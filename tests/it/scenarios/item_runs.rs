//! Steps that start a run for each item: none is lost or started twice, and cancelling reaches all of them.

use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PostParams},
};
use serde_json::{Value, json};
use signoff_api::{Run, RunPhase, run::StepStatus};

use crate::support::{
    faults::{Cut, cut, cut_around_each_write},
    rig::{Rig, eventually},
    shop::{Answer, Shop},
};

/// A flow that calls the path of its item, and says which it is.
async fn one(rig: &Rig, shop: &Shop) {
    let inputs = json!({"type": "object", "required": ["to"], "properties": {"to": {"type": "string"}}});
    let url = format!("{}${{inputs.to}}", shop.url("/call/"));
    let call = json!({"name": "call", "http": {"method": "POST", "url": url, "body": {}}});
    rig.flow(
        "one",
        json!({"inputs": inputs, "steps": [call], "output": {"to": "${inputs.to}"}}),
    )
    .await;
}

/// A flow that runs it for each item.
async fn all(rig: &Rig, parallel: i64) {
    let inputs = json!({"type": "object", "required": ["items"], "properties": {
        "items": {"type": "array", "items": {"type": "string"}}}});
    let each = json!({"name": "each", "forEach": {"items": "${inputs.items}", "maxParallel": parallel},
        "flow": {"name": "one", "inputs": {"to": "${item}"}}});
    let output = json!({"all": "${steps.each.output.map(o, o.to)}"});
    rig.flow(
        "all",
        json!({"inputs": inputs, "steps": [each], "output": output}),
    )
    .await;
}

async fn start(rig: &Rig, items: &[String]) {
    rig.start("r", json!({"flow": "all", "inputs": {"items": items}}))
        .await;
}

async fn runs(rig: &Rig) -> Vec<Run> {
    rig.api::<Run>().list(&ListParams::default()).await.unwrap().items
}

fn step(run: &Run) -> StepStatus {
    let mut steps = run.status.iter().flat_map(|status| &status.steps);
    steps.find(|step| step.item.is_none()).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_items_run_a_flow_each_and_their_outputs_keep_the_order() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    one(&rig, &shop).await;
    all(&rig, 20).await;
    let items: Vec<String> = (0..100).map(|n| format!("i{n}")).collect();
    start(&rig, &items).await;
    let run = rig.phase("r", "Succeeded").await;
    let status = run.status.clone().unwrap();
    assert_eq!(status.output.unwrap().0, json!({"all": items}));
    assert_eq!(status.steps.len(), 1);
    assert_eq!(step(&run).items.unwrap().started.unwrap().to_string(), "0-99");
    for item in &items {
        assert_eq!(shop.asked(&format!("/call/{item}")).len(), 1, "{item}");
    }
    let children = runs(&rig).await;
    assert_eq!(children.len(), 101);
    let name = |item: i64| {
        let of = |run: &&Run| {
            run.spec
                .parent
                .as_ref()
                .is_some_and(|parent| parent.item == Some(item))
        };
        children.iter().find(of).unwrap().name_any()
    };
    assert!(name(7).starts_with("r-each-7-"), "{}", name(7));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_does_only_the_items_that_did_not_succeed() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    one(&rig, &shop).await;
    all(&rig, 1).await;
    let ok = || Answer::Status(200, json!({}));
    shop.will_answer([ok(), Answer::Status(400, json!({}))]);
    start(&rig, &["a".into(), "b".into(), "c".into()]).await;
    let run = rig.phase("r", "Failed").await;
    let release = run.status.as_ref().unwrap().release.clone().unwrap();
    let mut again = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "again"},
        "spec": {"flow": "all", "release": release.name, "inputs": run.spec.inputs, "retryOf": {"run": "r"}}});
    rig.server.sign("dev", &mut again);
    let again: Run = serde_json::from_value(again).unwrap();
    let api: Api<Run> = Api::namespaced(rig.client("dev"), rig.namespace());
    api.create(&PostParams::default(), &again).await.unwrap();
    let run = rig.phase("again", "Succeeded").await;
    assert_eq!(
        run.status.unwrap().output.unwrap().0,
        json!({"all": ["a", "b", "c"]})
    );
    for (item, times) in [("a", 1), ("b", 2), ("c", 1)] {
        assert_eq!(shop.asked(&format!("/call/{item}")).len(), times, "{item}");
    }
    let keys = shop.asked("/call/b");
    assert_eq!(keys[0].idempotency_key, keys[1].idempotency_key);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_cut_off_at_any_write_starts_each_item_once() {
    cut_around_each_write(6, survives).await;
}

/// Plays one run under a cut. Says whether the cut was reached.
async fn survives(at: Cut) -> bool {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    one(&rig, &shop).await;
    all(&rig, 2).await;
    operator.stop().await;

    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    let items: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
    start(&rig, &items).await;
    let (reached, second) = rig.play_over(&fault, first, rig.phase("r", "Succeeded")).await;
    let run = rig.phase("r", "Succeeded").await;
    second.stop().await;
    assert_eq!(
        run.status.unwrap().output.unwrap().0,
        json!({"all": items}),
        "{at:?}"
    );
    assert_eq!(runs(&rig).await.len(), 4, "{at:?}");
    for item in items {
        let asked = shop.asked(&format!("/call/{item}"));
        let same = |key: &str| asked.iter().all(|one| one.idempotency_key == key);
        assert!(same(&asked[0].idempotency_key), "{at:?}: {asked:?}");
    }
    reached
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_cut_off_at_any_write_of_a_cancellation_leaves_no_run_of_an_item_behind() {
    cut_around_each_write(6, is_cancelled).await;
}

/// Cancels a run under a cut, while two of its items run and a third waits for its turn. Says whether the cut was reached.
async fn is_cancelled(at: Cut) -> bool {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    one(&rig, &shop).await;
    all(&rig, 2).await;
    operator.stop().await;
    let held: Vec<_> = ["a", "b", "c"]
        .map(|item| shop.hold(&format!("/call/{item}")))
        .into();

    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    start(&rig, &["a".into(), "b".into(), "c".into()]).await;
    let story = async {
        eventually("an item is called", || !shop.asked("/call/a").is_empty()).await;
        rig.patch_run("r", json!({"cancel": true})).await;
        rig.phase("r", "Cancelled").await
    };
    let (reached, second) = rig.play_over(&fault, first, story).await;
    // none is open when the run says that it is cancelled
    let left: Vec<(String, RunPhase)> = runs(&rig)
        .await
        .iter()
        .map(|run| {
            (
                run.name_any(),
                run.status.as_ref().map(|status| status.phase).unwrap_or_default(),
            )
        })
        .filter(|(_, phase)| !phase.is_finished())
        .collect();
    assert_eq!(left, [], "{at:?}");
    second.stop().await;
    drop(held);
    assert!(shop.asked("/call/c").is_empty(), "{at:?}");
    reached
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_items_of_a_step_have_a_run_each() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow(
        "quick",
        json!({"steps": [{"name": "a", "set": {}}], "output": {"n": 1}}),
    )
    .await;
    let each = json!({"name": "each", "forEach": {"items": ["x", "x", "y"]},
        "flow": {"name": "quick", "detached": true, "key": "${item}"}});
    let spec = json!({"steps": [each], "output": {"runs": "${steps.each.output.map(o, o.run)}"}});
    rig.flow("all", spec).await;
    rig.start("r", json!({"flow": "all"})).await;
    let run = rig.phase("r", "Succeeded").await;
    let names: Value = run.status.unwrap().output.unwrap().0["runs"].clone();
    assert_eq!(names[0], names[1], "one key, one run");
    assert_ne!(names[0], names[2]);
    assert_eq!(runs(&rig).await.len(), 3);
    operator.stop().await;
}
