//! Judges the decisions on one approval: who counts, what they come to, and why the others do not count.

mod amendment;
mod delegation;
mod form;
mod preview;
mod refusal;

use std::collections::BTreeMap;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};
use serde_json::{Map, Value};

pub(crate) use self::amendment::misfit_of_item;
use self::refusal::{allows, describe, names_service_account};
pub use self::{
    amendment::problems_of_changes,
    form::{Field, Form},
    preview::{Caller, Preview, Refused, Tally, preview, preview_for, refusal_of},
};
use signoff_api::{
    ApprovalPhase, ApprovalSpec, ApprovalStatus, DecisionSpec, DecisionStatus, Digest, Verdict,
    approval::{Amendment, CountedDecision},
    canonical, condition,
    decision::DecisionReason,
    json::JsonObject,
    text::visible,
};

const UNPROVEN: &str =
    "the API server does not prove who decides: its admission policies are not known to be in force";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// One decision as the API server accepted it.
#[derive(Clone, Debug)]
pub struct DecisionFact {
    /// Its name.
    pub name: String,
    /// Its uid; orders decisions accepted in the same second of which nothing else is known.
    pub uid: String,
    /// When the API server accepted it.
    pub created_at: Timestamp,
    /// What it says.
    pub spec: DecisionSpec,
    /// What was judged before; a refusal is final.
    pub judged: Option<DecisionStatus>,
    /// Whether the decider may act as a service account that asked for what is decided on, or wrote it.
    pub acts_as: ActsAs,
}

/// Whether a decider may act as a service account that asked for what is decided on, or wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ActsAs {
    /// As none of them.
    #[default]
    Nobody,
    /// As this one: it may have been the decider who asked.
    Account {
        /// The account.
        account: String,
        /// What the decider may do, or why it is not known.
        how: String,
    },
    /// It could not be asked now: nothing is said of the decision.
    Unknown,
}

/// Whether the API server proves who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It could not be asked yet: nothing is judged.
    Unknown,
    /// It does not, and nobody will know later when that ended: what is decided now never counts.
    Refuted,
    /// It does not just now, and the admission policies will say since when they prove it: what is decided now is held until then.
    Interrupted,
    /// It does. What was decided up to `since`, where that is known, nobody has proven.
    Proven {
        /// When the admission policies came that prove it, or were changed as this process has seen.
        since: Option<Timestamp>,
        /// When one of them was last written, perhaps while nobody watched. What was not judged before that is not proven either.
        written: Option<Timestamp>,
    },
}

/// What the decisions come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The approval's next status; equal to the one given when nothing has changed.
    pub status: ApprovalStatus,
    /// What becomes of each decision, by name.
    pub decisions: Vec<(String, DecisionStatus)>,
}

/// Judges all decisions on an approval in the order the API server accepted them.
///
/// Nothing counts unless the API server proved who decided. Approvals count together where they have the same values: one with others
/// begins a new tally.
///
/// `server_now` is the API server's time, given only when the decisions were read consistently after it; nothing expires without it.
pub fn judge(
    spec: &ApprovalSpec,
    created_at: Timestamp,
    status: &ApprovalStatus,
    decisions: &[DecisionFact],
    server_now: Option<Timestamp>,
    proof: Proof,
) -> Judgement {
    let proposals: Vec<&DecisionFact> = decisions.iter().filter(|one| is_proposed(one)).collect();
    let mut ordered: Vec<&DecisionFact> = decisions.iter().collect();
    ordered.sort_by_cached_key(|decision| order(decision, &proposals));
    let mut count = VoteCount::new(spec, created_at, status, proof);
    for decision in ordered {
        count.hear(decision);
    }
    count.rule(server_now)
}

/// Sorts decisions as they were accepted. The times are in whole seconds, so that within one only what was judged before tells: what was
/// replaced came before what replaced it, and that before what is new. A change came before whoever took it over.
fn order<'a>(decision: &'a DecisionFact, proposals: &[&DecisionFact]) -> (Timestamp, u8, &'a str, &'a str) {
    let judged = decision.judged.as_ref().and_then(|status| status.counted);
    let took_over = |proposal: &&DecisionFact| {
        proposal.created_at == decision.created_at
            && proposal.spec.by != decision.spec.by
            && proposal.spec.shown == decision.spec.shown
    };
    let within = match judged {
        Some(false) if is_proposed(decision) => 1,
        Some(false) if proposals.iter().any(took_over) => 2,
        Some(false) => 0,
        Some(true) => 3,
        None => 4,
    };
    (decision.created_at, within, &decision.uid, &decision.name)
}

/// Whether it was judged to change what is shown, for somebody else to approve.
fn is_proposed(decision: &DecisionFact) -> bool {
    let judged = decision.judged.as_ref();
    judged.is_some_and(|status| status.reason == Some(DecisionReason::AmendmentProposed))
}

