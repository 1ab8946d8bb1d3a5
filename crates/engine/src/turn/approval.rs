//! `approval` steps: the question, and what the answer does.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{MicroTime, Time},
    jiff::{RoundMode, Timestamp, TimestampRound, Unit},
};
use serde_json::Value;

use super::{Turn, sentence};
use crate::{
    asked::{self, sealed, unsealed},
    effect::{Effect, OpenApproval},
    expression::EvaluationError,
    plan::{Action, ApprovalPlan},
};
use signoff_api::{
    ApprovalPhase, ApprovalSpec, Verdict,
    approval::{ApprovalPurpose, ApprovalStatus, ApprovalSubject, ShownItem},
    bounds, names,
    reason::StepReason,
    run::{EndingOutcome, StepDecision, StepOutcome, StepPhase},
    step::{ApprovalTimeoutOutcome, Approvers},
};

impl Turn<'_> {
    pub(super) fn approval_start(&mut self, entry: usize, step: usize, approval: &ApprovalPlan) {
        let deadline = approval
            .step
            .respond_within
            .as_ref()
            .map(|span| whole_second(self.after(span.duration())));
        let status = &mut self.state.steps[entry];
        status.phase = StepPhase::Waiting;
        status.deadline = deadline.map(MicroTime);
        status.approval = Some(names::approval_name(
            &self.facts.run.name,
            &self.facts.run.uid,
            &status.name,
            status.iteration,
            None,
        ));
        self.state.steps[entry].connections = self.connections_now(approval);
        match self.question(entry, approval) {
            Ok(spec) => {
                let status = &mut self.state.steps[entry];
                status.digest = Some(spec.digest.clone());
                let whom = spec
                    .approvers
                    .as_ref()
                    .map_or_else(|| "somebody".to_owned(), whom);
                let until = deadline.map(|at| format!(" until {at:.0}")).unwrap_or_default();
                status.waiting_on = Some(sentence(format!("{whom} to decide “{}”{until}", spec.title)));
                self.approval_open(entry, step);
            }
            Err(Unasked::Expression(error)) => {
                self.fail(entry, error.reason(), error.to_string());
            }
            Err(Unasked::NoTitle) => {
                self.fail(
                    entry,
                    StepReason::ApprovalRefused,
                    "the title of the question is empty",
                );
            }
            Err(Unasked::TooLarge(message)) => self.fail(entry, StepReason::OutputTooLarge, message),
        }
    }

    pub(super) fn approval_open(&mut self, entry: usize, step: usize) {
        let Action::Approval(approval) = &self.plan.steps[step].action else {
            return;
        };
        let status = &self.state.steps[entry];
        let Some(name) = status.approval.clone() else {
            return;
        };
        if self.supersede_if_changed(entry, approval) {
            return;
        }
        let status = &self.state.steps[entry];
        // one that is about something else is not ours, whoever put it there
        let known = self.facts.approvals.get(&name);
        let Some(fact) = known.filter(|fact| status.digest.as_ref() == Some(&fact.digest)) else {
            if let Some(why) = self.facts.refused.get(&name) {
                let message = format!("the API server refuses the question: {why}");
                return self.fail(entry, StepReason::ApprovalRefused, message);
            }
            if let Ok(spec) = self.question(entry, approval) {
                self.effects.push(Effect::OpenApproval(Box::new(OpenApproval {
                    name,
                    spec,
                    ask_owners: false,
                })));
            }
            return;
        };
        let answer = &fact.status;
        match answer.phase {
            ApprovalPhase::Pending => {}
            ApprovalPhase::Approved => {
                self.state.steps[entry].decision = Some(decision(answer, Verdict::Approve));
                self.finish(entry, StepPhase::Succeeded, StepOutcome::Approved, None);
            }
            ApprovalPhase::Rejected => {
                let decision = decision(answer, Verdict::Reject);
                let message = rejection(&decision);
                self.state.steps[entry].decision = Some(decision);
                self.end_badly(
                    entry,
                    StepOutcome::Rejected,
                    StepReason::Rejected,
                    &message,
                    EndingOutcome::Rejected,
                );
            }
            ApprovalPhase::ChangesRequested => self.changes_requested(entry, approval, answer),
            ApprovalPhase::Expired => self.approval_expired(entry, approval),
            ApprovalPhase::Cancelled | ApprovalPhase::Superseded => {
                let message = answer
                    .message
                    .clone()
                    .unwrap_or_else(|| format!("the approval {name} was closed"));
                self.fail(entry, StepReason::Cancelled, message);
            }
        }
    }

    fn approval_expired(&mut self, entry: usize, approval: &ApprovalPlan) {
        let ending = match approval.on_timeout {
            ApprovalTimeoutOutcome::Continue => {
                return self.finish(entry, StepPhase::Succeeded, StepOutcome::TimedOut, None);
            }
            ApprovalTimeoutOutcome::Reject => EndingOutcome::Rejected,
            ApprovalTimeoutOutcome::Fail => EndingOutcome::TimedOut,
        };
        let message = "nobody decided in time";
        self.end_badly(
            entry,
            StepOutcome::TimedOut,
            StepReason::RespondTimedOut,
            message,
            ending,
        );
    }

    /// Goes back: this step is done, and everything from the step gone back to is due once more.
    fn changes_requested(&mut self, entry: usize, approval: &ApprovalPlan, answer: &ApprovalStatus) {
        let name = self.state.steps[entry].name.clone();
        let asked_before = self
            .state
            .steps
            .iter()
            .filter(|step| step.name == name && step.outcome == Some(StepOutcome::ChangesRequested));
        let asked = i64::try_from(asked_before.count()).unwrap_or(i64::MAX - 1) + 1;
        let Some(changes) = approval.changes.as_ref().filter(|changes| asked <= changes.max) else {
            let message = format!("changes were requested {asked} times");
            self.state.steps[entry].decision = Some(decision(answer, Verdict::RequestChanges));
            return self.fail(entry, StepReason::TooManyChanges, message);
        };
        // stop what is under way of the iteration that is over, before the outcome makes the next one due
        let over: Vec<usize> = changes
            .again
            .iter()
            .filter_map(|step| self.current(*step))
            .collect();
        // what was sent and must not be repeated is settled before it is done again
        if let Some(unsettled) = over.iter().find(|other| self.is_unsettled(**other)) {
            let sent = self.state.steps[*unsettled].name.clone();
            self.held.extend(&changes.again);
            self.state.steps[entry].waiting_on = Some(sentence(format!(
                "the outcome of step {sent}, which was sent, before it is done again"
            )));
            return;
        }
        self.state.steps[entry].decision = Some(decision(answer, Verdict::RequestChanges));
        for other in over {
            if other != entry && !self.state.steps[other].phase.is_finished() {
                self.stop(
                    other,
                    ApprovalPhase::Superseded,
                    &format!("changes were requested at step {name}"),
                );
            }
        }
        self.finish(entry, StepPhase::Succeeded, StepOutcome::ChangesRequested, None);
    }

    /// The question as it is put to people. Rendered from the same state it is the same again.
    fn question(&self, entry: usize, approval: &ApprovalPlan) -> Result<ApprovalSpec, Unasked> {
        let scope = self.scope();
        let status = &self.state.steps[entry];
        let title: String = approval
            .title
            .text(&scope)
            .map_err(Unasked::Expression)?
            .chars()
            .take(bounds::MAX_TITLE)
            .collect();
        if title.trim().is_empty() {
            return Err(Unasked::NoTitle);
        }
        let mut show = Vec::with_capacity(approval.show.len());
        let mut together = 0;
        for (name, template) in &approval.show {
            let item = shown(name, template.value(&scope).map_err(Unasked::Expression)?);
            if item.inline.len() > bounds::MAX_SHOWN {
                let message = format!("the shown item {name} is larger than {} bytes", bounds::MAX_SHOWN);
                return Err(Unasked::TooLarge(message));
            }
            together += item.inline.len();
            if together > bounds::MAX_SHOWN_TOGETHER {
                let message = format!(
                    "the shown items are larger than {} bytes together",
                    bounds::MAX_SHOWN_TOGETHER
                );
                return Err(Unasked::TooLarge(message));
            }
            show.push(item);
        }
        if let Some((name, value)) = self.shown_connections(entry, approval) {
            let item = shown(&name, value);
            if item.inline.len() > bounds::MAX_SHOWN {
                let message = format!("the shown item {name} is larger than {} bytes", bounds::MAX_SHOWN);
                return Err(Unasked::TooLarge(message));
            }
            show.push(item);
        }
        let step = &approval.step;
        let subject = asked::of_step(&self.facts.release.digest, &self.facts.run.uid, status);
        let mut verdicts = vec![Verdict::Approve, Verdict::Reject];
        verdicts.extend(approval.changes.as_ref().map(|_| Verdict::RequestChanges));
        Ok(sealed(
            &subject,
            ApprovalSpec {
                subject: ApprovalSubject {
                    run: Some(self.facts.run.name.clone()),
                    step: Some(status.name.clone()),
                    iteration: Some(status.iteration),
                    release: None,
                },
                purpose: ApprovalPurpose::Step,
                digest: unsealed(),
                requested_by: self.facts.run.requested_by.clone(),
                author: self.facts.release.author.clone(),
                written_by: vec![],
                title,
                show,
                form: step.form.clone(),
                approvers: step.approvers.clone(),
                quorum: step.quorum.unwrap_or(1),
                self_approval: step.self_approval.unwrap_or(false),
                verdicts,
                expires_at: status.deadline.as_ref().map(|deadline| Time(deadline.0)),
                escalate: step.escalate.clone().unwrap_or_default(),
                repository: self.facts.release.repository.clone(),
                ask_via: step.ask_via,
            },
        ))
    }
}

