use std::{net::SocketAddr, sync::Arc};

use axum::{body::to_bytes, extract::Request, routing::any};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    sync::Semaphore,
    task::JoinHandle,
};

use super::*;

/// Longest wait for what is to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// No test waits for it.
const NEVER: Duration = Duration::from_secs(3_600);
const SOON: Duration = Duration::from_millis(50);

/// A server whose requests to `/held` are answered as the semaphore lets them.
struct Serving {
    at: SocketAddr,
    metrics: Metrics,
    held: Arc<Semaphore>,
    shutdown: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

async fn serving(limits: ConnectionLimits) -> Serving {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, metrics, shutdown) = (
        listener.local_addr().unwrap(),
        Metrics::new(),
        CancellationToken::new(),
    );
    let held = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&held);
    let router = Router::new()
        .route(
            "/",
            any(|request: Request| async move { to_bytes(request.into_body(), 1 << 20).await.unwrap() }),
        )
        .route(
            "/held",
            any(|| async move { wait.acquire().await.unwrap().forget() }),
        );
    let serving = Listener::gateway(limits, metrics.clone()).serve(listener, router, shutdown.clone());
    Serving {
        at,
        metrics,
        held,
        shutdown,
        task: tokio::spawn(serving),
    }
}

/// Limits that no test reaches, but for what it changes.
fn limits() -> ConnectionLimits {
    ConnectionLimits {
        connections: 100,
        of_one_address: 100,
        header_timeout: NEVER,
        request_timeout: NEVER,
        idle_timeout: NEVER,
    }
}

impl Serving {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }

    async fn connect_from(&self, address: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        socket.connect(self.at).await.unwrap()
    }

    /// Waits until so many connections were closed for this reason.
    async fn closed(&self, reason: &'static str, times: u64) {
        let closed = async {
            while self.metrics.connections_closed("gateway", reason) < times {
                tokio::task::yield_now().await;
            }
        };
        let closed = tokio::time::timeout(PATIENCE, closed).await;
        closed.unwrap_or_else(|_| panic!("{reason}: {}", self.metrics.render().unwrap()));
    }

    /// Waits until so many connections are open.
    async fn open(&self, count: usize) {
        let line = format!("signoff_connections{{listener=\"gateway\"}} {count}\n");
        let open = async {
            while !self.metrics.render().unwrap().contains(&line) {
                tokio::task::yield_now().await;
            }
        };
        let open = tokio::time::timeout(PATIENCE, open).await;
        open.unwrap_or_else(|_| panic!("not {count}: {}", self.metrics.render().unwrap()));
    }
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Reads until the connection is closed; what came before.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // a reset is an end too
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("the connection stays open");
    String::from_utf8(bytes).unwrap()
}

/// Reads the beginning of an answer.
async fn status(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 12];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut bytes))
        .await
        .expect("no answer comes")
        .unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const HELD: &str = "GET /held HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn one_that_sends_nothing_is_closed() {
    let serving = serving(ConnectionLimits {
        header_timeout: SOON,
        ..limits()
    })
    .await;
    let mut silent = serving.connect().await;
    assert_eq!(rest(&mut silent).await, "");
    serving.closed("HeadersTimedOut", 1).await;
}

