//! Objects that the operator cannot decode, of every kind: nobody else waits for them, before and after a restart.

use k8s_openapi::{api::events::v1::Event, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use signoff_api::{Approval, Flow, Release, Repository, Run};

use crate::support::{
    faults::misread,
    rig::{Rig, eventually},
};

/// What the operator reads in place of what is stored: a duration and two words that it does not know.
const MISREAD: &[(&str, &str)] = &[
    (r#""1h7s""#, r#""soon""#),
    (r#""channel":"Draft""#, r#""channel":"Drift""#),
    (r#""verdict":"RequestChanges""#, r#""verdict":"RequestChanged""#),
];

fn asks(title: &str, after: &str) -> Value {
    let approval = json!({"title": title, "escalate": [{"after": after, "to": {"groups": ["leads"]}}]});
    json!({"steps": [{"name": "review", "approval": approval}]})
}

async fn create<K>(rig: &Rig, object: Value) -> K
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + serde::Serialize,
{
    let object: K = serde_json::from_value(object).unwrap();
    rig.api::<K>()
        .create(&PostParams::default(), &object)
        .await
        .unwrap()
}

/// The Events about objects that cannot be decoded, as `kind/name`.
async fn told(rig: &Rig) -> Vec<String> {
    let events: Api<Event> = rig.api();
    let events = events.list(&ListParams::default()).await.unwrap();
    let about = |event: &Event| {
        let about = event.regarding.as_ref()?;
        (event.reason.as_deref() == Some("Undecodable")).then(|| {
            format!(
                "{}/{}",
                about.kind.as_deref().unwrap_or_default(),
                about.name.as_deref().unwrap_or_default()
            )
        })
    };
    events.iter().filter_map(about).collect()
}

fn undecodable(conditions: &[Condition], type_: &str) -> bool {
    let condition = conditions.iter().find(|condition| condition.type_ == type_);
    condition.is_some_and(|condition| condition.status == "False" && condition.reason == "Undecodable")
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_every_kind_that_cannot_be_decoded_hold_nobody_up_before_and_after_a_restart() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    // a flow, its release, a run that waits and its question, which a later operator cannot read
    let release = rig.flow("bad", asks("bad?", "1h7s")).await;
    rig.flow("good", asks("good?", "2h")).await;
    for run in ["one", "two", "three"] {
        rig.start(run, json!({"flow": "good"})).await;
        rig.until::<Approval>(&format!("{run}-review"), |_| true).await;
    }
    rig.start("held", json!({"flow": "bad"})).await;
    let question = rig.until::<Approval>("held-review", |_| true).await;
    rig.start("drafted", json!({"flow": "good", "channel": "Draft"}))
        .await;
    rig.until::<Approval>("drafted-review", |_| true).await;
    operator.stop().await;

    create::<Repository>(
        &rig,
        json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository",
        "metadata": {"name": "bad"}, "spec": {"url": "https://git.example.com/x.git", "interval": "1h7s",
        "draft": {"ref": "main"}, "suspend": true}}),
    )
    .await;
    let decision = rig.decide("alice", "two-review", "RequestChanges").await;
    for (round, run) in ["one", "three"].into_iter().enumerate() {
        let client = misread(rig.operator_client(), MISREAD);
        let operator = rig.operator_with(client).await.unwrap();
        rig.decide("alice", &format!("{run}-review"), "Approve").await;
        rig.phase(run, "Succeeded").await;
        let fresh = format!("fresh-{round}");
        rig.start(&fresh, json!({"flow": "good"})).await;
        rig.until::<Approval>(&format!("{fresh}-review"), |_| true).await;
        let expected = [
            "Flow/bad".to_owned(),
            format!("Release/{release}"),
            "Run/drafted".to_owned(),
            format!("Approval/{}", question.name_any()),
            "Repository/bad".to_owned(),
            format!("Decision/{}", decision.name_any()),
        ];
        for one in &expected {
            for _ in 0..600 {
                if told(&rig).await.contains(one) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        let told = told(&rig).await;
        for one in &expected {
            let times = told.iter().filter(|told| *told == one).count();
            // a Decision has no condition that says that it was told
            assert!(
                times == 1 || one.starts_with("Decision/") && times > 1,
                "{one} in {told:?}"
            );
        }
        let metrics = operator.metrics().clone();
        eventually("each is counted", || {
            let text = metrics.render().unwrap();
            ["Flow", "Release", "Run", "Approval", "Repository", "Decision"]
                .iter()
                .all(|kind| text.contains(&format!("signoff_undecodable_objects_total{{kind=\"{kind}\"}} 1")))
        })
        .await;
        operator.stop().await;
    }
    let flow = rig.api::<Flow>().get("bad").await.unwrap();
    let status = flow.status.unwrap();
    assert!(undecodable(&status.conditions, "Ready"), "{status:?}");
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .unwrap();
    assert!(ready.message.contains("spec.steps[0]"), "{}", ready.message);
    assert!(
        status
            .conditions
            .iter()
            .any(|condition| condition.type_ == "Stalled")
    );
    let release = rig.api::<Release>().get(&release).await.unwrap();
    assert!(undecodable(&release.status.unwrap().conditions, "Ready"));
    let run = rig.api::<Run>().get("drafted").await.unwrap();
    assert!(undecodable(&run.status.unwrap().conditions, "Succeeded"));
    let question = rig.asked("held-review").await;
    assert!(undecodable(&question.status.unwrap().conditions, "Decided"));

    // one that reads them again goes on where they were left
    let operator = rig.operator().await;
    rig.decide("alice", "held-review", "Approve").await;
    rig.phase("held", "Succeeded").await;
    rig.decide("alice", "drafted-review", "Approve").await;
    rig.phase("drafted", "Succeeded").await;
    rig.until::<Flow>("bad", |flow| {
        let status = flow.status.as_ref();
        status.is_some_and(|status| {
            status
                .conditions
                .iter()
                .all(|condition| condition.type_ != "Stalled")
        })
    })
    .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_is_edited_into_one_that_cannot_be_decoded_is_one_from_then_on_and_mended_by_the_next_edit()
 {
    let rig = Rig::open().await;
    let operator = rig
        .operator_with(misread(rig.operator_client(), MISREAD))
        .await
        .unwrap();
    rig.flow("f", asks("go?", "1h")).await;
    let flows = rig.api::<Flow>();
    let edit = async |after: &str| {
        let spec = json!({"spec": asks("go on?", after)});
        flows
            .patch("f", &PatchParams::default(), &Patch::Merge(spec))
            .await
            .unwrap()
    };
    edit("1h7s").await;
    rig.until::<Flow>("f", |flow| {
        flow.status
            .as_ref()
            .is_some_and(|status| undecodable(&status.conditions, "Ready"))
    })
    .await;
    let edited = edit("2h").await;
    rig.until::<Flow>("f", |flow| {
        let status = flow.status.as_ref();
        status.is_some_and(|status| {
            let ready = status
                .conditions
                .iter()
                .find(|condition| condition.type_ == "Ready");
            ready.is_some_and(|ready| {
                ready.status == "True" && ready.observed_generation == edited.metadata.generation
            })
        })
    })
    .await;
    operator.stop().await;
}
