//! What goes out to the API server: not too much at a time; writes are counted, and refused while this process does not lead.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, StreamBody, combinators::UnsyncBoxBody};
use kube::{Client, client::Body};
use tokio::time::Instant;

use super::{context::Clock, fairness::Permits, leadership::Leadership, server_time::Skew};
use crate::telemetry::metrics::Metrics;

/// Longest wait for an answer to begin. An API server gives up a request after a minute at most, and a busy one after seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many requests may be under way at the same time, watches and leases aside: enough to keep an API server busy. Each is a connection with
/// tens of kilobytes of buffers, and what more there were would wait at the server, with the renewal of the lease behind it.
const REQUESTS: usize = 64;

/// How much longer than it was asked to last a watch may last, before it counts as one that hangs: with what it was asked for, 30 s at most.
const WATCH_GRACE: Duration = Duration::from_secs(4);

/// A write was held back: another process leads, and may have written since.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this process does not lead, so it writes nothing")]
pub struct NotLeading;

/// What watches over the requests of a client.
#[derive(Clone, Debug)]
pub struct ThrottledClient {
    /// Counts the writes by kind.
    pub metrics: Metrics,
    /// Writes are held back while it is not held; reads go on.
    pub leadership: Leadership,
    /// This process's own clock.
    pub clock: Clock,
    /// Learns how far that is from the API server's.
    pub skew: Skew,
    /// How many requests may be under way.
    pub bound: RequestBound,
}

/// The body of an answer: as it came, or of a watch, which is cut off if it does not end in time.
type Answer = Either<Body, UnsyncBoxBody<Bytes, kube::Error>>;

/// How many requests of a process may be under way at the same time; namespaces take turns. Clones share it.
#[derive(Clone, Debug)]
pub struct RequestBound(Permits);

impl Default for RequestBound {
    fn default() -> Self {
        Self(Permits::new_in_turns(REQUESTS))
    }
}

impl ThrottledClient {
    /// The same client, watched over.
    pub fn through(self, client: Client) -> Client {
        let namespace = client.default_namespace().to_owned();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (client, this) = (client.clone(), self.clone());
            async move { this.send(&client, request).await }
        });
        Client::new(service, namespace)
    }

    async fn send(&self, client: &Client, request: Request<Body>) -> Result<Response<Answer>, kube::Error> {
        if is_watch(&request) {
            return self.watch(client, request).await;
        }
        let Target { kind, namespace } = Target::of(request.uri().path());
        // whoever leads must be able to say so, however much there is to do
        let _turn = if kind == "leases" {
            None
        } else {
            Some(self.bound.0.acquire(namespace).await)
        };
        if is_write(&request) {
            if !self.leadership.is_held() {
                return Err(kube::Error::Service(NotLeading.into()));
            }
            self.metrics.api_write(kind);
        }
        let sent = self.clock.now();
        // whether a write was applied is not known when time is over, which is for its caller to find out
        let answer = tokio::time::timeout(PATIENCE, client.send(request))
            .await
            .map_err(|elapsed| kube::Error::Service(elapsed.into()))??;
        self.skew.observe(sent, self.clock.now(), answer.headers());
        Ok(answer.map(Either::Left))
    }
}

impl ThrottledClient {
    /// A watch ends by itself when the time it was asked to last is over. One that does not is cut off and taken up again where it was, so
    /// that nothing is missed for longer, whatever holds it: a connection that is dead, a proxy, a server that is half up.
    async fn watch(&self, client: &Client, request: Request<Body>) -> Result<Response<Answer>, kube::Error> {
        let Some(lasts) = watch_lasts(&request) else {
            return Ok(client.send(request).await?.map(Either::Left));
        };
        let kind = Target::of(request.uri().path()).kind;
        let end = Instant::now() + lasts + WATCH_GRACE;
        let metrics = self.metrics.clone();
        let hangs = move || {
            metrics.watch_stalled(kind);
            tracing::warn!(
                kind,
                "a watch hangs; it is cut off and taken up again where it was"
            );
        };
        match tokio::time::timeout_at(end, client.send(request)).await {
            Ok(answer) => answer.map(|answer| answer.map(|body| Either::Right(cut_off(body, end, hangs)))),
            Err(elapsed) => {
                hangs();
                Err(kube::Error::Service(elapsed.into()))
            }
        }
    }
}

/// A body that ends then, if it has not ended before.
fn cut_off<B>(body: B, end: Instant, hangs: impl FnOnce() + Send + 'static) -> UnsyncBoxBody<Bytes, B::Error>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    let over = async move {
        tokio::time::sleep_until(end).await;
        hangs();
    };
    let frames = body.into_data_stream().map_ok(Frame::data);
    StreamBody::new(frames.take_until(Box::pin(over))).boxed_unsync()
}

/// How long a watch was asked to last.
fn watch_lasts(request: &Request<Body>) -> Option<Duration> {
    let query = request.uri().query().unwrap_or_default();
    let seconds = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("timeoutSeconds="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| pair == "watch=true")
}

/// Whether it changes anything; a dry run does not.
fn is_write(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let dry = query.split('&').any(|pair| pair == "dryRun=All");
    let method = request.method();
    let may = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method);
    may && !dry
}

/// What a path is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target<'a> {
    /// The resource, out of those the operator writes.
    kind: &'static str,
    /// Empty where it is none or all.
    namespace: &'a str,
}

