//! `notify` steps: what is sent through each channel, and what the answers come to.

use super::*;
use crate::{
    effect::{AttachmentContent, EmailRequest, HttpBody, HttpChannel, HttpTarget},
    facts::EmailResponse,
};

/// A run whose first step sends a message with this input.
fn telling(notify: &Value, said: &str) -> Scenario {
    let flow = json!({
        "inputs": { "type": "object", "properties": {
            "said": { "type": "string", "default": "" }, "all": { "type": "array", "items": { "type": "string" }, "default": [] },
        } },
        "steps": [
            { "name": "tell", "retry": { "attempts": 2 }, "notify": notify },
            { "name": "after", "set": { "x": 1 } },
        ],
    });
    let inputs = json!({ "said": said, "all": ["bob@example.com", "eve@example.com"] });
    let mut run = Scenario::of(flow, &inputs);
    run.tick();
    run
}

fn mail(run: &Scenario) -> &EmailRequest {
    match &run.http()[0].request {
        Request::Email(mail) => mail,
        other => panic!("no mail: {other:?}"),
    }
}

fn answered(run: &mut Scenario, headers: &[(&str, &str)], status: u16, body: Value) {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let response = HttpResponse {
        status,
        headers: headers.collect(),
        body,
    };
    run.outcome("tell", Ok(Response::Http(response)));
}

const EVIL: &str = "<!channel> *x* @everyone https://evil.example \u{202e}";

#[test]
fn slack_gets_the_text_of_others_escaped_and_says_where_the_message_is() {
    let notify = json!({ "slack": { "connection": "chat", "channel": "ops", "text": "*refund*: ${inputs.said} https://a.example/" } });
    let mut run = telling(&notify, EVIL);
    let request = request(run.http()[0]);
    let expected = HttpTarget::Channel {
        channel: HttpChannel::Slack,
        name: "chat".parse().unwrap(),
        path: "/chat.postMessage".into(),
        bound: None,
    };
    assert_eq!(request.target, expected);
    let body = scenario::json(request).clone();
    let text = r"*refund*: &lt;!channel&gt; *x* @everyone https://evil.example \u{202e} <https://a.example/>";
    assert_eq!((&body["channel"], &body["text"]), (&json!("ops"), &json!(text)));
    assert_eq!(body["unfurl_links"], false);
    assert_eq!(body["parse"], "none");
    assert!(request.reads_body, "only the body says whether it was posted");
    answered(
        &mut run,
        &[],
        200,
        json!({ "ok": true, "channel": "C1", "ts": "1.2", "message": {} }),
    );
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    let output = run.state.steps[0].output.as_ref().unwrap();
    assert_eq!(output.0, json!({ "channel": "C1", "ts": "1.2" }));
}

#[test]
fn what_slack_refuses_fails_with_its_reason_and_what_passes_is_tried_again() {
    let notify = json!({ "slack": { "connection": "chat", "channel": "ops", "text": "x" } });
    for (error, reason) in [
        ("channel_not_found", StepReason::MessageRefused),
        ("invalid_auth", StepReason::CredentialsRefused),
    ] {
        let mut run = telling(&notify, "");
        answered(&mut run, &[], 200, json!({ "ok": false, "error": error }));
        let failed = run.state.error.as_ref().unwrap();
        assert_eq!((run.state.phase, failed.reason), (RunPhase::Failed, reason));
        assert!(failed.message.contains(error), "{}", failed.message);
    }
    let refusals = [
        (200, json!({ "ok": false, "error": "ratelimited" })),
        (429, json!({ "ok": false, "error": "ratelimited" })),
    ];
    for (status, body) in refusals {
        let mut run = telling(&notify, "");
        answered(&mut run, &[("retry-after", "40")], status, body);
        assert_eq!(run.state.steps[0].phase, StepPhase::Retrying);
        run.pass(39);
        assert!(run.http().is_empty(), "its rate limit is obeyed");
        run.pass(1);
        answered(
            &mut run,
            &[],
            200,
            json!({ "ok": true, "channel": "C1", "ts": "1.2" }),
        );
        assert_eq!(run.state.phase, RunPhase::Succeeded);
    }
}

