//! Messages through Connections to channels.

use super::*;
use signoff_engine::effect::HttpChannel;

fn post(channel: HttpChannel, name: &str, path: &str, body: HttpBody) -> HttpRequest {
    HttpRequest {
        method: HttpMethod::Post,
        body: Some(body),
        ..effect(HttpTarget::Channel {
            channel,
            name: name.parse().unwrap(),
            path: path.into(),
            bound: None,
        })
    }
}

fn message() -> HttpBody {
    HttpBody::Json(json!({ "text": "hi" }))
}

const TOKEN: &str = "dG9rZW4tb2YtYS13ZWJob29r";

fn of(base: SocketAddr) -> ApiServer {
    let url = format!("http://{base}/webhooks/1/{TOKEN}?sig=abcdefghijklmnopqrst");
    let connections = json!({
        "slack": {"slack": {"token": {"name": "shop", "key": "token"}, "baseURL": format!("http://{base}/api")}},
        "teams": {"teams": {"url": {"name": "shop", "key": "url"}}},
        "discord": {"discord": {"url": {"name": "shop", "key": "url"}}},
        "broken": {"discord": {"url": {"name": "shop", "key": "token"}}},
        "hook": {"webhook": {"url": format!("http://{base}/hook"), "secret": {"name": "shop", "key": "secret"}}},
        "weak": {"webhook": {"url": format!("http://{base}/hook"), "secret": {"name": "shop", "key": "short"}}},
        "http": {"http": {"baseURL": format!("http://{base}/v1"), "auth": {"bearer": {"name": "shop", "key": "token"}}}},
    });
    ApiServer::new(
        connections,
        &[
            ("token", "xoxb-s3cr3t-token"),
            ("url", &url),
            ("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            ("short", "short"),
        ],
    )
}

#[tokio::test]
async fn a_channel_is_called_at_its_own_address_and_nothing_secret_comes_back() {
    let base = serve(Router::new().fallback(any(echo))).await;
    let executor = of(base).executor();
    let slack = post(HttpChannel::Slack, "slack", "/chat.postMessage", message());
    let seen = executor.once(&slack).await.unwrap().body;
    assert_eq!(
        (&seen["uri"], &seen["body"]),
        (&json!("/api/chat.postMessage"), &json!({"text": "hi"}))
    );
    assert_eq!(seen["headers"]["authorization"], "Bearer [redacted]");
    for channel in [HttpChannel::Teams, HttpChannel::Discord] {
        let name = if channel == HttpChannel::Teams {
            "teams"
        } else {
            "discord"
        };
        let seen = executor
            .once(&post(channel, name, "", message()))
            .await
            .unwrap()
            .body;
        assert_eq!(seen["method"], "POST");
        let uri = seen["uri"].as_str().unwrap();
        assert!(
            uri.starts_with("/webhooks/1/[redacted]") && !uri.contains("abcdef"),
            "{uri}"
        );
    }
}

#[tokio::test]
async fn a_failure_names_no_part_of_a_secret_address() {
    // nobody listens there any more
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = listener.local_addr().unwrap();
    drop(listener);
    let executor = of(base).executor();
    let failed = executor
        .once(&post(HttpChannel::Discord, "discord", "", message()))
        .await;
    let failed = failed.unwrap_err();
    assert_eq!(failed.reason, StepReason::Unreachable);
    assert!(
        !failed.message.contains("webhooks") && failed.message.contains("127.0.0.1"),
        "{}",
        failed.message
    );
    let failed = executor
        .once(&post(HttpChannel::Discord, "broken", "", message()))
        .await
        .unwrap_err();
    assert_eq!(failed.reason, StepReason::CredentialsRefused);
    assert!(!failed.message.contains("s3cr3t"), "{}", failed.message);
}

#[tokio::test]
async fn a_channel_takes_no_connection_of_another_kind() {
    let base = serve(Router::new().fallback(any(echo))).await;
    let executor = of(base).executor();
    for (channel, name) in [
        (HttpChannel::Slack, "teams"),
        (HttpChannel::Teams, "discord"),
        (HttpChannel::Discord, "slack"),
        (HttpChannel::Webhook, "slack"),
        (HttpChannel::Slack, "http"),
    ] {
        let refused = executor
            .once(&post(channel, name, "", message()))
            .await
            .unwrap_err();
        assert_eq!(
            refused.reason,
            StepReason::ConnectionNotFound,
            "{channel:?} {name}"
        );
    }
    let step_of_http = effect(HttpTarget::Connection {
        name: "slack".parse().unwrap(),
        path: "/users.list".into(),
        bound: None,
    });
    let refused = executor.once(&step_of_http).await;
    assert_eq!(refused.unwrap_err().reason, StepReason::ConnectionNotFound);
    let weak = executor
        .once(&post(HttpChannel::Webhook, "weak", "", message()))
        .await;
    assert_eq!(weak.unwrap_err().reason, StepReason::CredentialsRefused);
}

#[tokio::test]
async fn a_webhook_is_signed_and_a_cloud_event_has_the_key_as_its_id() {
    let base = serve(Router::new().fallback(any(echo))).await;
    let executor = of(base).executor();
    let event = HttpBody::CloudEvent(json!({ "specversion": "1.0", "type": "t", "source": "s" }));
    for name in ["hook", "http"] {
        let seen = executor
            .once(&post(HttpChannel::Webhook, name, "/x", event.clone()))
            .await
            .unwrap()
            .body;
        assert_eq!(seen["body"]["id"], "key-1");
        let headers = &seen["headers"];
        assert_eq!(
            headers["content-type"],
            "application/cloudevents+json; charset=UTF-8"
        );
        if name == "hook" {
            assert_eq!(headers["webhook-id"], "key-1");
            assert_eq!(headers["webhook-timestamp"], "1795953600");
            assert!(headers["webhook-signature"].as_str().unwrap().starts_with("v1,"));
        } else {
            assert_eq!(headers["webhook-signature"], Value::Null);
            assert_eq!(headers["idempotency-key"], "key-1");
        }
    }
}

#[tokio::test]
async fn what_was_posted_is_posted_whatever_the_receiver_writes_about_it() {
    const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
    let large = || "x".repeat(3 << 20);
    let router = Router::new()
        .route("/hook/word", any(|| async { (JSON, "ok") }))
        .route("/hook/large", any(move || async move { large() }))
        .route(
            "/hook/refused",
            any(move || async move { (StatusCode::NOT_FOUND, large()) }),
        )
        .route(
            "/hook/why",
            any(|| async { (StatusCode::BAD_REQUEST, "no such hook") }),
        )
        .route(
            "/hook/endless",
            any(|| async { Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()) }),
        );
    let base = serve(router).await;
    let executor = of(base).executor();
    for (path, status, body) in [
        ("/word", 200, Value::Null),
        ("/large", 200, Value::Null),
        ("/endless", 200, Value::Null),
        ("/refused", 404, Value::Null),
        ("/why", 400, json!("no such hook")),
    ] {
        let request = HttpRequest {
            reads_body: false,
            ..post(HttpChannel::Webhook, "hook", path, message())
        };
        let answer = executor.once(&request).await.unwrap();
        assert_eq!((answer.status, answer.body), (status, body), "{path}");
    }
}
