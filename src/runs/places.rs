//! Places of runs whose flows limit how many of them go on at the same time. The engine decides who has one
//! ([`Group`]); this keeps what it decides on, and tells runs when it is their turn.
//!
//! * Nothing is given away before all unfinished runs were listed, or while the namespace has an older run of which it is
//!   not known yet what it wants. So the order is that of creation, also after a restart.
//! * This process tells a run that it has a place, whatever the status of the run says. The status of a run that has begun
//!   says that it holds a place, and every process takes that as it is.
//! * While nothing happens, nothing is done: a run that waits for a place is a row here, and one of the dispatcher.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use compact_str::CompactString;
use kube::ResourceExt as _;
use tokio::sync::mpsc::UnboundedSender;

use super::{RunKey, actor::is_stopped, dispatch::DispatchEvent};
use crate::cluster::{leadership::Leadership, object_key::UidMark};
use signoff_api::{Run, concurrency::ConcurrencyStatus};
use signoff_engine::concurrency::{Decision, Group, GroupMark, Place, Settled, Ticket, Waiter};

#[derive(Debug)]
pub(super) struct Places {
    state: Mutex<State>,
    report: UnboundedSender<DispatchEvent>,
    leadership: Leadership,
}

#[derive(Debug, Default)]
struct State {
    /// Whether all unfinished runs were listed.
    are_listed: bool,
    namespaces: HashMap<CompactString, Namespace>,
}

/// What is known of the runs of a namespace.
#[derive(Debug, Default)]
struct Namespace {
    groups: HashMap<GroupMark, Group>,
    /// Runs that want a place or have one, and those of which that is not known yet.
    runs: HashMap<UidMark, Known>,
    /// New runs of which it is not known yet whether they want a place.
    unknown: BTreeSet<Ticket>,
    /// Runs that have asked, and that an older run may come before of which that is not known.
    undecided: BTreeMap<Ticket, GroupMark>,
    /// The runs that wait for others, by those.
    parents: HashMap<UidMark, UidMark>,
    /// Runs that share a place, until all runs are known.
    sharing: Vec<UidMark>,
}

#[derive(Clone, Debug)]
struct Known {
    ticket: Ticket,
    /// None while it is not known whether it wants a place.
    group: Option<GroupMark>,
}

/// What is to be told.
type Told = Vec<DispatchEvent>;

impl Places {
    pub(super) fn new(report: UnboundedSender<DispatchEvent>, leadership: Leadership) -> Self {
        Self {
            state: Mutex::default(),
            report,
            leadership,
        }
    }

    /// A run was not known before.
    pub(super) fn seen(&self, run: &Run) {
        let status = run.status.clone().unwrap_or_default();
        let is_new = status.release.is_none();
        let parent = run.spec.parent.as_ref().filter(|parent| parent.is_waited_for());
        if status.phase.is_finished() || status.concurrency.is_none() && !is_new && parent.is_none() {
            return;
        }
        let (uid, ticket) = (UidMark::of_object(run), ticket(run));
        self.change(
            run.metadata.namespace.as_deref(),
            |namespace, are_listed, name| {
                if let Some(parent) = parent {
                    namespace.parents.insert(uid, UidMark::of(&parent.uid));
                }
                let group = status.concurrency.as_ref();
                let group = group.map(|concurrency| GroupMark::of(&run.spec.flow, concurrency));
                if group.is_some() || is_new {
                    let ticket = ticket.clone();
                    namespace.runs.insert(uid, Known { ticket, group });
                }
                let (Some(mark), Some(concurrency)) = (group, &status.concurrency) else {
                    if is_new {
                        namespace.unknown.insert(ticket);
                    }
                    return Told::new();
                };
                let group = namespace.groups.entry(mark).or_default();
                if concurrency.shares.is_some() {
                    group.hold(ticket, uid.number(), is_stopping(run));
                    namespace.sharing.push(uid);
                } else if status.started_at.is_some() {
                    group.hold(ticket, uid.number(), is_stopping(run));
                } else {
                    let has_claim = concurrency.held_since.is_some();
                    group.enter(ticket, waiter(run, concurrency, has_claim));
                }
                if are_listed {
                    namespace.share();
                    return namespace.settle(name, mark);
                }
                Told::new()
            },
        );
    }

    /// All unfinished runs were listed.
    pub(super) fn listed(&self) {
        let mut state = self.lock();
        state.are_listed = true;
        let mut told = Told::new();
        for (name, namespace) in &mut state.namespaces {
            namespace.share();
            let marks: Vec<_> = namespace.groups.keys().copied().collect();
            for mark in marks {
                told.extend(namespace.settle(name, mark));
            }
            told.extend(namespace.decide_more(name));
        }
        drop(state);
        self.tell(told);
    }

