//! The report both renderers print: sections, items and rows, in which what we say is kept apart from what a definition says.

use serde_json::Value;

use super::{
    ChangeKind, Difference, Subject,
    fields::FieldChange,
    gates::{GateChange, Terms},
    inputs::InputChange,
    loosening::{Loosening, LooseningKind},
    shown,
    steps::{Order, StepChange, StepChangeKind},
};
use signoff_api::step::{
    ApprovalRejectionOutcome, ApprovalTimeoutOutcome, ApproversTemplate, Changes, EscalationTemplate,
};

/// A piece of text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Words of this program.
    Ours(String),
    /// Text of a definition, on one line and with nothing invisible in it.
    Theirs(String),
}

/// What happened, as a mark in front of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Added,
    Removed,
    Changed,
    Moved,
    Loosens,
}

/// Before and after; one of them alone where there is nothing to compare it with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) before: Option<Piece>,
    pub(super) after: Option<Piece>,
}

/// A named value that changed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) label: Piece,
    pub(super) values: Pair,
}

/// One change: a title, maybe a value, maybe rows of values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) mark: Mark,
    pub(super) title: Vec<Piece>,
    pub(super) values: Option<Pair>,
    pub(super) rows: Vec<Row>,
}

/// Changes of one sort.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) items: Vec<Item>,
}

/// The whole report.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    /// One sentence of ours that counts everything.
    pub(super) summary: String,
    /// Only sections that have items; what a reviewer must see comes first.
    pub(super) sections: Vec<Section>,
}

impl Report {
    pub(super) fn of(difference: &Difference) -> Self {
        let Difference {
            first: _, // the summary says it
            loosenings,
            gates,
            order,
            steps,
            finally,
            dependencies,
            inputs,
            input_rules,
            output,
            promotion,
            description,
            triggers,
            concurrency,
            retention,
            notifications,
        } = difference;
        let gated = |subject: &Subject| gates.iter().any(|gate| gate.gate == *subject);
        let order = order.map(|order| {
            let text = match order.after {
                Order::Graph => "the steps are a graph now",
                Order::Sequence => "the steps run one after another now",
            };
            Item::of(Mark::Changed, vec![ours(text)])
        });
        let steps = steps
            .iter()
            .filter_map(|change| step(change, gated(&Subject::Step(change.step.clone()))));
        let last = finally
            .iter()
            .filter_map(|change| step(change, gated(&Subject::Step(change.step.clone()))));
        let promotion = if gated(&Subject::Promotion) {
            &[][..]
        } else {
            promotion
        };
        let sections = [
            ("Loosens control", loosenings.iter().map(loosening).collect()),
            ("Who may approve", gates.iter().map(gate).collect()),
            ("Steps", order.into_iter().chain(steps).collect()),
            ("Finally", last.collect()),
            ("Releases of flows that it runs", fields(dependencies).collect()),
            (
                "Inputs",
                inputs.iter().map(input).chain(fields(input_rules)).collect(),
            ),
            ("Triggers", fields(triggers).collect()),
            ("Concurrency", fields(concurrency).collect()),
            ("Retention", fields(retention).collect()),
            ("Notifications", fields(notifications).collect()),
            ("Output", fields(output).collect()),
            ("Promotion", fields(promotion).collect()),
            ("Description", fields(description).collect()),
        ];
        Self {
            summary: summary(difference),
            sections: sections
                .into_iter()
                .map(|(title, items): (_, Vec<Item>)| Section { title, items })
                .filter(|section| !section.items.is_empty())
                .collect(),
        }
    }
}

impl Item {
    fn of(mark: Mark, title: Vec<Piece>) -> Self {
        Self {
            mark,
            title,
            values: None,
            rows: vec![],
        }
    }
}

fn ours(text: impl Into<String>) -> Piece {
    Piece::Ours(text.into())
}

fn theirs(text: &str) -> Piece {
    Piece::Theirs(shown::excerpt(&shown::text(text)))
}

/// Text of ours in which names are quoted already.
fn words(text: &str) -> Piece {
    Piece::Theirs(shown::excerpt(text))
}

fn summary(difference: &Difference) -> String {
    if difference.is_empty() {
        return "no difference".to_owned();
    }
    let loosenings = match difference.loosenings.len() {
        0 => None,
        1 => Some("1 change loosens control".to_owned()),
        n => Some(format!("{n} changes loosen control")),
    };
    let all = || difference.steps.iter().chain(&difference.finally);
    let steps = |kind| all().filter(|step| step.change == kind).count();
    let counts = [
        (steps(StepChangeKind::Added), "step", "added"),
        (steps(StepChangeKind::Removed), "step", "removed"),
        (steps(StepChangeKind::Moved), "step", "moved"),
        (steps(StepChangeKind::Changed), "step", "changed"),
        (difference.inputs.len(), "input", "changed"),
    ];
    let counts = counts
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, what, how)| format!("{} {how}", counted(*count, what)));
    let first = difference.first.then(|| "nothing is live yet".to_owned());
    let mut parts: Vec<String> = first.into_iter().chain(loosenings).chain(counts).collect();
    if difference.gates.is_empty() {
        parts.push("who may approve what stays as it is".to_owned());
    }
    parts.join(", ")
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

