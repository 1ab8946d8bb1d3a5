//! Messages as Anthropic defines them.

use serde_json::{Value, json};

use super::{
    answer::{MAX_CALLS, Read, count, cut_off, name, refused},
    images::{Images, media_type},
    instruction, with_options,
};
use signoff_api::run::Usage;
use signoff_engine::chat::{Image, LlmAnswer, LlmRequest, Message, ToolCall};

/// The body of a request.
pub(super) fn body(request: &LlmRequest, images: &Images<'_>) -> Value {
    let told = request.schema.as_ref().map(instruction);
    let system: Vec<&str> = request.system.iter().chain(&told).map(String::as_str).collect();
    let mut messages: Vec<Value> = Vec::with_capacity(request.messages.len());
    for message in &request.messages {
        let (role, parts) = written(message, images);
        // results of tools that were asked for together belong into one message
        match messages.last_mut() {
            Some(last) if last["role"] == role => {
                if let Some(known) = last["content"].as_array_mut() {
                    known.extend(parts);
                }
            }
            Some(_) | None => messages.push(json!({ "role": role, "content": parts })),
        }
    }
    let mut body = json!({
        "model": request.model,
        "messages": messages,
        "max_tokens": request.max_tokens,
        "stream": false,
    });
    if !system.is_empty() {
        body["system"] = json!(system.join("\n\n"));
    }
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(
            |tool| json!({ "name": tool.name, "description": tool.description, "input_schema": tool.schema }),
        );
        body["tools"] = tools.collect();
    }
    with_options(body, request)
}

fn written(message: &Message, images: &Images<'_>) -> (&'static str, Vec<Value>) {
    // a text of nothing is refused
    let text = |content: &String| {
        let text = (!content.trim().is_empty()).then(|| json!({ "type": "text", "text": content }));
        text.into_iter()
    };
    match message {
        Message::User {
            content,
            images: shown,
        } => {
            let shown = shown.iter().map(|image| {
                let source = match image {
                    Image::Url(url) => json!({ "type": "url", "url": url }),
                    Image::Resource(resource) => json!({
                        "type": "base64",
                        "media_type": media_type(resource),
                        "data": images.content(resource),
                    }),
                };
                json!({ "type": "image", "source": source })
            });
            ("user", shown.chain(text(content)).collect())
        }
        Message::Assistant { content, calls } => {
            let calls = calls.iter().map(|call| {
                // it takes no other arguments than objects
                let input = if call.arguments.is_object() {
                    call.arguments.clone()
                } else {
                    json!({ "arguments": call.arguments })
                };
                json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input })
            });
            ("assistant", text(content).chain(calls).collect())
        }
        Message::Tool {
            id,
            content,
            is_error,
        } => {
            let result =
                json!({ "type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error });
            ("user", vec![result])
        }
    }
}

/// An answer; nothing if it is none.
pub(super) fn read(body: &Value) -> Option<Read> {
    let parts = body["content"].as_array()?;
    let usage = &body["usage"];
    // what a cache has taken in or given counts as sent
    let sent = [
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
    ];
    let usage = Usage {
        input_tokens: sent
            .iter()
            .map(|field| count(&usage[field]))
            .fold(0, i64::saturating_add),
        output_tokens: count(&usage["output_tokens"]),
        calls: 0,
    };
    let of = |type_: &'static str| parts.iter().filter(move |part| part["type"] == type_);
    let text: String = of("text").filter_map(|part| part["text"].as_str()).collect();
    let calls = of("tool_use").take(MAX_CALLS).map(|part| {
        Some(ToolCall {
            id: name(&part["id"])?,
            name: name(&part["name"])?,
            arguments: part["input"].clone(),
        })
    });
    let calls: Vec<ToolCall> = calls.collect::<Option<_>>()?;
    let answer = match body["stop_reason"].as_str() {
        Some("max_tokens" | "model_context_window_exceeded") => Err(cut_off()),
        Some("refusal") => Err(refused()),
        _ => Ok(LlmAnswer {
            text,
            value: None,
            calls,
        }),
    };
    Some(Read { usage, answer })
}
