//! What people are asked.

use super::*;

#[test]
fn each_round_and_each_release_of_a_name_is_another_question() {
    let (digest, gated, source) = (Digest::of(b""), definition(Some(1)), ReleaseSource::default());
    let asked = |uid: &str, round| {
        let candidate = Candidate {
            release: "f-1",
            uid,
            flow: "f",
            digest: &digest,
            definition: &gated,
            source: &source,
            dependencies: &[],
            live_dependencies: &[],
            live: None,
        };
        let gate = &gates(&candidate, None)[0];
        question(
            &candidate,
            gate,
            round,
            &Involved::default(),
            Timestamp::UNIX_EPOCH,
        )
        .digest
    };
    assert_eq!(asked("u-1", 1), asked("u-1", 1));
    assert_ne!(asked("u-1", 1), asked("u-1", 2));
    assert_ne!(asked("u-1", 1), asked("u-2", 1));
}

fn question_about(live: &Value, new: &Value) -> ApprovalSpec {
    let read = |definition: &Value| serde_json::from_value::<Definition>(definition.clone()).unwrap();
    let (live, new) = (read(live), read(new));
    let (digest, source) = (Digest::of(b""), ReleaseSource::default());
    let candidate = Candidate {
        release: "f-1",
        uid: "u-1",
        flow: "f",
        digest: &digest,
        definition: &new,
        source: &source,
        dependencies: &[],
        live_dependencies: &[],
        live: Some(("f-0", &digest, &live)),
    };
    let involved = Involved::default();
    question(
        &candidate,
        &gates(&candidate, None)[0],
        1,
        &involved,
        Timestamp::UNIX_EPOCH,
    )
}

fn asking(groups: &[&str], description: &str) -> Value {
    json!({"description": description, "promotion": {"approval": {"quorum": 1}},
        "steps": [{"name": "ask", "approval": {"title": "go?", "approvers": {"groups": groups}}}]})
}

#[test]
fn what_changes_is_shown_first_and_bound_by_the_digest() {
    let spec = question_about(&asking(&["finance"], ""), &asking(&["finance", "everybody"], ""));
    let names: Vec<&str> = spec.show.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["what changes", "source", "definition", "live now"]);
    let told = &spec.show[0].inline;
    assert!(
        told.contains("Loosens control\n  ! step ask: more people may approve"),
        "{told}"
    );
    let same = question_about(&asking(&["finance"], ""), &asking(&["finance"], ""));
    assert_ne!(spec.digest, same.digest);
}

#[test]
fn however_large_the_definitions_are_the_question_is_bounded() {
    let steps = |text: &str| {
        let step = |n: usize| json!({"name": format!("s{n}"), "set": {"x": text.repeat(2_000)}});
        let steps: Vec<Value> = (0..100).map(step).collect();
        json!({"promotion": {"approval": {"quorum": 1}}, "steps": steps})
    };
    let spec = question_about(&steps("a"), &steps("b"));
    let sizes: Vec<usize> = spec.show.iter().map(|item| item.inline.len()).collect();
    assert!(sizes.iter().all(|size| *size <= 64 * 1024), "{sizes:?}");
    assert!(sizes.iter().sum::<usize>() <= 256 * 1024, "{sizes:?}");
    assert!(
        spec.show[2]
            .inline
            .contains("bytes are left out; the digest of all of it is sha256:")
    );
}

#[test]
fn what_cannot_run_is_not_compared() {
    let circle = json!({"promotion": {"approval": {"quorum": 1}}, "steps": [
        {"name": "a", "needs": ["b"], "set": {"x": 1}}, {"name": "b", "needs": ["a"], "set": {"x": 1}}]});
    let spec = question_about(&asking(&["finance"], ""), &circle);
    assert!(spec.show[0].inline.contains("cannot run"));
}
