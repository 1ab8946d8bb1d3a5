//! A session with a mail server. The network judges its addresses, and no name is resolved again afterwards.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use kube::Client;
use lettre::{
    Message,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{
            AsyncSmtpConnection, Certificate, CertificateStore, Identity, TlsParameters, TlsParametersBuilder,
        },
        extension::ClientId,
    },
};

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

/// Longest wait for a connection.
const CONNECTING: Duration = Duration::from_secs(10);

/// A mail server, and how to log in there.
pub(in crate::perform) struct Server {
    connection: SmtpConnection,
    name: ObjectName,
    password: Option<String>,
    tls: Option<ClientTls>,
}

impl Server {
    /// Reads the Secrets of a Connection.
    pub(in crate::perform) async fn read(
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
        mail: &Message,
        secrets: &Secrets,
        sent: &AtomicBool,
    ) -> Result<(), EffectError> {
        let mut session = self.open(network, secrets).await?;
        sent.store(true, Ordering::Relaxed);
        let taken = session.send(mail.envelope(), &mail.formatted()).await;
        let taken = taken.map_err(|why| self.failed("refused the mail", &why, secrets, true));
        if taken.is_ok() {
            // the mail is taken, whatever comes of this
            let _ = session.quit().await;
        } else {
            session.abort().await;
        }
        taken.map(|_| ())
    }

    /// Connects and logs in.
    pub(in crate::perform) async fn open(
        &self,
        network: &Network,
        secrets: &Secrets,
    ) -> Result<AsyncSmtpConnection, EffectError> {
        let (host, port) = (self.connection.host.as_str(), self.connection.port());
        let addresses = network
            .addresses(host, port)
            .await
            .map_err(|failed| match failed {
                ConnectError::Refused(refused) => {
                    error::invalid(StepReason::AddressRefused, refused.to_string())
                }
                ConnectError::Io(why) => error::not_ready(
                    StepReason::Unreachable,
                    format!("cannot connect to {host}: {why}"),
                ),
            })?;
        let security = self.connection.security.unwrap_or_default();
        let tls = match security {
            SmtpSecurity::None => None,
            SmtpSecurity::StartTLS | SmtpSecurity::TLS => Some(self.tls_parameters(network)?),
        };
        let from_the_start = tls.clone().filter(|_| security == SmtpSecurity::TLS);
        let hello = self.hello();
        let connected = AsyncSmtpConnection::connect_tokio1(
            addresses.as_slice(),
            Some(CONNECTING),
            &hello,
            from_the_start,
            None,
        );
        let failed = |why: &Error| self.failed("did not answer as a mail server", why, secrets, false);
        let mut session = connected.await.map_err(|why| failed(&why))?;
        if let (SmtpSecurity::StartTLS, Some(tls)) = (security, tls) {
            if !session.can_starttls() {
                session.abort().await;
                let message = format!("{host} does not offer STARTTLS, so nothing was sent");
                return Err(error::invalid(StepReason::CredentialsRefused, message));
            }
            session.starttls(tls, &hello).await.map_err(|why| failed(&why))?;
        }
        if let (Some(user), Some(password)) = (&self.connection.username, &self.password) {
            let credentials = Credentials::new(user.clone(), password.clone());
            let logged_in = session.auth(&[Mechanism::Plain, Mechanism::Login], &credentials);
            if let Err(why) = logged_in.await {
                session.abort().await;
                let refused = self.failed("refused the login", &why, secrets, false);
                let reason = if refused.retryable {
                    refused.reason
                } else {
                    StepReason::CredentialsRefused
                };
                return Err(EffectError { reason, ..refused });
            }
        }
        Ok(session)
    }

    /// Who we say we are: the domain of the sender, as the host's own name says nothing to others.
    fn hello(&self) -> ClientId {
        let from = self.connection.from.trim_end_matches('>');
        let domain = from.rsplit('@').next().unwrap_or("localhost");
        ClientId::Domain(domain.to_owned())
    }

    fn tls_parameters(&self, network: &Network) -> Result<TlsParameters, EffectError> {
        let refused = |what: &str| {
            let message = format!("the Connection {:?} cannot be used: {what}", self.name);
            error::invalid(StepReason::CredentialsRefused, message)
        };
        let tls = self.tls.as_ref();
        let named = tls.and_then(|tls| tls.server_name.as_ref());
        let mut parameters = TlsParametersBuilder::new(named.unwrap_or(&self.connection.host).clone());
        let trusted = match tls.and_then(|tls| tls.ca.as_ref()) {
            Some(ca) => {
                parameters = parameters.certificate_store(CertificateStore::None);
                ca.as_str()
            }
            None => network.trusted_pem(),
        };
        if !trusted.is_empty() {
            let authorities = Certificate::from_pem(trusted.as_bytes());
            let authorities = authorities.map_err(|_| refused("tls.ca has no PEM certificate"))?;
            parameters = parameters.add_root_certificate(authorities);
        }
        if let Some((certificate, key)) = tls.and_then(|tls| tls.identity.as_ref()) {
            let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes());
            let pair = "tls.certificate and tls.key are not a PEM certificate and its private key";
            parameters = parameters.identify_with(identity.map_err(|_| refused(pair))?);
        }
        parameters
            .build()
            .map_err(|_| refused("its TLS settings are refused"))
    }

    /// What a failure comes to. What the server says is cut, made visible, and without secrets.
    fn failed(&self, what: &str, why: &Error, secrets: &Secrets, was_sent: bool) -> EffectError {
        let said = crate::cluster::error_chain(why);
        let said = secrets.redact(&said);
        let said: String = visible(&said).chars().take(300).collect();
        let answered = why.status().is_some();
        let message = format!("the mail server {} {what}: {said}", self.connection.host);
        EffectError {
            reason: if answered {
                StepReason::MessageRefused
            } else {
                StepReason::Unreachable
            },
            message,
            // 4xx is about the moment, 5xx about the mail
            retryable: !why.is_permanent() && !why.is_client() && !why.is_tls(),
            may_have_happened: was_sent && !answered,
            retry_after: None,
            status: None,
        }
    }
}
