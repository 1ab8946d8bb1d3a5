//! What stands between the forge and a gateway and remembers every webhook, with what the gateway answered.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};
use serde_json::Value;
use tokio::sync::watch;

use crate::controlplane::PATIENCE;

/// One webhook that the forge sent.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What the gateway answered.
    pub status: StatusCode,
}

/// The relay. Clones are handles on the same one.
#[derive(Clone, Debug)]
pub struct Relay {
    address: SocketAddr,
    gateway: SocketAddr,
    deliveries: Arc<watch::Sender<Vec<Delivery>>>,
}

impl Relay {
    /// Opens on a free port before a gateway.
    pub async fn open(gateway: SocketAddr) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            gateway,
            deliveries: Arc::new(watch::Sender::default()),
        };
        let router = Router::new().fallback(pass_on).with_state(relay.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        relay
    }

    /// Address of the webhook of a Repository, as the forge is told it.
    pub fn url(&self, namespace: &str, repository: &str) -> String {
        format!("http://{}/v1/hooks/git/{namespace}/{repository}", self.address)
    }

    /// Waits until this many webhooks were answered, and gives all.
    pub async fn answered(&self, count: usize) -> Vec<Delivery> {
        self.until(&format!("{count} webhooks"), |all| all.len() >= count)
            .await
    }

    /// Waits until the webhook of the push of this commit was answered. The forge tells of a push in its own time: which one comes first
    /// says nothing.
    pub async fn answer_to(&self, commit: &str) -> Delivery {
        let tells = |delivery: &Delivery| {
            let event: Value = serde_json::from_slice(&delivery.body).unwrap();
            event["after"] == commit
        };
        let all = self
            .until(&format!("webhook of {commit}"), |all| all.iter().any(tells))
            .await;
        all.into_iter().find(tells).unwrap()
    }

    async fn until(&self, what: &str, enough: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        let mut seen = self.deliveries.subscribe();
        let waiting = seen.wait_for(|all| enough(all));
        if let Ok(all) = tokio::time::timeout(PATIENCE, waiting).await {
            return all.unwrap().clone();
        }
        panic!("there is no {what} among {:#?}", self.deliveries.borrow())
    }

    /// Sends something to the gateway as the forge would, and gives its answer; nothing is remembered.
    pub async fn send(&self, path: &str, headers: HeaderMap, body: Bytes) -> StatusCode {
        let answer = reqwest::Client::new()
            .post(format!("http://{}{path}", self.gateway))
            .headers(headers)
            .body(body)
            .send()
            .await
            .unwrap();
        answer.status()
    }
}

async fn pass_on(State(relay): State<Relay>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 25 << 20).await.unwrap();
    let mut headers = parts.headers;
    // these are of one connection and one body
    headers.remove("host");
    headers.remove("content-length");
    let status = relay.send(parts.uri.path(), headers.clone(), body.clone()).await;
    relay.deliveries.send_modify(|all| {
        all.push(Delivery {
            headers,
            body,
            status,
        });
    });
    status
}
