//! The conversation as the status keeps it: bounded, whatever a model says and tools answer.

use serde_json::{Value, json};

use super::calls::MAX_ARGUMENTS;
use crate::chat::{LlmAnswer, Message, ToolCall};
use signoff_api::{
    Json,
    run::{AgentCall, AgentCallPhase, AgentStatus},
};

/// Most calls of one answer.
const MAX_OPEN: usize = 16;
/// Most bytes of the arguments of one answer together, as JSON.
const MAX_TOGETHER: usize = 64 * 1024;
/// Longest text of one message that is kept, in bytes.
const MAX_TEXT: usize = 16 * 1024;
/// Bytes of such a text in which it says that it was cut.
const CUT: usize = 64;
/// From this size on, old results are left out, in bytes of JSON.
const LONG: usize = 64 * 1024;
/// From this size on, results are left out of a conversation that is over, in bytes of JSON.
const LONG_WHEN_OVER: usize = 32 * 1024;
/// Longest conversation, in bytes of JSON.
const LONGEST: usize = 128 * 1024;
/// Results up to here are never left out, in bytes.
const SHORT: usize = 256;
/// The newest messages, of which nothing is left out.
const NEWEST: usize = 8;

/// Takes in an answer that asks for tools.
pub(super) fn take_in(status: &mut AgentStatus, answer: &LlmAnswer) {
    let mut together = 0;
    let calls = answer.calls.iter().map(|call| {
        let size = call.arguments.to_string().len();
        let is_small = size <= MAX_ARGUMENTS && together + size <= MAX_TOGETHER;
        if is_small {
            together += size;
            return (call.clone(), true);
        }
        let arguments = json!({ "leftOut": format!("{size} bytes") });
        let call = ToolCall {
            arguments,
            ..call.clone()
        };
        (call, false)
    });
    let calls: Vec<(ToolCall, bool)> = calls.collect();
    let kept = calls.iter().map(|(call, _)| call.clone()).collect();
    let said = Message::Assistant {
        content: shortened(&answer.text),
        calls: kept,
    };
    keep(status, &said);
    for (i, (call, is_small)) in calls.into_iter().enumerate() {
        let refused = if i >= MAX_OPEN {
            Some(format!("an answer may ask for at most {MAX_OPEN} calls"))
        } else if is_small {
            None
        } else {
            Some(format!(
                "arguments have at most {MAX_ARGUMENTS} bytes, and those of one answer at most {MAX_TOGETHER} together"
            ))
        };
        if let Some(why) = refused {
            let refused = Message::Tool {
                id: call.id,
                content: format!("This call was not made: {why}."),
                is_error: true,
            };
            keep(status, &refused);
            continue;
        }
        status.calls = status.calls.saturating_add(1);
        status.open.push(AgentCall {
            number: status.calls,
            id: call.id,
            tool: call.name,
            arguments: Json(call.arguments),
            phase: AgentCallPhase::Open,
            asked: 0,
            shown: None,
            connections: vec![],
        });
    }
}

/// The first open call is over, and this came of it.
pub(super) fn answer(status: &mut AgentStatus, content: &str, is_error: bool) {
    if status.open.is_empty() {
        return;
    }
    let call = status.open.remove(0);
    let content = shortened(&(notice(status, &call) + content));
    let message = Message::Tool {
        id: call.id,
        content,
        is_error,
    };
    let mut message = json!(message);
    // readers find the result by it, whatever ids the model gave
    message["call"] = json!(call.number);
    push(status, message);
}

/// What came of the call that is under way, as it was before the model was told that people changed its arguments.
pub(super) fn without_notice<'a>(status: &AgentStatus, told: &'a str) -> &'a str {
    let call = status.open.first();
    let notice = call.map(|call| notice(status, call)).unwrap_or_default();
    told.strip_prefix(&notice).unwrap_or(told)
}

/// Says that the arguments of a call are not those that the model gave it, which goes by its own otherwise.
fn notice(status: &AgentStatus, call: &AgentCall) -> String {
    match changed(status, call) {
        Some(arguments) => format!("People changed the arguments to {arguments}. This came of those:\n"),
        None => String::new(),
    }
}

fn changed<'a>(status: &AgentStatus, call: &'a AgentCall) -> Option<&'a Value> {
    let newest = status
        .transcript
        .iter()
        .rev()
        .find(|message| message.0["role"] == "assistant")?;
    let said = serde_json::from_value::<Message>(newest.0.clone()).ok()?;
    let Message::Assistant { calls, .. } = said else {
        return None;
    };
    let asked = calls
        .iter()
        .find(|asked| asked.id == call.id && asked.name == call.tool)?;
    (asked.arguments != call.arguments.0).then_some(&call.arguments.0)
}

/// What a tool gave, as the model is told it.
pub(super) fn told(output: &Value) -> String {
    match output {
        Value::Null => "done".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether the conversation is longer than the status takes.
pub(super) fn is_too_long(status: &AgentStatus) -> bool {
    size(status) > LONGEST
}

/// What is kept when the conversation is over.
pub(super) fn close(status: &mut AgentStatus) {
    let all = status.transcript.len();
    leave_out(status, all, LONG_WHEN_OVER);
}

/// A text that can be kept. What was shortened is not shortened again.
fn shortened(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MAX_TEXT - CUT);
    format!("{}\n[{} more bytes]", &text[..end], text.len() - end)
}

fn keep(status: &mut AgentStatus, message: &Message) {
    push(status, json!(message));
}

fn push(status: &mut AgentStatus, message: Value) {
    status.transcript.push(Json(message));
    let old = status.transcript.len().saturating_sub(NEWEST);
    leave_out(status, old, LONG);
}

/// Leaves long results out of the first messages, until the conversation is short enough.
fn leave_out(status: &mut AgentStatus, first: usize, longest: usize) {
    let mut size = size(status);
    for message in status.transcript.iter_mut().take(first) {
        if size <= longest {
            return;
        }
        let is_result = message.0["role"] == "tool";
        let Some(content) = message.0.get_mut("content").filter(|content| {
            let text = content.as_str();
            is_result && text.is_some_and(|text| text.len() > SHORT)
        }) else {
            continue;
        };
        let before = content.to_string().len();
        let bytes = content.as_str().map_or(0, str::len);
        *content = json!(format!("[left out: {bytes} bytes]"));
        size = size.saturating_sub(before - content.to_string().len());
    }
}

fn size(status: &AgentStatus) -> usize {
    status
        .transcript
        .iter()
        .map(|message| message.0.to_string().len())
        .sum()
}
