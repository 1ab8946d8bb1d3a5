//! When a remote that failed is asked again. What is written here meanwhile is no reason to ask: the status of the failure itself would be one.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::{cycle, interval};
use crate::{cluster::backoff::Backoff, git::GitError, remotes::RepositoryError};
use signoff_api::{
    Repository,
    reason::{Classified as _, ErrorClass},
};

/// Longest pause after what another try may mend.
const LONGEST: Duration = Backoff::OBJECT.longest;
/// First pause after what may be over at once.
const SOON: Duration = Duration::from_millis(500);
/// First pause after credentials were refused. A forge counts such attempts.
const REFUSED: Duration = Duration::from_secs(5);
/// Longest pause after what cost much and came to nothing, unless the interval is longer.
const COSTLY: Duration = Duration::from_hours(1);

/// What is remembered of each Repository that failed, by uid. Losing it costs one look at the remote.
#[derive(Debug, Default)]
pub(super) struct FailurePauses(Mutex<HashMap<String, FailurePause>>);

#[derive(Clone, Debug)]
struct FailurePause {
    failures: u32,
    since: Timestamp,
    until: Timestamp,
    /// The remote at this address asked for it, and nobody here may say otherwise.
    by: Option<String>,
    generation: Option<i64>,
    request: Option<String>,
}

impl FailurePauses {
    /// Counts a failure and gives the pause before the remote is asked again.
    pub(super) fn failed(
        &self,
        repository: &Repository,
        error: &RepositoryError,
        now: Timestamp,
    ) -> Duration {
        let generation = repository.metadata.generation;
        let mut rests = self.lock();
        let uid = repository.uid().unwrap_or_default();
        // other settings are no older failure's
        let before = rests.get(&uid).filter(|rest| rest.generation == generation);
        let failures = before.map_or(0, |rest| rest.failures);
        let pause = pause(error, failures, interval(repository));
        let rest = FailurePause {
            failures: failures.saturating_add(1),
            since: now,
            until: now.checked_add(pause).unwrap_or(now),
            by: retry_after(error).map(|_| repository.spec.url.clone()),
            generation,
            request: cycle::request_of(repository),
        };
        rests.insert(uid, rest);
        pause
    }

