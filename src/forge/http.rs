//! Requests to a forge's API, and its refusals as errors.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Client, Response};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::OnceCell;
use url::Url;

use super::{error::ForgeError, types::Account};
use crate::{
    git::{HostPause, REST, Secret, rest},
    net::{self, BodyError, Network, redact::Secrets, refusal_in},
};
use signoff_api::text::visible;

/// Longest time for one request, from the connection to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read.
const MAX_ANSWER: usize = 8 << 20;
/// Longest text of the forge in an error.
const MAX_MESSAGE: usize = 300;
/// Entries on a page.
const PAGE: usize = 50;
/// Most pages that are read of one list.
const MAX_PAGES: usize = 20;
/// Most entries of a list that [`Http::all`] reads: where there are so many, there may be more.
pub(super) const MAX_ENTRIES: usize = PAGE * MAX_PAGES;

/// A client for one API and token.
pub(super) struct Http {
    client: Client,
    base: Url,
    host: String,
    /// What it says is told on, but not our token, should it repeat that.
    secrets: Secrets,
    rest: HostPause,
    own: OnceCell<Account>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    method: Method,
    segments: Vec<&'a str>,
    query: Vec<(&'a str, String)>,
    body: Option<serde_json::Value>,
    doing: &'static str,
}

impl<'a> Call<'a> {
    /// A request for `path`, whose segments are separated by `/` and must need no escaping. `doing` completes "when asked to …".
    pub(super) fn new(method: Method, path: &'a str, doing: &'static str) -> Self {
        Self {
            method,
            segments: path.split('/').collect(),
            query: Vec::new(),
            body: None,
            doing,
        }
    }

    /// A further segment of the path, of any characters.
    pub(super) fn segment(mut self, segment: &'a str) -> Self {
        self.segments.push(segment);
        self
    }

    /// Further segments of the path, separated by `/`, of any characters.
    pub(super) fn segments(mut self, path: &'a str) -> Self {
        self.segments
            .extend(path.split('/').filter(|segment| !segment.is_empty()));
        self
    }

    pub(super) fn query(mut self, name: &'a str, value: impl fmt::Display) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    pub(super) fn body(mut self, body: impl Serialize) -> Self {
        // what is sent has string keys only, so it has a JSON form
        self.body = serde_json::to_value(body).ok();
        self
    }
}

impl Http {
    /// A client for the API at `base`.
    pub(super) fn new(
        base: Url,
        token: &Secret,
        rest: HostPause,
        network: &Network,
    ) -> Result<Self, ForgeError> {
        let host = base.host_str().unwrap_or_default().to_owned();
        network.check_url(&base)?;
        let mut secrets = Secrets::default();
        secrets.add(token.reveal().trim());
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let bearer = HeaderValue::from_str(&format!("Bearer {}", token.reveal().trim()));
        let mut bearer = bearer.map_err(|_| ForgeError::Forbidden {
            host: host.clone(),
            doing: "log in",
            message: "the token has characters that a header cannot carry".to_owned(),
        })?;
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
        // an API has no reason to send us elsewhere with our token: redirects are not followed
        let client = network.client().default_headers(headers).timeout(TIMEOUT).build();
        let client = client.map_err(|source| ForgeError::Unreachable {
            host: host.clone(),
            source,
        })?;
        Ok(Self {
            client,
            base,
            host,
            secrets,
            rest,
            own: OnceCell::new(),
        })
    }

    /// The account whose token is used, asked for once: a token is one account's.
    pub(super) async fn own(
        &self,
        ask: impl Future<Output = Result<Account, ForgeError>>,
    ) -> Result<Account, ForgeError> {
        self.own.get_or_try_init(|| ask).await.cloned()
    }

    /// The answer of a request, read.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ForgeError> {
        let doing = call.doing;
        let answer = self.send(call).await?;
        self.parse(&self.read(answer).await?, doing)
    }

    /// The answer of a request as it is.
    pub(super) async fn bytes(&self, call: Call<'_>) -> Result<Bytes, ForgeError> {
        let answer = self.send(call).await?;
        self.read(answer).await
    }

    /// A request of whose answer only the success is of interest.
    pub(super) async fn done(&self, call: Call<'_>) -> Result<(), ForgeError> {
        self.send(call).await.map(drop)
    }

