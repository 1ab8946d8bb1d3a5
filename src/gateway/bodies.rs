//! Bodies that must be read before it is known who sent them: the signature is over the whole.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{body::Body, http::StatusCode};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use crate::cluster::fairness::may_take;

/// Largest body that is read whatever else is being read. A push of a few commits is well below.
const SMALL: usize = 256 << 10;
/// How many larger ones are read at the same time, from their first bytes until they are done with.
const LARGE_AT_ONCE: usize = 16;
/// Room for small ones is given in pieces of so many bytes.
const PIECE: usize = 16 << 10;
/// How many pieces there are, for all of them together.
const PIECES: usize = 1 << 10;

/// Room for bodies. Clones share it.
#[derive(Clone, Debug)]
pub struct Bodies {
    large: Arc<Semaphore>,
    pieces: Arc<Semaphore>,
    shares: Arc<Mutex<HashMap<String, Share>>>,
}

/// What bodies for one namespace have taken.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    large: usize,
    pieces: usize,
}

impl Default for Bodies {
    fn default() -> Self {
        Self {
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            pieces: Arc::new(Semaphore::new(PIECES)),
            shares: Arc::default(),
        }
    }
}

/// A body that was read; it has its room for as long as it is there.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    _room: Room,
}

/// What a body has taken.
#[derive(Debug)]
struct Room {
    bodies: Bodies,
    namespace: String,
    taken: Share,
    large: Option<OwnedSemaphorePermit>,
    pieces: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Takes what a body of so many bytes needs, if there is that much.
    fn grow(&mut self, length: usize) -> Result<(), Problem> {
        if self.large.is_some() {
            return Ok(());
        }
        if length > SMALL {
            self.share(Share { large: 1, pieces: 0 })?;
            let taken = Arc::clone(&self.bodies.large).try_acquire_owned();
            self.large = Some(taken.map_err(|_| Problem::busy())?);
            self.pieces = None;
            return Ok(());
        }
        let has = self.pieces.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needs = length.div_ceil(PIECE).saturating_sub(has);
        if needs > 0 {
            self.share(Share {
                large: 0,
                pieces: has + needs,
            })?;
            let more = u32::try_from(needs).map_err(|_| Problem::busy())?;
            let more = Arc::clone(&self.bodies.pieces).try_acquire_many_owned(more);
            let more = more.map_err(|_| Problem::busy())?;
            match &mut self.pieces {
                Some(pieces) => pieces.merge(more),
                None => self.pieces = Some(more),
            }
        }
        Ok(())
    }

    /// Takes so much of the namespace's share, instead of what it had. Of what is free, some is always left for namespaces
    /// whose senders have less: they are heard while others send slowly.
    fn share(&mut self, wanted: Share) -> Result<(), Problem> {
        let mut shares = self.bodies.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let share = shares.entry(self.namespace.clone()).or_default();
        let next = Share {
            large: share.large - self.taken.large + wanted.large,
            pieces: share.pieces - self.taken.pieces + wanted.pieces,
        };
        // the last one taken is the one that matters
        let may = |held: usize, next: usize, free: usize| {
            next <= held || may_take(next - 1, (free + 1).saturating_sub(next - held))
        };
        let is_free = may(share.large, next.large, self.bodies.large.available_permits())
            && may(share.pieces, next.pieces, self.bodies.pieces.available_permits());
        if !is_free {
            return Err(Problem::busy());
        }
        *share = next;
        self.taken = wanted;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut shares = self.bodies.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get_mut(&self.namespace) {
            share.large -= self.taken.large;
            share.pieces -= self.taken.pieces;
            if share.large == 0 && share.pieces == 0 {
                shares.remove(&self.namespace);
            }
        }
    }
}

/// Reads a body of at most so many bytes and keeps nothing of it.
pub(super) async fn pass_over(body: Body, most: usize) -> Result<(), Problem> {
    let mut pieces = body.into_data_stream();
    let mut length = 0;
    while let Some(piece) = pieces.next().await {
        length += piece.map_err(|_| unread())?.len();
        if length > most {
            return Err(unread());
        }
    }
    Ok(())
}

fn unread() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "the body is too large or could not be read",
    )
}

