//! One place in a definition: what is parsed there, what it may refer to, and what is wrong there.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;
use signoff_expression::{Declarations, StaticType};

use super::{
    Problem, RetryPolicy,
    check::{Environment, Extra, event_body, headers, no_json, type_of_expression, type_of_template, with},
    compile::{Child, Compiler},
    schemas,
};
use crate::expression::{CONTENTS, Expression, JsonTemplate, Template};
use crate::kinds::{self, KindPlan};
use crate::schema::Schema;
use signoff_api::{
    Json, StepKind, Trigger, bounds,
    step::{EventWait, Retry},
};

/// Why `callback()` is refused where something is kept.
pub(super) const NOT_KEPT: &str =
    "callback() is known only in what is sent: this is kept, and many may read it";

/// Where a kind of step is compiled. Fields are named from there; an empty name is the place itself.
pub(crate) struct Place<'c, 'a> {
    compiler: &'c mut Compiler<'a>,
    step: usize,
    at: String,
    declarations: &'c Declarations,
    /// Whether what is written here is only sent. Whatever is kept can be read by many, so it has no tokens.
    is_sent: bool,
}

impl<'c, 'a> Place<'c, 'a> {
    pub(super) fn new(
        compiler: &'c mut Compiler<'a>,
        step: usize,
        at: String,
        declarations: &'c Declarations,
    ) -> Self {
        Self {
            compiler,
            step,
            at,
            declarations,
            is_sent: false,
        }
    }

    /// The same, for what is only sent.
    pub(super) fn sent(mut self, is_sent: bool) -> Self {
        self.is_sent = is_sent;
        self
    }

    /// The same place, for what is kept.
    pub(crate) fn kept(&mut self) -> Place<'_, 'a> {
        Place::new(self.compiler, self.step, self.at.clone(), self.declarations)
    }

    /// What is known here, and these variables.
    pub(crate) fn declarations_with(&self, extra: &[Extra]) -> Declarations {
        with(self.declarations, extra)
    }

