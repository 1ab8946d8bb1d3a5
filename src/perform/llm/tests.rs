//! The executor against a model that answers as it is told.

mod images;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use kube::Client;
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    cluster::context::Clock,
    net::{AddressPolicy, Network},
};
use signoff_engine::{
    chat::{CORRECTIONS, Image, Tool, ToolCall},
    effect::{EffectKey, Request},
};

const KEY: &str = "sk-very-secret-key";

/// One request that came: its path, its headers, and its body.
type Asked = (String, HeaderMap, Value);

/// A model: what it answers next, and what it was asked.
#[derive(Clone, Default)]
struct Model {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

async fn answer(
    State(model): State<Model>,
    uri: Uri,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    model
        .asked
        .lock()
        .unwrap()
        .push((uri.path().to_owned(), headers, body));
    let next = model.answers.lock().unwrap().pop_front();
    match next {
        Some((status, body)) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, [("retry-after", "17")], Json(body)).into_response()
        }
        None => std::future::pending().await,
    }
}

impl Model {
    async fn open(answers: impl IntoIterator<Item = (u16, Value)>) -> (Self, SocketAddr) {
        let model = Self::default();
        model.answers.lock().unwrap().extend(answers);
        let router = Router::new().fallback(answer).with_state(model.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (model, address)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// An API server with one Connection `model` and one Secret `key`.
fn api(connection: Value) -> Client {
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let connection = connection.clone();
        async move {
            let path = request.uri().path().to_owned();
            let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, KEY);
            let (status, body) = if path.ends_with("/connections/model") {
                let body = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": {"name": "model"}, "spec": connection});
                (200, body)
            } else if path.ends_with("/secrets/key") {
                let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "data": {"k": encoded}});
                (200, body)
            } else {
                let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "no"});
                (404, body)
            };
            let response = http::Response::builder()
                .status(status)
                .body(kube::client::Body::from(body.to_string().into_bytes()));
            Ok::<_, std::convert::Infallible>(response.unwrap())
        }
    });
    Client::new(service, "default")
}

fn executor(connection: Value) -> LlmExecutor {
    let clock = Clock::from_fn(|| "2026-11-29T12:00:00Z".parse().unwrap());
    let network = Network::new(AddressPolicy::local());
    LlmExecutor::new(HttpExecutor::new(api(connection), network, clock).unwrap())
}

fn open_ai(address: SocketAddr) -> Value {
    json!({"llm": {"provider": "OpenAI", "baseURL": format!("http://{address}/v1"), "auth": {"bearer": {"name": "key", "key": "k"}}}})
}

fn anthropic(address: SocketAddr) -> Value {
    json!({"llm": {"provider": "Anthropic", "baseURL": format!("http://{address}/v1"),
        "auth": {"header": {"name": "x-api-key", "value": {"name": "key", "key": "k"}}}}})
}

fn request(more: impl FnOnce(&mut LlmRequest)) -> LlmRequest {
    let mut request = LlmRequest {
        connection: "model".parse().unwrap(),
        bound: None,
        model: "m-1".into(),
        system: Some("be brief".into()),
        messages: vec![Message::User {
            content: "the secret plan".into(),
            images: vec![],
        }],
        tools: vec![],
        schema: None,
        corrections: CORRECTIONS,
        max_tokens: 100,
        options: Map::new(),
    };
    more(&mut request);
    request
}

impl LlmExecutor {
    async fn once_for(&self, request: LlmRequest, timeout: Duration) -> Result<LlmResponse, EffectError> {
        let run = Owner {
            namespace: "default".into(),
            run: "r".into(),
            uid: "u".into(),
        };
        let call = Call {
            key: EffectKey {
                step: "s".into(),
                iteration: 1,
                item: None,
                attempt: 1,
            },
            idempotency_key: "key-1".into(),
            fenced: false,
            part: signoff_engine::effect::CallPart::Whole,
            timeout,
            request: Request::Llm(request.clone()),
        };
        self.perform(&run, &call, &request).await
    }

    async fn ask_for(&self, request: LlmRequest) -> Result<LlmResponse, EffectError> {
        self.once_for(request, Duration::from_secs(20)).await
    }
}

