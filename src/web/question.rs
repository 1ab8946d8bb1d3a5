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
    reading::{created, now},
    render, shown, shown_lines,
    when::When,
};
use signoff_api::{Approval, Decision, Definition, Release, Run, Verdict};
use signoff_engine::{
    judge::{Form, Tally, refusal_of},
    question::{binary, consequence, facts},
};

/// Most of a shown item that is on the page, in characters. The whole is bound by the digest.
const MOST_SHOWN: usize = 64 << 10;

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
    tally: String,
    votes: Vec<Vote>,
    digest: String,
    /// How it was closed, if it was.
    closed: Option<String>,
    /// Why an answer of the user would not count, if it would not.
    refused: Option<String>,
    fields: Vec<Input>,
    answers: Vec<Offer>,
    has_voted: bool,
    may_delegate: bool,
    form: String,
    /// What became of the answer that was just sent.
    said: Option<String>,
    problems: Vec<String>,
}

/// A shown item.
struct Item {
    name: String,
    media_type: String,
    text: String,
    size: usize,
    cut: bool,
    is_editable: bool,
}

struct Vote {
    verdict: String,
    by: String,
    at: When,
    comment: Option<String>,
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

/// An answer that can be given, and what it does.
struct Offer {
    verdict: String,
    words: &'static str,
    follows: String,
    class: &'static str,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Sent {
    /// Name of the decision that was just sent.
    said: Option<String>,
}

pub(super) async fn page(
    State(web): State<Arc<Web>>,
    Path((namespace, name)): Path<(String, String)>,
    Query(sent): Query<Sent>,
) -> Result<Response, PageError> {
    let said = match &sent.said {
        Some(decision) => Some(told(&web.one::<Decision>(&namespace, decision).await?)),
        None => None,
    };
    show(&web, &namespace, &name, said, vec![]).await
}

/// The question, with what is to be said of an answer.
pub(super) async fn show(
    web: &Web,
    namespace: &str,
    name: &str,
    said: Option<String>,
    problems: Vec<String>,
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
        items: items(&approval),
        tally: shown(&format!(
            "{} of {} approve{}",
            tally.approved,
            tally.quorum,
            needs.unwrap_or_default()
        )),
        votes: votes(&approval, &decisions),
        digest: spec.digest.to_string(),
        refused: refused.map(|why| shown(&why)),
        fields: fields(&approval),
        answers: offers(&approval, definition.as_ref()),
        has_voted: status.counted.iter().any(|vote| vote.by == web.user.0),
        may_delegate: spec
            .approvers
            .as_ref()
            .is_some_and(|approvers| !approvers.is_everybody_else()),
        closed,
        form: web.session.form().to_owned(),
        said: said.as_deref().map(shown),
        problems: problems.iter().map(|problem| shown(problem)).collect(),
    };
    render(&page)
}

/// What is recorded of an answer.
fn told(decision: &Decision) -> String {
    let name = decision.metadata.name.as_deref().unwrap_or_default();
    let status = decision.status.clone().unwrap_or_default();
    let verdict = decision.spec.verdict;
    match status.counted {
        None => format!("Your {verdict} was recorded as decision {name}. It is not judged yet."),
        Some(true) => format!("Your {verdict} counts. It was recorded as decision {name}."),
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

fn items(approval: &Approval) -> Vec<Item> {
    let shown_items = approval.spec.show.iter().map(|item| {
        let text = binary(item).unwrap_or_else(|| item.inline.clone());
        let (start, cut) = match text.char_indices().nth(MOST_SHOWN) {
            Some((at, _)) => (&text[..at], true),
            None => (text.as_str(), false),
        };
        Item {
            name: shown(&item.name),
            media_type: shown(&item.media_type),
            text: shown_lines(start),
            size: item.inline.len(),
            cut,
            is_editable: item.editable.is_some(),
        }
    });
    shown_items.collect()
}

fn votes(approval: &Approval, decisions: &[Decision]) -> Vec<Vote> {
    let status = approval.status.clone().unwrap_or_default();
    let of = |name: &str| {
        decisions
            .iter()
            .find(|decision| decision.metadata.name.as_deref() == Some(name))
    };
    let votes = status.counted.iter().map(|vote| Vote {
        verdict: vote.verdict.to_string(),
        by: shown(&vote.by),
        at: When::of(vote.at.0, now()),
        comment: of(&vote.decision).and_then(|decision| decision.spec.comment.as_deref().map(shown_lines)),
    });
    votes.collect()
}

fn fields(approval: &Approval) -> Vec<Input> {
    let given = approval.status.as_ref().and_then(|status| status.values.as_ref());
    let form = Form::of(approval.spec.form.as_ref());
    let fields = form.fields().into_iter().map(|field| Input {
        name: shown(field.name),
        terms: shown(&field.terms()),
        about: field.about().map(shown),
        required: field.required,
        options: field.options(),
        value: match given.and_then(|given| given.0.get(field.name)) {
            Some(given) => plain(given),
            None => field.default().map(plain).unwrap_or_default(),
        },
    });
    fields.collect()
}

/// A value as it is typed: text as it is, anything else as JSON.
fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn offers(approval: &Approval, definition: Option<&Definition>) -> Vec<Offer> {
    let offered = approval.spec.verdicts.iter();
    let offers = offered.filter_map(|verdict| {
        let (words, class) = match verdict {
            Verdict::Approve => ("Approve", "good"),
            Verdict::RequestChanges => ("Request changes", ""),
            Verdict::Reject => ("Reject", "bad"),
            // they have forms of their own
            Verdict::Delegate | Verdict::Withdraw => return None,
        };
        Some(Offer {
            verdict: verdict.to_string(),
            words,
            follows: shown(&consequence(&approval.spec, definition, *verdict, None)),
            class,
        })
    });
    offers.collect()
}
