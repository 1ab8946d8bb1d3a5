//! `approval`: ask people.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Rules};
use crate::{
    HumanDuration, Json, MediaType, OrExpression, Quorum, approval::AskVia, name::LABEL, run::StepOutcome,
};

/// A question, what people see with it, and who may decide.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStep {
    /// The question. It may contain `${…}` expressions.
    #[schemars(length(min = 1, max = 1024))]
    pub title: String,
    /// Items that people see before they decide. The decision is bound to their exact content by a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub show: Option<Vec<ShowItem>>,
    /// Flat JSON Schema of the fields that a decider may fill in: strings, numbers, integers, booleans, and lists of
    /// them. `default` and `enum` may be or hold `${…}` expressions. The values become `steps.<name>.decision.values`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Json>,
    /// Limits who may decide. A decider also needs the verb `approve`. Without this field, everybody with the verb
    /// may decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<ApproversTemplate>,
    /// Number of people who must approve, from 1 to 50, or one `${…}` expression that gives it. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<OrExpression<Quorum>>,
    /// Whether the person who requested the run, and the author of the release, may approve. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_approval: Option<bool>,
    /// Verdicts that people can choose from: `[Approve]`, or `[Approve, Reject]`, which is the default. `changes` adds
    /// `RequestChanges`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2))]
    pub verdicts: Option<Vec<OfferedVerdict>>,
    /// Time limit for the answer: a duration, or one `${…}` expression that gives one of at least 1m. Without it, the
    /// question stays open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond_within: Option<OrExpression<HumanDuration>>,
    /// What happens when `respondWithin` is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<ApprovalTimeout>,
    /// What happens when people reject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_reject: Option<ApprovalRejection>,
    /// How often an Event reminds people while the question is open, counted from the time of asking: a duration of at
    /// least 5m, or one `${…}` expression that gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_every: Option<OrExpression<HumanDuration>>,
    /// Rules that let more people decide if the question stays open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub escalate: Option<Vec<EscalationTemplate>>,
    /// Whether approvers may hand their vote on to somebody else who has the verb `approve`, in at most 3 hops. Defaults
    /// to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegate: Option<bool>,
    /// What "request changes" does. Without this field, that answer is not available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// How the question is also asked in the git repository that the flow comes from. Defaults to `decisions.propose`
    /// of the Repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_via: Option<AskVia>,
}

impl Kind for ApprovalStep {
    fn rules(&self) -> &'static Rules {
        &Rules {
            key: "approval",
            attempts: false,
            retries: false,
            delivery: false,
            has_effect: false,
            is_billable: false,
        }
    }

    fn question(&self) -> Option<&ApprovalStep> {
        Some(self)
    }

    fn may_continue_after_failure(&self) -> bool {
        false
    }

    fn outcomes(&self) -> Vec<StepOutcome> {
        let mut outcomes = vec![StepOutcome::Approved];
        outcomes.extend(self.continuing());
        outcomes
    }
}

/// Verdict that a question offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OfferedVerdict {
    /// Yes.
    Approve,
    /// No.
    Reject,
}

impl ApprovalStep {
    /// Whether people can say no.
    pub fn offers_rejection(&self) -> bool {
        let offered = self.verdicts.as_ref();
        offered.is_none_or(|offered| offered.contains(&OfferedVerdict::Reject))
    }

    /// The outcomes other than `Approved` with which the run goes on. Later steps with an effect must look at them.
    pub fn continuing(&self) -> Vec<StepOutcome> {
        let rejected = match self.on_reject.as_ref().map(|then| then.outcome) {
            Some(ApprovalRejectionOutcome::Continue) => Some(StepOutcome::Rejected),
            Some(ApprovalRejectionOutcome::Reject) | None => None,
        };
        let late = match self.on_timeout.as_ref().map(|then| then.outcome) {
            Some(ApprovalTimeoutOutcome::Continue) => Some(StepOutcome::TimedOut),
            Some(ApprovalTimeoutOutcome::Fail) | None => None,
        };
        rejected.into_iter().chain(late).collect()
    }
}

/// A name and a value that is shown.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShowItem {
    /// Name of the item, unique in the list.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Value of the item. Strings may contain `${…}` expressions. A picture or a sound is text in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
    /// Instead of a value, the name of a later step that calls: people see the request that it will send. It is sent
    /// as they saw it, or not at all. The request may read only what is known when the question is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub step: Option<String>,
    /// How to show it: `application/json`, `text/markdown`, `text/x-diff`, `text/plain`, or a type of `image` or
    /// `audio`. Defaults to `text/plain` for text, and to `application/json` for other values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// Lets deciders change the item before they approve it. Later steps read `steps.<name>.decision.shown.<item>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub editable: Option<Editable>,
}

