//! Given a flow and what happens to a run of it, which messages are sent.

use serde_json::{Value, json};

use super::*;
use crate::{
    effect::{HttpBody, Request},
    tests::Scenario,
};
use signoff_api::{ApprovalPhase, run::Channel, text::is_hidden};

#[expect(clippy::needless_pass_by_value, reason = "it is written in place")]
fn flow(notifications: Value) -> Value {
    json!({
        "inputs": { "type": "object", "properties": { "who": { "type": "string", "default": "bob" } } },
        "steps": [
            { "name": "review", "approval": {
                "title": "Refund ${inputs.who}?", "respondWithin": "4h", "remindEvery": "1h",
                "escalate": [{ "after": "90m", "to": { "groups": ["leads"] } }],
            } },
            { "name": "then", "set": { "x": 1 } },
        ],
        "notifications": notifications,
    })
}

fn scenario(notifications: Value, who: &str) -> Scenario {
    Scenario::of(flow(notifications), &json!({ "who": who }))
}

/// What is to be sent since the last time, in the order of the keys.
fn messages(run: &mut Scenario) -> Vec<(NotificationEvent, Result<Option<Message>, NotMade>)> {
    run.state.has_notifications = None;
    let pending = std::mem::take(&mut run.state.notifications);
    let asked = Asked {
        title: "Refund bob?".to_owned(),
        expires_at: None,
    };
    let known = Known {
        run: &run.facts.run,
        release: &run.facts.release,
        status: &run.state,
        pages: Some("https://questions.example.com"),
    };
    let made = pending.into_values().map(|pending| {
        let asked = pending.approval.as_ref().map(|_| &asked);
        (pending.event, run.plan.message(known, &pending, asked))
    });
    made.collect()
}

fn texts(run: &mut Scenario) -> Vec<String> {
    let sent = messages(run).into_iter();
    sent.map(|(_, message)| message.unwrap().unwrap().text).collect()
}

fn events(run: &mut Scenario) -> Vec<NotificationEvent> {
    messages(run).into_iter().map(|(on, _)| on).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "it is written in place")]
fn slack(on: Value) -> Value {
    json!({ "events": on, "slack": { "connection": "chat", "channel": "ops" } })
}

#[test]
fn people_are_told_of_a_question_its_answer_and_the_end_once_each() {
    let all = json!(["RunStarted", "ApprovalOpened", "ApprovalClosed", "RunEnded"]);
    let mut run = scenario(json!([slack(all)]), "bob");
    run.tick();
    assert_eq!(run.state.has_notifications, Some(true));
    let sent = texts(&mut run);
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(
        sent[0].starts_with("Approval wanted: Refund bob?\nFlow f, run r, step review\nhttps://questions"),
        "{sent:?}"
    );
    assert!(
        sent[1].starts_with("Run r started, requested by dev\nFlow f, run r\n`signoff status r"),
        "{sent:?}"
    );
    run.tick();
    assert_eq!(texts(&mut run), Vec::<String>::new());
    run.decide("r-review", ApprovalPhase::Approved);
    let sent = texts(&mut run);
    assert!(sent[0].starts_with("Approved: Refund bob?\n"), "{sent:?}");
    assert!(sent[1].starts_with("Run r succeeded\n"), "{sent:?}");
    assert_eq!(sent.len(), 2);
}

#[test]
fn of_a_question_that_stays_open_people_are_reminded_and_a_restart_repeats_nothing() {
    let all = json!(["ApprovalReminder", "ApprovalEscalated", "ApprovalClosed"]);
    let mut run = scenario(json!([slack(all)]), "bob");
    run.tick();
    assert_eq!(events(&mut run), []);
    let asked_at = run.now;
    assert_eq!(
        run.wake_at.map(|at| at.duration_since(asked_at).as_secs()),
        Some(3600)
    );
    run.pass(3600);
    assert_eq!(events(&mut run), [NotificationEvent::ApprovalReminder]);
    run.restart();
    assert_eq!(events(&mut run), []);
    assert_eq!(
        run.wake_at.map(|at| at.duration_since(asked_at).as_secs()),
        Some(5400)
    );
    run.pass(1800);
    assert_eq!(events(&mut run), [NotificationEvent::ApprovalEscalated]);
    // two reminders came while nothing ran
    run.pass(5400);
    assert_eq!(events(&mut run), [NotificationEvent::ApprovalReminder]);
    assert_eq!(run.wake_at, None, "nothing comes before the deadline");
    run.decide("r-review", ApprovalPhase::Expired);
    let sent = messages(&mut run);
    let closed = sent[0].1.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(closed.document["event"]["approval"]["outcome"], "TimedOut");
}

