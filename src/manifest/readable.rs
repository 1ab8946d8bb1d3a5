//! What can be read of a flow's spec that is wrong in places. What cannot be read is left out, so that everything else can
//! be judged in the same go.

use serde_json::{Value, json};

use super::wording::dotted;
use signoff_api::{Definition, Step, Trigger, name::DnsLabel};
use signoff_engine::plan::Unread;

/// A definition as far as it can be read.
#[derive(Debug)]
pub(super) struct Readable {
    pub(super) definition: Definition,
    pub(super) unread: Unread,
    /// Fields that were left out. What is told of the fields around them follows from that.
    left_out: Vec<String>,
    /// Entries of lists in whose place something else stands.
    replaced: Vec<String>,
}

impl Readable {
    /// Whether a problem of a field would not be there if everything could be read.
    pub(super) fn explains(&self, field: &str) -> bool {
        let is_around = self.left_out.iter().any(|left_out| is_below(left_out, field));
        let replaced = self.replaced.iter().find(|entry| is_below(field, entry));
        // the name and the needs of a step stand
        let stands = |entry: &String| {
            ["name", "needs"]
                .iter()
                .any(|kept| is_below(field, &format!("{entry}.{kept}")))
        };
        is_around || replaced.is_some_and(|entry| !stands(entry))
    }
}

/// Whether a field is another one or lies in it.
fn is_below(field: &str, other: &str) -> bool {
    let rest = field.strip_prefix(other);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Reads a spec, of which `wrong` names the values that the schema refuses, as JSON pointers from the object. None if it
/// cannot be told in which order the steps are, or what belongs to the flow.
pub(super) fn readable(spec: &Value, wrong: &[String], schema: &Value) -> Option<Readable> {
    let mut reader = Reader {
        schema: &schema["properties"]["spec"],
        wrong,
        unread: Unread::default(),
        left_out: vec![],
        replaced: vec![],
    };
    let mut spec = spec.clone();
    let main = spec["steps"].as_array()?.len();
    for (list, first) in [("steps", 0), ("finally", main)] {
        let steps = spec.get_mut(list).and_then(Value::as_array_mut);
        for (i, step) in steps.into_iter().flatten().enumerate() {
            reader.step((list, i), first + i, step)?;
        }
    }
    let triggers = spec.get_mut("triggers").and_then(Value::as_array_mut);
    for (i, trigger) in triggers.into_iter().flatten().enumerate() {
        reader.trigger(i, trigger);
    }
    let inputs = &spec["inputs"];
    reader.unread.inputs = !inputs.is_null() && !inputs.is_object();
    let definition = reader.whole(&mut spec)?;
    Some(Readable {
        definition,
        unread: reader.unread,
        left_out: reader.left_out,
        replaced: reader.replaced,
    })
}

struct Reader<'a> {
    /// That of the spec.
    schema: &'a Value,
    wrong: &'a [String],
    unread: Unread,
    left_out: Vec<String>,
    replaced: Vec<String>,
}

