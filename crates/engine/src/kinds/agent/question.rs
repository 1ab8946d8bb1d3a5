//! Questions about calls of tools: what people are shown, and what their answers do.

use serde_json::{Value, json};

use super::{
    AgentPlan,
    calls::{Considered, ToolPlan, effect, make},
};
use crate::{
    expression::Expression,
    kinds::{Failure, KindPlan as _, Next, Progress, Then, approval::ApprovalPlan},
    question::item,
    turn::StepView,
};
use signoff_api::{
    Json,
    approval::ShownItem,
    reason::StepReason,
    run::{AgentCall, AgentCallPhase, AgentStatus, EndingOutcome, StepDecision, StepOutcome},
};

/// Name of the shown item with the arguments.
pub(super) const ARGUMENTS: &str = "arguments";
/// How often people are asked about one call.
const MOST: i64 = 20;

/// A question about calls of a tool, with its expressions parsed.
#[derive(Debug)]
pub(super) struct QuestionPlan {
    pub(super) when: Option<Expression>,
    pub(super) question: ApprovalPlan,
    pub(super) is_editable: bool,
    /// Whether a rejection ends the step.
    pub(super) rejects: bool,
    /// Whether no answer in time ends the step.
    pub(super) fails_late: bool,
}

impl QuestionPlan {
    /// Asks people about a call; nothing if they are not asked about this one.
    pub(super) fn ask(
        &self,
        step: &StepView<'_>,
        tool: &ToolPlan,
        status: &mut AgentStatus,
        call: &AgentCall,
    ) -> Option<Considered> {
        let view = tool.view(call);
        let holds = |when: &Expression| when.holds(&step.calling(&view).scope());
        // a condition that cannot be evaluated asks
        if self
            .when
            .as_ref()
            .is_some_and(|when| holds(when).is_ok_and(|holds| !holds))
        {
            return None;
        }
        if call.asked >= MOST {
            let message = format!("people were asked about the call {MOST} times");
            return Some(Considered::Then(Then::Fail(Failure::new(
                StepReason::ConnectionChanged,
                message,
            ))));
        }
        let (request, digest) = match effect(step, tool, call) {
            Ok(effect) => effect,
            Err(failure) => {
                let why = format!("The call cannot be made: {}", failure.message);
                return Some(Considered::Refused(why));
            }
        };
        let asked = call.asked.saturating_add(1);
        let mut view = tool.view(call);
        view.asked = asked;
        view.tool["effect"] = step.run.described(&request);
        Some(match self.question.start(&step.calling(&view)) {
            Next::Own(own) => {
                if let Some(first) = status.open.first_mut() {
                    first.phase = AgentCallPhase::Asking;
                    first.asked = asked;
                    first.shown = Some(digest);
                    first.connections.clone_from(&own.connections);
                }
                Considered::Then(Then::Ask(own))
            }
            // the model chose how large its arguments are
            Next::Fail(failure) if failure.reason == StepReason::OutputTooLarge => {
                let why = format!("People cannot be shown this call: {}.", failure.message);
                Considered::Refused(why)
            }
            Next::Fail(failure) => Considered::Then(Then::Fail(failure)),
            Next::Stay
            | Next::Done(_)
            | Next::Call(_)
            | Next::AttemptFailed(_)
            | Next::Wait(_)
            | Next::End(_)
            | Next::GoBack(_)
            | Next::Supersede(..)
            | Next::Progress(_) => Considered::Refused("People could not be asked.".to_owned()),
        })
    }
}