    /// Forgets the failures of a Repository that succeeded or is gone.
    pub(super) fn over(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Whether the last look at the remote failed.
    pub(super) fn has_failed(&self, repository: &Repository) -> bool {
        self.lock().contains_key(&repository.uid().unwrap_or_default())
    }

    /// How long the remote is still to be left alone; `asked` is whether somebody asks for a sync.
    pub(super) fn left(&self, repository: &Repository, asked: bool, now: Timestamp) -> Option<Duration> {
        let rests = self.lock();
        let rest = rests.get(&repository.uid().unwrap_or_default())?;
        let wanted = asked
            || rest.generation != repository.metadata.generation
            || rest.request != cycle::request_of(repository);
        let holds = match &rest.by {
            Some(url) => *url == repository.spec.url,
            None => !wanted,
        };
        // a clock that was set back makes it over
        let left = Duration::try_from(rest.until.duration_since(now)).ok()?;
        (holds && now >= rest.since && !left.is_zero()).then_some(left)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, FailurePause>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn retry_after(error: &RepositoryError) -> Option<Duration> {
    match error {
        RepositoryError::Git(error) => error.retry_after(),
        _ => None,
    }
}

/// The pause after so many failures before this one.
fn pause(error: &RepositoryError, failures: u32, interval: Duration) -> Duration {
    let growing = |first, longest| Backoff { first, longest }.after(failures);
    if let Some(asked) = retry_after(error) {
        return asked.max(growing(SOON, LONGEST));
    }
    match error {
        // mended where no watch tells of it: at the forge, in a Secret, by a Connection
        RepositoryError::Git(
            GitError::AuthenticationFailed { .. }
            | GitError::InvalidCredentials(_)
            | GitError::HostKeyUnknown { .. }
            | GitError::NotFound { .. },
        )
        | RepositoryError::VerifyKey(_)
        | RepositoryError::NoConnection(_)
        | RepositoryError::WrongConnection(_)
        | RepositoryError::NoSecret { .. }
        | RepositoryError::NotText { .. } => growing(REFUSED, LONGEST.min(interval.max(REFUSED))),
        RepositoryError::Git(
            GitError::TooLarge { .. }
            | GitError::TooManyRefs { .. }
            | GitError::TooManyObjects { .. }
            | GitError::ObjectTooLarge { .. },
        ) => growing(interval, COSTLY.max(interval)),
        _ if error.class() == ErrorClass::Transient => growing(SOON, LONGEST),
        // looking again is all that can be done; a user acts on the remote as well as here
        _ => interval,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn repository(more: &serde_json::Value) -> Repository {
        let mut repository = json!({
            "apiVersion": "signoff.dev/v1alpha1",
            "kind": "Repository",
            "metadata": {"name": "flows", "uid": "u", "generation": 1},
            "spec": {"url": "https://example.com/a.git", "interval": "1h", "draft": {"ref": "main"}},
        });
        json_patch::merge(&mut repository, more);
        serde_json::from_value(repository).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn refused() -> RepositoryError {
        let (host, message) = (String::new(), String::new());
        GitError::AuthenticationFailed { host, message }.into()
    }

    fn limited(seconds: u64) -> RepositoryError {
        let (host, retry_after) = (String::new(), Duration::from_secs(seconds));
        GitError::RateLimited { host, retry_after }.into()
    }

    fn pauses(error: &RepositoryError, interval: u64) -> Vec<u64> {
        let interval = Duration::from_secs(interval);
        let failures = [0, 1, 2, 4, 10, 1_000].into_iter();
        failures
            .map(|failures| pause(error, failures, interval).as_secs())
            .collect()
    }

    #[test]
    fn the_pause_fits_what_went_wrong() {
        assert_eq!(pauses(&refused(), 3_600), [5, 10, 20, 80, 120, 120]);
        assert_eq!(pauses(&refused(), 60), [5, 10, 20, 60, 60, 60]);
        assert_eq!(pauses(&refused(), 1), [5, 5, 5, 5, 5, 5]);
        let large = GitError::TooLarge { limit: 1 }.into();
        assert_eq!(pauses(&large, 60), [60, 120, 240, 960, 3_600, 3_600]);
        assert_eq!(pauses(&large, 7_200), [7_200; 6]);
        let slow = GitError::TimedOut { seconds: 1 }.into();
        assert_eq!(pauses(&slow, 3_600), [0, 1, 2, 8, 120, 120]);
        assert_eq!(pauses(&limited(30), 1), [30, 30, 30, 30, 120, 120]);
        let absent = RepositoryError::NoRef("refs/heads/main".into());
        assert_eq!(pauses(&absent, 60), [60; 6]);
    }

    #[test]
    fn a_remote_is_left_alone_until_somebody_asks_or_the_settings_are_others() {
        let rests = FailurePauses::default();
        let before = repository(&json!({}));
        assert_eq!(rests.left(&before, false, at(0)), None);
        assert_eq!(rests.failed(&before, &refused(), at(100)).as_secs(), 5);
        assert!(rests.has_failed(&before));
        assert_eq!(rests.left(&before, false, at(101)), Some(Duration::from_secs(4)));
        assert_eq!(rests.left(&before, true, at(101)), None);
        let asked = repository(&json!({"metadata": {"annotations": {"signoff.dev/requestedAt": "now"}}}));
        assert_eq!(rests.left(&asked, false, at(101)), None);
        let edited = repository(&json!({"metadata": {"generation": 2}}));
        assert_eq!(rests.left(&edited, false, at(101)), None);
        assert_eq!(rests.left(&before, false, at(105)), None);
        assert_eq!(rests.left(&before, false, at(99)), None, "the clock was set back");
        assert_eq!(rests.failed(&before, &refused(), at(106)).as_secs(), 10);
        assert_eq!(rests.failed(&edited, &refused(), at(107)).as_secs(), 5);
        rests.over("u");
        assert!(!rests.has_failed(&before));
    }

    #[test]
    fn a_remote_that_asked_to_be_left_alone_is_whoever_asks() {
        let rests = FailurePauses::default();
        let before = repository(&json!({}));
        rests.failed(&before, &limited(30), at(100));
        let edited = repository(&json!({"metadata": {"generation": 2}}));
        assert_eq!(rests.left(&edited, true, at(129)), Some(Duration::from_secs(1)));
        let other =
            repository(&json!({"metadata": {"generation": 2}, "spec": {"url": "https://example.org/b.git"}}));
        assert_eq!(rests.left(&other, false, at(129)), None);
        assert_eq!(rests.left(&before, false, at(130)), None);
    }
}
