//! What a call is answered with.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    flows::is_meant,
    scenario::{Crash, FileName, Stub, StubError},
};
use signoff_api::{reason::StepReason, run::Usage};
use signoff_engine::{
    chat::{LlmAnswer, LlmResponse, ToolCall},
    effect::{CallPart, EffectKey},
    facts::{EffectError, HttpResponse, Response},
};

/// What becomes of a call.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is answered, or it fails.
    Ends(Result<Response, EffectError>),
    /// The operator is killed.
    Crash(Crash),
}

/// Which stubs were of use, by their index.
#[derive(Debug, Default)]
pub(super) struct Used {
    /// Those of crashes that have happened.
    spent: BTreeSet<usize>,
    /// Those that fit a call.
    fit: BTreeSet<usize>,
    /// Steps that called.
    called: BTreeSet<String>,
}

impl Used {
    fn has_called(&self, named: &str) -> bool {
        self.called.iter().any(|address| is_meant(named, address))
    }

    /// A line for each stub of a call of a step that never was, though others of the step were.
    pub(super) fn misses(&self, stubs: &[Stub]) -> Vec<String> {
        let stubs = stubs.iter().enumerate();
        let missed = stubs.filter(|(index, stub)| self.has_called(&stub.step) && !self.fit.contains(index));
        let told = missed.map(|(index, stub)| {
            let part = |what: &str, is: Option<i64>| is.map(|is| format!(" {what} {is}")).unwrap_or_default();
            let named = [
                ("pass", stub.pass),
                ("attempt", stub.attempt),
                ("turn", stub.turn),
                ("call", stub.call),
            ];
            let named: String = named.into_iter().map(|(what, is)| part(what, is)).collect();
            let tool = stub.tool.as_ref();
            let tool = tool.map(|tool| format!(" tool {tool}")).unwrap_or_default();
            format!(
                "spec.stubs[{index}]: step {} had no call with{named}{tool}",
                stub.step
            )
        });
        told.collect()
    }
}

/// The stub of a call: the one that names most of it. Of two that name as much, the later one. A crash happens once: the
/// attempt is repeated under the same key.
pub(super) fn fate(stubs: &[Stub], key: &EffectKey, part: &CallPart, used: &mut Used) -> Option<Fate> {
    used.called.insert(key.step.clone());
    let fits = |named: Option<i64>, is: i64| named.is_none_or(|named| named == is);
    let specific = |(_, stub): &(usize, &Stub)| {
        let named = [stub.pass, stub.item, stub.attempt, stub.turn, stub.call];
        let named = named.iter().flatten().count();
        // one run of several is more than all of them
        let is_exact = stub.step == key.step;
        (stub.crash.is_some(), named + usize::from(is_exact))
    };
    let fitting: Vec<(usize, &Stub)> = stubs
        .iter()
        .enumerate()
        .filter(|(_, stub)| is_meant(&stub.step, &key.step))
        .filter(|(_, stub)| fits(stub.pass, key.iteration) && fits(stub.attempt, key.attempt))
        .filter(|(_, stub)| stub.item.is_none() || stub.item == key.item)
        .filter(|(_, stub)| is_of(stub, part))
        .collect();
    used.fit.extend(fitting.iter().map(|(index, _)| *index));
    let left = fitting
        .into_iter()
        .filter(|(index, _)| !used.spent.contains(index));
    let (index, stub) = left.max_by_key(specific)?;
    if stub.crash.is_some() {
        used.spent.insert(index);
    }
    Some(match (&stub.crash, &stub.error, &stub.response) {
        (Some(crash), ..) => Fate::Crash(*crash),
        (_, Some(error), _) => Fate::Ends(Err(failed(error))),
        (_, _, Some(response)) => Fate::Ends(Ok(Response::Http(HttpResponse {
            status: response.status,
            headers: response.headers.clone(),
            body: response.body.clone(),
        }))),
        (None, None, None) if !stub.calls.is_empty() => Fate::Ends(Ok(asking(stub))),
        (None, None, None) => {
            let file = stub.files.get(&FileName::Body).cloned().map(Value::String);
            let body = file.or_else(|| stub.output.clone());
            Fate::Ends(Ok(answered(body.unwrap_or_default())))
        }
    })
}

/// Whether a stub is about this part of a step.
fn is_of(stub: &Stub, part: &CallPart) -> bool {
    let fits = |named: Option<i64>, is: i64| named.is_none_or(|named| named == is);
    match part {
        CallPart::Whole => {
            let is_plain = stub.turn.is_none() && stub.tool.is_none() && stub.call.is_none();
            is_plain && stub.calls.is_empty()
        }
        CallPart::Turn(turn) => stub.tool.is_none() && stub.call.is_none() && fits(stub.turn, *turn),
        CallPart::Tool { tool, number } => {
            stub.turn.is_none() && stub.tool.as_ref() == Some(tool) && fits(stub.call, *number)
        }
    }
}

/// An answer of a model that asks for tools.
fn asking(stub: &Stub) -> Response {
    let calls = stub.calls.iter().enumerate().map(|(n, call)| ToolCall {
        id: format!("call-{n}"),
        name: call.tool.clone(),
        arguments: call.args.clone(),
    });
    Response::Llm(LlmResponse {
        usage: Usage {
            calls: 1,
            ..Usage::default()
        },
        answer: Ok(LlmAnswer {
            calls: calls.collect(),
            ..LlmAnswer::default()
        }),
    })
}

fn answered(body: Value) -> Response {
    Response::Http(HttpResponse {
        status: 200,
        headers: BTreeMap::new(),
        body,
    })
}

fn failed(error: &StubError) -> EffectError {
    let passing = matches!(
        error.reason,
        StepReason::Unreachable
            | StepReason::AttemptTimedOut
            | StepReason::JobFailed
            | StepReason::JobEvicted
            | StepReason::JobDeleted
            | StepReason::OutOfMemory
            | StepReason::ImageNotPulled
            | StepReason::PodNotStarted
    );
    EffectError {
        reason: error.reason,
        message: error.message.clone(),
        retryable: error.retryable.unwrap_or(passing),
        may_have_happened: error
            .may_have_happened
            .unwrap_or(error.reason == StepReason::AttemptTimedOut),
        retry_after: None,
        status: error.status,
    }
}
