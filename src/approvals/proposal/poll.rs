//! Asks forges what is new: when a webhook says that something is, and at each Repository's interval for what no webhook told.
//!
//! One list of open pull requests tells of all questions of a Repository; only those whose pull request has changed, or is no
//! longer open, are looked at.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use kube::{ResourceExt as _, runtime::reflector::ObjectRef};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc,
    },
    task::JoinSet,
    time::MissedTickBehavior,
};

use super::{
    Known, ProposalContext, ProposalError,
    branch::BranchQuestion,
    settle::{base, branches_of},
};
use crate::{
    cluster::{error_chain, object_key::ApprovalKey, parts::caught, queue::Touched},
    forge::{MOST_LISTED, PullRequest},
    remotes::{INTERVAL, forges},
};
use signoff_api::{Approval, HumanDuration, Repository};

/// How often it is looked whether a Repository is due.
const TICK: Duration = Duration::from_secs(1);
/// How many questions are looked at in turn whose pull requests a full list does not have.
const IN_TURN: usize = 20;
/// Pause after a failure, unless the forge names one.
const AFTER_FAILURE: Duration = Duration::from_secs(15);

type Name = ObjectRef<Repository>;

/// When each Repository is asked next, and which are being asked.
#[derive(Default)]
struct Rounds {
    due: HashMap<Name, Due>,
    busy: HashSet<Name>,
    again: HashSet<Name>,
    asked: JoinSet<(Name, Option<i64>, Duration)>,
}

/// When a Repository is asked next, unless its settings are others by then.
#[derive(Clone, Copy, Debug)]
struct Due {
    /// By the clock that nobody sets.
    at: Duration,
    generation: Option<i64>,
}

pub(super) async fn run(
    proposals: Arc<ProposalContext>,
    mut hooks: broadcast::Receiver<Name>,
    touch: mpsc::UnboundedSender<Touched<Approval>>,
) {
    let mut rounds = Rounds::default();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hooked = true;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let now = proposals.context.steady();
                for repository in proposals.repositories.state() {
                    let name = ObjectRef::from_obj(&*repository);
                    let generation = repository.metadata.generation;
                    let is_due = |due: &Due| due.at <= now || due.generation != generation;
                    if rounds.due.get(&name).is_none_or(is_due) && puts_questions(&repository) {
                        rounds.begin(&proposals, &touch, name);
                    }
                }
            }
            hook = hooks.recv(), if hooked => match hook {
                Ok(name) => rounds.begin(&proposals, &touch, name),
                // too many to be told one by one
                Err(RecvError::Lagged(_)) => rounds.due.clear(),
                Err(RecvError::Closed) => hooked = false,
            },
            Some(asked) = rounds.asked.join_next() => {
                // a panic is caught, and nobody stops one
                if let Ok((name, generation, pause)) = asked {
                    let at = proposals.context.steady().saturating_add(pause);
                    rounds.due.insert(name.clone(), Due { at, generation });
                    rounds.busy.remove(&name);
                    if rounds.again.remove(&name) {
                        rounds.begin(&proposals, &touch, name);
                    }
                }
            }
        }
    }
}

impl Rounds {
    fn begin(
        &mut self,
        proposals: &Arc<ProposalContext>,
        touch: &mpsc::UnboundedSender<Touched<Approval>>,
        name: Name,
    ) {
        let Some(repository) = proposals
            .repositories
            .get(&name)
            .filter(|repository| puts_questions(repository))
        else {
            self.due.remove(&name);
            return;
        };
        if !self.busy.insert(name.clone()) {
            self.again.insert(name);
            return;
        }
        let (proposals, touch) = (Arc::clone(proposals), touch.clone());
        self.asked.spawn(async move {
            let interval = repository.spec.interval.as_ref().map_or(INTERVAL, HumanDuration::duration);
            let pause = match caught(ask(&proposals, &repository, &touch)).await {
                Ok(Ok(())) => interval.max(TICK),
                Err(panic) => {
                    proposals.context.panicked("Repository", &name, &panic);
                    AFTER_FAILURE
                }
                Ok(Err(error)) => {
                    tracing::warn!(repository = %name, error = %error_chain(&error), "a forge could not be asked for news; trying again");
                    error.retry_after().unwrap_or(AFTER_FAILURE.min(interval))
                }
            };
            (name, repository.metadata.generation, pause)
        });
    }
}

fn puts_questions(repository: &Repository) -> bool {
    let spec = &repository.spec;
    spec.decisions.is_some() && spec.suspend != Some(true)
}

/// Touches the questions of a Repository that have news.
async fn ask(
    proposals: &ProposalContext,
    repository: &Arc<Repository>,
    touch: &mpsc::UnboundedSender<Touched<Approval>>,
) -> Result<(), ProposalError> {
    let Some(decisions) = &repository.spec.decisions else {
        return Ok(());
    };
    let (namespace, name) = (repository.namespace().unwrap_or_default(), repository.name_any());
    let puts = proposals.put_at(&namespace, &name);
    if !puts.is_empty()
        && BranchQuestion::new(proposals, repository, decisions)?
            .look()
            .await?
    {
        for key in puts {
            let _ = touch.send(Touched::Named(key));
        }
    }
    let forge = forges::of_repository(proposals.context.client(), &proposals.settings, repository).await?;
    let Some(forge) = forge else { return Ok(()) };
    let listed = forge
        .open_pull_requests_into(&base(repository, decisions))
        .await?;
    for key in news(proposals, repository, &listed) {
        // the receiver is gone only when the operator ends
        let _ = touch.send(Touched::Named(key));
    }
    Ok(())
}