/// Values that an item may be changed to.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Editable {
    /// JSON Schema of the item. The item itself must match it too.
    pub schema: Json,
}

/// A decider must be in one of the lists, and not in `exclude`. With nothing but `exclude`, everybody else with the verb
/// `approve` may decide. If all lists are empty, nobody may.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approvers {
    /// User names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub users: Vec<String>,
    /// Group names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub groups: Vec<String>,
    /// Users who may not decide, in upper or lower case. Of `approvers`, this holds after escalation too. Of an
    /// escalation, they cannot decide because of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub exclude: Vec<String>,
    /// Service accounts, as `<namespace>:<name>`. The decision of a service account that is not listed never counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 3, max = 317)))]
    pub service_accounts: Vec<String>,
}

impl Approvers {
    /// Whether it only says who may not decide.
    pub fn is_everybody_else(&self) -> bool {
        let Self {
            users,
            groups,
            exclude,
            service_accounts,
        } = self;
        users.is_empty() && groups.is_empty() && service_accounts.is_empty() && !exclude.is_empty()
    }

    /// Whether it says that a user may not decide. Directories do not agree on upper and lower case, so neither counts.
    pub fn excludes(&self, user: &str) -> bool {
        let user = user.to_lowercase();
        self.exclude.iter().any(|name| name.to_lowercase() == user)
    }
}

/// A decider must be in one of the lists, and not in `exclude`. With nothing but `exclude`, everybody else with the verb
/// `approve` may decide. Elements of `users`, `groups` and `exclude` may contain `${…}` expressions, read when the
/// question is asked. An element that is one expression may give a list of names. If nobody is left, the step fails.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApproversTemplate {
    /// User names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 4096)))]
    pub users: Vec<String>,
    /// Group names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 4096)))]
    pub groups: Vec<String>,
    /// Users who may not decide, in upper or lower case. Of `approvers`, this holds after escalation too. Of an
    /// escalation, they cannot decide because of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 4096)))]
    pub exclude: Vec<String>,
    /// Service accounts, as `<namespace>:<name>`, without expressions. The decision of a service account that is not
    /// listed never counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 3, max = 317)))]
    pub service_accounts: Vec<String>,
}

impl From<&Approvers> for ApproversTemplate {
    fn from(approvers: &Approvers) -> Self {
        let Approvers {
            users,
            groups,
            exclude,
            service_accounts,
        } = approvers.clone();
        Self {
            users,
            groups,
            exclude,
            service_accounts,
        }
    }
}

/// More people and the time from which they may decide.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Escalation {
    /// Time after the question was asked.
    pub after: HumanDuration,
    /// People who may decide from then on, in addition to those who already could.
    pub to: Approvers,
}

/// More people and the time from which they may decide.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EscalationTemplate {
    /// Time after the question was asked: a duration, or one `${…}` expression that gives one.
    pub after: OrExpression<HumanDuration>,
    /// People who may decide from then on, in addition to those who already could.
    pub to: ApproversTemplate,
}

impl From<&Escalation> for EscalationTemplate {
    fn from(escalation: &Escalation) -> Self {
        Self {
            after: OrExpression::Literal(escalation.after.clone()),
            to: ApproversTemplate::from(&escalation.to),
        }
    }
}

/// Result of an approval that nobody decided in time.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalTimeout {
    /// `Fail`: the run ends as `TimedOut`. `Continue`: the run goes on, and the outcome of the step is `TimedOut`.
    /// Without `onTimeout` it is `Fail`.
    pub outcome: ApprovalTimeoutOutcome,
}

/// Result of an approval that nobody decided in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalTimeoutOutcome {
    /// The run ends as `TimedOut`.
    Fail,
    /// The run goes on. The outcome of the step is `TimedOut`.
    Continue,
}

/// Result of an approval that people rejected.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRejection {
    /// `Reject`: the run ends as `Rejected`. `Continue`: the run goes on, and the outcome of the step is `Rejected`.
    /// Every later step with an effect must then look at that outcome. Without `onReject` it is `Reject`.
    pub outcome: ApprovalRejectionOutcome,
}

/// Result of an approval that people rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalRejectionOutcome {
    /// The run ends as `Rejected`.
    Reject,
    /// The run goes on. The outcome of the step is `Rejected`.
    Continue,
}

/// The run goes back to an earlier step and repeats everything from there to this step.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// Step to go back to. There, `${steps.<this step>.?previous.decision.comment.orValue('')}` is the comment. In the
    /// first pass there is no previous one.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub back_to: String,
    /// How often changes may be requested. One more request fails the step. Defaults to 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub max: Option<i64>,
}