impl Bodies {
    /// Reads a body of at most so many bytes that is for a namespace. One is refused where there is no room for it, rather
    /// than kept waiting: those who wait would keep what they have sent in memory too.
    pub(super) async fn read(&self, namespace: &str, body: Body, most: usize) -> Result<Whole, Problem> {
        let mut bytes = Vec::new();
        let mut room = Room {
            bodies: self.clone(),
            namespace: namespace.to_owned(),
            taken: Share::default(),
            large: None,
            pieces: None,
        };
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| unread())?;
            let length = bytes.len() + piece.len();
            if length > most {
                return Err(unread());
            }
            room.grow(length)?;
            bytes.extend_from_slice(&piece);
        }
        Ok(Whole { bytes, _room: room })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    /// Another namespace each time.
    fn namespace() -> String {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        NUMBER.fetch_add(1, Ordering::Relaxed).to_string()
    }

    #[tokio::test]
    async fn senders_to_a_few_namespaces_leave_room_for_those_to_another() {
        let bodies = Bodies::default();
        let mut there = Vec::new();
        for noisy in ["noisy", "loud", "third"] {
            for length in [SMALL + 1, PIECE] {
                loop {
                    match bodies.read(noisy, of(length), MOST).await {
                        Ok(whole) => there.push(whole),
                        Err(refused) => {
                            assert_eq!(refused.into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
                            break;
                        }
                    }
                }
            }
            drop(bodies.read("quiet", of(4 * PIECE), MOST).await.unwrap());
        }
        there.clear();
        assert!(bodies.shares.lock().unwrap().is_empty());
        drop(bodies.read("noisy", of(MOST), MOST).await.unwrap());
    }

    /// Room for one large body.
    fn one_large() -> Bodies {
        Bodies {
            large: Arc::new(Semaphore::new(1)),
            ..Bodies::default()
        }
    }

    #[tokio::test]
    async fn small_bodies_have_a_bound_together_and_leave_their_room() {
        let bodies = Bodies::default();
        let mut there = Vec::new();
        let refused = loop {
            match bodies.read(&namespace(), of(SMALL), MOST).await {
                Ok(whole) => there.push(whole),
                Err(refused) => break refused.into_response(),
            }
        };
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(there.len() * SMALL >= PIECES * PIECE / 4 * 3, "{}", there.len());
        there.clear();
        assert_eq!(bodies.pieces.available_permits(), PIECES);
        drop(bodies.read(&namespace(), of(SMALL + 1), MOST).await.unwrap());
        assert_eq!(bodies.pieces.available_permits(), PIECES);
    }

    #[tokio::test]
    async fn a_large_body_is_refused_while_as_many_as_there_is_room_for_are_there() {
        let bodies = Bodies::default();
        let mut there = Vec::new();
        for _ in 0..LARGE_AT_ONCE {
            there.push(bodies.read(&namespace(), of(SMALL + 1), MOST).await.unwrap());
        }
        let refused = bodies
            .read("x", of(SMALL + 1), MOST)
            .await
            .unwrap_err()
            .into_response();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key(header::RETRY_AFTER));
        let small = bodies.read(&namespace(), of(SMALL), MOST).await.unwrap();
        assert_eq!(small.bytes.len(), SMALL);
        there.pop();
        let whole = bodies.clone().read("x", of(MOST), MOST).await.unwrap();
        assert_eq!(whole.bytes.len(), MOST);
    }

    #[tokio::test]
    async fn room_is_taken_while_a_body_is_still_being_sent() {
        let bodies = one_large();
        let (sent, room) = (vec![0; SMALL + 1], Arc::clone(&bodies.large));
        let begun = stream::once(async move { Ok::<_, std::io::Error>(sent) });
        let rest = stream::once(async move {
            assert_eq!(room.available_permits(), 0);
            Ok(vec![0])
        });
        let body = Body::from_stream(begun.chain(rest));
        drop(bodies.read("x", body, MOST).await.unwrap());
        assert_eq!(bodies.large.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_body_above_the_limit_is_refused_and_leaves_its_room() {
        let bodies = one_large();
        let refused = bodies
            .read("x", of(MOST + 1), MOST)
            .await
            .unwrap_err()
            .into_response();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(bodies.large.available_permits(), 1);
    }
}
