//! A connection: the host proves itself by a key that is known, and the user by a private key.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use russh::{
    client::{self, Handle},
    keys::{
        HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, decode_secret_key,
        ssh_key::Fingerprint,
    },
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::HostKeys;

/// A connection that is open.
pub type SshHandle = Handle<HostCheck>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The server's host key is not known, or was revoked.
    #[error("the host key ({0}) is not among the known hosts")]
    HostKeyUnknown(String),
    /// The server refused the key.
    #[error("the private key was not accepted for user {0:?}")]
    NotAccepted(String),
    /// The connection broke, or the server does not speak ssh.
    #[error("the connection failed")]
    Broken(#[source] russh::Error),
}

/// Who logs in.
#[derive(Debug)]
pub struct Login {
    /// The user on the host.
    pub user: String,
    /// The user's key.
    pub key: PrivateKey,
}

/// A private key in OpenSSH or PEM format. None if the text is none, or its passphrase is wrong: the parser's message could
/// quote the key, so it is not passed on.
pub fn private_key(text: &str, passphrase: Option<&str>) -> Option<PrivateKey> {
    decode_secret_key(text, passphrase).ok()
}

/// Opens a connection over a stream. It breaks if the server says nothing for so long.
///
/// # Errors
/// If the host or the user is not who it is to be, or the stream breaks.
pub async fn connect(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host_keys: HostKeys,
    login: Login,
    inactivity: Duration,
) -> Result<SshHandle, SshError> {
    let mut config = client::Config {
        inactivity_timeout: Some(inactivity),
        nodelay: true,
        ..client::Config::default()
    };
    let algorithms = host_keys.algorithms();
    if !algorithms.is_empty() {
        config.preferred.key = algorithms.into();
    }
    let refused = Arc::new(Mutex::new(None));
    let check = HostCheck {
        host_keys,
        refused: Arc::clone(&refused),
    };
    let connected = client::connect_stream(Arc::new(config), stream, check).await;
    let refused = refused.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut connection = match (connected, refused) {
        (_, Some(fingerprint)) => return Err(SshError::HostKeyUnknown(fingerprint)),
        (Err(error), None) => return Err(SshError::Broken(error)),
        (Ok(connection), None) => connection,
    };
    authenticate(&mut connection, login).await?;
    Ok(connection)
}

async fn authenticate(connection: &mut SshHandle, login: Login) -> Result<(), SshError> {
    let Login { user, key } = login;
    let hash = if key.algorithm().is_rsa() {
        // a server that does not say what it takes is new enough for SHA-2
        let supported = connection.best_supported_rsa_hash().await;
        supported
            .map_err(SshError::Broken)?
            .unwrap_or(Some(HashAlg::Sha512))
    } else {
        None
    };
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
    let answer = connection.authenticate_publickey(user.clone(), key).await;
    if answer.map_err(SshError::Broken)?.success() {
        Ok(())
    } else {
        Err(SshError::NotAccepted(user))
    }
}

/// Accepts a server only by a key that is known for it.
#[derive(Debug)]
pub struct HostCheck {
    host_keys: HostKeys,
    /// Fingerprint of a key that was refused.
    refused: Arc<Mutex<Option<String>>>,
}

impl client::Handler for HostCheck {
    type Error = russh::Error;

    async fn check_server_key(&mut self, server: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let fingerprint = match server {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                if self.host_keys.accept(key) {
                    return Ok(true);
                }
                Fingerprint::new(HashAlg::Sha256, key.key_data()).to_string()
            }
            PublicKeyOrCertificate::Certificate(_) => "a certificate".to_owned(),
        };
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint);
        Ok(false)
    }
}
