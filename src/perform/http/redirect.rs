//! Redirects: where they lead, and what does not go along.

use http::{HeaderMap, header};
use url::{Url, form_urlencoded};

use super::target::Target;

/// Where a response redirects to, if it does and may be followed: never from https to http, and never with a secret to
/// another origin.
pub(super) fn next_hop(target: &Target, from: &Url, response: &reqwest::Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(header::LOCATION)?;
    let mut next = from.join(std::str::from_utf8(location.as_bytes()).ok()?).ok()?;
    let is_downgrade = next.scheme() != "https" && (next.scheme() != "http" || from.scheme() != "http");
    if is_downgrade {
        return None;
    }
    // a login that a server makes up is not one to authenticate with; fails where there is no host
    let _ = next.set_username("").and_then(|()| next.set_password(None));
    // a server may repeat the query that it was called with
    if let Some(name) = target.auth.parameter() {
        remove_parameter(&mut next, name);
    }
    let leaves = next.origin() != target.url.origin();
    let holds_secret = leaves && target.secrets.redact(next.as_str()) != next.as_str();
    (!holds_secret).then_some(next)
}

/// Another origin gets nothing that authenticates at this one or says which call it is.
pub(super) fn strip_credentials(headers: &mut HeaderMap, target: &Target) {
    for name in [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE] {
        headers.remove(name);
    }
    let of_the_connection = target.headers.keys().chain(target.auth.header());
    for name in of_the_connection.chain([&target.idempotency_header]) {
        headers.remove(name);
    }
}

fn remove_parameter(url: &mut Url, name: &str) {
    let Some(query) = url.query() else { return };
    let is_other = |pair: &&str| {
        let found = form_urlencoded::parse(pair.as_bytes()).next();
        found.is_none_or(|(found, _)| found != name)
    };
    let others: Vec<&str> = query.split('&').filter(is_other).collect();
    let others = others.join("&");
    url.set_query((!others.is_empty()).then_some(others.as_str()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_removed_wherever_it_stands_and_nothing_else_changes() {
        for (query, left) in [
            ("?key=s", ""),
            ("?key=s&a=1%20b", "?a=1%20b"),
            ("?a=1&key=s&b&key=t", "?a=1&b"),
            ("?%6bey=s&k=key", "?k=key"),
            ("?a=key", "?a=key"),
            ("", ""),
        ] {
            let mut url = Url::parse(&format!("https://h/x{query}")).unwrap();
            remove_parameter(&mut url, "key");
            assert_eq!(url.as_str(), format!("https://h/x{left}"), "{query}");
        }
    }
}
