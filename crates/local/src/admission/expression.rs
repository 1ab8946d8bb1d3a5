//! Expressions of a policy: parsed once, with every name in them known.

use std::sync::LazyLock;

use signoff_expression::{Budget, Error, Expr, Library, Message, Node, Program, Scope, Value};

use super::authorizer;

/// The functions and messages that an expression of a policy can use.
static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let patch = Message {
        name: "JSONPatch",
        fields: &["op", "path", "from", "value"],
    };
    Library::kubernetes()
        .with(authorizer::functions())
        .with_messages([patch])
});

/// Where an expression is used, which decides what it can name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// In a condition, variable, validation or mutation.
    Rule,
    /// In a message or an audit annotation, which cannot use `authorizer`.
    Message,
}

/// An expression, with its text.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) source: String,
    program: Program,
}

/// A variable of a policy, which expressions below it name as in `variables.user`.
#[derive(Debug)]
pub(super) struct Variable {
    name: String,
    expression: Expression,
}

impl Variable {
    pub(super) fn parse(name: &str, source: &str, known: &[Self]) -> Result<Self, String> {
        Ok(Self {
            name: format!("variables.{name}"),
            expression: Expression::parse(source, Place::Rule, known)?,
        })
    }
}

/// Adds the variables of a policy to what its expressions can read.
pub(super) fn define<'a>(variables: &'a [Variable], scope: &mut Scope<'a>) {
    for variable in variables {
        scope.define(&variable.name, &variable.expression.program);
    }
}

impl Expression {
    /// An expression in which these variables are known.
    pub(super) fn parse(source: &str, place: Place, known: &[Variable]) -> Result<Self, String> {
        let source = source.trim().to_owned();
        let mut program = Program::parse(&source, &LIBRARY).map_err(|error| error.message)?;
        resolve(program.tree_mut(), place, known)?;
        Ok(Self { source, program })
    }

    /// Its value, within the budget of one expression.
    pub(super) fn evaluate<'a>(
        &'a self,
        scope: &Scope<'a>,
        budget: &mut Budget,
    ) -> Result<Value<'a>, String> {
        let value = self.program.evaluate(scope, budget);
        value.map_err(|error| self.failed(&error))
    }

    /// Its value, where it is a condition.
    pub(super) fn holds<'a>(&'a self, scope: &Scope<'a>) -> Result<bool, String> {
        match self.evaluate(scope, &mut Budget::default())? {
            Value::Bool(truth) => Ok(truth),
            other => Err(self.failed(&Error::NoSuchOverload(format!(
                "a condition is no {}",
                other.type_of().name()
            )))),
        }
    }

    /// Why it has no value, in the words of Kubernetes.
    pub(super) fn failed(&self, error: &Error) -> String {
        if error.is_budget_exceeded() {
            return "validation failed due to running out of cost budget, no further validation rules will be run".to_owned();
        }
        format!("expression '{}' resulted in error: {error}", self.source)
    }
}

/// Makes `variables.user` one name, and refuses names that nothing has.
fn resolve(expr: &mut Expr, place: Place, known: &[Variable]) -> Result<(), String> {
    if let Node::Select {
        operand,
        field,
        optional: false,
    } = &expr.node
        && matches!(&operand.node, Node::Variable(name) if name == "variables")
    {
        let name = format!("variables.{field}");
        if !known.iter().any(|variable| variable.name == name) {
            return Err(format!("undefined field '{field}'"));
        }
        expr.node = Node::Variable(name);
        return Ok(());
    }
    if let Node::Variable(name) = &expr.node {
        let is_known = match name.as_str() {
            "object" | "oldObject" | "request" => true,
            "authorizer" => matches!(place, Place::Rule),
            _ => false,
        };
        return if is_known {
            Ok(())
        } else {
            Err(format!("undeclared reference to '{name}'"))
        };
    }
    let mut below = expr.children_mut().into_iter();
    below.try_for_each(|child| resolve(child, place, known))
}
