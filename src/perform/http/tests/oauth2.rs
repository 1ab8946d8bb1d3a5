//! Access tokens from a token endpoint in this process.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use url::form_urlencoded;

use super::*;

/// A form, and the credentials in the header.
type Asked = (BTreeMap<String, String>, Option<String>);

/// A token endpoint and the API that takes its tokens, on one address.
#[derive(Clone, Default)]
struct Provider {
    /// What the endpoint was asked.
    asked: Arc<Mutex<Vec<Asked>>>,
    /// The tokens with a lower number are refused by the API.
    valid_from: Arc<AtomicUsize>,
    expires_in: Option<u64>,
    /// Takes credentials in the form only.
    form_only: bool,
    rotates: bool,
    /// Takes each refresh token once. After another use of one, none is good.
    strict: bool,
    /// The refresh tokens that were used twice, in a provider that takes each once.
    reused: Arc<Mutex<Vec<String>>>,
    /// Where an answer waits until it is let go.
    gate: Option<Arc<tokio::sync::Semaphore>>,
    /// Said instead of a token, in turn.
    says: Arc<Mutex<Vec<String>>>,
    failing: Option<StatusCode>,
}

impl Provider {
    async fn open(self) -> (SocketAddr, Self) {
        let router = Router::new()
            .route("/token", any(Self::token))
            .fallback(any(Self::api))
            .with_state(self.clone());
        (serve(router).await, self)
    }

    async fn token(State(this): State<Self>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let form: BTreeMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
        let basic = parts.headers.get("authorization");
        let basic = basic.map(|value| value.to_str().unwrap().to_owned());
        let is_refused = this.form_only && basic.is_some();
        let number = {
            let mut asked = this.asked.lock().unwrap();
            asked.push((form, basic));
            asked.len()
        };
        if let Some(status) = this.failing {
            let body =
                json!({"error": "invalid_grant", "error_description": "the secret s3cr3t-token is wrong"});
            return (status, axum::Json(body)).into_response();
        }
        if is_refused {
            return (
                StatusCode::UNAUTHORIZED,
                axum::Json(json!({"error": "invalid_client"})),
            )
                .into_response();
        }
        if this.strict {
            let asked = this.asked();
            let used = |form: &BTreeMap<String, String>| form["refresh_token"].clone();
            let now = used(&asked[number - 1].0);
            if asked[..number - 1].iter().any(|(form, _)| used(form) == now) {
                this.reused.lock().unwrap().push(now);
            }
        }
        if let Some(gate) = &this.gate {
            gate.acquire().await.unwrap().forget();
        }
        let said = this.says.lock().unwrap().pop();
        if let Some(said) = said {
            return said.into_response();
        }
        // others who want a token come meanwhile
        tokio::task::yield_now().await;
        let mut body = json!({"access_token": format!("access-token-{number}"), "token_type": "bearer"});
        if let Some(seconds) = this.expires_in {
            body["expires_in"] = seconds.into();
        }
        if this.rotates {
            body["refresh_token"] = format!("refresh-token-{number}").into();
        }
        axum::Json(body).into_response()
    }

