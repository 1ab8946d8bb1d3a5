//! A request as policies see it, and what they make of it.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use signoff_expression::{self as cel, Budget, Scope};

use super::manifest::{Operation, Reason};
use super::policies::{Mutating, Policies, Policy, Validating, Validation};
use super::{authorizer, expression};
use crate::patch::json_patch;
use crate::rbac::Authorizer;
use crate::registry::ResourceKind;
use crate::status::{ApiError, cause};
use crate::users::User;

/// Longest message that an expression can make, as in Kubernetes.
const MAX_MESSAGE: usize = 5 << 10;

/// A request on its way to the store.
#[derive(Debug)]
pub struct Request<'a> {
    /// Who sends it.
    pub user: &'a User,
    /// The kind of the object.
    pub kind: &'a ResourceKind,
    /// The part of the object, such as `status`; empty for the object itself.
    pub subresource: &'a str,
    /// The namespace; empty at the cluster scope.
    pub namespace: &'a str,
    /// The name in the request; empty where there is none.
    pub name: &'a str,
    /// What it does.
    pub operation: Operation,
    /// Whether nothing is stored.
    pub dry_run: bool,
    /// Who may do what.
    pub authorizer: Arc<Authorizer>,
}

/// What expressions read besides the objects.
struct Inputs {
    request: Value,
    authorizer: cel::Value<'static>,
}

impl Inputs {
    fn scope<'a>(&'a self, policy: &'a Policy, old: &'a Value, new: &'a Value) -> Scope<'a> {
        let mut scope = Scope::default();
        scope
            .set("request", &self.request)
            .set("authorizer", self.authorizer.clone())
            .set("oldObject", old)
            .set("object", new);
        expression::define(&policy.variables, &mut scope);
        scope
    }
}

impl Request<'_> {
    /// Changes an object as the policies say; `old` is the state before.
    pub fn mutate(&self, policies: &Policies, old: Option<&Value>, new: &mut Value) -> Result<(), ApiError> {
        let mut looked_at = policies
            .mutating
            .iter()
            .filter(|it| self.is_looked_at(&it.policy))
            .peekable();
        if looked_at.peek().is_none() {
            return Ok(());
        }
        let (inputs, old) = (self.inputs(), old.unwrap_or(&Value::Null));
        looked_at.try_for_each(|it| {
            let mutated = patch(it, &inputs, old, new);
            mutated.map_err(|why| self.not_mutated(&it.policy.name, new, &why))
        })
    }

    /// Refuses what the policies refuse: `old` is the state before, `new` the one after.
    pub fn validate(
        &self,
        policies: &Policies,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<(), ApiError> {
        let looked_at = policies
            .validating
            .iter()
            .filter(|it| self.is_looked_at(&it.policy));
        let mut looked_at = looked_at.peekable();
        if looked_at.peek().is_none() {
            return Ok(());
        }
        let inputs = self.inputs();
        looked_at.try_for_each(|it| {
            let (old, now) = (old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null));
            let scope = inputs.scope(&it.policy, old, now);
            check(it, &scope).map_err(|(reason, why)| {
                let object = new.unwrap_or(old);
                self.denied(&it.policy.name, object, reason, &why)
            })
        })
    }

    fn is_looked_at(&self, policy: &Policy) -> bool {
        let kind = self.kind;
        let rules = policy.rules.iter();
        let mut covering = rules.filter(|rule| {
            rule.covers(
                self.operation,
                (&kind.group, &kind.version),
                (&kind.plural, self.subresource),
            )
        });
        covering.next().is_some()
    }

    fn inputs(&self) -> Inputs {
        let (kind, user) = (self.kind, self.user);
        let resource = json!({"group": kind.group, "version": kind.version, "resource": kind.plural});
        let of_kind = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        let mut request = json!({
            "kind": of_kind, "requestKind": of_kind, "resource": resource, "requestResource": resource,
            "operation": self.operation.name(), "dryRun": self.dry_run, "userInfo": user.info(),
        });
        // what is empty is left out
        for (field, value) in [
            ("name", self.name),
            ("namespace", self.namespace),
            ("subResource", self.subresource),
            ("requestSubResource", self.subresource),
        ] {
            if !value.is_empty() {
                request[field] = Value::from(value);
            }
        }
        Inputs {
            request,
            authorizer: authorizer::value(Arc::clone(&self.authorizer), user),
        }
    }

    fn denied(&self, policy: &str, object: &Value, reason: Reason, why: &str) -> ApiError {
        let message =
            format!("ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: {why}");
        let (code, reason) = reason.code();
        ApiError::forbidden(self.kind, name(object), &message)
            .with_code(code, reason)
            .with_causes(vec![cause("", "", message)])
    }

    /// A real server has the code of `Forbidden` here, and the reason `Invalid`.
    fn not_mutated(&self, policy: &str, object: &Value, why: &str) -> ApiError {
        let message = format!("policy '{policy}' with binding '{policy}' denied request: {why}");
        ApiError::forbidden(self.kind, name(object), "")
            .with_message(message.clone())
            .with_code(StatusCode::FORBIDDEN, "Invalid")
            .with_causes(vec![cause("", "", message)])
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Whether a policy applies to what it looks at: one condition that does not hold decides, whatever others are.
fn applies<'a>(policy: &'a Policy, scope: &Scope<'a>) -> Result<bool, String> {
    let mut errors = Vec::new();
    for condition in &policy.conditions {
        match condition.holds(scope) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => errors.push(error),
        }
    }
    match errors.as_slice() {
        [] => Ok(true),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

fn patch(mutating: &Mutating, inputs: &Inputs, old: &Value, new: &mut Value) -> Result<(), String> {
    let policy = &mutating.policy;
    if !applies(policy, &inputs.scope(policy, old, new))? {
        return Ok(());
    }
    // each sees what those before it have made
    for expression in &mutating.patches {
        let patch = {
            let (scope, mut budget) = (inputs.scope(policy, old, new), Budget::default());
            let patch = expression.evaluate(&scope, &mut budget)?;
            patch
                .to_json(&mut budget)
                .map_err(|error| expression.failed(&error))?
        };
        *new = json_patch(new, &patch).map_err(|error| format!("JSON Patch: {error}"))?;
    }
    Ok(())
}

fn check<'a>(validating: &'a Validating, scope: &Scope<'a>) -> Result<(), (Reason, String)> {
    let invalid = |why: String| (Reason::Invalid, why);
    if !applies(&validating.policy, scope).map_err(invalid)? {
        return Ok(());
    }
    for validation in &validating.validations {
        if !validation.condition.holds(scope).map_err(invalid)? {
            return Err((validation.reason, refusal(validation, scope)));
        }
    }
    for annotation in &validating.annotations {
        annotation
            .evaluate(scope, &mut Budget::default())
            .map_err(invalid)?;
    }
    Ok(())
}

/// What is said of a request that a validation refuses.
fn refusal<'a>(validation: &'a Validation, scope: &Scope<'a>) -> String {
    let made = validation.message_expression.as_ref();
    let made = made.and_then(|made| match made.evaluate(scope, &mut Budget::default()) {
        Ok(cel::Value::String(text)) => Some(text.trim().to_owned()),
        _ => None,
    });
    let usable = |text: &String| !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
    made.filter(usable)
        .or_else(|| {
            validation
                .message
                .as_ref()
                .map(|message| message.trim().to_owned())
        })
        .unwrap_or_else(|| format!("failed expression: {}", validation.condition.source))
}
