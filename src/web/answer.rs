//! An answer: a POST that carries the digest of the question as it was on the page.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use kube::{Api, api::PostParams, runtime::wait::await_condition};
use url::form_urlencoded;

use super::{PageError, Web, question};
use crate::cluster::own_decision::{self, NotTaken};
use signoff_api::{Approval, Decision, DecisionSpec, Digest, Verdict};
use signoff_engine::judge::Form;

/// Name of the fields of the question's own form.
const VALUE: &str = "value.";
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
    let verdict = filled
        .text("verdict")
        .and_then(verdict)
        .ok_or_else(|| wrong("there is no such answer"))?;
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
    if !problems.is_empty() {
        problems.insert(0, "Nothing was sent.".to_owned());
        return question::show(&web, &namespace, &name, None, problems).await;
    }
    let spec = DecisionSpec {
        approval: name.parse().map_err(|_| wrong("there is no such question"))?,
        digest,
        verdict,
        comment,
        values,
        shown: None,
        to: to.filter(|_| verdict == Verdict::Delegate),
        by: None,
        groups: None,
        via: None,
    };
    let decisions: Api<Decision> = web.api(&namespace);
    let sent = own_decision::create(&decisions, spec, &web.user, &PostParams::default()).await;
    let decision = sent.map_err(|error| match error {
        NotTaken::Unproven => PageError::new(
            StatusCode::BAD_GATEWAY,
            "the API server does not prove who decides: its admission policies are missing",
        ),
        NotTaken::Refused(error) => PageError::api("the answer was not taken", &error),
    })?;
    let said = decision.metadata.name.unwrap_or_default();
    let is_judged = |decision: Option<&Decision>| {
        let status = decision.map(|decision| decision.status.as_ref());
        status.is_none_or(|status| status.is_some_and(|status| status.counted.is_some()))
    };
    let judged = await_condition(decisions, &said, is_judged);
    // the page says so if it is not judged by then
    let _ = tokio::time::timeout(PATIENCE, judged).await;
    // a reload sends nothing again
    Ok(Redirect::to(&format!("/ns/{namespace}/approvals/{name}?said={said}")).into_response())
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
