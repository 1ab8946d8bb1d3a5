//! Agents: the tools of `/mcp` and of `signoff mcp`, each with the rights of its caller.

use std::{path::PathBuf, process::Stdio};

use axum::{Router, routing::get};
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use signoff::gateway::Agents;
use signoff_api::{Run, names};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    rig::{Rig, Running},
    server::Server,
};

/// A server that serves agents, and a kubeconfig for it.
struct Desk {
    rig: Rig,
    kubeconfig: PathBuf,
    _dir: tempfile::TempDir,
    /// Ends the API server with the test.
    _served: tokio_util::sync::DropGuard,
    operator: Option<Running>,
}

impl Desk {
    async fn open() -> Self {
        let (rig, dir) = (Rig::open().await, tempfile::tempdir().unwrap());
        let served = CancellationToken::new();
        let kubeconfig = match &rig.server {
            Server::Real(room) => room.kubeconfig(),
            Server::Embedded(plane) => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let path = dir.path().join("kubeconfig");
                std::fs::write(&path, plane.kubeconfig(listener.local_addr().unwrap())).unwrap();
                let (plane, token) = (plane.clone(), served.clone());
                tokio::spawn(async move { plane.serve(listener, token).await });
                path
            }
        };
        // whoever serves agents does not lend them its own rights
        let options = KubeConfigOptions {
            context: Some("admin".to_owned()),
            ..KubeConfigOptions::default()
        };
        let file = Kubeconfig::read_from(&kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(file, &options).await.unwrap();
        let agents = Agents::local(config).unwrap();
        let client = rig.operator_client();
        let operator = rig
            .operator_as(client, |options| options.agents = Some(agents))
            .await;
        Self {
            rig,
            kubeconfig,
            _dir: dir,
            _served: served.drop_guard(),
            operator: Some(operator.unwrap()),
        }
    }

    async fn close(mut self) {
        self.operator.take().unwrap().stop().await;
    }

    fn message(&self) -> reqwest::RequestBuilder {
        reqwest::Client::new()
            .post(format!("http://{}/mcp", self.rig.gateway()))
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
    }

