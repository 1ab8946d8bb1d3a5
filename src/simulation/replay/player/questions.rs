//! Questions to people: what the engine asks, and what the judge makes of the decisions in the record.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Player, agents::phase_of};
use crate::simulation::{
    replay::{Difference, recorded::EntryKey},
    world::Question,
};
use signoff_api::{
    Approval, ApprovalPhase, ApprovalSpec, ApprovalStatus, Decision, Verdict,
    approval::{ApprovalPurpose, CountedDecision},
    decision::DecisionReason,
    run::{StepDecision, StepOutcome, StepStatus},
};
use signoff_engine::{
    facts::ApprovalFact,
    judge::{ActsAs, DecisionFact},
    object::{CloseObject, Closing, ObjectFact, ObjectKey, OpenApproval},
};

/// The clock of the API server and that of the operator differ by less.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(60);

impl Player<'_> {
    pub(super) fn approval(&self, name: &str) -> Option<&Approval> {
        let mut approvals = self.recorded.approvals.iter();
        approvals.find(|approval| approval.metadata.name.as_deref() == Some(name))
    }

    /// Puts a question, unless it is there.
    pub(super) fn ask(&mut self, open: OpenApproval) {
        let key = ObjectKey::approval(&open.name);
        let is_open = self.questions.iter().any(|question| question.name == open.name);
        if is_open && self.facts.objects.contains_key(&key) {
            return;
        }
        let of_entry = entry_of(&open.spec);
        let known = self.approval(&open.name).cloned();
        self.digests.insert(open.name.clone(), open.spec.digest.clone());
        let mut spec = open.spec;
        if let Some(known) = &known {
            let is_filled_in = open.ask_owners && known.spec.approvers.is_some();
            if is_filled_in {
                spec.approvers.clone_from(&known.spec.approvers);
            }
            if known.spec != spec && self.is_unknowable(&known.spec, &spec) {
                let step = (of_entry.0.clone(), of_entry.1, None);
                self.open.insert((step.clone(), "digest"));
                self.note(step, "the question shows what is not in the record");
                spec = known.spec.clone();
            } else if known.spec != spec {
                self.differ(&of_entry, "approval.spec", (&known.spec, &spec));
            }
        }
        let asked_at = known.and_then(|known| known.metadata.creation_timestamp.map(|at| at.0));
        let question = Question {
            name: open.name,
            step: of_entry.0,
            spec,
            status: ApprovalStatus::default(),
            asked_at: asked_at.unwrap_or(self.now),
            decisions: vec![],
            run: 0,
        };
        self.questions.retain(|known| known.name != question.name);
        self.questions.push(question);
        self.tell(self.questions.len() - 1);
    }

    /// Tells the engine how a question stands.
    fn tell(&mut self, index: usize) {
        let question = &self.questions[index];
        let digest = self.digests.get(&question.name);
        let fact = ApprovalFact {
            digest: digest.unwrap_or(&question.spec.digest).clone(),
            status: question.status.clone(),
        };
        let key = ObjectKey::approval(&question.name);
        self.facts
            .objects
            .insert(key, ObjectFact::Approval(Box::new(fact)));
    }

    /// Whether a question shows what the record does not have: when an item or a call of a tool began, why attempts failed,
    /// and addresses of callbacks.
    fn is_unknowable(&self, recorded: &ApprovalSpec, decided: &ApprovalSpec) -> bool {
        let timeless = |spec: &ApprovalSpec| ApprovalSpec {
            digest: recorded.digest.clone(),
            expires_at: None,
            ..spec.clone()
        };
        let is_of_part = decided.subject.item.is_some() || self.is_about_tool(decided);
        let is_later = is_of_part && timeless(recorded) == timeless(decided);
        let is_shown_only = ApprovalSpec {
            show: recorded.show.clone(),
            digest: recorded.digest.clone(),
            ..decided.clone()
        } == *recorded;
        let may_show = decided.purpose == ApprovalPurpose::Outcome || self.plan.hands_out_callbacks();
        is_later || is_shown_only && may_show
    }

    fn differ<T: serde::Serialize>(&mut self, of: &EntryKey, field: &str, (recorded, decided): (T, T)) {
        let key = (of.0.clone(), of.1, None);
        let (recorded, decided) = (json!(recorded), json!(decided));
        // the first field that differs says more than all of them
        let first = recorded
            .as_object()
            .zip(decided.as_object())
            .and_then(|(recorded, decided)| {
                let names: BTreeSet<&String> = recorded.keys().chain(decided.keys()).collect();
                let mut differing = names
                    .into_iter()
                    .filter(|name| recorded.get(*name) != decided.get(*name));
                let name = differing.find(|name| *name != "digest")?;
                let of = |map: &serde_json::Map<String, serde_json::Value>| {
                    map.get(name).cloned().unwrap_or_default()
                };
                Some((format!("{field}.{name}"), of(recorded), of(decided)))
            });
        let (field, recorded, decided) = first.unwrap_or_else(|| (field.to_owned(), recorded, decided));
        self.found.entry(key).or_default().push(Difference {
            field,
            recorded,
            decided,
        });
    }

    /// Closes a question that the engine needs no more.
    pub(super) fn close_question(&mut self, wanted: &CloseObject) {
        let mut questions = self.questions.iter_mut();
        let question = questions.find(|question| question.name == wanted.key.name);
        let Some(question) = question.filter(|question| !question.status.phase.is_closed()) else {
            return;
        };
        question.status.phase = match wanted.closing {
            Closing::Cancelled | Closing::Terminated => ApprovalPhase::Cancelled,
            Closing::Superseded => ApprovalPhase::Superseded,
        };
        let at = self
            .questions
            .iter()
            .position(|question| question.name == wanted.key.name);
        if let Some(at) = at {
            self.tell(at);
        }
    }

    /// Lets the judge look at the questions that were closed by now. Whether there is news.
    pub(super) fn close_questions(&mut self) -> bool {
        let mut is_news = false;
        for index in 0..self.questions.len() {
            if self.questions[index].status.phase.is_closed() || !self.is_due(index) {
                continue;
            }
            self.judge(index);
            is_news |= self.questions[index].status.phase.is_closed();
            self.tell(index);
        }
        is_news
    }

    /// Whether a question was closed by now, as the record says.
    fn is_due(&self, index: usize) -> bool {
        let question = &self.questions[index];
        if self.is_about_tool(&question.spec) {
            return self.is_call_due(question);
        }
        let (step, pass, item) = entry_of(&question.spec);
        let entry = self.index.entry(&step, pass, None);
        let is_earlier_attempt = question.spec.purpose == ApprovalPurpose::Outcome
            && entry.is_some_and(|entry| {
                entry.approval.as_ref() != Some(&question.name) && entry.items.is_none()
            });
        let ended = self.index.ended_at(&step, pass, item);
        is_earlier_attempt || ended.is_some_and(|at| at <= self.now)
    }

    /// The same of a question about a call of a tool. One that the run needed no more is closed by the engine.
    fn is_call_due(&self, question: &Question) -> bool {
        let Some(known) = self.approval(&question.name) else {
            return false;
        };
        match phase_of(known) {
            ApprovalPhase::Approved | ApprovalPhase::Rejected | ApprovalPhase::ChangesRequested => true,
            ApprovalPhase::Expired => known.spec.expires_at.as_ref().is_some_and(|at| at.0 <= self.now),
            ApprovalPhase::Pending | ApprovalPhase::Cancelled | ApprovalPhase::Superseded => false,
        }
    }

    /// What the judge makes of the decisions on a question; what it cannot know is taken from the record.
    fn judge(&mut self, index: usize) {
        let (name, spec) = {
            let question = &self.questions[index];
            (question.name.clone(), question.spec.clone())
        };
        let of_entry = entry_of(&spec);
        let step = (of_entry.0.clone(), of_entry.1, None);
        let Some(known) = self.approval(&name).cloned() else {
            self.note(
                step,
                &format!("the decision is taken from the record: there is no approval {name}"),
            );
            let told = self.told(&of_entry);
            self.questions[index].status = told;
            return;
        };
        let status = known.status.clone().unwrap_or_default();
        let decisions: Vec<Decision> = self
            .recorded
            .decisions
            .iter()
            .filter(|decision| decision.spec.approval.as_str() == name)
            .cloned()
            .collect();
        let names: BTreeSet<&str> = decisions
            .iter()
            .filter_map(|known| known.metadata.name.as_deref())
            .collect();
        let missing = status
            .counted
            .iter()
            .find(|counted| !names.contains(counted.decision.as_str()));
        if let Some(missing) = missing {
            let missing = missing.decision.clone();
            self.note(
                step,
                &format!("the answer is taken from approval {name}: there is no decision {missing}"),
            );
            self.questions[index].status = status;
            return;
        }
        if matches!(status.phase, ApprovalPhase::Cancelled | ApprovalPhase::Superseded) {
            self.questions[index].status = status;
            return;
        }
        let now = Some(self.server_now(&spec, &status));
        let question = &mut self.questions[index];
        question.decisions = facts(&decisions);
        question.judge(now);
        let judged = self.questions[index].status.clone();
        self.compare_judgement(&of_entry, (&status, &judged), &decisions, index);
    }

    /// The time of the API server at which a question is judged.
    fn server_now(&self, spec: &ApprovalSpec, status: &ApprovalStatus) -> Timestamp {
        let deadline = spec.expires_at.as_ref().map(|at| at.0);
        let is_expired = status.phase == ApprovalPhase::Expired;
        let nearly = deadline.and_then(|at| at.checked_sub(CLOCKS_DIFFER).ok());
        match (deadline, nearly) {
            (Some(deadline), Some(nearly)) if is_expired && self.now >= nearly => self.now.max(deadline),
            _ => self.now,
        }
    }

    fn compare_judgement(
        &mut self,
        of_entry: &EntryKey,
        (recorded, judged): (&ApprovalStatus, &ApprovalStatus),
        decisions: &[Decision],
        index: usize,
    ) {
        if recorded.phase != judged.phase {
            self.differ(of_entry, "approval.phase", (recorded.phase, judged.phase));
        }
        let counted = |status: &ApprovalStatus| -> Vec<CountedDecision> { status.counted.clone() };
        if counted(recorded) != counted(judged) {
            self.differ(of_entry, "approval.counted", (counted(recorded), counted(judged)));
        }
        let said: BTreeMap<String, Option<bool>> = self.questions[index]
            .decisions
            .iter()
            .map(|decision| {
                (
                    decision.name.clone(),
                    decision.judged.as_ref().and_then(|judged| judged.counted),
                )
            })
            .collect();
        for decision in decisions {
            let name = decision.metadata.name.clone().unwrap_or_default();
            let recorded = decision.status.as_ref().and_then(|status| status.counted);
            let judged = said.get(&name).copied().flatten();
            if recorded.is_some() && recorded != judged {
                self.differ(of_entry, &format!("decision {name} counted"), (recorded, judged));
            }
        }
    }

    /// The answer to a question, as far as the state of the run tells it.
    fn told(&self, (step, pass, item): &EntryKey) -> ApprovalStatus {
        let Some(entry) = self.index.entry(step, *pass, None) else {
            return ApprovalStatus::default();
        };
        let items = entry.items.as_ref().zip(*item);
        let decision = match items {
            Some((items, item)) => items
                .decisions
                .iter()
                .find(|known| known.item == item)
                .map(|known| &known.decision),
            None => entry.decision.as_ref(),
        };
        let outcome = match items {
            Some((items, item)) => items.outcome(item),
            None => entry.outcome,
        };
        answer(outcome, decision, entry)
    }

    /// What is said so far of the questions that are still open.
    pub(super) fn judge_open_questions(&mut self) {
        for index in 0..self.questions.len() {
            let question = &self.questions[index];
            let is_known = self.approval(&question.name).is_some();
            if !question.status.phase.is_closed() && is_known {
                self.now = self.index.end();
                self.judge_open(index);
            }
        }
    }

    fn judge_open(&mut self, index: usize) {
        let name = self.questions[index].name.clone();
        let of_entry = entry_of(&self.questions[index].spec);
        let status = self
            .approval(&name)
            .and_then(|known| known.status.clone())
            .unwrap_or_default();
        if status.phase.is_closed() {
            // the engine has not heard of it, or the record of the run is older
            return;
        }
        let decisions = self.recorded.decisions.iter();
        let decisions: Vec<Decision> = decisions
            .filter(|decision| decision.spec.approval.as_str() == name)
            .cloned()
            .collect();
        let question = &mut self.questions[index];
        question.decisions = facts(&decisions);
        question.judge(None);
        let judged = question.status.clone();
        self.compare_judgement(&of_entry, (&status, &judged), &decisions, index);
    }
}

