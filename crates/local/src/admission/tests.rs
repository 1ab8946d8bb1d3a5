//! What the chart's policies make of requests, and what a policy may not say.

use std::sync::{Arc, LazyLock};

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde_json::{Value, json};

use super::*;
use crate::accounts;
use crate::rbac::Authorizer;
use crate::registry::Registry;
use crate::status::ApiError;
use crate::users::{GATEWAY, OPERATOR, User};

static POLICIES: LazyLock<Policies> = LazyLock::new(|| Policies::of_the_chart().unwrap());

/// Alice may approve `a`.
fn authorizer() -> Arc<Authorizer> {
    let role: ClusterRole = serde_json::from_value(json!({
        "metadata": {"name": "approver"},
        "rules": [{"verbs": ["approve"], "apiGroups": ["signoff.dev"], "resources": ["approvals"], "resourceNames": ["a"]}],
    }))
    .unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "approvers"},
        "roleRef": {"apiGroup": "", "kind": "ClusterRole", "name": "approver"},
        "subjects": [{"kind": "User", "name": "alice"}],
    }))
    .unwrap();
    Arc::new(Authorizer::new(vec![], vec![role], vec![], vec![binding]))
}

/// Sends what becomes of `old` to these policies.
fn send(
    policies: &Policies,
    user: &User,
    (kind, subresource): (&str, &str),
    old: Option<&Value>,
    new: Option<&Value>,
) -> Result<Value, ApiError> {
    let registry = Registry::new(signoff_api::crds());
    let version = match kind {
        "Lease" => "coordination.k8s.io/v1",
        _ => signoff_api::API_VERSION,
    };
    let kind = registry.by_kind(version, kind).unwrap();
    let request = Request {
        user,
        kind,
        subresource,
        namespace: "default",
        name: "x",
        operation: match (old, new) {
            (None, _) => Operation::Create,
            (Some(_), Some(_)) => Operation::Update,
            (Some(_), None) => Operation::Delete,
        },
        dry_run: false,
        authorizer: authorizer(),
    };
    let mut object = new.cloned().unwrap_or_default();
    if new.is_some() {
        request.mutate(policies, old, &mut object)?;
    }
    let admitted = request.validate(policies, old, new.map(|_| &object));
    admitted.map(|()| object)
}

#[expect(clippy::needless_pass_by_value, reason = "it reads better where it is called")]
fn create(user: &User, kind: &str, spec: Value) -> Result<Value, ApiError> {
    let object = json!({"metadata": {"name": "x"}, "spec": spec});
    let made = send(&POLICIES, user, (kind, ""), None, Some(&object));
    made.map(|made| made["spec"].clone())
}

fn message(result: Result<Value, ApiError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn every_expression_of_the_charts_policies_can_be_evaluated() {
    let policies = Policies::of_the_chart().unwrap();
    assert_eq!((policies.mutating.len(), policies.validating.len()), (4, 9));
    let names: Vec<_> = policies
        .validating
        .iter()
        .map(|it| it.policy.name.as_str())
        .collect();
    assert_eq!(names.join(" ").matches("signoff-").count(), 10, "{names:?}");
}

#[test]
fn every_policy_of_the_chart_is_evaluated() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/signoff/files/policies");
    let mut known = 0;
    for sort in ["mutating", "validating"] {
        known += std::fs::read_dir(format!("{folder}/{sort}")).unwrap().count();
    }
    assert_eq!(known, POLICIES.mutating.len() + POLICIES.validating.len());
}

/// A validating policy with this in its spec.
fn policy(spec: &str) -> String {
    let head = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: test}\n";
    let rules = "[{apiGroups: [signoff.dev], apiVersions: ['*'], operations: [CREATE], resources: [runs]}]";
    format!("{head}spec: {{failurePolicy: Fail, matchConstraints: {{resourceRules: {rules}}}, {spec}}}\n")
}

