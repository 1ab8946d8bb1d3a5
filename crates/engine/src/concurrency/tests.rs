//! Holders of places, the queue, and the next run to go.

use proptest::prelude::*;

use super::*;
use signoff_api::concurrency::WhenFull;

fn ticket(created: i64, name: &str) -> Ticket {
    let uid = name
        .bytes()
        .fold(7, |hash: u64, byte| hash.wrapping_mul(31) + u64::from(byte));
    Ticket {
        created,
        name: name.into(),
        uid,
    }
}

fn waiter(max: i64, when_full: WhenFull) -> Waiter {
    Waiter {
        max,
        when_full,
        has_claim: false,
        is_suspended: false,
        is_stopping: false,
    }
}

fn queued(group: &mut Group, created: i64, name: &str) -> Settled {
    group.enter(ticket(created, name), waiter(1, WhenFull::Queue));
    group.settle(None)
}

fn position(group: &mut Group, created: i64, name: &str) -> usize {
    match group.decision(&ticket(created, name)) {
        Some(Decision::Queued(position, _)) => position,
        other => panic!("{name} is not queued: {other:?}"),
    }
}

fn names(tickets: &[Ticket]) -> Vec<&str> {
    tickets.iter().map(|ticket| &*ticket.name).collect()
}

#[test]
fn the_first_run_has_the_place_and_the_others_wait_in_the_order_of_their_creation() {
    let mut group = Group::default();
    assert_eq!(names(&queued(&mut group, 5, "a").admitted), ["a"]);
    for (created, name) in [(9, "b"), (7, "z"), (7, "c")] {
        assert_eq!(queued(&mut group, created, name).admitted, []);
    }
    let order = [(7, "c"), (7, "z"), (9, "b")];
    for (place, (created, name)) in order.iter().enumerate() {
        assert_eq!(position(&mut group, *created, name), place + 1);
    }
    let mut last = ticket(5, "a");
    for (created, name) in order {
        group.leave(&last);
        assert_eq!(names(&group.settle(None).admitted), [name]);
        last = ticket(created, name);
    }
    group.leave(&last);
    assert!(group.is_empty());
}

#[test]
fn as_many_go_on_as_the_release_of_the_next_run_says() {
    let mut group = Group::default();
    for name in ["a", "b", "c"] {
        group.enter(ticket(1, name), waiter(2, WhenFull::Queue));
    }
    assert_eq!(names(&group.settle(None).admitted), ["a", "b"]);
    // its release takes more, but it does not pass the one before it
    group.enter(ticket(2, "d"), waiter(9, WhenFull::Queue));
    assert_eq!(group.settle(None).admitted, []);
    group.leave(&ticket(1, "a"));
    assert_eq!(names(&group.settle(None).admitted), ["c", "d"]);
    // its release takes fewer
    group.enter(ticket(3, "e"), waiter(1, WhenFull::Queue));
    group.leave(&ticket(1, "b"));
    group.leave(&ticket(1, "c"));
    assert_eq!(group.settle(None).admitted, []);
    group.leave(&ticket(2, "d"));
    assert_eq!(names(&group.settle(None).admitted), ["e"]);
}

#[test]
fn a_suspended_run_is_passed_and_keeps_its_position() {
    let mut group = Group::default();
    for (created, name) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        queued(&mut group, created, name);
    }
    group.update(&ticket(2, "b"), true, false);
    assert_eq!(names(group.settle(None).next.as_slice()), ["c"]);
    group.leave(&ticket(1, "a"));
    assert_eq!(names(&group.settle(None).admitted), ["c"]);
    group.update(&ticket(2, "b"), false, false);
    assert_eq!(names(group.settle(None).next.as_slice()), ["b"]);
    assert_eq!(
        (position(&mut group, 2, "b"), position(&mut group, 4, "d")),
        (1, 2)
    );
}

