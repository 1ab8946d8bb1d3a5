mod bodies;
mod channels;
mod oauth2;
mod redirects;
mod save;
mod sigv4;
mod tls;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
    routing::any,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::*;
use crate::net::AddressPolicy;
use signoff_engine::effect::{Call, EffectKey, HttpTarget};

/// Serves a router on a free port of this machine until the test ends.
async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// An API server that holds these Connections, by name, and one Secret `shop` with these values.
#[derive(Clone)]
struct ApiServer {
    connections: Value,
    secret: Arc<Mutex<BTreeMap<String, String>>>,
    /// Whether the Secret may be written.
    writable: bool,
}

impl ApiServer {
    fn new(connections: Value, secret: &[(&str, &str)]) -> Self {
        let secret = secret
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Self {
            connections,
            secret: Arc::new(Mutex::new(secret.collect())),
            writable: true,
        }
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
        let failure = |code, reason| {
            (
                code,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": "no"}),
            )
        };
        if let Some((_, name)) = path.rsplit_once("/connections/") {
            let spec = &self.connections[name];
            return if spec.is_null() {
                failure(404, "NotFound")
            } else {
                (
                    200,
                    json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": {"name": name}, "spec": spec}),
                )
            };
        }
        if !path.ends_with("/secrets/shop") {
            return failure(404, "NotFound");
        }
        let mut secret = self.secret.lock().unwrap();
        if *method == Method::PATCH {
            if !self.writable {
                return failure(403, "Forbidden");
            }
            let operations: Value = serde_json::from_slice(body).unwrap();
            assert_eq!(operations[0]["op"], "test");
            let key = operations[1]["path"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap();
            let value = STANDARD.decode(operations[1]["value"].as_str().unwrap()).unwrap();
            secret.insert(key.to_owned(), String::from_utf8(value).unwrap());
        }
        let data: BTreeMap<&String, String> = secret
            .iter()
            .map(|(key, value)| (key, STANDARD.encode(value)))
            .collect();
        (
            200,
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop"}, "data": data}),
        )
    }

    fn client(&self) -> Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let this = this.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let (status, body) = this.answer(&parts.method, parts.uri.path(), &body);
                let response = http::Response::builder()
                    .status(status)
                    .body(kube::client::Body::from(body.to_string().into_bytes()));
                Ok::<_, std::convert::Infallible>(response.unwrap())
            }
        });
        Client::new(service, "default")
    }

    /// An executor that may call this machine.
    fn executor(&self) -> HttpExecutor {
        let policy = AddressPolicy {
            allow_loopback: true,
            ..AddressPolicy::default()
        };
        HttpExecutor::new(self.client(), Network::new(policy), clock()).unwrap()
    }
}

fn run() -> Owner {
    Owner {
        namespace: "default".into(),
        run: "refund-1".into(),
        uid: "u-1".into(),
    }
}

fn clock() -> Clock {
    Clock::from_fn(|| "2026-11-29T12:00:00Z".parse().unwrap())
}

/// An executor with a Connection `shop` to this address, whose token is in the Secret, and one `keyed`, whose key is not.
fn executor(base: SocketAddr) -> HttpExecutor {
    let base_url = format!("http://{base}/v1");
    let connections = json!({
        "shop": {"http": {"baseURL": base_url, "auth": {"bearer": {"name": "shop", "key": "token"}}}},
        "keyed": {"http": {"baseURL": base_url, "auth": {"header": {"name": "X-Api-Key", "value": {"name": "shop", "key": "other"}}}}},
    });
    ApiServer::new(connections, &[("token", "s3cr3t-token\n")]).executor()
}

fn effect(target: HttpTarget) -> HttpRequest {
    HttpRequest {
        target,
        method: HttpMethod::Get,
        headers: BTreeMap::new(),
        query: BTreeMap::new(),
        body: None,
        redirects: 5,
        save: None,
        reads_body: true,
    }
}

/// One attempt of a request.
fn attempt(request: &HttpRequest) -> Call {
    Call {
        key: EffectKey {
            step: "s".into(),
            iteration: 1,
            item: None,
            attempt: 1,
        },
        idempotency_key: "key-1".into(),
        fenced: false,
        part: signoff_engine::effect::CallPart::Whole,
        timeout: Duration::from_secs(20),
        request: signoff_engine::effect::Request::Http(request.clone()),
    }
}

impl HttpExecutor {
    /// Performs the first attempt of a request.
    async fn once(&self, request: &HttpRequest) -> Result<HttpResponse, EffectError> {
        self.perform(&run(), &attempt(request), request).await
    }
}

fn to(address: SocketAddr, path: &str) -> HttpRequest {
    effect(HttpTarget::Url(format!("http://{address}{path}")))
}