#[test]
fn a_policy_that_says_what_is_not_evaluated_is_an_error() {
    let refused = |spec: &str| {
        let text = policy(spec);
        let error = Policies::parse([text.as_str()]).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error} {}", source.unwrap_or_default())
    };
    for (spec, why) in [
        (
            "paramKind: {apiVersion: v1, kind: ConfigMap}, validations: []",
            "unknown field `paramKind`",
        ),
        (
            "validations: [{expression: 'true', fieldPath: x}]",
            "unknown field `fieldPath`",
        ),
        (
            "validations: [{expression: 'true', reason: Unauthorized}]",
            "unknown variant `Unauthorized`",
        ),
        (
            "validations: [{expression: object.spec.}]",
            "policy test has an invalid expression",
        ),
        (
            "validations: [{expression: params.a}]",
            "undeclared reference to 'params'",
        ),
        (
            "validations: [{expression: namespaceObject.a}]",
            "undeclared reference to 'namespaceObject'",
        ),
        ("validations: [{expression: variables.a}]", "undefined field 'a'"),
        (
            "validations: [{expression: variables}]",
            "undeclared reference to 'variables'",
        ),
        (
            "validations: [{expression: object.spec.sure()}]",
            "there is no method sure",
        ),
        (
            "validations: [{expression: 'authorizer.path(\"/\").check(\"get\").allowed()'}]",
            "there is no method path",
        ),
        (
            "variables: [{name: a, expression: variables.b}, {name: b, expression: '1'}], validations: []",
            "undefined field 'b'",
        ),
        (
            "matchConditions: [{name: a, expression: variables.b}], variables: [{name: b, expression: 'true'}], validations: []",
            "undefined field 'b'",
        ),
        (
            "validations: [{expression: 'false', messageExpression: 'string(authorizer == authorizer)'}]",
            "undeclared reference to 'authorizer'",
        ),
        (
            "validations: [], auditAnnotations: [{key: a, valueExpression: object.sure()}]",
            "there is no method sure",
        ),
    ] {
        let error = refused(spec);
        assert!(error.contains(why), "{spec}: {error}");
    }
    let ignoring = policy("validations: []").replace("Fail", "Ignore");
    assert!(Policies::parse([ignoring.as_str()]).is_err());
    let connecting = policy("validations: []").replace("CREATE", "CONNECT");
    assert!(Policies::parse([connecting.as_str()]).is_err());
}

fn started(spec: &str) -> Result<Value, ApiError> {
    let text = policy(spec);
    let policies = Policies::parse([text.as_str()]).unwrap();
    let dev = accounts::named("dev").unwrap();
    let run = json!({"metadata": {"name": "x"}, "spec": {"flow": "f"}});
    send(&policies, &dev, ("Run", ""), None, Some(&run))
}

#[test]
fn what_is_refused_says_why_as_a_real_server_does() {
    for (spec, why) in [
        (
            "validations: [{expression: 'object.spec.flow == \"g\"'}]",
            "failed expression: object.spec.flow == \"g\"",
        ),
        ("validations: [{expression: 'false', message: ' no '}]", "no"),
        (
            "validations: [{expression: 'false', message: no, messageExpression: '\" not \" + object.spec.flow'}]",
            "not f",
        ),
        (
            "validations: [{expression: 'false', message: no, messageExpression: '\"a\\nb\"'}]",
            "no",
        ),
        (
            "validations: [{expression: 'false', message: no, messageExpression: object.spec.odd}]",
            "no",
        ),
        (
            "validations: [{expression: 'object.spec.odd == 1'}]",
            "expression 'object.spec.odd == 1' resulted in error: no such key: odd",
        ),
        (
            "matchConditions: [{name: a, expression: object.odd}], validations: []",
            "expression 'object.odd' resulted in error: no such key: odd",
        ),
        (
            "validations: [], auditAnnotations: [{key: a, valueExpression: object.odd}]",
            "expression 'object.odd' resulted in error: no such key: odd",
        ),
        (
            "variables: [{name: a, expression: object.odd}], validations: [{expression: variables.a}]",
            "expression 'variables.a' resulted in error: no such key: odd",
        ),
        (
            "validations: [{expression: '[1, 2, 3].all(x, !authorizer.group(\"\").resource(\"a\").check(\"b\").allowed())'}]",
            "validation failed due to running out of cost budget, no further validation rules will be run",
        ),
    ] {
        let error = started(spec).unwrap_err();
        let message = format!("ValidatingAdmissionPolicy 'test' with binding 'test' denied request: {why}");
        assert_eq!(
            error.to_string(),
            format!("runs.signoff.dev \"x\" is forbidden: {message}")
        );
        assert_eq!((error.code().as_u16(), error.reason()), (422, "Invalid"));
        assert_eq!(error.causes()[0].message, message);
    }
}

