//! What one tenant writes takes as long as it may: others go on meanwhile, health answers, and what is cancelled ends.

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::PostParams, runtime::wait::await_condition};
use reqwest::StatusCode;
use serde_json::{Value, json};
use signoff_api::{Flow, Run};

use crate::support::{
    controlplane::say_not_run,
    rig::{PATIENCE, Rig},
    shop::Shop,
};

/// Takes a moment in each step, and there are many.
fn costly(steps: usize) -> Value {
    let step = |number| {
        json!({
            "name": format!("s{number}"),
            "set": {"v": "${size(inputs.l.map(x, inputs.l.map(y, x + y)))}"},
        })
    };
    let inputs = json!({"type": "object", "required": ["l"], "properties": {"l": {"type": "array", "items": {"type": "integer"}}}});
    json!({"inputs": inputs, "steps": (0..steps).map(step).collect::<Vec<_>>()})
}

fn numbers(count: usize) -> Vec<usize> {
    (0..count).collect()
}

fn has_ended(run: &Run) -> bool {
    run.status
        .as_ref()
        .is_some_and(|status| status.phase.is_finished())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_full_of_costly_runs_keeps_nobody_elses_waiting_and_can_be_cancelled() {
    let rig = Rig::open().await;
    if rig.server.watched().is_some() {
        return say_not_run("one namespace beside another", "this test has only one there");
    }
    let operator = rig.operator().await;
    rig.flow("costly", costly(20)).await;
    let admin = rig.client("admin");
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "other"}})).unwrap();
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let names: Vec<_> = (0..30).map(|number| format!("costly-{number}")).collect();
    for name in &names {
        let inputs = json!({"l": numbers(150)});
        rig.start(name, json!({"flow": "costly", "inputs": inputs})).await;
    }

    let flow = json!({
        "apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": {"name": "small"},
        "spec": {"steps": [{"name": "one", "set": {"x": "${1 + 1}"}}, {"name": "two", "set": {"y": "${steps.one.output.x}"}}]},
    });
    let flow: Flow = serde_json::from_value(flow).unwrap();
    let flows: Api<Flow> = Api::namespaced(admin.clone(), "other");
    flows.create(&PostParams::default(), &flow).await.unwrap();
    let runs: Api<Run> = Api::namespaced(admin, "other");
    for number in 0..10 {
        let name = format!("small-{number}");
        let run = json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": name},
            "spec": {"flow": "small", "channel": "Draft"},
        });
        let run: Run = serde_json::from_value(run).unwrap();
        runs.create(&PostParams::default(), &run).await.unwrap();
        let ended = await_condition(runs.clone(), &name, |run: Option<&Run>| {
            run.is_some_and(has_ended)
        });
        let ended = tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("it waits for the costly ones");
        assert_eq!(
            ended.unwrap().unwrap().status.unwrap().phase.to_string(),
            "Succeeded"
        );
        assert_eq!(rig.health(PATIENCE).await.unwrap(), "ok");
    }

    for name in &names {
        rig.patch_run(name, json!({"cancel": true})).await;
    }
    for name in &names {
        rig.until::<Run>(name, has_ended).await;
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn costly_conditions_of_callbacks_do_not_stop_the_gateway() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let accept = "${size(body.map(x, body.map(y, x + y))) > 0}";
    let steps = json!([
        {"name": "tell", "http": {"method": "POST", "url": shop.url("/tell"), "body": {"url": "${callback('settled').url}"}}},
        {"name": "settled", "wait": {"callback": {"accept": accept}}},
    ]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.phase("r", "Waiting").await;
    let url = shop.asked("/tell")[0].body["url"].as_str().unwrap().to_owned();
    let client = reqwest::Client::new();
    let body = json!(numbers(400)).to_string();
    let post = || {
        let sent = client
            .post(&url)
            .header("content-type", "application/json")
            .body(body.clone())
            .send();
        async { sent.await.unwrap().status() }
    };
    let healthy = async {
        for _ in 0..20 {
            let health = client
                .get(format!("http://{}/healthz", rig.gateway()))
                .timeout(PATIENCE)
                .send();
            assert_eq!(health.await.unwrap().status(), StatusCode::OK);
            assert_eq!(rig.health(PATIENCE).await.unwrap(), "ok");
        }
    };
    let (one, other, ()) = tokio::join!(post(), post(), healthy);
    // it may be above what one evaluation may take, or in time
    for status in [one, other] {
        let known = [
            StatusCode::ACCEPTED,
            StatusCode::OK,
            StatusCode::UNPROCESSABLE_ENTITY,
            StatusCode::REQUEST_TIMEOUT,
        ];
        assert!(known.contains(&status), "{status}");
    }
    operator.stop().await;
}
