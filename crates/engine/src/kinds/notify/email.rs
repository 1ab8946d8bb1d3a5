//! `email`: a mail. What may end a header or a line of the protocol never gets into one.

mod attachments;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use signoff_expression::StaticType;

use super::{Channel, post, words};
use crate::{
    difference::Field,
    effect::{AttachmentContent, EmailRequest, Request},
    expression::{JsonTemplate, Scope, Template},
    facts::Response,
    kinds::{Done, Failure, KindPlan, Next, http},
    plan::{Place, check},
    question::item,
    turn::StepView,
};
use signoff_api::{
    Json,
    approval::ShownItem,
    name::ObjectName,
    run::StepOutcome,
    step::NotifyEmail,
    text::{into_visible, visible},
};

/// Most recipients of a mail.
pub(crate) const MOST_RECIPIENTS: usize = 50;

/// A mail with its expressions parsed.
#[derive(Debug)]
struct EmailPlan {
    connection: ObjectName,
    to: Option<JsonTemplate>,
    cc: Option<JsonTemplate>,
    reply_to: Option<Template>,
    subject: Option<Template>,
    text: Option<Template>,
    attachments: Option<JsonTemplate>,
}

impl Channel for NotifyEmail {
    fn key(&self) -> &'static str {
        "email"
    }

    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        let list = |texts: &[String]| Value::Array(texts.iter().cloned().map(Value::String).collect());
        let reply_to = self.reply_to.as_ref();
        let files = self.attachments.as_ref();
        let files = files.map(|files| Value::Array(files.iter().map(Json::as_value).cloned().collect()));
        let mail = EmailPlan {
            connection: self.connection.clone(),
            to: place.json("to", &list(&self.to), &[]),
            cc: self.cc.as_ref().and_then(|cc| place.json("cc", &list(cc), &[])),
            reply_to: reply_to.and_then(|address| place.template("replyTo", address)),
            subject: place.template("subject", &self.subject),
            text: post::template(place, &self.text),
            attachments: files.and_then(|files| place.json("attachments", &files, &[])),
        };
        for (field, message) in mail.wrong() {
            place.mistyped(&field, 0, message);
        }
        Arc::new(mail)
    }

    fn fields(&self) -> Vec<Field> {
        let Self {
            connection,
            to,
            cc,
            reply_to,
            subject,
            text,
            attachments,
        } = self;
        vec![
            Field::required("notify.email.connection", connection),
            Field::required("notify.email.to", to),
            Field::new("notify.email.cc", cc.as_ref()),
            Field::new("notify.email.replyTo", reply_to.as_ref()),
            Field::required("notify.email.subject", subject),
            Field::required("notify.email.text", text),
            Field::new("notify.email.attachments", attachments.as_ref()),
        ]
    }

    fn output(&self) -> Option<StaticType> {
        Some(check::sent_mail())
    }
}

impl EmailPlan {
    /// What is wrong whatever the values are.
    fn wrong(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (field, list) in [("to", &self.to), ("cc", &self.cc)] {
            let addresses = list.iter().flat_map(elements).enumerate();
            let literal = addresses.filter_map(|(i, one)| Some((i, one.as_literal()?)));
            let bad = literal.filter(|(_, one)| !one.as_str().is_some_and(is_address));
            found.extend(bad.map(|(i, one)| {
                (
                    format!("{field}[{i}]"),
                    no_address(one.as_str().unwrap_or_default()),
                )
            }));
        }
        // what cannot be read is told elsewhere
        if self.to.as_ref().is_some_and(|to| elements(to).is_empty()) {
            found.push(("to".to_owned(), NO_RECIPIENT.to_owned()));
        }
        let reply_to = self.reply_to.as_ref().and_then(Template::as_literal);
        if let Some(bad) = reply_to.filter(|address| !address.is_empty() && !is_address(address)) {
            found.push(("replyTo".to_owned(), no_address(bad)));
        }
        let files = self.attachments.iter().flat_map(elements).enumerate();
        found.extend(files.filter_map(|(i, file)| {
            let message = attachments::wrong(file)?;
            Some((format!("attachments[{i}]"), message.to_owned()))
        }));
        found
    }

    fn request(&self, step: &StepView<'_>) -> Result<EmailRequest, Failure> {
        let scope = step.scope();
        let to = addresses("to", self.to.as_ref(), &scope)?;
        let cc = addresses("cc", self.cc.as_ref(), &scope)?;
        if to.is_empty() {
            return Err(http::invalid(format!("to: {NO_RECIPIENT}")));
        }
        if to.len() + cc.len() > MOST_RECIPIENTS {
            let message = format!("to: a mail has at most {MOST_RECIPIENTS} recipients");
            return Err(http::invalid(message));
        }
        let reply_to = post::optional(self.reply_to.as_ref(), &scope)?;
        let reply_to = reply_to.filter(|address| !address.is_empty());
        if let Some(address) = reply_to.as_ref().filter(|address| !is_address(address)) {
            return Err(not_an_address("replyTo", address));
        }
        let subject = post::optional(self.subject.as_ref(), &scope)?.unwrap_or_default();
        let namespace = &step.run.facts.run.namespace;
        let files = self.attachments.as_ref().map(|files| files.value(&scope));
        Ok(EmailRequest {
            connection: self.connection.clone(),
            bound: step.bound(&self.connection),
            to,
            cc,
            reply_to,
            subject: words::cut(into_visible(subject), words::SUBJECT),
            text: post::text(self.text.as_ref(), &scope, words::plain, |text| {
                words::cut(text, words::EMAIL)
            })?,
            attachments: attachments::of(&files.transpose()?.unwrap_or_default(), namespace)?,
        })
    }
}

