//! The ssh transport against a server in this process that runs real `git upload-pack`.

use std::{process::Stdio, sync::Arc};

use russh::{
    Channel, ChannelId,
    keys::{Algorithm, PrivateKey, PublicKey, ssh_key::LineEnding},
    server::{self, Auth, ChannelOpenHandle, Handler, Msg, Session, VerifiedPublicKey},
};
use tokio::{net::TcpListener, process::Command};

use super::{
    fixture::{Fixture, at, sync},
    push,
};
use crate::git::{Credentials, Remote, Secret};
use signoff_api::reason::{Classified as _, ErrorClass};

struct Upload {
    allowed: PublicKey,
    channel: Option<Channel<Msg>>,
}

impl Handler for Upload {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        let same = key.public_key.key_data() == self.allowed.key_data();
        Ok(if same && user == "git" {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channel = Some(channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let command = String::from_utf8(command.to_vec())
            .unwrap()
            .replace("git-upload-pack ", "git upload-pack ");
        session.channel_success(id)?;
        let (channel, handle) = (self.channel.take().unwrap(), session.handle());
        tokio::spawn(async move {
            let mut child = Command::new("sh")
                .args(["-c", &command])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            let (mut read, mut write) = tokio::io::split(channel.into_stream());
            let feeding = tokio::spawn(async move { tokio::io::copy(&mut read, &mut input).await });
            let _ = tokio::io::copy(&mut output, &mut write).await;
            let ended = child.wait_with_output().await.unwrap();
            feeding.abort();
            let _ = handle.extended_data(id, 1, ended.stderr).await;
            let code = ended.status.code().unwrap_or(1).unsigned_abs();
            let _ = handle.exit_status_request(id, code).await;
            let _ = handle.close(id).await;
        });
        Ok(())
    }
}

struct Server {
    port: u16,
    host_key: PublicKey,
    client_key: PrivateKey,
}

async fn serve() -> Server {
    let [host, client] = [(); 2].map(|()| PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Server {
        port,
        host_key: host.public_key().clone(),
        client_key: client.clone(),
    };
    let config = Arc::new(server::Config {
        keys: vec![host],
        auth_rejection_time: std::time::Duration::ZERO,
        ..server::Config::default()
    });
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let handler = Upload {
                allowed: client.public_key().clone(),
                channel: None,
            };
            let config = Arc::clone(&config);
            tokio::spawn(async move {
                if let Ok(session) = server::run_stream(config, socket, handler).await {
                    let _ = session.await;
                }
            });
        }
    });
    server
}

impl Server {
    fn remote(&self, path: &str) -> Remote {
        let credentials = Credentials {
            private_key: Some(Secret::new(
                self.client_key.to_openssh(LineEnding::LF).unwrap().as_str(),
            )),
            known_hosts: Some(format!(
                "[127.0.0.1]:{} {}",
                self.port,
                self.host_key.to_openssh().unwrap()
            )),
            ..Credentials::default()
        };
        Remote {
            url: format!("ssh://git@127.0.0.1:{}{path}", self.port)
                .parse()
                .unwrap(),
            credentials,
        }
    }
}

#[tokio::test]
async fn fetches_over_ssh_with_a_key_from_memory_and_then_only_what_moved() {
    let fixture = Fixture::new();
    let first = fixture.commit("main", &[("a.yaml", "a: 1")], "one");
    let server = serve().await;
    let remote = server.remote(fixture.path().to_str().unwrap());
    let mirror = fixture.mirror();
    let synced = sync(&mirror, remote.clone(), &["main"]).await.unwrap();
    assert_eq!((at(&synced, "main"), synced.fetched), (Some(first), true));
    assert!(!sync(&mirror, remote.clone(), &["main"]).await.unwrap().fetched);
    let second = fixture.commit("main", &[("b.yaml", "b: 1")], "two");
    assert_eq!(
        at(&sync(&mirror, remote, &["main"]).await.unwrap(), "main"),
        Some(second)
    );
    assert_eq!(mirror.read(second, "").await.unwrap().files.len(), 2);
}

#[tokio::test]
async fn a_branch_is_pushed_over_ssh() {
    let fixture = Fixture::new();
    let server = serve().await;
    let remote = server.remote(fixture.path().to_str().unwrap());
    push::proposes_once_and_deletes_once(&fixture, &fixture.mirror(), remote).await;
}

#[tokio::test]
async fn a_host_that_is_not_known_gets_no_credentials() {
    let fixture = Fixture::new();
    let server = serve().await;
    let path = fixture.path().to_str().unwrap().to_owned();
    let other = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let lines = [
        None,
        Some(format!(
            "[127.0.0.1]:{} {}",
            server.port,
            other.public_key().to_openssh().unwrap()
        )),
    ];
    for known_hosts in lines {
        let mut remote = server.remote(&path);
        remote.credentials.known_hosts = known_hosts;
        let error = sync(&fixture.mirror(), remote, &["main"]).await.unwrap_err();
        assert_eq!(
            (error.class(), error.reason()),
            (ErrorClass::Invalid, "HostKeyUnknown"),
            "{error:?}"
        );
        assert!(error.to_string().contains("SHA256:"), "{error}");
    }
}

#[tokio::test]
async fn a_key_that_is_refused_and_one_that_cannot_be_read_are_told_apart() {
    let fixture = Fixture::new();
    let server = serve().await;
    let path = fixture.path().to_str().unwrap().to_owned();
    let with_key = |key: Option<String>| {
        let mut remote = server.remote(&path);
        remote.credentials.private_key = key.map(Secret::new);
        remote
    };
    let other = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let other = other.to_openssh(LineEnding::LF).unwrap().to_string();
    for (key, reason) in [
        (Some(other), "AuthenticationFailed"),
        (Some("rubbish".to_owned()), "InvalidCredentials"),
        (None, "InvalidCredentials"),
    ] {
        let error = sync(&fixture.mirror(), with_key(key), &["main"])
            .await
            .unwrap_err();
        assert_eq!(
            (error.class(), error.reason()),
            (ErrorClass::Invalid, reason),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn what_the_server_says_of_a_missing_repository_is_passed_on() {
    let fixture = Fixture::new();
    let server = serve().await;
    let error = sync(&fixture.mirror(), server.remote("/no/such'place.git"), &["main"])
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "RepositoryNotFound", "{error:?}");
    assert!(error.to_string().contains("such'place"), "{error}");
}
