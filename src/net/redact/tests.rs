use std::fmt::Write as _;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const SECRET: &str = "s3/cr+t \"<&é>\\ 🔑 100%25";

fn secrets(secret: &str) -> Secrets {
    let mut secrets = Secrets::default();
    secrets.add(secret);
    secrets
}

fn each(secret: &str, write: impl Fn(char) -> String) -> String {
    secret.chars().map(write).collect()
}

/// The ways in which servers and proxies repeat what they were sent.
fn forms(secret: &str) -> Vec<String> {
    let percent = |c: char, lower: bool| {
        c.to_string().bytes().fold(String::new(), |mut text, byte| {
            let _ = if lower {
                write!(text, "%{byte:02x}")
            } else {
                write!(text, "%{byte:02X}")
            };
            text
        })
    };
    let html = secret
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    let json = serde_json::to_string(secret).unwrap();
    let json = json[1..json.len() - 1].to_owned();
    let units = |c: char| {
        let mut buffer = [0; 2];
        c.encode_utf16(&mut buffer)
            .iter()
            .fold(String::new(), |mut text, unit| {
                let _ = write!(text, "\\u{unit:04x}");
                text
            })
    };
    let digits: String = secret.bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    vec![
        secret.to_owned(),
        url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        each(secret, |c| percent(c, false)),
        each(secret, |c| percent(c, true)),
        html,
        each(secret, |c| format!("&#{};", u32::from(c))),
        each(secret, |c| format!("&#x{:X};", u32::from(c))),
        json.replace('/', "\\/"),
        json,
        each(secret, units),
        digits.to_uppercase(),
        digits,
    ]
}

#[test]
fn takes_out_every_form_everywhere() {
    let secrets = secrets(SECRET);
    for form in forms(SECRET) {
        assert_eq!(
            secrets.redact(&format!("a {form}, {form}")),
            "a [redacted], [redacted]",
            "{form}"
        );
        let value = secrets.redact_value(json!({form.clone(): [form.clone()], "n": 5}));
        assert_eq!(value, json!({"[redacted]": ["[redacted]"], "n": 5}), "{form}");
    }
    assert!(!format!("{secrets:?}").contains("s3"));
    assert_eq!(
        secrets.redact("nothing of it: s3/cr+t 100%"),
        "nothing of it: s3/cr+t 100%"
    );
}

#[test]
fn base64_is_found_alone_and_within_what_is_encoded_together() {
    let secrets = secrets(SECRET);
    for before in ["", "u:", "user:", "user-name:"] {
        for after in ["", "\n", "&more=x"] {
            let bytes = format!("{before}{SECRET}{after}");
            for text in [STANDARD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
                let redacted = secrets.redact(&text);
                assert!(redacted.contains(REDACTED), "{before:?} {after:?}");
                let left = redacted.replace(REDACTED, "");
                assert!(
                    left.len() <= 4 * (before.len() + after.len()) / 3 + 4,
                    "{before:?} {after:?} {left}"
                );
            }
        }
    }
}

#[test]
fn a_short_secret_is_found_where_it_stands_by_itself() {
    let secrets = secrets("abc");
    assert_eq!(
        secrets.redact("abc: 'abc' x=abc;%61bc"),
        "[redacted]: '[redacted]' x=[redacted];[redacted]"
    );
    assert_eq!(secrets.redact("abcd crabcake Yabc"), "abcd crabcake Yabc");
    let pin = {
        let mut pin = Secrets::default();
        pin.add("1234");
        pin.add("");
        pin
    };
    let value = pin.redact_value(json!({"pin": 1234, "other": 12345, "text": "12345 1234"}));
    assert_eq!(
        value,
        json!({"pin": "[redacted]", "other": 12345, "text": "12345 [redacted]"})
    );
}

