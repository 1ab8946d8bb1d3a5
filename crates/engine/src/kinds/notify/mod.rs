//! `notify` steps: a message to people, through one channel. Each channel is a file: how its message is compiled, what
//! is asked of an executor to send it, and what the answer comes to.

mod cloud_event;
mod discord;
mod email;
mod links;
mod post;
mod slack;
mod teams;
mod webhook;
pub(crate) mod words;

use std::sync::Arc;

use signoff_expression::{Declarations, StaticType};

pub(super) use self::email::{described, shown};
pub(crate) use self::{
    cloud_event::event as new_cloud_event,
    discord::message as discord_message,
    email::{MOST_RECIPIENTS, addresses},
    slack::{PATH as SLACK_PATH, message as slack_message, refused as refused_by_slack},
    teams::message as teams_message,
    webhook::document as webhook_message,
};
use super::{Kind, KindPlan};
use crate::{
    difference::Field,
    plan::{Place, check},
};
use signoff_api::{run::StepOutcome, step::NotifyStep};

/// A channel as a manifest says it.
trait Channel {
    /// Its key in a manifest.
    fn key(&self) -> &'static str;

    /// Parses its message and where it goes, at the place of the channel. A plan that begins a call is all that is
    /// needed: `notify` makes attempts.
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan>;

    /// Its fields as two versions are compared, always all of them and in one order.
    fn fields(&self) -> Vec<Field>;

    /// The type of the step's output, if it has one.
    fn output(&self) -> Option<StaticType> {
        None
    }

    /// Whether people read the message, so that it may hold no address of a callback.
    fn is_for_people(&self) -> bool {
        true
    }
}

fn channel(step: &NotifyStep) -> &dyn Channel {
    match step {
        NotifyStep::Slack(slack) => slack,
        NotifyStep::Email(email) => email,
        NotifyStep::Teams(teams) => teams,
        NotifyStep::Discord(discord) => discord,
        NotifyStep::Webhook(webhook) => webhook,
        NotifyStep::CloudEvent(event) => event,
    }
}

impl Kind for NotifyStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        let channel = channel(self);
        if channel.is_for_people() {
            channel.compile(&mut place.kept().below(channel.key()))
        } else {
            channel.compile(&mut place.below(channel.key()))
        }
    }

    fn results(&self, _: &Declarations) -> Vec<check::StepResult> {
        let result = check::StepResult::new(StepOutcome::Succeeded);
        vec![match channel(self).output() {
            Some(output) => result.with_output(output),
            None => result,
        }]
    }

    fn fields(&self) -> Vec<Field> {
        channel(self).fields()
    }
}
