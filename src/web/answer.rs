//! An answer: a POST that carries the digest of the question as it was on the page.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
    runtime::wait::await_condition,
};
use url::form_urlencoded;

use super::{
    PageError, Web,
    content::Extent,
    offers::AS_CHANGED,
    question,
    reading::{created, now},
};
use crate::cluster::own_decision::{self, NotTaken};
use signoff_api::{Approval, Decision, DecisionSpec, Digest, Verdict, decision::DecisionReason};
use signoff_engine::judge::{Form, preview_for};

/// Name of the fields of the question's own form.
pub(super) const VALUE: &str = "value.";
/// Said of a change that the person has not seen.
const CHANGED_SINCE: &str =
    "Somebody changed what is shown, or took a change back, since you loaded the page. Look at it again.";
/// Longest wait for an answer to be judged. The page then says that it is not yet.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was filled in, by field. A field that is left empty is not given.
pub(super) struct Filled(BTreeMap<String, String>);

impl Filled {
    /// Reads a form of ours.
    pub(super) fn of(web: &Web, body: &[u8]) -> Result<Self, PageError> {
        let pairs = form_urlencoded::parse(body);
        // browsers send line breaks as two characters
        let pairs = pairs.map(|(key, value)| (key.into_owned(), value.replace("\r\n", "\n")));
        let filled = Self(pairs.collect());
        if web.session.is_ours(filled.text("form").unwrap_or_default()) {
            Ok(filled)
        } else {
            let why = "this form is not one of this page; go back and load the page again";
            Err(PageError::new(StatusCode::FORBIDDEN, why))
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let text = self.0.get(name)?.trim();
        (!text.is_empty()).then_some(text)
    }

    /// A field as it was sent, also if it was left empty.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What the fields of the question's form have.
    fn values(&self) -> Vec<(String, String)> {
        let values = self.0.iter().filter(|(_, value)| !value.is_empty());
        let values =
            values.filter_map(|(key, value)| Some((key.strip_prefix(VALUE)?.to_owned(), value.clone())));
        values.collect()
    }
}

/// `POST /ns/NS/approvals/NAME/decisions`
pub(super) async fn decide(
    State(web): State<Arc<Web>>,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, PageError> {
    let filled = Filled::of(&web, &body)?;
    let wrong = |why: &str| PageError::new(StatusCode::BAD_REQUEST, why);
    let pressed = filled.text("verdict").unwrap_or_default();
    let as_changed = pressed == AS_CHANGED;
    let verdict = if as_changed {
        Some(Verdict::Approve)
    } else {
        verdict(pressed)
    };
    let verdict = verdict.ok_or_else(|| wrong("there is no such answer"))?;
    let digest: Option<Digest> = filled.text("digest").and_then(|digest| digest.parse().ok());
    let digest = digest.ok_or_else(|| wrong("the digest of the question is missing"))?;
    let approval: Approval = web.one(&namespace, &name).await?;
    let form = Form::of(approval.spec.form.as_ref());
    let (values, mut problems) = form.read(&filled.values(), verdict);
    let comment = filled.text("comment").map(str::to_owned);
    if verdict == Verdict::RequestChanges && comment.is_none() {
        problems.push("Say in the comment what should change.".to_owned());
    }
    let to = filled.text("to").map(str::to_owned);
    if verdict == Verdict::Delegate && to.is_none() {
        problems.push("Say who decides in your place.".to_owned());
    }
    if digest != approval.spec.digest {
        problems.push("What is asked has changed since you loaded the page. Look at it again.".to_owned());
    }
    let status = approval.status.clone().unwrap_or_default();
    let current = status.amendment.map(|change| change.digest.to_string());
    let seen = filled.text("changed").map(str::to_owned);
    // whoever approves has seen what somebody changed
    let is_other = verdict == Verdict::Approve && (seen != current || (as_changed && current.is_none()));
    let spec = DecisionSpec {
        approval: name.parse().map_err(|_| wrong("there is no such question"))?,
        digest,
        verdict,
        comment,
        values,
        shown: status.shown.filter(|_| as_changed && !is_other),
        to: to.filter(|_| verdict == Verdict::Delegate),
        by: None,
        groups: None,
        via: None,
    };
    if !problems.is_empty() {
        return nothing_sent(&web, (&namespace, &name), problems, &filled).await;
    }
    let one_at_a_time = web.answering.lock().await;
    let selection = ListParams::default().fields(&format!("spec.approval={name}"));
    // those who may not list decisions are told afterwards what becomes of theirs
    let known = web.all::<Decision>(Some(&namespace), &selection).await.ok();
    if let Some(said) = known
        .as_deref()
        .and_then(|known| sent_before(&web.user.0, known, &spec))
    {
        return Ok(to_question(&namespace, &name, said));
    }
    let about: Option<Vec<&Decision>> = known.as_ref().map(|known| known.iter().collect());
    let preview = about.map(|about| preview_for(&web.user, &approval, &about, &spec, now()));
    let problem = match preview.and_then(|preview| preview.refused) {
        _ if is_other => Some(CHANGED_SINCE.to_owned()),
        Some(refused) => Some(format!("It would not count: {}.", refused.message)),
        None => None,
    };
    if let Some(problem) = problem {
        return nothing_sent(&web, (&namespace, &name), vec![problem], &filled).await;
    }
    let decisions: Api<Decision> = web.api(&namespace);
    let sent = own_decision::create(&decisions, spec, &web.user, &PostParams::default()).await;
    drop(one_at_a_time);
    let decision = match sent {
        Ok(decision) => decision,
        Err(error) => {
            let error = not_taken(&error);
            let problems = vec![error.message().to_owned()];
            return again(&web, (&namespace, &name), error.status(), problems, &filled).await;
        }
    };
    let said = decision.metadata.name.unwrap_or_default();
    let is_judged = |decision: Option<&Decision>| {
        let status = decision.map(|decision| decision.status.as_ref());
        status.is_none_or(|status| status.is_some_and(|status| status.counted.is_some()))
    };
    let judged = await_condition(decisions, &said, is_judged);
    // the page says so if it is not judged by then
    let _ = tokio::time::timeout(PATIENCE, judged).await;
    // a reload sends nothing again
    Ok(to_question(&namespace, &name, &said))
}

fn to_question(namespace: &str, name: &str, said: &str) -> Response {
    Redirect::to(&format!("/ns/{namespace}/approvals/{name}?said={said}")).into_response()
}

fn not_taken(error: &NotTaken) -> PageError {
    match error {
        NotTaken::Unproven => PageError::new(
            StatusCode::BAD_GATEWAY,
            "the API server does not prove who decides: its admission policies are missing",
        ),
        NotTaken::Refused(error) => PageError::api("the answer was not taken", error),
    }
}

/// The question, and why no answer was sent.
async fn nothing_sent(
    web: &Web,
    place: (&str, &str),
    mut problems: Vec<String>,
    filled: &Filled,
) -> Result<Response, PageError> {
    problems.insert(0, "Nothing was sent.".to_owned());
    again(web, place, StatusCode::UNPROCESSABLE_ENTITY, problems, filled).await
}

/// The question with what is wrong with an answer. What was filled in stays.
async fn again(
    web: &Web,
    (namespace, name): (&str, &str),
    status: StatusCode,
    problems: Vec<String>,
    filled: &Filled,
) -> Result<Response, PageError> {
    let page = question::show(
        web,
        (namespace, name, Extent::Beginning),
        None,
        &problems,
        Some(filled),
    )
    .await?;
    Ok((status, page).into_response())
}

/// Name of the decision that says the same already, if it is the newest of this user: a second press finds the first.
fn sent_before<'a>(user: &str, known: &'a [Decision], spec: &DecisionSpec) -> Option<&'a str> {
    let own = known
        .iter()
        .filter(|known| known.spec.by.as_deref() == Some(user));
    let newest = own.max_by_key(|known| created(*known))?;
    let stands = newest.status.as_ref().is_none_or(|status| {
        status.counted != Some(false) || status.reason == Some(DecisionReason::AmendmentProposed)
    });
    let same = DecisionSpec {
        by: None,
        groups: None,
        via: None,
        ..newest.spec.clone()
    };
    (stands && same == *spec).then_some(newest.metadata.name.as_deref())?
}

