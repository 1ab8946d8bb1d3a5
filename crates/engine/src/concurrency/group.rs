//! The unfinished runs of a namespace with the same key.
//!
//! A group changes only by what happens to its runs: one has a place already, one wants a place, one is suspended or
//! stopped, one has left. After each of these, [`Group::settle`] gives the free places away. What comes of it depends on
//! the runs alone, so a process that starts anew comes to the same.

use std::collections::BTreeMap;

use super::Holders;
use signoff_api::concurrency::WhenFull;

/// Tells a run from all others, and says which of two comes first: the one that was created first, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// When it was created, in seconds.
    pub created: i64,
    /// Its name.
    pub name: Box<str>,
    /// A hash of its uid, as another run may have had its name.
    pub uid: u64,
}

/// A run that wants a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// How many places its release knows.
    pub max: i64,
    /// What happens when there is none for it.
    pub when_full: WhenFull,
    /// Whether it was given a place that it has not made use of. It comes before those that were not.
    pub has_claim: bool,
    /// Whether it is suspended. Others pass it.
    pub is_suspended: bool,
    /// Whether it is being stopped. It gets no place.
    pub is_stopping: bool,
}

/// What a group says of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It has a place.
    Held,
    /// It waits, at this position.
    Queued(usize, Holders),
    /// There is no place for it, and it does not wait.
    Full(Holders),
}

/// What came of giving places away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Runs that got a place.
    pub admitted: Vec<Ticket>,
    /// Runs that are to be cancelled.
    pub cancelled: Vec<Ticket>,
    /// The run for which they are.
    pub cancelled_for: Option<Ticket>,
    /// A run that is next now, and was not.
    pub next: Option<Ticket>,
    /// The one that was next, if it still waits.
    pub passed: Option<Ticket>,
}

/// A run that has a place.
#[derive(Clone, Copy, Debug)]
struct Holder {
    /// The uid of the run whose place it is: its own, or that of one that waits for it.
    seat: u64,
    is_stopping: bool,
}

/// The unfinished runs of a namespace with the same key.
#[derive(Clone, Debug, Default)]
pub struct Group {
    holders: BTreeMap<Ticket, Holder>,
    /// How many runs share each place.
    seats: BTreeMap<u64, usize>,
    /// Those with a claim first.
    queue: BTreeMap<(bool, Ticket), Waiter>,
    /// How many of them cancel others.
    cancelling: usize,
    /// The one that is known to be next.
    next: Option<Ticket>,
}

