//! The `http` executor: one call to an HTTP API.

mod auth;
mod body;
mod channel;
mod clients;
mod content;
mod redirect;
mod save;
mod target;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use kube::Client;
use url::Url;

use self::{
    auth::{Roles, Tokens, Unsent},
    clients::Clients,
    content::{Content, Given},
    save::Keeping,
    target::Target,
};
use super::{error, memory::Memory, resource};
use crate::{
    cluster::context::Clock,
    net::Network,
    store::{Owner, Store, StoreError},
    telemetry::trace_ids::{TRACEPARENT, traceparent},
};
use signoff_api::{
    Resource, connection::HttpConnection, name::ObjectName, reason::StepReason, step::HttpMethod,
};
use signoff_engine::{
    callback_token,
    effect::{Call, HttpBody, HttpRequest, HttpTarget},
    facts::{EffectError, HttpResponse},
};

pub use self::body::MAX_BODY;
pub(super) use self::{content::Written, target::read_tls};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Performs HTTP effects. Cheap to clone; all clones share connections.
#[derive(Clone, Debug)]
pub struct HttpExecutor {
    kube: KubeClient,
    http: reqwest::Client,
    network: Network,
    /// The same for hosts that data chose.
    public: (Network, reqwest::Client),
    clock: Clock,
    clients: Clients,
    tokens: Tokens,
    roles: Roles,
    /// Where resources are.
    store: Option<Store>,
    memory: Memory,
    /// Whether traces of runs are sent, so that services are told of theirs.
    traced: bool,
}

/// What a call came to.
enum Answer {
    Read(HttpResponse),
    /// Its body is for the store.
    Unread {
        response: reqwest::Response,
        /// How the sender is named.
        place: String,
        /// Whether the step asks for it.
        is_asked: bool,
    },
}

/// A request of another kind of step, through a Connection that was read.
pub(in crate::perform) struct Through<'a> {
    /// Name of the Connection.
    pub name: &'a ObjectName,
    /// Where it leads, and how requests authenticate.
    pub http: &'a HttpConnection,
    /// Appended to its base address.
    pub path: &'a str,
    /// What is sent.
    pub body: Written,
}

#[derive(Clone)]
struct KubeClient(Client);