#[test]
fn nobody_is_told_of_a_draft_and_a_flow_without_reminders_wakes_for_none() {
    let mut run = scenario(
        json!([slack(json!(["ApprovalOpened", "ApprovalReminder"]))]),
        "bob",
    );
    run.facts.run.channel = Channel::Draft;
    run.tick();
    assert!(run.state.notifications.is_empty());
    assert_eq!((run.state.has_notifications, run.wake_at), (None, None));
    let mut run = scenario(json!([slack(json!(["ApprovalOpened"]))]), "bob");
    run.tick();
    assert_eq!(run.wake_at, None);
}

#[test]
fn a_question_that_the_end_of_the_run_withdraws_is_closed_without_a_decision() {
    let mut run = scenario(json!([slack(json!(["ApprovalClosed"]))]), "bob");
    run.tick();
    run.facts.run.cancel = true;
    run.tick();
    let sent = texts(&mut run);
    assert!(sent[0].starts_with("Closed without a decision: "), "{sent:?}");
}

#[test]
fn a_condition_and_words_of_ones_own_see_the_event_and_text_of_others_is_harmless() {
    let mine = json!({
        "events": ["ApprovalOpened", "RunEnded"],
        "when": "${event.type == 'ApprovalOpened' && event.?approval.step.orValue('') == 'review'}",
        "slack": { "connection": "chat", "channel": "c-${run.flow}", "text": "*${inputs.who}* ${event.?approval.title.orValue('')}" },
    });
    let mut run = scenario(json!([mine]), "<!channel>\u{202e}");
    run.tick();
    let sent = messages(&mut run);
    let message = sent[0].1.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(message.text, r"*&lt;!channel&gt;\u{202e}* Refund bob?");
    assert_eq!(
        message.to,
        Destination::Slack("chat".parse().unwrap(), "c-f".into())
    );
    assert!(!message.subject.chars().any(is_hidden));
    run.decide("r-review", ApprovalPhase::Rejected);
    assert!(matches!(
        messages(&mut run).as_slice(),
        [(NotificationEvent::RunEnded, Ok(None))]
    ));
}

#[test]
fn what_all_events_of_a_notification_have_needs_no_guard() {
    let told = json!([
        { "events": ["ApprovalOpened"], "teams": { "connection": "t", "text": "${event.approval.title}" } },
        { "events": ["ApprovalClosed"], "teams": { "connection": "t", "text": "${event.approval.outcome}" } },
        { "events": ["RunEnded"], "teams": { "connection": "t", "text": "${run.outcome}" } },
        { "events": ["RunEnded", "ApprovalOpened"], "when": "${has(event.approval)}",
            "teams": { "connection": "t", "text": "${event.approval.title}" } },
    ]);
    let definition = serde_json::from_value(flow(told)).unwrap();
    Plan::compile(&definition).unwrap();
}

