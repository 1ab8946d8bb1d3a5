//! A command as people are shown it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{effect::SshRequest, facts::Facts, question::item};
use signoff_api::approval::ShownItem;

/// A command for people: the command line, and what it is given beside that.
pub(in crate::kinds) fn shown(
    request: &SshRequest,
    facts: &Facts,
    hide: &dyn Fn(String) -> String,
) -> Vec<ShownItem> {
    let known = facts.connections.get(request.connection.as_str());
    let host = request.host.as_deref();
    let host = host.or_else(|| known.and_then(|known| known.address.as_deref()));
    let host = host.map(|host| format!(" on {host}")).unwrap_or_default();
    let mut text = format!("{}\n", request.command);
    // writing to a String cannot fail
    let _ = write!(text, "{host} through connection {}", request.connection);
    let mut items = vec![item("command", "text/plain", hide(text))];
    if !request.env.is_empty() {
        let env = format!("{:#}", json!(request.env));
        items.push(item("env", "application/json", hide(env)));
    }
    if let Some(stdin) = &request.stdin {
        items.push(item("stdin", "text/plain", hide(stdin.clone())));
    }
    items
}

/// A command as a document, with everything that it is given.
pub(in crate::kinds) fn described(request: &SshRequest, hide: &dyn Fn(String) -> String) -> Value {
    let SshRequest {
        connection,
        bound: _,
        host,
        // it follows from the run and the step
        process: _,
        command,
        env,
        stdin,
        wait,
    } = request;
    let env: serde_json::Map<String, Value> = env
        .iter()
        .map(|(name, value)| (name.clone(), Value::String(hide(value.clone()))))
        .collect();
    let mut document = json!({ "connection": connection, "command": hide(command.clone()), "wait": wait });
    if let Some(host) = host {
        document["host"] = json!(host);
    }
    if !env.is_empty() {
        document["env"] = Value::Object(env);
    }
    if let Some(stdin) = stdin {
        document["stdin"] = json!(hide(stdin.clone()));
    }
    document
}