impl std::fmt::Debug for KubeClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// The HTTP client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTP client")]
pub struct HttpExecutorError(#[from] reqwest::Error);

impl HttpExecutor {
    /// An executor that reads Connections and Secrets with this client and calls only where the network allows it.
    pub fn new(client: Client, network: Network, clock: Clock) -> Result<Self, HttpExecutorError> {
        // the engine alone decides what is tried again
        let http = network.client().retry(reqwest::retry::never()).build()?;
        let only_public = network.only_public();
        let public = only_public.client().retry(reqwest::retry::never()).build()?;
        Ok(Self {
            kube: KubeClient(client),
            http,
            public: (only_public, public),
            network,
            clock,
            clients: Clients::default(),
            tokens: Tokens::default(),
            roles: Roles::default(),
            store: None,
            memory: Memory::default(),
            traced: false,
        })
    }

    /// The same, which keeps resources in this store.
    #[must_use]
    pub fn keeping_in(self, store: Option<Store>) -> Self {
        Self { store, ..self }
    }

    /// The same, which tells services which trace of a run a call belongs to.
    #[must_use]
    pub fn traced(self, traced: bool) -> Self {
        Self { traced, ..self }
    }

    #[cfg(test)]
    pub(super) fn with_memory(self, memory: Memory) -> Self {
        Self { memory, ..self }
    }

    /// Memory for content that calls hold.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The content of a resource, if the run may read it.
    pub(super) async fn read(
        &self,
        run: &Owner,
        resource: &Resource,
        limit: u64,
    ) -> Result<Bytes, EffectError> {
        let found = resource::find(&self.kube.0, self.store.as_ref(), run, resource).await?;
        let content = found.store.read(&found.owner, &found.sha256, limit);
        let content = match content.await {
            Ok(content) => content.whole().await,
            Err(problem) => Err(problem),
        };
        content.map_err(|problem| error::stored(&problem, false))
    }

    /// The client for the API server.
    pub(in crate::perform) fn api(&self) -> &Client {
        &self.kube.0
    }

    /// The time.
    pub(in crate::perform) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Posts JSON for a step of another kind, which sees to the time that it takes. What comes back holds none of the secrets
    /// that were used.
    pub(in crate::perform) async fn post_through(
        &self,
        run: &Owner,
        call: &Call,
        through: Through<'_>,
        sent: &AtomicBool,
    ) -> Result<HttpResponse, EffectError> {
        let Through {
            name,
            http,
            path,
            body,
        } = through;
        let mut target = self.through(&run.namespace, name, http, path).await?;
        let request = HttpRequest {
            target: HttpTarget::Connection {
                name: name.clone(),
                path: path.to_owned(),
                bound: None,
            },
            method: HttpMethod::Post,
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            body: None,
            redirects: 0,
            save: None,
            reads_body: true,
        };
        let place = place(&target.url);
        let given = Some(Given::Written(body));
        match self.call(run, call, &request, given, &mut target, sent).await? {
            Answer::Read(response) => Ok(response),
            Answer::Unread { .. } => Err(error::unusable(
                StepReason::InvalidResponse,
                format!("the answer of {place} is not JSON"),
            )),
        }
    }

    /// Performs one attempt for a run. What comes back holds none of the secrets that were used.
    pub async fn perform(
        &self,
        run: &Owner,
        call: &Call,
        request: &HttpRequest,
    ) -> Result<HttpResponse, EffectError> {
        let mut target = self.resolve(&run.namespace, &request.target).await?;
        // others may repeat what they were sent, and who may read a run may not call it back
        let asked = serde_json::to_string(request).unwrap_or_default();
        callback_token::tokens_in(&asked).for_each(|token| target.secrets.add(token));
        let place = target.place(&target.url);
        let from = self.prepare(run, request).await?;
        let sent = AtomicBool::new(false);
        let began = Instant::now();
        let calling = self.call(run, call, request, from, &mut target, &sent);
        let answer = match tokio::time::timeout(call.timeout, calling).await {
            Ok(result) => result?,
            Err(_) => {
                return Err(EffectError {
                    // before, only a token was asked for
                    may_have_happened: sent.load(Ordering::Relaxed),
                    ..error::timed_out(&place, call.timeout)
                });
            }
        };
        match (answer, &self.store) {
            (Answer::Read(response), _) => Ok(response),
            (Answer::Unread { .. }, None) => Err(error::stored(&StoreError::NoStore, true)),
            (
                Answer::Unread {
                    response,
                    place,
                    is_asked,
                },
                Some(store),
            ) => {
                let keeping = Keeping {
                    store,
                    run,
                    key: &call.key,
                    place: &place,
                    secrets: &target.secrets,
                    keeps_text: is_asked,
                    left: call.timeout.saturating_sub(began.elapsed()),
                    timeout: call.timeout,
                };
                keeping.keep(response).await
            }
        }
    }

    /// Before anything is sent: the content to send, and whether the store will take the answer.
    async fn prepare(&self, run: &Owner, request: &HttpRequest) -> Result<Option<Given>, EffectError> {
        if request.save.is_some() {
            let probed = match &self.store {
                Some(store) => store.probe(run).await,
                None => Err(StoreError::NoStore),
            };
            probed.map_err(|problem| error::stored(&problem, false))?;
        }
        match &request.body {
            Some(HttpBody::Resource(from)) => {
                let found = resource::find(&self.kube.0, self.store.as_ref(), run, from);
                found.await.map(|found| Some(Given::Resource(found)))
            }
            Some(HttpBody::Json(_) | HttpBody::CloudEvent(_) | HttpBody::Form(_) | HttpBody::Text(_))
            | None => Ok(None),
        }
    }

    async fn call(
        &self,
        run: &Owner,
        call: &Call,
        asked: &HttpRequest,
        given: Option<Given>,
        target: &mut Target,
        sent: &AtomicBool,
    ) -> Result<Answer, EffectError> {
        let mut headers = headers(call, asked, &target.idempotency_header)?;
        if self.traced {
            trace(&mut headers, run, call);
        }
        let mut content = Content::encode(asked.body.as_ref(), given, &mut headers, &call.idempotency_key);
        let method = method(asked.method);
        let mut url = target.url.clone();
        for (name, values) in &asked.query {
            url.query_pairs_mut()
                .extend_pairs(values.iter().map(|value| (name, value)));
        }
        let mut redirects_left = match asked.method {
            HttpMethod::Get | HttpMethod::Head => asked.redirects,
            HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch | HttpMethod::Delete => 0,
        };
        // what has once left the origin of the target never gets credentials again
        let (mut is_home, mut was_refused) = (true, false);
        loop {
            target.network.check_url(&url).map_err(|refused| {
                let message = target.secrets.redact(&refused.to_string());
                error::invalid(StepReason::AddressRefused, message)
            })?;
            let (mut hop_url, mut hop_headers) = (url.clone(), headers.clone());
            if is_home {
                for (name, value) in &target.headers {
                    hop_headers.insert(name.clone(), value.clone());
                }
                let unsent = Unsent {
                    method: &method,
                    url: &mut hop_url,
                    headers: &mut hop_headers,
                    content: &content,
                };
                target
                    .auth
                    .apply(unsent, self.clock.now(), was_refused, &mut target.secrets)
                    .await?;
            }
            // the address of a redirect is the server's, which may repeat what it was sent
            let place = target.secrets.redact(&target.place(&url));
            let client = if is_home {
                &target.client
            } else {
                &target.elsewhere
            };
            if content.is_none() && has_content(asked.method) {
                // some servers wait for a body, or refuse a request that does not say that it has none
                hop_headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            let request = client.request(method.clone(), hop_url).headers(hop_headers);
            let (request, broken) = content.put_on(request).await?;
            if redirects_left == 0 && (was_refused || !target.auth.can_renew()) {
                // it is not sent again, and an answer may take long
                content = Content::None;
            }
            sent.store(true, Ordering::Relaxed);
            let response = request.send().await.map_err(|error| match broken.get() {
                Some(problem) => error::stored(problem, true),
                None => error::transport(&place, error, &target.secrets),
            })?;
            let unauthorized = response.status() == StatusCode::UNAUTHORIZED;
            if is_home && unauthorized && !was_refused && target.auth.can_renew() {
                was_refused = true;
                continue;
            }
            let next = redirect::next_hop(target, &url, &response).filter(|_| redirects_left > 0);
            let Some(next) = next else {
                if !asked.reads_body {
                    let answer = body::only_status(&place, response, &target.secrets).await;
                    return Ok(Answer::Read(answer));
                }
                let is_asked = asked
                    .save
                    .as_ref()
                    .map(|save| save.keeps(response.status().as_u16()));
                let may_be_kept = self.store.is_some()
                    && response.status().is_success()
                    && save::may_be_binary(response.headers());
                if is_asked == Some(true) || is_asked.is_none() && may_be_kept {
                    return Ok(Answer::Unread {
                        response,
                        place,
                        is_asked: is_asked.is_some(),
                    });
                }
                return body::read(&place, response, &target.secrets)
                    .await
                    .map(Answer::Read);
            };
            if next.origin() != url.origin() {
                is_home = false;
                redirect::strip_credentials(&mut headers, target);
            }
            redirects_left -= 1;
            url = next;
        }
    }
}

/// Whether a request of this method usually has content.
fn has_content(method: HttpMethod) -> bool {
    match method {
        HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch => true,
        HttpMethod::Get | HttpMethod::Head | HttpMethod::Delete => false,
    }
}

/// Says which span of the run's trace a call belongs to, unless the step says one itself.
fn trace(headers: &mut HeaderMap, run: &Owner, call: &Call) {
    let name = HeaderName::from_static(TRACEPARENT);
    let value = traceparent(&run.uid, &call.key.step, call.key.iteration);
    if let (false, Ok(value)) = (headers.contains_key(&name), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

fn headers(
    call: &Call,
    asked: &HttpRequest,
    idempotency_header: &HeaderName,
) -> Result<HeaderMap, EffectError> {
    let mut headers = HeaderMap::with_capacity(asked.headers.len() + 2);
    for (name, value) in &asked.headers {
        let wrong = |what| {
            error::invalid(
                StepReason::InvalidRequest,
                format!("the header {name:?} has {what}"),
            )
        };
        let parsed = HeaderName::try_from(name).map_err(|_| wrong("an invalid name"))?;
        if signoff_api::header::is_of_the_client(name) {
            return Err(wrong("a name that a step may not set"));
        }
        headers.insert(
            parsed,
            HeaderValue::try_from(value).map_err(|_| wrong("an invalid value"))?,
        );
    }
    let key = HeaderValue::try_from(&call.idempotency_key).map_err(|_| {
        error::invalid(
            StepReason::InvalidRequest,
            "the idempotency key has characters that no header may hold",
        )
    })?;
    headers.insert(idempotency_header.clone(), key);
    Ok(headers)
}

/// An address as messages name it: without query and login, which may hold secrets.
fn place(url: &Url) -> String {
    let mut place = url.clone();
    // fails where there is no host, and so no login
    let _ = place.set_username("").and_then(|()| place.set_password(None));
    place.set_query(None);
    place.set_fragment(None);
    place.to_string()
}

fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
    }
}
