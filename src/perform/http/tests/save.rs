//! Answers that are kept as resources, and resources that are sent.

use futures::TryStreamExt as _;

use super::*;
use crate::store::{Settings, Stored};
use signoff_api::{Digest, Resource};
use signoff_engine::effect::SaveBody;

/// A store in a folder that lasts as long as the test.
fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::folder(dir.path()).unwrap();
    let store = Store::open(&settings, &Network::new(AddressPolicy::default())).unwrap();
    (dir, store)
}

fn saving(request: HttpRequest) -> HttpRequest {
    HttpRequest {
        save: Some(SaveBody { status: vec![] }),
        ..request
    }
}

fn resource(response: &HttpResponse) -> Resource {
    serde_json::from_value(response.body.clone()).unwrap()
}

async fn content(store: &Store, resource: &Resource) -> Bytes {
    let content = store.read(&run(), &resource.sha256, u64::MAX).await.unwrap();
    content.whole().await.unwrap()
}

fn report(path: &'static str, content_type: &'static str, body: impl Into<Bytes>) -> Router {
    let body = body.into();
    Router::new().route(
        path,
        any(move || async move { ([("content-type", content_type)], body) }),
    )
}

/// The first attempt of a request, kept in a store.
async fn kept(
    store: &Store,
    address: SocketAddr,
    request: &HttpRequest,
) -> Result<HttpResponse, EffectError> {
    executor(address)
        .keeping_in(Some(store.clone()))
        .once(request)
        .await
}

#[tokio::test]
async fn a_body_is_kept_whether_it_is_text_or_not_and_becomes_a_resource() {
    let big: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let router = report("/text", "text/csv; charset=utf-8", "a;b\n")
        .merge(report("/json", "application/json", "{\"a\": 1}"))
        .merge(report("/empty", "text/plain", ""))
        .merge(report("/big", "application/zip", big.clone()));
    let address = serve(router).await;
    let (_dir, store) = store();
    for (path, media_type, expected) in [
        ("/text", "text/csv; charset=utf-8", &b"a;b\n"[..]),
        ("/json", "application/json", b"{\"a\": 1}"),
        ("/empty", "text/plain", b""),
        ("/big", "application/zip", &big),
    ] {
        let response = kept(&store, address, &saving(to(address, path))).await.unwrap();
        let resource = resource(&response);
        assert_eq!(resource.reference.to_string(), "res://default/refund-1/s/body");
        assert_eq!(
            (resource.media_type.as_str(), resource.bytes()),
            (media_type, Some(expected.len() as u64))
        );
        assert_eq!(resource.sha256, Digest::of(expected));
        assert!(content(&store, &resource).await == expected, "{path}");
    }
}

#[tokio::test]
async fn a_status_that_is_not_expected_is_read_and_not_kept() {
    let router = Router::new().route("/gone", any(|| async { (StatusCode::GONE, "it is gone") }));
    let address = serve(router).await;
    let (dir, store) = store();
    let response = kept(&store, address, &saving(to(address, "/gone")))
        .await
        .unwrap();
    assert_eq!((response.status, response.body), (410, json!("it is gone")));
    // no run has kept anything
    let runs = std::fs::read_dir(dir.path().join("runs")).unwrap();
    assert_eq!(runs.count(), 0);
    let wanted = HttpRequest {
        save: Some(SaveBody { status: vec![410] }),
        ..to(address, "/gone")
    };
    let response = kept(&store, address, &wanted).await.unwrap();
    assert_eq!(content(&store, &resource(&response)).await, "it is gone");
}

#[tokio::test]
async fn a_binary_body_becomes_a_resource_by_itself_and_text_stays_text() {
    let router = report("/pdf", "application/pdf", &b"%PDF\0\xff"[..])
        .merge(report("/unnamed", "application/octet-stream", "plain text"))
        .merge(report(
            "/latin",
            "text/plain; charset=iso-8859-1",
            &b"caf\xe9"[..],
        ));
    let address = serve(router).await;
    let (_dir, store) = store();
    let call = async |path| kept(&store, address, &to(address, path)).await.unwrap();
    let resource = resource(&call("/pdf").await);
    assert_eq!(resource.media_type, "application/pdf");
    assert_eq!(content(&store, &resource).await, &b"%PDF\0\xff"[..]);
    assert_eq!(call("/unnamed").await.body, json!("plain text"));
    assert_eq!(call("/latin").await.body, json!("café"));
    // without a store all is as it was
    let response = executor(address).once(&to(address, "/pdf")).await.unwrap();
    assert_eq!(response.body, json!("%PDF\0\u{fffd}"));
}

#[tokio::test]
async fn without_a_store_nothing_is_sent() {
    let seen = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&seen);
    let count = move || async move { *counted.lock().unwrap() += 1 };
    let address = serve(Router::new().fallback(any(count))).await;
    let error = executor(address)
        .once(&saving(to(address, "/")))
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason, error.retryable, error.may_have_happened),
        (StepReason::NoStore, false, false)
    );
    assert_eq!(*seen.lock().unwrap(), 0);
}