#[test]
fn a_policy_applies_where_all_its_conditions_hold() {
    let refusing = "validations: [{expression: 'false'}]";
    for (conditions, applies) in [
        ("'true'", true),
        ("'true', 'false'", false),
        // a condition that does not hold decides, even if another has no value
        ("object.odd, 'false'", false),
    ] {
        let conditions: Vec<String> = conditions
            .split(", ")
            .enumerate()
            .map(|(index, text)| format!("{{name: c{index}, expression: {text}}}"))
            .collect();
        let spec = format!("matchConditions: [{}], {refusing}", conditions.join(", "));
        assert_eq!(started(&spec).is_err(), applies, "{spec}");
    }
}

#[test]
fn a_decision_is_stamped_with_who_makes_it() {
    let alice = accounts::named("alice").unwrap();
    let decide = |more: Value| {
        let mut spec = json!({"approval": "a", "digest": "d", "verdict": "Approve"});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        create(&alice, "Decision", spec)
    };
    let groups = json!(["finance", "owners", "system:authenticated"]);
    for more in [json!({}), json!({"by": null, "groups": null})] {
        let spec = decide(more).unwrap();
        assert_eq!((&spec["by"], &spec["groups"]), (&json!("alice"), &groups));
    }
    let written = json!(["owners", "finance", "system:authenticated"]);
    let spec = decide(json!({"by": "alice", "groups": written})).unwrap();
    assert_eq!(spec["groups"], written);
    let why = message(decide(json!({"groups": ["finance"]})));
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
    let refused = |user: &User, spec: Value| message(create(user, "Decision", spec));
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
        refused(&alice, json!({"approval": "a", "groups": ["other"]})).contains("spec.groups names other")
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
    let decide = |spec: Value| create(&operator, "Decision", spec);
    assert!(
        decide(json!({"approval": "a", "digest": "d", "verdict": "Approve", "by": "bob", "via": via}))
            .is_ok()
    );
    assert!(decide(json!({"approval": "a", "by": "bob"})).is_err());
    assert!(decide(json!({"approval": "a", "by": "bob", "via": {"channel": "git"}})).is_err());
    assert!(decide(json!({"approval": "a", "by": OPERATOR, "via": via})).is_err());
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

#[test]
fn an_owner_under_another_name_is_a_new_one_and_flags_make_none() {
    let dev = accounts::named("dev").unwrap();
    let owned = |owners: &[Value]| json!({"metadata": {"name": "x", "ownerReferences": owners}, "spec": {"flow": "f"}});
    let change = |old: &Value, new: &Value| send(&POLICIES, &dev, ("Run", ""), Some(old), Some(new));
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "1"});
    let old = owned(std::slice::from_ref(&owner));
    for (field, value) in [
        ("apiVersion", "v2"),
        ("kind", "Secret"),
        ("name", "b"),
        ("uid", "2"),
    ] {
        let mut turned = owner.clone();
        turned[field] = json!(value);
        assert!(change(&old, &owned(&[turned.clone()])).is_err(), "{field}");
        assert!(change(&old, &owned(&[owner.clone(), turned])).is_err(), "{field}");
    }
    let mut flagged = owner.clone();
    flagged["blockOwnerDeletion"] = json!(true);
    flagged["controller"] = json!(true);
    for new in [old.clone(), owned(&[flagged]), owned(&[])] {
        change(&old, &new).unwrap();
    }
}

