//! A small HTTP service that remembers what it was asked and answers as it is told.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// One request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub idempotency_key: String,
    pub body: Value,
}

/// What the service answers to a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This status and body.
    Status(u16, Value),
    /// Nothing, ever.
    Hang,
}

#[derive(Debug, Default)]
struct Memory {
    asked: Vec<Asked>,
    answers: VecDeque<Answer>,
    says: Option<fn(&Value) -> Answer>,
    held: BTreeMap<String, CancellationToken>,
}

/// The service.
#[derive(Clone, Debug)]
pub struct Shop {
    pub address: SocketAddr,
    memory: Arc<Mutex<Memory>>,
}

impl Shop {
    /// Opens on a free port. Without further word every request is answered with 200 and a body.
    pub async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shop = Self {
            address: listener.local_addr().unwrap(),
            memory: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(shop.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        shop
    }

    /// What the next requests are answered with, one each.
    pub fn will_answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.memory.lock().unwrap().answers.extend(answers);
    }

    /// How requests are answered for which no answer is left.
    pub fn will_say(&self, says: fn(&Value) -> Answer) {
        self.memory.lock().unwrap().says = Some(says);
    }

    /// Lets requests to a path wait for their answer until this is cancelled.
    pub fn hold(&self, path: &str) -> CancellationToken {
        let held = CancellationToken::new();
        let mut memory = self.memory.lock().unwrap();
        memory.held.insert(path.to_owned(), held.clone());
        held
    }

    /// The requests that came to a path.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        self.memory
            .lock()
            .unwrap()
            .asked
            .iter()
            .filter(|asked| asked.path == path)
            .cloned()
            .collect()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn answer(State(shop): State<Shop>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let key = parts
        .headers
        .get("idempotency-key")
        .map(|key| key.to_str().unwrap().to_owned())
        .unwrap_or_default();
    let asked = Asked {
        path: parts.uri.path().to_owned(),
        idempotency_key: key,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let (answer, held) = {
        let mut memory = shop.memory.lock().unwrap();
        let held = memory.held.get(&asked.path).cloned();
        let said = memory.says.map(|says| says(&asked.body));
        memory.asked.push(asked);
        (memory.answers.pop_front().or(said), held)
    };
    if let Some(held) = held {
        held.cancelled().await;
    }
    match answer {
        None => axum::Json(json!({"ok": true})).into_response(),
        Some(Answer::Status(status, body)) => {
            (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
        }
        Some(Answer::Hang) => std::future::pending().await,
    }
}
