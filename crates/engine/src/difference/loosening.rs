//! Changes that loosen control: fewer people asked, less often, about less, or more done without them.

use serde::Serialize;

use super::{
    ChangeKind, Subject,
    gates::{GateChange, Terms},
    report::{outcome, who},
    shown::name,
    steps::Pair,
};
use crate::kinds;
use signoff_api::{
    HumanDuration, Json, OrExpression, Step,
    step::{
        ApprovalRejectionOutcome, ApprovalTimeoutOutcome, ApproversTemplate, Delivery, EscalationTemplate,
        ForEach,
    },
};

/// One change that loosens control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Loosening {
    /// The step or gate where it shows.
    pub subject: Subject,
    /// In what way.
    pub kind: LooseningKind,
    /// What was, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What is to be, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What a kind of step says is looser than it was.
#[derive(Debug)]
pub(crate) struct Loosened {
    /// In what way.
    pub(crate) kind: LooseningKind,
    /// What was, in words.
    pub(crate) before: Option<String>,
    /// What is to be, in words.
    pub(crate) after: Option<String>,
}

/// In what way control is loosened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum LooseningKind {
    /// A gate is gone, or the step is no approval any more.
    GateRemoved,
    /// People are asked under another condition.
    ConditionChanged,
    /// Fewer people must approve, or as many as data says.
    QuorumLowered,
    /// Somebody may approve who could not.
    ApproversWidened,
    /// Data says who may approve.
    ApproversComputed,
    /// Somebody may approve after a while who could not by then.
    EscalationWidened,
    /// Who asked for it may approve it.
    SelfApprovalAllowed,
    /// It goes on when nobody answers, or does so sooner.
    ContinuesUnanswered,
    /// It goes on when people reject.
    ContinuesRejected,
    /// Another model is asked, or through another Connection.
    ModelChanged,
    /// The model of an agent may use another tool.
    ToolAdded,
    /// A tool of an agent does something else, or takes other arguments.
    ToolChanged,
    /// It goes on when a step fails, where the run ended.
    ContinuesFailed,
    /// A step acts after more outcomes of what it needs.
    NeedsWidened,
    /// A step acts after an approval under another condition.
    GuardChanged,
    /// Deciders no longer see something, and their decision is no longer bound to it.
    ShowsLess,
    /// Approvers may hand their vote on.
    DelegationAllowed,
    /// Deciders can no longer say no.
    CannotReject,
    /// A step no longer waits for an approval that is still there.
    NoLongerGuarded,
    /// An effect whose outcome is unknown is repeated, where a person was asked.
    RepeatsAllowed,
    /// People are asked about other items, or once where they were asked about each item.
    ItemsChanged,
    /// The other items go on when one fails.
    ContinuesItems,
    /// A callback is no longer checked in some way, or no longer waited for.
    CallbackCheckRemoved,
    /// The result of a task is no longer checked.
    TaskCheckRemoved,
    /// The output of a job is no longer checked.
    JobCheckRemoved,
    /// A step runs another release of a flow. What changed in that one is not compared here.
    OtherReleaseRun,
}

impl LooseningKind {
    /// The same for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::GateRemoved => "nobody is asked any more",
            Self::ConditionChanged => "people are asked under another condition",
            Self::QuorumLowered => "fewer people must approve",
            Self::ApproversWidened => "more people may approve",
            Self::ApproversComputed => "data says who may approve",
            Self::EscalationWidened => "more people may approve after a while",
            Self::SelfApprovalAllowed => "who asked for it may approve it",
            Self::ContinuesUnanswered => "goes on when nobody answers",
            Self::ContinuesRejected => "goes on when people reject",
            Self::ToolAdded => "the model may use another tool",
            Self::ToolChanged => "a tool does something else, or takes other arguments",
            Self::ModelChanged => "another model is asked, or through another Connection",
            Self::ContinuesFailed => "the run goes on when it fails",
            Self::NeedsWidened => "acts after more outcomes of an approval",
            Self::GuardChanged => "acts after an approval under another condition",
            Self::ShowsLess => "deciders no longer see something",
            Self::DelegationAllowed => "approvers may hand their vote on",
            Self::CannotReject => "deciders can no longer reject",
            Self::NoLongerGuarded => "no longer waits for an approval",
            Self::RepeatsAllowed => "may be repeated when its outcome is unknown",
            Self::ItemsChanged => "people are asked about other items",
            Self::ContinuesItems => "the other items go on when one fails",
            Self::CallbackCheckRemoved => "a check of the callback is gone",
            Self::TaskCheckRemoved => "the result of the task is no longer checked",
            Self::JobCheckRemoved => "the output of the job is no longer checked",
            Self::OtherReleaseRun => "another release runs here, which may ask fewer people: compare the two",
        }
    }
}

