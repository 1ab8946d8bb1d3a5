//! `slack`: a message to a channel of Slack.

use std::sync::Arc;

use serde_json::{Value, json};
use signoff_expression::StaticType;

use super::{Channel, links, post, words};
use crate::{
    difference::Field,
    effect::{HttpChannel, HttpRequest, Request},
    expression::{EvaluationError, Scope, Template},
    facts::{EffectError, HttpResponse, Response},
    kinds::{Done, Failure, KindPlan, Next, http},
    plan::{Place, check},
    retry_after,
    turn::StepView,
};
use signoff_api::{
    name::ObjectName, reason::StepReason, run::StepOutcome, step::NotifySlack, text::into_visible,
};

/// A message with its expressions parsed.
#[derive(Debug)]
struct SlackPlan {
    connection: ObjectName,
    channel: Option<Template>,
    text: Option<Template>,
    thread: Option<Template>,
}

impl Channel for NotifySlack {
    fn key(&self) -> &'static str {
        "slack"
    }

    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        let thread = self.thread.as_ref();
        Arc::new(SlackPlan {
            connection: self.connection.clone(),
            channel: place.template("channel", &self.channel),
            text: post::template(place, &self.text),
            thread: thread.and_then(|thread| place.template("thread", thread)),
        })
    }

    fn fields(&self) -> Vec<Field> {
        let Self {
            connection,
            channel,
            text,
            thread,
        } = self;
        vec![
            Field::required("notify.slack.connection", connection),
            Field::required("notify.slack.channel", channel),
            Field::required("notify.slack.text", text),
            Field::new("notify.slack.thread", thread.as_ref()),
        ]
    }

    fn output(&self) -> Option<StaticType> {
        Some(check::slack_message())
    }
}

impl SlackPlan {
    fn request(&self, step: &StepView<'_>) -> Result<HttpRequest, Failure> {
        let scope = step.scope();
        let channel = post::optional(self.channel.as_ref(), &scope)?.unwrap_or_default();
        let text = self.text(&scope)?;
        let thread = post::optional(self.thread.as_ref(), &scope)?;
        let through = (HttpChannel::Slack, &self.connection);
        let body = message(&channel, &text, thread.as_deref());
        Ok(HttpRequest {
            // its status is 200 whatever came of the message
            reads_body: true,
            ..post::request(step, through, PATH, body)
        })
    }
}

impl SlackPlan {
    fn text(&self, scope: &Scope) -> Result<String, Failure> {
        let mut values = Vec::new();
        let insert = |out: &mut String, value: String| {
            let begin = out.len();
            out.push_str(&words::slack(&value));
            values.push(begin..out.len());
            Ok::<_, EvaluationError>(())
        };
        let text = self.text.as_ref().map(|text| text.text_inserting(scope, insert));
        let text = post::present(text.transpose()?.unwrap_or_default())?;
        Ok(links::marked(&words::cut(text, words::SLACK), &values))
    }
}

/// The method that posts a message.
pub(crate) const PATH: &str = "/chat.postMessage";

/// A message as Slack takes it. It fetches nothing that its text names.
pub(crate) fn message(channel: &str, text: &str, thread: Option<&str>) -> Value {
    let mut message = json!({
        "channel": channel,
        "text": text,
        "mrkdwn": true,
        "parse": "none",
        "unfurl_links": false,
        "unfurl_media": false,
    });
    if let Some(thread) = thread {
        message["thread_ts"] = json!(thread);
    }
    message
}

impl KindPlan for SlackPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        match self.request(step) {
            Ok(request) => Next::Call(Request::Http(request)),
            Err(failure) => Next::Fail(failure),
        }
    }

    fn answered(&self, step: &StepView<'_>, response: &Response) -> Next {
        let Some(response) = response.as_http() else {
            return Next::Stay;
        };
        if let Some(error) = http::failed_status(response, &[], step.run.now) {
            return Next::AttemptFailed(error);
        }
        if response.body["ok"] != true {
            return Next::AttemptFailed(refused(response, step.run.now));
        }
        let field = |name: &str| response.body[name].as_str().unwrap_or_default().to_owned();
        let output = json!({ "channel": field("channel"), "ts": field("ts") });
        Next::Done(Done::new(StepOutcome::Succeeded).with_output(output))
    }

    fn connection(&self) -> Option<&ObjectName> {
        Some(&self.connection)
    }
}

/// What Slack says that it did not do. Its status is 200 all the same.
pub(crate) fn refused(response: &HttpResponse, now: jiff::Timestamp) -> EffectError {
    let said = response.body["error"].as_str();
    let code: String = said
        .unwrap_or("an answer that is not Slack's")
        .chars()
        .take(100)
        .collect();
    let is_passing = matches!(
        code.as_str(),
        "ratelimited"
            | "rate_limited"
            | "internal_error"
            | "fatal_error"
            | "service_unavailable"
            | "request_timeout"
    );
    let reason = match code.as_str() {
        "invalid_auth" | "not_authed" | "account_inactive" | "token_revoked" | "token_expired" => {
            StepReason::CredentialsRefused
        }
        _ => StepReason::MessageRefused,
    };
    let missing = response.body["needed"].as_str();
    let missing = missing.map(|scope| format!("; the token lacks the scope {scope:.100}"));
    let asked = response.headers.get("retry-after");
    EffectError {
        reason,
        message: into_visible(format!(
            "Slack refused the message: {code}{}",
            missing.unwrap_or_default()
        )),
        retryable: is_passing,
        // an error of its own may come after it has posted
        may_have_happened: matches!(
            code.as_str(),
            "internal_error" | "fatal_error" | "request_timeout"
        ),
        retry_after: asked.and_then(|value| retry_after::parse(value, now)),
        status: Some(response.status),
    }
}
