//! How long a server wants to be left alone.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, StatusCode};
use k8s_openapi::jiff::fmt::rfc2822;

/// Longest time that a server is left alone because it asked for that.
const LONGEST_REST: Duration = Duration::from_hours(1);
/// How long it is left alone when it does not say.
pub(crate) const REST: Duration = Duration::from_mins(1);

/// Until when a server is left alone because it asked for that. Clones are handles on the same one, so that all who call that server keep to it.
#[derive(Clone, Debug, Default)]
pub struct HostPause(Arc<Mutex<Option<Instant>>>);

impl HostPause {
    /// Leaves it alone for as long, unless it asked for longer before.
    pub fn begin(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut rests = self.lock();
        *rests = Some(rests.map_or(until, |before| before.max(until)));
    }

    /// How long it is still to be left alone, if it is.
    pub fn left(&self) -> Option<Duration> {
        let left = self.lock().as_ref()?.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then_some(left)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a server wants to be left alone, if that is why it refused: `Retry-After` (RFC 9110, section 10.2.3), or GitHub's
/// `x-ratelimit-reset` when nothing remains.
pub(crate) fn rest(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
    let asked = number("retry-after").map(Duration::from_secs).or_else(|| {
        let at = rfc2822::parse(text("retry-after")?).ok()?;
        Some(
            SystemTime::from(at.timestamp())
                .duration_since(now)
                .unwrap_or_default(),
        )
    });
    let spent = ["x-ratelimit-remaining", "ratelimit-remaining"]
        .iter()
        .any(|name| number(name) == Some(0));
    let reset = || {
        let at = number("x-ratelimit-reset").or_else(|| number("ratelimit-reset"))?;
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        Some(at.duration_since(now).unwrap_or_default())
    };
    let limited = match status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::FORBIDDEN => asked.is_some() || spent,
        StatusCode::SERVICE_UNAVAILABLE => asked.is_some(),
        _ => false,
    };
    limited.then(|| {
        let rest = asked.or_else(|| spent.then(reset).flatten()).unwrap_or(REST);
        rest.clamp(Duration::from_secs(1), LONGEST_REST)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_that_was_asked_for_holds_for_everybody() {
        let (one, other) = (HostPause::default(), HostPause::default());
        let handle = one.clone();
        one.begin(Duration::from_hours(2));
        handle.begin(Duration::from_secs(1));
        assert!(handle.left().is_some_and(|left| left > Duration::from_hours(1)));
        assert_eq!(other.left(), None);
        other.begin(Duration::ZERO);
        assert_eq!(other.left(), None);
    }
}
