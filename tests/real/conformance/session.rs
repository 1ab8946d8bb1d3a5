//! Sends requests to a server and writes down what it answers.

use futures::{StreamExt as _, TryStreamExt as _, io::AsyncBufReadExt as _};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::Client;
use serde_json::{Value, json};

use super::kind;
use super::mask::Mask;
use crate::local_support::PATIENCE;

const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";
const APPLY: &str = "application/apply-patch+yaml";

/// A scenario under way on one server.
pub struct Session {
    clients: Vec<(&'static str, Client)>,
    user: &'static str,
    namespace: String,
    mask: Mask,
    differs: Option<&'static str>,
    /// Each request with its answer.
    pub transcript: Vec<Value>,
}

impl Session {
    /// Makes the namespace and the kind where they are missing.
    pub async fn open(name: &str, client: &dyn Fn(&str) -> Client) -> Self {
        let mut session = Self {
            clients: Vec::new(),
            user: "admin",
            namespace: format!("conformance-{}", name.replace('_', "-")),
            mask: Mask::default(),
            differs: None,
            transcript: Vec::new(),
        };
        session.connect(client);
        let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": session.namespace}});
        let (code, _, answer) = session
            .send(Method::POST, "/api/v1/namespaces", JSON, JSON, made.to_string())
            .await;
        assert_eq!(code, 201, "{answer}");
        session.serve(&kind::gadget()).await;
        for definition in signoff_api::crds() {
            session.serve(&definition).await;
        }
        session
    }

    /// From here on with these clients.
    pub fn connect(&mut self, client: &dyn Fn(&str) -> Client) {
        self.clients = ["admin", "alice", "agent"]
            .map(|user| (user, client(user)))
            .into();
    }

    /// Lets go of the server, until [`Self::connect`].
    pub fn let_go(&mut self) {
        self.clients.clear();
    }

    async fn serve(&self, definition: &kind::Definition) {
        let spec = &definition.spec;
        let path = format!("/apis/{}/{}", spec.group, spec.versions[0].name);
        let (code, _, answer) = self.send(Method::GET, &path, JSON, JSON, String::new()).await;
        let served = code == 200
            && answer["resources"]
                .as_array()
                .is_some_and(|all| all.iter().any(|r| r["name"] == *spec.names.plural));
        if !served {
            kind::establish(self.client(), definition).await;
        }
    }

    /// Where its objects are.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    fn client(&self) -> Client {
        let found = self.clients.iter().find(|(name, _)| *name == self.user);
        found.unwrap().1.clone()
    }

    /// The same session, from here on as somebody else.
    pub fn become_user(&mut self, user: &'static str) {
        self.user = user;
    }

    /// The path of a gadget, or of all with an empty name.
    pub fn path(&self, rest: &str) -> String {
        self.path_in("conformance.dev/v1", "gadgets", rest)
    }

