//! `/ns/NS/approvals/NAME`: one question, what an answer does, and the answer.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use kube::api::ListParams;
use serde::Deserialize;

use super::{
    Head, PageError, Web,
    answer::{Filled, VALUE},
    content::{Extent, Markup, change},
    items::{Item, items, text_of},
    offers::{Offer, offers},
    reading::{created, now},
    render, shown, shown_lines,
    when::When,
};
use signoff_api::{
    Approval, Decision, Definition, Release, Run, Verdict, decision::DecisionReason, json::JsonObject,
};
use signoff_engine::{
    judge::{Field, Form, Tally, refusal_of},
    question::facts,
};

#[derive(Template)]
#[template(path = "question.html")]
struct QuestionPage {
    head: Head,
    namespace: String,
    name: String,
    title: String,
    /// What is known of the question, a label and a value each.
    facts: Vec<(&'static str, String)>,
    run: Option<String>,
    asked: When,
    due: Option<When>,
    items: Vec<Item>,
    /// Whether all of each item is on the page.
    is_whole: bool,
    /// What somebody changed of it.
    changed: Option<Changed>,
    tally: String,
    votes: Vec<Vote>,
    digest: String,
    /// How it was closed, if it was.
    closed: Option<String>,
    /// Why an answer of the user would not count, if it would not.
    refused: Option<String>,
    fields: Vec<Input>,
    /// Whose approvals an approval with other values sets aside.
    agreed: Vec<String>,
    answers: Vec<Offer>,
    /// What was typed already.
    comment: String,
    to: String,
    may_withdraw: bool,
    may_delegate: bool,
    form: String,
    /// What became of the answer that was just sent.
    said: Option<String>,
    problems: Vec<String>,
}

/// What was changed of what is shown, by item.
struct Changed {
    by: String,
    digest: String,
    items: Vec<ChangedItem>,
}

struct ChangedItem {
    name: String,
    /// What differs from what was asked.
    change: Markup,
    /// What is to be shown instead, all of it.
    value: String,
}

struct Vote {
    verdict: String,
    by: String,
    at: When,
    comment: Option<String>,
    /// What was filled in.
    values: Vec<(String, String)>,
    /// What it changes of what is shown.
    changes: Vec<(String, String)>,
}

/// A field of the form.
struct Input {
    name: String,
    terms: String,
    about: Option<String>,
    required: bool,
    /// What may be chosen, if that is limited.
    options: Vec<String>,
    value: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Sent {
    /// Name of the decision that was just sent.
    said: Option<String>,
    /// Whether all of each item is asked for.
    all: Option<String>,
}

pub(super) async fn page(
    State(web): State<Arc<Web>>,
    Path((namespace, name)): Path<(String, String)>,
    Query(sent): Query<Sent>,
) -> Result<Response, PageError> {
    let said = match &sent.said {
        Some(decision) => told(&web, &namespace, &name, decision).await,
        None => None,
    };
    let extent = match sent.all {
        Some(_) => Extent::Whole,
        None => Extent::Beginning,
    };
    show(&web, (&namespace, &name, extent), said, &[], None).await
}

/// The question, with what is to be said of an answer, and what was filled in of the form.
pub(super) async fn show(
    web: &Web,
    (namespace, name, extent): (&str, &str, Extent),
    said: Option<String>,
    problems: &[String],
    filled: Option<&Filled>,
) -> Result<Response, PageError> {
    let approval: Approval = web.one(namespace, name).await?;
    let selection = ListParams::default().fields(&format!("spec.approval={name}"));
    let decisions: Vec<Decision> = web.all(Some(namespace), &selection).await.unwrap_or_default();
    let definition = definition(web, namespace, &approval).await;
    let (spec, status) = (&approval.spec, approval.status.clone().unwrap_or_default());
    let about: Vec<&Decision> = decisions.iter().collect();
    let closed = status.phase.is_closed().then(|| {
        let message = status.message.as_deref().unwrap_or_default();
        shown(&format!("{}: {message}", status.phase))
    });
    let refused = refusal_of(&web.user, &approval, &about, now()).filter(|_| closed.is_none());
    let tally = Tally::of(spec, &status);
    let needs = status
        .needs
        .as_deref()
        .map(|needs| format!(", waits for {needs}"));
    let now = now();
    let typed = |name| {
        let typed = filled.and_then(|filled| filled.raw(name));
        typed.unwrap_or_default().to_owned()
    };
    let page = QuestionPage {
        head: web.head(&shown(&spec.title)),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        title: shown(&spec.title),
        facts: facts(spec)
            .into_iter()
            .map(|(label, value)| (label, shown(&value)))
            .collect(),
        run: spec.subject.run.as_deref().map(shown),
        asked: When::of(created(&approval), now),
        due: spec.expires_at.as_ref().map(|at| When::of(at.0, now)),
        items: items(&approval, (namespace, name), extent),
        is_whole: extent == Extent::Whole,
        changed: changed(&approval),
        tally: shown(&format!(
            "{} of {} approve{}",
            tally.approved,
            tally.quorum,
            needs.unwrap_or_default()
        )),
        votes: votes(&approval, &decisions),
        digest: spec.digest.to_string(),
        refused: refused.map(|why| shown(&why)),
        fields: fields(&approval, filled),
        agreed: status
            .counted
            .iter()
            .filter(|vote| vote.verdict == Verdict::Approve && vote.by != web.user.0)
            .map(|vote| shown(&vote.by))
            .collect(),
        answers: offers(&web.user, &approval, &about, definition.as_ref(), now),
        comment: typed("comment"),
        to: typed("to"),
        may_withdraw: has_said(&web.user.0, &approval),
        may_delegate: spec.verdicts.contains(&Verdict::Delegate),
        closed,
        form: web.session.form().to_owned(),
        said: said.as_deref().map(shown),
        problems: problems.iter().map(|problem| shown(problem)).collect(),
    };
    render(&page)
}

/// Whether a user has said something that can be taken back.
fn has_said(user: &str, approval: &Approval) -> bool {
    let status = approval.status.clone().unwrap_or_default();
    status.counted.iter().any(|vote| vote.by == user)
        || status.delegations.iter().any(|hop| hop.from == user)
        || status.amendment.is_some_and(|amendment| amendment.by == user)
}

/// What is recorded of an answer of the user to this question. The name is part of an address that anybody may have made up.
async fn told(web: &Web, namespace: &str, approval: &str, decision: &str) -> Option<String> {
    let decision: Decision = web.one(namespace, decision).await.ok()?;
    let is_own = decision.spec.by.as_deref() == Some(web.user.0.as_str());
    (is_own && *decision.spec.approval == *approval).then(|| sentence(&decision))
}

fn sentence(decision: &Decision) -> String {
    let name = decision.metadata.name.as_deref().unwrap_or_default();
    let status = decision.status.clone().unwrap_or_default();
    let verdict = decision.spec.verdict;
    match status.counted {
        None => format!("Your {verdict} was recorded as decision {name}. It is not judged yet."),
        Some(true) => format!("Your {verdict} counts. It was recorded as decision {name}."),
        Some(false) if status.reason == Some(DecisionReason::AmendmentProposed) => {
            format!("Your change was recorded as decision {name}. Somebody else has to approve it.")
        }
        Some(false) => {
            let why = status.message.unwrap_or_default();
            format!("Your {verdict} does not count: {why}. It was recorded as decision {name}.")
        }
    }
}

/// The definition that the run of a question follows, if the user may read it.
async fn definition(web: &Web, namespace: &str, approval: &Approval) -> Option<Definition> {
    let run: Run = web
        .one(namespace, approval.spec.subject.run.as_deref()?)
        .await
        .ok()?;
    let release: Release = web.one(namespace, &run.status?.release?.name).await.ok()?;
    Some(release.spec.definition)
}

fn changed(approval: &Approval) -> Option<Changed> {
    let status = approval.status.clone().unwrap_or_default();
    let amendment = status.amendment?;
    let values = status.shown.iter().flat_map(|values| &values.0);
    let items = values.map(|(name, value)| {
        let asked = approval.spec.show.iter().find(|item| item.name == *name);
        let value = text_of(value);
        ChangedItem {
            name: shown(name),
            change: change(asked.map_or("", |item| item.inline.as_str()), &value),
            value: shown_lines(&value),
        }
    });
    Some(Changed {
        by: shown(&amendment.by),
        digest: amendment.digest.to_string(),
        items: items.collect(),
    })
}

/// Names and values as people read them.
fn pairs(values: Option<&JsonObject>) -> Vec<(String, String)> {
    let values = values.into_iter().flat_map(|values| &values.0);
    let values = values.map(|(name, value)| (shown(name), shown_lines(&text_of(value))));
    values.collect()
}

fn votes(approval: &Approval, decisions: &[Decision]) -> Vec<Vote> {
    let status = approval.status.clone().unwrap_or_default();
    let of = |name: &str| {
        decisions
            .iter()
            .find(|decision| decision.metadata.name.as_deref() == Some(name))
    };
    let votes = status.counted.iter().map(|vote| {
        let spec = of(&vote.decision).map(|decision| &decision.spec);
        // those who approve so far agree in the values
        let agreed = status
            .values
            .as_ref()
            .filter(|_| vote.verdict == Verdict::Approve);
        Vote {
            verdict: vote.verdict.to_string(),
            by: shown(&vote.by),
            at: When::of(vote.at.0, now()),
            comment: spec.and_then(|spec| spec.comment.as_deref().map(shown_lines)),
            values: pairs(spec.map_or(agreed, |spec| spec.values.as_ref())),
            changes: pairs(spec.and_then(|spec| spec.shown.as_ref())),
        }
    });
    votes.collect()
}

/// The fields of the form, with what was filled in, or else what those have who approve so far, or else the default.
fn fields(approval: &Approval, filled: Option<&Filled>) -> Vec<Input> {
    let given = approval.status.as_ref().and_then(|status| status.values.as_ref());
    let form = Form::of(approval.spec.form.as_ref());
    let fields = form.fields().into_iter().map(|field| Input {
        name: shown(field.name),
        terms: shown(&field.terms()),
        about: field.about().map(shown),
        required: field.required,
        options: field.options(),
        value: filled
            .and_then(|filled| filled.raw(&format!("{VALUE}{}", field.name)))
            .map_or_else(|| prefilled(&field, given), str::to_owned),
    });
    fields.collect()
}

/// What a field has before anybody types.
pub(super) fn prefilled(field: &Field<'_>, given: Option<&JsonObject>) -> String {
    let given = given.and_then(|given| given.0.get(field.name));
    given.or(field.default()).map(plain).unwrap_or_default()
}

/// A value as it is typed: text as it is, anything else as JSON.
fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
