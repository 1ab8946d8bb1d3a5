//! Pure: what a Repository's status says of a sync.

use std::collections::HashMap;

use k8s_openapi::jiff::Timestamp;

use super::files::Defined;
use crate::{
    cluster::{
        error_chain,
        status::{Standing, stand},
    },
    git::Problem,
    remotes::{RepositoryError, Unsigned, trust::Head},
};
use signoff_api::{
    Repository, RepositoryStatus,
    reason::{Classified as _, ErrorClass},
    repository::{Channel, FileProblem, SyncedCommit},
    text::visible,
};

/// Most problems listed.
const MAX_PROBLEMS: usize = 50;
/// Most flows listed.
const MAX_FLOWS: usize = 2_000;

/// What a sync came to.
#[derive(Debug)]
pub(super) struct Outcome<'a> {
    pub(super) draft: &'a Head,
    pub(super) live: LiveAt<'a>,
    /// Refs that are not used where they are now.
    pub(super) refused: Vec<&'a Unsigned>,
    pub(super) flows: Vec<String>,
    pub(super) problems: Vec<Found>,
    /// How many of the problems are that somebody else wants another release live.
    pub(super) conflicts: usize,
}

/// A problem and where it is so.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    problem: Problem,
    channels: Vec<Channel>,
}

/// The problems of what was read, the draft's first, and those that came up when it was applied. What is the same in both is bad once.
pub(super) fn by_channel(
    read: &[(Channel, &Defined)],
    later: impl Iterator<Item = Problem>,
    conflicts: &[Problem],
) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
    let mut places: HashMap<Problem, usize> = HashMap::new();
    let mut add = |problem: Problem, channels: &[Channel]| {
        let at = *places.entry(problem).or_insert_with_key(|problem| {
            all.push(Found {
                problem: problem.clone(),
                channels: vec![],
            });
            all.len() - 1
        });
        for channel in channels {
            let known = &mut all[at].channels;
            if !known.contains(channel) {
                known.push(*channel);
            }
        }
    };
    for (channel, defined) in read {
        for problem in &defined.problems {
            add(problem.clone(), &[*channel]);
        }
    }
    for problem in later {
        let there = read
            .iter()
            .filter(|(_, defined)| defined.has_file(&problem.path) || defined.lost(&problem.path).is_some());
        let channels: Vec<Channel> = there.map(|(channel, _)| *channel).collect();
        add(problem, &channels);
    }
    for problem in conflicts {
        add(problem.clone(), &[Channel::Live]);
    }
    all
}

/// What is used of the live ref.
#[derive(Clone, Debug)]
pub(super) enum LiveAt<'a> {
    /// The Repository has none.
    Unmanaged,
    /// The remote does not have it (yet), as this names it.
    Missing(String),
    /// Nothing, for lack of a signature.
    Withheld,
    /// This commit.
    Head(&'a Head),
}

/// The status after a sync.
pub(super) fn synced(repository: &Repository, outcome: Outcome<'_>, now: Timestamp) -> RepositoryStatus {
    let mut status = repository.status.clone().unwrap_or_default();
    let no_live = match &outcome.live {
        LiveAt::Missing(name) => Some(name.as_str()),
        LiveAt::Unmanaged | LiveAt::Withheld | LiveAt::Head(_) => None,
    };
    let lost_live = no_live.filter(|_| status.live.is_some());
    let (flows, problems) = (outcome.flows.len(), outcome.problems.len());
    status.draft = Some(commit(outcome.draft));
    match &outcome.live {
        LiveAt::Head(live) => status.live = Some(commit(live)),
        LiveAt::Unmanaged => status.live = None,
        LiveAt::Missing(_) | LiveAt::Withheld => {}
    }
    status.flows = outcome.flows.into_iter().take(MAX_FLOWS).collect();
    let first = outcome.problems.first().map(|found| told(&found.problem));
    status.problems = outcome
        .problems
        .iter()
        .take(MAX_PROBLEMS)
        .map(file_problem)
        .collect();
    let (standing, reason, message) = match (outcome.refused.first(), first, lost_live) {
        (Some(refused), ..) => {
            let all: Vec<String> = outcome.refused.iter().map(|it| error_chain(*it)).collect();
            (Standing::Stalled, refused.why.reason(), all.join("; "))
        }
        (None, Some(first), _) => {
            let more = if problems > 1 {
                format!(" (and {} more in status.problems)", problems - 1)
            } else {
                String::new()
            };
            let reason = if problems > outcome.conflicts {
                "FilesInvalid"
            } else {
                "LiveConflict"
            };
            (Standing::Stalled, reason, format!("{first}{more}"))
        }
        (None, None, Some(live)) => (
            Standing::Reconciling,
            "RefNotFound",
            format!("the remote has no {live} any more; what is live stays"),
        ),
        (None, None, None) => {
            let live = no_live
                .map(|live| format!("; there is no {live} yet"))
                .unwrap_or_default();
            (
                Standing::Ready,
                "Synced",
                format!(
                    "{flows} {} at {}{live}",
                    if flows == 1 { "flow" } else { "flows" },
                    outcome.draft.commit.short()
                ),
            )
        }
    };
    finish(repository, status, standing, reason, &message, now)
}

