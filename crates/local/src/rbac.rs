//! Role based access control evaluated from role and binding objects.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

use super::users::User;

/// What somebody asks to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Verb, such as `create`; for a path the HTTP method in lower case.
    pub verb: String,
    /// API group, empty for the core group.
    pub group: String,
    /// Resource, such as `runs`.
    pub resource: String,
    /// Part of the resource, such as `status`; empty for the resource itself.
    pub subresource: String,
    /// Namespace; empty for all of them, and at the cluster scope.
    pub namespace: String,
    /// Name of the object; empty when none is named.
    pub name: String,
    /// The path, for a request that is not about a resource.
    pub path: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Which binding allows it; empty when none does.
    pub reason: String,
}

/// One binding with the rules it grants.
#[derive(Debug)]
struct Grant {
    /// The only namespace in which it counts; everywhere when none.
    namespace: Option<String>,
    subjects: Vec<Subject>,
    rules: Arc<Vec<PolicyRule>>,
    origin: String,
}

/// Who may do what, as of one state of the role objects.
#[derive(Debug, Default)]
pub struct Authorizer {
    grants: Vec<Grant>,
}

impl Authorizer {
    /// Resolves bindings to the rules of their roles; a binding to a role that is missing grants nothing.
    pub fn new(
        roles: Vec<Role>,
        cluster_roles: Vec<ClusterRole>,
        bindings: Vec<RoleBinding>,
        cluster_bindings: Vec<ClusterRoleBinding>,
    ) -> Self {
        let cluster: HashMap<String, Arc<Vec<PolicyRule>>> = cluster_roles
            .into_iter()
            .map(|role| {
                (
                    role.metadata.name.unwrap_or_default(),
                    Arc::new(role.rules.unwrap_or_default()),
                )
            })
            .collect();
        let local: HashMap<(String, String), Arc<Vec<PolicyRule>>> = roles
            .into_iter()
            .map(|role| {
                let meta = role.metadata;
                let key = (meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default());
                (key, Arc::new(role.rules.unwrap_or_default()))
            })
            .collect();
        let everywhere = cluster_bindings.into_iter().filter_map(|binding| {
            let rules = cluster.get(&binding.role_ref.name)?.clone();
            let name = binding.metadata.name.unwrap_or_default();
            let origin = origin("ClusterRoleBinding", &name, &binding.role_ref);
            Some(Grant {
                namespace: None,
                subjects: binding.subjects.unwrap_or_default(),
                rules,
                origin,
            })
        });
        let in_one = bindings.into_iter().filter_map(|binding| {
            let namespace = binding.metadata.namespace.unwrap_or_default();
            let role = binding.role_ref;
            let rules = match role.kind.as_str() {
                "ClusterRole" => cluster.get(&role.name)?,
                _ => local.get(&(namespace.clone(), role.name.clone()))?,
            };
            let name = format!("{}/{namespace}", binding.metadata.name.unwrap_or_default());
            let origin = origin("RoleBinding", &name, &role);
            let subjects = binding.subjects.unwrap_or_default();
            Some(Grant {
                namespace: Some(namespace),
                subjects,
                rules: rules.clone(),
                origin,
            })
        });
        Self {
            grants: everywhere.chain(in_one).collect(),
        }
    }

    /// Whether the user may do it.
    pub fn authorize(&self, user: &User, asked: &Attributes) -> Verdict {
        for grant in &self.grants {
            let here = grant
                .namespace
                .as_ref()
                .is_none_or(|n| asked.path.is_none() && *n == asked.namespace);
            if !here || !grant.rules.iter().any(|rule| covers(rule, asked)) {
                continue;
            }
            if let Some(subject) = grant.subjects.iter().find(|subject| is_subject(user, subject)) {
                let reason = format!(
                    "RBAC: allowed by {} to {} {:?}",
                    grant.origin, subject.kind, subject.name
                );
                return Verdict {
                    allowed: true,
                    reason,
                };
            }
        }
        Verdict {
            allowed: false,
            reason: String::new(),
        }
    }

    /// Every rule that counts for the user in a namespace.
    pub fn rules(&self, user: &User, namespace: &str) -> Vec<PolicyRule> {
        let here = |grant: &&Grant| grant.namespace.as_ref().is_none_or(|n| n == namespace);
        let theirs = |grant: &&Grant| grant.subjects.iter().any(|subject| is_subject(user, subject));
        self.grants
            .iter()
            .filter(here)
            .filter(theirs)
            .flat_map(|grant| grant.rules.iter().cloned())
            .collect()
    }
}

fn origin(kind: &str, name: &str, role: &RoleRef) -> String {
    format!("{kind} {name:?} of {} {:?}", role.kind, role.name)
}

fn is_subject(user: &User, subject: &Subject) -> bool {
    match subject.kind.as_str() {
        "User" => subject.name == "*" || subject.name == user.name,
        "Group" => user.in_group(&subject.name),
        "ServiceAccount" => user
            .name
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'))
            .is_some_and(|(namespace, name)| {
                subject.namespace.as_deref() == Some(namespace) && subject.name == name
            }),
        _ => false,
    }
}

