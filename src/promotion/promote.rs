//! Promotes the release that `spec.live` names, through its gates.

use std::{collections::HashSet, sync::Arc};

use k8s_openapi::jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use kube::{
    Resource as _, ResourceExt as _,
    api::{ListParams, ObjectMeta},
    runtime::reflector::ObjectRef,
};

use super::{FlowError, Flows, cut::recorded, dependencies};
use crate::cluster::{
    create::create_or_adopt,
    status::{is_missing, patch_status},
};
use signoff_api::{
    Approval, ApprovalPhase, ApprovalSpec, ApprovalStatus, Flow, FlowStatus, Release, Repository, condition,
    flow::{NamedRelease, Promotion, PromotionPhase, PromotionStatus, repository_uid},
    name::ReleaseName,
    names,
};
use signoff_engine::promotion::{Candidate, GATES, Gate, Involved, gates, question};

/// How long people have to decide on a promotion, unless the gate says otherwise.
const RESPOND_WITHIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How the wish in `spec.live` stands.
pub(super) enum Promoted {
    /// Nothing is wished for, or it is live.
    Settled,
    /// People have to decide first.
    Waiting(String),
    /// A release that it runs is not live, and never was.
    Blocked(String),
    /// People said no, or nothing in time.
    Refused(PromotionPhase, String),
    /// It cannot be made live at all.
    Impossible(&'static str, String),
}

pub(super) async fn promote(
    shared: &Flows,
    flow: &Flow,
    status: &mut FlowStatus,
) -> Result<Promoted, FlowError> {
    let wanted = flow.spec.live.clone();
    if let Some(under_way) = status
        .promotion
        .clone()
        .filter(|promotion| Some(&promotion.release) != wanted.as_ref())
    {
        if under_way.phase == PromotionPhase::Waiting {
            withdraw(shared, flow, &under_way).await?;
        }
        status.promotion = None;
    }
    let Some(wanted) = wanted else {
        return Ok(Promoted::Settled);
    };
    if status.live_release() == Some(wanted.as_str()) {
        return Ok(Promoted::Settled);
    }
    let release = match find(shared, flow, &wanted).await? {
        Ok(release) => release,
        Err((reason, message)) => return Ok(Promoted::Impossible(reason, message)),
    };
    if let Some(message) = dependencies::not_live(shared, flow, &release) {
        return Ok(Promoted::Blocked(message));
    }
    let live = match status.live_release() {
        None => None,
        Some(name) => match find(shared, flow, name).await? {
            Ok(live) => Some(live),
            // its gate judges this promotion; without it nobody knows what that was
            Err((_, message)) => {
                let message = format!("{name} is live, but its gate is not known: {message}");
                return Ok(Promoted::Impossible("LiveReleaseUnusable", message));
            }
        },
    };
    let candidate = candidate(&release, live.as_deref());
    let gates = gates(&candidate, repository_gate(shared, flow).as_ref());
    if gates.is_empty() {
        return Ok(settle(status, &release, live.as_deref(), None));
    }
    pass_gates(shared, flow, status, (&release, live.as_ref()), &gates).await
}

async fn pass_gates(
    shared: &Flows,
    flow: &Flow,
    status: &mut FlowStatus,
    (release, live): (&Arc<Release>, Option<&Arc<Release>>),
    gates: &[Gate],
) -> Result<Promoted, FlowError> {
    let wanted = release.name_any();
    let current = status.promotion.clone();
    if let Some(refused) = current
        .as_ref()
        .filter(|promotion| promotion.phase != PromotionPhase::Waiting)
    {
        let message = format!(
            "the promotion of {wanted} was not approved; name another release, or this one again later"
        );
        return Ok(Promoted::Refused(refused.phase, message));
    }
    let round = match current.as_ref().and_then(|promotion| promotion.round) {
        Some(round) => round,
        None => next_round(shared, flow, &wanted).await?,
    };
    let involved = involved(shared, flow, status, release);
    let namespace = flow.namespace().unwrap_or_default();
    let mut waiting = None;
    for gate in gates {
        let name = names::promotion_approval_name(&wanted, round, gate.name);
        let deadline = deadline(gate, shared.context.now());
        // how long it takes to tell what changes, the definitions say
        let (of, before) = (Arc::clone(release), live.cloned());
        let (gate, involved) = (gate.clone(), involved.clone());
        let asked = move || {
            question(
                &candidate(&of, before.as_deref()),
                &gate,
                round,
                &involved,
                deadline,
            )
        };
        let spec = shared.context.evaluate(&namespace, asked).await;
        let approval = open(shared, flow, release, &spec, &name).await?;
        if !asks(&approval, &spec, release) {
            let asked = PromotionStatus {
                release: wanted,
                approval: None,
                phase: PromotionPhase::Waiting,
                round: Some(round),
                rolled_back_from: None,
            };
            withdraw(shared, flow, &asked).await?;
            let message = format!("{name} asks for something else; people are asked again");
            status.promotion = Some(PromotionStatus {
                round: Some(round.saturating_add(1)),
                ..asked
            });
            return Ok(Promoted::Waiting(message));
        }
        let answer = approval.status.clone().unwrap_or_default();
        match answer.phase {
            ApprovalPhase::Approved => {}
            ApprovalPhase::Pending => waiting = waiting.or(Some(name)),
            phase => {
                let ended = if phase == ApprovalPhase::Rejected {
                    PromotionPhase::Rejected
                } else {
                    PromotionPhase::TimedOut
                };
                status.promotion = Some(PromotionStatus {
                    release: wanted,
                    approval: Some(name),
                    phase: ended,
                    round: Some(round),
                    rolled_back_from: None,
                });
                return Ok(Promoted::Refused(ended, answer.message.unwrap_or_default()));
            }
        }
    }
    Ok(match waiting {
        None => settle(status, release, live.map(|live| &**live), Some(round)),
        Some(name) => {
            let message = format!("waiting for approval {name} before {wanted} becomes live");
            status.promotion = Some(PromotionStatus {
                release: wanted,
                approval: Some(name),
                phase: PromotionPhase::Waiting,
                round: Some(round),
                rolled_back_from: None,
            });
            Promoted::Waiting(message)
        }
    })
}

fn settle(
    status: &mut FlowStatus,
    release: &Release,
    live: Option<&Release>,
    round: Option<i64>,
) -> Promoted {
    status.promotion = Some(PromotionStatus {
        release: release.name_any(),
        approval: None,
        phase: PromotionPhase::Promoted,
        round,
        rolled_back_from: live
            .filter(|live| is_later(live, release))
            .map(kube::ResourceExt::name_any),
    });
    status.live = Some(NamedRelease {
        release: release.name_any(),
        digest: release.spec.digest.clone(),
    });
    Promoted::Settled
}

/// Whether a release was cut later than another. Those of the same second are not told apart.
fn is_later(release: &Release, than: &Release) -> bool {
    let cut = |release: &Release| release.metadata.creation_timestamp.as_ref().map(|at| at.0);
    cut(than).is_some_and(|than| cut(release).is_some_and(|at| at > than))
}

/// One more than the promotions of this release that people were asked about before.
async fn next_round(shared: &Flows, flow: &Flow, release: &str) -> Result<i64, FlowError> {
    let namespace = flow.namespace().unwrap_or_default();
    let mut first_is_over = false;
    for gate in GATES {
        let name = names::promotion_approval_name(release, 1, gate);
        let asked = look_up(shared, &namespace, &name).await?;
        first_is_over |= asked.is_some_and(|asked| is_closed(&asked));
    }
    if !first_is_over {
        return Ok(1);
    }
    // how many there were before, only a list tells
    let of_release = ListParams::default().labels(&format!("{}={release}", names::RELEASE));
    let listed = shared.context.list::<Approval>(&namespace, &of_release).await;
    let listed = listed.map_err(|error| FlowError::Api("list the approvals of the release", error))?;
    let closed = listed.items.iter().filter(|approval| is_closed(approval));
    let closed: HashSet<String> = closed.map(kube::ResourceExt::name_any).collect();
    Ok(round_after(release, &closed))
}

/// The first round of which no question is closed.
fn round_after(release: &str, closed: &HashSet<String>) -> i64 {
    let asked = |round: i64| {
        let mut names = GATES
            .iter()
            .map(|gate| names::promotion_approval_name(release, round, gate));
        names.any(|name| closed.contains(&name))
    };
    (1..=i64::from(u16::MAX))
        .find(|round| !asked(*round))
        .unwrap_or(1)
}

fn is_closed(approval: &Approval) -> bool {
    let status = approval.status.as_ref();
    status.is_some_and(|status| status.phase.is_closed())
}

/// An approval about a promotion. One that is closed is not in the store.
async fn look_up(shared: &Flows, namespace: &str, name: &str) -> Result<Option<Arc<Approval>>, FlowError> {
    if let Some(open) = shared.questions.get(&ObjectRef::new(name).within(namespace)) {
        return Ok(Some(open));
    }
    let read = shared
        .context
        .namespaced::<Approval>(namespace)
        .get_opt(name)
        .await;
    let read = read.map_err(|error| FlowError::Api("read the approval", error))?;
    Ok(read.map(Arc::new))
}

fn candidate<'a>(release: &'a Release, live: Option<&'a Release>) -> Candidate<'a> {
    Candidate {
        release: release.metadata.name.as_deref().unwrap_or_default(),
        uid: release.metadata.uid.as_deref().unwrap_or_default(),
        flow: &release.spec.flow,
        digest: &release.spec.digest,
        definition: &release.spec.definition,
        source: &release.spec.source,
        dependencies: &release.spec.dependencies,
        live_dependencies: live.map_or(&[], |live| &live.spec.dependencies),
        live: live.map(|live| {
            (
                live.metadata.name.as_deref().unwrap_or_default(),
                &live.spec.digest,
                &live.spec.definition,
            )
        }),
    }
}

/// Who asked for the promotion and who wrote what is promoted, beside what the release's source says. They are not the ones to approve it.
fn involved(shared: &Flows, flow: &Flow, status: &FlowStatus, release: &Release) -> Involved {
    let name = release.name_any();
    let is_draft = status.draft.as_ref().is_some_and(|draft| draft.release == name);
    let from_git = release.spec.source.repository.is_some();
    // the same content may have been cut before, when somebody else wrote it
    let changed_by = recorded(flow, names::CHANGED_BY).filter(|_| is_draft && !from_git);
    Involved {
        requested_by: recorded(flow, names::PROMOTED_BY),
        written_by: changed_by.into_iter().chain(signer(shared, release)).collect(),
    }
}

/// The user whose key vouches for a release, as the Repository that it came from maps keys to users.
fn signer(shared: &Flows, release: &Release) -> Option<String> {
    let source = &release.spec.source;
    let (verified, name) = (source.verified.as_ref()?, source.repository.as_ref()?);
    let reference = ObjectRef::new(name).within(&release.namespace()?);
    let repository = shared.repositories.get(&reference)?;
    let keys = &repository.spec.identities.as_ref()?.keys;
    keys.iter()
        .find(|mapped| mapped.key == verified.key)
        .map(|mapped| mapped.user.clone())
}

/// The gate of the Repository that a flow came from.
fn repository_gate(shared: &Flows, flow: &Flow) -> Option<Promotion> {
    let gates = shared
        .repositories
        .find(|repository| repository.spec.promotion.is_some() && brought(repository, flow));
    gates?.spec.promotion.clone()
}

/// Whether a flow came from this Repository. The Repository tells it as well, so that taking the label off a flow does not take it past the gate.
pub(super) fn brought(repository: &Repository, flow: &Flow) -> bool {
    let uid = repository_uid(flow);
    let owner = uid.is_some() && uid == repository.metadata.uid.as_deref();
    let label = flow.labels().get(names::REPOSITORY) == repository.metadata.name.as_ref();
    let listed = repository
        .status
        .as_ref()
        .is_some_and(|status| status.flows.contains(&flow.name_any()));
    repository.namespace() == flow.namespace() && (owner || label || listed)
}

/// Whether another release becomes live only through a gate. What was said before stands while the release that is live cannot be read.
pub(super) async fn gated(
    shared: &Flows,
    flow: &Flow,
    status: &FlowStatus,
) -> Result<Option<bool>, FlowError> {
    let Some(live) = status.live_release() else {
        return Ok(None);
    };
    let gated = match find(shared, flow, live).await? {
        Ok(live) => live.spec.definition.promotion.is_some() || repository_gate(shared, flow).is_some(),
        Err(_) => return Ok(status.gated),
    };
    Ok(gated.then_some(true))
}

/// Whether an approval is this very question and not one of the same name: from before a gate was changed, about a release that was made
/// anew, or put there by somebody else. One that keeps more people from deciding asks it too.
fn asks(approval: &Approval, question: &ApprovalSpec, release: &Release) -> bool {
    let of_release = approval
        .owner_references()
        .iter()
        .any(|owner| Some(&owner.uid) == release.metadata.uid.as_ref());
    let same = ApprovalSpec {
        // when it was asked is no part of the question
        expires_at: question.expires_at.clone(),
        written_by: question.written_by.clone(),
        ..approval.spec.clone()
    };
    let mut wrote = question.written_by.iter();
    of_release && same == *question && wrote.all(|user| approval.spec.written_by.contains(user))
}

/// A release of this flow whose content is what its digest says.
async fn find(
    shared: &Flows,
    flow: &Flow,
    name: &str,
) -> Result<Result<Arc<Release>, (&'static str, String)>, FlowError> {
    let namespace = flow.namespace().unwrap_or_default();
    if let Err(error) = name.parse::<ReleaseName>() {
        return Ok(Err(("ReleaseNotFound", error.to_string())));
    }
    let release = match shared.releases.get(&ObjectRef::new(name).within(&namespace)) {
        Some(release) => release,
        None => match shared.context.namespaced::<Release>(&namespace).get(name).await {
            Ok(release) => Arc::new(release),
            Err(error) if is_missing(&error) => {
                return Ok(Err((
                    "ReleaseNotFound",
                    format!("there is no release {name} to make live"),
                )));
            }
            Err(error) => return Err(FlowError::Api("read the release", error)),
        },
    };
    if release.spec.flow != flow.name_any() {
        return Ok(Err((
            "ReleaseOfAnotherFlow",
            format!("release {name} is of flow {}", release.spec.flow),
        )));
    }
    let digest = release.spec.content_digest().map_err(FlowError::NotCanonical)?;
    if digest != release.spec.digest {
        let message = format!(
            "release {name} says it is {}, but its content is {digest}",
            release.spec.digest
        );
        return Ok(Err(("ReleaseForged", message)));
    }
    Ok(Ok(release))
}

/// The approval of a gate, created if it is not there.
async fn open(
    shared: &Flows,
    flow: &Flow,
    release: &Release,
    spec: &ApprovalSpec,
    name: &str,
) -> Result<Arc<Approval>, FlowError> {
    let namespace = flow.namespace().unwrap_or_default();
    if let Some(approval) = look_up(shared, &namespace, name).await? {
        return Ok(approval);
    }
    let api = shared.context.namespaced::<Approval>(&namespace);
    let wanted = approval(flow, release, name, spec.clone());
    // whether it is the question is compared where a cached one is as well
    let opened = create_or_adopt(&api, &wanted, |_| true).await;
    let opened = opened.map_err(|error| FlowError::Api("open the approval", error))?;
    Ok(Arc::new(opened.object()))
}

fn approval(flow: &Flow, release: &Release, name: &str, spec: ApprovalSpec) -> Approval {
    let labels = [
        (names::MANAGED_BY, names::MANAGED_BY_VALUE.to_owned()),
        (names::FLOW, flow.name_any()),
        (names::RELEASE, release.name_any()),
    ];
    let repository = spec.repository.clone().map(|name| (names::REPOSITORY, name));
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(
            labels
                .into_iter()
                .chain(repository)
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        ),
        owner_references: release.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    };
    Approval {
        metadata,
        spec,
        status: None,
    }
}

