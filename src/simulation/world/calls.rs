//! Calls of steps, and what the stubs answer.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{Call, World, of_item};
use crate::simulation::{
    scenario::Crash,
    stubs::{Fate, fate},
};
use signoff_api::{Digest, Resource, ResourceRef, reason::StepReason, run::Usage};
use signoff_engine::{
    chat::{LlmAnswer, LlmRequest, LlmResponse},
    contents::MAX_READ,
    effect::{
        Call as WantedCall, CallPart, EffectKey, GitRequest, HttpBody, HttpChannel, HttpTarget, Request,
        SshRequest, StoreRequest,
    },
    facts::{
        EffectError, EffectOutcome, EmailResponse, GitResponse, HttpResponse, Response, SshResponse,
        StoreResponse,
    },
    schema::Schema,
};

impl World<'_> {
    pub(super) fn call(&mut self, call: WantedCall) {
        let key = call.key;
        if !self.run_mut().facts.in_flight.insert(key.clone()) {
            return;
        }
        let addressed = EffectKey {
            step: format!("{}{}", self.run().prefix, key.step),
            ..key.clone()
        };
        let sent = Call {
            step: addressed.step.clone(),
            pass: key.iteration,
            item: key.item,
            attempt: key.attempt,
            request: of_part(request(&call.request), &call.part),
        };
        let line = format!(
            "{} sends {}",
            of_item(&key.step, key.item),
            in_short(&sent.request)
        );
        match fate(&self.scenario.spec.stubs, &addressed, &call.part, &mut self.used) {
            None => {
                self.say(&line);
                self.calls.push(sent);
                let part = match &call.part {
                    CallPart::Whole => String::new(),
                    CallPart::Turn(turn) => format!(", turn {turn}"),
                    CallPart::Tool { tool, number } => format!(", tool {tool}, call {number}"),
                };
                self.problems.push(format!(
                    "NotStubbed: step {} (pass {}, attempt {}{part}) calls, and no stub says what it is answered",
                    of_item(&addressed.step, key.item),
                    key.iteration,
                    key.attempt
                ));
            }
            Some(Fate::Ends(result)) => {
                self.say(&line);
                self.calls.push(sent);
                let at = self.now;
                let result = result.map(|response| self.kept(&key, &call.request, response));
                let facts = &mut self.run_mut().facts;
                facts.in_flight.remove(&key);
                facts.outcomes.push(EffectOutcome { key, at, result });
            }
            Some(Fate::Crash(crash)) => {
                if crash == Crash::AfterSend {
                    self.say(&line);
                    self.calls.push(sent);
                }
                self.kill();
            }
        }
    }
}

impl World<'_> {
    /// The operator is killed, and starts again.
    pub(super) fn kill(&mut self) {
        self.say("the operator is killed and starts again");
        // nothing is under way any more
        for run in &mut self.runs {
            run.facts.in_flight.clear();
            run.facts.outcomes.clear();
        }
        self.restarted = true;
    }

    /// What a call is answered, with a resource in place of a body that is kept.
    fn kept(&mut self, key: &EffectKey, request: &Request, response: Response) -> Response {
        let response = match response {
            Response::Http(response) => response,
            other @ (Response::Ssh(_)
            | Response::Git(_)
            | Response::Llm(_)
            | Response::Email(_)
            | Response::Store(_)
            | Response::Recorded(_)) => return other,
        };
        let request = match request {
            Request::Http(request) => request,
            Request::Ssh(request) => return Response::Ssh(of_command(request, &response.body)),
            Request::Llm(request) => return Response::Llm(of_model(request, response.body)),
            Request::Email(_) => return Response::Email(of_mail(key, &response.body)),
            Request::Git(request) => return Response::Git(of_commit(request, &response.body)),
            Request::Store(request) => return Response::Store(of_value(request, &response.body, self.now)),
        };
        let response = of_channel(&request.target, response);
        let keeps = request
            .save
            .as_ref()
            .is_some_and(|save| save.keeps(response.status));
        if !keeps || serde_json::from_value::<Resource>(response.body.clone()).is_ok() {
            return Response::Http(response);
        }
        let said = response.headers.get("content-type").cloned();
        let (media_type, content) = match response.body {
            Value::String(text) => ("text/plain; charset=utf-8", text),
            other => ("application/json", other.to_string()),
        };
        let digest = Digest::of(content.as_bytes());
        let text = if content.len() as u64 > MAX_READ {
            Err(format!(
                "it has {} bytes; at most {MAX_READ} are read",
                content.len()
            ))
        } else {
            Ok(content.clone())
        };
        // runs hand resources to each other
        for run in &mut self.runs {
            run.facts.contents.insert(digest.clone(), text.clone());
        }
        let run = &self.run().facts.run;
        let resource = Resource {
            reference: ResourceRef::of_body(&run.namespace, &run.name, key.iteration, key.item, &key.step),
            size: i64::try_from(content.len()).unwrap_or(i64::MAX),
            media_type: said.unwrap_or_else(|| media_type.to_owned()),
            sha256: digest,
        };
        Response::Http(HttpResponse {
            body: json!(resource),
            ..response
        })
    }
}

