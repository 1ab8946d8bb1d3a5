//! The flows of a scenario's files, as they run each other.

use std::collections::BTreeMap;

use super::Objects;
use crate::manifest::did_you_mean;
use signoff_api::{
    Definition, Digest,
    name::FlowName,
    names,
    release::{Dependency, content_digest},
};
use signoff_engine::{
    dependencies::{circle, depth, too_deep},
    plan::{Children, Plan, Problem},
};

/// Compiles a flow against those of the files that it runs.
pub(super) fn compile(objects: &Objects, flow: &str, definition: &Definition) -> Result<Plan, Vec<String>> {
    let told = |problems: Vec<Problem>| -> Vec<String> {
        let told = problems.into_iter();
        told.map(|problem| format!("flow {flow}: spec.{}: {}", problem.field, problem.message))
            .collect()
    };
    let wrong = run_each_other(objects, flow, definition);
    if !wrong.is_empty() {
        return Err(told(wrong));
    }
    Plan::compile_with(definition, &children(objects)).map_err(told)
}

/// What is wrong with how flows run each other: circles, and too many of them.
pub fn run_each_other(objects: &Objects, flow: &str, definition: &Definition) -> Vec<Problem> {
    let children_of = |name: &str| {
        let known = objects.flows.iter().find(|(known, _)| known.as_str() == name);
        let children = known.map(|(_, definition)| definition.children());
        children.map(|children| children.into_iter().map(str::to_owned).collect())
    };
    let circles = circle(flow, definition, &children_of);
    if !circles.is_empty() {
        return circles;
    }
    let depths = definition.children().into_iter();
    let depths = depths.map(|child| (child.to_owned(), depth(child, &children_of)));
    too_deep(definition, &depths.collect())
}

/// The inputs of all flows.
pub fn children(objects: &Objects) -> Children {
    let flows = objects.flows.iter();
    flows
        .map(|(name, definition)| (name.to_string(), definition.inputs.clone()))
        .collect()
}

/// The releases that a flow runs. Those of flows that are not in the files are there all the same.
pub(super) fn dependencies(objects: &Objects, definition: &Definition) -> Vec<Dependency> {
    below(objects, definition, &mut BTreeMap::new())
}

fn below(
    objects: &Objects,
    definition: &Definition,
    known: &mut BTreeMap<String, Digest>,
) -> Vec<Dependency> {
    let children = definition.children().into_iter();
    let dependency = |child: &str| {
        let digest = digest(objects, child, known);
        Dependency {
            flow: child.to_owned(),
            release: names::release_name(child, &digest),
            digest,
        }
    };
    children.map(dependency).collect()
}

fn digest(objects: &Objects, flow: &str, known: &mut BTreeMap<String, Digest>) -> Digest {
    if let Some(digest) = known.get(flow) {
        return digest.clone();
    }
    // in a circle, which is told elsewhere, it stands for itself
    known.insert(flow.to_owned(), Digest::of(flow.as_bytes()));
    let parsed = flow.parse::<FlowName>().ok();
    let definition = parsed.and_then(|flow| objects.flows.get(&flow));
    let digest = definition.and_then(|definition| {
        let dependencies = below(objects, definition, known);
        content_digest(definition, &dependencies).ok()
    });
    let digest = digest.unwrap_or_else(|| Digest::of(flow.as_bytes()));
    known.insert(flow.to_owned(), digest.clone());
    digest
}

/// The run that has a step, by what the names of its steps begin with, and the name of the step there.
pub(super) fn split(address: &str) -> (&str, &str) {
    let at = address.rfind('/').map_or(0, |at| at + 1);
    address.split_at(at)
}

/// Whether a scenario that names a step means the one at an address: `apply/plan` is also that step in the runs of all items
/// of `apply`, such as `apply[2]/plan`.
pub(super) fn is_meant(named: &str, address: &str) -> bool {
    named == address || named == without_items(address)
}

/// An address without the items in it.
fn without_items(address: &str) -> String {
    let segments = address.split('/');
    let names = segments.map(|segment| segment.split_once('[').map_or(segment, |(name, _)| name));
    names.collect::<Vec<_>>().join("/")
}

/// Why there is no step of this name, such as `apply/plan`, if so.
pub(super) fn unknown_step(
    objects: &Objects,
    flow: &str,
    definition: &Definition,
    address: &str,
) -> Option<String> {
    let (first, rest) = match address.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (address, None),
    };
    let (first, item) = match first.strip_suffix(']').and_then(|named| named.split_once('[')) {
        Some((name, item)) if rest.is_some() => (name, Some(item)),
        Some(_) | None => (first, None),
    };
    let Some(step) = definition.all_steps().find(|step| step.name == first) else {
        let known = definition.all_steps().map(|step| step.name.as_str());
        let meant = did_you_mean(first, known);
        return Some(format!("there is no step {first} in flow {flow}{meant}"));
    };
    let rest = rest?;
    let is_item = |item: &str| item.parse::<u16>().is_ok();
    if item.is_some_and(|item| step.for_each.is_none() || !is_item(item)) {
        return Some(format!("step {first} of flow {flow} has no such item: {address}"));
    }
    let Some(child) = step.kind.as_kind().child() else {
        return Some(format!(
            "step {first} of flow {flow} runs no flow, so there is no {address}"
        ));
    };
    let Some(known) = objects.flows.get(&child.name) else {
        return Some(format!(
            "there is no flow {} in the files, which {first} runs",
            child.name
        ));
    };
    unknown_step(objects, &child.name, known, rest)
}
