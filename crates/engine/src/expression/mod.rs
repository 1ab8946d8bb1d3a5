//! CEL expressions and `${…}` templates.
//!
//! An expression is parsed once, when a release is checked, and evaluated against a [`Scope`] of JSON values. It can read only what is in
//! the scope; it has no clock, no randomness and no I/O, and takes no more steps and memory than its budget has.

mod template;

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::Value;
use signoff_expression::{
    self as cel, Budget, CheckError, Declarations, Expr, Facts, Function, Library, Literal, Node, Program,
    StaticType, Type,
};

use signoff_api::reason::StepReason;

pub use template::{JsonTemplate, Template};

/// Longest expression, in bytes.
pub const MAX_EXPRESSION: usize = 4_096;
/// Name under which the callbacks lie in the scope; `callback('x')` reads them there.
pub(super) const CALLBACKS: &str = "__callbacks";
/// Name under which the contents of resources lie in the scope, by their digest; `read(resource)` reads them there.
pub(super) const CONTENTS: &str = "__contents";

/// The functions of Kubernetes, those for JSON and base64, `callback`, which is replaced when an expression is parsed, and
/// `read`, whose argument is.
static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    fn replaced<'a>() -> Result<cel::Value<'a>, cel::Error> {
        Err(cel::Error::UnknownVariable("callback".to_owned()))
    }
    Library::kubernetes().with_encodings().with([
        Function::host("callback", &[Type::Dyn], Type::Map, |_, _| replaced()),
        Function::host("callback", &[Type::Dyn, Type::Dyn], Type::Map, |_, _| replaced()),
        Function::host("read", &[Type::Map], Type::String, |_, arguments| {
            text_of(arguments)
        }),
    ])
});

/// The text of a content that was looked up, or why there is none.
fn text_of<'a>(arguments: &[cel::Value<'a>]) -> Result<cel::Value<'a>, cel::Error> {
    let failed = cel::Error::Failed;
    let [cel::Value::Map(content)] = arguments else {
        return Err(failed("read: it takes a resource".to_owned()));
    };
    match (content.field("text"), content.field("problem")) {
        (Some(text @ cel::Value::String(_)), _) => Ok(text),
        (_, Some(cel::Value::String(problem))) => Err(failed(format!("read: {}", &*problem))),
        _ => Err(failed("read: it is no resource of this run".to_owned())),
    }
}

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Expression {
    source: String,
    program: Program,
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionProblem {
    /// Where, in bytes from the start of the string it stands in.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} in ${{{expression}}}")]
pub struct EvaluationError {
    /// What went wrong.
    pub message: String,
    /// The expression.
    pub expression: String,
    /// Whether it takes more than it may.
    pub is_too_costly: bool,
}

impl EvaluationError {
    /// The reason of the step that fails with it.
    pub fn reason(&self) -> StepReason {
        if self.is_too_costly {
            StepReason::ExpressionTooCostly
        } else {
            StepReason::ExpressionFailed
        }
    }
}

/// The variables that an expression can read.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    variables: BTreeMap<String, Value>,
}

impl Scope {
    /// Adds or replaces a variable.
    pub fn set(&mut self, name: &str, value: Value) -> &mut Self {
        self.variables.insert(name.to_owned(), value);
        self
    }
}

impl Expression {
    /// Parses one expression; positions are relative to its own start.
    pub fn parse(source: &str) -> Result<Self, ExpressionProblem> {
        let problem = |message: String| ExpressionProblem { offset: 0, message };
        if source.len() > MAX_EXPRESSION {
            return Err(problem(format!(
                "an expression has at most {MAX_EXPRESSION} bytes"
            )));
        }
        if source.trim().is_empty() {
            return Err(problem("an expression is missing between ${ and }".to_owned()));
        }
        let mut program = Program::parse(source, &LIBRARY).map_err(|error| ExpressionProblem {
            offset: error.offset,
            message: error.message,
        })?;
        rewrite_callbacks(program.tree_mut()).map_err(problem)?;
        look_up_contents(program.tree_mut());
        Ok(Self {
            source: source.to_owned(),
            program,
        })
    }

    /// The text it was parsed from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it reads the address or the token of a callback.
    pub(super) fn reads_callbacks(&self) -> bool {
        self.first_callback().is_some()
    }

    /// Where it first reads the address or the token of a callback.
    fn first_callback(&self) -> Option<usize> {
        fn reads(expr: &Expr) -> Option<usize> {
            match &expr.node {
                Node::Variable(name) if name == CALLBACKS => Some(expr.offset),
                _ => expr.children().into_iter().find_map(reads),
            }
        }
        reads(self.tree())
    }

    /// Whether it reads the content of a resource.
    pub(super) fn reads_contents(&self) -> bool {
        reads(self.tree(), CONTENTS)
    }

    pub(super) fn tree(&self) -> &Expr {
        self.program.tree()
    }

    /// The type of its value, or all that is wrong with it; positions are relative to its own start.
    pub(super) fn check(&self, declarations: &Declarations) -> Result<StaticType, Vec<CheckError>> {
        let callback = self
            .first_callback()
            .filter(|_| !declarations.variables.contains_key(CALLBACKS));
        let Some(offset) = callback else {
            return self.program.check(declarations);
        };
        // the name under which it is read is nobody's to know
        let mut with = declarations.clone();
        with.variables.insert(CALLBACKS.to_owned(), StaticType::Dyn);
        let mut errors = self.program.check(&with).err().unwrap_or_default();
        errors.insert(
            0,
            CheckError {
                offset,
                message: "callback() is not known here".to_owned(),
            },
        );
        Err(errors)
    }

    /// What is known where this condition has been found true.
    pub(super) fn proves(&self, declarations: &Declarations) -> Facts {
        self.program.proves(declarations)
    }

    /// Its value.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, EvaluationError> {
        self.evaluate_within(scope, &mut Budget::default())
    }

    /// Its value, within what is left of a budget.
    fn evaluate_within(&self, scope: &Scope, budget: &mut Budget) -> Result<Value, EvaluationError> {
        self.present_within(scope, budget).map(Option::unwrap_or_default)
    }

    /// The same; none if it is `optional.none()`.
    fn present_within(&self, scope: &Scope, budget: &mut Budget) -> Result<Option<Value>, EvaluationError> {
        let mut variables = cel::Scope::default();
        for (name, value) in &scope.variables {
            variables.set(name, value);
        }
        let value = self.program.evaluate(&variables, budget);
        let json = value.and_then(|value| {
            if is_nothing(&value) {
                return Ok(None);
            }
            value.to_json(budget).map(Some)
        });
        json.map_err(|error| EvaluationError {
            message: error.to_string(),
            expression: self.source.clone(),
            is_too_costly: error.is_budget_exceeded(),
        })
    }

    /// Its value as a condition.
    pub fn holds(&self, scope: &Scope) -> Result<bool, EvaluationError> {
        match self.evaluate(scope)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(EvaluationError {
                message: format!("a condition is true or false, not {}", type_name(&other)),
                expression: self.source.clone(),
                is_too_costly: false,
            }),
        }
    }
}

