//! The provider's own fields of a request: those that a step may set.

use serde_json::{Map, Value};

/// What the step's own fields say, under all the names that providers and what stands before them know. `max_tokens` may only be null.
const OURS: &[&str] = &[
    "best_of",
    "function_call",
    "functions",
    "input",
    "instructions",
    "max_completion_tokens",
    "max_new_tokens",
    "max_output_tokens",
    "max_tokens",
    "max_tokens_to_sample",
    "messages",
    "model",
    "n",
    "num_predict",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "stream",
    "stream_options",
    "system",
    "tool_choice",
    "tool_config",
    "tools",
];

/// What would lead elsewhere than the Connection, or let the other side do more than answer.
const ELSEWHERE: &[&str] = &[
    "api_base",
    "api_key",
    "api_version",
    "background",
    "base_url",
    "container",
    "conversation",
    "custom_llm_provider",
    "data_sources",
    "deployment_id",
    "engine",
    "extra_body",
    "extra_headers",
    "fallback_models",
    "fallbacks",
    "headers",
    "mcp_servers",
    "models",
    "plugins",
    "preset",
    "provider",
    "providers",
    "route",
    "transforms",
    "web_search_options",
];

/// The fields that a step may not set, each with its path and why.
pub(super) fn refused(options: &Map<String, Value>) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for (name, value) in options {
        // some servers read names of fields whatever their case is
        let plain = name.trim().to_ascii_lowercase();
        let path = format!(".{name}");
        if plain == "max_tokens" && value.is_null() {
            continue;
        }
        if OURS.contains(&plain.as_str()) {
            found.push((path, "this field is set by Signoff"));
        } else if ELSEWHERE.contains(&plain.as_str()) {
            found.push((path, "this field would change what is asked, and of whom"));
        } else {
            keys(name, value, &path, &mut found);
        }
    }
    found
}

/// No key is an expression: it would be sent as it is written.
fn keys(name: &str, value: &Value, path: &str, found: &mut Vec<(String, &'static str)>) {
    if name.contains("${") {
        found.push((path.to_owned(), "a key has no `${…}`"));
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                keys(name, value, &format!("{path}.{name}"), found);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                keys("", item, &format!("{path}[{i}]"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