#[test]
fn a_run_that_is_stopped_gets_no_place_and_one_that_holds_a_place_keeps_it_until_it_ends() {
    let mut group = Group::default();
    for (created, name) in [(1, "a"), (2, "b"), (3, "c")] {
        queued(&mut group, created, name);
    }
    group.update(&ticket(1, "a"), true, true);
    group.update(&ticket(2, "b"), false, true);
    assert_eq!(group.settle(None).admitted, []);
    group.leave(&ticket(1, "a"));
    assert_eq!(names(&group.settle(None).admitted), ["c"]);
    group.leave(&ticket(2, "b"));
    assert_eq!(group.holders(), ["c"]);
}

#[test]
fn a_run_that_shares_a_place_takes_none_and_keeps_it_taken() {
    let mut group = Group::default();
    queued(&mut group, 1, "parent");
    let seat = group.seat(&ticket(1, "parent")).unwrap();
    group.hold(ticket(2, "child"), seat, false);
    queued(&mut group, 3, "other");
    assert_eq!(group.taken(), 1);
    // it is deleted, and the run that it started is not gone yet
    group.leave(&ticket(1, "parent"));
    assert_eq!(group.settle(None).admitted, []);
    group.leave(&ticket(2, "child"));
    assert_eq!(names(&group.settle(None).admitted), ["other"]);
}

#[test]
fn a_run_that_does_not_wait_is_told_who_holds_the_place_and_is_in_nobodys_way() {
    let mut group = Group::default();
    for name in ["a", "b"] {
        group.enter(ticket(1, name), waiter(2, WhenFull::Queue));
    }
    group.settle(None);
    group.enter(ticket(2, "c"), waiter(2, WhenFull::Reject));
    group.settle(None);
    let Some(Decision::Full(holders)) = group.decision(&ticket(2, "c")) else {
        panic!("there is a place");
    };
    assert_eq!(holders.to_string(), "run a and 1 other hold it");
    assert_eq!(queued(&mut group, 3, "d").next, Some(ticket(3, "d")));
}

#[test]
fn a_newer_run_cancels_the_oldest_that_have_a_place_and_all_that_wait_before_it() {
    let mut group = Group::default();
    let cancelling = waiter(2, WhenFull::CancelRunning);
    for (created, name) in [(1, "a"), (2, "b")] {
        group.enter(ticket(created, name), cancelling);
    }
    assert_eq!(group.settle(None).cancelled, []);
    group.enter(ticket(3, "c"), cancelling);
    let settled = group.settle(None);
    assert_eq!(names(&settled.cancelled), ["a"]);
    assert_eq!(settled.cancelled_for, Some(ticket(3, "c")));
    assert_eq!(group.settle(None), Settled::default(), "they are cancelled once");
    // a newer one takes the turn of the one that waits
    group.enter(ticket(4, "d"), cancelling);
    let settled = group.settle(None);
    assert_eq!(names(&settled.cancelled), ["c"]);
    group.leave(&ticket(3, "c"));
    assert_eq!(group.settle(None).admitted, []);
    group.leave(&ticket(1, "a"));
    assert_eq!(names(&group.settle(None).admitted), ["d"]);
    assert_eq!(group.holders(), ["b", "d"]);
}

#[test]
fn an_older_run_cancels_no_newer_one() {
    let mut group = Group::default();
    let mut suspended = waiter(1, WhenFull::CancelRunning);
    suspended.is_suspended = true;
    group.enter(ticket(1, "a"), suspended);
    group.enter(ticket(2, "b"), waiter(1, WhenFull::CancelRunning));
    assert_eq!(names(&group.settle(None).admitted), ["b"]);
    group.update(&ticket(1, "a"), false, false);
    assert_eq!(group.settle(None).cancelled, []);
    group.leave(&ticket(2, "b"));
    assert_eq!(names(&group.settle(None).admitted), ["a"]);
}

