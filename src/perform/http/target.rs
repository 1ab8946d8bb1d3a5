//! Where a call goes, through which client and with which credentials, read at the moment of the call.

use http::{HeaderMap, HeaderName, HeaderValue};
use kube::Client;
use url::Url;

use super::{HttpExecutor, IDEMPOTENCY_KEY, auth::Auth};
use crate::{
    net::{ClientTls, Network, redact::Secrets},
    perform::{connection, error},
};
use signoff_api::{
    ConnectionKind, address,
    connection::{HttpConnection, Tls},
    header,
    name::ObjectName,
    reason::StepReason,
};
use signoff_engine::{effect::HttpTarget, facts::EffectError};

/// A resolved target.
#[derive(Debug)]
pub(super) struct Target {
    pub url: Url,
    /// Where the call may go, and wherever it is redirected.
    pub network: Network,
    /// The client for the target's own origin.
    pub client: reqwest::Client,
    /// The client for other origins.
    pub elsewhere: reqwest::Client,
    /// What authenticates a request; for the target's own origin only.
    pub auth: Auth,
    /// Headers of the Connection; for the target's own origin only.
    pub headers: HeaderMap,
    pub idempotency_header: HeaderName,
    pub secrets: Secrets,
    /// Whether the path is a secret too, so that messages name only the host.
    pub hides_path: bool,
}

impl Target {
    /// An address as messages name it.
    pub(super) fn place(&self, url: &Url) -> String {
        if self.hides_path {
            return url.host_str().unwrap_or_default().to_owned();
        }
        super::place(url)
    }
}

impl HttpExecutor {
    /// Finds out where a call goes.
    pub(super) async fn resolve(&self, namespace: &str, target: &HttpTarget) -> Result<Target, EffectError> {
        let client = &self.kube.0;
        match target {
            HttpTarget::Url(url) => Ok(bare(parse(url)?, &self.network, &self.http)),
            HttpTarget::PublicUrl(url) => {
                let (network, client) = &self.public;
                Ok(bare(parse(url)?, network, client))
            }
            HttpTarget::Connection { name, path, bound } => {
                let connection = connection::find(client, namespace, name, bound.as_ref()).await?;
                match connection.kind {
                    ConnectionKind::Http(http) => self.through(namespace, name, &http, path).await,
                    other => Err(connection::not_one_for("http", name, &other)),
                }
            }
            HttpTarget::Channel {
                channel,
                name,
                path,
                bound,
            } => {
                let connection = connection::find(client, namespace, name, bound.as_ref()).await?;
                self.to_channel(namespace, (*channel, name, path), connection.kind)
                    .await
            }
        }
    }

    pub(super) async fn through(
        &self,
        namespace: &str,
        name: &ObjectName,
        http: &HttpConnection,
        path: &str,
    ) -> Result<Target, EffectError> {
        if address::http_holds_credentials(&http.base_url) {
            return Err(connection::unusable(format!(
                "the address of the Connection {name:?} holds credentials; put them into a Secret that its auth names"
            )));
        }
        if address::has_query_or_fragment(&http.base_url) {
            return Err(connection::unusable(format!(
                "the Connection {name:?} cannot be used: {}",
                address::BASE_MESSAGE
            )));
        }
        let url = join(&http.base_url, path).ok_or_else(|| {
            error::invalid(
                StepReason::InvalidRequest,
                format!(
                    "the path leads out of the Connection {name:?}, or has a segment `.` or `..`, or a fragment"
                ),
            )
        })?;
        let mut secrets = Secrets::default();
        let tls = match &http.tls {
            Some(tls) => Some(read_tls(&self.kube.0, namespace, tls, &mut secrets).await?),
            None => None,
        };
        let client = self.client(name, tls.as_ref())?;
        let auth = match &http.auth {
            Some(auth) => {
                self.authentication(namespace, name, auth, tls.as_ref(), &url, &mut secrets)
                    .await?
            }
            None => Auth::None,
        };
        let wrong = |what: &str| {
            error::invalid(
                StepReason::InvalidRequest,
                format!("the Connection {name:?} has {what}"),
            )
        };
        let idempotency_header =
            idempotency_header(http).ok_or_else(|| wrong("no valid idempotencyHeader"))?;
        let headers = headers(http).ok_or_else(|| {
            wrong("a header that cannot be sent: credentials belong to auth, and some headers are set by Signoff")
        })?;
        if headers.contains_key(&idempotency_header) || auth.header() == Some(&idempotency_header) {
            return Err(wrong(
                "a header with the name of the one with the idempotency key",
            ));
        }
        Ok(Target {
            url,
            network: self.network.clone(),
            client,
            elsewhere: self.http.clone(),
            auth,
            headers,
            idempotency_header,
            secrets,
            hides_path: false,
        })
    }

