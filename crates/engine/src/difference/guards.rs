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
use signoff_api::Step;

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