/// What came of a command: what the stub says of it.
fn of_command(request: &SshRequest, output: &Value) -> SshResponse {
    let text = |key: &str| output[key].as_str().unwrap_or_default().to_owned();
    if request.wait {
        return SshResponse::Ended {
            exit_code: output["exitCode"].as_i64().unwrap_or_default(),
            stdout: text("stdout"),
            stderr: text("stderr"),
        };
    }
    let named = output["host"].as_str().or(request.host.as_deref());
    SshResponse::Started {
        host: named.unwrap_or(&request.connection).to_owned(),
        pid: output["pid"].as_i64().unwrap_or(1),
    }
}

/// What a model answers: what the stub says of it. It takes no tokens.
fn of_model(request: &LlmRequest, output: Value) -> LlmResponse {
    let usage = Usage {
        calls: 1,
        ..Usage::default()
    };
    let answer = match (&request.schema, output) {
        (None, Value::String(text)) => Ok(LlmAnswer {
            text,
            ..LlmAnswer::default()
        }),
        (None, other) => Ok(LlmAnswer {
            text: other.to_string(),
            ..LlmAnswer::default()
        }),
        (Some(schema), value) => {
            let misfit = Schema::compile(schema)
                .ok()
                .and_then(|schema| schema.misfits(&value).into_iter().next());
            match misfit {
                None => Ok(LlmAnswer {
                    value: Some(value),
                    ..LlmAnswer::default()
                }),
                Some(misfit) => Err(EffectError {
                    reason: StepReason::InvalidAnswer,
                    message: format!(
                        "the stub does not fit the schema at {:?}: {}",
                        misfit.pointer, misfit.message
                    ),
                    retryable: false,
                    may_have_happened: false,
                    retry_after: None,
                    status: None,
                }),
            }
        }
    };
    LlmResponse { usage, answer }
}

/// What came of a mail: what the stub says of it.
fn of_mail(key: &EffectKey, output: &Value) -> EmailResponse {
    let said = output["messageId"].as_str();
    EmailResponse {
        message_id: said.map_or_else(|| format!("<{key}@test>"), str::to_owned),
    }
}

/// What a channel answers: what the stub says of its message. Slack says of each answer whether it is a refusal.
fn of_channel(target: &HttpTarget, mut response: HttpResponse) -> HttpResponse {
    let is_slack = matches!(
        target,
        HttpTarget::Channel {
            channel: HttpChannel::Slack,
            ..
        }
    );
    if is_slack && response.body.is_null() {
        response.body = json!({ "channel": "C1", "ts": "1.1" });
    }
    if is_slack && let Some(body) = response.body.as_object_mut() {
        body.entry("ok").or_insert(Value::Bool(true));
    }
    response
}

/// What came of a commit: what the stub says of it, and that something was committed if it says nothing.
fn of_commit(request: &GitRequest, output: &Value) -> GitResponse {
    let text = |key: &str| output[key].as_str().map(str::to_owned);
    let number = output["number"].as_i64();
    GitResponse {
        changed: output["changed"].as_bool().unwrap_or(request.commit.is_some()),
        commit: text("commit").unwrap_or_else(|| "0".repeat(40)),
        branch: text("branch").unwrap_or_else(|| request.branch.to_string()),
        pull_request: number.map(|number| (number, text("url").unwrap_or_default())),
    }
}

