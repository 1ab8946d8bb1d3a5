//! The executor against mail servers that behave badly.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::net::AddressPolicy;
use signoff_engine::effect::{Attachment, CallPart, EffectKey, Request};

/// What a mail server does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Server {
    #[default]
    Good,
    /// Greets without an end.
    Endless,
    /// Ends no line of its answer to this command.
    EndlessAfter(&'static str),
    /// Answers one line after another to this command.
    Talkative(&'static str),
    /// Does not answer QUIT.
    Stays,
    /// Refuses recipients, and does not answer QUIT.
    Refuses,
    /// Refuses the login, and does not answer QUIT.
    RefusesLogin,
}

/// How it encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    None,
    StartTls,
    Tls,
}

impl Security {
    fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::StartTls => "StartTLS",
            Self::Tls => "TLS",
        }
    }
}

/// Mails that were taken, as they came.
type Taken = Arc<Mutex<Vec<String>>>;

struct Mails {
    executor: SmtpExecutor,
    taken: Taken,
}

impl Mails {
    async fn of(server: Server, security: Security) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let acceptor = acceptor(&certificate, &key);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Taken::default();
        let all = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, all) = (acceptor.clone(), Arc::clone(&all));
                tokio::spawn(async move {
                    if security == Security::Tls {
                        let stream = acceptor.accept(stream).await.unwrap();
                        serve(server, stream, None, &all, true).await;
                    } else {
                        let upgrade = (security == Security::StartTls).then_some(acceptor);
                        let Some((stream, acceptor)) = serve(server, stream, upgrade, &all, true).await
                        else {
                            return;
                        };
                        let stream = acceptor.accept(stream).await.unwrap();
                        serve(server, stream, None, &all, false).await;
                    }
                });
            }
        });
        let mut smtp = json!({"host": "localhost", "port": port, "from": "signoff@example.com", "security": security.name()});
        if security != Security::None {
            let secret = |key: &str| json!({"name": "mail", "key": key});
            smtp["tls"] = json!({"ca": secret("ca")});
            smtp["username"] = json!("signoff");
            smtp["password"] = secret("password");
        }
        let clock = Clock::from_fn(|| "2026-11-29T12:00:00Z".parse().unwrap());
        let network = Network::new(AddressPolicy::local());
        let executor = SmtpExecutor::new(
            api(json!({"smtp": smtp}), certificate),
            network,
            clock,
            Memory::default(),
        );
        Self { executor, taken }
    }

    async fn send(&self, more: impl FnOnce(&mut EmailRequest)) -> Result<EmailResponse, EffectError> {
        let mut request = EmailRequest {
            connection: "mail".parse().unwrap(),
            bound: None,
            to: vec!["alice@example.com".to_owned()],
            cc: vec![],
            reply_to: None,
            subject: "Refund".to_owned(),
            text: "Hello".to_owned(),
            attachments: vec![],
        };
        more(&mut request);
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
            part: CallPart::Whole,
            timeout: Duration::from_secs(60),
            request: Request::Email(request.clone()),
        };
        self.executor.perform(&run, &call, &request).await
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }
}

fn acceptor(certificate: &str, key: &str) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Serves one connection, until it is to be encrypted.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    server: Server,
    stream: S,
    upgrade: Option<TlsAcceptor>,
    taken: &Taken,
    greets: bool,
) -> Option<(S, TlsAcceptor)> {
    let mut stream = BufReader::new(stream);
    if greets && server == Server::Endless {
        endless(&mut stream, b"a").await;
    }
    if greets {
        stream.write_all(b"220 hi\r\n").await.ok()?;
    }
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let command = line.split_whitespace().next().unwrap_or_default();
        if matches!(server, Server::EndlessAfter(after) if after == command) {
            endless(&mut stream, b"250-a").await;
        }
        if matches!(server, Server::Talkative(after) if after == command) {
            endless(&mut stream, b"250-a\r\n").await;
        }
        let answer: &[u8] = match command {
            "EHLO" if upgrade.is_some() => b"250-hi\r\n250 STARTTLS\r\n",
            "EHLO" => b"250-hi\r\n250 AUTH PLAIN LOGIN\r\n",
            "STARTTLS" => b"220 go on\r\n",
            "AUTH" if server == Server::RefusesLogin => b"535 no\r\n",
            "AUTH" => b"235 yes\r\n",
            "RCPT" if server == Server::Refuses => b"550 no such user\r\n",
            "DATA" => b"354 go on\r\n",
            "QUIT" if server != Server::Good => std::future::pending().await,
            "QUIT" => b"221 bye\r\n",
            _ => b"250 OK\r\n",
        };
        stream.write_all(answer).await.ok()?;
        stream.flush().await.ok()?;
        match (command, &upgrade) {
            ("STARTTLS", Some(acceptor)) => return Some((stream.into_inner(), acceptor.clone())),
            ("DATA", _) => {
                let mut mail = String::new();
                while !mail.ends_with("\r\n.\r\n") {
                    // a text of its own: with each line, all of a text is looked at again
                    let mut line = String::new();
                    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
                    mail.push_str(&line);
                }
                taken.lock().unwrap().push(mail);
                stream.write_all(b"250 taken\r\n").await.ok()?;
                stream.flush().await.ok()?;
            }
            _ => {}
        }
    }
}

/// Says the same until nobody listens, but no more than a test can bear.
async fn endless(stream: &mut (impl AsyncWrite + Unpin), said: &[u8]) {
    let said = said.repeat(64 * 1024 / said.len());
    for _ in 0..1024 {
        if stream.write_all(&said).await.is_err() {
            return;
        }
    }
}