    /// The path of something of a group in the session's namespace.
    pub fn path_in(&self, group: &str, plural: &str, rest: &str) -> String {
        let root = if group == "v1" {
            "/api/v1".to_owned()
        } else {
            format!("/apis/{group}")
        };
        let slash = if rest.is_empty() || rest.starts_with('?') {
            ""
        } else {
            "/"
        };
        format!("{root}/namespaces/{}/{plural}{slash}{rest}", self.namespace)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content: &str,
        accept: &str,
        body: String,
    ) -> (u16, Vec<String>, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content)
            .header("accept", accept)
            .body(body.into_bytes().into())
            .unwrap();
        let response = self.client().send(request).await.unwrap();
        let code = response.status().as_u16();
        let warnings = response
            .headers()
            .get_all("warning")
            .iter()
            .map(|w| w.to_str().unwrap().to_owned())
            .collect();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let answer =
            serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
        (code, warnings, answer)
    }

    /// Says of the next request that the embedded control plane is known to answer it otherwise, and how, in the words of
    /// `docs/embedded.md`.
    pub fn differs(&mut self, how: &'static str) -> &mut Self {
        self.differs = Some(how);
        self
    }

    fn note(&mut self, what: &str, code: u16, warnings: &[String], mut answer: Value) {
        let differs = self.differs.take();
        match differs {
            // names given here would shift those that follow
            Some(_) => self.mask.clone().apply(&mut answer),
            None => self.mask.apply(&mut answer),
        }
        let mut entry = json!({"request": what, "code": code, "answer": answer});
        if !warnings.is_empty() {
            entry["warnings"] = json!(warnings);
        }
        if let Some(how) = differs {
            entry["differs"] = json!(how);
        }
        self.transcript.push(entry);
    }

    async fn call(&mut self, method: Method, path: &str, content: &str, accept: &str, body: String) -> Value {
        let (code, warnings, answer) = self
            .send(method.clone(), path, content, accept, body.clone())
            .await;
        let token = path.split("continue=").nth(1).filter(|t| t.len() > 20);
        let shown = token.map_or(path.to_owned(), |t| path.replace(t, "<token>"));
        let what = format!("{}: {method} {shown} {}", self.user, Self::shown(&body))
            .trim_end()
            .to_owned();
        self.note(&what, code, &warnings, answer.clone());
        answer
    }

    /// The body without what differs between servers.
    fn shown(body: &str) -> String {
        let Ok(mut value) = serde_json::from_str::<Value>(body) else {
            return body.to_owned();
        };
        Mask::default().apply(&mut value);
        if let Some(Value::Object(meta)) = value.get_mut("metadata") {
            meta.remove("managedFields");
        }
        value.to_string()
    }

    /// GET.
    pub async fn get(&mut self, path: &str) -> Value {
        self.call(Method::GET, path, JSON, JSON, String::new()).await
    }

    /// GET in this form, of which only a part is written down: what the server has besides is its own affair.
    pub async fn part(&mut self, path: &str, accept: &str, name: &str, part: impl Fn(Value) -> Value) {
        let (code, warnings, answer) = self.send(Method::GET, path, JSON, accept, String::new()).await;
        let what = format!("{}: GET {path} {accept}: {name}", self.user);
        self.note(&what, code, &warnings, part(answer));
    }

    /// Waits until a document of `OpenAPI` has this schema: a real server makes them some time after the definition.
    pub async fn published(&self, path: &str, schema: &str) {
        self.until(path, |_, document| {
            document["components"]["schemas"][schema].is_object()
        })
        .await;
    }

    /// GET, asking for a table.
    pub async fn table(&mut self, path: &str) -> Value {
        self.call(
            Method::GET,
            path,
            JSON,
            "application/json;as=Table;v=v1;g=meta.k8s.io",
            String::new(),
        )
        .await
    }

    /// POST.
    pub async fn post(&mut self, path: &str, body: &Value) -> Value {
        self.call(Method::POST, path, JSON, JSON, body.to_string()).await
    }

    /// PUT.
    pub async fn put(&mut self, path: &str, body: &Value) -> Value {
        self.call(Method::PUT, path, JSON, JSON, body.to_string()).await
    }

    /// DELETE with these options.
    pub async fn delete(&mut self, path: &str, options: &Value) -> Value {
        self.call(Method::DELETE, path, JSON, JSON, options.to_string())
            .await
    }

    /// A merge patch.
    pub async fn merge(&mut self, path: &str, patch: &Value) -> Value {
        self.call(Method::PATCH, path, MERGE, JSON, patch.to_string())
            .await
    }

    /// A JSON patch.
    pub async fn json_patch(&mut self, path: &str, patch: &Value) -> Value {
        self.call(
            Method::PATCH,
            path,
            "application/json-patch+json",
            JSON,
            patch.to_string(),
        )
        .await
    }

    /// Server-side apply.
    pub async fn apply(&mut self, path: &str, object: &Value) -> Value {
        self.call(Method::PATCH, path, APPLY, JSON, object.to_string())
            .await
    }

    /// A request whose body is not what its content type says.
    pub async fn raw(&mut self, method: Method, path: &str, content: &str, body: &str) -> Value {
        self.call(method, path, content, JSON, body.to_owned()).await
    }

    /// Asks, without writing it down, until the answer is as wanted.
    pub async fn until(&self, path: &str, wanted: impl Fn(u16, &Value) -> bool) {
        crate::local_support::eventually(path, async || {
            let (code, _, answer) = self.send(Method::GET, path, JSON, JSON, String::new()).await;
            wanted(code, &answer)
        })
        .await;
    }

    /// Opens a watch and writes down the first so many events.
    pub async fn watch(&mut self, path: &str, events: usize) {
        let request = Request::get(path)
            .header("accept", JSON)
            .body(Vec::new())
            .unwrap();
        let stream = self.client().request_stream(request).await;
        let seen: Vec<Value> = match stream {
            Err(error) => vec![json!(format!("no stream: {error}"))],
            Ok(stream) => {
                let lines = stream
                    .lines()
                    .take(events)
                    .map_ok(|line| serde_json::from_str(&line).unwrap());
                tokio::time::timeout(PATIENCE, lines.try_collect())
                    .await
                    .unwrap()
                    .unwrap()
            }
        };
        let revision = path
            .split("resourceVersion=")
            .nth(1)
            .and_then(|rest| rest.split('&').next())
            .unwrap_or_default();
        let shown = if revision.len() > 1 {
            path.replace(revision, "<revision>")
        } else {
            path.to_owned()
        };
        for event in seen {
            let mut event = event;
            if event["type"] == "BOOKMARK" {
                // where a bookmark stands is the server's own affair
                event["object"]["metadata"]["resourceVersion"] = json!("");
            }
            self.note(&format!("{}: WATCH {shown}", self.user), 200, &[], event);
        }
    }
}
