//! An expression that was parsed.

use crate::{
    ast::Expr,
    budget::Budget,
    error::{Error, ParseError},
    evaluate::{self, Scope},
    library::Library,
    lower, parse,
    value::Value,
};

/// An expression that was parsed, with its functions found.
#[derive(Clone, Debug)]
pub struct Program {
    root: Expr,
}

impl Program {
    /// Parses an expression that may call the functions of a library.
    pub fn parse(source: &str, library: &Library) -> Result<Self, ParseError> {
        let root = parse::parse(source, |tree| lower::lower(tree, library))?;
        Ok(Self { root })
    }

    /// Its tree.
    pub fn tree(&self) -> &Expr {
        &self.root
    }

    /// Its tree, for a host that has syntax of its own to be replaced.
    pub fn tree_mut(&mut self) -> &mut Expr {
        &mut self.root
    }

    /// Its value.
    pub fn evaluate<'a>(&'a self, scope: &Scope<'a>, budget: &mut Budget) -> Result<Value<'a>, Error> {
        evaluate::evaluate(&self.root, scope, budget)
    }
}
