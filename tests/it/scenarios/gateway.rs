//! Senders that hold connections, send slowly, or send what takes long to look at: others are served meanwhile.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use signoff::{gateway::ConnectionLimits, operator::OperatorOptions};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    rig::{PATIENCE, Rig, Running},
    shop::Shop,
};

/// An operator whose gateway is so bounded, and the address of the callback that a run `r` waits for.
async fn waiting(limits: ConnectionLimits, callback: Value) -> (Rig, Shop, Running, String) {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let choose = |options: &mut OperatorOptions| options.connections = limits;
    let operator = rig.operator_as(rig.operator_client(), choose).await.unwrap();
    let steps = json!([
        {"name": "tell", "http": {"method": "POST", "url": shop.url("/tell"), "body": {"url": "${callback('settled').url}"}}},
        {"name": "settled", "wait": {"callback": callback}},
    ]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.phase("r", "Waiting").await;
    let url = shop.asked("/tell")[0].body["url"].as_str().unwrap().to_owned();
    (rig, shop, operator, url)
}

async fn post(url: &str, body: String) -> StatusCode {
    let sent = reqwest::Client::new()
        .post(url)
        .header("content-type", "application/json")
        .body(body)
        .send();
    sent.await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn more_idle_connections_than_there_is_room_for_keep_neither_callbacks_nor_health_out() {
    let limits = ConnectionLimits {
        connections: 1_000,
        of_one_address: 1_000,
        // no test waits for it: what makes room is that they are idle
        header_timeout: Duration::from_secs(3_600),
        ..ConnectionLimits::default()
    };
    let (rig, _shop, operator, url) = waiting(limits, json!({})).await;
    let mut idle = Vec::new();
    for number in 0..1_100 {
        let mut stream = TcpStream::connect(rig.gateway()).await.unwrap();
        if number % 2 == 0 {
            // one of two has begun a request; it may have had to give way already
            let _ = stream.write_all(b"POST /v1/callbacks/x HTTP/1.1\r\nx: ").await;
        }
        idle.push(stream);
    }
    assert_eq!(rig.health(PATIENCE).await.unwrap(), "ok");
    assert_eq!(post(&url, r#"{"paid":1}"#.to_owned()).await, StatusCode::ACCEPTED);
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_to_an_end_is_told_so_and_keeps_out_nobody() {
    let limits = ConnectionLimits {
        connections: 8,
        request_timeout: Duration::from_millis(500),
        ..ConnectionLimits::default()
    };
    let (rig, _shop, operator, url) = waiting(limits, json!({})).await;
    let path = url.splitn(4, '/').nth(3).unwrap();
    let head = format!(
        "POST /{path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(rig.gateway()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    for stream in &mut slow {
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
        read.expect("the connection stays open").unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    assert_eq!(post(&url, "{}".to_owned()).await, StatusCode::ACCEPTED);
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
}
