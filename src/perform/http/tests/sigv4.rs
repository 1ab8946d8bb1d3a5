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
