//! The command line as people and agents use it: the binary, its exit codes, its envelope.

mod answers;
mod looking;
mod replay;
mod ui;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::process::Child;

use crate::support::{
    dev::Dev,
    real,
    rig::{Rig, Running},
};

fn signoff(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signoff"));
    command
        .args(args)
        .env("NO_COLOR", "1")
        .env("KUBECONFIG", "/nonexistent/kubeconfig")
        .stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    signoff(args).output().unwrap()
}

fn validate(manifest: &str) -> (i32, String) {
    let (code, _, told) = validate_all(manifest);
    (code, told)
}

/// Exit code, standard output and standard error.
fn validate_all(manifest: &str) -> (i32, String, String) {
    let mut child = signoff(&["validate", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(manifest.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

const FLOW: &str = "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {name: f}\nspec:\n  steps:\n  - name: a\n    set: {x: 1}\n";

#[test]
fn validate_counts_what_it_checked_and_what_it_did_not() {
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    let (code, out, _) = validate_all(&format!("{FLOW}---\n{other}"));
    assert_eq!(
        (code, out.as_str()),
        (0, "1 valid, 1 skipped (not of the group signoff.dev)\n")
    );
    for nothing in [
        "",
        "---\n",
        other,
        "apiVersion: tekton.dev/v1\nkind: Run\nmetadata: {name: r}\n",
    ] {
        let (code, told) = validate(nothing);
        assert!(
            code == 8 && told.contains("nothing was checked"),
            "{nothing}\n{told}"
        );
    }
    for (from, to, expected) in [
        (
            "signoff.dev/",
            "signof.dev/",
            "-:1:1: there is no such group; use signoff.dev/v1alpha1",
        ),
        (
            "apiVersion: signoff.dev/v1alpha1\n",
            "",
            "-:1:1: apiVersion is missing; use signoff.dev/v1alpha1",
        ),
        (
            "kind: Flow",
            "kind: Flwo",
            "-:2:1: there is no kind \"Flwo\" in signoff.dev/v1alpha1; did you mean Flow?",
        ),
    ] {
        let (code, told) = validate(&FLOW.replace(from, to));
        assert!(code == 8 && told.contains(expected), "{expected}\n{told}");
    }
}

#[test]
fn validate_tells_problems_in_the_order_of_the_file_and_warns_of_what_kubectl_reads_otherwise() {
    let steps = "  - name: b\n    timeout: 5\n    aproval: {title: Go?}\n  - name: c\n    set: {y: no}\n  - name: d\n    http: {url: https://a.example, method: FETCH}\n";
    let (code, told) = validate(&format!("{FLOW}{steps}"));
    assert_eq!(code, 8, "{told}");
    let lines: Vec<usize> = told
        .lines()
        .filter_map(|line| line.strip_prefix("-:")?.split(':').next()?.parse().ok())
        .collect();
    assert!(lines.len() >= 3 && lines.is_sorted(), "{told}");
    assert!(
        told.contains("-:10:5: spec.steps[1].aproval: there is no such field; did you mean approval?"),
        "{told}"
    );
    assert!(
        told.contains("\"FETCH\" is not one of GET, HEAD, POST, PUT, PATCH, DELETE"),
        "{told}"
    );
    for word in ["y", "no"] {
        let warning = format!("spec.steps[2].set.y: kubectl reads {word} as true or false");
        assert!(told.contains(&warning), "{told}");
    }
}

#[test]
fn every_example_is_valid() {
    let files: Vec<String> = std::fs::read_dir("examples")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| path.display().to_string())
        .collect();
    assert!(files.len() >= 4, "{files:?}");
    let mut args = vec!["validate"];
    args.extend(files.iter().map(String::as_str));
    let output = output(&args);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn validate_tells_line_and_column_of_everything_that_is_wrong() {
    let (code, told) = validate(
        "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {name: f}\nspec:\n  steps:\n  - name: a\n    set: {x: '${steps.b.output}'}\n  \
         - name: c\n    when: ${1 + }\n    wait: {duration: 1s}\n",
    );
    assert_eq!(code, 8);
    assert!(told.contains("-:7:"), "{told}");
    assert!(told.contains("there is no step b"), "{told}");
    assert!(told.contains("-:9:"), "{told}");
    let (code, told) = validate(
        "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {name: f}\nspec:\n  stepz: []\n  steps: []\n",
    );
    assert_eq!(code, 8);
    assert!(
        told.contains("-:5:") && told.contains("spec.stepz: there is no such field"),
        "{told}"
    );
    let (code, told) = validate("a: [1, 2\nb: }\n");
    assert_eq!(code, 8);
    assert!(told.starts_with("error: 1 problem:\n-:2:"), "{told}");
}

#[test]
fn wrong_arguments_are_exit_code_2_and_json_where_json_is_asked_for() {
    assert_eq!(output(&["frobnicate"]).status.code(), Some(2));
    let asked = output(&["frobnicate", "-o", "json"]);
    assert_eq!(asked.status.code(), Some(2));
    let envelope: Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(
        (&envelope["ok"], &envelope["error"]["code"]),
        (&Value::Bool(false), &Value::from("Usage"))
    );
}

#[test]
fn without_a_server_the_error_says_what_to_do() {
    let output = output(&["runs"]);
    assert_eq!(output.status.code(), Some(7));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("signoff dev") && !told.contains("Kubeconfig("),
        "{told}"
    );
}

#[test]
fn completions_and_version_are_printed() {
    let script = String::from_utf8(output(&["completions", "bash"]).stdout).unwrap();
    assert!(script.contains("request-changes"));
    let version = String::from_utf8(output(&["version"]).stdout).unwrap();
    assert_eq!(version.trim(), format!("signoff {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn each_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    let told = output(&["man", "--dir", dir.path().to_str().unwrap()]);
    assert!(told.status.success(), "{told:?}");
    let page = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert!(page("signoff.1").contains("stop for people"));
    assert!(page("signoff-approve.1").contains("\\-\\-message"));
    assert!(!dir.path().join("signoff-help.1").exists());
}

/// Where the command line is used: with `signoff dev`, or on a real API server with an operator.
struct Desk {
    kubeconfig: PathBuf,
    namespace: String,
    _dev: Option<Child>,
    _operator: Option<(Running, Rig)>,
}

impl Desk {
    async fn open(dir: &Path) -> Self {
        if !real::is_wanted() {
            let dev = Dev::new(dir);
            return Self {
                _dev: Some(dev.start().await),
                kubeconfig: dev.kubeconfig(),
                namespace: "default".to_owned(),
                _operator: None,
            };
        }
        let rig = Rig::open().await;
        Self {
            kubeconfig: rig.server.kubeconfig().unwrap(),
            namespace: rig.namespace().to_owned(),
            _dev: None,
            _operator: Some((rig.operator().await, rig)),
        }
    }

    /// The command as this user gives it.
    fn signoff(&self, user: &str, args: &[&str]) -> Command {
        let mut command = signoff(args);
        command
            .args(["--context", user, "--namespace", &self.namespace])
            .env("KUBECONFIG", &self.kubeconfig);
        command
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_is_applied_promoted_run_and_decided_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let cli = |user: &str, args: &[&str]| -> (i32, Value) {
        let output = desk.signoff(user, args).args(["-o", "json"]).output().unwrap();
        let envelope: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{args:?}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), envelope)
    };
    let manifest = dir.path().join("flow.yaml");
    std::fs::write(
        &manifest,
        "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {name: ask}\nspec:\n  inputs: {type: object, required: [who], properties: {who: {type: string}}}\n  \
         steps:\n  - name: ask\n    approval: {title: 'For ${inputs.who}?', approvers: {groups: [finance]}}\n",
    )
    .unwrap();
    assert_eq!(cli("dev", &["apply", "-f", manifest.to_str().unwrap()]).0, 0);
    let release = loop {
        let (code, envelope) = cli("dev", &["releases", "ask"]);
        assert_eq!(code, 0);
        if let Some(name) = envelope["data"][0]["metadata"]["name"].as_str() {
            break name.to_owned();
        }
    };
    let nothing = cli("dev", &["promote", "ask", "ask-0000000000"]);
    assert_eq!(
        (nothing.0, nothing.1["error"]["code"].as_str()),
        (3, Some("NotFound"))
    );
    let (code, refused) = cli("dev", &["run", "ask", "--input", "who=x"]);
    assert_eq!((code, refused["error"]["code"].as_str()), (3, Some("NoRelease")));
    let promote = refused["next"][0].as_str().unwrap();
    assert!(promote.ends_with(" promote ask"), "{refused:#}");
    let (code, envelope) = cli("dev", &["promote", "ask", &release]);
    assert_eq!(
        (code, envelope["data"]["status"]["live"]["release"].as_str()),
        (0, Some(release.as_str())),
        "{envelope:#}"
    );
    assert!(
        envelope["data"]["spec"]["live"] == release.as_str(),
        "{envelope:#}"
    );
    for (args, code) in [
        (vec!["run", "nope"], 3),
        (vec!["run", "ask", "--release", "ask-0000000000"], 3),
        (vec!["run", "ask", "--input", "whoo=x"], 8),
        (vec!["releases", "nope"], 3),
        (vec!["promote", "nope", release.as_str()], 3),
    ] {
        assert_eq!(cli("dev", &args).0, code, "{args:?}");
    }
    assert_eq!(cli("dev", &["runs"]).1["data"].as_array().unwrap().len(), 0);
    let (code, envelope) = cli("dev", &["run", "ask", "--input", "who=7", "--wait"]);
    assert_eq!(
        (code, &envelope["data"]["waiting"]),
        (9, &Value::Bool(true)),
        "{envelope:#}"
    );
    let next = envelope["next"][0].as_str().unwrap();
    let server = format!("signoff -n {} approve ", desk.namespace);
    assert!(next.starts_with(&server), "{next}");
    let managers = envelope["data"]["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|entry| entry["manager"] == "signoff-cli"));
    let run = envelope["data"]["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(
        envelope["data"]["spec"]["inputs"]["who"], "7",
        "declared as a string"
    );
    let approval = first_question(|| cli("alice", &["approvals"]).1);

    let (code, envelope) = cli("dev", &["approve", &approval]);
    assert_eq!(
        (code, envelope["error"]["code"].as_str()),
        (4, Some("SelfApproval")),
        "{envelope:#}"
    );
    let (code, envelope) = cli("agent", &["approve", &approval]);
    assert_eq!(
        (code, envelope["error"]["code"].as_str()),
        (4, Some("ServiceAccount")),
        "{envelope:#}"
    );
    let (code, envelope) = cli("agent", &["approve", &approval, "--force", "-y"]);
    assert_eq!(
        (code, envelope["error"]["code"].as_str()),
        (4, Some("Forbidden")),
        "{envelope:#}"
    );
    let stale = format!("sha256:{}", "0".repeat(64));
    let (code, _) = cli("alice", &["approve", &approval, "--digest", &stale]);
    assert_eq!(code, 5);
    let (code, envelope) = cli("alice", &["reject", &approval, "-m", "not today"]);
    assert_eq!(
        (code, &envelope["data"]["status"]["counted"]),
        (0, &Value::Bool(true)),
        "{envelope:#}"
    );
    let (code, envelope) = cli("bob", &["approve", &approval]);
    assert_eq!(
        (code, envelope["error"]["code"].as_str()),
        (5, Some("AlreadyDecided")),
        "{envelope:#}"
    );
    assert!(
        envelope["error"]["details"].is_null(),
        "no decision was sent: {envelope:#}"
    );
    let (code, sent) = cli("bob", &["approve", &approval, "--force", "-y"]);
    assert_eq!(
        (code, &sent["error"]["details"]["kind"]),
        (5, &Value::from("Decision")),
        "{sent:#}"
    );
    assert!(
        envelope["error"]["message"]
            .as_str()
            .unwrap()
            .contains("alice rejected"),
        "{envelope:#}"
    );

    let (code, envelope) = cli("dev", &["status", "no-such-run"]);
    assert_eq!((code, envelope["error"]["code"].as_str()), (3, Some("NotFound")));
    let phase = loop {
        let (_, envelope) = cli("dev", &["status", &run]);
        let phase = envelope["data"]["status"]["phase"].as_str().unwrap().to_owned();
        if phase != "Waiting" {
            break phase;
        }
    };
    assert_eq!(phase, "Rejected");
    let (code, envelope) = cli("dev", &["diff", "ask"]);
    assert_eq!((code, &envelope["data"]["changed"]), (0, &Value::Bool(false)));
    let plain = |args: &[&str]| {
        let output = desk.signoff("dev", args).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), told)
    };
    shows_differences(dir.path(), &manifest, &release, cli, plain);
    draws(&manifest, &run, plain);
    suspends_a_flow(cli, plain);
    assert_eq!(cli("dev", &["cancel", &run]).0, 5);
}

/// `signoff graph`: of a file, of a flow, of a release and of a run.
fn draws(manifest: &Path, run: &str, plain: impl Fn(&[&str]) -> (i32, String)) {
    for args in [
        vec!["graph", manifest.to_str().unwrap()],
        vec!["graph", "-f", manifest.to_str().unwrap(), "ask"],
        vec!["graph", "ask"],
    ] {
        let (code, drawn) = plain(&args);
        assert_eq!(code, 0, "{drawn}");
        assert!(drawn.contains("◆  ask  approval  For ${inputs.who}?"), "{drawn}");
    }
    let (code, drawn) = plain(&["graph", "--run", run]);
    assert_eq!(code, 0, "{drawn}");
    assert!(
        drawn.contains("✗  ask") && drawn.contains("Rejected, by alice"),
        "{drawn}"
    );
    let (code, drawn) = plain(&["graph", "--run", run, "-o", "svg"]);
    assert_eq!((code, drawn.starts_with("<svg ")), (0, true), "{drawn}");
    let (code, drawn) = plain(&["graph", "ask", "-o", "json"]);
    assert_eq!(code, 0, "{drawn}");
    assert!(drawn.contains("\"isApproval\": true"), "{drawn}");
    assert_eq!(plain(&["graph", "nope"]).0, 3);
    assert_eq!(plain(&["graph", "--run", "nope"]).0, 3);
    let (code, told) = plain(&["runs", "-o", "svg"]);
    assert!(code == 2 && told.contains("for graph"), "{told}");
}

/// `signoff suspend` and `resume` of a flow.
fn suspends_a_flow(cli: impl Fn(&str, &[&str]) -> (i32, Value), plain: impl Fn(&[&str]) -> (i32, String)) {
    let (code, told) = plain(&["suspend", "flow/ask"]);
    assert_eq!(code, 0, "{told}");
    for part in [
        "start no runs",
        "Runs that have started go on",
        "has no triggers",
        "resume flow/ask",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (code, envelope) = cli("dev", &["suspend", "--flow", "ask"]);
    assert_eq!(
        (code, &envelope["data"]["spec"]["suspend"]),
        (0, &Value::Bool(true))
    );
    let (code, envelope) = cli("dev", &["resume", "flow/ask"]);
    assert_eq!(
        (code, &envelope["data"]["spec"]["suspend"]),
        (0, &Value::Null),
        "{envelope:#}"
    );
    assert_eq!(cli("dev", &["suspend", "flow/nope"]).0, 3);
    assert_eq!(cli("dev", &["suspend", "release/ask"]).0, 2);
}

/// `signoff diff`: of a file, of the draft, of two releases; as text, Markdown, lines and data.
fn shows_differences(
    dir: &std::path::Path,
    manifest: &std::path::Path,
    live: &str,
    cli: impl Fn(&str, &[&str]) -> (i32, Value),
    plain: impl Fn(&[&str]) -> (i32, String),
) {
    let text = std::fs::read_to_string(manifest).unwrap();
    let loosened = dir.join("loosened.yaml");
    std::fs::write(&loosened, text.replace("[finance]", "[finance, everybody]")).unwrap();
    let file = loosened.to_str().unwrap();

    let (code, envelope) = cli("dev", &["diff", "-f", manifest.to_str().unwrap()]);
    assert_eq!(
        (code, &envelope["data"]["changed"]),
        (0, &Value::Bool(false)),
        "{envelope:#}"
    );
    let (code, envelope) = cli("dev", &["diff", "-f", file]);
    let data = &envelope["data"];
    assert_eq!(
        (code, &data["from"], &data["to"]),
        (0, &Value::from(live), &Value::from(file)),
        "{envelope:#}"
    );
    assert_eq!(data["loosensControl"], true);
    assert_eq!(data["difference"]["loosenings"][0]["kind"], "ApproversWidened");
    let fields = &data["difference"]["steps"][0]["fields"][0];
    assert_eq!(fields["field"], "approval.approvers.groups");
    assert_eq!(fields["after"], serde_json::json!(["finance", "everybody"]));

    assert_eq!(cli("dev", &["apply", "-f", file]).0, 0);
    let draft = loop {
        let (_, envelope) = cli("dev", &["diff", "ask"]);
        let draft = envelope["data"]["to"].as_str().unwrap().to_owned();
        if draft != live {
            let next = envelope["next"][0].as_str().unwrap();
            assert!(
                next.ends_with(&format!("--context dev promote ask {draft}")),
                "{next}"
            );
            break draft;
        }
    };
    let (code, told) = plain(&["diff", "ask"]);
    assert_eq!(code, 0);
    assert!(told.contains(&format!("ask: {live} → {draft}")), "{told}");
    assert!(
        told.contains("approvers  group finance → groups finance, everybody"),
        "{told}"
    );
    let (_, told) = plain(&["diff", "ask", "--markdown"]);
    assert!(
        told.contains("#### Loosens control\n\n- step `ask`: more people may approve: "),
        "{told}"
    );
    let (_, told) = plain(&["diff", "ask", "--unified"]);
    assert!(
        told.contains(&format!("--- {live}\n+++ {draft}\n")) && told.contains("\n+      - everybody"),
        "{told}"
    );

    let (_, envelope) = cli("dev", &["diff", "ask", "--against", &draft, "--release", live]);
    let data = &envelope["data"];
    assert_eq!(
        (&data["changed"], &data["loosensControl"]),
        (&Value::Bool(true), &Value::Bool(false)),
        "{envelope:#}"
    );
    let (_, envelope) = cli("dev", &["diff", "-f", file, "--against", &draft]);
    assert_eq!(envelope["data"]["changed"], false, "{envelope:#}");

    assert_eq!(cli("dev", &["diff"]).0, 2);
    assert_eq!(cli("dev", &["diff", "another", "-f", file]).0, 2);
    assert_eq!(cli("dev", &["diff", "ask", "--against", "ask-0000000000"]).0, 3);
    assert_eq!(cli("dev", &["diff", "no-such-flow"]).0, 3);
    let first = dir.join("first.yaml");
    std::fs::write(&first, text.replace("name: ask}\nspec", "name: first}\nspec")).unwrap();
    let (code, envelope) = cli("dev", &["diff", "-f", first.to_str().unwrap()]);
    assert_eq!(
        (code, &envelope["data"]["difference"]["first"]),
        (0, &Value::Bool(true)),
        "{envelope:#}"
    );
    std::fs::write(&first, text.replace("title:", "tittle:")).unwrap();
    let (code, envelope) = cli("dev", &["diff", "-f", first.to_str().unwrap()]);
    assert_eq!(code, 8);
    assert_eq!(
        envelope["error"]["details"]["problems"][0]["line"], 8,
        "{envelope:#}"
    );
}

/// The name of the first question of a list, once there is one: a run says that it waits before its question is put.
fn first_question(list: impl Fn() -> Value) -> String {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let listed = list();
        if let Some(name) = listed["data"][0]["metadata"]["name"].as_str() {
            return name.to_owned();
        }
        assert!(Instant::now() < until, "{listed:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The desk with a flow that is live, and the name of a run of it that waits for people.
struct Waiting {
    desk: Desk,
    run: String,
    approval: String,
}

impl Waiting {
    async fn on(dir: &Path, steps: &str, inputs: &[&str]) -> Self {
        let desk = Desk::open(dir).await;
        let json = |user: &str, args: &[&str]| -> Value {
            let output = desk.signoff(user, args).args(["-o", "json"]).output().unwrap();
            serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|_| panic!("{args:?}: {}", String::from_utf8_lossy(&output.stderr)))
        };
        let manifest = dir.join("flow.yaml");
        let head = "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {name: ask}\nspec:\n  \
                    inputs: {type: object, properties: {t: {type: string}}}\n";
        std::fs::write(&manifest, format!("{head}  steps:\n{steps}")).unwrap();
        json("dev", &["apply", "-f", manifest.to_str().unwrap()]);
        // it waits for the draft, and says why there is none
        let promoted = json("dev", &["promote", "ask"]);
        assert_eq!(promoted["ok"], true, "{promoted:#}");
        let mut args = vec!["run", "ask", "--wait"];
        args.extend(inputs.iter().flat_map(|input| ["--input", input]));
        let started = json("dev", &args);
        let run = started["data"]["metadata"]["name"].as_str().unwrap().to_owned();
        let approval = first_question(|| json("alice", &["approvals"]));
        Self { desk, run, approval }
    }

    /// Exit code, standard output and standard error.
    fn plain(&self, user: &str, args: &[&str]) -> (i32, String, String) {
        let output = self.desk.signoff(user, args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }
}
