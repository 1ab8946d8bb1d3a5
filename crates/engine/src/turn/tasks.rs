//! Tasks of a run: who works on them is noted beside their step.

use super::Turn;
use crate::object::{ObjectFact, ObjectKey};

impl Turn<'_> {
    /// Notes who did the task of a step, before it ends.
    pub(super) fn note_worker(&mut self, entry: usize) {
        let Some(key) = ObjectKey::of(&self.state.steps[entry]) else {
            return;
        };
        let fact = self.facts.objects.get(&key).and_then(ObjectFact::as_work);
        if let Some(work) = fact.filter(|work| work.phase.is_closed()) {
            self.state.steps[entry].worker.clone_from(&work.worker);
        }
    }
}
