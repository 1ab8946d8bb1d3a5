//! `agent` steps: turns of the model, calls of tools, what people decide about them, and crashes in between.

use super::*;
use crate::{
    chat::{LlmAnswer, LlmRequest, LlmResponse, Message, ToolCall},
    effect::CallPart,
};
use signoff_api::run::{AgentCallPhase, AgentStatus, Usage};

/// An agent with a tool that is harmless, one that must not be repeated, and one that people must approve.
fn helper(more: Value) -> Value {
    let tool = |name: &str, more: Value| {
        let mut tool = json!({
            "name": name,
            "description": "Does something",
            "schema": { "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } },
            "http": { "url": format!("http://shop/{name}"), "method": "POST", "body": { "n": "${args.n}" } },
        });
        for (field, value) in more.as_object().unwrap() {
            tool[field] = value.clone();
        }
        tool
    };
    let mut step = json!({ "name": "help", "agent": {
        "connection": "model", "model": "m-1", "prompt": "Help",
        "tools": [
            tool("look", json!({ "maxCalls": 2 })),
            tool("pay", json!({ "delivery": "AtMostOnce" })),
            tool("send", json!({ "approval": { "approvers": { "groups": ["ops"] }, "editable": true } })),
        ],
    } });
    let Value::Object(more) = more else {
        panic!("fields")
    };
    for (field, value) in more {
        step["agent"][field] = value;
    }
    json!({ "steps": [step], "output": { "said": "${steps.help.output}" } })
}

/// A change of a flow.
type Change = Box<dyn Fn(&mut Value)>;

fn begun(flow: Value) -> Scenario {
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    run
}

fn says(text: &str, calls: &[(&str, Value)]) -> Response {
    let calls = calls.iter().enumerate().map(|(n, (name, arguments))| ToolCall {
        id: format!("c{n}"),
        name: (*name).to_owned(),
        arguments: arguments.clone(),
    });
    Response::Llm(LlmResponse {
        usage: Usage {
            input_tokens: 100,
            output_tokens: 10,
            calls: 1,
        },
        answer: Ok(LlmAnswer {
            text: text.into(),
            value: None,
            calls: calls.collect(),
        }),
    })
}

fn asks(calls: &[(&str, Value)]) -> Response {
    says("", calls)
}

impl Scenario {
    /// The call that this decision asks for.
    fn sent(&self) -> &Call {
        match self.http().as_slice() {
            [call] => call,
            other => panic!("not one call: {other:#?}\n{:#?}", self.state.steps),
        }
    }

    fn to_model(&self) -> &LlmRequest {
        match &self.sent().request {
            Request::Llm(request) => request,
            other => panic!("not to the model: {other:?}"),
        }
    }

    /// What the model is told last.
    fn told(&self) -> String {
        match self.to_model().messages.last().unwrap() {
            Message::Tool { content, .. } => content.clone(),
            other => panic!("not of a tool: {other:?}"),
        }
    }

    fn agent(&self) -> &AgentStatus {
        self.state.steps[0].agent.as_deref().unwrap()
    }

    /// The model answers.
    fn model(&mut self, response: Response) -> &mut Self {
        self.outcome("help", Ok(response))
    }

    /// Answers the call of a tool.
    fn tool_gives(&mut self, body: Value) -> &mut Self {
        self.answer("help", 200, body)
    }
}

#[test]
fn a_model_uses_tools_one_after_another_until_it_is_done() {
    let mut run = begun(helper(json!({ "system": "You help" })));
    assert_eq!(run.to_model().tools.len(), 3);
    assert_eq!(run.sent().part, CallPart::Turn(1));
    run.model(asks(&[("look", json!({ "n": 1 })), ("look", json!({ "n": 2 }))]));
    let first = run.sent().clone();
    assert!(first.fenced, "the answer is written before a tool acts");
    assert_eq!(first.timeout.as_secs(), 30);
    assert_eq!(scenario::json(request(&first)), &json!({ "n": 1 }));
    assert_eq!(run.agent().open.len(), 2);
    run.tool_gives(json!({ "found": "a" }));
    let second = run.sent().clone();
    assert_eq!(scenario::json(request(&second)), &json!({ "n": 2 }));
    assert_ne!(first.idempotency_key, second.idempotency_key);
    run.tool_gives(json!("b"));
    let messages = &run.to_model().messages;
    assert_eq!(
        messages.len(),
        4,
        "the prompt, the answer and two results: {messages:?}"
    );
    assert!(
        matches!(&messages[2], Message::Tool { id, content, .. } if id == "c0" && content == "{\"found\":\"a\"}")
    );
    assert_eq!(run.told(), "b");
    run.model(says("all done", &[]));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(
        run.state.output.as_ref().unwrap().0,
        json!({ "said": "all done" })
    );
    assert_eq!(run.state.usage.unwrap().tokens(), 220);
    assert_eq!(run.state.billable_steps, 4);
    assert_eq!((run.agent().turns, run.agent().calls), (2, 2));
}

#[test]
fn a_model_cannot_name_a_tool_or_an_argument_that_the_flow_does_not_give_it() {
    for (name, args, why) in [
        ("delete", json!({ "n": 1 }), "There is no such tool."),
        (
            "look",
            json!({ "n": "x" }),
            "The arguments do not fit the schema:\n- /n: \"x\" is not of type \"integer\"",
        ),
        (
            "look",
            json!({ "n": 1, "url": "http://evil/" }),
            "There is no argument \"url\".",
        ),
        ("look", json!("n=1"), "The arguments are no JSON object."),
        (
            "look",
            json!({}),
            "The arguments do not fit the schema:\n- : \"n\" is a required property",
        ),
    ] {
        let mut run = begun(helper(json!({})));
        run.model(asks(&[(name, args)]));
        assert_eq!(run.told(), why);
        assert!(run.agent().made.is_empty());
    }
}

#[test]
fn what_a_tool_answers_badly_is_told_to_the_model_and_retried_as_the_tool_says() {
    let mut flow = helper(json!({}));
    flow["steps"][0]["agent"]["tools"][0]["retry"] = json!({ "attempts": 2 });
    let mut run = begun(flow);
    run.model(asks(&[("look", json!({ "n": 1 }))]));
    let key = run.sent().idempotency_key.clone();
    run.answer("help", 503, json!("busy"));
    assert_eq!(run.state.steps[0].phase, StepPhase::Retrying);
    run.pass(1);
    assert_eq!(
        run.sent().idempotency_key,
        key,
        "another attempt of the same call"
    );
    run.answer("help", 503, json!("busy"));
    assert_eq!(run.told(), "The call failed: the response has status 503: busy");
    run.model(says("sorry", &[]));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
}

#[test]
fn people_see_the_tool_its_arguments_and_its_effect_and_nothing_else_is_done() {
    let mut run = begun(helper(json!({})));
    run.model(asks(&[("send", json!({ "n": 7 }))]));
    assert!(run.http().is_empty());
    let spec = run.opened()[0].spec.clone();
    let shown = |name: &str| {
        spec.show
            .iter()
            .find(|item| item.name == name)
            .unwrap()
            .inline
            .clone()
    };
    assert!(shown("tool").contains("\"send\"") && shown("arguments").contains("\"n\": 7"));
    assert!(
        shown("effect").contains("http://shop/send"),
        "{}",
        shown("effect")
    );
    assert!(spec.verdicts.contains(&signoff_api::Verdict::RequestChanges));
    assert_eq!(run.agent().open[0].phase, AgentCallPhase::Asking);
    let step = &run.state.steps[0];
    assert_eq!(
        (step.phase, run.state.phase),
        (StepPhase::Waiting, RunPhase::Waiting)
    );
    let open = step.approval.clone().unwrap();
    run.restart();
    assert_eq!(run.state.steps[0].approval.as_ref(), Some(&open));
    run.decide("r-help-call-1", ApprovalPhase::Approved);
    assert_eq!(scenario::json(request(run.sent())), &json!({ "n": 7 }));
    run.tool_gives(json!("sent"));
    assert_eq!(run.told(), "sent");
    assert_eq!(run.state.steps[0].approval, None);
}

#[test]
fn a_rejection_a_wish_for_changes_and_no_answer_are_told_to_the_model() {
    for (phase, told) in [
        (ApprovalPhase::Rejected, "People rejected this call: not today"),
        (
            ApprovalPhase::ChangesRequested,
            "People did not allow this call yet. They ask for changes: not today",
        ),
        (
            ApprovalPhase::Expired,
            "Nobody decided in time. The call was not made.",
        ),
    ] {
        let mut run = begun(helper(json!({})));
        run.model(asks(&[("send", json!({ "n": 7 }))]));
        let open = run.open("r-help-call-1");
        open.comment = Some("not today".into());
        open.phase = phase;
        run.tick();
        assert_eq!(run.told(), told);
        // it may ask again, which is another question
        run.model(asks(&[("send", json!({ "n": 7 }))]));
        assert_eq!(run.opened().len(), 1);
        assert!(
            run.opened()[0].name.starts_with("r-help-call-2-"),
            "{}",
            run.opened()[0].name
        );
    }
}

#[test]
fn a_rejection_ends_the_run_where_the_tool_says_so_and_no_answer_too() {
    for (phase, field, outcome, ending) in [
        (ApprovalPhase::Rejected, "onReject", "Reject", RunPhase::Rejected),
        (ApprovalPhase::Expired, "onTimeout", "Fail", RunPhase::TimedOut),
    ] {
        let mut flow = helper(json!({}));
        flow["steps"][0]["agent"]["tools"][2]["approval"][field] = json!({ "outcome": outcome });
        flow["steps"][0]["agent"]["tools"][2]["approval"]["respondWithin"] = json!("1h");
        let mut run = begun(flow);
        run.model(asks(&[("send", json!({ "n": 7 }))]));
        run.decide("r-help-call-1", phase);
        assert_eq!(run.state.phase, ending);
        assert!(run.http().is_empty());
    }
}

#[test]
fn an_edit_becomes_the_arguments_and_the_model_is_told() {
    let mut run = begun(helper(json!({})));
    run.model(asks(&[("send", json!({ "n": 7 }))]));
    let open = run.open("r-help-call-1");
    open.shown = serde_json::from_value(json!({ "arguments": { "n": 8 } })).unwrap();
    open.phase = ApprovalPhase::Approved;
    run.tick();
    assert_eq!(scenario::json(request(run.sent())), &json!({ "n": 8 }));
    assert_eq!(run.agent().open[0].arguments.0, json!({ "n": 8 }));
    run.tool_gives(json!("sent"));
    assert_eq!(
        run.told(),
        "People changed the arguments to {\"n\":8}. This came of those:\nsent"
    );
}

#[test]
fn people_are_asked_only_where_the_condition_holds_or_cannot_be_read() {
    for (when, is_asked) in [
        ("${args.n > 5}", true),
        ("${args.n > 50}", false),
        ("${args.n / (args.n - 7) > 1}", true),
    ] {
        let mut flow = helper(json!({}));
        flow["steps"][0]["agent"]["tools"][2]["approval"]["when"] = json!(when);
        let mut run = begun(flow);
        run.model(asks(&[("send", json!({ "n": 7 }))]));
        assert_eq!(run.opened().len(), usize::from(is_asked), "{when}");
        assert_eq!(run.http().len(), usize::from(!is_asked), "{when}");
    }
}

#[test]
fn a_tool_that_must_not_be_repeated_is_never_repeated_and_people_see_which_it_was() {
    let mut run = begun(helper(json!({})));
    run.model(asks(&[("pay", json!({ "n": 3 }))]));
    assert!(run.sent().fenced);
    run.restart();
    assert!(run.http().is_empty());
    let spec = run.opened()[0].spec.clone();
    let shown = |name: &str| {
        spec.show
            .iter()
            .find(|item| item.name == name)
            .unwrap()
            .inline
            .clone()
    };
    assert!(shown("tool").contains("\"pay\"") && shown("arguments").contains("\"n\": 3"));
    let open = run.open("r-help-outcome");
    open.values = serde_json::from_value(json!({ "happened": true, "output": "{\"paid\": 3}" })).unwrap();
    open.phase = ApprovalPhase::Approved;
    run.tick();
    assert_eq!(run.told(), "{\"paid\":3}");

    let mut run = begun(helper(json!({})));
    run.model(asks(&[("pay", json!({ "n": 3 }))]));
    let key = run.sent().idempotency_key.clone();
    run.restart();
    let open = run.open("r-help-outcome");
    open.values = serde_json::from_value(json!({ "happened": false })).unwrap();
    open.phase = ApprovalPhase::Approved;
    run.tick();
    assert_eq!(
        run.sent().idempotency_key,
        key,
        "people said that it did not happen"
    );
}

#[test]
fn a_crash_repeats_a_tool_that_may_be_under_the_same_key_and_does_not_ask_the_model_again() {
    let mut run = begun(helper(json!({})));
    run.model(asks(&[("look", json!({ "n": 1 }))]));
    let sent = run.sent().clone();
    run.restart();
    assert_eq!(*run.sent(), sent);
    run.tool_gives(json!("a"));
    let asked = run.sent().clone();
    run.restart();
    assert_eq!(*run.sent(), asked, "nothing has begun that the model asked for");
}

#[test]
fn turns_tokens_time_and_calls_are_bounded() {
    let exhausted = |more: Value, seconds: i64| {
        let mut run = begun(helper(more));
        run.now = run.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        run.model(asks(&[("look", json!({ "n": 1 }))]));
        run.tool_gives(json!("a"));
        let error = run.state.steps[0].error.clone();
        error.map(|error| (error.reason, error.message))
    };
    assert_eq!(exhausted(json!({ "maxTurns": 2 }), 0), None);
    for (more, seconds, word) in [
        (json!({ "maxTurns": 1 }), 0, "maxTurns"),
        (json!({ "tokenBudget": 110 }), 0, "tokenBudget"),
        (json!({ "timeBudget": "1m" }), 61, "timeBudget"),
    ] {
        let (reason, message) = exhausted(more, seconds).unwrap();
        assert_eq!(reason, StepReason::BudgetExceeded);
        assert!(message.contains(word), "{message}");
    }
    let mut run = begun(helper(json!({})));
    let look = || ("look", json!({ "n": 1 }));
    run.model(asks(&[look(), look(), look()]));
    run.tool_gives(json!("a")).tool_gives(json!("b"));
    assert_eq!(run.told(), "This tool may be used at most 2 times.");
    let many: Vec<_> = (0..20).map(|_| ("send", json!({}))).collect();
    run.model(asks(&many));
    let messages = run.to_model().messages.clone();
    let refused = messages.iter().filter(
        |message| matches!(message, Message::Tool { content, .. } if content.contains("at most 16 calls")),
    );
    assert_eq!(refused.count(), 4);
}

#[test]
fn attempts_of_the_model_that_fail_use_its_budgets_too() {
    for (more, word) in [
        (json!({ "tokenBudget": 300 }), "tokenBudget"),
        (json!({ "timeBudget": "1m" }), "timeBudget"),
    ] {
        let mut flow = helper(more);
        flow["steps"][0]["retry"] =
            json!({ "attempts": 10, "when": "${true}", "backoff": {"initial": "1s", "max": "1s"} });
        let mut run = begun(flow);
        for attempt in 1..10 {
            let usage = Usage {
                input_tokens: 100,
                output_tokens: 10,
                calls: 1,
            };
            let answer = Err(EffectError {
                reason: StepReason::InvalidAnswer,
                message: "it does not fit".to_owned(),
                retryable: true,
                may_have_happened: true,
                retry_after: None,
                status: None,
            });
            run.pass(25);
            run.model(Response::Llm(LlmResponse { usage, answer }));
            run.pass(2);
            if run.state.phase.is_finished() {
                assert_eq!(attempt, 3, "{word}");
                break;
            }
        }
        let error = run.state.steps[0].error.clone().unwrap();
        assert_eq!(error.reason, StepReason::BudgetExceeded, "{}", error.message);
        assert!(error.message.contains(word), "{}", error.message);
    }
}

#[test]
fn a_call_that_people_cannot_be_shown_is_refused_and_the_model_is_told() {
    let mut flow = helper(json!({}));
    flow["steps"][0]["agent"]["tools"][2]["schema"] =
        json!({ "type": "object", "properties": { "l": { "type": "array" } } });
    flow["steps"][0]["agent"]["tools"][2]["http"]["body"] = json!({ "l": "${args.l}" });
    let mut run = begun(flow);
    let long: Vec<Value> = (0..3_500).map(|_| json!([1])).collect();
    run.model(asks(&[("send", json!({ "l": long }))]));
    assert!(run.opened().is_empty());
    let told = run.told();
    assert!(told.starts_with("People cannot be shown this call"), "{told}");
}

#[test]
fn waiting_for_people_takes_none_of_the_time() {
    let mut run = begun(helper(json!({ "timeBudget": "1m" })));
    run.model(asks(&[("send", json!({ "n": 7 }))]));
    run.pass(86_400);
    run.decide("r-help-call-1", ApprovalPhase::Approved);
    run.tool_gives(json!("sent"));
    assert_eq!(run.told(), "sent");
}

#[test]
fn the_status_stays_small_whatever_models_and_tools_say() {
    let mut run = begun(helper(json!({ "maxTurns": 250 })));
    let long = "x".repeat(100_000);
    for turn in 0..40 {
        let args = json!({ "n": long.len() + turn });
        run.model(says(&long[..10_000], &[("pay", args)]));
        if run.state.phase.is_finished() {
            break;
        }
        run.tool_gives(json!(long));
        assert!(serde_json::to_string(run.agent()).unwrap().len() < 200 * 1024);
        if run.state.phase.is_finished() {
            break;
        }
    }
    assert_eq!(
        run.state.steps[0].error.as_ref().unwrap().reason,
        StepReason::BudgetExceeded
    );
}

#[test]
fn a_late_answer_of_the_model_and_a_rejection_beside_it_do_not_collide() {
    let mut flow = helper(json!({}));
    let steps = flow["steps"].as_array_mut().unwrap();
    steps[0]["needs"] = json!([]);
    steps.push(json!({ "name": "ask", "needs": [], "approval": { "title": "go?" } }));
    for answered_first in [true, false] {
        let mut run = begun(flow.clone());
        run.open("r-ask").phase = ApprovalPhase::Rejected;
        if answered_first {
            run.model(asks(&[("pay", json!({ "n": 1 }))]));
        } else {
            run.tick();
        }
        assert_eq!(run.state.phase, RunPhase::Rejected, "{:#?}", run.state.steps);
        assert!(run.http().is_empty(), "nothing is begun any more");
        assert_eq!(run.state.steps[0].phase, StepPhase::Cancelled);
    }
}

#[test]
fn cancelling_waits_for_a_tool_that_must_not_be_repeated_and_closes_a_question() {
    let mut run = begun(helper(json!({})));
    run.model(asks(&[("pay", json!({ "n": 3 }))]));
    run.facts.run.cancel = true;
    run.tick();
    assert!(!run.state.phase.is_finished());
    run.tool_gives(json!("paid"));
    assert_eq!(run.state.phase, RunPhase::Cancelled);
    let last = run.agent().transcript.last().unwrap().0.clone();
    assert_eq!(last["content"], "paid", "what came of it is kept");

    let mut run = begun(helper(json!({})));
    run.model(asks(&[("send", json!({ "n": 3 }))]));
    run.facts.run.cancel = true;
    run.tick();
    assert!(
        run.effects
            .iter()
            .any(|effect| matches!(effect, Effect::Close(_)))
    );
    assert_eq!(run.state.phase, RunPhase::Cancelled);
}

#[test]
fn nothing_is_called_while_the_run_is_suspended() {
    let mut run = begun(helper(json!({})));
    run.facts.run.suspend = true;
    run.model(asks(&[("look", json!({ "n": 1 }))]));
    assert!(run.http().is_empty());
    assert_eq!(run.state.steps[0].phase, StepPhase::Retrying);
    run.facts.run.suspend = false;
    run.tick();
    assert_eq!(scenario::json(request(run.sent())), &json!({ "n": 1 }));
}

#[test]
fn a_connection_that_changes_below_a_question_has_it_asked_anew_and_binds_the_call() {
    let mut flow = helper(json!({}));
    flow["steps"][0]["agent"]["tools"][2]["http"] =
        json!({ "connection": "mail", "path": "/send", "body": { "n": "${args.n}" } });
    let mut run = begun(flow);
    let known = |of: &str| ConnectionFact {
        address: Some("http://mail/".into()),
        digest: Digest::of(of.as_bytes()),
    };
    run.facts.connections.insert("mail".into(), known("one"));
    run.model(asks(&[("send", json!({ "n": 7 }))]));
    let first = run.opened()[0].name.clone();
    run.facts.connections.insert("mail".into(), known("two"));
    run.tick();
    assert_ne!(run.opened()[0].name, first);
    let key = run.state.steps[0].approval.clone().unwrap();
    let fact = run.facts.objects.get_mut(&ObjectKey::approval(key)).unwrap();
    let ObjectFact::Approval(fact) = fact else {
        panic!()
    };
    fact.status.phase = ApprovalPhase::Approved;
    run.tick();
    let crate::effect::HttpTarget::Connection { bound, .. } = &request(run.sent()).target else {
        panic!()
    };
    assert_eq!(*bound, Some(Digest::of(b"two")));
}

#[test]
fn questions_about_two_calls_of_one_answer_are_put_one_after_another() {
    let mut run = begun(helper(json!({})));
    run.model(asks(&[("send", json!({ "n": 1 })), ("send", json!({ "n": 2 }))]));
    assert_eq!(run.opened().len(), 1, "the second waits for the first");
    run.decide("r-help-call-1", ApprovalPhase::Rejected);
    assert!(
        run.http().is_empty(),
        "neither the tool nor the model is called in between"
    );
    let shown = run.opened()[0].spec.show.clone();
    assert!(
        shown
            .iter()
            .any(|item| item.name == "arguments" && item.inline.contains("\"n\": 2"))
    );
    run.decide("r-help-call-2", ApprovalPhase::Approved);
    assert_eq!(scenario::json(request(run.sent())), &json!({ "n": 2 }));
    run.tool_gives(json!("sent"));
    let results: Vec<(String, bool)> = run
        .to_model()
        .messages
        .iter()
        .filter_map(|message| match message {
            Message::Tool { id, is_error, .. } => Some((id.clone(), *is_error)),
            Message::User { .. } | Message::Assistant { .. } => None,
        })
        .collect();
    assert_eq!(results, [("c0".to_owned(), true), ("c1".to_owned(), false)]);
}

#[test]
fn a_call_that_was_not_approved_is_never_made_whatever_crashes() {
    let mut run = begun(helper(json!({})));
    run.model(asks(&[("send", json!({ "n": 1 })), ("pay", json!({ "n": 2 }))]));
    run.restart().restart().pass(86_400);
    assert!(run.http().is_empty());
    assert_eq!(run.agent().open.len(), 2);
}

#[test]
fn people_who_approve_calls_of_a_tool_say_whether_one_happened() {
    let mut flow = helper(json!({}));
    flow["steps"][0]["agent"]["tools"][2]["delivery"] = json!("AtMostOnce");
    let mut run = begun(flow);
    run.model(asks(&[("send", json!({ "n": 7 }))]));
    run.decide("r-help-call-1", ApprovalPhase::Approved);
    run.restart();
    let approvers = run.opened()[0].spec.approvers.clone().unwrap();
    assert_eq!(approvers.groups, ["ops"]);
}

#[test]
fn waiting_for_people_to_say_whether_a_call_happened_takes_none_of_the_time() {
    let mut run = begun(helper(json!({ "timeBudget": "1m" })));
    run.model(asks(&[("pay", json!({ "n": 3 }))]));
    run.restart();
    run.pass(86_400);
    let open = run.open("r-help-outcome");
    open.values = serde_json::from_value(json!({ "happened": true })).unwrap();
    open.phase = ApprovalPhase::Approved;
    run.tick();
    assert_eq!(run.told(), "done");
}

#[test]
fn an_argument_that_people_add_and_the_schema_does_not_know_is_not_sent() {
    let mut run = begun(helper(json!({})));
    run.model(asks(&[("send", json!({ "n": 7 }))]));
    let shown = run.opened()[0].spec.show.clone();
    let item = shown.iter().find(|item| item.name == "arguments").unwrap();
    let schema = &item.editable.as_ref().unwrap().schema.0;
    assert_eq!(
        schema["additionalProperties"],
        json!(false),
        "the judge refuses it"
    );
    let open = run.open("r-help-call-1");
    open.shown = serde_json::from_value(json!({ "arguments": { "n": 8, "to": "eve" } })).unwrap();
    open.phase = ApprovalPhase::Approved;
    run.tick();
    assert_eq!(
        run.told(),
        "People changed the arguments, and they cannot be used: There is no argument \"to\"."
    );
}

#[test]
fn a_retried_run_repeats_no_call_that_must_not_be_and_uses_no_key_again() {
    let failing = |tool: &str| {
        let mut run = begun(helper(json!({})));
        run.model(asks(&[(tool, json!({ "n": 1 }))]));
        let key = run.sent().idempotency_key.clone();
        run.tool_gives(json!("a"));
        run.model(says("x", &[("look", json!({ "n": 1 }))]));
        let refused = EffectError {
            reason: StepReason::AnswerRefused,
            message: "the model refused to answer".into(),
            retryable: false,
            may_have_happened: false,
            retry_after: None,
            status: None,
        };
        run.tool_gives(json!("a")).outcome("help", Err(refused));
        assert_eq!(run.state.phase, RunPhase::Failed, "{:#?}", run.state.steps);
        (retries::pinned(run), key)
    };
    let (run, _) = failing("pay");
    let refused = retries::retry(&run, helper(json!({})), "help").err().unwrap();
    assert!(
        matches!(refused, crate::retry::RetryRefused::Performed { .. }),
        "{refused}"
    );
    let (run, key) = failing("look");
    let mut again = retries::retry(&run, helper(json!({})), "help").unwrap();
    again.tick();
    assert_eq!(again.sent().part, CallPart::Turn(1), "it begins anew");
    again.model(asks(&[("look", json!({ "n": 2 }))]));
    assert_ne!(again.sent().idempotency_key, key, "it may be another call");
}

#[test]
fn what_is_wrong_with_tools_is_found_before_a_release_is_cut() {
    let found = |change: &dyn Fn(&mut Value)| {
        let mut flow = helper(json!({}));
        change(&mut flow);
        let found = Plan::compile(&serde_json::from_value(flow).unwrap())
            .err()
            .unwrap_or_default();
        found.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
    };
    let tool = |n: usize, field: &'static str, value: Value| {
        move |flow: &mut Value| flow["steps"][0]["agent"]["tools"][n][field] = value.clone()
    };
    let asked = |field: &'static str, value: Value| {
        move |flow: &mut Value| flow["steps"][0]["agent"]["tools"][2]["approval"][field] = value.clone()
    };
    assert_eq!(found(&|_| {}), [""; 0]);
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(tool(1, "name", json!("look"))), "tools[1].name"),
        (Box::new(tool(0, "name", json!("a b"))), "tools[0].name"),
        (
            Box::new(tool(0, "description", json!("for ${inputs.x}"))),
            "tools[0].description",
        ),
        (Box::new(tool(0, "timeout", json!("1h"))), "tools[0].timeout"),
        (
            Box::new(tool(2, "http", json!({ "url": "http://x/${args.to}" }))),
            "tools[2].http.url",
        ),
        (
            Box::new(asked("when", json!("${args.n + 1}"))),
            "tools[2].approval.when",
        ),
        (
            Box::new(asked("title", json!("${args.to}"))),
            "tools[2].approval.title",
        ),
        (
            Box::new(asked("show", json!([{ "name": "x", "value": "${args.to}" }]))),
            "tools[2].approval.show[0].value",
        ),
        (
            Box::new(asked("show", json!([{ "name": "effect", "value": "x" }]))),
            "tools[2].approval.show[0].name",
        ),
        (
            Box::new(asked("show", json!([{ "name": "x", "step": "help" }]))),
            "tools[2].approval.show[0].step",
        ),
        (
            Box::new(asked("quorum", json!("${inputs.x}"))),
            "tools[2].approval.quorum",
        ),
    ];
    for (change, field) in cases {
        let problems = found(&*change);
        assert!(
            problems.contains(&format!("steps[0].agent.{field}")),
            "{field}: {problems:?}"
        );
    }
    let each = found(&|flow| {
        flow["steps"][0]["forEach"] = json!({ "items": [1] });
        flow["output"] = json!({});
    });
    assert_eq!(each, ["steps[0].agent.tools[1].delivery"]);
    let last = found(&|flow| {
        flow["finally"] = flow["steps"].take();
        flow["steps"] = json!([{ "name": "a", "set": { "x": 1 } }]);
        flow["output"] = json!({});
    });
    assert_eq!(last, ["finally[0].agent.tools[2].approval"]);
}