fn subject(subject: &Subject) -> Vec<Piece> {
    match subject {
        Subject::Step(name) => vec![ours("step "), theirs(name)],
        Subject::Flow(name) => vec![ours("flow "), theirs(name)],
        Subject::Promotion => vec![ours("promotion")],
    }
}

fn loosening(loosening: &Loosening) -> Item {
    let Loosening {
        subject: of,
        kind,
        before,
        after,
    } = loosening;
    let mut title = subject(of);
    title.push(ours(format!(": {}", kind.words())));
    // a condition is the definition's own text, everything else is put into words with names in quotes
    let shown = |text: &String| match kind {
        LooseningKind::ConditionChanged | LooseningKind::GuardChanged => shown::text(text),
        _ => shown::line(text),
    };
    let (before, after) = shown::excerpts(before.as_ref().map(shown), after.as_ref().map(shown));
    let any = before.is_some() || after.is_some();
    let values = any.then(|| Pair {
        before: before.map(Piece::Theirs),
        after: after.map(Piece::Theirs),
    });
    Item {
        values,
        ..Item::of(Mark::Loosens, title)
    }
}

fn mark(change: ChangeKind) -> Mark {
    match change {
        ChangeKind::Added => Mark::Added,
        ChangeKind::Removed => Mark::Removed,
        ChangeKind::Changed => Mark::Changed,
    }
}

/// A gate with the terms that changed, and always with who is asked and how many of them must approve.
fn gate(change: &GateChange) -> Item {
    let before = change.before.as_ref().map(terms);
    let after = change.after.as_ref().map(terms);
    let rows = match (before, after) {
        (Some(before), Some(after)) => before
            .into_iter()
            .zip(after)
            .enumerate()
            .filter(|(i, ((_, before), (_, after)))| *i < 2 || before != after)
            .map(|(_, ((label, before), (_, after)))| {
                let kept = before == after;
                row(label, (!kept).then_some(before), Some(after))
            })
            .collect(),
        (before, after) => {
            let removed = before.into_iter().flatten();
            let removed = removed.map(|(label, value)| row(label, Some(value), None));
            let added = after.into_iter().flatten();
            let added = added.map(|(label, value)| row(label, None, Some(value)));
            removed.chain(added).filter(|row| !is_silent(row)).collect()
        }
    };
    Item {
        rows,
        ..Item::of(mark(change.change), subject(&change.gate))
    }
}

fn row(label: &str, before: Option<Piece>, after: Option<Piece>) -> Row {
    Row {
        label: ours(label),
        values: Pair { before, after },
    }
}

/// A term that says nothing, beside others that are worth a line.
fn is_silent(row: &Row) -> bool {
    let Pair { before, after } = &row.values;
    let one = before.as_ref().or(after.as_ref());
    one == Some(&ours(NONE)) || one == Some(&ours(ALWAYS))
}

const NONE: &str = "none";
const ALWAYS: &str = "always";

/// Terms as labelled words, who and how many first.
fn terms(terms: &Terms) -> Vec<(&'static str, Piece)> {
    let Terms {
        when,
        approvers,
        quorum,
        self_approval,
        respond_within,
        on_timeout,
        on_reject,
        escalate,
        changes,
    } = terms;
    let or = |text: Option<String>, silent: &str| text.map_or_else(|| ours(silent), |text| words(&text));
    let list = match approvers {
        Some(_) => words(&who(approvers.as_ref())),
        None => ours(who(None)),
    };
    let escalations: Vec<String> = escalate.iter().map(escalation).collect();
    vec![
        ("approvers", list),
        ("quorum", words(&quorum.to_string())),
        ("asked when", when.as_deref().map_or_else(|| ours(ALWAYS), theirs)),
        (
            "self-approval",
            if *self_approval {
                words("allowed")
            } else {
                ours(NONE)
            },
        ),
        (
            "time to answer",
            or(respond_within.as_ref().map(ToString::to_string), NONE),
        ),
        (
            "without an answer",
            on_timeout.map_or_else(|| ours(NONE), |on_timeout| words(outcome(on_timeout))),
        ),
        (
            "when rejected",
            match on_reject {
                Some(ApprovalRejectionOutcome::Continue) => words("Continue"),
                Some(ApprovalRejectionOutcome::Reject) | None => ours(NONE),
            },
        ),
        (
            "escalation",
            or((!escalations.is_empty()).then(|| escalations.join("; ")), NONE),
        ),
        ("request changes", or(changes.as_ref().map(going_back), NONE)),
    ]
}

fn escalation(escalation: &EscalationTemplate) -> String {
    let EscalationTemplate { after, to } = escalation;
    format!("after {after} {}", who(Some(to)))
}

fn going_back(changes: &Changes) -> String {
    let Changes { back_to, max } = changes;
    format!(
        "back to {}, at most {} times",
        shown::name(back_to),
        max.unwrap_or(3)
    )
}