    #[expect(clippy::needless_pass_by_value, reason = "a handler takes its request so")]
    fn api(State(this): State<Self>, request: Request) -> std::future::Ready<Response> {
        let token = request.headers()["authorization"].to_str().unwrap().to_owned();
        let number: usize = token.rsplit('-').next().unwrap().parse().unwrap();
        if number < this.valid_from.load(Ordering::SeqCst) {
            return std::future::ready(StatusCode::UNAUTHORIZED.into_response());
        }
        std::future::ready(axum::Json(json!({"token": token})).into_response())
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn key(name: &str) -> Value {
    json!({"name": "shop", "key": name})
}

fn api_server(address: SocketAddr, oauth2: Value, secret: &[(&str, &str)]) -> ApiServer {
    let mut oauth2 = oauth2;
    oauth2["tokenURL"] = format!("http://{address}/token").into();
    let shop = json!({"http": {"baseURL": format!("http://{address}/v1"), "auth": {"oauth2": oauth2}}});
    ApiServer::new(json!({ "shop": shop }), secret)
}

fn client_credentials(address: SocketAddr) -> ApiServer {
    let oauth2 = json!({
        "grant": "ClientCredentials", "clientID": "my app", "clientSecret": key("token"),
        "scopes": ["read", "write"], "audience": "shop", "parameters": {"tenant": "7"},
    });
    api_server(address, oauth2, &[("token", "s3cr3t-token\n")])
}

fn form(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    let entries = entries.iter();
    entries
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn a_token_is_fetched_once_for_many_and_never_comes_back() {
    let (address, provider) = Provider {
        expires_in: Some(3_600),
        ..Provider::default()
    }
    .open()
    .await;
    let executor = client_credentials(address).executor();
    let (request, other) = (shop("/a"), shop("/b"));
    let calls = [&request, &other, &request, &other].map(|request| executor.once(request));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.unwrap().body, json!({"token": "Bearer [redacted]"}));
    }
    executor.once(&request).await.unwrap();
    let expected = form(&[
        ("grant_type", "client_credentials"),
        ("scope", "read write"),
        ("audience", "shop"),
        ("tenant", "7"),
    ]);
    let basic = format!("Basic {}", STANDARD.encode("my+app:s3cr3t-token"));
    assert_eq!(provider.asked(), [(expected, Some(basic))]);
}

#[tokio::test]
async fn a_token_that_the_api_refuses_is_fetched_anew_once() {
    let (address, provider) = Provider::default().open().await;
    let executor = client_credentials(address).executor();
    assert_eq!(executor.once(&shop("/")).await.unwrap().status, 200);
    provider.valid_from.store(2, Ordering::SeqCst);
    assert_eq!(executor.once(&shop("/")).await.unwrap().status, 200);
    assert_eq!(provider.asked().len(), 2);
    // the newest one is refused as well: the answer is the API's
    provider.valid_from.store(9, Ordering::SeqCst);
    assert_eq!(executor.once(&shop("/")).await.unwrap().status, 401);
    assert_eq!(provider.asked().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_used_until_shortly_before_it_ends() {
    let (address, provider) = Provider {
        expires_in: Some(3_600),
        ..Provider::default()
    }
    .open()
    .await;
    let executor = client_credentials(address).executor();
    executor.once(&shop("/")).await.unwrap();
    tokio::time::advance(Duration::from_secs(3_530)).await;
    executor.once(&shop("/")).await.unwrap();
    assert_eq!(provider.asked().len(), 1);
    tokio::time::advance(Duration::from_secs(20)).await;
    executor.once(&shop("/")).await.unwrap();
    assert_eq!(provider.asked().len(), 2);
}

#[tokio::test]
async fn an_endpoint_that_takes_credentials_in_the_form_only_gets_them_there() {
    let (address, provider) = Provider {
        form_only: true,
        ..Provider::default()
    }
    .open()
    .await;
    let executor = client_credentials(address).executor();
    executor.once(&shop("/")).await.unwrap();
    let asked = provider.asked();
    assert_eq!(asked.len(), 2);
    let (form, basic) = &asked[1];
    assert_eq!(basic, &None);
    assert_eq!(
        (&*form["client_id"], &*form["client_secret"]),
        ("my app", "s3cr3t-token")
    );
    // what was learned is kept
    provider.valid_from.store(3, Ordering::SeqCst);
    executor.once(&shop("/")).await.unwrap();
    assert_eq!(provider.asked().len(), 3);
}

#[tokio::test]
async fn an_endpoint_that_refuses_says_why_without_the_secret_and_nothing_has_happened() {
    for (status, retryable) in [
        (StatusCode::BAD_REQUEST, false),
        (StatusCode::SERVICE_UNAVAILABLE, true),
    ] {
        let (address, _) = Provider {
            failing: Some(status),
            ..Provider::default()
        }
        .open()
        .await;
        let error = client_credentials(address)
            .executor()
            .once(&shop("/"))
            .await
            .unwrap_err();
        assert_eq!(
            (error.reason, error.retryable, error.may_have_happened),
            (StepReason::CredentialsRefused, retryable, false)
        );
        assert!(
            error
                .message
                .contains("invalid_grant: the secret [redacted] is wrong"),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn a_token_endpoint_that_may_not_be_called_is_not() {
    let (address, provider) = Provider::default().open().await;
    let client = client_credentials(address).client();
    let policy = AddressPolicy {
        allow_loopback: true,
        ..AddressPolicy::default()
    };
    let elsewhere = json!({"grant": "ClientCredentials", "clientID": "a", "clientSecret": key("token")});
    let mut server = api_server(address, elsewhere, &[("token", "s3cr3t-token")]);
    server.connections["shop"]["http"]["auth"]["oauth2"]["tokenURL"] = "http://169.254.169.254/token".into();
    let error = server.executor().once(&shop("/")).await.unwrap_err();
    assert_eq!(error.reason, StepReason::AddressRefused);
    let listed = AddressPolicy {
        allow_hosts: vec!["api.example.com".into()],
        ..policy
    };
    let executor = HttpExecutor::new(client, Network::new(listed), clock()).unwrap();
    let error = executor.once(&shop("/")).await.unwrap_err();
    assert_eq!(error.reason, StepReason::AddressRefused);
    assert!(provider.asked().is_empty());
}

fn refresh(address: SocketAddr) -> ApiServer {
    let oauth2 = json!({"grant": "RefreshToken", "clientID": "app", "refreshToken": key("refresh")});
    api_server(address, oauth2, &[("refresh", "refresh-token-0\n")])
}

/// It may be good for one use only, and whoever tests may not be the one who keeps the next.
#[tokio::test]
async fn a_test_of_a_connection_uses_no_refresh_token() {
    let (address, provider) = Provider {
        rotates: true,
        ..Provider::default()
    }
    .open()
    .await;
    let executors = crate::perform::Executors::local(refresh(address).client(), clock()).unwrap();
    let name = "shop".parse().unwrap();
    let checks = executors
        .probe("default", &name, Duration::from_secs(10))
        .await
        .unwrap();
    let told: Vec<&String> = checks
        .iter()
        .map(|check| check.result.as_ref().unwrap())
        .collect();
    assert_eq!(told.len(), 2);
    assert!(told[1].starts_with("not called"), "{}", told[1]);
    assert_eq!(provider.asked().len(), 0);
}

#[tokio::test]
async fn a_new_refresh_token_is_written_where_the_old_one_was() {
    let (address, provider) = Provider {
        rotates: true,
        ..Provider::default()
    }
    .open()
    .await;
    let server = refresh(address);
    let executor = server.executor();
    executor.once(&shop("/")).await.unwrap();
    assert_eq!(server.secret.lock().unwrap()["refresh"], "refresh-token-1");
    // the token that was fetched is used on
    executor.once(&shop("/")).await.unwrap();
    assert_eq!(provider.asked().len(), 1);
    provider.valid_from.store(2, Ordering::SeqCst);
    executor.once(&shop("/")).await.unwrap();
    let used: Vec<String> = provider
        .asked()
        .iter()
        .map(|(form, _)| form["refresh_token"].clone())
        .collect();
    assert_eq!(used, ["refresh-token-0", "refresh-token-1"]);
    assert_eq!(provider.asked()[0].0["client_id"], "app");
}

#[tokio::test]
async fn a_refresh_token_that_may_not_be_written_is_still_used_by_this_process() {
    let (address, provider) = Provider {
        rotates: true,
        ..Provider::default()
    }
    .open()
    .await;
    let server = ApiServer {
        writable: false,
        ..refresh(address)
    };
    let executor = server.executor();
    for valid_from in [0, 2, 3] {
        provider.valid_from.store(valid_from, Ordering::SeqCst);
        executor.once(&shop("/")).await.unwrap();
    }
    let used: Vec<String> = provider
        .asked()
        .iter()
        .map(|(form, _)| form["refresh_token"].clone())
        .collect();
    assert_eq!(used, ["refresh-token-0", "refresh-token-1", "refresh-token-2"]);
}

#[tokio::test]
async fn an_assertion_is_signed_with_the_key_and_says_for_whom_it_is() {
    let (address, provider) = Provider::default().open().await;
    let pair = rcgen::KeyPair::generate().unwrap();
    let oauth2 = json!({
        "grant": "JwtBearer", "privateKey": key("pem"), "keyID": "k1", "issuer": "robot", "scopes": ["read"],
    });
    let server = api_server(address, oauth2, &[("pem", &pair.serialize_pem())]);
    server.executor().once(&shop("/")).await.unwrap();
    let (form, basic) = provider.asked().remove(0);
    assert_eq!(
        (basic, &*form["grant_type"]),
        (None, "urn:ietf:params:oauth:grant-type:jwt-bearer")
    );
    let claims = form["assertion"].split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .unwrap();
    let mut claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["jti"].as_str().unwrap().len(), 32);
    claims.as_object_mut().unwrap().remove("jti");
    let now = clock().now().as_second();
    assert_eq!(
        claims,
        json!({
            "iss": "robot", "sub": "robot", "aud": format!("http://{address}/token"), "scope": "read",
            "iat": now, "exp": now + 300,
        })
    );
}

#[tokio::test]
async fn a_new_refresh_token_is_kept_though_the_step_that_asked_has_timed_out() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (address, provider) = Provider {
        rotates: true,
        gate: Some(Arc::clone(&gate)),
        ..Provider::default()
    }
    .open()
    .await;
    let server = refresh(address);
    let executor = server.executor();
    let request = shop("/");
    let hasty = Call {
        timeout: Duration::from_millis(50),
        ..attempt(&request)
    };
    let error = executor.perform(&run(), &hasty, &request).await.unwrap_err();
    assert_eq!(
        (error.reason, error.may_have_happened),
        (StepReason::AttemptTimedOut, false)
    );
    gate.add_permits(1);
    // waits for the one that is under way
    executor.once(&request).await.unwrap();
    assert_eq!(server.secret.lock().unwrap()["refresh"], "refresh-token-1");
    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test]
async fn no_refresh_token_is_used_twice_however_many_calls_want_one() {
    for writable in [true, false] {
        let (address, provider) = Provider {
            rotates: true,
            strict: true,
            expires_in: Some(0),
            ..Provider::default()
        }
        .open()
        .await;
        let server = ApiServer {
            writable,
            ..refresh(address)
        };
        let executor = server.executor();
        let request = shop("/");
        let calls = (0..20).map(|_| executor.once(&request));
        for answer in futures::future::join_all(calls).await {
            assert_eq!(answer.unwrap().status, 200);
        }
        assert_eq!(provider.asked().len(), 20);
        assert_eq!(*provider.reused.lock().unwrap(), Vec::<String>::new());
        let expected = if writable {
            "refresh-token-20"
        } else {
            "refresh-token-0\n"
        };
        assert_eq!(server.secret.lock().unwrap()["refresh"], expected);
    }
}

#[tokio::test]
async fn a_refresh_token_that_somebody_has_replaced_is_used_at_once() {
    let (address, provider) = Provider {
        rotates: true,
        expires_in: Some(3_600),
        ..Provider::default()
    }
    .open()
    .await;
    let server = refresh(address);
    let executor = server.executor();
    executor.once(&shop("/")).await.unwrap();
    server
        .secret
        .lock()
        .unwrap()
        .insert("refresh".to_owned(), "another-account".to_owned());
    executor.once(&shop("/")).await.unwrap();
    executor.once(&shop("/")).await.unwrap();
    let used: Vec<String> = provider
        .asked()
        .iter()
        .map(|(form, _)| form["refresh_token"].clone())
        .collect();
    assert_eq!(used, ["refresh-token-0", "another-account"]);
    assert_eq!(server.secret.lock().unwrap()["refresh"], "refresh-token-2");
}

#[tokio::test]
async fn a_token_that_cannot_be_sent_is_not_kept_and_the_endpoint_is_named() {
    let long = format!("{{\"access_token\": \"{}\"}}", "x".repeat(20_000));
    for said in [
        r#"{"access_token": "to\nken", "expires_in": 3600, "refresh_token": "refresh-token-9"}"#,
        r#"{"access_token": " ", "refresh_token": "refresh-token-9"}"#,
        r#"{"access_token": "tök", "refresh_token": "refresh-token-9"}"#,
        &long,
    ] {
        let (address, provider) = Provider {
            says: Arc::new(Mutex::new(vec![said.to_owned()])),
            ..Provider::default()
        }
        .open()
        .await;
        let server = refresh(address);
        let executor = server.executor();
        let error = executor.once(&shop("/")).await.unwrap_err();
        assert_eq!(error.reason, StepReason::CredentialsRefused);
        assert!(
            error.message.contains("the token endpoint") && error.message.contains("visible ASCII"),
            "{}",
            error.message
        );
        // the refresh token that came with it is not lost
        if said.contains("refresh-token-9") {
            assert_eq!(server.secret.lock().unwrap()["refresh"], "refresh-token-9");
        }
        executor.once(&shop("/")).await.unwrap();
        assert_eq!(provider.asked().len(), 2);
    }
}

#[tokio::test]
async fn an_answer_may_begin_with_a_mark_and_a_lifetime_may_be_anything() {
    let body = |expires_in: &str| {
        format!("\u{feff}{{\"access_token\": \"access-token-1\", \"expires_in\": {expires_in}}}")
    };
    for (expires_in, fetched) in [
        ("-5", 2),
        ("0", 2),
        ("\"-1\"", 2),
        ("3600", 1),
        ("2.5e3", 1),
        ("\"3600\"", 1),
        ("\"soon\"", 1),
        ("1e300", 1),
        ("99999999999999999999999", 1),
    ] {
        let (address, provider) = Provider {
            says: Arc::new(Mutex::new(vec![body(expires_in); 2])),
            ..Provider::default()
        }
        .open()
        .await;
        let executor = client_credentials(address).executor();
        executor.once(&shop("/")).await.unwrap();
        executor.once(&shop("/")).await.unwrap();
        assert_eq!(provider.asked().len(), fetched, "{expires_in}");
    }
}

#[tokio::test]
async fn a_secret_at_the_place_where_a_message_is_cut_is_not_told() {
    let said =
        json!({"error": "invalid_request", "error_description": format!("{}s3cr3t-token", "x".repeat(190))});
    let router = Router::new().fallback(any(move || {
        std::future::ready((StatusCode::BAD_REQUEST, axum::Json(said.clone())))
    }));
    let address = serve(router).await;
    let error = client_credentials(address)
        .executor()
        .once(&shop("/"))
        .await
        .unwrap_err();
    assert!(
        error.message.contains("[redacted") && !error.message.contains("s3cr"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_secret_longer_than_any_server_takes_is_refused() {
    let (address, provider) = Provider::default().open().await;
    let server = client_credentials(address);
    server
        .secret
        .lock()
        .unwrap()
        .insert("token".to_owned(), "x".repeat(16 * 1024 + 1));
    let error = server.executor().once(&shop("/")).await.unwrap_err();
    assert_eq!(error.reason, StepReason::CredentialsRefused);
    assert!(error.message.contains("16 KiB"), "{}", error.message);
    assert!(provider.asked().is_empty());
}
