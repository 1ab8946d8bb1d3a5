//! Notifications: which messages are sent about the questions and the ends of a run, and with which words. Nothing here
//! fails a run. A turn adds to the state of the run what is to be sent ([`crate::turn`]); here it becomes a message.

mod message;
mod pending;
#[cfg(test)]
mod tests;
mod wording;

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

pub(crate) use self::pending::{Happened, note};
pub use self::{
    message::{Destination, Message, refused, request},
    pending::{Asked, MOST_PENDING, note_end},
};
use crate::{
    expression::{EvaluationError, Expression, JsonTemplate, Scope, Template},
    facts::{ReleaseFacts, RunFacts},
    plan::Plan,
    trigger,
};
use signoff_api::{
    RunStatus, name::ObjectName, notification::NotificationEvent, reason::StepReason,
    run::PendingNotification,
};

/// A notification with its expressions parsed.
#[derive(Clone, Debug)]
pub struct NotificationPlan {
    /// The events that it is about.
    pub on: BTreeSet<NotificationEvent>,
    pub(crate) when: Option<Expression>,
    /// For how long its messages are collected, if it says so.
    pub group: Option<Duration>,
    pub(crate) channel: ChannelPlan,
}

impl NotificationPlan {
    /// The channel, as manifests name it.
    pub fn channel(&self) -> &'static str {
        match &self.channel {
            ChannelPlan::Slack { .. } => "slack",
            ChannelPlan::Email { .. } => "email",
            ChannelPlan::Teams { .. } => "teams",
            ChannelPlan::Discord { .. } => "discord",
            ChannelPlan::Webhook { .. } => "webhook",
            ChannelPlan::CloudEvent { .. } => "cloudEvent",
        }
    }
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
    CloudEvent {
        connection: ObjectName,
        path: Option<Template>,
        type_: Option<String>,
        source: Option<Template>,
        subject: Option<Template>,
        data: Option<JsonTemplate>,
    },
}

/// What is known where a message is made.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The run.
    pub run: &'a RunFacts,
    /// Its release.
    pub release: &'a ReleaseFacts,
    /// Its status.
    pub status: &'a RunStatus,
    /// Where people find the page with questions, without a slash at its end.
    pub pages: Option<&'a str>,
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

impl NotMade {
    /// The reason.
    pub fn reason(&self) -> StepReason {
        match self {
            Self::Expression(error) => error.reason(),
            Self::Invalid(_) => StepReason::InvalidRequest,
        }
    }
}

impl Plan {
    /// The notifications of the flow.
    pub fn notifications(&self) -> &[NotificationPlan] {
        &self.notifications
    }

    /// Whether a notification is about an event.
    pub(crate) fn tells(&self, on: NotificationEvent) -> bool {
        self.notifications.iter().any(|plan| plan.on.contains(&on))
    }

    /// The message that is to be sent. There is none if the notification's condition does not hold.
    ///
    /// # Errors
    /// If an expression has no value, or what it gives is no message.
    pub fn message(
        &self,
        known: Known<'_>,
        pending: &PendingNotification,
        asked: Option<&Asked>,
    ) -> Result<Option<Message>, NotMade> {
        let index = usize::try_from(pending.notification).ok();
        let Some(plan) = index.and_then(|index| self.notifications.get(index)) else {
            return Ok(None);
        };
        let event = event(known, pending, asked);
        let run = run(known);
        let mut scope = Scope::default();
        scope
            .set("inputs", self.inputs_as_declared(&known.run.inputs))
            .set("run", run.clone())
            .set("release", known.release.as_variable())
            .set("trigger", trigger::as_variable(known.run.trigger.as_ref()))
            .set("event", event.clone());
        if let Some(when) = &plan.when
            && !when.holds(&scope)?
        {
            return Ok(None);
        }
        let document = json!({ "event": event, "run": run });
        let told = message::Told {
            known,
            pending,
            asked,
        };
        message::of(&plan.channel, &scope, told, document).map(Some)
    }
}

/// The run as notifications see it. What is not there is absent.
fn run(known: Known<'_>) -> Value {
    let mut run = known.run.as_variable(known.release);
    if let Some(started) = &known.status.started_at {
        run["startedAt"] = json!(started);
    }
    if known.status.phase.is_finished() {
        run["outcome"] = json!(known.status.phase);
        if let Some(error) = &known.status.error {
            run["error"] = json!({ "reason": error.reason, "message": error.message });
        }
    }
    run
}

/// What happened as notifications see it. What is not there is absent.
fn event(known: Known<'_>, pending: &PendingNotification, asked: Option<&Asked>) -> Value {
    let mut event = json!({ "type": pending.event, "at": pending.at });
    let Some(name) = &pending.approval else {
        return event;
    };
    let mut approval = json!({ "name": name, "title": title(pending, asked) });
    if let Some(step) = &pending.step {
        approval["step"] = json!(step);
    }
    if let Some(expires_at) = asked.and_then(|asked| asked.expires_at) {
        approval["expiresAt"] = json!(expires_at.to_string());
    }
    if let Some(url) = url(known, name) {
        approval["url"] = json!(url);
    }
    if let Some(outcome) = pending.outcome {
        approval["outcome"] = json!(outcome);
        approval["by"] = json!(pending.by);
    }
    event["approval"] = approval;
    event
}

/// What is asked. The step stands for a question that is not there any more.
fn title<'a>(pending: &'a PendingNotification, asked: Option<&'a Asked>) -> &'a str {
    let title = asked.map(|asked| asked.title.as_str());
    title.or(pending.step.as_deref()).unwrap_or_default()
}

/// Where people look at a question. It gives no right: whoever opens it logs in.
fn url(known: Known<'_>, approval: &str) -> Option<String> {
    let (pages, namespace) = (known.pages?, &known.run.namespace);
    Some(format!("{pages}/ns/{namespace}/approvals/{approval}"))
}
