//! Records of runs that ended: written once, signed, found again when the run is gone.

use std::{path::PathBuf, process::Command, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use signoff::{
    operator::OperatorOptions,
    records::{
        Timing,
        keys::{PublicKey, SigningKey},
        verify::{self, Record},
    },
};
use signoff_api::{Approval, Digest, Run, run::RecordRef};

use crate::support::{
    faults::{Cut, cut, cut_at_each_write},
    rig::{Rig, Running, eventually},
};

const KEYS: &str = "signoff-record-keys";

fn often(options: &mut OperatorOptions) {
    options.records = Timing {
        list_every: Duration::from_millis(200),
        retain_every: Duration::from_millis(50),
        least: Duration::ZERO,
        repeated: Duration::ZERO,
    };
}

async fn operator(rig: &Rig) -> Running {
    rig.operator_as(rig.operator_client(), often).await.unwrap()
}

fn asks() -> Value {
    json!({"inputs": {"type": "object", "properties": {"amount": {"type": "integer", "default": 7}}},
    "steps": [
        {"name": "ask", "approval": {"title": "Pay ${inputs.amount}?", "show": [{"name": "amount", "value": "${inputs.amount}"}]}},
        {"name": "paid", "set": {"amount": "${inputs.amount}"}},
    ]})
}

async fn recorded(rig: &Rig, run: &str) -> (RecordRef, Run) {
    let record = |run: &Run| run.status.as_ref().and_then(|status| status.record.clone());
    let run: Run = rig.until(run, |run| record(run).is_some()).await;
    (record(&run).unwrap(), run)
}

fn bytes(rig: &Rig, record: &RecordRef) -> Vec<u8> {
    std::fs::read(rig.store_folder().join(&record.reference)).unwrap()
}

fn read(rig: &Rig, record: &RecordRef) -> Record {
    let bytes = bytes(rig, record);
    assert_eq!(Digest::of(&bytes), record.sha256);
    let read = verify::read(&bytes).unwrap();
    assert_eq!(read.contradictions(), [""; 0]);
    read
}

/// All records there are.
fn files(rig: &Rig) -> Vec<PathBuf> {
    let folder = rig.store_folder().join("records").join(rig.namespace());
    let months = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = months.flat_map(|month| std::fs::read_dir(month.path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

fn signoff(rig: &Rig, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_signoff"))
        .args(args)
        .env("NO_COLOR", "1")
        .env(
            "SIGNOFF_STORE",
            format!("file://{}", rig.store_folder().display()),
        )
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ended_has_a_record_of_what_was_asked_and_who_decided() {
    let rig = Rig::open().await;
    let operator = operator(&rig).await;
    let release = rig.flow("f", asks()).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.asked("r-ask").await;
    rig.decide("alice", "r-ask", "Approve").await;
    let (record, run) = recorded(&rig, "r").await;
    operator.stop().await;
    assert!(!record.signed, "there is no key");
    let predicate = read(&rig, &record).statement.predicate;
    let told = run.status.unwrap();
    assert_eq!(predicate.end.phase, told.phase);
    assert_eq!(predicate.run.uid, run.metadata.uid.unwrap());
    assert_eq!(predicate.run.status.as_ref().unwrap().steps, told.steps);
    assert_eq!(predicate.release.as_ref().unwrap().name, release);
    let inputs = signoff_api::canonical::digest_of_value(&json!({"amount": 7}));
    assert_eq!(predicate.inputs, inputs);
    let question = &predicate.questions[0];
    assert_eq!(question.approval.spec.title, "Pay 7?");
    assert_eq!(question.shown[0].sha256, Digest::of(b"7"));
    let decision = &question.decisions[0];
    assert_eq!(decision.spec.by.as_deref(), Some("alice"));
    assert_eq!(decision.status.as_ref().unwrap().counted, Some(true));
    assert_eq!(decision.spec.digest, question.approval.spec.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ended_while_nobody_wrote_records_gets_one_at_the_next_start() {
    let rig = Rig::open().await;
    let without = rig.operator_as(rig.operator_client(), |options| options.store = None);
    let without = without.await.unwrap();
    rig.flow("f", json!({"steps": [{"name": "a", "set": {"x": 1}}]}))
        .await;
    rig.start("r", json!({"flow": "f"})).await;
    let ended = rig.phase("r", "Succeeded").await;
    without.stop().await;
    assert!(ended.status.unwrap().record.is_none());
    let operator = operator(&rig).await;
    let (record, _) = recorded(&rig, "r").await;
    read(&rig, &record);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_sign_and_are_rotated_and_a_forged_record_is_replaced() {
    let rig = Rig::open().await;
    let secrets: Api<Secret> = Api::namespaced(rig.client("admin"), "signoff-system");
    let pairs = [
        rcgen::KeyPair::generate().unwrap(),
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
    ];
    let public = pairs
        .each_ref()
        .map(|pair| PublicKey::read(pair.public_key_pem().as_bytes()).unwrap());
    let entry = |text: &str| ByteString(text.as_bytes().to_vec());
    let mut secret = Secret::default();
    secret.metadata.name = Some(KEYS.to_owned());
    secret.data = Some([("k1".to_owned(), entry(&pairs[0].serialize_pem()))].into());
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let signing = |options: &mut OperatorOptions| {
        often(options);
        options.record_keys = Some(KEYS.to_owned());
    };
    let operator = rig.operator_as(rig.operator_client(), signing).await.unwrap();
    rig.flow("f", asks()).await;
    let run = rig.start("r", json!({"flow": "f"})).await;
    rig.asked("r-ask").await;
    // somebody who can write the store is there first
    let month = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m");
    let folder = rig
        .store_folder()
        .join("records")
        .join(rig.namespace())
        .join(month.to_string());
    std::fs::create_dir_all(&folder).unwrap();
    let forger = SigningKey::read(rcgen::KeyPair::generate().unwrap().serialize_pem().as_bytes()).unwrap();
    let forged = signoff::records::envelope::Envelope::seal(b"{}", Some(&forger)).unwrap();
    let forged = serde_json::to_vec(&forged).unwrap();
    std::fs::write(folder.join(format!("r.{}.json", run.uid().unwrap())), forged).unwrap();
    rig.decide("alice", "r-ask", "Approve").await;
    let (record, _) = recorded(&rig, "r").await;
    assert!(record.signed);
    let first = read(&rig, &record);
    assert_eq!(first.signed_by(&public), Some(&public[0]));
    assert_eq!(first.envelope.signatures()[0].keyid, public[0].id());

    let rotated = json!({"data": {"k2": entry(&pairs[1].serialize_pem()), "current": entry("k2")}});
    let patched = secrets
        .patch(KEYS, &PatchParams::default(), &Patch::Merge(rotated))
        .await;
    patched.unwrap();
    let mut signed_by = None;
    for n in 0..200 {
        let name = format!("s{n}");
        rig.start(&name, json!({"flow": "f"})).await;
        rig.patch_run(&name, json!({"cancel": true})).await;
        let (record, _) = recorded(&rig, &name).await;
        signed_by = read(&rig, &record).signed_by(&public).cloned();
        if signed_by.as_ref() == Some(&public[1]) {
            break;
        }
    }
    assert_eq!(
        signed_by.as_ref(),
        Some(&public[1]),
        "the new key signs without a restart"
    );
    operator.stop().await;

    // offline, as the command line does it
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let content = bytes(&rig, &record);
    let good = file("good.json", &content);
    let (key, other) = (
        file("k1.pub", pairs[0].public_key_pem().as_bytes()),
        file("k2.pub", pairs[1].public_key_pem().as_bytes()),
    );
    let (code, told, _) = signoff(&rig, &["verify", &good, "--key", &other, "--key", &key]);
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("is verified") && told.contains(public[0].id()),
        "{told}"
    );
    let (code, _, told) = signoff(&rig, &["verify", &good, "--key", &other]);
    assert_eq!(code, 4);
    assert!(told.contains("not signed by any of the keys"), "{told}");
    let both = pairs.each_ref().map(rcgen::KeyPair::public_key_pem).concat();
    let both = file("both.pub", both.as_bytes());
    let decisions = [
        "decisions",
        "-n",
        rig.namespace(),
        "--by",
        "nobody",
        "--key",
        both.as_str(),
    ];
    let (code, _, told) = signoff(&rig, &decisions);
    assert_eq!(code, 0, "{told}");
    let mut envelope: Value = serde_json::from_slice(&content).unwrap();
    let mut without = first.statement.clone();
    without.predicate.questions.clear();
    let without = signoff::records::envelope::Envelope::seal(&without.to_bytes(), None).unwrap();
    let mut without = json!(without);
    without["signatures"] = envelope["signatures"].clone();
    let place = rig.store_folder().join(&record.reference);
    std::fs::write(&place, without.to_string()).unwrap();
    let (code, _, told) = signoff(&rig, &decisions);
    assert_eq!(code, 10, "whatever is listed: {told}");
    assert!(told.contains(&record.reference), "{told}");
    std::fs::write(&place, &content).unwrap();
    let (of_other, _, _) = signoff(&rig, &["verify", &record.reference, "--key", &key]);
    assert_eq!(of_other, 0, "by its place in the store");
    let payload = envelope["payload"].as_str().unwrap().to_owned();
    let swapped = payload.replacen('A', "B", 1);
    envelope["payload"] = swapped.into();
    let bad = file("bad.json", &serde_json::to_vec(&envelope).unwrap());
    let (code, _, told) = signoff(&rig, &["verify", &bad, "--key", &key]);
    assert!([4, 8].contains(&code), "{code}: {told}");
    envelope["payload"] = payload.into();
    envelope["signatures"] = json!([]);
    let unsigned = file("unsigned.json", &serde_json::to_vec(&envelope).unwrap());
    let (code, _, told) = signoff(&rig, &["verify", &unsigned, "--key", &key]);
    assert_eq!(code, 4);
    assert!(told.contains("is not signed"), "{told}");
    let (code, told, _) = signoff(&rig, &["verify", &unsigned, "--ignore-signature"]);
    assert_eq!(code, 0);
    assert!(told.contains("signature was not looked at"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_cannot_be_written_runs_stay_and_get_their_records_later() {
    let rig = Rig::open().await;
    let operator = operator(&rig).await;
    // a file where the folder is to be
    let records = rig.store_folder().join("records");
    std::fs::remove_dir(&records).unwrap();
    std::fs::write(&records, b"").unwrap();
    rig.flow(
        "f",
        json!({"steps": [{"name": "a", "set": {"x": 1}}], "retention": {"keep": 0, "after": "1ms"}}),
    )
    .await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.phase("r", "Succeeded").await;
    let failed = || operator.metrics().render().unwrap();
    eventually("the record could not be written twice", || {
        let text = failed();
        let line = text
            .lines()
            .find(|line| line.contains("reconcile_errors") && line.contains("\"Record\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .is_some_and(|count| count >= 2)
    })
    .await;
    let run = rig.api::<Run>().get("r").await.unwrap();
    assert!(run.status.unwrap().record.is_none());
    std::fs::remove_file(&records).unwrap();
    rig.until_gone::<Run>("r").await;
    operator.stop().await;
    assert_eq!(files(&rig).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_past_their_retention_go_and_are_found_in_the_archive() {
    let rig = Rig::open().await;
    let slow = |options: &mut OperatorOptions| {
        often(options);
        options.records.retain_every = Duration::from_hours(1);
    };
    let first = rig.operator_as(rig.operator_client(), slow).await.unwrap();
    let mut spec = asks();
    spec["retention"] = json!({"keep": 1});
    rig.flow("f", spec).await;
    for (run, verdict) in [("a", "Approve"), ("b", "Reject"), ("c", "Approve")] {
        rig.start(run, json!({"flow": "f"})).await;
        rig.asked(&format!("{run}-ask")).await;
        rig.decide("alice", &format!("{run}-ask"), verdict).await;
        recorded(&rig, run).await;
    }
    first.stop().await;
    // what ended before it started is past its retention as well
    let operator = operator(&rig).await;
    for run in ["a", "b"] {
        rig.until_gone::<Run>(run).await;
        if rig.collects() {
            rig.until_gone::<Approval>(&rig.known(&format!("{run}-ask")))
                .await;
        }
    }
    assert!(
        rig.api::<Run>().get_opt("c").await.unwrap().is_some(),
        "the newest stays"
    );
    operator.stop().await;
    let namespace = rig.namespace();
    let (code, listed, _) = signoff(&rig, &["runs", "--archived", "-n", namespace, "-o", "name"]);
    assert_eq!((code, listed.lines().count()), (0, 3), "{listed}");
    let (_, listed, _) = signoff(
        &rig,
        &[
            "runs",
            "--archived",
            "-n",
            namespace,
            "--phase",
            "Rejected",
            "-o",
            "name",
        ],
    );
    assert_eq!(listed, "run/b\n");
    let (code, told, _) = signoff(&rig, &["status", "b", "--archived", "-n", namespace]);
    assert_eq!(code, 0);
    assert!(
        told.contains("Run b: Rejected") && told.contains("alice"),
        "{told}"
    );
    let (code, _, _) = signoff(&rig, &["status", "x", "--archived", "-n", namespace]);
    assert_eq!(code, 3);
    let query = ["decisions", "-n", namespace, "--by", "alice", "--flow", "f"];
    let (code, told, _) = signoff(&rig, &[&query[..], &["--csv"]].concat());
    assert_eq!(code, 0);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 4, "{told}");
    assert!(
        lines[2].contains(",alice,Reject,true,") && lines[2].contains(",b,ask,Pay 7?,"),
        "{told}"
    );
    let (_, told, _) = signoff(&rig, &[&query[..], &["-o", "json"]].concat());
    let answer: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(answer["data"].as_array().unwrap().len(), 3);
    let (_, told, _) = signoff(
        &rig,
        &[&query[..], &["--month", "1999-01", "-o", "json"]].concat(),
    );
    let answer: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(answer["data"], json!([]));
    let (_, told, _) = signoff(&rig, &["decisions", "-A", "--by", "bob"]);
    assert!(told.contains("no such decisions"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_only_when_its_own_record_is_there_and_a_run_with_a_name_of_its_own_stays_for_a_while() {
    let rig = Rig::open().await;
    let slow = |options: &mut OperatorOptions| {
        often(options);
        options.records.retain_every = Duration::from_hours(1);
    };
    let first = rig.operator_as(rig.operator_client(), slow).await.unwrap();
    let steps = json!([{"name": "a", "set": {"x": 1}}]);
    rig.flow("f", json!({"steps": steps, "retention": {"keep": 0}}))
        .await;
    let mut records = vec![];
    for run in ["a", "b"] {
        rig.start(run, json!({"flow": "f"})).await;
        records.push(recorded(&rig, run).await.0);
    }
    first.stop().await;
    let place = |record: &RecordRef| rig.store_folder().join(&record.reference);
    std::fs::copy(place(&records[0]), place(&records[1])).unwrap();
    std::fs::remove_file(place(&records[0])).unwrap();
    let repeatable = |options: &mut OperatorOptions| {
        often(options);
        options.records.repeated = Duration::from_hours(72);
    };
    let second = rig.operator_as(rig.operator_client(), repeatable).await.unwrap();
    let mut other = rig.start("c", json!({"flow": "f"})).await;
    recorded(&rig, "c").await;
    // one whose name the API server made up
    other.metadata = kube::api::ObjectMeta {
        generate_name: Some("f-".to_owned()),
        ..kube::api::ObjectMeta::default()
    };
    other.status = None;
    let runs = Api::<Run>::namespaced(rig.client("dev"), rig.namespace());
    let made = runs.create(&PostParams::default(), &other).await;
    rig.until_gone::<Run>(&made.unwrap().name_any()).await;
    for run in ["a", "b", "c"] {
        let there = rig.api::<Run>().get_opt(run).await.unwrap();
        assert!(there.is_some(), "{run} may be asked for again");
    }
    second.stop().await;
    let operator = operator(&rig).await;
    for run in ["a", "b", "c"] {
        rig.until_gone::<Run>(run).await;
    }
    operator.stop().await;
    assert_eq!(files(&rig).len(), 4);
    for (record, run) in records.iter().zip(["a", "b"]) {
        let read = verify::read(&bytes(&rig, record)).unwrap();
        assert_eq!(read.statement.predicate.run.name, run);
        assert_eq!(read.misplaced(&record.reference.parse().unwrap()), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_record_or_lies_elsewhere_is_named_and_hides_no_others() {
    let rig = Rig::open().await;
    let operator = operator(&rig).await;
    rig.flow("f", asks()).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.asked("r-ask").await;
    rig.decide("alice", "r-ask", "Approve").await;
    let (record, _) = recorded(&rig, "r").await;
    operator.stop().await;
    let namespace = rig.namespace();
    let place = rig.store_folder().join(&record.reference);
    let month = place.parent().unwrap();
    let (code, told, _) = signoff(
        &rig,
        &["status", "r", "--archived", "-n", namespace, "-o", "json"],
    );
    let answer: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &answer["data"]["record"]["signed"]), (0, &json!(false)));
    assert_eq!(answer["data"]["record"]["ref"], json!(record.reference));
    let next = answer["next"][0].as_str().unwrap();
    assert!(next.contains(" --store file://"), "{next}");

    std::fs::write(month.join("zzz.0c71d2a8.json"), "{}").unwrap();
    let archived = ["runs", "--archived", "-n", namespace, "-o", "name"];
    let (code, listed, told) = signoff(&rig, &archived);
    assert_eq!((code, listed.as_str()), (11, "run/r\n"), "{told}");
    assert!(told.contains("zzz.0c71d2a8.json: this is no record"), "{told}");
    let (code, told, _) = signoff(&rig, &["decisions", "-n", namespace, "-o", "json"]);
    let answer: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, answer["data"].as_array().unwrap().len()), (11, 1));
    assert_eq!(answer["error"]["code"], json!("UnreadableRecords"));

    let elsewhere = rig.store_folder().join("records/payroll/2026-11");
    std::fs::create_dir_all(&elsewhere).unwrap();
    let copied = elsewhere.join(place.file_name().unwrap());
    std::fs::copy(&place, &copied).unwrap();
    let (code, listed, told) = signoff(&rig, &["runs", "--archived", "-n", "payroll", "-o", "name"]);
    assert_eq!((code, listed.as_str()), (10, ""), "{told}");
    assert!(told.contains("has to lie in records/"), "{told}");
    let copied = copied.strip_prefix(rig.store_folder()).unwrap().to_str().unwrap();
    let (code, _, told) = signoff(&rig, &["verify", copied, "--ignore-signature"]);
    assert_eq!(code, 10, "{told}");
    assert!(told.contains("is the record of"), "{told}");

    let missing = rig.store_folder().join("mistyped");
    let url = format!("file://{}", missing.display());
    let (code, _, told) = signoff(&rig, &["runs", "--archived", "-n", namespace, "--store", &url]);
    assert_eq!((code, missing.exists()), (3, false), "{told}");
}

/// Plays a run with a question, cut off at a write. Says whether the cut was reached.
async fn one(at: Cut) -> bool {
    let rig = Rig::open().await;
    let first = rig.operator().await;
    rig.flow("f", asks()).await;
    first.stop().await;
    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    rig.start("r", json!({"flow": "f"})).await;
    let story = async {
        rig.until_ever::<Approval>("r-ask").await;
        rig.decide("alice", "r-ask", "Approve").await;
        recorded(&rig, "r").await;
    };
    let (reached, operator) = rig.play_over(&fault, first, story).await;
    operator.stop().await;
    let (record, _) = recorded(&rig, "r").await;
    let predicate = read(&rig, &record).statement.predicate;
    assert_eq!(predicate.questions.len(), 1);
    assert_eq!(
        predicate.questions[0].decisions.len(),
        1,
        "no decision is missing"
    );
    assert_eq!(files(&rig).len(), 1, "one record");
    reached
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_any_write_leaves_one_record_that_is_whole() {
    cut_at_each_write(Cut::Before, 3, one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_after_any_write_leaves_one_record_that_is_whole() {
    cut_at_each_write(Cut::After, 3, one).await;
}
