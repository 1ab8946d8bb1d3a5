//! Items: of a step with `forEach`, how they begin, and what comes of them together.
//!
//! The step has an entry in the state, and so has each item while it is under way. An item that ended is noted in the
//! entry of the step, and its own entry is taken out at the end of the turn.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{MAX_OUTPUT, Turn, view::is_superseded};
use crate::{kinds::Failure, object::Closing, plan::Items};
use signoff_api::{
    Json,
    items::{ItemDecision, ItemsStatus},
    reason::StepReason,
    run::{EndingOutcome, StepError, StepOutcome, StepPhase, StepStatus},
};

/// Longest message of a failure that is kept of an item, in bytes.
const MAX_MESSAGE: usize = 256;
/// Most that all decisions on the items of a step have together, in bytes of JSON.
const MAX_DECISIONS: usize = 128 * 1024;

impl Turn<'_> {
    /// Reads the items of every step that is under way. They follow from the state, so they are those it began with.
    pub(super) fn read_items(&mut self) {
        for entry in self.steps_with_items() {
            let Some(step) = self.plan.index_of(&self.state.steps[entry].name) else {
                continue;
            };
            let known = self.state.steps[entry].items.as_ref().map(|items| &items.digest);
            let failure = match self.evaluate_items(step, entry) {
                Ok(items) if Some(&items.digest) == known => {
                    self.items.insert(step, items);
                    continue;
                }
                Ok(_) => Failure::new(
                    StepReason::InvalidItems,
                    "forEach.items: they are not the items that the step began with",
                ),
                Err(failure) => failure,
            };
            self.begin_no_more(entry, failure.reason, &failure.message);
        }
    }

    fn evaluate_items(&self, step: usize, entry: usize) -> Result<Items, Failure> {
        let scope = self.step_view(step, entry).scope();
        match &self.plan.steps[step].for_each {
            Some(for_each) => for_each.items(&scope),
            None => Err(Failure::new(StepReason::InvalidItems, "the step has no forEach")),
        }
    }

    /// The steps with items that have begun and not ended.
    fn steps_with_items(&self) -> Vec<usize> {
        let entries = self.state.steps.iter().enumerate();
        let open = entries.filter(|(_, entry)| entry.items.is_some() && !entry.phase.is_finished());
        open.map(|(entry, _)| entry).collect()
    }

    /// Begins a step with `forEach`.
    pub(super) fn begin_items(&mut self, step: usize, entry: usize) {
        self.know_items(step, entry);
        if self.state.steps[entry].items.is_some() {
            self.go_on_with_items_of(step, entry);
        }
    }

    /// Reads the items of a step for the first time. The step fails if there are none to be had.
    pub(super) fn know_items(&mut self, step: usize, entry: usize) {
        match self.evaluate_items(step, entry) {
            Ok(items) => {
                let new = ItemsStatus::new(items.values.len(), items.digest.clone());
                let (status, output) = self.items_done_before(entry, new);
                self.state.steps[entry].items = Some(status);
                self.state.steps[entry].output = output;
                self.items.insert(step, items);
            }
            Err(failure) => self.failed(entry, failure),
        }
    }

    /// The items of a step with those that a run that this one retries has done, if they are the same items.
    fn items_done_before(&mut self, entry: usize, new: ItemsStatus) -> (ItemsStatus, Option<Json>) {
        let StepStatus { name, iteration, .. } = &self.state.steps[entry];
        let (name, iteration) = (name.clone(), *iteration);
        let retry = self.state.retry.iter_mut();
        // they are needed once
        let mut known = retry.flat_map(|retry| retry.items.extract_if(.., |known| known.step == name));
        match known.next() {
            Some(known) if known.iteration == iteration && known.items.digest == new.digest => {
                (known.items, known.output)
            }
            Some(_) | None => (new, None),
        }
    }

    /// Lets every step with items go on: notes those that ended, begins others, and ends the step after the last one.
    pub(super) fn go_on_with_items(&mut self) {
        for entry in self.steps_with_items() {
            if let Some(step) = self.plan.index_of(&self.state.steps[entry].name) {
                self.go_on_with_items_of(step, entry);
            }
        }
    }

    fn go_on_with_items_of(&mut self, step: usize, entry: usize) {
        loop {
            self.look_at_items_question(step, entry);
            self.note_ended(step, entry);
            let Some(item) = self.next_item(step, entry) else {
                break;
            };
            self.begin_item(step, entry, item);
        }
        let open = self.items_under_way(entry);
        if open.is_empty() {
            return self.end_items(step, entry);
        }
        let is_running = |entry: &usize| self.state.steps[*entry].phase == StepPhase::Running;
        let phase = if open.iter().any(is_running) {
            StepPhase::Running
        } else {
            StepPhase::Waiting
        };
        self.state.steps[entry].phase = phase;
        self.ask_about_items(step, entry);
    }

    /// The entries of a step's items that have not ended.
    pub(super) fn items_under_way(&self, entry: usize) -> Vec<usize> {
        let all = self.entries_of_items(entry);
        all.filter(|item| !self.state.steps[*item].phase.is_finished())
            .collect()
    }

    fn entries_of_items(&self, entry: usize) -> impl Iterator<Item = usize> {
        let of = &self.state.steps[entry];
        let entries = self.state.steps.iter().enumerate();
        let items = entries.filter(move |(_, item)| {
            item.item.is_some() && item.name == of.name && item.iteration == of.iteration
        });
        items.map(|(item, _)| item)
    }

    /// The next item that may begin.
    fn next_item(&self, step: usize, entry: usize) -> Option<i64> {
        let status = &self.state.steps[entry];
        let is_over = self.ending.is_some() && !self.is_last(step);
        // while people are asked what happened to some of them, the question stays as it is
        let is_held = self.held.contains(&step) || self.facts.run.suspend || status.approval.is_some();
        if is_over || is_held || status.error.is_some() {
            return None;
        }
        let open = self.items_under_way(entry);
        let most = self.plan.steps[step].for_each.as_ref()?.parallel;
        if open.len() >= most {
            return None;
        }
        let items = status.items.as_ref()?;
        let open: BTreeSet<i64> = open
            .into_iter()
            .filter_map(|entry| self.state.steps[entry].item)
            .collect();
        (0..items.count).find(|item| !open.contains(item) && items.outcome(*item).is_none())
    }

    fn begin_item(&mut self, step: usize, entry: usize, item: i64) {
        let (iteration, rounds) = {
            let of_item = self.entries_of_items(entry).map(|other| &self.state.steps[other]);
            let of_item = of_item.filter(|other| other.item == Some(item));
            let newest = of_item
                .last()
                .map(|superseded| superseded.attempt.saturating_add(1));
            (self.state.steps[entry].iteration, newest.unwrap_or(0))
        };
        let planned = &self.plan.steps[step];
        let begun = self.begin(planned, iteration, Some(item));
        self.state.steps[begun].attempt = rounds;
        if planned.rules.attempts {
            self.begin_attempt(step, begun);
        }
        self.start_kind(step, begun);
    }

    /// Notes the items that ended in the entry of their step.
    fn note_ended(&mut self, step: usize, entry: usize) {
        let ended: Vec<usize> = self
            .entries_of_items(entry)
            .filter(|item| self.state.steps[*item].phase.is_finished())
            .filter(|item| !is_superseded(&self.state.steps[*item]))
            .collect();
        for item in ended {
            self.note(step, entry, item);
        }
    }

    fn note(&mut self, step: usize, entry: usize, ended: usize) {
        let StepStatus {
            item: Some(index),
            outcome: Some(outcome),
            phase,
            error,
            decision,
            output,
            connections,
            run,
            ..
        } = self.state.steps[ended].clone()
        else {
            return;
        };
        let without_outputs = self.without_outputs;
        let status = &mut self.state.steps[entry];
        let Some(items) = status
            .items
            .as_mut()
            .filter(|items| items.outcome(index).is_none())
        else {
            return;
        };
        items.end(index, outcome);
        if run.is_some() {
            items.start(index);
        }
        let error = error.filter(|_| matches!(phase, StepPhase::Failed | StepPhase::Cancelled));
        if let Some(error) = &error {
            let end = error.message.floor_char_boundary(MAX_MESSAGE);
            items.fail(index, error.reason, error.message[..end].to_owned());
        }
        items.decisions.extend(decision.map(|decision| ItemDecision {
            item: index,
            decision,
        }));
        let decisions = json_len(&items.decisions);
        if status.connections.is_empty() {
            // what people saw first is what later steps may use
            status.connections = connections;
        }
        let mut size = 0;
        if let Some(Json(output)) = output.filter(|_| !without_outputs) {
            let mut outputs = outputs_of(status);
            let place = usize::try_from(index).unwrap_or(0);
            outputs.resize(outputs.len().max(place + 1), Value::Null);
            outputs[place] = output;
            size = json_len(&outputs);
            if size > MAX_OUTPUT {
                outputs[place] = Value::Null;
            }
            status.output = Some(Json(Value::Array(outputs)));
        }
        if size > MAX_OUTPUT {
            let message = format!(
                "the outputs of its items have {size} bytes together, with that of item {index}; at most {MAX_OUTPUT} are kept"
            );
            self.begin_no_more(entry, StepReason::OutputTooLarge, &message);
        } else if decisions > MAX_DECISIONS {
            let message = format!(
                "the decisions on its items have {decisions} bytes together; at most {MAX_DECISIONS} are kept"
            );
            self.begin_no_more(entry, StepReason::OutputTooLarge, &message);
        }
        let stops = self.plan.steps[step]
            .for_each
            .as_ref()
            .is_none_or(|for_each| !for_each.continues);
        if let Some(error) = error.filter(|_| stops && phase == StepPhase::Failed) {
            self.begin_no_more(entry, error.reason, &format!("item {index}: {}", error.message));
        }
    }

    /// No item of a step begins any more, and it fails once those under way have ended. The first reason holds.
    fn begin_no_more(&mut self, entry: usize, reason: StepReason, message: &str) {
        let message = super::cut(message.to_owned());
        let status = &mut self.state.steps[entry];
        status.error.get_or_insert(StepError { reason, message });
    }

    /// Ends a step of which no item is under way, if none is to begin.
    fn end_items(&mut self, step: usize, entry: usize) {
        let status = &self.state.steps[entry];
        let (Some(items), Some(for_each)) = (&status.items, &self.plan.steps[step].for_each) else {
            return;
        };
        let is_complete = i64::try_from(items.ended_count()) == Ok(items.count);
        if let Some(StepError { reason, message }) = status.error.clone() {
            let (outcome, ending) = how_it_ends(reason, items);
            return self.end_badly(entry, outcome, reason, &message, ending);
        }
        if items.count == 0 {
            let (phase, outcome) = for_each.empty;
            let output = (phase == StepPhase::Succeeded && for_each.has_output).then(|| Value::Array(vec![]));
            return self.finish(entry, phase, outcome, output);
        }
        if !is_complete {
            if self.ending.is_some() && !self.is_last(step) {
                return self.cancelled(entry);
            }
            // it is suspended, or is to be done again
            self.state.steps[entry].phase = StepPhase::Waiting;
            return;
        }
        let ended: Vec<StepOutcome> = items.ended.iter().map(|ended| ended.outcome).collect();
        // of a run that goes on, an item is cancelled if the run is that it started
        if ended.contains(&StepOutcome::Cancelled) && self.ending.is_some() && !self.is_last(step) {
            return self.cancelled(entry);
        }
        match for_each.outcome(&ended) {
            StepOutcome::Failed => {
                let message = failures(items);
                let reason = StepReason::ItemsFailed;
                self.end_badly(
                    entry,
                    StepOutcome::Failed,
                    reason,
                    &message,
                    EndingOutcome::Failed,
                );
            }
            outcome => {
                let count = usize::try_from(items.count).unwrap_or(0);
                let has_output = for_each.has_output;
                let mut outputs = outputs_of(&mut self.state.steps[entry]);
                outputs.resize(count, Value::Null);
                let output = has_output.then_some(Value::Array(outputs));
                self.finish(entry, StepPhase::Succeeded, outcome, output);
            }
        }
    }

    /// Stops the items of a step that are under way, and with them the step.
    pub(super) fn stop_items(&mut self, step: usize, entry: usize, closing: Closing, why: &str) {
        for item in self.items_under_way(entry) {
            self.stop(item, closing, why);
        }
        self.note_ended(step, entry);
        self.close_items_question(entry, closing, why);
        self.cancelled(entry);
    }

    /// Takes out the entries of items that ended. One whose question is to be closed stays until the item has another.
    pub(super) fn forget_ended_items(&mut self) {
        let entries = &self.state.steps;
        let keeps = |at: usize, entry: &StepStatus| {
            let same = |other: &StepStatus| {
                other.item == entry.item && other.name == entry.name && other.iteration == entry.iteration
            };
            let is_newest = || {
                let mut later = entries[at + 1..].iter().filter(|other| same(other));
                match (later.next(), later.next()) {
                    (None, _) => true,
                    (Some(next), None) => !next.phase.is_finished(),
                    (Some(_), Some(_)) => false,
                }
            };
            entry.item.is_none()
                || !entry.phase.is_finished()
                || entry.phase == StepPhase::Cancelled && entry.approval.is_some() && is_newest()
        };
        let kept: Vec<bool> = entries
            .iter()
            .enumerate()
            .map(|(at, entry)| keeps(at, entry))
            .collect();
        let mut kept = kept.into_iter();
        self.state.steps.retain(|_| kept.next().unwrap_or(true));
    }
}