/// The pass that asks.
fn entry_of(spec: &ApprovalSpec) -> EntryKey {
    let subject = &spec.subject;
    (
        subject.step.clone().unwrap_or_default(),
        subject.iteration.unwrap_or_default(),
        subject.item,
    )
}

/// Decisions as the judge wants them. What was said of one for reasons outside the record stands.
fn facts(decisions: &[Decision]) -> Vec<DecisionFact> {
    let facts = decisions.iter().map(|decision| {
        let judged = decision.status.clone();
        let outside = judged
            .as_ref()
            .and_then(|status| status.reason)
            .is_some_and(is_outside);
        let was_replaced = judged.as_ref().and_then(|status| status.counted) == Some(false);
        let uid = decision.metadata.uid.clone().unwrap_or_default();
        DecisionFact {
            name: decision.metadata.name.clone().unwrap_or_default(),
            // within a second, what was replaced came first
            uid: format!("{}{uid}", u8::from(!was_replaced)),
            created_at: decision
                .metadata
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |at| at.0),
            spec: decision.spec.clone(),
            judged: judged.filter(|_| outside),
            acts_as: ActsAs::Nobody,
        }
    });
    facts.collect()
}

/// Whether what was said of a decision follows from what the record does not have.
fn is_outside(reason: DecisionReason) -> bool {
    match reason {
        DecisionReason::IdentityUnverified
        | DecisionReason::ActsAsRequester
        | DecisionReason::ApprovalNotFound
        | DecisionReason::Cancelled
        | DecisionReason::Superseded => true,
        DecisionReason::Counted
        | DecisionReason::Replaced
        | DecisionReason::Amended
        | DecisionReason::Withdrawn
        | DecisionReason::NothingToWithdraw
        | DecisionReason::Delegated
        | DecisionReason::InvalidDelegation
        | DecisionReason::AmendmentProposed
        | DecisionReason::DigestMismatch
        | DecisionReason::SelfApproval
        | DecisionReason::NotAnApprover
        | DecisionReason::ServiceAccount
        | DecisionReason::AlreadyDecided
        | DecisionReason::TooEarly
        | DecisionReason::Expired
        | DecisionReason::VerdictNotOffered
        | DecisionReason::InvalidValues => false,
    }
}

