//! The token of a forge is sent where a Repository says.

use serde_json::{Value, json};

use super::{
    Space, assert_says,
    gates::{patch, repository},
};

#[test]
fn who_may_not_read_the_token_of_a_forge_does_not_have_it_sent() {
    let Some(space) = Space::new("forge-deputy") else {
        return;
    };
    let (admin, agent) = (space.user("admin"), space.user("agent"));
    // somebody who edits and says who decides, and may read one Secret
    let rules = json!([
        {"apiGroups": ["signoff.dev"], "resources": ["repositories"], "verbs": ["identify"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["flows-forge"], "verbs": ["get"]},
    ]);
    admin.create(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "identifier"}, "rules": rules}));
    for role in ["--clusterrole=signoff-editor", "--role=identifier"] {
        let name = format!("agent-{}", role.rsplit('=').next().unwrap());
        let bind = [
            "create",
            "rolebinding",
            &name,
            role,
            "--serviceaccount=default:agent",
        ];
        admin.run(&bind).expect_ok();
    }
    space.until("the agent's rights", true, || {
        agent.run(&["auth", "can-i", "get", "secrets/flows-forge"])
    });
    let forge = |secret: &str, url: &str| json!({"kind": "Gitea", "url": url, "token": {"name": secret, "key": "token"}});
    let (ours, theirs) = (
        "https://forge.example.com/api/v1",
        "https://mine.example.com/api/v1",
    );
    let why = "a Repository sends the token that spec.forge names to the address there: \"system:serviceaccount:default:agent\" may not get the \
               Secret \"payroll\" in namespace \"forge-deputy\"";
    space.until("the policy", false, || {
        agent.feed(
            &["create", "--dry-run=server", "-f", "-"],
            &repository("probe", json!({"forge": forge("payroll", theirs)})).to_string(),
        )
    });
    assert_says(
        &agent.refused(&repository("flows", json!({"forge": forge("payroll", theirs)}))),
        why,
    );
    agent.create(&repository("flows", json!({"forge": forge("flows-forge", ours)})));
    let change = |spec: Value| patch(&agent, &["repository", "flows"], &json!({"spec": spec}));
    assert_says(
        &change(json!({"forge": {"token": {"name": "payroll"}}})).expect_refused(),
        why,
    );
    change(json!({"forge": {"url": theirs}})).expect_ok();
    // one that somebody else has named is not sent elsewhere either, and all else may be changed beside it
    let named = json!({"spec": {"forge": forge("payroll", ours)}});
    patch(&admin, &["repository", "flows"], &named).expect_ok();
    assert_says(&change(json!({"forge": {"url": theirs}})).expect_refused(), why);
    change(json!({"interval": "5m", "promotion": {"approval": {"quorum": 2}}})).expect_ok();
    patch(
        &agent,
        &["repository", "flows"],
        &json!({"metadata": {"labels": {"a": "b"}}}),
    )
    .expect_ok();
    // taking the forge away sends nothing
    change(json!({"forge": null})).expect_ok();
    agent.run(&["delete", "repository", "flows"]).expect_ok();
}
