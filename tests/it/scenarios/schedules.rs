//! Schedules: one run for each time that was meant, whatever happens to the operator and to the clocks.

use k8s_openapi::jiff::SignedDuration;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use signoff::operator::OperatorOptions;
use signoff_api::{
    Flow, Run,
    trigger::{TriggerReason, TriggerStatus},
};

use crate::support::{
    faults::{Cut, cut},
    hands::{Hands, timeless},
    rig::{Rig, Running},
};

/// A flow that a schedule starts with the day.
fn flow(schedule: &Value) -> Value {
    json!({
        "inputs": {"type": "object", "required": ["at"], "properties": {"at": {"type": "string", "maxLength": 40}}},
        "triggers": [{"name": "nightly", "schedule": schedule, "inputs": {"at": "${trigger.at}"}}],
        "steps": [{"name": "one", "set": {"at": "${inputs.at}", "by": "${trigger.?name.orValue('hand')}"}}],
        "output": {"by": "${steps.one.output.by}"},
    })
}

fn by(hands: &Hands) -> impl FnOnce(&mut OperatorOptions) + use<> {
    let clock = hands.clock();
    move |options| options.clock = clock
}

async fn operator(rig: &Rig, hands: &Hands) -> Running {
    let client = timeless(rig.operator_client());
    rig.operator_as(client, by(hands)).await.unwrap()
}

fn of(flow: &Flow) -> Option<&TriggerStatus> {
    flow.status.as_ref()?.triggers.first()
}

fn is(time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>, expected: &str) -> bool {
    time.is_some_and(|time| time.0 == expected.parse().unwrap())
}

/// Waits until the trigger expects this time next; gives what is said of it.
async fn expects(rig: &Rig, next: &str) -> TriggerStatus {
    let flow = rig
        .until::<Flow>("load", |flow| {
            of(flow).is_some_and(|of| is(of.next_at.as_ref(), next))
        })
        .await;
    of(&flow).unwrap().clone()
}

/// The times for which runs were started, in order.
async fn started(rig: &Rig) -> Vec<String> {
    let runs = rig.api::<Run>().list(&ListParams::default()).await.unwrap();
    let at = |run: Run| run.spec.trigger.unwrap().at.0.to_string();
    let mut all: Vec<String> = runs.items.into_iter().map(at).collect();
    all.sort();
    all
}

