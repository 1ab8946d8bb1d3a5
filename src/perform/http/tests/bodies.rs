//! What is sent, and answers as servers send them.

use super::*;

#[tokio::test]
async fn bodies_are_read_by_their_content_type() {
    let router = Router::new()
        .route("/text", any(|| async { "a text" }))
        .route("/none", any(|| async { StatusCode::NO_CONTENT }))
        .route(
            "/bad",
            any(|| async { ([("content-type", "application/json")], "{") }),
        )
        .route(
            "/page",
            any(|| async {
                (
                    StatusCode::BAD_GATEWAY,
                    [("content-type", "application/problem+json")],
                    "<html>",
                )
            }),
        );
    let address = serve(router).await;
    let executor = executor(address);
    let call = async |path| executor.once(&to(address, path)).await;
    assert_eq!(call("/text").await.unwrap().body, json!("a text"));
    assert_eq!(call("/none").await.unwrap().body, Value::Null);
    assert_eq!(
        call("/bad").await.unwrap_err().reason,
        StepReason::InvalidResponse
    );
    let page = call("/page").await.unwrap();
    assert_eq!((page.status, page.body), (502, json!("<html>")));
}

#[tokio::test]
async fn a_form_and_a_text_are_sent_as_such() {
    let address = serve(Router::new().fallback(any(echo))).await;
    let executor = executor(address);
    let send = async |body: HttpBody, headers: &[(&str, &str)]| {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let request = HttpRequest {
            method: HttpMethod::Post,
            body: Some(body),
            headers: headers.collect(),
            ..to(address, "/")
        };
        let seen = executor.once(&request).await.unwrap().body;
        (seen["headers"]["content-type"].clone(), seen["body"].clone())
    };
    let form = [
        ("a b".to_owned(), "1&2".to_owned()),
        ("c".to_owned(), "ö".to_owned()),
    ];
    assert_eq!(
        send(HttpBody::Form(form.into()), &[]).await,
        (
            json!("application/x-www-form-urlencoded"),
            json!("a+b=1%262&c=%C3%B6")
        )
    );
    assert_eq!(
        send(HttpBody::Text("hello".to_owned()), &[]).await,
        (json!("text/plain; charset=utf-8"), json!("hello"))
    );
    assert_eq!(
        send(
            HttpBody::Text("<a/>".to_owned()),
            &[("Content-Type", "application/xml")]
        )
        .await,
        (json!("application/xml"), json!("<a/>"))
    );
}

#[tokio::test]
async fn a_method_with_content_says_that_it_has_none() {
    let address = serve(Router::new().fallback(any(echo))).await;
    let executor = executor(address);
    for (method, expected) in [
        (HttpMethod::Post, json!("0")),
        (HttpMethod::Put, json!("0")),
        (HttpMethod::Get, Value::Null),
        (HttpMethod::Delete, Value::Null),
    ] {
        let request = HttpRequest {
            method,
            ..to(address, "/")
        };
        let seen = executor.once(&request).await.unwrap().body;
        assert_eq!(seen["headers"]["content-length"], expected, "{method}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_quite_json_does_not_fail_a_call_that_succeeded() {
    let as_type = |charset: &'static str, bytes: &'static [u8]| {
        any(move || async move { ([("content-type", charset)], bytes) })
    };
    let router = Router::new()
        .route("/bom", as_type("application/json", b"\xef\xbb\xbf{\"a\": 1}"))
        .route("/break", as_type("application/json", b"\r\n"))
        .route(
            "/latin",
            as_type("application/json; charset=ISO-8859-1", b"\"caf\xe9\""),
        )
        .route("/wide", as_type("application/json", b"\xff\xfe1\0"))
        .route("/text", as_type("text/plain; charset=windows-1252", b"\x80"))
        .route(
            "/ids",
            as_type(
                "application/json",
                b"{\"id\": 12345678901234567890123, \"n\": 9007199254740993}",
            ),
        );
    let address = serve(router).await;
    let executor = executor(address);
    let call = async |path: &str| executor.once(&to(address, path)).await.unwrap().body;
    assert_eq!(call("/bom").await, json!({"a": 1}));
    assert_eq!(call("/break").await, Value::Null);
    assert_eq!(call("/latin").await, json!("café"));
    assert_eq!(call("/wide").await, json!(1));
    assert_eq!(call("/text").await, json!("€"));
    assert_eq!(
        call("/ids").await,
        json!({"id": "12345678901234567890123", "n": 9_007_199_254_740_993_i64})
    );
}
