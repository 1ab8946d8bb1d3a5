//! Runs that wait for people: what the command line says of their questions, of answers, and of what follows.

use serde_json::Value;

use super::{Desk, Waiting};

#[tokio::test(flavor = "multi_thread")]
async fn waiting_goes_through_timers_and_says_by_its_exit_code_when_the_run_has_not_ended() {
    let dir = tempfile::tempdir().unwrap();
    let steps = "  - name: ask\n    approval: {title: Go?}\n";
    let waiting = Waiting::on(dir.path(), steps, &[]).await;
    let flow = |name: &str, step: &str| {
        let manifest = dir.path().join(format!("{name}.yaml"));
        let head = format!(
            "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {{name: {name}}}\nspec:\n  steps:\n"
        );
        std::fs::write(
            &manifest,
            format!("{head}  - {{name: first, wait: {step}}}\n  - {{name: then, set: {{x: 1}}}}\n"),
        )
        .unwrap();
        let (code, _, err) = waiting.plain("dev", &["apply", "-f", manifest.to_str().unwrap()]);
        assert_eq!(code, 0, "{err}");
        // the release is there before the flow names it
        loop {
            let (_, told, _) = waiting.plain("dev", &["flows", "-o", "json"]);
            let flows: Value = serde_json::from_str(&told).unwrap();
            let flows = flows["data"].as_array().unwrap();
            let it = flows.iter().find(|flow| flow["metadata"]["name"] == name);
            if it.is_some_and(|flow| flow["status"]["draft"].is_object()) {
                break;
            }
        }
    };
    flow("timer", "{duration: 1s}");
    let (code, out, err) = waiting.plain("dev", &["run", "timer", "--draft", "--wait"]);
    assert!(code == 0 && out.contains(": Succeeded"), "{out}{err}");
    flow("late", "{duration: 1h}");
    let (code, out, err) = waiting.plain("dev", &["run", "late", "--draft", "--wait", "--timeout", "1s"]);
    assert!(
        code == 9 && out.contains("the run has not ended after 1s"),
        "{out}{err}"
    );
    flow("call", "{callback: {}}");
    let (code, out, err) = waiting.plain("dev", &["run", "call", "--draft", "--wait"]);
    assert!(code == 9 && out.contains("a callback"), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_others_wrote_passes_for_a_line_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let steps = "  - name: ask\n    approval: {title: '${inputs.?t.orValue(\"\")}', show: [{name: text, value: '${inputs.?t.orValue(\"\")}'}]}\n";
    let hostile = "Go?\u{1b}[2J\r\n  digest        sha256:forged\n  tally         2 of 2\u{202e}\u{ad}\u{2060}\u{e0041}\u{9b}";
    let waiting = Waiting::on(dir.path(), steps, &[&format!("t={hostile}")]).await;
    let (run, approval) = (waiting.run.as_str(), waiting.approval.as_str());
    for (user, args) in [
        ("alice", vec!["approvals"]),
        ("dev", vec!["status", run]),
        ("dev", vec!["runs"]),
        ("alice", vec!["reject", approval, "-m", hostile]),
        ("dev", vec!["status", run]),
        ("dev", vec!["runs"]),
        ("bob", vec!["approve", approval]),
    ] {
        let (_, out, err) = waiting.plain(user, &args);
        for line in format!("{out}{err}").split('\n') {
            assert!(
                !line.chars().any(signoff_api::text::is_hidden),
                "{args:?}: {line:?}"
            );
            for forged in ["  digest        sha256:forged", "  tally         2 of 2"] {
                assert!(!line.starts_with(forged), "{args:?}: {line:?}");
            }
        }
    }
    let output = waiting
        .desk
        .signoff("alice", &["approvals", "--all", "-o", "json"])
        .output()
        .unwrap();
    let envelope: Value = serde_json::from_slice(&output.stdout).unwrap();
    // it is put so, and kubectl shows it as it is
    let visible = signoff_api::text::visible(hostile);
    assert_eq!(envelope["data"][0]["spec"]["title"], *visible);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_told_what_it_counts_for_before_and_after_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let steps = "  - name: ask\n    approval:\n      title: Pay?\n      quorum: 2\n      approvers: {groups: [finance]}\n      \
                 form: {type: object, required: [amount], properties: {amount: {type: integer, minimum: 0, default: 5}}}\n  \
                 - name: pay\n    set: {x: 1}\n";
    let waiting = Waiting::on(dir.path(), steps, &[]).await;
    let approval = waiting.approval.as_str();
    let approve = |user: &str, more: &[&str]| {
        let mut args = vec!["approve", approval, "-y"];
        args.extend(more);
        waiting.plain(user, &args)
    };

    let (code, _, err) = approve("alice", &["--value", "amount=much", "--value", "admin=true"]);
    assert_eq!(code, 8, "{err}");
    assert!(
        err.contains("amount: integer, required, at least 0; default 5"),
        "{err}"
    );
    assert!(err.contains("admin: the form has no such field"), "{err}");
    assert!(
        err.contains(r#"amount: "much" is not of type "integer""#),
        "{err}"
    );

    let (code, out, err) = approve("alice", &["--value", "amount=5", "-m", "as agreed"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("The tally is then 1 of 2 approve; waits for 1 more of finance."),
        "{err}"
    );
    assert!(err.contains("the run goes on with step pay"), "{err}");
    assert!(!out.contains("approved"), "{out}");
    assert!(
        out.contains("1 of 2 approve; waits for 1 more of finance"),
        "{out}"
    );

    let (code, out, err) = approve("bob", &["--value", "amount=7", "-o", "json"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("Approve by alice") && err.contains("│ amount = 5") && err.contains("│ as agreed"),
        "{err}"
    );
    assert!(err.contains("It sets aside the approval of alice"), "{err}");
    let envelope: Value = serde_json::from_str(&out).unwrap();
    let data = &envelope["data"];
    assert_eq!(
        data["tally"],
        serde_json::json!({"approved": 1, "quorum": 2}),
        "{envelope:#}"
    );
    assert_eq!(
        (&data["phase"], &data["needs"]),
        (&Value::from("Pending"), &Value::from("1 more of finance"))
    );
    assert_eq!(data["counted"][0]["by"], "bob");

    let (code, out, err) = approve("alice", &["--value", "amount=7"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("It decides the question: the run goes on with step pay."),
        "{err}"
    );
    assert!(
        out.contains("approved") && out.contains("2 of 2 approve"),
        "{out}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_child_was_rejected_is_retried_once_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let cli = |user: &str, args: &[&str]| -> (i32, Value) {
        let output = desk.signoff(user, args).args(["-o", "json"]).output().unwrap();
        let envelope: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{args:?}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), envelope)
    };
    for (name, step) in [
        ("bottom", "{name: ask, approval: {title: 'Go?'}}"),
        ("top", "{name: apply, flow: {name: bottom}}"),
    ] {
        let manifest = dir.path().join(format!("{name}.yaml"));
        let flow = format!(
            "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {{name: {name}}}\nspec: {{steps: [{step}]}}\n"
        );
        std::fs::write(&manifest, flow).unwrap();
        assert_eq!(cli("dev", &["apply", "-f", manifest.to_str().unwrap()]).0, 0);
        let release = loop {
            let (_, envelope) = cli("dev", &["releases", name]);
            if let Some(release) = envelope["data"][0]["metadata"]["name"].as_str() {
                break release.to_owned();
            }
        };
        let (code, envelope) = cli("dev", &["promote", name, &release]);
        assert_eq!(code, 0, "{envelope:#}");
    }
    // the run below may not have asked yet when the run above waits for it
    let question = || {
        let asked = (0..300).find_map(|_| {
            let (_, envelope) = cli("alice", &["approvals"]);
            envelope["data"][0]["metadata"]["name"]
                .as_str()
                .map(str::to_owned)
        });
        asked.expect("the run below asks")
    };
    let started = |envelope: &Value| envelope["data"]["metadata"]["name"].as_str().unwrap().to_owned();
    let ended = |run: &str| loop {
        let (_, envelope) = cli("dev", &["status", run]);
        let status = &envelope["data"]["status"];
        let phase = status["phase"].as_str().unwrap_or_default().to_owned();
        if phase == "Rejected" || phase == "Succeeded" {
            break (phase, status["steps"][0]["run"].as_str().map(str::to_owned));
        }
    };
    let (code, envelope) = cli("dev", &["run", "top", "--wait"]);
    assert_eq!(code, 9, "{envelope:#}");
    let first = started(&envelope);
    assert_eq!(cli("alice", &["reject", &question(), "-m", "not yet"]).0, 0);
    assert_eq!(ended(&first).0, "Rejected");
    let (code, envelope) = cli("dev", &["retry", &first, "--wait"]);
    assert_eq!(code, 9, "{envelope:#}");
    let second = started(&envelope);
    assert_eq!(cli("alice", &["reject", &question(), "-m", "not yet"]).0, 0);
    let (_, below) = ended(&second);
    let below = below.unwrap();

    // somebody retries the run below by itself: what the command says before is what the operator would say
    let (code, envelope) = cli("dev", &["retry", &below, "--wait"]);
    assert_eq!(code, 9, "{envelope:#}");
    let by_hand = started(&envelope);
    let (code, envelope) = cli("dev", &["retry", &second]);
    assert_eq!(
        (code, envelope["error"]["code"].as_str()),
        (5, Some("RetryRefused")),
        "{envelope:#}"
    );
    assert_eq!(
        envelope["error"]["message"].as_str().unwrap(),
        format!("run {below}, which step apply started, is retried by run {by_hand} already")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_callback_is_answered_from_the_command_line_by_those_who_may() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let cli = |user: &str, args: &[&str]| -> (i32, Value) {
        let output = desk.signoff(user, args).args(["-o", "json"]).output().unwrap();
        let envelope: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{args:?}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), envelope)
    };
    let manifest = dir.path().join("flow.yaml");
    let wait = "{name: settled, wait: {callback: {schema: {type: object, required: [receipt]}}}}";
    let flow = format!(
        "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {{name: pay}}\nspec: {{steps: [{wait}], output: {{got: \"${{steps.settled.output}}\"}}}}\n"
    );
    std::fs::write(&manifest, flow).unwrap();
    assert_eq!(cli("dev", &["apply", "-f", manifest.to_str().unwrap()]).0, 0);
    let release = loop {
        let (_, envelope) = cli("dev", &["releases", "pay"]);
        if let Some(release) = envelope["data"][0]["metadata"]["name"].as_str() {
            break release.to_owned();
        }
    };
    let (code, envelope) = cli("dev", &["promote", "pay", &release]);
    assert_eq!(code, 0, "{envelope:#}");
    let (code, envelope) = cli("dev", &["run", "pay", "--wait"]);
    assert_eq!(code, 9, "{envelope:#}");
    let run = envelope["data"]["metadata"]["name"].as_str().unwrap().to_owned();
    let body = r#"{"receipt": "R-1", "note": null}"#;
    let answer = |user: &str, step: &str, body: &str| {
        let (code, envelope) = cli(user, &["resolve", &run, step, "--body", body, "-m", "by phone"]);
        (
            code,
            envelope["error"]["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    for (step, body, exit, why) in [
        ("settled", "{}", 5, "does not fit"),
        ("nowhere", body, 5, "the flow has no step nowhere"),
        ("settled", "{", 2, "is no JSON"),
        ("settled", body, 4, "takes the verb resolve"),
    ] {
        let (code, told) = answer("dev", step, body);
        assert!(code == exit && told.contains(why), "{code}: {told}");
    }
    let file = dir.path().join("body.json");
    std::fs::write(&file, body).unwrap();
    let (code, told) = answer("admin", "settled", &format!("@{}", file.display()));
    assert_eq!(code, 0, "{told}");
    let status = loop {
        let (_, envelope) = cli("dev", &["status", &run]);
        if envelope["data"]["status"]["phase"] == "Succeeded" {
            break envelope["data"]["status"].clone();
        }
    };
    assert_eq!(
        status["output"],
        serde_json::json!({"got": {"receipt": "R-1", "note": null}})
    );
    assert_eq!(status["resolutions"]["settled.1"]["message"], "by phone");
    let timeline = desk.signoff("dev", &["status", &run]).output().unwrap();
    let timeline = String::from_utf8(timeline.stdout).unwrap();
    assert!(
        timeline.contains("answered by hand by") && timeline.contains("by phone"),
        "{timeline}"
    );
    let (code, told) = answer("admin", "settled", body);
    assert!(code == 5 && told.contains("has ended already"), "{code}: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_starts_another_is_waited_for_through_that_one_and_a_step_has_to_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let steps = "  - name: ask\n    approval: {title: Go?}\n";
    let waiting = Waiting::on(dir.path(), steps, &[]).await;
    let flow = |name: &str, step: &str| {
        let manifest = dir.path().join(format!("{name}.yaml"));
        let head = format!(
            "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {{name: {name}}}\nspec:\n  steps:\n"
        );
        std::fs::write(&manifest, format!("{head}  - {{name: first, {step}}}\n")).unwrap();
        for args in [
            vec!["apply", "-f", manifest.to_str().unwrap()],
            vec!["promote", name],
        ] {
            let (code, _, err) = waiting.plain("dev", &args);
            assert_eq!(code, 0, "{err}");
        }
    };
    flow("timer", "wait: {duration: 2s}");
    flow("outer", "flow: {name: timer}");
    let (code, out, err) = waiting.plain("dev", &["run", "outer", "--wait"]);
    assert!(code == 0 && out.contains(": Succeeded"), "{out}{err}");
    flow("asks", "flow: {name: ask}");
    let (code, out, err) = waiting.plain("dev", &["run", "asks", "--name", "asks-1", "--wait"]);
    assert!(code == 9 && !out.contains("has not ended after"), "{out}{err}");
    // the next command is for others, who have a context of their own
    let next = err.lines().last().unwrap();
    assert!(next.contains("approve ") && !next.contains("--context"), "{err}");
    let (code, out, err) = waiting.plain("dev", &["wait", "asks-1", "--for", "question"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = waiting.plain("dev", &["wait", "asks-1", "--for", "step=frist"]);
    assert!(
        code == 3 && err.contains("no step frist") && err.contains("first"),
        "{err}"
    );
}
