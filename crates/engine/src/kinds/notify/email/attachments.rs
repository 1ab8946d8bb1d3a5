//! The files of a mail.

use serde_json::Value;

use crate::{
    effect::{Attachment, AttachmentContent},
    expression::JsonTemplate,
    kinds::{Failure, http},
};
use signoff_api::text::visible;

/// Most files of a mail.
const MOST_FILES: usize = 10;
/// Most bytes of all files together.
const MAX_FILES: u64 = 10 << 20;

const KNOWN: [&str; 4] = ["name", "value", "from", "mediaType"];
const WANTED: &str = "a file has name, one of value and from, and mediaType";
const NO_NAME: &str = "a file has a name of at most 255 bytes that does not begin with a dot";
const NO_TYPE: &str = "mediaType is no media type";
const NO_FILE: &str = "a file is neither multipart nor a message: say another mediaType";

/// The files of a mail.
pub(super) fn of(files: &Value, namespace: &str) -> Result<Vec<Attachment>, Failure> {
    let mut found = Vec::new();
    for file in files.as_array().into_iter().flatten() {
        // an element that is one expression may give a list
        let files = match file {
            Value::Array(files) => files.as_slice(),
            one => std::slice::from_ref(one),
        };
        for file in files {
            found.push(attachment(file, namespace)?);
        }
    }
    if found.len() > MOST_FILES {
        let message = format!("attachments: a mail has at most {MOST_FILES} files");
        return Err(http::invalid(message));
    }
    let bytes = found.iter().map(|file| match &file.content {
        AttachmentContent::Text(text) => text.len() as u64,
        AttachmentContent::Resource(resource) => resource.bytes().unwrap_or(u64::MAX / 16),
    });
    let bytes: u64 = bytes.sum();
    if bytes > MAX_FILES {
        let message = format!("attachments: they have {bytes} bytes; at most {MAX_FILES} are sent");
        return Err(http::invalid(message));
    }
    Ok(found)
}

fn attachment(file: &Value, namespace: &str) -> Result<Attachment, Failure> {
    let wrong = |what: &str| http::invalid(format!("attachments: {what}"));
    let fields = file.as_object().ok_or_else(|| wrong(WANTED))?;
    if fields.keys().any(|key| !KNOWN.contains(&key.as_str())) {
        return Err(wrong(WANTED));
    }
    let name = fields.get("name").and_then(Value::as_str).unwrap_or_default();
    let name = named(name).ok_or_else(|| wrong(NO_NAME))?;
    let said = fields.get("mediaType").and_then(Value::as_str);
    let (content, media_type) = match (fields.get("value"), fields.get("from")) {
        (Some(Value::String(text)), None) => (
            AttachmentContent::Text(text.clone()),
            "text/plain; charset=utf-8".to_owned(),
        ),
        (Some(value), None) => (
            AttachmentContent::Text(format!("{value:#}\n")),
            "application/json".to_owned(),
        ),
        (None, Some(from)) => {
            let resource = http::resource(from.clone(), namespace)?;
            let media_type = resource.media_type.clone();
            (AttachmentContent::Resource(resource), media_type)
        }
        (None, None) | (Some(_), Some(_)) => return Err(wrong(WANTED)),
    };
    let media_type = said.map_or(media_type, str::to_owned);
    if let Some(what) = wrong_type(&media_type) {
        return Err(wrong(what));
    }
    Ok(Attachment {
        name,
        media_type,
        content,
    })
}

/// A name of a file: no path, and nothing that a reader of mails could take for the end of a name.
fn named(name: &str) -> Option<String> {
    let name: String = visible(name).replace(['/', '\\', '"'], "_");
    (!name.is_empty() && name.len() <= 255 && !name.starts_with('.')).then_some(name)
}

/// What is wrong with the media type of a file. Of some, a reader would take the content for parts of the mail.
fn wrong_type(media_type: &str) -> Option<&'static str> {
    let is_token = |text: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        !text.is_empty() && text.bytes().all(is_part)
    };
    let essence = media_type.split(';').next().unwrap_or_default().trim_end();
    let Some((kind, _)) = essence
        .split_once('/')
        .filter(|(kind, of)| is_token(kind) && is_token(of))
    else {
        return Some(NO_TYPE);
    };
    if media_type.len() > 127 || !media_type.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Some(NO_TYPE);
    }
    let is = |known: &str| kind.eq_ignore_ascii_case(known);
    (is("multipart") || is("message")).then_some(NO_FILE)
}

/// What is wrong with a file as it is written, whatever the values in it are.
pub(super) fn wrong(file: &JsonTemplate) -> Option<&'static str> {
    let is_open = |template: &JsonTemplate| matches!(template, JsonTemplate::Text(text) if text.as_expression().is_some());
    let fields = match file {
        JsonTemplate::Object(fields) => fields,
        open if is_open(open) => return None,
        JsonTemplate::Literal(_) | JsonTemplate::Text(_) | JsonTemplate::Array(_) => return Some(WANTED),
    };
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, field)| field);
    if fields.iter().any(|(key, _)| !KNOWN.contains(&key.as_str())) || field("name").is_none() {
        return Some(WANTED);
    }
    match (field("value"), field("from")) {
        (None, None) => return Some(WANTED),
        // one of them may come to nothing
        (Some(value), Some(from)) if !is_open(value) && !is_open(from) => return Some(WANTED),
        (Some(_), _) | (None, Some(_)) => {}
    }
    let literal = |name: &str| field(name)?.as_literal();
    if literal("name").is_some_and(|name| named(name.as_str().unwrap_or_default()).is_none()) {
        return Some(NO_NAME);
    }
    match literal("mediaType") {
        None => None,
        Some(Value::String(said)) => wrong_type(&said),
        Some(_) => Some(NO_TYPE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_has_a_name_and_one_content() {
        let one = |file: Value| of(&json!([file]), "ns");
        let file = &one(json!({ "name": "../a\"\r\nb", "value": { "x": 1 } })).unwrap_err();
        assert!(file.message.contains("dot"), "{file:?}");
        let file = &one(json!({ "name": "a/b\r\n.txt", "value": "x" })).unwrap()[0];
        assert_eq!(file.name, "a_b␍␊.txt");
        for bad in [
            json!("x"),
            json!({}),
            json!({ "name": "a" }),
            json!({ "name": "a", "value": 1, "from": {} }),
            json!({ "name": "a", "value": 1, "more": 1 }),
            json!({ "name": "a", "from": { "ref": "x" } }),
            json!({ "name": "a", "value": "x".repeat(11 << 20) }),
            json!({ "name": "a", "value": "x", "mediaType": "a/b\r\nX: y" }),
            json!({ "name": "a", "value": "x", "mediaType": "foo" }),
            json!({ "name": "a", "value": "x", "mediaType": "multipart/mixed; boundary=zzz" }),
            json!({ "name": "a", "value": "x", "mediaType": "Message/RFC822" }),
            json!({ "name": "a", "value": "x", "mediaType": " message/rfc822" }),
        ] {
            assert!(one(bad.clone()).is_err(), "{}", bad.to_string().len());
        }
    }
}