/// Whether a value is `optional.none()`.
fn is_nothing(value: &cel::Value<'_>) -> bool {
    match value {
        cel::Value::Optional(None) => true,
        cel::Value::Optional(Some(value)) => is_nothing(value),
        _ => false,
    }
}

/// How people call the type of a JSON value.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn reads(expr: &Expr, variable: &str) -> bool {
    let is_it = matches!(&expr.node, Node::Variable(name) if name == variable);
    is_it || expr.children().into_iter().any(|child| reads(child, variable))
}

/// `read(x)` becomes `read(contents[x.sha256])`.
fn look_up_contents(expr: &mut Expr) {
    expr.children_mut().into_iter().for_each(look_up_contents);
    let Node::Call { overloads, arguments } = &mut expr.node else {
        return;
    };
    if !overloads.iter().any(|function| function.name == "read") {
        return;
    }
    for argument in arguments {
        let offset = argument.offset;
        let at = |node| Box::new(Expr { node, offset });
        let nothing = Node::Literal(Literal::Null);
        let resource = at(std::mem::replace(&mut argument.node, nothing));
        let sha256 = Node::Select {
            operand: resource,
            field: "sha256".to_owned(),
            optional: false,
        };
        argument.node = Node::Index {
            operand: at(Node::Variable(CONTENTS.to_owned())),
            index: at(sha256),
            optional: false,
        };
    }
}

