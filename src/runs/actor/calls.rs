//! The calls of a run: each waits for its turn and a permit, and is performed beside the actor.

use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;
use tokio_util::sync::CancellationToken;

use super::{Actor, InFlight, TOLD_OF_TURN, TurnEvent};
use crate::runs::contents;
use signoff_api::{Connection, Run, connection::ConnectionLimits, reason::StepReason};
use signoff_engine::{
    chat::LlmResponse,
    effect::{Call, EffectKey},
    facts::{EffectError, Response},
};

impl Actor {
    pub(super) fn call(&mut self, run: &Run, effect: Call) {
        let known = self.outcomes.iter().any(|outcome| outcome.key == effect.key);
        if known || (self.draining && !effect.fenced) || self.in_flight.contains_key(&effect.key) {
            return;
        }
        self.observe_resumption();
        let key = effect.key.clone();
        tracing::debug!(run = %self.key, step = %key.step, attempt = key.attempt, "a call begins");
        let fenced = effect.fenced;
        let deps = Arc::clone(&self.deps);
        let owner = contents::owner(run);
        let ending = self.ending.clone();
        let limited = self.limited(&effect);
        let granted = CancellationToken::new();
        if let Some((connection, _)) = &limited {
            self.watch_turn(key.clone(), connection.clone(), granted.clone());
        }
        // whoever waits for it learns also that the call is broken off
        let granted = granted.drop_guard();
        let task = self.effects.spawn(async move {
            let may_send = async {
                // one that waits for its turn holds up no other call
                let turn = match &limited {
                    Some((connection, limits)) => {
                        let of = (owner.namespace.as_str(), connection.as_str());
                        Some(deps.bounds.turns.acquire(of, &owner.run, limits).await)
                    }
                    None => None,
                };
                drop(granted);
                (turn, deps.bounds.effects.acquire(&owner.namespace).await)
            };
            let _held = tokio::select! {
                biased;
                () = ending.cancelled() => return (effect.key, deps.context.now(), Err(not_sent())),
                held = may_send => held,
            };
            if !deps.leadership.is_held() {
                // it is for another process to perform; this task ends with the term
                return std::future::pending().await;
            }
            let _in_flight = deps.metrics.effect_started();
            let result = deps.executors.perform(&owner, &effect).await;
            if let Ok(Response::Llm(LlmResponse { usage, answer })) = &result {
                let count = |count: i64| u64::try_from(count).unwrap_or_default();
                let (input, output) = (count(usage.input_tokens), count(usage.output_tokens));
                deps.metrics
                    .model_answered(count(usage.calls), input, output, answer.is_ok());
            }
            (effect.key, deps.context.now(), result)
        });
        let call = InFlight {
            task,
            fenced,
            waits_for: None,
        };
        self.in_flight.insert(key, call);
    }

    /// The Connection of a call and its limits, if it has some.
    fn limited(&self, call: &Call) -> Option<(String, ConnectionLimits)> {
        let name = call.request.connection()?;
        let connection = ObjectRef::<Connection>::new(name).within(self.key.namespace());
        let limits = self.deps.connections.get(&connection)?.spec.limits.clone()?;
        Some((name.to_string(), limits))
    }

    /// Learns if a call waits long for its turn.
    fn watch_turn(&mut self, key: EffectKey, connection: String, granted: CancellationToken) {
        self.turns.spawn(async move {
            match tokio::time::timeout(TOLD_OF_TURN, granted.cancelled()).await {
                Ok(()) => TurnEvent::Over(key),
                Err(_) => TurnEvent::WaitsFor(key, connection, granted),
            }
        });
    }

    pub(super) fn turn_event(&mut self, event: TurnEvent) {
        match event {
            TurnEvent::WaitsFor(key, connection, granted) => {
                if let Some(call) = self.in_flight.get_mut(&key) {
                    call.waits_for = Some(connection);
                    self.dirty = true;
                    self.turns.spawn(async move {
                        granted.cancelled().await;
                        TurnEvent::Over(key)
                    });
                }
            }
            TurnEvent::Over(key) => {
                let call = self.in_flight.get_mut(&key);
                self.dirty |= call.is_some_and(|call| call.waits_for.take().is_some());
            }
        }
    }
}

fn not_sent() -> EffectError {
    EffectError {
        reason: StepReason::Cancelled,
        message: "it was not sent".to_owned(),
        retryable: false,
        may_have_happened: false,
        retry_after: None,
        status: None,
    }
}
