//! Flows that run other flows.

use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use signoff_api::{Approval, ApprovalPhase, Flow, Release, Run, RunPhase};

use crate::support::{
    faults::{Cut, cut, cut_around_each_write},
    rig::Rig,
    shop::Shop,
};

fn runs(name: &str, flow: &str) -> Value {
    json!({"name": name, "flow": {"name": flow, "inputs": {"order": "${inputs.order}"}}})
}

fn inputs() -> Value {
    json!({"type": "object", "required": ["order"], "properties": {"order": {"type": "string"}}})
}

/// A flow that runs another one and gives what that gives.
fn above(flow: &str) -> Value {
    json!({"inputs": inputs(), "steps": [runs("apply", flow)],
        "output": {"receipt": "${steps.apply.output.receipt}"}})
}

/// A flow that asks.
fn asks() -> Value {
    json!({"inputs": inputs(), "steps": [{"name": "ask", "approval": {"title": "refund ${inputs.order}?"}}],
        "output": {"receipt": "R-${inputs.order}"}})
}

/// Three flows that run each other: `top`, `middle` and `bottom`, which asks.
async fn three(rig: &Rig) {
    rig.flow("bottom", asks()).await;
    rig.flow("middle", above("bottom")).await;
    rig.flow("top", above("middle")).await;
}

/// The run that a step of a run has started.
async fn child(rig: &Rig, run: &str, step: &str) -> String {
    let named = |run: &Run| {
        let steps = run.status.iter().flat_map(|status| &status.steps);
        let mut steps = steps.filter(|entry| entry.name == step);
        steps.find_map(|entry| entry.run.clone())
    };
    named(&rig.until(run, |run| named(run).is_some()).await).unwrap()
}

async fn start(rig: &Rig) -> (String, String) {
    rig.start("r", json!({"flow": "top", "inputs": {"order": "81"}}))
        .await;
    let middle = child(rig, "r", "apply").await;
    let bottom = child(rig, &middle, "apply").await;
    (middle, bottom)
}

async fn create(rig: &Rig, name: &str, spec: Value) {
    let flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": {"name": name}, "spec": spec});
    let flow: Flow = serde_json::from_value(flow).unwrap();
    rig.api::<Flow>()
        .create(&PostParams::default(), &flow)
        .await
        .unwrap();
}