    /// Calls a tool over HTTP, and gives whether it failed and what it answered.
    async fn call(&self, user: &str, tool: &str, mut arguments: Value) -> (bool, Value) {
        if tool != "read_resource" {
            arguments["namespace"] = json!(self.rig.namespace());
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        let sent = self
            .message()
            .bearer_auth(self.rig.server.token(user))
            .json(&body)
            .send();
        let response = sent.await.unwrap();
        assert_eq!(response.status(), 200);
        told(&response.json().await.unwrap())
    }
}

/// Whether a call failed, and what it answered. Its text says the same.
fn told(answer: &Value) -> (bool, Value) {
    let result = &answer["result"];
    let value = result["structuredContent"].clone();
    let text = result["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), value);
    (result["isError"] == true, value)
}

fn asking() -> Value {
    json!({
        "inputs": {"type": "object", "required": ["tool"], "properties": {"tool": {"type": "string"}}},
        "steps": [{"name": "review", "approval": {"title": "Call ${inputs.tool}?", "show": [{"name": "call", "value": "${inputs.tool}"}]}}],
        "output": {"allowed": true},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_starts_a_flow_once_reads_the_question_and_waits_for_people() {
    let desk = Desk::open().await;
    desk.rig.flow("f", asking()).await;
    let start = json!({"flow": "f", "inputs": {"tool": "rm\u{202e}"}, "idempotencyKey": "task 1"});
    let (failed, run) = desk.call("dev", "start_run", start.clone()).await;
    assert!(!failed && run["startedBefore"] == false, "{run}");
    let name = run["name"].as_str().unwrap();
    assert_eq!(name, names::idempotent_run_name("f", "task 1"));
    let (_, again) = desk.call("dev", "start_run", start).await;
    assert_eq!(
        (&again["name"], &again["startedBefore"]),
        (&json!(name), &json!(true))
    );
    let other = json!({"flow": "f", "inputs": {"tool": "other"}, "idempotencyKey": "task 1"});
    let (failed, refused) = desk.call("dev", "start_run", other).await;
    assert!(
        failed && refused["error"]["reason"] == "AlreadyExists",
        "{refused}"
    );
    let (_, waiting) = desk.call("dev", "wait_for_run", json!({"run": name})).await;
    let question = waiting["openApprovals"][0]
        .as_str()
        .unwrap_or_else(|| panic!("{waiting}"));
    assert_eq!(waiting["ended"], false);
    assert!(
        waiting["next"].as_str().unwrap().contains("only they can answer"),
        "{waiting}"
    );
    let (_, listed) = desk.call("dev", "list_approvals", json!({})).await;
    assert_eq!(listed["approvals"][0]["name"], question);
    let (_, shown) = desk
        .call("dev", "get_approval", json!({"approval": question}))
        .await;
    let asked = desk.rig.asked(question).await;
    assert_eq!(shown["digest"], json!(asked.spec.digest));
    assert_eq!(shown["show"][0]["inline"], json!(asked.spec.show[0].inline));
    desk.rig.decide("alice", question, "Approve").await;
    desk.rig.phase(name, "Succeeded").await;
    let (_, ended) = desk.call("dev", "wait_for_run", json!({"run": name})).await;
    assert_eq!(
        (&ended["ended"], &ended["output"]),
        (&json!(true), &json!({"allowed": true}))
    );
    let (_, decided) = desk
        .call("dev", "get_approval", json!({"approval": question}))
        .await;
    assert_eq!(decided["decisions"][0]["by"], "alice");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_starts_another_waits_with_it_and_people_are_waited_for_from_the_second_call() {
    let desk = Desk::open().await;
    desk.rig.flow("f", asking()).await;
    desk.rig
        .flow(
            "outer",
            json!({"steps": [{"name": "call", "flow": {"name": "f", "inputs": {"tool": "x"}}}]}),
        )
        .await;
    desk.rig.start("r", json!({"flow": "outer"})).await;
    let (_, asked) = desk.call("dev", "wait_for_run", json!({"run": "r"})).await;
    let question = asked["openApprovals"][0]
        .as_str()
        .unwrap_or_else(|| panic!("{asked}"));
    let since = asked["state"].as_str().unwrap();
    assert!(asked["next"].as_str().unwrap().contains(since), "{asked}");
    let again = json!({"run": "r", "seconds": 1, "since": since});
    let (_, waited) = desk.call("dev", "wait_for_run", again).await;
    assert_eq!(
        (&waited["timedOut"], &waited["state"]),
        (&json!(true), &json!(since)),
        "{waited}"
    );
    desk.rig.decide("alice", question, "Approve").await;
    let (_, ended) = desk
        .call("dev", "wait_for_run", json!({"run": "r", "since": since}))
        .await;
    assert_eq!(ended["ended"], true, "{ended}");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_with_a_reason_and_what_to_do() {
    let desk = Desk::open().await;
    desk.rig.flow("f", asking()).await;
    for (tool, arguments, reason) in [
        ("get_run", json!({"run": "nobody"}), "NotFound"),
        ("get_flow", json!({"flow": "nobody"}), "NotFound"),
        ("start_run", json!({"flow": "nobody"}), "NotFound"),
        (
            "start_run",
            json!({"flow": "f", "inputs": {"tool": 1}}),
            "InvalidInputs",
        ),
        ("start_run", json!({"flow": "f"}), "InvalidInputs"),
        ("list_runs", json!({"limit": 1_000}), "InvalidArguments"),
        (
            "read_resource",
            json!({"ref": format!("res://{}/nobody/a/b", desk.rig.namespace())}),
            "NotFound",
        ),
    ] {
        let (failed, told) = desk.call("dev", tool, arguments.clone()).await;
        assert!(
            failed && told["error"]["reason"] == reason,
            "{tool} {arguments}: {told}"
        );
        assert!(told["error"]["hint"].is_string(), "{told}");
    }
    let (_, runs) = desk.call("dev", "list_runs", json!({})).await;
    assert_eq!(runs["runs"], json!([]));
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_filtered() {
    let desk = Desk::open().await;
    desk.rig
        .flow("f", json!({"steps": [{"name": "a", "set": {"x": 1}}]}))
        .await;
    desk.rig.flow("g", asking()).await;
    for name in ["a", "b", "c"] {
        desk.rig.start(name, json!({"flow": "f"})).await;
        desk.rig.phase(name, "Succeeded").await;
    }
    desk.rig
        .start("d", json!({"flow": "g", "inputs": {"tool": "x"}}))
        .await;
    desk.rig.phase("d", "Waiting").await;
    let names = |page: &Value| -> Vec<String> {
        let runs = page["runs"].as_array().unwrap();
        runs.iter()
            .map(|run| run["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let (_, first) = desk
        .call("dev", "list_runs", json!({"flow": "f", "limit": 2}))
        .await;
    let cursor = first["nextCursor"].as_str().unwrap();
    let (_, second) = desk
        .call(
            "dev",
            "list_runs",
            json!({"flow": "f", "limit": 2, "cursor": cursor}),
        )
        .await;
    assert_eq!((names(&first).len(), names(&second).len()), (2, 1));
    assert!(second["nextCursor"].is_null(), "{second}");
    let (_, waiting) = desk.call("dev", "list_runs", json!({"phase": "Waiting"})).await;
    assert_eq!(names(&waiting), ["d"]);
    let (_, flows) = desk.call("dev", "list_flows", json!({})).await;
    assert_eq!(flows["flows"].as_array().unwrap().len(), 2);
    let (_, flow) = desk.call("dev", "get_flow", json!({"flow": "g"})).await;
    assert_eq!(flow["steps"], json!([{"name": "review", "kind": "approval"}]));
    assert_eq!(flow["inputs"]["schema"]["required"], json!(["tool"]));
    let (_, releases) = desk.call("dev", "list_releases", json!({"flow": "g"})).await;
    let release = releases["releases"][0]["name"].clone();
    let (_, release) = desk.call("dev", "get_release", json!({"release": release})).await;
    assert_eq!(release["definition"]["steps"][0]["name"], "review");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_of_a_run_is_read_with_the_rights_of_the_caller() {
    let desk = Desk::open().await;
    let service = Router::new().route(
        "/",
        get(|| async { ([("content-type", "text/plain")], "a report") }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, service).await });
    let fetch = json!({"name": "fetch", "http": {"url": url, "save": true}});
    desk.rig.flow("f", json!({"steps": [fetch]})).await;
    desk.rig.start("r", json!({"flow": "f"})).await;
    desk.rig.phase("r", "Succeeded").await;
    let (_, listed) = desk.call("dev", "list_resources", json!({"run": "r"})).await;
    let reference = listed["resources"][0]["ref"].clone();
    let (_, read) = desk.call("dev", "read_resource", json!({"ref": reference})).await;
    assert_eq!(
        (&read["encoding"], &read["content"]),
        (&json!("text"), &json!("a report"))
    );
    // the command line sends no token to a gateway that nobody named
    let file = desk.kubeconfig.with_extension("content");
    let gateway = format!("http://{}", desk.rig.gateway());
    for (named, code) in [(None, 2), (Some(gateway.as_str()), 0)] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_signoff"))
            .args([
                "resources",
                "get",
                reference.as_str().unwrap(),
                "--context",
                "dev",
                "--file",
            ])
            .arg(&file)
            .args(named.iter().flat_map(|url| ["--gateway", *url]))
            .env("KUBECONFIG", &desk.kubeconfig)
            .env_remove("SIGNOFF_GATEWAY_URL")
            .output()
            .await
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert_eq!(file.exists(), code == 0);
    }
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_a_good_token_or_for_another_host_is_refused() {
    let desk = Desk::open().await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let token = desk.rig.server.token("dev");
    for wrong in [None, Some("made-up"), Some("")] {
        let message = desk.message().json(&list);
        let message = match wrong {
            Some(token) => message.bearer_auth(token),
            None => message,
        };
        let refused = message.send().await.unwrap();
        assert_eq!(refused.status(), 401, "{wrong:?}");
        assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"signoff\"");
    }
    for (header, value) in [
        ("host", "evil.example.com"),
        ("origin", "https://evil.example.com"),
        ("origin", "null"),
    ] {
        let message = desk
            .message()
            .bearer_auth(&token)
            .header(header, value)
            .json(&list);
        assert_eq!(message.send().await.unwrap().status(), 403, "{header}: {value}");
    }
    let allowed = desk
        .message()
        .bearer_auth(&token)
        .header("origin", "http://localhost:6274")
        .json(&list);
    assert_eq!(allowed.send().await.unwrap().status(), 200);
    let large = desk
        .message()
        .bearer_auth(&token)
        .header("content-type", "application/json");
    let large = large.body(vec![b' '; (512 << 10) + 1]).send().await.unwrap();
    assert_eq!(large.status(), 413);
    let read = reqwest::Client::new()
        .get(format!("http://{}/mcp", desk.rig.gateway()))
        .bearer_auth(&token);
    assert_eq!(read.send().await.unwrap().status(), 405);
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_not_told_to_serve_agents_serves_none() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let url = format!("http://{}/mcp", rig.gateway());
    let sent = reqwest::Client::new()
        .post(url)
        .bearer_auth(rig.server.token("dev"));
    assert_eq!(sent.send().await.unwrap().status(), 404);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_on_standard_input_and_output_has_the_rights_of_the_kubeconfig() {
    let desk = Desk::open().await;
    desk.rig.flow("f", asking()).await;
    let mut agent = tokio::process::Command::new(env!("CARGO_BIN_EXE_signoff"))
        .args(["mcp", "--context", "dev", "--namespace", desk.rig.namespace()])
        .env("KUBECONFIG", &desk.kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut input, mut output) = (
        agent.stdin.take().unwrap(),
        BufReader::new(agent.stdout.take().unwrap()).lines(),
    );
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let start = json!({"name": "start_run", "arguments": {"flow": "f", "inputs": {"tool": "x"}, "idempotencyKey": "k"}});
    let mut answers = Vec::new();
    for message in [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}),
        json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": start}),
    ] {
        input.write_all(format!("{message}\n").as_bytes()).await.unwrap();
        if message.get("id").is_some() {
            let line = output.next_line().await.unwrap().unwrap();
            answers.push(serde_json::from_str::<Value>(&line).unwrap());
        }
    }
    assert_eq!(answers[0]["result"]["serverInfo"]["name"], "signoff");
    assert_eq!(answers[1]["result"]["tools"].as_array().unwrap().len(), 18);
    let (failed, run) = told(&answers[2]);
    assert!(!failed, "{run}");
    let started: Run = desk.rig.api().get(run["name"].as_str().unwrap()).await.unwrap();
    assert_eq!(started.spec.requested_by.as_deref(), Some("dev"));
    // what cannot be taken is answered too
    let large =
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "x".repeat(600 << 10)}});
    for (line, id, code) in [
        (large.to_string(), json!(7), -32600),
        ("{\"jsonrpc\": ".to_owned(), Value::Null, -32700),
    ] {
        input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let answer: Value = serde_json::from_str(&output.next_line().await.unwrap().unwrap()).unwrap();
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&id, &json!(code)),
            "{answer}"
        );
    }
    // its end is the end of the input
    drop(input);
    assert!(agent.wait().await.unwrap().success());
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_starts_a_run_once_under_a_name_or_a_key() {
    let desk = Desk::open().await;
    desk.rig.flow("f", asking()).await;
    let start = async |args: &[&str]| {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_signoff"))
            .args([
                "run",
                "f",
                "--context",
                "dev",
                "--namespace",
                desk.rig.namespace(),
                "-o",
                "json",
            ])
            .args(args)
            .env("KUBECONFIG", &desk.kubeconfig)
            .output()
            .await
            .unwrap();
        let envelope: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), envelope)
    };
    for under in [["--name", "mine"], ["--idempotency-key", "task 1"]] {
        let same = [under[0], under[1], "-i", "tool=x"];
        let (code, first) = start(&same).await;
        assert_eq!(code, Some(0), "{first}");
        let (code, second) = start(&same).await;
        assert_eq!(code, Some(0), "{second}");
        assert_eq!(
            first["data"]["metadata"]["uid"],
            second["data"]["metadata"]["uid"]
        );
        let (code, other) = start(&[under[0], under[1], "-i", "tool=y"]).await;
        assert_eq!(
            (code, &other["error"]["code"]),
            (Some(5), &json!("AlreadyExists"))
        );
    }
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_works_on_a_task_with_its_own_token_and_nobody_else_answers_it() {
    let desk = Desk::open().await;
    let task = json!({"queue": "coders", "instructions": "Mend it.", "schema": {"type": "object", "required": ["branch"]}});
    let flow = json!({"steps": [{"name": "code", "task": task}], "output": {"task": "${steps.code.output}"}});
    desk.rig.flow("f", flow).await;
    desk.rig.start("r", json!({"flow": "f"})).await;
    desk.rig.phase("r", "Waiting").await;
    let waiting = desk
        .rig
        .until::<Run>("r", |run| {
            run.status
                .as_ref()
                .is_some_and(|status| status.steps[0].task.is_some())
        })
        .await;
    let task = waiting.status.unwrap().steps[0].task.clone().unwrap();
    desk.rig.until::<signoff_api::WorkItem>(&task, |_| true).await;
    let (failed, listed) = desk.call("alice", "list_tasks", json!({"queue": "coders"})).await;
    assert!(!failed && listed["tasks"][0]["name"] == json!(task), "{listed}");
    let (failed, mine) = desk.call("alice", "claim_task", json!({"task": task})).await;
    assert!(
        !failed && mine["claim"] == 1 && mine["instructions"] == "Mend it.",
        "{mine}"
    );
    let (failed, refused) = desk.call("bob", "claim_task", json!({"task": task})).await;
    assert!(failed && refused["error"]["reason"] == "NotYours", "{refused}");
    let (failed, again) = desk.call("alice", "claim_task", json!({"task": task})).await;
    assert!(!failed && again == mine, "{again}");
    let (failed, seen) = desk.call("bob", "get_task", json!({"task": task})).await;
    assert!(
        !failed && seen["claim"].is_null() && seen["worker"] == "alice",
        "{seen}"
    );
    let (failed, refused) = desk
        .call("alice", "give_back_task", json!({"task": task, "claim": 2}))
        .await;
    assert!(failed && refused["error"]["reason"] == "NotYours", "{refused}");
    let (failed, back) = desk
        .call("alice", "give_back_task", json!({"task": task, "claim": 1}))
        .await;
    assert!(!failed && back["phase"] == "Queued", "{back}");
    let (failed, mine) = desk.call("alice", "claim_task", json!({"task": task})).await;
    assert!(!failed && mine["claim"] == 2, "{mine}");
    let (_, read) = desk
        .call("alice", "get_task", json!({"task": task, "part": "Instructions"}))
        .await;
    assert_eq!(
        (&read["text"], &read["nextOffset"]),
        (&json!("Mend it."), &Value::Null)
    );
    let progress = json!({"task": task, "claim": 2, "message": "half"});
    let (failed, reported) = desk.call("alice", "report_task_progress", progress.clone()).await;
    assert!(!failed && reported["progress"] == "half", "{reported}");
    let (failed, refused) = desk.call("bob", "report_task_progress", progress).await;
    assert!(failed && refused["error"]["reason"] == "NotYours", "{refused}");
    let answer = |result: Value| json!({"task": task, "claim": 2, "result": result});
    let (failed, refused) = desk.call("alice", "complete_task", answer(json!({}))).await;
    assert!(
        failed && refused["error"]["reason"] == "InvalidArguments",
        "{refused}"
    );
    let (failed, done) = desk
        .call("alice", "complete_task", answer(json!({"branch": "b"})))
        .await;
    assert!(!failed, "{done}");
    let run = desk.rig.phase("r", "Succeeded").await.status.unwrap();
    assert_eq!(run.output.unwrap().0, json!({"task": {"branch": "b"}}));
    assert_eq!(run.steps[0].worker.as_deref(), Some("alice"));
    desk.close().await;
}
