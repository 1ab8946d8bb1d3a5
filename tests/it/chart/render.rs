//! What the charts render, without a server.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::assert_says;
use crate::controlplane::{Tool, helm};

const SUITE: &str = "what the charts render";
const STAMPING: &str = "--api-versions=admissionregistration.k8s.io/v1/MutatingAdmissionPolicy";

struct Rendered(Vec<Value>);

impl Rendered {
    fn new(helm: &Tool, values: &[&str]) -> Self {
        let mut args = vec![
            "template",
            "signoff",
            "charts/signoff",
            "--namespace=signoff-system",
            "--kube-version=1.34.0",
        ];
        args.extend(values);
        let text = helm.run(&args).expect_ok().out;
        let documents =
            serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
        Self(documents.filter(|document| !document.is_null()).collect())
    }

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    fn deployment(&self) -> &Value {
        self.of("Deployment").next().unwrap()
    }
}

fn names<'a>(objects: impl Iterator<Item = &'a Value>) -> Vec<&'a str> {
    let mut names: Vec<_> = objects.map(super::name).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_charts_are_without_a_fault() {
    let Some(helm) = helm(SUITE) else { return };
    helm.run(&["lint", "--strict", "charts/signoff", "charts/signoff-crds"])
        .expect_ok();
    let all = [
        "--set=replicas=2,ingress.enabled=true,ingress.host=a.example.com,ingress.tlsSecret=tls,certificate.enabled=true",
        "--set=certificate.issuerRef.name=ca,httpRoute.enabled=true,httpRoute.parentRefs[0].name=gw,serviceMonitor.enabled=true",
        "--set=prometheusRule.enabled=true",
    ];
    let rendered = Rendered::new(&helm, &all);
    for kind in [
        "Ingress",
        "HTTPRoute",
        "Certificate",
        "ServiceMonitor",
        "PrometheusRule",
        "PodDisruptionBudget",
    ] {
        assert_eq!(rendered.of(kind).count(), 1, "{kind}");
    }
    let by_default = Rendered::new(&helm, &[]);
    assert_eq!(by_default.of("PodDisruptionBudget").count(), 0);
}

#[test]
fn the_charts_carry_the_kinds_as_the_code_defines_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/signoff-crds/files");
    let carried = std::fs::read_dir(&folder).unwrap().count();
    let defined = signoff::api::crds();
    assert_eq!(carried, defined.len(), "files in {}", folder.display());
    for crd in defined {
        let file = folder.join(format!("{}.yaml", crd.spec.names.plural));
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let carried: Value = serde_yaml::from_str(&text).unwrap();
        let defined = serde_json::to_value(&crd).unwrap();
        assert!(
            carried == defined,
            "{} is not what the types say; mend it with: cargo run -- crds --dir charts/signoff-crds/files",
            file.display()
        );
    }
}

#[test]
fn uninstalling_keeps_the_kinds_unless_told_otherwise() {
    let Some(helm) = helm(SUITE) else { return };
    for (value, kept) in [("keep=true", 7), ("keep=false", 0)] {
        let text = helm
            .run(&["template", "charts/signoff-crds", "--set", value])
            .expect_ok()
            .out;
        assert_eq!(
            text.matches("helm.sh/resource-policy: keep").count(),
            kept,
            "{value}"
        );
        assert_eq!(text.matches("\nkind: CustomResourceDefinition\n").count(), 7);
    }
}

#[test]
fn the_pod_has_no_right_it_does_not_need() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &[]);
    let pod = &rendered.deployment()["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for container in pod["containers"].as_array().unwrap() {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
    }
    assert_eq!(rendered.deployment()["spec"]["strategy"]["type"], "Recreate");
}

#[test]
fn no_role_has_a_wildcard_and_every_rule_says_why() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &["--set=watchNamespace=team-a"]);
    let cluster_wide = Rendered::new(&helm, &[]);
    for role in ["Role", "ClusterRole"] {
        for object in rendered.of(role).chain(cluster_wide.of(role)) {
            assert!(!object["rules"].to_string().contains("\"*\""), "{object}");
        }
    }
    for file in ["operator.yaml", "people.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("charts/signoff/templates/rbac")
            .join(file);
        let text = std::fs::read_to_string(path).unwrap();
        let mut before = "";
        for line in text.lines() {
            assert!(
                !line.starts_with("- apiGroups") || before.starts_with("# "),
                "no reason before {line} in {file}"
            );
            before = line;
        }
    }
}

#[test]
fn only_the_approver_may_approve_and_no_other_role_contains_it() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &[]);
    let approving = rendered
        .of("ClusterRole")
        .filter(|role| role["rules"].to_string().contains("\"approve\""));
    assert_eq!(names(approving), ["signoff-approver"]);
    let aggregated = rendered
        .of("ClusterRole")
        .filter(|role| role["metadata"]["labels"].to_string().contains("aggregate-to"));
    assert_eq!(
        names(aggregated),
        ["signoff-editor", "signoff-operator", "signoff-viewer"]
    );
}