pub(crate) fn addresses(
    field: &str,
    list: Option<&JsonTemplate>,
    scope: &Scope,
) -> Result<Vec<String>, Failure> {
    let Some(list) = list else {
        return Ok(vec![]);
    };
    let mut found = Vec::new();
    let list = list.value(scope)?;
    for element in list.as_array().into_iter().flatten() {
        // an element that is one expression may give a list
        let texts = match element {
            Value::Array(texts) => texts.as_slice(),
            one => std::slice::from_ref(one),
        };
        for text in texts {
            let Some(address) = text.as_str() else {
                return Err(http::invalid(format!("{field}: an address is a text")));
            };
            if !is_address(address) {
                return Err(not_an_address(field, address));
            }
            found.push(address.to_owned());
        }
    }
    Ok(found)
}

fn not_an_address(field: &str, text: &str) -> Failure {
    http::invalid(format!("{field}: {}", no_address(text)))
}

fn no_address(text: &str) -> String {
    let text: String = visible(text).chars().take(100).collect();
    format!("{text:?} is no mail address")
}

const NO_RECIPIENT: &str = "there is no recipient";

/// The elements of a list as it is written.
fn elements(list: &JsonTemplate) -> &[JsonTemplate] {
    match list {
        JsonTemplate::Array(elements) => elements,
        JsonTemplate::Literal(_) | JsonTemplate::Text(_) | JsonTemplate::Object(_) => &[],
    }
}

/// Whether a text is an address and nothing more: no name, no list, nothing that means something in a header or to a mail
/// server.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let is_local = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~.-".contains(&byte);
    let is_domain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let is_dotted = |part: &str| !part.starts_with('.') && !part.ends_with('.') && !part.contains("..");
    (1..=64).contains(&local.len())
        && (1..=253).contains(&domain.len())
        && local.bytes().all(is_local)
        && domain.bytes().all(is_domain)
        && is_dotted(local)
        && is_dotted(domain)
        && !domain.starts_with('-')
        && !domain.ends_with('-')
}

impl KindPlan for EmailPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        match self.request(step) {
            Ok(request) => Next::Call(Request::Email(request)),
            Err(failure) => Next::Fail(failure),
        }
    }

    fn answered(&self, _: &StepView<'_>, response: &Response) -> Next {
        match response.as_email() {
            None => Next::Stay,
            Some(sent) => {
                let output = json!({ "messageId": sent.message_id });
                Next::Done(Done::new(StepOutcome::Succeeded).with_output(output))
            }
        }
    }

    fn connection(&self) -> Option<&ObjectName> {
        Some(&self.connection)
    }
}

/// A mail for people.
pub(in crate::kinds) fn shown(request: &EmailRequest, hide: &dyn Fn(String) -> String) -> Vec<ShownItem> {
    vec![item(
        "mail",
        "application/json",
        format!("{:#}", described(request, hide)),
    )]
}

/// A mail as a document, with everything that it sends.
pub(in crate::kinds) fn described(request: &EmailRequest, hide: &dyn Fn(String) -> String) -> Value {
    let EmailRequest {
        connection,
        bound: _,
        to,
        cc,
        reply_to,
        subject,
        text,
        attachments,
    } = request;
    let mut document = Map::new();
    document.insert("connection".to_owned(), json!(connection));
    document.insert("to".to_owned(), json!(to));
    if !cc.is_empty() {
        document.insert("cc".to_owned(), json!(cc));
    }
    if let Some(reply_to) = reply_to {
        document.insert("replyTo".to_owned(), json!(reply_to));
    }
    document.insert("subject".to_owned(), json!(subject));
    document.insert("text".to_owned(), json!(text));
    if !attachments.is_empty() {
        let files = attachments.iter().map(|file| match &file.content {
            AttachmentContent::Text(text) => {
                json!({ "name": file.name, "mediaType": file.media_type, "value": text })
            }
            AttachmentContent::Resource(from) => {
                json!({ "name": file.name, "mediaType": file.media_type, "from": from })
            }
        });
        document.insert("attachments".to_owned(), files.collect());
    }
    http::hidden(Value::Object(document), hide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_address_and_nothing_more() {
        for good in ["a@b", "alice+x@example.com", "o'hara_1@mail.example.co.uk"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "a@",
            "@b",
            "a@b\r\nBcc: c@d",
            "a@b, c@d",
            "A <a@b>",
            "a b@c",
            "\"a\"@b",
            "a@[127.0.0.1]",
            "a@b@c",
            "a..b@c",
            "é@b",
            "a@-b",
            "a@b\n",
            "a@b>",
        ] {
            assert!(!is_address(bad), "{bad:?}");
        }
    }
}
