use serde_json::{Value, json};

use super::*;

fn commit(digit: &str) -> String {
    digit.repeat(40)
}

fn repository(problems: &Value) -> Repository {
    let at = |digit: &str| json!({"commit": commit(digit), "short": &commit(digit)[..10]});
    serde_json::from_value(
        json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "flows"},
        "spec": {"url": "https://forge.example.com/a/b", "draft": {"ref": "main"}, "live": {"ref": "live"}},
        "status": {"draft": at("a"), "live": at("b"), "problems": problems}}),
    )
    .unwrap()
}

/// A flow whose content came with one commit, and what is wanted live with another.
fn flow(name: &str, from: &str, live: Option<(&str, &str)>, status: &Value) -> Flow {
    let source = json!({"commit": commit(from), "path": format!("{name}.yaml")}).to_string();
    let mut annotations = json!({"signoff.dev/source": source});
    if let Some((_, by)) = live {
        annotations["signoff.dev/live-commit"] = json!(commit(by));
    }
    serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow",
        "metadata": {"name": name, "generation": 2, "annotations": annotations},
        "spec": {"steps": [], "live": live.map(|(release, _)| release)}, "status": status}))
    .unwrap()
}

fn cut(release: &str) -> Value {
    json!({"release": release, "digest": format!("sha256:{}", "0".repeat(64))})
}

fn draft(release: &str) -> Value {
    json!({"observedGeneration": 2, "draft": cut(release)})
}

fn told(problems: &Value, flows: &[Flow]) -> [String; 2] {
    let flows: Vec<&Flow> = flows.iter().collect();
    let told = of_repository(&repository(problems), &flows);
    let told: Vec<String> = told
        .into_iter()
        .map(|(commit, said)| {
            assert!(said.description.chars().count() <= LONGEST, "{said:?}");
            let (commit, context) = (&commit.to_string()[..1], said.context);
            format!("{commit} {context} {:?}: {}", said.state, said.description)
        })
        .collect();
    told.try_into().unwrap()
}

fn of_draft(problems: &Value, flows: &[Flow]) -> String {
    let [draft, _] = told(problems, flows);
    draft.strip_prefix("a signoff/flows ").unwrap().to_owned()
}

fn of_live(problems: &Value, flows: &[Flow]) -> String {
    let [_, live] = told(problems, flows);
    live.strip_prefix("b signoff/live ").unwrap().to_owned()
}

#[test]
fn a_commit_says_what_was_cut_of_it() {
    let none = json!([]);
    let (f, g) = (
        flow("f", "a", None, &draft("f-1")),
        flow("g", "9", None, &draft("g-1")),
    );
    let both = [f.clone(), g.clone()];
    assert_eq!(of_draft(&none, &both), "Success: cut f-1; 1 unchanged");
    assert_eq!(of_draft(&none, &[f]), "Success: cut f-1");
    assert_eq!(of_draft(&none, &[g]), "Success: nothing cut; 1 unchanged");
    assert_eq!(of_draft(&none, &[]), "Success: no flows");
    let mut behind = draft("f-1");
    behind["observedGeneration"] = json!(1);
    let behind = flow("f", "a", None, &behind);
    assert_eq!(of_draft(&none, &[behind]), "Pending: cutting releases of f");
    let many: Vec<Flow> = (0..1_000)
        .map(|n| format!("flow-{n:04}"))
        .map(|name| flow(&name, "a", None, &draft(&format!("{name}-1"))))
        .chain([flow("g", "9", None, &draft("g-1"))])
        .collect();
    let line = of_draft(&none, &many);
    assert!(line.ends_with(" more; 1 unchanged"), "{line}");
}

