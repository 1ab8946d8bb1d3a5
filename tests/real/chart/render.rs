//! What the charts render, without a server.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::assert_says;
use crate::controlplane::{Tool, helm};

pub(super) const SUITE: &str = "what the charts render";
const STAMPING: &str = "--api-versions=admissionregistration.k8s.io/v1/MutatingAdmissionPolicy";

pub(super) struct Rendered(Vec<Value>);

impl Rendered {
    pub(super) fn new(helm: &Tool, values: &[&str]) -> Self {
        let mut args = vec![
            "template",
            "signoff",
            "charts/signoff",
            "--namespace=signoff-system",
            "--kube-version=1.34.0",
            "--set=image.repository=registry.example/signoff",
        ];
        args.extend(values);
        let text = helm.run(&args).expect_ok().out;
        let documents =
            serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
        Self(documents.filter(|document| !document.is_null()).collect())
    }

    pub(super) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// The pod of a component.
    pub(super) fn pod(&self, component: &str) -> &Value {
        let name = format!("signoff-{component}");
        let mut deployments = self.of("Deployment");
        let deployment = deployments.find(|object| super::name(object) == name).unwrap();
        &deployment["spec"]["template"]["spec"]
    }

    fn args(&self, component: &str) -> Vec<String> {
        serde_json::from_value(self.pod(component)["containers"][0]["args"].clone()).unwrap()
    }
}

pub(super) fn names<'a>(objects: impl Iterator<Item = &'a Value>) -> Vec<&'a str> {
    let mut names: Vec<_> = objects.map(super::name).collect();
    names.sort_unstable();
    names
}

#[test]
fn an_image_has_to_be_named_since_none_is_published() {
    let Some(helm) = helm(SUITE) else { return };
    let message = helm.run(&["template", "charts/signoff"]).expect_refused();
    assert_says(&message, "set image.repository");
}

#[test]
fn the_charts_are_without_a_fault() {
    let Some(helm) = helm(SUITE) else { return };
    helm.run(&["lint", "--strict", "charts/signoff", "charts/signoff-crds"])
        .expect_ok();
    let all = [
        "--set=ingress.enabled=true,ingress.host=a.example.com,ingress.tlsSecret=tls,certificate.enabled=true",
        "--set=certificate.issuerRef.name=ca,httpRoute.enabled=true,httpRoute.parentRefs[0].name=gw,serviceMonitor.enabled=true",
        "--set=prometheusRule.enabled=true,dashboard.enabled=true",
    ];
    let rendered = Rendered::new(&helm, &all);
    for kind in [
        "Ingress",
        "HTTPRoute",
        "Certificate",
        "ServiceMonitor",
        "PrometheusRule",
    ] {
        assert_eq!(rendered.of(kind).count(), 1, "{kind}");
    }
    let maps: Vec<&str> = rendered.of("ConfigMap").map(super::name).collect();
    assert_eq!(maps, ["signoff-dashboard", "signoff-policies"]);
    let budgets = |values: &[&str]| Rendered::new(&helm, values).of("PodDisruptionBudget").count();
    assert_eq!(budgets(&[]), 2);
    assert_eq!(budgets(&["--set=controller.replicas=1"]), 1);
}

#[test]
fn the_charts_carry_the_kinds_as_the_code_defines_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/signoff-crds/files");
    let carried = std::fs::read_dir(&folder).unwrap().count();
    let defined = signoff_api::crds();
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
    for (value, kept) in [("keep=true", 8), ("keep=false", 0)] {
        let text = helm
            .run(&["template", "charts/signoff-crds", "--set", value])
            .expect_ok()
            .out;
        assert_eq!(
            text.matches("helm.sh/resource-policy: keep").count(),
            kept,
            "{value}"
        );
        assert_eq!(text.matches("\nkind: CustomResourceDefinition\n").count(), 8);
    }
}

#[test]
fn the_pod_has_no_right_it_does_not_need() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &[]);
    for component in ["controller", "gateway"] {
        let pod = rendered.pod(component);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["serviceAccountName"], format!("signoff-{component}"));
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
        }
    }
}

