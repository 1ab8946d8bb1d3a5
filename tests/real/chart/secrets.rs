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
