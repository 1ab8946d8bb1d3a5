//! Who is connected, and who gives way to whom.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::{activity::Activity, limits::ConnectionLimits};

/// How many connections that were asked to give way may still be closing.
const LEAVING: usize = 64;

/// The connections of one listener. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    limits: ConnectionLimits,
    next: u64,
    open: HashMap<u64, Open>,
    /// How many each address has that do not give way.
    of: HashMap<Source, usize>,
    leaving: usize,
}

#[derive(Debug)]
struct Open {
    source: Source,
    activity: Arc<Activity>,
    leaving: bool,
}

/// What counts as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source(IpAddr);

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            // whoever has one of them mostly has the network
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into()),
        }
    }
}

/// A connection's place among the others, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    table: Connections,
    number: u64,
    activity: Arc<Activity>,
}

impl Seat {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self(Arc::new(Mutex::new(Table {
            limits,
            next: 0,
            open: HashMap::new(),
            of: HashMap::new(),
            leaving: 0,
        })))
    }

    /// Takes in a connection, in the place of a quiet one if there is no other; nothing if all are at work.
    pub(super) fn admit(&self, address: IpAddr, now: Instant) -> Option<Seat> {
        let source = Source::of(address);
        let mut table = self.lock();
        let of_source = table.of.get(&source).copied().unwrap_or_default();
        if of_source >= table.limits.of_one_address {
            table.make_room(Some(source))?;
        } else if table.open.len() - table.leaving >= table.limits.connections {
            table.make_room(None)?;
        }
        let (number, activity) = (table.next, Arc::new(Activity::new(now)));
        table.next += 1;
        *table.of.entry(source).or_default() += 1;
        table.open.insert(
            number,
            Open {
                source,
                activity: Arc::clone(&activity),
                leaving: false,
            },
        );
        Some(Seat {
            table: self.clone(),
            number,
            activity,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Asks a quiet connection to give way, of this address or of the one that has most: the one that has been quiet longest.
    fn make_room(&mut self, of: Option<Source>) -> Option<()> {
        if self.leaving >= LEAVING {
            return None;
        }
        let quiet = self
            .open
            .iter()
            .filter(|(_, open)| !open.leaving && of.is_none_or(|source| source == open.source));
        let quiet = quiet.filter_map(|(number, open)| {
            let has = self.of.get(&open.source).copied().unwrap_or_default();
            Some(((Reverse(has), open.activity.quiet_since()?), *number))
        });
        let (_, number) = quiet.min()?;
        let open = self.open.get_mut(&number)?;
        open.leaving = true;
        open.activity.give_way();
        let source = open.source;
        self.leaving += 1;
        self.leaves(source);
        Some(())
    }

    fn leaves(&mut self, source: Source) {
        if let Some(has) = self.of.get_mut(&source) {
            *has -= 1;
            if *has == 0 {
                self.of.remove(&source);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        match table.open.remove(&self.number) {
            Some(open) if open.leaving => table.leaving -= 1,
            Some(open) => table.leaves(open.source),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn connections(all: usize, of_one_address: usize) -> Connections {
        Connections::new(ConnectionLimits {
            connections: all,
            of_one_address,
            ..ConnectionLimits::default()
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Whether a connection was asked to close.
    fn is_asked(seat: &Seat) -> bool {
        let asked = seat.activity.asked_to_give_way();
        futures::FutureExt::now_or_never(asked).is_some()
    }

    #[test]
    fn the_longest_quiet_one_of_the_address_that_has_most_gives_way() {
        let (all, now) = (connections(4, 4), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        let small = all.admit(address("10.0.0.1"), at(0)).unwrap();
        let busy = all.admit(address("10.0.0.2"), at(1)).unwrap();
        let _request = busy.activity.request(false);
        let quiet = all.admit(address("10.0.0.2"), at(2)).unwrap();
        let later = all.admit(address("10.0.0.2"), at(3)).unwrap();
        let new = all.admit(address("10.0.0.3"), at(4)).unwrap();
        let asked = [&small, &busy, &quiet, &later, &new].map(is_asked);
        assert_eq!(asked, [false, false, true, false, false]);
    }

    #[test]
    fn a_new_one_is_refused_while_all_are_at_work_and_taken_when_one_has_ended() {
        let (all, now) = (connections(2, 2), Instant::now());
        let seats = ["10.0.0.1", "10.0.0.2"].map(|from| all.admit(address(from), now).unwrap());
        let requests = seats.each_ref().map(|seat| seat.activity.request(false));
        assert!(all.admit(address("10.0.0.3"), now).is_none());
        drop(requests);
        drop(seats);
        assert!(all.admit(address("10.0.0.3"), now).is_some());
    }

    #[test]
    fn one_address_makes_room_among_its_own_only() {
        let (all, now) = (connections(100, 2), Instant::now());
        let other = all.admit(address("2001:db8:1::1"), now).unwrap();
        // the same network of 64 bits
        let mine = ["2001:db8::1", "2001:db8::2"].map(|from| all.admit(address(from), now).unwrap());
        let requests = mine.each_ref().map(|seat| seat.activity.request(false));
        assert!(all.admit(address("2001:db8::3"), now).is_none());
        drop(requests);
        let third = all.admit(address("2001:db8::3"), now);
        assert!(third.is_some() && !is_asked(&other));
        assert_eq!(
            mine.each_ref()
                .map(is_asked)
                .into_iter()
                .filter(|asked| *asked)
                .count(),
            1
        );
        assert!(all.admit(address("::ffff:10.0.0.1"), now).is_some());
    }

    #[test]
    fn no_more_are_closing_than_a_few_beyond_the_bound() {
        let (all, now) = (connections(100, 100), Instant::now());
        let seats: Vec<_> = (0..1_000)
            .map_while(|_| all.admit(address("10.0.0.1"), now))
            .collect();
        assert_eq!(seats.len(), 100 + LEAVING);
        drop(seats);
        let table = all.lock();
        assert_eq!((table.open.len(), table.leaving, table.of.len()), (0, 0, 0));
    }
}
