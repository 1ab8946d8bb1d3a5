//! Why a decision does not count.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{ActsAs, DecisionFact, SERVICE_ACCOUNT, VoteCount, amendment, sentence};
use signoff_api::{ApprovalPhase, ApprovalStatus, Verdict, decision::DecisionReason, step::Approvers};

impl<'a> VoteCount<'a> {
    /// Why a decision does not count, if it does not.
    pub(super) fn refusal(&self, decision: &DecisionFact) -> Option<(DecisionReason, String)> {
        let spec = &decision.spec;
        if let Some(message) = self.unproven(decision) {
            return Some((DecisionReason::IdentityUnverified, message));
        }
        let Some(by) = spec.by.as_deref() else {
            return Some((
                DecisionReason::IdentityUnverified,
                "it does not say who decided".to_owned(),
            ));
        };
        if spec.digest != self.spec.digest {
            let message = format!(
                "it is about {}, but what was shown has {}",
                spec.digest, self.spec.digest
            );
            return Some((DecisionReason::DigestMismatch, message));
        }
        if decision.created_at < self.created_at {
            let message = format!(
                "it is older than the question, which was put at {}: it may answer an earlier one of the same name",
                self.created_at
            );
            return Some((DecisionReason::TooEarly, message));
        }
        let approvers = self.approvers_at(decision.created_at);
        if by.starts_with(SERVICE_ACCOUNT) && !approvers.iter().any(|list| names_service_account(list, by)) {
            let message = format!("{by} is a service account, and the approval names none of that name");
            return Some((DecisionReason::ServiceAccount, message));
        }
        if !self.spec.self_approval
            && let Some(message) = self.self_approval(by)
        {
            return Some((DecisionReason::SelfApproval, message));
        }
        if !self.spec.self_approval
            && let ActsAs::Account { account, how } = &decision.acts_as
        {
            let message = format!(
                "{account} asked for it or wrote it, and {by} {how}, so that it may have been {by}: somebody who cannot act as that account decides"
            );
            return Some((DecisionReason::ActsAsRequester, message));
        }
        if self.spec.approvers.as_ref().is_some_and(|list| list.excludes(by)) {
            let message = format!("{by} is excluded from the approvers");
            return Some((DecisionReason::NotAnApprover, message));
        }
        let groups = spec.groups.as_deref().unwrap_or_default();
        if self.spec.approvers.is_some()
            && !approvers.iter().any(|list| allows(list, by, groups))
            && !self.holds_vote(by)
            && !self.is_part_of_answer(decision)
        {
            let message = format!("{by} is not among the approvers ({})", describe(&approvers));
            return Some((DecisionReason::NotAnApprover, message));
        }
        if spec.verdict != Verdict::Withdraw && !self.spec.verdicts.contains(&spec.verdict) {
            let offered: Vec<String> = self.spec.verdicts.iter().map(ToString::to_string).collect();
            let message = format!(
                "{} is not on offer here; choose {}",
                spec.verdict,
                offered.join(" or ")
            );
            return Some((DecisionReason::VerdictNotOffered, message));
        }
        // what nobody asked for is never filled in; what is asked for is only needed to approve
        let problems = match spec.verdict {
            Verdict::Approve => self.form.problems(spec.values.as_ref()),
            Verdict::Reject | Verdict::RequestChanges | Verdict::Delegate | Verdict::Withdraw => {
                self.form.unknown(spec.values.as_ref())
            }
        };
        let changes = amendment::problems_of_changes(self.spec, spec.shown.as_ref());
        let problems: Vec<String> = problems.into_iter().chain(changes).collect();
        if !problems.is_empty() {
            return Some((DecisionReason::InvalidValues, problems.join("; ")));
        }
        self.too_late(decision).or_else(|| self.delegated(decision))
    }

    /// Whether it is among those that made the answer of a question that is closed.
    fn is_part_of_answer(&self, decision: &DecisionFact) -> bool {
        let mut counted = self.before.counted.iter();
        self.before.phase.is_closed() && counted.any(|counted| counted.decision == decision.name)
    }

