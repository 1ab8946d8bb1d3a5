//! Messages that `notifications` of a flow ask for. Nobody gets them.

use std::borrow::Cow;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::World;
use signoff_api::{notification::NotificationEvent, run::PendingNotification, text::visible};
use signoff_engine::notification::{Asked, Known, Message, NotMade};

/// A message that would be sent.
#[derive(Clone, Debug, Serialize)]
pub struct Notification {
    /// Event that it is about.
    pub event: NotificationEvent,
    /// Channel.
    pub channel: &'static str,
    /// Subject, of a mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Text, or the JSON document for a program.
    pub text: String,
    /// When.
    #[serde(skip)]
    pub at: Timestamp,
}

impl World<'_> {
    /// Takes out of the state of the run that is looked at what is to be sent.
    pub(super) fn send_notifications(&mut self) {
        let state = &mut self.run_mut().state;
        state.has_notifications = None;
        for pending in std::mem::take(&mut state.notifications).into_values() {
            match self.message(&pending) {
                Ok(None) => {}
                Ok(Some(message)) => self.told(&pending, message),
                Err(error) => {
                    let index = pending.notification;
                    let problem = format!("notifications[{index}], {}: {error}", pending.event);
                    self.problems.push(problem);
                }
            }
        }
    }

    fn message(&self, pending: &PendingNotification) -> Result<Option<Message>, NotMade> {
        let run = self.run();
        let mut questions = self.questions.iter();
        let of = |name: &String| questions.find(|question| question.run == self.at && question.name == *name);
        let asked = pending.approval.as_ref().and_then(of).map(|question| Asked {
            title: question.spec.title.clone(),
            expires_at: question.spec.expires_at.as_ref().map(|at| at.0),
        });
        let known = Known {
            run: &run.facts.run,
            release: &run.facts.release,
            status: &run.state,
            pages: None,
        };
        run.plan.message(known, pending, asked.as_ref())
    }

    fn told(&mut self, pending: &PendingNotification, message: Message) {
        let channel = message.to.channel();
        let first = message.text.lines().next().unwrap_or_default();
        let first: Cow<'_, str> = visible(first);
        let line = format!("tells {channel}: {first}");
        self.say(&line);
        let at = self.now;
        self.notifications.push(Notification {
            event: pending.event,
            channel,
            subject: (channel == "email").then_some(message.subject),
            text: message.text,
            at,
        });
    }
}
