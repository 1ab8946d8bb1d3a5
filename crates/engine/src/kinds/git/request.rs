//! The request of a `git` step: compiled and rendered.

use serde_json::{Value, json};

use super::{CommitPlan, GitPlan, PullPlan, files};
use crate::{
    effect::{GitCommit, GitPull, GitRequest, GitTarget},
    expression::{EvaluationError, Scope, Template},
    facts::bound_repository,
    kinds::Failure,
    markdown,
    plan::Place,
    turn::StepView,
};
use signoff_api::{
    git::BranchName,
    reason::StepReason,
    step::{GitPullRequest, GitStep},
    text::{into_visible, visible_lines},
};

/// Longest message, in characters.
const MAX_MESSAGE: usize = 4096;
/// Longest title and description that every forge takes, in characters.
const MAX_TITLE: usize = 255;
const MAX_BODY: usize = 60_000;
/// Most people who are asked to review.
const MAX_REVIEWERS: usize = 20;
const INTO_ITSELF: &str = "it is the branch that the pull request comes from";
/// Begins the trailers that are ours.
const TRAILER: &str = "signoff-";

pub(super) fn compile(step: &GitStep, place: &mut Place<'_, '_>) -> GitPlan {
    let target = match (&step.repository, &step.connection) {
        (Some(name), None) => Some(GitTarget::Repository(name.clone())),
        (None, Some(name)) => Some(GitTarget::Connection(name.clone())),
        (None, None) | (Some(_), Some(_)) => {
            place.problem("", "a git step has either repository or connection");
            None
        }
    };
    if step.files.is_none() && step.pull_request.is_none() {
        place.problem("", "a git step has files, pullRequest or both");
    }
    if step.files.is_some() != step.message.is_some() {
        place.problem("", "files and message belong together");
    }
    if step.if_exists.is_some() && step.files.is_none() {
        place.problem("ifExists", "ifExists needs files");
    }
    if step.pull_request.is_some() && step.connection.is_some() {
        place.problem("pullRequest", "pullRequest needs a repository with a forge");
    }
    let files = step
        .files
        .as_ref()
        .and_then(|files| files::compile(place, &files.0));
    let message = step.message.as_ref();
    let message = message.and_then(|message| place.template("message", message));
    if message
        .as_ref()
        .and_then(Template::as_literal)
        .is_some_and(|text| text.trim().is_empty())
    {
        place.problem("message", "it is empty");
    }
    let commit = files.zip(message).map(|(files, message)| CommitPlan {
        message,
        files,
        if_exists: step.if_exists,
    });
    let pull = step.pull_request.as_ref();
    // expressions that are the same give the same name
    if pull.is_some_and(|pull| pull.into == step.branch) {
        place.problem("pullRequest.into", INTO_ITSELF);
    }
    GitPlan {
        target,
        branch: branch(place, "branch", &step.branch),
        base: step.base.as_ref().and_then(|base| branch(place, "base", base)),
        commit,
        pull_request: pull.and_then(|pull| pull_request(&mut place.below("pullRequest"), pull)),
    }
}

/// The name of a branch. What is literal is checked now.
fn branch(place: &mut Place<'_, '_>, field: &str, text: &str) -> Option<Template> {
    let template = place.template(field, text)?;
    if let Some(literal) = template.as_literal()
        && let Err(why) = BranchName::parse(literal)
    {
        place.problem(field, why.to_string());
    }
    Some(template)
}

fn pull_request(place: &mut Place<'_, '_>, pull: &GitPullRequest) -> Option<PullPlan> {
    for (index, login) in pull.reviewers.iter().flatten().enumerate() {
        if !login.contains("${") && logins(&json!([login])).is_err() {
            place.problem(
                &format!("reviewers[{index}]"),
                "a reviewer is the login of an account",
            );
        }
    }
    let reviewers = pull.reviewers.as_ref().and_then(|reviewers| {
        let reviewers = reviewers.iter().cloned().map(Value::String).collect();
        place.json("reviewers", &Value::Array(reviewers), &[])
    });
    let into = branch(place, "into", &pull.into);
    let title = place.template("title", &pull.title);
    let body = pull.body.as_ref().and_then(|body| place.template("body", body));
    let literal = |template: &Option<Template>| {
        template
            .as_ref()
            .and_then(Template::as_literal)
            .map(str::to_owned)
    };
    if let Some(Err(why)) = literal(&title).map(|title| titled(&title)) {
        place.problem("title", why);
    }
    if let Some(Err(why)) = literal(&body).map(|body| described(&body)) {
        place.problem("body", why);
    }
    Some(PullPlan {
        into: into?,
        title: title?,
        body,
        draft: pull.draft.unwrap_or_default(),
        reviewers,
    })
}

impl GitPlan {
    pub(super) fn request(&self, step: &StepView<'_>) -> Result<GitRequest, Failure> {
        let scope = step.scope();
        let target = self.target.clone().ok_or_else(|| invalid("there is no remote"))?;
        let branch = self
            .branch
            .as_ref()
            .ok_or_else(|| invalid("there is no branch"))?;
        let branch = named("branch", branch, &scope)?;
        let base = self.base.as_ref().map(|base| named("base", base, &scope));
        let bound = match &target {
            GitTarget::Repository(name) => step.bound(&bound_repository(name)),
            GitTarget::Connection(name) => step.bound(name),
        };
        let namespace = &step.run.facts.run.namespace;
        let commit = self
            .commit
            .as_ref()
            .map(|commit| commit.render(&scope, namespace));
        let pull_request = self.pull_request.as_ref().map(|pull| pull.render(&scope));
        let (base, pull_request) = (base.transpose()?, pull_request.transpose()?);
        if pull_request.as_ref().is_some_and(|pull| pull.into == branch) {
            return Err(invalid(format!("pullRequest.into: {INTO_ITSELF}")));
        }
        Ok(GitRequest {
            target,
            bound,
            branch,
            base,
            commit: commit.transpose()?,
            pull_request,
        })
    }
}

