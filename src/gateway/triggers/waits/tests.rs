use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::jiff::SignedDuration;
use serde_json::Value;

use super::*;
use crate::{
    cluster::{
        fake_api::{FakeApi, Fault},
        releases::Releases,
    },
    gateway::{Bodies, Gateway, Pushes, Turns, WeakSecrets},
};
use signoff_api::{Definition, Release, canonical};
use signoff_engine::callback_token::CallbackKeys;

/// A gateway, and runs that wait for events of trigger `payments` of flow `f`.
struct Rig {
    api: FakeApi,
    gateway: Gateway,
    release: Value,
}

impl Rig {
    fn new() -> Self {
        let api = FakeApi::new();
        let context = api.context();
        let event = json!({"trigger": "payments", "flow": "f", "keys": ["a"], "when": "${body.amount > 0}"});
        let steps = json!([{"name": "paid", "wait": {"event": event}}]);
        let definition: Definition = serde_json::from_value(json!({"steps": steps})).unwrap();
        let digest = canonical::digest(&definition).unwrap();
        let name = names::release_name("f", &digest);
        let release = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Release", "metadata": {"name": name},
            "spec": {"flow": "f", "definition": definition, "digest": digest, "source": {}}});
        api.put::<Release>(&serde_json::from_value(release).unwrap());
        let gateway = Gateway {
            releases: Arc::new(Releases::new(Arc::clone(&context))),
            context,
            keys: CallbackKeys::new("k", [("k".to_owned(), vec![1; 32])].into()).unwrap(),
            namespaces: [].into(),
            pushes: Pushes::default(),
            bodies: Bodies::default(),
            request_timeout: Duration::from_secs(10),
            turns: Turns::default(),
            weak: WeakSecrets::default(),
        };
        let release = json!({"name": name, "digest": digest});
        Self {
            api,
            gateway,
            release,
        }
    }

    /// With a run whose wait began so many minutes ago.
    fn run(self, name: &str, minutes: i64) -> Self {
        let began = self.gateway.context.now() - SignedDuration::from_mins(minutes);
        let step = json!({"name": "paid", "iteration": 1, "phase": "Waiting", "attempt": 0, "startedAt": MicroTime(began),
            "eventKeys": [names::event_key("f", "payments", "a")]});
        let run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": name}, "spec": {"flow": "f"},
            "status": {"phase": "Waiting", "release": self.release, "callbacks": {}, "awaitsEvents": true, "steps": [step]}});
        self.api.put::<Run>(&serde_json::from_value(run).unwrap());
        self
    }

    /// Sends an event. Gives the run that took it, and whether just now.
    async fn send(&self, id: &str, key: &str, amount: i64) -> Result<Option<(String, bool)>, Problem> {
        let event = Event {
            at: self.gateway.context.now(),
            id: id.to_owned(),
            key: Some(key.to_owned()),
            variables: vec![("body", json!({"amount": amount}))],
            run: None,
            requesters: vec![],
            depth: None,
            sha256: None,
        };
        let sender = Sender {
            gateway: &self.gateway,
            namespace: crate::cluster::fake_api::NAMESPACE,
            flow: "f",
            trigger: "payments",
            headers: &BTreeMap::new(),
        };
        let taken = offer(&sender, &event, true).await?;
        Ok(taken.map(|taken| (taken.run, taken.is_new)))
    }

    /// The name of the event that a run took.
    fn taken_by(&self, run: &str) -> Option<String> {
        let run: Run = self.api.get(&format!("runs/{run}"));
        let mut events = run.status.unwrap().events;
        events.remove("paid.1").map(|record| record.name)
    }

    fn name(id: &str) -> String {
        names::triggered_run_name("f", "payments", id)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what `send` gives")]
fn by(run: &str, is_new: bool) -> Option<(String, bool)> {
    Some((run.to_owned(), is_new))
}

#[tokio::test(start_paused = true)]
async fn the_wait_that_began_first_takes_an_event_and_the_next_one_the_next() {
    let rig = Rig::new().run("late", 1).run("early", 2);
    assert_eq!(rig.send("1", "b", 1).await.unwrap(), None);
    assert_eq!(rig.send("2", "a", 0).await.unwrap(), None);
    assert_eq!(rig.send("3", "a", 1).await.unwrap(), by("early", true));
    assert_eq!(rig.send("4", "a", 1).await.unwrap(), by("late", true));
    assert_eq!(rig.send("5", "a", 1).await.unwrap(), None);
    assert_eq!(rig.taken_by("early"), Some(Rig::name("3")));
    assert_eq!(rig.taken_by("late"), Some(Rig::name("4")));
    // one claim and one entry for each
    assert_eq!(rig.api.writes().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_same_event_again_is_answered_by_the_run_that_took_it() {
    let rig = Rig::new().run("early", 2).run("late", 1);
    rig.send("1", "a", 1).await.unwrap();
    assert_eq!(rig.send("1", "a", 1).await.unwrap(), by("early", false));
    for edit in [
        |run: &mut Value| {
            run["status"]["steps"][0]["phase"] = json!("Succeeded");
            run["status"]["events"]["paid.1"]["body"] = Value::Null;
        },
        |run: &mut Value| {
            run["status"]["phase"] = json!("Succeeded");
        },
    ] {
        rig.api.edit("runs/early", edit);
        assert_eq!(rig.send("1", "a", 1).await.unwrap(), by("early", false));
    }
    rig.api.remove("runs/early");
    assert_eq!(rig.send("1", "a", 1).await.unwrap(), by("early", false));
    assert_eq!(rig.taken_by("late"), None);
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_answer_was_lost_is_taken_once() {
    let claim = format!("POST {}", "leases");
    for lost in [claim, "PATCH runs/early/status".to_owned()] {
        for fault in [|| Fault::AnswerLost, || Fault::NotDone] {
            let rig = Rig::new().run("early", 2).run("late", 1);
            rig.api.fault(&lost, fault());
            assert!(rig.send("1", "a", 1).await.is_err(), "{lost}");
            let taken = rig.send("1", "a", 1).await.unwrap().unwrap();
            assert_eq!(taken.0, "early", "{lost}");
            assert_eq!(rig.taken_by("early"), Some(Rig::name("1")));
            assert_eq!(rig.taken_by("late"), None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_replicas_one_chooses_and_the_other_follows() {
    let rig = Rig::new().run("early", 2).run("late", 1);
    // the other replica saw only the later run, and is between its two writes
    let other = |api: &FakeApi| {
        let run: Run = api.get("runs/late");
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": names::event_claim_name(&Rig::name("1")), "ownerReferences": [{"uid": run.uid(),
                "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "name": "late"}]},
            "spec": {"holderIdentity": "late/paid.1"}});
        api.put::<Lease>(&serde_json::from_value(lease).unwrap());
    };
    rig.api.fault("POST leases", Fault::After(Box::new(other)));
    assert_eq!(rig.send("1", "a", 1).await.unwrap(), by("late", true));
    assert_eq!(rig.taken_by("early"), None);
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_wait_ends_before_it_is_written_goes_to_the_next_one() {
    for end in [
        |run: &mut Value| {
            run["status"]["steps"][0]["phase"] = json!("Failed");
        },
        |run: &mut Value| {
            run["status"]["events"]["paid.1"] =
                json!({"receivedAt": "2026-01-01T00:00:00.000000Z", "name": "f-other"});
        },
        |run: &mut Value| {
            run["status"]["callbacks"]["paid.1"] = json!({"receivedAt": "2026-01-01T00:00:00.000000Z",
                "sha256": signoff_api::Digest::of(b"a"), "body": 1});
        },
    ] {
        let rig = Rig::new().run("early", 2).run("late", 1);
        let ends = move |api: &FakeApi| api.edit("runs/early", end);
        rig.api
            .fault("PATCH runs/early/status", Fault::After(Box::new(ends)));
        assert_eq!(rig.send("1", "a", 1).await.unwrap(), by("late", true));
        assert_eq!(rig.taken_by("late"), Some(Rig::name("1")));
        assert_eq!(rig.send("1", "a", 1).await.unwrap(), by("late", false));
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_without_a_key_or_too_large_for_a_run_is_taken_by_none() {
    let rig = Rig::new().run("early", 2);
    let mut event = Event {
        at: rig.gateway.context.now(),
        id: "1".to_owned(),
        key: None,
        variables: vec![("body", json!({"amount": 1, "x": "x".repeat(bounds::MAX_EVENT)}))],
        run: None,
        requesters: vec![],
        depth: None,
        sha256: None,
    };
    let sender = Sender {
        gateway: &rig.gateway,
        namespace: crate::cluster::fake_api::NAMESPACE,
        flow: "f",
        trigger: "payments",
        headers: &BTreeMap::new(),
    };
    assert!(offer(&sender, &event, true).await.unwrap().is_none());
    assert!(rig.api.asked().is_empty());
    event.key = Some("a".to_owned());
    let refused = offer(&sender, &event, true).await.err().unwrap();
    assert!(format!("{refused:?}").contains("413"));
    assert!(rig.api.writes().is_empty());
}
