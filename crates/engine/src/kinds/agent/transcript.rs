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
/// Longest text of one message that is kept, in bytes.
const MAX_TEXT: usize = 16 * 1024;
/// From this size on, old results are left out, in bytes of JSON.
const LONG: usize = 64 * 1024;
/// Longest conversation, in bytes of JSON.
const LONGEST: usize = 128 * 1024;
/// Results up to here are never left out, in bytes.
const SHORT: usize = 256;
/// The newest messages, of which nothing is left out.
const NEWEST: usize = 8;

/// Takes in an answer that asks for tools.
pub(super) fn take_in(status: &mut AgentStatus, answer: &LlmAnswer) {
    let calls: Vec<ToolCall> = answer.calls.iter().map(bounded).collect();
    let text = shortened(&answer.text);
    keep(
        status,
        &Message::Assistant {
            content: text,
            calls: calls.clone(),
        },
    );
    for (i, call) in calls.into_iter().enumerate() {
        if i >= MAX_OPEN {
            let content = format!("This call was not made: an answer may ask for at most {MAX_OPEN} calls.");
            let refused = Message::Tool {
                id: call.id,
                content,
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
    keep(
        status,
        &Message::Tool {
            id: call.id,
            content: shortened(content),
            is_error,
        },
    );
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

/// A call with arguments that can be kept.
fn bounded(call: &ToolCall) -> ToolCall {
    if call.arguments.to_string().len() <= MAX_ARGUMENTS {
        return call.clone();
    }
    ToolCall {
        arguments: Value::String("(left out: too large)".to_owned()),
        ..call.clone()
    }
}

fn shortened(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MAX_TEXT);
    format!("{}\n[{} more bytes]", &text[..end], text.len() - end)
}

fn keep(status: &mut AgentStatus, message: &Message) {
    status.transcript.push(Json(json!(message)));
    let mut size = size(status);
    let old = status.transcript.len().saturating_sub(NEWEST);
    for message in status.transcript.iter_mut().take(old) {
        if size <= LONG {
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
