//! The one way to wait for a time: in pieces of at most a minute, so that a wall clock that was stepped and a machine that slept are
//! noticed, however far away the time is.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::Timestamp;

use super::context::Clock;

/// When something is to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// When the wall clock shows this time.
    At(Timestamp),
    /// When this much time has passed, whatever the wall clock shows.
    After(Duration),
}

/// When an object is looked at again; nothing when only a change is a reason.
pub type Again = Option<Wake>;

/// When a timer is due, in microseconds. It is what removes the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// By the wall clock, since 1970.
    Wall(i64),
    /// By the clock that nobody sets, since it began.
    Steady(i64),
}

/// Keys that wait for their time. One key may wait several times.
#[derive(Debug)]
pub struct Timers<K> {
    clock: Clock,
    wall: BTreeSet<(i64, K)>,
    steady: BTreeSet<(i64, K)>,
}

impl<K: Ord> Timers<K> {
    /// None yet.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            wall: BTreeSet::new(),
            steady: BTreeSet::new(),
        }
    }

    /// Lets a key wait.
    pub fn insert(&mut self, key: K, wake: Wake) -> Due {
        match wake {
            Wake::At(time) => {
                // a deadline has not passed before its last microsecond has
                let at = time.as_microsecond();
                self.wall.insert((at, key));
                Due::Wall(at)
            }
            Wake::After(pause) => {
                let at = self.clock.steady().saturating_add(pause);
                let at = i64::try_from(at.as_micros()).unwrap_or(i64::MAX);
                self.steady.insert((at, key));
                Due::Steady(at)
            }
        }
    }

    /// Lets a key wait no more for this time.
    pub fn remove(&mut self, key: K, due: Due) {
        match due {
            Due::Wall(at) => self.wall.remove(&(at, key)),
            Due::Steady(at) => self.steady.remove(&(at, key)),
        };
    }

    /// The next key whose time has come; nothing if none waits. To drop it loses nothing.
    pub async fn next(&mut self) -> Option<K> {
        loop {
            let now = self.clock.now().as_microsecond();
            if is_due(&self.wall, now) {
                return self.wall.pop_first().map(|(_, key)| key);
            }
            let steady = i64::try_from(self.clock.steady().as_micros()).unwrap_or(i64::MAX);
            if is_due(&self.steady, steady) {
                return self.steady.pop_first().map(|(_, key)| key);
            }
            let left = [left(&self.wall, now), left(&self.steady, steady)];
            let left = left.into_iter().flatten().min()?;
            tokio::time::sleep(left.min(self.clock.longest_wait())).await;
        }
    }
}

fn is_due<K: Ord>(waiting: &BTreeSet<(i64, K)>, now: i64) -> bool {
    waiting.first().is_some_and(|(at, _)| *at <= now)
}

