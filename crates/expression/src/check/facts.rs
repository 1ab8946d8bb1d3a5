//! What a condition proves: which optional values are there, and which of its known values a string has.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::ast::{Binary, Expr, Literal, Node};

/// Where a value is found: a variable, then fields.
pub type Path = Vec<String>;

/// What is known where an expression stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Values that are there.
    pub present: BTreeSet<Path>,
    /// Strings that are one of these.
    pub among: BTreeMap<Path, BTreeSet<String>>,
}

/// What follows from what a string is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Implication {
    /// The string.
    pub of: Path,
    /// If it is one of these,
    pub values: BTreeSet<String>,
    /// this is known too.
    pub then: Facts,
}

impl Facts {
    /// Both are known.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.present.extend(other.present);
        for (path, values) in other.among {
            match self.among.get_mut(&path) {
                Some(known) => known.retain(|value| values.contains(value)),
                None => {
                    self.among.insert(path, values);
                }
            }
        }
        self
    }

    /// One of the two is known, and not which.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        let present = self.present.intersection(&other.present).cloned().collect();
        let both = self.among.into_iter().filter_map(|(path, mut values)| {
            values.extend(other.among.get(&path)?.iter().cloned());
            Some((path, values))
        });
        Self {
            among: both.collect(),
            present,
        }
    }

    /// Takes in what else is known. Gives the strings of which more is known now.
    fn learn<'a>(&mut self, other: &'a Self) -> Vec<&'a Path> {
        for path in &other.present {
            if !self.present.contains(path) {
                self.present.insert(path.clone());
            }
        }
        let narrowed = other.among.iter().filter(|(path, values)| {
            let Some(known) = self.among.get_mut(*path) else {
                self.among.insert((*path).clone(), (*values).clone());
                return true;
            };
            let before = known.len();
            known.retain(|value| values.contains(value));
            known.len() < before
        });
        narrowed.map(|(path, _)| path).collect()
    }

    /// These, and all that follows from them.
    #[must_use]
    pub fn closed(self, implications: &[Arc<Implication>]) -> Self {
        Closure::of(self, implications).facts
    }
}

impl Implication {
    fn follows_from(&self, facts: &Facts) -> bool {
        let known = facts.among.get(&self.of);
        known.is_some_and(|known| known.is_subset(&self.values))
    }
}

/// Facts with all that follows from them.
pub(super) struct Closure {
    pub(super) facts: Facts,
    /// The implications of which that is known, and nothing more will be.
    pub(super) followed: Vec<bool>,
    /// How many implications were looked at.
    looks: usize,
}

impl Closure {
    /// Looks at an implication again only when more is known of its string.
    pub(super) fn of(facts: Facts, implications: &[Arc<Implication>]) -> Self {
        let mut closure = Self {
            facts,
            followed: vec![false; implications.len()],
            looks: 0,
        };
        let mut open: Vec<usize> = (0..implications.len()).collect();
        let mut by_string: Option<BTreeMap<&Path, Vec<usize>>> = None;
        while let Some(next) = open.pop() {
            closure.looks += 1;
            let implication = &implications[next];
            if closure.followed[next] || !implication.follows_from(&closure.facts) {
                continue;
            }
            closure.followed[next] = true;
            let narrowed = closure.facts.learn(&implication.then);
            if narrowed.is_empty() {
                continue;
            }
            let by_string = by_string.get_or_insert_with(|| by_string_of(implications));
            for path in narrowed {
                let again = by_string.get(path).into_iter().flatten().copied();
                open.extend(again.filter(|again| !closure.followed[*again]));
            }
        }
        closure
    }
}

fn by_string_of(implications: &[Arc<Implication>]) -> BTreeMap<&Path, Vec<usize>> {
    let mut by_string: BTreeMap<&Path, Vec<usize>> = BTreeMap::new();
    for (index, implication) in implications.iter().enumerate() {
        by_string.entry(&implication.of).or_default().push(index);
    }
    by_string
}

/// The path that an expression spells; of what a macro binds, by its place.
pub(crate) fn path_of(expr: &Expr) -> Option<Path> {
    let (operand, last) = match &expr.node {
        Node::Variable(name) => return Some(vec![name.clone()]),
        Node::Local { slot, .. } => return Some(vec![format!("#{slot}")]),
        Node::Select {
            operand,
            field,
            optional: false,
        } => (operand, field.clone()),
        Node::Index {
            operand,
            index,
            optional: false,
        } => (operand, text_of(index)?.to_owned()),
        _ => return None,
    };
    let mut path = path_of(operand)?;
    path.push(last);
    Some(path)
}

/// The string that an expression is.
pub(crate) fn text_of(expr: &Expr) -> Option<&str> {
    match &expr.node {
        Node::Literal(Literal::String(text)) => Some(text),
        _ => None,
    }
}

