use serde_json::json;

use super::*;
use crate::{
    cluster::{
        context::Clock,
        fake_api::{FakeApi, Fault, NAMESPACE, clock, in_time},
        inbox::inbox,
    },
    runs::fixture::Fixture,
};

/// A dispatcher whose messages a test hands over one by one.
struct Stepped {
    dispatcher: Dispatcher,
    fixture: Fixture,
}

impl Stepped {
    async fn new(fixture: Fixture) -> Self {
        let (report, messages) = inbox();
        let dispatcher = Dispatcher::new(Arc::clone(&fixture.deps), report, messages.open().await);
        Self { dispatcher, fixture }
    }

    fn api(&self) -> &FakeApi {
        &self.fixture.api
    }

    fn seen(&mut self, run: &Run) {
        self.dispatcher
            .handle(DispatchEvent::Seen(Box::new(run.clone()), None));
    }

    /// The watch shows a run as it is now.
    fn show(&mut self, name: &str) {
        let run = self.api().get(&format!("runs/{name}"));
        self.seen(&run);
    }

    /// What a task reports next.
    async fn report(&mut self) -> DispatchEvent {
        in_time(self.dispatcher.messages.recv()).await.unwrap()
    }

    /// Lets the task of a run come to its end, and takes that in.
    async fn park(&mut self) {
        let parked = self.report().await;
        assert!(matches!(parked, DispatchEvent::Parked(..)), "{parked:?}");
        self.dispatcher.handle(parked);
    }

    fn is_active(&self, name: &str) -> bool {
        self.dispatcher.entries[&run_key(name)].active.is_some()
    }

    fn flow_changed(&mut self) {
        let flow = FlowKey::new(NAMESPACE, "f");
        self.dispatcher.handle(DispatchEvent::FlowChanged(flow));
    }

    fn phase(&self, name: &str) -> RunPhase {
        let run: Run = self.api().get(&format!("runs/{name}"));
        run.status.unwrap().phase
    }
}

fn run_key(name: &str) -> RunKey {
    RunKey::new(NAMESPACE, name)
}