struct VoteCount<'a> {
    spec: &'a ApprovalSpec,
    created_at: Timestamp,
    before: &'a ApprovalStatus,
    proof: Proof,
    form: Form<'a>,
    /// The decision of each person that stands.
    standing: BTreeMap<String, &'a DecisionFact>,
    /// The decision that closed the question.
    closing: Option<&'a DecisionFact>,
    /// The votes that were handed on, by whose they were.
    delegations: BTreeMap<String, &'a DecisionFact>,
    /// The first user who made each change, by the digest of the changed question.
    amenders: BTreeMap<String, &'a DecisionFact>,
    /// The newest decision that says what is approved.
    newest: Option<&'a DecisionFact>,
    /// Whether there are decisions of which nothing is said yet.
    holds: bool,
    judged: Vec<(String, DecisionStatus)>,
}

impl<'a> VoteCount<'a> {
    fn new(spec: &'a ApprovalSpec, created_at: Timestamp, before: &'a ApprovalStatus, proof: Proof) -> Self {
        Self {
            spec,
            created_at,
            before,
            proof,
            form: Form::of(spec.form.as_ref()),
            standing: BTreeMap::new(),
            closing: None,
            delegations: BTreeMap::new(),
            amenders: BTreeMap::new(),
            newest: None,
            holds: false,
            judged: Vec::new(),
        }
    }

    fn hear(&mut self, decision: &'a DecisionFact) {
        let closed = self.before.phase.is_closed();
        let is_final = |status: &&DecisionStatus| is_final_refusal(status, closed);
        if let Some(status) = decision.judged.as_ref().filter(is_final) {
            self.judged.push((decision.name.clone(), status.clone()));
            return;
        }
        if closed && self.is_hop_of_answer(decision) {
            self.judged.push((decision.name.clone(), counted()));
            return;
        }
        if self.is_left_alone(decision) {
            let judged = decision.judged.clone();
            self.holds |= judged.is_none();
            self.judged
                .extend(judged.map(|status| (decision.name.clone(), status)));
            return;
        }
        match self.refusal(decision) {
            Some((reason, message)) => self
                .judged
                .push((decision.name.clone(), refused(reason, &message))),
            None => match decision.spec.verdict {
                Verdict::Delegate => self.delegate(decision),
                Verdict::Withdraw => self.withdraw(decision),
                Verdict::Approve if self.is_proposal(decision) => self.propose(decision),
                Verdict::Approve | Verdict::Reject | Verdict::RequestChanges => self.count(decision),
            },
        }
    }

    /// Whether nothing is said of a decision now: it is not known whether it is proven, or whose it is.
    fn is_left_alone(&self, decision: &DecisionFact) -> bool {
        !self.before.phase.is_closed()
            && match self.proof {
                Proof::Unknown | Proof::Interrupted => true,
                Proof::Refuted => has_counted(decision),
                Proof::Proven { .. } => decision.acts_as == ActsAs::Unknown,
            }
    }

    /// Why nobody has proven whose decision it is, if so.
    fn unproven(&self, decision: &DecisionFact) -> Option<String> {
        match self.proof {
            _ if self.before.phase.is_closed() => None,
            Proof::Unknown | Proof::Refuted | Proof::Interrupted => {
                Some(format!("{UNPROVEN}; once they are, decide again"))
            }
            Proof::Proven { since, written } => {
                // what was judged before was proven then
                let written = written.filter(|_| !has_counted(decision));
                since.max(written).filter(|since| decision.created_at <= *since).map(|since| {
                    format!("it is older than the admission policies that prove who decides, which came at {since}: decide again")
                })
            }
        }
    }

    /// What a decision is on: what is filled in, and what is changed.
    fn content(&self, decision: &DecisionFact) -> (Digest, Digest) {
        let changes = amendment::changes(self.spec, decision.spec.shown.as_ref());
        let values = values_digest(decision.spec.values.as_ref());
        (values, amendment::digest(self.spec, &changes))
    }

    /// Whether the decider is the first to change what is shown like this, and may not approve that as well.
    fn is_proposal(&mut self, decision: &'a DecisionFact) -> bool {
        if self.before.phase.is_closed() {
            return false;
        }
        let changes = amendment::changes(self.spec, decision.spec.shown.as_ref());
        let digest = amendment::digest(self.spec, &changes).to_string();
        let is_change = !changes.is_empty();
        // nobody stands for a change that they made before
        let by = &decision.spec.by;
        self.amenders
            .retain(|known, first| first.spec.by != *by || is_change && *known == digest);
        if !is_change {
            return false;
        }
        let first = self.amenders.entry(digest).or_insert(decision);
        !self.spec.self_approval && first.spec.by == decision.spec.by
    }

