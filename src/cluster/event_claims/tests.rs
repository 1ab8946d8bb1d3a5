use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::SignedDuration};
use serde_json::Value;

use super::*;
use crate::cluster::{
    fake_api::{FakeApi, Fault, NAMESPACE, clock},
    releases::Releases,
};
use signoff_api::{Definition, Release, canonical};

/// Runs that wait for events of trigger `payments` of flow `f`, or will.
struct Rig {
    api: FakeApi,
    context: Arc<Context>,
    releases: Releases,
    release: Value,
}

impl Rig {
    fn new() -> Self {
        let api = FakeApi::new();
        let context = Context::new(api.client(), clock()).watching(Some(NAMESPACE.to_owned()));
        let context = Arc::new(context);
        let event = json!({"trigger": "payments", "flow": "f", "keys": ["a"], "when": "${body.amount > 0}"});
        let steps = json!([{"name": "paid", "wait": {"event": event}}]);
        let definition: Definition = serde_json::from_value(json!({"steps": steps})).unwrap();
        let digest = canonical::digest(&definition).unwrap();
        let name = names::release_name("f", &digest);
        let release = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Release", "metadata": {"name": name},
            "spec": {"flow": "f", "definition": definition, "digest": digest, "source": {}}});
        api.put::<Release>(&serde_json::from_value(release).unwrap());
        Self {
            releases: Releases::new(Arc::clone(&context)),
            context,
            api,
            release: json!({"name": name, "digest": digest}),
        }
    }

    fn claims(&self) -> EventClaims<'_> {
        EventClaims {
            context: &self.context,
            releases: &self.releases,
            namespace: NAMESPACE,
            field_manager: names::FIELD_MANAGER_GATEWAY,
        }
    }

    /// With a run whose wait began so many minutes ago.
    fn run(self, name: &str, minutes: i64) -> Self {
        let began = self.context.now() - SignedDuration::from_mins(minutes);
        let step = json!({"name": "paid", "iteration": 1, "phase": "Waiting", "attempt": 0, "startedAt": MicroTime(began),
            "eventKeys": [names::event_key("f", "payments", "a")]});
        let run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": name}, "spec": {"flow": "f"},
            "status": {"phase": "Waiting", "release": self.release, "callbacks": {}, "awaitsEvents": true, "steps": [step]}});
        self.api.put::<Run>(&serde_json::from_value(run).unwrap());
        self
    }

    /// With a run that began so many minutes ago and has not come to its wait.
    fn on_the_way(self, name: &str, minutes: i64) -> Self {
        let created = self.context.now() - SignedDuration::from_mins(minutes);
        let run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": name}, "spec": {"flow": "f"},
            "status": {"phase": "Running", "release": self.release, "callbacks": {}, "mayAwaitEvents": true, "steps": []}});
        let mut run: Run = serde_json::from_value(run).unwrap();
        run.metadata.creation_timestamp = Some(Time(created));
        self.api.put::<Run>(&run);
        self
    }

    /// The run comes to its wait.
    fn comes_to_its_wait(&self, name: &str) {
        let step = json!({"name": "paid", "iteration": 1, "phase": "Waiting", "attempt": 0, "startedAt": MicroTime(self.context.now()),
            "eventKeys": [names::event_key("f", "payments", "a")]});
        self.api.edit(&format!("runs/{name}"), |run| {
            run["status"]["steps"] = json!([step]);
            run["status"]["awaitsEvents"] = json!(true);
            run["status"]["mayAwaitEvents"] = Value::Null;
        });
    }

    fn event(&self, id: &str, key: &str, amount: i64) -> ArrivedEvent {
        ArrivedEvent {
            name: Self::name(id),
            flow: "f".to_owned(),
            trigger: "payments".to_owned(),
            hash: names::event_key("f", "payments", key),
            at: self.context.now(),
            headers: BTreeMap::new(),
            body: json!({"amount": amount}),
            sha256: Some(Digest::of(amount.to_string().as_bytes())),
        }
    }

    async fn offer(&self, event: &ArrivedEvent) -> Result<Offered, ClaimError> {
        let terms = Terms {
            may_choose: true,
            may_keep: true,
        };
        let hashes = BTreeSet::from([event.hash.clone()]);
        Offers::new(self.claims(), hashes).offer(event, terms).await
    }

    /// Sends an event. Gives the run that took it, and whether just now.
    async fn send(&self, id: &str, key: &str, amount: i64) -> Result<Option<(String, bool)>, ClaimError> {
        let offered = self.offer(&self.event(id, key, amount)).await?;
        Ok(match offered {
            Offered::Taken(taken) => Some((taken.run, taken.is_new)),
            Offered::Kept { .. } | Offered::Untaken(_) => None,
        })
    }

    /// How many events are kept.
    fn kept(&self) -> usize {
        let leases = self.api.all::<Lease>("leases");
        leases.iter().filter_map(KeptEvent::of).count()
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
async fn another_event_under_the_id_of_one_that_was_taken_is_refused() {
    let rig = Rig::new().run("early", 2).run("late", 1);
    rig.send("1", "a", 1).await.unwrap();
    for (key, amount) in [("a", 2), ("b", 2)] {
        let other = rig.event("1", key, amount);
        assert!(
            matches!(rig.offer(&other).await, Err(ClaimError::OtherBody)),
            "{key}"
        );
    }
    rig.api.remove("runs/early");
    assert!(matches!(
        rig.offer(&rig.event("1", "a", 2)).await,
        Err(ClaimError::OtherBody)
    ));
    assert_eq!(rig.send("1", "a", 1).await.unwrap(), by("early", false));
    assert_eq!(rig.taken_by("late"), None);
}

#[tokio::test(start_paused = true)]
async fn the_runs_that_wait_are_read_once_for_all_events_of_a_request() {
    let rig = Rig::new().run("early", 2).run("late", 1);
    let events: Vec<ArrivedEvent> = (0..100)
        .map(|n| rig.event(&n.to_string(), &format!("k{n}"), 1))
        .collect();
    let hashes = events.iter().map(|event| event.hash.clone()).collect();
    let terms = Terms {
        may_choose: true,
        may_keep: true,
    };
    let lists = || rig.api.asked().iter().filter(|it| *it == "GET runs").count();
    let before = lists();
    let mut offers = Offers::new(rig.claims(), hashes);
    for event in &events {
        assert_eq!(offers.offer(event, terms).await.unwrap(), Offered::Untaken(None));
    }
    // who waits, who may wait, and who waits after that
    assert_eq!(lists() - before, 3);
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
async fn an_event_that_is_too_large_for_a_run_is_refused() {
    let rig = Rig::new().run("early", 2);
    let mut event = rig.event("1", "a", 1);
    event.body["x"] = json!("x".repeat(bounds::MAX_EVENT));
    assert!(matches!(rig.offer(&event).await, Err(ClaimError::TooLarge)));
    assert!(rig.api.writes().is_empty());
    let rig = Rig::new().on_the_way("later", 2);
    let offered = rig.offer(&event).await.unwrap();
    assert_eq!(offered, Offered::Untaken(Some(NotKept::TooLarge)));
    assert!(rig.api.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_event_is_kept_only_while_a_run_that_began_before_may_wait_for_it() {
    let rig = Rig::new();
    let event = rig.event("1", "a", 1);
    assert_eq!(rig.offer(&event).await.unwrap(), Offered::Untaken(None));
    // one that began later does not count, and neither does the one that the event started
    let rig = rig.on_the_way("later", -1).on_the_way(&Rig::name("1"), 1);
    assert_eq!(rig.offer(&event).await.unwrap(), Offered::Untaken(None));
    assert!(rig.api.writes().is_empty());
    let rig = rig.on_the_way("early", 1);
    assert_eq!(rig.offer(&event).await.unwrap(), Offered::Kept { is_new: true });
    assert_eq!(rig.offer(&event).await.unwrap(), Offered::Kept { is_new: false });
    assert_eq!(rig.api.writes(), ["POST leases"]);
    let other = rig.event("1", "a", 2);
    assert!(matches!(rig.offer(&other).await, Err(ClaimError::OtherBody)));
    // nobody waits for events of another trigger
    let mut elsewhere = rig.event("2", "a", 1);
    elsewhere.trigger = "refunds".to_owned();
    assert_eq!(rig.offer(&elsewhere).await.unwrap(), Offered::Untaken(None));
}

#[tokio::test(start_paused = true)]
async fn waits_take_kept_events_in_the_order_in_which_they_came() {
    let rig = Rig::new().on_the_way("one", 3).on_the_way("two", 2);
    let hash = [names::event_key("f", "payments", "a")];
    for id in ["1", "2", "3"] {
        let mut event = rig.event(id, "a", 1);
        event.at += SignedDuration::from_secs(id.parse().unwrap());
        assert_eq!(rig.offer(&event).await.unwrap(), Offered::Kept { is_new: true });
    }
    assert_eq!(rig.claims().settle(&hash).await.unwrap().len(), 0);
    rig.comes_to_its_wait("two");
    assert_eq!(rig.claims().settle(&hash).await.unwrap(), [Rig::name("1")].into());
    assert_eq!(rig.taken_by("two"), Some(Rig::name("1")));
    assert_eq!(rig.kept(), 2);
    // one that comes later goes behind those that are kept
    rig.comes_to_its_wait("one");
    let rig = rig.on_the_way("three", 2);
    assert_eq!(
        rig.offer(&rig.event("4", "a", 1)).await.unwrap(),
        Offered::Kept { is_new: true }
    );
    assert_eq!(rig.taken_by("one"), Some(Rig::name("2")));
    assert_eq!(rig.kept(), 2);
    // the first one again
    assert_eq!(rig.send("1", "a", 1).await.unwrap(), by("two", false));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_begins_between_the_looks_of_a_gateway_takes_its_event() {
    let rig = Rig::new().on_the_way("r", 1);
    rig.api.fault("GET runs", Fault::After(Box::new(|_| ())));
    let begins = |api: &FakeApi| {
        let key = names::event_key("f", "payments", "a");
        let step =
            json!({"name": "paid", "iteration": 1, "phase": "Waiting", "attempt": 0, "eventKeys": [key]});
        api.edit("runs/r", |run| {
            run["status"]["steps"] = json!([step]);
            run["status"]["awaitsEvents"] = json!(true);
            run["status"]["mayAwaitEvents"] = Value::Null;
        });
    };
    rig.api.fault("GET runs", Fault::After(Box::new(begins)));
    assert_eq!(rig.send("1", "a", 1).await.unwrap(), by("r", true));
    assert_eq!(rig.kept(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_begins_while_an_event_is_kept_takes_it() {
    let rig = Rig::new().on_the_way("r", 1);
    let begins = |api: &FakeApi| {
        let key = names::event_key("f", "payments", "a");
        let step =
            json!({"name": "paid", "iteration": 1, "phase": "Waiting", "attempt": 0, "eventKeys": [key]});
        api.edit("runs/r", |run| {
            run["status"]["steps"] = json!([step]);
            run["status"]["awaitsEvents"] = json!(true);
        });
    };
    rig.api.fault("POST leases", Fault::After(Box::new(begins)));
    assert_eq!(rig.send("1", "a", 1).await.unwrap(), by("r", true));
    assert_eq!(rig.kept(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_kept_event_whose_answer_was_lost_is_taken_once() {
    let lease = format!("PATCH leases/{}", names::event_claim_name(&Rig::name("1")));
    for lost in [lease, "PATCH runs/r/status".to_owned()] {
        for fault in [|| Fault::AnswerLost, || Fault::NotDone] {
            let rig = Rig::new().on_the_way("r", 2).on_the_way("other", 1);
            let hash = [names::event_key("f", "payments", "a")];
            assert_eq!(rig.send("1", "a", 1).await.unwrap(), None);
            rig.comes_to_its_wait("r");
            rig.api.fault(&lost, fault());
            assert!(rig.claims().settle(&hash).await.is_err(), "{lost}");
            tokio::time::sleep(Duration::from_secs(1)).await;
            rig.comes_to_its_wait("other");
            // whoever comes next goes on from there
            sweep(&rig.context, &rig.releases, names::FIELD_MANAGER)
                .await
                .unwrap();
            assert_eq!(rig.taken_by("r"), Some(Rig::name("1")), "{lost}");
            assert_eq!(rig.taken_by("other"), None, "{lost}");
            assert_eq!(rig.kept(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn so_many_events_of_a_trigger_are_kept_and_no_more() {
    let rig = Rig::new().on_the_way("r", 1);
    for id in 0..bounds::MAX_KEPT_EVENTS {
        let offered = rig.offer(&rig.event(&id.to_string(), "a", 1)).await.unwrap();
        assert_eq!(offered, Offered::Kept { is_new: true });
    }
    let offered = rig.offer(&rig.event("one more", "a", 1)).await.unwrap();
    assert_eq!(offered, Offered::Untaken(Some(NotKept::Full)));
}

#[tokio::test(start_paused = true)]
async fn an_event_is_given_up_when_no_run_may_wait_for_it_any_more_or_after_thirty_days() {
    let rig = Rig::new().on_the_way("r", 1);
    let sweeps = || sweep(&rig.context, &rig.releases, names::FIELD_MANAGER);
    let mut old = rig.event("old", "a", 1);
    rig.send("1", "a", 1).await.unwrap();
    sweeps().await.unwrap();
    assert_eq!(rig.kept(), 1);
    rig.api
        .edit("runs/r", |run| run["status"]["mayAwaitEvents"] = Value::Null);
    sweeps().await.unwrap();
    assert_eq!(rig.kept(), 0);
    rig.api.edit("runs/r", |run| {
        run["status"]["mayAwaitEvents"] = json!(true);
        run["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    });
    old.at -= SignedDuration::from_hours(30 * 24 + 1);
    assert_eq!(rig.offer(&old).await.unwrap(), Offered::Kept { is_new: true });
    sweeps().await.unwrap();
    assert_eq!(rig.kept(), 0);
}
