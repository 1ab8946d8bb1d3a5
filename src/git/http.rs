//! Git's smart HTTP protocol as a transport of libgit2.

use std::{
    io::{self, Read, Write},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use bytes::{Buf as _, Bytes};
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use http::{
    StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use reqwest::{Client, RequestBuilder, Response};
use url::Url;

use super::{credentials::Credentials, error::GitError, listing::Listing, rest::rest, session::Session};
use crate::net::refusal_in;

/// Most redirects followed when a remote is first asked.
const REDIRECTS: usize = 5;
/// The programs that answer, by the names that the protocol gives them.
const FETCH: &str = "git-upload-pack";
const PUSH: &str = "git-receive-pack";
const DISCOVERY: &str = "/info/refs";

/// The http(s) transport of one session.
pub(super) struct HttpTransport {
    shared: Arc<Shared>,
}

struct Shared {
    session: Arc<Session>,
    client: Client,
    /// The address as configured: credentials go to its origin only.
    configured: Url,
    /// Where the first answer came from, after redirects.
    base: Mutex<Url>,
}

impl HttpTransport {
    pub(super) fn new(session: Arc<Session>, url: Url) -> Result<Self, GitError> {
        session.network.check_url(&url)?;
        let client = session
            .network
            .client()
            .user_agent(concat!("git/2 (signoff/", env!("CARGO_PKG_VERSION"), ")"))
            .redirect(session.network.redirects(REDIRECTS))
            .build()
            .map_err(|source| GitError::Unreachable {
                host: host(&url),
                source: Box::new(source),
            })?;
        let base = Mutex::new(url.clone());
        Ok(Self {
            shared: Arc::new(Shared {
                session,
                client,
                configured: url,
                base,
            }),
        })
    }
}

impl SmartSubtransport for HttpTransport {
    fn action(&self, _url: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let request = match action {
            Service::UploadPackLs => Request::Discover(FETCH),
            Service::UploadPack => Request::Talk(FETCH),
            Service::ReceivePackLs => Request::Discover(PUSH),
            Service::ReceivePack => Request::Talk(PUSH),
        };
        Ok(Box::new(HttpStream {
            shared: Arc::clone(&self.shared),
            request,
            sent: Vec::new(),
            listing: matches!(request, Request::Discover(_))
                .then(|| Listing::new(self.shared.session.limits.refs_bytes)),
            answer: None,
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    Discover(&'static str),
    Talk(&'static str),
}

/// One request and its answer: what is written is the request's body, which is sent when the first byte is read.
struct HttpStream {
    shared: Arc<Shared>,
    request: Request,
    sent: Vec<u8>,
    /// There if the answer is the list of refs.
    listing: Option<Listing>,
    answer: Option<Answer>,
}

struct Answer {
    response: Response,
    rest: Bytes,
}

impl Write for HttpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sent.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for HttpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let session = Arc::clone(&self.shared.session);
        self.fill(buffer).map_err(|error| session.fail_io(error))
    }
}

impl HttpStream {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, GitError> {
        let shared = &self.shared;
        if self.answer.is_none() {
            let response = match self.request {
                Request::Discover(service) => shared.discover(service)?,
                Request::Talk(service) => shared.talk(service, std::mem::take(&mut self.sent))?,
            };
            self.answer = Some(Answer {
                response,
                rest: Bytes::new(),
            });
        }
        let Some(answer) = &mut self.answer else {
            return Ok(0);
        };
        while answer.rest.is_empty() {
            let chunk = shared
                .session
                .wait(async { answer.response.chunk().await.map_err(|e| shared.broken(e)) })?;
            let Some(chunk) = chunk else {
                answer.rest = self.listing.as_mut().map(Listing::rest).unwrap_or_default();
                if answer.rest.is_empty() {
                    return Ok(0);
                }
                break;
            };
            shared.session.count(chunk.len())?;
            answer.rest = match &mut self.listing {
                Some(listing) => listing.pass(&chunk)?,
                None => chunk,
            };
        }
        let count = answer.rest.len().min(buffer.len());
        answer.rest.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Shared {
    fn discover(&self, service: &str) -> Result<Response, GitError> {
        let mut url = self.configured.clone();
        url.set_path(&format!("{}{DISCOVERY}", url.path()));
        url.set_query(Some(&format!("service={service}")));
        let request = self.authenticated(self.client.get(url.clone()), &url);
        let response = self.send(request)?;
        let mut base = response.url().clone();
        let Some(path) = base.path().strip_suffix(DISCOVERY).map(str::to_owned) else {
            return Err(self.protocol("it redirects to an address that is not a repository's".to_owned()));
        };
        base.set_query(None);
        base.set_path(&path);
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = base;
        self.expect(response, &format!("application/x-{service}-advertisement"))
    }

    fn talk(&self, service: &str, body: Vec<u8>) -> Result<Response, GitError> {
        let mut url = self.base.lock().unwrap_or_else(PoisonError::into_inner).clone();
        url.set_path(&format!("{}/{service}", url.path()));
        let result = format!("application/x-{service}-result");
        let request = self
            .client
            .post(url.clone())
            .header(CONTENT_TYPE, format!("application/x-{service}-request"))
            .header(ACCEPT, &result)
            .body(body);
        let response = self.send(self.authenticated(request, &url))?;
        self.expect(response, &result)
    }

    /// Adds credentials, but only for the origin they are meant for.
    fn authenticated(&self, request: RequestBuilder, url: &Url) -> RequestBuilder {
        let Credentials {
            username, password, ..
        } = &self.session.credentials;
        match password {
            Some(password) if url.origin() == self.configured.origin() => {
                let user = username.as_deref().unwrap_or(Credentials::DEFAULT_USER);
                request.basic_auth(user, Some(password.reveal()))
            }
            _ => request,
        }
    }

    fn send(&self, request: RequestBuilder) -> Result<Response, GitError> {
        let response = self
            .session
            .wait(async { request.send().await.map_err(|error| self.broken(error)) })?;
        let host = host(&self.configured);
        if let Some(retry_after) = rest(response.status(), response.headers(), SystemTime::now()) {
            return Err(GitError::RateLimited { host, retry_after });
        }
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(GitError::AuthenticationFailed {
                host,
                message: match self.session.credentials.password {
                    Some(_) => format!(
                        "the credentials were answered with HTTP status {}",
                        response.status().as_u16()
                    ),
                    None => "it wants credentials; name a Connection that has them".to_owned(),
                },
            }),
            StatusCode::NOT_FOUND => Err(GitError::NotFound {
                host,
                message: "HTTP status 404".to_owned(),
            }),
            status => Err(GitError::Status {
                host,
                status: status.as_u16(),
            }),
        }
    }

    fn expect(&self, response: Response, content_type: &str) -> Result<Response, GitError> {
        let found = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if found == content_type {
            return Ok(response);
        }
        Err(self.protocol(format!(
            "its content type is {found:?}, which the smart HTTP protocol does not use"
        )))
    }

    fn protocol(&self, message: String) -> GitError {
        GitError::Protocol {
            host: host(&self.configured),
            message,
        }
    }

    /// An error of the client; a refused address is inside it when resolving found only such.
    fn broken(&self, error: reqwest::Error) -> GitError {
        if let Some(refused) = refusal_in(&error) {
            return refused.into();
        }
        GitError::Unreachable {
            host: host(&self.configured),
            source: Box::new(error.without_url()),
        }
    }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}
