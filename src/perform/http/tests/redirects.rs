//! Redirects: what goes along, and what does not.

use super::*;

const SECRET: &str = "s3cr3t-token";

/// Answers with a redirect to this address.
fn to_there(location: String) -> axum::routing::MethodRouter {
    any(move || std::future::ready((StatusCode::FOUND, [(LOCATION, location)])))
}

/// Redirects to an address with the query that it was called with.
fn repeating(location: String) -> axum::routing::MethodRouter {
    any(move |request: Request| {
        let query = request.uri().query().unwrap_or_default();
        let location = format!("{location}?{query}");
        std::future::ready((StatusCode::FOUND, [(LOCATION, location)]))
    })
}

fn executor_with(base: SocketAddr, http: Value) -> HttpExecutor {
    let mut http = http;
    http["baseURL"] = format!("http://{base}").into();
    ApiServer::new(json!({ "shop": { "http": http } }), &[("token", SECRET)]).executor()
}

fn token() -> Value {
    json!({"name": "shop", "key": "token"})
}

#[tokio::test]
async fn a_secret_in_the_query_does_not_leave_with_a_server_that_repeats_it() {
    let other = serve(Router::new().fallback(any(echo))).await;
    let home = Router::new()
        .route("/away", repeating(format!("http://{other}/x")))
        .route("/near", repeating("/echo".to_owned()))
        .route("/hidden", to_there(format!("http://{other}/x/{SECRET}")))
        .route("/echo", any(echo));
    let address = serve(home).await;
    let auth = json!({"auth": {"query": {"name": "api_key", "value": token()}}});
    let executor = executor_with(address, auth);
    let call = async |path: &str| executor.once(&shop(path)).await.unwrap();
    assert_eq!(call("/away?a=1").await.body["uri"], "/x?a=1");
    assert_eq!(
        call("/near?a=1").await.body["uri"],
        "/echo?a=1&api_key=[redacted]"
    );
    let hidden = call("/hidden").await;
    assert_eq!((hidden.status, hidden.body), (302, Value::Null));
}

#[tokio::test]
async fn another_origin_gets_no_header_of_the_connection_and_no_key() {
    let other = serve(Router::new().fallback(any(echo))).await;
    let with_login = format!("http://user:pw@{other}/x");
    let address = serve(Router::new().route("/away", to_there(with_login))).await;
    let http = json!({
        "auth": {"header": {"name": "X-Api-Key", "value": token()}}, "headers": {"X-Version": "2"}, "idempotencyHeader": "X-Request-Id",
    });
    let mut request = shop("/away");
    let given = [
        ("x-api-key", "own"),
        ("x-version", "1"),
        ("Cookie", "a=1"),
        ("X-Order", "81"),
    ];
    request.headers = given
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let seen = executor_with(address, http).once(&request).await.unwrap().body;
    let headers = seen["headers"].as_object().unwrap();
    for name in [
        "authorization",
        "cookie",
        "x-api-key",
        "x-version",
        "x-request-id",
    ] {
        assert!(!headers.contains_key(name), "{name} in {headers:?}");
    }
    assert_eq!(headers["x-order"], "81");
}

#[tokio::test]
async fn no_message_holds_a_secret_that_a_redirect_has_in_its_path() {
    let broken = any(|| async { ([("content-type", "application/json")], "{") });
    let home = Router::new()
        .route("/bad", to_there(format!("/broken/{SECRET}")))
        .route("/large", to_there(format!("/big/{SECRET}")))
        .route("/inside", to_there(format!("http://169.254.169.254/{SECRET}")))
        .route("/broken/{secret}", broken)
        .route("/big/{secret}", any(|| async { vec![b'x'; MAX_BODY + 1] }));
    let address = serve(home).await;
    let executor = executor_with(address, json!({"auth": {"bearer": token()}}));
    for (path, reason) in [
        ("/bad", StepReason::InvalidResponse),
        ("/large", StepReason::ResponseTooLarge),
    ] {
        let error = executor.once(&shop(path)).await.unwrap_err();
        assert_eq!(error.reason, reason);
        assert!(
            error.message.contains("/[redacted]") && !error.message.contains(SECRET),
            "{}",
            error.message
        );
    }
    // it is not even followed
    assert_eq!(executor.once(&shop("/inside")).await.unwrap().status, 302);
}

#[tokio::test]
async fn a_host_from_data_leads_nowhere_inside() {
    let address = serve(Router::new().fallback(any(echo))).await;
    let executor = executor(address);
    let call = async |target: HttpTarget| executor.once(&effect(target)).await;
    let url = format!("http://{address}/x");
    assert_eq!(call(HttpTarget::Url(url.clone())).await.unwrap().status, 200);
    for url in [
        url,
        format!("http://localhost:{}/x", address.port()),
        "http://10.255.255.1/".to_owned(),
    ] {
        let error = call(HttpTarget::PublicUrl(url)).await.unwrap_err();
        assert_eq!(
            (error.reason, error.may_have_happened),
            (StepReason::AddressRefused, false)
        );
    }
}
