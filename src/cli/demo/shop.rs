//! The small service that the demo's flow calls: it quotes refunds, pays them and remembers where to report back.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;

/// One call the shop received.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) path: &'static str,
    pub(super) at: Instant,
    pub(super) idempotency_key: Option<String>,
    pub(super) body: Value,
}

/// The running shop.
#[derive(Clone, Debug)]
pub(super) struct Shop {
    address: SocketAddr,
    ledger: Arc<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    calls: Mutex<Vec<Call>>,
    changed: Notify,
}

impl Shop {
    /// Opens the shop on a free loopback port until `shutdown`.
    pub(super) async fn open(shutdown: CancellationToken) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let ledger = Arc::new(Ledger::default());
        let router = Router::new()
            .route("/refunds/quote", post(quote))
            .route("/refunds", post(pay))
            .with_state(Arc::clone(&ledger));
        tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
            if let Err(error) = served.await {
                tracing::warn!(%error, "the demo's shop stopped");
            }
        });
        Ok(Self { address, ledger })
    }

    pub(super) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The calls received so far.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.ledger
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The first call of this path, once it has come.
    pub(super) async fn call_of(&self, path: &str) -> Call {
        loop {
            let changed = self.ledger.changed.notified();
            if let Some(call) = self.calls().into_iter().find(|call| call.path == path) {
                return call;
            }
            changed.await;
        }
    }
}

impl Ledger {
    fn note(&self, path: &'static str, headers: &HeaderMap, body: &Value) {
        let idempotency_key = headers
            .get("idempotency-key")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let call = Call {
            path,
            at: Instant::now(),
            idempotency_key,
            body: body.clone(),
        };
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(call);
        self.changed.notify_waiters();
    }
}

async fn quote(
    State(ledger): State<Arc<Ledger>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Json<Value> {
    ledger.note("/refunds/quote", &headers, &body);
    Json(json!({ "order": body["order"], "amount": body["amount"], "currency": "EUR", "fee": 2 }))
}

async fn pay(
    State(ledger): State<Arc<Ledger>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    ledger.note("/refunds", &headers, &body);
    (StatusCode::ACCEPTED, Json(json!({ "accepted": true })))
}
