mod unreadable;

use axum::Router;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, UnboundedSender},
    task::JoinHandle,
};

use super::*;
use crate::{
    cluster::fake_api::{FakeApi, Fault, NAMESPACE, in_time},
    runs::fixture::Fixture,
};
use signoff_api::Approval;

/// The status write of the run.
const WRITE: &str = "PATCH runs/r/status";
const OPEN: &str = "POST approvals";

/// An actor of run `r`, whose flow asks people, and what tells it of events.
fn actor(fixture: &Fixture, run: &Run) -> (Actor, UnboundedSender<RunEvent>) {
    let (sender, mailbox) = mpsc::unbounded_channel();
    let uid = UidMark::of_object(run);
    let key = RunKey::new(NAMESPACE, "r");
    let (report, _) = mpsc::unbounded_channel();
    let places = Arc::new(Places::new(report, fixture.deps.leadership.clone()));
    places.listed();
    let actor = Actor::new((Arc::clone(&fixture.deps), places), key, uid, 0, mailbox);
    (actor, sender)
}

fn changed(run: &Run) -> RunEvent {
    RunEvent::Changed(Box::new(run.clone()), None)
}

/// Drives a new run `r` until it rests.
async fn drive(fixture: &Fixture) -> ParkedRun {
    let run = fixture.run("r");
    let (actor, _sender) = actor(fixture, &run);
    Box::pin(in_time(actor.run([changed(&run)].into()))).await
}

fn reads(api: &FakeApi) -> usize {
    api.asked().iter().filter(|asked| *asked == "GET runs/r").count()
}

