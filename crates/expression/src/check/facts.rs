//! What a condition proves: which optional values are there, and which of its known values a string has.

use std::collections::{BTreeMap, BTreeSet};

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

    /// These, and all that follows from them.
    #[must_use]
    pub fn closed(mut self, implications: &[Implication]) -> Self {
        let mut open: Vec<&Implication> = implications.iter().collect();
        loop {
            let (now, later): (Vec<_>, Vec<_>) = open.into_iter().partition(|implication| {
                let known = self.among.get(&implication.of);
                known.is_some_and(|known| known.is_subset(&implication.values))
            });
            if now.is_empty() {
                return self;
            }
            open = later;
            for implication in now {
                self = self.and(implication.then.clone());
            }
        }
    }
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
