//! One question about all items of a step of which it is unknown whether their effect happened.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{
    Turn, cut,
    outcome_question::{Looked, OutcomeQuestion},
};
use crate::{
    effect::Effect,
    kinds::approval::decision,
    object::{CloseObject, Closing, ObjectKey},
    question::item,
};
use signoff_api::{
    ApprovalPhase, Verdict,
    approval::ApprovalStatus,
    names,
    reason::StepReason,
    run::{StepError, StepOutcome, StepPhase},
};

/// Most of an item's request that is shown, in bytes.
const MAX_REQUEST: usize = 1_000;

/// The field of the form that says whether an item happened.
fn field(item: i64) -> String {
    format!("item-{item}")
}

/// The field of the form that says what an item answered.
fn output_field(item: i64) -> String {
    format!("output-{item}")
}

impl Turn<'_> {
    /// Lets an item wait until people say whether it happened: they are asked about all of them at once.
    pub(super) fn await_people(&mut self, entry: usize, why: String) {
        let status = &mut self.state.steps[entry];
        status.phase = StepPhase::Waiting;
        // the step says it
        status.waiting_on = None;
        status.error = Some(StepError {
            reason: StepReason::OutcomeUnknown,
            message: cut(why),
        });
    }

    /// The entries of items that wait for people to say whether they happened.
    fn unknown_items(&self, step: usize, entry: usize) -> Vec<usize> {
        if !self.plan.steps[step].at_most_once {
            return vec![];
        }
        let mut items = self.items_under_way(entry);
        items.retain(|item| self.state.steps[*item].phase == StepPhase::Waiting);
        items.sort_by_key(|item| self.state.steps[*item].item);
        items
    }

    /// Asks about items once nothing else of the step is under way.
    pub(super) fn ask_about_items(&mut self, step: usize, entry: usize) {
        let unknown = self.unknown_items(step, entry);
        let others = self.items_under_way(entry).len() > unknown.len();
        if others || unknown.is_empty() || self.state.steps[entry].approval.is_some() {
            return;
        }
        let run = &self.facts.run;
        let status = &mut self.state.steps[entry];
        status.attempt = status.attempt.saturating_add(1);
        let name = names::approval_name(
            &run.name,
            &run.uid,
            &status.name,
            status.iteration,
            Some(status.attempt),
        );
        status.phase = StepPhase::Waiting;
        status.approval = Some(name.clone());
        let asked = format!("to say which items of step {} happened", status.name);
        self.put_outcome_question(step, entry, name, self.items_question(step, entry), &asked);
    }

    /// Looks whether people have said it.
    pub(super) fn look_at_items_question(&mut self, step: usize, entry: usize) {
        let answer = match self.look_at_outcome_question(step, entry, |turn| turn.items_question(step, entry))
        {
            Looked::NotYet => return,
            Looked::Refused(message) => return self.stay_unknown(step, entry, &message),
            Looked::Found(answer) => answer,
        };
        match answer.phase {
            ApprovalPhase::Pending => {}
            ApprovalPhase::Approved => self.items_told(step, entry, &answer),
            ApprovalPhase::Rejected
            | ApprovalPhase::ChangesRequested
            | ApprovalPhase::Expired
            | ApprovalPhase::Cancelled
            | ApprovalPhase::Superseded => {
                let told = answer.message.as_deref().unwrap_or("nobody could tell");
                let message = format!("it is unknown whether it happened ({told})");
                self.state.steps[entry].decision = Some(decision(&answer, Verdict::Reject));
                self.stay_unknown(step, entry, &message);
            }
        }
    }

    fn stay_unknown(&mut self, step: usize, entry: usize, message: &str) {
        for item in self.unknown_items(step, entry) {
            self.fail(item, StepReason::OutcomeUnknown, message);
        }
        self.question_is_over(entry);
    }

    fn question_is_over(&mut self, entry: usize) {
        let status = &mut self.state.steps[entry];
        status.approval = None;
        status.digest = None;
        status.waiting_on = None;
    }

    /// People say of each item whether it happened.
    fn items_told(&mut self, step: usize, entry: usize, answer: &ApprovalStatus) {
        let values = answer.values.clone().unwrap_or_default().0;
        let said = decision(answer, Verdict::Approve);
        self.state.steps[entry].decision = Some(said.clone());
        for item in self.unknown_items(step, entry) {
            let Some(index) = self.state.steps[item].item else {
                continue;
            };
            if values.get(&field(index)) == Some(&Value::Bool(true)) {
                let output = values
                    .get(&output_field(index))
                    .map(super::outcome_question::as_told);
                self.finish(item, StepPhase::Succeeded, StepOutcome::Succeeded, output);
            } else if self.ending_beside(step).is_some() {
                self.state.steps[item].decision = Some(said.clone());
                self.did_not_happen(item);
            } else {
                self.attempt_again(step, item);
            }
        }
        self.question_is_over(entry);
    }

    /// Closes the question of a step that is stopped.
    pub(super) fn close_items_question(&mut self, entry: usize, closing: Closing, why: &str) {
        let Some(key) = ObjectKey::of(&self.state.steps[entry]) else {
            return;
        };
        self.effects.push(Effect::Close(CloseObject {
            key,
            closing,
            message: why.to_owned(),
        }));
    }

    fn items_question(&self, step: usize, entry: usize) -> OutcomeQuestion {
        let status = &self.state.steps[entry];
        let (name, run) = (&status.name, &self.facts.run);
        let (mut why, mut requests, mut sending) = (String::new(), String::new(), String::new());
        let (mut required, mut properties) = (vec![], Map::new());
        for unknown in self.unknown_items(step, entry) {
            let of_item = &self.state.steps[unknown];
            let Some(index) = of_item.item else { continue };
            let error = of_item.error.as_ref().map(|error| error.message.as_str());
            let _ = writeln!(why, "item {index}: {}", error.unwrap_or_default());
            let _ = writeln!(requests, "item {index}");
            for shown in self.request(step, unknown) {
                let end = shown.inline.floor_char_boundary(MAX_REQUEST);
                let cut = if end < shown.inline.len() { "…" } else { "" };
                let _ = writeln!(requests, "{}: {}{cut}", shown.name, &shown.inline[..end]);
            }
            let _ = write!(sending, "item {index}\n{}", self.sending(unknown));
            required.push(field(index));
            let about = format!("whether item {index} happened");
            properties.insert(field(index), json!({ "type": "boolean", "description": about }));
            let about = format!("what item {index} answered, as JSON, if it happened");
            properties.insert(
                output_field(index),
                json!({ "type": "string", "description": about }),
            );
        }
        let what = match self.ending_beside(step) {
            None => {
                "Approve, and say of each item whether it happened. An item that did not happen is done again. \
                 Reject if it cannot be told: these items then fail."
            }
            Some(_) => {
                "Nothing is done again. Approve, and say of each item whether it happened. Reject if it cannot be told."
            }
        };
        OutcomeQuestion {
            title: format!("Which items of step {name} of run {} happened?", run.name),
            show: vec![
                item("why", "text/plain", why),
                item("requests", "text/plain", requests),
                item("sending", "text/plain", sending),
            ],
            answers: what.to_owned(),
            form: json!({ "type": "object", "required": required, "properties": properties }),
        }
    }
}
