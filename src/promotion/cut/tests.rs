use std::sync::Arc;

use kube::runtime::{reflector, watcher};
use serde_json::{Value, json};

use super::*;
use crate::{
    cluster::{
        backoff::Backoffs,
        fairness::Permits,
        fake_api::{FakeApi, Fault, NAMESPACE},
    },
    promotion::CONCURRENCY,
};

fn flow(metadata: &Value, steps: &Value) -> Flow {
    let mut flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow",
        "metadata": {"name": "hello", "namespace": NAMESPACE, "uid": "u", "generation": 7}, "spec": {"steps": steps}});
    json_patch::merge(&mut flow["metadata"], metadata);
    serde_json::from_value(flow).unwrap()
}

fn sound() -> Value {
    json!([{"name": "one", "set": {"x": 1}}])
}

fn digest_of(flow: &Flow) -> Digest {
    canonical::digest(&flow.spec.definition).unwrap()
}

/// The controller with these releases in its store.
fn flows(api: &FakeApi, releases: Vec<Release>) -> Flows {
    let (known, mut writer) = reflector::store();
    for release in releases {
        writer.apply_watcher_event(&watcher::Event::Apply(release));
    }
    Flows {
        context: api.context(),
        releases: known,
        questions: reflector::store().0,
        repositories: reflector::store().0,
        backoffs: Backoffs::default(),
        known: reflector::store().0,
        written: crate::cluster::written::Written::default(),
        turns: Permits::of_which_one_may_hold(CONCURRENCY),
        dependents: Arc::default(),
    }
}

/// Cuts the release of a flow. Gives what became of it and what the flow's status says then.
async fn cut(api: &FakeApi, releases: Vec<Release>, flow: &Flow) -> (Drafted, FlowStatus) {
    let mut status = FlowStatus::default();
    let drafted = draft(&flows(api, releases), flow, &mut status).await.unwrap();
    (drafted, status)
}

/// The release of a flow as the API server has it.
fn release_of(api: &FakeApi, flow: &Flow) -> Release {
    let name = names::release_name("hello", &digest_of(flow));
    api.get(&format!("releases/{name}"))
}

#[tokio::test]
async fn a_release_is_cut_whole_held_and_owned_by_its_flow() {
    let (api, flow) = (FakeApi::new(), flow(&json!({}), &sound()));
    let (drafted, status) = cut(&api, vec![], &flow).await;
    assert!(matches!(drafted, Drafted::Cut));
    let release = release_of(&api, &flow);
    let draft = status.draft.unwrap();
    assert_eq!(
        (&draft.release, &draft.digest),
        (&release.name_any(), &digest_of(&flow))
    );
    assert_eq!(release.spec.definition, flow.spec.definition);
    assert_eq!(release.spec.digest, digest_of(&flow));
    assert_eq!(release.finalizers(), [names::FINALIZER]);
    assert_eq!(release.labels()[names::FLOW], "hello");
    let owners = release.owner_references();
    assert_eq!((owners[0].uid.as_str(), owners[0].controller), ("u", Some(true)));
    assert_eq!(api.asked(), ["POST releases"]);
}

#[tokio::test]
async fn the_same_content_is_the_same_release_and_costs_no_request() {
    let (api, flow) = (FakeApi::new(), flow(&json!({}), &sound()));
    cut(&api, vec![], &flow).await;
    let known = release_of(&api, &flow);
    let (drafted, status) = cut(&api, vec![known], &flow).await;
    assert!(matches!(drafted, Drafted::Cut) && status.draft.is_some());
    assert_eq!(api.asked(), ["POST releases"]);
}

#[tokio::test]
async fn a_release_that_the_watch_does_not_show_yet_is_adopted() {
    let (api, flow) = (FakeApi::new(), flow(&json!({}), &sound()));
    api.fault("POST releases", Fault::AnswerLost);
    let lost = draft(&flows(&api, vec![]), &flow, &mut FlowStatus::default()).await;
    assert!(lost.is_err());
    let (drafted, _) = cut(&api, vec![], &flow).await;
    assert!(matches!(drafted, Drafted::Cut));
}

