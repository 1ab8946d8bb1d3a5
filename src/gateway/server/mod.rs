//! Serves HTTP/1.1 and HTTP/2 to senders that nobody knows: every connection is bounded in time, and so is how many there are.
//!
//! A connection that has no request under way gives way to a new one when there are too many, the longest idle one of the address that
//! has most. So senders that say nothing keep out nobody. A new one is refused only while every other is at work.

mod activity;
mod connection;
mod limits;
mod seldom;
mod table;
#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use self::limits::ConnectionLimits;
use self::{connection::Ending, seldom::Seldom, table::Connections};
use crate::telemetry::metrics::Metrics;

/// Longest time that requests under way may take to end after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(10);
/// First and longest pause after an accept that failed for want of something, such as file descriptors.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// What a connection is told for which there is no room.
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";

/// One listener: who it is in logs and metrics, and what it bears.
#[derive(Clone, Debug)]
pub struct Listener {
    name: &'static str,
    limits: ConnectionLimits,
    metrics: Metrics,
}

impl Listener {
    /// The gateway's, which the outside reaches.
    pub fn gateway(limits: ConnectionLimits, metrics: Metrics) -> Self {
        let name = "gateway";
        Self {
            name,
            limits,
            metrics,
        }
    }

    /// That of health and metrics. It shares no bound with the gateway's.
    pub fn admin(metrics: Metrics) -> Self {
        Self {
            name: "admin",
            limits: ConnectionLimits::admin(),
            metrics,
        }
    }

    /// Serves routes until `shutdown`, then lets requests under way end.
    pub async fn serve(
        self,
        listener: TcpListener,
        router: Router,
        shutdown: CancellationToken,
    ) -> io::Result<()> {
        let listening = Listening {
            connections: Connections::new(self.limits),
            of: self,
            router,
            closing: shutdown.child_token(),
            full: Seldom::default(),
            failing: Seldom::default(),
        };
        listening.run(listener, shutdown).await
    }
}

struct Listening {
    of: Listener,
    connections: Connections,
    router: Router,
    closing: CancellationToken,
    full: Seldom,
    failing: Seldom,
}

impl Listening {
    async fn run(mut self, listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
        let mut open = JoinSet::new();
        let mut pause = FIRST_PAUSE;
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = open.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    pause = FIRST_PAUSE;
                    self.take(&mut open, stream, from);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.of.metrics.accept_failed(self.of.name);
                    if let Some(times) = self.failing.say(Instant::now()) {
                        tracing::warn!(listener = self.of.name, %error, times, "connections cannot be accepted");
                    }
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        }
        drop(listener);
        let ended = async { while open.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::info!(
                listener = self.of.name,
                "requests were still under way at the end of the drain time"
            );
        }
        Ok(())
    }

    fn take(&mut self, open: &mut JoinSet<()>, stream: TcpStream, from: SocketAddr) {
        let (name, metrics) = (self.of.name, self.of.metrics.clone());
        let Some(seat) = self.connections.admit(from.ip(), Instant::now()) else {
            metrics.connection_closed(name, Ending::Refused.reason());
            if let Some(times) = self.full.say(Instant::now()) {
                let limits = self.of.limits;
                tracing::warn!(listener = name, times, from = %from.ip(), most = limits.connections, most_of_one_address = limits.of_one_address,
                    "connections are refused: as many as may be open are at work");
            }
            // whoever is refused is told, as far as that needs no waiting
            let _ = stream.try_write(REFUSAL);
            return;
        };
        // small answers must not wait for each other
        let _ = stream.set_nodelay(true);
        metrics.connections_changed(name, 1);
        let (router, limits, closing) = (self.router.clone(), self.of.limits, self.closing.clone());
        open.spawn(async move {
            let counted = Counted(name, metrics.clone());
            let ending =
                connection::serve(stream, router, limits, Arc::clone(seat.activity()), closing).await;
            metrics.connection_closed(name, ending.reason());
            drop((seat, counted));
        });
    }
}

/// Counts a connection as open until it is dropped, even if its task breaks.
struct Counted(&'static str, Metrics);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.connections_changed(self.0, -1);
    }
}

/// Whether only the connection that was to be accepted is concerned, and the next may be good.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
