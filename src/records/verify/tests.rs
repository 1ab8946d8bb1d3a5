use serde_json::{Value, json};
use signoff_api::{Approval, Decision, Release, Run};

use super::{super::statement::statement, *};

fn release() -> Release {
    let mut release = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Release", "metadata": {"name": "", "uid": "u-4"},
        "spec": {"flow": "refund", "digest": Digest::of(b""), "source": {"commit": "c".repeat(40)},
            "definition": {"steps": [{"name": "ask", "approval": {"title": "Refund?"}}]}}});
    let read: Release = serde_json::from_value(release.clone()).unwrap();
    let digest = read.spec.content_digest().unwrap();
    release["metadata"]["name"] = json!(names::release_name("refund", &digest));
    release["spec"]["digest"] = json!(digest);
    serde_json::from_value(release).unwrap()
}

fn question(release: &Digest) -> (Approval, Decision) {
    let mut approval = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Approval",
        "metadata": {"name": "r-ask", "uid": "u-2"},
        "spec": {"subject": {"run": "r", "step": "ask", "iteration": 1}, "purpose": "Step", "digest": Digest::of(b""),
            "title": "Refund?", "show": [{"name": "quote", "mediaType": "text/plain", "inline": "250"}],
            "quorum": 1, "selfApproval": false, "verdicts": ["Approve", "Reject"]},
        "status": {"phase": "Approved",
            "counted": [{"decision": "d", "by": "alice", "verdict": "Approve", "at": "2026-11-01T10:30:00.000000Z"}]}});
    let about = json!({"release": release, "run": "u-1", "step": "ask", "iteration": 1});
    let bound = json!({"about": about, "question": approval["spec"]});
    let digest = canonical::digest_of_value(&bound);
    approval["spec"]["digest"] = json!(digest);
    let decision = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Decision", "metadata": {"name": "d", "uid": "u-3"},
        "spec": {"approval": "r-ask", "digest": digest, "verdict": "Approve", "by": "alice"},
        "status": {"counted": true, "reason": "Counted"}});
    (
        serde_json::from_value(approval).unwrap(),
        serde_json::from_value(decision).unwrap(),
    )
}

fn record() -> Value {
    let release = release();
    let run: Run = serde_json::from_value(json!({
        "apiVersion": "signoff.dev/v1alpha1", "kind": "Run",
        "metadata": {"name": "r", "namespace": "ns", "uid": "u-1", "creationTimestamp": "2026-11-01T10:00:00Z"},
        "spec": {"flow": "refund", "inputs": {"amount": 250.5}, "requestedBy": "dev"},
        "status": {"phase": "Succeeded", "finishedAt": "2026-11-01T11:00:00.000001Z",
            "release": {"name": release.metadata.name, "digest": release.spec.digest, "commit": "c".repeat(40)},
            "steps": [{"name": "ask", "iteration": 1, "phase": "Succeeded", "outcome": "Approved"}],
            "record": {"ref": "elsewhere", "sha256": Digest::of(b""), "signed": false}},
    }))
    .unwrap();
    let (approval, decision) = question(&release.spec.digest);
    let questions = vec![Question::of(&approval, vec![decision], 0)];
    json!(statement(&run, Some(&release), questions).unwrap())
}

fn contradictions(statement: &Value) -> Result<Vec<String>, RecordError> {
    let envelope = Envelope::seal(&canonical::bytes(statement), None).unwrap();
    read(&serde_json::to_vec(&envelope).unwrap()).map(|record| record.contradictions())
}

