//! What a call is answered with.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::scenario::{Crash, Stub, StubError};
use signoff_api::reason::StepReason;
use signoff_engine::{
    effect::EffectKey,
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

/// The stub of a call: the one that names most of it. Of two that name as much, the later one. A crash happens once, and
/// is then in `spent`: the attempt is repeated under the same key.
pub(super) fn fate(stubs: &[Stub], key: &EffectKey, spent: &mut BTreeSet<usize>) -> Option<Fate> {
    let fits = |named: Option<i64>, is: i64| named.is_none_or(|named| named == is);
    let specific = |(_, stub): &(usize, &Stub)| {
        let named = [stub.pass, stub.item, stub.attempt];
        let named = named.iter().flatten().count();
        (stub.crash.is_some(), named)
    };
    let (index, stub) = stubs
        .iter()
        .enumerate()
        .filter(|(index, stub)| stub.step == key.step && !spent.contains(index))
        .filter(|(_, stub)| fits(stub.pass, key.iteration) && fits(stub.attempt, key.attempt))
        .filter(|(_, stub)| stub.item.is_none() || stub.item == key.item)
        .max_by_key(specific)?;
    if stub.crash.is_some() {
        spent.insert(index);
    }
    Some(match (&stub.crash, &stub.error, &stub.response) {
        (Some(crash), ..) => Fate::Crash(*crash),
        (_, Some(error), _) => Fate::Ends(Err(failed(error))),
        (_, _, Some(response)) => Fate::Ends(Ok(Response::Http(HttpResponse {
            status: response.status,
            headers: response.headers.clone(),
            body: response.body.clone(),
        }))),
        (None, None, None) => Fate::Ends(Ok(answered(stub.output.clone().unwrap_or_default()))),
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
        StepReason::Unreachable | StepReason::AttemptTimedOut
    );
    EffectError {
        reason: error.reason,
        message: error.message.clone(),
        retryable: error.retryable.unwrap_or(passing),
        may_have_happened: error
            .may_have_happened
            .unwrap_or(error.reason == StepReason::AttemptTimedOut),
        retry_after: None,
    }
}
