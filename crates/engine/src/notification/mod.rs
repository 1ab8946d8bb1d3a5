//! Notifications: who is told of the questions and the ends of a run, and with which words. Nothing here fails a run.

mod happened;
mod message;
#[cfg(test)]
mod tests;
mod wording;

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

pub use self::{
    happened::{Happened, Question, happened},
    message::{Destination, Message, refused, requests},
};
use crate::{
    expression::{EvaluationError, Expression, JsonTemplate, Scope, Template},
    facts::{ReleaseFacts, RunFacts},
    plan::Plan,
    trigger,
};
use signoff_api::{RunStatus, name::ObjectName, notification::NotificationEvent};

/// A notification with its expressions parsed.
#[derive(Clone, Debug)]
pub struct NotificationPlan {
    /// What it is about.
    pub on: BTreeSet<NotificationEvent>,
    pub(crate) when: Option<Expression>,
    /// For how long its messages are collected.
    pub group: Duration,
    pub(crate) channel: ChannelPlan,
}

/// Where a notification is sent, and with which words.
#[derive(Clone, Debug)]
pub(crate) enum ChannelPlan {
    Slack {
        connection: ObjectName,
        channel: Template,
        text: Option<Template>,
    },
    Email {
        connection: ObjectName,
        to: Option<JsonTemplate>,
        subject: Option<Template>,
        text: Option<Template>,
    },
    Teams {
        connection: ObjectName,
        text: Option<Template>,
    },
    Discord {
        connection: ObjectName,
        text: Option<Template>,
    },
    Webhook {
        connection: ObjectName,
        path: Option<Template>,
        message: Option<JsonTemplate>,
    },
}

/// What is known where a notification is made.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The run.
    pub run: &'a RunFacts,
    /// Its release.
    pub release: &'a ReleaseFacts,
    /// Its status.
    pub status: &'a RunStatus,
    /// When it happened.
    pub at: Timestamp,
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// An expression has no value.
    #[error(transparent)]
    Expression(#[from] EvaluationError),
    /// What expressions give is no message.
    #[error("{0}")]
    Invalid(String),
}

impl Plan {
    /// Who is told of questions and ends.
    pub fn notifications(&self) -> &[NotificationPlan] {
        &self.notifications
    }

    /// The messages about something that happened, each with the number of its notification.
    pub fn messages(&self, known: Known<'_>, happened: &Happened) -> Vec<(usize, Result<Message, NotMade>)> {
        let about = self.notifications.iter().enumerate();
        let about = about.filter(|(_, plan)| plan.on.contains(&happened.on));
        let mut scope = None;
        let made = about.filter_map(|(number, plan)| {
            let scope = scope.get_or_insert_with(|| self.scope(known, happened));
            match plan.message(scope, known, happened) {
                Ok(message) => message.map(|message| (number, Ok(message))),
                Err(why) => Some((number, Err(why))),
            }
        });
        made.collect()
    }

    fn scope(&self, known: Known<'_>, happened: &Happened) -> Scope {
        let mut scope = Scope::default();
        scope
            .set("inputs", self.inputs_as_declared(&known.run.inputs))
            .set("run", run(known))
            .set("release", known.release.as_variable())
            .set("trigger", trigger::as_variable(known.run.trigger.as_ref()))
            .set("event", event(known, happened));
        scope
    }
}

/// The run as notifications see it. What is not there is absent.
fn run(known: Known<'_>) -> Value {
    let mut run = known.run.as_variable(known.release);
    if let Some(started) = &known.status.started_at {
        run["startedAt"] = json!(started.0.to_string());
    }
    if known.status.phase.is_finished() {
        run["outcome"] = json!(known.status.phase.to_string());
        if let Some(error) = &known.status.error {
            run["error"] = json!({ "reason": error.reason, "message": error.message });
        }
    }
    run
}

/// What happened as notifications see it. What is not there is absent.
fn event(known: Known<'_>, happened: &Happened) -> Value {
    let mut event = json!({ "type": happened.on, "at": known.at.to_string() });
    if let Some(question) = &happened.question {
        let mut approval =
            json!({ "name": question.approval, "step": question.step, "title": question.title() });
        if let Some(expires_at) = &question.expires_at {
            approval["expiresAt"] = json!(expires_at.to_string());
        }
        if let Some(outcome) = question.outcome {
            approval["outcome"] = json!(outcome);
        }
        if !question.by.is_empty() {
            approval["by"] = json!(question.by.join(", "));
        }
        event["approval"] = approval;
    }
    event
}

impl NotificationPlan {
    fn message(
        &self,
        scope: &Scope,
        known: Known<'_>,
        happened: &Happened,
    ) -> Result<Option<Message>, NotMade> {
        if let Some(when) = &self.when
            && !when.holds(scope)?
        {
            return Ok(None);
        }
        message::of(&self.channel, scope, known, happened).map(Some)
    }
}