fn answer(
    outcome: Option<StepOutcome>,
    decision: Option<&StepDecision>,
    entry: &StepStatus,
) -> ApprovalStatus {
    let said = decision.map(|decision| match decision.verdict {
        Verdict::Approve => ApprovalPhase::Approved,
        Verdict::Reject => ApprovalPhase::Rejected,
        Verdict::RequestChanges => ApprovalPhase::ChangesRequested,
        Verdict::Delegate | Verdict::Withdraw => ApprovalPhase::Pending,
    });
    let phase = said.unwrap_or(match outcome {
        Some(StepOutcome::TimedOut) => ApprovalPhase::Expired,
        Some(_) => ApprovalPhase::Cancelled,
        None => ApprovalPhase::Pending,
    });
    let counted = decision.into_iter().flat_map(|decision| {
        let at = decision.at.clone();
        let verdict = decision.verdict;
        decision.by.iter().filter_map(move |by| {
            Some(CountedDecision {
                decision: String::new(),
                by: by.clone(),
                verdict,
                at: at.clone()?,
            })
        })
    });
    ApprovalStatus {
        phase,
        counted: counted.collect(),
        decided_at: decision.and_then(|decision| decision.at.clone()),
        comment: decision.and_then(|decision| decision.comment.clone()),
        values: decision.and_then(|decision| decision.values.clone()),
        shown: decision.and_then(|decision| decision.shown.clone()),
        message: entry.error.as_ref().map(|error| error.message.clone()),
        ..ApprovalStatus::default()
    }
}
