//! Access tokens (OAuth 2.0). One is kept in memory until shortly before it ends, fetched once for all who wait for it, and
//! fetched anew if the API refuses it.

mod chain;
mod endpoint;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::Client;
use tokio::{sync::OwnedMutexGuard, time::Instant};

use self::{
    chain::Chain,
    endpoint::{Endpoint, Grant, Issued},
};
use super::{HttpExecutor, kept::KeptByNamespace};
use crate::{
    cluster::secrets,
    net::{ClientTls, redact::Secrets},
    perform::{connection, error, http::place},
};
use signoff_api::{
    Digest,
    connection::{OAuth2, OAuth2Grant, SecretKeyRef},
    name::ObjectName,
    reason::StepReason,
};
use signoff_engine::facts::EffectError;

/// How long a token is used if the endpoint does not say how long it lasts.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(600);
/// A token is not used in the last minute of its life, or in the last fifth of a short one.
const MARGIN: Duration = Duration::from_secs(60);
/// How long an endpoint may take. The time-out of a step does not end what an endpoint was asked: the answer may be the
/// only place where a new refresh token is.
const LONGEST_REQUEST: Duration = Duration::from_secs(60);

/// The tokens that are kept.
pub(in crate::perform::http) type Tokens = KeptByNamespace<Kept>;

/// What is kept for one Connection. Whoever fetches a token holds the lock, and the others wait for it.
type Entry = tokio::sync::Mutex<Kept>;

/// A token and what it takes to fetch the next one.
#[derive(Default)]
pub(in crate::perform::http) struct Kept {
    token: Option<AccessToken>,
    /// The refresh tokens that took each other's place.
    refresh: Chain,
    /// Whether the endpoint takes the client's credentials in the form only.
    in_form: bool,
}

struct AccessToken {
    text: String,
    until: Instant,
}

impl std::fmt::Debug for Kept {
    /// It is not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

/// Where the token of one call comes from.
pub(in crate::perform::http) struct TokenSource {
    entry: Arc<Entry>,
    endpoint: Arc<Endpoint>,
    refresh: Option<Refresh>,
    /// The token that was used last in this call.
    used: Mutex<Option<String>>,
}

/// A refresh token and where it is written.
#[derive(Clone)]
struct Refresh {
    at: RefreshSecret,
    /// What was written there when the call began.
    seen: String,
}

#[derive(Clone)]
struct RefreshSecret {
    client: Client,
    namespace: String,
    key: SecretKeyRef,
}

impl Kept {
    /// The token that was fetched before, unless it has ended or is the one that the API refused.
    fn usable(&self, refused: Option<&str>) -> Option<&AccessToken> {
        self.token
            .as_ref()
            .filter(|token| token.until > Instant::now() && refused != Some(token.text.as_str()))
    }
}

impl TokenSource {
    /// A token. `refused` says that the API has refused the one that was used before.
    pub(super) async fn token(
        &self,
        refused: bool,
        now: Timestamp,
        secrets: &mut Secrets,
    ) -> Result<String, EffectError> {
        let kept = Arc::clone(&self.entry).lock_owned().await;
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refused = used.filter(|_| refused);
        // a refresh token that is not of the chain may be of another account
        let is_known = self
            .refresh
            .as_ref()
            .is_none_or(|refresh| kept.refresh.has(&refresh.seen));
        let usable = kept.usable(refused.as_deref()).filter(|_| is_known);
        let text = if let Some(token) = usable {
            token.text.clone()
        } else {
            let fetching = Fetching {
                kept,
                endpoint: Arc::clone(&self.endpoint),
                refresh: self.refresh.as_ref().map(|refresh| refresh.at.clone()),
                refused,
                secrets: secrets.clone(),
            };
            // in a task of its own: whoever waits for it may give up
            let fetched = tokio::spawn(fetching.token(now)).await.unwrap_or_else(|_| {
                Err(error::not_ready(
                    StepReason::CredentialsRefused,
                    "fetching a token ended unexpectedly",
                ))
            });
            let (text, all) = fetched?;
            *secrets = all;
            text
        };
        secrets.add(&text);
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.clone());
        Ok(text)
    }
}

/// One who fetches a token. It holds the lock until a new refresh token is written.
struct Fetching {
    kept: OwnedMutexGuard<Kept>,
    endpoint: Arc<Endpoint>,
    refresh: Option<RefreshSecret>,
    refused: Option<String>,
    secrets: Secrets,
}

impl Fetching {
    /// A token, and all secrets that were used for it.
    async fn token(mut self, now: Timestamp) -> Result<(String, Secrets), EffectError> {
        let stored = self.read().await?;
        if let Some(token) = self.kept.usable(self.refused.as_deref()) {
            return Ok((token.text.clone(), self.secrets));
        }
        let Issued {
            access_token,
            expires_in,
            refresh_token,
        } = self.ask(now).await?;
        if let (Some(at), Some(stored), Some(new)) = (&self.refresh, stored, refresh_token)
            && self.kept.refresh.newest() != Some(new.as_str())
        {
            self.secrets.add(&new);
            self.kept.refresh.rotate(new.clone());
            at.write(&stored, &new).await;
        }
        let text = access_token?;
        let lifetime = expires_in.map_or(UNKNOWN_LIFETIME, |lifetime| {
            lifetime.saturating_sub(MARGIN.min(lifetime / 5))
        });
        self.kept.token = Some(AccessToken {
            text: text.clone(),
            until: Instant::now() + lifetime,
        });
        Ok((text, self.secrets))
    }

