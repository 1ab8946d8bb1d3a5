//! Discovery documents: `/api`, `/apis`, their legacy lists and the aggregated form.

use serde_json::{Value, json};

use super::registry::{Registry, ResourceKind};

/// Content type of the aggregated form.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Whether an `Accept` header asks for the aggregated form before the legacy one.
pub fn wants_aggregated(accept: &str) -> bool {
    for option in accept.split(',').map(str::trim) {
        let parts: Vec<&str> = option.split(';').map(str::trim).collect();
        if parts.first() != Some(&"application/json") {
            continue;
        }
        let as_list = parts.contains(&"as=APIGroupDiscoveryList");
        if !as_list {
            return false;
        }
        if parts.contains(&"g=apidiscovery.k8s.io") && parts.contains(&"v=v2") {
            return true;
        }
    }
    false
}

/// `/api`, legacy form.
pub fn api_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `/apis`, legacy form.
pub fn api_groups(registry: &Registry) -> Value {
    let groups: Vec<Value> = named_groups(registry)
        .map(|(group, version)| api_group(&group, &version))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`; none when the group is not served.
pub fn one_group(registry: &Registry, name: &str) -> Option<Value> {
    let (group, version) = named_groups(registry).find(|(group, _)| group == name)?;
    let mut document = api_group(&group, &version);
    document["kind"] = json!("APIGroup");
    document["apiVersion"] = json!("v1");
    Some(document)
}

/// `/api/v1` and `/apis/<group>/<version>`; none when it is not served.
pub fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    for kind in registry
        .iter()
        .filter(|kind| kind.group == group && kind.version == version)
    {
        let mut resource = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": kind.verbs,
        });
        put_names(&mut resource, kind);
        resources.push(resource);
        if kind.status_subresource {
            resources.push(json!({
                "name": format!("{}/status", kind.plural), "singularName": "", "namespaced": kind.namespaced,
                "kind": kind.kind, "verbs": STATUS_VERBS,
            }));
        }
    }
    let version = group_version(group, version);
    let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources});
    (!resources.is_empty()).then_some(list)
}

/// `/api` (`core`) or `/apis`, aggregated form.
pub fn aggregated(registry: &Registry, core: bool) -> Value {
    let items: Vec<Value> = registry
        .groups()
        .iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, version)| {
            let resources: Vec<Value> = registry
                .iter()
                .filter(|k| k.group == *group)
                .map(|k| resource(k))
                .collect();
            let mut meta = json!({"creationTimestamp": null});
            if !group.is_empty() {
                meta["name"] = json!(group);
            }
            let version = json!({"version": version, "freshness": "Current", "resources": resources});
            json!({"metadata": meta, "versions": [version]})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

fn resource(kind: &ResourceKind) -> Value {
    let of_kind = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let scope = if kind.namespaced { "Namespaced" } else { "Cluster" };
    let mut resource = json!({
        "resource": kind.plural, "responseKind": of_kind, "scope": scope,
        "singularResource": kind.singular, "verbs": kind.verbs,
    });
    put_names(&mut resource, kind);
    if kind.status_subresource {
        resource["subresources"] =
            json!([{"subresource": "status", "responseKind": of_kind, "verbs": STATUS_VERBS}]);
    }
    resource
}

fn put_names(resource: &mut Value, kind: &ResourceKind) {
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
}

fn named_groups(registry: &Registry) -> impl Iterator<Item = (String, String)> {
    registry
        .groups()
        .into_iter()
        .filter(|(group, _)| !group.is_empty())
}

fn api_group(group: &str, version: &str) -> Value {
    let version = json!({"groupVersion": group_version(group, version), "version": version});
    json!({"name": group, "versions": [version], "preferredVersion": version})
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_aggregated_form_is_given_to_those_who_prefer_it() {
        let newer = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert!(wants_aggregated(newer));
        let old_first =
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert!(!wants_aggregated(old_first));
        assert!(!wants_aggregated("application/json, */*"));
    }

    #[test]
    fn both_forms_name_every_resource_with_its_short_names() {
        let registry = Registry::new(signoff_api::crds());
        let ours = resources(&registry, "signoff.dev", "v1alpha1").unwrap();
        let names: Vec<_> = ours["resources"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|r| r["name"].as_str())
            .collect();
        assert!(
            names.contains(&"runs") && names.contains(&"runs/status"),
            "{names:?}"
        );
        assert!(resources(&registry, "signoff.dev", "v9").is_none());
        let whole = aggregated(&registry, false);
        let group = whole["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|g| g["metadata"]["name"] == "signoff.dev");
        let approvals = group.unwrap()["versions"][0]["resources"][0].clone();
        assert_eq!(approvals["resource"], "approvals");
        assert_eq!(approvals["shortNames"], json!(["appr"]));
        assert_eq!(aggregated(&registry, true)["items"].as_array().unwrap().len(), 1);
    }
}