/// What a step loosens, its gate included.
pub(super) fn of_step(pair: &Pair<'_>, gate: Option<&GateChange>) -> Vec<Loosening> {
    let mut found = gate.map(of_gate).unwrap_or_default();
    let Pair::Kept { old, new, .. } = *pair else {
        return found;
    };
    let mut tell = |kind, before: Option<String>, after: Option<String>| {
        found.push(Loosening {
            subject: Subject::Step(new.name.clone()),
            kind,
            before,
            after,
        });
    };
    if is_at_most_once(old) && !is_at_most_once(new) {
        let (before, after) = ("AtMostOnce".to_owned(), "AtLeastOnce".to_owned());
        tell(LooseningKind::RepeatsAllowed, Some(before), Some(after));
    }
    if new.continues_after_failure() && !old.continues_after_failure() {
        let (before, after) = ("Fail".to_owned(), "Continue".to_owned());
        tell(LooseningKind::ContinuesFailed, Some(before), Some(after));
    }
    let continues = |step: &Step| step.for_each.as_ref().is_some_and(ForEach::continues);
    if continues(new) && !continues(old) {
        let (before, after) = ("Fail".to_owned(), "Continue".to_owned());
        tell(LooseningKind::ContinuesItems, Some(before), Some(after));
    }
    let items = |step: &Step| step.for_each.as_ref().map(|for_each| for_each.items.clone());
    let asks = |step: &Step| step.kind.as_kind().question().is_some();
    if asks(old) && asks(new) && items(old) != items(new) {
        let words = |items: Option<Json>| items.map(|items| items.0.to_string());
        tell(LooseningKind::ItemsChanged, words(items(old)), words(items(new)));
    }
    if old.kind.rules() == new.kind.rules() {
        for Loosened { kind, before, after } in kinds::of(&new.kind).loosened(kinds::of(&old.kind)) {
            tell(kind, before, after);
        }
    }
    found
}

/// What a change of the terms of a question loosens, where a kind asks it by itself.
pub(crate) fn loosened_terms(before: Terms, after: Terms) -> Vec<Loosened> {
    let change = GateChange {
        gate: Subject::Step(String::new()),
        change: ChangeKind::Changed,
        before: Some(before),
        after: Some(after),
    };
    let found = of_gate(&change).into_iter();
    found
        .map(
            |Loosening {
                 kind, before, after, ..
             }| Loosened { kind, before, after },
        )
        .collect()
}

/// What a change of a gate loosens.
pub(super) fn of_gate(change: &GateChange) -> Vec<Loosening> {
    let (before, after) = match (&change.before, &change.after) {
        (Some(before), Some(after)) => (before, after),
        (Some(before), None) => {
            return vec![Loosening {
                subject: change.gate.clone(),
                kind: LooseningKind::GateRemoved,
                before: Some(who(before.approvers.as_ref())),
                after: None,
            }];
        }
        (None, _) => return vec![],
    };
    let mut found = Vec::new();
    let mut tell = |kind, before: Option<String>, after: Option<String>| {
        found.push(Loosening {
            subject: change.gate.clone(),
            kind,
            before,
            after,
        });
    };
    let Terms {
        when,
        approvers,
        quorum,
        self_approval,
        respond_within,
        on_timeout,
        on_reject,
        escalate,
        changes: _, // going back and asking again loosens nothing
    } = after;
    if when.is_some() && *when != before.when {
        tell(LooseningKind::ConditionChanged, before.when.clone(), when.clone());
    }
    if is_lower(quorum, &before.quorum) {
        let (before, after) = (before.quorum.to_string(), quorum.to_string());
        tell(LooseningKind::QuorumLowered, Some(before), Some(after));
    }
    if wider(approvers.as_ref(), &[before.approvers.as_ref()]) {
        let (before, after) = (who(before.approvers.as_ref()), who(approvers.as_ref()));
        tell(LooseningKind::ApproversWidened, Some(before), Some(after));
    }
    let new = newly_computed(after, before);
    if !new.is_empty() {
        tell(LooseningKind::ApproversComputed, None, Some(new.join(", ")));
    }
    // with `approvers` absent everybody may decide already, but for service accounts
    for escalation in escalate {
        let EscalationTemplate { after, to } = escalation;
        let mut by_then = vec![before.approvers.as_ref(), approvers.as_ref()];
        let earlier = before.escalate.iter();
        by_then.extend(
            earlier
                .filter(|other| is_no_later(&other.after, after))
                .map(|other| Some(&other.to)),
        );
        if wider(Some(to), &by_then) {
            let after = format!("{} after {after}", who(Some(to)));
            tell(LooseningKind::EscalationWidened, None, Some(after));
        }
    }
    if *self_approval && !before.self_approval {
        tell(LooseningKind::SelfApprovalAllowed, None, None);
    }
    let then = answerless(before.on_timeout, before.respond_within.as_ref());
    let now = answerless(*on_timeout, respond_within.as_ref());
    if now.is_looser_than(&then) {
        tell(
            LooseningKind::ContinuesUnanswered,
            then.words(before.on_timeout),
            now.words(None),
        );
    }
    let continues = |on_reject| matches!(on_reject, Some(ApprovalRejectionOutcome::Continue));
    if continues(*on_reject) && !continues(before.on_reject) {
        let (before, after) = ("Reject".to_owned(), "Continue".to_owned());
        tell(LooseningKind::ContinuesRejected, Some(before), Some(after));
    }
    found
}

