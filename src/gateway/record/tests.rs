use axum::body::to_bytes;

use super::*;
use crate::{
    cluster::{
        fake_api::{FakeApi, Fault, NAMESPACE},
        releases::Releases,
    },
    gateway::{Bodies, Pushes, Resources, Turns, WeakSecrets},
};
use signoff_api::Digest;
use signoff_engine::callback_token::CallbackKeys;

const WRITE: &str = "PATCH runs/r/status";
const READ: &str = "GET runs/r";

/// A gateway, and a run `r` that waits for a callback.
struct Rig {
    api: FakeApi,
    gateway: Gateway,
    run: Run,
}

impl Rig {
    fn new() -> Self {
        let api = FakeApi::new();
        let run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "r"}, "spec": {"flow": "f"},
            "status": {"phase": "Waiting", "callbacks": {}, "steps": [
                {"name": "settled", "iteration": 1, "phase": "Waiting", "attempt": 0}]}});
        let run = api.put::<Run>(&serde_json::from_value(run).unwrap());
        let context = api.context();
        let keys = [("k".to_owned(), vec![1; 32])].into();
        let gateway = Gateway {
            releases: std::sync::Arc::new(Releases::new(std::sync::Arc::clone(&context))),
            context,
            keys: CallbackKeys::new("k", keys).unwrap(),
            namespaces: [].into(),
            pushes: Pushes::default(),
            bodies: Bodies::default(),
            request_timeout: Duration::from_secs(10),
            turns: Turns::default(),
            resources: Resources::of(None),
            agents: None,
            weak: WeakSecrets::default(),
        };
        Self { api, gateway, run }
    }

    fn address(&self) -> CallbackAddress {
        CallbackAddress {
            namespace: NAMESPACE.to_owned(),
            run: "r".to_owned(),
            uid: self.run.uid().unwrap(),
            step: "settled".to_owned(),
            iteration: 1,
            item: None,
        }
    }

    /// Records a body. Gives the code of the answer and what it says.
    async fn record(&self, body: &str, id: Option<&str>) -> (u16, Value) {
        let address = self.address();
        let recorded = record(
            &self.gateway,
            self.run.clone(),
            &address,
            delivery(body, id),
            json!(body),
        );
        let response = recorded.await.unwrap_or_else(Problem::into_response);
        let code = response.status().as_u16();
        let said = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (code, serde_json::from_slice(&said).unwrap())
    }

    /// What is recorded for the wait.
    fn recorded(&self) -> Option<CallbackRecord> {
        let run: Run = self.api.get("runs/r");
        recorded(&run, &self.address()).cloned()
    }
}

fn delivery(body: &str, id: Option<&str>) -> Delivery {
    Delivery {
        sha256: Digest::of(body.as_bytes()),
        id: id.map(str::to_owned),
    }
}

/// Somebody else was faster, with this body.
fn faster(body: &'static str, id: Option<&'static str>) -> Fault {
    let sha256 = Digest::of(body.as_bytes());
    let record =
        json!({"receivedAt": "2026-01-01T00:00:00.000000Z", "sha256": sha256, "body": body, "webhookID": id});
    Fault::After(Box::new(move |api| {
        api.edit("runs/r", |run| {
            run["status"]["callbacks"]["settled.1"] = record;
        });
    }))
}

#[tokio::test(start_paused = true)]
async fn a_callback_is_recorded_with_one_write_and_acknowledged_with_a_receipt() {
    let rig = Rig::new();
    let (code, receipt) = rig.record("paid", Some("id-1")).await;
    let record = rig.recorded().unwrap();
    assert_eq!(code, 202);
    assert_eq!(receipt["sha256"], record.sha256.as_str());
    assert_eq!(receipt["receivedAt"], record.received_at.0.to_string());
    assert_eq!(
        (record.body.0, record.webhook_id.as_deref()),
        (json!("paid"), Some("id-1"))
    );
    assert_eq!(rig.api.asked(), [WRITE]);
}

