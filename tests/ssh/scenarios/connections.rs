//! How hosts and users prove who they are, and how hosts are reached.

use serde_json::json;
use signoff_api::reason::StepReason;

use crate::{
    server::{Sshd, play, stage, step},
    support::rig::Rig,
};

fn hello(connection: &str) -> serde_json::Value {
    json!([{"name": "s", "ssh": {"connection": connection, "wait": true, "command": "echo hello; pwd"}}])
}

async fn refused(rig: &Rig, name: &str, reason: StepReason) -> String {
    let run = play(rig, name, hello(name), "Failed").await;
    let error = step(&run, "s").error.clone().unwrap();
    assert_eq!(error.reason, reason, "{}", error.message);
    error.message
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_host_with_a_known_key_is_logged_in_at() {
    let Some((server, rig, operator)) = stage("host keys", "").await else {
        return;
    };
    let other = russh::keys::PrivateKey::random(&mut rand::rng(), russh::keys::Algorithm::Ed25519).unwrap();
    let other = other.public_key().to_openssh().unwrap();
    let at = format!("[127.0.0.1]:{}", server.port);
    for (name, known) in [
        ("wrong", format!("{at} {other}")),
        ("unknown", format!("example.com {}", server.host_key())),
        (
            "revoked",
            format!("{at} {key}\n@revoked * {key}", key = server.host_key()),
        ),
    ] {
        server.connect_knowing(&rig, name, &known, json!({})).await;
        let message = refused(&rig, name, StepReason::HostKeyUnknown).await;
        assert!(message.contains("SHA256:"), "{message}");
    }
    server
        .connect_knowing(
            &rig,
            "pattern",
            &format!("[127.0.*]:* {}", server.host_key()),
            json!({}),
        )
        .await;
    play(&rig, "pattern", hello("pattern"), "Succeeded").await;
    let alias = json!({"hostKeyAlias": "vm.example.com"});
    server
        .connect_knowing(
            &rig,
            "alias",
            &format!("vm.example.com {}", server.host_key()),
            alias,
        )
        .await;
    play(&rig, "alias", hello("alias"), "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_reached_through_a_jump_host_in_the_directory_of_the_connection() {
    let Some((jump, rig, operator)) = stage("jump", "").await else {
        return;
    };
    let Some(server) = Sshd::start("jump", "") else {
        return;
    };
    server
        .connect(&rig, "behind", json!({"jump": "vm", "directory": "/usr"}))
        .await;
    let run = play(&rig, "behind", hello("behind"), "Succeeded").await;
    assert_eq!(
        step(&run, "s").output.as_ref().unwrap().0["stdout"],
        "hello\n/usr\n"
    );
    assert!(jump.log().contains("Accepted publickey") && server.log().contains("Accepted publickey"));
    server.connect(&rig, "twice", json!({"jump": "behind"})).await;
    refused(&rig, "twice", StepReason::ConnectionNotFound).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_says_why() {
    let Some((mut server, rig, operator)) = stage("refusals", "").await else {
        return;
    };
    server
        .connect(&rig, "nobody", json!({"user": "nobody-at-all"}))
        .await;
    refused(&rig, "nobody", StepReason::CredentialsRefused).await;
    server
        .connect(&rig, "nowhere", json!({"directory": "/no/such/folder"}))
        .await;
    let message = refused(&rig, "nowhere", StepReason::ProcessNotStarted).await;
    assert!(message.contains("cannot change to the directory"), "{message}");
    server.stop();
    refused(&rig, "vm", StepReason::Unreachable).await;
    operator.stop().await;
}
