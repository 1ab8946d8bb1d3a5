//! Asks forges what is new: when a webhook says that something is, and at each Repository's interval for what no webhook told.
//!
//! One list of open pull requests tells of all questions of a Repository; only those whose pull request has changed, or is no
//! longer open, are looked at.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::channel::mpsc;
use kube::{ResourceExt as _, runtime::reflector::ObjectRef};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use super::{
    Asking, ProposalError,
    branch::Board,
    settle::{base, branches_of},
};
use crate::{
    api::{Repository, Span},
    controllers::{
        approval::{ApprovalKey, Touched},
        error_chain, forges,
        repository::INTERVAL,
    },
    forge::PullRequest,
};

/// How often it is looked whether a Repository is due.
const TICK: Duration = Duration::from_secs(1);
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
    at: Instant,
    generation: Option<i64>,
}

pub(super) async fn run(
    asking: Arc<Asking>,
    mut hooks: broadcast::Receiver<Name>,
    touch: mpsc::UnboundedSender<Touched>,
) {
    let mut rounds = Rounds::default();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hooked = true;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                for repository in asking.repositories.state() {
                    let name = ObjectRef::from_obj(&*repository);
                    let generation = repository.metadata.generation;
                    let is_due = |due: &Due| due.at <= Instant::now() || due.generation != generation;
                    if rounds.due.get(&name).is_none_or(is_due) && puts_questions(&repository) {
                        rounds.begin(&asking, &touch, name);
                    }
                }
            }
            hook = hooks.recv(), if hooked => match hook {
                Ok(name) => rounds.begin(&asking, &touch, name),
                // too many to be told one by one
                Err(RecvError::Lagged(_)) => rounds.due.clear(),
                Err(RecvError::Closed) => hooked = false,
            },
            Some(asked) = rounds.asked.join_next() => {
                // one that broke is asked again when it is due, and a panic is told by the runtime
                if let Ok((name, generation, pause)) = asked {
                    let at = Instant::now() + pause;
                    rounds.due.insert(name.clone(), Due { at, generation });
                    rounds.busy.remove(&name);
                    if rounds.again.remove(&name) {
                        rounds.begin(&asking, &touch, name);
                    }
                }
            }
        }
    }
}

impl Rounds {
    fn begin(&mut self, asking: &Arc<Asking>, touch: &mpsc::UnboundedSender<Touched>, name: Name) {
        let Some(repository) = asking
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
        let (asking, touch) = (Arc::clone(asking), touch.clone());
        self.asked.spawn(async move {
            let interval = repository.spec.interval.as_ref().map_or(INTERVAL, Span::duration);
            let pause = match ask(&asking, &repository, &touch).await {
                Ok(()) => interval.max(TICK),
                Err(error) => {
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
    asking: &Asking,
    repository: &Arc<Repository>,
    touch: &mpsc::UnboundedSender<Touched>,
) -> Result<(), ProposalError> {
    let Some(decisions) = &repository.spec.decisions else {
        return Ok(());
    };
    let (namespace, name) = (repository.namespace().unwrap_or_default(), repository.name_any());
    let puts = asking.put_at(&namespace, &name);
    if !puts.is_empty() && Board::new(asking, repository, decisions)?.look().await? {
        for key in puts {
            let _ = touch.unbounded_send(Touched::Named(key));
        }
    }
    let forge = forges::of_repository(&asking.context, &asking.settings, repository).await?;
    let Some(forge) = forge else { return Ok(()) };
    let listed = forge
        .open_pull_requests_into(&base(repository, decisions))
        .await?;
    for key in news(asking, repository, &listed) {
        // the receiver is gone only when the operator ends
        let _ = touch.unbounded_send(Touched::Named(key));
    }
    Ok(())
}

/// The questions whose pull request changed, is not open any more, or puts a question that is closed.
fn news(asking: &Asking, repository: &Repository, listed: &[PullRequest]) -> Vec<ApprovalKey> {
    let (namespace, name) = (repository.namespace().unwrap_or_default(), repository.name_any());
    let ours = branches_of(repository, &namespace);
    let listed_by_key: HashMap<ApprovalKey, &PullRequest> = listed
        .iter()
        .filter(|pull| pull.same_project)
        .filter_map(|pull| Some((ApprovalKey::new(&namespace, pull.head.strip_prefix(&ours)?), pull)))
        .collect();
    let mut known = asking.lock();
    let mut news: Vec<ApprovalKey> = known
        .iter()
        .filter(|(key, known)| key.namespace() == namespace && known.home == name)
        .filter(|(key, known)| match listed_by_key.get(*key) {
            Some(pull) => known
                .look
                .is_none_or(|look| look.may_be_outdated_by(pull.updated_at)),
            None => true,
        })
        .map(|(key, _)| key.clone())
        .collect();
    for key in listed_by_key.into_keys() {
        if !known.contains_key(&key) {
            // left behind by a question that was closed while nobody looked
            name.clone_into(&mut known.entry(key.clone()).or_default().home);
            news.push(key);
        }
    }
    news
}