#[tokio::test]
async fn what_is_kept_holds_none_of_the_secrets_that_were_used() {
    let with_secret = |length: usize| {
        let mut body = vec![0xff; length];
        body[length / 2..length / 2 + 12].copy_from_slice(b"s3cr3t-token");
        body
    };
    let router = report(
        "/v1/text",
        "text/plain",
        "token: s3cr3t-token, as base64: czNjcjN0LXRva2Vu",
    )
    .merge(report("/v1/binary", "application/zip", with_secret(3 << 20)));
    let address = serve(router).await;
    let (_dir, store) = store();
    for path in ["/text", "/binary"] {
        let response = kept(&store, address, &saving(shop(path))).await.unwrap();
        let content = content(&store, &resource(&response)).await;
        assert!(memchr::memmem::find(&content, b"s3cr3t").is_none(), "{path}");
        assert!(memchr::memmem::find(&content, b"czNjcjN0").is_none(), "{path}");
        assert!(memchr::memmem::find(&content, b"[redacted]").is_some(), "{path}");
    }
}

#[tokio::test]
async fn what_is_longer_than_the_limit_is_refused_whether_or_not_its_length_is_said() {
    let endless = || async {
        Body::from_stream(stream::repeat_with(|| {
            Ok::<_, std::convert::Infallible>(Bytes::from(vec![0xff; 1 << 20]))
        }))
    };
    let router = Router::new().route("/endless", any(endless));
    let address = serve(router).await;
    let (dir, store) = store();
    let error = kept(&store, address, &saving(to(address, "/endless")))
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason, error.may_have_happened),
        (StepReason::ResponseTooLarge, true)
    );
    // what was received is given up beside the test
    let gone = async {
        while !walk(dir.path()).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(20), gone).await;
    assert!(gone.is_ok(), "{:?}", walk(dir.path()));
}

/// The files in a folder.
fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .collect()
}

/// A request that sends a resource of the run.
fn sending(address: SocketAddr, stored: &Stored) -> HttpRequest {
    let resource = json!({
        "ref": "res://default/refund-1/fetch/body", "size": stored.size, "mediaType": "application/zip",
        "sha256": stored.sha256,
    });
    HttpRequest {
        method: HttpMethod::Post,
        body: Some(HttpBody::Resource(serde_json::from_value(resource).unwrap())),
        ..to(address, "/")
    }
}

/// Answers with how long a body was that arrived whole, and what its headers said.
async fn weigh(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let said = (header("content-type"), header("content-length"));
    let mut pieces = body.into_data_stream();
    let mut received = Vec::new();
    while let Ok(Some(piece)) = pieces.try_next().await {
        received.extend_from_slice(&piece);
    }
    axum::Json(json!({ "sha256": Digest::of(&received), "type": said.0, "length": said.1 })).into_response()
}

#[tokio::test]
async fn a_resource_is_sent_with_its_media_type_and_length() {
    let address = serve(Router::new().fallback(any(weigh))).await;
    let (_dir, store) = store();
    let content: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let stored = store.put(&run(), content.into()).await.unwrap();
    let response = kept(&store, address, &sending(address, &stored)).await.unwrap();
    let expected = json!({ "sha256": stored.sha256, "type": "application/zip", "length": "8000000" });
    assert_eq!(response.body, expected);
}

#[tokio::test]
async fn content_that_was_changed_in_the_store_is_never_sent_whole() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let counted = Arc::clone(&seen);
    let count = move |body: Body| async move {
        let whole = axum::body::to_bytes(body, usize::MAX).await.is_ok();
        counted.lock().unwrap().push(whole);
    };
    let address = serve(Router::new().fallback(any(count))).await;
    let (dir, store) = store();
    let stored = store.put(&run(), vec![7; 1 << 20].into()).await.unwrap();
    let file = walk(dir.path()).remove(0);
    let mut changed = vec![7; 1 << 20];
    changed[1000] = 8;
    std::fs::write(&file, changed).unwrap();
    let error = kept(&store, address, &sending(address, &stored))
        .await
        .unwrap_err();
    assert_eq!((error.reason, error.retryable), (StepReason::HashMismatch, false));
    assert!(!seen.lock().unwrap().contains(&true));
    // of another length it is not even begun
    std::fs::write(&file, vec![7; 100]).unwrap();
    let error = kept(&store, address, &sending(address, &stored))
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason, error.may_have_happened),
        (StepReason::HashMismatch, false)
    );
    std::fs::remove_file(&file).unwrap();
    let error = kept(&store, address, &sending(address, &stored))
        .await
        .unwrap_err();
    assert_eq!(error.reason, StepReason::ResourceNotFound);
}
