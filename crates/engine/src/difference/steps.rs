//! Steps that were added, removed, moved or changed, and the fields of every kind of step.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    fields::{Field, FieldChange, changes, leaf},
    is_approval,
};
use crate::kinds;
use signoff_api::{
    Json, Step,
    step::{FailureOutcome, ForEach, OnFailure},
};

/// A step that is not what it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepChange {
    /// Name of the step.
    pub step: String,
    /// Its kind, as a manifest says it; the new one where it changed.
    pub kind: &'static str,
    /// What happened to it.
    pub change: StepChangeKind,
    /// Its place among the steps, where that changed and not only because of steps around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<Move>,
    /// Its fields that differ; of an added step all that it sets, of a removed one all that it had set.
    pub fields: Vec<FieldChange>,
}

/// What happened to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum StepChangeKind {
    /// There was no step of this name.
    Added,
    /// There is no step of this name any more.
    Removed,
    /// Only its place changed.
    Moved,
    /// Its content changed, and maybe its place.
    Changed,
}

/// Places in the list of steps, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Before.
    pub from: usize,
    /// After.
    pub to: usize,
}

/// How steps come one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Order {
    /// In the order of the list.
    Sequence,
    /// As `needs` says.
    Graph,
}

/// A sequence that became a graph, or the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OrderChange {
    /// Before.
    pub before: Order,
    /// After.
    pub after: Order,
}

/// A step before and after; one of them may be missing. The places count from 0.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pair<'a> {
    Added(&'a Step),
    Removed(&'a Step),
    Kept {
        old: &'a Step,
        new: &'a Step,
        moved: Option<Move>,
    },
}

impl<'a> Pair<'a> {
    pub(super) fn name(&self) -> &'a str {
        match self {
            Self::Added(step) | Self::Removed(step) | Self::Kept { new: step, .. } => &step.name,
        }
    }
}

/// Brings steps of one name together: in the new order, then those that are gone.
pub(super) fn pair<'a>(old: &'a [Step], new: &'a [Step]) -> Vec<Pair<'a>> {
    // a valid flow has no name twice; where one has, the first goes with the first and the second with the second
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, step) in old.iter().enumerate().rev() {
        places.entry(&step.name).or_default().push(at);
    }
    let before: Vec<Option<usize>> = new
        .iter()
        .map(|step| places.get_mut(step.name.as_str())?.pop())
        .collect();
    let in_place = longest_rising(&before.iter().flatten().copied().collect::<Vec<_>>());
    let kept = new.iter().zip(&before).enumerate().map(|(to, (new, from))| {
        let Some(from) = *from else {
            return Pair::Added(new);
        };
        let moved = (!in_place.contains(&from)).then_some(Move {
            from: from + 1,
            to: to + 1,
        });
        Pair::Kept {
            old: &old[from],
            new,
            moved,
        }
    });
    let mut gone: Vec<usize> = places.into_values().flatten().collect();
    gone.sort_unstable();
    kept.chain(gone.into_iter().map(|at| Pair::Removed(&old[at])))
        .collect()
}

/// The longest part of a list of different numbers that is in rising order: what is not in it has moved.
fn longest_rising(list: &[usize]) -> BTreeSet<usize> {
    let mut best: Vec<(usize, Option<usize>)> = Vec::with_capacity(list.len());
    for (at, item) in list.iter().enumerate() {
        let before = (0..at).filter(|other| list[*other] < *item);
        let previous = before.max_by_key(|other| (best[*other].0, std::cmp::Reverse(*other)));
        best.push((previous.map_or(1, |previous| best[previous].0 + 1), previous));
    }
    let mut next = (0..list.len()).max_by_key(|at| (best[*at].0, std::cmp::Reverse(*at)));
    let mut rising = BTreeSet::new();
    while let Some(at) = next {
        rising.insert(list[at]);
        next = best[at].1;
    }
    rising
}