/// How long until the first of them.
fn left<K: Ord>(waiting: &BTreeSet<(i64, K)>, now: i64) -> Option<Duration> {
    let (at, _) = waiting.first()?;
    Some(Duration::from_micros(at.saturating_sub(now).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use k8s_openapi::jiff::SignedDuration;

    use super::*;

    const DAY: u64 = 86_400;
    const YEARS: Duration = Duration::from_secs(3_653 * DAY);

    /// A clock that a test sets, and that is looked at every few milliseconds.
    #[derive(Clone)]
    struct Hands(Arc<Mutex<(Timestamp, Duration)>>);

    impl Hands {
        fn new() -> Self {
            Self(Arc::new(Mutex::new((
                Timestamp::from_second(1_800_000_000).unwrap(),
                Duration::ZERO,
            ))))
        }

        fn clock(&self) -> Clock {
            let (wall, steady) = (self.clone(), self.clone());
            Clock::from_fn(move || wall.0.lock().unwrap().0)
                .with_steady(move || steady.0.lock().unwrap().1)
                .looked_at_every(Duration::from_millis(2))
        }

        fn step(&self, by: SignedDuration) {
            let mut hands = self.0.lock().unwrap();
            hands.0 += by;
        }

        fn sleep(&self, time: Duration) {
            let mut hands = self.0.lock().unwrap();
            hands.0 += SignedDuration::try_from(time).unwrap();
            hands.1 += time;
        }

        fn now(&self) -> Timestamp {
            self.0.lock().unwrap().0
        }
    }

    async fn waits<K: Ord>(timers: &mut Timers<K>) -> bool {
        tokio::time::timeout(Duration::from_millis(30), timers.next())
            .await
            .is_err()
    }

    #[tokio::test]
    async fn a_deadline_is_noticed_when_the_wall_clock_was_stepped_past_it() {
        let hands = Hands::new();
        let mut timers = Timers::new(hands.clock());
        timers.insert("q", Wake::At(hands.now() + SignedDuration::from_mins(59)));
        assert!(waits(&mut timers).await);
        hands.step(SignedDuration::from_hours(2));
        assert_eq!(timers.next().await, Some("q"));
    }

    #[tokio::test]
    async fn a_pause_is_not_made_longer_by_a_wall_clock_that_is_set_back() {
        let hands = Hands::new();
        let mut timers = Timers::new(hands.clock());
        timers.insert("q", Wake::After(Duration::from_secs(5)));
        hands.step(SignedDuration::from_hours(-2));
        assert!(waits(&mut timers).await);
        hands.step(SignedDuration::from_hours(9));
        assert!(waits(&mut timers).await, "the wall clock is not asked");
        hands.sleep(Duration::from_secs(5));
        assert_eq!(timers.next().await, Some("q"));
    }

    #[tokio::test]
    async fn what_became_due_while_the_machine_slept_is_noticed_when_it_wakes() {
        let hands = Hands::new();
        let mut timers = Timers::new(hands.clock());
        timers.insert("deadline", Wake::At(hands.now() + SignedDuration::from_hours(1)));
        timers.insert("pause", Wake::After(Duration::from_mins(10)));
        timers.insert("later", Wake::After(Duration::from_hours(50)));
        hands.sleep(Duration::from_hours(9));
        let mut woken = [timers.next().await, timers.next().await];
        woken.sort();
        assert_eq!(woken, [Some("deadline"), Some("pause")]);
        assert!(waits(&mut timers).await);
    }

    #[tokio::test]
    async fn ten_years_and_longer_can_be_waited_for() {
        let hands = Hands::new();
        let mut timers = Timers::new(hands.clock());
        timers.insert(
            "ten years",
            Wake::At(hands.now() + SignedDuration::try_from(YEARS).unwrap()),
        );
        timers.insert("for ever", Wake::At(Timestamp::MAX));
        timers.insert("longer", Wake::After(Duration::MAX));
        timers.insert("ten years of pause", Wake::After(YEARS));
        assert!(waits(&mut timers).await);
        hands.sleep(YEARS);
        let mut woken = [timers.next().await, timers.next().await];
        woken.sort();
        assert_eq!(woken, [Some("ten years"), Some("ten years of pause")]);
        assert!(waits(&mut timers).await);
    }

    #[tokio::test]
    async fn one_that_is_removed_is_not_woken_and_an_empty_set_says_so() {
        let hands = Hands::new();
        let mut timers = Timers::new(hands.clock());
        let due = timers.insert("a", Wake::After(Duration::ZERO));
        timers.insert("b", Wake::At(hands.now()));
        timers.remove("a", due);
        assert_eq!(timers.next().await, Some("b"));
        assert_eq!(timers.next().await, None);
    }

    #[tokio::test]
    async fn all_that_are_due_are_woken() {
        let hands = Hands::new();
        let mut timers = Timers::new(hands.clock());
        for n in 0..10 {
            timers.insert(n, Wake::After(Duration::ZERO));
            timers.insert(10 + n, Wake::At(hands.now()));
        }
        let mut woken = Vec::new();
        while let Some(key) = timers.next().await {
            woken.push(key);
        }
        woken.sort_unstable();
        assert_eq!(woken, (0..20).collect::<Vec<_>>());
    }
}
