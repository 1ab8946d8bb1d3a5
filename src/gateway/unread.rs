//! Reads away what a refused request still sends, within bounds.
//!
//! A connection that is closed on data not yet read is reset, and a reset takes the answer with it (RFC 9112, section
//! 9.6): the sender would see a broken pipe instead of why it was refused.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::header,
    middleware::Next,
    response::Response,
};
use futures::StreamExt as _;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// Most bytes read away.
const MOST: usize = 1 << 20;
/// Longest time spent on it.
const LONGEST: Duration = Duration::from_secs(2);

/// Answers, and reads away what the answer left of the request.
pub(super) async fn read_away(request: Request, next: Next) -> Response {
    // who asks first whether to send has sent nothing yet, and is told not to by the answer
    if request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let (back, left) = oneshot::channel();
    let request = request.map(|body| {
        Body::new(Lent {
            body: Some(body),
            back: Some(back),
        })
    });
    let response = next.run(request).await;
    if let Ok(body) = left.await {
        // what is left after that long is reset after all
        let _ = tokio::time::timeout(LONGEST, drain(body)).await;
    }
    response
}

async fn drain(body: Body) {
    let mut read = 0;
    let mut data = body.into_data_stream();
    while let Some(Ok(chunk)) = data.next().await {
        read += chunk.len();
        if read > MOST {
            return;
        }
    }
}

/// A body that is given back when its reader lets go of it.
struct Lent {
    body: Option<Body>,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // nobody waits for it when the request was given up
            let _ = back.send(body);
        }
    }
}