    /// A place below this one, where something else is known; what is written there is kept.
    pub(crate) fn within<'x>(&'x mut self, field: &str, declarations: &'x Declarations) -> Place<'x, 'a> {
        let at = self.field(field);
        Place::new(self.compiler, self.step, at, declarations)
    }

    /// The same, where what is written is only sent.
    pub(crate) fn sending(self) -> Self {
        self.sent(true)
    }

    /// How an attempt is repeated.
    pub(crate) fn retry_policy(&mut self, field: &str, retry: Option<&Retry>) -> RetryPolicy {
        let at = self.field(field);
        self.compiler.retry_policy(&at, retry, self.declarations)
    }

    /// Whether the step has `forEach`.
    pub(crate) fn is_of_items(&self) -> bool {
        let step = self.compiler.main_steps().get(self.step);
        step.is_some_and(|step| step.for_each.is_some())
    }

    /// Whether the step is of `finally`.
    pub(crate) fn is_of_finally(&self) -> bool {
        self.step >= self.compiler.main_steps().len()
    }

    /// A place below this one.
    pub(crate) fn below(&mut self, field: &str) -> Place<'_, 'a> {
        let at = self.field(field);
        Place::new(self.compiler, self.step, at, self.declarations).sent(self.is_sent)
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
        let at = self.field(field);
        let template = self.compiler.template(&at, text, self.declarations)?;
        for (offset, expression) in template.expressions() {
            self.keeps_no_callback(&at, offset, expression);
        }
        Some(template)
    }

    fn keeps_no_callback(&mut self, at: &str, offset: usize, expression: &Expression) {
        if !self.is_sent && expression.reads_callbacks() {
            self.compiler.mistyped_at(at, offset, NOT_KEPT.to_owned());
        }
    }

    /// A value with expressions in its strings, over what is known and these variables.
    pub(crate) fn json(&mut self, field: &str, value: &Value, extra: &[Extra]) -> Option<JsonTemplate> {
        let declarations = with(self.declarations, extra);
        let at = self.field(field);
        let template = self.compiler.json(&at, value, &declarations)?;
        for (path, offset, expression) in template.expressions() {
            self.keeps_no_callback(&format!("{at}{path}"), offset, expression);
        }
        Some(template)
    }

    /// One expression that is true or false, over what is known and these variables.
    pub(crate) fn condition(&mut self, field: &str, text: &str, extra: &[Extra]) -> Option<Expression> {
        let declarations = with(self.declarations, extra);
        self.compiler.condition(&self.field(field), text, &declarations)
    }

    /// The condition of an event, which is over nothing else.
    pub(crate) fn condition_of_event(&mut self, field: &str, text: &str, event: &EventWait) {
        let known = [
            ("body", event_body(self.declarations, event)),
            ("headers", headers()),
        ];
        let declarations = Environment::declarations_of_event(&known);
        self.compiler.condition(&self.field(field), text, &declarations);
    }

    /// What starts runs of the flow.
    pub(crate) fn triggers(&self) -> &[Trigger] {
        self.compiler.triggers
    }

    /// The type of an expression; any, if something is wrong with it, which is told elsewhere.
    pub(crate) fn type_of(&self, expression: &Expression) -> StaticType {
        type_of_expression(expression, self.declarations)
    }

    /// The type of what a template makes.
    pub(crate) fn type_of_template(&self, template: &JsonTemplate) -> StaticType {
        type_of_template(template, self.declarations)
    }

    /// Something is wrong that keeps a release from being cut. One that exists runs on.
    pub(crate) fn mistyped(&mut self, field: &str, offset: usize, message: impl Into<String>) {
        let field = self.field(field);
        self.compiler.mistyped_at(&field, offset, message.into());
    }

    /// A JSON Schema.
    pub(crate) fn schema(&mut self, field: &str, schema: Option<&Json>) {
        self.compiler.schema(&self.field(field), schema);
    }

    /// What is known of the inputs of a flow that the step runs.
    pub(crate) fn child(&self, flow: &str) -> Child {
        self.compiler.child(flow)
    }

    /// The step of this name.
    pub(crate) fn step_named(&self, name: &str) -> Option<usize> {
        self.compiler.all_steps.iter().position(|step| *step == name)
    }

    /// Whether a step has `forEach`.
    pub(crate) fn has_items(&self, name: &str) -> bool {
        let mut steps = self.compiler.main_steps().iter();
        steps.any(|step| step.name == name && step.for_each.is_some())
    }

    /// Whether every step has a name that is known.
    pub(crate) fn knows_all_names(&self) -> bool {
        !self.compiler.unread.others
    }

    /// Whether every trigger is known.
    pub(crate) fn knows_all_triggers(&self) -> bool {
        !self.compiler.unread.triggers
    }

    /// Whether a step is this one or comes before it.
    pub(crate) fn has_begun(&self, step: usize) -> bool {
        step == self.step || self.compiler.graph.ancestors[self.step].contains(&step)
    }

    /// What a later step does, compiled with what is known here; none if it is no such step.
    pub(crate) fn later_call(&mut self, field: &str, name: &str) -> Option<Arc<dyn KindPlan>> {
        let (here, at) = (self.step, self.field(field));
        let steps = self.compiler.main_steps();
        let later = self
            .step_named(name)
            .filter(|step| *step < steps.len() && *step != here);
        let unread = self.compiler.unread;
        if unread.others || later.is_some_and(|later| unread.steps.contains(&later)) {
            return None;
        }
        let Some(later) = later.filter(|step| self.compiler.graph.from(here).contains(step)) else {
            self.problem(
                field,
                format!("there is no step {name} that comes after this one"),
            );
            return None;
        };
        let rules = steps[later].kind.rules();
        if steps[later].for_each.is_some() {
            self.problem(field, format!("step {name} has a request for each of its items"));
            return None;
        }
        if !rules.attempts || matches!(steps[later].kind, StepKind::Agent(_) | StepKind::Job(_)) {
            self.problem(
                field,
                format!("{} steps send no request that could be shown", rules.key),
            );
            return None;
        }
        let at = format!("{at}.{}", rules.key);
        let mut place = Place::new(self.compiler, here, at, self.declarations).sent(true);
        Some(kinds::of(&steps[later].kind).compile(&mut place))
    }

    /// The steps of a loop from a step to this one.
    pub(crate) fn loop_from(&self, step: usize) -> BTreeSet<usize> {
        self.compiler.graph.between(step, self.step)
    }
}

