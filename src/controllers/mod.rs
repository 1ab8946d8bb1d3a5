//! Controllers, one per kind: gather, decide (engine or a pure function), write, perform.

pub mod approval;
pub mod backoff;
pub mod context;
mod event;
pub mod flow;
pub mod metered;
pub mod release;
pub mod releases;
pub mod repository;
pub mod run;
mod server_time;
pub mod status;

/// An error with its causes, each once, as people read it.
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    for cause in std::iter::successors(error.source(), |error| error.source()) {
        let cause = cause.to_string();
        // a transparent wrapper repeats its source
        if cause != last {
            text.push_str(": ");
            text.push_str(&cause);
        }
        last = cause;
    }
    text
}
