//! An API server in memory for unit tests. It keeps objects of one namespace, lists what it was asked, and a test decides what becomes of
//! single requests. It knows neither schemas nor selectors.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, mpsc},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode};
use k8s_openapi::{NamespaceResourceScope, jiff::Timestamp};
use kube::{Client, Resource, client::Body};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::context::{Clock, Context};

/// The namespace of all objects.
pub const NAMESPACE: &str = "ns";
/// Longest time that a test waits for what it expects.
const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of one request.
pub enum Fault {
    /// It is done, but the connection breaks before the answer.
    AnswerLost,
    /// The connection breaks before it is done.
    NotDone,
    /// It is refused with this code and reason.
    Refused(u16, &'static str),
    /// Something else happens first.
    After(Box<dyn FnOnce(&FakeApi) + Send>),
    /// It is not answered before the sender is dropped or used.
    Held(tokio::sync::oneshot::Receiver<()>),
}

#[derive(Default)]
struct Inner {
    /// By resource and name, such as `runs/r`.
    objects: BTreeMap<String, Value>,
    version: u64,
    asked: Vec<String>,
    faults: Vec<(String, Fault)>,
}

/// The server. Clones are handles on the same.
#[derive(Clone)]
pub struct FakeApi {
    inner: Arc<Mutex<Inner>>,
    changed: watch::Sender<()>,
}

impl FakeApi {
    pub fn new() -> Self {
        Self {
            inner: Arc::default(),
            changed: watch::Sender::new(()),
        }
    }

