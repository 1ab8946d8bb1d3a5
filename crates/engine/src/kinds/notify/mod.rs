//! `notify` steps: a message to people, through one channel. Each channel is a file: how its message is compiled, what
//! is asked of an executor to send it, and what the answer comes to.

mod webhook;

use std::sync::Arc;

use super::{Kind, KindPlan};
use signoff_expression::Declarations;

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
}

fn channel(step: &NotifyStep) -> &dyn Channel {
    match step {
        NotifyStep::Webhook(webhook) => webhook,
    }
}

impl Kind for NotifyStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        let channel = channel(self);
        channel.compile(&mut place.below(channel.key()))
    }

    fn results(&self, _: &Declarations) -> Vec<check::StepResult> {
        vec![check::StepResult::new(StepOutcome::Succeeded)]
    }

    fn fields(&self) -> Vec<Field> {
        channel(self).fields()
    }
}
