//! `signoff sync`: reads a repository now.

use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt as _, api::Patch, runtime::wait::await_condition};
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    connect::{Connection, patch_params},
    error::{CliError, exit},
    lines::Lines,
    named,
};
use signoff_api::{Repository, condition, name::ObjectName, names, repository::RepositoryStatus};

/// Read a repository now, instead of at its next interval.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  signoff sync flows --wait")]
pub(super) struct SyncArgs {
    /// Name of the Repository.
    #[arg(value_parser = named::repository)]
    repository: ObjectName,
    /// Wait until it was read, at most --timeout, and tell what was found.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn verb(args: &SyncArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let repositories: Api<Repository> = connection.api();
    let requested = Timestamp::now();
    let request = requested.to_string();
    let patch = json!({ "metadata": { "annotations": { (names::REQUESTED_AT): request } } });
    let patched = repositories
        .patch(&args.repository, &patch_params(), &Patch::Merge(&patch))
        .await;
    let repository = patched.map_err(|error| connection.failed::<Repository>(&args.repository, &error))?;
    let name = format!("repository/{}", repository.name_any());
    if !args.wait {
        return Ok(Answer::text(format!("{name} is asked for"))
            .with_data(json!(repository))
            .with_names([name]));
    }
    let handled = |repository: Option<&Repository>| {
        repository.is_none_or(|repository| {
            let status = repository.status.as_ref();
            let handled = status.and_then(|status| status.last_handled_request.as_deref());
            let asked = repository.annotations().get(names::REQUESTED_AT);
            handled.is_some_and(|handled| covers(handled, asked.map(String::as_str), requested))
        })
    };
    let waited = await_condition(repositories.clone(), &args.repository, handled);
    let timed_out = tokio::time::timeout(global.timeout(), waited).await.is_err();
    let repository: Repository = connection.get(&args.repository).await?;
    let status = repository.status.clone().unwrap_or_default();
    let text = if timed_out {
        Lines::from(format!("{name} was not read within {}", global.timeout))
    } else {
        found(&name, &status)
    };
    let problem = (!timed_out && !is_good(&status)).then(|| {
        let message = format!("{name} could not be read and applied as a whole");
        let problems = json!({ "problems": status.problems });
        CliError::new("NotReady", exit::INVALID, message).details(problems)
    });
    Ok(Answer::text(text)
        .with_data(json!(repository))
        .with_names([name])
        .with_exit(if timed_out { exit::NOT_YET } else { 0 })
        .with_problem(problem))
}

/// Whether the request that was handled last covers one of this time: it is no older, or it is the one that stands there now, which
/// somebody else wrote over this one.
fn covers(handled: &str, asked: Option<&str>, requested: Timestamp) -> bool {
    let is_no_older = handled
        .parse::<Timestamp>()
        .is_ok_and(|handled| handled >= requested);
    is_no_older || asked == Some(handled)
}

/// Whether all could be read and applied.
fn is_good(status: &RepositoryStatus) -> bool {
    let ready = status
        .conditions
        .iter()
        .find(|known| known.type_ == condition::READY);
    let is_ready = ready.is_some_and(|ready| ready.status == "True");
    is_ready && status.problems.is_empty()
}

/// What was found: commits, flows, and problems with their places.
fn found(name: &str, status: &RepositoryStatus) -> Lines {
    let mut lines = Lines::from(format!("{name} was read"));
    for (what, commit) in [("draft", &status.draft), ("live", &status.live)] {
        if let Some(commit) = commit {
            let of = commit.git_ref.as_deref().unwrap_or_default();
            lines.field(what, format!("{} {of}", commit.short));
        }
    }
    if !status.flows.is_empty() {
        lines.field("flows", status.flows.join(", "));
    }
    for known in &status.conditions {
        if known.type_ == condition::READY && known.status != "True" {
            lines.field("not ready", format!("{}: {}", known.reason, known.message));
        }
    }
    for problem in &status.problems {
        let place = match (problem.line, problem.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}", problem.path),
            (Some(line), None) => format!("{}:{line}", problem.path),
            (None, _) => problem.path.clone(),
        };
        lines.push(format!("{place}: {}", problem.message));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn of_several_who_ask_at_once_each_is_answered_by_a_later_request_or_by_the_one_that_stands() {
        let requested = "2026-11-01T10:00:00.5Z".parse().unwrap();
        let (own, later, earlier) = (
            "2026-11-01T10:00:00.5Z",
            "2026-11-01T10:00:00.6Z",
            "2026-11-01T10:00:00.4Z",
        );
        for (handled, asked, expected) in [
            (own, Some(own), true),
            (later, Some(later), true),
            (later, Some(own), true),
            (earlier, Some(own), false),
            // written later by somebody whose clock is behind
            (earlier, Some(earlier), true),
            ("now", Some("now"), true),
            ("now", Some(own), false),
        ] {
            assert_eq!(covers(handled, asked, requested), expected, "{handled} {asked:?}");
        }
    }
}