#[tokio::test]
async fn one_whose_headers_trickle_is_closed_in_the_first_request_and_in_a_later_one() {
    let serving = serving(ConnectionLimits {
        header_timeout: Duration::from_millis(500),
        ..limits()
    })
    .await;
    for before in ["", GET] {
        let mut slow = serving.connect().await;
        send(&mut slow, before).await;
        if !before.is_empty() {
            assert_eq!(status(&mut slow).await, "HTTP/1.1 200");
        }
        let _ = slow.write_all(b"GET / HTTP/1.1\r\n").await;
        // it ends when the connection does
        let trickle = async {
            while slow.write_all(b"x: y\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, trickle)
            .await
            .expect("the connection stays open");
    }
    serving.closed("HeadersTimedOut", 2).await;
}

#[tokio::test]
async fn one_that_asks_nothing_more_is_closed_in_either_version() {
    let serving = serving(ConnectionLimits {
        idle_timeout: SOON,
        ..limits()
    })
    .await;
    let mut idle = serving.connect().await;
    send(&mut idle, GET).await;
    assert!(rest(&mut idle).await.starts_with("HTTP/1.1 200"));
    serving.closed("Idle", 1).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let answer = client
        .get(format!("http://{}/", serving.at))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (200, http::Version::HTTP_2)
    );
    serving.closed("Idle", 2).await;
}

#[tokio::test]
async fn a_request_under_way_is_neither_idle_nor_late() {
    let serving = serving(ConnectionLimits {
        idle_timeout: SOON,
        header_timeout: SOON,
        ..limits()
    })
    .await;
    let mut held = serving.connect().await;
    send(&mut held, HELD).await;
    // both times are over when another one was closed for them
    let mut idle = serving.connect().await;
    send(&mut idle, GET).await;
    rest(&mut idle).await;
    let mut silent = serving.connect().await;
    rest(&mut silent).await;
    serving.held.add_permits(1);
    assert_eq!(status(&mut held).await, "HTTP/1.1 200");
}

#[tokio::test]
async fn any_number_of_quiet_ones_keep_out_nobody() {
    let serving = serving(limits()).await;
    let mut quiet = Vec::new();
    for _ in 0..300 {
        quiet.push(serving.connect().await);
        let mut asks = serving.connect().await;
        send(&mut asks, GET).await;
        assert_eq!(status(&mut asks).await, "HTTP/1.1 200");
    }
    assert_eq!(rest(&mut quiet[0]).await, "");
    assert!(serving.metrics.connections_closed("gateway", "GaveWay") > 100);
    assert_eq!(serving.metrics.connections_closed("gateway", "Refused"), 0);
}

#[tokio::test]
async fn while_all_are_at_work_a_new_one_is_told_to_come_again() {
    let serving = serving(ConnectionLimits {
        connections: 2,
        ..limits()
    })
    .await;
    let mut held = [serving.connect().await, serving.connect().await];
    for stream in &mut held {
        send(stream, HELD).await;
    }
    let refused = async {
        loop {
            // one that still sends its headers gives way
            let mut new = serving.connect().await;
            let text = rest(&mut new).await;
            if !text.is_empty() {
                return text;
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert!(
        refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1"),
        "{refused}"
    );
}

#[tokio::test]
async fn one_address_does_not_take_the_room_of_another() {
    let serving = serving(ConnectionLimits {
        of_one_address: 2,
        ..limits()
    })
    .await;
    let mut busy = [
        serving.connect_from("127.0.0.2").await,
        serving.connect_from("127.0.0.2").await,
    ];
    for stream in &mut busy {
        send(stream, HELD).await;
    }
    serving.open(2).await;
    let mut other = serving.connect_from("127.0.0.3").await;
    send(&mut other, GET).await;
    assert_eq!(status(&mut other).await, "HTTP/1.1 200");
    let mut third = serving.connect_from("127.0.0.2").await;
    let refused = tokio::time::timeout(PATIENCE, async {
        loop {
            let text = rest(&mut third).await;
            if !text.is_empty() {
                return text;
            }
            third = serving.connect_from("127.0.0.2").await;
        }
    });
    assert!(refused.await.unwrap().starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let serving = serving(limits()).await;
    let mut large = serving.connect().await;
    send(&mut large, "GET / HTTP/1.1\r\nx: ").await;
    // the rest is not read to its end
    let _ = large.write_all("y".repeat(1 << 20).as_bytes()).await;
    let answer = rest(&mut large).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    serving.open(0).await;
}

#[tokio::test]
async fn requests_under_way_end_before_the_server_does() {
    let serving = serving(limits()).await;
    let mut held = serving.connect().await;
    send(&mut held, HELD).await;
    let mut idle = serving.connect().await;
    send(&mut idle, GET).await;
    assert_eq!(status(&mut idle).await, "HTTP/1.1 200");
    serving.shutdown.cancel();
    rest(&mut idle).await;
    serving.held.add_permits(1);
    assert_eq!(status(&mut held).await, "HTTP/1.1 200");
    serving.task.await.unwrap().unwrap();
}
