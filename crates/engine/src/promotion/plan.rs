//! What is to be done next about the release that is to become live: decided from what is known, without asking anybody.
//!
//! Most flows need to know little, and reading costs requests. So a plan may be to find something out, and is made again with what was found.

use std::{collections::HashSet, sync::Arc};

use k8s_openapi::jiff::Timestamp;

use super::{
    Candidate, Found, Gate, Involved, KnownDependency, NotLive, Questions, Unusable, asks, deadline,
    dependency::not_live, gates, question, round_after,
};
use signoff_api::{
    Approval, ApprovalPhase, ApprovalSpec, FlowStatus, Release,
    flow::{NamedRelease, Promotion, PromotionPhase, PromotionStatus},
    names,
};

/// What was found out about a promotion so far.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The release that is to become live.
    pub wanted: Option<Found>,
    /// The releases that it runs, in the order of its dependencies.
    pub dependencies: Option<Vec<KnownDependency>>,
    /// The release that is live.
    pub live: Option<Found>,
    /// The gate of the Repository that the flow came from.
    pub repository: Option<Promotion>,
    /// Names of the closed questions about promotions of the release.
    pub closed: Option<HashSet<String>>,
    /// What people are asked.
    pub asked: Vec<Asked>,
}

/// A question and the approval that has its name.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Name of its gate.
    pub gate: &'static str,
    /// The question.
    pub question: ApprovalSpec,
    /// What was found under its name, or put there.
    pub approval: Arc<Approval>,
}

/// The next thing to do.
#[derive(Clone, Debug)]
pub enum Step {
    /// Drop `status.promotion`, which is about another release, and close the questions that it put.
    Forget(Option<Questions>),
    /// Read the release of this name, which is to become live, and the gate of the Repository.
    FindWanted(String),
    /// Look up the releases that this one runs, in the order of its dependencies, and what is live of their flows.
    FindDependencies(Arc<Release>),
    /// Read the release of this name, which is live.
    FindLive(String),
    /// List the closed questions about promotions of the release of this name.
    FindClosed(String),
    /// Find the question of a gate, or put it.
    Ask(Box<Ask>),
    /// Nothing but this is to be done.
    Finish(Box<Done>),
}

/// A question to put at one gate.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The release that is to become live.
    pub release: Arc<Release>,
    /// The release that is live.
    pub live: Option<Arc<Release>>,
    /// The gate.
    pub gate: Gate,
    /// How often people are asked about this release, from 1.
    pub round: i64,
}

impl Ask {
    /// Name of the approval.
    pub fn name(&self) -> String {
        names::promotion_approval_name(name(&self.release), self.round, self.gate.name)
    }

    /// What people are asked. Comparing the definitions takes as long as they are large.
    pub fn question(&self, involved: &Involved, now: Timestamp) -> ApprovalSpec {
        let candidate = Candidate::new(&self.release, self.live.as_deref());
        let deadline = deadline(&self.gate, now);
        question(&candidate, &self.gate, self.round, involved, deadline)
    }
}

/// How a promotion ends for now.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// Questions to close, before anything is written.
    pub withdraw: Option<Questions>,
    /// What changes in the flow's status.
    pub change: Change,
    /// How the wish stands.
    pub outcome: Outcome,
}

/// What a promotion changes in the flow's status.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Nothing.
    Nothing,
    /// How the promotion stands.
    Promotion(PromotionStatus),
    /// Another release is live.
    Live(PromotionStatus, NamedRelease),
}

impl Change {
    /// Makes the change.
    pub fn apply(self, status: &mut FlowStatus) {
        match self {
            Self::Nothing => {}
            Self::Promotion(promotion) => status.promotion = Some(promotion),
            Self::Live(promotion, live) => {
                status.promotion = Some(promotion);
                status.live = Some(live);
            }
        }
    }
}

/// How the wish in `spec.live` stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing is wished for, or it is live.
    Settled,
    /// People have to decide first.
    Waiting(String),
    /// A release that it runs is not live, and never was.
    Blocked(NotLive),
    /// People said no, or nothing in time.
    Refused(PromotionPhase, String),
    /// It cannot be made live at all.
    Impossible(Impossible),
}

/// Why a release cannot be made live.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// It cannot be used.
    #[error(transparent)]
    Wanted(Unusable),
    /// The one that is live cannot be used. Its gate judges this promotion; without it nobody knows what that was.
    #[error("{release} is live, but its gate is not known: {problem}")]
    Live {
        /// Name of the release that is live.
        release: String,
        /// Why it cannot be used. Part of the message, which is for users.
        problem: Unusable,
    },
}

impl Impossible {
    /// The reason of the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Wanted(problem) => problem.reason(),
            Self::Live { .. } => "LiveReleaseUnusable",
        }
    }
}