#[test]
fn only_the_operator_writes_a_status_and_the_gateway_only_callbacks() {
    let old = json!({"metadata": {"name": "x"}, "spec": {"flow": "f"}, "status": {"phase": "Waiting"}});
    let mut ended = old.clone();
    ended["status"]["phase"] = json!("Succeeded");
    let mut called = old.clone();
    called["status"]["callbacks"] = json!({"a.1": {"at": "now"}});
    let gateway = User {
        name: GATEWAY.to_owned(),
        ..User::default()
    };
    let write = |user: &User, new: &Value| send(&POLICIES, user, ("Run", "status"), Some(&old), Some(new));
    let why = message(write(&accounts::named("admin").unwrap(), &ended));
    assert!(
        why.ends_with("the status of a run is written only by the operator"),
        "{why}"
    );
    write(&accounts::operator(), &ended).unwrap();
    write(&gateway, &called).unwrap();
    let why = message(write(&gateway, &ended));
    assert!(
        why.ends_with("the gateway writes only the callbacks, heartbeats and events of a run"),
        "{why}"
    );
}

#[test]
fn the_gateway_adds_events_and_writes_no_lease_but_those_of_events() {
    let gateway = User {
        name: GATEWAY.to_owned(),
        ..User::default()
    };
    let run = |events: Value| json!({"metadata": {"name": "x"}, "spec": {"flow": "f"}, "status": {"phase": "Waiting", "events": events}});
    let event = |name: &str| json!({"a.1": {"receivedAt": "2026-01-01T00:00:00.000000Z", "name": name}});
    let write = |old: &Value, new: &Value| send(&POLICIES, &gateway, ("Run", "status"), Some(old), Some(new));
    write(&run(json!({})), &run(event("f-1"))).unwrap();
    for new in [json!({}), event("f-2")] {
        let why = message(write(&run(event("f-1")), &run(new)));
        assert!(
            why.ends_with("the gateway adds events; one that is recorded neither changes nor goes"),
            "{why}"
        );
    }
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": "r/w.1"}});
    let create = |lease: &Value| send(&POLICIES, &gateway, ("Lease", ""), None, Some(lease));
    create(&lease("signoff-event-f-0123456789")).unwrap();
    let why = message(create(&lease("signoff-leader")));
    assert!(
        why.ends_with("the gateway writes only leases that say which run takes an event"),
        "{why}"
    );
}

#[test]
fn only_the_operator_and_the_gateway_write_leases_with_events() {
    let user = |name: &str| User {
        name: name.to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..User::default()
    };
    let lease = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}, "spec": {}});
    let kept = lease(
        "signoff-event-f-0123456789",
        json!({"signoff.dev/event": "0123456789abcdef"}),
    );
    let forged = lease("mine", json!({"signoff.dev/event": "0123456789abcdef"}));
    let other = lease("mine", json!({}));
    let write = |by: &str, old: Option<&Value>, new: Option<&Value>| {
        send(&POLICIES, &user(by), ("Lease", ""), old, new)
    };
    for by in [OPERATOR, GATEWAY] {
        write(by, None, Some(&kept)).unwrap();
        write(by, Some(&kept), Some(&kept)).unwrap();
    }
    let ours = "leases with events are written only by the operator and its gateway";
    for (old, new) in [
        (None, &kept),
        (Some(&kept), &kept),
        (None, &forged),
        (Some(&other), &forged),
    ] {
        let why = message(write("admin", old, Some(new)));
        assert!(why.ends_with(ours), "{why}");
    }
    write("admin", None, Some(&other)).unwrap();
    write("admin", Some(&kept), None).unwrap();
    write(OPERATOR, Some(&kept), None).unwrap();
    let why = message(write(OPERATOR, Some(&other), None));
    assert!(
        why.ends_with("the operator changes only its own lease and those with events"),
        "{why}"
    );
}

#[test]
fn the_gateway_renews_heartbeats_and_removes_none() {
    let run = |heartbeats: Value| json!({"metadata": {"name": "x"}, "spec": {"flow": "f"}, "status": {"phase": "Waiting", "heartbeats": heartbeats}});
    let at = |second: u8| json!({"a.1": {"receivedAt": format!("2026-01-01T00:00:0{second}.000000Z")}});
    let gateway = User {
        name: GATEWAY.to_owned(),
        ..User::default()
    };
    let write = |old: &Value, new: &Value| send(&POLICIES, &gateway, ("Run", "status"), Some(old), Some(new));
    write(&run(json!({})), &run(at(1))).unwrap();
    write(&run(at(1)), &run(at(2))).unwrap();
    let why = message(write(&run(at(1)), &run(json!({}))));
    assert!(
        why.ends_with("the gateway renews heartbeats and removes none"),
        "{why}"
    );
}

