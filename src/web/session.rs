//! One browser of one person: it is let in by a code that works once, and keeps a cookie.

use std::sync::{Arc, Mutex, PoisonError};

use askama::Template;
use axum::{
    extract::{Query, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use rand::Rng as _;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::{Web, error::PageError, render};

#[derive(Template)]
#[template(path = "welcome.html")]
struct Welcome {}

/// Secrets of a session. Each is 256 bits of the system's randomness.
pub struct Session {
    /// Lets a browser in, once.
    code: Mutex<Option<String>>,
    cookie: String,
    /// Goes with every form, so that no other site can send one.
    form: String,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session(…)")
    }
}

impl Session {
    /// New secrets, and the code that lets a browser in.
    pub fn begin() -> (Self, String) {
        let code = secret();
        let session = Self {
            code: Mutex::new(Some(code.clone())),
            cookie: secret(),
            form: secret(),
        };
        (session, code)
    }

    /// Takes the code, which works once.
    fn admit(&self, given: &str) -> bool {
        let mut code = self.code.lock().unwrap_or_else(PoisonError::into_inner);
        code.take_if(|code| is_same(code, given)).is_some()
    }

    /// Whether the cookies of a request are those of the browser that was let in.
    pub(super) fn is_known(&self, cookies: &str, port: u16) -> bool {
        let name = cookie_name(port);
        let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(key, value)| key == name && is_same(&self.cookie, value))
    }

    /// What the browser that was let in sends.
    pub(super) fn cookie(&self, port: u16) -> String {
        format!("{}={}", cookie_name(port), self.cookie)
    }

    /// Whether a form is one of ours.
    pub(super) fn is_ours(&self, given: &str) -> bool {
        is_same(&self.form, given)
    }

    /// What a form has to carry.
    pub(super) fn form(&self) -> &str {
        &self.form
    }
}

/// Cookies are shared by all ports of a host, so each has a name of its own.
fn cookie_name(port: u16) -> String {
    format!("signoff-{port}")
}

fn secret() -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn is_same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

#[derive(Deserialize)]
pub(super) struct Login {
    code: String,
}

/// `GET /login?code=…`: gives the cookie for the code. It decides nothing.
pub(super) async fn login(
    State(web): State<Arc<Web>>,
    Query(login): Query<Login>,
) -> Result<Response, PageError> {
    if !web.session.admit(&login.code) {
        return Err(PageError::new(
            StatusCode::FORBIDDEN,
            "this address was used before, or is not the one that was printed; start `signoff ui` again",
        ));
    }
    let cookie = web.session.cookie(web.address.port());
    let cookie = format!("{cookie}; Path=/; HttpOnly; SameSite=Strict");
    let cookie = HeaderValue::from_str(&cookie).map_err(|error| PageError::internal(&error))?;
    // a page of ours that goes on, and no redirect: a strict cookie does not go with one that another site began
    let mut response = render(&Welcome {})?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_lets_one_browser_in_and_only_its_cookie_is_known() {
        let (session, code) = Session::begin();
        assert!(!session.admit(""));
        assert!(!session.admit(&code[1..]));
        assert!(session.admit(&code));
        assert!(!session.admit(&code), "it works once");
        let cookies = format!("other=1; {}", session.cookie(80));
        assert!(session.is_known(&cookies, 80));
        assert!(!session.is_known(&cookies, 81), "each port has its own");
        assert!(!session.is_known("signoff-80=", 80));
        assert!(session.is_ours(session.form()) && !session.is_ours(&code));
    }
}