/// A request with the part of the step that sends it.
fn of_part(mut request: Value, part: &CallPart) -> Value {
    match part {
        CallPart::Whole => {}
        CallPart::Turn(turn) => request["turn"] = json!(turn),
        CallPart::Tool { tool, number } => {
            request["tool"] = json!(tool);
            request["call"] = json!(number);
        }
    }
    request
}

/// What is known of a value: what the stub says of it. A stub without `version` says that there is none to be read.
fn of_value(request: &StoreRequest, output: &Value, now: Timestamp) -> StoreResponse {
    let said = output["version"]
        .as_str()
        .and_then(|version| version.parse().ok());
    let version = said.or_else(|| request.put.as_ref().map(|_| 1));
    let Some(version) = version else {
        return StoreResponse::Nothing;
    };
    let updated_at = output["updatedAt"].as_str().and_then(|at| at.parse().ok());
    StoreResponse::Found {
        run: output["run"].as_str().map(str::to_owned),
        value: match request.put {
            None => output.get("value").cloned(),
            Some(_) => None,
        },
        version,
        updated_at: updated_at.unwrap_or(now),
    }
}

/// A request as scenarios say it.
fn request(request: &Request) -> Value {
    match request {
        Request::Http(http) => {
            let mut said = json!({ "method": http.method, "headers": http.headers, "query": http.query });
            match &http.target {
                HttpTarget::Url(url) | HttpTarget::PublicUrl(url) => said["url"] = json!(url),
                HttpTarget::Connection { name, path, .. } | HttpTarget::Channel { name, path, .. } => {
                    said["connection"] = json!(name);
                    said["path"] = json!(path);
                }
            }
            match &http.body {
                Some(HttpBody::Json(body) | HttpBody::CloudEvent(body)) => said["body"] = body.clone(),
                Some(HttpBody::Form(form)) => said["form"] = json!(form),
                Some(HttpBody::Text(text)) => said["text"] = json!(text),
                Some(HttpBody::Resource(from)) => said["from"] = json!(from),
                None => {}
            }
            said
        }
        Request::Ssh(ssh) => {
            let mut said = json!({ "connection": ssh.connection, "command": ssh.command, "env": ssh.env });
            if let Some(host) = &ssh.host {
                said["host"] = json!(host);
            }
            if let Some(stdin) = &ssh.stdin {
                said["stdin"] = json!(stdin);
            }
            said
        }
        Request::Llm(llm) => {
            let mut said = json!({ "connection": llm.connection, "model": llm.model, "messages": llm.messages, "maxTokens": llm.max_tokens });
            if let Some(system) = &llm.system {
                said["system"] = json!(system);
            }
            if !llm.options.is_empty() {
                said["options"] = json!(llm.options);
            }
            said
        }
        Request::Email(mail) => {
            let mut said = json!({
                "connection": mail.connection, "to": mail.to, "cc": mail.cc, "subject": mail.subject, "text": mail.text,
                "attachments": mail.attachments,
            });
            if let Some(reply_to) = &mail.reply_to {
                said["replyTo"] = json!(reply_to);
            }
            said
        }
        // the files of a commit as the manifest says them
        Request::Git(git) => git.described(),
        Request::Store(store) => store.described(),
    }
}

fn in_short(request: &Value) -> String {
    let text = |key: &str| request[key].as_str().unwrap_or_default();
    if let Some(command) = request["command"].as_str() {
        return format!("{command} to {}", text("connection"));
    }
    if let Some(model) = request["model"].as_str() {
        return format!("a question to {model} through {}", text("connection"));
    }
    if let Some(subject) = request["subject"].as_str() {
        return format!("the mail {subject:?} through {}", text("connection"));
    }
    for verb in ["get", "put"] {
        if let Some(name) = request[verb].as_str() {
            return format!("{verb} {name} of the store");
        }
    }
    if let Some(branch) = request["branch"].as_str() {
        return format!("a commit to branch {branch}");
    }
    match text("connection") {
        "" => format!("{} {}", text("method"), text("url")),
        connection => format!("{} {connection} {}", text("method"), text("path")),
    }
}
