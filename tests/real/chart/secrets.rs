//! Objects that name as many Secrets as their schemas allow: who may read them all writes them, who lacks one does not.

use serde_json::{Value, json};

use super::{
    Space, assert_says,
    gates::{object, repository},
};

const AGENT: &str = "system:serviceaccount:default:agent";

/// Lets the agent edit, say who decides, and read these Secrets.
fn let_read(space: &Space, secrets: &[&str]) {
    let (admin, agent) = (space.user("admin"), space.user("agent"));
    let rules = json!([
        {"apiGroups": ["signoff.dev"], "resources": ["repositories"], "verbs": ["identify"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": secrets, "verbs": ["get"]},
    ]);
    admin.create(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"}, "rules": rules}));
    for (name, role) in [
        ("editor", "--clusterrole=signoff-editor"),
        ("reader", "--role=reader"),
    ] {
        let bind = [
            "create",
            "rolebinding",
            name,
            role,
            "--serviceaccount=default:agent",
        ];
        admin.run(&bind).expect_ok();
    }
    space.until("the agent's rights", true, || {
        agent.run(&["auth", "can-i", "get", &format!("secrets/{}", secrets[0])])
    });
    space.until("the agent's rights", true, || {
        agent.run(&["auth", "can-i", "create", "connections.signoff.dev"])
    });
}

fn key(name: &str) -> Value {
    json!({"name": name, "key": "k"})
}

#[test]
fn a_connection_with_the_most_secrets_takes_the_right_to_read_each_of_them() {
    let Some(space) = Space::new("most-secrets") else {
        return;
    };
    let agent = space.user("agent");
    let_read(&space, &["one", "two", "three"]);
    let git = |secrets: [&str; 3]| {
        let [password, private, hosts] = secrets.map(key);
        object(
            "Connection",
            "all",
            &json!({"git": {"username": "u", "password": password, "privateKey": private, "knownHosts": hosts}}),
        )
    };
    space.until("the policy", false, || {
        let probe = git(["one", "two", "other"]).to_string();
        agent.feed(&["create", "--dry-run=server", "-f", "-"], &probe)
    });
    for secrets in [
        ["other", "two", "three"],
        ["one", "other", "three"],
        ["one", "two", "other"],
    ] {
        let why = format!(
            "a Connection sends the Secrets that it names: \"{AGENT}\" may not get the Secret \"other\" in namespace \"most-secrets\""
        );
        assert_says(&agent.refused(&git(secrets)), &why);
    }
    agent.create(&git(["one", "two", "three"]));
    space
        .user("admin")
        .run(&["delete", "connection", "all"])
        .expect_ok();
    space.user("admin").create(&git(["x", "y", "z"]));
}

/// For each way to authenticate and for TLS: a Connection, with the places of its Secrets.
fn http_connections() -> [(Value, &'static [&'static str]); 7] {
    let oauth2 =
        |grant: &str| json!({"grant": grant, "tokenURL": "https://login.example.com/token", "clientID": "c"});
    [
        (json!({"auth": {}}), &["/auth/bearer"]),
        (
            json!({"auth": {"basic": {"username": "u"}}}),
            &["/auth/basic/password"],
        ),
        (json!({"auth": {"query": {"name": "q"}}}), &["/auth/query/value"]),
        (
            json!({"auth": {"oauth2": oauth2("RefreshToken")}}),
            &["/auth/oauth2/clientSecret", "/auth/oauth2/refreshToken"],
        ),
        (
            json!({"auth": {"oauth2": oauth2("JwtBearer")}}),
            &["/auth/oauth2/privateKey"],
        ),
        (
            json!({"auth": {"sigv4": {"region": "r", "service": "s3"}}}),
            &[
                "/auth/sigv4/accessKeyID",
                "/auth/sigv4/secretAccessKey",
                "/auth/sigv4/sessionToken",
            ],
        ),
        (json!({"tls": {}}), &["/tls/ca", "/tls/certificate", "/tls/key"]),
    ]
}

#[test]
fn an_http_connection_takes_the_right_to_read_each_secret_that_it_names() {
    let Some(space) = Space::new("http-secrets") else {
        return;
    };
    let agent = space.user("agent");
    let_read(&space, &["one"]);
    for (index, (http, places)) in http_connections().into_iter().enumerate() {
        let with = |other: Option<&str>| {
            let mut http = http.clone();
            http["baseURL"] = "https://shop.example.com".into();
            for place in places {
                let (parent, field) = place.rsplit_once('/').unwrap();
                let secret = if Some(*place) == other { "other" } else { "one" };
                http.pointer_mut(parent).unwrap()[field] = key(secret);
            }
            object("Connection", &format!("c{index}"), &json!({"http": http}))
        };
        for place in places {
            space.until("the policy", false, || {
                agent.feed(
                    &["create", "--dry-run=server", "-f", "-"],
                    &with(Some(place)).to_string(),
                )
            });
            let why = "a Connection sends the Secrets that it names";
            let refused = agent.refused(&with(Some(place)));
            assert_says(&refused, why);
            assert_says(&refused, "may not get the Secret \"other\"");
        }
        agent.create(&with(None));
    }
}

#[test]
fn a_repository_with_the_most_secrets_takes_the_right_to_read_the_one_that_it_sends() {
    let Some(space) = Space::new("most-secrets-of-git") else {
        return;
    };
    let agent = space.user("agent");
    let_read(&space, &["token"]);
    let keys: Vec<Value> = (0..64)
        .map(|n| json!({"name": format!("k{n}"), "secretRef": key(&format!("key-{n}"))}))
        .collect();
    let with_token = |token: &str| {
        repository(
            "flows",
            json!({
                "connection": "git",
                "forge": {"kind": "Gitea", "url": "https://forge.example.com/api/v1", "token": key(token)},
                "verify": {"keys": keys},
                "webhook": {"secretRef": key("hook")},
                "decisions": {"propose": "PullRequest"},
                "identities": {"users": [{"login": "alice", "user": "alice"}]},
            }),
        )
    };
    space.until("the policy", false, || {
        agent.feed(
            &["create", "--dry-run=server", "-f", "-"],
            &with_token("other").to_string(),
        )
    });
    assert_says(
        &agent.refused(&with_token("other")),
        "may not get the Secret \"other\"",
    );
    agent.create(&with_token("token"));
    space
        .user("admin")
        .run(&["delete", "repository", "flows"])
        .expect_ok();
    space.user("admin").create(&with_token("other"));
}

#[test]
fn a_connection_with_a_jump_host_takes_the_right_to_use_that_one() {
    let Some(space) = Space::new("jump-host") else {
        return;
    };
    let (admin, agent) = (space.user("admin"), space.user("agent"));
    let grant = |name: &str, rule: Value| {
        admin.create(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": [rule]}));
        let role = format!("--role={name}");
        let bind = [
            "create",
            "rolebinding",
            name,
            &role,
            "--serviceaccount=default:agent",
        ];
        admin.run(&bind).expect_ok();
    };
    grant(
        "writes",
        json!({"apiGroups": ["signoff.dev"], "resources": ["connections"], "verbs": ["create", "get"]}),
    );
    grant(
        "reads",
        json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}),
    );
    space.until("the agent's rights", true, || {
        agent.run(&["auth", "can-i", "create", "connections.signoff.dev"])
    });
    space.until("the agent's rights", true, || {
        agent.run(&["auth", "can-i", "get", "secrets"])
    });
    let behind = object(
        "Connection",
        "behind",
        &json!({"ssh": {"host": "vm.example.com", "user": "u", "privateKey": key("one"), "knownHosts": key("one"), "jump": "bastion"}}),
    );
    let why = format!(
        "a Connection logs in at its jump host: \"{AGENT}\" may not use the Connection \"bastion\" in namespace \"jump-host\""
    );
    space.until("the policy", false, || {
        agent.feed(&["create", "--dry-run=server", "-f", "-"], &behind.to_string())
    });
    assert_says(&agent.refused(&behind), &why);
    grant(
        "uses",
        json!({"apiGroups": ["signoff.dev"], "resources": ["connections"], "resourceNames": ["bastion"], "verbs": ["use"]}),
    );
    space.until("the right to use it", true, || {
        agent.feed(&["create", "--dry-run=server", "-f", "-"], &behind.to_string())
    });
    agent.create(&behind);
}
