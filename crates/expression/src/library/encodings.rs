//! JSON and base64 as functions. Kubernetes does not have these, so a host asks for them.

use std::{collections::BTreeMap, sync::Arc};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use serde_json::Value as Json;

use super::{Function, function, unfit};
use crate::{
    error::Error,
    evaluate::{Call, Evaluated},
    types::Type::{Bytes, Dyn, String as Text},
    value::{Key, Map, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("json.decode", &[Text], Dyn, decode_json),
    function("json.decode", &[Bytes], Dyn, decode_json),
    function("json.encode", &[Dyn], Text, encode_json),
    function("base64.decode", &[Text], Bytes, decode_base64),
    function("base64.encode", &[Text], Text, encode_base64),
    function("base64.encode", &[Bytes], Text, encode_base64),
];

/// Bytes that a value takes while it is read: as JSON, and as a value.
const OF_A_VALUE: usize = 2 * size_of::<Value<'_>>() + size_of::<Json>();

/// Base64 with or without padding, as CEL's own library takes it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn decode_json<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let text = match arguments {
        [Value::String(text)] => text.to_string(),
        [Value::Bytes(bytes)] => {
            let text = std::str::from_utf8(bytes);
            text.map_err(|_| Error::failed("json.decode: the bytes are not UTF-8"))?
                .to_owned()
        }
        _ => return unfit(arguments),
    };
    // each value but the first comes after one of these; those within strings are counted too
    let values = text
        .bytes()
        .filter(|byte| matches!(byte, b',' | b'[' | b'{' | b':'))
        .count();
    call.budget.scan(text.len())?;
    call.budget.allocate(2 * text.len() + OF_A_VALUE * (values + 1))?;
    let text = text.trim_start_matches('\u{feff}');
    if let Some(number) = inexact(text) {
        return Err(Error::failed(format!(
            "json.decode: {number} is an integer beyond 64 bits; let the other side send it as text"
        )));
    }
    let json: Json =
        serde_json::from_str(text).map_err(|error| Error::failed(format!("json.decode: {error}")))?;
    Ok(owned(json))
}

/// The first integer that has more than 64 bits with its sign.
fn inexact(text: &str) -> Option<&str> {
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        rest = &rest[at..];
        if let Some(string) = rest.strip_prefix('"') {
            rest = &string[end_of_string(string)..];
            continue;
        }
        let end = rest.find(|c: char| !is_number(c)).unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        if !number.contains(['.', 'e', 'E']) && number.len() > 18 && number.parse::<i64>().is_err() {
            return Some(number.get(..40).unwrap_or(number));
        }
        rest = after;
    }
    None
}

/// Where a string of JSON ends, behind its closing quote.
fn end_of_string(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !is_escaped => return at + 1,
            b'\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    text.len()
}

fn owned<'a>(json: Json) -> Value<'a> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(truth),
        Json::Number(number) => number
            .as_i64()
            .map_or_else(|| Value::Double(number.as_f64().unwrap_or(f64::NAN)), Value::Int),
        Json::String(text) => Value::text(text),
        Json::Array(items) => Value::List(items.into_iter().map(owned).collect::<Vec<_>>().into()),
        Json::Object(fields) => {
            let fields = fields.into_iter();
            let fields: BTreeMap<Key<'a>, Value<'a>> = fields
                .map(|(name, value)| (Key::String(name.into()), owned(value)))
                .collect();
            Value::Map(Map::Made(Arc::new(fields)))
        }
    }
}

fn encode_json<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [value] = arguments else {
        return unfit(arguments);
    };
    let text = value.to_json(call.budget)?.to_string();
    call.budget.allocate(text.len())?;
    Ok(Value::text(text))
}

fn decode_base64<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::String(text)] = arguments else {
        return unfit(arguments);
    };
    call.budget.scan(text.len())?;
    call.budget.allocate(text.len())?;
    let bytes = BASE64.decode(text.as_bytes());
    let bytes = bytes.map_err(|error| Error::failed(format!("base64.decode: {error}")))?;
    Ok(Value::Bytes(bytes.into()))
}