    pub fn client(&self) -> Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| this.clone().serve(request));
        Client::new(service, NAMESPACE)
    }

    /// A context over it. Its clocks go with tokio's, which a test may pause.
    pub fn context(&self) -> Arc<Context> {
        Arc::new(Context::new(self.client(), clock()))
    }

    /// Puts an object there, as somebody else would, and returns it as it is kept.
    pub fn put<K>(&self, object: &K) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize + DeserializeOwned,
    {
        let name = object.meta().name.clone().unwrap();
        let key = format!("{}/{name}", K::plural(&()));
        let mut value = serde_json::to_value(object).unwrap();
        self.lock().keep(&key, &mut value);
        self.changed.send_replace(());
        serde_json::from_value(value).unwrap()
    }

    /// Changes an object, as somebody else would.
    pub fn edit(&self, key: &str, change: impl FnOnce(&mut Value)) {
        let mut inner = self.lock();
        let mut object = inner.objects[key].clone();
        change(&mut object);
        inner.keep(key, &mut object);
    }

    /// Removes an object, as somebody else would.
    pub fn remove(&self, key: &str) {
        self.lock().objects.remove(key).unwrap();
    }

    /// An object as it is now.
    pub fn get<K: DeserializeOwned>(&self, key: &str) -> K {
        let object = self.lock().objects[key].clone();
        serde_json::from_value(object).unwrap()
    }

    /// All objects of a kind.
    pub fn all<K: DeserializeOwned>(&self, resource: &str) -> Vec<K> {
        let list = self.lock().list(resource);
        serde_json::from_value(list["items"].clone()).unwrap()
    }

    /// Decides what becomes of the next request of this kind, such as `PATCH runs/r/status`.
    pub fn fault(&self, request: &str, fault: Fault) {
        self.lock().faults.push((request.to_owned(), fault));
    }

    /// Puts something else that happened among what it was asked.
    pub fn note(&self, what: &str) {
        self.lock().asked.push(what.to_owned());
        self.changed.send_replace(());
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    /// What it was asked to write so far, but for Events.
    pub fn writes(&self) -> Vec<String> {
        let is_write = |asked: &String| !asked.starts_with("GET ") && asked != "POST events";
        self.asked().into_iter().filter(is_write).collect()
    }

    /// The reasons of the Events so far.
    pub fn events(&self) -> Vec<String> {
        let inner = self.lock();
        let events = inner.objects.iter().filter(|(key, _)| key.starts_with("events/"));
        let mut reasons: Vec<(u64, String)> = events
            .map(|(_, event)| {
                (
                    version(event),
                    event["reason"].as_str().unwrap_or_default().to_owned(),
                )
            })
            .collect();
        reasons.sort();
        reasons.into_iter().map(|(_, reason)| reason).collect()
    }

    /// Waits until something holds of it.
    pub async fn until(&self, what: impl Fn(&Self) -> bool) {
        let mut changes = self.changed.subscribe();
        in_time(async {
            while !what(self) {
                // this handle keeps the sender
                let _ = changes.changed().await;
            }
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    async fn serve(self, request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let key = key(parts.uri.path());
        let asked = format!("{} {key}", parts.method);
        let fault = {
            let mut inner = self.lock();
            inner.asked.push(asked.clone());
            let at = inner.faults.iter().position(|(request, _)| *request == asked);
            at.map(|at| inner.faults.remove(at).1)
        };
        self.changed.send_replace(());
        let broken = || Err(std::io::Error::other("the connection broke"));
        let lost = match fault {
            None => false,
            Some(Fault::AnswerLost) => true,
            Some(Fault::NotDone) => return broken(),
            Some(Fault::Refused(code, reason)) => return Ok(response(&refusal(code, reason))),
            Some(Fault::After(first)) => {
                first(&self);
                false
            }
            Some(Fault::Held(released)) => {
                let _ = released.await;
                false
            }
        };
        let answer = self.lock().answer(&parts.method, &key, &body);
        self.changed.send_replace(());
        if lost {
            return broken();
        }
        Ok(response(&answer))
    }
}

impl Inner {
    /// Keeps an object under a new version.
    fn keep(&mut self, key: &str, object: &mut Value) {
        self.version += 1;
        let metadata = &mut object["metadata"];
        metadata["namespace"] = json!(NAMESPACE);
        metadata["resourceVersion"] = json!(self.version.to_string());
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{}", self.version));
        }
        self.objects.insert(key.to_owned(), object.clone());
    }

    fn answer(&mut self, method: &Method, key: &str, body: &[u8]) -> (u16, Value) {
        let key = key.strip_suffix("/status").unwrap_or(key);
        let is_collection = !key.contains('/');
        match (method, is_collection) {
            (&Method::GET, true) => (200, self.list(key)),
            (&Method::GET, false) => self
                .objects
                .get(key)
                .map_or_else(|| refusal(404, "NotFound"), |object| (200, object.clone())),
            (&Method::POST, true) => {
                let mut object: Value = serde_json::from_slice(body).unwrap();
                let key = format!("{key}/{}", object["metadata"]["name"].as_str().unwrap());
                if self.objects.contains_key(&key) {
                    return refusal(409, "AlreadyExists");
                }
                self.keep(&key, &mut object);
                (201, object)
            }
            (&Method::PATCH, false) => self.patch(key, serde_json::from_slice(body).unwrap()),
            (&Method::DELETE, false) => self
                .objects
                .remove(key)
                .map_or_else(|| refusal(404, "NotFound"), |object| (200, object)),
            other => panic!("{other:?} {key}"),
        }
    }

    fn list(&self, resource: &str) -> Value {
        let of = |key: &str| {
            key.split_once('/')
                .is_some_and(|(collection, _)| collection == resource)
        };
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(key, _)| of(key))
            .map(|(_, object)| object)
            .collect();
        json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": self.version.to_string()}, "items": items})
    }

    fn patch(&mut self, key: &str, patch: Value) -> (u16, Value) {
        let Some(mut object) = self.objects.get(key).cloned() else {
            return refusal(404, "NotFound");
        };
        if patch.is_array() {
            let operations: json_patch::Patch = serde_json::from_value(patch).unwrap();
            if json_patch::patch(&mut object, &operations).is_err() {
                return refusal(422, "Invalid");
            }
        } else {
            let expected = &patch["metadata"]["resourceVersion"];
            if !expected.is_null() && *expected != object["metadata"]["resourceVersion"] {
                return refusal(409, "Conflict");
            }
            json_patch::merge(&mut object, &patch);
        }
        self.keep(key, &mut object);
        (200, object)
    }
}

fn version(object: &Value) -> u64 {
    let version = object["metadata"]["resourceVersion"].as_str();
    version.and_then(|version| version.parse().ok()).unwrap()
}

/// What a request is about: `/apis/signoff.dev/v1alpha1/namespaces/ns/runs/r/status` is about `runs/r/status`.
fn key(path: &str) -> String {
    let (_, key) = path
        .split_once(&format!("/namespaces/{NAMESPACE}/"))
        .unwrap_or_else(|| panic!("{path} is in another namespace"));
    key.to_owned()
}

fn refusal(code: u16, reason: &str) -> (u16, Value) {
    (
        code,
        json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "message": reason, "reason": reason, "code": code}),
    )
}

fn response((code, body): &(u16, Value)) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string().into_bytes()));
    *response.status_mut() = StatusCode::from_u16(*code).unwrap();
    response
}

/// Begins on 1 January 2026, and goes with tokio's clock.
pub fn clock() -> Clock {
    let began = Instant::now();
    let start = Timestamp::from_second(1_767_225_600).unwrap();
    let passed = move || Instant::now().duration_since(began);
    Clock::from_fn(move || start + passed()).with_steady(passed)
}

/// Waits for something for at most a minute of real time, whatever tokio's clock shows.
pub async fn in_time<T>(what: impl Future<Output = T>) -> T {
    let (_alive, late) = watchdog();
    tokio::select! {
        done = what => done,
        Ok(()) = late => panic!("it did not happen in time"),
    }
}

/// Resolves after a minute of real time, unless the first part is dropped before.
fn watchdog() -> (mpsc::Sender<()>, tokio::sync::oneshot::Receiver<()>) {
    let (alive, ended) = mpsc::channel::<()>();
    let (bark, late) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = bark.send(());
        }
    });
    (alive, late)
}