#[test]
fn a_run_that_waits_is_a_small_row() {
    let row = size_of::<RunKey>() + size_of::<Entry>();
    assert!(row <= 120, "{row} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_new_run_waits_until_there_is_a_turn() {
    let mut stepped = Stepped::new(Fixture::new().that_asks()).await;
    let intake = stepped.fixture.deps.bounds.intake.clone();
    let taken: Vec<Permit> = std::iter::from_fn(|| intake.try_acquire(NAMESPACE)).collect();
    let run = stepped.fixture.run("r");
    stepped.seen(&run);
    stepped.dispatcher.next_in_line();
    assert!(!stepped.is_active("r"));
    drop(taken);
    stepped.dispatcher.next_in_line();
    assert!(stepped.is_active("r"));
    stepped.park().await;
    assert_eq!(stepped.phase("r"), RunPhase::Waiting);
    assert!(intake.try_acquire(NAMESPACE).is_some(), "the turn was given back");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_something_else_starts_while_it_waits_for_a_turn_is_not_started_again_by_it() {
    let mut stepped = Stepped::new(Fixture::new().that_asks()).await;
    let intake = stepped.fixture.deps.bounds.intake.clone();
    let taken: Vec<Permit> = std::iter::from_fn(|| intake.try_acquire(NAMESPACE)).collect();
    let run = stepped.fixture.run("r");
    stepped.seen(&run);
    stepped.dispatcher.tell(&run_key("r"), RunEvent::Wake(None));
    stepped.park().await;
    assert_eq!(stepped.phase("r"), RunPhase::Waiting, "it was read");
    drop(taken);
    stepped.dispatcher.next_in_line();
    assert!(!stepped.is_active("r"));
}

#[tokio::test(start_paused = true)]
async fn of_new_runs_that_wait_only_so_many_are_kept_and_the_others_are_read_again() {
    // there is no flow, so that they come to rest at once
    let mut stepped = Stepped::new(Fixture::new()).await;
    let intake = stepped.fixture.deps.bounds.intake.clone();
    let taken: Vec<Permit> = std::iter::from_fn(|| intake.try_acquire(NAMESPACE)).collect();
    for number in 0..KEPT + 2 {
        let run = stepped.fixture.run(&format!("r{number}"));
        stepped.seen(&run);
    }
    drop(taken);
    let mut left = KEPT + 2;
    while left > 0 {
        stepped.dispatcher.next_in_line();
        stepped.park().await;
        left -= 1;
    }
    let asked = stepped.api().asked();
    let mut read: Vec<&String> = asked
        .iter()
        .filter(|asked| asked.starts_with("GET runs/"))
        .collect();
    read.sort();
    assert_eq!(
        read,
        [&format!("GET runs/r{KEPT}"), &format!("GET runs/r{}", KEPT + 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn the_echo_of_our_own_write_starts_nothing_and_what_others_write_does() {
    let mut stepped = Stepped::new(Fixture::new().that_asks()).await;
    let run = stepped.fixture.run("r");
    stepped.seen(&run);
    stepped.park().await;
    stepped.show("r");
    assert!(!stepped.is_active("r"));
    stepped.seen(&run);
    assert!(!stepped.is_active("r"), "what is older still is no news either");
    stepped
        .api()
        .edit("runs/r", |run| run["spec"]["cancel"] = json!(true));
    stepped.show("r");
    assert!(stepped.is_active("r"));
    stepped.park().await;
    assert_eq!(stepped.phase("r"), RunPhase::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_comes_while_a_task_ends_is_for_the_next_one() {
    let mut stepped = Stepped::new(Fixture::new().that_asks()).await;
    let run = stepped.fixture.run("r");
    stepped.seen(&run);
    // the task has ended, which the dispatcher does not know yet
    let parked = stepped.report().await;
    stepped
        .api()
        .edit("runs/r", |run| run["spec"]["cancel"] = json!(true));
    stepped.show("r");
    stepped.dispatcher.handle(parked);
    assert!(stepped.is_active("r"));
    stepped.park().await;
    assert_eq!(stepped.phase("r"), RunPhase::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_new_listing_removes_what_is_not_in_it_and_tells_that_it_has_ended() {
    use futures::StreamExt as _;
    let mut stepped = Stepped::new(Fixture::new().that_asks()).await;
    for name in ["stays", "rested", "moved"] {
        let run = stepped.fixture.run(name);
        stepped.seen(&run);
        stepped.park().await;
    }
    stepped.dispatcher.tell(&run_key("moved"), RunEvent::Wake(None));
    stepped.dispatcher.handle(DispatchEvent::Relisting);
    stepped.show("stays");
    let run = stepped.fixture.run("new");
    stepped.seen(&run);
    stepped.dispatcher.handle(DispatchEvent::Relisted);
    let mut left: Vec<&str> = stepped.dispatcher.entries.keys().map(RunKey::name).collect();
    left.sort_unstable();
    assert_eq!(left, ["new", "stays"]);
    let ended = stepped.fixture.ended.clone().stream().take(2);
    assert_eq!(ended.collect::<Vec<_>>().await, [NAMESPACE, NAMESPACE]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_leaves_the_watch_under_another_uid_is_not_this_one() {
    let mut stepped = Stepped::new(Fixture::new().that_asks()).await;
    let run = stepped.fixture.run("r");
    stepped.seen(&run);
    stepped.park().await;
    let left = |uid: &str| DispatchEvent::LeftWatch(run_key("r"), UidMark::of(uid));
    stepped.dispatcher.handle(left("of another"));
    assert_eq!(stepped.dispatcher.entries.len(), 1);
    stepped
        .dispatcher
        .handle(left(run.metadata.uid.as_deref().unwrap()));
    assert_eq!(stepped.dispatcher.entries.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_started_again_after_a_pause() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let broken = Arc::new(AtomicBool::new(false));
    let (hands, breaks) = (clock(), Arc::clone(&broken));
    let steady = hands.clone();
    let clock = Clock::from_fn(move || {
        assert!(!breaks.swap(false, Ordering::Relaxed), "this panic is meant");
        hands.now()
    });
    let clock = clock.with_steady(move || steady.steady());
    let mut fixture = Fixture::with_clock(clock);
    let release = fixture.release(&json!([{"name": "ask", "approval": {"title": "go?"}}]));
    // the task reads the time after it has read the release
    let arm = move |_: &FakeApi| broken.store(true, Ordering::Relaxed);
    fixture
        .api
        .fault(&format!("GET releases/{release}"), Fault::After(Box::new(arm)));
    let run = fixture.run("r");
    let api = fixture.api.clone();
    let stepped = Stepped::new(fixture).await;
    let (shutdown, report) = (CancellationToken::new(), stepped.dispatcher.report.clone());
    report.send(DispatchEvent::Seen(Box::new(run), None)).unwrap();
    let began = tokio::time::Instant::now();
    let dispatching = tokio::spawn(stepped.dispatcher.run(shutdown.clone()));
    api.until(|api| api.writes().contains(&"POST approvals".to_owned()))
        .await;
    assert!(began.elapsed() >= AFTER_PANIC);
    let run: Run = api.get("runs/r");
    assert_eq!(run.status.unwrap().phase, RunPhase::Waiting);
    shutdown.cancel();
    dispatching.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_without_a_release_wakes_when_its_flow_changes() {
    let mut stepped = Stepped::new(Fixture::new()).await;
    stepped.flow_changed();
    let run = stepped.fixture.run("r");
    stepped.seen(&run);
    stepped.park().await;
    assert!(!stepped.is_active("r"), "what changed before is known to it");
    assert_eq!(stepped.dispatcher.awaiting.len(), 1);
    stepped
        .fixture
        .release(&json!([{"name": "ask", "approval": {"title": "go?"}}]));
    stepped.flow_changed();
    assert!(stepped.is_active("r"));
    stepped.park().await;
    assert_eq!(stepped.phase("r"), RunPhase::Waiting);
    assert_eq!(stepped.dispatcher.awaiting.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_flow_that_changes_while_a_run_comes_to_rest_wakes_it() {
    let mut stepped = Stepped::new(Fixture::new()).await;
    let run = stepped.fixture.run("r");
    stepped.seen(&run);
    let parked = stepped.report().await;
    stepped.flow_changed();
    stepped.dispatcher.handle(parked);
    assert!(stepped.is_active("r"));
    stepped.park().await;
    assert!(!stepped.is_active("r"), "it is woken once");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_gone_waits_for_no_flow() {
    let mut stepped = Stepped::new(Fixture::new()).await;
    let run = stepped.fixture.run("r");
    stepped.seen(&run);
    stepped.park().await;
    stepped.dispatcher.remove(&run_key("r"));
    assert_eq!(stepped.dispatcher.awaiting.len(), 0);
    stepped.flow_changed();
    assert_eq!(stepped.dispatcher.entries.len(), 0);
}
