//! Git over ssh as a transport of libgit2. The host key must be known; the private key never leaves memory.

use std::{
    io::{self, Read, Write},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client::Msg, keys::PrivateKey};

use super::{
    credentials::Credentials,
    error::{GitError, Source},
    listing::Listing,
    session::Session,
    url::SshUrl,
};
use crate::{
    net::ConnectError,
    ssh::{self, HostKeys, Login, SshError, SshHandle},
};
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
        let host_keys = HostKeys::of(lines, &self.url.host, self.url.port)
            .map_err(|error| GitError::InvalidCredentials(error.to_string()))?;
        let opening = connect(&self.session, &self.url, program, key, host_keys);
        let (connection, read, write) = self.session.wait(opening)?;
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
    ssh::private_key(secret.reveal(), None).ok_or_else(|| {
        GitError::InvalidCredentials(
            "the private key is not one in OpenSSH or PEM format without a passphrase".to_owned(),
        )
    })
}

type Opened = (SshHandle, ChannelReadHalf, ChannelWriteHalf<Msg>);

async fn connect(
    session: &Session,
    url: &SshUrl,
    program: &str,
    key: PrivateKey,
    host_keys: HostKeys,
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
    let user = url.user.as_ref().or(session.credentials.username.as_ref());
    let user = user.map_or(Credentials::DEFAULT_USER, String::as_str);
    let login = Login {
        user: user.to_owned(),
        key,
    };
    let inactivity = session.limits.stall + Duration::from_secs(1);
    let connected = ssh::connect(socket, host_keys, login, inactivity).await;
    let connection = connected.map_err(|error| match error {
        SshError::HostKeyUnknown(fingerprint) => GitError::HostKeyUnknown {
            host: url.host.clone(),
            fingerprint,
        },
        SshError::NotAccepted(_) => GitError::AuthenticationFailed {
            host: url.host.clone(),
            message: error.to_string(),
        },
        SshError::Broken(error) => unreachable(Box::new(error)),
    })?;
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

struct SshStream {
    session: Arc<Session>,
    host: String,
    /// Held so that the connection lives as long as the stream.
    _connection: SshHandle,
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
