//! Git over ssh as a transport of libgit2. The host key must be known; the private key never leaves memory.

use std::{
    io::{self, Read, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use russh::{
    ChannelMsg, ChannelReadHalf, ChannelWriteHalf,
    client::{self, Handle, Msg},
    keys::{
        HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, decode_secret_key,
        ssh_key::{Fingerprint, PublicKey},
    },
};

use super::{
    credentials::Credentials,
    error::{GitError, Source},
    known_hosts,
    listing::Listing,
    session::Session,
    url::SshUrl,
};
use crate::net::ConnectError;
use signoff_api::text::visible;

/// Most of what a server says on its error channel that is kept for a message.
const STDERR: usize = 1_024;

/// The ssh transport of one session.
pub(super) struct SshTransport {
    session: Arc<Session>,
    url: SshUrl,
}

impl SshTransport {
    pub(super) fn new(session: Arc<Session>, url: SshUrl) -> Self {
        Self { session, url }
    }

    fn open(&self, program: &str) -> Result<SshStream, GitError> {
        let credentials = &self.session.credentials;
        let key = private_key(credentials)?;
        let lines = credentials.known_hosts.as_deref().unwrap_or_default();
        let known = known_hosts::keys_of(lines, &self.url.host, self.url.port, &self.session.dir)?;
        let (connection, read, write) =
            self.session
                .wait(connect(&self.session, &self.url, program, key, known))?;
        Ok(SshStream {
            session: Arc::clone(&self.session),
            host: self.url.host.clone(),
            _connection: connection,
            read,
            write,
            listing: Some(Listing::new(self.session.limits.refs_bytes)),
            rest: Bytes::new(),
            stderr: Vec::new(),
            received: false,
        })
    }
}

impl SmartSubtransport for SshTransport {
    fn action(&self, _url: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let program = match action {
            Service::UploadPackLs | Service::UploadPack => "git-upload-pack",
            Service::ReceivePackLs | Service::ReceivePack => "git-receive-pack",
        };
        let stream = self.open(program).map_err(|error| self.session.fail_git(error))?;
        Ok(Box::new(stream))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

fn private_key(credentials: &Credentials) -> Result<PrivateKey, GitError> {
    let Some(secret) = &credentials.private_key else {
        return Err(GitError::InvalidCredentials(
            "an ssh remote needs a private key; name a Connection that has one".to_owned(),
        ));
    };
    // the parser's message could quote the key, so it is not passed on
    decode_secret_key(secret.reveal(), None).map_err(|_| {
        GitError::InvalidCredentials(
            "the private key is not one in OpenSSH or PEM format without a passphrase".to_owned(),
        )
    })
}

type Opened = (Handle<HostCheck>, ChannelReadHalf, ChannelWriteHalf<Msg>);

async fn connect(
    session: &Session,
    url: &SshUrl,
    program: &str,
    key: PrivateKey,
    known: Vec<PublicKey>,
) -> Result<Opened, GitError> {
    let unreachable = |source: Source| GitError::Unreachable {
        host: url.host.clone(),
        source,
    };
    let socket = match session.network.connect(&url.host, url.port).await {
        Ok(socket) => socket,
        Err(ConnectError::Refused(refused)) => return Err(refused.into()),
        Err(ConnectError::Io(error)) => return Err(unreachable(Box::new(error))),
    };
    let mut config = client::Config {
        inactivity_timeout: Some(session.limits.stall + Duration::from_secs(1)),
        nodelay: true,
        ..client::Config::default()
    };
    if !known.is_empty() {
        config.preferred.key = known_hosts::algorithms(&known).into();
    }
    let shown = Arc::new(Mutex::new(None));
    let check = HostCheck {
        known,
        shown: Arc::clone(&shown),
    };
    let connected = client::connect_stream(Arc::new(config), socket, check).await;
    let refused = shown.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut connection = match (connected, refused) {
        (_, Some(fingerprint)) => {
            return Err(GitError::HostKeyUnknown {
                host: url.host.clone(),
                fingerprint,
            });
        }
        (Err(error), None) => return Err(unreachable(Box::new(error))),
        (Ok(connection), None) => connection,
    };
    authenticate(session, url, key, &mut connection).await?;
    let channel = connection
        .channel_open_session()
        .await
        .map_err(|e| unreachable(Box::new(e)))?;
    let command = format!("{program} '{}'", url.path.replace('\'', r"'\''"));
    channel
        .exec(true, command)
        .await
        .map_err(|e| unreachable(Box::new(e)))?;
    let (read, write) = channel.split();
    Ok((connection, read, write))
}

async fn authenticate(
    session: &Session,
    url: &SshUrl,
    key: PrivateKey,
    connection: &mut Handle<HostCheck>,
) -> Result<(), GitError> {
    let unreachable = |error: russh::Error| GitError::Unreachable {
        host: url.host.clone(),
        source: Box::new(error),
    };
    let user = url
        .user
        .as_deref()
        .or(session.credentials.username.as_deref())
        .unwrap_or(Credentials::DEFAULT_USER);
    let hash = if key.algorithm().is_rsa() {
        // a server that does not say what it takes is new enough for SHA-2
        connection
            .best_supported_rsa_hash()
            .await
            .map_err(unreachable)?
            .unwrap_or(Some(HashAlg::Sha512))
    } else {
        None
    };
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
    if connection
        .authenticate_publickey(user, key)
        .await
        .map_err(unreachable)?
        .success()
    {
        return Ok(());
    }
    let message = format!("the private key was not accepted for user {user:?}");
    Err(GitError::AuthenticationFailed {
        host: url.host.clone(),
        message,
    })
}

/// Accepts a server only by a key that is known for it.
struct HostCheck {
    known: Vec<PublicKey>,
    /// Fingerprint of a key that was refused.
    shown: Arc<Mutex<Option<String>>>,
}

impl client::Handler for HostCheck {
    type Error = russh::Error;

    async fn check_server_key(&mut self, server: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let fingerprint = match server {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                if self.known.iter().any(|known| known.key_data() == key.key_data()) {
                    return Ok(true);
                }
                Fingerprint::new(HashAlg::Sha256, key.key_data()).to_string()
            }
            PublicKeyOrCertificate::Certificate(_) => "a certificate".to_owned(),
        };
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint);
        Ok(false)
    }
}

struct SshStream {
    session: Arc<Session>,
    host: String,
    /// Held so that the connection lives as long as the stream.
    _connection: Handle<HostCheck>,
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    /// There until the first request is sent: what comes before is the list of refs.
    listing: Option<Listing>,
    rest: Bytes,
    stderr: Vec<u8>,
    received: bool,
}

impl Write for SshStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.listing = None;
        let sent = self.session.wait(async {
            let data = Bytes::copy_from_slice(bytes);
            self.write
                .data_bytes(data)
                .await
                .map_err(|e| self.unreachable(Box::new(e)))
        });
        sent.map(|()| bytes.len())
            .map_err(|error| self.session.fail_io(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for SshStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let session = Arc::clone(&self.session);
        self.fill(buffer).map_err(|error| session.fail_io(error))
    }
}

impl SshStream {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, GitError> {
        while self.rest.is_empty() {
            let session = Arc::clone(&self.session);
            match session.wait(async { Ok(self.read.wait().await) })? {
                Some(ChannelMsg::Data { data }) => {
                    session.count(data.len())?;
                    self.received = true;
                    self.rest = match &mut self.listing {
                        Some(listing) => listing.pass(&data)?,
                        None => data,
                    };
                }
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    session.count(data.len())?;
                    let room = STDERR.saturating_sub(self.stderr.len());
                    self.stderr.extend_from_slice(&data[..data.len().min(room)]);
                }
                Some(ChannelMsg::ExitStatus { exit_status }) if exit_status != 0 => {
                    return Err(self.refused());
                }
                Some(ChannelMsg::Failure) => return Err(self.refused()),
                Some(ChannelMsg::Close) | None => {
                    return if self.received { Ok(0) } else { Err(self.refused()) };
                }
                Some(_) => {}
            }
        }
        let count = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }

    /// The server would not run git for this path.
    fn refused(&self) -> GitError {
        let said = String::from_utf8_lossy(&self.stderr);
        let said = said.trim();
        let message = if said.is_empty() {
            "the server ended the session".to_owned()
        } else {
            visible(said).into_owned()
        };
        GitError::NotFound {
            host: self.host.clone(),
            message,
        }
    }

    fn unreachable(&self, source: Source) -> GitError {
        GitError::Unreachable {
            host: self.host.clone(),
            source,
        }
    }
}