    /// A known run was suspended or stopped, or goes on.
    pub(super) fn changed(&self, run: &Run) {
        let uid = UidMark::of_object(run);
        self.change(
            run.metadata.namespace.as_deref(),
            |namespace, are_listed, name| {
                let Some(Known {
                    ticket,
                    group: Some(mark),
                }) = namespace.runs.get(&uid).cloned()
                else {
                    return Told::new();
                };
                if let Some(group) = namespace.groups.get_mut(&mark) {
                    group.update(&ticket, is_suspended(run), is_stopping(run));
                }
                if are_listed {
                    namespace.settle(name, mark)
                } else {
                    Told::new()
                }
            },
        );
    }

    /// Whether a run that has not begun may do so. None if that is not decided yet: it is woken when it is.
    pub(super) fn ask(&self, run: &Run, concurrency: &ConcurrencyStatus) -> Option<Place> {
        if !self.leadership.is_held() {
            return None;
        }
        let (uid, ticket) = (UidMark::of_object(run), ticket(run));
        let mark = GroupMark::of(&run.spec.flow, concurrency);
        let mut answer = None;
        self.change(
            run.metadata.namespace.as_deref(),
            |namespace, are_listed, name| {
                let known = Known {
                    ticket: ticket.clone(),
                    group: Some(mark),
                };
                namespace.runs.insert(uid, known);
                namespace.undecided.remove(&ticket);
                let was_unknown = namespace.unknown.remove(&ticket);
                let shared = namespace.seat_above(uid, mark);
                let group = namespace.groups.entry(mark).or_default();
                if let Some((seat, _)) = &shared {
                    group.hold(ticket.clone(), *seat, false);
                } else {
                    group.enter(ticket.clone(), waiter(run, concurrency, false));
                }
                if !are_listed {
                    namespace.undecided.insert(ticket.clone(), mark);
                    return Told::new();
                }
                let mut told = namespace.settle(name, mark);
                answer = namespace.answer(&ticket, mark, shared.map(|(_, run)| run));
                if answer.is_none() {
                    namespace.undecided.insert(ticket.clone(), mark);
                }
                if was_unknown {
                    told.extend(namespace.decide_more(name));
                }
                // whoever asks is told by the answer
                let is_asker = |key: &RunKey| answer.is_some() && key.name() == &*ticket.name;
                told.retain(|told| !matches!(told, DispatchEvent::PlaceChanged(key) if is_asker(key)));
                told
            },
        );
        answer
    }

    /// A run was looked at. If it did not ask for a place, it wants none now.
    pub(super) fn looked_at(&self, run: &RunKey, uid: UidMark) {
        self.change(Some(run.namespace()), |namespace, are_listed, name| {
            let is_unknown = |known: &Known| known.group.is_none();
            if !namespace.runs.get(&uid).is_some_and(is_unknown) {
                return Told::new();
            }
            if let Some(known) = namespace.runs.remove(&uid) {
                namespace.unknown.remove(&known.ticket);
            }
            if are_listed {
                namespace.decide_more(name)
            } else {
                Told::new()
            }
        });
    }

    /// A run has ended, or is gone.
    pub(super) fn left(&self, run: &RunKey, uid: UidMark) {
        self.change(Some(run.namespace()), |namespace, are_listed, name| {
            namespace.parents.remove(&uid);
            let Some(Known { ticket, group }) = namespace.runs.remove(&uid) else {
                return Told::new();
            };
            namespace.unknown.remove(&ticket);
            namespace.undecided.remove(&ticket);
            let mut told = Told::new();
            if let Some(mark) = group
                && let Some(group) = namespace.groups.get_mut(&mark)
            {
                group.leave(&ticket);
                if are_listed {
                    told = namespace.settle(name, mark);
                }
            }
            if are_listed {
                told.extend(namespace.decide_more(name));
            }
            told
        });
    }

    fn change(
        &self,
        namespace: Option<&str>,
        change: impl FnOnce(&mut Namespace, bool, &CompactString) -> Told,
    ) {
        let name = CompactString::from(namespace.unwrap_or_default());
        let mut state = self.lock();
        let are_listed = state.are_listed;
        let namespace = state.namespaces.entry(name.clone()).or_default();
        let told = change(namespace, are_listed, &name);
        if namespace.is_empty() {
            state.namespaces.remove(&name);
        }
        drop(state);
        self.tell(told);
    }

