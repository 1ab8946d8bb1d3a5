//! Calls of tools: whether one that the model asks for is made, and what comes of it.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use signoff_expression::StaticType;

use super::{AgentPlan, question::QuestionPlan, transcript::told};
use crate::{
    chat::Tool,
    effect::Request,
    facts::Response,
    kinds::{Failure, KindPlan, Next, Then},
    plan::{RetryPolicy, check},
    schema::Schema,
    turn::{CallView, StepView},
};
use signoff_api::{
    Digest, bounds,
    reason::StepReason,
    run::{AgentCall, AgentCallPhase, AgentStatus},
};

/// Largest arguments of a call, in bytes of JSON.
pub(super) const MAX_ARGUMENTS: usize = 16 * 1024;
/// Deepest nesting of arguments.
const MAX_NESTING: usize = bounds::MAX_NESTING - 8;
/// Most misfits of arguments that the model is told.
const MAX_TOLD: usize = 10;

/// A tool with its expressions parsed.
#[derive(Debug)]
pub(super) struct ToolPlan {
    pub(super) name: String,
    pub(super) description: String,
    /// The schema of its arguments, as the model is told it.
    pub(super) declared: Value,
    pub(super) schema: Option<Schema>,
    /// The type of its arguments.
    pub(super) args: StaticType,
    pub(super) kind: Arc<dyn KindPlan>,
    pub(super) at_most_once: bool,
    pub(super) retry: RetryPolicy,
    pub(super) timeout: Duration,
    pub(super) max_calls: i64,
    pub(super) approval: Option<QuestionPlan>,
}

/// What becomes of a call that the model asks for.
pub(super) enum Considered {
    /// It is not made, and the model is told why.
    Refused(String),
    /// It is made, or people are asked.
    Then(Then),
}

impl ToolPlan {
    /// The tool as the model is told of it.
    pub(super) fn offer(&self) -> Tool {
        Tool {
            name: self.name.clone(),
            description: self.description.clone(),
            schema: self.declared.clone(),
        }
    }

    /// What is wrong with arguments, for the model.
    pub(super) fn misfit(&self, arguments: &Value) -> Option<String> {
        let Value::Object(given) = arguments else {
            return Some("The arguments are no JSON object.".to_owned());
        };
        // those that people wrote
        if arguments.to_string().len() > MAX_ARGUMENTS {
            return Some(format!("The arguments have more than {MAX_ARGUMENTS} bytes."));
        }
        if bounds::nesting(arguments, MAX_NESTING).is_err() {
            return Some("The arguments are nested too deeply.".to_owned());
        }
        let is_closed = self.declared.get("additionalProperties") == Some(&Value::Bool(false));
        if is_closed && self.declared.get("patternProperties").is_none() {
            let known = self.declared["properties"].as_object();
            let unknown = given
                .keys()
                .find(|name| !known.is_some_and(|known| known.contains_key(*name)));
            if let Some(name) = unknown {
                return Some(format!("There is no argument {name:?}."));
            }
        }
        let misfits = self.schema.as_ref().map(|schema| schema.misfits(arguments));
        let misfits = misfits.unwrap_or_default();
        if misfits.is_empty() {
            return None;
        }
        let lines = misfits.iter().take(MAX_TOLD);
        let lines: Vec<String> = lines
            .map(|misfit| format!("- {}: {}", misfit.pointer, misfit.message))
            .collect();
        Some(format!(
            "The arguments do not fit the schema:\n{}",
            lines.join("\n")
        ))
    }

    /// The step as the tool sees it while it does this call.
    pub(super) fn view(&self, call: &AgentCall) -> CallView {
        CallView {
            number: call.number,
            asked: call.asked,
            args: check::as_declared(call.arguments.0.clone(), &self.args),
            tool: json!({ "name": call.tool, "call": call.number }),
            connections: call.connections.clone(),
        }
    }
}