/// An API server with one Connection `mail` and one Secret of the same name.
fn api(connection: Value, ca: String) -> Client {
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let encoded = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
        let object = if request.uri().path().ends_with("/connections/mail") {
            json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": {"name": "mail"}, "spec": connection})
        } else {
            let data = json!({"ca": encoded(&ca), "password": encoded("hunter2-password")});
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mail"}, "data": data})
        };
        let body = kube::client::Body::from(object.to_string().into_bytes());
        std::future::ready(Ok::<_, std::convert::Infallible>(http::Response::new(body)))
    });
    Client::new(service, "default")
}

const ALL: [Security; 3] = [Security::None, Security::StartTls, Security::Tls];

#[tokio::test]
async fn a_mail_is_taken_with_and_without_encryption() {
    for security in ALL {
        let mails = Mails::of(Server::Good, security).await;
        mails.send(|_| {}).await.unwrap();
        let taken = mails.taken();
        assert!(
            taken.len() == 1 && taken[0].contains("Hello"),
            "{security:?} {taken:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_says_too_much_is_left_before_it_fills_the_memory() {
    for security in ALL {
        for server in [
            Server::Endless,
            Server::EndlessAfter("EHLO"),
            Server::EndlessAfter("RCPT"),
            Server::Talkative("EHLO"),
            Server::Talkative("MAIL"),
        ] {
            let mails = Mails::of(server, security).await;
            let failed = mails.send(|_| {}).await.unwrap_err();
            assert_eq!(
                failed.reason,
                StepReason::Unreachable,
                "{security:?} {server:?} {failed:?}"
            );
            assert!(
                failed.message.contains("too "),
                "{security:?} {server:?} {failed:?}"
            );
            assert!(!failed.may_have_happened, "{failed:?}");
            assert!(mails.taken().is_empty());
        }
    }
    let mails = Mails::of(Server::Endless, Security::Tls).await;
    let name: ObjectName = "mail".parse().unwrap();
    let connection = mails.executor.connection("default", (&name, None));
    let connection = connection.await.unwrap();
    let failed = mails
        .executor
        .log_in("default", &name, connection)
        .await
        .unwrap_err();
    assert!(failed.message.contains("too much"), "{failed:?}");
}

#[tokio::test]
async fn what_a_server_has_said_of_a_mail_counts_though_it_does_not_say_goodbye() {
    for security in ALL {
        let mails = Mails::of(Server::Stays, security).await;
        mails.send(|_| {}).await.unwrap();
        assert_eq!(mails.taken().len(), 1);
        let mails = Mails::of(Server::Refuses, security).await;
        let failed = mails.send(|_| {}).await.unwrap_err();
        assert_eq!(
            (failed.reason, failed.retryable, failed.may_have_happened),
            (StepReason::MessageRefused, false, false)
        );
    }
    let mails = Mails::of(Server::RefusesLogin, Security::Tls).await;
    let failed = mails.send(|_| {}).await.unwrap_err();
    assert_eq!(failed.reason, StepReason::CredentialsRefused);
}

#[tokio::test]
async fn what_is_in_a_file_cannot_end_the_mail() {
    let mails = Mails::of(Server::Good, Security::None).await;
    let smuggled = "a\n.\nMAIL FROM:<eve@example.com>\r.\r\n.\r\nQUIT\r\n";
    let sent = mails.send(|request| {
        request.text = "one\n.\ntwo\r\n.\r\nthree".to_owned();
        request.attachments = vec![Attachment {
            name: "a.txt".to_owned(),
            media_type: "text/plain".to_owned(),
            content: AttachmentContent::Text(smuggled.to_owned()),
        }];
    });
    sent.await.unwrap();
    let mail = mails.taken().pop().unwrap();
    assert!(!mail.contains("eve@example.com"), "{mail}");
    assert!(!mail.replace("\r\n", "").contains(['\r', '\n']), "{mail:?}");
    assert!(mail.contains("one\r\n..\r\ntwo\r\n..\r\nthree"), "{mail}");
}

#[tokio::test]
async fn a_text_of_line_breaks_is_written_without_delay() {
    let mails = Mails::of(Server::Good, Security::None).await;
    mails
        .send(|request| request.text = "\n".repeat(1 << 20))
        .await
        .unwrap();
    assert_eq!(mails.taken().len(), 1);
}

#[tokio::test]
async fn a_mail_with_files_waits_for_memory_and_that_is_no_part_of_its_time() {
    let mut mails = Mails::of(Server::Good, Security::None).await;
    let memory = Memory::for_calls(1);
    mails.executor.memory = memory.clone();
    let held = memory.room("default", 1 << 20).await;
    let taken = Arc::clone(&mails.taken);
    let sending = tokio::spawn(async move {
        let sent = mails.send(|request| {
            request.attachments = vec![Attachment {
                name: "a.txt".to_owned(),
                media_type: "text/plain".to_owned(),
                content: AttachmentContent::Text("x".repeat(1 << 20)),
            }];
        });
        sent.await
    });
    tokio::time::pause();
    tokio::time::sleep(Duration::from_hours(1)).await;
    tokio::time::resume();
    assert!(!sending.is_finished() && taken.lock().unwrap().is_empty());
    drop(held);
    sending.await.unwrap().unwrap();
    assert_eq!(taken.lock().unwrap().len(), 1);
}
