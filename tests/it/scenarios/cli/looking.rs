//! Verbs that look and wait: `show`, `wait`, `flows`, `approvals --mine`, and `promote` without a release.

use serde_json::Value;

use super::Waiting;

const STEPS: &str = "  - name: ask\n    approval: {title: Pay 5?, approvers: {groups: [finance]}}\n  - name: pay\n    set: {x: 1}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_shown_without_being_answered_and_only_to_those_who_may_with_how_to() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Waiting::on(dir.path(), STEPS, &[]).await;
    let approval = waiting.approval.as_str();
    let named = format!("approval/{approval}");
    let (code, out, err) = waiting.plain("alice", &["show", &named]);
    assert_eq!(code, 0, "{err}");
    for part in [
        "Pay 5?",
        "0 of 1 approve",
        "Approve the run goes on with step pay",
        "Reject  the run ends",
    ] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    assert!(
        err.contains(&format!("approve {approval} --digest sha256:")),
        "{err}"
    );
    let (code, out, err) = waiting.plain("dev", &["show", approval]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("An answer of yours would not count"), "{out}");
    assert!(!err.contains("approve"), "{err}");
    // whoever does not look does not approve
    let (code, _, err) = waiting.plain("alice", &["approve", approval]);
    assert_eq!(code, 2, "{err}");
    assert!(
        err.contains("without a terminal") && err.contains(&format!("show {approval}")),
        "{err}"
    );
    let (_, out, _) = waiting.plain("alice", &["approvals", "-o", "json"]);
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(listed["data"][0]["status"]["phase"], "Pending", "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_listed_and_a_test_of_one_names_the_secret_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Waiting::on(dir.path(), STEPS, &[]).await;
    let (code, _, err) = waiting.plain("dev", &["connections", "test", "chat"]);
    assert_eq!(code, 3, "{err}");
    let manifest = dir.path().join("chat.yaml");
    let chat = "apiVersion: signoff.dev/v1alpha1\nkind: Connection\nmetadata: {name: chat}\nspec:\n  \
                slack: {token: {name: channels, key: token}}\n";
    std::fs::write(&manifest, chat).unwrap();
    let (code, _, err) = waiting.plain("admin", &["apply", "-f", manifest.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = waiting.plain("dev", &["connections"]);
    assert_eq!(code, 0, "{err}");
    for part in ["chat", "slack", "https://slack.com/api", "channels"] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    let (code, out, _) = waiting.plain("admin", &["connections", "test", "chat", "-o", "json"]);
    assert_eq!(code, 4, "{out}");
    let found: Value = serde_json::from_str(&out).unwrap();
    let checks = found["data"].as_array().unwrap();
    // the other side is not called without its Secret
    assert_eq!(
        (checks.len(), &checks[0]["reason"]),
        (1, &Value::from("SecretNotFound")),
        "{out}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_me_is_what_i_may_decide_and_have_not_decided() {
    let dir = tempfile::tempdir().unwrap();
    let steps = STEPS.replace("{groups: [finance]}", "{groups: [finance]}, quorum: 2");
    let waiting = Waiting::on(dir.path(), &steps, &[]).await;
    let mine = |user: &str| {
        let (code, out, err) = waiting.plain(user, &["approvals", "--mine", "-o", "name"]);
        assert_eq!(code, 0, "{err}");
        out.trim().to_owned()
    };
    let named = format!("approval/{}", waiting.approval);
    assert_eq!(mine("alice"), named);
    // dev asked for it
    assert_eq!(mine("dev"), "");
    let (code, _, err) = waiting.plain("alice", &["approve", &waiting.approval, "-y"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(mine("alice"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_with_the_question_the_step_or_the_run_and_says_whether_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Waiting::on(dir.path(), STEPS, &[]).await;
    let wait = |more: &[&str]| {
        let mut args = vec!["wait", waiting.run.as_str()];
        args.extend(more);
        waiting.plain("dev", &args)
    };
    let (code, out, err) = wait(&["--for", "question"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = wait(&["--timeout", "1s"]);
    assert_eq!(code, 9, "{out}{err}");
    assert!(out.contains("the run has not ended after 1s"), "{out}");
    let (code, _, err) = waiting.plain("alice", &["approve", &waiting.approval, "-y"]);
    assert_eq!(code, 0, "{err}");
    for event in [&["--for", "step=pay"][..], &[]] {
        let (code, out, err) = wait(event);
        assert_eq!(code, 0, "{event:?} {out}{err}");
    }
    // it has ended, so nobody will be asked any more
    assert_eq!(wait(&["--for", "question"]).0, 6);
    assert_eq!(wait(&["--for", "nothing"]).0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_are_listed_and_the_newest_draft_is_promoted() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Waiting::on(dir.path(), STEPS, &[]).await;
    let (code, out, err) = waiting.plain("dev", &["flows", "-o", "json"]);
    assert_eq!(code, 0, "{err}");
    let flows: Value = serde_json::from_str(&out).unwrap();
    let live = flows["data"][0]["status"]["live"]["release"]
        .as_str()
        .unwrap()
        .to_owned();
    let manifest = dir.path().join("next.yaml");
    std::fs::write(
        &manifest,
        "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {name: ask}\nspec:\n  steps:\n  - name: next\n    set: {x: 2}\n",
    )
    .unwrap();
    let (code, _, err) = waiting.plain("dev", &["apply", "-f", manifest.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = waiting.plain("dev", &["promote", "ask"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("is live for flow/ask") && !out.contains(&live),
        "{out}"
    );
    let (code, out, err) = waiting.plain("dev", &["flows"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.starts_with("NAME") && out.contains("ask") && !out.contains(&live),
        "{out}"
    );
    let (code, _, err) = waiting.plain("dev", &["promote", "nope"]);
    assert_eq!(code, 3, "{err}");
}