#[test]
fn the_policy_of_the_gateway_names_every_field_of_a_run_but_its_own() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &[]);
    let mut policies = rendered.of("ValidatingAdmissionPolicy");
    let policy = policies
        .find(|policy| super::name(policy) == "signoff-gateway")
        .unwrap();
    let text = policy["spec"]["validations"].to_string();
    let crds = signoff_api::crds();
    let runs = crds.iter().find(|crd| crd.spec.names.plural == "runs").unwrap();
    let schema = serde_json::to_value(&runs.spec.versions[0].schema).unwrap();
    let fields = &schema["openAPIV3Schema"]["properties"]["status"]["properties"];
    for field in fields.as_object().unwrap().keys() {
        let compared = text.contains(&format!("object.?status.?{field} == oldObject.?status.?{field}"));
        let is_its_own = ["callbacks", "events", "heartbeats"].contains(&field.as_str());
        assert_eq!(compared, !is_its_own, "{field}");
    }
}

#[test]
fn the_policy_of_flows_compares_every_field_that_a_release_fixes() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &[STAMPING]);
    let crds = signoff_api::crds();
    let flows = crds.iter().find(|crd| crd.spec.names.plural == "flows").unwrap();
    let schema = serde_json::to_value(&flows.spec.versions[0].schema).unwrap();
    let fields = &schema["openAPIV3Schema"]["properties"]["spec"]["properties"];
    for kind in ["ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"] {
        let mut policies = rendered.of(kind);
        let policy = policies
            .find(|policy| super::name(policy) == "signoff-flows")
            .unwrap();
        let variables = policy["spec"]["variables"].to_string();
        // whether triggers are suspended is no part of a release
        for field in fields
            .as_object()
            .unwrap()
            .keys()
            .filter(|field| *field != "suspend")
        {
            assert_says(
                &variables,
                &format!("object.spec.?{field} != oldObject.spec.?{field}"),
            );
        }
    }
}

#[test]
fn the_policy_of_connections_knows_every_place_that_names_a_secret() {
    fn places(schema: &Value, path: &str, found: &mut Vec<String>) {
        let fields = schema["properties"].as_object();
        if fields.is_some_and(|fields| {
            fields.len() == 2 && fields.contains_key("name") && fields.contains_key("key")
        }) {
            found.push(format!("{path}.?name"));
        }
        for (name, field) in fields.into_iter().flatten() {
            places(field, &format!("{path}.?{name}"), found);
        }
    }
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &[]);
    let mut policies = rendered.of("ValidatingAdmissionPolicy");
    let policy = policies
        .find(|policy| super::name(policy) == "signoff-connections")
        .unwrap();
    let crds = signoff_api::crds();
    let connections = crds
        .iter()
        .find(|crd| crd.spec.names.plural == "connections")
        .unwrap();
    let schema = serde_json::to_value(&connections.spec.versions[0].schema).unwrap();
    let mut found = Vec::new();
    places(
        &schema["openAPIV3Schema"]["properties"]["spec"],
        "object.spec",
        &mut found,
    );
    assert_eq!(found.len(), 44, "{found:?}");
    for place in found {
        assert_says(&policy["spec"]["variables"].to_string(), &place);
    }
}

#[test]
fn no_expression_of_a_policy_asks_more_than_once_what_somebody_may_do() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &[STAMPING]);
    let mut asking = 0;
    for policy in rendered.of("ValidatingAdmissionPolicy") {
        let spec = &policy["spec"];
        let asks = |expression: &str| expression.matches("authorizer.").count();
        let expression = |value: &Value| value["expression"].as_str().unwrap_or_default().to_owned();
        let all = |list: &str| spec[list].as_array().cloned().unwrap_or_default();
        for validation in all("validations") {
            // a variable is evaluated at the cost of the expression that first names it
            let text = expression(&validation);
            let named: usize = all("variables")
                .iter()
                .filter(|variable| {
                    text.contains(&format!("variables.{}", variable["name"].as_str().unwrap()))
                })
                .map(|variable| asks(&expression(variable)))
                .sum();
            assert!(asks(&text) + named <= 1, "{}: {text}", super::name(policy));
            asking += asks(&text) + named;
        }
        for variable in all("variables") {
            let text = expression(&variable);
            let repeats = [".filter(", ".all(", ".exists(", ".map("]
                .iter()
                .any(|each| text.contains(each));
            assert!(asks(&text) == 0 || !repeats, "{}: {text}", super::name(policy));
        }
    }
    assert!(asking >= 8, "{asking}");
}

