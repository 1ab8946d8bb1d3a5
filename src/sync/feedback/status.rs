//! Pure: what is said beside the commits that a Repository was read at.

use kube::ResourceExt as _;

use super::{
    line::{LONGEST, first_of, listed},
    memory::Commits,
};
use crate::{
    forge::{CommitState, CommitStatus},
    git::CommitId,
};
use signoff_api::{
    Flow, Repository, RepositoryStatus, condition,
    flow::PromotionPhase,
    names,
    release::ReleaseSource,
    repository::{Channel, FileProblem},
    text::into_visible,
};

/// What the forge calls the status that tells of releases, or of errors, after the prefix.
pub(super) const FLOWS: &str = "flows";
/// What the forge calls the status that tells what is live, after the prefix.
const LIVE: &str = "live";

/// The statuses of the commits that a Repository was last read at, in the order of its refs.
pub(super) fn of_repository(repository: &Repository, flows: &[&Flow]) -> Vec<(CommitId, CommitStatus)> {
    let Some(status) = &repository.status else {
        return Vec::new();
    };
    let commits = Commits::of(repository);
    let draft = commits.draft.map(|commit| {
        let problems = problems_in(status, Channel::Draft);
        let (state, description) = of_draft(commit, &problems, flows);
        (commit, shown(repository, FLOWS, state, description))
    });
    let live = commits.live.filter(|_| repository.spec.live.is_some());
    let live = live.map(|commit| {
        let problems = problems_in(status, Channel::Live);
        let (state, description) = of_live(commit, &problems, flows);
        (commit, shown(repository, LIVE, state, description))
    });
    draft.into_iter().chain(live).collect()
}

pub(super) fn shown(
    repository: &Repository,
    name: &str,
    state: CommitState,
    description: String,
) -> CommitStatus {
    CommitStatus {
        context: format!("{}/{name}", repository.spec.prefix()),
        state,
        description: first_of(&into_visible(description), 0),
        target: None,
    }
}

/// The problems that the draft has, or what is live.
fn problems_in(status: &RepositoryStatus, channel: Channel) -> Vec<&FileProblem> {
    // what an older version wrote does not say where
    let at = |problem: &&FileProblem| problem.channels.is_empty() || problem.channels.contains(&channel);
    status.problems.iter().filter(at).collect()
}

fn of_draft(commit: CommitId, problems: &[&FileProblem], flows: &[&Flow]) -> (CommitState, String) {
    let mut errors: Vec<String> = problems.iter().map(|problem| of_file(problem)).collect();
    if errors.is_empty() {
        errors = flows.iter().filter_map(|flow| broken(flow)).collect();
    }
    if let Some(first) = errors.first() {
        return (CommitState::Failure, first_of(first, errors.len() - 1));
    }
    let waiting: Vec<String> = flows
        .iter()
        .filter(|flow| !is_cut(flow))
        .map(|flow| flow.name_any())
        .collect();
    if !waiting.is_empty() {
        return (
            CommitState::Pending,
            listed("cutting releases of", &waiting, LONGEST),
        );
    }
    let cut: Vec<&str> = flows
        .iter()
        .filter(|flow| source(flow).and_then(|source| source.commit) == Some(commit.to_string()))
        .filter_map(|flow| Some(flow.status.as_ref()?.draft.as_ref()?.release.as_str()))
        .collect();
    let unchanged = flows.len() - cut.len();
    let text = match (cut.is_empty(), unchanged) {
        (true, 0) => "no flows".to_owned(),
        (true, unchanged) => format!("nothing cut; {unchanged} unchanged"),
        (false, 0) => listed("cut", &cut, LONGEST),
        (false, unchanged) => with_tail("cut", &cut, &format!("; {unchanged} unchanged")),
    };
    (CommitState::Success, text)
}

/// How the wishes of a live ref stand.
#[derive(Default)]
struct DesiredStatuses<'a> {
    refused: Vec<String>,
    waiting: Vec<String>,
    behind: Vec<&'a str>,
    /// What the commit made live again in place of something newer.
    back: Vec<String>,
    /// What the commit made live.
    live: Vec<&'a str>,
    /// How many were live before the commit.
    unchanged: usize,
}

