//! Mails on a real mail server.

use serde_json::{Value, json};
use signoff_api::reason::StepReason;

use crate::receiver::{stage, tell};

fn hello(connection: &str, to: &str) -> Value {
    json!({"email": {"connection": connection, "to": [to], "subject": "Refund", "text": "Hello"}})
}

fn headers<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = mail["headers"].as_array().unwrap().iter();
    let named = headers.filter(|header| header[0].as_str().unwrap().eq_ignore_ascii_case(name));
    named.map(|header| header[1].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_arrives_whole_over_starttls_and_over_tls() {
    let Some((receiver, rig, operator)) = stage("mails").await else {
        return;
    };
    receiver.mail(&rig, "starttls", 0, json!({})).await;
    receiver.mail(&rig, "tls", 1, json!({"security": "TLS"})).await;
    for name in ["starttls", "tls"] {
        let notify = json!({"email": {
            "connection": name, "to": ["alice@example.com"], "cc": ["bob@example.com"], "replyTo": "team@example.com",
            "subject": "Rückzahlung ${'81\\r\\nBcc: eve@example.com'}", "text": "Grüße,\n.\n${'a\\r\\n.\\r\\nQUIT'}\n",
            "attachments": [{"name": "quote.json", "value": {"amount": 250}}],
        }});
        let told = tell(&rig, name, notify, "Succeeded").await;
        let mail = receiver.taken().pop().unwrap();
        assert_eq!(
            (&mail["encrypted"], &mail["user"]),
            (&json!(true), &json!("signoff"))
        );
        assert_eq!(
            mail["recipients"],
            json!(["alice@example.com", "bob@example.com"])
        );
        assert_eq!(mail["sender"], "signoff@example.com");
        assert_eq!(
            headers(&mail, "subject"),
            ["Rückzahlung 81␍␊Bcc: eve@example.com"]
        );
        assert_eq!(headers(&mail, "reply-to"), ["team@example.com"]);
        assert_eq!(headers(&mail, "auto-submitted"), ["auto-generated"]);
        assert!(headers(&mail, "bcc").is_empty(), "{mail}");
        let id = &told.output.as_ref().unwrap().0["messageId"];
        assert_eq!(headers(&mail, "message-id"), [id.as_str().unwrap()]);
        let text = mail["text"].as_str().unwrap().replace("\r\n", "\n");
        assert!(
            text.starts_with("Grüße,\n.\na") && text.contains("QUIT"),
            "{text:?}"
        );
        assert_eq!(mail["files"][0]["name"], "quote.json");
        assert!(mail["files"][0]["content"].as_str().unwrap().contains("250"));
        assert_eq!(mail["defects"], json!([]));
    }
    assert_eq!(receiver.taken().len(), 2);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_cannot_be_sent_says_why_and_is_not_sent() {
    let Some((receiver, rig, operator)) = stage("refused mails").await else {
        return;
    };
    receiver
        .mail(&rig, "good", 0, json!({"recipients": ["*@example.com"]}))
        .await;
    let wrong = json!({"password": {"name": "channels", "key": "wrong"}});
    receiver.mail(&rig, "login", 0, wrong).await;
    receiver.mail(&rig, "untrusted", 0, json!({"tls": null})).await;
    receiver
        .mail(
            &rig,
            "named",
            0,
            json!({"tls": {"ca": {"name": "channels", "key": "ca"}}}),
        )
        .await;
    receiver.mail(&rig, "stripped", 2, json!({})).await;
    receiver
        .mail(&rig, "metadata", 0, json!({"host": "169.254.169.254"}))
        .await;
    for (name, to, reason, says) in [
        (
            "good",
            "eve@example.org",
            StepReason::AddressRefused,
            "recipients",
        ),
        (
            "login",
            "alice@example.com",
            StepReason::CredentialsRefused,
            "login",
        ),
        (
            "untrusted",
            "alice@example.com",
            StepReason::Unreachable,
            "certificate",
        ),
        (
            "named",
            "alice@example.com",
            StepReason::Unreachable,
            "certificate",
        ),
        (
            "stripped",
            "alice@example.com",
            StepReason::CredentialsRefused,
            "STARTTLS",
        ),
        (
            "metadata",
            "alice@example.com",
            StepReason::AddressRefused,
            "metadata",
        ),
    ] {
        let told = tell(&rig, name, hello(name, to), "Failed").await;
        let error = told.error.unwrap();
        assert_eq!(error.reason, reason, "{name}: {}", error.message);
        assert!(error.message.contains(says), "{name}: {}", error.message);
        assert!(!error.message.contains("hunter"), "{}", error.message);
    }
    let told = tell(&rig, "unknown", hello("good", "unknown@example.com"), "Failed").await;
    let error = told.error.unwrap();
    assert_eq!(error.reason, StepReason::MessageRefused, "{}", error.message);
    assert!(
        error.message.contains("no such user") && !error.message.contains("hunter2"),
        "{}",
        error.message
    );
    assert_eq!(receiver.taken(), Vec::<Value>::new());
    // without encryption and login, where the Connection says so
    let open = json!({"security": "None", "username": null, "password": null, "tls": null});
    receiver.mail(&rig, "open", 2, open).await;
    tell(&rig, "open", hello("open", "alice@example.com"), "Succeeded").await;
    assert_eq!(receiver.taken()[0]["encrypted"], false);
    operator.stop().await;
}
