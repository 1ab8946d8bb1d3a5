//! What a pull request would make live, as a comment and a commit status.

use kube::ResourceExt as _;
use tokio_util::sync::CancellationToken;

use super::{Feedback, FeedbackError, Known, status};
use crate::{
    api::{Flow, Release, Repository, flow::Definition, repository::ForgeKind},
    controllers::{
        repository::{credentials, files, summary},
        status::is_missing,
    },
    engine::difference::difference,
    forge::{CommitState, Forge, Login, PullRequest},
    git::{CommitId, Mirror, RefName, Remote},
};

/// Begins the comment, so that it is found again.
const MARK: &str = "<!-- signoff:difference -->";
/// Longest comment, in bytes.
const MAX_COMMENT: usize = 60_000;

/// Looks at a pull request into the live branch, unless it was looked at as it is.
pub(super) async fn look(
    feedback: &Feedback,
    repository: &Repository,
    flows: &[&Flow],
    forge: &dyn Forge,
    pull: &PullRequest,
) -> Result<(), FeedbackError> {
    let Some(head) = pull.head_commit else {
        return Ok(());
    };
    let live: Vec<String> = flows
        .iter()
        .filter_map(|flow| flow.status.as_ref()?.live.clone())
        .collect();
    let as_it_is = Known::Pull(head, live);
    let about = format!("pull-{}", pull.number);
    if feedback.knows(repository, &about, &as_it_is) {
        return Ok(());
    }
    let (text, state, description) = read(feedback, repository, flows, pull, head).await?;
    let own = forge.own_account().await?.login;
    say(forge, &own, pull, &text).await?;
    let shown = status::shown(status::FLOWS, state, description);
    forge.set_commit_status(head, &shown).await?;
    feedback.know(repository, about, as_it_is);
    Ok(())
}

/// Writes the comment, or changes the one that is there.
async fn say(forge: &dyn Forge, own: &Login, pull: &PullRequest, text: &str) -> Result<(), FeedbackError> {
    let body = format!("{MARK}\n{text}");
    let comments = forge.comments(pull.number).await?;
    let ours = comments
        .iter()
        .find(|comment| comment.by == *own && comment.body.starts_with(MARK));
    match ours {
        Some(comment) if comment.body == body => {}
        Some(comment) => forge.edit_comment(pull.number, comment.id, &body).await?,
        None => {
            forge.add_comment(pull.number, &body).await?;
        }
    }
    Ok(())
}

/// What the head of a pull request says: the comment, and what is said beside the commit.
async fn read(
    feedback: &Feedback,
    repository: &Repository,
    flows: &[&Flow],
    pull: &PullRequest,
    head: CommitId,
) -> Result<(String, CommitState, String), FeedbackError> {
    let mirror = feedback.mirror(repository);
    let remote = Remote {
        url: repository.spec.url.parse().map_err(crate::git::GitError::Url)?,
        credentials: credentials::read(&feedback.context, repository).await?,
    };
    let synced = mirror
        .sync(remote, vec![head_of(repository, pull)], CancellationToken::new())
        .await?;
    let commit = synced.refs.into_values().flatten().next().unwrap_or(head);
    let folder = repository.spec.path.as_deref().unwrap_or_default();
    let mut tree = mirror.read(commit, folder).await?;
    if let Some(decisions) = &repository.spec.decisions {
        tree.leave_out(decisions.folder());
    }
    let defined = files::read(tree, &repository.namespace().unwrap_or_default());
    if let Some(first) = defined.problems.first() {
        let lines: Vec<String> = defined.problems.iter().take(50).map(in_code).collect();
        let text = format!(
            "**This cannot go live: there are errors**\n\n{}\n",
            lines.join("\n")
        );
        let more = defined.problems.len() - 1;
        return Ok((
            text,
            CommitState::Failure,
            status::and_more(summary::told(first), more),
        ));
    }
    let mut sections = Vec::new();
    for (name, wanted) in &defined.flows {
        let now = live_definition(feedback, repository, flows, name).await?;
        let found = difference(now.as_ref(), &wanted.spec.definition);
        if !found.is_empty() {
            let limit = MAX_COMMENT / defined.flows.len().max(1);
            sections.push(format!("### `{name}`\n\n{}", found.to_markdown(limit)));
        }
    }
    let gone: Vec<String> = flows
        .iter()
        .map(|flow| flow.name_any())
        .filter(|name| !defined.flows.contains_key(name))
        .collect();
    for name in &gone {
        sections.push(format!(
            "### `{name}`\n\nis not there any more; what is live stays\n"
        ));
    }
    if sections.is_empty() {
        let text = "Nothing that is live changes.".to_owned();
        return Ok((text.clone(), CommitState::Success, text));
    }
    let changes = sections.len();
    let text: String = sections.join("\n").chars().take(MAX_COMMENT).collect();
    let what = if changes == 1 { "flow" } else { "flows" };
    Ok((text, CommitState::Success, format!("changes {changes} {what}")))
}

fn in_code(problem: &crate::git::Problem) -> String {
    // nothing of a file may become Markdown of ours
    let told: String = summary::told(problem)
        .chars()
        .map(|c| if c.is_control() || c == '`' { ' ' } else { c })
        .collect();
    format!("- `{told}`")
}

/// What is live of a flow now.
async fn live_definition(
    feedback: &Feedback,
    repository: &Repository,
    flows: &[&Flow],
    name: &str,
) -> Result<Option<Definition>, FeedbackError> {
    let flow = flows.iter().find(|flow| flow.name_any() == name);
    let Some(live) = flow.and_then(|flow| flow.status.as_ref()?.live.clone()) else {
        return Ok(None);
    };
    let namespace = repository.namespace().unwrap_or_default();
    match feedback
        .context
        .namespaced::<Release>(&namespace)
        .get(&live)
        .await
    {
        Ok(release) => Ok(Some(release.spec.definition)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(FeedbackError::Api("read the live release", error)),
    }
}

/// Where a forge keeps the head of a pull request, of forks too.
fn head_of(repository: &Repository, pull: &PullRequest) -> RefName {
    let folder = match repository.spec.forge.as_ref().map(|forge| forge.kind) {
        Some(ForgeKind::GitLab) => "merge-requests",
        _ => "pull",
    };
    RefName::numbered(folder, pull.number.0)
}

impl Feedback {
    /// A mirror of its own: syncs of one must not overlap, and what a fork holds does not mix with what is applied.
    fn mirror(&self, repository: &Repository) -> Mirror {
        let folder = format!("{}-pulls", repository.uid().unwrap_or_default());
        let settings = &self.settings;
        Mirror::new(
            settings.mirrors.join(folder),
            settings.network.clone(),
            settings.limits,
        )
    }
}