/// `callback('x')` becomes a look-up, so that what it gives is in the scope like everything else; `callback('x', index)`
/// becomes one in the list of the items.
fn rewrite_callbacks(expr: &mut Expr) -> Result<(), String> {
    if let Node::Call { overloads, arguments } = &expr.node
        && overloads.iter().any(|function| function.name == "callback")
    {
        let wrong = || {
            "callback takes the name of a step as a literal string, and of one with forEach the index"
                .to_owned()
        };
        let (step, item) = match arguments.as_slice() {
            [step] => (step, None),
            [step, item] => (step, Some(item.clone())),
            _ => return Err(wrong()),
        };
        if !matches!(step.node, Node::Literal(Literal::String(_))) {
            return Err(wrong());
        }
        let offset = expr.offset;
        let index = |operand: Expr, index: Expr| Node::Index {
            operand: Box::new(operand),
            index: Box::new(index),
            optional: false,
        };
        let callbacks = Expr {
            node: Node::Variable(CALLBACKS.to_owned()),
            offset,
        };
        let of_step = index(callbacks, step.clone());
        expr.node = match item {
            None => of_step,
            Some(mut item) => {
                rewrite_callbacks(&mut item)?;
                let of_step = Expr {
                    node: of_step,
                    offset,
                };
                index(of_step, item)
            }
        };
        return Ok(());
    }
    expr.children_mut().into_iter().try_for_each(rewrite_callbacks)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evaluated(source: &str) -> Result<Value, EvaluationError> {
        let mut scope = Scope::default();
        scope
            .set(
                "inputs",
                json!({"l": (0..3_000).collect::<Vec<_>>(), "s": "x".repeat(100_000)}),
            )
            .set(CALLBACKS, json!({"wait": {"url": "https://a"}}))
            .set("file", json!({"sha256": "sha256:1"}))
            .set("files", json!([{"sha256": "sha256:1"}, {"sha256": "sha256:2"}]))
            .set(
                CONTENTS,
                json!({"sha256:1": {"text": "a text"}, "sha256:2": {"problem": "it is too large"}}),
            );
        Expression::parse(source).unwrap().evaluate(&scope)
    }

    #[test]
    fn what_costs_too_much_fails_and_says_so() {
        for source in [
            "size(inputs.l.map(x, inputs.l.map(y, x + y)))",
            "inputs.l.map(x, inputs.s + inputs.s + inputs.s + inputs.s)",
            "inputs.l.map(x, inputs.s)",
        ] {
            let error = evaluated(source).unwrap_err();
            assert!(error.is_too_costly, "{error}");
            assert!(error.to_string().contains("too costly"), "{error}");
        }
        assert!(!evaluated("inputs.none").unwrap_err().is_too_costly);
    }

    #[test]
    fn a_template_of_many_expressions_shares_one_budget() {
        let each = Value::from("${size(inputs.l.map(x, x + 1))}");
        let template = JsonTemplate::parse(&Value::Array(vec![each; 200])).unwrap();
        let mut scope = Scope::default();
        scope.set("inputs", json!({"l": (0..3_000).collect::<Vec<_>>()}));
        assert!(template.value(&scope).unwrap_err().is_too_costly);
    }

    #[test]
    fn brackets_that_took_the_parser_for_ever_are_parsed_or_refused_at_once() {
        for times in [24, 200] {
            let source = format!("{}true{}", "!!(".repeat(times), ")".repeat(times));
            match Expression::parse(&source) {
                Ok(expression) => assert_eq!(expression.evaluate(&Scope::default()), Ok(json!(true))),
                Err(problem) => assert!(
                    problem.message.contains("nested too deeply"),
                    "{}",
                    problem.message
                ),
            }
        }
    }

    #[test]
    fn a_callback_is_looked_up_by_a_literal_name() {
        assert_eq!(evaluated("callback('wait').url").unwrap(), json!("https://a"));
        assert_eq!(
            evaluated("[1].map(x, callback('wait').url)").unwrap(),
            json!(["https://a"])
        );
        for source in [
            "callback(inputs.s)",
            "callback()",
            "callback('a', 1, 2)",
            "callback(inputs.s, 1)",
        ] {
            assert!(Expression::parse(source).is_err(), "{source}");
        }
        assert!(
            evaluated("callback('none').url")
                .unwrap_err()
                .message
                .contains("no such key: none")
        );
    }

    #[test]
    fn the_content_of_a_resource_is_read_wherever_the_resource_comes_from() {
        assert_eq!(evaluated("read(file) + '!'"), Ok(json!("a text!")));
        assert_eq!(
            evaluated("files.filter(f, f == file).map(f, read(f))"),
            Ok(json!(["a text"]))
        );
        for (source, expected) in [
            ("read(files[1])", "read: it is too large"),
            ("read({'sha256': 'sha256:3'})", "no such key: sha256:3"),
            ("read({'ref': 'x'})", "no such key: sha256"),
            ("read(1)", "sha256"),
        ] {
            let error = evaluated(source).unwrap_err();
            assert!(error.message.contains(expected), "{source}: {error}");
        }
    }

    #[test]
    fn json_within_text_is_read_and_written() {
        assert_eq!(evaluated("json.decode('{\"a\":[1]}').a[0] + 1"), Ok(json!(2)));
        assert_eq!(
            evaluated("json.encode({'a': inputs.l[1]})"),
            Ok(json!("{\"a\":1}"))
        );
        assert_eq!(
            evaluated("string(base64.decode(base64.encode('x')))"),
            Ok(json!("x"))
        );
    }
}
