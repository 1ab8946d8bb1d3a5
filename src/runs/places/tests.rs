use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::cluster::leadership::leadership;
use signoff_api::concurrency::{ConcurrencyScope, WhenFull};
use signoff_engine::concurrency::Holders;

/// Places, and what they tell.
struct Heard {
    places: Places,
    told: UnboundedReceiver<DispatchEvent>,
}

impl Heard {
    fn new() -> Self {
        let (report, told) = unbounded_channel();
        let places = Places::new(report, Leadership::unrivalled());
        Self { places, told }
    }

    fn listed() -> Self {
        let heard = Self::new();
        heard.places.listed();
        heard
    }

    /// The runs that were woken since.
    fn woken(&mut self) -> Vec<String> {
        let mut woken = Vec::new();
        while let Ok(event) = self.told.try_recv() {
            match event {
                DispatchEvent::PlaceChanged(key) => woken.push(key.name().to_owned()),
                other => panic!("{other:?}"),
            }
        }
        woken
    }

    fn ask(&self, run: &Run) -> Option<Place> {
        self.places.ask(run, &limit(WhenFull::Queue))
    }

    fn left(&self, run: &Run) {
        self.places.left(&RunKey::of(run), UidMark::of_object(run));
    }

    fn looked_at(&self, run: &Run) {
        self.places.looked_at(&RunKey::of(run), UidMark::of_object(run));
    }
}

fn limit(when_full: WhenFull) -> ConcurrencyStatus {
    ConcurrencyStatus {
        key: "k".to_owned(),
        scope: ConcurrencyScope::Namespace,
        max: 1,
        when_full,
        held_since: None,
        shares: None,
        position: None,
        position_at: None,
    }
}

fn with(name: &str, second: u8, spec: &Value, status: &Value) -> Run {
    let metadata = json!({"name": name, "namespace": "ns", "uid": format!("uid of {name} {second}"),
        "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")});
    let mut run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": metadata,
        "spec": {"flow": "f"}, "status": status});
    json_patch::merge(&mut run["spec"], spec);
    serde_json::from_value(run).unwrap()
}

fn run(name: &str, second: u8) -> Run {
    with(name, second, &json!({}), &Value::Null)
}

/// A run whose status says that it is queued, holds a place, or has begun.
fn pinned(name: &str, second: u8, holds: bool, has_begun: bool) -> Run {
    let mut concurrency = json!(limit(WhenFull::Queue));
    let at = "2026-01-01T00:01:00.000000Z";
    if holds {
        concurrency["heldSince"] = json!(at);
    }
    let release = json!({"name": "f-0", "digest": format!("sha256:{}", "0".repeat(64))});
    let mut status = json!({"phase": "Queued", "release": release, "concurrency": concurrency});
    if has_begun {
        status["startedAt"] = json!(at);
    }
    with(name, second, &json!({}), &status)
}

fn started_by(parent: &Run, name: &str, second: u8, detached: bool) -> Run {
    let chain = json!([{"run": parent.name_any(), "flow": "f"}]);
    let digest = format!("sha256:{}", "0".repeat(64));
    let parent = json!({"uid": parent.metadata.uid, "step": "s", "iteration": 1, "digest": digest, "chain": chain,
        "detached": detached});
    with(name, second, &json!({ "parent": parent }), &Value::Null)
}

fn behind(position: usize, first: &str) -> Place {
    let holders = Holders {
        first: first.to_owned(),
        others: 0,
    };
    Place::Queued { position, holders }
}

#[test]
fn nothing_is_given_away_before_all_runs_were_listed() {
    let mut heard = Heard::new();
    let (late, early) = (run("a", 2), run("b", 1));
    for run in [&late, &early] {
        heard.places.seen(run);
        assert_eq!(heard.ask(run), None);
    }
    assert_eq!(heard.woken(), Vec::<String>::new());
    heard.places.listed();
    let mut woken = heard.woken();
    woken.sort();
    woken.dedup();
    assert_eq!(woken, ["a", "b"]);
    assert_eq!(heard.ask(&late), Some(behind(1, "b")));
    assert_eq!(heard.ask(&early), Some(Place::Held));
}

