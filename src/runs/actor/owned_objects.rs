//! The objects of a run: what came of opening and closing them.

use std::sync::Arc;

use super::{Actor, ApprovalTask};
use crate::{
    cluster::error_chain,
    runs::{
        objects::{self, ObjectError},
        transitions,
    },
};
use signoff_api::Run;
use signoff_engine::object::{CloseObject, ObjectFact, ObjectKey, ObjectKind};

/// How often an Approval's name was taken before people are told: one that goes with an earlier run of the same name is gone by then.
const TOLD_AFTER: u32 = 6;

impl Actor {
    pub(super) fn close(&mut self, run: &Arc<Run>, wanted: CloseObject) {
        if self.busy_objects.insert(wanted.key.clone()) {
            let (deps, run) = (Arc::clone(&self.deps), Arc::clone(run));
            self.approval_tasks.spawn(async move {
                let result = objects::close(&deps, &run, &wanted).await;
                ApprovalTask::Closed(wanted.key, result)
            });
        }
    }

    pub(super) fn approval_task_done(&mut self, approval_task: ApprovalTask) {
        let finished = self.phase.is_finished();
        let failed = match approval_task {
            ApprovalTask::Opened(key, result) => {
                self.busy_objects.remove(&key);
                self.opened(key, result)
            }
            ApprovalTask::Closed(key, result) => {
                self.busy_objects.remove(&key);
                result.map(|fact| match fact {
                    Some(fact @ ObjectFact::Process(_)) => {
                        if fact.is_closed() {
                            self.dirty = true;
                        } else {
                            self.retry_later();
                        }
                        self.know_object(key, fact);
                    }
                    Some(fact) => self.know_object(key, fact),
                    // somebody deleted it
                    None if key.kind == ObjectKind::Run => {
                        self.newer.remove(&key);
                        self.dirty = true;
                    }
                    None => {}
                })
            }
            ApprovalTask::Told => return,
        };
        if let Err(error) = failed {
            self.deps.metrics.reconcile_failed("Run", "Transient");
            tracing::warn!(run = %self.key, error = %error_chain(&error), "something a run needs could not be done; trying again");
            self.retry_later();
            if let (ObjectError::NotOurs(_), Some(run)) = (&error, self.run.clone()) {
                let note = format!("{error}: delete it or this run");
                self.tell(&run, transitions::warning("ApprovalNotOurs", note));
            }
        }
        self.dirty |= finished && self.busy_objects.is_empty();
    }

    /// Takes in what came of opening an object: it is there, or is refused for good, or is tried again, of which people are told.
    fn opened(&mut self, key: ObjectKey, result: Result<ObjectFact, ObjectError>) -> Result<(), ObjectError> {
        let error = match result {
            Ok(fact) => {
                // one that was answered before it was known here, or whose absence was told
                let is_named_now = matches!(key.kind, ObjectKind::Run | ObjectKind::Job);
                self.dirty |= is_named_now || fact.is_closed() || self.unopened.remove(&key).is_some();
                self.know_object(key, fact);
                return Ok(());
            }
            Err(error) => error,
        };
        if let Some(why) = error.refusal() {
            self.refused.insert(key, why);
            self.dirty = true;
            return Ok(());
        }
        let told_after = if error.is_forbidden() { 0 } else { TOLD_AFTER };
        if self.failures >= told_after && !self.unopened.contains_key(&key) {
            let note = error_chain(&error);
            if let Some(run) = self.run.clone() {
                let reason = match key.kind {
                    ObjectKind::Approval => "ApprovalNotOpened",
                    ObjectKind::Run => "RunNotStarted",
                    ObjectKind::WorkItem => "TaskNotQueued",
                    ObjectKind::Job => "JobNotCreated",
                    // a call starts it
                    ObjectKind::Process => "ProcessNotStarted",
                };
                self.tell(&run, transitions::warning(reason, note.clone()));
            }
            self.unopened.insert(key, note);
        }
        Err(error)
    }

    /// Takes in how an object stands. One that is known to be closed stays so: it may have told that meanwhile.
    fn know_object(&mut self, key: ObjectKey, fact: ObjectFact) {
        if !self.newer.get(&key).is_some_and(ObjectFact::is_closed) {
            self.newer.insert(key, fact);
        }
    }
}
