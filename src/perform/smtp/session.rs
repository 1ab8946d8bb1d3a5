//! A session with a mail server. The network judges its addresses, and no name is resolved again afterwards.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kube::Client;
use lettre::{
    Address,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, AsyncTokioStream},
        commands::{self, Auth, Data, Rcpt, Starttls},
        extension::{ClientId, MailParameter},
    },
};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{message::Mail, stream::Bounded};
use crate::{
    net::{ClientTls, ConnectError, Network, redact::Secrets},
    perform::{connection, error, http::read_tls},
};
use signoff_api::{
    connection::{SmtpConnection, SmtpSecurity},
    name::ObjectName,
    reason::StepReason,
    text::visible,
};
use signoff_engine::facts::EffectError;

/// How long a server has to say goodbye.
const LEAVING: Duration = Duration::from_secs(2);
/// Most questions of a server before a login.
const CHALLENGES: u8 = 10;
/// How much of a mail is written at once.
const PIECE: usize = 64 * 1024;
/// What is wrong with a server that is none.
const NO_SERVER: &str = "did not answer as a mail server";

/// A mail server, and how to log in there.
pub(super) struct Server {
    connection: SmtpConnection,
    name: ObjectName,
    password: Option<String>,
    tls: Option<ClientTls>,
}

impl Server {
    /// Reads the Secrets of a Connection.
    pub(super) async fn read(
        client: &Client,
        namespace: &str,
        name: &ObjectName,
        connection: SmtpConnection,
        secrets: &mut Secrets,
    ) -> Result<Self, EffectError> {
        let security = connection.security.unwrap_or_default();
        if security == SmtpSecurity::None && connection.password.is_some() {
            let message = format!("the Connection {name:?} sends no password without TLS");
            return Err(error::invalid(StepReason::CredentialsRefused, message));
        }
        let password = match &connection.password {
            Some(password) => Some(connection::secret(client, namespace, password, secrets).await?),
            None => None,
        };
        let tls = match &connection.tls {
            Some(tls) => Some(read_tls(client, namespace, tls, secrets).await?),
            None => None,
        };
        Ok(Self {
            connection,
            name: name.clone(),
            password,
            tls,
        })
    }

    /// Sends a mail. `sent` is set before the server may have taken it.
    pub(super) async fn send(
        &self,
        network: &Network,
        mail: &Mail,
        secrets: &Secrets,
        sent: &AtomicBool,
    ) -> Result<(), EffectError> {
        let mut session = self.open(network, secrets).await?;
        let taken = match introduce(&mut session, mail).await {
            Ok(()) => {
                sent.store(true, Ordering::Relaxed);
                session.message_iter(mail.content.chunks(PIECE)).await
            }
            Err(why) => Err(why),
        };
        leave(session);
        let was_sent = sent.load(Ordering::Relaxed);
        taken
            .map(|_| ())
            .map_err(|why| self.failed("refused the mail", &why, secrets, was_sent))
    }

    /// Connects and logs in.
    pub(super) async fn open(
        &self,
        network: &Network,
        secrets: &Secrets,
    ) -> Result<AsyncSmtpConnection, EffectError> {
        let (host, port) = (self.connection.host.as_str(), self.connection.port());
        let connected = network.connect(host, port).await;
        let stream = connected.map_err(|failed| match failed {
            ConnectError::Refused(refused) => error::invalid(StepReason::AddressRefused, refused.to_string()),
            ConnectError::Io(why) => self.unreachable(&why),
        })?;
        let peer = stream.peer_addr().map_err(|why| self.unreachable(&why))?;
        let mut session = match self.connection.security.unwrap_or_default() {
            SmtpSecurity::None => self.begin(Bounded::new(stream, peer), secrets).await?,
            SmtpSecurity::TLS => {
                let stream = self.encrypted(network, stream, secrets).await?;
                self.begin(Bounded::new(stream, peer), secrets).await?
            }
            SmtpSecurity::StartTLS => {
                let stream = self.ask_for_tls(stream, peer, secrets).await?;
                let stream = self.encrypted(network, stream, secrets).await?;
                // the server has greeted already, and does not do so again
                let stream = Bounded::new(stream, peer).saying_first(b"220 encrypted\r\n");
                self.begin(stream, secrets).await?
            }
        };
        match self.log_in(&mut session, secrets).await {
            Ok(()) => Ok(session),
            Err(refused) => {
                leave(session);
                Err(refused)
            }
        }
    }

