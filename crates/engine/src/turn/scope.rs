//! What expressions see.

use serde_json::{Map, Value, json};

use super::Turn;
use crate::{
    callback_token::CallbackAddress,
    expression::{CALLBACKS, Scope},
    plan::{Action, Plan},
};
use signoff_api::run::StepStatus;

impl Turn<'_> {
    /// What expressions see now; callbacks are those of the iteration that is due.
    pub(super) fn scope(&self) -> Scope {
        let (run, release) = (&self.facts.run, &self.facts.release);
        let mut scope = Scope::default();
        scope
            .set("inputs", self.inputs())
            .set("steps", steps(self.plan, &self.state.steps))
            .set(
                "run",
                json!({ "name": run.name, "namespace": run.namespace, "uid": run.uid, "requestedBy": run.requested_by }),
            )
            .set(
                "release",
                json!({ "name": release.name, "digest": release.digest, "commit": release.commit, "flow": release.flow }),
            )
            .set(CALLBACKS, self.callbacks());
        scope
    }

    fn inputs(&self) -> Value {
        self.facts.run.inputs.to_value()
    }

    /// Address and token of the callback of each step that waits for one.
    pub(super) fn callbacks(&self) -> Value {
        let mut all = Map::new();
        for (i, step) in self.plan.steps.iter().enumerate() {
            let Action::Wait(wait) = &step.action else {
                continue;
            };
            if !wait.callback {
                continue;
            }
            let run = &self.facts.run;
            let token = self.facts.callbacks.keys.token(&CallbackAddress {
                namespace: run.namespace.clone(),
                run: run.name.clone(),
                uid: run.uid.clone(),
                step: step.name.clone(),
                iteration: self.iteration(i),
            });
            all.insert(
                step.name.clone(),
                json!({ "url": self.facts.callbacks.url(&token), "token": token }),
            );
        }
        Value::Object(all)
    }
}

/// The newest result of each step; of one that has not begun, nulls.
fn steps(plan: &Plan, entries: &[StepStatus]) -> Value {
    let mut all = Map::new();
    for step in &plan.steps {
        let newest = entries
            .iter()
            .rfind(|entry| entry.name == step.name && entry.phase.is_finished());
        let decision = entries
            .iter()
            .rfind(|entry| entry.name == step.name && entry.decision.is_some());
        let value = json!({
            "output": newest.and_then(|entry| entry.output.as_ref()),
            "outcome": newest.and_then(|entry| entry.outcome),
            "decision": decision.and_then(|entry| entry.decision.as_ref()).map(|decision| json!({
                "verdict": decision.verdict,
                "by": decision.by,
                "at": decision.at,
                "comment": decision.comment.clone().unwrap_or_default(),
                "values": decision.values.clone().unwrap_or_default(),
            })),
        });
        all.insert(step.name.clone(), value);
    }
    Value::Object(all)
}
