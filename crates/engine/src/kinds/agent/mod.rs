//! `agent` steps: a language model that uses tools until it is done.
//!
//! One thing is under way at a time, and the status says which: the model is asked, people are asked about a call, or a
//! call is made. What came of it is written before the next thing begins. So a crash repeats at most what was under
//! way, under its own rules, and the model is never asked again about calls that may have begun.

mod calls;
mod compile;
mod difference;
mod question;
mod transcript;

use std::{any::Any, collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde_json::Value;
use signoff_expression::Declarations;

use self::{calls::ToolPlan, transcript::told};
use super::{
    Done, Failure, Kind, KindPlan, Next, Progress, Then,
    llm::{Prompt, type_of_answer},
};
use crate::{
    chat::{LlmAnswer, LlmRequest, Message},
    difference::{Field, Loosened},
    effect::{CallPart, Request},
    facts::{EffectError, RecordedAnswer, Response},
    kinds::CallPolicy,
    plan::{Place, check},
    turn::StepView,
};
use signoff_api::{
    approval::ShownItem,
    name::ObjectName,
    reason::StepReason,
    run::{AgentCall, AgentCallPhase, AgentStatus, StepOutcome, StepStatus},
    step::{AgentStep, Approvers},
};

/// An `agent` step with its expressions parsed.
#[derive(Debug)]
struct AgentPlan {
    prompt: Prompt,
    tools: BTreeMap<String, ToolPlan>,
    max_turns: i64,
    token_budget: i64,
    time_budget: Duration,
}

impl Kind for AgentStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        Arc::new(compile::compile(self, place))
    }

    fn results(&self, _: &Declarations) -> Vec<check::StepResult> {
        let output = type_of_answer(self.schema.as_ref());
        vec![check::StepResult::new(StepOutcome::Succeeded).with_output(output)]
    }

    fn fields(&self) -> Vec<Field> {
        difference::fields(self)
    }

    fn loosened(&self, before: &dyn Any) -> Vec<Loosened> {
        let before = before.downcast_ref();
        before.map_or_else(Vec::new, |before| difference::loosened(before, self))
    }
}

/// How far a step is. One that has not begun is at its beginning.
fn status(step: &StepView<'_>) -> AgentStatus {
    let begun = step.status.started_at.clone();
    step.status
        .agent
        .as_deref()
        .cloned()
        .unwrap_or_else(|| AgentStatus {
            first_attempt: 1,
            active_since: begun,
            ..AgentStatus::default()
        })
}

/// The call that is under way.
fn current(status: &AgentStatus) -> Option<&AgentCall> {
    status
        .open
        .first()
        .filter(|call| call.phase == AgentCallPhase::Calling)
}

impl KindPlan for AgentPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        let status = status(step);
        match status.open.first() {
            None => {
                // attempts that failed have used tokens and time too
                let mut spent = status.clone();
                spend(step, &mut spent);
                if let Some(failure) = self.exhausted(step, &spent) {
                    return over(spent, failure);
                }
                match self.request(step, &status) {
                    Ok(request) => Next::Call(Request::Llm(request)),
                    Err(failure) => Next::Fail(failure),
                }
            }
            Some(call) if call.phase == AgentCallPhase::Calling => {
                self.begin_call(step, call, || status.clone())
            }
            Some(_) => self.proceed(step, status),
        }
    }

    fn go_on(&self, step: &StepView<'_>) -> Next {
        let status = status(step);
        let first = status.open.first().cloned();
        match first.filter(|call| call.phase == AgentCallPhase::Asking) {
            Some(call) => self.look_at_question(step, status, &call),
            None => Next::Stay,
        }
    }

    fn answered(&self, step: &StepView<'_>, response: &Response) -> Next {
        let status = status(step);
        match (current(&status), response.as_llm()) {
            (None, Some(response)) => match &response.answer {
                Ok(answer) => self.model_answered(step, status, answer),
                Err(error) => Next::AttemptFailed(error.clone()),
            },
            (Some(call), None) => self.tool_answered(step, status.clone(), call, response),
            // it belongs to something that is over
            (None, None) | (Some(_), Some(_)) => Next::Stay,
        }
    }

    fn connections(&self) -> Vec<&ObjectName> {
        let of_tools = self.tools.values().flat_map(|tool| tool.kind.connections());
        [&self.prompt.connection].into_iter().chain(of_tools).collect()
    }

    fn asked_connections(&self) -> Vec<&ObjectName> {
        let asked = self.tools.values().filter(|tool| tool.approval.is_some());
        asked.flat_map(|tool| tool.kind.connections()).collect()
    }

    fn policy(&self, step: &StepView<'_>) -> Option<CallPolicy<'_>> {
        let known = step.status.agent.as_deref();
        let call = known.and_then(current);
        let tool = call.and_then(|call| self.tools.get(&call.tool));
        Some(CallPolicy {
            attempts_before: known.map_or(0, |known| known.first_attempt.saturating_sub(1)),
            retry: tool.map(|tool| &tool.retry),
            timeout: tool.map(|tool| tool.timeout),
            at_most_once: tool.is_some_and(|tool| tool.at_most_once),
            part: match call {
                Some(call) => CallPart::Tool {
                    tool: call.tool.clone(),
                    number: call.number,
                },
                None => CallPart::Turn(known.map_or(1, |known| known.turns.saturating_add(1))),
            },
        })
    }

    fn gave_up(&self, step: &StepView<'_>, error: &EffectError) -> Option<Next> {
        let status = status(step);
        current(&status)?;
        let told = format!("The call failed: {}", error.message);
        Some(self.call_over(step, status, &told, true))
    }

    fn told(&self, step: &StepView<'_>, output: Option<Value>) -> Option<Next> {
        let status = status(step);
        current(&status)?;
        Some(self.call_over(step, status, &told(&output.unwrap_or_default()), false))
    }

    fn recorded(&self, step: &StepView<'_>, answer: &RecordedAnswer) -> Option<Next> {
        let status = status(step);
        current(&status)?;
        let told = told(&answer.output.clone().unwrap_or_default());
        let told = transcript::without_notice(&status, &told).to_owned();
        Some(self.call_over(step, status, &told, answer.is_error))
    }

    fn about_call(&self, step: &StepView<'_>) -> Vec<ShownItem> {
        let call = step.status.agent.as_deref().and_then(current);
        call.map_or_else(Vec::new, question::about)
    }

    fn deciders(&self, step: &StepView<'_>) -> Option<Approvers> {
        let call = step.status.agent.as_deref().and_then(current)?;
        let tool = self.tools.get(&call.tool)?;
        let view = tool.view(call);
        let question = &tool.approval.as_ref()?.question;
        question.approvers(&step.calling(&view).scope()).ok()?
    }

    fn makes_many_calls(&self) -> bool {
        true
    }

    fn calls_at_most_once(&self) -> bool {
        self.tools.values().any(|tool| tool.at_most_once)
    }

    fn has_called_at_most_once(&self, entry: &StepStatus) -> bool {
        let made = entry.agent.iter().flat_map(|agent| &agent.made);
        let mut tools = made.filter_map(|(name, _)| self.tools.get(name));
        tools.any(|tool| tool.at_most_once)
    }
}

