//! The order of steps: each after the one before it, or as `needs` says.

use std::collections::BTreeSet;

use super::Problem;
use signoff_api::Step;

/// For each step what it needs and everything that comes before it.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) needs: Vec<Vec<usize>>,
    pub(super) ancestors: Vec<BTreeSet<usize>>,
}

impl Graph {
    /// Resolves names and refuses cycles.
    pub(super) fn of(steps: &[Step], problems: &mut Vec<Problem>) -> Self {
        let needs = resolve(steps, problems);
        if let Some(cycle) = cycle(&needs) {
            let names: Vec<&str> = cycle.iter().map(|step| steps[*step].name.as_str()).collect();
            let message = format!("the steps need each other in a circle: {}", names.join(" needs "));
            problems.push(Problem {
                field: format!("steps[{}].needs", cycle[0]),
                offset: None,
                message,
            });
            return Self {
                ancestors: vec![(0..steps.len()).collect(); steps.len()],
                needs: vec![vec![]; steps.len()],
            };
        }
        let ancestors = (0..steps.len()).map(|step| ancestors(step, &needs)).collect();
        Self { needs, ancestors }
    }

    /// The step itself and every step that comes after it.
    pub(super) fn from(&self, step: usize) -> BTreeSet<usize> {
        (0..self.needs.len())
            .filter(|other| *other == step || self.ancestors[*other].contains(&step))
            .collect()
    }
}

fn resolve(steps: &[Step], problems: &mut Vec<Problem>) -> Vec<Vec<usize>> {
    if steps.iter().all(|step| step.needs.is_none()) {
        return (0..steps.len())
            .map(|step| step.checked_sub(1).into_iter().collect())
            .collect();
    }
    let position = |name: &str| steps.iter().position(|step| step.name == name);
    let mut resolved = Vec::with_capacity(steps.len());
    for (i, step) in steps.iter().enumerate() {
        let mut needs = Vec::new();
        for (n, name) in step.needs.iter().flatten().enumerate() {
            match position(name) {
                Some(needed) => needs.push(needed),
                None => problems.push(Problem {
                    field: format!("steps[{i}].needs[{n}]"),
                    offset: None,
                    message: format!("there is no step {name}"),
                }),
            }
        }
        resolved.push(needs);
    }
    resolved
}

/// A cycle, starting and ending with the same step, if there is one.
fn cycle(needs: &[Vec<usize>]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Unseen,
        Open,
        Done,
    }
    fn visit(step: usize, needs: &[Vec<usize>], marks: &mut [Mark], path: &mut Vec<usize>) -> bool {
        match marks[step] {
            Mark::Done => return false,
            Mark::Open => {
                let start = path.iter().position(|seen| *seen == step).unwrap_or(0);
                path.drain(..start);
                path.push(step);
                return true;
            }
            Mark::Unseen => {}
        }
        marks[step] = Mark::Open;
        path.push(step);
        if needs[step].iter().any(|next| visit(*next, needs, marks, path)) {
            return true;
        }
        path.pop();
        marks[step] = Mark::Done;
        false
    }
    let mut marks = vec![Mark::Unseen; needs.len()];
    (0..needs.len()).find_map(|step| {
        let mut path = Vec::new();
        visit(step, needs, &mut marks, &mut path).then_some(path)
    })
}

fn ancestors(step: usize, needs: &[Vec<usize>]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = needs[step].clone();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(&needs[next]);
        }
    }
    found
}