#[tokio::test(start_paused = true)]
async fn of_two_callbacks_at_once_one_is_recorded_and_the_other_is_answered_by_it() {
    for (body, id, code) in [
        // the same delivery, as its body or its id tells
        ("paid", None, 200),
        ("paid again", Some("id-1"), 200),
        ("refused", Some("id-2"), 409),
        ("refused", None, 409),
    ] {
        let rig = Rig::new();
        rig.api.fault(WRITE, faster("paid", Some("id-1")));
        let (answered, said) = rig.record(body, id).await;
        assert_eq!(answered, code, "{body} {id:?}: {said}");
        assert_eq!(said["sha256"], Digest::of(b"paid").as_str());
        assert_eq!(rig.recorded().unwrap().body.0, json!("paid"));
        assert_eq!(rig.api.asked(), [WRITE, READ]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_callback_without_an_id_is_not_the_same_as_another_without_one() {
    let rig = Rig::new();
    rig.api.fault(WRITE, faster("paid", None));
    assert_eq!(rig.record("refused", None).await.0, 409);
}

#[tokio::test(start_paused = true)]
async fn a_callback_beside_one_for_another_wait_is_written_after_it() {
    let rig = Rig::new();
    let other = |api: &FakeApi| {
        let record =
            json!({"receivedAt": "2026-01-01T00:00:00.000000Z", "sha256": Digest::of(b"a"), "body": 1});
        api.edit("runs/r", |run| run["status"]["callbacks"]["other.1"] = record);
    };
    rig.api.fault(WRITE, Fault::After(Box::new(other)));
    assert_eq!(rig.record("paid", None).await.0, 202);
    assert_eq!(rig.api.asked(), [WRITE, READ, WRITE]);
    let run: Run = rig.api.get("runs/r");
    assert_eq!(run.status.unwrap().callbacks.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_of_the_operator_does_not_stand_in_the_way_of_a_callback() {
    let rig = Rig::new();
    let suspend = |api: &FakeApi| api.edit("runs/r", |run| run["status"]["revision"] = json!(2));
    rig.api.fault(WRITE, Fault::After(Box::new(suspend)));
    assert_eq!(rig.record("paid", None).await.0, 202);
    assert_eq!(rig.api.asked(), [WRITE]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_ends_before_the_callback_is_written_gets_none() {
    let ends: [fn(&mut Value); 4] = [
        |run| run["status"]["phase"] = json!("Cancelled"),
        |run| run["status"]["steps"][0]["phase"] = json!("Cancelled"),
        |run| run["status"]["steps"][0]["iteration"] = json!(2),
        |run| run["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
    ];
    for end in ends {
        let rig = Rig::new();
        let ends = move |api: &FakeApi| {
            api.edit("runs/r", |run| {
                end(run);
                // so that the write meets something newer
                run["status"]["callbacks"]["other.1"] = json!({
                    "receivedAt": "2026-01-01T00:00:00.000000Z", "sha256": Digest::of(b"a"), "body": 1});
            });
        };
        rig.api.fault(WRITE, Fault::After(Box::new(ends)));
        let (code, said) = rig.record("paid", None).await;
        assert_eq!(code, 410, "{said}");
        assert_eq!(rig.recorded(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_gone_is_told_to_be_gone() {
    let rig = Rig::new();
    rig.api
        .fault(WRITE, Fault::After(Box::new(|api| api.remove("runs/r"))));
    assert_eq!(rig.record("paid", None).await.0, 410);
    let rig = Rig::new();
    rig.api.fault(WRITE, Fault::Refused(409, "Conflict"));
    rig.api
        .fault(READ, Fault::After(Box::new(|api| api.remove("runs/r"))));
    assert_eq!(rig.record("paid", None).await.0, 410);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_made_anew_gets_no_callback_of_the_one_before() {
    let rig = Rig::new();
    let anew = |api: &FakeApi| api.edit("runs/r", |run| run["metadata"]["uid"] = json!("new"));
    rig.api.fault(WRITE, Fault::After(Box::new(anew)));
    let (code, _) = rig.record("paid", None).await;
    assert_ne!(code, 202);
    let run: Run = rig.api.get("runs/r");
    assert!(run.status.unwrap().callbacks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn whoever_calls_back_is_to_try_again_when_it_is_not_known_whether_it_was_recorded() {
    let rig = Rig::new();
    rig.api.fault(WRITE, Fault::AnswerLost);
    assert_eq!(rig.record("paid", None).await.0, 503);
    assert!(rig.recorded().is_some());
    let rig = Rig::new();
    rig.api.fault(WRITE, Fault::Refused(409, "Conflict"));
    rig.api.fault(READ, Fault::NotDone);
    assert_eq!(rig.record("paid", None).await.0, 503);
}

#[tokio::test(start_paused = true)]
async fn a_callback_is_not_tried_without_end() {
    let rig = Rig::new();
    for _ in 0..ATTEMPTS {
        rig.api.fault(WRITE, Fault::Refused(409, "Conflict"));
    }
    assert_eq!(rig.record("paid", None).await.0, 503);
    assert_eq!(rig.recorded(), None);
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_full_takes_no_callback() {
    let mut rig = Rig::new();
    rig.api.edit("runs/r", |run| {
        run["status"]["waitingOn"] = json!("x".repeat(bounds::MAX_RUN_STATUS - 200));
    });
    rig.run = rig.api.get("runs/r");
    assert_eq!(rig.record(&"y".repeat(400), None).await.0, 413);
    assert_eq!(rig.api.asked(), Vec::<String>::new());
}

#[test]
fn runs_do_not_wait_for_each_others_turns_and_turns_that_are_over_are_forgotten() {
    let turns = Turns::default();
    let first = turns.of("a");
    let held = first.try_lock().unwrap();
    assert!(turns.of("a").try_lock().is_err());
    assert!(turns.of("b").try_lock().is_ok());
    drop(held);
    assert!(turns.of("a").try_lock().is_ok());
    drop(first);
    let _other = turns.of("c");
    assert_eq!(turns.runs.lock().unwrap().len(), 1);
}
