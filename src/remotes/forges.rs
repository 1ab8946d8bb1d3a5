//! The forge of a Repository: its token is read at the moment of use, so that a rotated one is taken up.

use std::sync::Arc;

use kube::{Client, ResourceExt as _};
use url::Url;

use crate::{
    cluster::secrets::{SecretError, read_text},
    forge::{self, Access, Forge, ForgeError, ProjectPath},
    git::{RemoteUrl, Secret},
    remotes::RepositorySettings,
};
use signoff_api::{
    Repository, address,
    connection::SecretKeyRef,
    reason::{Classified, ErrorClass},
};

/// Why the forge of a Repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ForgeSettingsError {
    /// The API server refused or did not answer.
    #[error("cannot {0}")]
    Api(&'static str, #[source] kube::Error),
    /// The Secret or its key does not exist, or is no text.
    #[error("there is no text at the key {key:?} of a secret {name:?} in this namespace")]
    NoToken {
        /// Name of the Secret.
        name: String,
        /// Its key.
        key: String,
    },
    /// The address of the API is none.
    #[error("{0:?} is not the address of a forge's API")]
    InvalidAddress(String),
    /// The project is not given and does not follow from the Repository's url.
    #[error("{0:?} does not name a project: set spec.forge.project to owner/name")]
    NoProject(String),
    /// The forge refuses.
    #[error(transparent)]
    Forge(#[from] ForgeError),
}

impl Classified for ForgeSettingsError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Api(..) => ErrorClass::Transient,
            Self::Forge(error) => error.class(),
            Self::NoToken { .. } | Self::InvalidAddress(_) | Self::NoProject(_) => ErrorClass::Invalid,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Api(..) => "APIFailed",
            Self::NoToken { .. } => "SecretNotFound",
            Self::InvalidAddress(_) => "InvalidAddress",
            Self::NoProject(_) => "InvalidProject",
            Self::Forge(error) => error.reason(),
        }
    }
}

/// A client for the forge of a Repository; none where it names no forge. All clients of one keep to the rest that it asks any of them for.
pub async fn of_repository(
    client: &Client,
    settings: &RepositorySettings,
    repository: &Repository,
) -> Result<Option<Arc<dyn Forge>>, ForgeSettingsError> {
    let Some(spec) = &repository.spec.forge else {
        return Ok(None);
    };
    let namespace = repository.namespace().unwrap_or_default();
    let api = Url::parse(&spec.url)
        .ok()
        .filter(Url::has_host)
        .filter(|api| api.username().is_empty() && api.password().is_none())
        .ok_or_else(|| ForgeSettingsError::InvalidAddress(address::without_credentials(&spec.url)))?;
    let project = match &spec.project {
        Some(project) => ProjectPath::parse(project),
        None => project_of(&repository.spec.url),
    };
    let named = spec.project.as_ref().unwrap_or(&repository.spec.url);
    let project =
        project.ok_or_else(|| ForgeSettingsError::NoProject(address::without_credentials(named)))?;
    let token = read_token(client, &namespace, &spec.token).await?;
    let access = Access {
        kind: spec.kind,
        api,
        token,
        project,
        trust_email: spec.trust_email.unwrap_or_default(),
        rest: settings.pauses.of(repository, &spec.url),
    };
    Ok(Some(forge::connect(access, &settings.network)?))
}

async fn read_token(
    client: &Client,
    namespace: &str,
    reference: &SecretKeyRef,
) -> Result<Secret, ForgeSettingsError> {
    match read_text(client, namespace, reference).await {
        Ok(text) => Ok(Secret::new(text.trim())),
        Err(SecretError::Unreadable(_, error)) => Err(ForgeSettingsError::Api("read the Secret", error)),
        Err(SecretError::NoSecret { .. } | SecretError::NoKey { .. } | SecretError::NotText { .. }) => {
            Err(ForgeSettingsError::NoToken {
                name: reference.name.to_string(),
                key: reference.key.to_string(),
            })
        }
    }
}

/// The project that the address of a git remote names: its path without `.git`.
fn project_of(url: &str) -> Option<ProjectPath> {
    let path = match url.parse::<RemoteUrl>().ok()? {
        RemoteUrl::Http(url) => url.path().to_owned(),
        RemoteUrl::Ssh(ssh) => ssh.path,
        RemoteUrl::File(_) => return None,
    };
    let path = path.trim_matches('/');
    ProjectPath::parse(path.strip_suffix(".git").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_the_path_of_the_remote() {
        for (url, project) in [
            ("https://forge.example.com/acme/flows.git", Some("acme/flows")),
            (
                "https://gitlab.example.com/acme/team/flows",
                Some("acme/team/flows"),
            ),
            ("git@forge.example.com:acme/flows.git", Some("acme/flows")),
            (
                "ssh://git@forge.example.com:2222/acme/flows.git",
                Some("acme/flows"),
            ),
            ("https://forge.example.com/flows.git", None),
            ("file:///srv/acme/flows.git", None),
        ] {
            let found = project_of(url);
            assert_eq!(found.as_ref().map(ProjectPath::as_str), project, "{url}");
        }
    }
}
