//! What an answer would come to, told before it is given.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

use super::{ActsAs, DecisionFact, Judgement, Proof, judge};
use signoff_api::{
    Approval, ApprovalPhase, ApprovalSpec, ApprovalStatus, Decision, DecisionSpec, Verdict,
    approval::CountedDecision, decision::DecisionReason,
};

/// Name of the answer that is not given yet. No object has such a name.
const NOT_GIVEN: &str = "(not given yet)";

/// How many approve, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// People whose approval counts.
    pub approved: i64,
    /// People who must approve.
    pub quorum: i64,
}

impl Tally {
    /// The tally of a question as it stands.
    pub fn of(spec: &ApprovalSpec, status: &ApprovalStatus) -> Self {
        let approve = |counted: &&CountedDecision| counted.verdict == Verdict::Approve;
        let approved = status.counted.iter().filter(approve).count();
        Self {
            approved: i64::try_from(approved).unwrap_or(i64::MAX),
            quorum: spec.quorum,
        }
    }
}

/// Why an answer would not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Machine-readable.
    pub reason: DecisionReason,
    /// For people.
    pub message: String,
}

/// What an answer would come to if it were given now.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// Why it would not count.
    pub refused: Option<Refused>,
    /// How the question would stand.
    pub phase: ApprovalPhase,
    /// The tally then.
    pub tally: Tally,
    /// What would be needed then.
    pub needs: Option<String>,
    /// Names of the decisions that count now and would be set aside, since they have other values.
    pub set_aside: Vec<String>,
    /// Name of the earlier decision of the same person that it would replace.
    pub replaces: Option<String>,
    /// Whether it would change what is shown, for somebody else to approve.
    pub proposes: bool,
}

/// A user as the API server knows them, and their groups.
pub type Caller = (String, Vec<String>);

/// What the answer of a user to a question comes to, if they give it at `now`.
pub fn preview_for(
    (by, groups): &Caller,
    approval: &Approval,
    decisions: &[&Decision],
    answer: &DecisionSpec,
    now: Timestamp,
) -> Preview {
    let created = |time: Option<&Time>| time.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let fact = |decision: &&Decision| DecisionFact {
        name: decision.metadata.name.clone().unwrap_or_default(),
        uid: decision.metadata.uid.clone().unwrap_or_default(),
        created_at: created(decision.metadata.creation_timestamp.as_ref()),
        spec: decision.spec.clone(),
        judged: decision.status.clone(),
        // the operator asks that
        acts_as: ActsAs::Nobody,
    };
    let facts: Vec<DecisionFact> = decisions.iter().map(fact).collect();
    let answer = DecisionSpec {
        by: Some(by.clone()),
        groups: Some(groups.clone()),
        ..answer.clone()
    };
    let status = approval.status.clone().unwrap_or_default();
    let created = created(approval.metadata.creation_timestamp.as_ref());
    preview(&approval.spec, created, &status, &facts, answer, now)
}

/// Why an approval by a user would not count, if it would not. What they would fill in or change is not looked at.
pub fn refusal_of(
    caller: &Caller,
    approval: &Approval,
    decisions: &[&Decision],
    now: Timestamp,
) -> Option<String> {
    let name = approval.metadata.name.as_deref().unwrap_or_default();
    let answer = DecisionSpec {
        approval: name.parse().ok()?,
        digest: approval.spec.digest.clone(),
        verdict: Verdict::Approve,
        comment: None,
        values: None,
        shown: None,
        to: None,
        by: None,
        groups: None,
        via: None,
    };
    let refused = preview_for(caller, approval, decisions, &answer, now).refused?;
    (refused.reason != DecisionReason::InvalidValues).then_some(refused.message)
}

/// Judges an answer as if the API server had taken it at `now`.
pub fn preview(
    spec: &ApprovalSpec,
    created_at: Timestamp,
    status: &ApprovalStatus,
    decisions: &[DecisionFact],
    answer: DecisionSpec,
    now: Timestamp,
) -> Preview {
    // times of the server are in whole seconds, and clocks differ: it comes after all that is there
    let latest = decisions.iter().map(|decision| decision.created_at).max();
    let latest = latest.unwrap_or(created_at).max(created_at);
    let after = latest.checked_add(SignedDuration::from_secs(1)).unwrap_or(latest);
    let mut all = decisions.to_vec();
    all.push(DecisionFact {
        name: NOT_GIVEN.to_owned(),
        uid: NOT_GIVEN.to_owned(),
        created_at: now.max(after),
        spec: answer,
        judged: None,
        // the operator asks that
        acts_as: ActsAs::Nobody,
    });
    // whether the server proves who decides is found out when it is sent
    let proof = Proof::Proven {
        since: None,
        written: None,
    };
    let Judgement {
        status: next,
        decisions: judged,
    } = judge(spec, created_at, status, &all, None, proof);
    let ours = judged.iter().find(|(name, _)| name == NOT_GIVEN);
    let proposes = ours.is_some_and(|(_, status)| status.reason == Some(DecisionReason::AmendmentProposed));
    let refused = ours
        .filter(|(_, status)| status.counted == Some(false) && !proposes)
        .map(|(_, status)| Refused {
            reason: status.reason.unwrap_or(DecisionReason::IdentityUnverified),
            message: status.message.clone().unwrap_or_default(),
        });
    let counted_now = |name: &str| status.counted.iter().any(|counted| counted.decision == name);
    let lost = |reason: DecisionReason| {
        judged
            .iter()
            .filter(move |(name, status)| status.reason == Some(reason) && counted_now(name))
            .map(|(name, _)| name.clone())
    };
    Preview {
        refused,
        phase: next.phase,
        tally: Tally::of(spec, &next),
        needs: next.needs.clone(),
        set_aside: lost(DecisionReason::Amended).collect(),
        replaces: lost(DecisionReason::Replaced).next(),
        proposes,
    }
}
