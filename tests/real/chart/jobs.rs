//! Jobs on a real API server: whoever lets flows run containers may run them.

use serde_json::{Value, json};

use super::{
    Space, assert_says,
    gates::{object, repository},
};
use crate::controlplane::Tool;

const AGENT: &str = "system:serviceaccount:default:agent";

/// A flow with a job for each of these service accounts; an empty name stands for none.
fn flow(accounts: &[&str]) -> Value {
    let steps = accounts.iter().enumerate().map(|(n, account)| {
        let mut job = json!({"image": "app:1"});
        if !account.is_empty() {
            job["serviceAccount"] = json!(account);
        }
        json!({"name": format!("s{n}"), "job": job})
    });
    object("Flow", "build", &json!({"steps": steps.collect::<Vec<_>>()}))
}

fn dry_run(who: &Tool, object: &Value) -> crate::controlplane::Answer {
    who.feed(&["create", "--dry-run=server", "-f", "-"], &object.to_string())
}

/// Lets the agent edit, and do this.
fn let_do(space: &Space, name: &str, rule: &Value) {
    let admin = space.user("admin");
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
}

fn edits(space: &Space) {
    let bind = [
        "create",
        "rolebinding",
        "agent-edits",
        "--clusterrole=signoff-editor",
        "--serviceaccount=default:agent",
    ];
    space.user("admin").run(&bind).expect_ok();
    space.until("the agent's rights", true, || {
        space
            .user("agent")
            .run(&["auth", "can-i", "create", "flows.signoff.dev"])
    });
}

fn may_run(space: &Space) {
    let create = json!({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]});
    let_do(space, "runs-jobs", &create);
    space.until("the right to create jobs", true, || {
        space
            .user("agent")
            .run(&["auth", "can-i", "create", "jobs.batch"])
    });
}

#[test]
fn a_flow_with_a_job_takes_the_right_to_create_jobs() {
    let Some(space) = Space::new("job-writers") else {
        return;
    };
    edits(&space);
    let agent = space.user("agent");
    let why = format!(
        "a job step runs a container: \"{AGENT}\" lacks the verb create on jobs.batch in namespace \"job-writers\""
    );
    assert_says(&agent.refused(&flow(&[""])), &why);
    let last = json!({"steps": [{"name": "a", "set": {"x": 1}}], "finally": [{"name": "b", "job": {"image": "app:1"}}]});
    assert_says(&agent.refused(&object("Flow", "last", &last)), &why);
    // whoever may not run it changes nothing of it
    space.user("admin").create(&flow(&[""]));
    let patch = |what: &str| agent.run(&["patch", "flow", "build", "--type=merge", "-p", what]);
    assert_says(&patch("{\"spec\": {\"description\": \"other\"}}").err, &why);
    patch("{\"metadata\": {\"labels\": {\"a\": \"b\"}}}").expect_ok();
    may_run(&space);
    patch("{\"spec\": {\"description\": \"other\"}}").expect_ok();
}

#[test]
fn a_job_that_runs_as_a_service_account_takes_the_right_to_use_it() {
    let Some(space) = Space::new("job-accounts") else {
        return;
    };
    edits(&space);
    may_run(&space);
    let used = ["one", "two", "three", "four"];
    let use_them =
        json!({"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": used, "verbs": ["use"]});
    let_do(&space, "uses-accounts", &use_them);
    let agent = space.user("agent");
    space.until("the right to use service accounts", true, || {
        dry_run(&agent, &flow(&["one", "one", "two", "three", "", "four"]))
    });
    for accounts in [
        ["other", "two", "three", "four"],
        ["one", "other", "three", "four"],
        ["one", "two", "other", "four"],
        ["one", "two", "three", "other"],
    ] {
        let why = format!(
            "\"{AGENT}\" lacks the verb use on the service account \"other\" in namespace \"job-accounts\""
        );
        assert_says(&agent.refused(&flow(&accounts)), &why);
    }
    let most = "the job steps of a flow use at most four service accounts";
    assert_says(
        &agent.refused(&flow(&["one", "two", "three", "four", "five"])),
        most,
    );
    agent.create(&flow(&["one", "two", "three", "four"]));
}

#[test]
fn a_repository_lets_its_flows_run_jobs_only_by_whoever_may() {
    let Some(space) = Space::new("job-repositories") else {
        return;
    };
    edits(&space);
    let agent = space.user("agent");
    agent.create(&repository("plain", json!({})));
    let why = format!(
        "spec.jobs lets flows from git run containers: \"{AGENT}\" lacks the verb create on jobs.batch in namespace \"job-repositories\""
    );
    let jobs = |accounts: Value| repository("jobs", json!({"jobs": {"serviceAccounts": accounts}}));
    assert_says(&agent.refused(&jobs(json!([]))), &why);
    // where it reads from says what is run
    space.user("admin").create(&jobs(json!([])));
    let patch = "{\"spec\": {\"path\": \"elsewhere\"}}";
    let patched = || agent.run(&["patch", "repository", "jobs", "--type=merge", "-p", patch]);
    assert_says(&patched().err, &why);
    may_run(&space);
    patched().expect_ok();
    let other = repository("other", json!({"jobs": {"serviceAccounts": ["admin"]}}));
    let account = format!("\"{AGENT}\" lacks the verb use on the service account \"admin\"");
    assert_says(&agent.refused(&other), &account);
}

#[test]
fn nobody_but_the_operator_creates_jobs_of_steps() {
    let Some(space) = Space::new("job-forgers") else {
        return;
    };
    may_run(&space);
    let agent = space.user("agent");
    let job = |labels: Value, owners: Value| {
        let pod = json!({"restartPolicy": "Never", "containers": [{"name": "step", "image": "app:1"}]});
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "labels": labels, "ownerReferences": owners},
            "spec": {"template": {"spec": pod}}})
    };
    let step = json!({"signoff.dev/step": "build"});
    let run = json!([{"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "name": "r", "uid": "u"}]);
    let why = "only the operator creates Jobs of steps";
    space.until("the policy", false, || {
        dry_run(&agent, &job(step.clone(), run.clone()))
    });
    assert_says(&agent.refused(&job(step.clone(), run)), why);
    // a Job of somebody's own is nobody else's business
    agent.create(&job(json!({}), json!([])));
}