impl AgentPlan {
    /// Looks whether people have decided about the call.
    pub(super) fn look_at_question(
        &self,
        step: &StepView<'_>,
        mut status: AgentStatus,
        call: &AgentCall,
    ) -> Next {
        let tool = self.tools.get(&call.tool);
        let Some((tool, plan)) = tool.and_then(|tool| Some((tool, tool.approval.as_ref()?))) else {
            return Next::Stay;
        };
        let mut view = tool.view(call);
        if let Ok((request, _)) = effect(step, tool, call) {
            view.tool["effect"] = step.run.described(&request);
        }
        match plan.question.go_on(&step.calling(&view)) {
            Next::Stay => Next::Stay,
            Next::Own(own) => Next::Own(own),
            Next::Fail(failure) => Next::Fail(failure),
            Next::Done(done) => {
                let decision = done.decision;
                match done.outcome {
                    StepOutcome::Approved => self.approved(step, status, tool, plan, decision.as_ref()),
                    StepOutcome::Rejected => self.rejected(step, status, plan, decision),
                    StepOutcome::TimedOut => self.late(step, status, plan),
                    StepOutcome::Succeeded
                    | StepOutcome::Failed
                    | StepOutcome::Skipped
                    | StepOutcome::Omitted
                    | StepOutcome::ChangesRequested
                    | StepOutcome::Callback
                    | StepOutcome::Event
                    | StepOutcome::Elapsed
                    | StepOutcome::Cancelled => Next::Stay,
                }
            }
            Next::GoBack(decision) => {
                let told = format!(
                    "People did not allow this call yet. They ask for changes{}",
                    comment(Some(&decision))
                );
                self.call_over(step, status, &told, true)
            }
            Next::Supersede(..) => {
                if let Some(first) = status.open.first_mut() {
                    first.phase = AgentCallPhase::Open;
                }
                self.proceed(step, status)
            }
            Next::Call(_) | Next::AttemptFailed(_) | Next::Wait(_) | Next::End(_) | Next::Progress(_) => {
                Next::Stay
            }
        }
    }

    fn approved(
        &self,
        step: &StepView<'_>,
        mut status: AgentStatus,
        tool: &ToolPlan,
        plan: &QuestionPlan,
        decision: Option<&StepDecision>,
    ) -> Next {
        let edited = decision.and_then(|decision| decision.shown.as_ref()?.0.get(ARGUMENTS));
        if let (true, Some(edited), Some(first)) = (plan.is_editable, edited, status.open.first_mut())
            && first.arguments.0 != *edited
        {
            if let Some(why) = tool.misfit(edited) {
                let told = format!("People changed the arguments, and they cannot be used: {why}");
                return self.call_over(step, status, &told, true);
            }
            first.arguments = Json(edited.clone());
            // it follows from what people wrote themselves
            first.shown = None;
        }
        make(&mut status);
        super::begins(step, &mut status);
        Next::Progress(Box::new(Progress {
            status,
            then: Then::Call,
        }))
    }

    fn rejected(
        &self,
        step: &StepView<'_>,
        status: AgentStatus,
        plan: &QuestionPlan,
        decision: Option<StepDecision>,
    ) -> Next {
        let told = format!("People rejected this call{}", comment(decision.as_ref()));
        if !plan.rejects {
            return self.call_over(step, status, &told, true);
        }
        let by = decision.iter().flat_map(|decision| &decision.by).cloned();
        let by = by.collect::<Vec<_>>().join(" and ");
        let message = format!(
            "a call of a tool was rejected by {by}{}",
            comment(decision.as_ref())
        );
        Next::Fail(Failure {
            outcome: StepOutcome::Rejected,
            decision: decision.map(Box::new),
            ending: EndingOutcome::Rejected,
            ..Failure::new(StepReason::Rejected, message)
        })
    }

    fn late(&self, step: &StepView<'_>, status: AgentStatus, plan: &QuestionPlan) -> Next {
        if plan.fails_late {
            let message = "nobody decided in time about a call of a tool";
            return Next::Fail(Failure::timed_out(message, EndingOutcome::TimedOut));
        }
        let told = "Nobody decided in time. The call was not made.";
        self.call_over(step, status, told, true)
    }
}

fn comment(decision: Option<&StepDecision>) -> String {
    let comment = decision.and_then(|decision| decision.comment.as_deref());
    comment.map_or_else(|| ".".to_owned(), |comment| format!(": {comment}"))
}

/// A call for people who are to say whether it happened.
pub(super) fn about(call: &AgentCall) -> Vec<ShownItem> {
    let what = json!({ "name": call.tool, "call": call.number });
    let pretty = |value: &Value| format!("{value:#}");
    vec![
        item("tool", "application/json", pretty(&what)),
        item(ARGUMENTS, "application/json", pretty(&call.arguments.0)),
    ]
}
