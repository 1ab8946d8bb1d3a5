//! What admission policies and bindings say, as it can be compared: what the chart rendered with what the API server has.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::ResourceExt as _;
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

/// What a policy or binding says. An API server fills in what was left out; both ways are equal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules(Value);

/// A kind of object that has [`Rules`].
pub(super) trait Ruling {
    fn rules(&self) -> Rules;
}

impl Ruling for ValidatingAdmissionPolicy {
    fn rules(&self) -> Rules {
        Rules::of(&self.spec)
    }
}

impl Ruling for ValidatingAdmissionPolicyBinding {
    fn rules(&self) -> Rules {
        Rules::of(&self.spec)
    }
}

impl Rules {
    fn of(spec: &impl Serialize) -> Self {
        // what cannot be written as JSON is equal to nothing that the chart renders
        let mut spec = serde_json::to_value(spec).unwrap_or_default();
        leave_out_defaults(&mut spec);
        Self(spec)
    }
}

/// The defaults of `admissionregistration.k8s.io/v1`, wherever they stand.
fn leave_out_defaults(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(leave_out_defaults);
            fields.retain(|name, value| !is_default(name, value));
        }
        Value::Array(items) => items.iter_mut().for_each(leave_out_defaults),
        _ => {}
    }
}

fn is_default(name: &str, value: &Value) -> bool {
    let is_empty = match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    is_empty
        || matches!(
            (name, value.as_str()),
            ("failurePolicy", Some("Fail")) | ("matchPolicy", Some("Equivalent")) | ("scope", Some("*"))
        )
}

/// The policies and bindings of the chart, as it rendered them.
#[derive(Clone, Debug, Default)]
pub(super) struct Rendered {
    pub policies: BTreeMap<String, Rules>,
    pub bindings: BTreeMap<String, Rules>,
}

/// Why the file with the chart's policies cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RenderedError {
    /// It is no YAML of Kubernetes objects.
    #[error("the admission policies to compare with cannot be read")]
    Unreadable(#[from] serde_yaml::Error),
    /// One of those that decisions depend on is not in it.
    #[error("the admission policies to compare with lack the {0}")]
    Missing(String),
}

impl Rendered {
    /// Reads a stream of YAML documents. Objects of other kinds in it are passed over.
    pub(super) fn parse(text: &str) -> Result<Self, RenderedError> {
        let mut rendered = Self::default();
        for document in serde_yaml::Deserializer::from_str(text) {
            let object = serde_yaml::Value::deserialize(document)?;
            match object.get("kind").and_then(serde_yaml::Value::as_str) {
                Some("ValidatingAdmissionPolicy") => {
                    let policy: ValidatingAdmissionPolicy = serde_yaml::from_value(object)?;
                    rendered.policies.insert(policy.name_any(), policy.rules());
                }
                Some("ValidatingAdmissionPolicyBinding") => {
                    let binding: ValidatingAdmissionPolicyBinding = serde_yaml::from_value(object)?;
                    rendered.bindings.insert(binding.name_any(), binding.rules());
                }
                _ => {}
            }
        }
        Ok(rendered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: signoff-runs}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [signoff.dev], apiVersions: ['*'], operations: [CREATE], resources: [runs]}]
  validations: [{expression: 'object.spec.requestedBy == request.userInfo.username'}]
---
# nothing
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: signoff-runs}
spec: {policyName: signoff-runs, validationActions: [Deny, Audit]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
";

    fn policy(change: impl Fn(&mut Value)) -> Rules {
        let mut object: Value = serde_yaml::from_str(POLICY.split("---").next().unwrap()).unwrap();
        change(&mut object);
        serde_json::from_value::<ValidatingAdmissionPolicy>(object)
            .unwrap()
            .rules()
    }

    #[test]
    fn what_an_api_server_fills_in_changes_nothing_and_what_somebody_changes_does() {
        let rendered = Rendered::parse(POLICY).unwrap();
        assert_eq!((rendered.policies.len(), rendered.bindings.len()), (1, 1));
        let wanted = &rendered.policies["signoff-runs"];
        let filled_in = policy(|object| {
            let constraints = &mut object["spec"]["matchConstraints"];
            constraints["matchPolicy"] = "Equivalent".into();
            constraints["namespaceSelector"] = serde_json::json!({});
            constraints["objectSelector"] = serde_json::json!({});
            constraints["resourceRules"][0]["scope"] = "*".into();
        });
        assert_eq!(*wanted, filled_in);
        let weaker: [fn(&mut Value); 4] = [
            |object| object["spec"]["failurePolicy"] = "Ignore".into(),
            |object| object["spec"]["validations"][0]["expression"] = "true".into(),
            |object| {
                object["spec"]["matchConstraints"]["namespaceSelector"] =
                    serde_json::json!({"matchLabels": {"a": "b"}});
            },
            |object| {
                object["spec"]["matchConditions"] = serde_json::json!([{"name": "x", "expression": "false"}]);
            },
        ];
        for change in weaker {
            assert_ne!(*wanted, policy(change));
        }
    }
}