#[test]
fn watching_some_namespaces_takes_no_right_in_the_cluster() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(
        &helm,
        &[
            "--set=watchNamespace=team-a",
            "--set=clusterRoles.create=false",
            STAMPING,
        ],
    );
    assert_eq!(
        rendered.of("ClusterRole").count() + rendered.of("ClusterRoleBinding").count(),
        0
    );
    let namespaces: Vec<_> = rendered
        .of("Role")
        .map(|role| role["metadata"]["namespace"].as_str().unwrap())
        .collect();
    assert_eq!(namespaces, ["signoff-system", "team-a"]);
    let args = rendered.deployment()["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    assert_says(&args, "\"--watch-namespace=team-a\"");
    for kind in [
        "ValidatingAdmissionPolicyBinding",
        "MutatingAdmissionPolicyBinding",
    ] {
        for binding in rendered.of(kind) {
            let selector = &binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"];
            assert_eq!(selector["kubernetes.io/metadata.name"], "team-a", "{binding}");
        }
    }
}

#[test]
fn every_policy_is_bound_and_fails_closed() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &[STAMPING]);
    for (kind, binding, expected) in [
        (
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            vec!["signoff-decisions", "signoff-records", "signoff-runs"],
        ),
        (
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
            vec!["signoff-decisions", "signoff-runs"],
        ),
    ] {
        assert_eq!(names(rendered.of(kind)), expected);
        assert_eq!(names(rendered.of(binding)), expected);
        assert!(
            rendered
                .of(kind)
                .all(|policy| policy["spec"]["failurePolicy"] == "Fail")
        );
        assert!(
            rendered
                .of(binding)
                .all(|bound| bound["spec"]["policyName"] == bound["metadata"]["name"])
        );
    }
    let mut bindings = rendered.of("ValidatingAdmissionPolicyBinding");
    assert!(bindings.all(|bound| bound["spec"]["validationActions"][0] == "Deny"));
}

#[test]
fn the_author_is_filled_in_where_the_server_can() {
    let Some(helm) = helm(SUITE) else { return };
    for (values, expected) in [
        (vec![], 0),
        (vec![STAMPING], 2),
        (vec!["--set=policies.stamp=always"], 2),
        (vec![STAMPING, "--set=policies.stamp=never"], 0),
        (vec![STAMPING, "--set=policies.enabled=false"], 0),
    ] {
        assert_eq!(
            Rendered::new(&helm, &values)
                .of("MutatingAdmissionPolicy")
                .count(),
            expected,
            "{values:?}"
        );
    }
}

#[test]
fn callbacks_go_where_the_route_is() {
    let Some(helm) = helm(SUITE) else { return };
    for (values, expected) in [
        ("replicas=1", "http://signoff.signoff-system.svc:80"),
        ("gateway.url=https://a.example.com/", "https://a.example.com"),
        (
            "ingress.enabled=true,ingress.host=b.example.com",
            "http://b.example.com",
        ),
        (
            "ingress.enabled=true,ingress.host=b.example.com,ingress.tlsSecret=t",
            "https://b.example.com",
        ),
    ] {
        let rendered = Rendered::new(&helm, &["--set", values]);
        let args = rendered.deployment()["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
        assert_says(&args, &format!("\"--gateway-url={expected}\""));
    }
}

#[test]
fn a_value_that_is_wrong_is_refused_with_its_place() {
    let Some(helm) = helm(SUITE) else { return };
    for (values, expected) in [
        ("replica=2", "additional properties 'replica' not allowed"),
        (
            "policies.stamp=sometimes",
            "at '/policies/stamp': value must be one of",
        ),
        ("watchNamespace=Team", "at '/watchNamespace'"),
        ("policies.extraOperators={a'b}", "at '/policies/extraOperators/0'"),
        ("gateway.url=signoff.example.com", "at '/gateway/url'"),
        ("ingress.enabled=true", "ingress.host is missing"),
        ("httpRoute.enabled=true", "httpRoute.parentRefs is missing"),
        (
            "certificate.enabled=true",
            "certificate.enabled needs ingress.tlsSecret",
        ),
    ] {
        let message = helm
            .run(&["template", "charts/signoff", "--set", values])
            .expect_refused();
        assert_says(&message, expected);
    }
}

#[test]
fn the_operators_account_is_the_one_the_embedded_control_plane_knows() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &[]);
    let account = rendered.of("ServiceAccount").next().unwrap();
    let name = format!(
        "system:serviceaccount:{}:{}",
        account["metadata"]["namespace"].as_str().unwrap(),
        super::name(account)
    );
    assert_eq!(name, "system:serviceaccount:signoff-system:signoff-controller");
    for policy in rendered.of("ValidatingAdmissionPolicy") {
        assert_says(&policy.to_string(), &format!("'{name}'"));
    }
}

#[test]
fn the_operator_understands_the_arguments_that_the_pod_gives_it() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &["--set=watchNamespace=team-a"]);
    let args = &rendered.deployment()["spec"]["template"]["spec"]["containers"][0]["args"];
    let args: Vec<String> = serde_json::from_value(args.clone()).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_signoff"))
        .args(args)
        .env("KUBECONFIG", "/nonexistent")
        .output()
        .unwrap();
    // it gets as far as looking for the cluster
    assert_says(
        &String::from_utf8(output.stderr).unwrap(),
        "kubeconfig cannot be used",
    );
}