    /// All entries of a list, page by page. `limit` is what the forge calls the size of a page.
    pub(super) async fn all<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        limit: &'static str,
    ) -> Result<Vec<T>, ForgeError> {
        let mut all = Vec::new();
        for page in 1..=MAX_PAGES {
            let call = call.clone().query("page", page).query(limit, PAGE);
            // a page after the last may be null
            let found: Vec<T> = self.json::<Option<_>>(call).await?.unwrap_or_default();
            let last = found.len() < PAGE;
            all.extend(found);
            if last {
                break;
            }
        }
        Ok(all)
    }

    /// All entries of a list whose pages are thinned out after they are cut, so that only an empty one is the last. One that goes on for too
    /// long is an error: what is missing may be what matters.
    pub(super) async fn thinned<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        limit: &'static str,
    ) -> Result<Vec<T>, ForgeError> {
        let (mut all, doing) = (Vec::new(), call.doing);
        for page in 1..=MAX_PAGES {
            let call = call.clone().query("page", page).query(limit, PAGE);
            let found: Vec<T> = self.json::<Option<_>>(call).await?.unwrap_or_default();
            if found.is_empty() {
                return Ok(all);
            }
            all.extend(found);
        }
        Err(self.unreadable(doing, &format!("there are more than {MAX_PAGES} pages")))
    }

    async fn send(&self, call: Call<'_>) -> Result<Response, ForgeError> {
        // whoever of us was told so: it counts the calls of all
        if let Some(retry_after) = self.rest.left() {
            let host = self.host.clone();
            return Err(ForgeError::RateLimited { host, retry_after });
        }
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(&call.segments);
        }
        let mut request = self.client.request(call.method, url).query(&call.query);
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let refusal = self.refusal(answer, call.doing).await;
        if let ForgeError::RateLimited { retry_after, .. } = &refusal {
            self.rest.begin(*retry_after);
        }
        Err(refusal)
    }

    /// An error status as an error.
    async fn refusal(&self, answer: Response, doing: &'static str) -> ForgeError {
        let (status, host) = (answer.status(), self.host.clone());
        if let Some(retry_after) = rest(status, answer.headers(), SystemTime::now()) {
            return ForgeError::RateLimited { host, retry_after };
        }
        let message = message(&self.read(answer).await.unwrap_or_default(), &self.secrets);
        match status {
            // GitHub's second limit does not always come with a header
            StatusCode::FORBIDDEN if message.contains("secondary rate limit") => ForgeError::RateLimited {
                host,
                retry_after: REST,
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ForgeError::Forbidden { host, doing, message }
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => ForgeError::NotFound { host, doing, message },
            status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                ForgeError::Failed {
                    host,
                    doing,
                    status: status.as_u16(),
                }
            }
            status => ForgeError::Rejected {
                host,
                doing,
                status: status.as_u16(),
                message,
            },
        }
    }

    async fn read(&self, answer: Response) -> Result<Bytes, ForgeError> {
        match net::read_body(answer, MAX_ANSWER).await {
            Ok(read) => Ok(read),
            Err(BodyError::TooLarge(limit)) => {
                Err(self.unreadable("read its answer", &format!("it is larger than {limit} bytes")))
            }
            Err(BodyError::Broken(source)) => Err(self.unreachable(source)),
        }
    }

    fn parse<T: DeserializeOwned>(&self, text: &[u8], doing: &'static str) -> Result<T, ForgeError> {
        serde_json::from_slice(text).map_err(|error| self.unreadable(doing, &error.to_string()))
    }

    pub(super) fn unreadable(&self, doing: &'static str, message: &str) -> ForgeError {
        let message = message.chars().take(MAX_MESSAGE).collect();
        ForgeError::Unreadable {
            host: self.host.clone(),
            doing,
            message,
        }
    }

    pub(super) fn missing(&self, doing: &'static str) -> ForgeError {
        ForgeError::NotFound {
            host: self.host.clone(),
            doing,
            message: "there is none of that name".to_owned(),
        }
    }

    fn unreachable(&self, source: reqwest::Error) -> ForgeError {
        if let Some(refused) = refusal_in(&source) {
            return refused.into();
        }
        ForgeError::Unreachable {
            host: self.host.clone(),
            source: source.without_url(),
        }
    }
}

/// What a forge says of its refusal: the `message` or `error` of its JSON, else the beginning of the text. Secrets are taken
/// out first: of one that is cut, the beginning would be left.
fn message(body: &[u8], secrets: &Secrets) -> String {
    let said = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|json| {
            let field = ["message", "error_description", "error"]
                .iter()
                .find_map(|name| json.get(name).filter(|said| !said.is_null()));
            field.map(|said| said.as_str().map_or_else(|| said.to_string(), str::to_owned))
        });
    let said = said.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let said = secrets.redact(&said);
    let said: String = visible(said.trim()).chars().take(MAX_MESSAGE).collect();
    if said.is_empty() {
        "it gives no reason".to_owned()
    } else {
        said
    }
}
