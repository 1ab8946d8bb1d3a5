//! Schemas of the core kinds, from their Rust types.

use std::sync::LazyLock;

use k8s_openapi::api::{batch, coordination, core, events, rbac};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

use crate::registry::ResourceKind;

type Names = Vec<(&'static str, &'static str, String)>;

/// The definitions, and which of them is which kind.
static ALL: LazyLock<(Names, Map<String, Value>)> = LazyLock::new(|| {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let mut names = Vec::new();
    let mut add = |group, kind, name| names.push((group, kind, name));
    let on = &mut generator;
    add("", "Namespace", name::<core::v1::Namespace>(on));
    add("", "ConfigMap", name::<core::v1::ConfigMap>(on));
    add("", "Secret", name::<core::v1::Secret>(on));
    add("", "ServiceAccount", name::<core::v1::ServiceAccount>(on));
    add("", "Event", name::<core::v1::Event>(on));
    add("", "Pod", name::<core::v1::Pod>(on));
    add("events.k8s.io", "Event", name::<events::v1::Event>(on));
    add(
        "coordination.k8s.io",
        "Lease",
        name::<coordination::v1::Lease>(on),
    );
    add("batch", "Job", name::<batch::v1::Job>(on));
    add("rbac.authorization.k8s.io", "Role", name::<rbac::v1::Role>(on));
    add(
        "rbac.authorization.k8s.io",
        "ClusterRole",
        name::<rbac::v1::ClusterRole>(on),
    );
    add(
        "rbac.authorization.k8s.io",
        "RoleBinding",
        name::<rbac::v1::RoleBinding>(on),
    );
    add(
        "rbac.authorization.k8s.io",
        "ClusterRoleBinding",
        name::<rbac::v1::ClusterRoleBinding>(on),
    );
    add(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        name::<apiextensions::v1::CustomResourceDefinition>(on),
    );
    name::<meta::v1::ObjectMeta>(on);
    (names, generator.take_definitions(true))
});

/// Adds the schema of a type, and gives the name under which it is found.
fn name<T: JsonSchema>(generator: &mut SchemaGenerator) -> String {
    generator.subschema_for::<T>();
    T::schema_name().into_owned()
}

/// Name and schema of a core kind; none for reviews.
pub fn schema(kind: &ResourceKind) -> Option<(&'static str, Value)> {
    let (_, _, name) = ALL
        .0
        .iter()
        .find(|(group, name, _)| *group == kind.group && *name == kind.kind)?;
    Some((name, definition(name)?.clone()))
}

/// The schema of this name.
pub fn definition(name: &str) -> Option<&'static Value> {
    ALL.1.get(name)
}

/// Every schema, by name.
pub fn definitions() -> impl Iterator<Item = (&'static String, &'static Value)> {
    ALL.1.iter()
}
