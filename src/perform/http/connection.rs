//! Where a call goes and with which credentials, read at the moment of the call.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, header};
use kube::Client;
use url::Url;

use crate::{
    net::redact::Secrets,
    perform::{connection, error},
};
use signoff_api::{ConnectionKind, address, connection::HttpAuth, reason::StepReason};
use signoff_engine::{effect::HttpTarget, facts::EffectError};

/// A resolved target.
#[derive(Debug)]
pub(super) struct Target {
    pub url: Url,
    /// The header that authenticates the call; sent to the target's own origin only.
    pub auth: Option<(HeaderName, HeaderValue)>,
    pub secrets: Secrets,
}

/// Finds out where a call goes.
pub(super) async fn resolve(
    client: &Client,
    namespace: &str,
    target: &HttpTarget,
) -> Result<Target, EffectError> {
    match target {
        HttpTarget::Url(url) => Ok(Target {
            url: parse(url)?,
            auth: None,
            secrets: Secrets::default(),
        }),
        HttpTarget::Connection { name, path, bound } => {
            let connection = connection::find(client, namespace, name, bound.as_ref()).await?;
            let ConnectionKind::Http(http) = connection.kind else {
                return Err(connection::unusable(format!(
                    "the Connection {name:?} is not one to an HTTP API"
                )));
            };
            if address::http_holds_credentials(&http.base_url) {
                return Err(connection::unusable(format!(
                    "the address of the Connection {name:?} holds credentials; put them into a Secret that its auth names"
                )));
            }
            let url = join(&http.base_url, path).ok_or_else(|| {
                error::invalid(
                    StepReason::InvalidRequest,
                    format!("the path leads out of the Connection {name:?}, or has a segment `.` or `..`"),
                )
            })?;
            let mut secrets = Secrets::default();
            let auth = match &http.auth {
                Some(auth) => Some(authenticate(client, namespace, auth, &mut secrets).await?),
                None => None,
            };
            Ok(Target { url, auth, secrets })
        }
    }
}

fn parse(text: &str) -> Result<Url, EffectError> {
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
    let mut segments = path
        .split(['?', '#'])
        .next()
        .unwrap_or_default()
        .split(['/', '\\']);
    let is_dots = |segment: &str| {
        matches!(
            segment.to_ascii_lowercase().replace("%2e", ".").as_str(),
            "." | ".."
        )
    };
    if segments.any(is_dots) {
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

async fn authenticate(
    client: &Client,
    namespace: &str,
    auth: &HttpAuth,
    secrets: &mut Secrets,
) -> Result<(HeaderName, HeaderValue), EffectError> {
    let (name, text) = match auth {
        HttpAuth::Bearer(reference) => {
            let token = connection::secret(client, namespace, reference, secrets).await?;
            (header::AUTHORIZATION, format!("Bearer {token}"))
        }
        HttpAuth::Basic(basic) => {
            let password = connection::secret(client, namespace, &basic.password, secrets).await?;
            let pair = STANDARD.encode(format!("{}:{password}", basic.username));
            secrets.add(&pair);
            (header::AUTHORIZATION, format!("Basic {pair}"))
        }
        HttpAuth::Header(header) => {
            let value = connection::secret(client, namespace, &header.value, secrets).await?;
            let name = HeaderName::try_from(&header.name).map_err(|_| {
                error::invalid(
                    StepReason::InvalidRequest,
                    "the Connection's header has no valid name",
                )
            })?;
            (name, value)
        }
    };
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        error::invalid(
            StepReason::InvalidRequest,
            "the Connection's secret has characters that no header may hold",
        )
    })?;
    value.set_sensitive(true);
    Ok((name, value))
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
