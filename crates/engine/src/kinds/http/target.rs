//! Where a request goes: a whole address, or a path below a Connection's.

use super::authority::{self, Address};
use crate::{
    effect::HttpTarget,
    expression::{Scope, Template},
    kinds::Failure,
    plan::Place,
    turn::StepView,
};
use signoff_api::{address, name::ObjectName};

/// Where a request goes, with its expressions parsed.
#[derive(Debug)]
pub(in crate::kinds) enum Target {
    /// A whole address.
    Url(Template),
    /// A path below a Connection's base address.
    Connection { name: ObjectName, path: Template },
}

impl Target {
    pub(in crate::kinds) fn compile(
        place: &mut Place<'_, '_>,
        url: Option<&String>,
        connection: Option<&ObjectName>,
        path: Option<&String>,
    ) -> Self {
        // never performed: there is a problem
        let nothing = || Self::Url(Template::default());
        match (url, connection) {
            (Some(url), None) => {
                if path.is_some() {
                    place.problem("path", "path needs a connection");
                }
                let Some(template) = place.template("url", url) else {
                    return nothing();
                };
                if let Some(literal) = template.as_literal()
                    && !literal.starts_with("http://")
                    && !literal.starts_with("https://")
                {
                    place.problem("url", "an address starts with http:// or https://");
                }
                if address::http_holds_credentials(&template.outline()) {
                    place.problem("url", address::CREDENTIALS);
                }
                Self::Url(template)
            }
            (None, Some(name)) => {
                let path = path.map_or("", String::as_str);
                let template = place.template("path", path);
                if let Some(why) = template.as_ref().and_then(fragment_of) {
                    place.problem("path", why);
                }
                template.map_or_else(nothing, |path| Self::Connection {
                    name: name.clone(),
                    path,
                })
            }
            (None, None) | (Some(_), Some(_)) => {
                place.problem("", "either url, or connection and path");
                nothing()
            }
        }
    }

    pub(in crate::kinds) fn render(&self, step: &StepView<'_>, scope: &Scope) -> Result<HttpTarget, Failure> {
        match self {
            Self::Url(url) => {
                let Address {
                    text,
                    is_host_from_data,
                } = authority::render(url, scope)?;
                if url.as_literal().is_none() && address::has_dot_segment(&text) {
                    return Err(super::request::invalid(
                        "url: a value makes a segment `.` or `..` of the path, which leads elsewhere",
                    ));
                }
                Ok(if is_host_from_data {
                    HttpTarget::PublicUrl(text)
                } else {
                    HttpTarget::Url(text)
                })
            }
            Self::Connection { name, path } => Ok(HttpTarget::Connection {
                name: name.clone(),
                path: rendered_path(path, scope)?,
                bound: step.bound(name),
            }),
        }
    }

    pub(in crate::kinds) fn connection(&self) -> Option<&ObjectName> {
        match self {
            Self::Connection { name, .. } => Some(name),
            Self::Url(_) => None,
        }
    }
}

/// Why a path below a Connection's base address would not be sent whole, if so.
pub(crate) fn fragment_of(path: &Template) -> Option<&'static str> {
    let has_fragment = path.outline().contains('#');
    has_fragment.then_some("a fragment is never sent; write `#` as `%23`")
}

/// A path below a Connection's base address. A value in it leads nowhere else.
pub(crate) fn rendered_path(path: &Template, scope: &Scope) -> Result<String, Failure> {
    let path = path.text_with(scope, percent_encode)?;
    if address::has_dot_segment(&path) {
        return Err(super::request::invalid(
            "path: it has a segment `.` or `..`, which leads elsewhere",
        ));
    }
    Ok(path)
}

/// As RFC 3986 encodes a path segment: everything but unreserved characters.
fn percent_encode(text: String) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.into_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // writing to a String cannot fail
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