#[test]
fn a_run_waits_for_an_older_one_of_which_it_is_not_known_what_it_wants() {
    for older_wants_it in [true, false] {
        let mut heard = Heard::listed();
        let (older, newer) = (run("older", 1), run("newer", 2));
        heard.places.seen(&older);
        heard.places.seen(&newer);
        assert_eq!(heard.ask(&newer), None);
        if older_wants_it {
            assert_eq!(heard.ask(&older), Some(Place::Held));
            assert_eq!(
                heard.woken(),
                ["newer", "newer"],
                "it is the next one, and that is decided"
            );
            assert_eq!(heard.ask(&newer), Some(behind(1, "older")));
        } else {
            heard.looked_at(&older);
            assert_eq!(heard.woken(), ["newer", "newer"]);
            assert_eq!(heard.ask(&newer), Some(Place::Held));
        }
    }
}

#[test]
fn the_end_of_a_run_wakes_the_next_one_and_the_one_after_that_and_no_other() {
    let mut heard = Heard::listed();
    let runs: Vec<Run> = (0..50).map(|n| run(&format!("r{n}"), n)).collect();
    for (n, run) in runs.iter().enumerate() {
        heard.places.seen(run);
        let place = heard.ask(run);
        assert_eq!(
            place.clone().filter(|_| n == 0),
            Some(Place::Held).filter(|_| n == 0)
        );
        assert!(n == 0 || place == Some(behind(n, "r0")));
    }
    assert_eq!(heard.woken(), Vec::<String>::new());
    heard.left(&runs[0]);
    assert_eq!(heard.woken(), ["r1", "r2"]);
    // one that is deleted while it is queued
    heard.left(&runs[20]);
    assert_eq!(heard.woken(), Vec::<String>::new());
    assert_eq!(heard.ask(&runs[21]), Some(behind(19, "r1")));
}

#[test]
fn a_new_process_takes_runs_that_have_begun_as_they_are_and_the_others_in_their_order() {
    let mut heard = Heard::new();
    for run in [
        pinned("a", 3, false, false),
        pinned("b", 2, false, false),
        pinned("c", 4, true, true),
    ] {
        heard.places.seen(&run);
    }
    heard.places.listed();
    assert_eq!(heard.woken(), ["b"]);
    assert_eq!(heard.ask(&pinned("b", 2, false, false)), Some(behind(1, "c")));
    heard.left(&pinned("c", 4, true, true));
    assert_eq!(heard.woken(), ["b", "a"]);
}

#[test]
fn a_place_that_was_written_down_before_the_process_began_is_given_before_any_other() {
    let mut heard = Heard::new();
    heard.places.seen(&pinned("older", 1, false, false));
    let given = pinned("given", 2, true, false);
    heard.places.seen(&given);
    heard.places.listed();
    assert_eq!(heard.woken(), ["given", "older"]);
    assert_eq!(heard.ask(&given), Some(Place::Held));
}

#[test]
fn a_place_that_a_process_before_gives_too_late_is_none() {
    let heard = Heard::new();
    for run in [pinned("a", 1, false, false), pinned("b", 2, false, false)] {
        heard.places.seen(&run);
    }
    heard.places.listed();
    assert_eq!(heard.ask(&pinned("a", 1, false, false)), Some(Place::Held));
    // its write arrives now
    let late = pinned("b", 2, true, false);
    heard.places.changed(&late);
    assert_eq!(heard.ask(&late), Some(behind(1, "a")));
}

#[test]
fn a_process_that_does_not_lead_gives_nothing_away() {
    let (report, _told) = unbounded_channel();
    let (_leader, leadership) = leadership();
    let places = Places::new(report, leadership);
    places.listed();
    let run = run("a", 1);
    places.seen(&run);
    assert_eq!(places.ask(&run, &limit(WhenFull::Queue)), None);
}

#[test]
fn a_run_that_the_holder_waits_for_passes_and_a_detached_one_does_not() {
    let heard = Heard::listed();
    let parent = run("parent", 1);
    let (child, detached) = (
        started_by(&parent, "child", 3, false),
        started_by(&parent, "detached", 4, true),
    );
    let between = run("between", 2);
    for run in [&parent, &between, &child, &detached] {
        heard.places.seen(run);
    }
    let grandchild = started_by(&child, "grandchild", 5, false);
    heard.places.seen(&grandchild);
    assert_eq!(heard.ask(&parent), Some(Place::Held));
    assert_eq!(heard.ask(&between), Some(behind(1, "parent")));
    assert_eq!(heard.ask(&child), Some(Place::Shared("parent".to_owned())));
    assert_eq!(heard.ask(&detached), Some(behind(2, "parent")));
    assert!(matches!(heard.ask(&grandchild), Some(Place::Shared(_))));
}

