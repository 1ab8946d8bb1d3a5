//! From a definition to a plan, with everything that is wrong on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Action, ApprovalPlan, ChangesPlan, HttpPlan, Plan, PlannedStep, Problem, RetryPolicy, TargetPlan,
    WaitPlan,
    graph::Graph,
    references::{Visible, unknown},
    types::{InputTypes, infer, not_boolean},
};
use crate::expression::{Expression, JsonTemplate, Template};
use crate::schema::Schema;
use signoff_api::{
    Definition, HumanDuration, Json, Step, StepKind, address, bounds,
    name::{DnsLabel, ObjectName},
    step::{
        ApprovalStep, ApprovalTimeoutOutcome, Delivery, HttpMethod, HttpStep, NotifyStep, Retry, WaitStep,
        WaitTimeoutOutcome,
    },
};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_CHANGES: i64 = 3;

pub(super) fn compile(definition: &Definition) -> Result<Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    names(definition, &mut problems);
    let graph = Graph::of(&definition.steps, &mut problems);
    let mut compiler = Compiler::new(definition, &graph);
    compiler.schema("inputs", definition.inputs.as_ref());
    let mut steps: Vec<PlannedStep> = definition
        .steps
        .iter()
        .enumerate()
        .map(|(i, step)| compiler.step(i, step))
        .collect();
    let output = definition.output.as_ref().and_then(|output| {
        let value = Value::Object(
            output
                .iter()
                .map(|(key, value)| (key.clone(), value.0.clone()))
                .collect(),
        );
        let everything = compiler.all_steps.iter().copied().collect();
        compiler.json("output", &value, &everything, &[])
    });
    problems.append(&mut compiler.problems);
    if problems.is_empty() {
        bind_connections(&mut steps, &graph);
        let gate = definition.promotion.as_ref();
        Ok(Plan {
            steps,
            output,
            owners: gate.and_then(|gate| gate.approval.approvers.clone()),
        })
    } else {
        Err(problems)
    }
}

/// Lets every approval know where the steps after it call.
fn bind_connections(steps: &mut [PlannedStep], graph: &Graph) {
    let used: Vec<Option<(String, String)>> = steps
        .iter()
        .map(|step| match &step.action {
            Action::Http(http) => match &http.target {
                TargetPlan::Connection { name, .. } => Some((name.to_string(), step.name.clone())),
                TargetPlan::Url(_) => None,
            },
            Action::Set(_) | Action::Wait(_) | Action::Approval(_) => None,
        })
        .collect();
    for (i, step) in steps.iter_mut().enumerate() {
        if let Action::Approval(approval) = &mut step.action {
            for later in graph.from(i) {
                if let Some((connection, step)) = &used[later] {
                    let users = approval.connections.entry(connection.clone()).or_default();
                    users.push(step.clone());
                }
            }
        }
    }
}

fn names(definition: &Definition, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for (i, step) in definition.steps.iter().enumerate() {
        let field = format!("steps[{i}].name");
        if step.name.parse::<DnsLabel>().is_err() {
            let message = format!(
                "{:?} is not a DNS label: lower-case letters, digits and dashes, at most 63",
                step.name
            );
            problems.push(Problem {
                field,
                offset: None,
                message,
            });
        } else if !seen.insert(&step.name) {
            problems.push(Problem {
                field,
                offset: None,
                message: format!("there is another step {}", step.name),
            });
        }
    }
    if definition.steps.is_empty() {
        problems.push(Problem {
            field: "steps".to_owned(),
            offset: None,
            message: "a flow has at least one step".to_owned(),
        });
    }
}

struct Compiler<'a> {
    graph: &'a Graph,
    steps: &'a [Step],
    all_steps: Vec<&'a str>,
    callback_steps: BTreeSet<&'a str>,
    inputs: InputTypes,
    problems: Vec<Problem>,
}