fn verdict(text: &str) -> Option<Verdict> {
    let all = [
        Verdict::Approve,
        Verdict::Reject,
        Verdict::RequestChanges,
        Verdict::Delegate,
        Verdict::Withdraw,
    ];
    all.into_iter().find(|verdict| verdict.to_string() == text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn decision(name: &str, second: u8, by: &str, more: &Value) -> Decision {
        let mut decision = json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Decision",
            "metadata": {"name": name, "creationTimestamp": format!("2026-11-23T10:00:{second:02}Z")},
            "spec": {"approval": "a", "digest": format!("sha256:{}", "0".repeat(64)), "verdict": "Approve", "by": by, "groups": ["g"]},
        });
        for (key, value) in more.as_object().unwrap() {
            decision[key] = value.clone();
        }
        serde_json::from_value(decision).unwrap()
    }

    #[test]
    fn a_second_press_finds_the_first_and_nothing_that_was_taken_back_or_said_by_others() {
        let first = decision("d-1", 1, "alice", &json!({}));
        let again = DecisionSpec {
            by: None,
            groups: None,
            ..first.spec.clone()
        };
        let other = DecisionSpec {
            comment: Some("fine".to_owned()),
            ..again.clone()
        };
        let counted = decision(
            "d-1",
            1,
            "alice",
            &json!({"status": {"counted": true, "reason": "Counted"}}),
        );
        let withdrawn = decision(
            "d-1",
            1,
            "alice",
            &json!({"status": {"counted": false, "reason": "Withdrawn"}}),
        );
        let by_bob = decision("d-2", 2, "bob", &json!({}));
        let mut later = decision("d-3", 3, "alice", &json!({}));
        later.spec.verdict = Verdict::Withdraw;
        for (known, spec, found) in [
            (vec![first.clone()], &again, Some("d-1")),
            (vec![counted.clone(), by_bob.clone()], &again, Some("d-1")),
            (vec![counted], &other, None),
            (vec![withdrawn], &again, None),
            (vec![by_bob], &again, None),
            (vec![first, later], &again, None),
        ] {
            assert_eq!(sent_before("alice", &known, spec), found, "{known:?}");
        }
    }
}
