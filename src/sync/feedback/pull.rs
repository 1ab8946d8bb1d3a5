//! Looks at a pull request: fetches its head, compares it with what is live, and says so in one comment and a commit status.

use std::collections::BTreeMap;

use kube::ResourceExt as _;

use super::{
    Feedback, FeedbackError,
    comment::{self, Changed, Comment, Proposed, Target},
    memory::{Commits, Looked, Situation},
    status,
};
use crate::{
    cluster::{error_chain, status::is_missing},
    forge::{Forge, ForgeError, Mark, Missing, PullRequest, PullRequestNumber, put_comment},
    git::{CommitId, GitError, Mirror, RefAt, RefName, RefSelector, Tree},
    remotes::{credentials, mirrors::Purpose},
    sync::{
        files::{self, Defined},
        sources::{Source, Sources},
    },
};
use signoff_api::{
    Flow, Release, Repository,
    flow::Definition,
    names,
    repository::{ForgeKind, LiveRef},
};

/// What pull requests of a Repository are compared with, and the forge they are on.
pub(super) struct Look<'a> {
    pub(super) feedback: &'a Feedback,
    pub(super) repository: &'a Repository,
    pub(super) flows: &'a [&'a Flow],
    pub(super) forge: &'a dyn Forge,
    pub(super) target: Target,
    pub(super) situation: Situation,
}

/// Where pull requests are looked at: into the branch that is live; where that is a tag, or people promote, into the draft's branch.
pub(super) fn target(repository: &Repository) -> Option<Target> {
    fn branch(name: &str) -> Option<String> {
        let is_short = !name.starts_with("refs/");
        let branch = name.strip_prefix("refs/heads/");
        branch.or(is_short.then_some(name)).map(str::to_owned)
    }
    let spec = &repository.spec;
    let live = spec.live.as_ref().and_then(|live| match &live.at {
        LiveRef::Name(name) => branch(name),
        LiveRef::Tag(_) => None,
    });
    match live {
        Some(live) => Some(Target::Live(live)),
        None => branch(&spec.draft.name).map(Target::Draft),
    }
}

impl Look<'_> {
    /// Looks at a pull request, unless it was looked at as it is.
    pub(super) async fn at(&self, pull: &PullRequest) -> Result<(), FeedbackError> {
        let Some(head) = pull.head_commit else {
            return Ok(());
        };
        let (memories, uid) = (&self.feedback.memories, self.uid());
        let seen = |head| Looked {
            head,
            situation: self.situation.clone(),
        };
        if memories.of(&uid, |memory| memory.has_looked(pull.number, &seen(head))) {
            return Ok(());
        }
        let (head, comment) = match self.fetch(pull, head).await {
            Ok(Some((head, trees))) => (head, self.compare(trees).await?),
            // the forge is not so far yet
            Ok(None) => return Ok(()),
            Err(FeedbackError::Git { source, .. }) if is_its_own(&source) => {
                (head, comment::of_unreadable(&error_chain(&source)))
            }
            Err(error) => return Err(error),
        };
        preview(self.forge, &mark(self.repository), pull.number, &comment).await?;
        // of the draft's commit it is said what was cut
        if Commits::of(self.repository).draft != Some(head) {
            let shown = status::shown(self.repository, status::FLOWS, comment.state, comment.description);
            self.feedback
                .post(self.repository, self.forge, head, shown)
                .await?;
        }
        memories.of(&uid, |memory| memory.looked(pull.number, seen(head)));
        Ok(())
    }

    /// What is read of a head.
    fn folders(&self) -> Result<Folders, FeedbackError> {
        let Sources { draft, live } = Sources::of(&self.repository.spec)?;
        Ok(match live.filter(|_| matches!(self.target, Target::Live(_))) {
            None => Folders {
                compared: draft,
                beside: None,
            },
            Some(live) => Folders {
                beside: Some(draft).filter(|draft| draft.at == live.at && draft.folder != live.folder),
                compared: live,
            },
        })
    }

    fn uid(&self) -> String {
        self.repository.uid().unwrap_or_default()
    }

    /// What the head of a pull request holds, and which commit that is by now.
    async fn fetch(
        &self,
        pull: &PullRequest,
        head: CommitId,
    ) -> Result<Option<(CommitId, Trees)>, FeedbackError> {
        let (feedback, repository) = (self.feedback, self.repository);
        let failed = |source| FeedbackError::Git {
            number: pull.number.0,
            source,
        };
        let mirror = feedback.mirror(self.repository);
        let folders = self.folders()?;
        // it is there from before, when something else was live
        if let Ok(trees) = folders.read(&mirror, head).await {
            return Ok(Some((head, trees)));
        }
        let remote = credentials::remote(feedback.context.client(), repository).await?;
        let wanted = vec![RefSelector::Name(head_of(repository, pull))];
        let synced = mirror.sync(remote, wanted, feedback.shutdown.clone()).await;
        let commit = synced.map_err(failed)?.refs.into_values().flatten().next();
        match commit {
            None => Ok(None),
            Some(RefAt { commit, .. }) => {
                let trees = folders.read(&mirror, commit).await.map_err(failed)?;
                Ok(Some((commit, trees)))
            }
        }
    }

    /// What is to be said of it.
    async fn compare(&self, trees: Trees) -> Result<Comment, FeedbackError> {
        let (context, namespace) = (
            &self.feedback.context,
            self.repository.namespace().unwrap_or_default(),
        );
        let of = namespace.clone();
        let read = move || {
            let mut defined = files::read(trees.compared, &namespace);
            let beside = trees.beside.map(|tree| files::read(tree, &namespace));
            defined
                .problems
                .extend(beside.into_iter().flat_map(|beside| beside.problems));
            defined
        };
        // whoever may open a pull request writes what is worked on here, so other work does not wait for it
        let defined = context.read(&of, read).await;
        let proposed = self.proposed(defined).await?;
        let target = self.target.clone();
        Ok(context
            .read(&of, move || comment::of_head(&target, &proposed))
            .await)
    }

    /// What a head would change, with the definitions that are live now.
    async fn proposed(&self, defined: Defined) -> Result<Proposed, FeedbackError> {
        let live = |flow: &Flow| {
            flow.status
                .as_ref()
                .and_then(|status| status.live_release().map(str::to_owned))
        };
        let gone = self.flows.iter().filter(|flow| {
            let path = status::source(flow).and_then(|source| source.path);
            let matters = live(flow).is_some() || flow.spec.live.is_some();
            matters && !defined.flows.contains_key(&flow.name_any()) && defined.knows(path.as_deref())
        });
        let mut proposed = Proposed {
            gone: gone.map(|flow| flow.name_any()).collect(),
            changed: Vec::new(),
            problems: defined.problems,
        };
        let releases: BTreeMap<String, String> = self
            .flows
            .iter()
            .filter_map(|flow| Some((flow.name_any(), live(flow)?)))
            .collect();
        // what cannot run does not become live
        for (flow, wanted) in defined.flows.into_iter().filter(|(_, flow)| flow.valid) {
            let release = releases.get(&flow);
            if release == Some(&names::release_name(&flow, &wanted.digest)) {
                continue;
            }
            let live = match release {
                Some(release) => self.definition(release).await?,
                None => None,
            };
            proposed.changed.push(Changed {
                flow,
                live,
                proposed: wanted.spec.definition,
            });
        }
        Ok(proposed)
    }

    /// The definition of a release, if it is there.
    async fn definition(&self, release: &str) -> Result<Option<Definition>, FeedbackError> {
        let namespace = self.repository.namespace().unwrap_or_default();
        let releases = self.feedback.context.namespaced::<Release>(&namespace);
        match releases.get(release).await {
            Ok(release) => Ok(Some(release.spec.definition)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(FeedbackError::Api("read the live release", error)),
        }
    }
}

