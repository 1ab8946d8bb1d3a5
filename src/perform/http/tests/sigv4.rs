//! Other ways to authenticate: in the query, with headers of the Connection, and with signatures.

use super::*;

fn through(address: SocketAddr, http: Value) -> HttpExecutor {
    let mut http = http;
    http["baseURL"] = format!("http://{address}/v1").into();
    let secret = [
        ("token", "s3cr3t-token"),
        ("id", "AKIDEXAMPLE"),
        ("secret", "wJalrXUtnFEMI"),
    ];
    ApiServer::new(json!({"shop": {"http": http}}), &secret).executor()
}

fn key(name: &str) -> Value {
    json!({"name": "shop", "key": name})
}

#[tokio::test]
async fn a_secret_in_the_query_is_sent_and_redacted() {
    let seen = Arc::new(Mutex::new(String::new()));
    let remember = Arc::clone(&seen);
    let router = Router::new().fallback(any(move |request: Request| {
        let uri = request.uri().to_string();
        remember.lock().unwrap().clone_from(&uri);
        std::future::ready(uri)
    }));
    let address = serve(router).await;
    let executor = through(
        address,
        json!({"auth": {"query": {"name": "api_key", "value": key("token")}}}),
    );
    let answer = executor.once(&shop("/a?b=1")).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), "/v1/a?b=1&api_key=s3cr3t-token");
    assert_eq!(answer.body, json!("/v1/a?b=1&api_key=[redacted]"));
}

#[tokio::test]
async fn headers_of_a_connection_win_and_the_idempotency_key_has_its_name() {
    let address = serve(Router::new().fallback(any(echo))).await;
    let http = json!({"headers": {"X-Version": "2"}, "idempotencyHeader": "X-Request-Id"});
    let mut request = shop("/");
    request.headers = [("x-version".to_owned(), "1".to_owned())].into();
    let seen = through(address, http).once(&request).await.unwrap().body;
    assert_eq!(seen["headers"]["x-version"], "2");
    assert_eq!(seen["headers"]["x-request-id"], "key-1");
    assert_eq!(seen["headers"].get("idempotency-key"), None);
}