    async fn begin(
        &self,
        stream: impl AsyncTokioStream + 'static,
        secrets: &Secrets,
    ) -> Result<AsyncSmtpConnection, EffectError> {
        AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello())
            .await
            .map_err(|why| self.failed(NO_SERVER, &why, secrets, false))
    }

    /// Asks a server to go on with TLS. What it has said until then is forgotten: anybody on the way could have said it.
    async fn ask_for_tls(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        secrets: &Secrets,
    ) -> Result<TcpStream, EffectError> {
        let unreachable = |why: std::io::Error| self.unreachable(&why);
        let stream = stream.into_std().map_err(unreachable)?;
        let asking = stream.try_clone().and_then(TcpStream::from_std);
        let asking = Bounded::new(asking.map_err(unreachable)?, peer);
        let mut session = self.begin(asking, secrets).await?;
        if !session.can_starttls() {
            leave(session);
            let host = &self.connection.host;
            let message = format!("{host} does not offer STARTTLS, so nothing was sent");
            return Err(error::invalid(StepReason::CredentialsRefused, message));
        }
        let asked = session.command(Starttls).await;
        asked.map_err(|why| self.failed(NO_SERVER, &why, secrets, false))?;
        drop(session);
        TcpStream::from_std(stream).map_err(unreachable)
    }

    async fn encrypted(
        &self,
        network: &Network,
        stream: TcpStream,
        secrets: &Secrets,
    ) -> Result<TlsStream<TcpStream>, EffectError> {
        let refused = |what: &str| {
            let message = format!("the Connection {:?} cannot be used: {what}", self.name);
            error::invalid(StepReason::CredentialsRefused, message)
        };
        let tls = self.tls.as_ref();
        let config = network.tls(tls).map_err(|why| refused(&why.to_string()))?;
        let named = tls.and_then(|tls| tls.server_name.as_ref());
        let named = named.unwrap_or(&self.connection.host).clone();
        let named = ServerName::try_from(named).map_err(|_| refused("its host is no name"))?;
        let connector = TlsConnector::from(Arc::new(config));
        let encrypted = connector.connect(named, stream).await;
        encrypted.map_err(|why| {
            let message = self.said(NO_SERVER, &why, secrets);
            error::not_ready(StepReason::Unreachable, message)
        })
    }

    async fn log_in(&self, session: &mut AsyncSmtpConnection, secrets: &Secrets) -> Result<(), EffectError> {
        let (Some(user), Some(password)) = (&self.connection.username, &self.password) else {
            return Ok(());
        };
        let host = &self.connection.host;
        let credentials = Credentials::new(user.clone(), password.clone());
        let offered = session
            .server_info()
            .get_auth_mechanism(&[Mechanism::Plain, Mechanism::Login]);
        let Some(mechanism) = offered else {
            let message = format!("the mail server {host} offers no login by PLAIN or LOGIN");
            return Err(error::invalid(StepReason::CredentialsRefused, message));
        };
        let refused = |why: Error| {
            let refused = self.failed("refused the login", &why, secrets, false);
            let reason = if refused.retryable {
                refused.reason
            } else {
                StepReason::CredentialsRefused
            };
            EffectError { reason, ..refused }
        };
        let mut command = Auth::new(mechanism, credentials.clone(), None).map_err(refused)?;
        for _ in 0..CHALLENGES {
            let answer = session.command(command).await.map_err(refused)?;
            if !answer.has_code(334) {
                return Ok(());
            }
            command = Auth::new_from_response(mechanism, credentials.clone(), &answer).map_err(refused)?;
        }
        let message = format!("the mail server {host} does not end the login");
        Err(error::invalid(StepReason::CredentialsRefused, message))
    }

    /// Who we say we are: the domain of the sender, as the host's own name says nothing to others.
    fn hello(&self) -> ClientId {
        let from = self.connection.from.trim_end_matches('>');
        let domain = from.rsplit('@').next().unwrap_or("localhost");
        ClientId::Domain(domain.to_owned())
    }

    /// What a failure comes to.
    fn failed(&self, what: &str, why: &Error, secrets: &Secrets, was_sent: bool) -> EffectError {
        let answered = why.status().is_some();
        EffectError {
            reason: if answered {
                StepReason::MessageRefused
            } else {
                StepReason::Unreachable
            },
            message: self.said(what, why, secrets),
            // 4xx is about the moment, 5xx about the mail
            retryable: !why.is_permanent() && !why.is_client(),
            may_have_happened: was_sent && !answered,
            retry_after: None,
            status: None,
        }
    }

    /// What the server says is cut, made visible, and without secrets.
    fn said(&self, what: &str, why: &(dyn std::error::Error + 'static), secrets: &Secrets) -> String {
        let said = secrets.redact(&crate::cluster::error_chain(why));
        let said: String = visible(&said).chars().take(300).collect();
        format!("the mail server {} {what}: {said}", self.connection.host)
    }

    fn unreachable(&self, why: &std::io::Error) -> EffectError {
        let message = format!("cannot connect to {}: {why}", self.connection.host);
        error::not_ready(StepReason::Unreachable, message)
    }
}

/// Says who sends a mail to whom.
async fn introduce(session: &mut AsyncSmtpConnection, mail: &Mail) -> Result<(), Error> {
    let (from, to) = (mail.envelope.from(), mail.envelope.to());
    let is_ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
    let with = if from.into_iter().chain(to).all(is_ascii) {
        vec![]
    } else {
        vec![MailParameter::SmtpUtfEight]
    };
    session.command(commands::Mail::new(from.cloned(), with)).await?;
    for address in to {
        session.command(Rcpt::new(address.clone(), vec![])).await?;
    }
    session.command(Data).await?;
    Ok(())
}

/// Says goodbye, for which nobody waits: what came of the mail is known.
pub(super) fn leave(mut session: AsyncSmtpConnection) {
    tokio::spawn(async move {
        // whether it is heard or not, the connection ends
        let _ = tokio::time::timeout(LEAVING, session.quit()).await;
    });
}