#[test]
fn a_commit_says_what_is_wrong_and_where_and_only_what_is_wrong_at_its_ref() {
    let problem = |path: &str, channels: &[&str]| json!({"path": path, "line": 3, "column": 7, "message": "unknown field `stepz`", "channels": channels});
    let (main, live) = ("Draft", "Live");
    let problems = json!([
        problem("a.yaml", &[main, live]),
        problem("b.yaml", &[main]),
        problem("c.yaml", &[])
    ]);
    let flows = [flow("f", "a", Some(("f-1", "b")), &draft("f-1"))];
    assert_eq!(
        of_draft(&problems, &flows),
        "Failure: a.yaml:3:7: unknown field `stepz` (+2 more)"
    );
    assert_eq!(
        of_live(&problems, &flows),
        "Failure: a.yaml:3:7: unknown field `stepz` (+1 more)"
    );
    let mended = json!([problem("a.yaml", &[live])]);
    assert_eq!(of_draft(&mended, &flows), "Success: cut f-1");
}

#[test]
fn a_flow_that_no_release_can_be_cut_of_is_an_error_of_its_file() {
    let mut status = draft("f-1");
    status["problems"] = json!([{"field": "spec.steps[0].set.x", "message": "there is no input \"nope\""}]);
    assert_eq!(
        of_draft(&json!([]), &[flow("f", "a", None, &status)]),
        "Failure: f.yaml: spec.steps[0].set.x: there is no input \"nope\""
    );
    let mut status = draft("f-1");
    status["conditions"] = json!([{"type": "Stalled", "status": "True", "reason": "ReleaseCollision",
        "message": "release f-2 exists", "lastTransitionTime": "2026-11-23T10:00:00Z"}]);
    assert_eq!(
        of_draft(&json!([]), &[flow("f", "a", None, &status)]),
        "Failure: f.yaml: release f-2 exists"
    );
}

#[test]
fn a_commit_of_the_live_ref_says_what_became_live_what_waits_and_what_was_refused() {
    let live = |status: Value| of_live(&json!([]), &[flow("f", "a", Some(("f-2", "b")), &status)]);
    assert_eq!(live(json!({"live": cut("f-2")})), "Success: live: f-2");
    assert_eq!(live(json!({"live": cut("f-1")})), "Pending: promoting f-2");
    let promotion = |phase: &str| json!({"live": cut("f-1"), "promotion": {"release": "f-2", "approval": "f-2-promotion", "phase": phase}});
    assert_eq!(live(promotion("Waiting")), "Pending: f-2 waits for f-2-promotion");
    assert_eq!(live(promotion("Rejected")), "Failure: f-2 was rejected");
    assert_eq!(
        live(promotion("TimedOut")),
        "Failure: nobody approved f-2 in time"
    );
}

#[test]
fn a_commit_of_the_live_ref_tells_what_it_made_live_from_what_was_so_before() {
    let is_live = |name: &str, release: &str, by: &str| {
        let status = json!({"live": cut(release), "promotion": {"release": release, "phase": "Promoted"}});
        flow(name, "a", Some((release, by)), &status)
    };
    let none = json!([]);
    let flows = [is_live("f", "f-2", "b"), is_live("g", "g-1", "9")];
    assert_eq!(of_live(&none, &flows), "Success: live: f-2; 1 unchanged");
    assert_eq!(
        of_live(&none, &flows[1..]),
        "Success: nothing new is live; 1 unchanged"
    );
    assert_eq!(of_live(&none, &[]), "Success: nothing is live");
}

#[test]
fn a_revert_on_the_live_ref_is_told_as_a_rollback_by_the_commit_that_made_it() {
    let back = |by: &str| {
        let promotion = json!({"release": "f-1", "phase": "Promoted", "rolledBackFrom": "f-2"});
        let status = json!({"live": cut("f-1"), "promotion": promotion});
        flow("f", "a", Some(("f-1", by)), &status)
    };
    let none = json!([]);
    assert_eq!(of_live(&none, &[back("b")]), "Success: rolled back f to f-1");
    assert_eq!(
        of_live(&none, &[back("9")]),
        "Success: nothing new is live; 1 unchanged"
    );
    let other = flow("g", "a", Some(("g-2", "b")), &json!({"live": cut("g-2")}));
    assert_eq!(
        of_live(&none, &[back("b"), other]),
        "Success: rolled back f to f-1; live: g-2"
    );
}
