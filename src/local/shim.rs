//! Stand-ins.

use serde_json::{Value, json};

pub mod table {
    use super::{Value, json};
    use crate::local::registry::ResourceKind;
    pub fn render(_kind: &ResourceKind, objects: &[Value], meta: &Value) -> Value {
        let rows: Vec<Value> = objects
            .iter()
            .map(|o| json!({"cells": [o["metadata"]["name"], o["metadata"]["creationTimestamp"]]}))
            .collect();
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
            "columnDefinitions": [{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0},
            {"name": "Age", "type": "date", "format": "", "description": "", "priority": 0}], "rows": rows})
    }
}

pub mod schema {
    use super::Value;
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    #[derive(Debug)]
    pub struct Schema;
    #[derive(Debug)]
    pub struct FieldError {
        pub type_: String,
        pub field: String,
        pub message: String,
    }
    impl Schema {
        pub fn from_crd(_crd: &CustomResourceDefinition) -> Self {
            Self
        }
        pub fn for_core(_kind: &str) -> Self {
            Self
        }
        pub fn prune(&self, _object: &mut Value) -> Vec<String> {
            Vec::new()
        }
        pub fn default(&self, _object: &mut Value) {}
        pub fn validate(&self, _object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
            Vec::new()
        }
    }
}

pub mod patch {
    use super::Value;
    #[derive(Debug)]
    pub struct PatchError {
        pub message: String,
        pub malformed: bool,
    }
    pub fn json_patch(current: &Value, patch: &Value) -> Result<Value, PatchError> {
        let patch: json_patch::Patch = serde_json::from_value(patch.clone()).map_err(|e| PatchError {
            message: e.to_string(),
            malformed: true,
        })?;
        let mut new = current.clone();
        json_patch::patch(&mut new, &patch).map_err(|e| PatchError {
            message: e.to_string(),
            malformed: false,
        })?;
        Ok(new)
    }
    pub fn merge_patch(current: &Value, patch: &Value) -> Result<Value, PatchError> {
        let mut new = current.clone();
        json_patch::merge(&mut new, patch);
        Ok(new)
    }
    pub fn strategic_merge_patch(_kind: &str, current: &Value, patch: &Value) -> Result<Value, PatchError> {
        merge_patch(current, patch)
    }
}

pub mod discovery {
    use super::{Value, json};
    use crate::local::registry::Registry;
    pub fn document(registry: &Registry, parts: &[String]) -> Option<Value> {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let resources = |group: &str, version: &str| {
            let mut list = Vec::new();
            for k in registry
                .iter()
                .filter(|k| k.group == group && k.version == version)
            {
                list.push(json!({"name": k.plural, "singularName": k.singular, "namespaced": k.namespaced, "kind": k.kind,
                    "verbs": k.verbs, "shortNames": k.short_names, "categories": k.categories}));
                if k.status_subresource {
                    list.push(json!({"name": format!("{}/status", k.plural), "singularName": "", "namespaced": k.namespaced, "kind": k.kind,
                        "verbs": ["get", "patch", "update"]}));
                }
            }
            let gv = if group.is_empty() {
                version.to_owned()
            } else {
                format!("{group}/{version}")
            };
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": list})
        };
        match parts.as_slice() {
            ["api"] => {
                Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}))
            }
            ["api", v] => Some(resources("", v)),
            ["apis", g, v] => Some(resources(g, v)),
            ["apis"] => {
                let groups: Vec<Value> = registry
                    .groups()
                    .iter()
                    .filter(|(g, _)| !g.is_empty())
                    .map(|(g, v)| {
                        let gv = json!({"groupVersion": format!("{g}/{v}"), "version": v});
                        json!({"name": g, "versions": [gv.clone()], "preferredVersion": gv})
                    })
                    .collect();
                Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
            }
            _ => None,
        }
    }
}

pub mod managed_fields {
    use super::Value;
    use super::schema::Schema;
    #[derive(Debug)]
    #[expect(dead_code, reason = "stand-in")]
    pub struct ApplyContext<'a> {
        pub manager: &'a str,
        pub force: bool,
        pub subresource: Option<&'a str>,
        pub now: &'a str,
        pub schema: &'a Schema,
    }
    #[derive(Debug)]
    pub struct Conflict {
        pub message: String,
        pub field: String,
    }
    pub fn apply(
        live: Option<&Value>,
        applied: &Value,
        _context: &ApplyContext<'_>,
    ) -> Result<Value, Vec<Conflict>> {
        let mut new = live.cloned().unwrap_or_else(|| applied.clone());
        json_patch::merge(&mut new, applied);
        Ok(new)
    }
    pub fn track_update(_old: Option<&Value>, _new: &mut Value, _context: &ApplyContext<'_>) {}
}
