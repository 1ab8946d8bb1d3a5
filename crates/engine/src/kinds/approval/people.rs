//! The deciders of a question: the people, their number, and the escalation, as data says when the question is asked.

use std::time::Duration;

use super::ApprovalPlan;
use crate::{
    expression::Scope,
    kinds::Failure,
    plan::{ApproversPlan, Unusable, people},
};
use signoff_api::{
    reason::StepReason,
    step::{Approvers, Escalation},
};

/// The people who may decide on a question, and how many of them must.
#[derive(Debug)]
pub(super) struct Deciders {
    pub(super) approvers: Option<Approvers>,
    pub(super) quorum: i64,
    pub(super) escalate: Vec<Escalation>,
}

/// When people are told of a question again, counted from the time of asking.
#[derive(Debug)]
pub(crate) struct Reminders {
    pub(crate) every: Option<Duration>,
    pub(crate) escalations: Vec<Duration>,
}

impl ApprovalPlan {
    /// When people are told of the question again.
    pub(crate) fn reminders(&self, scope: &Scope) -> Result<Reminders, Unusable> {
        let every = self.remind_every.as_ref().map(|every| every.value(scope));
        let escalations = self
            .escalate
            .iter()
            .map(|escalation| escalation.after.value(scope));
        Ok(Reminders {
            every: every.transpose()?.map(|every| every.duration()),
            escalations: escalations
                .map(|after| after.map(|after| after.duration()))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The people who may decide; none if everybody may.
    pub(crate) fn approvers(&self, scope: &Scope) -> Result<Option<Approvers>, Unusable> {
        self.approvers
            .as_ref()
            .map(|approvers| approvers.value(scope))
            .transpose()
    }

    pub(super) fn deciders(&self, scope: &Scope) -> Result<Deciders, Failure> {
        let approvers = self.approvers(scope)?;
        let quorum = self.quorum.value(scope)?.get();
        let mut escalate = Vec::with_capacity(self.escalate.len());
        for escalation in &self.escalate {
            escalate.push(Escalation {
                after: escalation.after.value(scope)?,
                to: escalation.to.value(scope)?,
            });
        }
        let deciders = Deciders {
            approvers,
            quorum,
            escalate,
        };
        match deciders.people() {
            Some(people) if self.is_computed() && people < quorum => {
                let message = format!("quorum: {quorum} people must approve, and the approvers are {people}");
                Err(Failure::new(StepReason::InvalidQuorum, message))
            }
            Some(_) | None => Ok(deciders),
        }
    }

    /// Whether data says who decides, or how many must.
    fn is_computed(&self) -> bool {
        let escalated = self.escalate.iter().map(|escalation| &escalation.to);
        let mut lists = self.approvers.iter().chain(escalated);
        self.quorum.is_computed() || lists.any(ApproversPlan::is_computed)
    }
}

impl Deciders {
    /// How many people there are, if their names say it.
    fn people(&self) -> Option<i64> {
        let escalated = self.escalate.iter().map(|escalation| &escalation.to);
        let lists: Vec<&Approvers> = self.approvers.iter().chain(escalated).collect();
        self.approvers.as_ref()?;
        i64::try_from(people(&lists)?).ok()
    }
}