    /// Takes in a change that somebody else has to approve.
    fn propose(&mut self, decision: &'a DecisionFact) {
        let by = decision.spec.by.clone().unwrap_or_default();
        self.begin_anew_if_amended(&by, decision);
        if let Some(earlier) = self.standing.remove(&by) {
            let message = format!("replaced by {} of the same person", decision.name);
            self.set(&earlier.name, refused(DecisionReason::Replaced, &message));
        }
        self.newest = Some(decision);
        let message = format!("{by} changed what is shown, so that somebody else has to approve it");
        self.judged.push((
            decision.name.clone(),
            refused(DecisionReason::AmendmentProposed, &message),
        ));
    }

    fn count(&mut self, decision: &'a DecisionFact) {
        if decision.spec.verdict == Verdict::Approve {
            self.newest = Some(decision);
        }
        let by = decision.spec.by.clone().unwrap_or_default();
        if decision.spec.verdict == Verdict::Approve && !self.before.phase.is_closed() {
            self.begin_anew_if_amended(&by, decision);
        }
        if let Some(earlier) = self.standing.insert(by, decision) {
            let message = format!("replaced by {} of the same person", decision.name);
            self.set(&earlier.name, refused(DecisionReason::Replaced, &message));
        }
        self.judged.push((decision.name.clone(), counted()));
        if !self.before.phase.is_closed()
            && (decision.spec.verdict != Verdict::Approve || self.approvals() >= self.spec.quorum)
        {
            self.closing = Some(decision);
        }
    }

    /// Takes out the approvals of others that have other values, or are on something else: nobody has approved what somebody else made of it afterwards.
    fn begin_anew_if_amended(&mut self, by: &str, amending: &'a DecisionFact) {
        let content = self.content(amending);
        let (values, shown) = &content;
        let differing: Vec<String> = self
            .standing
            .iter()
            .filter(|(other, earlier)| other.as_str() != by && self.content(earlier) != content)
            .map(|(other, _)| other.clone())
            .collect();
        let what = if amending.spec.shown.is_some() {
            format!("changed what is shown ({})", shown.short())
        } else {
            format!("approved other values ({})", values.short())
        };
        let message = format!(
            "{by} {what} at {}, so that the approvals of earlier ones count no more: approve the amended answer, or \
             decide anew",
            amending.created_at
        );
        for other in differing {
            if let Some(earlier) = self.standing.remove(&other) {
                self.set(&earlier.name, refused(DecisionReason::Amended, &message));
            }
        }
    }

    fn set(&mut self, name: &str, status: DecisionStatus) {
        if let Some(entry) = self.judged.iter_mut().find(|(judged, _)| judged == name) {
            entry.1 = status;
        }
    }

