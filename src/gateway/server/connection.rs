//! One connection, from its first byte to its end.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use axum::{Router, body::Body};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{
    activity::{Activity, Watched},
    limits::ConnectionLimits,
};

/// Longest time that what was answered may take to leave after the connection was told to close.
const GRACE: Duration = Duration::from_secs(1);
/// Most bytes of the headers of one request, and how much of a body is read at a time.
const HEADERS: usize = 32 << 10;
/// Most requests under way on one connection of HTTP/2.
const STREAMS: u32 = 64;
/// How much one of them, and all of them, may send before it is read.
const STREAM_WINDOW: u32 = 128 << 10;
const WINDOW: u32 = 256 << 10;
/// How often a silent connection with requests under way is asked whether there is anybody, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// Why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// There was no room for it.
    Refused,
    /// The other side closed it, or it was asked to.
    Closed,
    /// It broke, or what came was not HTTP.
    Broken,
    /// The headers of a request took too long.
    Headers,
    /// Nothing was asked for too long.
    Idle,
    /// It gave way to a new one.
    GaveWay,
    /// The process ends.
    Shutdown,
}

impl Ending {
    /// As a metric's label.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Refused => "Refused",
            Self::Closed => "Closed",
            Self::Broken => "Broken",
            Self::Headers => "HeadersTimedOut",
            Self::Idle => "Idle",
            Self::GaveWay => "GaveWay",
            Self::Shutdown => "Shutdown",
        }
    }
}

/// Serves requests of one connection until it ends, and says why it did.
pub(super) async fn serve(
    stream: TcpStream,
    router: Router,
    limits: ConnectionLimits,
    activity: Arc<Activity>,
    shutdown: CancellationToken,
) -> Ending {
    let requests = Arc::clone(&activity);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let under_way = requests.request(request.version() == hyper::Version::HTTP_2);
        let answered = router.clone().oneshot(request.map(Body::new));
        async move {
            let answered = answered.await;
            drop(under_way);
            answered
        }
    });
    let watched = Watched {
        stream: TokioIo::new(stream),
        activity: Arc::clone(&activity),
    };
    let builder = builder();
    let mut connection = pin!(builder.serve_connection(watched, service));
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut told: Option<(Instant, Ending)> = None;
    loop {
        let due = |now: Option<(Instant, Ending)>| match now {
            None => activity.deadline(&limits),
            Some((since, _)) => activity.end(since, GRACE),
        };
        let ending = tokio::select! {
            biased;
            served = poll_fn(|context| {
                if let Poll::Ready(served) = connection.as_mut().poll(context) {
                    return Poll::Ready(Some(served));
                }
                // what was read may have changed how long there is
                poll_until(&mut timer, due(told), context).map(|()| None)
            }) => match served {
                Some(served) => {
                    return told.map_or(if served.is_ok() { Ending::Closed } else { Ending::Broken }, |(_, ending)| ending);
                }
                None => match told {
                    Some((_, ending)) => return ending,
                    None if activity.awaits_headers() => Ending::Headers,
                    None => Ending::Idle,
                },
            },
            () = shutdown.cancelled(), if told.is_none() => Ending::Shutdown,
            () = activity.asked_to_give_way(), if told.is_none() => Ending::GaveWay,
        };
        told = Some((Instant::now(), ending));
        connection.as_mut().graceful_shutdown();
    }
}

fn poll_until(
    timer: &mut Pin<&mut Sleep>,
    due: Option<Instant>,
    context: &mut std::task::Context<'_>,
) -> Poll<()> {
    let Some(due) = due else {
        return Poll::Pending;
    };
    if timer.deadline() != due {
        timer.as_mut().reset(due);
    }
    timer.as_mut().poll(context)
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // how long headers may take is said by what the connection is at
        .header_read_timeout(None)
        .max_buf_size(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(HEADERS).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}