/// What an approval comes to when nobody answers, as a manifest says it.
pub(super) fn outcome(outcome: ApprovalTimeoutOutcome) -> &'static str {
    match outcome {
        ApprovalTimeoutOutcome::Fail => "Fail",
        ApprovalTimeoutOutcome::Continue => "Continue",
    }
}

/// Who is meant by a list of approvers. A name that could be read as more than one stands in quotes.
pub(super) fn who(approvers: Option<&ApproversTemplate>) -> String {
    let Some(approvers) = approvers else {
        return "everybody with the verb approve".to_owned();
    };
    let ApproversTemplate {
        users,
        groups,
        exclude,
        service_accounts,
    } = approvers;
    let lists = [
        ("group", groups),
        ("user", users),
        ("service account", service_accounts),
    ];
    let parts: Vec<String> = lists
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| {
            let plural = if names.len() == 1 { "" } else { "s" };
            let names: Vec<String> = names.iter().map(|name| shown::name(name)).collect();
            format!("{what}{plural} {}", names.join(", "))
        })
        .collect();
    let excluded: Vec<String> = exclude.iter().map(|name| shown::name(name)).collect();
    match (parts.is_empty(), excluded.is_empty()) {
        (true, true) => "nobody".to_owned(),
        (false, true) => parts.join("; "),
        (true, false) => format!("everybody with the verb approve but {}", excluded.join(", ")),
        (false, false) => format!("{}; but not {}", parts.join("; "), excluded.join(", ")),
    }
}

/// A step; without the fields that the section on gates has already.
fn step(change: &StepChange, gated: bool) -> Option<Item> {
    let StepChange {
        step,
        kind,
        change,
        moved,
        fields,
    } = change;
    let mark = match change {
        StepChangeKind::Added => Mark::Added,
        StepChangeKind::Removed => Mark::Removed,
        StepChangeKind::Moved => Mark::Moved,
        StepChangeKind::Changed => Mark::Changed,
    };
    let mut title = vec![theirs(step), ours(format!(" ({kind})"))];
    if let Some(moved) = moved {
        title.push(ours(format!(", moved from place {} to {}", moved.from, moved.to)));
    }
    let rows: Vec<Row> = match change {
        // what a step was is in the release that has it
        StepChangeKind::Removed => vec![],
        StepChangeKind::Moved => vec![],
        StepChangeKind::Added | StepChangeKind::Changed => fields
            .iter()
            .filter(|field| !(gated && field.control && field.field != "kind"))
            .map(|field| field_row(field, *change == StepChangeKind::Added))
            .collect(),
    };
    let told_by_gate = *change == StepChangeKind::Changed && moved.is_none() && rows.is_empty();
    (!told_by_gate).then(|| Item {
        rows,
        ..Item::of(mark, title)
    })
}

fn field_row(field: &FieldChange, added: bool) -> Row {
    Row {
        label: theirs(&field.field),
        values: if added { new_value(field) } else { values(field) },
    }
}

/// The value of something new: there is nothing to compare it with.
fn new_value(field: &FieldChange) -> Pair {
    Pair {
        before: None,
        ..values(field)
    }
}

fn values(field: &FieldChange) -> Pair {
    let silent = || match field.default {
        Some(meaning) => ours(format!("default: {meaning}")),
        None => ours("not set"),
    };
    let text = |value: &Option<Value>| value.as_ref().map(shown::value);
    let (before, after) = shown::excerpts(text(&field.before), text(&field.after));
    Pair {
        before: Some(before.map_or_else(silent, Piece::Theirs)),
        after: Some(after.map_or_else(silent, Piece::Theirs)),
    }
}

fn fields(changes: &[FieldChange]) -> impl Iterator<Item = Item> {
    changes.iter().map(|change| {
        let mark = match (&change.before, &change.after) {
            (None, _) => Mark::Added,
            (_, None) => Mark::Removed,
            _ => Mark::Changed,
        };
        let values = match mark {
            Mark::Added if change.default.is_none() => new_value(change),
            Mark::Removed if change.default.is_none() => Pair {
                after: None,
                ..values(change)
            },
            _ => values(change),
        };
        Item {
            values: Some(values),
            ..Item::of(mark, vec![theirs(&change.field)])
        }
    })
}

fn input(change: &InputChange) -> Item {
    let InputChange {
        input,
        change,
        required_before,
        required_after,
        fields,
    } = change;
    let mut title = vec![theirs(input)];
    let told = match (required_before, required_after) {
        (None, Some(true)) => Some(", required"),
        (None, Some(false)) => Some(", optional"),
        (Some(false), Some(true)) => Some(", required now"),
        (Some(true), Some(false)) => Some(", optional now"),
        _ => None,
    };
    title.extend(told.map(ours));
    let rows = match change {
        ChangeKind::Removed => vec![],
        ChangeKind::Added => fields.iter().map(|field| field_row(field, true)).collect(),
        ChangeKind::Changed => fields.iter().map(|field| field_row(field, false)).collect(),
    };
    Item {
        rows,
        ..Item::of(mark(*change), title)
    }
}