    /// The refresh token that is written in the Secret, read while nobody else uses one. If somebody has put another one
    /// there, nothing is left of the one before.
    async fn read(&mut self) -> Result<Option<String>, EffectError> {
        let Some(RefreshSecret {
            client,
            namespace,
            key,
        }) = &self.refresh
        else {
            return Ok(None);
        };
        let stored = connection::secret(client, namespace, key, &mut self.secrets).await?;
        if !self.kept.refresh.has(&stored) {
            self.kept.refresh = Chain::of(stored.clone());
            self.kept.token = None;
        }
        Ok(Some(stored))
    }

    async fn ask(&mut self, now: Timestamp) -> Result<Issued, EffectError> {
        let Kept { refresh, in_form, .. } = &mut *self.kept;
        if let Some(newest) = refresh.newest() {
            self.secrets.add(newest);
        }
        let asking = self
            .endpoint
            .ask(refresh.newest(), in_form, now, &mut self.secrets);
        tokio::time::timeout(LONGEST_REQUEST, asking)
            .await
            .unwrap_or_else(|_| {
                let place = format!("the token endpoint {}", place(&self.endpoint.url));
                Err(EffectError {
                    may_have_happened: false,
                    ..error::timed_out(&place, LONGEST_REQUEST)
                })
            })
    }
}

impl RefreshSecret {
    /// Writes a new refresh token where the old one was. This process goes on with the new one in any case.
    async fn write(&self, old: &str, new: &str) {
        let Self {
            client,
            namespace,
            key,
        } = self;
        if let Err(why) = secrets::replace_text(client, namespace, key, old, new).await {
            tracing::warn!(
                secret = %key.name, namespace, error = %crate::cluster::error_chain(&why),
                "a new refresh token could not be written; the next start of the operator will have the old one"
            );
        }
    }
}

impl HttpExecutor {
    /// Reads what fetching a token needs.
    pub(super) async fn token_source(
        &self,
        namespace: &str,
        name: &ObjectName,
        oauth2: &OAuth2,
        tls: Option<&ClientTls>,
        target: &url::Url,
        secrets: &mut Secrets,
    ) -> Result<TokenSource, EffectError> {
        let client = &self.kube.0;
        let client_secret = match &oauth2.client_secret {
            Some(at) => Some(connection::secret(client, namespace, at, secrets).await?),
            None => None,
        };
        let missing = |field: &str| {
            let message = format!("the Connection {name:?} lacks oauth2.{field}");
            error::invalid(StepReason::CredentialsRefused, message)
        };
        let mut refresh = None;
        let grant = match oauth2.grant {
            OAuth2Grant::ClientCredentials => Grant::ClientCredentials,
            OAuth2Grant::RefreshToken => {
                let at = oauth2
                    .refresh_token
                    .as_ref()
                    .ok_or_else(|| missing("refreshToken"))?;
                refresh = Some(Refresh {
                    seen: connection::secret(client, namespace, at, secrets).await?,
                    at: RefreshSecret {
                        client: client.clone(),
                        namespace: namespace.to_owned(),
                        key: at.clone(),
                    },
                });
                Grant::RefreshToken
            }
            OAuth2Grant::JwtBearer => {
                let at = oauth2.private_key.as_ref().ok_or_else(|| missing("privateKey"))?;
                let issuer = oauth2.issuer.as_ref().or(oauth2.client_id.as_ref());
                let issuer = issuer.ok_or_else(|| missing("issuer"))?.clone();
                Grant::JwtBearer {
                    key: connection::secret(client, namespace, at, secrets).await?,
                    key_id: oauth2.key_id.clone(),
                    subject: oauth2.subject.clone().unwrap_or_else(|| issuer.clone()),
                    issuer,
                }
            }
        };
        let url = super::super::target::parse(&oauth2.token_url)?;
        // the name of the API's certificate says nothing of another host's
        let tls = tls.map(|tls| ClientTls {
            server_name: tls
                .server_name
                .clone()
                .filter(|_| url.origin() == target.origin()),
            ..tls.clone()
        });
        let key = serde_json::json!([namespace, name, oauth2, client_secret, grant.fixed_secret()]);
        Ok(TokenSource {
            entry: self
                .tokens
                .entry(namespace, Digest::of(key.to_string().as_bytes()).to_string()),
            endpoint: Arc::new(Endpoint {
                client: self.client(name, tls.as_ref())?,
                network: self.network.clone(),
                url,
                grant,
                client_id: oauth2.client_id.clone(),
                client_secret,
                scope: oauth2.scopes.as_ref().map(|scopes| scopes.join(" ")),
                audience: oauth2.audience.clone(),
                parameters: oauth2.parameters.clone().unwrap_or_default(),
            }),
            refresh,
            used: Mutex::default(),
        })
    }
}
