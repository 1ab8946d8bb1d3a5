//! What a model is asked, as people are shown it.

use serde_json::{Value, json};

use crate::{chat::LlmRequest, facts::Facts, kinds::http::hidden, question::item};
use signoff_api::approval::ShownItem;

/// What a model is asked, for people.
pub(in crate::kinds) fn shown(
    request: &LlmRequest,
    facts: &Facts,
    hide: &dyn Fn(String) -> String,
) -> Vec<ShownItem> {
    let known = facts.connections.get(request.connection.as_str());
    let address = known.and_then(|known| known.address.as_deref());
    let address = address.map(|address| format!(" ({address})")).unwrap_or_default();
    let line = format!(
        "model {} through connection {}{address}",
        request.model, request.connection
    );
    let asked = format!("{:#}", described(request, hide));
    vec![
        item("request", "text/plain", hide(line)),
        item("prompt", "application/json", asked),
    ]
}

/// What a model is asked as a document, with everything that it is told.
pub(in crate::kinds) fn described(request: &LlmRequest, hide: &dyn Fn(String) -> String) -> Value {
    let LlmRequest {
        connection,
        bound: _,
        model,
        system,
        messages,
        tools,
        schema,
        corrections: _, // the same for all
        max_tokens,
        options,
    } = request;
    let mut document =
        json!({ "connection": connection, "model": model, "messages": messages, "maxTokens": max_tokens });
    if let Some(system) = system {
        document["system"] = json!(system);
    }
    if !tools.is_empty() {
        document["tools"] = json!(tools);
    }
    if let Some(schema) = schema {
        document["schema"] = schema.clone();
    }
    if !options.is_empty() {
        document["options"] = json!(options);
    }
    hidden(document, hide)
}
