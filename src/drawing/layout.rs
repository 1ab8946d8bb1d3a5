//! Where the steps of a graph are drawn: layers from top to bottom, the order within each layer, and lanes for text.
//!
//! Everything here is pure and counts in whole numbers, so the same flow gives the same picture everywhere.

use std::collections::BTreeMap;

/// How often the order within the layers is improved.
const SWEEPS: usize = 8;
/// Precision of the middle of several positions.
const SCALE: usize = 1_000;

/// A step that comes before another one, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// What stands in a place of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    /// A step.
    Step(usize),
    /// The links from a step that pass the layer on their way. They share the place.
    Pass(usize),
}

/// Layers from top to bottom.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layers {
    pub(crate) rows: Vec<Vec<Slot>>,
}

/// The steps in an order in which each comes after those that it needs, otherwise as they are written. Steps that need
/// each other in a circle come last.
pub(crate) fn in_order(count: usize, links: &[Link]) -> Vec<usize> {
    let mut missing = vec![0_usize; count];
    for link in links {
        missing[link.to] += 1;
    }
    let mut order = Vec::with_capacity(count);
    let mut placed = vec![false; count];
    while let Some(next) = (0..count).find(|step| !placed[*step] && missing[*step] == 0) {
        placed[next] = true;
        order.push(next);
        for link in links.iter().filter(|link| link.from == next) {
            missing[link.to] -= 1;
        }
    }
    order.extend((0..count).filter(|step| !placed[*step]));
    order
}

/// The links that lead from an earlier step of an order to a later one. In a circle, some do not.
pub(crate) fn forward(order: &[usize], links: &[Link]) -> Vec<Link> {
    let mut position = vec![0; order.len()];
    for (at, step) in order.iter().enumerate() {
        position[*step] = at;
    }
    let mut forward: Vec<Link> = links.to_vec();
    forward.retain(|link| position[link.from] < position[link.to]);
    forward
}

/// Puts each step one layer below the lowest of those that it needs, and orders each layer so that few links cross.
pub(crate) fn layers(count: usize, links: &[Link]) -> Layers {
    let order = in_order(count, links);
    let links = forward(&order, links);
    let mut layer = vec![0_usize; count];
    for step in &order {
        for link in links.iter().filter(|link| link.to == *step) {
            layer[*step] = layer[*step].max(layer[link.from] + 1);
        }
    }
    let depth = layer.iter().max().map_or(0, |deepest| deepest + 1);
    let mut rows: Vec<Vec<Slot>> = vec![vec![]; depth];
    for step in 0..count {
        rows[layer[step]].push(Slot::Step(step));
    }
    for step in 0..count {
        let ends = links.iter().filter(|link| link.from == step);
        let lowest = ends.map(|link| layer[link.to]).max().unwrap_or(0);
        let passed = layer[step] + 1..lowest.max(layer[step] + 1);
        for row in &mut rows[passed] {
            row.push(Slot::Pass(step));
        }
    }
    for sweep in 0..SWEEPS {
        let downwards = sweep % 2 == 0;
        let at: Vec<usize> = if downwards {
            (1..depth).collect()
        } else {
            (0..depth.saturating_sub(1)).rev().collect()
        };
        for row in at {
            let beside = if downwards { row - 1 } else { row + 1 };
            let positions = rows[beside].iter().copied().zip(0..).collect();
            sort(&mut rows[row], &positions, &links, downwards);
        }
    }
    Layers { rows }
}

/// Orders a row by the middle of what each slot is linked with in the row beside it.
fn sort(row: &mut [Slot], beside: &BTreeMap<Slot, usize>, links: &[Link], downwards: bool) {
    let linked = |slot: Slot| -> Vec<Slot> {
        let (Slot::Step(step) | Slot::Pass(step)) = slot;
        let to = links.iter().filter(|link| link.from == step);
        let from = links.iter().filter(|link| link.to == step);
        match (slot, downwards) {
            (Slot::Pass(_), true) => vec![Slot::Step(step), Slot::Pass(step)],
            (Slot::Step(_), true) => from
                .flat_map(|link| [Slot::Step(link.from), Slot::Pass(link.from)])
                .collect(),
            (Slot::Step(_) | Slot::Pass(_), false) => to
                .map(|link| Slot::Step(link.to))
                .chain([Slot::Pass(step)])
                .collect(),
        }
    };
    let middle = |at: usize, slot: Slot| {
        let places = linked(slot)
            .into_iter()
            .filter_map(|slot| beside.get(&slot).copied());
        let places: Vec<usize> = places.collect();
        match places.len() {
            // what is linked with nothing stays where it is
            0 => at * SCALE,
            n => places.iter().sum::<usize>() * SCALE / n,
        }
    };
    let mut keyed: Vec<(usize, usize, Slot)> = row
        .iter()
        .enumerate()
        .map(|(at, slot)| (middle(at, *slot), at, *slot))
        .collect();
    keyed.sort_by_key(|(middle, at, _)| (*middle, *at));
    for (place, (.., slot)) in row.iter_mut().zip(keyed) {
        *place = slot;
    }
}

