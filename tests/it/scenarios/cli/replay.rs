//! `signoff runs replay`, and the lists of runs and approvals.

use serde_json::{Value, json};

use super::Waiting;

const STEPS: &str = "  - name: sum\n    set: {total: '${1 + 2}'}\n  - name: ask\n    approval: {title: 'Pay ${steps.sum.output.total}?', approvers: {groups: [finance]}}\n  - name: done\n    set: {by: '${steps.ask.decision.by}'}\n";

/// The objects of a namespace as a `List`, as `kubectl get -o json` prints them.
fn list(waiting: &Waiting, decision: &Value) -> Value {
    let of = |args: &[&str]| -> Value {
        let (code, out, err) = waiting.plain("admin", args);
        assert_eq!(code, 0, "{args:?}: {err}");
        serde_json::from_str::<Value>(&out).unwrap()["data"].clone()
    };
    let run = of(&["status", &waiting.run, "-o", "json"]);
    let mut items = vec![run, decision.clone()];
    for args in [
        vec!["releases", "ask", "-o", "json"],
        vec!["approvals", "--all", "-o", "json"],
    ] {
        items.extend(of(&args).as_array().unwrap().iter().cloned());
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_replayed_from_the_cluster_and_from_files_and_a_forged_record_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Waiting::on(dir.path(), STEPS, &[]).await;
    let run = waiting.run.as_str();
    let (code, open, err) = waiting.plain("dev", &["runs", "replay", run]);
    assert_eq!(code, 0, "{open}{err}");
    assert!(open.contains("under way"), "{open}");
    let approve = ["approve", &waiting.approval, "-y", "-o", "json"];
    let (code, decided, err) = waiting.plain("alice", &approve);
    assert_eq!(code, 0, "{err}");
    let decision: Value = serde_json::from_str(&decided).unwrap();
    let decision = &decision["data"];
    loop {
        let (_, out, _) = waiting.plain("dev", &["status", run, "-o", "json"]);
        let status: Value = serde_json::from_str(&out).unwrap();
        if status["data"]["status"]["phase"] == "Succeeded" {
            break;
        }
    }
    let (code, out, err) = waiting.plain("dev", &["runs", "replay", run]);
    assert_eq!(code, 0, "{out}{err}");
    for part in [
        "sum    Succeeded   agrees",
        "ask    Approved    agrees",
        "The engine decides the same.",
        "3 agree, 0 differ, 0 not proven",
    ] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    let file = dir.path().join("record.json");
    let replayed = |record: &Value| {
        std::fs::write(&file, record.to_string()).unwrap();
        waiting.plain("dev", &["runs", "replay", "-f", file.to_str().unwrap()])
    };
    let record = list(&waiting, decision);
    let (code, out, err) = replayed(&record);
    assert_eq!(code, 0, "{out}{err}");
    let mut forged = record.clone();
    forged["items"][0]["status"]["steps"][0]["output"]["total"] = json!(4);
    let (code, out, err) = replayed(&forged);
    assert_eq!(code, 10, "{out}{err}");
    assert!(
        out.contains("First difference: step sum, output: recorded {\"total\":4}, decided {\"total\":3}"),
        "{out}"
    );
    let mut other = record.clone();
    other["items"][0]["status"]["release"]["name"] = json!("ask-0000000000");
    assert_eq!(replayed(&other).0, 3);
    assert_eq!(waiting.plain("dev", &["runs", "replay"]).0, 2);
    assert_eq!(
        waiting.plain("dev", &["runs", "--flow", "ask", "replay", run]).0,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_narrowed_by_phase_and_widened_to_all_namespaces_and_what_is_missing_is_told_in_one_form() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Waiting::on(dir.path(), STEPS, &[]).await;
    let run = waiting.run.as_str();
    let out = |args: &[&str]| {
        let (code, out, err) = waiting.plain("admin", args);
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        out
    };
    assert!(out(&["runs", "--phase", "waiting"]).contains(run));
    let none = out(&["runs", "--phase", "Failed", "--phase", "Rejected"]);
    assert!(
        none.contains("no runs that are Failed, Rejected in namespace"),
        "{none}"
    );
    let all = out(&["runs", "-A"]);
    assert!(all.starts_with("NAMESPACE") && all.contains(run), "{all}");
    let all = out(&["approvals", "-A", "--phase", "Pending"]);
    assert!(
        all.starts_with("NAMESPACE") && all.contains(&waiting.approval),
        "{all}"
    );
    assert!(!out(&["approvals", "--phase", "Approved"]).contains(&waiting.approval));
    let (code, _, err) = waiting.plain("admin", &["runs", "--phase", "Done"]);
    assert!(code == 2 && err.contains("Pending, Queued, Running"), "{err}");
    let namespace = &waiting.desk.namespace;
    for (args, kind) in [
        (vec!["status", "nope"], "run"),
        (vec!["runs", "replay", "nope"], "run"),
        (vec!["cancel", "nope"], "run"),
        (vec!["suspend", "nope"], "run"),
        (vec!["suspend", "flow/nope"], "flow"),
        (vec!["retry", "nope"], "run"),
        (vec!["graph", "--run", "nope"], "run"),
        (vec!["graph", "nope"], "flow"),
        (vec!["diff", "nope"], "flow"),
        (vec!["releases", "nope"], "flow"),
        (vec!["run", "nope"], "flow"),
        (vec!["approve", "nope", "-y"], "approval"),
    ] {
        let (code, _, err) = waiting.plain("admin", &args);
        let told = format!("there is no {kind} nope in namespace {namespace}");
        assert!(code == 3 && err.contains(&told), "{args:?}: {code}: {err}");
    }
}
