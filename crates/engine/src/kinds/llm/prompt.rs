//! What a model is asked: compiled and rendered.

mod literal;

use serde_json::{Map, Value};

use super::options;
use crate::{
    chat::{CORRECTIONS, Image, LlmRequest, Message},
    difference::Field,
    expression::{JsonTemplate, Scope, Template},
    kinds::Failure,
    plan::Place,
    turn::StepView,
};
use signoff_api::{Resource, name::ObjectName, reason::StepReason, step::LlmStep};

/// Longest text of one message, in bytes.
const MAX_TEXT: usize = 256 * 1024;
/// Most messages before the prompt.
const MAX_MESSAGES: usize = 200;
/// Most bytes of all of them.
const MAX_MESSAGES_TOGETHER: usize = 1 << 20;
/// Most images.
const MAX_IMAGES: usize = 16;
/// Largest image, in bytes.
pub(crate) const MAX_IMAGE: u64 = 8 << 20;
/// Most bytes of `options`, as JSON.
const MAX_OPTIONS: usize = 4 * 1024;
const NO_MODEL: &str = "it is a name of at most 256 bytes";
const EMPTY: &str = "it is empty";
const NO_LIST: &str = "they are a list";
const NO_CONTENT: &str = "its content is no text";
const NO_ROLE: &str = "its role is user or assistant; instructions belong to system";
const NO_ADDRESS: &str = "an address begins with https:// and has at most 4096 bytes";

/// What a model is asked, with its expressions parsed.
#[derive(Debug)]
pub(in crate::kinds) struct Prompt {
    pub(in crate::kinds) connection: ObjectName,
    model: Option<Template>,
    system: Option<Template>,
    newest: Option<Template>,
    messages: Option<JsonTemplate>,
    images: Option<JsonTemplate>,
    schema: Option<Value>,
    max_tokens: i64,
    options: Option<JsonTemplate>,
}

pub(super) fn fields(step: &LlmStep) -> Vec<Field> {
    let LlmStep {
        connection,
        model,
        system,
        prompt,
        messages,
        images,
        schema,
        max_tokens,
        options,
    } = step;
    vec![
        Field::required("llm.connection", connection),
        Field::required("llm.model", model),
        Field::new("llm.system", system.as_ref()),
        Field::new("llm.prompt", prompt.as_ref()),
        Field::new("llm.messages", messages.as_ref()),
        Field::new("llm.images", images.as_ref()),
        Field::new("llm.schema", schema.as_ref()),
        Field::new("llm.maxTokens", max_tokens.as_ref()).default("4096"),
        Field::new("llm.options", options.as_ref()),
    ]
}