#[test]
fn the_dashboard_shows_only_metrics_that_exist() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &["--set=dashboard.enabled=true"]);
    let map = rendered.of("ConfigMap").next().unwrap();
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let dashboard: Value = serde_json::from_str(map["data"]["signoff.json"].as_str().unwrap()).unwrap();
    let documented = include_str!("../../../docs/metrics.md");
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut seen = 0;
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        for name in expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            if name.starts_with("signoff_") {
                let name = name.trim_end_matches("_bucket");
                assert!(
                    documented.contains(&format!("| `{name}`")),
                    "{name} in {expression}"
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "{seen} metrics shown");
}

#[test]
fn no_role_has_a_wildcard_and_every_rule_says_why() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &["--set=watchNamespaces={team-a,team-b}"]);
    let cluster_wide = Rendered::new(&helm, &[]);
    for role in ["Role", "ClusterRole"] {
        for object in rendered.of(role).chain(cluster_wide.of(role)) {
            assert!(!object["rules"].to_string().contains("\"*\""), "{object}");
        }
    }
    for file in ["operator.yaml", "gateway.yaml", "people.yaml"] {
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
            "--set=watchNamespaces={team-a,team-b}",
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
    assert_eq!(
        namespaces,
        [
            "signoff-system",
            "team-a",
            "team-b",
            "signoff-system",
            "team-a",
            "team-b"
        ]
    );
    for component in ["controller", "gateway"] {
        assert!(
            rendered
                .args(component)
                .contains(&"--watch-namespace=team-a,team-b".to_owned())
        );
    }
    for kind in [
        "ValidatingAdmissionPolicyBinding",
        "MutatingAdmissionPolicyBinding",
    ] {
        for binding in rendered.of(kind) {
            let selector = &binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"];
            let ours = json!([{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["team-a", "team-b"]}]);
            assert_eq!(*selector, ours, "{binding}");
        }
    }
}

#[test]
fn the_guide_names_every_policy_that_an_administrator_applies_for_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = std::fs::read_to_string(root.join("docs/install.md")).unwrap();
    for file in std::fs::read_dir(root.join("charts/signoff/templates/policies")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert_says(&guide, &format!("-s templates/policies/{name}"));
    }
}