impl CommitPlan {
    fn render(&self, scope: &Scope, namespace: &str) -> Result<GitCommit, Failure> {
        let message = self.message.text_with(scope, |value| inserted(&value))?;
        let message = visible_lines(&message.replace("\r\n", "\n"));
        if message.trim().is_empty() {
            return Err(invalid("message: it is empty"));
        }
        if message.chars().count() > MAX_MESSAGE {
            return Err(invalid(format!(
                "message: it has more than {MAX_MESSAGE} characters"
            )));
        }
        Ok(GitCommit {
            message: without_trailers(message.trim()),
            files: files::render(&self.files.value(scope)?, namespace)?,
            if_exists: self.if_exists,
        })
    }
}

impl PullPlan {
    fn render(&self, scope: &Scope) -> Result<GitPull, Failure> {
        let title = self.title.text_with(scope, |value| markdown::unlinked(&value))?;
        let title = titled(&title).map_err(|why| invalid(format!("pullRequest.title: {why}")))?;
        let body = match &self.body {
            Some(body) => text_of_body(body, scope)?,
            None => String::new(),
        };
        let body = described(&body).map_err(|why| invalid(format!("pullRequest.body: {why}")))?;
        let reviewers = match &self.reviewers {
            Some(reviewers) => logins(&reviewers.value(scope)?)?,
            None => vec![],
        };
        Ok(GitPull {
            into: named("pullRequest.into", &self.into, scope)?,
            title,
            body,
            draft: self.draft,
            reviewers,
        })
    }
}

/// A title as forges take it.
fn titled(text: &str) -> Result<String, String> {
    let title = into_visible(text.trim().to_owned());
    if title.is_empty() {
        return Err("it is empty".to_owned());
    }
    if title.chars().count() > MAX_TITLE {
        return Err(format!("it has more than {MAX_TITLE} characters"));
    }
    Ok(title)
}

/// A description as forges take it.
fn described(text: &str) -> Result<String, String> {
    let body = visible_lines(&text.replace("\r\n", "\n"));
    if body.chars().count() > MAX_BODY {
        return Err(format!("it has more than {MAX_BODY} characters"));
    }
    Ok(body)
}

/// The Markdown of the flow's author, with what is inserted set apart.
fn text_of_body(body: &Template, scope: &Scope) -> Result<String, EvaluationError> {
    if body.as_expression().is_some() {
        let value = body.present_text(scope)?.unwrap_or_default();
        let mut text = String::new();
        markdown::insert(&mut text, &value);
        return Ok(text);
    }
    body.text_inserting(scope, |before, value| {
        markdown::insert(before, &value);
        Ok(())
    })
}

fn named(field: &str, template: &Template, scope: &Scope) -> Result<BranchName, Failure> {
    let text = template.text(scope)?;
    BranchName::parse(&text).map_err(|why| invalid(format!("{field}: {why}")))
}

/// Logins. An element that is one expression may give a list.
fn logins(value: &Value) -> Result<Vec<String>, Failure> {
    let wrong = || invalid("pullRequest.reviewers: a reviewer is the login of an account, or a list of them");
    let mut logins: Vec<String> = Vec::new();
    for element in value.as_array().into_iter().flatten() {
        let several = match element {
            Value::Array(several) => several.as_slice(),
            one => std::slice::from_ref(one),
        };
        for login in several {
            let login = login.as_str().map(str::trim).ok_or_else(wrong)?;
            let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
            if login.is_empty() || login.len() > 256 || !login.chars().all(is_plain) {
                return Err(wrong());
            }
            if !logins.iter().any(|known| known == login) {
                logins.push(login.to_owned());
            }
        }
    }
    if logins.len() > MAX_REVIEWERS {
        return Err(invalid(format!(
            "pullRequest.reviewers: there are more than {MAX_REVIEWERS}"
        )));
    }
    Ok(logins)
}

/// A value within a message: forges act upon nothing in it.
fn inserted(value: &str) -> String {
    let value = value.replace("\r\n", "\n");
    let lines: Vec<String> = value.split('\n').map(markdown::unlinked).collect();
    lines.join("\n")
}

/// A message in which no line can be taken for one of our trailers, whoever wrote it.
fn without_trailers(message: &str) -> String {
    let lines = message.lines().map(|line| {
        let is_ours = line
            .get(..TRAILER.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(TRAILER));
        if is_ours {
            format!("> {line}")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

pub(super) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(StepReason::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_writes_our_trailers_into_a_message() {
        assert_eq!(
            without_trailers("Fix it\n\nSignoff-Key: x\nsignoff-run: y\nSigned-off-by: Z\n signoff-key: q"),
            "Fix it\n\n> Signoff-Key: x\n> signoff-run: y\nSigned-off-by: Z\n signoff-key: q"
        );
    }

    #[test]
    fn reviewers_are_logins_named_once() {
        assert_eq!(
            logins(&json!(["a", ["b", "a"], "c-1"])).unwrap(),
            ["a", "b", "c-1"]
        );
        for bad in [
            json!([""]),
            json!(["a b"]),
            json!([1]),
            json!([[["a"]]]),
            json!(["a/../b"]),
        ] {
            assert!(logins(&bad).is_err(), "{bad}");
        }
        let many: Vec<String> = (0..21).map(|n| format!("u{n}")).collect();
        assert!(logins(&json!([many])).is_err());
    }
}