#[test]
fn of_two_secrets_that_overlap_nothing_is_left() {
    let mut secrets = secrets("token-abcdefgh");
    secrets.add("abcdefgh-and-more");
    assert_eq!(secrets.redact("x token-abcdefgh-and-more y"), "x [redacted] y");
}

#[test]
fn an_escape_within_another_encoding_is_found_too() {
    let secrets = secrets("a&b/c+d e");
    for text in [
        "x%61&amp;b\\/c%2Bd+e",
        "a&amp;b\\/c&#43;d\\u0020e",
        "a%26b%2fc%2bd%20e",
        "a&amp;b/c+d e",
        "\\ud83d a&b\\/c+d e",
        "&#x; %zz \\u12 % a&b/c+d e",
    ] {
        assert!(secrets.redact(text).contains(REDACTED), "{text}");
    }
}

#[test]
fn a_long_secret_and_a_text_of_near_matches_cost_no_more_than_their_lengths() {
    // hours, if every place in the text were compared with the secret
    let length = 256 * 1024;
    let secrets = secrets(&"a".repeat(length));
    let near = format!("{}b", "a".repeat(length - 1)).repeat(4);
    for escapes in ["", "%61", "%61&lt;\\n+"] {
        let text = format!("{near}{escapes}");
        assert_eq!(secrets.redact(&text), text, "{escapes}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_form_of_any_secret_is_left(secret in "[ -~é🔑]{8,40}", before in "([ -~]{0,8}[ ,:=(>|])?", after in "[ -~]{0,9}") {
        let secrets = secrets(&secret);
        for form in forms(&secret) {
            let text = format!("{before}{form}{after}");
            let redacted = secrets.redact(&text);
            prop_assert!(redacted.contains(REDACTED), "{text}");
            prop_assert!(!redacted.replace(REDACTED, "\u{0}").contains(&form), "{text} became {redacted}");
        }
        let together = STANDARD.encode(format!("{before}{secret}{after}"));
        prop_assert!(secrets.redact(&together).contains(REDACTED));
    }

    #[test]
    fn any_text_comes_through_whole_where_no_secret_is_in_it(text in "\\PC{0,60}") {
        prop_assert_eq!(secrets("\u{1}never-in-it\u{1}").redact(&text), text);
    }
}

/// What comes out of a stream that is cut into pieces of this size.
fn streamed(secrets: &Secrets, bytes: &[u8], size: usize) -> Vec<u8> {
    let mut redactor = secrets.stream();
    let mut out = Vec::new();
    for piece in bytes.chunks(size) {
        out.extend_from_slice(&redactor.push(bytes::Bytes::copy_from_slice(piece)));
    }
    out.extend_from_slice(&redactor.finish());
    out
}

#[test]
fn a_secret_is_taken_out_of_a_stream_wherever_its_pieces_end() {
    let mut secrets = Secrets::default();
    secrets.add("s3cr3t-token");
    let mut bytes = vec![0xff; 40_000];
    for at in [0, 16_390, 32_768, 40_000 - 12] {
        bytes[at..at + 12].copy_from_slice(b"s3cr3t-token");
    }
    let expected = streamed(&secrets, &bytes, bytes.len());
    assert_eq!(expected.len(), 40_000 - 4 * (12 - REDACTED.len()));
    assert!(memchr::memmem::find(&expected, b"s3cr3t").is_none());
    for size in [1, 5, 4096, 16_384, 16_397] {
        assert!(streamed(&secrets, &bytes, size) == expected, "pieces of {size}");
    }
}

#[test]
fn a_stream_without_secrets_is_left_as_it_is() {
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    assert!(streamed(&Secrets::default(), &bytes, 999) == bytes);
    let mut secrets = Secrets::default();
    secrets.add("never-there");
    assert!(streamed(&secrets, &bytes, 999) == bytes);
    // a short one would be found in bytes that have nothing to do with it
    secrets.add("\u{1}");
    assert!(streamed(&secrets, &bytes, 999) == bytes);
}