async fn patch(rig: &Rig, spec: Value) {
    let patch = Patch::Merge(json!({ "spec": spec }));
    let flows = rig.api::<Flow>();
    flows
        .patch("load", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_time_starts_one_run_that_knows_what_started_it() {
    let (rig, hands) = (Rig::open().await, Hands::at("2026-03-07T12:00:00Z"));
    let operator = operator(&rig, &hands).await;
    let release = rig
        .flow(
            "load",
            flow(&json!({"cron": "30 2 * * *", "timeZone": "America/New_York"})),
        )
        .await;
    // the clock goes forward at that time
    let waiting = expects(&rig, "2026-03-08T07:00:00Z").await;
    assert_eq!(
        (waiting.last_at, waiting.last_run, waiting.reason),
        (None, None, None)
    );
    hands.set("2026-03-08T07:00:00Z");
    let fired = expects(&rig, "2026-03-09T06:30:00Z").await;
    let run = rig.phase(fired.last_run.as_deref().unwrap(), "Succeeded").await;
    assert!(is(fired.last_at.as_ref(), "2026-03-08T07:00:00Z"));
    assert_eq!(
        run.spec.requested_by.as_deref(),
        Some("system:signoff:trigger:load/nightly")
    );
    assert_eq!(run.spec.release.as_ref().unwrap(), &release);
    assert_eq!(run.spec.inputs.unwrap().0["at"], "2026-03-08T07:00:00Z");
    assert_eq!(run.status.unwrap().output.unwrap().0, json!({"by": "nightly"}));
    hands.set("2026-03-09T06:30:00.2Z");
    expects(&rig, "2026-03-10T06:30:00Z").await;
    assert_eq!(
        started(&rig).await,
        ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"]
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_operator_dies_each_time_starts_one_run() {
    let (rig, hands) = (Rig::open().await, Hands::at("2026-05-01T00:10:00Z"));
    let first = operator(&rig, &hands).await;
    rig.flow("load", flow(&json!({"cron": "0 * * * *"}))).await;
    expects(&rig, "2026-05-01T01:00:00Z").await;
    first.stop().await;
    let mut hour = hands.now();
    // the run, the status of the flow, the run's own
    for write in 1..=3 {
        for at in [Cut::Before(write), Cut::After(write)] {
            hands.pass(SignedDuration::from_hours(1));
            hour = hands.now();
            let (client, fault) = cut(timeless(rig.operator_client()), at);
            let doomed = rig.operator_as(client, by(&hands)).await.unwrap();
            fault.broken.cancelled().await;
            doomed.kill().await;
            let heir = operator(&rig, &hands).await;
            let next = (hour + SignedDuration::from_mins(50)).to_string();
            expects(&rig, &next).await;
            heir.stop().await;
        }
    }
    let all = started(&rig).await;
    assert_eq!(all.len(), 6, "{all:?} until {hour}");
    assert_eq!(all[0], "2026-05-01T01:00:00Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_that_both_believe_to_lead_start_one_run() {
    let (rig, hands) = (Rig::open().await, Hands::at("2026-05-01T00:10:00Z"));
    let both = [operator(&rig, &hands).await, operator(&rig, &hands).await];
    rig.flow("load", flow(&json!({"cron": "*/10 * * * *"}))).await;
    for minute in ["20", "30", "40"] {
        expects(&rig, &format!("2026-05-01T00:{minute}:00Z")).await;
        hands.set(&format!("2026-05-01T00:{minute}:01Z"));
    }
    expects(&rig, "2026-05-01T00:50:00Z").await;
    assert_eq!(started(&rig).await.len(), 3);
    for operator in both {
        operator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_pass_while_no_operator_runs_start_one_run_or_none() {
    for (missed, runs) in [("RunOnce", 1), ("Skip", 0)] {
        let (rig, hands) = (Rig::open().await, Hands::at("2026-05-01T00:10:00Z"));
        let before = operator(&rig, &hands).await;
        rig.flow("load", flow(&json!({"cron": "0 * * * *", "missed": missed})))
            .await;
        expects(&rig, "2026-05-01T01:00:00Z").await;
        before.stop().await;
        hands.set("2026-05-01T05:30:00Z");
        let after = operator(&rig, &hands).await;
        let told = expects(&rig, "2026-05-01T06:00:00Z").await;
        assert_eq!(told.reason, Some(TriggerReason::Missed));
        let message = told.message.unwrap();
        assert!(
            message.contains("from 2026-05-01T01:00:00Z to 2026-05-01T05:00:00Z"),
            "{message}"
        );
        let all = started(&rig).await;
        assert_eq!(all, vec!["2026-05-01T05:00:00Z"; runs], "{missed}");
        // and goes on
        hands.set("2026-05-01T06:00:00Z");
        let told = expects(&rig, "2026-05-01T07:00:00Z").await;
        assert_eq!(told.reason, None);
        assert_eq!(started(&rig).await.len(), runs + 1);
        after.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_change_nor_a_resumption_starts_anything_for_the_past() {
    let (rig, hands) = (Rig::open().await, Hands::at("2026-05-01T08:10:00Z"));
    let operator = operator(&rig, &hands).await;
    rig.flow("load", flow(&json!({"cron": "0 9 * * *"}))).await;
    expects(&rig, "2026-05-01T09:00:00Z").await;
    // a time of the new schedule that has passed since the old one began
    hands.set("2026-05-01T08:50:00Z");
    rig.next_release("load", flow(&json!({"cron": "30 8 * * *"})))
        .await;
    expects(&rig, "2026-05-02T08:30:00Z").await;
    patch(&rig, json!({"suspend": true})).await;
    let is_suspended = |flow: &Flow| of(flow).is_some_and(|of| of.reason == Some(TriggerReason::Suspended));
    let flow = rig.until::<Flow>("load", is_suspended).await;
    assert_eq!(of(&flow).unwrap().next_at, None);
    hands.set("2026-05-04T12:00:00Z");
    patch(&rig, json!({"suspend": null})).await;
    let resumed = expects(&rig, "2026-05-05T08:30:00Z").await;
    assert_eq!((resumed.reason, resumed.last_run), (None, None));
    assert!(started(&rig).await.is_empty());
    hands.set("2026-05-05T08:30:00Z");
    expects(&rig, "2026-05-06T08:30:00Z").await;
    assert_eq!(started(&rig).await, ["2026-05-05T08:30:00Z"]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_do_not_fit_start_nothing_and_the_flow_says_why() {
    let (rig, hands) = (Rig::open().await, Hands::at("2026-05-01T08:10:00Z"));
    let operator = operator(&rig, &hands).await;
    let mut spec = flow(&json!({"cron": "0 9 * * *"}));
    spec["inputs"]["properties"]["at"]["maxLength"] = json!(3);
    rig.flow("load", spec).await;
    expects(&rig, "2026-05-01T09:00:00Z").await;
    hands.set("2026-05-01T09:00:00Z");
    let told = expects(&rig, "2026-05-02T09:00:00Z").await;
    assert_eq!(told.reason, Some(TriggerReason::InvalidInputs));
    assert!(told.message.unwrap().contains("inputs.at"));
    rig.event("load", "InvalidInputs").await;
    assert!(started(&rig).await.is_empty());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_triggers_of_a_draft_start_nothing() {
    let (rig, hands) = (Rig::open().await, Hands::at("2026-05-01T08:10:00Z"));
    let operator = operator(&rig, &hands).await;
    rig.flow("load", json!({"steps": [{"name": "one", "set": {}}]}))
        .await;
    let drafted = |flow: &Flow| flow.status.as_ref().and_then(|status| status.draft.clone());
    let before = drafted(&rig.api::<Flow>().get("load").await.unwrap());
    patch(&rig, flow(&json!({"cron": "* * * * *"}))).await;
    let flow = rig.until::<Flow>("load", |flow| drafted(flow) != before).await;
    let draft = drafted(&flow).unwrap().release;
    hands.set("2026-05-01T09:00:00Z");
    assert!(of(&rig.api::<Flow>().get("load").await.unwrap()).is_none());
    patch(&rig, json!({"live": draft})).await;
    expects(&rig, "2026-05-01T09:01:00Z").await;
    assert!(started(&rig).await.is_empty());
    operator.stop().await;
}

/// Somebody else could pass a run off as one that nobody asked for.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_says_that_a_trigger_started_their_run() {
    let (rig, hands) = (Rig::open().await, Hands::at("2026-05-01T08:10:00Z"));
    let operator = operator(&rig, &hands).await;
    rig.flow("load", flow(&json!({"cron": "0 9 * * *"}))).await;
    expects(&rig, "2026-05-01T09:00:00Z").await;
    let dev: Api<Run> = Api::namespaced(rig.client("dev"), rig.namespace());
    let trigger = json!({"name": "nightly", "kind": "Schedule", "at": "2026-05-01T09:00:00Z"});
    for (requested_by, trigger) in [
        (Some("system:signoff:trigger:load/nightly"), None),
        (None, Some(&trigger)),
        (Some("system:signoff:trigger:load/nightly"), Some(&trigger)),
    ] {
        let mut run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "forged"},
            "spec": {"flow": "load", "inputs": {"at": "now"}}});
        match requested_by {
            Some(user) => run["spec"]["requestedBy"] = json!(user),
            None => rig.server.sign("dev", &mut run),
        }
        if let Some(trigger) = trigger {
            run["spec"]["trigger"] = trigger.clone();
        }
        let run: Run = serde_json::from_value(run).unwrap();
        let refused = dev.create(&PostParams::default(), &run).await.unwrap_err();
        assert!(
            matches!(&refused, kube::Error::Api(status) if status.code == 403 || status.code == 422),
            "{refused}"
        );
    }
    // and the trigger goes on
    hands.set("2026-05-01T09:00:00Z");
    let fired = expects(&rig, "2026-05-02T09:00:00Z").await;
    let first = rig.api::<Run>().get(&fired.last_run.unwrap()).await.unwrap();
    assert!(first.name_any().starts_with("load-"));
    operator.stop().await;
}
