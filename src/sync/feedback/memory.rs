//! What was said, so that nothing is said twice. Losing it costs saying it once more.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::FeedbackError;
use crate::{
    forge::{PullRequestNumber, SetStatuses},
    git::CommitId,
};
use signoff_api::{
    Flow, Repository,
    reason::{Classified as _, ErrorClass},
    repository::SyncedCommit,
};

/// What is remembered of each Repository, by uid.
#[derive(Debug, Default)]
pub(super) struct Memories(Mutex<HashMap<String, Memory>>);

/// What is remembered of one.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The commits of the refs for which the cache of flows is known to be as new as they are.
    pub(super) caught_up: Option<Commits>,
    /// What stands beside commits.
    pub(super) statuses: SetStatuses,
    /// What was looked at on each open pull request.
    pulls: HashMap<PullRequestNumber, Looked>,
    /// When the open pull requests were last listed, and for what.
    listed: Option<(Timestamp, Situation, Commits)>,
    rest: Option<FailurePause>,
}

/// The commits that a Repository was last read at: of the draft, and of what is live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Commits {
    pub(super) draft: Option<CommitId>,
    pub(super) live: Option<CommitId>,
}

impl Commits {
    pub(super) fn of(repository: &Repository) -> Self {
        let status = repository.status.as_ref();
        let id = |commit: &SyncedCommit| CommitId::parse(&commit.commit);
        Self {
            draft: status.and_then(|status| status.draft.as_ref()).and_then(id),
            live: status.and_then(|status| status.live.as_ref()).and_then(id),
        }
    }
}

/// All that a comment depends on beside the pull request itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Situation {
    /// Generation of the Repository.
    pub(super) generation: Option<i64>,
    /// By flow, the release that is live and the one that is wanted so.
    pub(super) live: Vec<(String, Option<String>, Option<String>)>,
}

impl Situation {
    pub(super) fn of(repository: &Repository, flows: &[&Flow]) -> Self {
        let live = flows.iter().map(|flow| {
            let live = flow
                .status
                .as_ref()
                .and_then(|status| status.live_release().map(str::to_owned));
            (flow.name_any(), live, flow.spec.live.clone())
        });
        Self {
            generation: repository.metadata.generation,
            live: live.collect(),
        }
    }
}

/// A pull request as it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    pub(super) head: CommitId,
    pub(super) situation: Situation,
}

/// A pause after a failure.
#[derive(Clone, Debug)]
struct FailurePause {
    until: Timestamp,
    of: Cause,
}

/// What a pause is for.
#[derive(Clone, Debug)]
enum Cause {
    /// The forge at this address is unwell or wants to be left alone, and is, whatever changes here.
    Forge(Option<String>),
    /// The settings of this generation of the Repository do not do, with what was pushed so far: others are tried at once, and so is a push, as the
    /// first one to an empty project.
    Settings(Option<i64>, Commits),
}

impl Memories {
    /// Looks at or changes what is remembered of a Repository.
    pub(super) fn of<T>(&self, uid: &str, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(self.lock().entry(uid.to_owned()).or_default())
    }

    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    pub(super) fn has_looked(&self, number: PullRequestNumber, as_it_is: &Looked) -> bool {
        self.pulls.get(&number) == Some(as_it_is)
    }

    pub(super) fn looked(&mut self, number: PullRequestNumber, as_it_is: Looked) {
        self.pulls.insert(number, as_it_is);
    }

    /// Forgets what nobody asks for any more: other commits than these, and other pull requests.
    pub(super) fn keep(&mut self, commits: &[CommitId], pulls: &[PullRequestNumber]) {
        self.statuses.keep(commits);
        self.pulls.retain(|number, _| pulls.contains(number));
    }

    /// Whether the pull requests have to be listed: something they are compared with has changed, the remote has new commits, or they were
    /// not listed since `after`.
    pub(super) fn is_due(&self, situation: &Situation, commits: &Commits, after: Timestamp) -> bool {
        self.listed
            .as_ref()
            .is_none_or(|(at, of, seen)| *at <= after || of != situation || seen != commits)
    }

