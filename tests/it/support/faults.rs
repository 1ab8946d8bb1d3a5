//! A client whose connection to the API server breaks at a chosen write, for good.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use kube::{Client, client::Body};
use tokio_util::sync::CancellationToken;

/// When the connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The n-th write does not reach the API server.
    Before(usize),
    /// The n-th write is applied, but its answer is lost.
    After(usize),
}

/// The break of one client.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Cancelled when the connection has broken.
    pub broken: CancellationToken,
    writes: Arc<AtomicUsize>,
}

/// A client that works until the cut and never again.
pub fn cut(client: Client, at: Cut) -> (Client, Fault) {
    let fault = Fault {
        broken: CancellationToken::new(),
        writes: Arc::default(),
    };
    let namespace = client.default_namespace().to_owned();
    let state = fault.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (client, state) = (client.clone(), state.clone());
        async move {
            let lost = || std::io::Error::new(std::io::ErrorKind::BrokenPipe, "cut off");
            if state.broken.is_cancelled() {
                return Err(kube::Error::Service(lost().into()));
            }
            let is_write = matches!(request.method().as_str(), "POST" | "PUT" | "PATCH" | "DELETE");
            let number = if is_write {
                state.writes.fetch_add(1, Ordering::SeqCst) + 1
            } else {
                0
            };
            match at {
                Cut::Before(n) if number == n => {
                    state.broken.cancel();
                    Err(kube::Error::Service(lost().into()))
                }
                Cut::After(n) if number == n => {
                    let _ = client.send(request).await;
                    state.broken.cancel();
                    Err(kube::Error::Service(lost().into()))
                }
                // an answer that is under way when the connection breaks is lost too
                _ => {
                    let broken = state.broken.clone();
                    let answer = client.send(request);
                    broken
                        .run_until_cancelled(answer)
                        .await
                        .unwrap_or_else(|| Err(kube::Error::Service(lost().into())))
                }
            }
        }
    });
    (Client::new(service, namespace), fault)
}
