//! The texts of the chart's policies, with the values that they take by name, as in `{{ .operators }}`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::PolicyError;
use crate::users::{GATEWAY, OPERATOR};

macro_rules! chart {
    ($file:literal) => {
        include_str!(concat!("../../../../charts/signoff/", $file))
    };
}

/// All policies of the chart.
const POLICIES: [&str; 14] = [
    chart!("files/policies/mutating/decisions.yaml"),
    chart!("files/policies/mutating/flows.yaml"),
    chart!("files/policies/mutating/runs.yaml"),
    chart!("files/policies/mutating/workitems.yaml"),
    chart!("files/policies/validating/connections.yaml"),
    chart!("files/policies/validating/decisions.yaml"),
    chart!("files/policies/validating/events.yaml"),
    chart!("files/policies/validating/flows.yaml"),
    chart!("files/policies/validating/gateway.yaml"),
    chart!("files/policies/validating/jobs.yaml"),
    chart!("files/policies/validating/records.yaml"),
    chart!("files/policies/validating/repositories.yaml"),
    chart!("files/policies/validating/runs.yaml"),
    chart!("files/policies/validating/workitems.yaml"),
];
/// CEL that several policies share.
const SHARED: &str = chart!("files/policies/shared.yaml");
/// Default values of the chart.
const VALUES: &str = chart!("values.yaml");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Values {
    cluster_roles: ClusterRoles,
    policies: PolicyValues,
}

#[derive(Deserialize)]
struct ClusterRoles {
    prefix: String,
}

#[derive(Deserialize)]
struct PolicyValues {
    controllers: Vec<String>,
}

/// The policies as the chart renders them for a release `signoff` in the namespace `signoff-system`, on a server with mutating policies.
pub(super) fn policies() -> Result<Vec<String>, PolicyError> {
    let mut values: BTreeMap<String, String> = serde_yaml::from_str(SHARED)?;
    let chart: Values = serde_yaml::from_str(VALUES)?;
    for (name, value) in [
        ("name", "signoff".to_owned()),
        ("labels", "app.kubernetes.io/name: signoff".to_owned()),
        ("operators", list(&[OPERATOR.to_owned()])),
        ("controllers", list(&chart.policies.controllers)),
        ("gateway", GATEWAY.to_owned()),
        ("rolePrefix", chart.cluster_roles.prefix),
        ("stamps", "true".to_owned()),
    ] {
        values.insert(name.to_owned(), value);
    }
    POLICIES.iter().map(|text| filled_in(text, &values)).collect()
}

/// A list in CEL.
fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    format!("[{}]", quoted.join(", "))
}

fn filled_in(text: &str, values: &BTreeMap<String, String>) -> Result<String, PolicyError> {
    let mut parts = text.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or((part, ""));
        let value = name.trim().strip_prefix('.').and_then(|name| values.get(name));
        filled.push_str(value.ok_or_else(|| PolicyError::Placeholder(name.trim().to_owned()))?);
        filled.push_str(rest);
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_values_by_name_and_nothing_else_of_a_template() {
        let values = [("a".to_owned(), "['x']".to_owned())].into();
        assert_eq!(
            filled_in("u in {{ .a }} || {{ .a }}", &values).unwrap(),
            "u in ['x'] || ['x']"
        );
        for text in ["{{ .b }}", "{{ include \"a\" . }}", "{{- if .a }}", "{{"] {
            let refused = filled_in(text, &values);
            assert!(
                matches!(refused, Err(PolicyError::Placeholder(_))),
                "{text}: {refused:?}"
            );
        }
    }
}