    fn approvals(&self) -> i64 {
        let count = self
            .standing
            .values()
            .filter(|decision| decision.spec.verdict == Verdict::Approve)
            .count();
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    fn rule(self, server_now: Option<Timestamp>) -> Judgement {
        if self.before.phase.is_closed() {
            return Judgement {
                status: self.before.clone(),
                decisions: self.judged,
            };
        }
        // what was decided in time may turn out to be proven
        let expired = self.proof != Proof::Unknown
            && !self.holds
            && server_now
                .zip(self.spec.expires_at.as_ref())
                .is_some_and(|(now, deadline)| now >= deadline.0);
        let values = self.values();
        let (shown, amendment) = self.shown();
        let mut status = ApprovalStatus {
            values_digest: values.as_ref().map(|values| values_digest(Some(values))),
            values,
            shown,
            amendment,
            delegations: self.handed_on(),
            counted: self
                .standing
                .values()
                .map(|decision| counted_decision(decision))
                .collect(),
            conditions: self.before.conditions.clone(),
            pull_request: self.before.pull_request.clone(),
            reminders: self.before.reminders,
            ..ApprovalStatus::default()
        };
        status
            .counted
            .sort_by(|a, b| (&a.at, &a.decision).cmp(&(&b.at, &b.decision)));
        if let Some(closing) = self.closing {
            status.phase = match closing.spec.verdict {
                Verdict::Approve => ApprovalPhase::Approved,
                Verdict::Reject => ApprovalPhase::Rejected,
                Verdict::RequestChanges => ApprovalPhase::ChangesRequested,
                // neither closes a question
                Verdict::Delegate | Verdict::Withdraw => ApprovalPhase::Pending,
            };
            status.decided_at = Some(MicroTime(closing.created_at));
            status.comment.clone_from(&closing.spec.comment);
            status.message = Some(sentence(closing));
        } else if let (true, Some(deadline)) = (expired, &self.spec.expires_at) {
            status.phase = ApprovalPhase::Expired;
            status.decided_at = Some(MicroTime(deadline.0));
            status.message = Some(format!("nobody decided until {}", deadline.0));
        } else {
            status.needs = Some(self.needs(server_now));
        }
        let closed = status.phase.is_closed();
        let is_proven = matches!(self.proof, Proof::Proven { .. });
        let (truth, reason) = if closed {
            (condition::ConditionStatus::True, status.phase.to_string())
        } else {
            let reason = if is_proven {
                "Pending"
            } else {
                "IdentityUnverified"
            };
            (condition::ConditionStatus::False, reason.to_owned())
        };
        let at = status.decided_at.as_ref().map_or(self.created_at, |time| time.0);
        let unproven = (!closed && !is_proven).then(|| {
            if self.holds {
                format!("{UNPROVEN}; what was decided meanwhile is judged when they are")
            } else {
                UNPROVEN.to_owned()
            }
        });
        let message = unproven
            .or_else(|| status.message.clone())
            .or_else(|| status.needs.clone())
            .unwrap_or_default();
        condition::set_question(&mut status.conditions, truth, &reason, &message, None, at);
        Judgement {
            status,
            decisions: self.judged,
        }
    }

    /// What is filled in: by the decision that closes the question, else by those who have approved so far, who agree in it.
    fn values(&self) -> Option<JsonObject> {
        let approved = || self.standing.values().copied().next();
        let decision = self.closing.or_else(approved)?;
        let values = decision.spec.values.clone()?;
        (!values.0.is_empty()).then_some(values)
    }

    /// The editable items as they would be approved, or were, and who changed them.
    fn shown(&self) -> (Option<JsonObject>, Option<Amendment>) {
        let Some(newest) = self.newest else {
            return (None, None);
        };
        let changes = amendment::changes(self.spec, newest.spec.shown.as_ref());
        let digest = amendment::digest(self.spec, &changes);
        let first = self.amenders.get(&digest.to_string());
        let amendment = first.map(|first| Amendment {
            decision: first.name.clone(),
            by: first.spec.by.clone().unwrap_or_default(),
            digest,
        });
        (amendment::amended(self.spec, &changes), amendment)
    }

    fn needs(&self, server_now: Option<Timestamp>) -> String {
        let approvers = self.approvers_at(server_now.unwrap_or(self.created_at));
        let whom = if approvers.is_empty() {
            "anybody who may approve".to_owned()
        } else {
            describe(&approvers)
        };
        let left = self.spec.quorum.saturating_sub(self.approvals()).max(1);
        let text = if self.approvals() > 0 {
            format!("{left} more of {whom}")
        } else {
            format!("{left} of {whom}")
        };
        visible(&text).chars().take(256).collect()
    }
}

fn has_counted(decision: &DecisionFact) -> bool {
    decision
        .judged
        .as_ref()
        .is_some_and(|status| status.counted == Some(true))
}

/// A refusal is final but for `Replaced`, `Amended`, `AmendmentProposed` and `Withdrawn`, which are worked out anew while the question is open. What nobody has proven does not
/// become proven later.
fn is_final_refusal(status: &DecisionStatus, closed: bool) -> bool {
    let worked_out = matches!(
        status.reason,
        None | Some(
            DecisionReason::Replaced
                | DecisionReason::Amended
                | DecisionReason::AmendmentProposed
                | DecisionReason::Withdrawn
        )
    );
    status.counted == Some(false) && (closed || !worked_out)
}

/// The digest of what was filled in. Nothing is the same as no field.
pub fn values_digest(values: Option<&JsonObject>) -> Digest {
    let values = values.map_or_else(|| Value::Object(Map::new()), JsonObject::to_value);
    canonical::digest_of_value(&values)
}

fn counted() -> DecisionStatus {
    DecisionStatus {
        counted: Some(true),
        reason: Some(DecisionReason::Counted),
        message: None,
    }
}

fn refused(reason: DecisionReason, message: &str) -> DecisionStatus {
    let message = visible(message).chars().take(1_024).collect();
    DecisionStatus {
        counted: Some(false),
        reason: Some(reason),
        message: Some(message),
    }
}

fn counted_decision(decision: &DecisionFact) -> CountedDecision {
    CountedDecision {
        decision: decision.name.clone(),
        by: decision.spec.by.clone().unwrap_or_default(),
        verdict: decision.spec.verdict,
        at: MicroTime(decision.created_at),
    }
}

/// Who decided what and when.
fn sentence(decision: &DecisionFact) -> String {
    let by = decision.spec.by.as_deref().unwrap_or_default();
    let did = match decision.spec.verdict {
        Verdict::Approve => "approved",
        Verdict::Reject => "rejected",
        Verdict::RequestChanges => "requested changes",
        Verdict::Delegate => "handed on their vote",
        Verdict::Withdraw => "withdrew",
    };
    format!("{} {did} at {}", visible(by), decision.created_at)
}

#[cfg(test)]
mod tests;
