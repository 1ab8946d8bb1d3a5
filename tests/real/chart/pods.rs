//! The pods, what they may reach, and what is said of them: notes, alerts, names.

use serde_json::{Value, json};

use super::{
    Space, assert_says, name,
    render::{Rendered, SUITE, names},
};
use crate::controlplane::helm;

#[test]
fn the_pods_are_admitted_where_only_restricted_ones_are() {
    let Some(space) = Space::new("restricted") else {
        return;
    };
    let admin = space.plane.as_user("admin").within("signoff-system");
    let try_out = |pod: &Value| admin.feed(&["create", "--dry-run=server", "-f", "-"], &pod.to_string());
    for component in ["controller", "gateway"] {
        let deployment = format!("signoff-{component}");
        let answer = admin
            .run(&["get", "deployment", &deployment, "-o", "json"])
            .expect_ok();
        let deployment: Value = serde_json::from_str(&answer.out).unwrap();
        let mut pod = deployment["spec"]["template"].clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(component);
        try_out(&pod).expect_ok();
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
        assert_says(&try_out(&pod).expect_refused(), "violates PodSecurity");
    }
}

#[test]
fn pods_are_spread_probed_and_given_time_to_end() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &[]);
    for component in ["controller", "gateway"] {
        let pod = rendered.pod(component);
        let spread = pod["topologySpreadConstraints"].as_array().unwrap();
        let keys: Vec<_> = spread
            .iter()
            .map(|one| one["topologyKey"].as_str().unwrap())
            .collect();
        assert_eq!(keys, ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]);
        for constraint in spread {
            let selected = &constraint["labelSelector"]["matchLabels"];
            assert_eq!(selected["app.kubernetes.io/component"], component);
        }
        let container = &pod["containers"][0];
        for (probe, path) in [
            ("startupProbe", "/healthz"),
            ("livenessProbe", "/healthz"),
            ("readinessProbe", "/readyz"),
        ] {
            assert_eq!(
                container[probe]["httpGet"],
                json!({"path": path, "port": "admin"}),
                "{probe}"
            );
        }
    }
    let waits = |values: &[&str]| {
        let rendered = Rendered::new(&helm, values);
        rendered.pod("gateway")["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].clone()
    };
    assert_eq!(waits(&[]), 5);
    assert_eq!(
        waits(&["--set=terminationGracePeriodSeconds=4"]),
        2,
        "it leaves time to end"
    );
    assert_eq!(waits(&["--set=gateway.preStopSeconds=0"]), Value::Null);
    assert_eq!(
        rendered.pod("controller")["containers"][0]["lifecycle"],
        Value::Null
    );
    let bounded = Rendered::new(&helm, &["--set=gateway.connections.perAddress=7"]);
    let args = &bounded.pod("gateway")["containers"][0]["args"];
    for arg in [
        "--gateway-max-connections=2048",
        "--gateway-max-connections-per-address=7",
        "--gateway-idle-timeout=75s",
    ] {
        assert!(args.as_array().unwrap().contains(&json!(arg)), "{arg} in {args}");
    }
    let alone = Rendered::new(&helm, &["--set=gateway.replicas=1"]);
    assert_eq!(alone.pod("gateway")["topologySpreadConstraints"], Value::Null);
}

#[test]
fn the_gateway_reaches_names_and_the_api_server_and_nothing_else() {
    let Some(helm) = helm(SUITE) else { return };
    let egress = |values: &[&str], component: &str| {
        let rendered = Rendered::new(&helm, values);
        let wanted = format!("signoff-{component}");
        let mut policies = rendered.of("NetworkPolicy");
        let policy = policies.find(|policy| name(policy) == wanted).unwrap();
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        policy["spec"]["egress"].clone()
    };
    let tcp = |port: i64| json!({"port": port, "protocol": "TCP"});
    let dns = [json!({"port": 53, "protocol": "UDP"}), tcp(53)];
    let with = |ports: [i64; 2]| json!([{"ports": [dns[0], dns[1], tcp(ports[0]), tcp(ports[1])]}]);
    assert_eq!(egress(&[], "gateway"), with([443, 6443]));
    let elsewhere = "--set=networkPolicy.apiServerPorts={443,8443}";
    assert_eq!(egress(&[elsewhere], "gateway"), with([443, 8443]));
    assert_eq!(
        egress(&[], "controller"),
        json!([{}]),
        "flows call what they name"
    );
    let narrow = [
        "--set=networkPolicy.egress[0].to[0].ipBlock.cidr=10.0.0.0/8",
        elsewhere,
    ];
    let narrow = egress(&narrow, "controller");
    assert_eq!(narrow[0], with([443, 8443])[0]);
    assert_eq!(narrow[1]["to"][0]["ipBlock"]["cidr"], "10.0.0.0/8");
    let none = Rendered::new(&helm, &["--set=networkPolicy.enabled=false"]);
    assert_eq!(none.of("NetworkPolicy").count(), 0);
}