#[test]
fn discord_and_teams_get_the_text_of_others_as_text() {
    for (channel, kind) in [("discord", HttpChannel::Discord), ("teams", HttpChannel::Teams)] {
        let notify = json!({ channel: { "connection": "chat", "text": "**refund** ${inputs.said}" } });
        let mut run = telling(&notify, EVIL);
        let sent = request(run.http()[0]);
        assert!(
            matches!(&sent.target, HttpTarget::Channel { channel, path, .. } if *channel == kind && path.is_empty())
        );
        assert!(!sent.reads_body);
        let body = scenario::json(sent).to_string();
        assert!(
            body.contains(r"**refund** ") && !body.contains("<!channel>"),
            "{body}"
        );
        assert!(body.contains(r"\\*x\\*") && !body.contains('\u{202e}'), "{body}");
        if kind == HttpChannel::Discord {
            assert_eq!(scenario::json(sent)["allowed_mentions"], json!({ "parse": [] }));
        }
        answered(&mut run, &[], 204, Value::Null);
        assert_eq!(run.state.phase, RunPhase::Succeeded);
    }
}

#[test]
fn a_mail_is_made_of_values_that_cannot_leave_their_place() {
    let notify = json!({ "email": {
        "connection": "mail", "to": ["alice@example.com", "${inputs.all}"], "cc": ["carol@example.com"],
        "subject": "Refund ${inputs.said}", "text": "Hello,\n${inputs.said}\n",
        "attachments": [{ "name": "a.json", "value": { "said": "${inputs.said}" } }],
    } });
    let mut run = telling(&notify, "x\r\nBcc: eve@example.com");
    let sent = mail(&run);
    assert_eq!(
        sent.to,
        ["alice@example.com", "bob@example.com", "eve@example.com"]
    );
    assert_eq!(sent.subject, "Refund x␍␊Bcc: eve@example.com");
    assert!(sent.text.starts_with("Hello,\nx"), "{}", sent.text);
    let file = &sent.attachments[0];
    assert_eq!(
        (file.name.as_str(), file.media_type.as_str()),
        ("a.json", "application/json")
    );
    assert!(matches!(&file.content, AttachmentContent::Text(text) if text.contains("said")));
    let sent = EmailResponse {
        message_id: "<1@example.com>".into(),
    };
    run.outcome("tell", Ok(Response::Email(sent)));
    let output = run.state.steps[0].output.as_ref().unwrap();
    assert_eq!(output.0, json!({ "messageId": "<1@example.com>" }));
}

#[test]
fn a_recipient_that_is_no_address_fails_the_step() {
    for bad in ["a@b\r\nBcc: c@d", "A <a@b>", "a@b, c@d", ""] {
        let notify = json!({ "email": { "connection": "mail", "to": ["${inputs.said}"], "subject": "s", "text": "t" } });
        let run = telling(&notify, bad);
        let error = run.state.error.as_ref().unwrap();
        assert_eq!(error.reason, StepReason::InvalidRequest, "{bad:?}");
    }
}

#[test]
fn a_cloud_event_has_all_but_its_id_and_a_webhook_goes_through_either_kind() {
    let notify = json!({ "cloudEvent": { "connection": "hook", "path": "/e", "type": "com.example.paid",
        "subject": "${inputs.said}", "data": { "said": "${inputs.said}" } } });
    let run = telling(&notify, "81");
    let sent = request(run.http()[0]);
    let expected = json!({
        "specversion": "1.0", "type": "com.example.paid", "subject": "81", "datacontenttype": "application/json",
        "source": "/signoff.dev/namespaces/ns/flows/f", "data": { "said": "81" },
    });
    let Some(HttpBody::CloudEvent(event)) = &sent.body else {
        panic!("{sent:?}")
    };
    let mut event = event.clone();
    // whatever the namespace and the flow of the test are called
    let source = event["source"].take();
    assert!(
        source.as_str().unwrap().starts_with("/signoff.dev/namespaces/"),
        "{source}"
    );
    event["source"] = expected["source"].clone();
    assert_eq!(event, expected);
    let webhook = json!({ "webhook": { "connection": "hook", "message": "hi" } });
    let run = telling(&webhook, "");
    for sent in [sent, request(run.http()[0])] {
        let target = &sent.target;
        assert!(
            matches!(
                target,
                HttpTarget::Channel {
                    channel: HttpChannel::Webhook,
                    ..
                }
            ),
            "{target:?}"
        );
    }
}

#[test]
fn what_people_are_shown_is_the_message_that_is_sent() {
    let channels = [
        json!({ "slack": { "connection": "chat", "channel": "ops", "text": "${inputs.said}" } }),
        json!({ "email": { "connection": "mail", "to": ["a@b"], "subject": "${inputs.said}", "text": "hi" } }),
        json!({ "cloudEvent": { "connection": "hook", "type": "t", "data": "${inputs.said}" } }),
    ];
    for notify in channels {
        let flow = json!({
            "inputs": { "type": "object", "properties": { "said": { "type": "string" } } },
            "steps": [
                { "name": "ask", "approval": { "title": "send?", "show": [{ "name": "message", "step": "tell" }] } },
                { "name": "tell", "notify": notify },
            ],
        });
        let mut run = Scenario::of(flow, &json!({ "said": "hello" }));
        run.tick();
        assert!(run.opened()[0].spec.show[0].inline.contains("hello"));
        run.decide("r-ask", ApprovalPhase::Approved);
        assert_eq!(run.http().len(), 1, "{:?}", run.state.error);
    }
}

