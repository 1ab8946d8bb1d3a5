//! What came of tasks, as the record says.

use super::Player;
use k8s_openapi::jiff::Timestamp;
use signoff_api::{
    Json, WorkItemPhase,
    reason::StepReason,
    run::{StepError, StepOutcome, StepStatus},
};
use signoff_engine::{
    facts::WorkFact,
    object::{ObjectFact, ObjectKey, OpenWorkItem},
};

/// How a message begins that says why the API server refuses a task.
const REFUSED: &str = "the API server refuses the task: ";

impl Player<'_> {
    /// Puts a task in its queue.
    pub(super) fn queue(&mut self, open: OpenWorkItem) {
        let key = ObjectKey::work_item(&open.name);
        let spec = open.spec;
        let entry = self.index.entry(&spec.step, spec.iteration, None);
        let error = entry.and_then(|entry| entry.error.as_ref());
        if let Some(why) = error.and_then(|error| error.message.strip_prefix(REFUSED)) {
            self.facts.refused.insert(key, why.to_owned());
            return;
        }
        if self.facts.objects.contains_key(&key) {
            return;
        }
        let of_step = (spec.step.clone(), spec.iteration, None);
        self.note(of_step, "what the worker answered is taken from the record");
        let fact = WorkFact {
            step: spec.step,
            iteration: spec.iteration,
            item: spec.item,
            phase: WorkItemPhase::Queued,
            worker: None,
            result: None,
            message: None,
            is_lost: false,
        };
        self.facts
            .objects
            .insert(key, ObjectFact::WorkItem(Box::new(fact)));
    }

    /// Ends the tasks that had ended by now. Whether there is news.
    pub(super) fn tasks_end(&mut self) -> bool {
        let mut is_news = false;
        for fact in self.facts.objects.values_mut() {
            let ObjectFact::WorkItem(work) = fact else {
                continue;
            };
            let ended = self.index.ended_at(&work.step, work.iteration, work.item);
            if work.phase.is_closed() || ended.is_none_or(|at: Timestamp| at > self.now) {
                continue;
            }
            let Some(entry) = self.index.entry(&work.step, work.iteration, None) else {
                continue;
            };
            let (outcome, output, error) = ended_task(entry, work.item);
            let is_lost = error
                .as_ref()
                .is_some_and(|error| error.reason == StepReason::LeaseLost);
            // one that was stopped with its run is closed by the engine
            let Some(phase) = outcome.and_then(phase_of) else {
                continue;
            };
            is_news = true;
            work.phase = phase;
            work.worker.clone_from(&entry.worker);
            work.result = output;
            work.message = error.map(|error| error.message);
            work.is_lost = is_lost;
        }
        is_news
    }
}

/// How the task of a step, or of one of its items, has ended.
fn ended_task(
    entry: &StepStatus,
    item: Option<i64>,
) -> (Option<StepOutcome>, Option<Json>, Option<StepError>) {
    let Some((items, item)) = entry.items.as_ref().zip(item) else {
        return (entry.outcome, entry.output.clone(), entry.error.clone());
    };
    let outputs = entry.output.as_ref().and_then(|output| output.0.as_array());
    let index = usize::try_from(item).ok();
    let output = outputs.zip(index).and_then(|(all, index)| all.get(index));
    let error = items.errors.iter().find(|error| error.items.contains(item));
    let error = error.map(|error| StepError {
        reason: error.reason,
        message: error.message.clone(),
    });
    (items.outcome(item), output.cloned().map(Json), error)
}

fn phase_of(outcome: StepOutcome) -> Option<WorkItemPhase> {
    match outcome {
        StepOutcome::Succeeded => Some(WorkItemPhase::Succeeded),
        StepOutcome::Failed => Some(WorkItemPhase::Failed),
        StepOutcome::TimedOut => Some(WorkItemPhase::Expired),
        StepOutcome::Skipped
        | StepOutcome::Omitted
        | StepOutcome::Approved
        | StepOutcome::Rejected
        | StepOutcome::ChangesRequested
        | StepOutcome::Callback
        | StepOutcome::Event
        | StepOutcome::Elapsed
        | StepOutcome::Cancelled => None,
    }
}
