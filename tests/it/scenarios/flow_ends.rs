//! Runs after runs of other flows: one for each end that counts, whatever happens to the operator.

use kube::{
    ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use signoff_api::{Flow, Run, trigger::TriggerReason};

use crate::support::{
    faults::{Cut, cut},
    rig::Rig,
};

/// A flow that ends at once, as its input says.
fn first() -> Value {
    json!({
        "inputs": {"type": "object", "properties": {"ok": {"type": "boolean", "default": true}}},
        "steps": [{"name": "over", "end": {"outcome": "Failed", "message": "no"}, "when": "${!inputs.ok}"}],
        "output": {"rows": 7},
    })
}

/// A flow that a run of another one starts.
fn after(other: &str, phases: &Value) -> Value {
    json!({
        "inputs": {"type": "object", "required": ["of"], "properties": {"of": {"type": "string"}, "rows": {"type": "integer"}}},
        "triggers": [{"name": "then", "flow": {"name": other, "phases": phases},
            "inputs": {"of": "${run.name + ' ' + run.outcome}", "rows": "${run.?output.rows.orValue(0)}"}}],
        "steps": [{"name": "one", "set": {"of": "${inputs.of}"}}],
        "output": {"of": "${steps.one.output.of}"},
    })
}

/// What the runs of a flow were started for, in order.
async fn started(rig: &Rig, flow: &str) -> Vec<String> {
    let of_flow = ListParams::default().fields(&format!("spec.flow={flow}"));
    let runs = rig.api::<Run>().list(&of_flow).await.unwrap();
    let of = |run: Run| run.spec.inputs.unwrap().0["of"].as_str().unwrap().to_owned();
    let mut all: Vec<String> = runs.items.into_iter().map(of).collect();
    all.sort();
    all
}

/// Waits until the trigger is live.
async fn listens(rig: &Rig, flow: &str) {
    let listens = |flow: &Flow| {
        flow.status
            .as_ref()
            .is_some_and(|status| !status.triggers.is_empty())
    };
    rig.until::<Flow>(flow, listens).await;
}

/// Waits until the last run that a trigger of a flow started is this one's successor.
async fn followed(rig: &Rig, flow: &str, run: &str) -> Run {
    let of = |flow: &Flow| flow.status.as_ref()?.triggers.first()?.last_run.clone();
    let runs = rig.api::<Run>();
    loop {
        let name = of(&rig.until::<Flow>(flow, |flow| of(flow).is_some()).await).unwrap();
        let last = runs.get(&name).await.unwrap();
        if last.spec.trigger.as_ref().unwrap().run.as_deref() == Some(run) {
            return last;
        }
        rig.until::<Flow>(flow, |flow| of(flow).as_ref() != Some(&name))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_as_wanted_starts_one_with_what_it_gave() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("first", first()).await;
    // one that ended before the trigger was live
    rig.start("early", json!({"flow": "first"})).await;
    rig.phase("early", "Succeeded").await;
    rig.flow("second", after("first", &json!(["Succeeded"]))).await;
    rig.flow("any", after("first", &json!(["Succeeded", "Failed"])))
        .await;
    listens(&rig, "second").await;
    listens(&rig, "any").await;
    rig.start("bad", json!({"flow": "first", "inputs": {"ok": false}}))
        .await;
    followed(&rig, "any", "bad").await;
    rig.start("good", json!({"flow": "first"})).await;
    followed(&rig, "any", "good").await;
    let run = followed(&rig, "second", "good").await;
    let run = rig.phase(&run.name_any(), "Succeeded").await;
    assert_eq!(run.spec.inputs.unwrap().0["rows"], 7);
    let trigger = run.spec.trigger.unwrap();
    assert_eq!((trigger.name.as_str(), trigger.depth), ("then", Some(1)));
    assert_eq!(started(&rig, "second").await, ["good Succeeded"]);
    assert_eq!(started(&rig, "any").await, ["bad Failed", "good Succeeded"]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_requested_the_run_that_ended_does_not_approve_in_the_one_that_follows() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("first", first()).await;
    let mut asks = after("first", &json!(["Succeeded"]));
    asks["steps"] = json!([{"name": "ask", "approval": {"title": "Go?"}}]);
    asks["output"] = json!({});
    rig.flow("second", asks).await;
    listens(&rig, "second").await;
    rig.start("one", json!({"flow": "first"})).await;
    let run = followed(&rig, "second", "one").await;
    assert_eq!(run.spec.earlier_requesters, ["dev"]);
    let question = format!("{}-ask", run.name_any());
    rig.asked(&question).await;
    let own = rig.decide("dev", &question, "Approve").await;
    assert_eq!(rig.judged(&own).await.1, "SelfApproval");
    rig.decide("alice", &question, "Approve").await;
    rig.phase(&run.name_any(), "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_operator_dies_each_end_starts_one_run() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("first", first()).await;
    rig.flow("second", after("first", &json!(["Succeeded"]))).await;
    listens(&rig, "second").await;
    operator.stop().await;
    let mut expected = Vec::new();
    // the first run, the run after it, the status of the flow, that run's own
    for write in 1..=4 {
        for (side, at) in [("before", Cut::Before(write)), ("after", Cut::After(write))] {
            let name = format!("r{write}-{side}");
            rig.start(&name, json!({"flow": "first"})).await;
            let (client, fault) = cut(rig.operator_client(), at);
            let doomed = rig.operator_with(client).await.unwrap();
            fault.broken.cancelled().await;
            doomed.kill().await;
            let heir = rig.operator().await;
            rig.phase(&name, "Succeeded").await;
            let run = followed(&rig, "second", &name).await;
            rig.phase(&run.name_any(), "Succeeded").await;
            heir.stop().await;
            expected.push(format!("{name} Succeeded"));
        }
    }
    expected.sort();
    assert_eq!(started(&rig, "second").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_that_start_each_other_stop_after_a_few_runs() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("ping", after("pong", &json!(["Succeeded"]))).await;
    rig.flow("pong", after("ping", &json!(["Succeeded"]))).await;
    listens(&rig, "ping").await;
    listens(&rig, "pong").await;
    rig.start("serve", json!({"flow": "ping", "inputs": {"of": "a person"}}))
        .await;
    // pong 1, ping 2, pong 3, ping 4, pong 5
    let is_over = |flow: &Flow| {
        let status = flow.status.as_ref().and_then(|status| status.triggers.first());
        status.is_some_and(|status| status.reason == Some(TriggerReason::ChainTooLong))
    };
    rig.until::<Flow>("ping", is_over).await;
    rig.event("ping", "ChainTooLong").await;
    let runs = rig.api::<Run>().list(&ListParams::default()).await.unwrap();
    assert_eq!(runs.items.len(), 6);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_while_a_flow_is_suspended_start_nothing_later() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("first", first()).await;
    rig.flow("second", after("first", &json!(["Succeeded"]))).await;
    listens(&rig, "second").await;
    let reason = |flow: &Flow| flow.status.as_ref()?.triggers.first()?.reason;
    let suspend = |suspend: Value| {
        let patch = Patch::Merge(json!({"spec": {"suspend": suspend}}));
        let flows = rig.api::<Flow>();
        async move {
            let params = PatchParams::default();
            flows.patch("second", &params, &patch).await.unwrap();
        }
    };
    suspend(json!(true)).await;
    rig.until::<Flow>("second", |flow| reason(flow) == Some(TriggerReason::Suspended))
        .await;
    rig.start("unheard", json!({"flow": "first"})).await;
    rig.phase("unheard", "Succeeded").await;
    suspend(json!(null)).await;
    rig.until::<Flow>("second", |flow| reason(flow).is_none()).await;
    rig.start("heard", json!({"flow": "first"})).await;
    followed(&rig, "second", "heard").await;
    assert_eq!(started(&rig, "second").await, ["heard Succeeded"]);
    operator.stop().await;
}
