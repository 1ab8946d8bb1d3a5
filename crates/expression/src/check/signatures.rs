//! The types that functions take and give, where they depend on each other. The table of the library says only which kinds of values they
//! are.

use super::{types::StaticType, unify::Substitution};
use crate::{ast::Binary, library::Function, types::Type};

/// A type in a signature.
#[derive(Clone, Copy, Debug)]
pub(super) enum Declared {
    /// A type without parameters, or with any.
    Of(Type),
    /// The same type wherever it stands in a signature.
    Param(usize),
    List(&'static Declared),
    Map(&'static Declared, &'static Declared),
    Optional(&'static Declared),
    TypeOf(&'static Declared),
}

use Declared::{List, Map, Of, Optional, Param, TypeOf};

/// What a function takes, and what it gives.
pub(super) type Signature = (Vec<Declared>, Declared);

const A: Declared = Param(0);
const B: Declared = Param(1);
const BOOL: Declared = Of(Type::Bool);
const INT: Declared = Of(Type::Int);
const UINT: Declared = Of(Type::Uint);
const DOUBLE: Declared = Of(Type::Double);
const STRING: Declared = Of(Type::String);
const BYTES: Declared = Of(Type::Bytes);
const TIMESTAMP: Declared = Of(Type::Timestamp);
const DURATION: Declared = Of(Type::Duration);
const DYN: Declared = Of(Type::Dyn);
const LIST: Declared = List(&A);
const MAP: Declared = Map(&A, &B);
const STRINGS: Declared = List(&STRING);
const MAYBE: Declared = Optional(&A);

/// What can be put in order.
const COMPARABLE: [Declared; 8] = [INT, UINT, DOUBLE, BOOL, DURATION, TIMESTAMP, STRING, BYTES];
const LISTS_OF_COMPARABLE: [Declared; 8] = [
    List(&INT),
    List(&UINT),
    List(&DOUBLE),
    List(&BOOL),
    List(&DURATION),
    List(&TIMESTAMP),
    STRINGS,
    List(&BYTES),
];
/// The sum of an empty list is the integer 0 whatever it is a list of, since its values say no other type.
const SUMMABLE: [(Declared, Declared); 4] = [
    (List(&INT), INT),
    (List(&UINT), DYN),
    (List(&DOUBLE), DYN),
    (List(&DURATION), DYN),
];

impl Declared {
    /// The type, with a fresh unknown one for each parameter.
    pub(super) fn instance(self, parameters: &[StaticType; 2]) -> StaticType {
        match self {
            Of(type_) => type_.into(),
            Param(place) => parameters.get(place).cloned().unwrap_or(StaticType::Dyn),
            List(item) => StaticType::list(item.instance(parameters)),
            Map(key, value) => StaticType::map(key.instance(parameters), value.instance(parameters)),
            Optional(value) => StaticType::optional(value.instance(parameters)),
            TypeOf(type_) => StaticType::type_of(type_.instance(parameters)),
        }
    }
}

/// The signatures of a function with the overloads that were found for a call.
pub(super) fn of_function(overloads: &[Function]) -> Vec<Signature> {
    let Some(first) = overloads.first() else {
        return vec![];
    };
    if let Some(special) = special(&first.name, first.is_method, first.parameters.len()) {
        return special;
    }
    let plain = overloads.iter().map(|function| {
        let parameters = function.parameters.iter().map(|type_| Of(*type_)).collect();
        (parameters, Of(function.result))
    });
    plain.collect()
}

fn special(name: &str, is_method: bool, count: usize) -> Option<Vec<Signature>> {
    let one = |parameters: &[Declared], result| Some(vec![(parameters.to_vec(), result)]);
    match (name, is_method, count) {
        ("size", _, 1) => Some(
            [STRING, BYTES, LIST, MAP]
                .into_iter()
                .map(|of| (vec![of], INT))
                .collect(),
        ),
        ("type", false, 1) => one(&[A], TypeOf(&A)),
        ("isSorted", true, 1) => Some(LISTS_OF_COMPARABLE.map(|list| (vec![list], BOOL)).to_vec()),
        ("sum", true, 1) => Some(SUMMABLE.map(|(list, item)| (vec![list], item)).to_vec()),
        ("min" | "max", true, 1) => {
            let items = LISTS_OF_COMPARABLE.into_iter().zip(COMPARABLE);
            Some(items.map(|(list, item)| (vec![list], item)).collect())
        }
        // of strings there are overloads with the same number of arguments
        ("indexOf" | "lastIndexOf", true, 2) => Some(vec![(vec![STRING, STRING], INT), (vec![LIST, A], INT)]),
        ("sort", true, 1) => Some(LISTS_OF_COMPARABLE.map(|list| (vec![list], list)).to_vec()),
        ("slice", true, 3) => one(&[LIST, INT, INT], LIST),
        ("flatten", true, 1) => one(&[List(&LIST)], LIST),
        ("flatten", true, 2) => one(&[List(&DYN), INT], List(&DYN)),
        ("reverse" | "distinct", true, 1) => one(&[LIST], LIST),
        ("lists.range", false, 1) => one(&[INT], List(&INT)),
        ("sets.contains" | "sets.equivalent" | "sets.intersects", false, 2) => one(&[LIST, LIST], BOOL),
        ("split", true, 2) => one(&[STRING, STRING], STRINGS),
        ("split", true, 3) => one(&[STRING, STRING, INT], STRINGS),
        ("join", true, 1) => one(&[STRINGS], STRING),
        ("join", true, 2) => one(&[STRINGS, STRING], STRING),
        ("findAll", true, 2) => one(&[STRING, STRING], STRINGS),
        ("findAll", true, 3) => one(&[STRING, STRING, INT], STRINGS),
        ("getQuery", true, 1) => one(&[Of(Type::Url)], Map(&STRING, &STRINGS)),
        ("format.named", false, 1) => one(&[STRING], Optional(&Of(Type::Format))),
        ("validate", true, 2) => one(&[Of(Type::Format), STRING], Optional(&STRINGS)),
        ("optional.of" | "optional.ofNonZeroValue", false, 1) => one(&[A], MAYBE),
        ("optional.none", false, 0) => one(&[], MAYBE),
        ("optional.unwrap", false, 1) | ("unwrapOpt", true, 1) => one(&[List(&MAYBE)], LIST),
        ("value", true, 1) => one(&[MAYBE], A),
        ("hasValue", true, 1) => one(&[MAYBE], BOOL),
        ("or", true, 2) => one(&[MAYBE, MAYBE], MAYBE),
        ("orValue", true, 2) => one(&[MAYBE, A], A),
        _ => None,
    }
}

/// The signatures of an operator.
pub(super) fn of_operator(operator: Binary) -> Vec<Signature> {
    let same = |types: &[Declared]| -> Vec<Signature> {
        types.iter().map(|type_| (vec![*type_, *type_], *type_)).collect()
    };
    match operator {
        Binary::Add => {
            let mut all = same(&[BYTES, DOUBLE, DURATION]);
            all.push((vec![DURATION, TIMESTAMP], TIMESTAMP));
            all.push((vec![TIMESTAMP, DURATION], TIMESTAMP));
            all.extend(same(&[INT, LIST, STRING, UINT]));
            all
        }
        Binary::Subtract => {
            let mut all = same(&[DOUBLE, DURATION, INT]);
            all.push((vec![TIMESTAMP, DURATION], TIMESTAMP));
            all.push((vec![TIMESTAMP, TIMESTAMP], DURATION));
            all.extend(same(&[UINT]));
            all
        }
        Binary::Multiply | Binary::Divide => same(&[DOUBLE, INT, UINT]),
        Binary::Modulo => same(&[INT, UINT]),
        Binary::Equal | Binary::NotEqual => vec![(vec![A, A], BOOL)],
        Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
            let numbers = [INT, UINT, DOUBLE];
            let others = [BOOL, STRING, BYTES, TIMESTAMP, DURATION];
            let mut all: Vec<Signature> = Vec::new();
            for left in numbers {
                all.extend(numbers.map(|right| (vec![left, right], BOOL)));
            }
            all.extend(others.map(|other| (vec![other, other], BOOL)));
            all
        }
        Binary::In => vec![(vec![A, LIST], BOOL), (vec![A, MAP], BOOL)],
    }
}

/// The signatures of `_[_]`, or of `_[?_]`.
pub(super) fn of_index(is_optional: bool) -> Vec<Signature> {
    let whole = [(vec![LIST, INT], A), (vec![MAP, A], B)];
    let maybe = [
        (vec![Optional(&LIST), INT], MAYBE),
        (vec![Optional(&MAP), A], Optional(&B)),
    ];
    if is_optional {
        let plain = [(vec![LIST, INT], MAYBE), (vec![MAP, A], Optional(&B))];
        plain.into_iter().chain(maybe).collect()
    } else {
        whole.into_iter().chain(maybe).collect()
    }
}

pub(super) fn of_negation() -> Vec<Signature> {
    [INT, DOUBLE].map(|number| (vec![number], number)).to_vec()
}

/// What `sortBy` takes: a list, and the list of what it is sorted by.
pub(super) fn of_sorting() -> Vec<Signature> {
    LISTS_OF_COMPARABLE.map(|keys| (vec![LIST, keys], LIST)).to_vec()
}

/// What these arguments give, if a signature takes them. If several do with different results, nothing is known of the result.
pub(super) fn resolve(
    signatures: &[Signature],
    arguments: &[StaticType],
    substitution: &mut Substitution,
) -> Option<StaticType> {
    let mut result: Option<StaticType> = None;
    for (parameters, gives) in signatures {
        if parameters.len() != arguments.len() {
            continue;
        }
        let fresh = [substitution.fresh(), substitution.fresh()];
        let wanted: Vec<StaticType> = parameters.iter().map(|type_| type_.instance(&fresh)).collect();
        if !substitution.assign_all(arguments, &wanted) {
            continue;
        }
        let given = substitution.resolve(&gives.instance(&fresh));
        result = Some(match result {
            Some(known) if known != given => StaticType::Dyn,
            Some(known) => known,
            None => given,
        });
    }
    result
}