impl<'a> Compiler<'a> {
    fn new(definition: &'a Definition, graph: &'a Graph) -> Self {
        let callback = |step: &&Step| matches!(&step.kind, StepKind::Wait(wait) if wait.callback.is_some());
        Self {
            graph,
            steps: &definition.steps,
            all_steps: definition.steps.iter().map(|step| step.name.as_str()).collect(),
            callback_steps: definition
                .steps
                .iter()
                .filter(callback)
                .map(|step| step.name.as_str())
                .collect(),
            inputs: InputTypes::of(definition.inputs.as_ref().map(Json::as_value)),
            problems: Vec::new(),
        }
    }

    fn problem(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem {
            field: field.into(),
            offset: None,
            message: message.into(),
        });
    }

    /// The steps whose results are known when a step starts: those before it, and approvals whose changes lead back to it.
    fn known(&self, step: usize) -> BTreeSet<&'a str> {
        let loops = self.steps.iter().enumerate().filter(|(_, other)| {
            let StepKind::Approval(approval) = &other.kind else {
                return false;
            };
            let Some(changes) = &approval.changes else {
                return false;
            };
            let back_to = self.all_steps.iter().position(|name| *name == changes.back_to);
            back_to.is_some_and(|back_to| self.graph.from(back_to).contains(&step))
        });
        let before = self.graph.ancestors[step].iter().copied();
        before
            .chain(loops.map(|(i, _)| i))
            .map(|i| self.all_steps[i])
            .collect()
    }

    fn step(&mut self, i: usize, step: &Step) -> PlannedStep {
        let at = format!("steps[{i}]");
        let known = self.known(i);
        let when = step
            .when
            .as_ref()
            .and_then(|when| self.condition(&format!("{at}.when"), when, &known, &[]));
        let action = match &step.kind {
            StepKind::Http(http) => self.http(&format!("{at}.http"), http, &known),
            StepKind::Notify(notify) => self.notify(&format!("{at}.notify.webhook"), notify, &known),
            StepKind::Set(values) => {
                let value = Value::Object(
                    values
                        .iter()
                        .map(|(key, value)| (key.clone(), value.0.clone()))
                        .collect(),
                );
                let template = self.json(&format!("{at}.set"), &value, &known, &[]);
                Action::Set(template.unwrap_or(JsonTemplate::Literal(Value::Null)))
            }
            StepKind::Wait(wait) => self.wait(&format!("{at}.wait"), wait, &known),
            StepKind::Approval(approval) => self.approval(&format!("{at}.approval"), i, approval, &known),
        };
        if !matches!(action, Action::Http(_)) {
            for (name, said) in [
                ("retry", step.retry.is_some()),
                ("timeout", step.timeout.is_some()),
                ("delivery", step.delivery.is_some()),
            ] {
                if said {
                    self.problem(
                        format!("{at}.{name}"),
                        format!("{} steps have no {name}", step.kind.key()),
                    );
                }
            }
        }
        PlannedStep {
            name: step.name.clone(),
            needs: self.graph.needs[i].clone(),
            when,
            retry: retry_policy(step.retry.as_ref()),
            timeout: step
                .timeout
                .as_ref()
                .map_or(DEFAULT_TIMEOUT, HumanDuration::duration),
            at_most_once: step.delivery == Some(Delivery::AtMostOnce),
            action,
        }
    }

    fn http(&mut self, at: &str, http: &HttpStep, known: &BTreeSet<&'a str>) -> Action {
        let target = self.target(
            at,
            http.url.as_ref(),
            http.connection.as_ref(),
            http.path.as_ref(),
            known,
        );
        let body = http
            .body
            .as_ref()
            .and_then(|body| self.json(&format!("{at}.body"), &body.0, known, &[]));
        let default_method = if body.is_some() {
            HttpMethod::Post
        } else {
            HttpMethod::Get
        };
        let mut pairs = |name: &str,
                         entries: Option<&std::collections::BTreeMap<String, String>>|
         -> Vec<(String, Template)> {
            let entries = entries.into_iter().flatten();
            entries
                .filter_map(|(key, text)| {
                    Some((
                        key.clone(),
                        self.template(&format!("{at}.{name}.{key}"), text, known, &[])?,
                    ))
                })
                .collect()
        };
        let headers = pairs("headers", http.headers.as_ref());
        let query = pairs("query", http.query.as_ref());
        for (name, _) in &headers {
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                self.problem(format!("{at}.headers.{name}"), "not a name for a header");
            } else if ["idempotency-key", "host", "content-length"]
                .contains(&name.to_ascii_lowercase().as_str())
            {
                self.problem(format!("{at}.headers.{name}"), "this header is set by Signoff");
            }
        }
        let output = http
            .output
            .as_ref()
            .and_then(|output| self.json(&format!("{at}.output"), &output.0, known, &["response"]));
        Action::Http(Box::new(HttpPlan {
            target,
            method: http.method.unwrap_or(default_method),
            headers,
            query,
            body,
            wrap_text: false,
            expect: http
                .expect
                .as_ref()
                .map(|expect| expect.status.clone())
                .unwrap_or_default(),
            output,
            billable: true,
        }))
    }

    fn notify(&mut self, at: &str, notify: &NotifyStep, known: &BTreeSet<&'a str>) -> Action {
        let webhook = &notify.webhook;
        let target = self.target(
            at,
            webhook.url.as_ref(),
            webhook.connection.as_ref(),
            webhook.path.as_ref(),
            known,
        );
        let body = self.json(&format!("{at}.message"), &webhook.message.0, known, &[]);
        Action::Http(Box::new(HttpPlan {
            target,
            method: HttpMethod::Post,
            headers: vec![],
            query: vec![],
            body,
            wrap_text: true,
            expect: vec![],
            output: Some(JsonTemplate::Literal(Value::Null)),
            billable: false,
        }))
    }

    fn target(
        &mut self,
        at: &str,
        url: Option<&String>,
        connection: Option<&ObjectName>,
        path: Option<&String>,
        known: &BTreeSet<&'a str>,
    ) -> TargetPlan {
        // never performed: there is a problem
        let nothing = || TargetPlan::Url(Template::default());
        match (url, connection) {
            (Some(url), None) => {
                if path.is_some() {
                    self.problem(format!("{at}.path"), "path needs a connection");
                }
                let field = format!("{at}.url");
                let template = self.template(&field, url, known, &[]);
                let Some(template) = template else {
                    return nothing();
                };
                if let Some(literal) = template.as_literal()
                    && !literal.starts_with("http://")
                    && !literal.starts_with("https://")
                {
                    self.problem(&field, "an address starts with http:// or https://");
                }
                if address::http_holds_credentials(&template.outline()) {
                    self.problem(field, address::CREDENTIALS);
                }
                TargetPlan::Url(template)
            }
            (None, Some(name)) => {
                let path = path.map_or("", String::as_str);
                let template = self.template(&format!("{at}.path"), path, known, &[]);
                template.map_or_else(nothing, |path| TargetPlan::Connection {
                    name: name.clone(),
                    path,
                })
            }
            _ => {
                self.problem(at, "either url, or connection and path");
                nothing()
            }
        }
    }

    fn wait(&mut self, at: &str, wait: &WaitStep, known: &BTreeSet<&'a str>) -> Action {
        if wait.callback.is_none() && wait.duration.is_none() && wait.until.is_none() {
            self.problem(
                at,
                "a wait step needs at least one of callback, duration and until",
            );
        }
        if let Some(callback) = &wait.callback {
            self.schema(&format!("{at}.callback.schema"), callback.schema.as_ref());
            if let Some(accept) = &callback.accept {
                self.condition(
                    &format!("{at}.callback.accept"),
                    accept,
                    known,
                    &["body", "headers"],
                );
            }
        }
        let until = wait
            .until
            .as_ref()
            .and_then(|until| self.template(&format!("{at}.until"), until, known, &[]));
        if let Some(literal) = until.as_ref().and_then(Template::as_literal)
            && literal.parse::<Timestamp>().is_err()
        {
            self.problem(
                format!("{at}.until"),
                format!("{literal:?} is not a time such as 2026-12-24T18:00:00Z"),
            );
        }
        Action::Wait(WaitPlan {
            callback: wait.callback.is_some(),
            duration: wait.duration.as_ref().map(HumanDuration::duration),
            until,
            respond_within: wait.respond_within.as_ref().map(HumanDuration::duration),
            continue_on_timeout: wait
                .on_timeout
                .as_ref()
                .is_some_and(|then| then.outcome == WaitTimeoutOutcome::Continue),
        })
    }

    fn approval(&mut self, at: &str, i: usize, approval: &ApprovalStep, known: &BTreeSet<&'a str>) -> Action {
        let title = self
            .template(&format!("{at}.title"), &approval.title, known, &[])
            .unwrap_or_default();
        let mut show = Vec::new();
        let mut seen = BTreeSet::new();
        for (n, item) in approval.show.iter().flatten().enumerate() {
            if !seen.insert(&item.name) {
                self.problem(
                    format!("{at}.show[{n}].name"),
                    format!("{} is shown already", item.name),
                );
            }
            if let Some(template) = self.json(&format!("{at}.show[{n}].value"), &item.value.0, known, &[]) {
                show.push((item.name.clone(), template));
            }
        }
        self.form(&format!("{at}.form"), approval.form.as_ref());
        let changes = approval.changes.as_ref().and_then(|changes| {
            let field = format!("{at}.changes.backTo");
            let Some(back_to) = self.all_steps.iter().position(|name| *name == changes.back_to) else {
                self.problem(field, format!("there is no step {}", changes.back_to));
                return None;
            };
            if back_to != i && !self.graph.ancestors[i].contains(&back_to) {
                self.problem(
                    field,
                    format!("step {} does not come before this one", changes.back_to),
                );
                return None;
            }
            Some(ChangesPlan {
                again: self.graph.from(back_to),
                max: changes.max.unwrap_or(DEFAULT_CHANGES),
            })
        });
        let on_timeout = approval
            .on_timeout
            .as_ref()
            .map_or(ApprovalTimeoutOutcome::Fail, |then| then.outcome);
        Action::Approval(Box::new(ApprovalPlan {
            step: approval.clone(),
            title,
            show,
            on_timeout,
            changes,
            connections: BTreeMap::new(),
        }))
    }

    fn template(
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

    fn json(
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

    fn condition(
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

    fn schema(&mut self, field: &str, schema: Option<&Json>) {
        if let Some(schema) = schema
            && self.is_shallow(field, schema.as_value())
            && let Err(error) = Schema::compile(schema.as_value())
        {
            self.problem(field, format!("not a JSON Schema: {error}"));
        }
    }

    /// A form is flat: an object of scalars, as MCP elicitation has it.
    fn form(&mut self, field: &str, form: Option<&Json>) {
        let Some(form) = form else { return };
        self.schema(field, Some(form));
        if form.0["type"] != json!("object") {
            self.problem(field, "a form is of type object");
        }
        for (name, property) in form.0["properties"].as_object().into_iter().flatten() {
            let scalar = matches!(
                property["type"].as_str(),
                Some("string" | "number" | "integer" | "boolean")
            );
            if !scalar {
                self.problem(
                    format!("{field}.properties.{name}"),
                    "a form's field is a string, number, integer or boolean",
                );
            }
        }
    }
}

fn retry_policy(retry: Option<&Retry>) -> RetryPolicy {
    let backoff = retry.and_then(|retry| retry.backoff.as_ref());
    let span = |span: Option<&HumanDuration>, default| span.map_or(default, HumanDuration::duration);
    RetryPolicy {
        attempts: retry.map_or(1, |retry| retry.attempts.max(1)),
        initial: span(
            backoff.and_then(|backoff| backoff.initial.as_ref()),
            Duration::from_secs(1),
        ),
        factor: backoff
            .and_then(|backoff| backoff.factor)
            .and_then(|factor| u32::try_from(factor).ok())
            .unwrap_or(2),
        max: span(
            backoff.and_then(|backoff| backoff.max.as_ref()),
            Duration::from_secs(60),
        ),
    }
}
