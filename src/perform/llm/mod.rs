//! The `llm` executor: asks a language model, and asks again while the answer does not fit.
//!
//! Nothing of what a model is told or says goes into a message of ours: an error names a status and the provider's own word
//! for it.

mod answer;
mod anthropic;
mod images;
mod openai;
#[cfg(test)]
mod tests;

use std::{sync::atomic::AtomicBool, time::Instant};

use serde_json::{Value, json};

use self::{answer::Read, images::Images};
use super::{
    connection, error,
    http::{HttpExecutor, Through, Written},
    memory::Room,
};
use crate::store::Owner;
use signoff_api::{
    ConnectionKind,
    connection::{HttpConnection, LlmConnection, LlmProvider},
    reason::StepReason,
    run::Usage,
};
use signoff_engine::{
    chat::{LlmAnswer, LlmRequest, LlmResponse, Message},
    effect::Call,
    facts::{EffectError, HttpResponse},
    retry_after,
    schema::Schema,
};

/// Version of Anthropic's API.
const ANTHROPIC_VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

/// Asks language models. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct LlmExecutor {
    http: HttpExecutor,
}

/// What one call came to.
struct Answered {
    usage: Usage,
    answer: Result<LlmAnswer, EffectError>,
}

impl LlmExecutor {
    pub(super) fn new(http: HttpExecutor) -> Self {
        Self { http }
    }

    /// Performs one attempt for a run: one call, and more while the answer does not fit.
    pub(super) async fn perform(
        &self,
        run: &Owner,
        call: &Call,
        request: &LlmRequest,
    ) -> Result<LlmResponse, EffectError> {
        let name = &request.connection;
        let found = connection::find(self.http.api(), &run.namespace, name, request.bound.as_ref()).await?;
        let ConnectionKind::Llm(llm) = found.kind else {
            return Err(connection::unusable(format!(
                "the Connection {name:?} is not one to a language model"
            )));
        };
        check_model(&llm, request)?;
        let images = Images::of(request)?;
        let mut usage = Usage::default();
        match self.ask(run, call, request, &llm, &images, &mut usage).await {
            // without a count there is nothing to keep
            Err(error) if usage == Usage::default() => Err(error),
            answer => Ok(LlmResponse { usage, answer }),
        }
    }

    async fn ask(
        &self,
        run: &Owner,
        call: &Call,
        request: &LlmRequest,
        llm: &LlmConnection,
        images: &Images<'_>,
        usage: &mut Usage,
    ) -> Result<LlmAnswer, EffectError> {
        let schema = match &request.schema {
            Some(schema) => Some(Schema::compile(schema).map_err(|problem| {
                error::invalid(StepReason::InvalidRequest, format!("schema: {problem}"))
            })?),
            None => None,
        };
        let mut left = call.timeout;
        let mut request = request.clone();
        let mut asked = 0;
        loop {
            let call = Call {
                // a question of its own, which no cache may answer with the one before
                idempotency_key: if asked == 0 {
                    call.idempotency_key.clone()
                } else {
                    format!("{}-{asked}", call.idempotency_key)
                },
                ..call.clone()
            };
            // the wait for it is no part of the time that the model has
            let room = self.http.memory().room(&run.namespace, images.bytes()).await;
            let began = Instant::now();
            let asking = self.once(run, &call, &request, llm, (images, room));
            let answered = tokio::time::timeout(left, asking).await;
            let answered = answered.map_err(|_| error::timed_out("the model", call.timeout))??;
            left = left.saturating_sub(began.elapsed());
            *usage = usage.plus(answered.usage);
            let answer = answered.answer?;
            if request.tools.is_empty() && !answer.calls.is_empty() {
                let message = "the model calls tools, of which it was given none";
                return Err(error::invalid(StepReason::InvalidAnswer, message));
            }
            let Some(schema) = schema.as_ref().filter(|_| answer.calls.is_empty()) else {
                return Ok(answer);
            };
            let problems = match answer::value(&answer.text, schema) {
                Ok(value) => {
                    return Ok(LlmAnswer {
                        value: Some(value),
                        ..answer
                    });
                }
                Err(problems) => problems,
            };
            if asked >= request.corrections {
                return Err(invalid_answer(asked));
            }
            asked += 1;
            request.messages.extend([
                Message::Assistant {
                    content: answer.text,
                    calls: vec![],
                },
                Message::User {
                    content: answer::correction(&problems),
                    images: vec![],
                },
            ]);
        }
    }