/// Pointers to all values that are neither objects nor lists.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| leaves(value, &format!("{at}/{key}"), found)),
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                leaves(value, &format!("{at}/{index}"), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn a_record_of_ours_contradicts_itself_nowhere_and_does_not_name_its_own_place() {
    let record = record();
    assert_eq!(contradictions(&record).unwrap(), [""; 0]);
    assert!(record.pointer("/predicate/run/status/record").is_none());
    let names: Vec<_> = record["subject"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(names[..2], [json!("run/ns/r"), json!("inputs")]);
    assert_eq!(names[3], json!("commit"));
}

#[test]
fn whatever_is_bound_by_a_digest_cannot_be_changed_alone() {
    let record = record();
    let mut all = Vec::new();
    leaves(&record, "", &mut all);
    let bound = |at: &String| {
        [
            "/subject",
            "/predicateType",
            "/predicate/run",
            "/predicate/inputs",
            "/predicate/end/phase",
            "/predicate/release/spec/definition",
            "/predicate/release/spec/digest",
            "/predicate/questions/0/spec",
            "/predicate/questions/0/shown",
            "/predicate/questions/0/decisions/0/spec/digest",
            "/predicate/questions/0/decisions/0/spec/approval",
            "/predicate/questions/0/decisions/0/spec/by",
            "/predicate/questions/0/decisions/0/status/counted",
            "/predicate/questions/0/status/counted/0/decision",
            "/predicate/questions/0/status/counted/0/by",
        ]
        .iter()
        .any(|prefix| at.starts_with(prefix))
    };
    let bound: Vec<&String> = all.iter().filter(|at| bound(at)).collect();
    assert!(bound.len() > 40, "{bound:?}");
    for at in bound {
        let mut changed = record.clone();
        let leaf = changed.pointer_mut(at).unwrap();
        *leaf = match &*leaf {
            Value::String(text) if text.ends_with('1') => json!(format!("{}0", &text[..text.len() - 1])),
            Value::String(text) => json!(format!("{}1", &text[..text.len() - 1])),
            Value::Number(number) => json!(number.as_f64().unwrap() + 1.0),
            Value::Bool(is) => json!(!is),
            other => panic!("{other}"),
        };
        let found = contradictions(&changed);
        assert!(
            found.as_ref().map_or(true, |found| !found.is_empty()),
            "{at}: {found:?}"
        );
    }
}

#[test]
fn a_decision_that_counts_cannot_be_left_out() {
    let mut record = record();
    record["predicate"]["questions"][0]["decisions"] = json!([]);
    let found = contradictions(&record).unwrap();
    assert!(found[0].contains("is not in the record"), "{found:?}");
}

#[test]
fn a_decision_that_says_that_it_counts_is_one_that_the_question_counts() {
    let mut record = record();
    let status = record["predicate"]["questions"][0]["status"].as_object_mut();
    status.unwrap().remove("counted");
    let found = contradictions(&record).unwrap();
    assert!(found[0].contains("says otherwise than the question"), "{found:?}");
    // nobody answered it
    record["predicate"]["questions"][0]["status"]["phase"] = json!("Cancelled");
    assert_eq!(contradictions(&record).unwrap(), [""; 0]);
}

#[test]
fn the_vote_of_a_decision_has_its_verdict() {
    let mut record = record();
    record["predicate"]["questions"][0]["status"]["counted"][0]["verdict"] = json!("Reject");
    let found = contradictions(&record).unwrap();
    assert!(found[0].contains("has another verdict"), "{found:?}");
}

#[test]
fn a_record_belongs_where_its_run_says() {
    let envelope = Envelope::seal(&canonical::bytes(&record()), None).unwrap();
    let record = read(&serde_json::to_vec(&envelope).unwrap()).unwrap();
    for (place, belongs) in [
        ("records/ns/2026-11/r.u-1.json", true),
        ("records/other/2026-11/r.u-1.json", false),
        ("records/ns/2026-12/r.u-1.json", false),
        ("records/ns/2026-11/s.u-1.json", false),
        ("records/ns/2026-11/r.u-2.json", false),
    ] {
        let found = record.misplaced(&place.parse().unwrap());
        assert_eq!(found.is_none(), belongs, "{place}: {found:?}");
    }
}

#[test]
fn what_this_version_does_not_know_is_not_passed_over() {
    let mut newer = record();
    newer["predicate"]["run"]["status"]["newField"] = json!(1);
    assert!(matches!(contradictions(&newer), Err(RecordError::Unknown)));
    let mut other = record();
    other["predicateType"] = json!("https://signoff.dev/attestations/run/v2");
    assert!(matches!(
        contradictions(&other),
        Err(RecordError::OtherStatement(_))
    ));
}
