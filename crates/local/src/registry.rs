//! Which resources are served: our kinds from their CRDs, the core kinds from a table.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition,
};

/// Verbs of a resource that can be written.
pub const ALL_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
/// The same for the kinds of definitions, in the order in which a real server lists them.
pub const CUSTOM_VERBS: &[&str] = &[
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];
/// Verbs of namespaces, which are deleted one by one.
pub const NAMESPACE_VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
/// Verbs of a resource that can only be read.
pub const READ_VERBS: &[&str] = &["get", "list", "watch"];
/// Verbs of a review: posted, answered, not stored.
pub const REVIEW_VERBS: &[&str] = &["create"];

/// One resource: how it is named, where it lives, what can be done with it.
#[derive(Debug, Clone)]
pub struct ResourceKind {
    /// API group; empty for the core group.
    pub group: String,
    /// Version, such as `v1`.
    pub version: String,
    /// Kind, such as `Run`.
    pub kind: String,
    /// Plural as in paths, such as `runs`.
    pub plural: String,
    /// Singular, such as `run`.
    pub singular: String,
    /// Kind of a list, such as `RunList`.
    pub list_kind: String,
    /// Short names for kubectl.
    pub short_names: Vec<String>,
    /// Categories for kubectl, such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether `/status` is a subresource of its own.
    pub status_subresource: bool,
    /// Fields a field selector may name besides `metadata.name` and `metadata.namespace`, as JSON paths
    /// such as `.spec.flow`.
    pub selectable_fields: Vec<String>,
    /// Printer columns of the definition; empty for core kinds, whose columns are built in.
    pub printer_columns: Vec<CustomResourceColumnDefinition>,
    /// The definition, for our kinds.
    pub crd: Option<Arc<CustomResourceDefinition>>,
    /// What can be done.
    pub verbs: &'static [&'static str],
}

impl ResourceKind {
    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `plural.group`, or just the plural in the core group, as messages name a resource.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Whether it is one of the review kinds, which are answered and not stored.
    pub fn is_review(&self) -> bool {
        self.verbs == REVIEW_VERBS
    }

    /// Whether the verb is served.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    fn core(row: &Row) -> Self {
        Self {
            group: row.group.to_owned(),
            version: "v1".to_owned(),
            kind: row.kind.to_owned(),
            plural: row.plural.to_owned(),
            singular: row.kind.to_lowercase(),
            list_kind: format!("{}List", row.kind),
            short_names: row.short.iter().map(|s| (*s).to_owned()).collect(),
            categories: if row.kind == "Pod" || row.kind == "Job" {
                vec!["all".to_owned()]
            } else {
                Vec::new()
            },
            namespaced: row.namespaced,
            status_subresource: row.status,
            selectable_fields: row.fields.iter().map(|s| (*s).to_owned()).collect(),
            printer_columns: Vec::new(),
            crd: None,
            verbs: row.verbs,
        }
    }

    /// The schema of a definition's kind; none for core kinds.
    pub fn custom_schema(&self) -> Option<Value> {
        let crd = self.crd.as_ref()?;
        let version = crd.spec.versions.iter().find(|v| v.name == self.version)?;
        let mut schema = serde_json::to_value(version.schema.as_ref()?.open_api_v3_schema.as_ref()?).ok()?;
        whole_numbers(&mut schema);
        Some(schema)
    }

    /// The resource a definition describes: its storage version.
    pub fn from_crd(crd: CustomResourceDefinition) -> Option<Self> {
        let version = crd.spec.versions.iter().find(|v| v.storage && v.served)?;
        let names = &crd.spec.names;
        Some(Self {
            group: crd.spec.group.clone(),
            version: version.name.clone(),
            kind: names.kind.clone(),
            plural: names.plural.clone(),
            singular: names
                .singular
                .clone()
                .unwrap_or_else(|| names.kind.to_lowercase()),
            list_kind: names
                .list_kind
                .clone()
                .unwrap_or_else(|| format!("{}List", names.kind)),
            short_names: names.short_names.clone().unwrap_or_default(),
            categories: names.categories.clone().unwrap_or_default(),
            namespaced: crd.spec.scope == "Namespaced",
            status_subresource: version.subresources.as_ref().is_some_and(|s| s.status.is_some()),
            selectable_fields: version
                .selectable_fields
                .iter()
                .flatten()
                .map(|field| field.json_path.clone())
                .collect(),
            printer_columns: version.additional_printer_columns.clone().unwrap_or_default(),
            verbs: CUSTOM_VERBS,
            crd: Some(Arc::new(crd)),
        })
    }
}

/// Bounds are decimals in the type of a definition; those that are whole are written as such.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        Value::Array(list) => list.iter_mut().for_each(whole_numbers),
        Value::Number(number) => {
            let text = number.to_string();
            if let Some(whole) = text.strip_suffix(".0").and_then(|text| text.parse::<i64>().ok()) {
                *value = Value::from(whole);
            }
        }
        _ => {}
    }
}

struct Row {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    status: bool,
    fields: &'static [&'static str],
    verbs: &'static [&'static str],
}

const fn row(group: &'static str, kind: &'static str, plural: &'static str, namespaced: bool) -> Row {
    Row {
        group,
        kind,
        plural,
        short: &[],
        namespaced,
        status: false,
        fields: &[],
        verbs: ALL_VERBS,
    }
}

