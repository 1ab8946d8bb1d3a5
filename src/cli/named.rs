//! Names of objects as people write them: alone, or after the kind as `-o name` and kubectl print them.

use std::str::FromStr;

use signoff_api::{
    ApprovalPhase, RunPhase, WorkItemPhase,
    name::{FlowName, NameError, ObjectName},
};

/// The name of a run: `NAME`, `run/NAME` or `run.signoff.dev/NAME`.
pub(super) fn run(text: &str) -> Result<ObjectName, String> {
    of_kind(text, &["run", "runs"])
}

/// The name of an approval, written in the same ways.
pub(super) fn approval(text: &str) -> Result<ObjectName, String> {
    of_kind(text, &["approval", "approvals", "appr"])
}

/// The name of a task, written in the same ways.
pub(super) fn task(text: &str) -> Result<ObjectName, String> {
    of_kind(text, &["workitem", "workitems", "work", "task"])
}

/// The name of a Connection, written in the same ways.
pub(super) fn connection(text: &str) -> Result<ObjectName, String> {
    of_kind(text, &["connection", "connections", "conn"])
}

/// The name of a Repository, written in the same ways.
pub(super) fn repository(text: &str) -> Result<ObjectName, String> {
    of_kind(text, &["repository", "repositories", "repo"])
}

/// The name of a flow, written in the same ways.
pub(super) fn flow(text: &str) -> Result<FlowName, String> {
    of_kind(text, &["flow", "flows", "fl"])
}

/// A phase, in whatever case it is written.
pub(super) fn phase<T: Phase>(text: &str) -> Result<T, String> {
    let known = T::all();
    let found = known
        .iter()
        .find(|phase| phase.to_string().eq_ignore_ascii_case(text));
    found
        .copied()
        .ok_or_else(|| format!("it is none of {}", list(&known)))
}

/// Words as a list.
pub(super) fn list<T: std::fmt::Display>(words: &[T]) -> String {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// States of objects of a kind.
pub(super) trait Phase: Copy + std::fmt::Display {
    /// All of them.
    fn all() -> Vec<Self>;
}

impl Phase for RunPhase {
    fn all() -> Vec<Self> {
        let unfinished = [Self::Pending, Self::Queued, Self::Running, Self::Waiting];
        unfinished.into_iter().chain(Self::FINISHED).collect()
    }
}

impl Phase for ApprovalPhase {
    fn all() -> Vec<Self> {
        [Self::Pending].into_iter().chain(Self::CLOSED).collect()
    }
}

impl Phase for WorkItemPhase {
    fn all() -> Vec<Self> {
        let open = [Self::Queued, Self::Claimed];
        open.into_iter().chain(Self::CLOSED).collect()
    }
}

fn of_kind<N: FromStr<Err = NameError>>(text: &str, kinds: &[&str]) -> Result<N, String> {
    let name = match text.split_once('/') {
        None => text,
        Some((kind, name)) => {
            if !kinds.contains(&kind.strip_suffix(".signoff.dev").unwrap_or(kind)) {
                return Err(format!("it is no {}", kinds[0]));
            }
            name
        }
    };
    name.parse().map_err(|error: NameError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_stand_after_its_kind_and_after_no_other() {
        for text in ["a-1", "run/a-1", "runs/a-1", "run.signoff.dev/a-1"] {
            assert_eq!(run(text).unwrap().as_str(), "a-1", "{text}");
        }
        for text in ["approval/a", "run/", "run/a/b", "run.apps/a", "/a", "A b"] {
            assert!(run(text).is_err(), "{text}");
        }
        assert_eq!(approval("approval.signoff.dev/a").unwrap().as_str(), "a");
        // as `-o name` prints them
        assert_eq!(task("workitem/a").unwrap().as_str(), "a");
        assert_eq!(connection("connection/a").unwrap().as_str(), "a");
        assert_eq!(repository("repository/a").unwrap().as_str(), "a");
        assert_eq!(flow("flow/a").unwrap().as_str(), "a");
    }

    #[test]
    fn a_phase_is_taken_in_any_case_and_others_are_listed() {
        assert_eq!(phase("waiting"), Ok(RunPhase::Waiting));
        assert_eq!(phase("Approved"), Ok(ApprovalPhase::Approved));
        let refused = phase::<RunPhase>("Approved").unwrap_err();
        assert!(
            refused.contains("Pending, Queued, Running, Waiting, Succeeded"),
            "{refused}"
        );
    }
}
