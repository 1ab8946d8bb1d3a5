//! What stands before the forge's API and lets it have bad days.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, Response},
};

/// What is not passed on.
#[derive(Debug, Default)]
struct Mood {
    /// The answer to it, or zero where everything is passed on.
    status: u16,
    /// Whether it is only calls by this method.
    only: Option<Method>,
    /// Whether it is only calls of this path.
    at: Option<String>,
}

/// A proxy before the forge. Clones are handles on the same one.
#[derive(Clone, Debug)]
pub struct Flaky {
    address: SocketAddr,
    forge: String,
    client: reqwest::Client,
    mood: Arc<Mutex<Mood>>,
    /// For how many seconds it wants to be left alone then.
    rest: Arc<AtomicU32>,
    refused: Arc<AtomicUsize>,
    passed: Arc<Mutex<Vec<String>>>,
}

impl Flaky {
    /// Opens on a free port, before a forge that is well.
    pub async fn open(forge: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let flaky = Self {
            address: listener.local_addr().unwrap(),
            forge: forge.to_owned(),
            client: reqwest::Client::new(),
            mood: Arc::default(),
            rest: Arc::new(AtomicU32::new(1)),
            refused: Arc::default(),
            passed: Arc::default(),
        };
        let router = Router::new().fallback(pass_on).with_state(flaky.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        flaky
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on everything is answered with this status; zero lets everything pass.
    pub fn answer(&self, status: u16) {
        self.take(Mood {
            status,
            ..Mood::default()
        });
    }

    /// From now on calls by this method are answered with this status, and everything else passes. By `PATCH` pull requests are closed, but
    /// not opened.
    pub fn answer_to(&self, method: Method, status: u16) {
        let (only, at) = (Some(method), None);
        self.take(Mood { status, only, at });
    }

    /// From now on calls of this path are answered with this status, and everything else passes.
    pub fn answer_at(&self, path: &str, status: u16) {
        let (only, at) = (None, Some(path.to_owned()));
        self.take(Mood { status, only, at });
    }

    fn take(&self, mood: Mood) {
        let mut now = self.mood.lock().unwrap();
        self.refused.store(0, Ordering::SeqCst);
        *now = mood;
    }

    /// What a call by this method of this path is answered, unless it is passed on.
    fn refusal(&self, method: &Method, path: &str) -> Option<u16> {
        let mood = self.mood.lock().unwrap();
        let concerned = mood.only.as_ref().is_none_or(|only| only == method)
            && mood.at.as_ref().is_none_or(|at| at == path);
        (concerned && mood.status != 0).then_some(mood.status)
    }

    /// From now on wants to be left alone for so many seconds, whoever asks.
    pub fn rest(&self, seconds: u32) {
        self.rest.store(seconds, Ordering::SeqCst);
        self.answer(429);
    }

    /// The calls that were passed on since this was last asked, as `METHOD path?query`.
    pub fn passed(&self) -> Vec<String> {
        std::mem::take(&mut self.passed.lock().unwrap())
    }

    /// How many calls were refused since.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

async fn pass_on(State(flaky): State<Flaky>, request: Request) -> Response<Body> {
    if let Some(status) = flaky.refusal(request.method(), request.uri().path()) {
        flaky.refused.fetch_add(1, Ordering::SeqCst);
        let rest = flaky.rest.load(Ordering::SeqCst);
        let mut answer = Response::builder().status(status);
        // what is about one path alone is no wish to be left alone
        if flaky.mood.lock().unwrap().at.is_none() {
            answer = answer.header("retry-after", rest);
        }
        return answer.body(Body::empty()).unwrap();
    }
    let (mut parts, body) = request.into_parts();
    let line = format!("{} {}", parts.method, parts.uri);
    flaky.passed.lock().unwrap().push(line);
    let body = to_bytes(body, 1 << 20).await.unwrap();
    parts.headers.remove("host");
    let url = format!("{}{}", flaky.forge, parts.uri);
    let passed = flaky
        .client
        .request(parts.method, url)
        .headers(parts.headers)
        .body(body);
    let answer = passed.send().await.unwrap();
    let response = Response::builder().status(answer.status());
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}