/// The status when a sync could not be made or not be finished; what was applied before stays.
pub(super) fn failed(repository: &Repository, error: &RepositoryError, now: Timestamp) -> RepositoryStatus {
    let standing = match error.class() {
        ErrorClass::Transient | ErrorClass::Waiting => Standing::Reconciling,
        ErrorClass::Invalid => Standing::Stalled,
    };
    let status = repository.status.clone().unwrap_or_default();
    finish(
        repository,
        status,
        standing,
        error.reason(),
        &error_chain(error),
        now,
    )
}

/// The status while syncing is suspended.
pub(super) fn suspended(repository: &Repository, now: Timestamp) -> RepositoryStatus {
    let status = repository.status.clone().unwrap_or_default();
    finish(
        repository,
        status,
        Standing::Ready,
        "Suspended",
        "nothing is synced while spec.suspend is true",
        now,
    )
}

fn finish(
    repository: &Repository,
    mut status: RepositoryStatus,
    standing: Standing,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> RepositoryStatus {
    let generation = repository.metadata.generation;
    status.observed_generation = generation;
    stand(&mut status.conditions, standing, reason, message, generation, now);
    status
}

fn commit(head: &Head) -> SyncedCommit {
    SyncedCommit {
        commit: head.commit.to_string(),
        short: head.commit.short(),
        git_ref: Some(head.name.to_string()),
    }
}

/// A problem as one line: `path:line:column: message`.
pub(crate) fn told(problem: &Problem) -> String {
    match (problem.line, problem.column) {
        (Some(line), Some(column)) => format!("{}:{line}:{column}: {}", problem.path, problem.message),
        (Some(line), None) => format!("{}:{line}: {}", problem.path, problem.message),
        (None, _) => format!("{}: {}", problem.path, problem.message),
    }
}

fn file_problem(found: &Found) -> FileProblem {
    let problem = &found.problem;
    let number = |at: Option<usize>| at.and_then(|at| i64::try_from(at).ok());
    FileProblem {
        channels: found.channels.clone(),
        path: problem.path.chars().take(1_024).collect(),
        line: number(problem.line),
        column: number(problem.column),
        message: visible(&problem.message).chars().take(1_024).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::files::{
            self,
            tests::{GOOD, tree},
        },
        *,
    };

    #[test]
    fn a_problem_says_whether_it_is_in_the_draft_or_live() {
        let read = |files: &[(&str, &str)]| files::read(tree(files), "default");
        let (broken, other) = (
            ("both.yaml", "apiVersion: signoff.dev/v1alpha1\na: ["),
            ("live.yaml", "apiVersion: signoff.dev/v1alpha1\nb: ["),
        );
        let (of_draft, of_live) = (read(&[broken, ("good.yaml", GOOD)]), read(&[broken, other]));
        let refused = Problem::of_file("good.yaml", "refused");
        let all = by_channel(
            &[(Channel::Draft, &of_draft), (Channel::Live, &of_live)],
            [refused].into_iter(),
            &[],
        );
        let told: Vec<_> = all
            .iter()
            .map(|found| (found.problem.path.as_str(), found.channels.as_slice()))
            .collect();
        assert_eq!(
            told,
            [
                ("both.yaml", &[Channel::Draft, Channel::Live][..]),
                ("live.yaml", &[Channel::Live]),
                ("good.yaml", &[Channel::Draft])
            ]
        );
    }
}
