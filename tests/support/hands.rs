//! A clock that a test sets, for an operator that believes no other.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::header::DATE;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Client, client::Body};
use signoff::cluster::context::Clock;

/// The hands of a clock.
#[derive(Clone, Debug)]
pub struct Hands(Arc<Mutex<Timestamp>>);

impl Hands {
    /// At this time.
    pub fn at(time: &str) -> Self {
        Self(Arc::new(Mutex::new(time.parse().unwrap())))
    }

    /// The clock. Timers look at it every few milliseconds.
    pub fn clock(&self) -> Clock {
        let hands = self.clone();
        Clock::from_fn(move || hands.now()).looked_at_every(Duration::from_millis(5))
    }

    pub fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    /// Sets it.
    pub fn set(&self, time: &str) {
        *self.0.lock().unwrap() = time.parse().unwrap();
    }

    /// Moves it.
    pub fn pass(&self, time: SignedDuration) {
        *self.0.lock().unwrap() += time;
    }
}

/// A client that does not tell what time the API server has.
pub fn timeless(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let client = client.clone();
        async move {
            let mut answer = client.send(request).await?;
            answer.headers_mut().remove(DATE);
            Ok::<_, kube::Error>(answer)
        }
    });
    Client::new(service, namespace)
}