impl Compiler<'_> {
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
        declarations: &Declarations,
    ) -> Option<Template> {
        let template = self.parsed(field, text)?;
        for (offset, expression) in template.expressions() {
            self.written(field, offset, expression, declarations);
        }
        Some(template)
    }

    fn parsed(&mut self, field: &str, text: &str) -> Option<Template> {
        match Template::parse(text) {
            Ok(template) => Some(template),
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
        declarations: &Declarations,
    ) -> Option<JsonTemplate> {
        if !self.is_shallow(field, value) {
            return None;
        }
        let (template, found) = JsonTemplate::parse_all(value);
        for (path, offset, expression) in template.expressions() {
            self.written(&format!("{field}{path}"), offset, expression, declarations);
        }
        let is_whole = found.is_empty();
        self.problems
            .extend(found.into_iter().map(|(path, problem)| Problem {
                field: format!("{field}{path}"),
                offset: Some(problem.offset),
                message: problem.message,
            }));
        is_whole.then_some(template)
    }

    pub(super) fn condition(
        &mut self,
        field: &str,
        text: &str,
        declarations: &Declarations,
    ) -> Option<Expression> {
        let template = self.parsed(field, text)?;
        let (Some(expression), Some((offset, _))) = (template.as_expression(), template.expressions().next())
        else {
            self.problem(field, "a condition is one ${…} expression");
            return None;
        };
        let type_ = self.checked(field, offset, expression, declarations);
        if !matches!(type_, StaticType::Dyn | StaticType::BOOL) {
            self.mistyped_at(
                field,
                offset,
                format!("a condition is true or false, not {type_}"),
            );
        }
        Some(expression.clone())
    }

    /// One expression that is a list, and the type of its items.
    pub(super) fn list(
        &mut self,
        field: &str,
        text: &str,
        declarations: &Declarations,
    ) -> Option<(Expression, StaticType)> {
        let template = self.parsed(field, text)?;
        let (Some(expression), Some((offset, _))) = (template.as_expression(), template.expressions().next())
        else {
            self.problem(field, "a list is one ${…} expression");
            return None;
        };
        let item = match self.checked(field, offset, expression, declarations) {
            StaticType::List(item) => (*item).clone(),
            StaticType::Dyn => StaticType::Dyn,
            other => {
                self.mistyped_at(field, offset, format!("it is a list, not {other}"));
                StaticType::Dyn
            }
        };
        Some((expression.clone(), item))
    }

    /// Checks an expression whose value is written as text or JSON.
    fn written(&mut self, field: &str, offset: usize, expression: &Expression, declarations: &Declarations) {
        let type_ = self.checked(field, offset, expression, declarations);
        if let Some(message) = no_json(&type_) {
            self.mistyped_at(field, offset, message);
        }
    }

    /// The type of an expression; any, if something is wrong with it.
    fn checked(
        &mut self,
        field: &str,
        offset: usize,
        expression: &Expression,
        declarations: &Declarations,
    ) -> StaticType {
        if expression.reads_contents() {
            self.reads_contents = true;
            if !declarations.variables.contains_key(CONTENTS) {
                let message = "read(…) is known in steps only".to_owned();
                self.mistyped_at(field, offset, message);
                return StaticType::Dyn;
            }
        }
        match expression.check(declarations) {
            Ok(type_) => type_,
            Err(errors) => {
                for error in errors {
                    self.mistyped_at(field, offset + error.offset, error.message);
                }
                StaticType::Dyn
            }
        }
    }

    /// Something that is wrong before a release is cut. One that exists runs on.
    pub(super) fn mistyped(&mut self, field: &str, message: String) {
        if self.is_strict {
            self.problem(field, message);
        }
    }

    /// The same in an expression.
    pub(super) fn mistyped_at(&mut self, field: &str, offset: usize, message: String) {
        if self.is_strict {
            self.problems.push(Problem {
                field: field.to_owned(),
                offset: Some(offset),
                message,
            });
        }
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
        self.bounded_schema(field, schema);
        let Some(schema) = schema.filter(|_| self.is_strict) else {
            return;
        };
        if schemas::has_expression(schema.as_value()) {
            self.problem(field, "a schema has no `${…}`; write `$${` for the characters");
        }
    }

    /// The schema of the inputs, whose defaults must fit it.
    pub(super) fn inputs(&mut self, schema: Option<&Json>) {
        let before = self.problems.len();
        self.schema("inputs", schema);
        let Some(schema) = schema.filter(|_| self.is_strict && self.problems.len() == before) else {
            return;
        };
        for (field, message) in schemas::of_inputs(schema.as_value()) {
            self.problem(format!("inputs{field}"), message);
        }
    }

    fn bounded_schema(&mut self, field: &str, schema: Option<&Json>) {
        let Some(schema) = schema.map(Json::as_value) else {
            return;
        };
        if !self.is_shallow(field, schema) {
            return;
        }
        if self.is_strict
            && let Err(message) = schemas::bounded(schema)
        {
            return self.problem(field, message);
        }
        if let Err(error) = Schema::compile(schema) {
            self.problem(field, format!("not a JSON Schema: {error}"));
        }
    }
}