/// The folders of a head that are read.
struct Folders {
    compared: Source,
    /// The draft's, where it is on the same branch.
    beside: Option<Source>,
}

/// What they hold.
struct Trees {
    compared: Tree,
    beside: Option<Tree>,
}

impl Folders {
    async fn read(&self, mirror: &Mirror, commit: CommitId) -> Result<Trees, GitError> {
        let mut compared = mirror.read(commit, &self.compared.folder).await?;
        self.compared.trim(&mut compared);
        let beside = match &self.beside {
            None => None,
            Some(source) => match mirror.read(commit, &source.folder).await {
                Ok(mut tree) => {
                    source.trim(&mut tree);
                    Some(tree)
                }
                Err(GitError::NoFolder(_)) => None,
                Err(error) => return Err(error),
            },
        };
        Ok(Trees { compared, beside })
    }
}

/// Whether it is the pull request's own fault that its head cannot be read, and reading it again is of no use.
fn is_its_own(error: &GitError) -> bool {
    matches!(
        error,
        GitError::TooLarge { .. }
            | GitError::TooManyObjects { .. }
            | GitError::ObjectTooLarge { .. }
            | GitError::NoFolder(_)
            | GitError::NotAFolder { .. }
            | GitError::NoCommit(_)
    )
}

/// The mark of the comment; several Repositories, of several clusters perhaps, may be of one project.
pub(super) fn mark(repository: &Repository) -> Mark {
    let (prefix, name) = (repository.spec.prefix(), repository.name_any());
    let namespace = repository.namespace().unwrap_or_default();
    Mark::new(&format!("{prefix}:difference"), &format!("{namespace}/{name}"))
}

/// Says what a pull request would change. That nothing changes is only worth a change of what was said before.
pub(super) async fn preview(
    forge: &dyn Forge,
    mark: &Mark,
    number: PullRequestNumber,
    comment: &Comment,
) -> Result<(), ForgeError> {
    let missing = if comment.is_news {
        Missing::Write
    } else {
        Missing::Leave
    };
    put_comment(forge, number, mark, &comment.text, missing).await
}

/// Where a forge keeps the head of a pull request, of forks too.
fn head_of(repository: &Repository, pull: &PullRequest) -> RefName {
    let folder = match repository.spec.forge.as_ref().map(|forge| forge.kind) {
        Some(ForgeKind::GitLab) => "merge-requests",
        Some(ForgeKind::GitHub | ForgeKind::Gitea) | None => "pull",
    };
    RefName::numbered(folder, pull.number.0)
}

impl Feedback {
    pub(super) fn mirror(&self, repository: &Repository) -> Mirror {
        self.settings.mirror(repository, Purpose::Pulls)
    }
}

#[cfg(test)]
mod tests;