#[test]
fn the_gateway_reads_secrets_by_a_role_of_its_own_that_can_be_left_unbound() {
    let Some(helm) = helm(SUITE) else { return };
    let readers = |values: &[&str], kind: &str| -> Vec<String> {
        let rendered = Rendered::new(&helm, values);
        let of_secrets = rendered.of(kind).filter(|object| {
            let role = object["roleRef"]["name"].as_str().unwrap_or_default();
            role.ends_with("-secrets")
        });
        of_secrets
            .map(|binding| binding["subjects"][0]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = "--set=rbac.gatewaySecrets=true";
    assert_eq!(readers(&[], "ClusterRoleBinding"), ["signoff-controller"]);
    assert_eq!(
        readers(&[all], "ClusterRoleBinding"),
        ["signoff-gateway", "signoff-controller"]
    );
    assert_eq!(
        readers(&[all, "--set=rbac.secrets=false"], "ClusterRoleBinding"),
        ["signoff-gateway"]
    );
    let rendered = Rendered::new(&helm, &["--set=rbac.gatewaySecrets=false,rbac.secrets=false"]);
    let roles = names(rendered.of("ClusterRole"));
    assert!(
        roles.contains(&"signoff-secrets") && roles.contains(&"signoff-gateway-secrets"),
        "{roles:?}"
    );
    let team = |value: &str| {
        let rendered = Rendered::new(&helm, &["--set=watchNamespaces={team}", value]);
        let mut roles = rendered.of("Role");
        let role = roles
            .find(|role| name(role) == "signoff-signoff-system-gateway")
            .unwrap();
        role["rules"].to_string().contains("secrets")
    };
    assert!(team("--set=rbac.gatewaySecrets=true") && !team("--set=rbac.gatewaySecrets=false"));
}

#[test]
fn the_gateway_reads_the_secrets_that_are_named_and_the_notes_print_the_role_for_others() {
    let Some(helm) = helm(SUITE) else { return };
    let named = "--set=gateway.secrets[0].namespace=pay,gateway.secrets[0].names={hook,tickets}";
    for (values, role_name) in [
        (vec![named], "signoff-gateway-secrets"),
        (
            vec![named, "--set=watchNamespaces={pay}"],
            "signoff-signoff-system-gateway-secrets",
        ),
    ] {
        let rendered = Rendered::new(&helm, &values);
        let mut roles = rendered.of("Role");
        let role = roles.find(|role| name(role) == role_name).unwrap();
        assert_eq!(role["metadata"]["namespace"], "pay");
        let rule = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["hook", "tickets"], "verbs": ["get"]}]);
        assert_eq!(role["rules"], rule);
        let mut bindings = rendered.of("RoleBinding");
        let binding = bindings.find(|binding| name(binding) == role_name).unwrap();
        assert_eq!(binding["metadata"]["namespace"], "pay");
        assert_eq!(binding["subjects"][0]["name"], "signoff-gateway");
    }
    let notes = |values: &[&str]| {
        let mut args = vec![
            "install",
            "signoff",
            "charts/signoff",
            "--set=image.repository=registry.example/signoff",
            "--dry-run=client",
            "-n=own",
        ];
        args.extend(values);
        helm.run(&args).expect_ok().out
    };
    let said = notes(&[]);
    assert_says(
        &said,
        "create role signoff-hooks --verb=get --resource=secrets --resource-name=SECRET",
    );
    assert_says(&said, "--serviceaccount=own:signoff-gateway");
    assert_says(
        &notes(&["--set=rbac.gatewaySecrets=true"]),
        "WARNING: rbac.gatewaySecrets=true",
    );
}

/// What `OpenShift`'s restricted-v2 refuses unless the namespace's own ranges contain it.
fn fixed_ids(pod: &Value) -> Vec<&str> {
    let contexts = std::iter::once(&pod["securityContext"]).chain(
        pod["containers"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|container| &container["securityContext"]),
    );
    let ids = [
        "runAsUser",
        "runAsGroup",
        "fsGroup",
        "supplementalGroups",
        "seLinuxOptions",
    ];
    contexts
        .flat_map(|context| ids.into_iter().filter(|id| !context[*id].is_null()))
        .collect()
}

