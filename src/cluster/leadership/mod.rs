//! Which of several operators acts: leadership as data that every write and every effect asks for.
//!
//! A process leads until a moment of its own monotonic clock, which it moves on with every renewal of the lease. One that was
//! paused past that moment, or slept with its machine, leads no more when it wakes, before it has read anything.

mod election;
mod lease;

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

pub use self::election::{Election, Timing};
use super::context::since_boot;

/// How long this process leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeadershipTerm {
    /// It does not.
    Over,
    /// Until then, if it is not renewed before; by this process's own clock, and by the one that runs while the machine sleeps.
    Until(Instant, Duration),
    /// There is nobody else.
    Endless,
}

impl LeadershipTerm {
    fn is_held(self) -> bool {
        match self {
            Self::Over => false,
            Self::Until(end, steady) => Instant::now() < end && since_boot() < steady,
            Self::Endless => true,
        }
    }
}

/// Whether this process may act. Clones are handles on the same.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<LeadershipTerm>);

/// The other end of a [`Leadership`], for who campaigns.
#[derive(Debug)]
pub struct LeaderHandle(watch::Sender<LeadershipTerm>);

/// Both ends; nobody leads yet.
pub fn leadership() -> (LeaderHandle, Leadership) {
    let (sender, receiver) = watch::channel(LeadershipTerm::Over);
    (LeaderHandle(sender), Leadership(receiver))
}

impl Leadership {
    /// That of a process that has no rival.
    pub fn unrivalled() -> Self {
        Self(watch::channel(LeadershipTerm::Endless).1)
    }

    /// Whether this process leads at this moment.
    pub fn is_held(&self) -> bool {
        self.0.borrow().is_held()
    }

    /// Returns when this process leads.
    pub async fn gained(&self) {
        let mut terms = self.0.clone();
        // an end without leadership: nobody campaigns any more
        if terms.wait_for(|term| term.is_held()).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when this process leads no more.
    pub async fn lost(&self) {
        let mut terms = self.0.clone();
        loop {
            let term = *terms.borrow_and_update();
            if !term.is_held() {
                return;
            }
            let end = async {
                match term {
                    LeadershipTerm::Until(end, _) => tokio::time::sleep_until(end).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = end => {}
                changed = terms.changed() => if changed.is_err() {
                    // nobody renews it any more
                    end_of(term).await;
                    return;
                },
            }
        }
    }
}

async fn end_of(term: LeadershipTerm) {
    match term {
        LeadershipTerm::Over => {}
        LeadershipTerm::Until(end, _) => tokio::time::sleep_until(end).await,
        LeadershipTerm::Endless => std::future::pending().await,
    }
}

impl LeaderHandle {
    fn lead_until(&self, end: Instant) {
        let left = end.saturating_duration_since(Instant::now());
        self.0
            .send_replace(LeadershipTerm::Until(end, since_boot() + left));
    }

    fn end(&self) {
        self.0
            .send_if_modified(|term| std::mem::replace(term, LeadershipTerm::Over) != LeadershipTerm::Over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);
    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_term_that_is_not_renewed_ends_by_itself() {
        let (mandate, leadership) = leadership();
        assert!(!leadership.is_held());
        mandate.lead_until(Instant::now() + SHORT);
        leadership.lost().await;
        assert!(!leadership.is_held());
    }

    #[tokio::test]
    async fn a_renewed_term_goes_on_until_it_is_ended() {
        let (mandate, leadership) = leadership();
        mandate.lead_until(Instant::now() + SHORT);
        mandate.lead_until(Instant::now() + LONG);
        leadership.gained().await;
        let mut lost = std::pin::pin!(leadership.lost());
        assert!(futures::poll!(&mut lost).is_pending());
        tokio::time::sleep(2 * SHORT).await;
        assert!(futures::poll!(&mut lost).is_pending());
        mandate.end();
        lost.await;
    }

    #[tokio::test]
    async fn who_has_no_rival_leads_always() {
        let leadership = Leadership::unrivalled();
        leadership.gained().await;
        assert!(leadership.is_held());
        assert!(futures::poll!(std::pin::pin!(leadership.lost())).is_pending());
    }

    #[tokio::test]
    async fn a_term_ends_in_time_even_when_nobody_campaigns_any_more() {
        let (mandate, leadership) = leadership();
        mandate.lead_until(Instant::now() + SHORT);
        drop(mandate);
        leadership.lost().await;
        assert!(!leadership.is_held());
    }
}
