//! The `email` executor: one mail through a mail server.

mod message;
mod session;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};

use kube::Client;

use self::session::Server;
use super::{connection, error, memory::Memory, resource};
use crate::{
    cluster::context::Clock,
    net::{Network, redact::Secrets},
    store::{Owner, Store},
};
use signoff_api::{
    Digest, Resource,
    connection::{ConnectionKind, SmtpConnection},
    name::ObjectName,
    reason::StepReason,
};
use signoff_engine::{
    effect::{AttachmentContent, Call, EmailRequest},
    facts::{EffectError, EmailResponse},
};

/// Longest file of a mail, in bytes.
const MAX_FILE: u64 = 10 << 20;

/// Sends mails. Cheap to clone.
#[derive(Clone)]
pub(super) struct SmtpExecutor {
    kube: Client,
    network: Network,
    clock: Clock,
    store: Option<Store>,
    memory: Memory,
}

impl std::fmt::Debug for SmtpExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpExecutor")
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl SmtpExecutor {
    pub(super) fn new(kube: Client, network: Network, clock: Clock, memory: Memory) -> Self {
        Self {
            kube,
            network,
            clock,
            store: None,
            memory,
        }
    }

    /// The same, which reads resources from this store.
    pub(super) fn keeping_in(self, store: Option<Store>) -> Self {
        Self { store, ..self }
    }

    /// Sends a mail, to all of its recipients or to none.
    pub(super) async fn perform(
        &self,
        run: &Owner,
        call: &Call,
        request: &EmailRequest,
    ) -> Result<EmailResponse, EffectError> {
        let through = (&request.connection, request.bound.as_ref());
        let sent = AtomicBool::new(false);
        let sending = async {
            let mut secrets = Secrets::default();
            let connection = self.connection(&run.namespace, through).await?;
            allows(&request.connection, &connection, request)?;
            let mut files = Vec::new();
            for file in &request.attachments {
                let content = match &file.content {
                    AttachmentContent::Text(text) => text.clone().into_bytes(),
                    AttachmentContent::Resource(resource) => self.read(run, resource).await?,
                };
                files.push((file, content));
            }
            let key = (call.idempotency_key.as_str(), self.clock.now());
            let mail = message::mail(&request.connection, &connection, request, files, key)?;
            let server = Server::read(
                &self.kube,
                &run.namespace,
                &request.connection,
                connection,
                &mut secrets,
            )
            .await?;
            server.send(&self.network, &mail, &secrets, &sent).await?;
            Ok(EmailResponse { message_id: mail.id })
        };
        // the wait for it is no part of the time that the server has
        let _room = self.memory.room(&run.namespace, bytes(request)).await;
        match tokio::time::timeout(call.timeout, sending).await {
            Ok(result) => result,
            Err(_) => Err(EffectError {
                may_have_happened: sent.load(Ordering::Relaxed),
                ..error::timed_out(
                    &format!("the mail server of {}", request.connection),
                    call.timeout,
                )
            }),
        }
    }

    /// Logs in at a mail server, and sends nothing.
    pub(super) async fn log_in(
        &self,
        namespace: &str,
        name: &ObjectName,
        connection: SmtpConnection,
    ) -> Result<(), EffectError> {
        let mut secrets = Secrets::default();
        let server = Server::read(&self.kube, namespace, name, connection, &mut secrets).await?;
        let session = server.open(&self.network, &secrets).await?;
        session::leave(session);
        Ok(())
    }

    async fn connection(
        &self,
        namespace: &str,
        (name, bound): (&ObjectName, Option<&Digest>),
    ) -> Result<SmtpConnection, EffectError> {
        let spec = connection::find(&self.kube, namespace, name, bound).await?;
        match spec.kind {
            ConnectionKind::Smtp(smtp) => Ok(*smtp),
            other => Err(connection::not_one_for("smtp", name, &other)),
        }
    }

    async fn read(&self, run: &Owner, resource: &Resource) -> Result<Vec<u8>, EffectError> {
        let found = resource::find(&self.kube, self.store.as_ref(), run, resource).await?;
        let content = match found.store.read(&found.owner, &found.sha256, MAX_FILE).await {
            Ok(content) => content.whole().await,
            Err(problem) => Err(problem),
        };
        let content = content.map_err(|problem| error::stored(&problem, false))?;
        Ok(content.into())
    }
}

/// Number of bytes of the files of a mail.
fn bytes(request: &EmailRequest) -> u64 {
    let files = request.attachments.iter().map(|file| match &file.content {
        AttachmentContent::Text(text) => text.len() as u64,
        AttachmentContent::Resource(resource) => resource.bytes().unwrap_or(u64::MAX),
    });
    files.fold(0, u64::saturating_add)
}

/// Whether the Connection lets a mail go to these recipients.
fn allows(name: &ObjectName, connection: &SmtpConnection, request: &EmailRequest) -> Result<(), EffectError> {
    let mut all = request.to.iter().chain(&request.cc);
    match all.find(|address| !connection.may_send_to(address)) {
        None => Ok(()),
        Some(address) => Err(error::invalid(
            StepReason::AddressRefused,
            format!("the Connection {name:?} does not list {address:?} in recipients"),
        )),
    }
}