#[test]
fn a_message_to_people_holds_no_address_of_a_callback() {
    let flow = json!({ "steps": [
        { "name": "tell", "notify": { "slack": { "connection": "chat", "channel": "c", "text": "${callback('w').url}" } } },
        { "name": "w", "wait": { "callback": {}, "respondWithin": "1h" } },
    ] });
    let problems = Plan::compile(&serde_json::from_value(flow).unwrap()).unwrap_err();
    assert!(format!("{problems:?}").contains("callback()"), "{problems:?}");
}

#[test]
fn what_a_receiver_writes_about_a_message_is_not_read() {
    for notify in [
        json!({ "webhook": { "url": "https://example.com/hook", "message": "hi" } }),
        json!({ "webhook": { "connection": "hook", "message": "hi" } }),
        json!({ "cloudEvent": { "connection": "events", "type": "refund" } }),
    ] {
        let mut run = telling(&notify, "");
        assert!(!request(run.http()[0]).reads_body);
        answered(&mut run, &[], 200, Value::Null);
        assert_eq!(run.state.phase, RunPhase::Succeeded);
    }
}

#[test]
fn what_is_wrong_as_it_is_written_keeps_a_release_from_being_cut() {
    let problems = |notify: &Value| {
        let flow = json!({
            "inputs": { "type": "object", "required": ["said", "all"], "properties": {
                "said": { "type": "string" }, "all": { "type": "array" }, "maybe": { "type": "string" },
            } },
            "steps": [{ "name": "tell", "notify": notify }],
        });
        let found = Plan::compile(&serde_json::from_value(flow).unwrap())
            .err()
            .unwrap_or_default();
        let found = found.into_iter().map(|problem| problem.field);
        found
            .map(|field| field.replace("steps[0].notify.", ""))
            .collect::<Vec<_>>()
    };
    let mail = |more: Value| {
        let mut mail = json!({ "connection": "mail", "to": ["a@example.com"], "subject": "x", "text": "y" });
        mail.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({ "email": mail })
    };
    let file = |file: Value| mail(json!({ "attachments": [file] }));
    for (notify, field) in [
        (
            mail(json!({ "to": ["a@example.com", "not an address"] })),
            "email.to[1]",
        ),
        (mail(json!({ "to": ["Bob <b@x.y>"] })), "email.to[0]"),
        (mail(json!({ "to": [] })), "email.to"),
        (mail(json!({ "cc": ["nope"] })), "email.cc[0]"),
        (mail(json!({ "replyTo": "nope" })), "email.replyTo"),
        (mail(json!({ "text": " " })), "email.text"),
        (
            file(json!({ "nam": "x", "value": "${inputs.said}" })),
            "email.attachments[0]",
        ),
        (file(json!({ "name": "x" })), "email.attachments[0]"),
        (
            file(json!({ "name": ".x", "value": "${inputs.said}" })),
            "email.attachments[0]",
        ),
        (
            file(json!({ "name": "x", "value": "y", "mediaType": "foo" })),
            "email.attachments[0]",
        ),
        (
            file(json!({ "name": "x", "value": "y", "mediaType": "multipart/mixed; boundary=zzz" })),
            "email.attachments[0]",
        ),
        (
            json!({ "cloudEvent": { "connection": "events", "type": "t", "source": "a b" } }),
            "cloudEvent.source",
        ),
        (
            json!({ "slack": { "connection": "chat", "channel": "ops", "text": "" } }),
            "slack.text",
        ),
    ] {
        assert_eq!(problems(&notify), [field], "{notify}");
    }
    for notify in [
        mail(json!({ "to": ["${inputs.said}", "x@${inputs.said}"], "replyTo": "${inputs.said}" })),
        mail(json!({ "attachments": ["${inputs.all}", { "name": "${inputs.said}", "value": 1 }] })),
        file(json!({ "name": "x", "value": "${inputs.?maybe}", "from": "${inputs.?maybe}" })),
        json!({ "cloudEvent": { "connection": "events", "type": "t", "source": "/a/${inputs.said}" } }),
    ] {
        assert_eq!(problems(&notify), [""; 0], "{notify}");
    }
}
