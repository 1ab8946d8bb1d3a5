//! What every request passes: the right host, the browser that was let in, and forms of our own. Every answer has the headers that
//! keep other sites and scripts out.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{Session, Web, error::PageError};

/// No script within a page, one script, styles and pictures of ours, no frame, requests and forms only to ourselves.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

pub(super) async fn check(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    let mut response = match refusal(&web.session, web.address.port(), &request) {
        None => next.run(request).await,
        Some(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refusal(session: &Session, port: u16, request: &Request) -> Option<PageError> {
    let (headers, path) = (request.headers(), request.uri().path());
    // a name of somebody else's that resolves to this machine is not ours, and neither is a request that names no host
    let Some(host) = text(headers, &header::HOST).filter(|host| is_ours(host, port)) else {
        let why = "this page is served to this machine only, under the address that was printed";
        return Some(PageError::new(StatusCode::MISDIRECTED_REQUEST, why));
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) && !is_same_origin(headers, host) {
        return Some(PageError::new(
            StatusCode::FORBIDDEN,
            "this form was sent by another site",
        ));
    }
    let cookies = text(headers, &header::COOKIE).unwrap_or_default();
    let is_open = matches!(path, "/login" | "/style.css");
    (!is_open && !session.is_known(cookies, port)).then(|| {
        let why = "open the address that `signoff ui` printed; it lets one browser in, once";
        PageError::new(StatusCode::FORBIDDEN, why)
    })
}

/// Browsers leave the port away where it is that of the scheme.
fn is_ours(host: &str, port: u16) -> bool {
    ["127.0.0.1", "localhost", "[::1]"]
        .iter()
        .any(|name| *host == format!("{name}:{port}") || (port == 80 && host == *name))
}

/// Browsers name the origin of every form that is sent; a program that names none is not let through either.
fn is_same_origin(headers: &HeaderMap, host: &str) -> bool {
    let site = text(headers, &HeaderName::from_static("sec-fetch-site"));
    let origin = text(headers, &header::ORIGIN);
    origin == Some(&*format!("http://{host}")) && site.is_none_or(|site| site == "same-origin")
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_let_through_without_a_host_of_ours_and_the_cookie() {
        let (session, _) = Session::begin();
        let cookie = session.cookie(80);
        let refused = |host: Option<&[u8]>, cookie: Option<&str>, path: &str| {
            let mut request = Request::builder().uri(path);
            if let Some(host) = host {
                request = request.header(header::HOST, host);
            }
            if let Some(cookie) = cookie {
                request = request.header(header::COOKIE, cookie);
            }
            refusal(&session, 80, &request.body(axum::body::Body::empty()).unwrap()).is_some()
        };
        let ours = Some(&b"127.0.0.1:80"[..]);
        assert!(!refused(ours, Some(&cookie), "/"));
        assert!(!refused(ours, None, "/login") && refused(ours, None, "/"));
        for host in [None, Some(&b"evil.example"[..]), Some(&b"127.0.0.1:80\xff"[..])] {
            for path in ["/", "/login"] {
                assert!(
                    refused(host, None, path) && refused(host, Some(&cookie), path),
                    "{host:?} {path}"
                );
            }
        }
    }

    #[test]
    fn only_this_machine_is_the_host_and_only_our_own_pages_send_forms() {
        assert!(is_ours("127.0.0.1:80", 80) && is_ours("localhost:80", 80) && is_ours("[::1]:80", 80));
        assert!(is_ours("127.0.0.1", 80) && is_ours("localhost", 80) && is_ours("[::1]", 80));
        assert!(!is_ours("127.0.0.1", 81) && !is_ours("localhost", 8080));
        for other in [
            "evil.example:80",
            "evil.example",
            "127.0.0.1:81",
            "localhost.evil.example:80",
        ] {
            assert!(!is_ours(other, 80), "{other}");
        }
        let sent = |origin: &'static str, site: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            if let Some(site) = site {
                headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            }
            is_same_origin(&headers, "127.0.0.1:80")
        };
        assert!(sent("http://127.0.0.1:80", None) && sent("http://127.0.0.1:80", Some("same-origin")));
        assert!(!sent("http://127.0.0.1:81", None), "another port is another site");
        assert!(!sent("null", None) && !sent("https://evil.example", Some("cross-site")));
        assert!(!sent("http://127.0.0.1:80", Some("same-site")));
        assert!(!is_same_origin(&HeaderMap::new(), "127.0.0.1:80"));
    }
}
