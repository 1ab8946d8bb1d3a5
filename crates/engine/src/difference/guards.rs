//! Guards: which approvals come before which step. A step loses one without being touched itself when steps move, when `needs` changes, or
//! when the first `needs` turns the whole sequence into a graph.

use std::collections::BTreeSet;

use super::{
    Subject, is_approval,
    loosening::{Loosening, LooseningKind},
    shown::name,
    steps::Pair,
};
use crate::plan;
use signoff_api::{Step, run::StepOutcome, step::Need};

/// The approvals before every step, by name, before and after.
pub(super) struct Guards<'a> {
    old: Vec<(&'a Step, BTreeSet<&'a str>)>,
    new: Vec<(&'a Step, BTreeSet<&'a str>)>,
}

impl<'a> Guards<'a> {
    pub(super) fn of(old: &'a [Step], new: &'a [Step]) -> Self {
        Self {
            old: approvals_before(old),
            new: approvals_before(new),
        }
    }

    /// Steps with an effect that no longer wait for an approval which is still there.
    pub(super) fn lost(&self, pairs: &[Pair<'_>]) -> Vec<Loosening> {
        let left: BTreeSet<&str> = self
            .new
            .iter()
            .filter(|(step, _)| is_approval(step))
            .map(|(step, _)| step.name.as_str())
            .collect();
        let kept = pairs.iter().filter_map(|pair| match *pair {
            Pair::Kept { old, new, .. } => Some((old, new)),
            Pair::Added(_) | Pair::Removed(_) => None,
        });
        kept.filter(|(_, new)| new.kind.rules().has_effect)
            .filter_map(|(old, new)| {
                let lost: Vec<String> = before(&self.old, old)?
                    .difference(before(&self.new, new)?)
                    .copied()
                    .filter(|name| left.contains(name))
                    .map(name)
                    .collect();
                (!lost.is_empty()).then(|| Loosening {
                    subject: Subject::Step(new.name.clone()),
                    kind: LooseningKind::NoLongerGuarded,
                    before: Some(lost.join(", ")),
                    after: None,
                })
            })
            .collect()
    }
}

/// Steps that act after more outcomes of an approval than they did, or look at its outcome in another way.
pub(super) fn widened(old_steps: &[Step], pairs: &[Pair<'_>]) -> Vec<Loosening> {
    let mut found = Vec::new();
    let kept = pairs.iter().filter_map(|pair| match *pair {
        Pair::Kept { old, new, .. } => Some((name(&new.name), old, new)),
        Pair::Added(_) | Pair::Removed(_) => None,
    });
    let approvals: Vec<_> = kept
        .filter(|(_, old, new)| is_approval(old) && is_approval(new))
        .collect();
    for pair in pairs {
        let (old, new) = match *pair {
            Pair::Kept { old, new, .. } => (old, new),
            Pair::Added(_) | Pair::Removed(_) => continue,
        };
        let mut tell = |kind, before: Option<String>, after: Option<String>| {
            found.push(Loosening {
                subject: Subject::Step(new.name.clone()),
                kind,
                before,
                after,
            });
        };
        for (approval, then, now) in &approvals {
            let (Some(then), Some(now)) = (acts_after(old, then), acts_after(new, now)) else {
                continue;
            };
            if new.kind.rules().has_effect && now.iter().any(|outcome| !then.contains(outcome)) {
                let words = |outcomes: &[StepOutcome]| {
                    let words: Vec<String> = outcomes.iter().map(ToString::to_string).collect();
                    format!("{approval} {}", words.join(" or "))
                };
                tell(LooseningKind::NeedsWidened, Some(words(&then)), Some(words(&now)));
            }
        }
        let condition = plan::Condition::of(old);
        let read = old_steps
            .iter()
            .filter(|step| is_approval(step))
            .any(|approval| condition.reads_outcome(&approval.name));
        // of approvals themselves, the change of the gate says it
        if read && old.when != new.when && !is_approval(new) {
            tell(LooseningKind::GuardChanged, old.when.clone(), new.when.clone());
        }
    }
    found
}

/// Steps that came after approvals, and now run before the run ends in every case.
pub(super) fn moved_to_finally(old_steps: &[Step], new_last: &[Step]) -> Vec<Loosening> {
    let before = approvals_before(old_steps);
    let moved = new_last.iter().filter_map(|new| {
        let (_, approvals) = before.iter().find(|(old, _)| old.name == new.name)?;
        let acts = new.kind.rules().has_effect && !approvals.is_empty();
        let names: Vec<String> = approvals.iter().copied().map(name).collect();
        acts.then(|| Loosening {
            subject: Subject::Step(new.name.clone()),
            kind: LooseningKind::NoLongerGuarded,
            before: Some(names.join(", ")),
            after: None,
        })
    });
    moved.collect()
}

/// After which outcomes of an approval a step acts that needs it itself.
fn acts_after(step: &Step, approval: &Step) -> Option<Vec<StepOutcome>> {
    let needed = step
        .needs
        .iter()
        .flatten()
        .filter_map(|text| Need::parse(text).ok())
        .find(|need| need.step == approval.name)?;
    let mut outcomes = needed.outcomes.unwrap_or_else(|| {
        let mut all = approval.outcomes();
        all.retain(|outcome| *outcome != StepOutcome::Omitted);
        all
    });
    outcomes.sort_by_key(ToString::to_string);
    outcomes.dedup();
    Some(outcomes)
}

fn approvals_before(steps: &[Step]) -> Vec<(&Step, BTreeSet<&str>)> {
    let ancestors = plan::ancestors(steps);
    let names = |before: BTreeSet<usize>| {
        let before = before.into_iter().map(|at| &steps[at]);
        before
            .filter(|step| is_approval(step))
            .map(|step| step.name.as_str())
            .collect()
    };
    steps.iter().zip(ancestors.into_iter().map(names)).collect()
}

fn before<'a, 'b>(guards: &'b [(&'a Step, BTreeSet<&'a str>)], step: &Step) -> Option<&'b BTreeSet<&'a str>> {
    let found = guards.iter().find(|(other, _)| std::ptr::eq(*other, step));
    found.map(|(_, before)| before)
}
