//! A server with an answer for each request that may be made, which remembers those that were.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Response, StatusCode},
};
use serde_json::Value;

/// A request that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// `METHOD path?query`, the path as it was sent.
    pub line: String,
    pub authorization: String,
    pub body: Value,
}

type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

#[derive(Default)]
struct Shared {
    answers: Mutex<BTreeMap<String, Answer>>,
    /// The answer to a write that has none.
    taken: Mutex<Option<Answer>>,
    made: Mutex<Vec<Made>>,
}

/// The server; it ends with the test's runtime.
pub struct Contract {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Contract {
    /// Answers these lines, `METHOD path` without the query, with a status and JSON; everything else with 404.
    pub async fn open(answers: &[(&str, u16, Value)]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::<Shared>::default();
        let contract = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::clone(&shared),
        };
        for (line, status, body) in answers {
            contract.answer(line, *status, &[], body.to_string().into_bytes());
        }
        let router = Router::new().fallback(handle).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await });
        contract
    }

    pub fn answer(&self, line: &str, status: u16, headers: &[(&'static str, &str)], body: Vec<u8>) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let answer = (status, headers.collect(), body);
        self.shared
            .answers
            .lock()
            .unwrap()
            .insert(line.to_owned(), answer);
    }

    /// Takes every write that has no other answer.
    pub fn take_writes(&self, answer: &Value) {
        let answer = (201, Vec::new(), answer.to_string().into_bytes());
        *self.shared.taken.lock().unwrap() = Some(answer);
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub fn made(&self) -> Vec<Made> {
        self.shared.made.lock().unwrap().clone()
    }

    /// The lines of the requests that were made.
    pub fn lines(&self) -> Vec<String> {
        self.made().into_iter().map(|made| made.line).collect()
    }

    /// The body of the only request of this line, or of this method.
    pub fn body(&self, line: &str) -> Value {
        let mut made = self.made();
        made.retain(|made| made.line == line || made.line.split(' ').next() == Some(line));
        assert_eq!(made.len(), 1, "{line}: {made:?}");
        made.remove(0).body
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap();
    let line = format!("{} {}", parts.method, parts.uri.path());
    let query = parts
        .uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let authorization = parts.headers.get("authorization");
    shared.made.lock().unwrap().push(Made {
        line: format!("{line}{query}"),
        authorization: authorization
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default(),
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    });
    let taken = || {
        shared
            .taken
            .lock()
            .unwrap()
            .clone()
            .filter(|_| parts.method != "GET" && parts.method != "HEAD")
    };
    let answer = shared.answers.lock().unwrap().get(&line).cloned().or_else(taken);
    let (status, headers, body) = answer.unwrap_or((404, Vec::new(), br#"{"message":"Not Found"}"#.to_vec()));
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}
