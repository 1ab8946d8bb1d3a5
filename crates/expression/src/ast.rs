//! The tree of an expression: what the parser gives, with macros and names resolved.

use std::sync::Arc;

use crate::library::Function;

/// A constant in an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer without a sign.
    Uint(u64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    String(String),
    /// Bytes.
    Bytes(Arc<[u8]>),
}

/// An operator with two operands, both of which are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `in`
    In,
}

impl Binary {
    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
        }
    }
}

/// What a macro does with each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacroKind {
    /// `range.all(x, body)`
    All,
    /// `range.exists(x, body)`
    Exists,
    /// `range.existsOne(x, body)`
    ExistsOne,
    /// `range.map(x, [filter,] body)`, `range.filter(x, filter)`, `range.transformList(i, x, [filter,] body)`
    Map,
    /// `range.transformMap(k, v, [filter,] body)`
    TransformMap,
    /// `range.transformMapEntry(k, v, [filter,] body)`
    TransformMapEntry,
    /// `range.sortBy(x, body)`
    SortBy,
    /// `optional.optMap(x, body)`
    OptMap,
    /// `optional.optFlatMap(x, body)`
    OptFlatMap,
}

/// A macro that binds names.
#[derive(Clone, Debug)]
pub struct Comprehension {
    /// What it does.
    pub kind: MacroKind,
    /// What it goes over.
    pub range: Expr,
    /// The names it binds: one, or two.
    pub names: Vec<String>,
    /// Which elements count; all if there is none.
    pub filter: Option<Expr>,
    /// What is evaluated for each of them.
    pub body: Expr,
}

/// An entry of a map literal.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key.
    pub key: Expr,
    /// Its value.
    pub value: Expr,
    /// Whether it is left out when the value is `optional.none()`.
    pub optional: bool,
}

/// A node, what is below it, and where it is written.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub node: Node,
    /// Where it begins in the text, in bytes.
    pub offset: usize,
}

/// What a part of an expression is.
#[derive(Clone, Debug)]
pub enum Node {
    /// A constant.
    Literal(Literal),
    /// A type as a value, such as `int`.
    Type(crate::Type),
    /// A variable of the scope.
    Variable(String),
    /// A name that a macro binds, and its place among those that are bound here.
    Local {
        /// Its name.
        name: String,
        /// Its place, counted from the outermost.
        slot: usize,
    },
    /// `operand.field`, or `operand.?field`.
    Select {
        /// What the field is selected of.
        operand: Box<Expr>,
        /// The field.
        field: String,
        /// Whether the result is an optional.
        optional: bool,
    },
    /// `has(operand.field)`
    Has {
        /// What may have the field.
        operand: Box<Expr>,
        /// The field.
        field: String,
    },
    /// `operand[index]`, or `operand[?index]`.
    Index {
        /// The list or map.
        operand: Box<Expr>,
        /// The place or key.
        index: Box<Expr>,
        /// Whether the result is an optional.
        optional: bool,
    },
    /// A list; an element is optional if it is left out when it is `optional.none()`.
    List(Vec<(Expr, bool)>),
    /// A map.
    Map(Vec<Entry>),
    /// A message of the host: the map of its fields.
    Message(Vec<Entry>),
    /// `left && right`
    And(Box<Expr>, Box<Expr>),
    /// `left || right`
    Or(Box<Expr>, Box<Expr>),
    /// `!operand`
    Not(Box<Expr>),
    /// `-operand`
    Negate(Box<Expr>),
    /// `condition ? yes : no`
    Conditional(Box<[Expr; 3]>),
    /// An operator.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// A call of a function; of a method, with its target as the first argument.
    Call {
        /// The overloads that have this name and number of arguments.
        overloads: Arc<[Function]>,
        /// The arguments.
        arguments: Vec<Expr>,
    },
    /// A macro.
    Macro(Box<Comprehension>),
}

impl Expr {
    /// The nodes directly below.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.node {
            Node::Literal(_) | Node::Type(_) | Node::Variable(_) | Node::Local { .. } => vec![],
            Node::Select { operand, .. } | Node::Has { operand, .. } => vec![operand],
            Node::Not(operand) | Node::Negate(operand) => vec![operand],
            Node::Index { operand, index, .. } => vec![operand, index],
            Node::List(items) => items.iter().map(|(item, _)| item).collect(),
            Node::Map(entries) | Node::Message(entries) => entries
                .iter()
                .flat_map(|entry| [&entry.key, &entry.value])
                .collect(),
            Node::And(left, right) | Node::Or(left, right) | Node::Binary(_, left, right) => {
                vec![left, right]
            }
            Node::Conditional(parts) => parts.iter().collect(),
            Node::Call { arguments, .. } => arguments.iter().collect(),
            Node::Macro(comprehension) => {
                let mut below = vec![&comprehension.range];
                below.extend(&comprehension.filter);
                below.push(&comprehension.body);
                below
            }
        }
    }

    /// The nodes directly below, to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut Expr> {
        match &mut self.node {
            Node::Literal(_) | Node::Type(_) | Node::Variable(_) | Node::Local { .. } => vec![],
            Node::Select { operand, .. } | Node::Has { operand, .. } => vec![operand],
            Node::Not(operand) | Node::Negate(operand) => vec![operand],
            Node::Index { operand, index, .. } => vec![operand, index],
            Node::List(items) => items.iter_mut().map(|(item, _)| item).collect(),
            Node::Map(entries) | Node::Message(entries) => {
                let parts = entries.iter_mut();
                parts
                    .flat_map(|entry| [&mut entry.key, &mut entry.value])
                    .collect()
            }
            Node::And(left, right) | Node::Or(left, right) | Node::Binary(_, left, right) => {
                vec![left, right]
            }
            Node::Conditional(parts) => parts.iter_mut().collect(),
            Node::Call { arguments, .. } => arguments.iter_mut().collect(),
            Node::Macro(comprehension) => {
                let Comprehension {
                    range, filter, body, ..
                } = &mut **comprehension;
                let mut below = vec![range];
                below.extend(filter);
                below.push(body);
                below
            }
        }
    }
}