impl<'a> Target<'a> {
    fn of(path: &'a str) -> Self {
        const KINDS: [&str; 12] = [
            "repositories",
            "flows",
            "releases",
            "runs",
            "approvals",
            "decisions",
            "workitems",
            "connections",
            "events",
            "leases",
            "secrets",
            "selfsubjectaccessreviews",
        ];
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let resource = match parts.next() {
            Some("api") => parts.nth(1),
            Some("apis") => parts.nth(2),
            _ => None,
        };
        let (namespace, resource) = match resource {
            // /…/namespaces/<name>/<resource>
            Some("namespaces") => (parts.next().unwrap_or_default(), parts.next()),
            other => ("", other),
        };
        let kind = KINDS.into_iter().find(|kind| Some(*kind) == resource);
        Self {
            kind: kind.unwrap_or("other"),
            namespace,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn a_path_tells_its_kind_and_its_namespace() {
        for (path, kind, namespace) in [
            (
                "/apis/signoff.dev/v1alpha1/namespaces/default/runs/r/status",
                "runs",
                "default",
            ),
            ("/apis/events.k8s.io/v1/namespaces/a/events", "events", "a"),
            ("/api/v1/namespaces/default/secrets", "secrets", "default"),
            ("/apis/signoff.dev/v1alpha1/runs", "runs", ""),
            ("/api/v1/namespaces/default", "other", "default"),
            (
                "/apis/example.com/v1/namespaces/default/things/x",
                "other",
                "default",
            ),
        ] {
            assert_eq!(Target::of(path), Target { kind, namespace }, "{path}");
        }
    }

    #[tokio::test]
    async fn a_watch_that_hangs_is_cut_off_and_what_it_has_shown_is_kept() {
        let shown = futures::stream::iter([Ok::<_, kube::Error>(Frame::data(Bytes::from_static(b"shown")))]);
        let hanging = StreamBody::new(shown.chain(futures::stream::pending()));
        let hung = Arc::new(Semaphore::new(0));
        let told = Arc::clone(&hung);
        let end = Instant::now() + Duration::from_millis(20);
        let cut = cut_off(hanging, end, move || told.add_permits(1));
        assert_eq!(cut.collect().await.unwrap().to_bytes(), "shown");
        assert_eq!(hung.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_watch_that_ends_in_time_is_not_one_that_hangs() {
        let body = Body::from(b"shown".to_vec());
        let cut = cut_off(
            body,
            Instant::now() + Duration::from_secs(3_600),
            || unreachable!(),
        );
        assert_eq!(cut.collect().await.unwrap().to_bytes(), "shown");
    }

    #[test]
    fn a_watch_says_how_long_it_lasts() {
        let of = |uri: &str| watch_lasts(&Request::get(uri).body(Body::empty()).unwrap());
        assert_eq!(
            of("/apis/signoff.dev/v1alpha1/runs?watch=true&timeoutSeconds=22"),
            Some(Duration::from_secs(22))
        );
        assert_eq!(of("/apis/signoff.dev/v1alpha1/runs?watch=true"), None);
    }

    /// A client of such an API server.
    fn throttled<S>(server: S) -> Client
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = kube::Error>
            + Send
            + Sync
            + Clone
            + 'static,
        S::Future: Send + 'static,
    {
        let throttled = ThrottledClient {
            metrics: Metrics::new(),
            leadership: Leadership::unrivalled(),
            clock: Clock::system(),
            skew: Skew::default(),
            bound: RequestBound::default(),
        };
        throttled.through(Client::new(server, "default"))
    }

    #[tokio::test]
    async fn requests_of_one_namespace_do_not_queue_behind_all_those_of_another() {
        let answers = Arc::new(Semaphore::new(0));
        let told = Arc::clone(&answers);
        // an API server that answers as many requests as the test says
        let server = tower::service_fn(move |_: Request<Body>| {
            let told = Arc::clone(&told);
            async move {
                told.acquire().await.unwrap().forget();
                Ok::<_, kube::Error>(Response::new(Body::empty()))
            }
        });
        let client = throttled(server);
        let ask = |path: &str| {
            let (client, request) = (client.clone(), Request::get(path).body(Body::empty()).unwrap());
            async move { client.send(request).await }
        };
        for _ in 0..4 * REQUESTS {
            tokio::spawn(ask("/apis/signoff.dev/v1alpha1/namespaces/noisy/runs/r"));
        }
        let all_have_asked = async || {
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
        };
        all_have_asked().await;
        let quiet = tokio::spawn(ask("/apis/signoff.dev/v1alpha1/namespaces/quiet/runs/r"));
        all_have_asked().await;
        // those that are under way, and one of each namespace
        answers.add_permits(REQUESTS + 2);
        quiet.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_lease_is_renewed_whatever_else_is_under_way() {
        let begun = Arc::new(Semaphore::new(0));
        let told = Arc::clone(&begun);
        // an API server that answers nothing but what is about a lease
        let server = tower::service_fn(move |request: Request<Body>| {
            told.add_permits(1);
            async move {
                if Target::of(request.uri().path()).kind != "leases" {
                    std::future::pending::<()>().await;
                }
                Ok::<_, kube::Error>(Response::new(Body::empty()))
            }
        });
        let client = throttled(server);
        let ask = |path: &str| {
            let (client, request) = (client.clone(), Request::get(path).body(Body::empty()).unwrap());
            async move { client.send(request).await }
        };
        for _ in 0..2 * REQUESTS {
            tokio::spawn(ask("/apis/signoff.dev/v1alpha1/namespaces/default/runs/r"));
        }
        let all = u32::try_from(REQUESTS).unwrap();
        begun.acquire_many(all).await.unwrap().forget();
        ask("/apis/coordination.k8s.io/v1/namespaces/default/leases/l")
            .await
            .unwrap();
        begun.acquire().await.unwrap().forget();
        assert_eq!(begun.available_permits(), 0, "no more than these are under way");
    }
}
