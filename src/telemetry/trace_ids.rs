//! Ids of the trace of a run and of its spans. Each follows from the uid of the run and the pass of the step, so every
//! process gives the same ones, before and after a restart.

use opentelemetry::trace::{SpanId, TraceId};
use sha2::{Digest as _, Sha256};

/// Names the header of W3C Trace Context that carries the ids to a service.
pub const TRACEPARENT: &str = "traceparent";

/// The trace of a run.
pub fn trace_of(run_uid: &str) -> TraceId {
    let hash = hash(&format!("trace/{run_uid}"));
    TraceId::from_bytes(std::array::from_fn(|at| hash[at]))
}

/// The span of a whole run.
pub fn span_of_run(run_uid: &str) -> SpanId {
    span(&format!("run/{run_uid}"))
}

/// The span of a pass of a step, which all of its items and attempts share.
pub fn span_of_step(run_uid: &str, step: &str, iteration: i64) -> SpanId {
    span(&format!("step/{run_uid}/{step}/{iteration}"))
}

/// The value of the header [`TRACEPARENT`] for what a step calls: version, trace, span and "sampled"
/// (<https://www.w3.org/TR/trace-context/#traceparent-header>).
pub fn traceparent(run_uid: &str, step: &str, iteration: i64) -> String {
    let (trace, span) = (trace_of(run_uid), span_of_step(run_uid, step, iteration));
    format!("00-{trace}-{span}-01")
}

fn span(text: &str) -> SpanId {
    let hash = hash(text);
    SpanId::from_bytes(std::array::from_fn(|at| hash[at]))
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_pass_of_each_step_of_each_run_has_a_span_of_its_own() {
        let mut spans = BTreeSet::new();
        for uid in ["u-1", "u-2"] {
            spans.insert(span_of_run(uid).to_string());
            for (step, iteration) in [("a", 1), ("a", 2), ("b", 1), ("a-1", 1)] {
                spans.insert(span_of_step(uid, step, iteration).to_string());
            }
        }
        assert_eq!(spans.len(), 10);
        assert_ne!(trace_of("u-1"), trace_of("u-2"));
    }

    /// Another version would tear apart the traces of runs that go on over an upgrade.
    #[test]
    fn ids_are_the_same_in_every_version() {
        assert_eq!(
            traceparent("f0a3c6b2-0d5e-4a3f-9d57-2f1f6a1f7c11", "pay", 2),
            "00-e90f8988c1fe33705ac29721e1382999-7fd217a57f99c90f-01"
        );
    }
}
