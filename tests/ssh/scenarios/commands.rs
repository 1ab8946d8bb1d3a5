//! Commands that are waited for.

use serde_json::json;
use signoff_api::reason::StepReason;

use crate::server::{is_alive, play, stage, step};
use crate::support::rig::eventually;

/// Arguments that try to be more than one word, or a command.
const HOSTILE: [&str; 8] = [
    "a b",
    "it's",
    "$(touch owned)",
    "`touch owned`",
    "; touch owned",
    "-n",
    "\nnew\tline",
    "é\u{202e}\"\\",
];

async fn runs_commands(test: &str, lines: &str) {
    let Some((server, rig, operator)) = stage(test, lines).await else {
        return;
    };
    let steps = json!([{"name": "s", "ssh": {"connection": "vm", "wait": true,
        "command": "printf '%s|' \"$A\"; cat; printf '|%s' ", "args": ["${['x', 'y']}", "1 2"],
        "env": {"A": "it's $(x)\né"}, "stdin": "in\nput"}}]);
    let run = play(&rig, "whole", steps, "Succeeded").await;
    let output = &step(&run, "s").output.as_ref().unwrap().0;
    assert_eq!(output["stdout"], "it's $(x)\né|in\nput|x|y|1 2");
    assert_eq!(output["exitCode"], 0);
    assert_eq!(output["stderr"], "");
    assert!(run.status.as_ref().unwrap().processes.is_empty());
    let left = std::fs::read_dir(server.home(".local/state/signoff/processes"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "nothing is left on the host");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_arguments_and_input_arrive_on_a_server_that_takes_no_environment() {
    runs_commands("commands without AcceptEnv", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_arguments_and_input_arrive_on_a_server_that_takes_any_environment() {
    runs_commands("commands with AcceptEnv", "AcceptEnv *").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_in_an_argument_it_is_one_word_and_nothing_is_run() {
    let Some((server, rig, operator)) = stage("hostile arguments", "").await else {
        return;
    };
    let steps = json!([{"name": "s", "ssh": {"connection": "vm", "wait": true,
        "command": "for a in \"$@\"; do :; done; printf '%s\\037'", "args": HOSTILE}}]);
    let run = play(&rig, "hostile", steps, "Succeeded").await;
    let output = &step(&run, "s").output.as_ref().unwrap().0;
    let wanted = HOSTILE.join("\u{1f}") + "\u{1f}";
    assert_eq!(output["stdout"], wanted);
    assert!(!server.home("owned").exists());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_leaves_a_process_behind_has_ended_when_its_shell_has() {
    let Some((server, rig, operator)) = stage("left behind", "").await else {
        return;
    };
    let steps = json!([{"name": "s", "timeout": "1m", "ssh": {"connection": "vm", "wait": true, "exitCodes": [4],
        "command": "echo said; sleep 600 & echo $! > left; exit 4"}}]);
    let run = play(&rig, "behind", steps, "Succeeded").await;
    let output = &step(&run, "s").output.as_ref().unwrap().0;
    assert_eq!(
        (&output["exitCode"], &output["stdout"]),
        (&json!(4), &json!("said\n"))
    );
    let left = server.read("left");
    assert!(is_alive(left.trim()), "it is not ours to end");
    std::process::Command::new("kill")
        .arg(left.trim())
        .status()
        .unwrap();
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_long_output_the_end_is_kept_and_secrets_are_not() {
    let Some((_server, rig, operator)) = stage("long output", "").await else {
        return;
    };
    let steps = json!([
        {"name": "s", "ssh": {"connection": "vm", "wait": true, "exitCodes": [3],
            "command": "i=0; while [ $i -lt 4000 ]; do echo \"line $i of many, many lines that are long\"; i=$((i+1)); done; echo \"$U\"; echo why >&2; exit 3",
            "env": {"U": "${callback('w').url}"}}},
        {"name": "w", "wait": {"callback": {}, "duration": "1s"}},
    ]);
    let run = play(&rig, "long", steps, "Succeeded").await;
    let output = &step(&run, "s").output.as_ref().unwrap().0;
    let stdout = output["stdout"].as_str().unwrap();
    assert!(stdout.len() <= 64 * 1024 && stdout.contains("line 3999 of") && !stdout.contains("line 1 of"));
    assert!(
        stdout.trim_end().ends_with("/v1/callbacks/[redacted]"),
        "{}",
        &stdout[stdout.len() - 200..]
    );
    assert_eq!(
        (&output["exitCode"], &output["stderr"]),
        (&json!(3), &json!("why\n"))
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unexpected_exit_code_fails_the_step_and_says_why() {
    let Some((_server, rig, operator)) = stage("exit codes", "").await else {
        return;
    };
    let steps = json!([{"name": "s", "ssh": {"connection": "vm", "wait": true, "command": "echo no luck >&2; exit 7"}}]);
    let run = play(&rig, "code", steps, "Failed").await;
    let error = step(&run, "s").error.as_ref().unwrap();
    assert_eq!(error.reason, StepReason::UnexpectedExitCode);
    assert_eq!(error.message, "the command ended with exit code 7: no luck");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_is_ended_with_its_group_and_the_step_says_so() {
    let Some((server, rig, operator)) = stage("time-out", "").await else {
        return;
    };
    let steps = json!([{"name": "s", "timeout": "2s",
        "ssh": {"connection": "vm", "wait": true, "command": "sleep 600 & echo $! > child; wait"}}]);
    let run = play(&rig, "late", steps, "Failed").await;
    let error = step(&run, "s").error.as_ref().unwrap();
    assert_eq!(error.reason, StepReason::AttemptTimedOut);
    assert!(
        error.message.ends_with("its process group was ended"),
        "{}",
        error.message
    );
    assert!(!is_alive(&server.read("child")));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_a_command_that_is_waited_for() {
    let Some((server, rig, operator)) = stage("cancel", "").await else {
        return;
    };
    let steps = json!([{"name": "s", "timeout": "5m",
        "ssh": {"connection": "vm", "wait": true, "command": "sleep 600 & echo $! > child; wait"}}]);
    rig.flow("f", json!({ "steps": steps })).await;
    rig.start("r", json!({"flow": "f"})).await;
    eventually("the command runs", || !server.read("child").is_empty()).await;
    rig.patch_run("r", json!({"cancel": true})).await;
    let run = rig.phase("r", "Cancelled").await;
    assert!(!is_alive(&server.read("child")));
    let processes = &run.status.as_ref().unwrap().processes;
    let message = processes[0].message.as_deref().unwrap();
    assert!(message.ends_with("its process group was ended"), "{message}");
    operator.stop().await;
}
