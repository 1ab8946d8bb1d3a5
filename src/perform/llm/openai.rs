//! Chat completions as `OpenAI` defines them.

use serde_json::{Value, json};

use super::{
    answer::{MAX_CALLS, Read, arguments, count, cut_off, name, refused},
    images::{Images, media_type},
    instruction, with_options,
};
use signoff_api::run::Usage;
use signoff_engine::chat::{Image, LlmAnswer, LlmRequest, Message, ToolCall};

/// The body of a request.
pub(super) fn body(request: &LlmRequest, images: &Images<'_>) -> Value {
    // a server that knows no schemas is told it in words
    let is_told = request.options.contains_key("response_format");
    let told = request.schema.as_ref().filter(|_| is_told).map(instruction);
    let system: Vec<&str> = request.system.iter().chain(&told).map(String::as_str).collect();
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    if !system.is_empty() {
        messages.push(json!({ "role": "system", "content": system.join("\n\n") }));
    }
    messages.extend(request.messages.iter().map(|message| written(message, images)));
    let mut body = json!({ "model": request.model, "messages": messages, "stream": false });
    // newer models know only the second name
    let name = if request.options.contains_key("max_tokens") {
        "max_completion_tokens"
    } else {
        "max_tokens"
    };
    body[name] = json!(request.max_tokens);
    if let Some(schema) = &request.schema {
        body["response_format"] =
            json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema } });
    }
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| {
            json!({
                "type": "function",
                "function": { "name": tool.name, "description": tool.description, "parameters": tool.schema },
            })
        });
        body["tools"] = tools.collect();
    }
    with_options(body, request)
}

fn written(message: &Message, images: &Images<'_>) -> Value {
    match message {
        Message::User {
            content,
            images: none,
        } if none.is_empty() => {
            json!({ "role": "user", "content": content })
        }
        Message::User {
            content,
            images: shown,
        } => {
            let text = json!({ "type": "text", "text": content });
            let shown = shown.iter().map(|image| {
                let url = match image {
                    Image::Url(url) => url.clone(),
                    Image::Resource(resource) => {
                        format!(
                            "data:{};base64,{}",
                            media_type(resource),
                            images.content(resource)
                        )
                    }
                };
                json!({ "type": "image_url", "image_url": { "url": url } })
            });
            let parts: Value = [text].into_iter().chain(shown).collect();
            json!({ "role": "user", "content": parts })
        }
        Message::Assistant { content, calls } => {
            let mut said = json!({ "role": "assistant", "content": content });
            if !calls.is_empty() {
                let calls = calls.iter().map(|call| {
                    json!({
                        "id": call.id,
                        "type": "function",
                        "function": { "name": call.name, "arguments": as_text(&call.arguments) },
                    })
                });
                said["tool_calls"] = calls.collect();
            }
            said
        }
        Message::Tool {
            id,
            content,
            is_error: _, // it says so itself
        } => json!({ "role": "tool", "tool_call_id": id, "content": content }),
    }
}

fn as_text(arguments: &Value) -> String {
    match arguments {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// An answer; nothing if it is none.
pub(super) fn read(body: &Value) -> Option<Read> {
    let choice = body["choices"].as_array()?.first()?;
    let message = choice["message"].as_object()?;
    let usage = Usage {
        input_tokens: count(&body["usage"]["prompt_tokens"]),
        output_tokens: count(&body["usage"]["completion_tokens"]),
        calls: 0,
    };
    let text = message.get("content").and_then(Value::as_str).unwrap_or_default();
    let asked = message.get("tool_calls").and_then(Value::as_array);
    let calls = asked.into_iter().flatten().take(MAX_CALLS).map(|call| {
        let given = &call["function"]["arguments"];
        Some(ToolCall {
            id: name(&call["id"])?,
            name: name(&call["function"]["name"])?,
            // some servers do not write them as text
            arguments: given.as_str().map_or_else(|| given.clone(), arguments),
        })
    });
    let calls: Vec<ToolCall> = calls.collect::<Option<_>>()?;
    let is_refused = message.get("refusal").is_some_and(Value::is_string);
    let answer = match choice["finish_reason"].as_str() {
        Some("length") => Err(cut_off()),
        Some("content_filter") => Err(refused()),
        _ if is_refused => Err(refused()),
        _ => Ok(LlmAnswer {
            text: text.to_owned(),
            value: None,
            calls,
        }),
    };
    Some(Read { usage, answer })
}
