//! Votes that are handed on and taken back. Each hop is a Decision of its own.

use super::{
    DecisionFact, SERVICE_ACCOUNT, VoteCount, allows, counted, has_counted, names_service_account, refused,
};
use signoff_api::{Verdict, approval::Delegation, decision::DecisionReason};

/// How often a vote is handed on.
const MAX_HOPS: usize = 3;

impl<'a> VoteCount<'a> {
    /// Whether somebody handed their vote on to this user.
    pub(super) fn holds_vote(&self, by: &str) -> bool {
        self.hops(by) > 0
    }

    /// How often the vote that somebody holds was handed on.
    fn hops(&self, by: &str) -> usize {
        let handed = self.delegations.iter();
        let to = handed.filter(|(_, decision)| decision.spec.to.as_deref() == Some(by));
        // nobody hands on twice, so there is no circle
        let from = to.map(|(from, _)| self.hops(from) + 1);
        from.max().unwrap_or_default()
    }

    /// Whether it handed a vote on, or took one back, while the question that is closed now was open.
    pub(super) fn is_hop_of_answer(&self, decision: &DecisionFact) -> bool {
        let hop = |hop: &Delegation| hop.decision == decision.name;
        match decision.spec.verdict {
            Verdict::Delegate => has_counted(decision) || self.before.delegations.iter().any(hop),
            Verdict::Withdraw => has_counted(decision),
            Verdict::Approve | Verdict::Reject | Verdict::RequestChanges => false,
        }
    }

    /// Why somebody cannot decide who handed their vote on.
    pub(super) fn delegated(&self, decision: &DecisionFact) -> Option<(DecisionReason, String)> {
        let by = decision.spec.by.as_deref()?;
        let handed = self.delegations.get(by)?;
        let to = handed.spec.to.as_deref().unwrap_or_default();
        (decision.spec.verdict != Verdict::Withdraw && handed.name != decision.name).then(|| {
            let message = format!("{by} handed their vote on to {to}: withdraw that first");
            (DecisionReason::Delegated, message)
        })
    }

    /// Hands a vote on.
    pub(super) fn delegate(&mut self, decision: &'a DecisionFact) {
        let by = decision.spec.by.clone().unwrap_or_default();
        if let Some(why) = self.why_not(&by, decision) {
            let status = refused(DecisionReason::InvalidDelegation, &why);
            return self.judged.push((decision.name.clone(), status));
        }
        self.take_back(&by, &format!("{by} handed their vote on"));
        self.forget_withdrawn();
        self.delegations.insert(by, decision);
        self.judged.push((decision.name.clone(), counted()));
    }

    fn why_not(&self, by: &str, decision: &DecisionFact) -> Option<String> {
        let Some(to) = decision.spec.to.as_deref() else {
            return Some("it does not say to whom".to_owned());
        };
        let lists = self.approvers_at(decision.created_at);
        let is_service_account =
            to.starts_with(SERVICE_ACCOUNT) && !lists.iter().any(|list| names_service_account(list, to));
        if to == by {
            Some(format!("{by} has the vote already"))
        } else if self.delegations.contains_key(to) {
            Some(format!("{to} handed their own vote on"))
        } else if self.spec.approvers.as_ref().is_some_and(|list| list.excludes(to)) {
            Some(format!("{to} is excluded from the approvers"))
        } else if is_service_account {
            Some(format!(
                "{to} is a service account, and the approval names none of that name"
            ))
        } else if self.hops(by) >= MAX_HOPS {
            Some(format!("the vote was handed on {MAX_HOPS} times already"))
        } else if self.spec.self_approval {
            None
        } else {
            self.self_approval(to)
        }
    }

    /// Takes back what somebody said or handed on.
    pub(super) fn withdraw(&mut self, decision: &'a DecisionFact) {
        let by = decision.spec.by.clone().unwrap_or_default();
        let had_voted = self.take_back(&by, &format!("{by} withdrew it"));
        self.amenders.retain(|_, first| first.spec.by != decision.spec.by);
        let proposal = self
            .newest
            .filter(|newest| !had_voted && newest.spec.by == decision.spec.by);
        if let Some(proposal) = proposal {
            let status = refused(DecisionReason::Withdrawn, &format!("{by} withdrew it"));
            self.set(&proposal.name, status);
        }
        let handed = self.delegations.remove(&by);
        if let Some(handed) = handed {
            let status = refused(DecisionReason::Withdrawn, &format!("{by} withdrew it"));
            self.set(&handed.name, status);
            self.revoke(handed.spec.to.as_deref().unwrap_or_default());
        }
        self.forget_withdrawn();
        let status = if had_voted || proposal.is_some() || handed.is_some() {
            counted()
        } else {
            refused(
                DecisionReason::NothingToWithdraw,
                &format!("{by} has said nothing that counts"),
            )
        };
        self.judged.push((decision.name.clone(), status));
    }

    /// What is approved is said by those who are left.
    fn forget_withdrawn(&mut self) {
        let is_withdrawn = |newest: &DecisionFact| {
            let mut judged = self.judged.iter();
            judged.any(|(name, status)| {
                *name == newest.name && status.reason == Some(DecisionReason::Withdrawn)
            })
        };
        if self.newest.is_some_and(is_withdrawn) {
            let votes = self.standing.values();
            let approvals = votes.filter(|vote| vote.spec.verdict == Verdict::Approve);
            self.newest = approvals.max_by_key(|vote| vote.created_at).copied();
        }
    }

    /// Takes a vote out of the count; false if there is none.
    fn take_back(&mut self, by: &str, why: &str) -> bool {
        let Some(earlier) = self.standing.remove(by) else {
            return false;
        };
        self.set(&earlier.name, refused(DecisionReason::Withdrawn, why));
        true
    }

    /// Somebody no longer holds a vote that was handed on to them. Their own stays.
    fn revoke(&mut self, from: &str) {
        if self.holds_vote(from) {
            return;
        }
        let why = "the vote was taken back by whoever handed it on";
        if self
            .standing
            .get(from)
            .is_some_and(|vote| !self.has_own_vote(vote))
        {
            self.take_back(from, why);
        }
        let handed = self.delegations.get(from).copied();
        if let Some(handed) = handed.filter(|handed| !self.has_own_vote(handed)) {
            self.delegations.remove(from);
            self.set(&handed.name, refused(DecisionReason::Withdrawn, why));
            self.revoke(handed.spec.to.as_deref().unwrap_or_default());
        }
    }

    /// Whether somebody may decide whatever was handed on to them.
    fn has_own_vote(&self, decision: &DecisionFact) -> bool {
        let by = decision.spec.by.as_deref().unwrap_or_default();
        let groups = decision.spec.groups.as_deref().unwrap_or_default();
        let lists = self.approvers_at(decision.created_at);
        self.spec.approvers.is_none() || lists.iter().any(|list| allows(list, by, groups))
    }

    /// The votes that were handed on, for the status.
    pub(super) fn handed_on(&self) -> Vec<Delegation> {
        let all = self.delegations.iter().take(100);
        all.map(|(from, decision)| Delegation {
            from: from.clone(),
            to: decision.spec.to.clone().unwrap_or_default(),
            decision: decision.name.clone(),
        })
        .collect()
    }
}