fn deadline(gate: &Gate, now: Timestamp) -> Timestamp {
    let span = gate
        .approval
        .respond_within
        .as_ref()
        .and_then(|span| SignedDuration::try_from(span.duration()).ok());
    let deadline = now
        .checked_add(span.unwrap_or(RESPOND_WITHIN))
        .unwrap_or(Timestamp::MAX);
    deadline
        .round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil))
        .unwrap_or(deadline)
}

/// Closes the questions of a promotion that is no longer wished for.
async fn withdraw(shared: &Flows, flow: &Flow, promotion: &PromotionStatus) -> Result<(), FlowError> {
    let namespace = flow.namespace().unwrap_or_default();
    for gate in GATES {
        let name = names::promotion_approval_name(&promotion.release, promotion.round.unwrap_or(1), gate);
        let Some(approval) = look_up(shared, &namespace, &name).await? else {
            continue;
        };
        let current = approval.status.clone().unwrap_or_default();
        if current.phase.is_closed() {
            continue;
        }
        let message = "another release is to become live".to_owned();
        let mut next = ApprovalStatus {
            phase: ApprovalPhase::Superseded,
            needs: None,
            message: Some(message.clone()),
            ..current
        };
        let (truth, now) = (condition::ConditionStatus::True, shared.context.now());
        condition::set(
            &mut next.conditions,
            "Decided",
            truth,
            "Superseded",
            &message,
            None,
            now,
        );
        match patch_status(&shared.context, &*approval, &next).await {
            Ok(_) => {}
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(FlowError::Api("close the approval", error)),
        }
    }
    Ok(())
}
