//! One place in a definition: what is parsed there, what it may refer to, and what is wrong there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Problem,
    compile::Compiler,
    references::{Visible, unknown},
    types::{infer, not_boolean},
};
use crate::expression::{Expression, JsonTemplate, Template};
use crate::schema::Schema;
use signoff_api::{Json, bounds};

/// Where a kind of step is compiled. Fields are named from there; an empty name is the place itself.
pub(crate) struct Place<'c, 'a> {
    compiler: &'c mut Compiler<'a>,
    step: usize,
    at: String,
    known: &'c BTreeSet<&'a str>,
}

impl<'c, 'a> Place<'c, 'a> {
    pub(super) fn new(
        compiler: &'c mut Compiler<'a>,
        step: usize,
        at: String,
        known: &'c BTreeSet<&'a str>,
    ) -> Self {
        Self {
            compiler,
            step,
            at,
            known,
        }
    }

    /// A place below this one.
    pub(crate) fn below(&mut self, field: &str) -> Place<'_, 'a> {
        let at = self.field(field);
        Place::new(self.compiler, self.step, at, self.known)
    }

    fn field(&self, field: &str) -> String {
        if field.is_empty() {
            self.at.clone()
        } else {
            format!("{}.{field}", self.at)
        }
    }

    /// Something is wrong.
    pub(crate) fn problem(&mut self, field: &str, message: impl Into<String>) {
        self.compiler.problem(self.field(field), message);
    }

    /// Text with expressions in it.
    pub(crate) fn template(&mut self, field: &str, text: &str) -> Option<Template> {
        self.compiler.template(&self.field(field), text, self.known, &[])
    }

    /// A value with expressions in its strings, over what is known and these variables.
    pub(crate) fn json(&mut self, field: &str, value: &Value, extra: &[&str]) -> Option<JsonTemplate> {
        self.compiler.json(&self.field(field), value, self.known, extra)
    }

    /// One expression that is true or false, over what is known and these variables.
    pub(crate) fn condition(&mut self, field: &str, text: &str, extra: &[&str]) -> Option<Expression> {
        self.compiler
            .condition(&self.field(field), text, self.known, extra)
    }

    /// A JSON Schema.
    pub(crate) fn schema(&mut self, field: &str, schema: Option<&Json>) {
        self.compiler.schema(&self.field(field), schema);
    }

    /// The step of this name.
    pub(crate) fn step_named(&self, name: &str) -> Option<usize> {
        self.compiler.all_steps.iter().position(|step| *step == name)
    }

    /// Whether a step is this one or comes before it.
    pub(crate) fn has_begun(&self, step: usize) -> bool {
        step == self.step || self.compiler.graph.ancestors[self.step].contains(&step)
    }

    /// The steps of a loop from a step to this one.
    pub(crate) fn loop_from(&self, step: usize) -> BTreeSet<usize> {
        self.compiler.graph.between(step, self.step)
    }
}

impl<'a> Compiler<'a> {
    pub(super) fn problem(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem {
            field: field.into(),
            offset: None,
            message: message.into(),
        });
    }

    pub(super) fn template(
        &mut self,
        field: &str,
        text: &str,
        known: &BTreeSet<&'a str>,
        extra: &[&str],
    ) -> Option<Template> {
        match Template::parse(text) {
            Ok(template) => {
                for expression in template.expressions() {
                    self.references(field, text, expression, known, extra);
                }
                Some(template)
            }
            Err(found) => {
                self.problems.extend(found.into_iter().map(|problem| Problem {
                    field: field.to_owned(),
                    offset: Some(problem.offset),
                    message: problem.message,
                }));
                None
            }
        }
    }

    pub(super) fn json(
        &mut self,
        field: &str,
        value: &Value,
        known: &BTreeSet<&'a str>,
        extra: &[&str],
    ) -> Option<JsonTemplate> {
        if !self.is_shallow(field, value) {
            return None;
        }
        match JsonTemplate::parse(value) {
            Ok(template) => {
                for (path, expression) in template.expressions() {
                    self.references(&format!("{field}{path}"), "", expression, known, extra);
                }
                Some(template)
            }
            Err(found) => {
                self.problems
                    .extend(found.into_iter().map(|(path, problem)| Problem {
                        field: format!("{field}{path}"),
                        offset: Some(problem.offset),
                        message: problem.message,
                    }));
                None
            }
        }
    }

    pub(super) fn condition(
        &mut self,
        field: &str,
        text: &str,
        known: &BTreeSet<&'a str>,
        extra: &[&str],
    ) -> Option<Expression> {
        let template = self.template(field, text, known, extra)?;
        let Some(expression) = template.as_expression() else {
            self.problem(field, "a condition is one ${…} expression");
            return None;
        };
        if let Some(message) = not_boolean(expression.tree(), &self.inputs) {
            self.problem(field, message);
        }
        Some(expression.clone())
    }

    fn references(
        &mut self,
        field: &str,
        text: &str,
        expression: &Expression,
        known: &BTreeSet<&'a str>,
        extra: &[&str],
    ) {
        let visible = Visible {
            extra,
            all_steps: &self.all_steps,
            known_steps: known,
            callback_steps: &self.callback_steps,
            inputs: &self.inputs,
            looped_steps: &self.looped,
            in_finally: self.in_finally,
        };
        let mut messages = unknown(expression, &visible);
        infer(expression.tree(), &self.inputs, &mut messages);
        let offset = text.find(expression.source());
        self.problems.extend(messages.into_iter().map(|message| Problem {
            field: field.to_owned(),
            offset,
            message,
        }));
    }

    /// Whether a value is nested no deeper than any may be; a problem if it is.
    fn is_shallow(&mut self, field: &str, value: &Value) -> bool {
        let nesting = bounds::nesting(value, bounds::MAX_NESTING);
        if let Err(error) = nesting {
            self.problem(field, error.to_string());
        }
        nesting.is_ok()
    }

    pub(super) fn schema(&mut self, field: &str, schema: Option<&Json>) {
        if let Some(schema) = schema
            && self.is_shallow(field, schema.as_value())
            && let Err(error) = Schema::compile(schema.as_value())
        {
            self.problem(field, format!("not a JSON Schema: {error}"));
        }
    }
}