impl Prompt {
    /// Of a step of a kind.
    pub(in crate::kinds) fn compile(step: &LlmStep, kind: &str, place: &mut Place<'_, '_>) -> Self {
        if step.prompt.is_none() && step.messages.is_none() {
            place.problem("", format!("{kind} steps have prompt, messages or both"));
        }
        if step.images.is_some() && step.prompt.is_none() {
            place.problem("images", "images belong to a prompt");
        }
        place.schema("schema", step.schema.as_ref());
        let options = step.options.as_ref().map(|options| &options.0);
        if let Some(options) = options {
            match options {
                Value::Object(fields) => {
                    for (path, message) in options::refused(fields) {
                        place.mistyped(&format!("options{path}"), 0, message);
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    place.problem("options", "options are an object");
                }
            }
        }
        let template = |place: &mut Place<'_, '_>, field: &str, text: Option<&String>| {
            text.and_then(|text| place.template(field, text))
        };
        let json = |place: &mut Place<'_, '_>, field: &str, value: Option<&Value>| {
            value.and_then(|value| place.json(field, value, &[]))
        };
        let prompt = Self {
            connection: step.connection.clone(),
            model: place.template("model", &step.model),
            system: template(place, "system", step.system.as_ref()),
            newest: template(place, "prompt", step.prompt.as_ref()),
            messages: json(place, "messages", step.messages.as_ref().map(|json| &json.0)),
            images: json(place, "images", step.images.as_ref().map(|json| &json.0)),
            schema: step.schema.as_ref().map(|schema| schema.0.clone()),
            max_tokens: step.max_tokens.unwrap_or(LlmStep::DEFAULT_MAX_TOKENS),
            options: json(place, "options", options),
        };
        for (field, message) in prompt.wrong() {
            place.mistyped(&field, 0, message);
        }
        prompt
    }

    /// What is wrong whatever the values are.
    fn wrong(&self) -> Vec<(String, String)> {
        let text = |template: &Option<Template>| template.as_ref()?.as_literal().map(str::to_owned);
        let mut found = Vec::new();
        if text(&self.model).is_some_and(|model| !is_model(&model)) {
            found.push(("model".to_owned(), NO_MODEL.to_owned()));
        }
        if self.images.is_none() && text(&self.newest).is_some_and(|prompt| prompt.trim().is_empty()) {
            found.push(("prompt".to_owned(), EMPTY.to_owned()));
        }
        if let Some(messages) = &self.messages {
            found.extend(literal::messages(messages));
        }
        if let Some(images) = &self.images {
            found.extend(literal::images(images));
        }
        found
    }

    /// What is asked first.
    pub(in crate::kinds) fn request(&self, step: &StepView<'_>) -> Result<LlmRequest, Failure> {
        let scope = step.scope();
        let text = |field: &str, template: &Option<Template>| match template {
            Some(template) => {
                let text = template.present_text(&scope)?;
                text.map(|text| short_enough(field, text)).transpose()
            }
            None => Ok(None),
        };
        let model = text("model", &self.model)?.unwrap_or_default();
        if !is_model(&model) {
            return Err(invalid(format!("model: {NO_MODEL}")));
        }
        let mut messages = match &self.messages {
            Some(messages) => conversation(messages.present(&scope)?)?,
            None => vec![],
        };
        let images = self.images(&scope, &step.run.facts.run.namespace)?;
        if let Some(content) = text("prompt", &self.newest)? {
            if content.trim().is_empty() && images.is_empty() {
                return Err(invalid(format!("prompt: {EMPTY}")));
            }
            messages.push(Message::User { content, images });
        }
        if messages.is_empty() {
            return Err(invalid("there is nothing to ask: neither prompt nor messages"));
        }
        Ok(LlmRequest {
            connection: self.connection.clone(),
            bound: step.bound(&self.connection),
            model,
            system: text("system", &self.system)?,
            messages,
            tools: vec![],
            schema: self.schema.clone(),
            corrections: CORRECTIONS,
            max_tokens: self.max_tokens,
            options: self.options(&scope)?,
        })
    }

    fn images(&self, scope: &Scope, namespace: &str) -> Result<Vec<Image>, Failure> {
        let images = match &self.images {
            Some(images) => images.present(scope)?,
            None => None,
        };
        let images = match images {
            None => return Ok(vec![]),
            Some(Value::Array(images)) => images,
            Some(one) => vec![one],
        };
        if images.len() > MAX_IMAGES {
            let message = format!(
                "images: there are {}; at most {MAX_IMAGES} are sent",
                images.len()
            );
            return Err(invalid(message));
        }
        images.into_iter().map(|value| image(value, namespace)).collect()
    }

    fn options(&self, scope: &Scope) -> Result<Map<String, Value>, Failure> {
        let options = match &self.options {
            Some(options) => options.present(scope)?,
            None => None,
        };
        let Some(Value::Object(options)) = options else {
            return Ok(Map::new());
        };
        if let Some((path, message)) = options::refused(&options).into_iter().next() {
            return Err(invalid(format!("options{path}: {message}")));
        }
        let size = Value::Object(options.clone()).to_string().len();
        if size > MAX_OPTIONS {
            return Err(invalid(format!(
                "options: they have {size} bytes; at most {MAX_OPTIONS} are sent"
            )));
        }
        Ok(options)
    }
}

fn is_model(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= 256
}

fn short_enough(field: &str, text: String) -> Result<String, Failure> {
    if text.len() > MAX_TEXT {
        let message = format!(
            "{field}: it has {} bytes; at most {MAX_TEXT} are sent",
            text.len()
        );
        return Err(invalid(message));
    }
    Ok(text)
}

/// The messages before the prompt.
fn conversation(value: Option<Value>) -> Result<Vec<Message>, Failure> {
    let listed = match value {
        None => return Ok(vec![]),
        Some(Value::Array(listed)) => listed,
        Some(_) => return Err(invalid(format!("messages: {NO_LIST}"))),
    };
    if listed.len() > MAX_MESSAGES {
        let message = format!(
            "messages: there are {}; at most {MAX_MESSAGES} are sent",
            listed.len()
        );
        return Err(invalid(message));
    }
    let mut messages = Vec::with_capacity(listed.len());
    let mut together = 0;
    for (i, value) in listed.into_iter().enumerate() {
        let field = format!("messages[{i}]");
        let (role, content) = (value["role"].as_str(), value["content"].as_str());
        let content = match content {
            Some(content) => short_enough(&field, content.to_owned())?,
            None => return Err(invalid(format!("{field}: {NO_CONTENT}"))),
        };
        together += content.len();
        messages.push(match role {
            Some("user") => Message::User {
                content,
                images: vec![],
            },
            Some("assistant") => Message::Assistant {
                content,
                calls: vec![],
            },
            Some(_) | None => return Err(invalid(format!("{field}: {NO_ROLE}"))),
        });
    }
    if together > MAX_MESSAGES_TOGETHER {
        let message =
            format!("messages: they have {together} bytes; at most {MAX_MESSAGES_TOGETHER} are sent");
        return Err(invalid(message));
    }
    Ok(messages)
}

/// An address, or a resource of the namespace. Whether the run may read that is for the executor to find out.
fn image(value: Value, namespace: &str) -> Result<Image, Failure> {
    if let Value::String(address) = value {
        if !address.starts_with("https://") || address.len() > 4096 {
            return Err(invalid(format!("images: {NO_ADDRESS}")));
        }
        return Ok(Image::Url(address));
    }
    let not_one = |message: String| Failure::new(StepReason::NotAResource, message);
    let resource = serde_json::from_value::<Resource>(value)
        .map_err(|error| not_one(format!("images: neither an address nor a resource: {error}")))?;
    if resource.reference.namespace != namespace {
        return Err(not_one(
            "images: it is a resource of another namespace".to_owned(),
        ));
    }
    if resource.bytes().is_none_or(|bytes| bytes > MAX_IMAGE) {
        let message = format!(
            "images: it has {} bytes; an image has at most {MAX_IMAGE}",
            resource.size
        );
        return Err(Failure::new(StepReason::ResourceTooLarge, message));
    }
    Ok(Image::Resource(resource))
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(StepReason::InvalidRequest, message)
}