/// How a step ends because an item failed for a reason.
fn how_it_ends(reason: StepReason, items: &ItemsStatus) -> (StepOutcome, EndingOutcome) {
    if reason == StepReason::RunNotSucceeded {
        as_runs_ended(items)
    } else if reason == StepReason::Rejected {
        (StepOutcome::Rejected, EndingOutcome::Rejected)
    } else if matches!(reason, StepReason::RespondTimedOut | StepReason::HeartbeatLost) {
        (StepOutcome::TimedOut, EndingOutcome::TimedOut)
    } else {
        (StepOutcome::Failed, EndingOutcome::Failed)
    }
}

/// How a step ends some of whose items started runs that did not succeed: as the worst of those.
fn as_runs_ended(items: &ItemsStatus) -> (StepOutcome, EndingOutcome) {
    let has = |outcome: StepOutcome| items.ended.iter().any(|ended| ended.outcome == outcome);
    let from_worst = [
        (StepOutcome::Failed, EndingOutcome::Failed),
        (StepOutcome::Cancelled, EndingOutcome::Cancelled),
        (StepOutcome::Rejected, EndingOutcome::Rejected),
        (StepOutcome::TimedOut, EndingOutcome::TimedOut),
    ];
    let mut all = from_worst.into_iter();
    let worst = all.find(|(outcome, _)| has(*outcome));
    worst.unwrap_or((StepOutcome::Failed, EndingOutcome::Failed))
}

/// How many items failed, and why one of them did.
fn failures(items: &ItemsStatus) -> String {
    let failed = items
        .ended
        .iter()
        .find(|ended| ended.outcome == StepOutcome::Failed);
    let Some(failed) = failed else {
        return String::new();
    };
    let first = failed.items.iter().next();
    let why = items
        .errors
        .iter()
        .find(|error| first.is_some_and(|item| error.items.contains(item)));
    let why = why.map(|error| error.message.as_str()).unwrap_or_default();
    let (count, first) = (failed.items.len(), first.unwrap_or(0));
    format!("{count} of {} items failed; item {first}: {why}", items.count)
}

fn outputs_of(status: &mut StepStatus) -> Vec<Value> {
    match status.output.take() {
        Some(Json(Value::Array(outputs))) => outputs,
        Some(_) | None => vec![],
    }
}

fn json_len(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len())
}
