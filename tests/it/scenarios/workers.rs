//! `signoff worker run` as a process: commands, results, failures, cancelled runs, and an end in order.

#![allow(
    clippy::needless_pass_by_value,
    reason = "values that a test writes down are handed over"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use signoff_api::{Flow, Run, RunPhase, WorkItem, WorkItemPhase};
use tempfile::TempDir;
use tokio::process::Child;

use crate::support::dev::{CAP, Dev};

/// `signoff dev`, and a folder for what commands leave.
struct Shop {
    dev: Dev,
    admin: Client,
    dir: TempDir,
    server: Child,
}

impl Shop {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let dev = Dev::new(dir.path());
        let server = dev.start().await;
        let admin = dev.client("admin").await;
        Self {
            dev,
            admin,
            dir,
            server,
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::default_namespaced(self.admin.clone())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A run of a flow with this one step.
    async fn start(&self, name: &str, step: Value) {
        let spec = json!({"steps": [step], "output": {"got": "${steps.code.output}"}});
        let flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": {"name": name}, "spec": spec});
        let flow: Flow = serde_json::from_value(flow).unwrap();
        self.api::<Flow>()
            .create(&PostParams::default(), &flow)
            .await
            .unwrap();
        let run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": name},
            "spec": {"flow": name, "channel": "Draft"}});
        let run: Run = serde_json::from_value(run).unwrap();
        self.api::<Run>()
            .create(&PostParams::default(), &run)
            .await
            .unwrap();
    }

    async fn ended(&self, run: &str) -> Run {
        let over = |run: Option<&Run>| {
            run.and_then(|run| run.status.as_ref())
                .is_some_and(|status| status.phase.is_finished())
        };
        let waited = tokio::time::timeout(CAP, await_condition(self.api::<Run>(), run, over)).await;
        waited.expect("the run ends").unwrap().unwrap()
    }

    /// The only task, once it is in this phase.
    async fn task(&self, phase: WorkItemPhase) -> WorkItem {
        let found = async {
            loop {
                let all = self.api::<WorkItem>().list(&ListParams::default()).await.unwrap();
                let is_it = |item: &WorkItem| item.status.clone().unwrap_or_default().phase == phase;
                if let Some(item) = all.items.into_iter().find(is_it) {
                    return item;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(CAP, found)
            .await
            .expect("there is such a task")
    }

    /// `signoff worker run` with a script.
    fn worker(&self, user: &str, more: &[&str], script: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signoff"));
        command
            .env("KUBECONFIG", self.dev.kubeconfig())
            .env("FOLDER", self.dir.path())
            .args(["--context", user, "worker", "run", "--queue", "coders"])
            .args(more)
            .args(["--", "sh", "-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Waits until it ends.
async fn output(mut command: Command) -> Output {
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
    tokio::time::timeout(CAP, ended).await.expect("it ends").unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(more: Value) -> Value {
    let mut step = json!({"name": "code", "task": {"queue": "coders", "input": {"n": 81}, "instructions": "Mend it.",
        "schema": {"type": "object", "required": ["branch"]}}});
    json_patch::merge(&mut step, &more);
    step
}

/// Waits until a file is there and not empty.
async fn written(path: &std::path::Path) -> String {
    let there = async {
        loop {
            match fs::read_to_string(path) {
                Ok(text) if !text.trim().is_empty() => return text,
                _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(CAP, there)
        .await
        .expect("the file is written")
}

/// Waits until a process is gone, or is only left for its parent to see.
async fn gone(pid: &str) {
    let status = format!("/proc/{}/stat", pid.trim());
    let is_gone = || fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "));
    let going = async {
        while !is_gone() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(CAP, going).await.expect("the process ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_the_task_and_its_last_line_or_its_file_is_the_result() {
    let shop = Shop::open().await;
    let script = r#"cat > "$FOLDER/in-$SIGNOFF_RUN"; echo "$SIGNOFF_QUEUE $SIGNOFF_STEP" > "$FOLDER/vars"; echo "::progress half of it"
        if [ "$SIGNOFF_RUN" = a ]; then echo '{"branch": "by-line"}'; else echo '{"branch": "by-file"}' > "$SIGNOFF_OUTPUT"; echo done; fi"#;
    for (run, branch) in [("a", "by-line"), ("b", "by-file")] {
        shop.start(run, code(json!({}))).await;
        let ended = output(shop.worker("alice", &["--max-tasks", "1"], script)).await;
        assert!(ended.status.success(), "{}", told(&ended));
        let run_status = shop.ended(run).await.status.unwrap();
        assert_eq!(run_status.phase, RunPhase::Succeeded, "{:?}", run_status.error);
        assert_eq!(run_status.output.unwrap().0, json!({"got": {"branch": branch}}));
        assert_eq!(run_status.steps[0].worker.as_deref(), Some("alice"));
        let given: Value =
            serde_json::from_str(&fs::read_to_string(shop.path(&format!("in-{run}"))).unwrap()).unwrap();
        assert_eq!(
            (&given["input"], &given["instructions"]),
            (&json!({"n": 81}), &json!("Mend it."))
        );
        assert_eq!((&given["run"], &given["attempt"]), (&json!(run), &json!(1)));
    }
    assert_eq!(fs::read_to_string(shop.path("vars")).unwrap(), "coders code\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_whether_a_failure_is_tried_again() {
    let shop = Shop::open().await;
    shop.start("a", code(json!({"retry": {"attempts": 3}}))).await;
    // busy, then a result that does not fit, then a good one
    let script = r#"n=$(cat "$FOLDER/n" 2>/dev/null || echo 0); echo $((n+1)) > "$FOLDER/n"
        case $n in 0) echo "the disk is full"; exit 75;; 1) echo '{"brunch": 1}';; *) echo '{"branch": "b"}';; esac"#;
    let ended = output(shop.worker("alice", &["--max-tasks", "3"], script)).await;
    assert!(
        told(&ended).contains("exit code 75: the disk is full"),
        "{}",
        told(&ended)
    );
    assert!(
        told(&ended).contains("does not match the schema"),
        "{}",
        told(&ended)
    );
    assert_eq!(shop.ended("a").await.status.unwrap().phase, RunPhase::Succeeded);
    shop.start("b", code(json!({"retry": {"attempts": 3}}))).await;
    output(shop.worker("alice", &["--max-tasks", "1"], "echo 'no access'; exit 3")).await;
    let error = shop.ended("b").await.status.unwrap().error.unwrap();
    assert_eq!(error.reason.to_string(), "TaskFailed");
    assert!(
        error.message.contains("exit code 3: no access"),
        "{}",
        error.message
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_group_of_a_command_ends_with_its_run() {
    let shop = Shop::open().await;
    shop.start("a", code(json!({}))).await;
    let script = r#"sleep 600 & echo $! > "$FOLDER/child"; wait"#;
    let working = tokio::spawn(output(shop.worker("alice", &["--max-tasks", "1"], script)));
    let child = written(&shop.path("child")).await;
    let cancel = Patch::Merge(json!({"spec": {"cancel": true}}));
    shop.api::<Run>()
        .patch("a", &PatchParams::default(), &cancel)
        .await
        .unwrap();
    let ended = working.await.unwrap();
    assert!(ended.status.success(), "{}", told(&ended));
    assert!(
        told(&ended).contains("the task is over: Cancelled"),
        "{}",
        told(&ended)
    );
    gone(&child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stopped_gives_its_task_back_and_another_one_does_it() {
    let shop = Shop::open().await;
    shop.start("a", code(json!({}))).await;
    let script = r#"echo $$ > "$FOLDER/child"; sleep 600"#;
    // SIGHUP is what a terminal sends that is closed
    for (signal, claims) in [("-TERM", 1), ("-HUP", 2)] {
        let worker = shop.worker("alice", &[], script).spawn().unwrap();
        let child = written(&shop.path("child")).await;
        kill(signal, worker.id());
        let ended = tokio::task::spawn_blocking(move || worker.wait_with_output().unwrap());
        let ended = tokio::time::timeout(CAP, ended).await.expect("it ends").unwrap();
        assert!(ended.status.success(), "{}", told(&ended));
        gone(&child).await;
        fs::remove_file(shop.path("child")).unwrap();
        let back = shop.task(WorkItemPhase::Queued).await.status.unwrap();
        assert_eq!((back.failures, back.worker, back.claim), (0, None, claims));
    }
    output(shop.worker("bob", &["--max-tasks", "1"], r#"echo '{"branch": "bobs"}'"#)).await;
    let run = shop.ended("a").await.status.unwrap();
    assert_eq!(run.output.unwrap().0, json!({"got": {"branch": "bobs"}}));
    assert_eq!(run.steps[0].worker.as_deref(), Some("bob"));
}

fn kill(signal: &str, process: u32) {
    let kill = Command::new("kill").args([signal, &process.to_string()]).status();
    assert!(kill.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stopped_while_its_answer_cannot_be_written_ends_and_says_why() {
    let mut shop = Shop::open().await;
    shop.start("a", code(json!({}))).await;
    let script =
        r#"echo $$ > "$FOLDER/child"; until [ -e "$FOLDER/go" ]; do sleep 0.1; done; echo '{"branch": "b"}'"#;
    let mut worker = shop.worker("alice", &[], script).spawn().unwrap();
    written(&shop.path("child")).await;
    shop.server.kill().await.unwrap();
    fs::write(shop.path("go"), "").unwrap();
    let told = tokio::task::spawn_blocking(move || {
        let mut told = vec![];
        for line in BufReader::new(worker.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            if line.contains("could not be written") {
                kill("-TERM", worker.id());
            }
            told.push(line);
        }
        (worker.wait().unwrap(), told.join("\n"))
    });
    let (status, told) = tokio::time::timeout(CAP, told).await.expect("it ends").unwrap();
    assert!(status.success(), "{told}");
    let (_, why) = told.split_once("done, but nobody hears of it: ").expect(&told);
    assert!(why.contains("the task cannot be written: "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_workers_do_each_of_many_tasks_once() {
    let shop = Shop::open().await;
    let each = json!({"forEach": {"items": [1, 2, 3, 4, 5, 6, 7, 8], "maxParallel": 8}, "task": {"input": "${item}", "schema": null}});
    shop.start("a", code(each)).await;
    let script = r#"echo "$SIGNOFF_TASK" >> "$FOLDER/done"; echo '{"branch": "b"}'"#;
    let workers = [("alice", "2"), ("alice", "1"), ("bob", "2")].map(|(user, parallel)| {
        let mut command = shop.worker(user, &["--parallel", parallel], script);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    });
    let run = shop.ended("a").await.status.unwrap();
    for mut worker in workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    assert_eq!(run.phase, RunPhase::Succeeded, "{:?}", run.error);
    let done = fs::read_to_string(shop.path("done")).unwrap();
    let mut names: Vec<&str> = done.lines().collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!((all, names.len()), (8, 8), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_one_queue_is_refused_another() {
    let shop = Shop::open().await;
    let role: Role = serde_json::from_value(json!({"metadata": {"name": "writers"}, "rules": [
        {"apiGroups": ["signoff.dev"], "resources": ["workitems"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["signoff.dev"], "resources": ["workitems/status"], "verbs": ["get", "update", "patch"]},
        {"apiGroups": ["signoff.dev"], "resources": ["queues"], "resourceNames": ["writers"], "verbs": ["work"]}]}))
    .unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({"metadata": {"name": "writers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "writers"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "robot"}]}))
    .unwrap();
    shop.api::<Role>()
        .create(&PostParams::default(), &role)
        .await
        .unwrap();
    shop.api::<RoleBinding>()
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
    shop.start("a", code(json!({}))).await;
    shop.start("b", code(json!({"task": {"queue": "writers"}}))).await;
    let as_robot = ["--as", "robot", "--max-tasks", "1"];
    let script = r#"echo '{"branch": "robots"}'"#;
    let refused = output(shop.worker("admin", &as_robot, script)).await;
    assert_eq!(refused.status.code(), Some(4), "{}", told(&refused));
    assert!(
        told(&refused).contains("may not work on queue"),
        "{}",
        told(&refused)
    );
    let mut own = Command::new(env!("CARGO_BIN_EXE_signoff"));
    own.env("KUBECONFIG", shop.dev.kubeconfig())
        .args([
            "--context",
            "admin",
            "--as",
            "robot",
            "worker",
            "run",
            "--queue",
            "writers",
            "--max-tasks",
            "1",
        ])
        .args(["--", "sh", "-c", script])
        .stdin(Stdio::null());
    assert!(output(own).await.status.success());
    let run = shop.ended("b").await.status.unwrap();
    assert_eq!(run.steps[0].worker.as_deref(), Some("robot"));
    assert_eq!(shop.task(WorkItemPhase::Queued).await.spec.run, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_worked_on_by_hand() {
    let shop = Shop::open().await;
    shop.start("a", code(json!({}))).await;
    let task = shop.task(WorkItemPhase::Queued).await.metadata.name.unwrap();
    let tasks = async |user: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signoff"));
        command
            .env("KUBECONFIG", shop.dev.kubeconfig())
            .args(["--context", user, "-o", "json", "tasks"])
            .args(args)
            .stdin(Stdio::null());
        let ended = output(command).await;
        let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
        (ended.status.code().unwrap(), told)
    };
    let (code, listed) = tasks("bob", &["--queue", "coders"]).await;
    assert_eq!((code, &listed["data"][0]["metadata"]["name"]), (0, &json!(task)));
    assert_eq!(tasks("alice", &["claim", &task]).await.0, 0);
    let (code, refused) = tasks("bob", &["claim", &task]).await;
    assert_eq!((code, &refused["error"]["code"]), (5, &json!("NotYours")));
    // as `-o name` prints it
    let after_kind = format!("workitem/{task}");
    assert_eq!(
        tasks("alice", &["give-back", &after_kind, "--claim", "1"])
            .await
            .0,
        0
    );
    let (_, claimed) = tasks("alice", &["claim", &task]).await;
    assert_eq!(claimed["data"]["status"]["claim"], json!(2));
    let next = claimed["next"][0].as_str().unwrap();
    assert!(
        next.contains(&format!("tasks progress {task} --claim 2 ")),
        "{next}"
    );
    // whoever had it before answers for nobody else, though it is the same user
    for late in [
        &["progress", &task, "late"][..],
        &["complete", &task, "--result", r#"{"branch": "late"}"#],
        &["fail", &task, "--message", "late"],
        &["give-back", &task],
    ] {
        let (code, refused) = tasks("alice", &[late, &["--claim", "1"]].concat()).await;
        assert_eq!(
            (code, &refused["error"]["code"]),
            (5, &json!("NotYours")),
            "{late:?}"
        );
    }
    assert_eq!(
        tasks("alice", &["progress", &task, "half", "--claim", "2"])
            .await
            .0,
        0
    );
    assert_eq!(tasks("alice", &["complete", &task, "--result", "{}"]).await.0, 8);
    assert_eq!(tasks("bob", &["fail", &task, "--message", "no"]).await.0, 5);
    let (code, shown) = tasks("bob", &["show", &task]).await;
    assert_eq!((code, &shown["data"]["status"]["progress"]), (0, &json!("half")));
    assert_eq!(
        tasks("alice", &["complete", &task, "--result", r#"{"branch": "b"}"#])
            .await
            .0,
        0
    );
    assert_eq!(shop.ended("a").await.status.unwrap().phase, RunPhase::Succeeded);
}