    fn tell(&self, told: Told) {
        for event in told {
            // nobody listens at the end of the process
            let _ = self.report.send(event);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Namespace {
    fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.parents.is_empty()
    }

    /// The place of a run that waits for this one, directly or through others, and the name of that run.
    fn seat_above(&self, run: UidMark, mark: GroupMark) -> Option<(u64, String)> {
        let group = self.groups.get(&mark)?;
        let (mut below, mut found) = (run, None);
        // only the operator writes parents, which makes no circles
        while let Some(above) = self.parents.get(&below) {
            let known = self.runs.get(above).filter(|known| known.group == Some(mark));
            if let Some(known) = known
                && let Some(seat) = group.seat(&known.ticket)
            {
                found = Some((seat, known.ticket.name.to_string()));
                if seat == known.ticket.uid {
                    break;
                }
            }
            below = *above;
        }
        found
    }

    /// Lets the runs that share a place take that of the run above them, now that it is known.
    fn share(&mut self) {
        for uid in std::mem::take(&mut self.sharing) {
            let Some(Known {
                ticket,
                group: Some(mark),
            }) = self.runs.get(&uid).cloned()
            else {
                continue;
            };
            if let Some((seat, _)) = self.seat_above(uid, mark)
                && let Some(group) = self.groups.get_mut(&mark)
            {
                group.leave(&ticket);
                group.hold(ticket, seat, false);
            }
        }
    }

    /// Gives free places of a group away.
    fn settle(&mut self, namespace: &str, mark: GroupMark) -> Told {
        let Some(group) = self.groups.get_mut(&mark) else {
            return Told::new();
        };
        let Settled {
            admitted,
            cancelled,
            cancelled_for,
            next,
            passed,
        } = group.settle(self.unknown.first());
        if group.is_empty() {
            self.groups.remove(&mark);
        }
        let key = |ticket: &Ticket| RunKey::new(namespace, &ticket.name);
        let woken = admitted.iter().chain(&next).chain(&passed);
        let woken = woken.map(|ticket| DispatchEvent::PlaceChanged(key(ticket)));
        let by = cancelled_for.map(|ticket| ticket.name).unwrap_or_default();
        let stopped = cancelled.iter().map(|ticket| DispatchEvent::MakeWay {
            run: key(ticket),
            uid: ticket.uid,
            by: by.to_string(),
        });
        woken.chain(stopped).collect()
    }

    /// Wakes the runs about which something can be decided now.
    fn decide_more(&mut self, namespace: &str) -> Told {
        let mut told = Told::new();
        let later = match self.unknown.first() {
            Some(unknown) => self.undecided.split_off(unknown),
            None => BTreeMap::new(),
        };
        let decided = std::mem::replace(&mut self.undecided, later);
        for (ticket, mark) in decided {
            told.extend(self.settle(namespace, mark));
            told.push(DispatchEvent::PlaceChanged(RunKey::new(namespace, &ticket.name)));
        }
        told
    }

    fn answer(&mut self, ticket: &Ticket, mark: GroupMark, shares: Option<String>) -> Option<Place> {
        let group = self.groups.get_mut(&mark)?;
        let is_held = group.seat(ticket).is_some();
        if !is_held && self.unknown.first().is_some_and(|unknown| unknown <= ticket) {
            return None;
        }
        Some(match group.decision(ticket)? {
            Decision::Held => shares.map_or(Place::Held, Place::Shared),
            Decision::Queued(position, holders) => Place::Queued { position, holders },
            Decision::Full(holders) => Place::Full(holders),
        })
    }
}

/// Whether a run is suspended. The end of one that is stopped is not.
pub(super) fn is_suspended(run: &Run) -> bool {
    run.spec.suspend == Some(true) && run.spec.cancel != Some(true)
}

/// Whether a run is being stopped or deleted.
fn is_stopping(run: &Run) -> bool {
    is_stopped(run) || run.metadata.deletion_timestamp.is_some()
}

fn waiter(run: &Run, concurrency: &ConcurrencyStatus, has_claim: bool) -> Waiter {
    Waiter {
        max: concurrency.max,
        when_full: concurrency.when_full,
        has_claim,
        is_suspended: is_suspended(run),
        is_stopping: is_stopping(run),
    }
}

fn ticket(run: &Run) -> Ticket {
    let created = run.metadata.creation_timestamp.as_ref();
    Ticket {
        created: created.map(|created| created.0.as_second()).unwrap_or_default(),
        name: run.name_any().into(),
        uid: UidMark::of_object(run).number(),
    }
}

#[cfg(test)]
mod tests;
