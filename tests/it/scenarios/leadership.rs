//! Several operators on one API server: one leads, another takes over, and every process serves callbacks.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::Lease,
    jiff::{SignedDuration, Timestamp},
};
use kube::Api;
use serde_json::json;
use signoff::{
    cluster::{context::Clock, leadership::Timing},
    operator::{LEASE, Rivalry},
};
use signoff_api::{Approval, Run};

use crate::support::{
    rig::{Rig, Running, eventually},
    shop::Shop,
};

/// A lease that a leader keeps on however busy a machine, where it must not lose it.
const LONG: Duration = Duration::from_secs(30);
/// A lease that another one waits for, and that a leader keeps on a busy machine all the same.
const MEDIUM: Duration = Duration::from_secs(8);

/// An operator whose lease is as short as may be.
async fn operator(rig: &Rig, name: &str) -> Running {
    operator_by(rig, name, Timing::SHORTEST, Clock::system()).await
}

/// An operator with this lease.
async fn operator_with(rig: &Rig, name: &str, lease: Duration) -> Running {
    operator_by(rig, name, lease, Clock::system()).await
}

/// The same, by another clock than this machine's.
async fn operator_by(rig: &Rig, name: &str, lease: Duration, clock: Clock) -> Running {
    let namespace = rig.namespace().to_owned();
    let started = rig.operator_as(rig.operator_client(), |options| {
        options.rivalry = Some(Rivalry {
            identity: name.to_owned(),
            timing: Timing::of_lease(lease),
        });
        options.namespace = namespace;
        options.clock = clock;
    });
    started.await.unwrap()
}

/// Where operators campaign for a lease of this rig's own.
async fn open() -> Rig {
    let rig = Rig::open().await;
    rig.server.house_operator().await;
    rig
}

async fn holder(rig: &Rig) -> Option<String> {
    let leases: Api<Lease> = rig.api();
    leases.get_opt(LEASE).await.unwrap()?.spec?.holder_identity
}

async fn until_held_by(rig: &Rig, name: &str) {
    rig.until::<Lease>(LEASE, |lease| {
        let spec = lease.spec.as_ref();
        spec.is_some_and(|spec| spec.holder_identity.as_deref() == Some(name))
    })
    .await;
}

fn leads(operator: &Running) -> bool {
    let text = operator.metrics().render().unwrap();
    text.lines().any(|line| line == "signoff_leading 1")
}

