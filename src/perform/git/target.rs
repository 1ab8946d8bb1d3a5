//! Where a `git` step pushes: a Repository or a Connection, its Secrets, and the forge.

use std::sync::Arc;

use kube::{Api, Client};
use russh::keys::PrivateKey;

use super::error;
use crate::{
    forge::Forge,
    git::{Author, Credentials, Remote, RemoteUrl, Secret},
    net::redact::Secrets,
    perform::{connection, error::invalid},
    remotes::{RepositorySettings, forges},
    ssh,
    store::Owner,
};
use signoff_api::{
    ConnectionKind, ConnectionSpec, Digest, Repository,
    connection::{GitConnection, SecretKeyRef},
    name::ObjectName,
    reason::StepReason,
};
use signoff_engine::{
    effect::{GitRequest, GitTarget},
    facts::EffectError,
};

/// A remote that is known, and how to log in there.
pub(super) struct Target {
    pub(super) remote: Remote,
    pub(super) author: Option<Author>,
    pub(super) signing_key: Option<Arc<PrivateKey>>,
    /// There if a pull request is to be opened.
    pub(super) forge: Option<Arc<dyn Forge>>,
}

impl Target {
    /// Reads the objects and Secrets that a request names. If people decided on it, they must be those that they decided on.
    pub(super) async fn find(
        kube: &Client,
        settings: &RepositorySettings,
        run: &Owner,
        request: &GitRequest,
        secrets: &mut Secrets,
    ) -> Result<Self, EffectError> {
        let namespace = &run.namespace;
        let bound = request.bound.as_ref();
        let (name, connection, repository) = match &request.target {
            GitTarget::Connection(name) => {
                let connection = connection::find(kube, namespace, name, bound).await?;
                (Some(name.clone()), Some(connection), None)
            }
            GitTarget::Repository(name) => {
                let repository = repository(kube, namespace, name).await?;
                let connection = match &repository.spec.connection {
                    Some(name) => Some(connection::find(kube, namespace, name, None).await?),
                    None => None,
                };
                unchanged(&repository, name, connection.as_ref(), bound)?;
                (repository.spec.connection.clone(), connection, Some(repository))
            }
        };
        let git = match (&name, connection.map(|connection| connection.kind)) {
            (_, None) => None,
            (_, Some(ConnectionKind::Git(git))) => Some(git),
            (Some(name), Some(other)) => return Err(connection::not_one_for("git", name, &other)),
            // a Connection that was read has a name
            (None, Some(_)) => None,
        };
        let said = git.as_ref().and_then(|git| git.url.as_deref());
        let url = match (&repository, said) {
            (None, Some(url)) => url,
            (None, None) => {
                let message = "the Connection has no url: name a Repository, or set it".to_owned();
                return Err(connection::unusable(message));
            }
            (Some(repository), Some(url)) if url != repository.spec.url => {
                let message = "the Connection of the Repository is for another address".to_owned();
                return Err(connection::unusable(message));
            }
            (Some(repository), _) => &repository.spec.url,
        };
        let url: RemoteUrl = url
            .parse()
            .map_err(|why: crate::git::UrlError| invalid(StepReason::RepositoryNotFound, why.to_string()))?;
        let forge = match (&repository, &request.pull_request) {
            (Some(repository), Some(_)) => Some(forge(kube, settings, repository, secrets).await?),
            (None, _) | (_, None) => None,
        };
        let (credentials, signing_key) = match &git {
            Some(git) => secrets_of(kube, namespace, git, secrets).await?,
            None => (Credentials::default(), None),
        };
        let author = git.and_then(|git| git.author).map(|author| Author {
            name: author.name,
            email: author.email,
        });
        Ok(Self {
            remote: Remote { url, credentials },
            author,
            signing_key,
            forge,
        })
    }
}

async fn repository(kube: &Client, namespace: &str, name: &ObjectName) -> Result<Repository, EffectError> {
    let found = Api::<Repository>::namespaced(kube.clone(), namespace)
        .get_opt(name)
        .await;
    match found {
        Ok(Some(repository)) => Ok(repository),
        Ok(None) => Err(invalid(
            StepReason::RepositoryNotFound,
            format!("there is no Repository {name:?} in namespace {namespace:?}"),
        )),
        Err(_) => Err(crate::perform::error::not_ready(
            StepReason::RepositoryNotFound,
            format!("the Repository {name:?} could not be read from the API server"),
        )),
    }
}

fn unchanged(
    repository: &Repository,
    name: &ObjectName,
    connection: Option<&ConnectionSpec>,
    bound: Option<&Digest>,
) -> Result<(), EffectError> {
    if bound.is_some() && repository.spec.target_digest(connection).ok().as_ref() != bound {
        let message = format!(
            "the Repository {name:?} or its Connection has changed since people decided on what the step does; nothing was sent"
        );
        return Err(invalid(StepReason::ConnectionChanged, message));
    }
    Ok(())
}

async fn forge(
    kube: &Client,
    settings: &RepositorySettings,
    repository: &Repository,
    secrets: &mut Secrets,
) -> Result<Arc<dyn Forge>, EffectError> {
    let no_forge = || {
        invalid(
            StepReason::ForgeRefused,
            "the Repository has no forge, so there is nowhere to open a pull request",
        )
    };
    let spec = repository.spec.forge.as_ref().ok_or_else(no_forge)?;
    let namespace = repository.metadata.namespace.as_deref().unwrap_or_default();
    connection::secret(kube, namespace, &spec.token, secrets).await?;
    let forge = forges::of_repository(kube, settings, repository).await;
    forge
        .map_err(|failed| error::of_settings(&failed, secrets))?
        .ok_or_else(no_forge)
}

type Keys = (Credentials, Option<Arc<PrivateKey>>);

async fn secrets_of(
    kube: &Client,
    namespace: &str,
    git: &GitConnection,
    secrets: &mut Secrets,
) -> Result<Keys, EffectError> {
    let mut read = async |reference: &Option<SecretKeyRef>| match reference {
        Some(reference) => connection::secret(kube, namespace, reference, secrets)
            .await
            .map(Some),
        None => Ok(None),
    };
    let password = read(&git.password).await?;
    // the parsers want the last line of a key ended
    let key = read(&git.private_key).await?.map(|key| format!("{key}\n"));
    let signing_key = match read(&git.signing_key).await? {
        None => None,
        Some(text) => {
            let key = ssh::private_key(&format!("{text}\n"), None).ok_or_else(|| {
                let message = "the signing key is not one in OpenSSH or PEM format without a passphrase";
                invalid(StepReason::CredentialsRefused, message)
            })?;
            Some(Arc::new(key))
        }
    };
    let known_hosts = match &git.known_hosts {
        Some(reference) => Some(connection::text(kube, namespace, reference).await?),
        None => None,
    };
    let credentials = Credentials {
        username: git.username.clone(),
        password: password.map(Secret::new),
        private_key: key.map(Secret::new),
        known_hosts,
    };
    Ok((credentials, signing_key))
}