/// What happens when nobody answers.
pub(crate) enum Answerless<'a> {
    /// It stops, or waits on.
    Stops,
    /// It goes on after this span, if that is known.
    GoesOn(Option<&'a OrExpression<HumanDuration>>),
}

impl Answerless<'_> {
    /// Whether it goes on where it did not, or sooner.
    pub(crate) fn is_looser_than(&self, before: &Self) -> bool {
        match (before, self) {
            (_, Self::Stops) | (Self::GoesOn(_), Self::GoesOn(None)) => false,
            (Self::Stops | Self::GoesOn(None), Self::GoesOn(_)) => true,
            (Self::GoesOn(Some(before)), Self::GoesOn(Some(after))) => !is_no_later(before, after),
        }
    }

    pub(crate) fn words(&self, stops: Option<ApprovalTimeoutOutcome>) -> Option<String> {
        match self {
            Self::Stops => stops.map(|stops| outcome(stops).to_owned()),
            Self::GoesOn(None) => Some("Continue".to_owned()),
            Self::GoesOn(Some(after)) => Some(format!("Continue after {after}")),
        }
    }
}

fn answerless(
    on_timeout: Option<ApprovalTimeoutOutcome>,
    within: Option<&OrExpression<HumanDuration>>,
) -> Answerless<'_> {
    match on_timeout {
        Some(ApprovalTimeoutOutcome::Continue) => Answerless::GoesOn(within),
        Some(ApprovalTimeoutOutcome::Fail) | None => Answerless::Stops,
    }
}

fn is_at_most_once(step: &Step) -> bool {
    match step.delivery {
        Some(Delivery::AtMostOnce) => true,
        Some(Delivery::AtLeastOnce) | None => false,
    }
}

/// Whether a quorum may be lower than another. Of one that is computed, only that it is the same is known.
fn is_lower(after: &OrExpression<i64>, before: &OrExpression<i64>) -> bool {
    match (after, before) {
        (OrExpression::Literal(after), OrExpression::Literal(before)) => after < before,
        (OrExpression::Expression(_), _) | (_, OrExpression::Expression(_)) => after != before,
    }
}

/// Whether a span is known to be no longer than another.
fn is_no_later(span: &OrExpression<HumanDuration>, other: &OrExpression<HumanDuration>) -> bool {
    match (span, other) {
        (OrExpression::Literal(span), OrExpression::Literal(other)) => span.duration() <= other.duration(),
        (OrExpression::Expression(_), _) | (_, OrExpression::Expression(_)) => span == other,
    }
}

/// Whether a name comes from data.
fn is_computed(name: &str) -> bool {
    name.contains("${")
}

/// What lets people decide, is computed, and was not before.
fn newly_computed(after: &Terms, before: &Terms) -> Vec<String> {
    fn names(terms: &Terms) -> impl Iterator<Item = &String> {
        let escalated = terms.escalate.iter().map(|escalation| &escalation.to);
        let lists = terms.approvers.iter().chain(escalated);
        let names = lists.flat_map(|list| list.users.iter().chain(&list.groups));
        names.filter(|name| is_computed(name))
    }
    let new = names(after).filter(|name| !names(before).any(|other| other == *name));
    new.map(|text| name(text)).collect()
}

/// Whether a list lets somebody decide whom none of the others does. No list at all means everybody but service
/// accounts. Computed names are told of elsewhere.
fn wider(after: Option<&ApproversTemplate>, before: &[Option<&ApproversTemplate>]) -> bool {
    let everybody = before.iter().any(Option::is_none);
    let Some(after) = after else {
        return !everybody;
    };
    let ApproversTemplate {
        users,
        groups,
        exclude,
        service_accounts,
    } = after;
    let known = |of: fn(&ApproversTemplate) -> &Vec<String>, name: &String| {
        before.iter().flatten().any(|list| of(list).contains(name))
    };
    let new = |names: &[String], of: fn(&ApproversTemplate) -> &Vec<String>| {
        names.iter().any(|name| !is_computed(name) && !known(of, name))
    };
    let new_user = new(users, |list| &list.users);
    let new_group = new(groups, |list| &list.groups);
    let new_account = service_accounts
        .iter()
        .any(|name| !known(|list| &list.service_accounts, name));
    // whoever is left out of each list before is let in where this one does not leave them out
    let let_in = before.first().copied().flatten().is_some_and(|first| {
        let mut gone = first.exclude.iter().filter(|name| !exclude.contains(name));
        gone.any(|name| before.iter().flatten().all(|list| list.exclude.contains(name)))
    });
    let opened = is_everybody_else(after) && !before.iter().flatten().any(|list| is_everybody_else(list));
    new_account || (!everybody && (new_user || new_group || let_in || opened))
}

fn is_everybody_else(list: &ApproversTemplate) -> bool {
    list.users.is_empty()
        && list.groups.is_empty()
        && list.service_accounts.is_empty()
        && !list.exclude.is_empty()
}