#[test]
fn the_pods_fix_no_ids_and_take_contexts_volumes_and_authorities_from_the_values() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &[]);
    for component in ["controller", "gateway"] {
        let pod = rendered.pod(component);
        assert_eq!(fixed_ids(pod), Vec::<&str>::new(), "{component}");
        let volumes = pod["volumes"].as_array().into_iter().flatten();
        for volume in volumes {
            let allowed = ["configMap", "emptyDir", "projected", "secret"];
            assert!(allowed.iter().any(|kind| !volume[*kind].is_null()), "{volume}");
        }
    }
    let chosen = [
        "--set=podSecurityContext.runAsUser=1234,podSecurityContext.seccompProfile=null",
        "--set=containerSecurityContext.runAsNonRoot=true",
        "--set=extraVolumes[0].name=x,extraVolumes[0].secret.secretName=x",
        "--set=extraVolumeMounts[0].name=x,extraVolumeMounts[0].mountPath=/x",
        "--set=outbound.caBundle.configMap=company,outbound.proxy=http://proxy.example.com:3128",
        "--set=outbound.denyNetworks={10.0.0.0/8,fd00::/8},outbound.allowHosts={*.example.com}",
    ];
    let rendered = Rendered::new(&helm, &chosen);
    for component in ["controller", "gateway"] {
        let pod = rendered.pod(component);
        assert_eq!(
            pod["securityContext"],
            json!({"runAsNonRoot": true, "runAsUser": 1234})
        );
        let container = &pod["containers"][0];
        assert_eq!(container["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            container["securityContext"]["capabilities"]["drop"],
            json!(["ALL"])
        );
        let has = |list: &Value, wanted: &Value| list.as_array().unwrap().contains(wanted);
        assert!(has(
            &pod["volumes"],
            &json!({"name": "x", "secret": {"secretName": "x"}})
        ));
        assert!(has(
            &container["volumeMounts"],
            &json!({"name": "x", "mountPath": "/x"})
        ));
    }
    let controller = rendered.pod("controller");
    let args = controller["containers"][0]["args"].to_string();
    for argument in [
        "--deny-network=10.0.0.0/8,fd00::/8",
        "--allow-host=*.example.com",
        "--outbound-proxy=http://proxy.example.com:3128",
        "--outbound-ca=/etc/signoff-ca/ca.crt",
    ] {
        assert_says(&args, argument);
    }
    let volume = json!({"name": "ca", "configMap": {"name": "company"}});
    assert!(controller["volumes"].as_array().unwrap().contains(&volume));
}

#[test]
fn alerts_are_on_metrics_that_exist() {
    let Some(helm) = helm(SUITE) else { return };
    let rendered = Rendered::new(&helm, &["--set=prometheusRule.enabled=true"]);
    let rules = rendered.of("PrometheusRule").next().unwrap()["spec"]["groups"][0]["rules"].clone();
    let documented = include_str!("../../../docs/metrics.md");
    let mut seen = 0;
    for rule in rules.as_array().unwrap() {
        let expression = rule["expr"].as_str().unwrap();
        // what is within the quotes of a label is no metric
        let bare = expression.split('"').step_by(2).collect::<Vec<_>>().join(" ");
        for metric in bare.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            if metric.starts_with("signoff_") {
                let metric = metric.trim_end_matches("_bucket");
                assert!(
                    documented.contains(&format!("| `{metric}`")),
                    "{metric} in {expression}"
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 5, "{seen} metrics");
}

#[test]
fn long_names_of_namespaces_are_not_cut_to_the_same() {
    let Some(helm) = helm(SUITE) else { return };
    let policies = |namespace: &str| {
        let namespace = format!("--namespace={namespace}");
        let rendered = Rendered::new(&helm, &["--set=watchNamespaces={team}", &namespace]);
        let policies = names(rendered.of("ValidatingAdmissionPolicy"));
        policies[0].to_owned()
    };
    let long = "a-team-whose-name-is-as-long-as-it-may-be-in-the-cluster";
    assert_ne!(policies(&format!("{long}-one")), policies(&format!("{long}-two")));
    assert_eq!(policies("short"), "signoff-short-connections");
}

#[test]
fn the_notes_say_how_it_is_installed_and_what_comes_next() {
    let Some(space) = Space::new("noted") else { return };
    let notes = space
        .plane
        .helm()
        .run(&["get", "notes", "signoff", "--namespace=signoff-system"])
        .expect_ok()
        .out;
    for expected in [
        "is installed in signoff-system; it watches every namespace.",
        "kubectl -n signoff-system rollout status deployment/signoff-controller deployment/signoff-gateway",
        "kubectl -n NAMESPACE create rolebinding approvers --clusterrole=signoff-approver --group=GROUP",
        "The address for callbacks is http://signoff.signoff-system.svc:80, without TLS.",
    ] {
        assert_says(&notes, expected);
    }
    let proven = if space.plane.stamps() {
        "The API server proves who decides, and fills in the name."
    } else {
        "The API server proves who decides. It cannot fill in the name"
    };
    assert_says(&notes, proven);
    assert!(!notes.contains("The kinds are missing"), "{notes}");
}
