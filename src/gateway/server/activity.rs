//! What a connection is at, and how long it may be.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::{sync::Notify, time::Instant};

use super::limits::ConnectionLimits;

/// What one connection is at. Whoever needs its place asks it to give way.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    give_way: Notify,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    requests: usize,
    /// Whether what is read may be something else than a request.
    is_http2: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The headers of a request are awaited.
    Headers,
    /// Requests are under way.
    Requests,
    /// Nothing is under way.
    Idle,
}

impl Activity {
    /// Of a connection that was just accepted: its first request is due.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Headers,
                since: now,
                requests: 0,
                is_http2: false,
            }),
            give_way: Notify::new(),
        }
    }

    /// When it has to be at something else; nothing while requests are under way, which have a time of their own.
    pub(super) fn deadline(&self, limits: &ConnectionLimits) -> Option<Instant> {
        let state = self.lock();
        match state.phase {
            Phase::Headers => Some(state.since + limits.header_timeout),
            Phase::Requests => None,
            Phase::Idle => Some(state.since + limits.idle_timeout),
        }
    }

    /// When it is cut off after it was told to close; nothing while requests are under way.
    pub(super) fn end(&self, told: Instant, grace: Duration) -> Option<Instant> {
        let state = self.lock();
        (state.phase != Phase::Requests).then(|| state.since.max(told) + grace)
    }

    /// Since when no request has been under way, if none is.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        let state = self.lock();
        (state.phase != Phase::Requests).then_some(state.since)
    }

    /// Whether it has not sent all headers of a request that it has begun, or of its first.
    pub(super) fn awaits_headers(&self) -> bool {
        self.lock().phase == Phase::Headers
    }

    /// Asks it to close.
    pub(super) fn give_way(&self) {
        self.give_way.notify_one();
    }

    /// Returns when it is asked to close.
    pub(super) async fn asked_to_give_way(&self) {
        self.give_way.notified().await;
    }

    /// Something was read.
    fn read(&self, now: Instant) {
        let mut state = self.lock();
        if state.phase == Phase::Idle && !state.is_http2 {
            state.phase = Phase::Headers;
            state.since = now;
        }
    }

    /// A request has come with all its headers; it is under way until what this gives is dropped.
    pub(super) fn request(self: &Arc<Self>, is_http2: bool) -> Request {
        let mut state = self.lock();
        state.requests += 1;
        state.phase = Phase::Requests;
        state.is_http2 |= is_http2;
        drop(state);
        Request(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Request(Arc<Activity>);

impl Drop for Request {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.requests -= 1;
        if state.requests == 0 {
            state.phase = Phase::Idle;
            state.since = Instant::now();
        }
    }
}

/// A stream that tells when something is read from it.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) activity: Arc<Activity>,
}

impl<S: Read + Unpin> Read for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if matches!(read, Poll::Ready(Ok(()))) {
            self.activity.read(Instant::now());
        }
        read
    }
}

impl<S: Write + Unpin> Write for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_own_time() {
        let (limits, began) = (ConnectionLimits::default(), Instant::now());
        let activity = Arc::new(Activity::new(began));
        assert_eq!(activity.deadline(&limits), Some(began + limits.header_timeout));
        activity.read(began + Duration::from_secs(1));
        assert_eq!(
            activity.deadline(&limits),
            Some(began + limits.header_timeout),
            "bytes that trickle in give no more time"
        );
        let (one, other) = (activity.request(false), activity.request(false));
        drop(one);
        assert_eq!((activity.deadline(&limits), activity.quiet_since()), (None, None));
        drop(other);
        let idle = activity.quiet_since().unwrap();
        assert!(idle >= began);
        assert_eq!(activity.deadline(&limits), Some(idle + limits.idle_timeout));
        let next = idle + Duration::from_secs(1);
        activity.read(next);
        assert_eq!(activity.deadline(&limits), Some(next + limits.header_timeout));
    }

    #[test]
    fn frames_between_requests_begin_none() {
        let (limits, began) = (ConnectionLimits::default(), Instant::now());
        let activity = Arc::new(Activity::new(began));
        drop(activity.request(true));
        let idle = activity.quiet_since().unwrap();
        activity.read(idle + Duration::from_secs(1));
        assert_eq!(activity.deadline(&limits), Some(idle + limits.idle_timeout));
    }
}