    fn too_late(&self, decision: &DecisionFact) -> Option<(DecisionReason, String)> {
        if self.before.phase.is_closed() {
            let part_of_it = self.is_part_of_answer(decision);
            return (!part_of_it).then(|| closed_before(self.before));
        }
        if let Some(closing) = self.closing {
            return Some((DecisionReason::AlreadyDecided, sentence(closing)));
        }
        let deadline = self.spec.expires_at.as_ref()?.0;
        (decision.created_at >= deadline).then(|| {
            (
                DecisionReason::Expired,
                format!("the time to decide was over at {deadline}"),
            )
        })
    }

    pub(super) fn self_approval(&self, by: &str) -> Option<String> {
        if self.spec.requested_by.as_deref() == Some(by) {
            return Some(format!("{by} asked for it, and may not decide on it as well"));
        }
        let mut parents = self.spec.parents.iter();
        if let Some(parent) = parents.find(|run| run.requested_by.as_deref() == Some(by)) {
            let run = &parent.run;
            let message =
                format!("{by} asked for run {run}, which led to it, and may not decide on it as well");
            return Some(message);
        }
        if self.spec.earlier_requesters.iter().any(|one| one == by) {
            let message = format!("{by} asked for a run that led to it, and may not decide on it as well");
            return Some(message);
        }
        let claimed = |author: &str| author == by || author.ends_with(&format!("<{by}>"));
        let mut parents = self.spec.parents.iter();
        if let Some(parent) = parents.find(|run| run.author.as_deref().is_some_and(claimed)) {
            let (flow, run) = (&parent.flow, &parent.run);
            let message = format!(
                "{by} wrote flow {flow}, whose run {run} led to it, and may not decide on it as well"
            );
            return Some(message);
        }
        let wrote = self.spec.author.as_deref().is_some_and(claimed)
            || self.spec.written_by.iter().any(|one| one == by);
        wrote.then(|| format!("{by} wrote it, and may not decide on it as well"))
    }

    /// The lists of people who may decide at a time: the approval's own and those it has escalated to.
    pub(super) fn approvers_at(&self, at: Timestamp) -> Vec<&'a Approvers> {
        let escalated = self.spec.escalate.iter().filter(|escalation| {
            SignedDuration::try_from(escalation.after.duration())
                .ok()
                .and_then(|after| self.created_at.checked_add(after).ok())
                .is_some_and(|from| from <= at)
        });
        self.spec
            .approvers
            .iter()
            .chain(escalated.map(|escalation| &escalation.to))
            .collect()
    }
}

fn closed_before(status: &ApprovalStatus) -> (DecisionReason, String) {
    let reason = match status.phase {
        ApprovalPhase::Expired => DecisionReason::Expired,
        ApprovalPhase::Cancelled => DecisionReason::Cancelled,
        ApprovalPhase::Superseded => DecisionReason::Superseded,
        _ => DecisionReason::AlreadyDecided,
    };
    let message = status
        .message
        .clone()
        .unwrap_or_else(|| format!("the question is closed ({})", status.phase));
    (reason, message)
}

pub(super) fn allows(approvers: &Approvers, by: &str, groups: &[String]) -> bool {
    let is_named = approvers.users.iter().any(|user| user == by)
        || approvers.groups.iter().any(|group| groups.contains(group))
        || approvers.is_everybody_else()
        || names_service_account(approvers, by);
    is_named && !approvers.excludes(by)
}

pub(super) fn names_service_account(approvers: &Approvers, by: &str) -> bool {
    by.strip_prefix(SERVICE_ACCOUNT)
        .is_some_and(|account| approvers.service_accounts.iter().any(|named| named == account))
}

pub(super) fn describe(lists: &[&Approvers]) -> String {
    let names: Vec<&str> = lists
        .iter()
        .flat_map(|list| {
            list.groups
                .iter()
                .chain(&list.users)
                .chain(&list.service_accounts)
        })
        .map(String::as_str)
        .collect();
    let excluded: Vec<&str> = lists
        .iter()
        .flat_map(|list| &list.exclude)
        .map(String::as_str)
        .collect();
    let named = if lists.iter().any(|list| list.is_everybody_else()) {
        "anybody who may approve".to_owned()
    } else if names.is_empty() {
        "nobody".to_owned()
    } else {
        names.join(" or ")
    };
    if excluded.is_empty() {
        named
    } else {
        format!("{named}, but not {}", excluded.join(" or "))
    }
}
