//! Which runs of a namespace are deleted because they are past the retention of their flow. A run that something still needs
//! stays, and is looked at again later.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

#[cfg(test)]
mod tests;

/// How long a run stays at least whose request may be repeated, unless its flow says a shorter time: whoever asks again
/// must find it.
pub const REPEATED: Duration = Duration::from_hours(72);

/// A run that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFacts {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its flow.
    pub flow: String,
    /// When it ended, if it has.
    pub finished_at: Option<Timestamp>,
    /// Whether its record is written.
    pub is_recorded: bool,
    /// The run whose step started it, if there is one.
    pub parent: Option<Parent>,
    /// Name of the run that it retries.
    pub retries: Option<String>,
    /// Name of the run whose end started it.
    pub started_after: Option<String>,
    /// Whether whoever asked for it may ask again and must get the same one: a webhook started it, or somebody gave it its
    /// name.
    pub is_repeatable: bool,
}

/// The run whose step started another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its uid.
    pub uid: String,
    /// Whether the other one is deleted with it.
    pub owns: bool,
}

/// What a flow says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How many ended runs stay.
    pub keep: usize,
    /// How long they stay.
    pub after: Duration,
}

/// How long runs stay whatever their flows keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Any run: somebody may be about to read how it ended.
    pub least: Duration,
    /// A run whose request may be repeated.
    pub repeated: Duration,
}

/// Runs that are deleted in one look, since each but the first goes on from another of them. If only some of them were gone, it
/// could not be told any more that the rest was retried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Those to delete, as indexes, in this order: the one that ended first at the beginning.
    pub roots: Vec<usize>,
    /// All that are gone then: those and whatever they own.
    pub all: Vec<usize>,
}

/// The runs to delete, the ones that ended first at the beginning.
pub fn leaving(runs: &[RunFacts], rule: impl Fn(&str) -> Rule, stay: Stay, now: Timestamp) -> Vec<Leaving> {
    let families = Families::of(runs);
    let mut of_flow: HashMap<&str, Vec<(Timestamp, usize)>> = HashMap::new();
    for root in families.roots() {
        if let Some(finished_at) = runs[root].finished_at {
            let flow = of_flow.entry(&runs[root].flow).or_default();
            flow.push((finished_at, root));
        }
    }
    let mut past = HashSet::new();
    for (flow, mut ended) in of_flow {
        // the newest first; of two that ended at once, one order in every look
        ended.sort_by_key(|(at, run)| (Reverse(*at), &runs[*run].name));
        let rule = rule(flow);
        let of_flow = ended.into_iter().enumerate().filter(|(rank, (at, run))| {
            let age = age(*at, now);
            is_past(&runs[*run], *rank, age, rule, stay)
        });
        past.extend(of_flow.map(|(_, (_, run))| run));
    }
    let order = |root: &usize| (runs[*root].finished_at, &runs[*root].name);
    let mut leaving = Vec::new();
    for mut roots in families.chains() {
        if !roots.iter().all(|root| past.contains(root)) {
            continue;
        }
        let gone: HashSet<usize> = roots.iter().flat_map(|root| families.family(*root)).collect();
        if families.may_go(&gone) {
            roots.sort_by_key(order);
            let mut all: Vec<usize> = gone.into_iter().collect();
            all.sort_unstable();
            leaving.push(Leaving { roots, all });
        }
    }
    leaving.sort_by_key(|group| group.roots.first().map(order));
    leaving
}

fn age(since: Timestamp, now: Timestamp) -> Duration {
    let age = now.duration_since(since);
    if age < SignedDuration::ZERO {
        Duration::ZERO
    } else {
        age.unsigned_abs()
    }
}

fn is_past(run: &RunFacts, rank: usize, age: Duration, rule: Rule, stay: Stay) -> bool {
    if age < stay.least {
        return false;
    }
    let repeated = if run.is_repeatable {
        rule.after.min(stay.repeated)
    } else {
        Duration::ZERO
    };
    age >= rule.after || rank >= rule.keep && age >= repeated
}