#[test]
fn the_operator_has_rights_on_jobs_only_where_they_are_allowed() {
    let Some(helm) = helm(SUITE) else { return };
    for (values, expected) in [
        (vec![], false),
        (vec!["--set=jobs.enabled=true"], true),
        (
            vec!["--set=jobs.enabled=true", "--set=watchNamespaces={team}"],
            true,
        ),
    ] {
        let rendered = Rendered::new(&helm, &values);
        let roles = rendered.of("ClusterRole").chain(rendered.of("Role"));
        let rules = roles.flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default());
        let rules: Vec<Value> = rules
            .filter(|rule| {
                let resources = rule["resources"].as_array().into_iter().flatten();
                let mut names = resources.filter_map(Value::as_str);
                names.any(|name| name == "jobs" || name.starts_with("pods"))
            })
            .collect();
        let wanted = json!([
            {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch", "create", "delete"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        ]);
        assert_eq!(json!(rules), if expected { wanted } else { json!([]) });
        let policies = names(rendered.of("ValidatingAdmissionPolicy"));
        assert_eq!(policies.iter().any(|name| *name == "signoff-jobs"), expected);
        let all = rendered.0.iter().map(Value::to_string).collect::<String>();
        assert_eq!(all.contains("\"--jobs\""), expected);
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
            vec![
                "signoff-connections",
                "signoff-decisions",
                "signoff-events",
                "signoff-flows",
                "signoff-gateway",
                "signoff-records",
                "signoff-repositories",
                "signoff-runs",
                "signoff-workitems",
            ],
        ),
        (
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
            vec![
                "signoff-decisions",
                "signoff-flows",
                "signoff-runs",
                "signoff-workitems",
            ],
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
        (vec![STAMPING], 4),
        (vec!["--set=policies.stamp=always"], 4),
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
        ("controller.replicas=1", "http://signoff.signoff-system.svc:80"),
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
        let expected = format!("--gateway-url={expected}");
        assert!(rendered.args("controller").contains(&expected), "{expected}");
    }
}

#[test]
fn messages_link_to_the_page_where_there_is_one() {
    let Some(helm) = helm(SUITE) else { return };
    let named = Rendered::new(&helm, &["--set", "ui.url=https://questions.example.com/"]);
    let wanted = "--ui-url=https://questions.example.com".to_owned();
    assert!(named.args("controller").contains(&wanted));
    let none = Rendered::new(&helm, &[]);
    let is_link = |arg: &String| arg.starts_with("--ui-url");
    assert!(!none.args("controller").iter().any(is_link));
}

#[test]
fn agents_are_served_only_where_that_is_wanted_and_under_the_names_of_the_gateway() {
    let Some(helm) = helm(SUITE) else { return };
    let routed = |rendered: &Rendered| {
        let ingress = rendered.of("Ingress").next().unwrap()["spec"]["rules"][0]["http"]["paths"].clone();
        let route = rendered.of("HTTPRoute").next().unwrap()["spec"]["rules"][0]["matches"].clone();
        [ingress.as_array().unwrap().len(), route.as_array().unwrap().len()]
    };
    let routes = "ingress.enabled=true,ingress.host=b.example.com,httpRoute.enabled=true,httpRoute.parentRefs[0].name=gw";
    let without = Rendered::new(&helm, &["--set", routes]);
    assert!(!without.args("gateway").iter().any(|arg| arg.starts_with("--mcp")));
    assert_eq!(routed(&without), [1, 1]);
    let wanted = "gateway.mcp.enabled=true,gateway.mcp.hosts={c.example.com},gateway.mcp.origins={https://chat.example.com:443},gateway.url=https://a.example.com:8443/x";
    let with = Rendered::new(&helm, &["--set", routes, "--set", wanted]);
    assert_eq!(routed(&with), [2, 2]);
    let args = with.args("gateway");
    let service =
        "signoff,signoff.signoff-system,signoff.signoff-system.svc,signoff.signoff-system.svc.cluster.local";
    for expected in [
        "--mcp".to_owned(),
        format!("--mcp-host={service},a.example.com,b.example.com,c.example.com"),
        "--mcp-origin=https://chat.example.com:443".to_owned(),
    ] {
        assert!(args.contains(&expected), "{expected}: {args:?}");
    }
    assert!(!with.args("controller").iter().any(|arg| arg.starts_with("--mcp")));
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
        ("watchNamespaces={Team}", "at '/watchNamespaces/0'"),
        ("policies.extraOperators={a'b}", "at '/policies/extraOperators/0'"),
        ("gateway.url=signoff.example.com", "at '/gateway/url'"),
        ("ui.url=https://a.example.com/?x", "at '/ui/url'"),
        (
            "gateway.mcp.origins={chat.example.com}",
            "at '/gateway/mcp/origins/0'",
        ),
        ("ingress.enabled=true", "ingress.host is missing"),
        ("httpRoute.enabled=true", "httpRoute.parentRefs is missing"),
        (
            "certificate.enabled=true",
            "certificate.enabled needs ingress.tlsSecret",
        ),
        ("outbound.denyNetworks={ten}", "at '/outbound/denyNetworks/0'"),
        (
            "outbound.proxy=http://me:secret@proxy:3128",
            "at '/outbound/proxy'",
        ),
        ("gateway.secrets[0].namespace=a", "at '/gateway/secrets/0'"),
        ("controller.leaseDuration=0s", "at '/controller/leaseDuration'"),
        ("controller.leaseDuration=500ms", "at '/controller/leaseDuration'"),
        ("controller.leaseDuration=2s", "at '/controller/leaseDuration'"),
        (
            "controller.leaseDuration=2999ms",
            "at '/controller/leaseDuration'",
        ),
        (
            "serviceAccount.gatewayName=signoff-controller",
            "serviceAccount.name and serviceAccount.gatewayName are the same",
        ),
        (
            "serviceAccount.name=a,serviceAccount.gatewayName=a,serviceAccount.create=false",
            "serviceAccount.name and serviceAccount.gatewayName are the same",
        ),
        (
            "podLabels.app\\.kubernetes\\.io/name=a",
            "at '/podLabels/app.kubernetes.io~1",
        ),
        (
            "podLabels.app\\.kubernetes\\.io/component=a",
            "at '/podLabels/app.kubernetes.io~1",
        ),
        (
            "serviceMonitor.labels.helm\\.sh/chart=a",
            "at '/serviceMonitor/labels/helm.sh~1chart'",
        ),
    ] {
        let message = helm
            .run(&["template", "charts/signoff", "--set", values])
            .expect_refused();
        assert_says(&message, expected);
    }
}

#[test]
fn labels_and_leases_that_work_are_taken() {
    let Some(helm) = helm(SUITE) else { return };
    for lease in [
        "3s", "03s", "15s", "3000ms", "1m", "1m30s", "2h", "1d", "120000ms",
    ] {
        let rendered = Rendered::new(&helm, &["--set", &format!("controller.leaseDuration={lease}")]);
        let expected = format!("--lease-duration={lease}");
        assert!(rendered.args("controller").contains(&expected), "{expected}");
    }
    let label = "podLabels.app\\.kubernetes\\.io/part-of=shop";
    let rendered = Rendered::new(&helm, &["--set", label]);
    let deployment = rendered.of("Deployment").next().unwrap();
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/part-of"], "shop");
}

#[test]
fn a_lease_that_is_too_short_to_be_renewed_is_refused_rather_than_prolonged() {
    for (given, expected) in [
        ("2999ms", "a leader needs time to renew its lease: at least 3s"),
        ("soon", "\"soon\" is not a duration"),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_signoff"))
            .args(["operator", "--gateway-url=http://localhost"])
            .arg(format!("--lease-duration={given}"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert_says(&String::from_utf8(output.stderr).unwrap(), expected);
    }
}

#[test]
fn the_operators_account_is_the_one_the_embedded_control_plane_knows() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &[]);
    let mut accounts = rendered.of("ServiceAccount");
    let account = accounts
        .find(|account| account["metadata"]["labels"]["app.kubernetes.io/component"] == "controller")
        .unwrap();
    let name = format!(
        "system:serviceaccount:{}:{}",
        account["metadata"]["namespace"].as_str().unwrap(),
        super::name(account)
    );
    assert_eq!(name, "system:serviceaccount:signoff-system:signoff-controller");
    for policy in rendered.of("ValidatingAdmissionPolicy") {
        // these make no exception for the controllers
        if !["signoff-connections", "signoff-gateway", "signoff-repositories"].contains(&super::name(policy))
        {
            assert_says(&policy.to_string(), &format!("'{name}'"));
        }
    }
}

#[test]
fn the_operator_understands_the_arguments_that_the_pod_gives_it() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &["--set=watchNamespaces={team-a,team-b}"]);
    for component in ["controller", "gateway"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_signoff"))
            .args(rendered.args(component))
            .env("KUBECONFIG", "/nonexistent")
            .output()
            .unwrap();
        // it gets as far as looking for the cluster
        assert_says(
            &String::from_utf8(output.stderr).unwrap(),
            "kubeconfig cannot be used",
        );
    }
}
