//! Admission policies as YAML. A field or value that is not listed here is not supported, and is an error.

use http::StatusCode;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub(super) enum Manifest {
    MutatingAdmissionPolicy(Object<MutatingSpec>),
    ValidatingAdmissionPolicy(Object<ValidatingSpec>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Object<S> {
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    pub(super) metadata: Metadata,
    pub(super) spec: S,
}

#[derive(Deserialize)]
enum ApiVersion {
    #[serde(rename = "admissionregistration.k8s.io/v1")]
    V1,
}

#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MutatingSpec {
    #[serde(rename = "failurePolicy")]
    _failure_policy: FailurePolicy,
    #[serde(rename = "reinvocationPolicy")]
    _reinvocation_policy: ReinvocationPolicy,
    pub(super) match_constraints: MatchConstraints,
    #[serde(default)]
    pub(super) match_conditions: Vec<Named>,
    #[serde(default)]
    pub(super) variables: Vec<Named>,
    pub(super) mutations: Vec<Mutation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ValidatingSpec {
    #[serde(rename = "failurePolicy")]
    _failure_policy: FailurePolicy,
    pub(super) match_constraints: MatchConstraints,
    #[serde(default)]
    pub(super) match_conditions: Vec<Named>,
    #[serde(default)]
    pub(super) variables: Vec<Named>,
    pub(super) validations: Vec<Validation>,
    #[serde(default)]
    pub(super) audit_annotations: Vec<AuditAnnotation>,
}

#[derive(Deserialize)]
enum FailurePolicy {
    Fail,
}

#[derive(Deserialize)]
enum ReinvocationPolicy {
    Never,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MatchConstraints {
    pub(super) resource_rules: Vec<ResourceRule>,
}

/// Which requests are looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ResourceRule {
    api_groups: Vec<String>,
    api_versions: Vec<String>,
    operations: Vec<Operation>,
    resources: Vec<String>,
}

/// What a request does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// Makes it.
    Create,
    /// Changes it, however it is sent.
    Update,
    /// Deletes it.
    Delete,
}

impl Operation {
    /// Its name, as `request.operation` has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

impl ResourceRule {
    /// Whether a request to this resource, and this part of it, is looked at.
    pub(super) fn covers(
        &self,
        operation: Operation,
        (group, version): (&str, &str),
        (resource, subresource): (&str, &str),
    ) -> bool {
        let any = |names: &[String], wanted: &str| names.iter().any(|name| name == "*" || name == wanted);
        let matches = |pattern: &String| {
            // a pattern without a slash is about the resource itself
            let (of, part) = pattern.split_once('/').unwrap_or((pattern, ""));
            (of == "*" || of == resource) && (part == "*" || part == subresource)
        };
        self.operations.contains(&operation)
            && any(&self.api_groups, group)
            && any(&self.api_versions, version)
            && self.resources.iter().any(matches)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) expression: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Validation {
    pub(super) expression: String,
    #[serde(default)]
    pub(super) reason: Reason,
    pub(super) message: Option<String>,
    pub(super) message_expression: Option<String>,
}

/// The reason with which a request is refused.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) enum Reason {
    Forbidden,
    #[default]
    Invalid,
}

impl Reason {
    pub(super) fn code(self) -> (StatusCode, &'static str) {
        match self {
            Self::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AuditAnnotation {
    #[serde(rename = "key")]
    _key: String,
    pub(super) value_expression: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mutation {
    #[serde(rename = "patchType")]
    _patch_type: PatchType,
    pub(super) json_patch: JsonPatch,
}

#[derive(Deserialize)]
enum PatchType {
    #[serde(rename = "JSONPatch")]
    JsonPatch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonPatch {
    pub(super) expression: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_about_the_resource_or_its_parts_as_it_is_written() {
        let covers = |pattern: &str, resource: &str, part: &str| {
            let rule = ResourceRule {
                api_groups: vec!["signoff.dev".to_owned()],
                api_versions: vec!["*".to_owned()],
                operations: vec![Operation::Update],
                resources: vec![pattern.to_owned()],
            };
            let group = ("signoff.dev", "v1alpha1");
            assert!(!rule.covers(Operation::Create, group, (resource, part)));
            assert!(!rule.covers(Operation::Update, ("", "v1"), (resource, part)));
            rule.covers(Operation::Update, group, (resource, part))
        };
        assert!(covers("runs", "runs", "") && covers("*", "runs", ""));
        assert!(!covers("runs", "runs", "status") && !covers("*", "runs", "status"));
        assert!(!covers("runs", "flows", ""));
        assert!(covers("*/status", "runs", "status") && !covers("*/status", "runs", ""));
        assert!(covers("*/*", "runs", "status") && covers("*/*", "runs", ""));
    }
}
