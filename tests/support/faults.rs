//! A client whose connection to the API server breaks at a chosen write, for good.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::{Client, client::Body};
use tokio_util::sync::CancellationToken;

use super::real;

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

/// More writes than any of these stories takes.
const MOST_WRITES: usize = 80;

/// Plays a story with its operator cut off at the first write, then at the second, and so on until it is over before the cut. `story` says
/// whether the cut was reached; there are more than `least` writes.
///
/// A real API server is there to refuse what the embedded one would have taken, so there every fourth write is cut off, and others before
/// than after.
pub async fn cut_at_each_write(at: impl Fn(usize) -> Cut, least: usize, story: impl AsyncFn(Cut) -> bool) {
    let mut n = 1;
    let mut step = 1;
    if real::is_wanted() {
        step = 4;
        n = match at(1) {
            Cut::Before(_) => 2,
            Cut::After(_) => 4,
        };
    }
    while story(at(n)).await {
        n += step;
        assert!(n <= MOST_WRITES, "more than {MOST_WRITES} writes");
    }
    assert!(n > least, "the story is over after {n} writes");
}

/// The same with cuts before each write, and then after each.
pub async fn cut_around_each_write(least: usize, story: impl AsyncFn(Cut) -> bool) {
    for at in [Cut::Before as fn(usize) -> Cut, Cut::After] {
        cut_at_each_write(at, least, &story).await;
    }
}

/// What goes wrong again and again, between a client and an API server that are both well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nuisance {
    /// Every watch is told 410: what it wants to go on from is gone. As the API server tells it, which is after the headers.
    WatchesExpire,
    /// Every watch ends after its first bytes.
    WatchesBreak,
    /// Every second watch is held: it shows nothing and does not end.
    WatchesHang,
    /// Two of three status writes are refused with 409.
    Conflicts,
    /// Every third write is applied, but its answer is lost.
    AnswersAreLost,
}

/// A client that suffers from it.
pub fn plagued(client: Client, by: Nuisance) -> (Client, Arc<AtomicUsize>) {
    let namespace = client.default_namespace().to_owned();
    let suffered = Arc::<AtomicUsize>::default();
    let (count, seen) = (Arc::clone(&suffered), Arc::<AtomicUsize>::default());
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (client, count, seen) = (client.clone(), Arc::clone(&count), Arc::clone(&seen));
        async move {
            let is_watch = request
                .uri()
                .query()
                .is_some_and(|query| query.contains("watch=true"));
            let is_status = request.uri().path().ends_with("/status");
            let is_write = matches!(request.method().as_str(), "POST" | "PUT" | "PATCH" | "DELETE");
            let number = match by {
                Nuisance::WatchesExpire | Nuisance::WatchesBreak | Nuisance::WatchesHang if is_watch => {
                    seen.fetch_add(1, Ordering::SeqCst)
                }
                Nuisance::Conflicts if is_status && is_write => seen.fetch_add(1, Ordering::SeqCst),
                Nuisance::AnswersAreLost if is_write => seen.fetch_add(1, Ordering::SeqCst),
                _ => return Ok(client.send(request).await?.map(whole)),
            };
            match by {
                Nuisance::WatchesExpire => {
                    count.fetch_add(1, Ordering::SeqCst);
                    let gone = status(410, "Expired", "too old resource version: 1 (2)");
                    let event = serde_json::json!({"type": "ERROR", "object": gone});
                    Ok(answer(200, &format!("{event}\n")))
                }
                Nuisance::WatchesBreak => {
                    count.fetch_add(1, Ordering::SeqCst);
                    Ok(client.send(request).await?.map(first_part))
                }
                Nuisance::WatchesHang if number % 2 == 0 => {
                    count.fetch_add(1, Ordering::SeqCst);
                    let answer = client.send(request).await?;
                    Ok(answer.map(|_| StreamBody::new(futures::stream::pending()).boxed_unsync()))
                }
                Nuisance::Conflicts if number % 3 != 0 => {
                    count.fetch_add(1, Ordering::SeqCst);
                    Ok(refusal(409, "Conflict", "the object has been modified"))
                }
                Nuisance::AnswersAreLost if number % 3 == 2 => {
                    count.fetch_add(1, Ordering::SeqCst);
                    client.send(request).await?;
                    let lost = std::io::Error::new(std::io::ErrorKind::BrokenPipe, "the answer is lost");
                    Err(kube::Error::Service(lost.into()))
                }
                _ => Ok(client.send(request).await?.map(whole)),
            }
        }
    });
    (Client::new(service, namespace), suffered)
}

