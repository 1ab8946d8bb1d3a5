//! Access tokens (OAuth 2.0). One is kept in memory until shortly before it ends, fetched once for all who wait for it, and
//! fetched anew if the API refuses it.

mod endpoint;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::Client;
use tokio::time::Instant;

use self::endpoint::{Endpoint, Grant, Issued};
use super::HttpExecutor;
use crate::{
    cluster::secrets,
    net::{ClientTls, redact::Secrets},
    perform::{connection, error},
};
use signoff_api::{
    Digest,
    connection::{OAuth2, OAuth2Grant, SecretKeyRef},
    name::ObjectName,
    reason::StepReason,
};
use signoff_engine::facts::EffectError;

/// How many tokens are kept for one namespace. Beyond that, those of this namespace are given up, and nobody else's.
const MOST: usize = 100;
/// How long a token is used if the endpoint does not say how long it lasts.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(600);
/// A token is not used in the last minute of its life, or in the last fifth of a short one.
const MARGIN: Duration = Duration::from_secs(60);

/// The tokens that are kept, by namespace. Clones share them.
#[derive(Clone, Debug, Default)]
pub(in crate::perform::http) struct Tokens(Arc<Mutex<HashMap<String, OfNamespace>>>);

type OfNamespace = HashMap<String, Arc<Entry>>;

/// What is kept for one Connection. Whoever fetches a token holds the lock, and the others wait for it.
type Entry = tokio::sync::Mutex<Kept>;

#[derive(Default)]
struct Kept {
    token: Option<AccessToken>,
    /// A refresh token that took another's place.
    rotated: Option<Rotated>,
    /// Whether the endpoint takes the client's credentials in the form only.
    in_form: bool,
}

struct AccessToken {
    text: String,
    until: Instant,
}

struct Rotated {
    from: String,
    to: String,
}

impl std::fmt::Debug for Kept {
    /// It is not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl Tokens {
    fn entry(&self, namespace: &str, key: String) -> Arc<Entry> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(namespace.to_owned()).or_default();
        if known.len() >= MOST && !known.contains_key(&key) {
            known.clear();
        }
        Arc::clone(known.entry(key).or_default())
    }
}

/// Where the token of one call comes from.
pub(in crate::perform::http) struct TokenSource {
    entry: Arc<Entry>,
    endpoint: Endpoint,
    /// Where the refresh token is written, and in which namespace.
    refresh: Option<(Client, String, SecretKeyRef)>,
    /// The token that was used last in this call.
    used: Mutex<Option<String>>,
}

impl TokenSource {
    /// A token. `refused` says that the API has refused the one that was used before.
    pub(super) async fn token(
        &self,
        refused: bool,
        now: Timestamp,
        secrets: &mut Secrets,
    ) -> Result<String, EffectError> {
        let mut kept = self.entry.lock().await;
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_refused = |token: &AccessToken| refused && used.as_deref() == Some(token.text.as_str());
        let usable = kept
            .token
            .as_ref()
            .filter(|token| token.until > Instant::now() && !is_refused(token))
            .map(|token| token.text.clone());
        let text = match usable {
            Some(text) => text,
            None => self.fetch(&mut kept, now, secrets).await?,
        };
        secrets.add(&text);
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.clone());
        Ok(text)
    }

    async fn fetch(
        &self,
        kept: &mut Kept,
        now: Timestamp,
        secrets: &mut Secrets,
    ) -> Result<String, EffectError> {
        let stored = self.endpoint.grant.refresh_token();
        // the Secret may still have the token that was given up
        let newer = kept
            .rotated
            .as_ref()
            .filter(|rotated| Some(rotated.from.as_str()) == stored)
            .map(|rotated| rotated.to.clone());
        let refresh = newer.or_else(|| stored.map(str::to_owned));
        let issued = self
            .endpoint
            .ask(refresh.as_deref(), &mut kept.in_form, now, secrets)
            .await?;
        let Issued {
            access_token,
            expires_in,
            refresh_token,
        } = issued;
        if let (Some(new), Some(stored)) = (refresh_token, stored)
            && refresh.as_deref() != Some(new.as_str())
        {
            secrets.add(&new);
            kept.rotated = Some(Rotated {
                from: stored.to_owned(),
                to: new.clone(),
            });
            self.keep_refresh_token(stored, &new).await;
        }
        let lifetime = expires_in.map_or(UNKNOWN_LIFETIME, |lifetime| {
            lifetime.saturating_sub(MARGIN.min(lifetime / 5))
        });
        kept.token = Some(AccessToken {
            text: access_token.clone(),
            until: Instant::now() + lifetime,
        });
        Ok(access_token)
    }

    /// Writes a new refresh token where the old one was. This process goes on with the new one in any case.
    async fn keep_refresh_token(&self, old: &str, new: &str) {
        let Some((client, namespace, at)) = &self.refresh else {
            return;
        };
        if let Err(why) = secrets::replace_text(client, namespace, at, old, new).await {
            tracing::warn!(
                secret = %at.name, namespace, error = %crate::cluster::error_chain(&why),
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
        let grant = match oauth2.grant {
            OAuth2Grant::ClientCredentials => Grant::ClientCredentials,
            OAuth2Grant::RefreshToken => {
                let at = oauth2
                    .refresh_token
                    .as_ref()
                    .ok_or_else(|| missing("refreshToken"))?;
                Grant::RefreshToken(connection::secret(client, namespace, at, secrets).await?)
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
            endpoint: Endpoint {
                client: self.client(name, tls.as_ref())?,
                network: self.network.clone(),
                url,
                grant,
                client_id: oauth2.client_id.clone(),
                client_secret,
                scope: oauth2.scopes.as_ref().map(|scopes| scopes.join(" ")),
                audience: oauth2.audience.clone(),
                parameters: oauth2.parameters.clone().unwrap_or_default(),
            },
            refresh: oauth2
                .refresh_token
                .clone()
                .map(|at| (client.clone(), namespace.to_owned(), at)),
            used: Mutex::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_with_many_connections_gives_up_none_of_anothers_tokens() {
        let tokens = Tokens::default();
        let others = tokens.entry("b", "k".to_owned());
        for number in 0..=MOST {
            tokens.entry("a", number.to_string());
        }
        assert!(Arc::ptr_eq(&others, &tokens.entry("b", "k".to_owned())));
        let kept = tokens.0.lock().unwrap()["a"].len();
        assert!(kept <= MOST, "{kept}");
    }
}
