//! Processes that go on by themselves.

use serde_json::json;
use signoff_api::{
    Run,
    run::{ProcessPhase, ProcessStatus},
};

use crate::{
    server::{Sshd, is_alive, play, stage, step},
    support::rig::{Rig, eventually},
};

/// Calls back, as soon as it is told to, and goes on.
const AGENT: &str = "echo start >> starts; echo $$ > pid; sleep 600 & echo $! > child; echo \"$SIGNOFF_CALLBACK_URL\" > url; wait";

fn flow(respond_within: &str) -> serde_json::Value {
    json!([
        {"name": "start", "ssh": {"connection": "vm", "command": AGENT, "callback": "done"}},
        {"name": "done", "wait": {"callback": {}, "respondWithin": respond_within}},
    ])
}

fn process(run: &Run) -> &ProcessStatus {
    &run.status.as_ref().unwrap().processes[0]
}

async fn started(rig: &Rig, server: &Sshd) -> Run {
    eventually("it runs", || !server.read("url").is_empty()).await;
    rig.until::<Run>("r", |run| {
        let mut known = run.status.iter().flat_map(|status| &status.processes);
        known.any(|process| process.phase == ProcessPhase::Running)
    })
    .await
}

async fn begin(test: &str, respond_within: &str) -> Option<(Sshd, Rig, crate::support::rig::Running, Run)> {
    let (server, rig, operator) = stage(test, "").await?;
    rig.flow("f", json!({ "steps": flow(respond_within) })).await;
    rig.start("r", json!({"flow": "f"})).await;
    let run = started(&rig, &server).await;
    Some((server, rig, operator, run))
}

fn assert_ended(run: &Run, server: &Sshd) {
    assert!(!is_alive(&server.read("pid")) && !is_alive(&server.read("child")));
    let process = process(run);
    assert_eq!(process.phase, ProcessPhase::Ended);
    let message = process.message.as_deref().unwrap();
    assert!(message.ends_with("its process group was ended"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_has_a_session_of_its_own_calls_back_and_is_ended_with_the_run() {
    let Some((server, rig, operator, run)) = begin("detached", "1h").await else {
        return;
    };
    let pid = server.read("pid").trim().to_owned();
    let output = &step(&run, "start").output.as_ref().unwrap().0;
    assert_eq!(
        output,
        &json!({"host": "127.0.0.1", "pid": pid.parse::<i64>().unwrap()})
    );
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    assert_eq!(
        (fields[2], fields[3]),
        (pid.as_str(), pid.as_str()),
        "group and session"
    );
    for descriptor in ["1", "2"] {
        let target = std::fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"));
    }
    let url = server.read("url").trim().to_owned();
    let sent = reqwest::Client::new()
        .post(url)
        .body("{}")
        .header("content-type", "application/json");
    assert_eq!(sent.send().await.unwrap().status(), 202);
    let run = rig.phase("r", "Succeeded").await;
    assert_ended(&run, &server);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_and_terminating_end_its_group() {
    for stop in ["cancel", "terminate"] {
        let Some((server, rig, operator, _)) = begin("cancel", "1h").await else {
            return;
        };
        rig.patch_run("r", json!({ stop: true })).await;
        let run = rig.phase("r", "Cancelled").await;
        assert_ended(&run, &server);
        operator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_times_out_ends_its_group() {
    let Some((server, rig, operator, _)) = begin("time-out of the wait", "3s").await else {
        return;
    };
    let run = rig.phase("r", "TimedOut").await;
    assert_ended(&run, &server);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ignores_the_request_to_end_is_killed() {
    let Some((server, rig, operator)) = stage("SIGKILL", "").await else {
        return;
    };
    let steps = json!([
        {"name": "start", "ssh": {"connection": "vm", "command": "trap '' TERM; echo $$ > pid; while :; do sleep 1; done"}},
        {"name": "pause", "wait": {"duration": "1h"}},
    ]);
    rig.flow("f", json!({ "steps": steps })).await;
    rig.start("r", json!({"flow": "f"})).await;
    eventually("it runs", || !server.read("pid").is_empty()).await;
    rig.patch_run("r", json!({"terminate": true})).await;
    rig.phase("r", "Cancelled").await;
    assert!(!is_alive(&server.read("pid")));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_starts_anew_finds_the_process_and_starts_no_other() {
    let Some((server, rig, operator, _)) = begin("restart", "1h").await else {
        return;
    };
    operator.kill().await;
    let operator = rig.operator().await;
    rig.patch_run("r", json!({"cancel": true})).await;
    let run = rig.phase("r", "Cancelled").await;
    assert_eq!(server.read("starts"), "start\n");
    assert_ended(&run, &server);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_runs_on_a_host_that_the_connection_lists() {
    let Some((server, rig, operator)) = stage("items", "").await else {
        return;
    };
    let known = format!("localhost,127.* {}", server.host_key());
    server
        .connect_knowing(
            &rig,
            "vms",
            &known
                .replace("127.*", "[127.*]:*")
                .replace("localhost", "[localhost]:*"),
            json!({"hosts": ["127.0.0.*"]}),
        )
        .await;
    let each = json!([
        {"name": "s", "forEach": {"items": ["127.0.0.1", "127.0.0.1"]},
            "ssh": {"connection": "vms", "host": "${item}", "wait": true, "command": "echo", "args": ["${index}"]}},
    ]);
    let run = play(&rig, "each", each, "Succeeded").await;
    let output = &step(&run, "s").output.as_ref().unwrap().0;
    assert_eq!(
        (&output[0]["stdout"], &output[1]["stdout"]),
        (&json!("0\n"), &json!("1\n"))
    );
    let other = json!([{"name": "s", "ssh": {"connection": "vms", "host": "${'evil' + '.example.com'}", "wait": true, "command": "true"}}]);
    let run = play(&rig, "other", other, "Failed").await;
    let error = step(&run, "s").error.as_ref().unwrap();
    assert!(
        error.message.contains("does not list the host"),
        "{}",
        error.message
    );
    operator.stop().await;
}