impl AgentPlan {
    /// Decides what becomes of the next call.
    pub(super) fn consider(
        &self,
        step: &StepView<'_>,
        status: &mut AgentStatus,
        call: &AgentCall,
    ) -> Considered {
        let Some(tool) = self.tools.get(&call.tool) else {
            return Considered::Refused("There is no such tool.".to_owned());
        };
        if let Some(why) = tool.misfit(&call.arguments.0) {
            return Considered::Refused(why);
        }
        let made = status.made.get(&tool.name).copied().unwrap_or(0);
        if made >= tool.max_calls {
            let why = format!("This tool may be used at most {} times.", tool.max_calls);
            return Considered::Refused(why);
        }
        if let Some(question) = &tool.approval
            && let Some(asked) = question.ask(step, tool, status, call)
        {
            return asked;
        }
        make(status);
        Considered::Then(Then::Call)
    }

    /// The request of a call.
    pub(super) fn begin_call(
        &self,
        step: &StepView<'_>,
        call: &AgentCall,
        status: impl FnOnce() -> AgentStatus,
    ) -> Next {
        match self.effect(step, call) {
            Ok((request, digest)) => {
                if call.shown.as_ref().is_some_and(|shown| *shown != digest) {
                    let message = "the effect of the tool is not what people were shown before they decided, so it is not done";
                    return Next::Fail(Failure::new(StepReason::RequestChanged, message));
                }
                Next::Call(request)
            }
            Err(failure) => {
                let why = format!("The call cannot be made: {}", failure.message);
                self.call_over(step, status(), &why, true)
            }
        }
    }

    /// What a call would do, and what tells that from others.
    pub(super) fn effect(&self, step: &StepView<'_>, call: &AgentCall) -> Result<(Request, Digest), Failure> {
        let unknown = || Failure::new(StepReason::InvalidRequest, "there is no such tool");
        let tool = self.tools.get(&call.tool).ok_or_else(unknown)?;
        effect(step, tool, call)
    }

    pub(super) fn tool_answered(
        &self,
        step: &StepView<'_>,
        status: AgentStatus,
        call: &AgentCall,
        response: &Response,
    ) -> Next {
        let Some(tool) = self.tools.get(&call.tool) else {
            return Next::Stay;
        };
        let view = tool.view(call);
        match tool.kind.answered(&step.calling(&view), response) {
            Next::Done(done) => self.call_over(step, status, &told(&done.output.unwrap_or_default()), false),
            Next::Fail(failure) => {
                let why = format!(
                    "The call was made, but its answer cannot be used: {}",
                    failure.message
                );
                self.call_over(step, status, &why, true)
            }
            failed @ Next::AttemptFailed(_) => failed,
            Next::Stay
            | Next::Call(_)
            | Next::Own(_)
            | Next::Wait(_)
            | Next::End(_)
            | Next::GoBack(_)
            | Next::Supersede(..)
            | Next::Progress(_) => Next::Stay,
        }
    }
}

/// What a call of a tool would do, and what tells that from others.
pub(super) fn effect(
    step: &StepView<'_>,
    tool: &ToolPlan,
    call: &AgentCall,
) -> Result<(Request, Digest), Failure> {
    let view = tool.view(call);
    match tool.kind.start(&step.calling(&view)) {
        Next::Call(request) => {
            let digest = step.run.digest_of(&request);
            Ok((request, digest))
        }
        Next::Fail(failure) => Err(failure),
        Next::Stay
        | Next::Done(_)
        | Next::AttemptFailed(_)
        | Next::Own(_)
        | Next::Wait(_)
        | Next::End(_)
        | Next::GoBack(_)
        | Next::Supersede(..)
        | Next::Progress(_) => Err(Failure::new(StepReason::InvalidRequest, "the tool does nothing")),
    }
}

/// The first open call is made from now on.
pub(super) fn make(status: &mut AgentStatus) {
    if let Some(call) = status.open.first_mut() {
        call.phase = AgentCallPhase::Calling;
        let made = status.made.entry(call.tool.clone()).or_default();
        *made = made.saturating_add(1);
    }
}
