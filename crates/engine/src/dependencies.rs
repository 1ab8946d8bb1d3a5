//! Flows that run each other: never in a circle, and not too deep.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::plan::Problem;
use signoff_api::Definition;

/// Most flows that run each other, from the outermost to the innermost.
pub const MAX_DEPTH: usize = 5;

/// How many flows run each other from a flow on, itself included, by its name.
pub type Depths = BTreeMap<String, usize>;

/// The flows that a flow runs; nothing, if it is not known.
pub type ChildrenOf<'a> = dyn Fn(&str) -> Option<Vec<String>> + 'a;

/// The steps of a flow by which it runs itself in the end.
pub fn circle(flow: &str, definition: &Definition, children_of: &ChildrenOf<'_>) -> Vec<Problem> {
    let next = ways_back(flow, definition, children_of);
    problems(definition, |child| {
        let (mut at, mut path) = (child, vec![child]);
        // each flow is nearer than the one before
        while at != flow {
            at = next.get(at)?;
            path.push(at);
        }
        Some(format!(
            "the flows run each other in a circle: {flow} runs {}",
            path.join(", which runs ")
        ))
    })
}

/// Of each flow that runs this one in the end: the flow that it runs on the shortest way.
fn ways_back(flow: &str, definition: &Definition, children_of: &ChildrenOf<'_>) -> BTreeMap<String, String> {
    let mut runs_it: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut seen: BTreeSet<String> = definition.children().into_iter().map(str::to_owned).collect();
    let mut unread: Vec<String> = seen.iter().cloned().collect();
    while let Some(name) = unread.pop() {
        for child in children_of(&name).unwrap_or_default() {
            if seen.insert(child.clone()) {
                unread.push(child.clone());
            }
            runs_it.entry(child).or_default().push(name.clone());
        }
    }
    let mut next = BTreeMap::new();
    let mut near = VecDeque::from([flow.to_owned()]);
    while let Some(name) = near.pop_front() {
        for above in runs_it.remove(&name).unwrap_or_default() {
            if above != flow && !next.contains_key(&above) {
                next.insert(above.clone(), name.clone());
                near.push_back(above);
            }
        }
    }
    next
}

/// The steps of a flow that run others too deep.
pub fn too_deep(definition: &Definition, depths: &Depths) -> Vec<Problem> {
    problems(definition, |child| {
        let depth = depths.get(child).map_or(1, |depth| depth.saturating_add(1));
        (depth > MAX_DEPTH)
            .then(|| format!("the flows run each other {depth} deep; at most {MAX_DEPTH} are allowed"))
    })
}

/// How many flows run each other from a flow on, where there is no circle. It stops counting past the limit.
pub fn depth(flow: &str, children_of: &ChildrenOf<'_>) -> usize {
    let mut level = BTreeSet::from([flow.to_owned()]);
    for depth in 1..=MAX_DEPTH {
        level = level
            .iter()
            .flat_map(|flow| children_of(flow).unwrap_or_default())
            .collect();
        if level.is_empty() {
            return depth;
        }
    }
    MAX_DEPTH + 1
}

fn problems<'a>(definition: &'a Definition, wrong: impl Fn(&'a str) -> Option<String>) -> Vec<Problem> {
    let steps = definition
        .steps
        .iter()
        .enumerate()
        .map(|(i, step)| ("steps", i, step));
    let last = definition.finally.iter().flatten().enumerate();
    let all = steps.chain(last.map(|(i, step)| ("finally", i, step)));
    let problems = all.filter_map(|(list, i, step)| {
        let child = step.kind.as_kind().child()?;
        Some(Problem {
            field: format!("{list}[{i}].flow.name"),
            offset: None,
            message: wrong(&child.name)?,
        })
    });
    problems.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn runs(children: &[&str]) -> Definition {
        let steps: Vec<_> = children
            .iter()
            .map(|child| json!({ "name": child, "flow": { "name": child } }))
            .collect();
        serde_json::from_value(json!({ "steps": steps })).unwrap()
    }

    fn known(flows: &[(&str, &[&str])]) -> impl Fn(&str) -> Option<Vec<String>> {
        let flows: BTreeMap<String, Vec<String>> = flows
            .iter()
            .map(|(flow, runs)| {
                (
                    (*flow).to_owned(),
                    runs.iter().map(|run| (*run).to_owned()).collect(),
                )
            })
            .collect();
        move |flow| flows.get(flow).cloned()
    }

    #[test]
    fn a_flow_that_runs_itself_in_the_end_is_told_how() {
        for (flows, expected) in [
            (&[("a", ["a"].as_slice())][..], Some("a runs a")),
            (&[("a", &["b"]), ("b", &["a"])], Some("a runs b, which runs a")),
            (
                &[("a", &["b"]), ("b", &["c", "d"]), ("c", &["c"]), ("d", &["a"])],
                Some("a runs b, which runs d, which runs a"),
            ),
            (&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])], None),
            (&[("a", &["b"])], None),
        ] {
            let definition = runs(flows[0].1);
            let found = circle("a", &definition, &known(flows));
            match expected {
                None => assert_eq!(found, []),
                Some(expected) => {
                    assert_eq!(found[0].field, "steps[0].flow.name");
                    assert!(found[0].message.ends_with(expected), "{}", found[0].message);
                }
            }
        }
    }

    #[test]
    fn flows_run_each_other_five_deep_and_no_deeper() {
        let chain = known(&[("b", &["c"]), ("c", &["d"]), ("d", &["e"]), ("e", &[])]);
        assert_eq!(depth("e", &chain), 1);
        assert_eq!(depth("b", &chain), 4);
        let depths = |depth| Depths::from([("b".to_owned(), depth)]);
        assert_eq!(too_deep(&runs(&["b"]), &depths(4)), []);
        let found = too_deep(&runs(&["x", "b"]), &depths(5));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].field, "steps[1].flow.name");
        let endless = known(&[("a", &["a"])]);
        assert_eq!(depth("a", &endless), MAX_DEPTH + 1);
    }
}