/// A client to which the API server says 422 for each status that holds this text, as it does for what a schema does not take, and by which
/// every other status write takes a while.
pub fn refused(client: Client, text: &'static str, pause: Duration) -> (Client, Arc<AtomicUsize>) {
    let namespace = client.default_namespace().to_owned();
    let refusals = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&refusals);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (client, count) = (client.clone(), Arc::clone(&count));
        async move {
            let is_status = request.uri().path().ends_with("/status");
            if !is_status || request.method() != http::Method::PATCH {
                return Ok::<_, kube::Error>(client.send(request).await?.map(whole));
            }
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await?;
            if String::from_utf8_lossy(&body).contains(text) {
                count.fetch_add(1, Ordering::SeqCst);
                let mut refusal = status(422, "Invalid", "the run is invalid: status.steps[0].output: no");
                let cause = serde_json::json!({"field": "status.steps[0].output", "message": "no", "reason": "FieldValueInvalid"});
                refusal["details"] = serde_json::json!({"causes": [cause]});
                return Ok(answer(422, &refusal.to_string()));
            }
            tokio::time::sleep(pause).await;
            let request = http::Request::from_parts(parts, Body::from(body.to_vec()));
            Ok(client.send(request).await?.map(whole))
        }
    });
    (Client::new(service, namespace), refusals)
}

/// A client that reads something else than what is stored, as if the API server had accepted it: in each answer these texts stand for those.
pub fn misread(client: Client, texts: &'static [(&'static str, &'static str)]) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let client = client.clone();
        async move {
            let answer = client.send(request).await?;
            Ok::<_, kube::Error>(answer.map(|body| {
                let parts = body.into_data_stream().map(move |part| {
                    let part = part.map(|bytes| Frame::data(reworded(&bytes, texts)));
                    part.map_err(tower::BoxError::from)
                });
                StreamBody::new(parts).boxed_unsync()
            }))
        }
    });
    Client::new(service, namespace)
}

fn reworded(bytes: &Bytes, texts: &[(&str, &str)]) -> Bytes {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return bytes.clone();
    };
    let reworded = texts.iter().fold(text.to_owned(), |text, (from, to)| {
        assert_eq!(from.len(), to.len(), "a body keeps its length");
        text.replace(from, to)
    });
    Bytes::from(reworded)
}

/// A body of any origin.
type Whole = UnsyncBoxBody<Bytes, tower::BoxError>;

fn status(code: u16, reason: &str, message: &str) -> serde_json::Value {
    serde_json::json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": message})
}

fn refusal(code: u16, reason: &str, message: &str) -> http::Response<Whole> {
    answer(code, &status(code, reason, message).to_string())
}

fn answer(code: u16, body: &str) -> http::Response<Whole> {
    let body = Full::new(Bytes::from(body.to_owned()));
    http::Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(body.map_err(|never| match never {}).boxed_unsync())
        .unwrap()
}

fn whole(body: Body) -> Whole {
    body.map_err(Into::into).boxed_unsync()
}

/// The first part of a body that comes; then it is cut off.
fn first_part(body: Body) -> Whole {
    let parts = body
        .into_data_stream()
        .take(1)
        .map(|part| part.map(Frame::data).map_err(Into::into));
    StreamBody::new(parts).boxed_unsync()
}
