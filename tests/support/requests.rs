//! A client that writes down what it asks of the API server.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::StreamExt as _;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use kube::{Client, client::Body};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    List,
    Watch,
    Get,
    Create,
    Patch,
    Update,
    Delete,
}

impl Verb {
    pub fn is_write(self) -> bool {
        match self {
            Self::List | Self::Watch | Self::Get => false,
            Self::Create | Self::Patch | Self::Update | Self::Delete => true,
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub verb: Verb,
    /// The resource as it is called in addresses, with its subresource: `runs/status`.
    pub resource: String,
    /// None of a collection.
    pub name: Option<String>,
}

#[derive(Debug, Default)]
struct Inner {
    asked: Vec<Asked>,
    /// How many watches of a resource are open now, and how many were at most.
    watches: BTreeMap<String, (usize, usize)>,
}

/// What a client has asked for. Clones are handles on the same.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Mutex<Inner>>);

impl Requests {
    /// A client that writes down its requests.
    pub fn of(client: Client) -> (Client, Self) {
        let namespace = client.default_namespace().to_owned();
        let requests = Self::default();
        let log = requests.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (client, log) = (client.clone(), log.clone());
            let watched = log.note(&request);
            async move {
                let answer = client.send(request).await?;
                Ok::<_, kube::Error>(answer.map(|body| held(body, watched)))
            }
        });
        (Client::new(service, namespace), requests)
    }

    /// How many requests there were so far.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }

    /// All requests from the n-th on.
    pub fn since(&self, first: usize) -> Vec<Asked> {
        self.0.lock().unwrap().asked[first..].to_vec()
    }

    /// How often the whole collection of a resource was listed.
    pub fn lists(&self, resource: &str) -> usize {
        let all = self.since(0);
        let lists = all.iter().filter(|asked| asked.verb == Verb::List);
        lists.filter(|asked| asked.resource == resource).count()
    }

    /// How many watches of a resource were open at the same time, at most.
    pub fn watches(&self, resource: &str) -> usize {
        let inner = self.0.lock().unwrap();
        inner.watches.get(resource).map_or(0, |(_, most)| *most)
    }

    /// Writes down a request. One that watches is open until what this gives is dropped.
    fn note(&self, request: &http::Request<Body>) -> Option<OpenWatch> {
        let asked = asked(request);
        let mut inner = self.0.lock().unwrap();
        let watch = (asked.verb == Verb::Watch).then(|| {
            let (open, most) = inner.watches.entry(asked.resource.clone()).or_default();
            *open += 1;
            *most = (*most).max(*open);
            OpenWatch(self.clone(), asked.resource.clone())
        });
        // pages of a list are one list
        if !request
            .uri()
            .query()
            .is_some_and(|query| query.contains("continue="))
        {
            inner.asked.push(asked);
        }
        watch
    }
}

/// A watch that is open.
struct OpenWatch(Requests, String);

impl Drop for OpenWatch {
    fn drop(&mut self) {
        if let Some((open, _)) = self.0.0.lock().unwrap().watches.get_mut(&self.1) {
            *open -= 1;
        }
    }
}

fn asked(request: &http::Request<Body>) -> Asked {
    let query = request.uri().query().unwrap_or_default();
    // /api/v1/… or /apis/GROUP/VERSION/…, then perhaps namespaces/NAME/…
    let mut parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    parts.drain(..if parts[0] == "api" { 2 } else { 3 }.min(parts.len()));
    if parts.len() > 2 && parts[0] == "namespaces" {
        parts.drain(..2);
    }
    let name = parts.get(1).map(|name| (*name).to_owned());
    let resource = match parts[..] {
        [] => String::new(),
        // another selection than all runs: hardly ever any
        ["runs"] if query.contains("hasNotifications") => "runs with messages".to_owned(),
        [resource] | [resource, _] => resource.to_owned(),
        [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
    };
    let verb = match (request.method().as_str(), &name) {
        ("GET", _) if query.contains("watch=true") => Verb::Watch,
        ("GET", None) => Verb::List,
        ("GET", Some(_)) => Verb::Get,
        ("POST", _) => Verb::Create,
        ("PATCH", _) => Verb::Patch,
        ("PUT", _) => Verb::Update,
        ("DELETE", _) => Verb::Delete,
        (other, _) => panic!("{other} {}", request.uri()),
    };
    Asked { verb, resource, name }
}

/// A body that keeps something for as long as it is read.
fn held(body: Body, keeps: Option<OpenWatch>) -> UnsyncBoxBody<Bytes, tower::BoxError> {
    let parts = body.into_data_stream().map(move |part| {
        let _kept = &keeps;
        part.map(Frame::data).map_err(tower::BoxError::from)
    });
    StreamBody::new(parts).boxed_unsync()
}