fn covers(rule: &PolicyRule, asked: &Attributes) -> bool {
    let has = |list: &Option<Vec<String>>, wanted: &str| {
        list.iter().flatten().any(|item| item == "*" || item == wanted)
    };
    if !rule.verbs.iter().any(|verb| verb == "*" || *verb == asked.verb) {
        return false;
    }
    if let Some(path) = &asked.path {
        return rule
            .non_resource_urls
            .iter()
            .flatten()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => pattern == path,
            });
    }
    let resource = rule.resources.iter().flatten().any(|item| {
        item == "*"
            || match item.split_once('/') {
                None => asked.subresource.is_empty() && *item == asked.resource,
                Some((resource, part)) => {
                    (resource == "*" || resource == asked.resource) && part == asked.subresource
                }
            }
    });
    let names = rule.resource_names.as_deref().unwrap_or_default();
    resource && has(&rule.api_groups, &asked.group) && (names.is_empty() || names.contains(&asked.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn authorizer() -> Authorizer {
        fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
            serde_json::from_value(value).unwrap()
        }
        Authorizer::new(
            vec![parse(json!({
                "metadata": {"name": "runner", "namespace": "a"},
                "rules": [{"verbs": ["create"], "apiGroups": ["signoff.dev"], "resources": ["runs"]}],
            }))],
            vec![
                parse(json!({
                    "metadata": {"name": "approver"},
                    "rules": [
                        {"verbs": ["approve"], "apiGroups": ["signoff.dev"], "resources": ["approvals"], "resourceNames": ["x"]},
                        {"verbs": ["get"], "apiGroups": ["signoff.dev"], "resources": ["*/status"]},
                    ],
                })),
                parse(json!({
                    "metadata": {"name": "all"},
                    "rules": [
                        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
                        {"verbs": ["get"], "nonResourceURLs": ["/api/*", "/version"]},
                    ],
                })),
            ],
            vec![parse(json!({
                "metadata": {"name": "runners", "namespace": "a"},
                "roleRef": {"apiGroup": "", "kind": "Role", "name": "runner"},
                "subjects": [{"kind": "ServiceAccount", "namespace": "a", "name": "bot"}],
            }))],
            vec![
                parse(json!({
                    "metadata": {"name": "approvers"},
                    "roleRef": {"apiGroup": "", "kind": "ClusterRole", "name": "approver"},
                    "subjects": [{"kind": "User", "name": "alice"}],
                })),
                parse(json!({
                    "metadata": {"name": "masters"},
                    "roleRef": {"apiGroup": "", "kind": "ClusterRole", "name": "all"},
                    "subjects": [{"kind": "Group", "name": "system:masters"}],
                })),
                parse(json!({
                    "metadata": {"name": "dangling"},
                    "roleRef": {"apiGroup": "", "kind": "ClusterRole", "name": "gone"},
                    "subjects": [{"kind": "User", "name": "alice"}],
                })),
            ],
        )
    }

    fn user(name: &str, groups: &[&str]) -> User {
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        User {
            name: name.to_owned(),
            groups,
            ..User::default()
        }
    }

    fn ask(verb: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            verb: verb.to_owned(),
            group: "signoff.dev".to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            path: None,
        }
    }

    #[test]
    fn a_right_is_bound_to_verb_name_part_and_namespace() {
        let authorizer = authorizer();
        let may = |user: &User, asked: Attributes| authorizer.authorize(user, &asked).allowed;
        let (alice, bot) = (user("alice", &[]), user("system:serviceaccount:a:bot", &[]));
        assert!(may(&alice, ask("approve", "approvals", "a", "x")));
        assert!(!may(&alice, ask("approve", "approvals", "a", "y")));
        assert!(!may(&alice, ask("get", "approvals", "a", "x")));
        assert!(may(&alice, ask("get", "runs/status", "a", "x")));
        assert!(!may(&alice, ask("get", "runs", "a", "x")));
        assert!(may(&bot, ask("create", "runs", "a", "")));
        assert!(!may(&bot, ask("create", "runs", "b", "")));
        assert!(!may(
            &user("system:serviceaccount:b:bot", &[]),
            ask("create", "runs", "a", "")
        ));
    }

    #[test]
    fn a_wildcard_covers_parts_and_paths_only_as_written() {
        let authorizer = authorizer();
        let admin = user("admin", &["system:masters"]);
        assert!(
            authorizer
                .authorize(&admin, &ask("patch", "runs/status", "z", "q"))
                .allowed
        );
        let path = |path: &str| Attributes {
            verb: "get".to_owned(),
            path: Some(path.to_owned()),
            ..Attributes::default()
        };
        assert!(authorizer.authorize(&admin, &path("/api/v1")).allowed);
        assert!(!authorizer.authorize(&admin, &path("/metrics")).allowed);
        let reason = authorizer.authorize(&admin, &ask("get", "runs", "", "")).reason;
        assert!(
            reason.contains("ClusterRoleBinding \"masters\" of ClusterRole \"all\""),
            "{reason}"
        );
    }
}