/// The strings that a list is written with, with where each stands.
pub(crate) fn texts_of(expr: &Expr) -> Option<Vec<(usize, &str)>> {
    match &expr.node {
        Node::List(items) => {
            let texts = items.iter().map(|(item, is_optional)| {
                let text = text_of(item).filter(|_| !is_optional)?;
                Some((item.offset, text))
            });
            texts.collect()
        }
        _ => None,
    }
}

/// What is known where a condition has been found true, or false. `known` gives the values that a string can have.
pub(crate) fn proven(
    condition: &Expr,
    truth: bool,
    known: &impl Fn(&Path) -> Option<BTreeSet<String>>,
) -> Facts {
    match &condition.node {
        Node::Not(operand) => proven(operand, !truth, known),
        Node::And(left, right) if truth => proven(left, true, known).and(proven(right, true, known)),
        Node::Or(left, right) if !truth => proven(left, false, known).and(proven(right, false, known)),
        Node::And(left, right) | Node::Or(left, right) => {
            proven(left, truth, known).or(&proven(right, truth, known))
        }
        Node::Has { operand, field } if truth => path_of(operand).map_or_else(Facts::default, |mut path| {
            path.push(field.clone());
            present(path)
        }),
        Node::Call { overloads, arguments } if truth => match (overloads.first(), arguments.as_slice()) {
            (Some(function), [optional]) if function.name == "hasValue" => has_value(optional),
            _ => Facts::default(),
        },
        // a key of a map
        Node::Binary(Binary::In, left, right) if texts_of(right).is_none() => {
            match (text_of(left).filter(|_| truth), path_of(right)) {
                (Some(key), Some(mut path)) => {
                    path.push(key.to_owned());
                    present(path)
                }
                _ => Facts::default(),
            }
        }
        Node::Binary(operator, left, right) => {
            let (path, values) = match operator {
                Binary::Equal | Binary::NotEqual => match (text_of(left), text_of(right)) {
                    (None, Some(text)) => (path_of(left), vec![text]),
                    (Some(text), None) => (path_of(right), vec![text]),
                    _ => return Facts::default(),
                },
                Binary::In => match texts_of(right) {
                    Some(texts) => (path_of(left), texts.into_iter().map(|(_, text)| text).collect()),
                    None => return Facts::default(),
                },
                Binary::Add
                | Binary::Subtract
                | Binary::Multiply
                | Binary::Divide
                | Binary::Modulo
                | Binary::Less
                | Binary::LessOrEqual
                | Binary::Greater
                | Binary::GreaterOrEqual => return Facts::default(),
            };
            let Some(path) = path else {
                return Facts::default();
            };
            let is_among = (*operator == Binary::NotEqual) != truth;
            let values: BTreeSet<String> = if is_among {
                values.into_iter().map(str::to_owned).collect()
            } else {
                let Some(mut others) = known(&path) else {
                    return Facts::default();
                };
                others.retain(|value| !values.contains(&value.as_str()));
                others
            };
            let mut facts = present(path.clone());
            facts.among.insert(path, values);
            facts
        }
        _ => Facts::default(),
    }
}

fn present(path: Path) -> Facts {
    Facts {
        present: BTreeSet::from([path]),
        among: BTreeMap::new(),
    }
}

/// `a.?b.hasValue()` and `a[?'b'].hasValue()`
fn has_value(optional: &Expr) -> Facts {
    let (operand, last) = match &optional.node {
        Node::Select {
            operand,
            field,
            optional: true,
        } => (operand, Some(field.as_str())),
        Node::Index {
            operand,
            index,
            optional: true,
        } => (operand, text_of(index)),
        _ => return Facts::default(),
    };
    match (path_of(operand), last) {
        (Some(mut path), Some(last)) => {
            path.push(last.to_owned());
            present(path)
        }
        _ => Facts::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(name: &str, value: &str) -> Facts {
        Facts {
            present: BTreeSet::from([vec![name.to_owned()]]),
            among: BTreeMap::from([(vec![name.to_owned()], BTreeSet::from([value.to_owned()]))]),
        }
    }

    /// That one string is `a` says that the next is.
    fn chain(length: usize) -> Vec<Arc<Implication>> {
        let link = |n: usize| {
            Arc::new(Implication {
                of: vec![format!("s{n}")],
                values: BTreeSet::from(["a".to_owned()]),
                then: is(&format!("s{}", n + 1), "a"),
            })
        };
        (0..length).map(link).collect()
    }

    #[test]
    fn a_long_chain_is_followed_in_work_that_grows_with_its_length() {
        for reverse in [false, true] {
            let mut chain = chain(1_000);
            if reverse {
                chain.reverse();
            }
            let closure = Closure::of(is("s0", "a"), &chain);
            assert!(closure.facts.present.contains(&vec!["s1000".to_owned()]));
            assert!(closure.followed.iter().all(|followed| *followed));
            assert!(closure.looks <= 3 * chain.len(), "{}", closure.looks);
        }
        let closure = Closure::of(is("s0", "b"), &chain(1_000));
        assert_eq!((closure.facts, closure.looks), (is("s0", "b"), 1_000));
    }
}