impl<'a> DesiredStatuses<'a> {
    fn of(commit: CommitId, flows: &[&'a Flow]) -> Self {
        let commit = commit.to_string();
        let mut desired = Self::default();
        for flow in flows {
            if let Some(wanted) = flow.spec.live.as_deref() {
                let by_it = flow.annotations().get(names::LIVE_COMMIT) == Some(&commit);
                desired.add(flow, wanted, by_it);
            }
        }
        desired
    }

    fn add(&mut self, flow: &'a Flow, wanted: &'a str, by_this_commit: bool) {
        let status = flow.status.as_ref();
        let promotion = status
            .and_then(|status| status.promotion.as_ref())
            .filter(|promotion| promotion.release == wanted);
        if status.and_then(|status| status.live_release()) == Some(wanted) {
            let back = promotion.is_some_and(|promotion| promotion.rolled_back_from.is_some());
            match (by_this_commit, back) {
                (false, _) => self.unchanged += 1,
                (true, false) => self.live.push(wanted),
                (true, true) => self.back.push(format!("{} to {wanted}", flow.name_any())),
            }
            return;
        }
        match promotion.map(|promotion| (promotion.phase, promotion.approval.as_deref())) {
            Some((PromotionPhase::Waiting, approval)) => {
                let approval = approval.unwrap_or("approval");
                self.waiting.push(format!("{wanted} waits for {approval}"));
            }
            Some((PromotionPhase::Rejected, _)) => self.refused.push(format!("{wanted} was rejected")),
            Some((PromotionPhase::TimedOut, _)) => {
                self.refused.push(format!("nobody approved {wanted} in time"));
            }
            Some((PromotionPhase::Promoted, _)) | None => self.behind.push(wanted),
        }
    }
}

fn of_live(commit: CommitId, problems: &[&FileProblem], flows: &[&Flow]) -> (CommitState, String) {
    if let Some(first) = problems.first() {
        return (
            CommitState::Failure,
            first_of(&of_file(first), problems.len() - 1),
        );
    }
    let desired = DesiredStatuses::of(commit, flows);
    let told = |list: &[String]| list.first().map(|first| first_of(first, list.len() - 1));
    if let Some(text) = told(&desired.refused) {
        return (CommitState::Failure, text);
    }
    if let Some(text) = told(&desired.waiting) {
        return (CommitState::Pending, text);
    }
    if !desired.behind.is_empty() {
        return (
            CommitState::Pending,
            listed("promoting", &desired.behind, LONGEST),
        );
    }
    let unchanged = match desired.unchanged {
        0 => String::new(),
        count => format!("; {count} unchanged"),
    };
    let text = match (desired.back.is_empty(), desired.live.is_empty()) {
        (true, true) if desired.unchanged == 0 => "nothing is live".to_owned(),
        (true, true) => format!("nothing new is live{unchanged}"),
        (true, false) => with_tail("live:", &desired.live, &unchanged),
        (false, true) => with_tail("rolled back", &desired.back, &unchanged),
        (false, false) => {
            // the rollback matters more than what else came with it
            let live = listed("; live:", &desired.live, LONGEST / 3);
            with_tail("rolled back", &desired.back, &format!("{live}{unchanged}"))
        }
    };
    (CommitState::Success, text)
}

/// A list and what follows it, which is there in any case.
fn with_tail<T: AsRef<str>>(lead: &str, items: &[T], tail: &str) -> String {
    let room = LONGEST.saturating_sub(tail.chars().count());
    listed(lead, items, room) + tail
}

/// Why no release can be cut of a flow that was read.
fn broken(flow: &Flow) -> Option<String> {
    let status = flow.status.as_ref()?;
    let path = source(flow).and_then(|source| source.path);
    let place = path.unwrap_or_else(|| flow.name_any());
    if let Some(problem) = status.problems.first() {
        return Some(format!("{place}: {}: {}", problem.field, problem.message));
    }
    let stalled = condition::get(&status.conditions, condition::STALLED)?;
    let collides = stalled.reason == "ReleaseCollision";
    collides.then(|| format!("{place}: {}", stalled.message))
}

/// Whether the newest content of a flow is a release.
fn is_cut(flow: &Flow) -> bool {
    flow.status.as_ref().is_some_and(|status| {
        status.draft.is_some() && status.observed_generation == flow.metadata.generation
    })
}

/// Where the content of a flow came from.
pub(super) fn source(flow: &Flow) -> Option<ReleaseSource> {
    serde_json::from_str(flow.annotations().get(names::SOURCE)?).ok()
}

/// `path:line:column: message`.
fn of_file(problem: &FileProblem) -> String {
    let at = match (problem.line, problem.column) {
        (Some(line), Some(column)) => format!("{}:{line}:{column}", problem.path),
        (Some(line), None) => format!("{}:{line}", problem.path),
        (None, _) => problem.path.clone(),
    };
    format!("{at}: {}", problem.message)
}

#[cfg(test)]
mod tests;
