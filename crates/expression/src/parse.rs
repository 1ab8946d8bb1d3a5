//! Parses a text within bounds, whoever wrote it: the parser recurses, and so do those that walk, evaluate and drop the tree.

use std::sync::Arc;

use cel::{
    IdedExpr,
    common::ast::{self, SourceInfo},
    parser::PrattParser,
};

use crate::error::ParseError;

/// Longest text, in bytes.
pub const MAX_SOURCE: usize = 64 << 10;
/// Deepest nesting of brackets, unary operators and conditionals, as in the parser of Kubernetes.
const MAX_RECURSION: u16 = 96;
/// Most nodes, those of expanded macros included.
const MAX_NODES: usize = 20_000;
/// Deepest tree: chained operators and selected fields count as well, since they are built without recursion.
pub const MAX_DEPTH: usize = 250;
/// Stack on which the parser reaches its bound, with room to spare.
const STACK: usize = 64 << 20;
/// Length up to which an expression is short enough for any stack, unless something nests in it.
const SHORT: usize = 64;

/// Parses, then hands the tree on while there is stack for it.
pub(crate) fn parse<T>(
    source: &str,
    then: impl FnOnce(IdedExpr, &SourceInfo) -> Result<T, ParseError>,
) -> Result<T, ParseError> {
    if source.len() > MAX_SOURCE {
        return Err(problem(format!("an expression has at most {MAX_SOURCE} bytes")));
    }
    if source.trim().is_empty() {
        return Err(problem("the expression is empty"));
    }
    let run = || {
        let tree = parser()
            .parse(source)
            .map_err(|errors| match errors.errors.first() {
                Some(error) if error.msg.to_lowercase().contains("recursion") => too_deep(),
                Some(error) => ParseError {
                    offset: offset_of(source, error.pos),
                    message: format!("syntax error: {}", tidy(&error.msg)),
                },
                None => problem("syntax error"),
            })?;
        if is_too_deep(&tree) {
            return Err(too_deep());
        }
        then(tree, &positions(source))
    };
    let nests = source.bytes().any(|byte| b"([{!-?".contains(&byte));
    if source.len() <= SHORT && !nests {
        run()
    } else {
        stacker::grow(STACK, run)
    }
}

fn parser() -> PrattParser {
    PrattParser::new()
        .max_recursion_depth(MAX_RECURSION)
        .max_expression_node_count(MAX_NODES)
        .error_recovery_limit(4)
        .enable_optional_syntax(true)
}

/// Where the nodes of a text that can be parsed stand. The parser gives that only with an error, so it parses the text again with a
/// bracket after its end, which it finds when the tree is complete.
fn positions(source: &str) -> Arc<SourceInfo> {
    let refused = parser().parse(&format!("{source}\n)")).err();
    let errors = refused.into_iter().flat_map(|errors| errors.errors);
    let mut known = errors.filter_map(|error| error.source_info);
    known.next().unwrap_or_default()
}

/// The parser says of some errors twice that they are of syntax.
fn tidy(message: &str) -> &str {
    let message = message.trim();
    message.strip_prefix("Syntax error: ").unwrap_or(message)
}

/// Whether a tree is deeper than its bound, found without recursion: a chain of operators may be very deep.
fn is_too_deep(tree: &IdedExpr) -> bool {
    let mut rest = vec![(1, tree)];
    while let Some((depth, node)) = rest.pop() {
        if depth > MAX_DEPTH {
            return true;
        }
        rest.extend(children(&node.expr).into_iter().map(|child| (depth + 1, child)));
    }
    false
}

fn children(expr: &ast::Expr) -> Vec<&IdedExpr> {
    match expr {
        ast::Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        ast::Expr::Comprehension(c) => {
            vec![&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result]
        }
        ast::Expr::List(list) => list.elements.iter().collect(),
        ast::Expr::Map(map) => map.entries.iter().flat_map(entry_children).collect(),
        ast::Expr::Struct(object) => object.entries.iter().flat_map(entry_children).collect(),
        ast::Expr::Select(select) => vec![&select.operand],
        ast::Expr::Unspecified | ast::Expr::Ident(_) | ast::Expr::Literal(_) => vec![],
    }
}

fn entry_children(entry: &ast::IdedEntryExpr) -> Vec<&IdedExpr> {
    match &entry.expr {
        ast::EntryExpr::StructField(field) => vec![&field.value],
        ast::EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

fn too_deep() -> ParseError {
    problem("the expression is nested too deeply")
}

fn problem(message: impl Into<String>) -> ParseError {
    ParseError {
        offset: 0,
        message: message.into(),
    }
}

/// The parser counts lines and columns from 1.
fn offset_of(source: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let column = usize::try_from(column).unwrap_or(1).max(1);
    let before: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
    (before + column - 1).min(source.len())
}