#[tokio::test]
async fn another_release_under_the_name_is_a_collision_whether_the_watch_shows_it_or_not() {
    let (api, flow) = (FakeApi::new(), flow(&json!({}), &sound()));
    cut(&api, vec![], &flow).await;
    let mut other = release_of(&api, &flow);
    other.spec.digest = Digest::of(b"other");
    api.put(&other);
    for known in [vec![], vec![other.clone()]] {
        let (drafted, status) = cut(&api, known, &flow).await;
        let Drafted::Collision(told) = drafted else {
            panic!("it was taken")
        };
        assert!(
            told.contains(&other.name_any()) && told.contains(other.spec.digest.as_str()),
            "{told}"
        );
        assert_eq!(status.draft, None);
    }
}

#[tokio::test]
async fn what_cannot_run_is_not_cut_and_its_problems_are_told() {
    let broken = json!([{"name": "one", "set": {"x": "${inputs.\u{202e}nothing}"}}, {"name": "two", "needs": ["three"], "set": {}}]);
    let (api, flow) = (FakeApi::new(), flow(&json!({}), &broken));
    let (drafted, status) = cut(&api, vec![], &flow).await;
    assert!(matches!(drafted, Drafted::Invalid));
    assert_eq!(api.asked(), Vec::<String>::new());
    let fields: Vec<&str> = status
        .problems
        .iter()
        .map(|problem| problem.field.as_str())
        .collect();
    assert!(
        fields.iter().all(|field| field.starts_with("spec.steps")),
        "{fields:?}"
    );
    let told: String = status
        .problems
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    assert!(!told.contains('\u{202e}'), "{told}");
}

#[tokio::test]
async fn however_many_problems_there_are_fifty_are_listed() {
    let steps: Vec<Value> = (0..80)
        .map(|n| json!({"name": format!("s{n}"), "set": {"x": format!("${{inputs.x{n} +}}")}}))
        .collect();
    let (_, status) = cut(&FakeApi::new(), vec![], &flow(&json!({}), &json!(steps))).await;
    assert_eq!(status.problems.len(), MAX_PROBLEMS);
}

#[test]
fn a_problem_is_told_with_its_place_and_bounded() {
    let told = described(Problem {
        field: "steps[0].\u{1b}[2J".to_owned(),
        offset: Some(4),
        message: "x".repeat(5_000),
    });
    assert!(
        told.field.starts_with("spec.steps[0].") && !told.field.contains('\u{1b}'),
        "{told:?}"
    );
    assert_eq!(told.message.chars().count(), 1_024);
    let short = described(Problem {
        field: "steps".to_owned(),
        offset: Some(4),
        message: "no".to_owned(),
    });
    assert_eq!(short.message, "no (at character 5)");
}

#[test]
fn the_source_is_git_only_for_the_content_that_came_from_there() {
    let plain = flow(&json!({}), &sound());
    let source = json!({"repository": "git", "commit": "0123456789", "author": "alice"}).to_string();
    let annotated = |digest: &Digest| {
        let annotations =
            json!({names::SOURCE: source, names::SOURCE_DIGEST: digest.as_str(), names::CHANGED_BY: "bob"});
        flow(&json!({"annotations": annotations}), &sound())
    };
    let digest = digest_of(&plain);
    let from_git = super::source(&annotated(&digest), &digest);
    assert_eq!(from_git.repository.as_deref(), Some("git"));
    assert_eq!(from_git.changed_by, None);
    let edited = super::source(&annotated(&Digest::of(b"what was in git")), &digest);
    assert_eq!(
        edited.repository, None,
        "an edit by hand does not claim to be a commit's"
    );
    assert_eq!(
        (edited.changed_by.as_deref(), edited.generation),
        (Some("bob"), Some(7))
    );
}

#[test]
fn the_manager_that_applied_a_flow_is_the_last_one_and_not_that_of_its_status() {
    let managed = json!([
        {"manager": "kubectl", "operation": "Apply", "time": "2026-01-01T00:00:00Z"},
        {"manager": "argo", "operation": "Apply", "time": "2026-01-02T00:00:00Z"},
        {"manager": "signoff", "operation": "Update", "subresource": "status", "time": "2026-01-03T00:00:00Z"},
    ]);
    let flow = flow(&json!({"managedFields": managed}), &sound());
    let source = super::source(&flow, &digest_of(&flow));
    assert_eq!(source.applied_by.as_deref(), Some("argo"));
}
