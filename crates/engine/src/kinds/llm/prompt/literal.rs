//! What is wrong with messages and images as they are written, whatever the values in them are.

use serde_json::Value;

use super::{MAX_IMAGES, NO_ADDRESS, NO_CONTENT, NO_LIST, NO_ROLE};
use crate::expression::JsonTemplate;
use signoff_api::Resource;

const NO_IMAGE: &str = "neither an address nor a resource";

/// A field, and what is wrong there.
type Wrong = (String, String);

/// Whether the value of a template is known only when a run is there, and may be anything.
fn is_open(template: &JsonTemplate) -> bool {
    matches!(template, JsonTemplate::Text(text) if text.as_expression().is_some())
}

pub(super) fn messages(template: &JsonTemplate) -> Vec<Wrong> {
    match template {
        JsonTemplate::Array(items) => {
            let items = items.iter().enumerate();
            items
                .flat_map(|(i, item)| message(&format!("messages[{i}]"), item))
                .collect()
        }
        open if is_open(open) => vec![],
        JsonTemplate::Literal(_) | JsonTemplate::Text(_) | JsonTemplate::Object(_) => {
            vec![("messages".to_owned(), NO_LIST.to_owned())]
        }
    }
}

fn message(field: &str, template: &JsonTemplate) -> Vec<Wrong> {
    if is_open(template) {
        return vec![];
    }
    let part = |name: &str| match template {
        JsonTemplate::Object(parts) => parts.iter().find(|(key, _)| key == name).map(|(_, part)| part),
        JsonTemplate::Literal(_) | JsonTemplate::Text(_) | JsonTemplate::Array(_) => None,
    };
    let text = |part: Option<&JsonTemplate>| match part {
        None => Some(Value::Null),
        Some(part) => part.as_literal(),
    };
    let mut found = Vec::new();
    if let Some(role) = text(part("role"))
        && !matches!(role.as_str(), Some("user" | "assistant"))
    {
        found.push((field.to_owned(), NO_ROLE.to_owned()));
    }
    let is_text = |part: &JsonTemplate| match part {
        JsonTemplate::Literal(value) => value.is_string(),
        JsonTemplate::Text(_) => true,
        JsonTemplate::Array(_) | JsonTemplate::Object(_) => false,
    };
    if !part("content").is_some_and(is_text) {
        found.push((field.to_owned(), NO_CONTENT.to_owned()));
    }
    found
}

pub(super) fn images(template: &JsonTemplate) -> Vec<Wrong> {
    let JsonTemplate::Array(items) = template else {
        return image("images", template).into_iter().collect();
    };
    let items_of = items.iter().enumerate();
    let mut found: Vec<Wrong> = items_of
        .filter_map(|(i, item)| image(&format!("images[{i}]"), item))
        .collect();
    // one that is an expression may come to nothing
    let sure = items.iter().filter(|item| !is_open(item)).count();
    if sure > MAX_IMAGES {
        let message = format!("there are {sure}; at most {MAX_IMAGES} are sent");
        found.push(("images".to_owned(), message));
    }
    found
}

fn image(field: &str, template: &JsonTemplate) -> Option<Wrong> {
    let wrong = |message: &str| Some((field.to_owned(), message.to_owned()));
    match template {
        JsonTemplate::Text(text) => {
            let outline = text.outline();
            // it may begin with an expression, for which an `x` stands
            if outline.starts_with('x') || outline.starts_with("https://") {
                None
            } else {
                wrong(NO_ADDRESS)
            }
        }
        JsonTemplate::Literal(Value::String(address)) => {
            if address.starts_with("https://") && address.len() <= 4096 {
                None
            } else {
                wrong(NO_ADDRESS)
            }
        }
        JsonTemplate::Literal(_) | JsonTemplate::Array(_) => wrong(NO_IMAGE),
        JsonTemplate::Object(_) => {
            let resource = template.as_literal()?;
            match serde_json::from_value::<Resource>(resource) {
                Ok(_) => None,
                Err(_) => wrong(NO_IMAGE),
            }
        }
    }
}
