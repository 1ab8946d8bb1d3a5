//! Tasks that runs queue, and the workers of a scenario.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{World, of_item};
use crate::simulation::scenario::TaskAnswer;
use signoff_api::{
    Json, WorkItemPhase, WorkItemStatus,
    work_item::{WorkAnswer, WorkError},
};
use signoff_engine::{
    object::{CloseObject, ObjectFact, ObjectKey, OpenWorkItem},
    work,
};

/// A task of a run.
pub(super) struct Task {
    open: OpenWorkItem,
    /// Its step, as scenarios name it.
    step: String,
    status: WorkItemStatus,
    /// The run that waits for it.
    run: usize,
}

impl Task {
    /// When it is too late for a result.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        let expires_at = self.open.spec.expires_at.as_ref().map(|at| at.0);
        expires_at.filter(|_| !self.status.phase.is_closed())
    }
}

impl World<'_> {
    /// Puts a task in its queue, unless it is there.
    pub(super) fn queue(&mut self, open: OpenWorkItem) {
        let key = ObjectKey::work_item(&open.name);
        if self.run().facts.objects.contains_key(&key) {
            return;
        }
        self.say(&format!("queues a task for {}", open.spec.queue));
        let step = format!("{}{}", self.run().prefix, open.spec.step);
        let (run, status) = (self.at, WorkItemStatus::default());
        self.tasks.push(Task {
            open,
            step,
            status,
            run,
        });
        self.tell_task(self.tasks.len() - 1);
    }

    /// A worker takes the newest task of a step and answers it. Gives its phase after that.
    pub(super) fn worked(
        &mut self,
        step: &str,
        item: Option<i64>,
        given: &TaskAnswer,
    ) -> Result<(Value, String), String> {
        let of_step = |task: &Task| task.step == step && (item.is_none() || task.open.spec.item == item);
        let index = self.tasks.iter().rposition(of_step);
        let index = index.ok_or_else(|| format!("no task of step {} was queued", of_item(step, item)))?;
        let now = self.now;
        let task = &mut self.tasks[index];
        let spec = &task.open.spec;
        let claimed = match work::claim(spec, &task.status, &given.by, now) {
            Ok(claimed) => claimed,
            // whoever answers again after a result that did not match still has it
            Err(_) if work::owns(&task.status, &given.by, task.status.claim).is_ok() => task.status.clone(),
            Err(lost) => return Ok((json!("Refused"), lost.to_string())),
        };
        let answer = WorkAnswer {
            result: given.result.clone().map(Json),
            error: given.error.as_ref().map(|error| WorkError {
                message: error.message.clone(),
                retryable: error.retryable,
            }),
        };
        let answered = work::answer(&claimed, answer);
        task.status = work::judge(spec, &answered, now, None, now);
        let why = task
            .status
            .problem
            .clone()
            .or_else(|| task.status.message.clone());
        let phase = task.status.phase;
        self.tell_task(index);
        Ok((json!(phase), why.unwrap_or_default()))
    }

    /// Ends tasks that are too late.
    pub(super) fn expire_tasks(&mut self) {
        let now = self.now;
        for index in 0..self.tasks.len() {
            if self.tasks[index].expires_at().is_some_and(|at| at <= now) {
                let task = &mut self.tasks[index];
                task.status = work::judge(&task.open.spec, &task.status, now, None, now);
                self.tell_task(index);
            }
        }
    }

    /// Ends a task that its run does not need any more.
    pub(super) fn withdraw(&mut self, wanted: &CloseObject) {
        let open = |task: &Task| task.open.name == wanted.key.name && !task.status.phase.is_closed();
        if let Some(index) = self.tasks.iter().position(open) {
            let task = &mut self.tasks[index];
            task.status = work::cancelled(&task.status, &wanted.message, None, self.now);
            debug_assert_eq!(task.status.phase, WorkItemPhase::Cancelled);
            self.tell_task(index);
        }
    }

    /// Tells the run how its task stands.
    fn tell_task(&mut self, index: usize) {
        let task = &self.tasks[index];
        let key = ObjectKey::work_item(&task.open.name);
        let fact = ObjectFact::WorkItem(Box::new(work::fact(&task.open.spec, &task.status)));
        self.runs[task.run].facts.objects.insert(key, fact);
    }
}
