//! Formats of strings that have a name.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Function, function, method, unfit};
use crate::{
    evaluate::{Call, Evaluated, texts},
    library::url::Url,
    types::Type::{Format, Optional, String},
    value::Value,
};

/// A format, and what is wrong with a text that does not have it.
#[derive(Debug)]
pub struct NamedFormat {
    /// Its name in Kubernetes.
    pub(crate) name: &'static str,
    check: fn(&str) -> Vec<std::string::String>,
}

macro_rules! formats {
    ($($name:literal, $qualified:literal, $shown:literal, $check:expr;)*) => {
        static FORMATS: &[(&str, NamedFormat)] = &[
            $(($name, NamedFormat { name: $shown, check: $check }),)*
        ];

        pub(super) const FUNCTIONS: &[Function] = &[
            $(function($qualified, &[], Format, |_, _| Ok(named($name).map_or(Value::Null, Value::Format))),)*
            function("format.named", &[String], Optional, |_, a| match a {
                [Value::String(name)] => Ok(Value::Optional(
                    named(name).map(|format| Arc::new(Value::Format(format))),
                )),
                _ => unfit(a),
            }),
            method("validate", &[Format, String], Optional, validate),
        ];
    };
}

formats! {
    "dns1123Label", "format.dns1123Label", "DNS1123Label", label;
    "dns1123Subdomain", "format.dns1123Subdomain", "DNS1123Subdomain", subdomain;
    "dns1035Label", "format.dns1035Label", "DNS1035Label", old_label;
    "qualifiedName", "format.qualifiedName", "QualifiedName", qualified_name;
    "dns1123LabelPrefix", "format.dns1123LabelPrefix", "DNS1123LabelPrefix", |text| label(&masked(text));
    "dns1123SubdomainPrefix", "format.dns1123SubdomainPrefix", "DNS1123SubdomainPrefix",
        |text| subdomain(&masked(text));
    "dns1035LabelPrefix", "format.dns1035LabelPrefix", "DNS1035LabelPrefix", |text| old_label(&masked(text));
    "labelValue", "format.labelValue", "LabelValue", label_value;
    "uri", "format.uri", "URI", |text| match Url::parse(text) {
        Ok(_) => vec![],
        Err(error) => vec![error.to_string()],
    };
    "uuid", "format.uuid", "uuid", |text| unless(is_uuid(text), "does not match the UUID format");
    "byte", "format.byte", "byte", |text| unless(is_base64(text), "invalid base64");
    "date", "format.date", "date", |text| unless(is_date(text), "invalid date");
    "datetime", "format.datetime", "datetime", |text| unless(is_datetime(text), "invalid datetime");
}

fn named(name: &str) -> Option<&'static NamedFormat> {
    let found = FORMATS.iter().find(|(known, _)| *known == name);
    found.map(|(_, format)| format)
}

fn validate<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::Format(format), Value::String(text)] = arguments else {
        return unfit(arguments);
    };
    call.budget.scan(8 * text.len())?;
    call.budget.allocate(2 * text.len())?;
    let wrong = (format.check)(text);
    if wrong.is_empty() {
        return Ok(Value::Optional(None));
    }
    texts(wrong, call.budget).map(Value::some)
}

fn unless(holds: bool, why: &str) -> Vec<std::string::String> {
    if holds { vec![] } else { vec![why.to_owned()] }
}

/// A prefix may end with a dash, which what follows makes part of a name.
fn masked(text: &str) -> std::string::String {
    if text.len() > 1 && text.ends_with('-') {
        let kept: std::string::String = text.chars().take(text.chars().count() - 2).collect();
        return kept + "a";
    }
    text.to_owned()
}

fn is_small(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(|b| is_small(*b)) && bytes.last().is_some_and(|b| is_small(*b));
    ends && bytes.iter().all(|b| is_small(*b) || *b == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn too_long(text: &str, most: usize) -> Vec<std::string::String> {
    unless(
        text.len() <= most,
        &format!("must be no more than {most} characters"),
    )
}

fn label(text: &str) -> Vec<std::string::String> {
    let mut wrong = too_long(text, 63);
    if !is_label(text) {
        wrong.push(if is_subdomain(text) {
            "must not contain dots".to_owned()
        } else {
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
             and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                .to_owned()
        });
    }
    wrong
}

fn subdomain(text: &str) -> Vec<std::string::String> {
    let mut wrong = too_long(text, 253);
    wrong.extend(unless(
        is_subdomain(text),
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
         start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    ));
    wrong
}

fn old_label(text: &str) -> Vec<std::string::String> {
    let mut wrong = too_long(text, 63);
    wrong.extend(unless(
        is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase()),
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
         character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
         validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
    ));
    wrong
}

fn is_name(text: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let middle = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(middle)
}

fn label_value(text: &str) -> Vec<std::string::String> {
    let mut wrong = too_long(text, 63);
    wrong.extend(unless(
        text.is_empty() || is_name(text),
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
         start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
         for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
    ));
    wrong
}

const NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                    alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation \
                    is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn qualified_name(text: &str) -> Vec<std::string::String> {
    let parts: Vec<&str> = text.split('/').collect();
    let mut wrong = Vec::new();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(
                    subdomain(prefix)
                        .into_iter()
                        .map(|why| format!("prefix part {why}")),
                );
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {NAME} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        wrong.push("name part must be no more than 63 characters".to_owned());
    }
    if !is_name(name) {
        wrong.push(format!("name part {NAME}"));
    }
    wrong
}

fn is_uuid(text: &str) -> bool {
    let mut rest = text;
    for (index, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        match rest.get(..length) {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => rest = &rest[length..],
            _ => return false,
        }
    }
    rest.is_empty()
}

fn is_base64(text: &str) -> bool {
    !text.is_empty() && STANDARD.decode(text).is_ok()
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, b)| {
            if at == 4 || at == 7 {
                *b == b'-'
            } else {
                b.is_ascii_digit()
            }
        });
    shape && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_datetime(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', 't']) else {
        return false;
    };
    if !is_date(date) || time.len() > 40 {
        return false;
    }
    let has_zone = time.ends_with(['Z', 'z'])
        || time
            .get(time.len().saturating_sub(6)..)
            .is_some_and(|zone| zone.starts_with(['+', '-']) && zone.as_bytes()[3] == b':');
    has_zone
        && format!("{date}T{}", time.to_ascii_uppercase())
            .parse::<jiff::Timestamp>()
            .is_ok()
}
