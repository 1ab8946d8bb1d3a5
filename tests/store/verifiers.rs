//! Records as verifiers see them that are not ours.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use signoff::records::{
    envelope::Envelope,
    keys::SigningKey,
    statement::{PREDICATE_TYPE, Question, statement},
    verify,
};
use signoff_api::{Approval, Decision, Digest, Run};

/// Whether they are there; says so where they are not.
fn are_installed() -> bool {
    let there = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/verifiers/current/done")
        .exists();
    if !there {
        let missing = "no verifiers of records; install them with tests/store/verifiers.sh";
        assert!(std::env::var_os("SIGNOFF_REQUIRE_STORE").is_none(), "{missing}");
        // written past the test runner, which keeps what a passing test prints to itself
        let _ = writeln!(std::io::stderr(), "\nNOT RUN: {missing}");
    }
    there
}

fn payload() -> Vec<u8> {
    let digest = Digest::of(b"release");
    let run: Run = serde_json::from_value(json!({
        "apiVersion": "signoff.dev/v1alpha1", "kind": "Run",
        "metadata": {"name": "refund-1", "namespace": "payments", "uid": "u-1", "creationTimestamp": "2026-11-01T10:00:00Z"},
        "spec": {"flow": "refund", "inputs": {"amount": 250.5, "to": "Zoë"}, "requestedBy": "dev"},
        "status": {"phase": "Succeeded", "release": {"name": "refund-3f9a1c07d2", "digest": digest, "commit": "c".repeat(40)},
            "finishedAt": "2026-11-01T11:00:00.000001Z",
            "steps": [{"name": "ask", "iteration": 1, "phase": "Succeeded", "outcome": "Approved"}]},
    }))
    .unwrap();
    let approval: Approval = serde_json::from_value(json!({
        "apiVersion": "signoff.dev/v1alpha1", "kind": "Approval", "metadata": {"name": "refund-1-ask", "uid": "u-2"},
        "spec": {"subject": {"run": "refund-1", "step": "ask", "iteration": 1}, "purpose": "Step", "digest": digest,
            "title": "Refund?", "show": [{"name": "quote", "mediaType": "text/plain", "inline": "250.50 €"}],
            "quorum": 1, "selfApproval": false, "verdicts": ["Approve", "Reject"]},
        "status": {"phase": "Approved"},
    }))
    .unwrap();
    let decision: Decision = serde_json::from_value(json!({
        "apiVersion": "signoff.dev/v1alpha1", "kind": "Decision", "metadata": {"name": "d", "uid": "u-3"},
        "spec": {"approval": "refund-1-ask", "digest": digest, "verdict": "Approve", "by": "alice"},
        "status": {"counted": true, "reason": "Counted"},
    }))
    .unwrap();
    let questions = vec![Question::of(&approval, vec![decision], 0)];
    statement(&run, None, questions).unwrap().to_bytes()
}

fn verified(dir: &Path, record: &Value, public: &str, id: &str) -> Output {
    let (file, key) = (dir.join("record.json"), dir.join("key.pem"));
    std::fs::write(&file, record.to_string()).unwrap();
    std::fs::write(&key, public).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new("python3")
        .arg(root.join("tests/store/verify.py"))
        .args([&file, &key])
        .arg(id)
        .env("PYTHONPATH", root.join("target/verifiers/current"))
        .output()
        .unwrap()
}

#[test]
fn others_accept_a_record_and_refuse_one_that_was_changed() {
    if !are_installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pairs = [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P256_SHA256];
    for pair in pairs.map(|algorithm| rcgen::KeyPair::generate_for(algorithm).unwrap()) {
        let key = SigningKey::read(pair.serialize_pem().as_bytes()).unwrap();
        let (public, id) = (pair.public_key_pem(), key.public().id().to_owned());
        let envelope = Envelope::seal(&payload(), Some(&key)).unwrap();
        let record = serde_json::to_value(&envelope).unwrap();
        let read = verify::read(record.to_string().as_bytes()).unwrap();
        assert!(read.signed_by(std::slice::from_ref(key.public())).is_some());

        let good = verified(dir.path(), &record, &public, &id);
        let told = String::from_utf8_lossy(&good.stdout);
        assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
        assert_eq!(told.trim(), PREDICATE_TYPE);

        let mut other = payload();
        let at = other.windows(5).position(|word| word == b"alice").unwrap();
        other[at..at + 5].copy_from_slice(b"mally");
        let mut changed = record.clone();
        changed["payload"] =
            serde_json::to_value(Envelope::seal(&other, None).unwrap()).unwrap()["payload"].take();
        let read = verify::read(changed.to_string().as_bytes()).unwrap();
        assert!(read.signed_by(std::slice::from_ref(key.public())).is_none());
        let bad = verified(dir.path(), &changed, &public, &id);
        let told = String::from_utf8_lossy(&bad.stderr);
        assert!(
            !bad.status.success() && told.contains("VerificationError"),
            "{told}"
        );
    }
}