enum Unasked {
    Expression(EvaluationError),
    NoTitle,
    TooLarge(String),
}

fn shown(name: &str, value: Value) -> ShownItem {
    let (media_type, inline) = match value {
        Value::String(text) => ("text/plain", text),
        other => ("application/json", format!("{other:#}")),
    };
    ShownItem {
        name: name.to_owned(),
        media_type: media_type.to_owned(),
        inline,
    }
}

/// What an answer says about who decided.
pub(super) fn decision(answer: &ApprovalStatus, verdict: Verdict) -> StepDecision {
    let by = answer
        .counted
        .iter()
        .filter(|counted| counted.verdict == verdict)
        .map(|counted| counted.by.clone())
        .collect();
    StepDecision {
        verdict,
        by,
        at: answer.decided_at.clone(),
        comment: answer.comment.clone(),
        values: answer.values.clone(),
    }
}

fn rejection(decision: &StepDecision) -> String {
    let by = decision.by.join(" and ");
    match &decision.comment {
        Some(comment) => format!("rejected by {by}: {comment}"),
        None => format!("rejected by {by}"),
    }
}

/// Those who may decide, in words.
pub(super) fn whom(approvers: &Approvers) -> String {
    let names: Vec<&str> = approvers
        .groups
        .iter()
        .chain(&approvers.users)
        .chain(&approvers.service_accounts)
        .map(String::as_str)
        .collect();
    if names.is_empty() {
        "nobody".to_owned()
    } else {
        names.join(" or ")
    }
}

/// The API keeps deadlines in whole seconds; rounding up gives people the time they were promised.
fn whole_second(time: Timestamp) -> Timestamp {
    time.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil))
        .unwrap_or(time)
}
