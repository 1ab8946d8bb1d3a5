//! Which gates a release has to pass.

use super::*;

fn quorums(definition: &Definition, live: Option<&Definition>, repository: Option<&Promotion>) -> Vec<i64> {
    let digest = Digest::of(b"");
    let candidate = Candidate {
        release: "f-1",
        uid: "u-1",
        flow: "f",
        digest: &digest,
        definition,
        source: &ReleaseSource::default(),
        dependencies: &[],
        live_dependencies: &[],
        live: live.map(|live| ("f-0", &digest, live)),
    };
    gates(&candidate, repository)
        .iter()
        .filter_map(|gate| gate.approval.quorum)
        .collect()
}

#[test]
fn the_live_release_judges_and_only_the_first_one_judges_itself() {
    let (none, two, three) = (definition(None), definition(Some(2)), definition(Some(3)));
    assert_eq!(quorums(&two, None, None), [2]);
    assert_eq!(quorums(&none, Some(&three), None), [3]);
    assert_eq!(quorums(&two, Some(&none), None), Vec::<i64>::new());
}

#[test]
fn the_repository_has_a_gate_of_its_own() {
    let none = definition(None);
    let repository = definition(Some(5)).promotion;
    assert_eq!(
        quorums(&none, Some(&definition(Some(3))), repository.as_ref()),
        [3, 5]
    );
}

#[test]
fn a_gate_that_its_approvers_cannot_open_is_a_problem_of_the_definition() {
    let problems = |approval: serde_json::Value| {
        let definition = serde_json::json!({
            "steps": [{ "name": "a", "set": {} }], "promotion": { "approval": approval },
        });
        let definition: signoff_api::Definition = serde_json::from_value(definition).unwrap();
        let problems = crate::plan::Plan::compile(&definition).err().unwrap_or_default();
        let told = problems
            .iter()
            .map(|problem| format!("{}: {}", problem.field, problem.message));
        told.collect::<Vec<_>>()
    };
    let short = "promotion.approval.quorum: 2 people must approve, and the approvers are 1";
    for approval in [
        serde_json::json!({ "quorum": 2, "approvers": { "users": ["alice"] } }),
        serde_json::json!({ "quorum": 2, "approvers": { "users": ["alice", "bob"], "exclude": ["BOB"] } }),
    ] {
        assert_eq!(problems(approval.clone()), [short], "{approval}");
    }
    for approval in [
        serde_json::json!({ "quorum": 2 }),
        serde_json::json!({ "quorum": 2, "approvers": { "users": ["alice"], "groups": ["leads"] } }),
        serde_json::json!({ "quorum": 2, "approvers": { "exclude": ["alice"] } }),
        serde_json::json!({ "quorum": 2, "approvers": { "users": ["alice"] },
            "escalate": [{ "after": "1h", "to": { "users": ["bob"] } }] }),
    ] {
        assert_eq!(problems(approval.clone()), Vec::<String>::new(), "{approval}");
    }
}
