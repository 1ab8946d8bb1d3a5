//! A worker against an API server that refuses some of its claims.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::{Path, PathBuf},
    sync::Mutex,
};

use axum::body::{Body as Answer, Bytes};
use futures::stream;
use http::{Method, Request, Response};
use kube::{Api, Client, client::Body};
use rustix::process::{Pid, test_kill_process_group};
use serde_json::{Value, json};

use super::*;

/// Two tasks, of which `first` is older, and what is answered to whoever claims `refused`.
struct Server {
    items: Mutex<BTreeMap<String, Value>>,
    refused: (&'static str, u16),
    may_work: bool,
    /// The claim is refused once this file is there.
    after: Option<PathBuf>,
}

impl Server {
    fn new(refused: (&'static str, u16), may_work: bool, after: Option<PathBuf>) -> Arc<Self> {
        let items = [
            ("first", "2026-01-01T00:00:00Z"),
            ("second", "2026-01-01T00:00:01Z"),
        ];
        let items = items.map(|(name, created)| {
            let item = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "WorkItem",
                "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1", "creationTimestamp": created},
                "spec": {"run": "r", "flow": "f", "step": "code", "iteration": 1, "queue": "coders", "heartbeat": "5m", "attempts": 1}});
            (name.to_owned(), item)
        });
        Arc::new(Self {
            items: Mutex::new(items.into()),
            refused,
            may_work,
            after,
        })
    }

    fn worker(self: &Arc<Self>, script: &str) -> Arc<Worker> {
        let this = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<Body>| Arc::clone(&this).serve(request));
        Arc::new(Worker {
            api: Api::namespaced(Client::new(service, "ns"), "ns"),
            name: "w".to_owned(),
            skew: SignedDuration::ZERO,
            command: ["sh", "-c", script].map(str::to_owned).into(),
        })
    }

    fn status(&self, name: &str) -> Value {
        self.items.lock().unwrap()[name]["status"].clone()
    }

    async fn serve(self: Arc<Self>, request: Request<Body>) -> Result<Response<Answer>, Infallible> {
        let (parts, body) = request.into_parts();
        let body: Bytes = body.collect_bytes().await.unwrap();
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let (code, answer) = match (&parts.method, path.rsplit_once("/workitems")) {
            (&Method::POST, None) => {
                let review = json!({"metadata": {}, "spec": {}, "status": {"allowed": self.may_work}});
                (201, review)
            }
            (&Method::GET, Some((_, ""))) if query.contains("watch=true") => {
                return Ok(Response::new(Answer::from_stream(stream::pending::<
                    Result<Bytes, Infallible>,
                >())));
            }
            (&Method::GET, Some((_, ""))) => {
                let items = self.items.lock().unwrap();
                let is_asked =
                    |name: &&String| !query.contains("metadata.name") || query.contains(name.as_str());
                let items: Vec<&Value> = items
                    .iter()
                    .filter(|(name, _)| is_asked(name))
                    .map(|(_, item)| item)
                    .collect();
                (200, json!({"metadata": {"resourceVersion": "1"}, "items": items}))
            }
            (&Method::GET, Some((_, name))) => (200, self.items.lock().unwrap()[&name[1..]].clone()),
            (&Method::PUT, Some((_, name))) => {
                let name = name[1..].trim_end_matches("/status").to_owned();
                if name == self.refused.0 {
                    if let Some(file) = &self.after {
                        written(file).await;
                    }
                    let code = self.refused.1;
                    (
                        code,
                        json!({"kind": "Status", "status": "Failure", "reason": "No", "message": "not you", "code": code}),
                    )
                } else {
                    let item: Value = serde_json::from_slice(&body).unwrap();
                    self.items.lock().unwrap().insert(name, item.clone());
                    (200, item)
                }
            }
            other => panic!("{other:?}"),
        };
        let mut response = Response::new(Answer::from(answer.to_string()));
        *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
        Ok(response)
    }
}

/// What a file has, once it is there.
async fn written(file: &Path) -> String {
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn worked(worker: Arc<Worker>, parallel: u16) -> Result<Count, CliError> {
    let queue = "coders".parse().unwrap();
    let stop = CancellationToken::new();
    let working = work(worker, &queue, parallel, Some(1), &stop);
    tokio::time::timeout(Duration::from_secs(60), working)
        .await
        .expect("it ends")
}

#[tokio::test]
async fn a_task_that_cannot_be_claimed_is_passed_over() {
    for code in [400, 403, 413, 422] {
        let server = Server::new(("first", code), true, None);
        let count = worked(server.worker("true"), 1).await.unwrap();
        assert_eq!((count.done, count.taken()), (1, 1), "{code}");
        assert!(server.status("first").is_null(), "{code}");
        assert!(server.status("second")["answer"].is_object(), "{code}");
    }
}

#[tokio::test]
async fn a_worker_that_may_not_go_on_ends_its_commands_and_gives_their_tasks_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("child");
    let server = Server::new(("second", 403), false, Some(file.clone()));
    let worker = server.worker(&format!("echo $$ > {}; sleep 600", file.display()));
    let queue = "coders".parse().unwrap();
    let stop = CancellationToken::new();
    let working = work(worker, &queue, 2, None, &stop);
    let ended = tokio::time::timeout(Duration::from_secs(60), working)
        .await
        .expect("it ends");
    assert!(ended.is_err());
    let child = written(&file).await.trim().parse().unwrap();
    assert!(test_kill_process_group(Pid::from_raw(child).unwrap()).is_err());
    assert_eq!(server.status("first")["phase"], "Queued");
}

#[tokio::test]
async fn tasks_that_failed_are_not_counted_as_done() {
    let server = Server::new(("", 0), true, None);
    let count = worked(server.worker("exit 3"), 1).await.unwrap();
    assert_eq!(count.to_string(), "0 tasks done, 1 failed");
    let one = Count {
        done: 1,
        failed: 0,
        unanswered: 2,
    };
    assert_eq!(one.to_string(), "1 task done, 2 not answered");
}