/// What is to be done next about the release that is `wanted` live.
pub fn next(wanted: Option<&str>, status: &FlowStatus, known: &Known) -> Step {
    if let Some(other) = status
        .promotion
        .as_ref()
        .filter(|promotion| Some(promotion.release.as_str()) != wanted)
    {
        let waits = other.phase == PromotionPhase::Waiting;
        return Step::Forget(waits.then(|| Questions::of(other)));
    }
    let Some(wanted) = wanted else {
        return finish(Change::Nothing, Outcome::Settled);
    };
    if status.live_release() == Some(wanted) {
        return finish(Change::Nothing, Outcome::Settled);
    }
    let release = match &known.wanted {
        None => return Step::FindWanted(wanted.to_owned()),
        Some(Err(problem)) => return impossible(Impossible::Wanted(problem.clone())),
        Some(Ok(release)) => release,
    };
    if !release.spec.dependencies.is_empty() {
        let Some(dependencies) = &known.dependencies else {
            return Step::FindDependencies(Arc::clone(release));
        };
        if let Some(missing) = not_live(release, dependencies) {
            return finish(Change::Nothing, Outcome::Blocked(missing));
        }
    }
    let live = match (status.live_release(), &known.live) {
        (None, _) => None,
        (Some(name), None) => return Step::FindLive(name.to_owned()),
        (Some(name), Some(Err(problem))) => {
            return impossible(Impossible::Live {
                release: name.to_owned(),
                problem: problem.clone(),
            });
        }
        (Some(_), Some(Ok(live))) => Some(live),
    };
    let gates = gates(
        &Candidate::new(release, live.map(|live| &**live)),
        known.repository.as_ref(),
    );
    if gates.is_empty() {
        return settle(release, live.map(|live| &**live), None);
    }
    pass_gates(status.promotion.as_ref(), known, release, live, gates)
}

/// What is to be done at the gates of a promotion.
fn pass_gates(
    promotion: Option<&PromotionStatus>,
    known: &Known,
    release: &Arc<Release>,
    live: Option<&Arc<Release>>,
    gates: Vec<Gate>,
) -> Step {
    let wanted = name(release);
    if let Some(refused) = promotion.filter(|promotion| promotion.phase != PromotionPhase::Waiting) {
        let message = format!(
            "the promotion of {wanted} was not approved; name another release, or this one again later"
        );
        return finish(Change::Nothing, Outcome::Refused(refused.phase, message));
    }
    let round = promotion.and_then(|promotion| promotion.round);
    let Some(round) = round.or_else(|| Some(round_after(wanted, known.closed.as_ref()?))) else {
        return Step::FindClosed(wanted.to_owned());
    };
    let of_phase = |phase, approval, round| PromotionStatus {
        release: wanted.to_owned(),
        approval,
        phase,
        round: Some(round),
        rolled_back_from: None,
    };
    let mut waiting = None;
    for gate in gates {
        let Some(asked) = known.asked.iter().find(|asked| asked.gate == gate.name) else {
            let (release, live) = (Arc::clone(release), live.cloned());
            return Step::Ask(Box::new(Ask {
                release,
                live,
                gate,
                round,
            }));
        };
        let name = names::promotion_approval_name(wanted, round, gate.name);
        if !asks(&asked.approval, &asked.question, release) {
            let withdraw = Questions {
                release: wanted.to_owned(),
                round,
            };
            return Step::Finish(Box::new(Done {
                withdraw: Some(withdraw),
                change: Change::Promotion(of_phase(PromotionPhase::Waiting, None, round.saturating_add(1))),
                outcome: Outcome::Waiting(format!("{name} asks for something else; people are asked again")),
            }));
        }
        let answer = asked.approval.status.clone().unwrap_or_default();
        let ended = match answer.phase {
            ApprovalPhase::Approved => continue,
            ApprovalPhase::Pending => {
                waiting = waiting.or(Some(name));
                continue;
            }
            ApprovalPhase::Rejected => PromotionPhase::Rejected,
            ApprovalPhase::ChangesRequested
            | ApprovalPhase::Expired
            | ApprovalPhase::Cancelled
            | ApprovalPhase::Superseded => PromotionPhase::TimedOut,
        };
        let change = Change::Promotion(of_phase(ended, Some(name), round));
        return finish(
            change,
            Outcome::Refused(ended, answer.message.unwrap_or_default()),
        );
    }
    let Some(name) = waiting else {
        return settle(release, live.map(|live| &**live), Some(round));
    };
    let message = format!("waiting for approval {name} before {wanted} becomes live");
    let change = Change::Promotion(of_phase(PromotionPhase::Waiting, Some(name), round));
    finish(change, Outcome::Waiting(message))
}

fn settle(release: &Release, live: Option<&Release>, round: Option<i64>) -> Step {
    let promotion = PromotionStatus {
        release: name(release).to_owned(),
        approval: None,
        phase: PromotionPhase::Promoted,
        round,
        rolled_back_from: live
            .filter(|live| is_later(live, release))
            .map(|live| name(live).to_owned()),
    };
    let live = NamedRelease {
        release: name(release).to_owned(),
        digest: release.spec.digest.clone(),
    };
    finish(Change::Live(promotion, live), Outcome::Settled)
}

/// Whether a release was cut later than another. Those of the same second are not told apart.
fn is_later(release: &Release, than: &Release) -> bool {
    let cut = |release: &Release| release.metadata.creation_timestamp.as_ref().map(|at| at.0);
    cut(than).is_some_and(|than| cut(release).is_some_and(|at| at > than))
}

fn name(release: &Release) -> &str {
    release.metadata.name.as_deref().unwrap_or_default()
}

fn impossible(problem: Impossible) -> Step {
    finish(Change::Nothing, Outcome::Impossible(problem))
}

fn finish(change: Change, outcome: Outcome) -> Step {
    Step::Finish(Box::new(Done {
        withdraw: None,
        change,
        outcome,
    }))
}