#[tokio::test]
async fn a_connection_sets_no_header_that_is_not_its_own_to_set() {
    let address = serve(Router::new().fallback(any(echo))).await;
    let auth = |name: &str| json!({"auth": {"header": {"name": name, "value": key("token")}}});
    let mut refused = vec![
        json!({"headers": {"idempotency-key": "x"}}),
        json!({"headers": {"X-Id": "x"}, "idempotencyHeader": "x-id"}),
        auth("Idempotency-Key"),
    ];
    for name in [
        "Host",
        "te",
        "Connection",
        "Transfer-Encoding",
        "CONTENT-LENGTH",
        "Upgrade",
    ] {
        refused.extend([
            json!({"headers": {name: "x"}}),
            json!({"idempotencyHeader": name}),
            auth(name),
        ]);
    }
    for name in ["Authorization", "Proxy-Authorization"] {
        refused.extend([
            json!({"headers": {name: "x"}}),
            json!({"idempotencyHeader": name}),
        ]);
    }
    for http in refused {
        let error = through(address, http.clone()).once(&shop("/")).await.unwrap_err();
        assert_eq!(error.reason, StepReason::InvalidRequest, "{http}");
    }
    let own = auth("Authorization");
    assert_eq!(through(address, own).once(&shop("/")).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_base_address_with_a_query_or_a_fragment_is_refused() {
    let address = serve(Router::new().fallback(any(echo))).await;
    for rest in ["?x=1", "#f"] {
        let http = json!({"baseURL": format!("http://{address}/v1{rest}")});
        let executor = ApiServer::new(json!({ "shop": { "http": http } }), &[]).executor();
        let error = executor.once(&shop("/a")).await.unwrap_err();
        assert_eq!(error.reason, StepReason::ConnectionNotFound, "{rest}");
        assert!(error.message.contains("query"), "{}", error.message);
    }
}

#[tokio::test]
async fn a_signed_request_names_what_it_signs_and_the_server_sees_just_that() {
    let address = serve(Router::new().fallback(any(echo))).await;
    let sigv4 = json!({
        "region": "eu-central-1", "service": "s3", "accessKeyID": key("id"), "secretAccessKey": key("secret"),
    });
    let executor = through(address, json!({"auth": {"sigv4": sigv4}}));
    let mut request = shop("/bucket/a%20b");
    request.method = HttpMethod::Put;
    request.query = [("tag".to_owned(), vec!["x y".to_owned()])].into();
    request.body = Some(HttpBody::Text("hello".to_owned()));
    let seen = executor.once(&request).await.unwrap().body;
    assert_eq!(seen["uri"], "/v1/bucket/a%20b?tag=x%20y");
    let headers = &seen["headers"];
    assert_eq!(headers["x-amz-date"], "20261129T120000Z");
    // the digest of the body
    assert_eq!(
        headers["x-amz-content-sha256"],
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    );
    let signed = headers["authorization"].as_str().unwrap();
    assert!(
        signed.starts_with("AWS4-HMAC-SHA256 Credential=[redacted]/20261129/eu-central-1/s3/aws4_request, SignedHeaders=content-type;host;"),
        "{signed}"
    );
}

/// A Security Token Service that verifies signatures, and an API that shows what it was sent, on one address.
#[derive(Clone, Default)]
struct Sts {
    /// The forms that it was sent.
    asked: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
    /// How long credentials last, in seconds.
    lifetime: i64,
    /// Said instead of credentials.
    says: Option<(u16, &'static str)>,
}

impl Sts {
    async fn open(self) -> SocketAddr {
        let router = Router::new()
            .route("/sts", any(Self::assume))
            .fallback(any(echo))
            .with_state(self);
        serve(router).await
    }

    async fn assume(axum::extract::State(this): axum::extract::State<Self>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        verify(&parts, &body);
        let form = url::form_urlencoded::parse(&body).into_owned().collect();
        let number = {
            let mut asked = this.asked.lock().unwrap();
            asked.push(form);
            asked.len()
        };
        if let Some((status, says)) = this.says {
            return (StatusCode::from_u16(status).unwrap(), says).into_response();
        }
        let ends = clock().now() + jiff::SignedDuration::from_secs(this.lifetime);
        format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA{number}</AccessKeyId>\
             <SecretAccessKey>secret&amp;{number}</SecretAccessKey><SessionToken>session-{number}</SessionToken>\
             <Expiration>{ends}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
        )
        .into_response()
    }
}

/// Signs a request once more as its header says, and compares.
fn verify(parts: &axum::http::request::Parts, body: &[u8]) {
    let text = |name: &str| parts.headers[name].to_str().unwrap().to_owned();
    let shown = text("authorization");
    let names = shown
        .split("SignedHeaders=")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    let mut headers = HeaderMap::new();
    for name in names
        .split(';')
        .filter(|name| *name != "host" && *name != "x-amz-date")
    {
        headers.insert(HeaderName::try_from(name).unwrap(), parts.headers[name].clone());
    }
    let signer = auth::test_signer("eu-central-1", "sts", "AKIDEXAMPLE", "wJalrXUtnFEMI");
    let mut url = url::Url::parse(&format!("http://{}{}", text("host"), parts.uri)).unwrap();
    let at = text("x-amz-date");
    let at = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", &at).unwrap();
    let at = at
        .to_datetime()
        .unwrap()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .unwrap()
        .timestamp();
    auth::sign_with(&signer, &parts.method, &mut url, &mut headers, body, at);
    assert_eq!(headers["authorization"].to_str().unwrap(), shown);
}

fn with_role(address: SocketAddr) -> HttpExecutor {
    let sigv4 = json!({
        "region": "eu-central-1", "service": "execute-api", "accessKeyID": key("id"), "secretAccessKey": key("secret"),
        "roleARN": "arn:aws:iam::123456789012:role/reports", "stsURL": format!("http://{address}/sts"),
    });
    through(address, json!({"auth": {"sigv4": sigv4}}))
}

#[tokio::test]
async fn a_role_is_assumed_once_and_its_credentials_sign_until_shortly_before_their_end() {
    for (lifetime, expected) in [(3_600, 1), (0, 3)] {
        let sts = Sts {
            lifetime,
            ..Sts::default()
        };
        let asked = Arc::clone(&sts.asked);
        let executor = with_role(sts.open().await);
        for _ in 0..3 {
            let seen = executor.once(&shop("/a")).await.unwrap().body;
            // what comes back holds no secret
            assert_eq!(seen["headers"]["x-amz-security-token"], "[redacted]");
            let signed = seen["headers"]["authorization"].as_str().unwrap();
            let scope =
                "AWS4-HMAC-SHA256 Credential=[redacted]/20261129/eu-central-1/execute-api/aws4_request";
            assert!(signed.starts_with(scope), "{signed}");
        }
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), expected);
        assert_eq!(asked[0]["Action"], "AssumeRole");
        assert_eq!(asked[0]["RoleArn"], "arn:aws:iam::123456789012:role/reports");
        assert_eq!(asked[0]["RoleSessionName"], "signoff-default-shop");
    }
}

#[tokio::test]
async fn calls_at_the_same_time_assume_a_role_once() {
    let sts = Sts {
        lifetime: 3_600,
        ..Sts::default()
    };
    let asked = Arc::clone(&sts.asked);
    let executor = with_role(sts.open().await);
    let request = shop("/a");
    let calls = (0..8).map(|_| executor.once(&request));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.unwrap().status, 200);
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refusal_of_a_role_says_why_and_whether_another_attempt_helps() {
    let denied = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>AKIDEXAMPLE may not</Message></Error></ErrorResponse>";
    let throttled = "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>";
    for (status, says, retryable, part) in [
        (403, denied, false, "AccessDenied [redacted] may not"),
        (400, throttled, true, "Throttling"),
        (503, "", true, "503"),
        (200, "<Expiration>soon</Expiration>", false, "Expiration"),
    ] {
        let sts = Sts {
            says: Some((status, says)),
            ..Sts::default()
        };
        let error = with_role(sts.open().await).once(&shop("/a")).await.unwrap_err();
        assert_eq!(error.reason, StepReason::CredentialsRefused);
        assert_eq!(
            (error.retryable, error.may_have_happened),
            (retryable, false),
            "{says}"
        );
        assert!(error.message.contains(part), "{}", error.message);
    }
}

#[tokio::test]
async fn a_token_service_at_an_address_that_may_not_be_called_is_not_called() {
    let sigv4 = json!({
        "region": "eu-central-1", "service": "s3", "accessKeyID": key("id"), "secretAccessKey": key("secret"),
        "roleARN": "arn:aws:iam::123456789012:role/reports", "stsURL": "http://169.254.169.254/",
    });
    let address = serve(Router::new().fallback(any(echo))).await;
    let executor = through(address, json!({"auth": {"sigv4": sigv4}}));
    let error = executor.once(&shop("/a")).await.unwrap_err();
    assert_eq!(error.reason, StepReason::AddressRefused);
}
