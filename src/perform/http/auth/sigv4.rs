//! AWS Signature Version 4.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use url::Url;

use signoff_api::Digest;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Keys and scope.
#[derive(Clone)]
pub(in crate::perform::http) struct Signer {
    pub(super) region: String,
    pub(super) service: String,
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: Option<String>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("region", &self.region)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// Something that is signed cannot be a header.
#[derive(Debug, thiserror::Error)]
#[error("a key has characters that no header may hold")]
pub(super) struct InvalidKey;

impl Signer {
    /// Signs a request as it is, with all its headers but those that are set on the way. Adds the headers that a signature
    /// needs, and writes the path and the query as they were signed.
    pub(super) fn sign(
        &self,
        method: &Method,
        url: &mut Url,
        headers: &mut HeaderMap,
        payload: &Digest,
        now: Timestamp,
    ) -> Result<(), InvalidKey> {
        let at = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let secret = |text: &str| {
            let mut value = HeaderValue::try_from(text).map_err(|_| InvalidKey)?;
            value.set_sensitive(true);
            Ok(value)
        };
        headers.remove(header::AUTHORIZATION);
        headers.insert(DATE, secret(&at)?);
        if let Some(token) = &self.session_token {
            headers.insert(SECURITY_TOKEN, secret(token)?);
        }
        let payload = payload.hex();
        if self.is_s3() {
            headers.insert(CONTENT_SHA256, secret(payload)?);
        }
        url.set_path(&self.sent_path(url));
        let query = canonical_query(url);
        url.set_query((!query.is_empty()).then_some(query.as_str()));
        let (names, values) = canonical_headers(url, headers);
        let request = [
            method.as_str(),
            &self.canonical_path(url),
            &query,
            &values,
            &names,
            payload,
        ]
        .join("\n");
        let date = &at[..8];
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!(
            "{ALGORITHM}\n{at}\n{scope}\n{}",
            hex(&Sha256::digest(request.as_bytes()))
        );
        let signature = hex(&hmac(&self.key(date), to_sign.as_bytes()));
        let credential = &self.access_key_id;
        let text = format!(
            "{ALGORITHM} Credential={credential}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        headers.insert(header::AUTHORIZATION, secret(&text)?);
        Ok(())
    }

    fn key(&self, date: &str) -> Vec<u8> {
        let secret = format!("AWS4{}", self.secret_access_key);
        let parts = [date, &self.region, &self.service, "aws4_request"];
        parts
            .into_iter()
            .fold(secret.into_bytes(), |key, part| hmac(&key, part.as_bytes()))
    }

    fn is_s3(&self) -> bool {
        self.service == "s3" || self.service.starts_with("s3-")
    }

    /// The path as it is sent: all but unreserved characters encoded, and for all services but S3 without empty segments,
    /// which they pass over.
    fn sent_path(&self, url: &Url) -> String {
        let mut path = String::new();
        for segment in url.path().split('/').skip(1) {
            if self.is_s3() || !path.ends_with('/') {
                path.push('/');
            }
            path.push_str(&encode(&percent_decode(segment)));
        }
        if path.is_empty() { "/".to_owned() } else { path }
    }

    /// The path as it is signed: for all services but S3 encoded once more than it is sent.
    fn canonical_path(&self, url: &Url) -> String {
        if self.is_s3() {
            return url.path().to_owned();
        }
        let segments = url.path().split('/').map(|segment| encode(segment.as_bytes()));
        segments.collect::<Vec<_>>().join("/")
    }
}

/// The parameters in the order of their encoded names and values.
fn canonical_query(url: &Url) -> String {
    let pairs = url.query_pairs();
    let mut pairs: Vec<(String, String)> = pairs
        .map(|(name, value)| (encode(name.as_bytes()), encode(value.as_bytes())))
        .collect();
    pairs.sort();
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join("&")
}

/// The names of the headers that are signed, and the headers themselves, each on its line.
fn canonical_headers(url: &Url, headers: &HeaderMap) -> (String, String) {
    let host = url.host_str().unwrap_or_default();
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let mut signed = vec![("host".to_owned(), host)];
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let values: Vec<String> = values
            .map(|value| {
                let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
            })
            .collect();
        signed.push((name.as_str().to_owned(), values.join(",")));
    }
    signed.sort();
    let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
    let mut lines = String::new();
    for (name, value) in &signed {
        // writing to a String cannot fail
        let _ = writeln!(lines, "{name}:{value}");
    }
    (names.join(";"), lines)
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) if *first == b'%' => {
                decoded.push(byte);
                rest = &after[2..];
            }
            Some(_) | None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

/// Everything but unreserved characters, percent-encoded.
fn encode(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(*byte));
        } else {
            // writing to a String cannot fail
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // writing to a String cannot fail
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes a key of any length, so this never falls back
    Hmac::<Sha256>::new_from_slice(key).map_or_else(
        |_| Vec::new(),
        |mut mac| {
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(
        signer: &Signer,
        method: &Method,
        url: &str,
        headers: &[(&'static str, &'static str)],
        body: &str,
        at: &str,
    ) -> (String, Url) {
        let mut url = Url::parse(url).unwrap();
        let mut map: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        signer
            .sign(
                method,
                &mut url,
                &mut map,
                &Digest::of(body.as_bytes()),
                at.parse().unwrap(),
            )
            .unwrap();
        let text = map[header::AUTHORIZATION].to_str().unwrap().to_owned();
        (text.rsplit('=').next().unwrap().to_owned(), url)
    }

    /// The published test suite of AWS Signature Version 4.
    #[test]
    fn signs_as_the_published_test_suite() {
        let signer = Signer {
            region: "us-east-1".into(),
            service: "service".into(),
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let form = [("content-type", "application/x-www-form-urlencoded")];
        for (name, method, path, headers, body, expected) in [
            (
                "get-vanilla",
                Method::GET,
                "/",
                &[][..],
                "",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "get-vanilla-empty-query-key",
                Method::GET,
                "/?Param1=value1",
                &[],
                "",
                "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
            ),
            (
                "get-vanilla-query-order-key-case",
                Method::GET,
                "/?Param2=value2&Param1=value1",
                &[],
                "",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "post-vanilla",
                Method::POST,
                "/",
                &[],
                "",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-x-www-form-urlencoded",
                Method::POST,
                "/",
                &form,
                "Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            let url = format!("https://example.amazonaws.com{path}");
            let (signed, _) = signature(&signer, &method, &url, headers, body, "2015-08-30T12:36:00Z");
            assert_eq!(signed, expected, "{name}");
        }
    }

    /// The examples of the documentation of Amazon S3.
    #[test]
    fn signs_as_the_documentation_of_s3() {
        let signer = Signer {
            region: "us-east-1".into(),
            service: "s3".into(),
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let put = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        for (method, path, headers, body, expected) in [
            (
                Method::GET,
                "/test.txt",
                &[("range", "bytes=0-9")][..],
                "",
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                Method::PUT,
                "/test$file.text",
                &put,
                "Welcome to Amazon S3.",
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            (
                Method::GET,
                "/?lifecycle",
                &[],
                "",
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                Method::GET,
                "/?max-keys=2&prefix=J",
                &[],
                "",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let url = format!("https://examplebucket.s3.amazonaws.com{path}");
            let (signed, _) = signature(&signer, &method, &url, headers, body, "2013-05-24T00:00:00Z");
            assert_eq!(signed, expected, "{method} {path}");
        }
    }

    /// Signatures that botocore makes of the address that is sent.
    #[test]
    fn a_path_is_sent_as_it_is_signed() {
        for (service, path, sent, expected) in [
            (
                "execute-api",
                "/a:b=c@d+e(f)!g$h&i'j,k;l*m",
                "/a%3Ab%3Dc%40d%2Be%28f%29%21g%24h%26i%27j%2Ck%3Bl%2Am",
                "518d921002f481a833d6e7f9bcc8af3f2efd48b0c71a67fda0af967aa43212bf",
            ),
            (
                "execute-api",
                "/x%7Ey/%2F/a%20b/%C3%BC",
                "/x~y/%2F/a%20b/%C3%BC",
                "8dc77637b20998bb268ada082c41cc9daa8784109e002d452423b4302e181f41",
            ),
            (
                "execute-api",
                "/a//b///c/",
                "/a/b/c/",
                "520c535a6242616db86fd4ea16eea7ca253bf2c32cdf94e81433cb276ad1779d",
            ),
            (
                "execute-api",
                "//",
                "/",
                "98910b06887c582e62c2a505ba7ce042f2ad09c98a0b15c5e52ce30f64f4ec1f",
            ),
            (
                "execute-api",
                "/x%3ay",
                "/x%3Ay",
                "55a5e3591d262f6fb3de54978db6296609769ad3951c136ea0dcb53e8bc0981d",
            ),
            (
                "s3",
                "/a:b=c@d+e(f)!g$h&i'j,k;l*m",
                "/a%3Ab%3Dc%40d%2Be%28f%29%21g%24h%26i%27j%2Ck%3Bl%2Am",
                "9542c7b20ec7f9361398f2d26f5a16154fea2b3f5564b7889d8013562cb82ffa",
            ),
            (
                "s3",
                "/x%7Ey/%2F/a%20b/%C3%BC",
                "/x~y/%2F/a%20b/%C3%BC",
                "b186fb6d18d8bc4a13d486f1bc20628b7685829c50c686bfc8cc19d836933abd",
            ),
            (
                "s3",
                "/a//b///c/",
                "/a//b///c/",
                "b8c0fc0b27e0f356a0fa3025af52bcc9fa0ee84d162e95b6d45ce42ef06fb46c",
            ),
            (
                "s3",
                "//",
                "//",
                "c54d74a91eec982dcc93faa12ed3f14db18125006c547976c2310d6d63723989",
            ),
            (
                "s3",
                "/x%3ay",
                "/x%3Ay",
                "95020eef9f06a44be3bce3e92cdfd6f8d1b76c1d2ff039efc00c6803f8e05f89",
            ),
        ] {
            let signer = Signer {
                region: "eu-central-1".into(),
                service: service.into(),
                access_key_id: "AKIDEXAMPLE".into(),
                secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
                session_token: None,
            };
            let url = format!("https://api.example.com{path}");
            let (signed, url) = signature(&signer, &Method::GET, &url, &[], "", "2026-11-29T12:00:00Z");
            assert_eq!(
                (url.path(), signed.as_str()),
                (sent, expected),
                "{service} {path}"
            );
        }
    }

    #[test]
    fn what_is_sent_is_what_is_signed_and_a_session_token_goes_with_it() {
        let signer = Signer {
            region: "eu-central-1".into(),
            service: "execute-api".into(),
            access_key_id: "id".into(),
            secret_access_key: "secret".into(),
            session_token: Some("session".into()),
        };
        let mut url = Url::parse("http://127.0.0.1:8080/a?b=x+y&a=%C3%B6").unwrap();
        let mut headers = HeaderMap::new();
        let now = "2026-11-29T12:00:00Z".parse().unwrap();
        signer
            .sign(&Method::GET, &mut url, &mut headers, &Digest::of(b""), now)
            .unwrap();
        assert_eq!(url.query(), Some("a=%C3%B6&b=x%20y"));
        assert_eq!(headers["x-amz-security-token"], "session");
        let signed = headers[header::AUTHORIZATION].to_str().unwrap();
        assert!(
            signed.contains("SignedHeaders=host;x-amz-date;x-amz-security-token,"),
            "{signed}"
        );
        assert!(!headers.contains_key("x-amz-content-sha256"));
    }
}