fn completion(text: &str) -> (u16, Value) {
    let message = json!({"role": "assistant", "content": text});
    let body = json!({"choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 5}});
    (200, body)
}

fn message(text: &str) -> (u16, Value) {
    let body = json!({"type": "message", "role": "assistant", "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 7, "cache_read_input_tokens": 4, "output_tokens": 5}});
    (200, body)
}

fn usage(calls: i64) -> Usage {
    Usage {
        input_tokens: 11 * calls,
        output_tokens: 5 * calls,
        calls,
    }
}

fn number() -> Value {
    json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}})
}

#[tokio::test]
async fn both_providers_are_asked_in_their_words_and_what_it_took_is_counted() {
    let (model, address) = Model::open([completion("yes")]).await;
    let answer = executor(open_ai(address)).ask_for(request(|_| {})).await.unwrap();
    assert_eq!(answer.usage, usage(1));
    assert_eq!(answer.answer.unwrap().text, "yes");
    let (path, headers, body) = model.asked().remove(0);
    assert_eq!(path, "/v1/chat/completions");
    assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
    let expected = json!({"model": "m-1", "max_tokens": 100, "stream": false, "messages": [
        {"role": "system", "content": "be brief"}, {"role": "user", "content": "the secret plan"}]});
    assert_eq!(body, expected);

    let (model, address) = Model::open([message("yes")]).await;
    let answer = executor(anthropic(address))
        .ask_for(request(|_| {}))
        .await
        .unwrap();
    assert_eq!(answer.usage, usage(1));
    assert_eq!(answer.answer.unwrap().text, "yes");
    let (path, headers, body) = model.asked().remove(0);
    assert_eq!(path, "/v1/messages");
    assert_eq!(headers["x-api-key"], KEY);
    assert_eq!(headers["anthropic-version"], "2023-06-01");
    let expected = json!({"model": "m-1", "max_tokens": 100, "stream": false, "system": "be brief", "messages": [
        {"role": "user", "content": [{"type": "text", "text": "the secret plan"}]}]});
    assert_eq!(body, expected);
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_for_again_with_the_errors() {
    let answers = [
        completion("hm"),
        completion("{\"n\": \"x\"}"),
        completion("```json\n{\"n\": 3}\n```"),
    ];
    let (model, address) = Model::open(answers).await;
    let asked = request(|request| request.schema = Some(number()));
    let answer = executor(open_ai(address)).ask_for(asked).await.unwrap();
    assert_eq!(answer.answer.unwrap().value, Some(json!({"n": 3})));
    assert_eq!(answer.usage, usage(3));
    let asked = model.asked();
    assert_eq!(asked[0].2["response_format"]["json_schema"]["schema"], number());
    let keys: Vec<_> = asked
        .iter()
        .map(|(_, headers, _)| headers["idempotency-key"].clone())
        .collect();
    assert_eq!(keys, ["key-1", "key-1-1", "key-1-2"]);
    let last = asked[2].2["messages"].as_array().unwrap();
    assert_eq!(last.len(), 6);
    assert_eq!(last[4]["content"], "{\"n\": \"x\"}");
    let told = last[5]["content"].as_str().unwrap();
    assert!(told.contains("at /n: \"x\" is not of type \"integer\""), "{told}");
}

#[tokio::test]
async fn an_answer_that_never_fits_fails_and_is_counted_and_says_nothing_of_itself() {
    for (provider, fits) in [
        (
            open_ai as fn(SocketAddr) -> Value,
            completion as fn(&str) -> (u16, Value),
        ),
        (anthropic, message),
    ] {
        let (model, address) = Model::open(vec![fits("the secret answer"); 4]).await;
        let asked = request(|request| request.schema = Some(number()));
        let answer = executor(provider(address)).ask_for(asked).await.unwrap();
        let error = answer.answer.unwrap_err();
        assert_eq!(
            (error.reason, error.retryable),
            (StepReason::InvalidAnswer, false)
        );
        assert!(!error.message.contains("secret"), "{}", error.message);
        assert_eq!(answer.usage, usage(3));
        assert_eq!(model.asked().len(), 3);
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_off_or_refused_is_none() {
    let cut = |answer: (u16, Value), field: &str, word: &str| {
        let (status, mut body) = answer;
        *body.pointer_mut(field).unwrap() = json!(word);
        (status, body)
    };
    let (finish, stop) = ("/choices/0/finish_reason", "/stop_reason");
    for (provider, answer, reason) in [
        (
            open_ai as fn(SocketAddr) -> Value,
            cut(completion("{"), finish, "length"),
            StepReason::AnswerCutOff,
        ),
        (
            open_ai,
            cut(completion(""), finish, "content_filter"),
            StepReason::AnswerRefused,
        ),
        (
            anthropic,
            cut(message("{"), stop, "max_tokens"),
            StepReason::AnswerCutOff,
        ),
        (
            anthropic,
            cut(message(""), stop, "refusal"),
            StepReason::AnswerRefused,
        ),
    ] {
        let (_, address) = Model::open([answer]).await;
        let asked = request(|request| request.schema = Some(number()));
        let answer = executor(provider(address)).ask_for(asked).await.unwrap();
        assert_eq!(answer.answer.unwrap_err().reason, reason);
        assert_eq!(answer.usage, usage(1));
    }
}

#[tokio::test]
async fn an_overloaded_model_says_when_to_ask_again_and_nothing_of_the_prompt_is_in_the_error() {
    let error = |type_: &str| json!({"error": {"type": type_, "message": "cannot read: the secret plan"}});
    for (provider, status, type_, retried) in [
        (open_ai as fn(SocketAddr) -> Value, 429, "rate_limit_error", true),
        (anthropic, 529, "overloaded_error", true),
        (open_ai, 400, "the secret plan", false),
        (open_ai, 401, "invalid_api_key", false),
    ] {
        let (_, address) = Model::open([(status, error(type_))]).await;
        let error = executor(provider(address))
            .ask_for(request(|_| {}))
            .await
            .unwrap_err();
        assert_eq!(
            (error.reason, error.retryable),
            (StepReason::UnexpectedStatus, retried)
        );
        assert_eq!(error.status, Some(status));
        assert_eq!(error.retry_after, Some(Duration::from_secs(17)));
        assert!(!error.message.contains("secret"), "{}", error.message);
        assert_eq!(
            error.message.contains(type_),
            !type_.contains(' '),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn what_was_used_before_a_time_out_is_counted() {
    let (_, address) = Model::open([completion("no json")]).await;
    let asked = request(|request| request.schema = Some(number()));
    let answer = executor(open_ai(address))
        .once_for(asked, Duration::from_secs(5))
        .await;
    let answer = answer.unwrap();
    assert_eq!(answer.usage, usage(1));
    assert_eq!(answer.answer.unwrap_err().reason, StepReason::AttemptTimedOut);
}

#[tokio::test]
async fn a_model_that_the_connection_does_not_list_is_not_asked() {
    let (model, address) = Model::open([completion("yes")]).await;
    let mut connection = open_ai(address);
    connection["llm"]["models"] = json!(["m-2"]);
    let error = executor(connection).ask_for(request(|_| {})).await.unwrap_err();
    assert_eq!(error.reason, StepReason::ModelNotAllowed);
    assert!(model.asked().is_empty());
    let http = json!({"http": {"baseURL": format!("http://{address}/")}});
    let error = executor(http).ask_for(request(|_| {})).await.unwrap_err();
    assert_eq!(error.reason, StepReason::ConnectionNotFound);
}

#[tokio::test]
async fn what_is_no_answer_of_the_api_fails_and_secrets_do_not_come_back() {
    let (_, address) = Model::open([(200, json!({"hello": 1}))]).await;
    let error = executor(open_ai(address))
        .ask_for(request(|_| {}))
        .await
        .unwrap_err();
    assert_eq!(error.reason, StepReason::InvalidResponse);
    let (_, address) = Model::open([completion(&format!("your key is {KEY}"))]).await;
    let answer = executor(open_ai(address)).ask_for(request(|_| {})).await.unwrap();
    assert_eq!(answer.answer.unwrap().text, "your key is [redacted]");
}

#[tokio::test]
async fn options_are_sent_and_take_fields_away() {
    let (model, address) = Model::open([completion("{\"n\": 1}")]).await;
    let asked = request(|request| {
        request.schema = Some(number());
        let options = json!({"temperature": 0.5, "response_format": null, "max_tokens": null});
        request.options = options.as_object().cloned().unwrap();
    });
    executor(open_ai(address)).ask_for(asked).await.unwrap();
    let body = &model.asked()[0].2;
    assert_eq!(
        (&body["temperature"], &body["max_completion_tokens"]),
        (&json!(0.5), &json!(100))
    );
    assert_eq!(
        (&body["max_tokens"], &body["response_format"]),
        (&Value::Null, &Value::Null)
    );
    let told = body["messages"][0]["content"].as_str().unwrap();
    assert!(
        told.contains("JSON Schema"),
        "without it, the model is told the schema: {told}"
    );
}

#[tokio::test]
async fn tools_and_what_came_of_them_are_written_in_the_words_of_both_providers() {
    let asked = || {
        request(|request| {
            request.tools = vec![Tool {
                name: "pay".into(),
                description: "Pays".into(),
                schema: number(),
            }];
            let call = ToolCall {
                id: "c1".into(),
                name: "pay".into(),
                arguments: json!({"n": 1}),
            };
            request.messages.extend([
                Message::Assistant {
                    content: String::new(),
                    calls: vec![call],
                },
                Message::Tool {
                    id: "c1".into(),
                    content: "paid".into(),
                    is_error: false,
                },
            ]);
        })
    };
    let calls = json!([{"id": "c2", "type": "function", "function": {"name": "pay", "arguments": "{\"n\": 2}"}},
        {"id": "c3", "type": "function", "function": {"name": "pay", "arguments": "{\"n\""}}]);
    let body = json!({"choices": [{"finish_reason": "tool_calls", "message": {"content": null, "tool_calls": calls}}]});
    let (model, address) = Model::open([(200, body)]).await;
    let answer = executor(open_ai(address))
        .ask_for(asked())
        .await
        .unwrap()
        .answer
        .unwrap();
    let wanted = [json!({"n": 2}), json!("{\"n\"")];
    assert_eq!(
        answer
            .calls
            .iter()
            .map(|call| call.arguments.clone())
            .collect::<Vec<_>>(),
        wanted
    );
    let sent = model.asked().remove(0).2;
    assert_eq!(sent["tools"][0]["function"]["parameters"], number());
    assert_eq!(
        sent["messages"][2]["tool_calls"][0]["function"]["arguments"],
        "{\"n\":1}"
    );
    assert_eq!(
        sent["messages"][3],
        json!({"role": "tool", "tool_call_id": "c1", "content": "paid"})
    );

    let parts = json!([{"type": "text", "text": "so"}, {"type": "tool_use", "id": "c2", "name": "pay", "input": {"n": 2}}]);
    let (model, address) = Model::open([(200, json!({"content": parts, "stop_reason": "tool_use"}))]).await;
    let answer = executor(anthropic(address))
        .ask_for(asked())
        .await
        .unwrap()
        .answer
        .unwrap();
    assert_eq!(
        (answer.text.as_str(), &answer.calls[0].arguments),
        ("so", &json!({"n": 2}))
    );
    let sent = model.asked().remove(0).2;
    assert_eq!(sent["tools"][0]["input_schema"], number());
    assert_eq!(sent["messages"][1]["content"][0]["type"], "tool_use");
    assert_eq!(sent["messages"][2]["content"][0]["tool_use_id"], "c1");
}

#[tokio::test]
async fn images_are_sent_as_addresses() {
    let asked = || {
        request(|request| {
            request.messages = vec![Message::User {
                content: "what is this?".into(),
                images: vec![Image::Url("https://example.com/a.png".into())],
            }];
        })
    };
    let (model, address) = Model::open([completion("a dog")]).await;
    executor(open_ai(address)).ask_for(asked()).await.unwrap();
    let sent = model.asked().remove(0).2;
    assert_eq!(
        sent["messages"][1]["content"][1]["image_url"]["url"],
        "https://example.com/a.png"
    );
    let (model, address) = Model::open([message("a dog")]).await;
    executor(anthropic(address)).ask_for(asked()).await.unwrap();
    let sent = model.asked().remove(0).2;
    assert_eq!(
        sent["messages"][0]["content"][0]["source"],
        json!({"type": "url", "url": "https://example.com/a.png"})
    );
}

#[tokio::test]
async fn a_model_that_only_calls_tools_which_it_was_not_given_has_not_answered() {
    let calls = json!([{"id": "c1", "type": "function", "function": {"name": "rm", "arguments": "{}"}}]);
    let openai = json!({"choices": [{"finish_reason": "tool_calls", "message": {"content": null, "tool_calls": calls}}]});
    let call = json!([{"type": "tool_use", "id": "c1", "name": "rm", "input": {}}]);
    let anthropic_says = json!({"content": call, "stop_reason": "tool_use"});
    for (connection, body) in [
        (open_ai as fn(SocketAddr) -> Value, openai),
        (anthropic, anthropic_says),
    ] {
        for schema in [None, Some(number())] {
            let (_, address) = Model::open([(200, body.clone())]).await;
            let asked = request(|request| request.schema = schema);
            let answer = executor(connection(address)).ask_for(asked).await.unwrap().answer;
            assert_eq!(answer.unwrap_err().reason, StepReason::InvalidAnswer);
        }
    }
}