/// The questions whose pull request changed, is not open any more, or puts a question that is closed.
fn news(proposals: &ProposalContext, repository: &Repository, listed: &[PullRequest]) -> Vec<ApprovalKey> {
    let (namespace, name) = (repository.namespace().unwrap_or_default(), repository.name_any());
    let ours = branches_of(repository, &namespace);
    news_of(&mut proposals.lock(), (&namespace, &name), &ours, listed)
}

fn news_of(
    known: &mut HashMap<ApprovalKey, Known>,
    (namespace, name): (&str, &str),
    ours: &str,
    listed: &[PullRequest],
) -> Vec<ApprovalKey> {
    let listed_by_key: HashMap<ApprovalKey, &PullRequest> = listed
        .iter()
        .filter(|pull| pull.same_project)
        .filter_map(|pull| Some((ApprovalKey::new(namespace, pull.head.strip_prefix(ours)?), pull)))
        .collect();
    let (mut news, mut unlisted) = (Vec::new(), Vec::new());
    for (key, known) in known
        .iter()
        .filter(|(key, known)| key.namespace() == namespace && known.home == name)
    {
        match (listed_by_key.get(key), known.look) {
            (Some(pull), Some(look)) if !look.may_be_outdated_by(pull.updated_at) => {}
            (Some(_), _) => news.push(key.clone()),
            (None, Some(_)) if known.away => {}
            (None, look) => unlisted.push((look.map(|look| look.at), key.clone())),
        }
    }
    // of so many there may be more that are open, and a look at each takes several calls
    if listed.len() >= MOST_LISTED {
        unlisted.sort_by_key(|(at, _)| *at);
        unlisted.truncate(IN_TURN);
    }
    news.extend(unlisted.into_iter().map(|(_, key)| key));
    for key in listed_by_key.into_keys() {
        if !known.contains_key(&key) {
            // left behind by a question that was closed while nobody looked
            name.clone_into(&mut known.entry(key.clone()).or_default().home);
            news.push(key);
        }
    }
    news
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::{
        approvals::proposal::Look,
        forge::{Login, PullRequestNumber, PullRequestState},
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A question that was looked at then, when its pull request had not changed for long.
    fn known(second: i64, away: bool) -> Known {
        Known {
            home: "flows".to_owned(),
            away,
            look: Some(Look {
                at: at(second),
                updated_at: Some(at(1)),
            }),
            ..Known::default()
        }
    }

    fn pull(name: &str, updated_at: i64) -> PullRequest {
        PullRequest {
            number: PullRequestNumber(1),
            url: String::new(),
            title: String::new(),
            body: String::new(),
            head: format!("signoff/shop/{name}"),
            head_commit: None,
            same_project: true,
            base: "main".to_owned(),
            author: Login::new("signoff-bot"),
            updated_at: Some(at(updated_at)),
            state: PullRequestState::Open,
        }
    }

    fn news(known: &mut HashMap<ApprovalKey, Known>, listed: &[PullRequest]) -> Vec<String> {
        let news = news_of(known, ("shop", "flows"), "signoff/shop/", listed);
        let mut names: Vec<String> = news.iter().map(|key| key.name().to_owned()).collect();
        names.sort();
        names
    }

    fn all<const N: usize>(questions: [(&str, Known); N]) -> HashMap<ApprovalKey, Known> {
        let keyed = questions.map(|(name, known)| (ApprovalKey::new("shop", name), known));
        keyed.into_iter().collect()
    }

    #[test]
    fn a_question_that_is_not_on_the_forge_is_no_news_until_something_of_it_is() {
        let mut known = all([
            ("away", known(1_000, true)),
            ("closed", known(1_000, false)),
            ("same", known(1_000, false)),
            ("changed", known(1_000, false)),
        ]);
        let listed = [pull("same", 1), pull("changed", 900), pull("left-behind", 1)];
        assert_eq!(news(&mut known, &listed), ["changed", "closed", "left-behind"]);
        assert_eq!(news(&mut known, &[pull("away", 900), pull("same", 1)])[0], "away");
    }

    #[test]
    fn questions_that_a_full_list_does_not_have_are_looked_at_in_turn_the_longest_ago_first() {
        let mut known: HashMap<ApprovalKey, Known> = (0..50)
            .map(|n| {
                (
                    ApprovalKey::new("shop", &format!("q{n:02}")),
                    known(1_000 + n, false),
                )
            })
            .collect();
        assert_eq!(news(&mut known, &[]).len(), 50);
        let full: Vec<PullRequest> = (0..MOST_LISTED).map(|_| pull("another/one", 1)).collect();
        let found = news(&mut known, &full);
        assert_eq!(found.iter().filter(|name| name.starts_with('q')).count(), IN_TURN);
        assert!(found.contains(&"q00".to_owned()) && !found.contains(&"q20".to_owned()));
    }
}