fn encode_base64<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let bytes: &[u8] = match arguments {
        [Value::String(text)] => text.as_bytes(),
        [Value::Bytes(bytes)] => bytes,
        _ => return unfit(arguments),
    };
    call.budget.scan(bytes.len())?;
    call.budget.allocate(bytes.len() / 3 * 4 + 4)?;
    Ok(Value::text(STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{Budget, Declarations, Library, Program, Scope};

    fn evaluated(source: &str) -> Result<serde_json::Value, String> {
        let given = json!({ "text": "{\"a\":[1,2.5,null,true,\"x\"],\"b\":{}}", "many": format!("[{}0]", "0,".repeat(400_000)) });
        let mut scope = Scope::default();
        scope.set("given", &given);
        let program = Program::parse(source, &Library::kubernetes().with_encodings());
        let program = program.map_err(|error| error.message)?;
        let mut budget = Budget::default();
        let value = program.evaluate(&scope, &mut budget);
        let json = value.and_then(|value| value.to_json(&mut budget));
        json.map_err(|error| error.to_string())
    }

    #[test]
    fn json_is_read_and_written() {
        for (source, expected) in [
            (
                "json.decode(given.text)",
                json!({ "a": [1, 2.5, null, true, "x"], "b": {} }),
            ),
            ("json.decode(given.text).a[0] + 1", json!(2)),
            ("json.decode(b'[1]')", json!([1])),
            ("json.decode('\\ufeff 7 ')", json!(7)),
            (
                "json.decode('\"12345678901234567890123\"')",
                json!("12345678901234567890123"),
            ),
            (
                "json.encode({'b': [1, 2], 'a': [3]})",
                json!("{\"a\":[3],\"b\":[1,2]}"),
            ),
            ("json.encode(json.decode(given.text)) == given.text", json!(true)),
            ("json.encode('x\"y')", json!("\"x\\\"y\"")),
            ("json.encode(null)", json!("null")),
        ] {
            assert_eq!(evaluated(source), Ok(expected), "{source}");
        }
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        for (source, expected) in [
            ("string(base64.decode('aGVsbG8='))", "hello"),
            ("string(base64.decode('aGVsbG8'))", "hello"),
            ("base64.encode('hello')", "aGVsbG8="),
            ("base64.encode(b'hello')", "aGVsbG8="),
        ] {
            assert_eq!(evaluated(source), Ok(json!(expected)), "{source}");
        }
    }

    #[test]
    fn what_is_no_json_or_base64_or_too_large_fails_and_says_so() {
        for (source, part) in [
            ("json.decode('{')", "json.decode: EOF while parsing"),
            ("json.decode('')", "json.decode: EOF while parsing"),
            ("json.decode(b'\\xff')", "not UTF-8"),
            ("json.decode('[12345678901234567890]')", "beyond 64 bits"),
            (
                "json.decode('{\"a\\\\\\\\\": -9999999999999999999}')",
                "beyond 64 bits",
            ),
            ("base64.decode('*')", "base64.decode: "),
            ("json.decode(given.many)", "too costly"),
        ] {
            let error = evaluated(source).unwrap_err();
            assert!(error.contains(part), "{source}: {error}");
        }
        let deep = format!("json.decode('{}')", "[".repeat(200));
        assert!(evaluated(&deep).unwrap_err().contains("recursion limit"));
    }

    #[test]
    fn their_types_are_known() {
        let library = Library::kubernetes().with_encodings();
        let checked = |source: &str| {
            let program = Program::parse(source, &library).unwrap();
            program
                .check(&Declarations::default())
                .map(|type_| type_.to_string())
                .map_err(|errors| errors.len())
        };
        assert_eq!(checked("json.encode([1])"), Ok("string".to_owned()));
        assert_eq!(checked("base64.decode('eA')"), Ok("bytes".to_owned()));
        assert_eq!(checked("json.decode('1') + 1"), Ok("int".to_owned()));
        assert_eq!(checked("json.decode(1)"), Err(1));
        assert_eq!(checked("base64.decode(b'x')"), Err(1));
        assert!(Program::parse("json.decode('1')", &Library::kubernetes()).is_err());
    }
}
