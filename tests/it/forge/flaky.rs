//! What stands before the forge's API and lets it have bad days.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU32, AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::Response,
};

/// A proxy before the forge. Clones are handles on the same one.
#[derive(Clone, Debug)]
pub struct Flaky {
    address: SocketAddr,
    forge: String,
    client: reqwest::Client,
    /// What everything is answered, or zero for what the forge answers.
    status: Arc<AtomicU16>,
    /// For how many seconds it wants to be left alone then.
    rest: Arc<AtomicU32>,
    refused: Arc<AtomicUsize>,
}

impl Flaky {
    /// Opens on a free port, before a forge that is well.
    pub async fn open(forge: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let flaky = Self {
            address: listener.local_addr().unwrap(),
            forge: forge.to_owned(),
            client: reqwest::Client::new(),
            status: Arc::default(),
            rest: Arc::new(AtomicU32::new(1)),
            refused: Arc::default(),
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
        self.refused.store(0, Ordering::SeqCst);
        self.status.store(status, Ordering::SeqCst);
    }

    /// From now on wants to be left alone for so many seconds, whoever asks.
    pub fn rest(&self, seconds: u32) {
        self.rest.store(seconds, Ordering::SeqCst);
        self.answer(429);
    }

    /// How many calls were refused since.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

async fn pass_on(State(flaky): State<Flaky>, request: Request) -> Response<Body> {
    let status = flaky.status.load(Ordering::SeqCst);
    if status != 0 {
        flaky.refused.fetch_add(1, Ordering::SeqCst);
        let rest = flaky.rest.load(Ordering::SeqCst);
        let answer = Response::builder().status(status).header("retry-after", rest);
        return answer.body(Body::empty()).unwrap();
    }
    let (mut parts, body) = request.into_parts();
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