const AUTHORIZATION: &str = "authorization.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const INVOLVED: &[&str] = &[
    ".involvedObject.kind",
    ".involvedObject.namespace",
    ".involvedObject.name",
    ".involvedObject.uid",
    ".involvedObject.apiVersion",
    ".involvedObject.resourceVersion",
    ".involvedObject.fieldPath",
    ".reason",
    ".reportingComponent",
    ".source",
    ".type",
];
const REGARDING: &[&str] = &[
    ".regarding.kind",
    ".regarding.namespace",
    ".regarding.name",
    ".regarding.uid",
    ".regarding.apiVersion",
    ".regarding.resourceVersion",
    ".regarding.fieldPath",
    ".reason",
    ".reportingController",
    ".type",
];

const CORE: &[Row] = &[
    Row {
        short: &["ns"],
        status: true,
        fields: &[".status.phase"],
        verbs: NAMESPACE_VERBS,
        ..row("", "Namespace", "namespaces", false)
    },
    Row {
        short: &["cm"],
        ..row("", "ConfigMap", "configmaps", true)
    },
    Row {
        fields: &[".type"],
        ..row("", "Secret", "secrets", true)
    },
    Row {
        short: &["sa"],
        ..row("", "ServiceAccount", "serviceaccounts", true)
    },
    Row {
        short: &["ev"],
        fields: INVOLVED,
        ..row("", "Event", "events", true)
    },
    Row {
        short: &["po"],
        status: true,
        fields: &[".status.phase", ".spec.nodeName"],
        ..row("", "Pod", "pods", true)
    },
    Row {
        short: &["ev"],
        fields: REGARDING,
        ..row("events.k8s.io", "Event", "events", true)
    },
    row("coordination.k8s.io", "Lease", "leases", true),
    Row {
        status: true,
        fields: &[".status.successful"],
        ..row("batch", "Job", "jobs", true)
    },
    row(RBAC, "Role", "roles", true),
    row(RBAC, "RoleBinding", "rolebindings", true),
    row(RBAC, "ClusterRole", "clusterroles", false),
    row(RBAC, "ClusterRoleBinding", "clusterrolebindings", false),
    Row {
        short: &["crd", "crds"],
        verbs: READ_VERBS,
        ..row(
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            false,
        )
    },
    Row {
        verbs: REVIEW_VERBS,
        ..row(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews", false)
    },
    Row {
        verbs: REVIEW_VERBS,
        ..row(AUTHENTICATION, "TokenReview", "tokenreviews", false)
    },
    Row {
        verbs: REVIEW_VERBS,
        ..row(
            AUTHORIZATION,
            "SelfSubjectAccessReview",
            "selfsubjectaccessreviews",
            false,
        )
    },
    Row {
        verbs: REVIEW_VERBS,
        ..row(
            AUTHORIZATION,
            "SelfSubjectRulesReview",
            "selfsubjectrulesreviews",
            false,
        )
    },
    Row {
        verbs: REVIEW_VERBS,
        ..row(
            AUTHORIZATION,
            "SubjectAccessReview",
            "subjectaccessreviews",
            false,
        )
    },
    Row {
        verbs: REVIEW_VERBS,
        ..row(
            AUTHORIZATION,
            "LocalSubjectAccessReview",
            "localsubjectaccessreviews",
            true,
        )
    },
];

/// Every resource that is served, in a stable order: core group first, then by group and plural.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<(String, String), Arc<ResourceKind>>,
}

impl Registry {
    /// The core kinds and the kinds of these definitions.
    pub fn new(crds: impl IntoIterator<Item = CustomResourceDefinition>) -> Self {
        let core = CORE.iter().map(ResourceKind::core);
        let kinds = core
            .chain(crds.into_iter().filter_map(ResourceKind::from_crd))
            .map(|kind| ((kind.group.clone(), kind.plural.clone()), Arc::new(kind)))
            .collect();
        Self { kinds }
    }

    /// The resource served at this group, version and plural.
    pub fn lookup(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<ResourceKind>> {
        self.resource(group, plural)
            .filter(|kind| kind.version == version)
    }

    /// The resource of this group and plural, whatever its version.
    pub fn resource(&self, group: &str, plural: &str) -> Option<&Arc<ResourceKind>> {
        self.kinds.get(&(group.to_owned(), plural.to_owned()))
    }

    /// The resource of this `apiVersion` and kind, as references name it.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<ResourceKind>> {
        self.iter()
            .find(|k| k.kind == kind && k.api_version() == api_version)
    }

    /// Every resource.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ResourceKind>> {
        self.kinds.values()
    }

    /// Every group with its version, core (empty) first.
    pub fn groups(&self) -> Vec<(String, String)> {
        let mut groups: Vec<_> = self
            .iter()
            .map(|k| (k.group.clone(), k.version.clone()))
            .collect();
        groups.dedup();
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_kinds_and_core_kinds_are_found_by_path_and_by_reference() {
        let registry = Registry::new(signoff_api::crds());
        let run = registry.lookup("signoff.dev", "v1alpha1", "runs").unwrap();
        assert_eq!(run.api_version(), "signoff.dev/v1alpha1");
        assert!(run.status_subresource);
        assert!(registry.lookup("signoff.dev", "v1", "runs").is_none());
        assert_eq!(registry.by_kind("v1", "Secret").unwrap().plural, "secrets");
        assert_eq!(registry.groups().first().unwrap().0, "");
    }
}
