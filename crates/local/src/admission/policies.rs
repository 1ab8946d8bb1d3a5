//! The policies, ready to be evaluated.

use super::expression::{Expression, Place, Variable};
use super::manifest::{
    Manifest, MatchConstraints, MutatingSpec, Named, Reason, ResourceRule, ValidatingSpec,
};
use super::texts;

/// The policies of the chart.
#[derive(Debug)]
pub struct Policies {
    pub(super) mutating: Vec<Mutating>,
    pub(super) validating: Vec<Validating>,
}

/// Why the policies cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is malformed, or has a field that is not supported here.
    #[error("an admission policy of the chart cannot be read")]
    Unreadable(#[from] serde_yaml::Error),
    /// It has a placeholder without a value.
    #[error("an admission policy of the chart has the unknown placeholder `{0}`")]
    Placeholder(String),
    /// One of its expressions cannot be parsed, or uses an unknown name.
    #[error("admission policy {policy} has an invalid expression: {problem}: {source_text}")]
    Expression {
        /// The policy's name.
        policy: String,
        /// The expression.
        source_text: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// What all policies have.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) rules: Vec<ResourceRule>,
    pub(super) conditions: Vec<Expression>,
    pub(super) variables: Vec<Variable>,
}

/// A policy that changes what is sent.
#[derive(Debug)]
pub(super) struct Mutating {
    pub(super) policy: Policy,
    /// Each gives a JSON patch.
    pub(super) patches: Vec<Expression>,
}

/// A policy that refuses what is sent.
#[derive(Debug)]
pub(super) struct Validating {
    pub(super) policy: Policy,
    pub(super) validations: Vec<Validation>,
    /// There is no audit log, but an error in one of them refuses the request.
    pub(super) annotations: Vec<Expression>,
}

#[derive(Debug)]
pub(super) struct Validation {
    pub(super) condition: Expression,
    pub(super) reason: Reason,
    pub(super) message: Option<String>,
    pub(super) message_expression: Option<Expression>,
}

impl Policies {
    /// Reads those of the chart.
    pub fn of_the_chart() -> Result<Self, PolicyError> {
        let texts = texts::policies()?;
        Self::parse(texts.iter().map(String::as_str))
    }

    pub(super) fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, PolicyError> {
        let mut policies = Self {
            mutating: Vec::new(),
            validating: Vec::new(),
        };
        for text in texts {
            match serde_yaml::from_str(text)? {
                Manifest::MutatingAdmissionPolicy(it) => {
                    policies.mutating.push(Mutating::of(it.metadata.name, it.spec)?);
                }
                Manifest::ValidatingAdmissionPolicy(it) => {
                    policies
                        .validating
                        .push(Validating::of(it.metadata.name, it.spec)?);
                }
            }
        }
        Ok(policies)
    }
}

impl Policy {
    fn of(
        name: String,
        constraints: MatchConstraints,
        conditions: &[Named],
        variables: &[Named],
    ) -> Result<Self, PolicyError> {
        let mut policy = Self {
            name,
            rules: constraints.resource_rules,
            conditions: Vec::new(),
            variables: Vec::new(),
        };
        for condition in conditions {
            // conditions cannot use variables
            let condition = policy.expression(&condition.expression, Place::Rule)?;
            policy.conditions.push(condition);
        }
        for variable in variables {
            let parsed = Variable::parse(&variable.name, &variable.expression, &policy.variables);
            let parsed = parsed.map_err(|problem| policy.wrong(&variable.expression, problem))?;
            policy.variables.push(parsed);
        }
        Ok(policy)
    }

    fn expression(&self, source: &str, place: Place) -> Result<Expression, PolicyError> {
        Expression::parse(source, place, &self.variables).map_err(|problem| self.wrong(source, problem))
    }

    fn wrong(&self, source: &str, problem: String) -> PolicyError {
        PolicyError::Expression {
            policy: self.name.clone(),
            source_text: source.to_owned(),
            problem,
        }
    }
}

impl Mutating {
    fn of(name: String, spec: MutatingSpec) -> Result<Self, PolicyError> {
        let policy = Policy::of(
            name,
            spec.match_constraints,
            &spec.match_conditions,
            &spec.variables,
        )?;
        let patches = spec.mutations.iter();
        let patches = patches.map(|mutation| policy.expression(&mutation.json_patch.expression, Place::Rule));
        Ok(Self {
            patches: patches.collect::<Result<_, _>>()?,
            policy,
        })
    }
}

impl Validating {
    fn of(name: String, spec: ValidatingSpec) -> Result<Self, PolicyError> {
        let policy = Policy::of(
            name,
            spec.match_constraints,
            &spec.match_conditions,
            &spec.variables,
        )?;
        let validations = spec.validations.into_iter().map(|validation| {
            let message_expression = validation.message_expression.as_deref();
            Ok(Validation {
                condition: policy.expression(&validation.expression, Place::Rule)?,
                reason: validation.reason,
                message_expression: message_expression
                    .map(|source| policy.expression(source, Place::Message))
                    .transpose()?,
                message: validation.message,
            })
        });
        let annotations = spec.audit_annotations.iter();
        let annotations =
            annotations.map(|annotation| policy.expression(&annotation.value_expression, Place::Message));
        Ok(Self {
            validations: validations.collect::<Result<_, PolicyError>>()?,
            annotations: annotations.collect::<Result<_, _>>()?,
            policy,
        })
    }
}
