//! The answers that can be given to a question, and what each does.

use k8s_openapi::jiff::Timestamp;

use super::{question::prefilled, shown};
use signoff_api::{Approval, ApprovalStatus, Decision, DecisionSpec, Definition, Verdict, json::JsonObject};
use signoff_engine::{
    judge::{Caller, Form, preview_for},
    question::consequence,
};

/// What the button has that approves what is shown as it was changed.
pub(super) const AS_CHANGED: &str = "ApproveAsChanged";

/// An answer that can be given, and what it does.
pub(super) struct Offer {
    /// What the button sends.
    pub(super) verdict: String,
    pub(super) words: &'static str,
    pub(super) follows: String,
    pub(super) class: &'static str,
}

/// The answers of a question that a form has buttons for.
pub(super) fn offers(
    caller: &Caller,
    approval: &Approval,
    decisions: &[&Decision],
    definition: Option<&Definition>,
    now: Timestamp,
) -> Vec<Offer> {
    let status = approval.status.clone().unwrap_or_default();
    let is_changed = status.amendment.is_some();
    // whoever changed it does not approve that as well
    let may_take_over = status
        .amendment
        .is_some_and(|changed| changed.by != caller.0 || approval.spec.self_approval);
    let follows = |verdict, shown_items: Option<&JsonObject>| {
        let follows = consequence(&approval.spec, definition, verdict, None);
        let set_aside = set_aside(caller, approval, decisions, (verdict, shown_items), now);
        shown(&match &set_aside[..] {
            [] => follows,
            [one] => format!(
                "{follows}. It sets aside the approval of {one}, which is of something else: {one} would have to approve yours"
            ),
            several => format!(
                "{follows}. It sets aside the approvals of {}, which are of something else: they would have to approve yours",
                several.join(", ")
            ),
        })
    };
    let mut offers = Vec::new();
    for verdict in &approval.spec.verdicts {
        let (words, class) = match verdict {
            Verdict::Approve if is_changed => ("Approve unchanged", ""),
            Verdict::Approve => ("Approve", "good"),
            Verdict::RequestChanges => ("Request changes", ""),
            Verdict::Reject => ("Reject", "bad"),
            // they have forms of their own
            Verdict::Delegate | Verdict::Withdraw => continue,
        };
        if *verdict == Verdict::Approve && may_take_over {
            offers.push(Offer {
                verdict: AS_CHANGED.to_owned(),
                words: "Approve as changed",
                follows: follows(*verdict, status.shown.as_ref()),
                class: "good",
            });
        }
        offers.push(Offer {
            verdict: verdict.to_string(),
            words,
            follows: follows(*verdict, None),
            class,
        });
    }
    offers
}

/// Whose approvals count no more after such an answer, with the values that the form begins with.
fn set_aside(
    caller: &Caller,
    approval: &Approval,
    decisions: &[&Decision],
    (verdict, changes): (Verdict, Option<&JsonObject>),
    now: Timestamp,
) -> Vec<String> {
    let name = approval.metadata.name.as_deref().unwrap_or_default();
    let Ok(name) = name.parse() else {
        return Vec::new();
    };
    let ApprovalStatus { values, counted, .. } = approval.status.clone().unwrap_or_default();
    let form = Form::of(approval.spec.form.as_ref());
    let begun = form.fields().into_iter().map(|field| {
        let value = prefilled(&field, values.as_ref());
        (field.name.to_owned(), value)
    });
    let begun: Vec<(String, String)> = begun.filter(|(_, value)| !value.is_empty()).collect();
    let answer = DecisionSpec {
        approval: name,
        digest: approval.spec.digest.clone(),
        verdict,
        comment: None,
        values: form.read(&begun, verdict).0,
        shown: changes.cloned(),
        to: None,
        by: None,
        groups: None,
        via: None,
    };
    let preview = preview_for(caller, approval, decisions, &answer, now);
    let votes = counted
        .into_iter()
        .filter(|vote| preview.set_aside.contains(&vote.decision));
    votes.map(|vote| vote.by).collect()
}