/// Runs, and those that they own.
struct Families<'a> {
    runs: &'a [RunFacts],
    by_uid: HashMap<&'a str, usize>,
    by_name: HashMap<&'a str, usize>,
    children: HashMap<usize, Vec<usize>>,
    /// The runs that retry another one, by that.
    retried: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Families<'a> {
    fn of(runs: &'a [RunFacts]) -> Self {
        let mut families = Self {
            runs,
            by_uid: HashMap::new(),
            by_name: HashMap::new(),
            children: HashMap::new(),
            retried: HashMap::new(),
        };
        for (at, run) in runs.iter().enumerate() {
            families.by_uid.insert(&run.uid, at);
            families.by_name.insert(&run.name, at);
            if let Some(earlier) = &run.retries {
                families.retried.entry(earlier).or_default().push(at);
            }
        }
        for at in 0..runs.len() {
            if let Some(owner) = families.owner(at) {
                families.children.entry(owner).or_default().push(at);
            }
        }
        families
    }

    fn owner(&self, run: usize) -> Option<usize> {
        let parent = self.runs[run].parent.as_ref().filter(|parent| parent.owns)?;
        self.by_uid.get(parent.uid.as_str()).copied()
    }

    /// The runs that no other one owns.
    fn roots(&self) -> impl Iterator<Item = usize> {
        (0..self.runs.len()).filter(|run| self.owner(*run).is_none())
    }

    /// A run and all that it owns.
    fn family(&self, root: usize) -> HashSet<usize> {
        let mut family = HashSet::from([root]);
        let mut left = vec![root];
        while let Some(run) = left.pop() {
            let children = self.children.get(&run).into_iter().flatten();
            left.extend(children.filter(|child| family.insert(**child)));
        }
        family
    }

    /// The roots, together those of which one, or a run that it owns, retries another or a run that that owns.
    fn chains(&self) -> Vec<Vec<usize>> {
        let mut root_of = HashMap::new();
        for root in self.roots() {
            root_of.extend(self.family(root).into_iter().map(|run| (run, root)));
        }
        let mut beside: HashMap<usize, Vec<usize>> = HashMap::new();
        for (earlier, retries) in &self.retried {
            let earlier = self.by_name.get(earlier).and_then(|run| root_of.get(run));
            for retry in retries.iter().filter_map(|run| root_of.get(run)) {
                if let Some(earlier) = earlier {
                    beside.entry(*earlier).or_default().push(*retry);
                    beside.entry(*retry).or_default().push(*earlier);
                }
            }
        }
        let mut seen = HashSet::new();
        let mut chains = Vec::new();
        for root in self.roots() {
            if !seen.insert(root) {
                continue;
            }
            let (mut chain, mut left) = (vec![root], vec![root]);
            while let Some(run) = left.pop() {
                let others = beside.get(&run).into_iter().flatten();
                let new: Vec<usize> = others.copied().filter(|other| seen.insert(*other)).collect();
                chain.extend(&new);
                left.extend(new);
            }
            chains.push(chain);
        }
        chains
    }

    /// Whether everything is recorded that would be gone, and nothing that stays needs any of it.
    fn may_go(&self, gone: &HashSet<usize>) -> bool {
        gone.iter().all(|at| {
            let run = &self.runs[*at];
            let mut needed_by = self.needed_by(*at);
            run.finished_at.is_some() && run.is_recorded && needed_by.all(|other| gone.contains(&other))
        })
    }

    /// The runs that need a run.
    fn needed_by(&self, run: usize) -> impl Iterator<Item = usize> {
        let run = &self.runs[run];
        // it goes on from what this one did
        let retries = self.retried.get(run.name.as_str()).into_iter().flatten();
        // its end is looked for again, and must find what it started
        let before = run.started_after.as_ref();
        let before = before.and_then(|before| self.by_name.get(before.as_str()));
        // it may look for what it started
        let parent = run.parent.as_ref();
        let parent = parent.and_then(|parent| self.by_uid.get(parent.uid.as_str()));
        let parent = parent.filter(|parent| self.runs[**parent].finished_at.is_none());
        retries.chain(before).chain(parent).copied()
    }
}