#[test]
fn nothing_is_given_away_that_an_older_run_may_want_of_which_that_is_not_known_yet() {
    let mut group = Group::default();
    group.enter(ticket(2, "b"), waiter(1, WhenFull::Queue));
    assert_eq!(group.settle(Some(&ticket(1, "z"))), Settled::default());
    assert_eq!(group.settle(Some(&ticket(2, "a"))), Settled::default());
    assert_eq!(names(&group.settle(Some(&ticket(2, "c"))).admitted), ["b"]);
    // what was given away before is not taken back
    let mut group = Group::default();
    let mut given = waiter(1, WhenFull::Queue);
    given.has_claim = true;
    group.enter(ticket(2, "b"), given);
    group.enter(ticket(1, "a"), waiter(1, WhenFull::Queue));
    assert_eq!(names(&group.settle(Some(&ticket(1, "a"))).admitted), ["b"]);
    assert_eq!(position(&mut group, 1, "a"), 1);
}

#[test]
fn the_mark_of_a_group_tells_flows_keys_and_scopes_apart() {
    let status = |key: &str, scope| ConcurrencyStatus {
        key: key.to_owned(),
        scope,
        max: 1,
        when_full: WhenFull::Queue,
        held_since: None,
        shares: None,
        position: None,
        position_at: None,
    };
    let (of_flow, of_namespace) = (ConcurrencyScope::Flow, ConcurrencyScope::Namespace);
    let mark = |flow, key, scope| GroupMark::of(flow, &status(key, scope));
    assert_eq!(mark("f", "k", of_namespace), mark("g", "k", of_namespace));
    assert_ne!(mark("f", "k", of_flow), mark("g", "k", of_flow));
    assert_ne!(mark("f", "k", of_flow), mark("f", "k", of_namespace));
    assert_ne!(mark("f", "k", of_flow), mark("f", "l", of_flow));
    assert_ne!(mark("f", "ok", of_flow), mark("fo", "k", of_flow));
}

/// Something that happens to a run.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Created(i64, WhenFull),
    /// The holder at this place ends, or is deleted.
    HolderLeaves(usize),
    /// The run at this place of the queue is deleted.
    WaiterLeaves(usize),
    Suspended(usize, bool),
    Restart,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let when_full = prop::sample::select(vec![
        WhenFull::Queue,
        WhenFull::Queue,
        WhenFull::Queue,
        WhenFull::CancelRunning,
        WhenFull::Reject,
    ]);
    let one = prop_oneof![
        4 => (0..4_i64, when_full).prop_map(|(created, when_full)| Happening::Created(created, when_full)),
        3 => (0..4_usize).prop_map(Happening::HolderLeaves),
        1 => (0..4_usize).prop_map(Happening::WaiterLeaves),
        1 => (0..4_usize, any::<bool>()).prop_map(|(at, on)| Happening::Suspended(at, on)),
        1 => Just(Happening::Restart),
    ];
    prop::collection::vec(one, 0..60)
}

/// The same as a model that knows all runs and no more: what their statuses say.
#[derive(Default)]
struct Model {
    max: i64,
    group: Group,
    holders: Vec<Ticket>,
    waiters: Vec<(Ticket, Waiter)>,
    clock: i64,
    number: usize,
}