    pub(super) fn listed(&mut self, at: Timestamp, situation: Situation, commits: Commits) {
        self.listed = Some((at, situation, commits));
    }

    /// Lets the pull requests be listed at the next look.
    pub(super) fn list_again(&mut self) {
        self.listed = None;
    }

    /// Leaves the forge alone until then.
    pub(super) fn rest(&mut self, until: Timestamp, repository: &Repository, error: &FeedbackError) {
        let of = match error.class() {
            ErrorClass::Invalid => Cause::Settings(repository.metadata.generation, Commits::of(repository)),
            ErrorClass::Transient | ErrorClass::Waiting => Cause::Forge(address(repository)),
        };
        self.rest = Some(FailurePause { until, of });
    }

    /// Until when the forge is left alone, if it is.
    pub(super) fn rests(&self, repository: &Repository, now: Timestamp) -> Option<Timestamp> {
        let rest = self.rest.as_ref()?;
        let concerned = match &rest.of {
            Cause::Forge(at) => *at == address(repository),
            Cause::Settings(generation, commits) => {
                *generation == repository.metadata.generation && *commits == Commits::of(repository)
            }
        };
        (concerned && rest.until > now).then_some(rest.until)
    }

    pub(super) fn rested(&mut self) {
        self.rest = None;
    }
}

fn address(repository: &Repository) -> Option<String> {
    repository.spec.forge.as_ref().map(|forge| forge.url.clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::forge::ForgeError;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn repository(generation: i64) -> Repository {
        serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository",
            "metadata": {"name": "flows", "generation": generation},
            "spec": {"url": "https://forge.example.com/a/b", "draft": {"ref": "main"}}}))
        .unwrap()
    }

    #[test]
    fn other_settings_and_a_push_are_tried_at_once_but_a_forge_that_wants_rest_has_it() {
        let host = || "forge.example.com".to_owned();
        let limited = ForgeError::RateLimited {
            host: host(),
            retry_after: Duration::from_secs(60),
        };
        let refused = ForgeError::Forbidden {
            host: host(),
            doing: "comment",
            message: String::new(),
        };
        let mut memory = Memory::default();
        memory.rest(at(60), &repository(1), &limited.into());
        assert_eq!(memory.rests(&repository(2), at(59)), Some(at(60)));
        let mut moved = repository(2);
        let token = json!({"name": "api", "key": "token"});
        let forge = json!({"kind": "GitHub", "url": "https://forge.example.org", "token": token});
        moved.spec.forge = serde_json::from_value(forge).unwrap();
        assert_eq!(memory.rests(&moved, at(59)), None);
        assert_eq!(memory.rests(&repository(1), at(60)), None);
        memory.rest(at(60), &repository(1), &refused.into());
        assert_eq!(memory.rests(&repository(1), at(59)), Some(at(60)));
        assert_eq!(memory.rests(&repository(2), at(59)), None);
        let mut pushed = repository(1);
        let draft = json!({"draft": {"commit": "1".repeat(40), "short": "1111111111"}});
        pushed.status = serde_json::from_value(draft).unwrap();
        assert_eq!(memory.rests(&pushed, at(59)), None);
    }

    #[test]
    fn pull_requests_are_listed_at_their_time_or_when_what_they_are_compared_with_changes() {
        let live = |release: &str| Situation {
            generation: Some(1),
            live: vec![("f".to_owned(), Some(release.to_owned()), None)],
        };
        let draft = |digit: &str| Commits {
            draft: CommitId::parse(&digit.repeat(40)),
            live: None,
        };
        let mut memory = Memory::default();
        assert!(memory.is_due(&live("f-1"), &draft("1"), at(0)));
        memory.listed(at(100), live("f-1"), draft("1"));
        assert!(!memory.is_due(&live("f-1"), &draft("1"), at(99)));
        assert!(memory.is_due(&live("f-2"), &draft("1"), at(99)));
        assert!(memory.is_due(&live("f-1"), &draft("2"), at(99)));
        assert!(memory.is_due(&live("f-1"), &draft("1"), at(100)));
        memory.list_again();
        assert!(memory.is_due(&live("f-1"), &draft("1"), at(99)));
    }
}