impl<'a> Reader<'a> {
    /// What is wrong in a place, as paths from there, each with its pointer.
    fn wrong_in(&self, place: &str) -> Vec<(Vec<&'a str>, &'a str)> {
        let of_place = |pointer: &'a String| {
            let rest = pointer.strip_prefix(place)?;
            let is_in = rest.is_empty() || rest.starts_with('/');
            let path = rest.split('/').filter(|part| !part.is_empty());
            is_in.then(|| (path.collect(), pointer.as_str()))
        };
        self.wrong.iter().filter_map(of_place).collect()
    }

    /// Leaves out what is wrong with a step, or puts something else in its place. None if its `needs` are lost.
    fn step(&mut self, (list, i): (&str, usize), index: usize, step: &mut Value) -> Option<()> {
        let wrong = self.wrong_in(&format!("/spec/{list}/{i}"));
        // one of two kinds could be read
        let is_wrong_itself = wrong.iter().any(|(path, _)| path.is_empty());
        if !is_wrong_itself && serde_json::from_value::<Step>(step.clone()).is_ok() {
            return Some(());
        }
        let mut rest = step.clone();
        let schema = &self.schema["properties"][list]["items"];
        let is_lost = wrong
            .iter()
            .any(|(path, _)| is_lost_without(&mut rest, path, schema));
        // `item` would be unknown
        let has_items = |step: &Value| !step["forEach"].is_null();
        let is_readable = !is_lost
            && has_items(step) == has_items(&rest)
            && serde_json::from_value::<Step>(rest.clone()).is_ok();
        let needs = &step["needs"];
        if !needs.is_null() && serde_json::from_value::<Vec<String>>(needs.clone()).is_err() {
            return None;
        }
        if is_readable {
            self.unread.parts.insert(index);
            self.unread.others |= has_loop(step) && !has_loop(&rest);
            let pointers = wrong.into_iter().map(|(_, pointer)| dotted(pointer));
            self.left_out.extend(pointers);
            *step = rest;
            return Some(());
        }
        self.unread.steps.insert(index);
        self.unread.others |= has_loop(step) || !step["name"].is_string();
        self.replaced.push(format!("spec.{list}[{i}]"));
        let name = step["name"].as_str().unwrap_or_default();
        let mut other = json!({ "name": name, "set": {} });
        if !needs.is_null() {
            other["needs"] = needs.clone();
        }
        *step = other;
        Some(())
    }

    fn trigger(&mut self, i: usize, trigger: &mut Value) {
        if serde_json::from_value::<Trigger>(trigger.clone()).is_ok() {
            return;
        }
        self.unread.triggers = true;
        self.replaced.push(format!("spec.triggers[{i}]"));
        let name = trigger["name"]
            .as_str()
            .filter(|name| name.parse::<DnsLabel>().is_ok());
        let name = name.map_or_else(|| format!("trigger-{i}"), str::to_owned);
        *trigger = json!({ "name": name, "schedule": { "cron": "0 0 * * *" } });
    }

    /// Leaves out what is wrong beside the steps, if it must be.
    fn whole(&mut self, spec: &mut Value) -> Option<Definition> {
        if let Ok(definition) = serde_json::from_value(spec.clone()) {
            return Some(definition);
        }
        for (path, pointer) in self.wrong_in("/spec") {
            let Some(field) = path
                .first()
                .filter(|field| !["steps", "finally", "triggers"].contains(field))
            else {
                continue;
            };
            self.left_out.push(dotted(pointer));
            spec.as_object_mut()?.remove(*field);
        }
        serde_json::from_value(spec.clone()).ok()
    }
}

/// Whether a step ends a loop.
fn has_loop(step: &Value) -> bool {
    !step["repeat"].is_null() || !step["approval"]["changes"].is_null()
}

/// Takes out what lies at a path. True if the value cannot be without it.
fn is_lost_without(value: &mut Value, path: &[&str], schema: &Value) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return true;
    };
    match value {
        Value::Object(map) => {
            let known = schema["properties"].get(*first);
            let schema_of_field = known.unwrap_or(&schema["additionalProperties"]);
            // it may have been taken out already
            let is_lost = map
                .get_mut(*first)
                .is_some_and(|item| is_lost_without(item, rest, schema_of_field));
            if is_lost && is_required(schema, first) {
                return true;
            }
            if is_lost {
                map.remove(*first);
            }
            false
        }
        // a list without one of its entries is another list
        Value::Array(items) => {
            let item = first.parse::<usize>().ok().and_then(|index| items.get_mut(index));
            item.is_some_and(|item| is_lost_without(item, rest, &schema["items"]))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Whether an object needs a field, or is of a sort by it.
fn is_required(schema: &Value, field: &str) -> bool {
    let sorts = schema["oneOf"].as_array().into_iter().flatten();
    let lists = [schema].into_iter().chain(sorts);
    lists
        .filter_map(|one| one["required"].as_array())
        .any(|names| names.iter().any(|name| name == field))
}
