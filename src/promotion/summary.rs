//! What a flow's status says in the end, and which transitions people are told about.

use kube::runtime::events::EventType;

use super::cut::Drafted;
use crate::cluster::{
    context::Context,
    status::{Standing, stand},
};
use signoff_api::{Flow, FlowStatus, flow::PromotionPhase};
use signoff_engine::promotion::Outcome;

pub(super) fn summarise(
    context: &Context,
    flow: &Flow,
    drafted: &Drafted,
    promoted: &Outcome,
    status: &mut FlowStatus,
) {
    let (standing, reason, message) = match (drafted, promoted) {
        (Drafted::Invalid, _) => (Standing::Stalled, "InvalidDefinition", invalid(status)),
        (Drafted::Collision(message), _) => (Standing::Stalled, "ReleaseCollision", message.clone()),
        (Drafted::Waiting(message), _) => (Standing::Reconciling, "DependencyNotReady", message.clone()),
        // it is not written
        (Drafted::Changing, _) => return,
        (Drafted::Cut, Outcome::Blocked(dependency)) => {
            (Standing::Reconciling, "DependencyNotLive", dependency.to_string())
        }
        (Drafted::Cut, Outcome::Impossible(problem)) => {
            (Standing::Stalled, problem.reason(), problem.to_string())
        }
        (Drafted::Cut, Outcome::Waiting(message)) => {
            (Standing::Reconciling, "PromotionWaiting", message.clone())
        }
        (Drafted::Cut, Outcome::Refused(phase, message)) => {
            (Standing::Stalled, refusal(*phase), message.clone())
        }
        (Drafted::Cut, Outcome::Settled) => (Standing::Ready, "Released", released(status)),
    };
    status.observed_generation = flow.metadata.generation;
    let generation = flow.metadata.generation;
    stand(
        &mut status.conditions,
        standing,
        reason,
        &message,
        generation,
        context.now(),
    );
}

fn invalid(status: &FlowStatus) -> String {
    let first = status
        .problems
        .first()
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .unwrap_or_default();
    match status.problems.len() {
        0 | 1 => first,
        more => format!("{first} (and {} more in status.problems)", more - 1),
    }
}

fn refusal(phase: PromotionPhase) -> &'static str {
    if phase == PromotionPhase::TimedOut {
        "PromotionTimedOut"
    } else {
        "PromotionRejected"
    }
}

fn released(status: &FlowStatus) -> String {
    let draft = status
        .draft
        .as_ref()
        .map_or("none", |draft| draft.release.as_str());
    match status.live_release() {
        Some(live) if live == draft => format!("{live} is live and the newest"),
        Some(live) => format!("{live} is live; {draft} is the draft"),
        None => format!("{draft} is the draft; nothing is live yet"),
    }
}

/// Tells people what has changed for them. A draft that was cut is told by its Release and by the flow's status.
pub(super) async fn tell(context: &Context, flow: &Flow, before: &FlowStatus, now: &FlowStatus) {
    if before.live != now.live
        && let Some(live) = now.live_release()
    {
        let promotion = now.promotion.as_ref();
        let (reason, note) = match promotion.and_then(|promotion| promotion.rolled_back_from.as_ref()) {
            Some(from) => (
                "RolledBack",
                format!("release {live} is live again instead of {from}"),
            ),
            None => ("Promoted", format!("release {live} is live")),
        };
        context.event(flow, EventType::Normal, reason, &note).await;
    }
    if before.problems != now.problems && !now.problems.is_empty() {
        context
            .event(flow, EventType::Warning, "InvalidDefinition", &invalid(now))
            .await;
    }
    let (was, is) = (
        before.promotion.as_ref().map(|p| p.phase),
        now.promotion.as_ref().map(|p| p.phase),
    );
    if let (Some(promotion), true) = (&now.promotion, was != is) {
        match promotion.phase {
            PromotionPhase::Waiting => {
                let note = format!(
                    "release {} becomes live when approval {} is given",
                    promotion.release,
                    promotion.approval.as_deref().unwrap_or_default()
                );
                context
                    .event(flow, EventType::Normal, "PromotionWaiting", &note)
                    .await;
            }
            PromotionPhase::Rejected | PromotionPhase::TimedOut => {
                let note = format!("release {} does not become live", promotion.release);
                context
                    .event(flow, EventType::Warning, refusal(promotion.phase), &note)
                    .await;
            }
            PromotionPhase::Promoted => {}
        }
    }
}
