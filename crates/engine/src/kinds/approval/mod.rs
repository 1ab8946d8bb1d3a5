//! `approval` steps: a question to people, and what the answer does.

mod compile;
mod connections;
mod difference;
mod earlier;
mod form;
mod people;
mod question;
mod shown;

use std::{any::Any, collections::BTreeSet, sync::Arc};

use signoff_expression::Declarations;

pub(in crate::kinds) use self::{
    compile::compile_after,
    difference::{loosened, terms},
};
use self::{form::FormPlan, shown::ShownPlan};
pub(crate) use self::{
    form::without_computed,
    people::Reminders,
    question::{decision, whom},
};
use super::{Done, Failure, Kind, KindPlan, Next};
use crate::{
    difference::{Field, Loosened, Terms},
    expression::Template,
    object::ObjectFact,
    plan::{ApproversPlan, DurationPlan, Place, QuorumPlan, check},
    turn::{Owned, StepView},
};
use signoff_api::{
    ApprovalPhase, Verdict,
    approval::ApprovalStatus,
    reason::StepReason,
    run::{EndingOutcome, StepDecision, StepOutcome},
    step::{ApprovalStep, ApprovalTimeoutOutcome},
};

/// An `approval` step with its expressions parsed.
#[derive(Debug)]
pub(crate) struct ApprovalPlan {
    pub(crate) step: ApprovalStep,
    title: Template,
    show: Vec<ShownPlan>,
    form: Option<FormPlan>,
    approvers: Option<ApproversPlan>,
    quorum: QuorumPlan,
    respond_within: Option<DurationPlan>,
    remind_every: Option<DurationPlan>,
    escalate: Vec<EscalationPlan>,
    on_timeout: ApprovalTimeoutOutcome,
    continue_on_reject: bool,
    pub(crate) changes: Option<ChangesPlan>,
}

/// A rule that lets more people decide after a while.
#[derive(Debug)]
struct EscalationPlan {
    after: DurationPlan,
    to: ApproversPlan,
}

/// What "request changes" does.
#[derive(Debug)]
pub(crate) struct ChangesPlan {
    /// Every step that is done again: the one gone back to and all from there to the question.
    pub(crate) again: BTreeSet<usize>,
    max: i64,
}

impl ApprovalPlan {
    /// Lets people ask for changes, whose meaning is for whoever asks.
    pub(in crate::kinds) fn offer_changes(&mut self) {
        self.changes = Some(ChangesPlan {
            again: BTreeSet::new(),
            max: i64::MAX,
        });
    }

    /// A name of an item that the flow does not show itself.
    fn unused(&self, name: &str) -> String {
        let mut name = name.to_owned();
        while self.show.iter().any(|shown| shown.name == name) {
            name.insert_str(0, "bound-");
        }
        name
    }
}

impl Kind for ApprovalStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        Arc::new(compile::compile(self, place))
    }

    fn results(&self, _: &Declarations) -> Vec<check::StepResult> {
        let outcomes = [StepOutcome::Approved].into_iter().chain(self.continuing());
        outcomes.map(check::StepResult::new).collect()
    }

    fn fields(&self) -> Vec<Field> {
        difference::fields(self)
    }

    fn loosened(&self, before: &dyn Any) -> Vec<Loosened> {
        let before = before.downcast_ref();
        before.map_or_else(Vec::new, |before| difference::loosened(before, self))
    }

    fn terms(&self, when: Option<&String>) -> Option<Terms> {
        Some(difference::terms(self, when))
    }
}

impl KindPlan for ApprovalPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        self.ask(step)
    }

    fn go_on(&self, step: &StepView<'_>) -> Next {
        if let Some(next) = connections::superseded(step) {
            return next;
        }
        match step.object() {
            Owned::Nothing => Next::Stay,
            Owned::Refused(why) => {
                let message = format!("the API server refuses the question: {why}");
                Next::Fail(Failure::new(StepReason::ApprovalRefused, message))
            }
            Owned::Absent => self.ask_again(step),
            Owned::There(fact) => self.looked_at(step, fact),
        }
    }

    fn question(&self) -> Option<&ApprovalPlan> {
        Some(self)
    }
}

impl ApprovalPlan {
    fn looked_at(&self, step: &StepView<'_>, fact: &ObjectFact) -> Next {
        let Some(fact) = fact.as_approval() else {
            return Next::Stay;
        };
        let answer = &fact.status;
        match answer.phase {
            ApprovalPhase::Pending => Next::Stay,
            ApprovalPhase::Approved => {
                let decision = decision(answer, Verdict::Approve);
                Next::Done(Done::new(StepOutcome::Approved).with_decision(decision))
            }
            ApprovalPhase::Rejected => {
                let decision = decision(answer, Verdict::Reject);
                if self.continue_on_reject {
                    return Next::Done(Done::new(StepOutcome::Rejected).with_decision(decision));
                }
                Next::Fail(Failure {
                    outcome: StepOutcome::Rejected,
                    reason: StepReason::Rejected,
                    message: rejection(&decision),
                    decision: Some(Box::new(decision)),
                    ending: EndingOutcome::Rejected,
                })
            }
            ApprovalPhase::ChangesRequested => self.changes_requested(step, answer),
            ApprovalPhase::Expired => self.expired(),
            ApprovalPhase::Cancelled | ApprovalPhase::Superseded => {
                let name = step.status.approval.as_deref().unwrap_or_default();
                let message = answer
                    .message
                    .clone()
                    .unwrap_or_else(|| format!("the approval {name} was closed"));
                Next::Fail(Failure::new(StepReason::Cancelled, message))
            }
        }
    }

    fn expired(&self) -> Next {
        let message = "nobody decided in time";
        match self.on_timeout {
            ApprovalTimeoutOutcome::Continue => Next::Done(Done::new(StepOutcome::TimedOut)),
            ApprovalTimeoutOutcome::Fail => Next::Fail(Failure::timed_out(message, EndingOutcome::TimedOut)),
        }
    }

    fn changes_requested(&self, step: &StepView<'_>, answer: &ApprovalStatus) -> Next {
        let decision = decision(answer, Verdict::RequestChanges);
        // each pass but the first was asked for
        let asked = step.run.pass_of(&step.status.name);
        if self.changes.as_ref().is_some_and(|changes| asked <= changes.max) {
            return Next::GoBack(decision);
        }
        let message = format!("changes were requested {asked} times");
        Next::Fail(Failure::new(StepReason::TooManyChanges, message).with_decision(decision))
    }
}

fn rejection(decision: &StepDecision) -> String {
    let by = decision.by.join(" and ");
    match &decision.comment {
        Some(comment) => format!("rejected by {by}: {comment}"),
        None => format!("rejected by {by}"),
    }
}