fn shop(path: &str) -> HttpRequest {
    effect(HttpTarget::Connection {
        name: "shop".parse().unwrap(),
        path: path.into(),
        bound: None,
    })
}

/// Answers with what it was asked.
async fn echo(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let headers: BTreeMap<_, _> = parts
        .headers
        .iter()
        .map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned()))
        .collect();
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    let body: Value = serde_json::from_slice(&body).unwrap_or_else(|_| text());
    let seen = json!({"method": parts.method.as_str(), "uri": parts.uri.to_string(), "headers": headers, "body": body});
    axum::Json(seen).into_response()
}

#[tokio::test]
async fn sends_what_the_effect_says() {
    let address = serve(Router::new().fallback(any(echo))).await;
    let mut effect = shop("/refunds?a=1");
    effect.method = HttpMethod::Post;
    effect.body = Some(HttpBody::Json(json!({"order": 81})));
    effect.query = [("q".to_owned(), vec!["x y&z".to_owned(), "2".to_owned()])].into();
    effect.headers = [("X-Order".to_owned(), "81".to_owned())].into();
    let seen = executor(address).once(&effect).await.unwrap();
    assert_eq!(seen.status, 200);
    assert_eq!(seen.body["uri"], "/v1/refunds?a=1&q=x+y%26z&q=2");
    assert_eq!(
        (&seen.body["method"], &seen.body["body"]),
        (&json!("POST"), &json!({"order": 81}))
    );
    assert_eq!(
        (
            &seen.body["headers"]["idempotency-key"],
            &seen.body["headers"]["x-order"]
        ),
        (&json!("key-1"), &json!("81"))
    );
}

#[tokio::test]
async fn a_secret_is_sent_but_never_comes_back() {
    let seen = Arc::new(Mutex::new(String::new()));
    let remember = Arc::clone(&seen);
    let router = Router::new().fallback(any(move |request: Request| async move {
        let auth = request.headers()["authorization"].to_str().unwrap().to_owned();
        remember.lock().unwrap().clone_from(&auth);
        (
            [("x-echo", auth.clone()), ("set-cookie", "session=1".into())],
            axum::Json(json!({"auth": auth})),
        )
            .into_response()
    }));
    let address = serve(router).await;
    let response = executor(address).once(&shop("/")).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), "Bearer s3cr3t-token");
    assert_eq!(response.body, json!({"auth": "Bearer [redacted]"}));
    assert_eq!(response.headers["x-echo"], "Bearer [redacted]");
    assert!(!response.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn a_connection_that_is_not_what_was_approved_is_not_called() {
    let called = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&called);
    let router = Router::new().fallback(any(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        std::future::ready("ok")
    }));
    let executor = executor(serve(router).await);
    let mut effect = shop("/");
    effect.target = HttpTarget::Connection {
        name: "shop".parse().unwrap(),
        path: "/".into(),
        bound: Some(signoff_api::Digest::of(b"another")),
    };
    let error = executor.once(&effect).await.unwrap_err();
    assert_eq!(
        (error.reason, error.retryable, error.may_have_happened),
        (StepReason::ConnectionChanged, false, false)
    );
    assert_eq!(called.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_missing_connection_secret_or_key_is_named() {
    let address = serve(Router::new()).await;
    let executor = executor(address);
    let effect = effect(HttpTarget::Connection {
        name: "nope".parse().unwrap(),
        path: String::new(),
        bound: None,
    });
    let error = executor.once(&effect).await.unwrap_err();
    assert_eq!(
        (error.reason, error.retryable, error.may_have_happened),
        (StepReason::ConnectionNotFound, false, false)
    );
    assert!(error.message.contains("\"nope\""), "{}", error.message);
    let keyed = HttpRequest {
        target: HttpTarget::Connection {
            name: "keyed".parse().unwrap(),
            path: String::new(),
            bound: None,
        },
        ..effect
    };
    let error = executor.once(&keyed).await.unwrap_err();
    assert_eq!(error.reason, StepReason::SecretNotFound);
    assert!(error.message.contains("no key \"other\""), "{}", error.message);
}

#[tokio::test]
async fn a_hung_server_ends_the_attempt_and_may_have_acted() {
    let router = Router::new().fallback(any(std::future::pending::<StatusCode>));
    let address = serve(router).await;
    let effect = to(address, "/slow");
    let hasty = Call {
        timeout: Duration::from_millis(50),
        ..attempt(&effect)
    };
    let error = executor(address)
        .perform(&run(), &hasty, &effect)
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason, error.retryable, error.may_have_happened),
        (StepReason::AttemptTimedOut, true, true)
    );
    assert!(error.message.contains("within 50ms"), "{}", error.message);
}

