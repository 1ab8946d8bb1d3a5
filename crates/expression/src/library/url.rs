//! URLs as Go's `net/url` reads them: absolute ones, or paths.
#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "what is pushed is small, and measured before"
)]

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{Function, function, method, unfit};
use crate::{
    error::Error,
    evaluate::{Call, Evaluated, texts},
    types::Type::{Bool, Map, String, Url as Address},
    value::{Key, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("url", &[String], Address, |call, a| match a {
        [Value::String(text)] => {
            call.budget.scan(text.len())?;
            call.budget.allocate(4 * text.len())?;
            Url::parse(text).map(|url| Value::Url(Arc::new(url)))
        }
        _ => unfit(a),
    }),
    function("isURL", &[String], Bool, |call, a| match a {
        [Value::String(text)] => {
            call.budget.scan(text.len())?;
            call.budget.allocate(4 * text.len())?;
            Ok(Value::Bool(Url::parse(text).is_ok()))
        }
        _ => unfit(a),
    }),
    method("getScheme", &[Address], String, |call, a| {
        part(call, a, |url| url.scheme.clone())
    }),
    method("getHost", &[Address], String, |call, a| {
        part(call, a, |url| url.host.clone())
    }),
    method("getHostname", &[Address], String, |call, a| {
        part(call, a, Url::host_name)
    }),
    method("getPort", &[Address], String, |call, a| part(call, a, Url::port)),
    method("getEscapedPath", &[Address], String, |call, a| {
        part(call, a, |url| url.path.clone())
    }),
    method("getQuery", &[Address], Map, query),
];

/// A URL, in its parts.
#[derive(Clone, Debug)]
pub struct Url {
    text: std::string::String,
    scheme: std::string::String,
    host: std::string::String,
    path: std::string::String,
    query: std::string::String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let invalid = |why: &str| {
            Error::failed(format!(
                "URL parse error during conversion from string: {why}: {}",
                text.chars().take(64).collect::<std::string::String>()
            ))
        };
        if text.is_empty() {
            return Err(invalid("empty url"));
        }
        if text.bytes().any(|b| b < b' ' || b == 0x7f) {
            return Err(invalid("invalid control character in URL"));
        }
        // whether it can be requested is asked of the whole, what it is of what comes before the fragment
        split(text).map_err(invalid)?;
        let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
        if unescaped(fragment).is_none() {
            return Err(invalid("invalid URL escape"));
        }
        let mut url = split(before).map_err(invalid)?;
        text.clone_into(&mut url.text);
        Ok(url)
    }

    fn host_name(&self) -> std::string::String {
        let host = self.host.as_str();
        if let Some(rest) = host.strip_prefix('[') {
            return rest.split(']').next().unwrap_or_default().to_owned();
        }
        host.split_once(':').map_or(host, |(name, _)| name).to_owned()
    }

    fn port(&self) -> std::string::String {
        let after = self.host.rsplit(']').next().unwrap_or_default();
        after.rsplit_once(':').map_or("", |(_, port)| port).to_owned()
    }
}

fn split(text: &str) -> Result<Url, &'static str> {
    let (scheme, rest) = scheme(text)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut url = Url {
        text: std::string::String::new(),
        scheme,
        host: std::string::String::new(),
        path: std::string::String::new(),
        query: query.to_owned(),
    };
    if !rest.starts_with('/') {
        if url.scheme.is_empty() {
            return Err("invalid URI for request");
        }
        return Ok(url);
    }
    let mut path = rest;
    if !url.scheme.is_empty()
        && let Some(authority) = rest.strip_prefix("//")
    {
        let end = authority.find('/').unwrap_or(authority.len());
        url.host = host(&authority[..end])?;
        path = &authority[end..];
    }
    let plain = unescaped(path).ok_or("invalid URL escape")?;
    let is_valid = path
        .bytes()
        .all(|b| b == b'%' || is_path_byte(b) || b"[]!'()*".contains(&b));
    url.path = if is_valid {
        path.to_owned()
    } else {
        escaped(&plain)
    };
    Ok(url)
}

fn scheme(text: &str) -> Result<(std::string::String, &str), &'static str> {
    for (at, b) in text.bytes().enumerate() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme"),
            b':' => return Ok((text[..at].to_ascii_lowercase(), &text[at + 1..])),
            _ => break,
        }
    }
    Ok((std::string::String::new(), text))
}

/// What is after the user, checked; what is escaped in it is not any more.
fn host(authority: &str) -> Result<std::string::String, &'static str> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (user, host),
        None => ("", authority),
    };
    let is_user = |b: u8| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b);
    if !user.bytes().all(is_user) || unescaped(user).is_none() {
        return Err("invalid userinfo");
    }
    let port = if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        &host[end + 1..]
    } else {
        host.rfind(':').map_or("", |at| &host[at..])
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    if !is_port {
        return Err("invalid port after host");
    }
    let is_host = |b: u8| b >= 0x80 || b.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&b);
    if !host.bytes().all(is_host) {
        return Err("invalid character in host name");
    }
    // in a host only what is not ASCII is escaped
    let mut rest = host;
    while let Some(at) = rest.find('%') {
        let digits = rest.get(at + 1..at + 3).ok_or("invalid URL escape")?;
        let byte = u8::from_str_radix(digits, 16).map_err(|_| "invalid URL escape")?;
        if byte < 0x80 && digits != "25" {
            return Err("invalid URL escape");
        }
        rest = &rest[at + 3..];
    }
    let plain = unescaped(host).ok_or("invalid URL escape")?;
    Ok(std::string::String::from_utf8_lossy(&plain).into_owned())
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let digits = bytes.get(at + 1..at + 3)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    Some(out)
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte)
}

fn escaped(path: &[u8]) -> std::string::String {
    let mut out = std::string::String::new();
    for &byte in path {
        if is_path_byte(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn part<'a>(
    call: &mut Call<'_>,
    arguments: &[Value<'a>],
    get: impl Fn(&Url) -> std::string::String,
) -> Evaluated<'a> {
    match arguments {
        [Value::Url(url)] => {
            call.budget.allocate(url.text.len())?;
            Ok(Value::text(get(url)))
        }
        _ => unfit(arguments),
    }
}

fn query<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::Url(url)] = arguments else {
        return unfit(arguments);
    };
    call.budget.scan(url.query.len())?;
    let mut values: BTreeMap<std::string::String, Vec<std::string::String>> = BTreeMap::new();
    for pair in url.query.split('&') {
        // what is malformed is left out
        if pair.is_empty() || pair.contains(';') {
            continue;
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let read = |text: &str| unescaped(&text.replace('+', " "));
        if let (Some(key), Some(value)) = (read(key), read(value)) {
            let text = |bytes: Vec<u8>| std::string::String::from_utf8_lossy(&bytes).into_owned();
            call.budget.allocate(64 + pair.len())?;
            values.entry(text(key)).or_default().push(text(value));
        }
    }
    let mut map = BTreeMap::new();
    for (key, values) in values {
        map.insert(Key::String(key.into()), texts(values, call.budget)?);
    }
    Ok(Value::Map(map.into()))
}
