//! What is decided about a promotion besides the next step.

use std::collections::HashSet;

use super::*;
use signoff_api::{
    ApprovalPhase, ApprovalStatus, Flow, FlowStatus, Release, Repository,
    flow::{PromotionPhase, PromotionStatus},
    names,
};

fn flow(metadata: &Value) -> Flow {
    let flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": metadata,
        "spec": definition(None)});
    serde_json::from_value(flow).unwrap()
}

fn repository(spec: &Value, flows: &[&str]) -> Repository {
    let repository = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository",
        "metadata": {"name": "git", "namespace": "ns", "uid": "git-uid"}, "spec": spec, "status": {"flows": flows}});
    serde_json::from_value(repository).unwrap()
}

fn plain() -> Value {
    json!({"url": "https://forge.example/f.git", "draft": {"ref": "main"}})
}

#[test]
fn a_round_is_the_first_of_which_no_question_is_closed() {
    let closed = |rounds: &[(i64, &str)]| -> HashSet<String> {
        let name = |(round, gate): &(i64, &str)| names::promotion_approval_name("f-1", *round, gate);
        rounds.iter().map(name).collect()
    };
    for (rounds, next) in [
        (vec![], 1),
        (vec![(1, "release")], 2),
        (vec![(1, "repository")], 2),
        (vec![(1, "release"), (2, "repository")], 3),
        (vec![(2, "release")], 1),
    ] {
        assert_eq!(round_after("f-1", &closed(&rounds)), next, "{rounds:?}");
        assert_eq!(round_after("f-2", &closed(&rounds)), 1, "of another release");
    }
}

#[test]
fn questions_are_those_of_the_round_that_the_status_says() {
    let promotion = |round| PromotionStatus {
        release: "f-1".to_owned(),
        approval: None,
        phase: PromotionPhase::Waiting,
        round,
        rolled_back_from: None,
    };
    assert_eq!(Questions::of(&promotion(None)), Questions::first("f-1"));
    let second = Questions::of(&promotion(Some(2))).names();
    let named = |gate| names::promotion_approval_name("f-1", 2, gate);
    assert_eq!(second, [named("release"), named("repository")]);
}

#[test]
fn a_question_that_is_closed_is_left_as_it_is() {
    for phase in ApprovalPhase::CLOSED {
        let status = ApprovalStatus {
            phase,
            ..ApprovalStatus::default()
        };
        assert_eq!(superseded(&status, Timestamp::UNIX_EPOCH), None);
    }
    let open = ApprovalStatus {
        needs: Some("2 more".to_owned()),
        ..ApprovalStatus::default()
    };
    let closed = superseded(&open, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!((closed.phase, closed.needs), (ApprovalPhase::Superseded, None));
    assert_eq!(closed.conditions[0].reason, "Superseded");
}

fn gate(respond_within: Option<&str>) -> Gate {
    let approval = json!({"respondWithin": respond_within});
    Gate {
        name: GATES[0],
        approval: serde_json::from_value(approval).unwrap(),
    }
}

#[test]
fn people_have_a_week_unless_the_gate_says_otherwise_and_never_less() {
    let now: Timestamp = "2026-11-23T10:00:00.25Z".parse().unwrap();
    for (within, until) in [
        (None, "2026-11-30T10:00:01Z"),
        (Some("1h"), "2026-11-23T11:00:01Z"),
    ] {
        assert_eq!(deadline(&gate(within), now).to_string(), until);
    }
    assert_eq!(deadline(&gate(None), Timestamp::MAX), Timestamp::MAX);
}

fn release(source: &Value) -> Release {
    let release = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Release",
        "metadata": {"name": "f-1", "namespace": "ns", "uid": "u"},
        "spec": {"flow": "f", "definition": definition(None), "digest": Digest::of(b""), "source": source}});
    serde_json::from_value(release).unwrap()
}

fn drafted(release: &str) -> FlowStatus {
    let status = json!({"draft": {"release": release, "digest": Digest::of(b"")}});
    serde_json::from_value(status).unwrap()
}

#[test]
fn who_last_changed_a_flow_wrote_its_draft_but_no_other_release_and_nothing_from_git() {
    let annotations = json!({names::CHANGED_BY: "alice", names::PROMOTED_BY: "bob"});
    let flow = flow(&json!({"name": "f", "annotations": annotations}));
    let (by_hand, from_git) = (release(&json!({})), release(&json!({"repository": "git"})));
    for (release, draft, wrote) in [
        (&by_hand, "f-1", vec!["alice"]),
        (&by_hand, "f-2", vec![]),
        (&from_git, "f-1", vec![]),
    ] {
        let involved = Involved::new(&flow, &drafted(draft), release, None);
        assert_eq!(involved.written_by, wrote, "{draft}");
        assert_eq!(involved.requested_by.as_deref(), Some("bob"));
    }
}

#[test]
fn an_annotation_that_is_empty_names_nobody() {
    let annotations = json!({names::CHANGED_BY: "", names::PROMOTED_BY: ""});
    let flow = flow(&json!({"name": "f", "annotations": annotations}));
    let involved = Involved::new(&flow, &drafted("f-1"), &release(&json!({})), None);
    assert_eq!(involved, Involved::default());
}

#[test]
fn the_user_of_the_key_that_signed_a_release_wrote_it() {
    let verified = |key: &str| {
        let verified = json!({"key": key, "fingerprint": "SHA256:a", "object": "Commit"});
        release(&json!({"repository": "git", "verified": verified}))
    };
    let mut spec = plain();
    spec["identities"] = json!({"keys": [{"key": "carols", "user": "carol"}]});
    let repository = repository(&spec, &[]);
    let wrote = |release: &Release, repository: Option<&Repository>| {
        let flow = flow(&json!({"name": "f"}));
        Involved::new(&flow, &FlowStatus::default(), release, repository).written_by
    };
    assert_eq!(wrote(&verified("carols"), Some(&repository)), ["carol"]);
    let nobody: [String; 0] = [];
    assert_eq!(wrote(&verified("daves"), Some(&repository)), nobody);
    assert_eq!(wrote(&verified("carols"), None), nobody);
    assert_eq!(
        wrote(&release(&json!({"repository": "git"})), Some(&repository)),
        nobody
    );
}

#[test]
fn a_flow_is_of_a_repository_by_owner_by_label_or_by_what_the_repository_lists() {
    let owner = json!([{"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "name": "git", "uid": "git-uid"}]);
    let label = json!({names::REPOSITORY: "git"});
    let noted = json!({names::REPOSITORY_UID: "git-uid"});
    let unlisted = repository(&plain(), &[]);
    for metadata in [
        json!({"name": "f", "namespace": "ns", "ownerReferences": owner}),
        json!({"name": "f", "namespace": "ns", "labels": label}),
        json!({"name": "f", "namespace": "ns", "annotations": noted}),
    ] {
        assert!(brought(&unlisted, &flow(&metadata)), "{metadata}");
        let mut elsewhere = metadata.clone();
        elsewhere["namespace"] = json!("other");
        assert!(!brought(&unlisted, &flow(&elsewhere)), "{elsewhere}");
    }
    let bare = flow(&json!({"name": "f", "namespace": "ns"}));
    assert!(!brought(&unlisted, &bare));
    assert!(brought(&repository(&plain(), &["f"]), &bare));
}
