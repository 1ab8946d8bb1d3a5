//! An expression that was parsed.

use crate::{
    ast::Expr,
    budget::Budget,
    check::{self, CheckError, Declarations, Facts, StaticType},
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
        let root = parse::parse(source, |tree, info| lower::lower(tree, info, library))?;
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

    /// The type of its value, with everything that is wrong before it is evaluated.
    ///
    /// # Errors
    /// All that is wrong, in the order of the text.
    pub fn check(&self, declarations: &Declarations) -> Result<StaticType, Vec<CheckError>> {
        check::check(&self.root, declarations)
    }

    /// What is known where this condition has been found true. What follows from that is for [`Facts::closed`].
    pub fn proves(&self, declarations: &Declarations) -> Facts {
        check::proven_by(&self.root, declarations)
    }

    /// Its value.
    pub fn evaluate<'a>(&'a self, scope: &Scope<'a>, budget: &mut Budget) -> Result<Value<'a>, Error> {
        evaluate::evaluate(&self.root, scope, budget)
    }
}
