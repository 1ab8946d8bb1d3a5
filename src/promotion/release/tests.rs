use kube::runtime::{reflector, watcher};
use serde_json::{Value, json};

use super::*;
use crate::cluster::fake_api::{FakeApi, Fault, NAMESPACE};

/// A sound release of flow `hello`.
fn release() -> Release {
    let definition = json!({"steps": [{"name": "one", "set": {"x": 1}}]});
    let mut release = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Release",
        "metadata": {"name": "hello", "namespace": NAMESPACE, "generation": 1},
        "spec": {"flow": "hello", "definition": definition, "digest": format!("sha256:{}", "0".repeat(64)), "source": {}}});
    let read: Release = serde_json::from_value(release.clone()).unwrap();
    let digest = read.spec.content_digest().unwrap();
    release["metadata"]["name"] = json!(names::release_name("hello", &digest));
    release["spec"]["digest"] = json!(digest);
    serde_json::from_value(release).unwrap()
}

/// One whose digest is not that of its content.
fn forged() -> Release {
    let mut release = release();
    release.spec.digest = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
    release
}

/// One that is to go, but is held.
fn leaving_release() -> Release {
    let mut release = release();
    release.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    release.metadata.finalizers = Some(vec!["example.com/theirs".to_owned(), names::FINALIZER.to_owned()]);
    release
}

fn ready(status: &ReleaseStatus) -> Option<(&str, &str)> {
    let mut conditions = status.conditions.iter();
    let ready = conditions.find(|condition| condition.type_ == "Ready")?;
    Some((&ready.status, &ready.reason))
}

fn said(release: &Release, channel: Option<Channel>) -> ReleaseStatus {
    let problem = problem(release).unwrap();
    status(release, problem.as_deref(), channel, Timestamp::UNIX_EPOCH)
}

/// A flow `hello` whose live release is this one.
fn flow(metadata: &Value, live: Option<&str>) -> Flow {
    let mut flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow",
        "metadata": {"name": "hello", "namespace": NAMESPACE},
        "spec": {"steps": [{"name": "one", "set": {"x": 1}}]}});
    json_patch::merge(&mut flow["metadata"], metadata);
    if let Some(live) = live {
        flow["status"] = json!({"live": {"release": live, "digest": format!("sha256:{}", "0".repeat(64))}});
    }
    serde_json::from_value(flow).unwrap()
}

/// An API server with one release, and the controller that looks after it.
struct Rig {
    api: FakeApi,
    release: Arc<Release>,
    shared: Arc<Releases>,
}

impl Rig {
    fn new(release: &Release, flow: Option<Flow>) -> Self {
        let api = FakeApi::new();
        let release = api.put(release);
        let (known, mut writer) = reflector::store();
        writer.apply_watcher_event(&watcher::Event::Apply(release.clone()));
        let (flows, mut writer) = reflector::store();
        if let Some(flow) = flow {
            writer.apply_watcher_event(&watcher::Event::Apply(flow));
        }
        let shared = Releases {
            context: api.context(),
            flows,
            backoffs: Backoffs::default(),
            known,
            turns: Permits::of_which_one_may_hold(CONCURRENCY),
        };
        Self {
            api,
            release: Arc::new(release),
            shared: Arc::new(shared),
        }
    }

    fn run(&self, name: &str, phase: &str, release: &str) {
        let digest = format!("sha256:{}", "0".repeat(64));
        let run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": name}, "spec": {"flow": "hello"},
            "status": {"phase": phase, "release": {"name": release, "digest": digest}}});
        self.api.put::<Run>(&serde_json::from_value(run).unwrap());
    }

    async fn reconcile(&self) -> Result<Again, ReleaseError> {
        // the release as the watch shows it by now
        let now = self.api.get(&self.key());
        reconcile(Arc::new(now), Arc::clone(&self.shared)).await
    }

    fn key(&self) -> String {
        format!("releases/{}", self.release.name_any())
    }

    fn finalizers(&self) -> Vec<String> {
        let release: Release = self.api.get(&self.key());
        release.finalizers().to_vec()
    }
}

