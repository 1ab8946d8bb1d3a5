//! Admission rules: who decided and who asked are stamped and checked by the server, never claimed. The
//! rules and their words are those of the admission policies in the chart.

mod connection;
mod flow;
mod owners;
mod repository;
mod run;

use http::StatusCode;
use serde_json::{Value, json};

use super::rbac::Attributes;
use super::registry::ResourceKind;
use super::status::ApiError;
use super::users::{OPERATOR, User};

/// A new, changed or deleted object on its way into the store or out of it.
pub struct Admission<'a> {
    /// Who writes it.
    pub user: &'a User,
    /// Its kind.
    pub kind: &'a ResourceKind,
    /// Its namespace.
    pub namespace: &'a str,
    /// Whether the user may do something else, by RBAC.
    pub may: &'a dyn Fn(&Attributes) -> bool,
}

impl std::fmt::Debug for Admission<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission")
            .field("user", self.user)
            .field("kind", &self.kind.kind)
            .finish_non_exhaustive()
    }
}

enum Refusal {
    Forbidden(String),
    Invalid(String),
}

impl Admission<'_> {
    /// Fills in who creates a decision or a run (the operator says itself for whom), then refuses what
    /// claims to be somebody else's.
    pub fn create(&self, object: &mut Value) -> Result<(), ApiError> {
        if self.kind.group != signoff_api::GROUP || !object["spec"].is_object() {
            return Ok(());
        }
        let (policy, verdict) = match self.kind.kind.as_str() {
            "Decision" => {
                self.stamp(object, "by", || json!(self.user.name));
                self.stamp(object, "groups", || json!(self.user.groups));
                ("signoff-decisions", self.decision(object))
            }
            "Run" => {
                self.stamp(object, "requestedBy", || json!(self.user.name));
                ("signoff-runs", self.new_run(object))
            }
            "Flow" => {
                self.stamp_flow(None, object);
                ("signoff-flows", self.flow(None, object))
            }
            "Repository" => ("signoff-repositories", self.repository(None, object)),
            "Connection" => ("signoff-connections", self.connection(None, object)),
            _ => return Ok(()),
        };
        verdict.map_err(|refusal| self.refuse(policy, object, refusal))
    }

    /// Fills in who changes a flow, then refuses what the caller may not say.
    pub fn change(&self, old: &Value, new: &mut Value) -> Result<(), ApiError> {
        if self.kind.group != signoff_api::GROUP {
            return Ok(());
        }
        let (policy, verdict) = match self.kind.kind.as_str() {
            "Flow" => {
                self.stamp_flow(Some(old), new);
                ("signoff-flows", self.flow(Some(old), new))
            }
            "Run" => ("signoff-runs", self.changed_run(old, new)),
            "Repository" => ("signoff-repositories", self.repository(Some(old), new)),
            "Connection" => ("signoff-connections", self.connection(Some(old), new)),
            _ => return Ok(()),
        };
        verdict.map_err(|refusal| self.refuse(policy, new, refusal))
    }

    /// Refuses a deletion by which a gate would be gone.
    pub fn delete(&self, object: &Value) -> Result<(), ApiError> {
        if self.kind.group != signoff_api::GROUP {
            return Ok(());
        }
        let (policy, verdict) = match self.kind.kind.as_str() {
            "Flow" => ("signoff-flows", self.without_flow(object)),
            "Repository" => ("signoff-repositories", self.without_repository(object)),
            _ => return Ok(()),
        };
        verdict.map_err(|refusal| self.refuse(policy, object, refusal))
    }

    fn is_operator(&self) -> bool {
        self.user.name == OPERATOR
    }

    /// Whether the caller may do something to an object of ours here; to any of its kind where the name is empty.
    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        (self.may)(&Attributes {
            verb: verb.to_owned(),
            group: signoff_api::GROUP.to_owned(),
            resource: resource.to_owned(),
            namespace: self.namespace.to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        })
    }

    fn may_read(&self, secret: &str) -> bool {
        (self.may)(&Attributes {
            verb: "get".to_owned(),
            resource: "secrets".to_owned(),
            namespace: self.namespace.to_owned(),
            name: secret.to_owned(),
            ..Attributes::default()
        })
    }

    fn stamp(&self, object: &mut Value, field: &str, value: impl Fn() -> Value) {
        if !self.is_operator() && object["spec"][field].is_null() {
            object["spec"][field] = value();
        }
    }

    fn decision(&self, object: &Value) -> Result<(), Refusal> {
        let spec = &object["spec"];
        let (by, user) = (spec["by"].as_str().unwrap_or_default(), self.user.name.as_str());
        if self.is_operator() {
            if spec["via"].is_null() || by.is_empty() || by == user {
                return forbidden(
                    "the operator decides only for somebody else: spec.by must name that person and spec.via how the decision came in",
                );
            }
            let evidence = spec["via"]["evidence"].as_object();
            if evidence.is_none_or(serde_json::Map::is_empty) {
                return forbidden("the operator says what proves a decision: spec.via.evidence is empty");
            }
            return Ok(());
        }
        if by != user {
            return forbidden(format!(
                "spec.by says \"{by}\", but you are \"{user}\": nobody can decide in another's name; leave spec.by out or write your own"
            ));
        }
        if !spec["via"].is_null() {
            return forbidden("spec.via is only for decisions that the operator passes on: leave it out");
        }
        let claimed = spec["groups"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let foreign: Vec<&str> = claimed.filter(|group| !self.user.in_group(group)).collect();
        if !foreign.is_empty() {
            return forbidden(format!(
                "spec.groups names {}, and you are not in that group: leave spec.groups out or write only your own",
                foreign.join(", ")
            ));
        }
        let claimed = || {
            let groups = spec["groups"].as_array().into_iter().flatten();
            groups.filter_map(Value::as_str)
        };
        let missing = |group: &&str| !claimed().any(|claimed| claimed == *group);
        let missing: Vec<&str> = self
            .user
            .groups
            .iter()
            .map(String::as_str)
            .filter(missing)
            .collect();
        if !missing.is_empty() {
            return forbidden(format!(
                "spec.groups leaves out {}, and you are in that group: leave spec.groups out or write all of yours",
                missing.join(", ")
            ));
        }
        let approval = spec["approval"].as_str().unwrap_or_default();
        if !self.may("approve", "approvals", approval) {
            return forbidden(format!(
                "\"{user}\" may not decide approval \"{approval}\": it takes the verb approve on approvals.signoff.dev in namespace \"{}\", which the ClusterRole signoff-approver gives",
                self.namespace
            ));
        }
        let empty = |field: &str| object["metadata"][field].as_array().is_none_or(Vec::is_empty);
        if !empty("ownerReferences") || !empty("finalizers") {
            return forbidden(
                "a decision is created without metadata.ownerReferences and metadata.finalizers",
            );
        }
        Ok(())
    }

    fn lacks(&self, what: &str) -> String {
        let (user, namespace) = (&self.user.name, self.namespace);
        format!("\"{user}\" lacks the verb {what} in namespace \"{namespace}\"")
    }

    fn refuse(&self, policy: &str, object: &Value, refusal: Refusal) -> ApiError {
        let (code, reason, why) = match refusal {
            Refusal::Forbidden(why) => (StatusCode::FORBIDDEN, "Forbidden", why),
            Refusal::Invalid(why) => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid", why),
        };
        let why =
            format!("ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: {why}");
        ApiError::forbidden(self.kind, name(object), &why).with_code(code, reason)
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn forbidden(why: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal::Forbidden(why.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts;
    use crate::registry::Registry;

    #[expect(clippy::needless_pass_by_value, reason = "it reads better where it is called")]
    fn create(user: &User, kind: &str, spec: Value) -> Result<Value, String> {
        let registry = Registry::new(signoff_api::crds());
        let kind = registry.by_kind(signoff_api::API_VERSION, kind).unwrap();
        let may = |asked: &Attributes| user.name == "alice" && asked.name == "a";
        let mut object = json!({"metadata": {"name": "x"}, "spec": spec});
        let admission = Admission {
            user,
            kind,
            namespace: "default",
            may: &may,
        };
        admission
            .create(&mut object)
            .map(|()| object["spec"].clone())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn a_decision_is_stamped_with_who_makes_it() {
        let alice = accounts::named("alice").unwrap();
        let spec = create(&alice, "Decision", json!({"approval": "a"})).unwrap();
        assert_eq!(spec["by"], "alice");
        assert_eq!(
            spec["groups"],
            json!(["finance", "owners", "system:authenticated"])
        );
        assert!(
            create(
                &alice,
                "Decision",
                json!({"approval": "a", "by": "alice", "groups": ["owners", "finance", "system:authenticated"]})
            )
            .is_ok()
        );
        let why = create(
            &alice,
            "Decision",
            json!({"approval": "a", "groups": ["finance"]}),
        )
        .unwrap_err();
        assert!(
            why.contains("spec.groups leaves out owners, system:authenticated"),
            "{why}"
        );
    }

    #[test]
    fn nobody_decides_in_anothers_name_or_without_the_right() {
        let (alice, agent) = (
            accounts::named("alice").unwrap(),
            accounts::named("agent").unwrap(),
        );
        let refused = |user: &User, spec: Value| create(user, "Decision", spec).unwrap_err();
        let why = refused(&alice, json!({"approval": "a", "by": "bob"}));
        assert!(
            why.starts_with(
                "decisions.signoff.dev \"x\" is forbidden: ValidatingAdmissionPolicy 'signoff-decisions'"
            ),
            "{why}"
        );
        assert!(
            why.contains("spec.by says \"bob\", but you are \"alice\""),
            "{why}"
        );
        assert!(
            refused(&alice, json!({"approval": "a", "groups": ["other"]}))
                .contains("spec.groups names other")
        );
        assert!(
            refused(&alice, json!({"approval": "a", "via": {"channel": "git"}})).contains("spec.via is only")
        );
        assert!(refused(&alice, json!({"approval": "b"})).contains("takes the verb approve"));
        assert!(refused(&agent, json!({"approval": "a"})).contains("takes the verb approve"));
    }

    #[test]
    fn the_operator_decides_only_for_somebody_else_and_says_how() {
        let operator = accounts::operator();
        let via = json!({"channel": "git", "evidence": {"commit": "3f9a1c"}});
        assert!(
            create(
                &operator,
                "Decision",
                json!({"approval": "a", "by": "bob", "via": via})
            )
            .is_ok()
        );
        assert!(create(&operator, "Decision", json!({"approval": "a", "by": "bob"})).is_err());
        let unproven = json!({"approval": "a", "by": "bob", "via": {"channel": "git"}});
        assert!(create(&operator, "Decision", unproven).is_err());
        assert!(
            create(
                &operator,
                "Decision",
                json!({"approval": "a", "by": OPERATOR, "via": via})
            )
            .is_err()
        );
    }

    #[test]
    fn a_run_is_requested_by_who_creates_it() {
        let (dev, operator) = (accounts::named("dev").unwrap(), accounts::operator());
        assert_eq!(
            create(&dev, "Run", json!({"flow": "f"})).unwrap()["requestedBy"],
            "dev"
        );
        assert!(create(&dev, "Run", json!({"flow": "f", "requestedBy": "bob"})).is_err());
        assert_eq!(
            create(&operator, "Run", json!({"requestedBy": "bob"})).unwrap()["requestedBy"],
            "bob"
        );
    }
}
