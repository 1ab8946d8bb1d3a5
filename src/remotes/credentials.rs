//! The credentials of a Repository: its Connection and the Secrets that names, read when they are needed.

use kube::{Api, Client, ResourceExt as _};

use super::RepositoryError;
use crate::{
    cluster::{
        secrets::{SecretError, read_text},
        status::is_missing,
    },
    git::{Credentials, Remote, Secret},
};
use signoff_api::{Connection, ConnectionKind, Repository, connection::SecretKeyRef};

/// The remote of a Repository, with what is needed to log in there.
pub async fn remote(client: &Client, repository: &Repository) -> Result<Remote, RepositoryError> {
    Ok(Remote {
        url: repository.spec.url.parse()?,
        credentials: read(client, repository).await?,
    })
}

/// Reads the credentials; a Repository without a Connection has none.
async fn read(client: &Client, repository: &Repository) -> Result<Credentials, RepositoryError> {
    let Some(name) = &repository.spec.connection else {
        return Ok(Credentials::default());
    };
    let namespace = repository.namespace().unwrap_or_default();
    let connections = Api::<Connection>::namespaced(client.clone(), &namespace);
    let connection = match connections.get(name).await {
        Ok(connection) => connection,
        Err(error) if is_missing(&error) => return Err(RepositoryError::NoConnection(name.to_string())),
        Err(error) => return Err(RepositoryError::Api("read the Connection", error)),
    };
    let ConnectionKind::Git(git) = connection.spec.kind else {
        return Err(RepositoryError::WrongConnection(name.to_string()));
    };
    if git.url.as_ref().is_some_and(|url| *url != repository.spec.url) {
        return Err(RepositoryError::OtherAddress(name.to_string()));
    }
    let key = async |reference: Option<SecretKeyRef>| match reference {
        Some(reference) => read_key(client, &namespace, &reference).await.map(Some),
        None => Ok(None),
    };
    Ok(Credentials {
        username: git.username,
        password: key(git.password)
            .await?
            .map(|text| Secret::new(text.trim_end_matches(['\r', '\n']))),
        private_key: key(git.private_key).await?.map(Secret::new),
        known_hosts: key(git.known_hosts).await?,
    })
}

/// Reads one key of a Secret as text.
pub async fn read_key(
    client: &Client,
    namespace: &str,
    reference: &SecretKeyRef,
) -> Result<String, RepositoryError> {
    read_text(client, namespace, reference)
        .await
        .map_err(|error| match error {
            SecretError::Unreadable(_, error) => RepositoryError::Api("read the Secret", error),
            SecretError::NotText { name, key } => RepositoryError::NotText { name, key },
            SecretError::NoSecret { .. } | SecretError::NoKey { .. } => RepositoryError::NoSecret {
                name: reference.name.to_string(),
                key: reference.key.to_string(),
            },
        })
}
