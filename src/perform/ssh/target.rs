//! Where a command runs: a Connection, its Secrets, and the connection to its host.

use std::time::Duration;

use kube::Client;
use russh::{Channel, client::Msg};

use crate::{
    net::{ConnectError, Network, redact::Secrets},
    perform::{connection, error},
    ssh::{self, HostKeys, Login, SshError, SshHandle},
};
use signoff_api::{
    Digest,
    connection::{ConnectionKind, SshConnection},
    name::ObjectName,
    reason::StepReason,
};
use signoff_engine::facts::EffectError;

/// How long a host may say nothing. Commands may be quiet, so the connection asks whether it is there.
const SILENCE: Duration = Duration::from_secs(15 * 60);

/// A host that is known, and how to log in there.
pub(super) struct Target {
    pub(super) host: String,
    pub(super) directory: Option<String>,
    port: u16,
    login: Login,
    host_keys: HostKeys,
    jump: Option<Box<Target>>,
}

/// An open connection.
pub(super) struct Connected {
    handle: SshHandle,
    /// Held as long as the connection that goes through it.
    _jump: Option<SshHandle>,
}

/// Reads a Connection and its Secrets.
pub(super) async fn find(
    client: &Client,
    namespace: &str,
    (name, bound): (&ObjectName, Option<&Digest>),
    host: Option<&str>,
    secrets: &mut Secrets,
) -> Result<Target, EffectError> {
    let connection = read(client, namespace, name, bound).await?;
    let host = match host {
        None => connection.host.clone(),
        Some(host) if connection.lists(host) => host.to_owned(),
        Some(host) => {
            return Err(error::invalid(
                StepReason::AddressRefused,
                format!("the Connection {name:?} does not list the host {host:?} in hosts"),
            ));
        }
    };
    let jump = match &connection.jump {
        None => None,
        Some(jump) => {
            let through = read(client, namespace, jump, None).await?;
            if through.jump.is_some() {
                let message = format!("the Connection {jump:?} has a jump of its own, and so cannot be one");
                return Err(connection::unusable(message));
            }
            let host = through.host.clone();
            let target = target(client, namespace, jump, through, host, secrets).await?;
            Some(Box::new(target))
        }
    };
    let target = target(client, namespace, name, connection, host, secrets).await?;
    Ok(Target { jump, ..target })
}

async fn read(
    client: &Client,
    namespace: &str,
    name: &ObjectName,
    bound: Option<&Digest>,
) -> Result<SshConnection, EffectError> {
    let spec = connection::find(client, namespace, name, bound).await?;
    match spec.kind {
        ConnectionKind::Ssh(ssh) => Ok(*ssh),
        other => Err(connection::not_one_for("ssh", name, &other)),
    }
}

async fn target(
    client: &Client,
    namespace: &str,
    name: &ObjectName,
    connection: SshConnection,
    host: String,
    secrets: &mut Secrets,
) -> Result<Target, EffectError> {
    let refused = |message: String| error::invalid(StepReason::CredentialsRefused, message);
    let passphrase = match &connection.passphrase {
        Some(passphrase) => Some(connection::secret(client, namespace, passphrase, secrets).await?),
        None => None,
    };
    let key = connection::secret(client, namespace, &connection.private_key, secrets).await?;
    // the lines of a key are secret too, and the parser wants the last of them ended
    let key = ssh::private_key(&format!("{key}\n"), passphrase.as_deref()).ok_or_else(|| {
        let wanted = "is not one in OpenSSH or PEM format, or its passphrase is wrong";
        refused(format!("the private key of the Connection {name:?} {wanted}"))
    })?;
    let lines = connection::text(client, namespace, &connection.known_hosts).await?;
    let port = connection.port();
    let known_as = connection.host_key_alias.as_deref().unwrap_or(&host);
    // an alias stands for the host on any port, as in OpenSSH
    let known_port = if connection.host_key_alias.is_some() {
        22
    } else {
        port
    };
    let host_keys = HostKeys::of(&lines, known_as, known_port)
        .map_err(|why| refused(format!("the Connection {name:?}: {why}")))?;
    let login = Login {
        user: connection.user.clone(),
        key,
    };
    Ok(Target {
        host,
        directory: connection.directory,
        port,
        login,
        host_keys,
        jump: None,
    })
}

impl Target {
    /// Opens the connection. Nothing was started if that fails.
    pub(super) async fn connect(self, network: &Network) -> Result<Connected, EffectError> {
        let Self {
            host,
            directory: _,
            port,
            login,
            host_keys,
            jump,
        } = self;
        let Some(jump) = jump else {
            let stream = network.connect(&host, port).await;
            let stream = stream.map_err(|failed| unconnected(&host, failed))?;
            let connected = ssh::connect(stream, host_keys, login, SILENCE).await;
            return Ok(Connected {
                handle: connected.map_err(|failed| refused(&host, &failed))?,
                _jump: None,
            });
        };
        // the jump host resolves the name, so only the name can be judged
        let may = network.check_host(&host);
        may.map_err(|refused| error::invalid(StepReason::AddressRefused, refused.to_string()))?;
        let through = jump.host.clone();
        let jump = Box::pin(jump.connect(network)).await?.handle;
        let channel = jump
            .channel_open_direct_tcpip(host.clone(), u32::from(port), "127.0.0.1", 0)
            .await;
        let channel = channel.map_err(|failed| {
            unreachable(
                &host,
                &format!("the jump host {through} does not reach it: {failed}"),
            )
        })?;
        let connected = ssh::connect(channel.into_stream(), host_keys, login, SILENCE).await;
        Ok(Connected {
            handle: connected.map_err(|failed| refused(&host, &failed))?,
            _jump: Some(jump),
        })
    }
}

impl Connected {
    pub(super) async fn channel(&self) -> Result<Channel<Msg>, russh::Error> {
        self.handle.channel_open_session().await
    }
}

fn unconnected(host: &str, failed: ConnectError) -> EffectError {
    match failed {
        ConnectError::Refused(refused) => error::invalid(StepReason::AddressRefused, refused.to_string()),
        ConnectError::Io(why) => unreachable(host, &why.to_string()),
    }
}

fn refused(host: &str, failed: &SshError) -> EffectError {
    match failed {
        SshError::HostKeyUnknown(fingerprint) => error::invalid(
            StepReason::HostKeyUnknown,
            format!("the host key of {host} ({fingerprint}) is not among the known hosts"),
        ),
        SshError::NotAccepted(_) => {
            error::invalid(StepReason::CredentialsRefused, format!("{host}: {failed}"))
        }
        SshError::Broken(why) => unreachable(host, &why.to_string()),
    }
}

/// Nothing was started, and another attempt may help.
pub(super) fn unreachable(host: &str, why: &str) -> EffectError {
    error::not_ready(
        StepReason::Unreachable,
        format!("cannot connect to {host}: {why}"),
    )
}