async fn change(rig: &Rig, name: &str, spec: Value) {
    let patch = Patch::Merge(json!({"spec": spec}));
    let flows = rig.api::<Flow>();
    flows.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

fn draft(flow: &Flow) -> Option<String> {
    let status = flow.status.as_ref()?;
    status.draft.as_ref().map(|draft| draft.release.clone())
}

/// Waits until a flow says this of itself.
async fn says(rig: &Rig, name: &str, reason: &str) -> Flow {
    rig.until::<Flow>(name, |flow| {
        let conditions = flow.status.iter().flat_map(|status| &status.conditions);
        let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
        ready.any(|ready| ready.reason == reason)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_flows_run_each_other_and_the_output_comes_back_up() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    three(&rig).await;
    let (middle, bottom) = start(&rig).await;
    let run = rig.api::<Run>().get(&bottom).await.unwrap();
    let parent = run.spec.parent.clone().unwrap();
    let chain: Vec<&str> = parent.chain.iter().map(|above| above.run.as_str()).collect();
    assert_eq!(chain, [middle.as_str(), "r"]);
    assert_eq!(run.spec.requested_by.as_deref(), Some("dev"));
    assert_eq!(run.owner_references()[0].name, middle);
    rig.decide("alice", &format!("{bottom}-ask"), "Approve").await;
    let run = rig.phase("r", "Succeeded").await;
    let status = run.status.unwrap();
    assert_eq!(status.output.unwrap().0, json!({"receipt": "R-81"}));
    // the first step and the end
    assert_eq!(status.revision, 2);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_the_parent_does_not_approve_in_the_child() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    three(&rig).await;
    let (middle, bottom) = start(&rig).await;
    let question = format!("{bottom}-ask");
    let asked = rig.asked(&question).await;
    let above: Vec<_> = asked
        .spec
        .parents
        .iter()
        .map(|above| (above.run.as_str(), above.flow.as_str()))
        .collect();
    assert_eq!(above, [(middle.as_str(), "middle"), ("r", "top")]);
    assert_eq!(asked.spec.parents[1].requested_by.as_deref(), Some("dev"));
    let own = rig.decide("dev", &question, "Approve").await;
    let (counted, reason, _) = rig.judged(&own).await;
    assert_eq!((counted, reason.as_str()), (false, "SelfApproval"));
    rig.decide("alice", &question, "Reject").await;
    let run = rig.phase("r", "Rejected").await;
    let error = run.status.unwrap().error.unwrap();
    assert_eq!(error.reason.to_string(), "RunNotSucceeded");
    assert!(error.message.contains("rejected by alice"), "{}", error.message);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_ends_after_all_that_it_started() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    three(&rig).await;
    let (middle, bottom) = start(&rig).await;
    let question = rig.question(&format!("{bottom}-ask")).await;
    rig.patch_run("r", json!({"cancel": true})).await;
    let top = rig.phase("r", "Cancelled").await;
    let ended = |run: &Run| run.status.as_ref().unwrap().finished_at.clone().unwrap().0;
    let mut later = ended(&top);
    for name in [middle, bottom] {
        let run = rig.api::<Run>().get(&name).await.unwrap();
        assert_eq!(run.status.as_ref().unwrap().phase, RunPhase::Cancelled, "{name}");
        assert!(ended(&run) <= later, "{name} ended first");
        later = ended(&run);
    }
    rig.until::<Approval>(&question, |approval| {
        approval
            .status
            .as_ref()
            .is_some_and(|status| status.phase == ApprovalPhase::Cancelled)
    })
    .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_somebody_deletes_fails_its_step() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("bottom", asks()).await;
    rig.flow("top", above("bottom")).await;
    rig.start("r", json!({"flow": "top", "inputs": {"order": "81"}}))
        .await;
    let deleted = child(&rig, "r", "apply").await;
    rig.question(&format!("{deleted}-ask")).await;
    rig.delete_run(&deleted).await;
    let run = rig.phase("r", "Failed").await;
    assert_eq!(
        run.status.unwrap().error.unwrap().reason.to_string(),
        "RunDeleted"
    );
    // and so does one that is deleted while nobody looks
    rig.start("s", json!({"flow": "top", "inputs": {"order": "82"}}))
        .await;
    let deleted = child(&rig, "s", "apply").await;
    operator.stop().await;
    rig.delete_run(&deleted).await;
    let operator = rig.operator().await;
    let run = rig.phase("s", "Failed").await;
    assert_eq!(
        run.status.unwrap().error.unwrap().reason.to_string(),
        "RunDeleted"
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_may_come_in_any_order_and_a_changed_child_makes_another_release() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    create(&rig, "top", above("bottom")).await;
    let waiting = says(&rig, "top", "DependencyNotReady").await;
    assert_eq!(draft(&waiting), None);
    create(&rig, "bottom", asks()).await;
    let top = rig.until::<Flow>("top", |flow| draft(flow).is_some()).await;
    let first = draft(&top).unwrap();
    let release = rig.api::<Release>().get(&first).await.unwrap();
    let bottom = rig.until::<Flow>("bottom", |flow| draft(flow).is_some()).await;
    let pinned = &release.spec.dependencies[0];
    assert_eq!(
        (pinned.flow.as_str(), Some(&pinned.release)),
        ("bottom", draft(&bottom).as_ref())
    );
    assert_eq!(release.spec.content_digest().unwrap(), release.spec.digest);

    // not before what it runs
    change(&rig, "top", json!({"live": first})).await;
    let blocked = says(&rig, "top", "DependencyNotLive").await;
    assert_eq!(blocked.status.unwrap().live, None);
    change(&rig, "bottom", json!({"live": pinned.release})).await;
    rig.until::<Flow>("top", |flow| {
        flow.status.as_ref().and_then(|status| status.live_release()) == Some(first.as_str())
    })
    .await;

    change(&rig, "bottom", json!({"description": "another"})).await;
    let top = rig
        .until::<Flow>("top", |flow| draft(flow).is_some_and(|draft| draft != first))
        .await;
    let second = rig.api::<Release>().get(&draft(&top).unwrap()).await.unwrap();
    assert_eq!(second.spec.definition, release.spec.definition);
    assert_ne!(second.spec.dependencies, release.spec.dependencies);
    // what was live may become live again
    assert_eq!(top.status.unwrap().live.unwrap().release, first);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn circles_wrong_inputs_and_too_many_levels_are_refused() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f1", asks()).await;
    for level in 2..=5 {
        rig.flow(&format!("f{level}"), above(&format!("f{}", level - 1)))
            .await;
    }
    create(&rig, "f6", above("f5")).await;
    let problem = |flow: &Flow| flow.status.as_ref().unwrap().problems[0].clone();
    let refused = says(&rig, "f6", "InvalidDefinition").await;
    assert!(
        problem(&refused).message.contains("6 deep"),
        "{:?}",
        problem(&refused)
    );
    change(&rig, "f1", above("f3")).await;
    for name in ["f1", "f2", "f3"] {
        let refused = says(&rig, name, "InvalidDefinition").await;
        assert!(
            problem(&refused).message.contains("in a circle"),
            "{:?}",
            problem(&refused)
        );
        assert_eq!(problem(&refused).field, "spec.steps[0].flow.name");
    }
    change(&rig, "f1", asks()).await;
    for name in ["f1", "f2", "f3"] {
        says(&rig, name, "Released").await;
    }
    let mut wrong = above("f1");
    wrong["steps"][0]["flow"]["inputs"] = json!({"order": 81});
    create(&rig, "wrong", wrong).await;
    let refused = says(&rig, "wrong", "InvalidDefinition").await;
    assert!(
        problem(&refused).message.contains("flow f1: inputs.order"),
        "{:?}",
        problem(&refused)
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_operator_says_that_a_run_has_a_parent() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("bottom", asks()).await;
    let digest = format!("sha256:{}", "0".repeat(64));
    let chain = json!([{"run": "x", "flow": "y", "requestedBy": "alice"}]);
    let parent = json!({"uid": "u", "step": "s", "iteration": 1, "digest": digest, "chain": chain});
    let mut run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "r"},
        "spec": {"flow": "bottom", "inputs": {"order": "81"}, "parent": parent}});
    rig.server.sign("dev", &mut run);
    let run: Run = serde_json::from_value(run).unwrap();
    let api: Api<Run> = Api::namespaced(rig.client("dev"), rig.namespace());
    let refused = api.create(&PostParams::default(), &run).await.unwrap_err();
    assert!(refused.to_string().contains("spec.parent"), "{refused}");
    let mut led = run.clone();
    led.spec.parent = None;
    led.spec.earlier_requesters = vec!["alice".into()];
    let refused = api.create(&PostParams::default(), &led).await.unwrap_err();
    assert!(
        refused.to_string().contains("spec.earlierRequesters"),
        "{refused}"
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn detached_runs_with_one_key_are_one_and_outlive_the_run_that_started_them() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("bottom", asks()).await;
    let mut step = runs("apply", "bottom");
    step["flow"]["detached"] = json!(true);
    step["flow"]["key"] = json!("${inputs.order}");
    let spec = json!({"inputs": inputs(), "steps": [step], "output": {"run": "${steps.apply.output.run}"}});
    rig.flow("top", spec).await;
    let mut names = Vec::new();
    for (run, order) in [("a", "81"), ("b", "81"), ("c", "82")] {
        rig.start(run, json!({"flow": "top", "inputs": {"order": order}}))
            .await;
        let ended = rig.phase(run, "Succeeded").await;
        names.push(ended.status.unwrap().output.unwrap().0["run"].clone());
    }
    assert_eq!(names[0], names[1]);
    assert_ne!(names[0], names[2]);
    let started = names[0].as_str().unwrap();
    let run = rig.phase(started, "Waiting").await;
    assert_eq!(run.owner_references().len(), 0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_cut_off_at_any_write_starts_each_run_once() {
    cut_around_each_write(4, async |at| survives(at, false).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_cut_off_at_any_write_of_a_cancellation_leaves_no_run_behind() {
    cut_around_each_write(4, async |at| survives(at, true).await).await;
}

/// Plays one run under a cut. Says whether the cut was reached.
async fn survives(at: Cut, cancel: bool) -> bool {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let call = json!({"name": "call", "http": {"method": "POST", "url": shop.url("/once"), "body": {}}});
    let mut bottom = asks();
    bottom["steps"].as_array_mut().unwrap().insert(0, call);
    rig.flow("bottom", bottom).await;
    rig.flow("top", above("bottom")).await;
    operator.stop().await;

    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    rig.start("r", json!({"flow": "top", "inputs": {"order": "81"}}))
        .await;
    let end = if cancel { "Cancelled" } else { "Succeeded" };
    let story = async {
        let started = child(&rig, "r", "apply").await;
        let question = rig.question(&format!("{started}-ask")).await;
        if cancel {
            rig.patch_run("r", json!({"cancel": true})).await;
        } else {
            rig.decide("alice", &question, "Approve").await;
        }
        rig.phase("r", end).await
    };
    let (reached, second) = rig.play_over(&fault, first, story).await;
    second.stop().await;
    let all = rig.api::<Run>().list(&ListParams::default()).await.unwrap();
    let phases: Vec<_> = all
        .iter()
        .map(|run| (run.name_any(), run.status.as_ref().unwrap().phase))
        .collect();
    assert_eq!(phases.len(), 2, "{at:?}: {phases:?}");
    assert!(
        phases.iter().all(|(_, phase)| phase.to_string() == end),
        "{at:?}: {phases:?}"
    );
    let mut keys: Vec<_> = shop
        .asked("/once")
        .iter()
        .map(|call| call.idempotency_key.clone())
        .collect();
    keys.dedup();
    assert_eq!(keys.len(), 1, "{at:?}");
    reached
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_deleted_takes_those_that_it_started_along() {
    let rig = Rig::open().await;
    if !rig.collects() {
        return;
    }
    let operator = rig.operator().await;
    three(&rig).await;
    let (middle, bottom) = start(&rig).await;
    rig.delete_run("r").await;
    for name in [middle, bottom] {
        rig.until_gone::<Run>(&name).await;
    }
    operator.stop().await;
}