/// A step as it is drawn in text: a lane for each step that later steps still wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LaneRow {
    pub(crate) step: usize,
    /// The lanes before the step is reached; true where one is in use.
    pub(crate) before: Vec<bool>,
    /// The lanes that lead into the step.
    pub(crate) joined: Vec<usize>,
    /// The lane of the step.
    pub(crate) at: usize,
    /// The lanes after the step.
    pub(crate) after: Vec<bool>,
}

/// The steps in order, each with its lanes.
pub(crate) fn lanes(count: usize, links: &[Link]) -> Vec<LaneRow> {
    let order = in_order(count, links);
    let links = forward(&order, links);
    let mut waiting = vec![0_usize; count];
    for link in &links {
        waiting[link.from] += 1;
    }
    let mut lanes: Vec<Option<usize>> = Vec::new();
    let used = |lanes: &[Option<usize>]| lanes.iter().map(Option::is_some).collect::<Vec<_>>();
    let mut rows = Vec::with_capacity(count);
    for step in order {
        let before = used(&lanes);
        let mut joined = Vec::new();
        for (lane, of) in lanes.iter_mut().enumerate() {
            let Some(from) = *of else { continue };
            let many = links.iter().filter(|link| link.from == from && link.to == step);
            let many = many.count();
            if many == 0 {
                continue;
            }
            joined.push(lane);
            waiting[from] -= many;
            if waiting[from] == 0 {
                *of = None;
            }
        }
        let ended = joined.iter().copied().find(|lane| lanes[*lane].is_none());
        let free = ended.or_else(|| lanes.iter().position(Option::is_none));
        let at = free.unwrap_or(lanes.len());
        if at == lanes.len() {
            lanes.push(None);
        }
        lanes[at] = (waiting[step] > 0).then_some(step);
        let after = used(&lanes);
        while lanes.last().is_some_and(Option::is_none) {
            lanes.pop();
        }
        rows.push(LaneRow {
            step,
            before,
            joined,
            at,
            after,
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn links(pairs: &[(usize, usize)]) -> Vec<Link> {
        let pairs = pairs.iter();
        pairs.map(|(from, to)| Link { from: *from, to: *to }).collect()
    }

    #[test]
    fn each_step_is_below_all_that_it_needs_and_a_long_link_has_a_place_in_each_layer() {
        let drawn = layers(4, &links(&[(0, 1), (1, 2), (2, 3), (0, 3)]));
        assert_eq!(
            drawn.rows,
            [
                vec![Slot::Step(0)],
                vec![Slot::Step(1), Slot::Pass(0)],
                vec![Slot::Step(2), Slot::Pass(0)],
                vec![Slot::Step(3)],
            ]
        );
    }

    #[test]
    fn the_order_of_a_layer_avoids_crossings() {
        // 0 and 1 begin; 2 needs 1, and 3 needs 0
        let drawn = layers(4, &links(&[(1, 2), (0, 3)]));
        assert_eq!(drawn.rows[1], [Slot::Step(3), Slot::Step(2)]);
    }

    #[test]
    fn steps_in_a_circle_are_drawn_all_the_same() {
        let circle = links(&[(0, 1), (1, 2), (2, 1)]);
        assert_eq!(in_order(3, &circle), [0, 1, 2]);
        assert_eq!(layers(3, &circle).rows.len(), 3);
        assert_eq!(lanes(3, &circle).len(), 3);
    }

    #[test]
    fn a_sequence_has_one_lane_and_a_branch_a_second_one() {
        let rows = lanes(3, &links(&[(0, 1), (1, 2)]));
        assert!(rows.iter().all(|row| row.at == 0 && row.after.len() == 1));
        let rows = lanes(4, &links(&[(0, 1), (0, 2), (1, 3), (2, 3)]));
        let at: Vec<usize> = rows.iter().map(|row| row.at).collect();
        assert_eq!(at, [0, 1, 0, 0]);
        assert_eq!(rows[3].joined, [0, 1]);
    }

    proptest! {
        #[test]
        fn every_step_has_one_place_and_every_link_leads_down(
            count in 1_usize..20,
            pairs in prop::collection::vec((0_usize..20, 0_usize..20), 0..40),
        ) {
            let all: Vec<Link> = pairs
                .into_iter()
                .filter(|(from, to)| from < to && *to < count)
                .map(|(from, to)| Link { from, to })
                .collect();
            let drawn = layers(count, &all);
            let mut layer = vec![None; count];
            for (row, slots) in drawn.rows.iter().enumerate() {
                for slot in slots {
                    if let Slot::Step(step) = slot {
                        prop_assert_eq!(layer[*step].replace(row), None);
                    }
                }
            }
            for link in &all {
                prop_assert!(layer[link.from] < layer[link.to]);
            }
            let rows = lanes(count, &all);
            prop_assert_eq!(rows.len(), count);
            prop_assert!(rows.last().is_none_or(|row| row.after.iter().all(|used| !used)));
        }
    }
}