/// What happened to the steps.
pub(super) fn compare(pairs: &[Pair<'_>]) -> Vec<StepChange> {
    pairs.iter().filter_map(change).collect()
}

fn change(pair: &Pair<'_>) -> Option<StepChange> {
    let told = |step: &Step, change, moved, fields| StepChange {
        step: step.name.clone(),
        kind: step.kind.rules().key,
        change,
        moved,
        fields,
    };
    match *pair {
        Pair::Added(step) => Some(told(step, StepChangeKind::Added, None, fields(None, Some(step)))),
        Pair::Removed(step) => Some(told(
            step,
            StepChangeKind::Removed,
            None,
            fields(Some(step), None),
        )),
        Pair::Kept { old, new, moved } => {
            let fields = fields(Some(old), Some(new));
            let change = match (fields.is_empty(), moved) {
                (true, None) => return None,
                (true, Some(_)) => StepChangeKind::Moved,
                (false, _) => StepChangeKind::Changed,
            };
            Some(told(new, change, moved, fields))
        }
    }
}

/// Whether the steps became a graph, or a sequence again.
pub(super) fn order(old: &[Step], new: &[Step]) -> Option<OrderChange> {
    let of = |steps: &[Step]| {
        if steps.iter().any(|step| step.needs.is_some()) {
            Order::Graph
        } else {
            Order::Sequence
        }
    };
    let (before, after) = (of(old), of(new));
    (before != after).then_some(OrderChange { before, after })
}

fn fields(old: Option<&Step>, new: Option<&Step>) -> Vec<FieldChange> {
    let mut found = Vec::new();
    let kinds = (
        old.map(|step| step.kind.rules().key),
        new.map(|step| step.kind.rules().key),
    );
    if let (Some(before), Some(after)) = kinds
        && before != after
    {
        let control = old.into_iter().chain(new).any(is_approval);
        let change = leaf("kind".to_owned(), Some(before.into()), Some(after.into()));
        found.push(FieldChange { control, ..change });
    }
    found.extend(changes(old.map(common), new.map(common)));
    let (old, new) = (
        old.map(|step| kinds::of(&step.kind).fields()),
        new.map(|step| kinds::of(&step.kind).fields()),
    );
    if kinds.0 == kinds.1 {
        found.extend(changes(old, new));
    } else {
        found.extend(changes(old, None));
        found.extend(changes(None, new));
    }
    found
}

/// What every step may say.
fn common(step: &Step) -> Vec<Field> {
    let Step {
        name: _, // steps of one name are compared
        when,
        needs,
        on_failure,
        retry,
        timeout,
        delivery,
        repeat,
        for_each,
        kind: _, // compared by its own fields
    } = step;
    let failed = on_failure.as_ref().map(|OnFailure { outcome }| outcome);
    let ForEachFields {
        items,
        max_parallel,
        on_item_failure,
    } = for_each.as_ref().map(for_each_fields).unwrap_or_default();
    vec![
        Field::new("when", when.as_ref())
            .default("always")
            .control_if(is_approval(step)),
        Field::new("needs", needs.as_ref()),
        Field::new("onFailure.outcome", failed).default("Fail"),
        Field::new("retry", retry.as_ref()).default("one attempt"),
        Field::new("timeout", timeout.as_ref()),
        Field::new("delivery", delivery.as_ref()).default("AtLeastOnce"),
        Field::new("repeat", repeat.as_ref()).default("once"),
        Field::new("forEach.items", items)
            .default("once")
            .control_if(is_approval(step)),
        Field::new("forEach.maxParallel", max_parallel).default("10"),
        Field::new("forEach.onItemFailure", on_item_failure)
            .default("Fail")
            .control_if(is_approval(step)),
    ]
}

#[derive(Default)]
struct ForEachFields<'a> {
    items: Option<&'a Json>,
    max_parallel: Option<&'a i64>,
    on_item_failure: Option<&'a FailureOutcome>,
}

fn for_each_fields(for_each: &ForEach) -> ForEachFields<'_> {
    let ForEach {
        items,
        max_parallel,
        on_item_failure,
    } = for_each;
    ForEachFields {
        items: Some(items),
        max_parallel: max_parallel.as_ref(),
        on_item_failure: on_item_failure.as_ref(),
    }
}
