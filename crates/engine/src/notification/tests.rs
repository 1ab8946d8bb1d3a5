//! Given a run and what happens to it, who is told what.

use serde_json::{Value, json};

use super::*;
use crate::{
    effect::{HttpBody, Request},
    tests::Scenario,
};
use signoff_api::{ApprovalPhase, text::is_hidden};

fn flow(notifications: Value) -> Value {
    json!({
        "inputs": { "type": "object", "properties": { "who": { "type": "string", "default": "bob" } } },
        "steps": [
            { "name": "review", "approval": { "title": "Refund ${inputs.who}?", "respondWithin": "4h" } },
            { "name": "then", "set": { "x": 1 } },
        ],
        "notifications": notifications,
    })
}

/// Everything that people are told while a run is played.
struct Told {
    run: Scenario,
    before: Option<RunStatus>,
}

impl Told {
    fn of(notifications: Value, who: &str) -> Self {
        let run = Scenario::of(flow(notifications), &json!({ "who": who }));
        Self { run, before: None }
    }

    fn next(&mut self) -> Vec<(usize, Result<Message, NotMade>)> {
        let after = self.run.state.clone();
        let known = Known {
            run: &self.run.facts.run,
            release: &self.run.facts.release,
            status: &after,
            at: self.run.now,
        };
        let all = happened(self.before.as_ref(), &after);
        let told = all
            .iter()
            .flat_map(|one| self.run.plan.messages(known, one))
            .collect();
        self.before = Some(after);
        told
    }

    fn texts(&mut self) -> Vec<String> {
        let told = self.next().into_iter();
        told.map(|(_, message)| message.unwrap().text).collect()
    }
}

fn slack(on: Value) -> Value {
    json!({ "on": on, "slack": { "connection": "chat", "channel": "ops" } })
}

#[test]
fn people_are_told_of_a_question_its_answer_and_the_end_once_each() {
    let all = json!(["RunStarted", "ApprovalOpened", "ApprovalClosed", "RunEnded"]);
    let mut told = Told::of(json!([slack(all)]), "bob");
    told.run.tick();
    let texts = told.texts();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts[0].starts_with("Run r started, requested by dev\nFlow f, run r\n"),
        "{texts:?}"
    );
    assert!(
        texts[1].starts_with("Approval wanted: review\nFlow f, run r, step review\n"),
        "{texts:?}"
    );
    assert!(texts[1].contains("`signoff show r-review"), "{texts:?}");
    told.run.tick();
    assert_eq!(told.texts(), Vec::<String>::new());
    told.run.decide("r-review", ApprovalPhase::Approved);
    let texts = told.texts();
    assert!(texts[0].starts_with("Approved: review\n"), "{texts:?}");
    assert!(texts[1].starts_with("Run r succeeded\n"), "{texts:?}");
    assert_eq!(texts.len(), 2);
}

#[test]
fn a_condition_and_words_of_ones_own_see_the_event_and_text_of_others_is_harmless() {
    let mine = json!({
        "on": ["ApprovalOpened", "RunEnded"],
        "when": "${event.type == 'ApprovalOpened' && event.?approval.step.orValue('') == 'review'}",
        "slack": { "connection": "chat", "channel": "c-${run.flow}", "text": "*${inputs.who}* ${event.?approval.title.orValue('')}" },
    });
    let mut told = Told::of(json!([mine]), "<!channel>\u{202e}");
    told.run.tick();
    let messages = told.next();
    let message = messages[0].1.as_ref().unwrap();
    assert_eq!(message.text, r"*&lt;!channel&gt;\u{202e}* review");
    assert_eq!(
        message.to,
        Destination::Slack("chat".parse().unwrap(), "c-f".into())
    );
    assert!(!message.subject.chars().any(is_hidden));
    told.run.decide("r-review", ApprovalPhase::Rejected);
    assert!(told.next().is_empty());
}

#[test]
fn messages_to_one_place_become_one_and_programs_get_each() {
    let place = Destination::Email("mail".parse().unwrap(), vec!["a@b".into()]);
    let message = |n: usize, to: &Destination| Message {
        to: to.clone(),
        text: format!("text {n}"),
        subject: format!("subject {n}"),
        json: json!({ "n": n }),
    };
    let hundred: Vec<_> = (0..100).map(|n| message(n, &place)).collect();
    let sent = requests(&place, &hundred);
    let [Request::Email(mail)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert_eq!(mail.subject, "subject 99 (and 99 more)");
    assert!(
        mail.text.starts_with("100 notifications\n\ntext 0\n\ntext 1\n"),
        "{}",
        mail.text
    );
    assert!(mail.text.ends_with("and 80 more"), "{}", mail.text);
    let hook = Destination::Webhook("hook".parse().unwrap(), "/p".into());
    let sent = requests(&hook, &[message(1, &hook), message(2, &hook)]);
    assert_eq!(sent.len(), 2);
    assert!(matches!(&sent[1], Request::Http(post) if post.body == Some(HttpBody::Json(json!({ "n": 2 })))));
    assert!(requests(&hook, &[]).is_empty());
}

#[test]
fn what_cannot_be_a_message_is_an_error_of_the_notification_alone() {
    let bad = json!({ "on": ["RunStarted"], "email": { "connection": "mail", "to": ["${inputs.who}"] } });
    let mut told = Told::of(json!([bad, slack(json!(["RunStarted"]))]), "a@b\r\nBcc: c@d");
    told.run.tick();
    let messages = told.next();
    assert!(messages[0].1.is_err() && messages[1].1.is_ok(), "{messages:?}");
}

#[test]
fn what_is_wrong_with_a_notification_is_told_with_its_place() {
    for (notification, field) in [
        (
            json!({ "on": [], "teams": { "connection": "t" } }),
            "notifications[0].on",
        ),
        (
            json!({ "on": ["RunEnded"], "group": "25h", "teams": { "connection": "t" } }),
            "notifications[0].group",
        ),
        (
            json!({ "on": ["RunEnded"], "when": "${steps.review}", "teams": { "connection": "t" } }),
            "notifications[0].when",
        ),
        (
            json!({ "on": ["RunEnded"], "teams": { "connection": "t", "text": "${callback('x').url}" } }),
            "notifications[0].teams.text",
        ),
    ] {
        let definition = serde_json::from_value(flow(json!([notification]))).unwrap();
        let problems = Plan::compile(&definition).unwrap_err();
        assert!(
            problems.iter().any(|problem| problem.field == field),
            "{problems:?}"
        );
    }
}