#[tokio::test(start_paused = true)]
async fn a_run_costs_one_write_until_it_waits_for_people() {
    let fixture = Fixture::new().that_asks();
    let parked = drive(&fixture).await;
    assert_eq!((parked.phase, parked.done), (RunPhase::Waiting, false));
    assert_eq!(fixture.api.writes(), [WRITE, OPEN]);
    assert_eq!(reads(&fixture.api), 0);
    let run: Run = fixture.api.get("runs/r");
    assert_eq!(parked.version, version_of(&run));
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_not_made_again_and_what_waited_for_it_begins() {
    let fixture = Fixture::new().that_asks();
    fixture.api.fault(WRITE, Fault::AnswerLost);
    let parked = drive(&fixture).await;
    assert_eq!(fixture.api.writes(), [WRITE, OPEN]);
    assert_eq!((parked.phase, reads(&fixture.api)), (RunPhase::Waiting, 1));
    // people are told of it like of any other
    let mut told = fixture.api.events();
    told.sort();
    assert_eq!(told, ["Pinned", "WaitingForApproval"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_did_not_arrive_is_made_again_before_what_waits_for_it() {
    let fixture = Fixture::new().that_asks();
    fixture.api.fault(WRITE, Fault::NotDone);
    let parked = drive(&fixture).await;
    assert_eq!(fixture.api.writes(), [WRITE, WRITE, OPEN]);
    assert_eq!((parked.phase, reads(&fixture.api)), (RunPhase::Waiting, 1));
}

#[tokio::test(start_paused = true)]
async fn a_write_in_doubt_is_settled_by_reading_however_often_that_fails() {
    let fixture = Fixture::new().that_asks();
    fixture.api.fault(WRITE, Fault::AnswerLost);
    for _ in 0..3 {
        fixture.api.fault("GET runs/r", Fault::NotDone);
    }
    drive(&fixture).await;
    assert_eq!(fixture.api.writes(), [WRITE, OPEN]);
    assert_eq!(reads(&fixture.api), 4);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_meets_a_newer_run_is_decided_anew() {
    let fixture = Fixture::new().that_asks();
    let cancel = |api: &FakeApi| api.edit("runs/r", |run| run["spec"]["cancel"] = json!(true));
    fixture.api.fault(WRITE, Fault::After(Box::new(cancel)));
    let parked = drive(&fixture).await;
    assert_eq!(fixture.api.writes(), [WRITE, WRITE]);
    assert_eq!((parked.phase, parked.done), (RunPhase::Cancelled, true));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_before_the_state_that_asks_is_acknowledged() {
    let fixture = Fixture::new().that_asks();
    let (release, held) = tokio::sync::oneshot::channel();
    fixture.api.fault(WRITE, Fault::Held(held));
    let run = fixture.run("r");
    let (actor, _sender) = actor(&fixture, &run);
    let driven = tokio::spawn(actor.run([changed(&run)].into()));
    fixture.api.until(|api| api.writes() == [WRITE]).await;
    // all that could be done without the answer is done
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.api.writes(), [WRITE]);
    release.send(()).unwrap();
    driven.await.unwrap();
    assert_eq!(fixture.api.writes(), [WRITE, OPEN]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_while_its_question_is_put_takes_it_back() {
    let fixture = Fixture::new().that_asks();
    let run = fixture.run("r");
    let (actor, sender) = actor(&fixture, &run);
    // it is cancelled while the question is being put, and the watch shows it
    let tells = sender.clone();
    let cancel = move |api: &FakeApi| {
        api.edit("runs/r", |run| run["spec"]["cancel"] = json!(true));
        tells.send(changed(&api.get("runs/r"))).unwrap();
    };
    fixture.api.fault(OPEN, Fault::After(Box::new(cancel)));
    let parked = actor.run([changed(&run)].into()).await;
    assert_eq!((parked.phase, parked.done), (RunPhase::Cancelled, true));
    let writes = fixture.api.writes();
    assert_eq!(writes[..3], [WRITE, OPEN, WRITE]);
    let closed = writes[3].strip_prefix("PATCH ").unwrap();
    let approval: Approval = fixture.api.get(closed.strip_suffix("/status").unwrap());
    assert_eq!(
        approval.status.unwrap().phase,
        signoff_api::ApprovalPhase::Cancelled
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_deleted_meanwhile_is_left_alone() {
    let fixture = Fixture::new().that_asks();
    fixture.api.fault(WRITE, Fault::Refused(404, "NotFound"));
    let parked = drive(&fixture).await;
    assert_eq!(fixture.api.writes(), [WRITE]);
    assert!(parked.done);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_made_anew_under_the_same_name_is_not_touched() {
    let fixture = Fixture::new().that_asks();
    let mut before = fixture.run("r");
    before.metadata.uid = Some("of the one before".to_owned());
    for first in [RunEvent::Wake(None), changed(&fixture.api.get("runs/r"))] {
        let (actor, _sender) = actor(&fixture, &before);
        let parked = actor.run([first].into()).await;
        assert!(parked.done);
    }
    assert_eq!(fixture.api.writes(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_once_the_process_is_to_end() {
    let fixture = Fixture::new().that_asks();
    let run = fixture.run("r");
    let (actor, _sender) = actor(&fixture, &run);
    let parked = actor.run([changed(&run), RunEvent::Drain].into()).await;
    assert_eq!(fixture.api.writes(), Vec::<String>::new());
    assert!(!parked.done);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_left_the_watch_before_it_ended_is_left() {
    let fixture = Fixture::new().that_asks();
    let run = fixture.run("r");
    let (actor, _sender) = actor(&fixture, &run);
    let parked = actor.run([changed(&run), RunEvent::LeftWatch].into()).await;
    assert_eq!(fixture.api.writes(), Vec::<String>::new());
    assert_eq!(parked.phase, RunPhase::Pending);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_cannot_be_put_is_tried_again_without_another_write() {
    let fixture = Fixture::new().that_asks();
    fixture.api.fault(OPEN, Fault::Refused(503, "ServiceUnavailable"));
    fixture.api.fault(OPEN, Fault::AnswerLost);
    let parked = drive(&fixture).await;
    assert_eq!(
        fixture.api.writes(),
        [WRITE, OPEN, OPEN],
        "and it is found where the answer was lost"
    );
    assert_eq!(parked.phase, RunPhase::Waiting);
}

/// Somebody calls back to a step.
fn call_back(api: &FakeApi, step: &str) {
    let record = json!({"receivedAt": "2026-01-01T00:00:00.000000Z", "body": 1, "sha256": format!("sha256:{}", "0".repeat(64))});
    api.edit("runs/r", |run| {
        run["status"]["callbacks"][format!("{step}.1")] = record;
    });
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_comes_while_a_run_is_written_is_neither_lost_nor_overwritten() {
    let mut fixture = Fixture::new();
    let wait = |name: &str| json!({"name": name, "needs": [], "wait": {"callback": {}}});
    fixture.release(&json!([wait("a"), wait("b")]));
    assert_eq!(drive(&fixture).await.phase, RunPhase::Waiting);
    call_back(&fixture.api, "a");
    // the write that takes it in meets the other one
    let other = |api: &FakeApi| call_back(api, "b");
    fixture.api.fault(WRITE, Fault::After(Box::new(other)));
    let run: Run = fixture.api.get("runs/r");
    let (actor, _sender) = actor(&fixture, &run);
    let parked = in_time(Box::pin(actor.run([changed(&run)].into()))).await;
    assert_eq!((parked.phase, parked.done), (RunPhase::Succeeded, true));
    assert_eq!(fixture.api.writes(), [WRITE; 3]);
}

/// A call that the shop was sent.
const CALL: &str = "CALL";

/// A shop on this machine. Calls of `/pay` are noted among what the API server is asked.
async fn shop(api: &FakeApi) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = api.clone();
    let pay = move || {
        api.note(CALL);
        async { "{}" }
    };
    let router = Router::new()
        .route("/pay", axum::routing::any(pay))
        .fallback(|| async { "" });
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Asks the shop for something else, often enough that a call that had begun before has come by then.
async fn ask_often(shop: std::net::SocketAddr) {
    for _ in 0..20 {
        let mut stream = TcpStream::connect(shop).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_may_be_repeated_begins_beside_the_write_and_another_after_it() {
    for (delivery, is_repeatable) in [("AtLeastOnce", true), ("AtMostOnce", false)] {
        let mut fixture = Fixture::new();
        let shop = shop(&fixture.api).await;
        fixture.release(&json!([
            {"name": "pay", "http": {"url": format!("http://{shop}/pay"), "method": "POST"}, "delivery": delivery}
        ]));
        let (release, held) = tokio::sync::oneshot::channel();
        fixture.api.fault(WRITE, Fault::Held(held));
        let run = fixture.run("r");
        let (actor, _sender) = actor(&fixture, &run);
        let driven = tokio::spawn(actor.run([changed(&run)].into()));
        let called = |api: &FakeApi| api.asked().contains(&CALL.to_owned());
        if is_repeatable {
            fixture.api.until(called).await;
        } else {
            fixture.api.until(|api| api.writes() == [WRITE]).await;
            ask_often(shop).await;
            assert!(
                !called(&fixture.api),
                "it is not called before the intent is known"
            );
        }
        release.send(()).unwrap();
        let parked = in_time(driven).await.unwrap();
        assert_eq!((parked.phase, parked.done), (RunPhase::Succeeded, true));
        let writes = fixture.api.writes();
        assert_eq!(writes.iter().filter(|asked| *asked == CALL).count(), 1);
        assert_eq!(writes.iter().filter(|asked| *asked == WRITE).count(), 2);
    }
}

/// A poll of an address that is refused at once, so many times.
fn polling(passes: u32) -> serde_json::Value {
    json!([{
        "name": "poll", "http": {"url": "http://169.254.169.254/"}, "onFailure": {"outcome": "Continue"},
        "repeat": {"until": format!("${{steps.poll.pass == {passes}}}"), "every": "10s", "max": 1000},
    }])
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_written_when_it_begins_once_a_minute_and_at_its_end() {
    let mut fixture = Fixture::new();
    fixture.release(&polling(61));
    let began = Instant::now();
    let parked = drive(&fixture).await;
    assert_eq!((parked.phase, parked.done), (RunPhase::Succeeded, true));
    // six passes a minute, for ten minutes
    assert_eq!(began.elapsed().as_secs(), 600);
    let writes = fixture.api.writes().len();
    assert!((10..=12).contains(&writes), "{writes}");
    let run: Run = fixture.api.get("runs/r");
    let status = run.status.unwrap();
    assert_eq!((status.loops["poll"].pass, status.billable_steps), (61, 61));
    assert_eq!(status.steps.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_pauses_for_long_rests_and_is_written_once_a_pass() {
    let mut fixture = Fixture::new();
    let mut steps = polling(3);
    steps[0]["repeat"]["every"] = json!("1h");
    fixture.release(&steps);
    let parked = drive(&fixture).await;
    assert_eq!((parked.phase, parked.done), (RunPhase::Waiting, false));
    assert!(parked.wake_at.is_some());
    // that it began, and that it pauses
    assert_eq!(fixture.api.writes().len(), 2);
    tokio::time::sleep(Duration::from_hours(1)).await;
    let run: Run = fixture.api.get("runs/r");
    let (actor, _sender) = actor(&fixture, &run);
    let parked = in_time(Box::pin(actor.run([changed(&run)].into()))).await;
    assert_eq!(parked.phase, RunPhase::Waiting);
    assert_eq!(fixture.api.writes().len(), 3);
}

/// A run that polls a shop every second, until its hundredth pass or the one that is given. Begins it, and lets so many
/// calls come.
async fn polls_a_shop(
    last: u32,
    calls: usize,
) -> (Fixture, UnboundedSender<RunEvent>, JoinHandle<ParkedRun>) {
    let mut fixture = Fixture::new();
    let shop = shop(&fixture.api).await;
    fixture.release(&json!([{
        "name": "poll", "http": {"url": format!("http://{shop}/pay")},
        "repeat": {"until": format!("${{steps.poll.pass == {last}}}"), "every": "1s"},
    }]));
    let run = fixture.run("r");
    let (actor, sender) = actor(&fixture, &run);
    let driven = tokio::spawn(actor.run([changed(&run)].into()));
    fixture.api.until(|api| count(api, CALL) >= calls).await;
    (fixture, sender, driven)
}

fn count(api: &FakeApi, what: &str) -> usize {
    api.asked().iter().filter(|asked| *asked == what).count()
}

fn pass(api: &FakeApi) -> i64 {
    let run: Run = api.get("runs/r");
    let status = run.status.unwrap();
    status.loops.get("poll").map_or(1, |state| state.pass)
}

#[tokio::test]
async fn passes_that_are_not_written_are_written_at_the_end_of_the_process_or_of_the_run() {
    for cancel in [false, true] {
        let (fixture, sender, driven) = polls_a_shop(100, 3).await;
        assert_eq!((pass(&fixture.api), count(&fixture.api, WRITE)), (1, 1));
        if cancel {
            fixture
                .api
                .edit("runs/r", |run| run["spec"]["cancel"] = json!(true));
            sender.send(changed(&fixture.api.get("runs/r"))).unwrap();
        } else {
            sender.send(RunEvent::Drain).unwrap();
        }
        let parked = in_time(driven).await.unwrap();
        assert_eq!(parked.done, cancel);
        assert!(pass(&fixture.api) >= 3);
        // the outcome of the last pass may come after the rest
        assert!(count(&fixture.api, WRITE) <= 3);
    }
}

#[tokio::test]
async fn passes_that_were_not_written_are_done_again_after_somebody_else_wrote() {
    let (fixture, sender, driven) = polls_a_shop(3, 2).await;
    // a later leader
    fixture.api.edit("runs/r", |run| {
        let revision = run["status"]["revision"].as_i64().unwrap();
        run["status"]["revision"] = json!(revision + 1);
    });
    sender.send(changed(&fixture.api.get("runs/r"))).unwrap();
    let parked = in_time(driven).await.unwrap();
    assert_eq!(parked.phase, RunPhase::Succeeded);
    assert_eq!(pass(&fixture.api), 3);
    assert!(count(&fixture.api, CALL) >= 4, "the first pass was done again");
}
