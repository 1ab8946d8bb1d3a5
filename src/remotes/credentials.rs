//! The credentials of a Repository: its Connection and the Secrets that names, read when they are needed.

use kube::ResourceExt as _;

use super::RepositoryError;
use crate::{
    cluster::{
        context::Context,
        secrets::{SecretError, read_text},
        status::is_missing,
    },
    git::{Credentials, Remote, Secret},
};
use signoff_api::{Connection, ConnectionKind, Repository, connection::SecretKeyRef};

/// The remote of a Repository, with what is needed to log in there.
pub async fn remote(context: &Context, repository: &Repository) -> Result<Remote, RepositoryError> {
    Ok(Remote {
        url: repository.spec.url.parse()?,
        credentials: read(context, repository).await?,
    })
}

/// Reads the credentials; a Repository without a Connection has none.
async fn read(context: &Context, repository: &Repository) -> Result<Credentials, RepositoryError> {
    let Some(name) = &repository.spec.connection else {
        return Ok(Credentials::default());
    };
    let namespace = repository.namespace().unwrap_or_default();
    let connection = match context.namespaced::<Connection>(&namespace).get(name).await {
        Ok(connection) => connection,
        Err(error) if is_missing(&error) => return Err(RepositoryError::NoConnection(name.to_string())),
        Err(error) => return Err(RepositoryError::Api("read the Connection", error)),
    };
    let ConnectionKind::Git(git) = connection.spec.kind else {
        return Err(RepositoryError::WrongConnection(name.to_string()));
    };
    let key = async |reference: Option<SecretKeyRef>| match reference {
        Some(reference) => read_key(context, &namespace, &reference).await.map(Some),
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
    context: &Context,
    namespace: &str,
    reference: &SecretKeyRef,
) -> Result<String, RepositoryError> {
    read_text(context.client(), namespace, reference)
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
