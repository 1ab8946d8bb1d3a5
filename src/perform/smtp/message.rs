//! A mail as it is sent. Headers are made of parsed values, so that no value can begin another header.

use jiff::Timestamp;
use lettre::{
    Message,
    message::{Attachment as Part, Mailbox, MultiPart, SinglePart, header::ContentType},
};

use crate::perform::error;
use signoff_api::{Digest, connection::SmtpConnection, name::ObjectName, reason::StepReason};
use signoff_engine::{
    effect::{Attachment, EmailRequest},
    facts::EffectError,
};

/// A mail, and its `Message-ID`.
pub(super) struct Mail {
    pub(super) id: String,
    pub(super) message: Message,
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
    let text = SinglePart::plain(request.text.clone());
    let message = if files.is_empty() {
        builder.singlepart(text)
    } else {
        let mut parts = MultiPart::mixed().singlepart(text);
        for (file, content) in files {
            let media_type = ContentType::parse(&file.media_type).map_err(|_| {
                let message = format!("attachments: {:?} is no media type", file.media_type);
                error::invalid(StepReason::InvalidRequest, message)
            })?;
            parts = parts.singlepart(Part::new(file.name.clone()).body(content, media_type));
        }
        builder.multipart(parts)
    };
    let message = message.map_err(|why| {
        error::invalid(
            StepReason::InvalidRequest,
            format!("the mail cannot be made: {why}"),
        )
    })?;
    Ok(Mail { id, message })
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
