//! `teams`: a message to a channel of Microsoft Teams.

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
use signoff_api::{name::ObjectName, step::NotifyTeams};

/// A message with its expressions parsed.
#[derive(Debug)]
struct TeamsPlan {
    connection: ObjectName,
    text: Option<Template>,
}

impl Channel for NotifyTeams {
    fn key(&self) -> &'static str {
        "teams"
    }

    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        Arc::new(TeamsPlan {
            connection: self.connection.clone(),
            text: post::template(place, &self.text),
        })
    }

    fn fields(&self) -> Vec<Field> {
        let Self { connection, text } = self;
        vec![
            Field::required("notify.teams.connection", connection),
            Field::required("notify.teams.text", text),
        ]
    }
}

/// A message as Teams takes it: a card with one text.
pub(crate) fn message(text: &str) -> Value {
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": [{ "type": "TextBlock", "text": text, "wrap": true }],
            },
        }],
    })
}

impl TeamsPlan {
    fn request(&self, step: &StepView<'_>) -> Result<HttpRequest, Failure> {
        let text = post::text(self.text.as_ref(), &step.scope(), words::teams, |text| {
            words::cut_json(text, words::TEAMS)
        })?;
        let through = (HttpChannel::Teams, &self.connection);
        Ok(post::request(step, through, "", message(&text)))
    }
}

impl KindPlan for TeamsPlan {
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
