//! What models and tools answered an agent, as its transcript says. When they did is not in the record: the engine hears
//! it at once, but for what ended the step.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{
    Player,
    answers::{failed, unknown},
};
use signoff_api::{
    Approval, ApprovalPhase, ApprovalSpec, StepKind,
    approval::ApprovalPurpose,
    reason::StepReason,
    run::{AgentStatus, StepPhase, StepStatus, Usage},
};
use signoff_engine::{
    chat::{LlmAnswer, LlmResponse, Message},
    effect::{CallPart, EffectKey},
    facts::{EffectError, RecordedAnswer, Response},
};

/// What one of the calls of an agent was answered.
type Answer = Result<Response, EffectError>;

impl Player<'_> {
    pub(super) fn is_agent(&self, step: &str) -> bool {
        let mut steps = self.recorded.release.spec.definition.all_steps();
        steps.any(|known| known.name == step && matches!(known.kind, StepKind::Agent(_)))
    }

    /// Whether a question is about a call of a tool.
    pub(super) fn is_about_tool(&self, spec: &ApprovalSpec) -> bool {
        let step = spec.subject.step.as_deref();
        spec.purpose == ApprovalPurpose::Step && step.is_some_and(|step| self.is_agent(step))
    }

    /// When questions about calls of tools expired.
    pub(super) fn expired_calls(&self) -> Vec<Timestamp> {
        let approvals = self.recorded.approvals.iter();
        let expired = approvals.filter(|approval| {
            phase_of(approval) == ApprovalPhase::Expired && self.is_about_tool(&approval.spec)
        });
        expired
            .filter_map(|approval| Some(approval.spec.expires_at.as_ref()?.0))
            .collect()
    }

    /// What a part of an agent was answered, if that is known by now.
    pub(super) fn answer_of_part(
        &self,
        key: &EffectKey,
        entry: &StepStatus,
        part: &CallPart,
    ) -> Option<Answer> {
        let ended = self.index.ended_at(&key.step, key.iteration, key.item);
        let is_over = ended.is_some_and(|at| at <= self.now);
        let nothing = AgentStatus::default();
        let agent = entry.agent.as_deref().unwrap_or(&nothing);
        // what took too long came at the end
        let error = entry.error.as_ref();
        let is_late = error.is_some_and(|error| error.reason == StepReason::BudgetExceeded) && !is_over;
        match part {
            CallPart::Whole => None,
            CallPart::Turn(turn) => {
                let is_last = *turn == agent.turns;
                // what the answers took each is not in the record
                let usage = entry.usage.filter(|_| is_last).unwrap_or_default();
                match said(agent, *turn) {
                    Some(_) if is_last && is_late => None,
                    Some(answer) => Some(Ok(answered(answer, usage))),
                    None if is_last && is_over && entry.phase == StepPhase::Succeeded => {
                        let answer = LlmAnswer {
                            value: entry.output.as_ref().map(|output| output.0.clone()),
                            ..LlmAnswer::default()
                        };
                        Some(Ok(answered(answer, usage)))
                    }
                    None => broken(key, entry, is_over),
                }
            }
            CallPart::Tool { number, .. } => {
                if let Some(why) = self.asked_whether(key, entry) {
                    return Some(Err(unknown(why)));
                }
                match told(agent, *number) {
                    Some((_, true)) if is_late => None,
                    Some((answer, _)) => Some(Ok(Response::Recorded(answer))),
                    None => broken(key, entry, is_over),
                }
            }
        }
    }
}

/// Of a part that was not answered: that it failed, as far as the record says so.
fn broken(key: &EffectKey, entry: &StepStatus, is_over: bool) -> Option<Answer> {
    let is_repeated =
        entry.attempt > key.attempt || entry.attempt == key.attempt && entry.phase == StepPhase::Retrying;
    if is_repeated {
        return Some(Err(failed(entry.error.as_ref(), true)));
    }
    (is_over && entry.phase == StepPhase::Failed).then(|| Err(failed(entry.error.as_ref(), false)))
}

fn answered(answer: LlmAnswer, usage: Usage) -> Response {
    Response::Llm(LlmResponse {
        usage,
        answer: Ok(answer),
    })
}

/// An answer that asked for tools, by its number.
fn said(agent: &AgentStatus, turn: i64) -> Option<LlmAnswer> {
    let messages = agent.transcript.iter();
    let mut answers = messages.filter_map(|message| match serde_json::from_value(message.0.clone()) {
        Ok(Message::Assistant { content, calls }) => Some(LlmAnswer {
            text: content,
            value: None,
            calls,
        }),
        Ok(Message::User { .. } | Message::Tool { .. }) | Err(_) => None,
    });
    let index = usize::try_from(turn).ok()?.checked_sub(1)?;
    answers.nth(index)
}

/// What the model was told of a call, and whether that was the last it was told.
fn told(agent: &AgentStatus, number: i64) -> Option<(RecordedAnswer, bool)> {
    let messages = agent.transcript.iter();
    let (index, message) = messages
        .enumerate()
        .find(|(_, message)| message.0["call"].as_i64() == Some(number))?;
    let answer = RecordedAnswer {
        output: Some(message.0["content"].clone()),
        usage: None,
        is_error: message.0["isError"] == Value::Bool(true),
    };
    Some((answer, index + 1 == agent.transcript.len()))
}

pub(super) fn phase_of(approval: &Approval) -> ApprovalPhase {
    let status = approval.status.as_ref();
    status.map(|status| status.phase).unwrap_or_default()
}