async fn waiting_flow(rig: &Rig, shop: &Shop) {
    let steps = json!([
        {"name": "review", "approval": {"title": "go?"}},
        {"name": "tell", "http": {"method": "POST", "url": shop.url("/tell"),
            "body": {"url": "${callback('settled').url}"}}},
        {"name": "settled", "wait": {"callback": {}}},
    ]);
    rig.flow(
        "f",
        json!({"steps": steps, "output": {"got": "${steps.settled.output}"}}),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_and_hands_over_at_once_when_it_stops() {
    let (rig, shop) = (open().await, Shop::open().await);
    let first = operator_with(&rig, "first", LONG).await;
    until_held_by(&rig, "first").await;
    let second = operator_with(&rig, "second", LONG).await;
    waiting_flow(&rig, &shop).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    assert!(leads(&first) && !leads(&second));

    first.stop().await;
    until_held_by(&rig, "second").await;
    rig.decide("alice", "r-review", "Approve").await;
    eventually("the step after the approval is performed", || {
        !shop.asked("/tell").is_empty()
    })
    .await;
    assert!(leads(&second));
    second.stop().await;
    assert_eq!(
        holder(&rig).await.unwrap_or_default(),
        "",
        "the lease is given back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leads_when_one_fell_silent() {
    let (rig, shop) = (open().await, Shop::open().await);
    let first = operator(&rig, "first").await;
    until_held_by(&rig, "first").await;
    let second = operator(&rig, "second").await;
    waiting_flow(&rig, &shop).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    first.kill().await;
    rig.decide("alice", "r-review", "Approve").await;
    until_held_by(&rig, "second").await;
    eventually("the step after the approval is performed", || {
        !shop.asked("/tell").is_empty()
    })
    .await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_does_not_lead_serves_callbacks() {
    let (rig, shop) = (open().await, Shop::open().await);
    let first = operator_with(&rig, "first", LONG).await;
    until_held_by(&rig, "first").await;
    // callbacks go to the gateway of the one that came last
    let second = operator_with(&rig, "second", LONG).await;
    waiting_flow(&rig, &shop).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    rig.decide("alice", "r-review", "Approve").await;
    eventually("the address is told", || !shop.asked("/tell").is_empty()).await;
    let url = shop.asked("/tell")[0].body["url"].as_str().unwrap().to_owned();
    rig.call_back(url.rsplit('/').next().unwrap(), r#"{"receipt":1}"#)
        .await;
    let run = rig.phase("r", "Succeeded").await;
    assert_eq!(
        run.status.unwrap().output.unwrap().0,
        json!({"got": {"receipt": 1}})
    );
    assert!(leads(&first) && !leads(&second));
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_lost_the_lease_writes_nothing_until_it_leads_again() {
    let rig = open().await;
    let first = operator(&rig, "first").await;
    until_held_by(&rig, "first").await;
    rig.flow("f", json!({"steps": [{"name": "a", "set": {"x": 1}}]}))
        .await;
    // somebody takes the lease from it
    let leases: Api<Lease> = rig.api();
    let mut lease = leases.get(LEASE).await.unwrap();
    let spec = lease.spec.as_mut().unwrap();
    spec.holder_identity = Some("somebody".to_owned());
    spec.lease_duration_seconds = Some(3_600);
    kube_replace(&leases, &mut lease).await;
    eventually("it leads no more", || !leads(&first)).await;
    rig.start("r", json!({"flow": "f"})).await;
    let run = rig.api::<Run>().get("r").await.unwrap();
    assert_eq!(run.status, None);
    // and gives it back
    lease.spec.as_mut().unwrap().holder_identity = None;
    kube_replace(&leases, &mut lease).await;
    rig.phase("r", "Succeeded").await;
    assert_eq!(holder(&rig).await.as_deref(), Some("first"));
    first.stop().await;
}

/// Two whose clocks are two hours apart: neither takes the lease from one that renews it, nor leaves it to one that is silent.
async fn a_lease_is_kept_and_passed_on_by_clocks_that_are_off(hours: i64) {
    let (rig, shop) = (open().await, Shop::open().await);
    let off = |hours| Clock::from_fn(move || Timestamp::now() + SignedDuration::from_hours(hours));
    let first = operator_by(&rig, "first", MEDIUM, off(hours)).await;
    until_held_by(&rig, "first").await;
    let second = operator_by(&rig, "second", MEDIUM, off(-hours)).await;
    waiting_flow(&rig, &shop).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    // renewed for longer than it lasts, with times that the other one's clock calls long past, or to come
    let renewed = |lease: &Lease| {
        lease
            .spec
            .clone()
            .unwrap_or_default()
            .renew_time
            .map(|time| time.0)
    };
    let lease = rig.until::<Lease>(LEASE, |_| true).await;
    let (begun, lasting) = (
        renewed(&lease).unwrap(),
        SignedDuration::try_from(MEDIUM).unwrap(),
    );
    let lease = rig
        .until::<Lease>(LEASE, |lease| renewed(lease) > Some(begun + lasting))
        .await;
    let spec = lease.spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("first"));
    assert_eq!(spec.lease_transitions, Some(0));
    assert!(leads(&first) && !leads(&second));

    first.kill().await;
    rig.decide("alice", "r-review", "Approve").await;
    until_held_by(&rig, "second").await;
    eventually("the step after the approval is performed", || {
        !shop.asked("/tell").is_empty()
    })
    .await;
    assert_eq!(shop.asked("/tell").len(), 1);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_clock_is_ahead_of_its_rivals_keeps_the_lease_until_it_falls_silent() {
    a_lease_is_kept_and_passed_on_by_clocks_that_are_off(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_clock_is_behind_its_rivals_keeps_the_lease_until_it_falls_silent() {
    a_lease_is_kept_and_passed_on_by_clocks_that_are_off(-1).await;
}

/// Writes the lease over whatever renewals come in between.
async fn kube_replace(leases: &Api<Lease>, lease: &mut Lease) {
    loop {
        match leases
            .replace(LEASE, &kube::api::PostParams::default(), lease)
            .await
        {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if status.code == 409 => {
                lease.metadata.resource_version = leases.get(LEASE).await.unwrap().metadata.resource_version;
            }
            Err(error) => panic!("{error}"),
        }
    }
}
