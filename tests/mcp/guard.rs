//! The flow and the clients of `examples/agents`: with stand-ins, and against `signoff dev`, where a person answers.

use std::{path::Path, process::Command, time::Duration};

use kube::{Api, api::PostParams, runtime::wait::await_condition};
use serde_json::{Value, json};
use signoff_api::{Approval, ApprovalPhase, Decision, Flow};
use tokio::process::{Child, Command as Spawned};

use super::{
    credentials, fetched,
    support::dev::{CAP, Dev},
};

const CLIENTS: &str = "examples/agents/clients";

#[test]
fn the_clients_hold_with_stand_ins_for_people_and_models() {
    let Some(programs) = fetched("the clients of agent frameworks") else {
        return;
    };
    let output = Command::new("python3")
        .args(["-m", "unittest", "discover", "-s", CLIENTS])
        .env("PYTHONPATH", programs.join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SIGNOFF_REQUIRE_FRAMEWORKS", "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("\nOK\n"), "{told}");
}

fn draft(flow: Option<&Flow>) -> Option<String> {
    Some(flow?.status.as_ref()?.draft.as_ref()?.release.clone())
}

/// `signoff dev` with the flow, live.
struct Desk {
    dev: Dev,
    _running: Child,
    dir: tempfile::TempDir,
}

impl Desk {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let dev = Dev::new(dir.path());
        let running = dev.start().await;
        let desk = Self {
            dev,
            _running: running,
            dir,
        };
        // the people of signoff dev are of other groups
        let flow = std::fs::read_to_string("examples/agents/flow.yaml").unwrap();
        let flow = flow.replace("groups: [operations]", "groups: [finance]");
        let path = desk.dir.path().join("flow.yaml");
        std::fs::write(&path, flow).unwrap();
        desk.signoff("dev", &["apply", "-f", path.to_str().unwrap()])
            .await;
        let flows: Api<Flow> = Api::namespaced(desk.dev.client("dev").await, "default");
        let is_cut = |flow: Option<&Flow>| draft(flow).is_some();
        let cut = await_condition(flows, "tool-call", is_cut);
        let flow = tokio::time::timeout(CAP, cut).await.expect("a release").unwrap();
        let release = draft(flow.as_ref()).unwrap();
        desk.signoff("dev", &["promote", "tool-call", &release]).await;
        desk
    }

    async fn signoff(&self, user: &str, args: &[&str]) -> Value {
        let output = Spawned::new(env!("CARGO_BIN_EXE_signoff"))
            .args(args)
            .args(["--context", user, "-o", "json"])
            .env("KUBECONFIG", self.dev.kubeconfig())
            .output()
            .await
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&told)
            .unwrap_or_else(|_| panic!("{args:?}: {told}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Waits for a question and answers it as alice.
    async fn answer(&self, verdict: &str) -> Approval {
        let approvals: Api<Approval> = Api::namespaced(self.dev.client("alice").await, "default");
        let open = async {
            loop {
                let all = approvals.list(&kube::api::ListParams::default()).await.unwrap();
                let mut open = all.items.into_iter().filter(|approval| {
                    let status = approval.status.clone().unwrap_or_default();
                    status.phase == ApprovalPhase::Pending
                });
                if let Some(approval) = open.next() {
                    return approval;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let approval = tokio::time::timeout(CAP, open).await.expect("people are asked");
        let decision: Decision = serde_json::from_value(json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Decision", "metadata": {"generateName": "alice-"},
            "spec": {"approval": approval.metadata.name, "digest": approval.spec.digest, "verdict": verdict, "comment": "as you like"},
        }))
        .unwrap();
        let decisions: Api<Decision> = Api::namespaced(self.dev.client("alice").await, "default");
        decisions.create(&PostParams::default(), &decision).await.unwrap();
        approval
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_asked_for_over_plain_http_and_made_only_after_a_yes() {
    if fetched("the guard of tool calls").is_none() {
        return;
    }
    let desk = Desk::open().await;
    let (server, token, ca) = credentials(&desk.dev.kubeconfig(), "agent", desk.dir.path());
    for (verdict, decision) in [("Approve", "allow"), ("Reject", "deny")] {
        let mut hook = Spawned::new("python3")
            .arg(Path::new(CLIENTS).join("claude_code_hook.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("SIGNOFF_SERVER", &server)
            .env("SIGNOFF_TOKEN", &token)
            .env("SIGNOFF_CA", &ca)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let call = json!({"session_id": verdict, "tool_use_id": "t", "tool_name": "Bash", "tool_input": {"command": "rm x"}});
        let mut input = hook.stdin.take().unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut input, call.to_string().as_bytes())
            .await
            .unwrap();
        drop(input);
        let asked = desk.answer(verdict).await;
        let shown: Value = serde_json::from_str(&asked.spec.show[0].inline).unwrap();
        assert_eq!(shown, json!({"tool": "Bash", "arguments": {"command": "rm x"}}));
        let ended = tokio::time::timeout(CAP, hook.wait_with_output())
            .await
            .unwrap()
            .unwrap();
        let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(
            told["hookSpecificOutput"]["permissionDecision"], decision,
            "{told}"
        );
        assert!(told.to_string().contains("as you like"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_flow_is_used_by_the_command_line_and_through_mcp() {
    if fetched("the guard of tool calls").is_none() {
        return;
    }
    let desk = Desk::open().await;
    let arguments = "arguments:={\"command\": \"rm x\"}";
    let start = [
        "run",
        "tool-call",
        "--idempotency-key",
        "1",
        "-i",
        "agent=me",
        "-i",
        "tool=Bash",
        "-i",
        arguments,
    ];
    let started = desk.signoff("agent", &start).await;
    let name = started["data"]["metadata"]["name"]
        .as_str()
        .unwrap_or_else(|| panic!("{started}"));
    desk.answer("Approve").await;
    let (_, token, _) = credentials(&desk.dev.kubeconfig(), "agent", desk.dir.path());
    let ended = async {
        loop {
            let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": {"name": "wait_for_run", "arguments": {"run": name}}});
            let sent = reqwest::Client::new()
                .post(format!("http://{}/mcp", desk.dev.gateway()))
                .bearer_auth(&token)
                .header("accept", "application/json, text/event-stream")
                .json(&call)
                .send();
            let answer: Value = sent.await.unwrap().json().await.unwrap();
            let run = answer["result"]["structuredContent"].clone();
            if run["ended"] == true {
                return run;
            }
            assert!(run["error"].is_null(), "{answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let run = tokio::time::timeout(CAP, ended).await.expect("the run ends");
    assert_eq!(run["output"]["allowed"], true);
    assert_eq!(
        run["output"]["call"],
        json!({"tool": "Bash", "arguments": {"command": "rm x"}})
    );
}
