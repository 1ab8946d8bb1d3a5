//! Pages that are kept up to date: each has a tag, and is sent again only if it says something else.

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::PageError;
use signoff_api::Digest;

/// The script, the only one of the page.
const SCRIPT: &str = include_str!("live.js");

pub(super) async fn script() -> Response {
    let kind = HeaderValue::from_static("text/javascript; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], SCRIPT).into_response()
}

/// Gives each page its tag. A browser that has it already is told so.
pub(super) async fn tagged(request: Request, next: Next) -> Response {
    let is_read = *request.method() == Method::GET;
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_page = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !is_read || !is_page || response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // it was made in memory
    let bytes = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => bytes,
        Err(error) => return PageError::internal(&error).into_response(),
    };
    let tag = format!("\"{}\"", fingerprint(&String::from_utf8_lossy(&bytes)).hex());
    let Ok(tag) = HeaderValue::from_str(&tag) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    let is_known = known.as_ref() == Some(&tag);
    parts.headers.insert(header::ETAG, tag);
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// What a page says, without how far its times are from now.
fn fingerprint(page: &str) -> Digest {
    let mut kept = String::with_capacity(page.len());
    let mut rest = page;
    // text of others is escaped, so each such tag is ours
    while let Some((before, after)) = rest.split_once("<time ") {
        kept.push_str(before);
        let (tag, after) = after.split_once('>').unwrap_or((after, ""));
        kept.push_str(tag);
        rest = after.split_once("</time>").map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    Digest::of(kept.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_the_same_as_long_as_it_says_the_same() {
        let page = |at: &str, words: &str, more: &str| {
            fingerprint(&format!(
                "<p>asked <time datetime=\"{at}\">{words}</time>, {more}</p><time datetime=\"x\">now</time>"
            ))
        };
        let first = page("2026-11-23T10:00:00Z", "3 s ago", "1 of 2");
        assert_eq!(first, page("2026-11-23T10:00:00Z", "9 s ago", "1 of 2"));
        assert_ne!(first, page("2026-11-23T10:00:01Z", "3 s ago", "1 of 2"));
        assert_ne!(first, page("2026-11-23T10:00:00Z", "3 s ago", "2 of 2"));
    }

    #[test]
    fn the_script_writes_no_html_and_calls_nobody_else() {
        for word in [
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval",
            "http:",
            "https:",
            "POST",
        ] {
            assert!(!SCRIPT.contains(word), "{word}");
        }
    }
}
