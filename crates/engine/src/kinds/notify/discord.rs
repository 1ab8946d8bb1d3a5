//! `discord`: a message to a channel of Discord.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Channel, post, words};
use crate::{
    difference::Field,
    effect::{HttpChannel, HttpRequest, Request},
    expression::Template,
    facts::Response,
    kinds::{Failure, KindPlan, Next},
    plan::Place,
    turn::StepView,
};
use signoff_api::{name::ObjectName, step::NotifyDiscord};

/// Links get no preview.
const SUPPRESS_EMBEDS: u64 = 1 << 2;

/// A message with its expressions parsed.
#[derive(Debug)]
struct DiscordPlan {
    connection: ObjectName,
    text: Option<Template>,
}

impl Channel for NotifyDiscord {
    fn key(&self) -> &'static str {
        "discord"
    }

    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        Arc::new(DiscordPlan {
            connection: self.connection.clone(),
            text: post::template(place, &self.text),
        })
    }

    fn fields(&self) -> Vec<Field> {
        let Self { connection, text } = self;
        vec![
            Field::required("notify.discord.connection", connection),
            Field::required("notify.discord.text", text),
        ]
    }
}

/// A message as Discord takes it. It mentions nobody, whatever is in its text.
pub(crate) fn message(text: &str) -> Value {
    json!({ "content": text, "allowed_mentions": { "parse": [] }, "flags": SUPPRESS_EMBEDS })
}

impl DiscordPlan {
    fn request(&self, step: &StepView<'_>) -> Result<HttpRequest, Failure> {
        let text = post::text(self.text.as_ref(), &step.scope(), words::discord, |text| {
            words::cut(text, words::DISCORD)
        })?;
        let through = (HttpChannel::Discord, &self.connection);
        Ok(post::request(step, through, "", message(&text)))
    }
}

impl KindPlan for DiscordPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        match self.request(step) {
            Ok(request) => Next::Call(Request::Http(request)),
            Err(failure) => Next::Fail(failure),
        }
    }

    fn answered(&self, step: &StepView<'_>, response: &Response) -> Next {
        post::answered(step, response)
    }

    fn connection(&self) -> Option<&ObjectName> {
        Some(&self.connection)
    }
}