    /// One call.
    async fn once(
        &self,
        run: &Owner,
        call: &Call,
        request: &LlmRequest,
        llm: &LlmConnection,
        (images, room): (&Images<'_>, Room),
    ) -> Result<Answered, EffectError> {
        let (path, text) = match llm.provider {
            LlmProvider::OpenAI => ("chat/completions", openai::body(request, images).to_string()),
            LlmProvider::Anthropic => ("messages", anthropic::body(request, images).to_string()),
        };
        let text = images.fill(&self.http, run, text).await?;
        let body = Written::new(text, room);
        let sent = AtomicBool::new(false);
        let through = Through {
            name: &request.connection,
            http: &as_http(llm),
            path,
            body,
        };
        let response = self.http.post_through(run, call, through, &sent).await?;
        if !(200..300).contains(&response.status) {
            return Err(self.refused(&response));
        }
        let read = match llm.provider {
            LlmProvider::OpenAI => openai::read(&response.body),
            LlmProvider::Anthropic => anthropic::read(&response.body),
        };
        let Some(Read { usage, answer }) = read else {
            let message = "the answer of the model is not what its API says: look at the provider and the address of the Connection";
            return Err(error::unusable(StepReason::InvalidResponse, message));
        };
        Ok(Answered {
            usage: Usage { calls: 1, ..usage },
            answer,
        })
    }

    /// Why a model did not answer. What a provider writes about it may repeat what the model was told, so only its word for the
    /// error is kept.
    fn refused(&self, response: &HttpResponse) -> EffectError {
        let error = &response.body["error"];
        let word = [&error["code"], &error["type"]]
            .into_iter()
            .filter_map(Value::as_str)
            .find(|word| is_word(word));
        let word = word.map(|word| format!(" ({word})")).unwrap_or_default();
        let asked = response.headers.get("retry-after");
        EffectError {
            retryable: matches!(response.status, 408 | 429 | 500..=599),
            may_have_happened: response.status >= 500,
            retry_after: asked.and_then(|value| retry_after::parse(value, self.http.now())),
            status: Some(response.status),
            ..error::invalid(
                StepReason::UnexpectedStatus,
                format!("the model answered with status {}{word}", response.status),
            )
        }
    }
}

/// A word for an error, which repeats nothing.
fn is_word(word: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=64).contains(&word.len()) && word.bytes().all(is_plain)
}

fn check_model(llm: &LlmConnection, request: &LlmRequest) -> Result<(), EffectError> {
    let is_listed = llm
        .models
        .as_ref()
        .is_none_or(|models| models.contains(&request.model));
    if is_listed {
        return Ok(());
    }
    let message = format!(
        "the Connection {:?} does not list the model {:?}",
        &*request.connection, request.model
    );
    Err(error::invalid(StepReason::ModelNotAllowed, message))
}

fn invalid_answer(asked_again: u8) -> EffectError {
    let message = format!(
        "the answer of the model does not fit the schema, also after it was told so {asked_again} times"
    );
    error::invalid(StepReason::InvalidAnswer, message)
}

/// The Connection as the HTTP client takes it.
fn as_http(llm: &LlmConnection) -> HttpConnection {
    let version = match llm.provider {
        LlmProvider::OpenAI => None,
        LlmProvider::Anthropic => {
            let (name, value) = ANTHROPIC_VERSION;
            Some([(name.to_owned(), value.to_owned())].into())
        }
    };
    HttpConnection {
        base_url: llm.base_url.clone(),
        auth: llm.auth.clone(),
        headers: version,
        idempotency_header: None,
        tls: llm.tls.clone(),
    }
}

/// Adds the provider's own fields to a request. One that is null takes a field away, but there is always a bound of tokens.
fn with_options(mut body: Value, request: &LlmRequest) -> Value {
    for (name, value) in request.options.iter().filter(|(name, _)| *name != "max_tokens") {
        body[name] = value.clone();
    }
    if let Value::Object(fields) = &mut body {
        fields.retain(|_, value| !value.is_null());
    }
    body
}

/// What a model is told that is to answer with JSON.
fn instruction(schema: &Value) -> String {
    format!(
        "Answer with one JSON value that fits this JSON Schema, and with nothing else:\n{}",
        json!(schema)
    )
}
