//! What every controller needs of the cluster: clients, shared watches, queues, back-off, timers, leadership, proof of the policies.

pub mod access;
pub mod backoff;
pub mod behalf;
pub mod context;
pub mod create;
pub mod earlier_runs;
pub mod event;
pub mod event_claims;
pub mod fairness;
#[cfg(test)]
pub(crate) mod fake_api;
pub mod identity;
pub mod inbox;
pub mod leadership;
pub mod object_key;
pub mod objects;
pub mod own_decision;
pub mod parts;
pub mod queue;
pub mod reconciler;
pub mod releases;
pub mod run_endings;
pub mod run_facts;
pub mod secrets;
pub mod server_time;
pub mod shared;
pub mod status;
pub mod throttled_client;
pub mod timers;
pub mod written;

/// An error with its causes, each once, as people read it.
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = message(error);
    let mut last = text.clone();
    for error in std::iter::successors(error.source(), |error| error.source()) {
        let cause = message(error);
        // a wrapper repeats its source, whole or at its end
        if !last.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        last = cause;
        // its sources say the same once more, as a dump of the whole status
        if error
            .downcast_ref::<kube::Error>()
            .is_some_and(|error| matches!(error, kube::Error::Api(_)))
        {
            break;
        }
    }
    text
}

/// What an API server says is meant for people; what the client makes of it is not.
fn message(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => status.message.clone(),
        _ => error.to_string(),
    }
}