#[tokio::test]
async fn a_refused_connection_has_surely_not_happened() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = executor(address)
        .once(&to(address, "/?token=hidden"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason, error.retryable, error.may_have_happened),
        (StepReason::Unreachable, true, false)
    );
    assert!(!error.message.contains("hidden"), "{}", error.message);
}

#[tokio::test]
async fn a_response_of_100_mb_is_not_read_on() {
    let sent = Arc::new(Mutex::new(0_usize));
    let count = Arc::clone(&sent);
    let router = Router::new().fallback(any(move || async move {
        let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
        let chunks = stream::iter(0..1_600).map(move |_| {
            *count.lock().unwrap() += chunk.len();
            Ok::<_, std::convert::Infallible>(chunk.clone())
        });
        Body::from_stream(chunks)
    }));
    let address = serve(router).await;
    let error = executor(address).once(&to(address, "/big")).await.unwrap_err();
    assert_eq!(
        (error.reason, error.retryable, error.may_have_happened),
        (StepReason::ResponseTooLarge, false, true)
    );
    assert!(
        *sent.lock().unwrap() < 50 << 20,
        "the server could send {} bytes",
        sent.lock().unwrap()
    );
}

#[tokio::test]
async fn a_declared_length_above_the_limit_is_enough() {
    let router = Router::new().fallback(any(|| async { vec![b'x'; MAX_BODY + 1] }));
    let address = serve(router).await;
    let error = executor(address).once(&to(address, "/")).await.unwrap_err();
    assert_eq!(error.reason, StepReason::ResponseTooLarge);
}

#[tokio::test]
async fn redirects_are_followed_for_get_only_and_credentials_stay_at_home() {
    let there = Arc::new(std::sync::OnceLock::new());
    let home = Arc::clone(&there);
    let back = any(move || async move {
        (
            StatusCode::FOUND,
            [(LOCATION, home.get().cloned().unwrap_or_default())],
        )
    });
    let other = serve(Router::new().route("/back", back).fallback(any(echo))).await;
    let (away, around) = (format!("http://{other}/away"), format!("http://{other}/back"));
    let home = Router::new()
        .route(
            "/v1/away",
            any(move || async move { (StatusCode::FOUND, [(LOCATION, away)]) }),
        )
        .route(
            "/v1/away-and-back",
            any(move || async move { (StatusCode::FOUND, [(LOCATION, around)]) }),
        )
        .route(
            "/v1/near",
            any(|| async { (StatusCode::FOUND, [(LOCATION, "/v1/echo")]) }),
        )
        .route(
            "/v1/loop",
            any(|| async { (StatusCode::FOUND, [(LOCATION, "/v1/loop")]) }),
        )
        .route(
            "/v1/inside",
            any(|| async { (StatusCode::FOUND, [(LOCATION, "http://169.254.169.254/")]) }),
        )
        .route("/v1/echo", any(echo));
    let address = serve(home).await;
    there.set(format!("http://{address}/v1/echo")).unwrap();
    let executor = executor(address);
    let call = async |path: &str| executor.once(&shop(path)).await;
    assert_eq!(
        call("/near").await.unwrap().body["headers"]["authorization"],
        "Bearer [redacted]"
    );
    let away = call("/away").await.unwrap().body;
    assert_eq!(
        (&away["uri"], away["headers"].get("authorization")),
        (&json!("/away"), None)
    );
    let back = call("/away-and-back").await.unwrap().body;
    assert_eq!(
        back["headers"].get("authorization"),
        None,
        "credentials do not come back"
    );
    assert_eq!(call("/loop").await.unwrap().status, 302);
    assert_eq!(
        call("/inside").await.unwrap_err().reason,
        StepReason::AddressRefused
    );
    let post = HttpRequest {
        method: HttpMethod::Post,
        ..shop("/near")
    };
    assert_eq!(executor.once(&post).await.unwrap().status, 302);
    let none = HttpRequest {
        redirects: 0,
        ..shop("/near")
    };
    assert_eq!(executor.once(&none).await.unwrap().status, 302);
}

#[tokio::test]
async fn this_machine_is_refused_by_name_and_by_address() {
    let address = serve(Router::new().fallback(any(echo))).await;
    let executor = HttpExecutor::new(
        ApiServer::new(json!({}), &[]).client(),
        Network::new(AddressPolicy::default()),
        clock(),
    )
    .unwrap();
    for url in [
        format!("http://{address}/"),
        format!("http://localhost:{}/", address.port()),
    ] {
        let request = effect(HttpTarget::Url(url));
        let error = executor.once(&request).await.unwrap_err();
        assert_eq!(
            (error.reason, error.retryable, error.may_have_happened),
            (StepReason::AddressRefused, false, false)
        );
        assert!(error.message.contains("loopback"), "{}", error.message);
    }
}