#[test]
fn a_place_that_is_shared_is_one_place_after_a_restart_in_whatever_order_its_runs_are_seen() {
    let mut heard = Heard::new();
    let parent = pinned("parent", 1, true, true);
    let mut child = started_by(&parent, "child", 2, false);
    child.status = pinned("child", 2, true, true).status;
    if let Some(concurrency) = child
        .status
        .as_mut()
        .and_then(|status| status.concurrency.as_mut())
    {
        concurrency.shares = Some("parent".to_owned());
    }
    let other = pinned("other", 3, false, false);
    for run in [&child, &other, &parent] {
        heard.places.seen(run);
    }
    heard.places.listed();
    assert_eq!(heard.woken(), ["other"]);
    heard.left(&child);
    assert_eq!(heard.woken(), Vec::<String>::new());
    heard.left(&parent);
    assert_eq!(heard.woken(), ["other"]);
}

#[test]
fn a_suspended_run_is_passed_until_it_goes_on() {
    let mut heard = Heard::listed();
    let (a, b, c) = (run("a", 1), run("b", 2), run("c", 3));
    for run in [&a, &b, &c] {
        heard.places.seen(run);
        heard.ask(run);
    }
    let mut suspended = b.clone();
    suspended.spec.suspend = Some(true);
    heard.places.changed(&suspended);
    assert_eq!(heard.woken(), ["c"], "it is the next one");
    heard.left(&a);
    assert_eq!(heard.woken(), ["c"]);
    heard.places.changed(&b);
    assert_eq!(heard.ask(&b), Some(behind(1, "c")));
}

#[test]
fn a_run_that_is_being_deleted_gets_no_place_and_keeps_the_one_it_has_until_it_is_gone() {
    let mut heard = Heard::listed();
    let (a, b, c) = (run("a", 1), run("b", 2), run("c", 3));
    for run in [&a, &b, &c] {
        heard.places.seen(run);
        heard.ask(run);
    }
    for run in [&a, &b] {
        let mut deleted = run.clone();
        deleted.metadata.deletion_timestamp = deleted.metadata.creation_timestamp.clone();
        heard.places.changed(&deleted);
    }
    assert_eq!(heard.woken(), ["c"], "it is the next one");
    heard.left(&a);
    assert_eq!(heard.woken(), ["c"]);
    assert_eq!(heard.ask(&c), Some(Place::Held));
}

#[test]
fn a_run_of_the_same_name_is_another_one() {
    let mut heard = Heard::listed();
    let (first, second) = (run("a", 1), run("a", 2));
    heard.places.seen(&first);
    assert_eq!(heard.ask(&first), Some(Place::Held));
    heard.places.seen(&second);
    assert_eq!(heard.ask(&second), Some(behind(1, "a")));
    heard.left(&first);
    assert_eq!(heard.woken(), ["a"]);
    assert_eq!(heard.ask(&second), Some(Place::Held));
    heard.left(&first);
    assert_eq!(heard.ask(&second), Some(Place::Held));
}

#[test]
fn a_run_that_is_cancelled_for_a_newer_one_is_told_of_once() {
    let mut heard = Heard::listed();
    let (a, b) = (run("a", 1), run("b", 2));
    heard.places.seen(&a);
    heard.places.seen(&b);
    let limit = limit(WhenFull::CancelRunning);
    assert_eq!(heard.places.ask(&a, &limit), Some(Place::Held));
    for _ in 0..3 {
        assert_eq!(heard.places.ask(&b, &limit), Some(behind(1, "a")));
    }
    let Ok(DispatchEvent::MakeWay { run, by, .. }) = heard.told.try_recv() else {
        panic!("nothing is cancelled");
    };
    assert_eq!((run.name(), by.as_str()), ("a", "b"));
    assert_eq!(heard.woken(), Vec::<String>::new());
}

#[test]
fn nothing_is_left_of_runs_that_have_left() {
    let heard = Heard::listed();
    let parent = run("parent", 1);
    let child = started_by(&parent, "child", 2, false);
    let other = run("other", 3);
    for run in [&parent, &child, &other] {
        heard.places.seen(run);
    }
    heard.ask(&parent);
    heard.ask(&child);
    heard.looked_at(&other);
    for run in [&parent, &child, &other] {
        heard.left(run);
    }
    assert!(heard.places.lock().namespaces.is_empty());
}
