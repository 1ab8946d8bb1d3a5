//! Bodies that must be read before it is known who sent them: the signature is over the whole.

use std::sync::Arc;

use axum::{body::Body, http::StatusCode};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// Largest body that is read whatever else is being read. A push of a few commits is well below.
const SMALL: usize = 256 << 10;
/// How many larger ones are read at the same time, from their first bytes until they are done with.
const LARGE_AT_ONCE: usize = 4;

/// Room for large bodies. Clones share it.
#[derive(Clone, Debug)]
pub struct LargeBodies(Arc<Semaphore>);

impl Default for LargeBodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_AT_ONCE)))
    }
}

/// A body that was read; it has its room for as long as it is there.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl LargeBodies {
    /// Reads a body of at most so many bytes. One that is large is refused where there is no room for it, rather than kept waiting: those who
    /// wait would keep what they have sent in memory too.
    pub(super) async fn read(&self, body: Body, most: usize) -> Result<Whole, Problem> {
        let unread = || {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is too large or could not be read",
            )
        };
        let (mut bytes, mut room) = (Vec::new(), None);
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| unread())?;
            let length = bytes.len() + piece.len();
            if length > most {
                return Err(unread());
            }
            if length > SMALL && room.is_none() {
                let taken = Arc::clone(&self.0).try_acquire_owned();
                room = Some(taken.map_err(|_| Problem::busy())?);
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Whole { bytes, _room: room })
    }
}

#[cfg(test)]
mod tests {
    use axum::{http::header, response::IntoResponse as _};
    use futures::stream;

    use super::*;

    const MOST: usize = 1 << 20;

    fn of(bytes: usize) -> Body {
        let pieces = (0..bytes)
            .step_by(1 << 10)
            .map(move |at| vec![b' '; (1 << 10).min(bytes - at)])
            .map(Ok::<_, std::io::Error>);
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_large_body_is_refused_while_as_many_as_there_is_room_for_are_there() {
        let bodies = LargeBodies::default();
        let mut there = Vec::new();
        for _ in 0..LARGE_AT_ONCE {
            there.push(bodies.read(of(SMALL + 1), MOST).await.unwrap());
        }
        let refused = bodies
            .read(of(SMALL + 1), MOST)
            .await
            .unwrap_err()
            .into_response();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key(header::RETRY_AFTER));
        let small = bodies.read(of(SMALL), MOST).await.unwrap();
        assert_eq!(small.bytes.len(), SMALL);
        there.pop();
        let whole = bodies.clone().read(of(MOST), MOST).await.unwrap();
        assert_eq!(whole.bytes.len(), MOST);
    }

    #[tokio::test]
    async fn room_is_taken_while_a_body_is_still_being_sent() {
        let bodies = LargeBodies(Arc::new(Semaphore::new(1)));
        let (sent, room) = (vec![0; SMALL + 1], Arc::clone(&bodies.0));
        let begun = stream::once(async move { Ok::<_, std::io::Error>(sent) });
        let rest = stream::once(async move {
            assert_eq!(room.available_permits(), 0);
            Ok(vec![0])
        });
        let body = Body::from_stream(begun.chain(rest));
        drop(bodies.read(body, MOST).await.unwrap());
        assert_eq!(bodies.0.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_body_above_the_limit_is_refused_and_leaves_its_room() {
        let bodies = LargeBodies(Arc::new(Semaphore::new(1)));
        let refused = bodies.read(of(MOST + 1), MOST).await.unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(bodies.0.available_permits(), 1);
    }
}