impl Group {
    /// Whether no run is left.
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty()
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.seats.len()
    }

    /// The place of a run, if it has one.
    pub fn seat(&self, ticket: &Ticket) -> Option<u64> {
        self.holders.get(ticket).map(|holder| holder.seat)
    }

    /// A run has a place: it has begun already, or it shares the one of a run that waits for it.
    pub fn hold(&mut self, ticket: Ticket, seat: u64, is_stopping: bool) {
        self.remove_waiter(&ticket);
        if let Some(known) = self.holders.get_mut(&ticket) {
            known.is_stopping = is_stopping;
            return;
        }
        *self.seats.entry(seat).or_default() += 1;
        self.holders.insert(ticket, Holder { seat, is_stopping });
    }

    /// A run wants a place. One that has one, or is known to want one, stays as it is.
    pub fn enter(&mut self, ticket: Ticket, waiter: Waiter) {
        if !self.holders.contains_key(&ticket) && self.waiter(&ticket).is_none() {
            self.cancelling += usize::from(waiter.when_full == WhenFull::CancelRunning);
            self.queue.insert((!waiter.has_claim, ticket), waiter);
        }
    }

    /// A run is suspended or stopped, or goes on.
    pub fn update(&mut self, ticket: &Ticket, is_suspended: bool, is_stopping: bool) {
        if let Some(holder) = self.holders.get_mut(ticket) {
            holder.is_stopping = is_stopping;
        }
        if let Some(waiter) = self.waiter_mut(ticket) {
            waiter.is_suspended = is_suspended;
            waiter.is_stopping = is_stopping;
        }
    }

    /// A run has ended, or is gone.
    pub fn leave(&mut self, ticket: &Ticket) {
        self.remove_waiter(ticket);
        if let Some(holder) = self.holders.remove(ticket)
            && let Some(sharing) = self.seats.get_mut(&holder.seat)
        {
            *sharing -= 1;
            if *sharing == 0 {
                self.seats.remove(&holder.seat);
            }
        }
    }

    /// Gives free places away. Nothing is decided yet about runs that do not come before `undecided`: others may come
    /// before them.
    pub fn settle(&mut self, undecided: Option<&Ticket>) -> Settled {
        let mut settled = Settled::default();
        self.admit(undecided, &mut settled);
        if self.cancelling > 0 && self.make_way(undecided, &mut settled) {
            self.admit(undecided, &mut settled);
        }
        let next = self.first(undecided).map(|(ticket, _)| ticket);
        if next != self.next {
            settled.next.clone_from(&next);
            let before = std::mem::replace(&mut self.next, next);
            settled.passed =
                before.filter(|ticket| self.waiter(ticket).is_some_and(|waiter| waiter.may_go()));
        }
        settled
    }

    fn admit(&mut self, undecided: Option<&Ticket>, settled: &mut Settled) {
        while let Some((ticket, max)) = self.first(undecided) {
            if i64::try_from(self.taken()).is_ok_and(|taken| taken >= max) {
                return;
            }
            self.hold(ticket.clone(), ticket.uid, false);
            settled.admitted.push(ticket);
        }
    }

    /// Cancels what is in the way of the newest run that wants that: older runs that wait, and as many of the oldest that
    /// have a place as it takes. Whether any run is in the way.
    fn make_way(&mut self, undecided: Option<&Ticket>, settled: &mut Settled) -> bool {
        let wanting = self.queue.iter().filter(|((_, ticket), waiter)| {
            waiter.when_full == WhenFull::CancelRunning
                && waiter.may_go()
                && waiter.is_decided(ticket, undecided)
        });
        let newest = wanting.map(|((_, ticket), waiter)| (ticket, waiter.max)).max();
        let Some((newest, max)) = newest.map(|(ticket, max)| (ticket.clone(), max)) else {
            return false;
        };
        for ((_, ticket), waiter) in &mut self.queue {
            if *ticket < newest && !waiter.is_stopping {
                waiter.is_stopping = true;
                settled.cancelled.push(ticket.clone());
            }
        }
        // those that share a place end with the one that holds it
        let staying = self.holders.iter_mut();
        let staying = staying.filter(|(ticket, holder)| holder.seat == ticket.uid && !holder.is_stopping);
        let mut staying: Vec<_> = staying.collect();
        let may_stay = usize::try_from(max - 1).unwrap_or_default();
        let surplus = staying.len().saturating_sub(may_stay);
        for (ticket, holder) in staying.iter_mut().take(surplus) {
            // a newer run is not cancelled for an older one
            if **ticket < newest {
                holder.is_stopping = true;
                settled.cancelled.push((*ticket).clone());
            }
        }
        let any = !settled.cancelled.is_empty();
        settled.cancelled_for = any.then_some(newest);
        any
    }

    /// What is decided about a run. None if it is not known here. One that is rejected is not known any more.
    pub fn decision(&mut self, ticket: &Ticket) -> Option<Decision> {
        if self.holders.contains_key(ticket) {
            return Some(Decision::Held);
        }
        let Waiter {
            when_full, has_claim, ..
        } = *self.waiter(ticket)?;
        if when_full == WhenFull::Reject {
            self.remove_waiter(ticket);
            return Some(Decision::Full(self.named_holders()));
        }
        let holders = self.named_holders();
        let before = self.queue.range(..(!has_claim, ticket.clone()));
        let position = before.filter(|(_, waiter)| waiter.may_go()).count() + 1;
        Some(Decision::Queued(position, holders))
    }

    fn named_holders(&self) -> Holders {
        let owners = self
            .holders
            .iter()
            .filter(|(ticket, holder)| holder.seat == ticket.uid);
        let oldest = owners.map(|(ticket, _)| ticket).next();
        let waiting = self.queue.keys().next().map(|(_, ticket)| ticket);
        let oldest = oldest.or_else(|| self.holders.keys().next()).or(waiting);
        Holders {
            first: oldest.map(|ticket| ticket.name.to_string()).unwrap_or_default(),
            others: self.taken().saturating_sub(1),
        }
    }

    /// The run that is next, and how many places its release knows.
    fn first(&self, undecided: Option<&Ticket>) -> Option<(Ticket, i64)> {
        let mut waiting = self.queue.iter();
        let ((_, ticket), waiter) = waiting.find(|(_, waiter)| waiter.may_go())?;
        let is_decided = waiter.is_decided(ticket, undecided);
        is_decided.then(|| (ticket.clone(), waiter.max))
    }

    fn waiter(&self, ticket: &Ticket) -> Option<&Waiter> {
        let mut keys = [false, true].into_iter();
        keys.find_map(|no_claim| self.queue.get(&(no_claim, ticket.clone())))
    }

    fn waiter_mut(&mut self, ticket: &Ticket) -> Option<&mut Waiter> {
        let has_claim = self.waiter(ticket)?.has_claim;
        self.queue.get_mut(&(!has_claim, ticket.clone()))
    }

    fn remove_waiter(&mut self, ticket: &Ticket) {
        for no_claim in [false, true] {
            if let Some(waiter) = self.queue.remove(&(no_claim, ticket.clone())) {
                self.cancelling -= usize::from(waiter.when_full == WhenFull::CancelRunning);
            }
        }
    }

    /// Names of the runs that have a place, the oldest first.
    #[cfg(test)]
    pub(super) fn holders(&self) -> Vec<&str> {
        self.holders.keys().map(|ticket| &*ticket.name).collect()
    }
}

impl Waiter {
    /// Whether it would take a place.
    fn may_go(self) -> bool {
        !self.is_suspended && !self.is_stopping
    }

    /// Whether no run can come before it that is not known yet.
    fn is_decided(self, ticket: &Ticket, undecided: Option<&Ticket>) -> bool {
        self.has_claim || undecided.is_none_or(|undecided| ticket < undecided)
    }
}
