//! A mail as it is sent. Headers are made of parsed values, so that no value can begin another header.

use jiff::Timestamp;
use lettre::{
    Message,
    address::Envelope,
    message::{
        Attachment as Part, Body, Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType},
    },
};

use crate::perform::error;
use signoff_api::{Digest, connection::SmtpConnection, name::ObjectName, reason::StepReason};
use signoff_engine::{
    effect::{Attachment, EmailRequest},
    facts::EffectError,
};

/// A mail, written out, and its `Message-ID`.
pub(super) struct Mail {
    pub(super) id: String,
    pub(super) envelope: Envelope,
    pub(super) content: Vec<u8>,
}

/// Makes a mail. The same idempotency key makes the same `Message-ID`, so that readers see a repetition once.
pub(super) fn mail(
    name: &ObjectName,
    connection: &SmtpConnection,
    request: &EmailRequest,
    files: Vec<(&Attachment, Vec<u8>)>,
    (idempotency_key, now): (&str, Timestamp),
) -> Result<Mail, EffectError> {
    let from: Mailbox = connection.from.parse().map_err(|_| {
        let message = format!("the Connection {name:?} has no address in from");
        error::invalid(StepReason::InvalidRequest, message)
    })?;
    let digest = Digest::of(idempotency_key.as_bytes()).to_string();
    let digest = digest.rsplit(':').next().unwrap_or_default();
    let id = format!("<{}@{}>", &digest[..digest.len().min(40)], from.email.domain());
    let mut builder = Message::builder()
        .from(from)
        .message_id(Some(id.clone()))
        .date(now.into())
        .subject(&request.subject)
        // replies of programs would go to nobody
        .raw_header(automatic());
    for address in &request.to {
        builder = builder.to(mailbox(address)?);
    }
    for address in &request.cc {
        builder = builder.cc(mailbox(address)?);
    }
    if let Some(address) = &request.reply_to {
        builder = builder.reply_to(mailbox(address)?);
    }
    let text = SinglePart::plain(with_crlf(&request.text));
    let message = if files.is_empty() {
        builder.singlepart(text)
    } else {
        let mut parts = MultiPart::mixed().singlepart(text);
        for (file, content) in files {
            let media_type = ContentType::parse(&file.media_type).map_err(|_| {
                let message = format!("attachments: {:?} is no media type", file.media_type);
                error::invalid(StepReason::InvalidRequest, message)
            })?;
            // never as it is: a line break alone would let content end the mail and begin another
            let encoded = Body::new_with_encoding(content, ContentTransferEncoding::Base64);
            let encoded = encoded.map_err(|_| {
                let message = format!("attachments: {:?} cannot be encoded", file.name);
                error::invalid(StepReason::InvalidRequest, message)
            })?;
            parts = parts.singlepart(Part::new(file.name.clone()).body(encoded, media_type));
        }
        builder.multipart(parts)
    };
    let message = message.map_err(|why| {
        error::invalid(
            StepReason::InvalidRequest,
            format!("the mail cannot be made: {why}"),
        )
    })?;
    Ok(Mail {
        id,
        envelope: message.envelope().clone(),
        content: message.formatted(),
    })
}

/// A text with the line breaks of mails. The library puts them in one by one, which takes long where there are many.
fn with_crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

fn automatic() -> lettre::message::header::HeaderValue {
    let name = lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted");
    lettre::message::header::HeaderValue::new(name, "auto-generated".to_owned())
}

fn mailbox(address: &str) -> Result<Mailbox, EffectError> {
    let address = address.parse().map_err(|_| {
        let message = format!("{address:?} is no mail address");
        error::invalid(StepReason::InvalidRequest, message)
    })?;
    Ok(Mailbox::new(None, address))
}