impl Model {
    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Created(seconds, when_full) => {
                self.clock += i64::from(seconds == 0);
                self.number += 1;
                let ticket = ticket(self.clock, &format!("r{}", self.number * 7 % 100));
                let waiter = waiter(self.max, when_full);
                self.group.enter(ticket.clone(), waiter);
                self.waiters.push((ticket.clone(), waiter));
                self.settle();
                if when_full == WhenFull::Reject
                    && matches!(self.group.decision(&ticket), Some(Decision::Full(_)))
                {
                    assert_eq!(self.taken(), self.max, "there was a place for {ticket:?}");
                    self.leave(&ticket);
                }
            }
            Happening::HolderLeaves(at) => {
                if let Some(ticket) = self.holders.get(at).cloned() {
                    self.leave(&ticket);
                }
            }
            Happening::WaiterLeaves(at) => {
                if let Some((ticket, _)) = self.waiters.get(at).cloned() {
                    self.leave(&ticket);
                }
            }
            Happening::Suspended(at, on) => {
                if let Some((ticket, waiter)) = self.waiters.get_mut(at) {
                    waiter.is_suspended = on;
                    self.group.update(ticket, on, waiter.is_stopping);
                    self.settle();
                }
            }
            Happening::Restart => {
                self.group = Group::default();
                for holder in &self.holders {
                    self.group.hold(holder.clone(), holder.uid, false);
                }
                for (ticket, waiter) in &self.waiters {
                    self.group.enter(ticket.clone(), *waiter);
                }
                let before = self.holders.clone();
                self.settle();
                assert_eq!(self.holders, before, "a restart gives nothing away");
            }
        }
    }

    fn taken(&self) -> i64 {
        i64::try_from(self.holders.len()).unwrap()
    }

    fn leave(&mut self, ticket: &Ticket) {
        self.group.leave(ticket);
        self.holders.retain(|holder| holder != ticket);
        self.waiters.retain(|(waiter, _)| waiter != ticket);
        self.settle();
    }

    fn settle(&mut self) {
        let settled = self.group.settle(None);
        for admitted in settled.admitted {
            let may_go = |waiter: &Waiter| !waiter.is_suspended && !waiter.is_stopping;
            let (_, own) = self
                .waiters
                .iter()
                .find(|(ticket, _)| *ticket == admitted)
                .unwrap();
            assert!(may_go(own));
            let first = self.waiters.iter().filter(|(_, waiter)| may_go(waiter));
            let cancelled = |ticket: &Ticket| settled.cancelled.contains(ticket);
            let first = first
                .map(|(ticket, _)| ticket)
                .filter(|ticket| !cancelled(ticket))
                .min();
            assert_eq!(first, Some(&admitted), "first come, first served");
            self.waiters.retain(|(ticket, _)| *ticket != admitted);
            self.holders.push(admitted);
            assert!(self.taken() <= self.max);
        }
        for cancelled in settled.cancelled {
            let by = settled.cancelled_for.as_ref().unwrap();
            assert!(cancelled < *by, "{by:?} cancels {cancelled:?}");
            for (ticket, waiter) in &mut self.waiters {
                waiter.is_stopping |= *ticket == cancelled;
            }
        }
        let may_go = self
            .waiters
            .iter()
            .any(|(_, waiter)| !waiter.is_suspended && !waiter.is_stopping);
        assert!(!may_go || self.taken() == self.max, "no place is left free");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_more_than_max_hold_a_place_and_every_run_that_waits_gets_one(max in 1..4_i64, all in happenings()) {
        let mut model = Model { max, ..Model::default() };
        for happening in all {
            model.happen(happening);
        }
        // those that are to be cancelled end, and nothing new comes
        let stopping: Vec<_> = model.waiters.iter().filter(|(_, waiter)| waiter.is_stopping).cloned().collect();
        for (ticket, _) in stopping {
            model.leave(&ticket);
        }
        while let Some(at) = model.waiters.iter().position(|(_, waiter)| waiter.is_suspended) {
            model.happen(Happening::Suspended(at, false));
        }
        let mut left = model.holders.len() + model.waiters.len();
        while let Some(holder) = model.holders.first().cloned() {
            model.leave(&holder);
            let stopped: Vec<_> = model.waiters.iter().filter(|(_, waiter)| waiter.is_stopping).cloned().collect();
            for (ticket, _) in stopped {
                model.leave(&ticket);
            }
            prop_assert!(left > 0);
            left -= 1;
        }
        prop_assert!(model.waiters.is_empty());
        prop_assert!(model.group.is_empty());
    }
}
