//! What a step of `finally` may not be: it runs in every case, so that nothing in it waits for people or without end.

use std::time::Duration;

use super::compile::Compiler;
use signoff_api::{OrExpression, Step, StepKind, step::WaitStep};

/// Longest wait of `finally`.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn check(compiler: &mut Compiler<'_>, at: &str, step: &Step) {
    if step.needs.is_some() {
        compiler.problem(
            format!("{at}.needs"),
            "steps of finally run one after another and have no needs",
        );
    }
    if step.repeat.is_some() {
        compiler.problem(format!("{at}.repeat"), "steps of finally are not repeated");
    }
    let key = step.kind.rules().key;
    if step.for_each.is_some() && key == "wait" {
        let message = "a wait of finally has no forEach: all its items together may take too long";
        compiler.problem(format!("{at}.forEach"), message);
    }
    match &step.kind {
        StepKind::Approval(_) | StepKind::Task(_) | StepKind::End(_) => {
            let message = format!("finally has no {key} steps: it runs in every case");
            compiler.problem(format!("{at}.{key}"), message);
        }
        StepKind::Wait(wait) => {
            for field in too_long(wait) {
                let message = "a wait of finally takes at most 24h";
                compiler.problem(format!("{at}.wait.{field}"), message);
            }
        }
        StepKind::Ssh(ssh) => {
            if !ssh.waits() {
                let message = "an ssh step of finally has wait: true: what it starts would end with the run";
                compiler.problem(format!("{at}.ssh.wait"), message);
            }
        }
        StepKind::Http(_)
        | StepKind::Set(_)
        | StepKind::Notify(_)
        | StepKind::Llm(_)
        | StepKind::Git(_)
        | StepKind::Job(_)
        | StepKind::Agent(_)
        | StepKind::Store(_)
        | StepKind::Flow(_) => {}
    }
}

/// The fields that let a wait last longer than it may. What is computed is looked at when it is known.
fn too_long(wait: &WaitStep) -> Vec<&'static str> {
    let WaitStep {
        callback: _,
        event: _,
        duration,
        until,
        respond_within,
        on_timeout: _,
    } = wait;
    let spans = [
        ("duration", duration.as_ref()),
        ("respondWithin", respond_within.as_ref()),
    ];
    let is_bounded = until.is_some() || spans.iter().any(|(_, span)| span.is_some());
    let long = spans.iter().filter(|(_, span)| {
        let literal = span.and_then(OrExpression::literal);
        literal.is_some_and(|span| span.duration() > LONGEST_WAIT)
    });
    let long: Vec<_> = long.map(|(field, _)| *field).collect();
    if is_bounded { long } else { vec!["respondWithin"] }
}