#[test]
fn messages_to_one_place_become_one_that_fits() {
    let to = Destination::Email("mail".parse().unwrap(), vec!["a@b".into()]);
    let message = |n: usize, to: &Destination, text: &str| Message {
        to: to.clone(),
        text: format!("{text} {n}"),
        subject: format!("subject {n}"),
        document: json!({ "n": n }),
    };
    let hundred: Vec<_> = (0..100).map(|n| message(n, &to, "text")).collect();
    let Some(Request::Email(mail)) = request(&to, &hundred) else {
        panic!("no mail")
    };
    assert_eq!(mail.subject, "subject 99 (and 99 more)");
    assert!(
        mail.text.starts_with("100 notifications\n\ntext 0\n\ntext 1\n") && mail.text.ends_with("text 99"),
        "{}",
        mail.text
    );
    let to = Destination::Discord("chat".parse().unwrap());
    let long: Vec<_> = (0..10).map(|n| message(n, &to, &"x".repeat(450))).collect();
    let Some(Request::Http(post)) = request(&to, &long) else {
        panic!("no post")
    };
    let Some(HttpBody::Json(body)) = post.body else {
        panic!("no body")
    };
    let content = body["content"].as_str().unwrap();
    assert!(
        content.chars().count() <= 2_000 && content.ends_with("and 6 more"),
        "{content}"
    );
    assert!(request(&to, &[]).is_none());
}

#[test]
fn a_program_gets_the_event_and_the_run_as_json() {
    let told = json!([
        { "events": ["RunEnded"], "webhook": { "connection": "hook", "path": "/runs/${run.name}/${inputs.who}" } },
        { "events": ["RunEnded"], "cloudEvent": { "connection": "hook" } },
    ]);
    let mut run = scenario(told, "a/../b");
    run.tick();
    run.decide("r-review", ApprovalPhase::Approved);
    let sent: Vec<Message> = messages(&mut run)
        .into_iter()
        .map(|(_, message)| message.unwrap().unwrap())
        .collect();
    assert_eq!(
        sent[0].to,
        Destination::Webhook("hook".parse().unwrap(), "/runs/r/a%2F..%2Fb".into())
    );
    assert_eq!(sent[0].document["event"]["type"], "RunEnded");
    assert_eq!(sent[0].document["run"]["outcome"], "Succeeded");
    let event = &sent[1].document;
    assert_eq!(
        (&event["type"], &event["subject"]),
        (&json!("dev.signoff.RunEnded"), &json!("r"))
    );
    assert_eq!(event["data"]["run"]["name"], "r");
}

#[test]
fn what_cannot_be_a_message_is_an_error_of_the_notification_alone() {
    let bad = json!({ "events": ["RunStarted"], "email": { "connection": "mail", "to": ["${inputs.who}"] } });
    let mut run = scenario(json!([bad, slack(json!(["RunStarted"]))]), "a@b\r\nBcc: c@d");
    run.tick();
    let sent = messages(&mut run);
    assert!(sent[0].1.is_err() && sent[1].1.is_ok(), "{sent:?}");
}

#[test]
fn what_is_wrong_with_a_notification_is_told_with_its_place() {
    for (notification, field) in [
        (
            json!({ "events": [], "teams": { "connection": "t" } }),
            "notifications[0].events",
        ),
        (
            json!({ "events": ["RunEnded"], "group": "25h", "teams": { "connection": "t" } }),
            "notifications[0].group",
        ),
        (
            json!({ "events": ["RunEnded"], "group": "1h", "webhook": { "connection": "t" } }),
            "notifications[0].group",
        ),
        (
            json!({ "events": ["RunEnded"], "when": "${steps.review}", "teams": { "connection": "t" } }),
            "notifications[0].when",
        ),
        (
            json!({ "events": ["RunEnded"], "teams": { "connection": "t", "text": "${callback('x').url}" } }),
            "notifications[0].teams.text",
        ),
        (
            json!({ "events": ["RunStarted"], "teams": { "connection": "t", "text": "${run.outcome}" } }),
            "notifications[0].teams.text",
        ),
        (
            json!({ "events": ["RunEnded"], "cloudEvent": { "connection": "t", "type": "${run.name}" } }),
            "notifications[0].cloudEvent.type",
        ),
        (
            json!({ "events": ["RunEnded"], "webhook": { "connection": "t", "message": { "a": ["${nothing}"] } } }),
            "notifications[0].webhook.message.a[0]",
        ),
    ] {
        let definition = serde_json::from_value(flow(json!([notification]))).unwrap();
        let problems = Plan::compile(&definition).unwrap_err();
        assert!(
            problems.iter().any(|problem| problem.field == field),
            "{field}: {problems:?}"
        );
    }
}