/// Nobody else passes a run off as one that nobody asked for.
#[test]
fn runs_of_triggers_are_started_only_by_the_operator_and_by_the_gateway_only_those_of_webhooks() {
    let gateway = User {
        name: GATEWAY.to_owned(),
        ..User::default()
    };
    let run = |kind: &str, by: &str| {
        json!({"flow": "f", "release": "f-0123456789", "requestedBy": by,
            "trigger": {"name": "t", "kind": kind, "at": "2026-05-01T09:00:00.000000Z"}})
    };
    let by = "system:signoff:trigger:f/t";
    create(&accounts::operator(), "Run", run("Schedule", by)).unwrap();
    create(&gateway, "Run", run("Webhook", by)).unwrap();
    let mut without_release = run("Webhook", by);
    without_release.as_object_mut().unwrap().remove("release");
    for wrong in [
        run("Schedule", by),
        run("Webhook", "alice"),
        run("Webhook", "system:signoff:trigger:f/other"),
        without_release,
        json!({"flow": "f", "requestedBy": GATEWAY}),
    ] {
        let why = message(create(&gateway, "Run", wrong.clone()));
        assert!(
            why.ends_with("the gateway starts only runs of webhook triggers"),
            "{wrong}: {why}"
        );
    }
    let alice = accounts::named("alice").unwrap();
    let why = message(create(&alice, "Run", run("Webhook", "alice")));
    assert!(
        why.contains("only the operator says which trigger started a run"),
        "{why}"
    );
    let why = message(create(&alice, "Run", json!({"flow": "f", "requestedBy": by})));
    assert!(why.contains("system:signoff:"), "{why}");
    let posing = User {
        name: by.to_owned(),
        ..User::default()
    };
    let why = message(create(&posing, "Run", json!({"flow": "f"})));
    assert!(why.contains("begin with system:signoff:"), "{why}");
}

#[test]
fn evidence_is_made_and_deleted_only_by_the_operator() {
    let admin = accounts::named("admin").unwrap();
    let why = message(create(&admin, "Approval", json!({})));
    assert!(
        why.contains("an approval is created only by the operator"),
        "{why}"
    );
    let approval = json!({"metadata": {"name": "x"}, "spec": {}});
    let delete = |user: &User| send(&POLICIES, user, ("Approval", ""), Some(&approval), None);
    let why = message(delete(&admin));
    assert!(why.contains("an approval is evidence and is kept"), "{why}");
    delete(&accounts::operator()).unwrap();
}

/// Alice may read no Secret, so that each place is refused by itself.
#[test]
fn a_connection_is_refused_for_each_secret_that_its_writer_may_not_read() {
    let alice = accounts::named("alice").unwrap();
    let key = json!({"name": "payroll", "key": "k"});
    let http = |more: Value| {
        let mut http = json!({"baseURL": "https://shop.example.com"});
        http.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({ "http": http })
    };
    let auth = |method: &str, said: Value| http(json!({"auth": {method: said}}));
    assert!(create(&alice, "Connection", http(json!({}))).is_ok());
    for spec in [
        auth("bearer", key.clone()),
        auth("basic", json!({"username": "u", "password": key})),
        auth("header", json!({"name": "X-Key", "value": key})),
        auth("query", json!({"name": "key", "value": key})),
        auth("oauth2", json!({"clientSecret": key})),
        auth("oauth2", json!({"refreshToken": key})),
        auth("oauth2", json!({"privateKey": key})),
        auth("sigv4", json!({"accessKeyID": key})),
        auth("sigv4", json!({"secretAccessKey": key})),
        auth("sigv4", json!({"sessionToken": key})),
        http(json!({"tls": {"ca": key}})),
        http(json!({"tls": {"certificate": key}})),
        http(json!({"tls": {"key": key}})),
        json!({"git": {"password": key}}),
        json!({"git": {"privateKey": key}}),
        json!({"git": {"knownHosts": key}}),
    ] {
        let refused = message(create(&alice, "Connection", spec.clone()));
        let why = "\"alice\" may not get the Secret \"payroll\" in namespace \"default\"";
        assert!(refused.contains(why), "{spec}: {refused}");
    }
}
