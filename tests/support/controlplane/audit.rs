//! What the audit log says.

use serde_json::Value;

/// What one of these users was refused for want of a right. A forgery that is tried to prove that the policies are in force is not among it:
/// it changes nothing.
pub fn refused(log: &[Value], users: &[&str]) -> Vec<Value> {
    let of_them = |event: &&Value| is_by(event, users);
    let refused = |event: &&Value| event["responseStatus"]["code"] == 403 && !is_dry_run(event);
    log.iter().filter(of_them).filter(refused).cloned().collect()
}

/// Whether it came from one of these users.
pub fn is_by(event: &Value, users: &[&str]) -> bool {
    users.iter().any(|user| event["user"]["username"] == *user)
}

/// Whether it was only tried what would come of it.
pub fn is_dry_run(event: &Value) -> bool {
    let uri = event["requestURI"].as_str();
    uri.is_some_and(|uri| uri.contains("dryRun=All"))
}

/// Whether it asked for a change.
pub fn is_write(event: &Value) -> bool {
    let verb = event["verb"].as_str();
    verb.is_some_and(|verb| matches!(verb, "create" | "update" | "patch" | "delete")) && !is_dry_run(event)
}
