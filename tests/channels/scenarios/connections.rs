//! `signoff connections test`: whether Secrets are there and the other side answers.

use std::time::Duration;

use serde_json::{Value, json};
use signoff::{cluster::context::Clock, perform::Executors, remotes::RepositorySettings};
use signoff_api::reason::StepReason;

use crate::{receiver::stage, support::rig::Rig};

/// What a test of a Connection finds: what is wrong, or what was looked at last.
async fn probe(rig: &Rig, name: &str) -> Result<String, (StepReason, String)> {
    let settings = RepositorySettings::local(std::env::temp_dir());
    let executors = Executors::new(rig.operator_client(), settings, Clock::system()).unwrap();
    let checks = executors
        .probe(
            rig.server.namespace(),
            &name.parse().unwrap(),
            Duration::from_secs(20),
        )
        .await
        .unwrap();
    let wrong = checks.iter().position(|check| check.result.is_err());
    let told = wrong.unwrap_or(checks.len() - 1);
    let told = checks.into_iter().nth(told).unwrap();
    told.result.map_err(|error| (error.reason, error.message))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_of_a_connection_says_whether_it_can_be_used() {
    let Some((receiver, rig, operator)) = stage("tests of connections").await else {
        return;
    };
    let key = |key: &str| json!({"name": "channels", "key": key});
    receiver.mail(&rig, "mail", 0, json!({})).await;
    receiver
        .mail(&rig, "wrong-mail", 0, json!({"password": key("wrong")}))
        .await;
    receiver
        .mail(&rig, "no-mail", 0, json!({"password": key("nothing")}))
        .await;
    for (name, token) in [("slack", "token"), ("wrong-slack", "other")] {
        let spec = |url: String| json!({"slack": {"token": key(token), "baseURL": format!("{url}/slack")}});
        receiver.http(&rig, name, spec).await;
    }
    let spec = |url: String| json!({"webhook": {"url": format!("{url}/hook"), "secret": key("webhook")}});
    receiver.http(&rig, "hook", spec).await;
    for (name, path) in [("http", ""), ("broken", "/broken"), ("refused", "/refused")] {
        let spec = |url: String| json!({"http": {"baseURL": format!("{url}{path}"), "auth": {"bearer": key("token")}}});
        receiver.http(&rig, name, spec).await;
    }
    for (name, says) in [
        ("mail", "accepts the login"),
        ("slack", "signoff in Example"),
        ("hook", "status 404 to HEAD"),
        ("http", "status 404"),
    ] {
        let found = probe(&rig, name).await.unwrap();
        assert!(found.contains(says), "{name}: {found}");
    }
    for (name, reason, says) in [
        ("wrong-mail", StepReason::CredentialsRefused, "login"),
        ("no-mail", StepReason::SecretNotFound, "nothing"),
        ("wrong-slack", StepReason::CredentialsRefused, "invalid_auth"),
        ("broken", StepReason::UnexpectedStatus, "500"),
        ("refused", StepReason::CredentialsRefused, "401"),
    ] {
        let (found, message) = probe(&rig, name).await.unwrap_err();
        assert_eq!(found, reason, "{name}: {message}");
        assert!(message.contains(says), "{name}: {message}");
        assert!(
            !message.contains("hunter") && !message.contains("xoxb"),
            "{message}"
        );
    }
    assert_eq!(receiver.taken(), Vec::<Value>::new(), "nobody got a message");
    operator.stop().await;
}