#[test]
fn nothing_is_said_of_a_release_before_it_is_live() {
    assert_eq!(said(&release(), None), ReleaseStatus::default());
}

#[test]
fn a_release_that_is_or_was_live_says_so_and_that_it_was_verified() {
    let mut release = release();
    let live = said(&release, Some(Channel::Live));
    assert_eq!(live.channel, Some(Channel::Live));
    assert_eq!(ready(&live), Some(("True", "Verified")));
    release.status = Some(live.clone());
    assert_eq!(said(&release, Some(Channel::Live)), live, "it is said once");
    let over = said(&release, None);
    assert_eq!((over.channel, ready(&over)), (None, Some(("True", "Verified"))));
}

#[test]
fn a_release_that_is_not_what_it_says_is_refused() {
    assert_eq!(ready(&said(&forged(), None)), Some(("False", "DigestMismatch")));
    let mut renamed = release();
    renamed.metadata.name = Some("hello-0123456789".to_owned());
    let refused = said(&renamed, None);
    assert_eq!(ready(&refused), Some(("False", "DigestMismatch")));
    // it was a mistake of whoever read it, and is set right
    let mut sound = release();
    sound.status = Some(refused);
    assert_eq!(ready(&said(&sound, None)), Some(("True", "Verified")));
}

#[tokio::test]
async fn a_sound_release_that_is_not_live_costs_no_request() {
    let rig = Rig::new(&release(), Some(flow(&json!({}), None)));
    rig.reconcile().await.unwrap();
    assert_eq!(rig.api.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_release_that_is_live_says_so_once() {
    let live = release().name_any();
    let rig = Rig::new(&release(), Some(flow(&json!({}), Some(&live))));
    for _ in 0..2 {
        rig.reconcile().await.unwrap();
        assert_eq!(rig.api.writes(), [format!("PATCH {}/status", rig.key())]);
    }
    let release: Release = rig.api.get(&rig.key());
    assert_eq!(release.status.unwrap().channel, Some(Channel::Live));
    assert_eq!(rig.api.events(), Vec::<String>::new());
}

#[tokio::test]
async fn people_are_told_once_of_a_forged_release() {
    let rig = Rig::new(&forged(), None);
    for _ in 0..2 {
        rig.reconcile().await.unwrap();
        assert_eq!(rig.api.writes(), [format!("PATCH {}/status", rig.key())]);
        assert_eq!(rig.api.events(), ["DigestMismatch"]);
    }
    let release: Release = rig.api.get(&rig.key());
    assert_eq!(ready(&release.status.unwrap()), Some(("False", "DigestMismatch")));
}

#[tokio::test]
async fn a_status_that_somebody_else_wrote_meanwhile_is_looked_at_again_and_not_told_of() {
    let rig = Rig::new(&forged(), None);
    let key = rig.key();
    let meanwhile =
        move |api: &FakeApi| api.edit(&key, |release| release["metadata"]["labels"] = json!({"a": "b"}));
    let write = format!("PATCH {}/status", rig.key());
    rig.api.fault(&write, Fault::After(Box::new(meanwhile)));
    assert_eq!(rig.reconcile().await.unwrap(), Some(Wake::After(AFTER_CONFLICT)));
    assert_eq!(rig.api.events(), Vec::<String>::new());
    assert_eq!(rig.reconcile().await.unwrap(), None);
    assert_eq!(rig.api.events(), ["DigestMismatch"]);
}

#[tokio::test]
async fn a_release_that_nothing_uses_is_let_go_and_what_others_hold_stays_held() {
    let rig = Rig::new(&leaving_release(), None);
    rig.run("over", "Succeeded", &rig.release.name_any());
    rig.run("elsewhere", "Waiting", "hello-0000000000");
    rig.reconcile().await.unwrap();
    assert_eq!(rig.finalizers(), ["example.com/theirs"]);
    let asked = rig.api.asked().len();
    rig.reconcile().await.unwrap();
    assert_eq!(rig.api.asked().len(), asked, "it is let go once");
}

#[tokio::test]
async fn a_release_is_held_while_a_run_that_goes_on_uses_it() {
    for phase in ["Pending", "Running", "Waiting"] {
        let rig = Rig::new(&leaving_release(), None);
        rig.run("r", phase, &rig.release.name_any());
        rig.reconcile().await.unwrap();
        assert_eq!(rig.finalizers().len(), 2, "{phase}");
        assert_eq!(rig.api.events(), ["InUse"]);
    }
}

#[tokio::test]
async fn a_release_is_held_while_a_run_that_may_use_it_cannot_be_decoded() {
    let rig = Rig::new(&leaving_release(), None);
    rig.run("r", "Waiting", "hello-0000000000");
    rig.api
        .edit("runs/r", |run| run["status"]["phase"] = json!("Dancing"));
    rig.reconcile().await.unwrap();
    assert_eq!(rig.finalizers().len(), 2);
    assert!(rig.api.events().contains(&"InUse".to_owned()));
}

#[tokio::test]
async fn a_release_that_is_live_is_held_unless_its_flow_goes_as_well() {
    let live = release().name_any();
    let rig = Rig::new(&leaving_release(), Some(flow(&json!({}), Some(&live))));
    rig.reconcile().await.unwrap();
    assert_eq!(
        (rig.finalizers().len(), rig.api.events()),
        (2, vec!["InUse".to_owned()])
    );
    assert_eq!(rig.api.writes(), Vec::<String>::new());
    let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    let rig = Rig::new(&leaving_release(), Some(flow(&going, Some(&live))));
    rig.reconcile().await.unwrap();
    assert_eq!(rig.finalizers(), ["example.com/theirs"]);
}

#[tokio::test]
async fn a_release_that_changed_since_it_was_read_is_not_let_go_by_what_was_read() {
    let rig = Rig::new(&leaving_release(), None);
    let key = rig.key();
    let more = json!(["example.com/theirs", names::FINALIZER, "example.com/newer"]);
    let meanwhile = move |api: &FakeApi| api.edit(&key, |release| release["metadata"]["finalizers"] = more);
    rig.api
        .fault(&format!("PATCH {}", rig.key()), Fault::After(Box::new(meanwhile)));
    let error = rig.reconcile().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient);
    assert_eq!(rig.finalizers().len(), 3);
    rig.reconcile().await.unwrap();
    assert_eq!(rig.finalizers(), ["example.com/theirs", "example.com/newer"]);
}

#[tokio::test]
async fn a_release_that_is_gone_already_is_no_error() {
    let rig = Rig::new(&leaving_release(), None);
    let key = rig.key();
    let gone = move |api: &FakeApi| api.remove(&key);
    rig.api
        .fault(&format!("PATCH {}", rig.key()), Fault::After(Box::new(gone)));
    rig.reconcile().await.unwrap();
}

#[test]
fn a_flow_concerns_its_releases_that_say_otherwise_and_those_that_are_to_go() {
    let (known, mut writer) = reflector::store();
    let mut add = |name: &str, more: &Value| {
        let mut release = serde_json::to_value(release()).unwrap();
        release["metadata"]["name"] = json!(name);
        json_patch::merge(&mut release, more);
        let release: Release = serde_json::from_value(release).unwrap();
        writer.apply_watcher_event(&watcher::Event::Apply(release));
    };
    add("draft", &json!({}));
    add("live", &json!({"status": {"channel": "Live"}}));
    add("next", &json!({}));
    add(
        "going",
        &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    );
    add(
        "of-another",
        &json!({"spec": {"flow": "other"}, "status": {"channel": "Live"}}),
    );
    add(
        "elsewhere",
        &json!({"metadata": {"namespace": "other"}, "status": {"channel": "Live"}}),
    );
    let concerned = |live: &str| {
        let found = of_flow(&flow(&json!({}), Some(live)), &known);
        let mut names: Vec<String> = found.into_iter().map(|release| release.name).collect();
        names.sort();
        names
    };
    assert_eq!(concerned("live"), ["going"]);
    assert_eq!(concerned("next"), ["going", "live", "next"]);
    let going = leaving(NAMESPACE, &known);
    assert_eq!(going.len(), 1);
    assert_eq!(going[0].name, "going");
}