    /// The client for the TLS settings of a Connection.
    pub(super) fn client(
        &self,
        name: &ObjectName,
        tls: Option<&ClientTls>,
    ) -> Result<reqwest::Client, EffectError> {
        let Some(tls) = tls else {
            return Ok(self.http.clone());
        };
        self.clients.get(&self.network, tls).map_err(|why| {
            error::invalid(
                StepReason::CredentialsRefused,
                format!("the Connection {name:?} cannot be used: {why}"),
            )
        })
    }
}

/// A target without credentials.
pub(super) fn bare(url: Url, network: &Network, client: &reqwest::Client) -> Target {
    Target {
        url,
        network: network.clone(),
        client: client.clone(),
        elsewhere: client.clone(),
        auth: Auth::None,
        headers: HeaderMap::new(),
        idempotency_header: IDEMPOTENCY_KEY,
        secrets: Secrets::default(),
        hides_path: false,
    }
}

pub(in crate::perform) async fn read_tls(
    client: &Client,
    namespace: &str,
    tls: &Tls,
    secrets: &mut Secrets,
) -> Result<ClientTls, EffectError> {
    let ca = match &tls.ca {
        Some(ca) => Some(connection::text(client, namespace, ca).await?),
        None => None,
    };
    let identity = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => Some((
            connection::text(client, namespace, certificate).await?,
            connection::secret(client, namespace, key, secrets).await?,
        )),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(connection::unusable(
                "tls.certificate and tls.key of a Connection belong together".to_owned(),
            ));
        }
    };
    Ok(ClientTls {
        ca,
        identity,
        server_name: tls.server_name.clone(),
    })
}

/// The headers of a Connection, if all of them can be sent.
fn headers(http: &HttpConnection) -> Option<HeaderMap> {
    let headers = http.headers.iter().flatten().map(|(name, value)| {
        let name = HeaderName::try_from(name).ok()?;
        may_set(&name).then_some((name, HeaderValue::try_from(value).ok()?))
    });
    headers.collect()
}

fn idempotency_header(http: &HttpConnection) -> Option<HeaderName> {
    match &http.idempotency_header {
        None => Some(IDEMPOTENCY_KEY),
        Some(name) => HeaderName::try_from(name).ok().filter(may_set),
    }
}

/// Whether a Connection may set a header beside the one that authenticates.
fn may_set(name: &HeaderName) -> bool {
    !header::is_of_the_client(name.as_str()) && !header::holds_credentials(name.as_str())
}

pub(super) fn parse(text: &str) -> Result<Url, EffectError> {
    let url = Url::parse(text).map_err(|problem| {
        error::invalid(
            StepReason::InvalidRequest,
            format!("the address is not a URL: {problem}"),
        )
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(error::invalid(
            StepReason::InvalidRequest,
            "the address is neither http nor https",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let message = "the address holds credentials; put them in a Secret and use a Connection";
        return Err(error::invalid(StepReason::InvalidRequest, message));
    }
    Ok(url)
}

/// A path appended to a base address, unless it leads out of it. A segment `.` or `..` is refused: it would take away what the
/// author wrote before it.
fn join(base: &str, path: &str) -> Option<Url> {
    if address::has_dot_segment(path) || path.contains('#') {
        return None;
    }
    let base = Url::parse(base.trim_end_matches('/')).ok()?;
    let separator = if path.is_empty() || path.starts_with(['/', '?']) {
        ""
    } else {
        "/"
    };
    let url = Url::parse(&format!(
        "{}{separator}{path}",
        base.as_str().trim_end_matches('/')
    ))
    .ok()?;
    let below = base.path().trim_end_matches('/');
    let inside = url
        .path()
        .strip_prefix(below)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    (url.origin() == base.origin() && inside && url.username().is_empty() && url.password().is_none())
        .then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_its_base() {
        let joined = |base, path| join(base, path).map(String::from);
        assert_eq!(
            joined("https://a.example/v1/", "/refunds"),
            Some("https://a.example/v1/refunds".into())
        );
        assert_eq!(
            joined("https://a.example", "x?y=1"),
            Some("https://a.example/x?y=1".into())
        );
        assert_eq!(
            joined("https://a.example/v1", ""),
            Some("https://a.example/v1".into())
        );
        for path in [
            "/../admin",
            "/%2e%2e/admin",
            "/a/../../admin",
            "/..",
            "/a/../b",
            "/a/.%2E/b",
            "/a/./b",
            "..\\x",
            "/a#b",
            "#",
        ] {
            assert_eq!(joined("https://a.example/v1", path), None, "{path}");
        }
        assert_eq!(
            joined("https://a.example", "/a?to=../b"),
            Some("https://a.example/a?to=../b".into())
        );
        assert_eq!(
            joined("https://a.example", "@evil.example/"),
            Some("https://a.example/@evil.example/".into())
        );
        assert_eq!(
            joined("https://a.example", ".evil.example/"),
            Some("https://a.example/.evil.example/".into())
        );
    }

    #[test]
    fn an_address_with_credentials_is_refused() {
        assert!(parse("https://user:pass@a.example/").is_err());
        assert!(parse("ftp://a.example/").is_err() && parse("/x").is_err());
        assert!(parse("https://a.example/x").is_ok());
    }
}