impl AgentPlan {
    /// What the model is asked now.
    fn request(&self, step: &StepView<'_>, status: &AgentStatus) -> Result<LlmRequest, Failure> {
        let mut request = self.prompt.request(step)?;
        for message in &status.transcript {
            let message = serde_json::from_value::<Message>(message.0.clone());
            let message = message.map_err(|error| {
                let message = format!("the transcript cannot be read: {error}");
                Failure::new(StepReason::InvalidRequest, message)
            })?;
            request.messages.push(message);
        }
        request.tools = self.tools.values().map(ToolPlan::offer).collect();
        Ok(request)
    }

    /// Takes in an answer of the model.
    fn model_answered(&self, step: &StepView<'_>, mut status: AgentStatus, answer: &LlmAnswer) -> Next {
        spend(step, &mut status);
        status.turns = status.turns.saturating_add(1);
        if answer.calls.is_empty() {
            transcript::close(&mut status);
            let done = Done::new(StepOutcome::Succeeded).with_output(answer.output());
            return Next::Progress(Box::new(Progress {
                status,
                then: Then::Done(Box::new(done)),
            }));
        }
        transcript::take_in(&mut status, answer);
        self.proceed(step, status)
    }

    /// What comes after something is over: the next call of the newest answer, or the model.
    fn proceed(&self, step: &StepView<'_>, mut status: AgentStatus) -> Next {
        while let Some(call) = status.open.first().cloned() {
            if call.phase != AgentCallPhase::Open {
                return Next::Stay;
            }
            match self.consider(step, &mut status, &call) {
                calls::Considered::Refused(why) => transcript::answer(&mut status, &why, true),
                calls::Considered::Then(then) => {
                    if matches!(then, Then::Call) {
                        begins(step, &mut status);
                    }
                    return Next::Progress(Box::new(Progress { status, then }));
                }
            }
        }
        if let Some(failure) = self.exhausted(step, &status) {
            return over(status, failure);
        }
        begins(step, &mut status);
        let then = Then::Call;
        Next::Progress(Box::new(Progress { status, then }))
    }

    /// A call is over: the model is told what came of it, in time.
    fn call_over(&self, step: &StepView<'_>, mut status: AgentStatus, told: &str, is_error: bool) -> Next {
        spend(step, &mut status);
        transcript::answer(&mut status, told, is_error);
        self.proceed(step, status)
    }

    /// Why the model is asked no more.
    fn exhausted(&self, step: &StepView<'_>, status: &AgentStatus) -> Option<Failure> {
        let tokens = step.status.usage.unwrap_or_default().tokens();
        let active = Duration::from_millis(u64::try_from(status.active_millis).unwrap_or(0));
        let spent = if status.turns >= self.max_turns {
            format!("it has answered {} times (maxTurns)", status.turns)
        } else if tokens >= self.token_budget {
            format!("it has used {tokens} tokens (tokenBudget)")
        } else if active >= self.time_budget {
            format!("it has taken {}s (timeBudget)", active.as_secs())
        } else if transcript::is_too_long(status) {
            "the conversation is longer than 128 KiB".to_owned()
        } else {
            return None;
        };
        let message = format!("the model is not done, and is asked no more: {spent}");
        Some(Failure::new(StepReason::BudgetExceeded, message))
    }
}

/// The model is asked no more.
fn over(mut status: AgentStatus, failure: Failure) -> Next {
    transcript::close(&mut status);
    Next::Progress(Box::new(Progress {
        status,
        then: Then::Fail(failure),
    }))
}

/// Something begins now, with the next attempt. While the run is suspended, it takes no time.
fn begins(step: &StepView<'_>, status: &mut AgentStatus) {
    status.first_attempt = step.status.attempt.saturating_add(1);
    let is_suspended = step.run.facts.run.suspend;
    status.active_since = (!is_suspended).then_some(MicroTime(step.run.now));
}

/// What was under way has ended.
fn spend(step: &StepView<'_>, status: &mut AgentStatus) {
    let Some(since) = status.active_since.take() else {
        return;
    };
    let took = step.run.now.duration_since(since.0).as_millis();
    let took = i64::try_from(took).unwrap_or(i64::MAX).max(0);
    status.active_millis = status.active_millis.saturating_add(took);
}
