//! What happens often is logged seldom.

use std::time::Duration;

use tokio::time::Instant;

/// Pause between two log lines that say the same.
const PAUSE: Duration = Duration::from_secs(60);

/// Counts what happens and says when it is time to log it.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    said: Option<Instant>,
    times: u64,
}

impl Seldom {
    /// It happened. Gives how often it did since it was last logged, if it is to be logged now.
    pub(super) fn say(&mut self, now: Instant) -> Option<u64> {
        self.times += 1;
        if self.said.is_some_and(|said| now < said + PAUSE) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_the_others_once_a_minute() {
        let (mut seldom, now) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.say(now), Some(1));
        for _ in 0..9 {
            assert_eq!(seldom.say(now), None);
        }
        assert_eq!(seldom.say(now + PAUSE), Some(10));
    }
}
